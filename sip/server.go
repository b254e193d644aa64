// Package sip answers two questions: who is at the other end, and what did they ask?
//
// Packets arrive in sip/transport, which puts all packets of one Call-ID into the queue of one shard. A shard (shard.go)
// has its own transactions, dialogs and timers and does one thing at a time; nothing in it is locked. It answers REGISTER through the
// Registrar, challenges through Digest, relays what belongs to a dialog it knows, and hands what begins something to the
// Handler, which is the pbx. The Handler runs on the shard as well and speaks to it through an Inbound; what takes long asks
// for a goroutine (handlers.go).
//
// Reading order for a call: shard.go (Receive), gate.go (who is it), inbound.go (what the Handler sees), fork.go and
// branch.go (RFC 3261 §16), dialog.go (what is left of a call once it is answered).
package sip

import (
	"context"
	"crypto/rand"
	"errors"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"tandem/events"
	"tandem/sip/message"
	"tandem/sip/transport"
)

// Handler decides what becomes of requests that begin something. Both methods run on the request's shard and must not block:
// they answer, start a relay, or ask for a goroutine (Inbound.Go). A panic in one ends that one request with 500 and is counted.
type Handler interface {
	ServeInvite(in *Inbound)  // INVITE outside a dialog
	ServeRequest(in *Inbound) // any other request outside a dialog that is addressed to a user
}

// Directory knows which users there are.
type Directory interface {
	// User gives the canonical user for a user name or extension of a tenant. Any goroutine; must not block.
	User(tenant, name string) (user string, ok bool)
	// TenantOf gives the tenant a SIP domain or address of ours belongs to.
	TenantOf(host string) (tenant string, ok bool)
	// HasTenant tells whether there is a tenant of that name. Any goroutine; must not block.
	HasTenant(name string) bool
}

// Config is what a Server needs. Transport, Digest, Registrar, Location, Directory and Handler are required.
type Config struct {
	Transport transport.Config // NewHandler and Tap are set by New
	Digest    *Digest
	Registrar *Registrar
	Location  *Location
	Directory Directory
	Handler   Handler
	Events    *events.Log // nil publishes nothing
	Guard     *transport.Guard
	Edge      *EdgeConfig // the way to the other nodes; nil when this one is alone
	// CatchUp waits until this node has applied what others have agreed on so far, see cluster.Cluster.CatchUp; nil when there are no others.
	CatchUp func(context.Context) error
	Trunks  *Trunks // nil knows none

	Software        string        // Server and User-Agent header, "" leaves them out
	TimerC          time.Duration // longest ringing of one branch (RFC 3261 §16.6 step 11), default 3m
	MaxTransactions int           // server transactions a shard keeps before it sheds new ones, default 200,000
	MaxDialogs      int           // dialogs a shard keeps, default 100,000
	MaxCallTime     time.Duration // a call is ended after this time whatever happens, default 12h
	SessionInterval time.Duration // asked for in calls whose phones do not ask (RFC 4028 §8.1), default 30m; negative asks for none
	TraceBytes      int           // rings of recent messages, all shards together, default 16 MiB; negative turns them off
	Recurse         bool          // follow 3xx to users of this node (RFC 3261 §16.5), others are passed on
	Entitled        func() bool   // that no other node may go on with the calls of this one; until then it ends none by itself. nil: always
	Log             *slog.Logger
}

