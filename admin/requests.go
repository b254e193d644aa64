package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tandem/cluster"
	"tandem/events"
	"tandem/pbx"
	"tandem/rtpengine/ng"
)

func accountPath(tenant, user string) string {
	return "/accounts/" + url.PathEscape(tenant) + "/" + url.PathEscape(user)
}

// Accounts lists accounts, of one tenant when it is not "", at most max of them (0: all).
func (c *Client) Accounts(ctx context.Context, tenant string, max int) (List[Account], error) {
	return all[Account](ctx, c, "/accounts", values("tenant", tenant), max)
}

// Account shows one account.
func (c *Client) Account(ctx context.Context, tenant, user string) (Account, error) {
	return get[Account](ctx, c, accountPath(tenant, user), nil)
}

// AddAccount makes an account that must not be there yet.
func (c *Client) AddAccount(ctx context.Context, tenant, user string, a AccountChange) (Account, error) {
	var out Account
	err := c.do(ctx, http.MethodPut, accountPath(tenant, user), nil, a, &out, "If-None-Match", "*")
	return out, err
}

// SetAccount changes an account that must be there.
func (c *Client) SetAccount(ctx context.Context, tenant, user string, a AccountChange) (Account, error) {
	var out Account
	err := c.do(ctx, http.MethodPut, accountPath(tenant, user), nil, a, &out, "If-Match", "*")
	return out, err
}

// RemoveAccount removes an account and its registrations.
func (c *Client) RemoveAccount(ctx context.Context, tenant, user string) error {
	return c.do(ctx, http.MethodDelete, accountPath(tenant, user), nil, nil, nil)
}

// ImportAccounts sets up to 500 accounts at once.
func (c *Client) ImportAccounts(ctx context.Context, batch []NewAccount) (ImportResult, error) {
	var out ImportResult
	err := c.do(ctx, http.MethodPost, "/accounts/import", nil, AccountImport{batch}, &out)
	return out, err
}

// Registrations lists registrations, of one user when aor is not "".
func (c *Client) Registrations(ctx context.Context, aor string, max int) (List[Registration], error) {
	return all[Registration](ctx, c, "/registrations", values("aor", aor), max)
}

// RemoveRegistration takes a contact, or with "" all contacts, off a user.
func (c *Client) RemoveRegistration(ctx context.Context, aor, contact string) error {
	return c.do(ctx, http.MethodDelete, "/registrations/"+url.PathEscape(aor), values("contact", contact), nil, nil)
}

// Calls lists the calls of now.
func (c *Client) Calls(ctx context.Context, tenant, user string) (List[pbx.View], error) {
	return all[pbx.View](ctx, c, "/calls", values("tenant", tenant, "user", user), 0)
}

// Call shows a call by its id or Call-ID.
func (c *Client) Call(ctx context.Context, id string) (pbx.View, error) {
	return get[pbx.View](ctx, c, "/calls/"+url.PathEscape(id), nil)
}

// Hangup ends a call.
func (c *Client) Hangup(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/calls/"+url.PathEscape(id), nil, nil, nil)
}

// Record starts to record a call.
func (c *Client) Record(ctx context.Context, id string) (Recording, error) {
	var out Recording
	err := c.do(ctx, http.MethodPut, "/calls/"+url.PathEscape(id)+"/recording", nil, nil, &out)
	return out, err
}

// StopRecording stops recording a call.
func (c *Client) StopRecording(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/calls/"+url.PathEscape(id)+"/recording", nil, nil, nil)
}

// CallMedia shows how a call sounds.
func (c *Client) CallMedia(ctx context.Context, id string) (pbx.CallMedia, error) {
	return get[pbx.CallMedia](ctx, c, "/calls/"+url.PathEscape(id)+"/media", nil)
}

// SendDigits sends digits to one side of an answered call, "caller" or "callee".
func (c *Client) SendDigits(ctx context.Context, id, digits, to string) error {
	return c.do(ctx, http.MethodPost, "/calls/"+url.PathEscape(id)+"/digits", nil, Digits{digits, to}, nil)
}

// CheckCall asks both phones of a call whether they are still in it.
func (c *Client) CheckCall(ctx context.Context, id string) (pbx.Pulses, error) {
	var out pbx.Pulses
	err := c.do(ctx, http.MethodPost, "/calls/"+url.PathEscape(id)+"/check", nil, nil, &out)
	return out, err
}

