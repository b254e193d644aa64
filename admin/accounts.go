package admin

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/auth"
	"tandem/events"
	"tandem/sip"
)

// Account is an account as the API shows it: without secrets.
type Account struct {
	Tenant    string    `json:"tenant"`
	User      string    `json:"user" doc:"Name within the tenant."`
	Extension string    `json:"extension,omitempty" doc:"Second name, usually a short number."`
	Display   string    `json:"display,omitempty" doc:"Name shown to people."`
	Disabled  bool      `json:"disabled" doc:"A disabled account cannot register or call."`
	Changed   time.Time `json:"changed"`
}

func accountOf(a auth.Account) Account {
	return Account{Tenant: a.Tenant, User: a.User, Extension: a.Extension, Display: a.Display, Disabled: a.Disabled, Changed: a.Changed}
}

// AccountChange sets an account. What is left out stays as it is.
type AccountChange struct {
	Password  string  `json:"password,omitempty" doc:"Needed for a new account and when the extension changes."`
	Extension *string `json:"extension,omitempty" doc:"Second name; empty takes it away."`
	Display   *string `json:"display,omitempty" doc:"Name shown to people."`
	Disabled  *bool   `json:"disabled,omitempty"`
}

// NewAccount is one account of an import.
type NewAccount struct {
	Tenant    string `json:"tenant"`
	User      string `json:"user"`
	Password  string `json:"password"`
	Extension string `json:"extension,omitempty"`
	Display   string `json:"display,omitempty"`
}

// AccountImport is a batch of accounts.
type AccountImport struct {
	Accounts []NewAccount `json:"accounts" minItems:"1" maxItems:"500" nullable:"false"`
}

// ImportResult says what became of a batch: every account that could be set is.
type ImportResult struct {
	Added    int         `json:"added"`
	Changed  int         `json:"changed"`
	Rejected []Rejection `json:"rejected" nullable:"false"`
}

// Rejection is one account that was not imported.
type Rejection struct {
	Index int    `json:"index" doc:"Position in the batch, from 0."`
	Error string `json:"error"`
}

// AccountName is the path of an account.
type AccountName struct {
	Tenant string `path:"tenant"`
	User   string `path:"user" doc:"User name or extension."`
}

type accountChangeInput struct {
	AccountName
	Absent string `header:"If-None-Match" doc:"With * the account must not be there yet."`
	There  string `header:"If-Match" doc:"With * the account must be there."`
	Body   AccountChange
}

func (s *Server) accountRoutes(api huma.API) {
	route(api, http.MethodGet, "/accounts", "list-accounts", "List accounts", s.listAccounts)
	route(api, http.MethodGet, "/accounts/{tenant}/{user}", "get-account", "Show an account", s.getAccount, fails(404))
	route(api, http.MethodPut, "/accounts/{tenant}/{user}", "set-account", "Add or change an account", s.setAccount, fails(404, 409, 507))
	route(api, http.MethodDelete, "/accounts/{tenant}/{user}", "remove-account", "Remove an account and its registrations", s.removeAccount, noContent, fails(404))
	route(api, http.MethodPost, "/accounts/import", "import-accounts", "Set up to 500 accounts at once", s.importAccounts)
}

func (s *Server) listAccounts(_ context.Context, in *struct {
	Page
	Tenant string `query:"tenant" doc:"Of this tenant only."`
},
) (*answer[List[Account]], error) {
	list, total := s.cfg.Auth.Accounts(in.Tenant, in.Offset, in.Limit)
	out := List[Account]{Items: make([]Account, 0, len(list)), Total: total}
	for _, a := range list {
		out.Items = append(out.Items, accountOf(a))
	}
	return &answer[List[Account]]{out}, nil
}

func (s *Server) getAccount(_ context.Context, in *struct{ AccountName }) (*answer[Account], error) {
	a, err := s.account(in.AccountName)
	if err != nil {
		return nil, err
	}
	return &answer[Account]{accountOf(a)}, nil
}

func (s *Server) account(name AccountName) (auth.Account, error) {
	a, ok := s.cfg.Auth.Account(name.Tenant, name.User)
	if !ok {
		return a, newProblem(http.StatusNotFound, fmt.Sprintf("there is no account %s in tenant %s; `tandem account list` shows those there are", name.User, name.Tenant))
	}
	return a, nil
}