func (c *Config) defaults() error {
	switch {
	case c.Digest == nil || c.Registrar == nil || c.Location == nil || c.Directory == nil || c.Handler == nil:
		return errors.New("sip: Digest, Registrar, Location, Directory and Handler are required")
	case c.TimerC == 0:
		c.TimerC = 3 * time.Minute
	}
	if c.MaxTransactions == 0 {
		c.MaxTransactions = 200_000
	}
	if c.MaxDialogs == 0 {
		c.MaxDialogs = 100_000
	}
	if c.MaxCallTime == 0 {
		c.MaxCallTime = 12 * time.Hour
	}
	if c.SessionInterval == 0 {
		c.SessionInterval = 30 * time.Minute
	}
	if c.TraceBytes == 0 {
		c.TraceBytes = 16 << 20
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// A Server is the SIP side of one node.
type Server struct {
	cfg      Config
	net      *transport.Transport
	shards   []*shard
	seed     maphash.Seed
	flowKey  [32]byte // signs flow tokens; of one process, or the same on all nodes of a cluster
	edge     *edge    // nil when this node is alone
	catching catching
	draining atomic.Bool
	pause    atomic.Int32 // see takeover.go
	handlers handlers
	stopped  chan struct{} // closed when the shards have ended
	faults   throttle
	noTCP    tcpRefusals
	bounds   atomic.Pointer[Limits]
}

// New validates cfg and builds the server; nothing listens before Listen, nothing runs before Run.
func New(cfg Config) (*Server, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	if cfg.Trunks == nil {
		cfg.Trunks = NewTrunks(TrunksConfig{})
	}
	s := &Server{cfg: cfg, seed: maphash.MakeSeed(), stopped: make(chan struct{})}
	s.SetLimits(Limits{cfg.MaxTransactions, cfg.MaxDialogs, cfg.MaxCallTime, cfg.TimerC, cfg.Recurse})
	tc := cfg.Transport
	if _, err := rand.Read(s.flowKey[:]); err != nil {
		return nil, err
	}
	if cfg.Edge != nil {
		s.flowKey, s.edge = cfg.Edge.Key, newEdge(cfg.Edge, s)
		tc.Fellows, tc.Self = s.edge, s.edge.number
	}
	if tc.Shards == 0 {
		tc.Shards = runtime.GOMAXPROCS(0)
	}
	if s.cfg.TraceBytes > 0 {
		s.cfg.TraceBytes = max(s.cfg.TraceBytes/tc.Shards, 1<<16)
	}
	tc.Guard = cfg.Guard
	tc.ServerName = cfg.Trunks.ServerName
	tc.NewHandler = func(io *transport.Shard) transport.Handler {
		sh := newShard(s, io)
		s.shards = append(s.shards, sh)
		return sh
	}
	if cfg.TraceBytes > 0 {
		tc.Tap = func(i int, out bool, f transport.Flow, msg []byte) {
			s.shards[i].trace.add(s.shards[i].io.Now(), out, f, msg)
		}
	}
	t, err := transport.New(tc)
	if err != nil {
		return nil, err
	}
	s.net = t
	cfg.Trunks.srv.Store(s)
	return s, nil
}

// Transport is the server's door to the network: its listeners, flows and counters.
func (s *Server) Transport() *transport.Transport { return s.net }

// Listen binds all listeners.
func (s *Server) Listen() error { return s.net.Listen() }

// Run serves until ctx ends, and returns when all handlers have come back. A Server runs once.
func (s *Server) Run(ctx context.Context) error {
	err := s.net.Run(ctx)
	close(s.stopped)
	s.handlers.wg.Wait()
	return err
}

// Yield has nothing begin here any more: another node of the cluster gets it, or it is refused with 503. The rest goes on. Any goroutine.
func (s *Server) Yield() { s.draining.Store(true) }

// Drain is Yield, and returns when no dialog and no unanswered request is left or ctx ends.
func (s *Server) Drain(ctx context.Context) error {
	s.Yield()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if st := s.Stats(); st.Dialogs == 0 && st.Pending == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Stats are counters since the start and gauges of now. Any goroutine.
type Stats struct {
	Requests, Responses uint64 // received and well-formed
	Malformed           uint64 // refused or dropped because they do not parse or validate
	Retransmitted       uint64 // requests absorbed as retransmissions
	StrayResponses      uint64 // responses that belong to no branch
	StrayACKs           uint64
	Challenged          uint64
	AuthFailed          uint64
	Unknown481          uint64 // in-dialog requests without a dialog
	LoopsDetected       uint64
	TooManyHops         uint64
	Shed                uint64 // refused because a table is full or the node drains
	SendErrors          uint64
	TimerC              uint64
	SessionsExpired     uint64 // calls ended because nobody refreshed the session (RFC 4028)
	OwnRequests         uint64 // requests of the node's own inside calls, other than those that end one
	OwnRefused          uint64 // of them, those that could not be sent
	HeldLost            uint64 // messages that came during a take-over and found no room
	CallersLost         uint64 // calls cancelled because the caller's connection broke while phones rang
	CallersBack         uint64 // callers who came back over another connection in time
	Panics              uint64
	Notified            uint64 // NOTIFYs that were sent for them
	TraceDropped        uint64
	Lagged              uint64 // requests that were looked at again because other nodes knew more
	NextFlows           uint64 // phones reached over another flow of theirs, for the first one was gone (RFC 5626 §5.3)
	Edge                EdgeStats

	Transactions, Branches, Dialogs int64
	Pending                         int64 // requests of the Handler without a final answer
	Handlers                        int64 // goroutines of theirs
	Subscriptions                   int64 // of phones that this node tells of changes
	Remains                         int64 // transactions of either side that only await retransmissions, when a timer last looked
}

type counters struct {
	requests, responses, malformed, retransmitted, strayResponses, strayACKs, challenged, authFailed, unknown481, loops, hops,
	shed, sendErrors, timerC, sessionsExpired, callersLost, callersBack, own, ownRefused, heldLost, lagged, nextFlows, panics, notified atomic.Uint64
	transactions, branches, dialogs, pending, remains, subscriptions atomic.Int64
}

// Digest and Registrar are the parts the server was given, for their counters.
func (s *Server) Digest() *Digest { return s.cfg.Digest }

// Registrar is the registrar of REGISTER requests.
func (s *Server) Registrar() *Registrar { return s.cfg.Registrar }

// Stats adds up the shards.
func (s *Server) Stats() Stats {
	st := Stats{Handlers: s.handlers.running.Load(), Edge: s.edge.stats()}
	for _, sh := range s.shards {
		c := &sh.count
		st.Requests += c.requests.Load()
		st.Responses += c.responses.Load()
		st.Malformed += c.malformed.Load()
		st.Retransmitted += c.retransmitted.Load()
		st.StrayResponses += c.strayResponses.Load()
		st.StrayACKs += c.strayACKs.Load()
		st.Challenged += c.challenged.Load()
		st.AuthFailed += c.authFailed.Load()
		st.Unknown481 += c.unknown481.Load()
		st.LoopsDetected += c.loops.Load()
		st.TooManyHops += c.hops.Load()
		st.Shed += c.shed.Load()
		st.SendErrors += c.sendErrors.Load()
		st.TimerC += c.timerC.Load()
		st.SessionsExpired += c.sessionsExpired.Load()
		st.OwnRequests += c.own.Load()
		st.OwnRefused += c.ownRefused.Load()
		st.HeldLost += c.heldLost.Load()
		st.CallersLost += c.callersLost.Load()
		st.CallersBack += c.callersBack.Load()
		st.Lagged += c.lagged.Load()
		st.NextFlows += c.nextFlows.Load()
		st.Panics += c.panics.Load()
		st.Notified += c.notified.Load()
		st.Subscriptions += c.subscriptions.Load()
		st.Transactions += c.transactions.Load()
		st.Branches += c.branches.Load()
		st.Dialogs += c.dialogs.Load()
		st.Pending += c.pending.Load()
		st.Remains += c.remains.Load()
	}
	return st
}

func (s *Server) publish(e events.Event) {
	if s.cfg.Events != nil {
		s.cfg.Events.Publish(e)
	}
}

// Target is one place a request may be sent to.
type Target struct {
	URI    string         // becomes the Request-URI
	Flow   transport.Flow // way to it when Known; else the URI's host and port say it
	Known  bool
	Path   []string // becomes Route (RFC 3327 §5.2)
	User   string   // canonical user the target belongs to, "" outside
	Tenant string
	Login  *Login        // answers challenges of the target; nil passes them on
	Delay  time.Duration // how much later than its group it rings; at once when nobody else rings any more
	Others []Target      // further flows of the same phone, tried one after the other when this one is gone (RFC 5626 §5.3)
}

// Over tells whether one of the phone's flows is f.
func (t *Target) Over(f transport.Flow) bool {
	return t.Known && t.Flow == f || slices.ContainsFunc(t.Others, func(o Target) bool { return o.Known && o.Flow == f })
}

// Targets are the contacts a user has registered, in groups of equal q, highest first (RFC 3261 §16.6). Any goroutine.
func (s *Server) Targets(tenant, user string, now time.Time) [][]Target {
	var few [4]place
	places := s.cfg.Location.places(few[:0], tenant, user, now)
	if len(places) == 0 {
		return nil
	}
	if len(places) == 1 {
		lone := &struct {
			groups  [1][]Target
			targets [1]Target
		}{targets: [1]Target{places[0].Target}}
		lone.groups[0] = lone.targets[:]
		return lone.groups[:]
	}
	places = s.onePhoneOnce(places)
	all := make([]Target, len(places))
	var groups [][]Target
	first := 0
	for i := range places {
		all[i] = places[i].Target
		if i+1 == len(places) || places[i+1].q != places[i].q {
			groups = append(groups, all[first:i+1:i+1])
			first = i + 1
		}
	}
	return groups
}

// onePhoneOnce keeps one place of each phone that has registered several flows, the first that is alive, and puts the others behind it: a phone
// rings once (RFC 5626 §7).
func (s *Server) onePhoneOnce(places []place) []place {
	kept := places[:0]
	for _, p := range places {
		i := slices.IndexFunc(kept, func(o place) bool { return p.instance != "" && o.instance == p.instance })
		switch {
		case i < 0:
			kept = append(kept, p)
		case !s.net.Alive(kept[i].Flow) && s.net.Alive(p.Flow):
			first := kept[i].Target
			p.Others, first.Others = append(first.Others, first), nil
			p.Others[len(p.Others)-1].Others = nil
			p.q, p.since = kept[i].q, kept[i].since
			kept[i] = p
		default:
			kept[i].Others = append(kept[i].Others, p.Target)
		}
	}
	return kept
}

// targetOf is the way to a binding. What the phone wrote behind a '?' of its contact stays in the table alone.
func targetOf(b *Binding, tenant, user string) Target {
	return Target{URI: message.RequestURI(b.Contact), Flow: b.Flow, Known: true, Path: b.Path, User: user, Tenant: tenant}
}

// addrOf resolves the host of a URI that is an address; names are not looked up here.
func addrOf(u message.URI) (netip.AddrPort, bool) {
	host := u.Host
	if m, ok := u.Param("maddr"); ok {
		host = m
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, false
	}
	port := u.Port
	if port == 0 {
		if port = 5060; u.Transport() == "tls" {
			port = 5061
		}
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(port)), true
}
