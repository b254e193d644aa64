package sip

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tandem/events"
	"tandem/sip/message"
	"tandem/sip/transport"
)

// A Trunk is a carrier, or another telephone system, as signalling has to know it.
type Trunk struct {
	Tenant, Name string
	Register     string        // our address at its registrar, like "sip:acme@sbc.example"; "" registers nowhere
	Expires      time.Duration // asked for, default 1h
	Hosts        []string      // where calls go, tried in this order: "host", "host:port", "[IPv6]:port"; none takes that of Register
	Transport    string        // "udp", "tcp" or "tls"; "" as DNS says, else udp
	Login        *Login        // answers its challenges; nil does not
	Ping         time.Duration // how often OPTIONS ask whether an address is alive; 0 never does, and every address counts as alive
	From         []netip.Prefix
	InUser       string // digest name that calls from the trunk may come with, "" = none
	InPassword   string
}

func (t *Trunk) key() string { return t.Tenant + "\x00" + t.Name }

// TrunksConfig is what Trunks need.
type TrunksConfig struct {
	Key      [32]byte    // makes the contacts that carriers call back; the same on all nodes and over restarts
	Lead     func() bool // this node is the one that registers; nil is always
	Resolver Resolver    // nil is the system's
	Events   *events.Log // nil publishes nothing
	Log      *slog.Logger
}

// Resolver looks names up; *net.Resolver does.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// Trunks know the carriers: where they are, whether they are alive and who calls from there, and register where a carrier wants that. What
// takes long (DNS) or returns (registrations, OPTIONS) is done by Run; calls ask for what is known at the moment and never wait. Its methods
// may be called from any goroutine.
type Trunks struct {
	cfg TrunksConfig
	srv atomic.Pointer[Server]

	mu       sync.Mutex
	carriers map[string]*carrier
	leads    bool
	leaving  []chore // bindings that are given back

	peers   atomic.Pointer[peerTable]
	wake    chan struct{}
	lookups chan struct{} // one token for each that may run
	count   trunkCounters
}

type trunkCounters struct {
	registers, registerFailed, pings, pingFailed, downs, lookups, lookupFailed, inbound, strangers atomic.Uint64
}

// maxLookups bounds the names that are looked up at the same time.
const maxLookups = 8

// NewTrunks makes the table; Set fills it.
func NewTrunks(cfg TrunksConfig) *Trunks {
	if cfg.Resolver == nil {
		cfg.Resolver = net.DefaultResolver
	}
	if cfg.Lead == nil {
		cfg.Lead = func() bool { return true }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	t := &Trunks{cfg: cfg, carriers: make(map[string]*carrier), wake: make(chan struct{}, 1), lookups: make(chan struct{}, maxLookups)}
	t.peers.Store(new(peerTable))
	return t
}

// A carrier is a trunk with what is known of it. Guarded by Trunks.mu.
type carrier struct {
	Trunk
	token string // user part of the Contact that it is registered with
	hosts []*carrierHost
	reg   registration
	alive bool
	told  bool // whether alive has been told
}

// Set says which trunks there are. Those that have not changed keep what is known of them.
func (t *Trunks) Set(list []Trunk) {
	t.mu.Lock()
	now := time.Now()
	left := t.carriers
	t.carriers = make(map[string]*carrier, len(list))
	for _, c := range list {
		old := left[c.key()]
		if old != nil && old.same(&c) {
			t.carriers[c.key()] = old
			delete(left, c.key())
			continue
		}
		t.carriers[c.key()] = t.newCarrier(c, now)
	}
	for _, old := range left {
		old.reg.leave(t, old)
	}
	t.rebuildPeers()
	t.mu.Unlock()
	t.stir()
}

func (c *carrier) same(o *Trunk) bool {
	a, b := c.Trunk, *o
	login := a.Login == b.Login || a.Login != nil && b.Login != nil && *a.Login == *b.Login
	return login && a.Register == b.Register && a.Expires == b.Expires && slices.Equal(a.Hosts, b.Hosts) && a.Transport == b.Transport && a.Ping == b.Ping &&
		slices.Equal(a.From, b.From) && a.InUser == b.InUser && a.InPassword == b.InPassword
}

func (t *Trunks) newCarrier(c Trunk, now time.Time) *carrier {
	c.Expires = cmp.Or(c.Expires, time.Hour)
	n := &carrier{Trunk: c, token: t.token(&c), alive: true}
	registrar, _ := message.ParseURI(c.Register)
	for _, h := range c.Hosts {
		n.hosts = append(n.hosts, newCarrierHost(h, c.Transport, now))
	}
	n.reg.init(registrar, now)
	if c.Register == "" {
		return n
	}
	at := registrar.Host
	if registrar.Port != 0 {
		at = string(appendHostPort(nil, registrar.Host, registrar.Port))
	}
	for _, h := range n.hosts {
		if h.text == at {
			n.reg.host = h
		}
	}
	if n.reg.host == nil {
		n.reg.host = newCarrierHost(at, cmp.Or(registrar.Transport(), c.Transport), now)
		n.hosts = append(n.hosts, n.reg.host)
		n.reg.host.registrar = len(c.Hosts) > 0
	}
	return n
}

// token is the user part of the contact that a carrier calls back. Nobody else can know it, every node makes the same, and it tells which
// trunk a call comes from whatever its source.
func (t *Trunks) token(c *Trunk) string {
	mac := hmac.New(sha256.New, t.cfg.Key[:])
	mac.Write([]byte(c.key()))
	return "t" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(mac.Sum(nil)[:15]))
}

