package admin

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/events"
	"tandem/sip"
)

// Registration is one place where a user can be reached.
type Registration struct {
	Tenant    string    `json:"tenant"`
	User      string    `json:"user"`
	Contact   string    `json:"contact" doc:"URI as the phone gave it."`
	Transport string    `json:"transport"`
	Remote    string    `json:"remote" doc:"Address the phone is reached at."`
	Path      []string  `json:"path,omitempty"`
	Instance  string    `json:"instance,omitempty" doc:"The phone's own identity (RFC 5626)."`
	RegID     uint32    `json:"reg_id,omitempty"`
	Q         float64   `json:"q"`
	UserAgent string    `json:"user_agent,omitempty"`
	Since     time.Time `json:"since"`
	Expires   time.Time `json:"expires"`
	Node      string    `json:"node,omitempty" doc:"Node that holds the phone's connection."`
}

func registrationOf(tenant, user string, b sip.Binding) Registration {
	return Registration{
		Tenant: tenant, User: user, Contact: b.Contact, Transport: b.Flow.Net.String(), Remote: b.Flow.Remote.String(), Path: b.Path,
		Instance: b.Instance, RegID: b.RegID, Q: float64(b.Q) / 1000, UserAgent: b.UserAgent, Since: b.Since, Expires: b.Expires, Node: b.Node,
	}
}

func (s *Server) registrationRoutes(api huma.API) {
	route(api, http.MethodGet, "/registrations", "list-registrations", "List registrations", s.listRegistrations, fails(404))
	route(api, http.MethodDelete, "/registrations/{aor}", "remove-registration", "Take phones off a user", s.removeRegistration, noContent, fails(404))
}

func (s *Server) listRegistrations(_ context.Context, in *struct {
	Page
	AOR string `query:"aor" doc:"Of this user only: user@domain or user@tenant; the domain may be left out when there is one tenant."`
},
) (*answer[List[Registration]], error) {
	now := time.Now()
	out := List[Registration]{Items: []Registration{}}
	if in.AOR != "" {
		tenant, user, err := s.aor(in.AOR)
		if err != nil {
			return nil, err
		}
		for _, b := range s.cfg.Location.Lookup(tenant, user, now) {
			out.Items = append(out.Items, registrationOf(tenant, user, b))
		}
		out = cut(out.Items, in.Page)
		return &answer[List[Registration]]{out}, nil
	}
	list, total := s.cfg.Location.All(now, in.Offset, in.Limit)
	for _, r := range list {
		out.Items = append(out.Items, registrationOf(r.Tenant, r.User, r.Binding))
	}
	out.Total = total
	return &answer[List[Registration]]{out}, nil
}

func (s *Server) removeRegistration(ctx context.Context, in *struct {
	AOR     string `path:"aor" doc:"user@domain or user@tenant."`
	Contact string `query:"contact" doc:"This contact only, as it is listed."`
},
) (*struct{}, error) {
	tenant, user, err := s.aor(in.AOR)
	if err != nil {
		return nil, err
	}
	there := s.cfg.Location.Lookup(tenant, user, time.Now())
	found := in.Contact == "" && len(there) > 0
	for _, b := range there {
		found = found || b.Contact == in.Contact
	}
	if !found {
		return nil, newProblem(http.StatusNotFound, fmt.Sprintf("%s@%s has no such registration; `tandem registrations list` shows those there are", user, tenant))
	}
	if _, err := s.propose(ctx, sip.LocationMachine, s.cfg.Location.RemoveCommand(tenant, user, in.Contact)); err != nil {
		return nil, err
	}
	s.tell(ctx, events.Event{Kind: "registration.withdrawn", Tenant: tenant, AOR: user, To: in.Contact})
	return nil, nil
}

// aor finds the tenant and the canonical user behind what a person wrote: sip:user@domain, user@tenant, user.
func (s *Server) aor(text string) (tenant, user string, err error) {
	name := strings.TrimPrefix(strings.TrimPrefix(text, "sips:"), "sip:")
	name, host, _ := strings.Cut(name, "@")
	if name == "" {
		return "", "", newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("%q names no user; write it as user@domain", text))
	}
	plan, _ := s.cfg.Dialplan.Current()
	tenants := plan.Tenants()
	switch {
	case host == "" && len(tenants) == 1:
		tenant = tenants[0].Name
	case host == "":
		return "", "", newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("there is not exactly one tenant, so %q may mean several users; write it as user@domain", text))
	default:
		tenant = host
		for _, t := range tenants {
			if t.Name == host {
				return host, s.canonical(host, name), nil
			}
		}
		if t, ok := plan.TenantOf(host); ok {
			tenant = t
		}
	}
	return tenant, s.canonical(tenant, name), nil
}

// canonical is the user behind a user name or extension, or the name itself when nobody knows it.
func (s *Server) canonical(tenant, name string) string {
	if a, ok := s.cfg.Auth.Account(tenant, name); ok {
		return a.User
	}
	plan, _ := s.cfg.Dialplan.Current()
	if u, ok := plan.User(tenant, name); ok {
		return u.Name
	}
	return name
}