// Conferences lists those of now and who is in them.
func (c *Client) Conferences(ctx context.Context) (List[pbx.Conference], error) {
	return all[pbx.Conference](ctx, c, "/conferences", nil, 0)
}

// Mute keeps a call from being heard in its conference.
func (c *Client) Mute(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodPut, "/conferences/members/"+url.PathEscape(id)+"/mute", nil, nil, nil)
}

// Unmute lets it be heard again.
func (c *Client) Unmute(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/conferences/members/"+url.PathEscape(id)+"/mute", nil, nil, nil)
}

// Kick hangs up a call that is in a conference.
func (c *Client) Kick(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/conferences/members/"+url.PathEscape(id), nil, nil, nil)
}

// Trace shows the messages of a call.
func (c *Client) Trace(ctx context.Context, id string) (Trace, error) {
	return get[Trace](ctx, c, "/calls/"+url.PathEscape(id)+"/trace", nil)
}

// CDRs lists finished calls, newest first.
func (c *Client) CDRs(ctx context.Context, max int) (List[events.CDR], error) {
	return all[events.CDR](ctx, c, "/cdrs", nil, max)
}

// Messages gives recent SIP messages later than after.
func (c *Client) Messages(ctx context.Context, user string, after time.Time, limit int) (MessageList, error) {
	v := values("user", user, "limit", strconv.Itoa(limit))
	if !after.IsZero() {
		v.Set("after", after.UTC().Format(time.RFC3339Nano))
	}
	return get[MessageList](ctx, c, "/messages", v)
}

// CheckPlan has the node check a dialplan.
func (c *Client) CheckPlan(ctx context.Context, p PlanFiles) (PlanCheck, error) {
	var out PlanCheck
	err := c.do(ctx, http.MethodPost, "/dialplan/check", nil, p, &out)
	return out, err
}

// Explain says where a call would go by the dialplan in force.
func (c *Client) Explain(ctx context.Context, q CallQuestion) (CallExplained, error) {
	var out CallExplained
	err := c.do(ctx, http.MethodPost, "/dialplan/explain", nil, q, &out)
	return out, err
}

// DiffPlans says in which way calls would go differently by another dialplan.
func (c *Client) DiffPlans(ctx context.Context, q PlanComparison) (PlanDifferences, error) {
	var out PlanDifferences
	err := c.do(ctx, http.MethodPost, "/dialplan/diff", nil, q, &out)
	return out, err
}

// ReplayCalls says which calls of the last days would have gone elsewhere by another dialplan.
func (c *Client) ReplayCalls(ctx context.Context, q PlanReplay) (PlanReplayed, error) {
	var out PlanReplayed
	err := c.do(ctx, http.MethodPost, "/dialplan/replay", nil, q, &out)
	return out, err
}

// ApplyPlan puts a dialplan in force.
func (c *Client) ApplyPlan(ctx context.Context, p PlanChange) (PlanApplied, error) {
	var out PlanApplied
	err := c.do(ctx, http.MethodPost, "/dialplan", nil, p, &out)
	return out, err
}

// Plan shows a version of the dialplan with its files; 0 is the one in force.
func (c *Client) Plan(ctx context.Context, number uint64) (Version, error) {
	if number == 0 {
		return get[Version](ctx, c, "/dialplan", nil)
	}
	return get[Version](ctx, c, "/dialplan/versions/"+strconv.FormatUint(number, 10), nil)
}

// Plans lists the versions of the dialplan, newest first.
func (c *Client) Plans(ctx context.Context) (List[Version], error) {
	return get[List[Version]](ctx, c, "/dialplan/versions", nil)
}

// Tokens lists API tokens.
func (c *Client) Tokens(ctx context.Context) (List[Token], error) {
	return get[List[Token]](ctx, c, "/tokens", nil)
}

// CreateToken makes an API token; ttl zero is for ever.
func (c *Client) CreateToken(ctx context.Context, name string, ttl time.Duration) (Token, error) {
	wish := TokenWish{Name: name}
	if ttl > 0 {
		wish.TTL = ttl.String()
	}
	var out Token
	err := c.do(ctx, http.MethodPost, "/tokens", nil, wish, &out)
	return out, err
}

