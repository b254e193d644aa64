package turn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/turn/v5"
)

// Config sets a Server up. Media, Address, Secret and at least one address to listen on are needed.
type Config struct {
	// UDP, TCP and TLS hold listeners, IP:port each.
	UDP, TCP, TLS []string
	// TLSConfig is needed with TLS.
	TLSConfig *tls.Config
	// Realm is told to phones; default "tandem".
	Realm string
	// Secret makes and checks credentials, 16 bytes or more; the same on all nodes.
	Secret []byte
	// Known reports whether a user of a credential may still relay; nil means yes. Any goroutine; must be fast.
	Known func(user string) bool
	// Media is what relayed packets may reach.
	Media Media
	// Address is told to phones as the address of their relay ports, at most one of each family. Nobody but our media engine sends there.
	Address []netip.Addr
	// PerUser bounds the allocations of one user, default 20 (a browser with three ways in makes three a call); Allocations those of all, default 5000.
	PerUser, Allocations int
	// Connections bounds those of TCP and TLS together, default 5000; ConnectionsPerIP those of one address, default 64.
	Connections, ConnectionsPerIP int
	// BitRate bounds each direction of an allocation together, in bits per second; default 10,000,000, a good video call twice over.
	BitRate int64
	// Log receives lines for operators; nil discards them.
	Log *slog.Logger
}

func (c *Config) ensureDefaults() {
	if c.Realm == "" {
		c.Realm = "tandem"
	}
	if c.PerUser == 0 {
		c.PerUser = 20
	}
	if c.Allocations == 0 {
		c.Allocations = 5000
	}
	if c.Connections == 0 {
		c.Connections = 5000
	}
	if c.ConnectionsPerIP == 0 {
		c.ConnectionsPerIP = 64
	}
	if c.BitRate == 0 {
		c.BitRate = 10_000_000
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

func (c *Config) check() error {
	switch {
	case len(c.UDP)+len(c.TCP)+len(c.TLS) == 0:
		return errors.New("turn: no address to listen on")
	case len(c.TLS) > 0 && c.TLSConfig == nil:
		return errors.New("turn: TLS listeners want a TLSConfig")
	case len(c.Secret) < 16:
		return errors.New("turn: the secret has fewer than 16 bytes")
	case c.Media == nil || len(c.Address) == 0:
		return errors.New("turn: no media to relay to")
	case c.PerUser < 0 || c.Allocations < 0 || c.Connections < 0 || c.ConnectionsPerIP < 0 || c.BitRate < 0:
		return errors.New("turn: a negative limit")
	}
	return nil
}

// Server is a TURN server in front of one media engine. All methods may be called from any goroutine.
type Server struct {
	cfg   Config
	log   *slog.Logger
	ways  *ways
	count counters

	mu     sync.Mutex
	udp    []net.PacketConn
	tcp    []net.Listener
	byUser map[string]int // allocations
}

// New checks the configuration. It opens nothing and starts nothing.
func New(c Config) (*Server, error) {
	c.ensureDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	s := &Server{cfg: c, log: c.Log, byUser: make(map[string]int)}
	s.ways = &ways{s: s}
	for _, told := range c.Address {
		local, ours := c.Media.Reach(told)
		if !ours {
			return nil, fmt.Errorf("turn: media is not received at %s", told)
		}
		i := 0
		if told.Is6() {
			i = 1
		}
		s.ways.told[i], s.ways.local[i] = told, local
	}
	return s, nil
}

// Listen opens the listeners; Run serves them.
func (s *Server) Listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, addr := range s.cfg.UDP {
		c, err := net.ListenPacket("udp", addr)
		if err != nil {
			return s.unopened("udp", addr, err)
		}
		s.udp = append(s.udp, &datagrams{c, s})
	}
	for i, addr := range append(append([]string(nil), s.cfg.TCP...), s.cfg.TLS...) {
		way, config := "tcp", (*tls.Config)(nil)
		if i >= len(s.cfg.TCP) {
			way, config = "tls", s.cfg.TLSConfig
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return s.unopened(way, addr, err)
		}
		s.tcp = append(s.tcp, newDoorman(l, s, config))
	}
	return nil
}

func (s *Server) unopened(way, addr string, err error) error {
	for _, c := range s.udp {
		_ = c.Close()
	}
	for _, l := range s.tcp {
		_ = l.Close()
	}
	s.udp, s.tcp = nil, nil
	return fmt.Errorf("TURN address %s: %w; another process has it, or choose one with turn.%s", addr, err, way)
}

// Addrs are the bound addresses, those of UDP first, as "udp:IP:port", "tcp:..." and "tls:...".
func (s *Server) Addrs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, c := range s.udp {
		out = append(out, "udp:"+c.LocalAddr().String())
	}
	for i, l := range s.tcp {
		way := "tcp:"
		if i >= len(s.cfg.TCP) {
			way = "tls:"
		}
		out = append(out, way+l.Addr().String())
	}
	return out
}

