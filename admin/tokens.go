package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/auth"
	"tandem/events"
)

// Token is an API token as it is listed: without its secret.
type Token struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero" doc:"Absent when it never ends."`
	Secret  string    `json:"secret,omitempty" doc:"Shown once, when the token is made."`
}

// TokenWish is a token to be made.
type TokenWish struct {
	Name string `json:"name" minLength:"1" maxLength:"128" doc:"Whose it is or what for; changes are attributed to it."`
	TTL  string `json:"ttl,omitempty" doc:"How long it is good, such as 24h or 720h; without it for ever." example:"720h"`
}

func (s *Server) tokenRoutes(api huma.API) {
	route(api, http.MethodGet, "/tokens", "list-tokens", "List API tokens", s.listTokens)
	route(api, http.MethodPost, "/tokens", "create-token", "Make an API token", s.createToken, func(op *huma.Operation) { op.DefaultStatus = http.StatusCreated }, fails(507))
	route(api, http.MethodDelete, "/tokens/{id}", "revoke-token", "Revoke an API token", s.revokeToken, noContent, fails(404))
}

func tokenOf(t auth.Token) Token {
	return Token{ID: t.ID, Name: t.Name, Created: t.Created, Expires: t.Expires}
}

func (s *Server) listTokens(context.Context, *struct{}) (*answer[List[Token]], error) {
	out := List[Token]{Items: []Token{}}
	for _, t := range s.cfg.Auth.Tokens() {
		out.Items = append(out.Items, tokenOf(t))
	}
	out.Total = len(out.Items)
	return &answer[List[Token]]{out}, nil
}

func (s *Server) createToken(ctx context.Context, in *struct{ Body TokenWish }) (*answer[Token], error) {
	now := time.Now()
	var expires time.Time
	if in.Body.TTL != "" {
		d, err := time.ParseDuration(in.Body.TTL)
		if err != nil || d <= 0 {
			return nil, newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("ttl %q is not a time span; write it like 24h or 720h", in.Body.TTL))
		}
		expires = now.Add(d)
	}
	secret, cmd, err := s.cfg.Auth.TokenCommand(in.Body.Name, now, expires)
	if err != nil {
		return nil, authProblem(err)
	}
	if _, err := s.propose(ctx, "auth", cmd); err != nil {
		return nil, err
	}
	t, ok := s.cfg.Auth.VerifyToken(secret, now)
	if !ok {
		return nil, newProblem(http.StatusInternalServerError, "the token was made but is not known; make another")
	}
	s.tell(ctx, events.Event{Kind: "token.created", To: t.ID, Reason: t.Name})
	out := tokenOf(t)
	out.Secret = secret
	return &answer[Token]{out}, nil
}

func (s *Server) revokeToken(ctx context.Context, in *struct {
	ID string `path:"id" maxLength:"64"`
},
) (*struct{}, error) {
	if _, err := s.propose(ctx, "auth", s.cfg.Auth.RevokeTokenCommand(in.ID)); err != nil {
		if p, ok := err.(*Problem); ok && p.Status == http.StatusNotFound {
			p.Detail = fmt.Sprintf("there is no token %s; `tandem token list` shows those there are", in.ID)
		}
		return nil, err
	}
	s.tell(ctx, events.Event{Kind: "token.revoked", To: in.ID})
	return nil, nil
}

// Ban is a source that is kept out.
type Ban struct {
	Source string    `json:"source" doc:"An IPv4 address, or an IPv6 /64."`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
	Reason string    `json:"reason"`
}

func (s *Server) banRoutes(api huma.API) {
	route(api, http.MethodGet, "/bans", "list-bans", "List banned sources", s.listBans)
	route(api, http.MethodDelete, "/bans/{source}", "remove-ban", "Let a source in again", s.removeBan, noContent, fails(404))
}

func (s *Server) listBans(context.Context, *struct{}) (*answer[List[Ban]], error) {
	out := List[Ban]{Items: []Ban{}}
	if s.cfg.Guard != nil {
		for _, b := range s.cfg.Guard.Bans() {
			source := b.Source.String()
			if b.Source.IsSingleIP() {
				source = b.Source.Addr().String()
			}
			out.Items = append(out.Items, Ban{Source: source, Since: b.Since, Until: b.Until, Reason: b.Reason})
		}
	}
	out.Total = len(out.Items)
	return &answer[List[Ban]]{out}, nil
}

func (s *Server) removeBan(ctx context.Context, in *struct {
	Source string `path:"source" doc:"Address, or a prefix as it is listed."`
},
) (*struct{}, error) {
	ip, err := netip.ParseAddr(in.Source)
	if err != nil {
		prefix, perr := netip.ParsePrefix(in.Source)
		if perr != nil {
			return nil, newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("%q is not an IP address", in.Source))
		}
		ip = prefix.Addr()
	}
	if s.cfg.Guard == nil || !s.cfg.Guard.Unban(ip) {
		return nil, newProblem(http.StatusNotFound, fmt.Sprintf("%s is not banned on this node; `tandem bans list` shows who is", in.Source))
	}
	s.tell(ctx, events.Event{Kind: "guard.unbanned", Peer: in.Source})
	return nil, nil
}
