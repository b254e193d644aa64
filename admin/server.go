// Package admin is the one window into a node: an HTTP/JSON API with its OpenAPI description, the event stream, metrics, and
// the Go client that the operators' commands use.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"tandem/auth"
	"tandem/certs"
	"tandem/cluster"
	"tandem/dialplan"
	"tandem/events"
	"tandem/pbx"
	"tandem/rtpengine"
	"tandem/sip"
	"tandem/sip/transport"
)

// Config is what a Server needs.
type Config struct {
	Node, Version  string
	Listen, Socket string
	Log            *slog.Logger

	Auth     *auth.Store
	Cluster  *cluster.Cluster
	Dialplan *dialplan.Store
	Location *sip.Location
	PBX      *pbx.PBX
	SIP      *sip.Server
	Media    *rtpengine.Engine
	Events   *events.Log
	Guard    *transport.Guard
	Certs    *certs.Store
	Ready    func() error
}

// Server serves the API.
type Server struct {
	cfg Config
	tcp net.Listener
	mu  sync.Mutex
}

// New checks cfg.
func New(cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: cfg}, nil
}

// Listen binds.
func (s *Server) Listen() error {
	l, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("admin address %s: %w", s.cfg.Listen, err)
	}
	s.tcp = l
	return nil
}

// Addr is the bound TCP address.
func (s *Server) Addr() string {
	if s.tcp == nil {
		return ""
	}
	return s.tcp.Addr().String()
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	srv := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(s.tcp); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