// Run serves until ctx ends; then all allocations end.
func (s *Server) Run(ctx context.Context) error {
	config := turn.ServerConfig{
		Realm: s.cfg.Realm, LoggerFactory: pionLog{s.log}, AuthHandler: s.authenticate, QuotaHandler: s.quota,
		EventHandler: turn.EventHandler{
			OnAuth: func(_, _ net.Addr, _, _, _, _ string, good bool) {
				if !good {
					s.count.denied.Add(1)
				}
			},
			OnAllocationCreated: func(_, _ net.Addr, _, user, _ string, _ net.Addr, _ int) { s.allocated(user, +1) },
			OnAllocationDeleted: func(_, _ net.Addr, _, user, _ string) { s.allocated(user, -1) },
		},
	}
	s.mu.Lock()
	for _, c := range s.udp {
		config.PacketConnConfigs = append(config.PacketConnConfigs, turn.PacketConnConfig{PacketConn: c, RelayAddressGenerator: s.ways, PermissionHandler: s.permit})
	}
	for _, l := range s.tcp {
		config.ListenerConfigs = append(config.ListenerConfigs, turn.ListenerConfig{Listener: l, RelayAddressGenerator: s.ways, PermissionHandler: s.permit})
	}
	s.mu.Unlock()
	server, err := turn.NewServer(config)
	if err != nil {
		return fmt.Errorf("turn: %w", err)
	}
	<-ctx.Done()
	return server.Close()
}

// authenticate gives the key of a credential (RFC 8489 §9.2).
func (s *Server) authenticate(ra *turn.RequestAttributes) (user string, key []byte, ok bool) {
	user, err := userOf(ra.Username, time.Now())
	if err == nil && s.cfg.Known != nil && !s.cfg.Known(user) {
		err = errors.New("there is no such user")
	}
	if err != nil {
		s.count.denied.Add(1)
		s.log.Debug("TURN request refused", "peer", ra.SrcAddr.String(), "name", ra.Username, "error", err)
		return "", nil, false
	}
	return user, longTermKey(ra.Username, s.cfg.Realm, password(s.cfg.Secret, ra.Username)), true
}

// quota says whether a user may have one more allocation; no is answered with 486.
func (s *Server) quota(user, _ string, _ net.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byUser[user] >= s.cfg.PerUser || int(s.count.allocations.Load()) >= s.cfg.Allocations {
		s.count.quota.Add(1)
		return false
	}
	return true
}

func (s *Server) allocated(user string, change int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count.allocations.Add(int64(change))
	if change > 0 {
		s.count.allocated.Add(1)
	}
	if s.byUser[user] += change; s.byUser[user] <= 0 {
		delete(s.byUser, user)
	}
}

// permit says whether packets may go to a peer at all; relay looks at ports.
func (s *Server) permit(_ net.Addr, peer net.IP) bool {
	addr, _ := netip.AddrFromSlice(peer)
	if _, ours := s.cfg.Media.Reach(addr.Unmap()); !ours {
		s.count.forbidden.Add(1)
		return false
	}
	return true
}