func (s *Server) setAccount(ctx context.Context, in *accountChangeInput) (*answer[Account], error) {
	old, exists := s.cfg.Auth.Account(in.Tenant, in.User)
	switch {
	case exists && in.Absent == "*":
		return nil, newProblem(http.StatusConflict, fmt.Sprintf("account %s@%s is there already; change it with `tandem account set`", old.User, old.Tenant))
	case !exists && in.There == "*":
		_, err := s.account(in.AccountName)
		return nil, err
	}
	user := in.User
	if exists {
		user = old.User // it may have been named by its extension
	}
	c := in.Body
	if !exists || c.Password != "" || c.Extension != nil || c.Display != nil {
		extension, display := old.Extension, old.Display
		if c.Extension != nil {
			extension = *c.Extension
		}
		if c.Display != nil {
			display = *c.Display
		}
		cmd, err := s.cfg.Auth.SetCommand(in.Tenant, user, c.Password, extension, display, time.Now())
		if err != nil {
			return nil, authProblem(err)
		}
		if _, err := s.propose(ctx, "auth", cmd); err != nil {
			return nil, err
		}
	}
	if c.Disabled != nil {
		if err := s.enable(ctx, in.Tenant, user, !*c.Disabled); err != nil {
			return nil, err
		}
	}
	s.tell(ctx, events.Event{Kind: events.AccountSet, Tenant: in.Tenant, AOR: user})
	a, err := s.account(AccountName{in.Tenant, user})
	if err != nil {
		return nil, err
	}
	return &answer[Account]{accountOf(a)}, nil
}

// enable lets an account in again, or shuts it out with the phones it has registered.
func (s *Server) enable(ctx context.Context, tenant, user string, enabled bool) error {
	if _, err := s.propose(ctx, "auth", s.cfg.Auth.EnableCommand(tenant, user, enabled, time.Now())); err != nil || enabled {
		return err
	}
	return s.removeBindings(ctx, tenant, user, "")
}

func (s *Server) removeAccount(ctx context.Context, in *struct{ AccountName }) (*struct{}, error) {
	a, err := s.account(in.AccountName)
	if err != nil {
		return nil, err
	}
	if _, err := s.propose(ctx, "auth", s.cfg.Auth.RemoveCommand(a.Tenant, a.User)); err != nil {
		return nil, err
	}
	s.tell(ctx, events.Event{Kind: events.AccountRemoved, Tenant: a.Tenant, AOR: a.User})
	return nil, s.removeBindings(ctx, a.Tenant, a.User, "")
}

// removeBindings takes a contact, or with "" all contacts, off a user who has any.
func (s *Server) removeBindings(ctx context.Context, tenant, user, contact string) error {
	if len(s.cfg.Location.Lookup(tenant, user, time.Now())) == 0 {
		return nil
	}
	_, err := s.propose(ctx, sip.LocationMachine, s.cfg.Location.RemoveCommand(tenant, user, contact))
	return err
}

func (s *Server) importAccounts(ctx context.Context, in *struct{ Body AccountImport }) (*answer[ImportResult], error) {
	out := ImportResult{Rejected: []Rejection{}}
	var good []auth.NewAccount
	var index []int // of each good one in the request
	for i, a := range in.Body.Accounts {
		n := auth.NewAccount(a)
		if err := n.Check(); err != nil {
			out.Rejected = append(out.Rejected, Rejection{i, err.Error()})
			continue
		}
		good, index = append(good, n), append(index, i)
	}
	if len(good) == 0 {
		return &answer[ImportResult]{out}, nil
	}
	cmd, err := s.cfg.Auth.ImportCommand(good, time.Now())
	if err != nil {
		return nil, authProblem(err)
	}
	result, err := s.propose(ctx, "auth", cmd)
	if err != nil {
		return nil, err
	}
	r, _ := result.(auth.ImportResult)
	out.Added, out.Changed = r.Added, r.Changed
	for _, bad := range r.Rejected {
		out.Rejected = append(out.Rejected, Rejection{index[bad.Index], bad.Err.Error()})
	}
	s.tell(ctx, events.Event{Kind: events.AccountSet, Detail: map[string]string{"accounts": strconv.Itoa(r.Added + r.Changed)}})
	return &answer[ImportResult]{out}, nil
}

// tell publishes what somebody changed, and logs it.
func (s *Server) tell(ctx context.Context, e events.Event) {
	who := author(ctx, "")
	e.From = who
	s.cfg.Events.Publish(e)
	s.cfg.Log.Info("changed by an operator", "what", string(e.Kind), "tenant", e.Tenant, "aor", e.AOR, "by", who, "reason", e.Reason)
}