// stir has Run look what is to be done.
func (t *Trunks) stir() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// leadLook is how often it is looked whether this node is the one that registers.
const leadLook = time.Second

// Run keeps registrations, addresses and health up to date until ctx ends.
func (t *Trunks) Run(ctx context.Context) error {
	var lookups sync.WaitGroup
	defer lookups.Wait()
	clock := time.NewTimer(0)
	defer clock.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.wake:
		case <-clock.C:
		}
		next, todo := t.due(time.Now())
		for _, do := range todo {
			do(ctx, &lookups)
		}
		clock.Reset(time.Until(next))
	}
}

// A chore is something that Run has to do outside of the lock.
type chore func(context.Context, *sync.WaitGroup)

// due collects what is to be done now, and says when to look again.
func (t *Trunks) due(now time.Time) (next time.Time, todo []chore) {
	leads := t.cfg.Lead()
	t.mu.Lock()
	defer t.mu.Unlock()
	next = now.Add(leadLook)
	todo, t.leaving = t.leaving, nil
	sooner := func(at time.Time) {
		if !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	for _, c := range t.carriers {
		for _, h := range c.hosts {
			if do := h.due(t, now); do != nil {
				todo = append(todo, do)
			}
			sooner(h.next)
			for _, a := range h.addrs {
				if do := a.due(t, c, now); do != nil {
					todo = append(todo, do)
				}
				sooner(a.next)
			}
		}
		if c.Register != "" {
			if t.leads && !leads {
				c.reg.leave(t, c)
			}
			if do := c.reg.due(t, c, now, leads); do != nil {
				todo = append(todo, do)
			}
			sooner(c.reg.next)
		}
		t.tellHealth(c)
	}
	t.leads = leads
	todo, t.leaving = append(todo, t.leaving...), nil
	if !next.After(now) {
		next = now.Add(time.Millisecond)
	}
	return next, todo
}

// tellHealth tells the world when a trunk has died or come to life.
func (t *Trunks) tellHealth(c *carrier) {
	alive, known := false, false
	for _, h := range c.hosts {
		known = known || len(h.addrs) > 0 || h.fault != ""
		alive = alive || slices.ContainsFunc(h.addrs, func(a *carrierAddr) bool { return a.up && !h.registrar })
	}
	if !known || alive == c.alive && c.told {
		return
	}
	was, told := c.alive, c.told
	c.alive, c.told = alive, true
	if alive && !told {
		return // as one expects
	}
	if was && !alive {
		t.count.downs.Add(1)
		t.cfg.Log.Warn("a trunk is down: no address of it answers", "trunk", c.Name, "tenant", c.Tenant)
		t.publish(c, events.TrunkDown, "no address answers")
		return
	}
	t.cfg.Log.Info("a trunk is up", "trunk", c.Name, "tenant", c.Tenant)
	t.publish(c, events.TrunkUp, "")
}

func (t *Trunks) publish(c *carrier, kind events.Kind, why string) {
	if t.cfg.Events != nil {
		t.cfg.Events.Publish(events.Event{Time: time.Now(), Kind: kind, Tenant: c.Tenant, To: c.Name, Reason: why})
	}
}

// A TrunkName says which trunk is meant.
type TrunkName struct{ Tenant, Name string }

// loginOf is what answers the challenges of a trunk; nil where there is no such trunk, or it asks for nothing.
func (s *Server) loginOf(n *TrunkName) *Login {
	t := s.cfg.Trunks
	if n == nil || t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.carriers[n.Tenant+"\x00"+n.Name]; c != nil {
		return c.Login
	}
	return nil
}

// TrunkWays are the ways that a call to a number may take over a trunk.
type TrunkWays struct {
	Groups [][]Target // one after the other; none when the trunk is down
	Host   string     // of the carrier, for To
	Domain string     // that our numbers have there, for From: the registrar's, else our address
}

// TrunkWays says how a number is called over a trunk. Any goroutine; it waits for nothing.
func (s *Server) TrunkWays(tenant, trunk, number string) TrunkWays {
	return s.cfg.Trunks.ways(s, tenant, trunk, number)
}

func (t *Trunks) ways(srv *Server, tenant, name, number string) (w TrunkWays) {
	t.mu.Lock()
	c := t.carriers[tenant+"\x00"+name]
	if c == nil {
		t.mu.Unlock()
		return w
	}
	var ways []carrierAddr
	for _, h := range c.hosts {
		if h.registrar {
			continue
		}
		for _, a := range h.addrs {
			if a.up {
				ways = append(ways, *a)
			}
		}
	}
	routes := c.reg.routes
	t.mu.Unlock()
	w.Domain = c.reg.uri.Host
	for _, a := range ways {
		f, err := srv.net.FlowTo(a.net, a.addr)
		if err != nil {
			continue
		}
		if w.Domain == "" {
			w.Domain, _ = srv.net.SentBy(f)
		}
		w.Host = cmp.Or(w.Host, a.host)
		w.Groups = append(w.Groups, []Target{{URI: a.uri(number), Flow: f, Known: true, Path: routes, Tenant: tenant, Login: c.Login}})
	}
	return w
}

// uri is the Request-URI of a number at an address.
func (a *carrierAddr) uri(number string) string {
	u := message.URI{Scheme: "sip", User: message.Escape(number), Host: a.host, Port: a.port}
	if a.net != transport.UDP {
		u.Params = "transport=" + a.net.String()
	}
	return u.String()
}

// ServerName is the name that the certificate of a carrier at an address has to be for (RFC 5922 §7.2); "" for others.
func (t *Trunks) ServerName(addr netip.AddrPort) string { return t.peers.Load().names[addr] }

// A Peer is a trunk that a call comes from.
type Peer struct {
	Tenant, Name string
	login        *Login
	token        string
}

// A peerTable is who calls from where.
type peerTable struct {
	byAddr   map[netip.Addr][]*Peer
	prefixes []peerPrefix
	byToken  map[string]*Peer
	byUser   map[string]peerUser // by tenant and digest name
	names    map[netip.AddrPort]string
	any      bool
}

type peerPrefix struct {
	netip.Prefix
	*Peer
}

type peerUser struct {
	password string
	*Peer
}

// rebuildPeers makes the table anew; t.mu is held.
func (t *Trunks) rebuildPeers() {
	p := &peerTable{
		byAddr: make(map[netip.Addr][]*Peer), byToken: make(map[string]*Peer), byUser: make(map[string]peerUser), names: make(map[netip.AddrPort]string), any: len(t.carriers) > 0,
	}
	keys := make([]string, 0, len(t.carriers))
	for k := range t.carriers {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		c := t.carriers[k]
		peer := &Peer{Tenant: c.Tenant, Name: c.Name, login: c.Login, token: c.token}
		for _, h := range c.hosts {
			for _, a := range h.addrs {
				p.names[a.addr] = a.host
				if ip := a.addr.Addr(); !slices.Contains(p.byAddr[ip], peer) {
					p.byAddr[ip] = append(p.byAddr[ip], peer)
				}
			}
		}
		for _, prefix := range c.From {
			p.prefixes = append(p.prefixes, peerPrefix{prefix, peer})
		}
		if c.Register != "" {
			p.byToken[c.token] = peer
		}
		if c.InUser != "" {
			p.byUser[c.Tenant+"\x00"+c.InUser] = peerUser{c.InPassword, peer}
		}
	}
	t.peers.Store(p)
}

// peer finds the trunk that a request comes from, by the contact it is for, else by its source; nil for others. Of several trunks at one
// source that of the tenant whose domain is called counts, else the first by name.
func (t *Trunks) peer(src netip.Addr, uri message.URI, dir Directory) *Peer {
	p := t.peers.Load()
	if !p.any {
		return nil
	}
	if peer := p.byToken[uri.User]; peer != nil {
		return peer
	}
	src = src.Unmap()
	found := p.byAddr[src]
	for _, c := range p.prefixes {
		if c.Contains(src) {
			found = append(found[:len(found):len(found)], c.Peer)
		}
	}
	if len(found) == 0 {
		return nil
	}
	tenant, _ := dir.TenantOf(uri.Host)
	for _, c := range found {
		if c.Tenant == tenant {
			return c
		}
	}
	return found[0]
}

// peerPrefixed marks the digest users that are trunks. No account has such a name.
const peerPrefixed = "\x00"

// HA1 is Secrets for the digest names of trunks; known is false for others.
func (t *Trunks) HA1(tenant, name string, sha bool) (ha1 [64]byte, n int, user string, known bool) {
	p, known := t.peers.Load().byUser[tenant+"\x00"+name]
	if !known {
		return ha1, 0, "", false
	}
	text := []byte(name + ":" + tenant + ":" + p.password)
	if sha {
		sum := sha256.Sum256(text)
		n = hex.Encode(ha1[:], sum[:])
	} else {
		sum := md5.Sum(text)
		n = hex.Encode(ha1[:], sum[:])
	}
	return ha1, n, peerPrefixed + name, true
}

// authenticated is the trunk of a digest user; nil when it is a user of ours.
func (t *Trunks) authenticated(tenant, user string) *Peer {
	name, ok := strings.CutPrefix(user, peerPrefixed)
	if !ok {
		return nil
	}
	return t.peers.Load().byUser[tenant+"\x00"+name].Peer
}

// TrunkStats are counters since the start and gauges of now.
type TrunkStats struct {
	Registers, RegisterFailed uint64 // REGISTERs sent, and those that were refused or not answered
	Pings, PingFailed         uint64
	Downs                     uint64 // how often a trunk went down
	Lookups, LookupFailed     uint64
	Inbound                   uint64 // calls that came from trunks
	Strangers                 uint64 // calls from outside that came from no trunk, refused
}

// Stats reads the counters.
func (t *Trunks) Stats() TrunkStats {
	c := &t.count
	return TrunkStats{
		Registers: c.registers.Load(), RegisterFailed: c.registerFailed.Load(), Pings: c.pings.Load(), PingFailed: c.pingFailed.Load(), Downs: c.downs.Load(),
		Lookups: c.lookups.Load(), LookupFailed: c.lookupFailed.Load(), Inbound: c.inbound.Load(), Strangers: c.strangers.Load(),
	}
}

// TrunkState is what is known of a trunk.
type TrunkState struct {
	Tenant       string             `json:"tenant"`
	Name         string             `json:"name"`
	Up           bool               `json:"up" doc:"Calls can go out over it."`
	Credentials  bool               `json:"credentials" doc:"There is a password to answer its challenges with."`
	Registration *RegistrationState `json:"registration,omitempty"`
	Addresses    []TrunkAddress     `json:"addresses" nullable:"false"`
	Fault        string             `json:"fault,omitempty" doc:"Why a name of it cannot be looked up."`
}

// TrunkAddress is one address of a trunk.
type TrunkAddress struct {
	Host      string        `json:"host"`
	Transport string        `json:"transport"`
	Address   string        `json:"address"`
	Up        bool          `json:"up"`
	Since     time.Time     `json:"since,omitzero" doc:"When that was found out."`
	Took      time.Duration `json:"took" doc:"How long the last answer to OPTIONS took, in nanoseconds."`
	Fault     string        `json:"fault,omitempty"`
}

// List is the state of all trunks, by tenant and name.
func (t *Trunks) List() []TrunkState {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]TrunkState, 0, len(t.carriers))
	for _, c := range t.carriers {
		s := TrunkState{Tenant: c.Tenant, Name: c.Name, Credentials: c.Login != nil, Addresses: []TrunkAddress{}}
		for _, h := range c.hosts {
			s.Fault = cmp.Or(s.Fault, h.fault)
			for _, a := range h.addrs {
				s.Up = s.Up || a.up && !h.registrar
				s.Addresses = append(s.Addresses, TrunkAddress{Host: h.text, Transport: a.net.String(), Address: a.addr.String(), Up: a.up, Since: a.since, Took: a.took, Fault: a.fault})
			}
		}
		if c.Register != "" {
			s.Registration = c.reg.view(t.leads)
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b TrunkState) int { return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Name, b.Name)) })
	return out
}

// ask sends a request of the node's own outside a dialog, on the shard of its Call-ID. done is called once, on that shard, unless there is
// an error.
func (t *Trunks) ask(r ownRequest) error {
	srv := t.srv.Load()
	if srv == nil {
		return transport.ErrClosed
	}
	sh := srv.shards[srv.net.Shard(r.callID).Index()]
	return sh.post(func() { sh.sendOwn(r) })
}

// between is a random time from one to the other.
func between(from, to time.Duration) time.Duration { return from + rand.N(max(to-from, 1)) }
