package admin

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// A caller is who makes a request.
type caller struct {
	Name  string // of the token, "" when none was needed
	Token bool
}

type callerKey struct{}

// callerOf is who makes the request that ctx belongs to.
func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// author is who a change is attributed to: the token's name, else what the caller says of himself.
func author(ctx context.Context, said string) string {
	switch c := callerOf(ctx); {
	case c.Token:
		return c.Name
	case said != "":
		return said
	}
	return "local"
}

// guard is the TCP listener's door-keeper. A listener that only this machine can reach lets everybody in but web pages of
// other sites; any other asks for a token. The unix socket has none: the file's mode is its guard.
func (s *Server) guard(next http.Handler) http.Handler {
	local := s.loopback()
	pages := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" || r.URL.Path == "/readyz" {
			next.ServeHTTP(w, r)
			return
		}
		secret, given := bearer(r)
		switch {
		case given:
			t, ok := s.cfg.Auth.VerifyToken(secret, time.Now())
			if !ok {
				s.refuse(w, http.StatusUnauthorized, "this token is not known or has expired; make another with `tandem token create NAME` on the node")
				return
			}
			r = r.WithContext(context.WithValue(r.Context(), callerKey{}, caller{Name: t.Name, Token: true}))
		case !local:
			s.refuse(w, http.StatusUnauthorized, "a token is needed: make one with `tandem token create NAME` on the node and give it with --token, TANDEM_TOKEN or the header Authorization: Bearer")
			return
		case !literal(r.Host):
			// A web page whose name points here (DNS rebinding) would count as the same origin.
			s.refuse(w, http.StatusForbidden, "this listener is asked by address or as localhost only; use a token to come by name")
			return
		case pages.Check(r) != nil:
			s.refuse(w, http.StatusForbidden, "requests from web pages of other sites need a token")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func bearer(r *http.Request) (secret string, ok bool) {
	kind, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(secret), strings.EqualFold(kind, "Bearer")
}

// literal tells whether a Host header names an address and not a name that anybody could own.
func literal(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	_, err := netip.ParseAddr(host)
	return err == nil || strings.EqualFold(host, "localhost")
}

func (s *Server) refuse(w http.ResponseWriter, status int, detail string) {
	s.count.refused.Add(1)
	s.count.requests[status/100].Add(1)
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="tandem"`)
	}
	writeProblem(w, status, detail)
}

func writeProblem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", problemType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(newProblem(status, detail))
}
