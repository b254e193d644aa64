package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/auth"
	"tandem/events"
	"tandem/sip"
)

// Trunk is what a node knows of a trunk of the dialplan.
type Trunk struct {
	sip.TrunkState
	Channels int `json:"channels" doc:"Calls over it now, both ways, through this node."`
	Most     int `json:"most_channels,omitempty" doc:"How many there may be; absent when there is no limit."`
}

// SecretText is a secret to be set.
type SecretText struct {
	Secret string `json:"secret" minLength:"1" maxLength:"256" doc:"It is sealed at once and never shown again."`
}

// SecretName is the path of a secret.
type SecretName struct {
	Tenant string `path:"tenant" maxLength:"64"`
	Name   string `path:"name" maxLength:"64" doc:"As the dialplan names it."`
}

func (s *Server) trunkRoutes(api huma.API) {
	route(api, http.MethodGet, "/trunks", "list-trunks", "List the trunks of the dialplan, whether they are up, and where this node is registered", s.listTrunks)
	route(api, http.MethodGet, "/secrets", "list-secrets", "List the names of the secrets that carriers and apps are given", s.listSecrets)
	route(api, http.MethodPut, "/secrets/{tenant}/{name}", "set-secret", "Set a secret", s.setSecret, noContent, fails(507))
	route(api, http.MethodDelete, "/secrets/{tenant}/{name}", "remove-secret", "Remove a secret", s.removeSecret, noContent, fails(404))
}

func (s *Server) trunks() []Trunk {
	var out []Trunk
	for _, t := range s.cfg.Trunks.List() {
		taken, most := s.cfg.PBX.Channels(t.Tenant, t.Name)
		out = append(out, Trunk{t, taken, most})
	}
	return out
}

func (s *Server) listTrunks(context.Context, *struct{}) (*answer[List[Trunk]], error) {
	out := List[Trunk]{Items: []Trunk{}}
	if s.cfg.Trunks != nil {
		out.Items = append(out.Items, s.trunks()...)
	}
	out.Total = len(out.Items)
	return &answer[List[Trunk]]{out}, nil
}

func (s *Server) listSecrets(context.Context, *struct{}) (*answer[List[auth.Secret]], error) {
	list := s.cfg.Secrets.List()
	return &answer[List[auth.Secret]]{List[auth.Secret]{Items: list, Total: len(list)}}, nil
}

func (s *Server) setSecret(ctx context.Context, in *struct {
	SecretName
	Body SecretText
},
) (*struct{}, error) {
	cmd, err := s.cfg.Secrets.SetCommand(in.Tenant, in.Name, in.Body.Secret, time.Now())
	if err != nil {
		return nil, authProblem(err)
	}
	if _, err := s.propose(ctx, auth.SecretsMachine, cmd); err != nil {
		return nil, err
	}
	s.tell(ctx, events.Event{Kind: "secret.set", Tenant: in.Tenant, To: in.Name})
	return nil, nil
}

func (s *Server) removeSecret(ctx context.Context, in *struct{ SecretName }) (*struct{}, error) {
	if _, err := s.propose(ctx, auth.SecretsMachine, s.cfg.Secrets.RemoveCommand(in.Tenant, in.Name)); err != nil {
		return nil, err
	}
	s.tell(ctx, events.Event{Kind: "secret.removed", Tenant: in.Tenant, To: in.Name})
	return nil, nil
}

func (m meter) trunks(st sip.TrunkStats, list []Trunk) {
	m.counter("tandem_trunk_registers_total", "REGISTERs sent to carriers.", st.Registers)
	m.counter("tandem_trunk_register_failures_total", "REGISTERs that carriers refused or did not answer.", st.RegisterFailed)
	m.counter("tandem_trunk_pings_total", "OPTIONS sent to addresses of trunks.", st.Pings)
	m.counter("tandem_trunk_ping_failures_total", "OPTIONS to them without a good answer.", st.PingFailed)
	m.counter("tandem_trunk_downs_total", "Times a trunk went down.", st.Downs)
	m.counter("tandem_trunk_lookups_total", "Names of carriers looked up.", st.Lookups)
	m.counter("tandem_trunk_lookup_failures_total", "Names of carriers that could not be looked up.", st.LookupFailed)
	m.counter("tandem_trunk_inbound_calls_total", "Calls that came in over trunks.", st.Inbound)
	m.counter("tandem_trunk_strangers_total", "Calls from outside that came from no trunk and were refused.", st.Strangers)
	for _, t := range list {
		up, registered := 0, 0
		if t.Up {
			up = 1
		}
		m.gauge("tandem_trunk_up", "1 when calls can go out over a trunk.", up, "tenant", t.Tenant, "trunk", t.Name)
		m.gauge("tandem_trunk_channels", "Calls over a trunk, both ways.", t.Channels, "tenant", t.Tenant, "trunk", t.Name)
		if r := t.Registration; r != nil {
			if r.State == "registered" {
				registered = 1
			}
			m.gauge("tandem_trunk_registered", "1 when this node is registered at a carrier.", registered, "tenant", t.Tenant, "trunk", t.Name)
		}
	}
}

// Trunks lists the trunks.
func (c *Client) Trunks(ctx context.Context) (List[Trunk], error) {
	return get[List[Trunk]](ctx, c, "/trunks", nil)
}

// Secrets lists the names of secrets.
func (c *Client) Secrets(ctx context.Context) (List[auth.Secret], error) {
	return get[List[auth.Secret]](ctx, c, "/secrets", nil)
}

// SetSecret sets a secret.
func (c *Client) SetSecret(ctx context.Context, tenant, name, text string) error {
	return c.do(ctx, http.MethodPut, "/secrets/"+url.PathEscape(tenant)+"/"+url.PathEscape(name), nil, SecretText{text}, nil)
}

// RemoveSecret removes a secret.
func (c *Client) RemoveSecret(ctx context.Context, tenant, name string) error {
	return c.do(ctx, http.MethodDelete, "/secrets/"+url.PathEscape(tenant)+"/"+url.PathEscape(name), nil, nil, nil)
}
