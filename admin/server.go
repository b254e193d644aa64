package admin

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"tandem/admin/phone"
	"tandem/auth"
	"tandem/certs"
	"tandem/cluster"
	"tandem/dialplan"
	"tandem/events"
	"tandem/pbx"
	"tandem/pbx/mailbox"
	"tandem/rtpengine"
	"tandem/rtpengine/ng"
	"tandem/rtpengine/turn"
	"tandem/sip"
	"tandem/sip/transport"
)

// Config is what a Server shows and changes. Auth, Cluster, Dialplan, Location, PBX, SIP and Events are required; a part that
// is nil besides is left out.
type Config struct {
	Node, Version string
	Region        string   // of the node, "" when it has none
	Roles         []string // of the node
	Listen        string   // host:port of the TCP listener, "" opens none
	Socket        string   // path of the unix socket, "" opens none
	Log           *slog.Logger

	Auth      *auth.Store
	Cluster   *cluster.Cluster
	Dialplan  *dialplan.Store
	Location  *sip.Location
	PBX       *pbx.PBX
	Messages  *mailbox.Store // of mailboxes; nil when this node keeps none
	Prompts   *pbx.Prompts   // nil in tests
	Trunks    *sip.Trunks    // nil when there are none
	Secrets   *auth.Secrets  // nil in tests
	SIP       *sip.Server
	Digest    *sip.Digest
	Registrar *sip.Registrar
	Media     *rtpengine.Engine
	NG        *ng.Server     // nil when no other proxy uses the media engine
	Engines   *ng.Engines    // nil when calls are given to no engine elsewhere
	TURN      *turn.Server   // nil when there is none
	Phone     *phone.Handler // nil in tests
	Events    *events.Log
	Guard     *transport.Guard
	Certs     *certs.Store
	Ready     func() error // nil when the node serves, else what is missing
	// TakeOver is given the connection of a process that wants to take the node's place; nil refuses them. It is called in a goroutine
	// that nobody waits for.
	TakeOver func(*net.UnixConn)
	// Drain has the node give away what it does and end, and Drained tells how far that is; nil: it can only be told by a signal. A negative wait
	// is the configured one.
	Drain   func(wait time.Duration) error
	Drained func() Drain

	Connections int           // open at once on each door, default 512; more are closed at once
	Streams     int           // event streams open at once, default 64; more get 503
	Heartbeat   time.Duration // between signs of life on an event stream, default 15 s
}

// Bounds of what one request may take.
const (
	headerTimeout  = 10 * time.Second
	requestTimeout = time.Minute     // reading a request, and writing an answer
	profileTimeout = 5 * time.Minute // of /debug/pprof
	idleTimeout    = 2 * time.Minute
	stopTimeout    = 3 * time.Second  // for requests under way when the node stops
	proposeTimeout = 10 * time.Second // for the cluster to agree
	maxHeaderBytes = 32 << 10
	maxBody        = 1 << 20
	maxPlanBody    = 24 << 20 // a dialplan of dialplan.MaxBytes with its JSON escapes; a prompt of two minutes as studios give it
)

// Server is the HTTP side of a node.
type Server struct {
	cfg      Config
	started  time.Time
	tcp      *door
	unix     *door
	routes   http.Handler  // of the API
	stopping chan struct{} // closed when Run begins to stop: ends event streams
	count    counters
}

type counters struct {
	requests [6]atomic.Uint64 // by hundreds of the status
	refused  atomic.Uint64    // without a good token, or from a foreign page
	turned   atomic.Uint64    // connections closed because too many were open
	panics   atomic.Uint64
	conns    atomic.Int64
	streams  atomic.Int64
}

// Stats are counters since the start and gauges of now.
type Stats struct {
	Requests [6]uint64 // answered, by hundreds of the status: Requests[2] is 2xx
	Refused  uint64    // requests without a good token, or from a foreign web page
	Turned   uint64    // connections closed because too many were open
	Panics   uint64
	Conns    int64 // open
	Streams  int64 // event streams open
}

// New checks cfg. Nothing listens before Listen, nothing runs before Run.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Auth == nil || cfg.Cluster == nil || cfg.Dialplan == nil || cfg.Location == nil || cfg.PBX == nil || cfg.SIP == nil || cfg.Events == nil:
		return nil, errors.New("admin: Auth, Cluster, Dialplan, Location, PBX, SIP and Events are required")
	case cfg.Listen == "" && cfg.Socket == "":
		return nil, errors.New("admin: neither a socket nor an address to listen on")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Ready == nil {
		cfg.Ready = func() error { return nil }
	}
	cfg.Connections = cmp.Or(cfg.Connections, 512)
	cfg.Streams = cmp.Or(cfg.Streams, 64)
	cfg.Heartbeat = cmp.Or(cfg.Heartbeat, 15*time.Second)
	s := &Server{cfg: cfg, started: time.Now(), stopping: make(chan struct{})}
	s.routes = s.api()
	return s, nil
}

// Stats may be called from any goroutine.
func (s *Server) Stats() Stats {
	c := &s.count
	st := Stats{Refused: c.refused.Load(), Turned: c.turned.Load(), Panics: c.panics.Load(), Conns: c.conns.Load(), Streams: c.streams.Load()}
	for i := range st.Requests {
		st.Requests[i] = c.requests[i].Load()
	}
	return st
}

// Run serves until ctx ends, and returns when every connection has ended. Requests under way get a few seconds. It binds
// the listeners if Listen has not been called. A Server runs once.
func (s *Server) Run(ctx context.Context) error {
	if s.tcp == nil && s.unix == nil {
		if err := s.Listen(); err != nil {
			return err
		}
	}
	var wg sync.WaitGroup
	failed := make(chan error, 2)
	var servers []*http.Server
	serve := func(d *door, h http.Handler) {
		srv := s.httpServer(d, h)
		servers = append(servers, srv)
		wg.Go(func() {
			if err := srv.Serve(d); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		})
	}
	if s.unix != nil {
		serve(s.unix, s.handler(s.routes, false))
	}
	if s.tcp != nil {
		serve(s.tcp, s.guard(s.handler(s.routes, true)))
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	close(s.stopping)
	s.stop(servers)
	wg.Wait()
	for _, d := range []*door{s.unix, s.tcp} {
		if d != nil {
			d.wait()
		}
	}
	return err
}

func (s *Server) stop(servers []*http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, srv := range servers {
		wg.Go(func() {
			if srv.Shutdown(ctx) != nil {
				_ = srv.Close()
			}
		})
	}
	wg.Wait()
}

func (s *Server) httpServer(d *door, h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, ReadTimeout: requestTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:  slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
		ConnState: func(_ net.Conn, state http.ConnState) { d.changed(state) },
	}
}