// RevokeToken revokes an API token.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/tokens/"+url.PathEscape(id), nil, nil, nil)
}

// Bans lists banned sources.
func (c *Client) Bans(ctx context.Context) (List[Ban], error) {
	return get[List[Ban]](ctx, c, "/bans", nil)
}

// MediaEngines lists the media engines elsewhere.
func (c *Client) MediaEngines(ctx context.Context) (List[ng.EngineStats], error) {
	return get[List[ng.EngineStats]](ctx, c, "/media/engines", nil)
}

// DrainMediaEngine gives an engine no new calls, or gives it calls again.
func (c *Client) DrainMediaEngine(ctx context.Context, address string, on bool) error {
	method := http.MethodDelete
	if on {
		method = http.MethodPut
	}
	return c.do(ctx, method, "/media/engines/"+url.PathEscape(address)+"/drain", nil, nil, nil)
}

// RemoveBan lets a source in again.
func (c *Client) RemoveBan(ctx context.Context, source string) error {
	return c.do(ctx, http.MethodDelete, "/bans/"+url.PathEscape(source), nil, nil, nil)
}

// Tenants lists the tenants of the dialplan in force.
func (c *Client) Tenants(ctx context.Context) (List[Tenant], error) {
	return get[List[Tenant]](ctx, c, "/tenants", nil)
}

// Status shows the state of the node.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, "/status", nil)
}

// Version shows which program the node runs.
func (c *Client) Version(ctx context.Context) (Build, error) {
	return get[Build](ctx, c, "/version", nil)
}

// Cluster shows the node's part in the cluster.
func (c *Client) Cluster(ctx context.Context) (cluster.Status, error) {
	return get[cluster.Status](ctx, c, "/cluster", nil)
}

// NewJoinToken makes a token with which one node can join the cluster.
func (c *Client) NewJoinToken(ctx context.Context, ttl time.Duration) (JoinToken, error) {
	var out JoinToken
	err := c.do(ctx, http.MethodPost, "/cluster/tokens", nil, JoinTokenWish{TTL: ttl.String()}, &out)
	return out, err
}

// LeaveCluster takes a node out of the cluster, "" being the one that is asked, and says which it was.
func (c *Client) LeaveCluster(ctx context.Context, node string, force bool) (string, error) {
	var out LeaveWish
	err := c.do(ctx, http.MethodPost, "/cluster/leave", nil, LeaveWish{Node: node, Force: force}, &out)
	return out.Node, err
}

// TransferLeadership lets another node lead, "" being the one that is furthest.
func (c *Client) TransferLeadership(ctx context.Context, node string) error {
	return c.do(ctx, http.MethodPost, "/cluster/transfer", nil, TransferWish{Node: node}, nil)
}

// Nodes lists the nodes of the cluster.
func (c *Client) Nodes(ctx context.Context) (List[Member], error) {
	return get[List[Member]](ctx, c, "/nodes", nil)
}

// Follow calls yield with every event of some kinds, given by the beginnings of their names (none: all), until ctx ends, the
// node ends the stream or yield returns false. lost tells how many events before this one were lost, because yield was slow.
func (c *Client) Follow(ctx context.Context, kinds []string, yield func(e events.Event, lost int) bool) error {
	r, err := c.request(ctx, http.MethodGet, "/events", values("kind", strings.Join(kinds, ",")), nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "text/event-stream, application/json")
	resp, err := c.send(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	lost, gap := 0, false
	for lines.Scan() {
		line := lines.Text()
		if name, ok := strings.CutPrefix(line, "event: "); ok {
			gap = name == "gap"
		}
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		if gap {
			var g struct {
				Lost int `json:"lost"`
			}
			_ = json.Unmarshal([]byte(data), &g)
			lost, gap = lost+g.Lost, false
			continue
		}
		var e events.Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("the event stream of %s cannot be read: %w", c.target, err)
		}
		if !yield(e, lost) {
			return nil
		}
		lost = 0
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := lines.Err(); err != nil {
		return &UnreachableError{Target: c.target, Cause: err}
	}
	return &UnreachableError{Target: c.target, Cause: fmt.Errorf("the node ended the event stream; it is stopping")}
}
