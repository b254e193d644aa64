package transport

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Transport is the sockets, connections and shards of one node.
type Transport struct {
	cfg       Config
	bounds    atomic.Pointer[Limits] // see SetLimits
	seed      maphash.Seed           // secret: nobody can aim many calls at one shard
	shards    []*Shard
	listeners listeners
	addrs     addresses
	conns     connTable
	housed    housed
	count     counters
	notices   notices
	adopted   []Socket // of a predecessor, until Listen has taken them

	listen struct {
		sync.Mutex
		done   bool
		closed bool
		late   sync.WaitGroup // goroutines of listeners that came since
	}
	quit chan struct{} // closed when Run stops taking in
	dead chan struct{} // closed when the shards have ended
}

// maxListeners leaves room in a Flow's byte for the web server's two and noListener.
const maxListeners = 250

// A listener is one place where messages come in.
type listener struct {
	net    Net
	index  uint16
	addr   netip.AddrPort
	host   string // of addr, as text
	udp    *udpGroup
	stream net.Listener // TCP, TLS, WS, WSS
	web    bool         // connections come from the web server through ServeWebSocket

	advertise   string // what stands for the address in our headers, "" for none
	advertiseIP netip.Addr
	adopted     *adoption // nil for one of the configuration
}

// sockets are those of a UDP listener.
func (l *listener) sockets() []datagramSocket {
	if l.udp == nil {
		return nil
	}
	return l.udp.sockets
}

// ListenerInfo names one listener.
type ListenerInfo struct {
	Net  Net
	Addr netip.AddrPort // with the port the kernel chose when 0 was asked for
}

// New validates cfg and makes the shards; nothing is bound before Listen and nothing runs before Run.
func New(cfg Config) (*Transport, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	t := &Transport{cfg: cfg, seed: maphash.MakeSeed(), quit: make(chan struct{}), dead: make(chan struct{})}
	t.bounds.Store(&t.cfg.Limits)
	t.conns.init(t)
	t.notices.init()
	t.listeners.store(nil)
	t.addrs.build(nil)
	for i := range cfg.Shards {
		t.shards = append(t.shards, &Shard{t: t, index: i, in: newInbox(cfg.Queue), now: time.Now()})
	}
	for _, s := range t.shards {
		s.handler = cfg.NewHandler(s)
	}
	return t, nil
}

// Shards are all shards, by index.
func (t *Transport) Shards() []*Shard { return t.shards }

// Shard is the shard that owns a Call-ID. Any goroutine.
func (t *Transport) Shard(callID string) *Shard {
	if t.housed.some.Load() {
		if s := t.housed.of(callID); s != nil {
			return s
		}
	}
	return t.shards[t.hashString(callID)%uint64(len(t.shards))]
}

func (t *Transport) hashString(s string) uint64 { return maphash.String(t.seed, s) }

// shardOf is Shard for a Call-ID in a packet. A packet without one goes by its source, so that what cannot be handled does
// not all fall on one shard.
func (t *Transport) shardOf(callID []byte, f Flow) int {
	if callID == nil {
		return int(f.Remote.Port()) % len(t.shards)
	}
	if t.housed.some.Load() {
		if s := t.housed.of(string(callID)); s != nil {
			return s.index
		}
	}
	return int(maphash.Bytes(t.seed, callID) % uint64(len(t.shards)))
}

// Listen binds all listeners, so that their ports are known. On an error nothing stays bound.
func (t *Transport) Listen() error {
	t.listen.Lock()
	defer t.listen.Unlock()
	if t.listen.closed {
		return ErrClosed
	}
	if t.listen.done {
		return nil
	}
	for _, group := range []struct {
		net   Net
		addrs []string
	}{{UDP, t.cfg.UDP}, {TCP, t.cfg.TCP}, {TLS, t.cfg.TLS}, {WS, t.cfg.WS}, {WSS, t.cfg.WSS}} {
		for _, addr := range group.addrs {
			err := fmt.Errorf("more than %d listeners", maxListeners)
			if len(t.listeners.all()) < maxListeners {
				err = t.bind(group.net, addr)
			}
			if err != nil {
				t.closeListeners()
				t.listeners.store(nil)
				return listenError(group.net, addr, err)
			}
		}
	}
	closeSockets(t.adopted) // of addresses that the configuration no longer names
	t.adopted = nil
	t.addrs.build(t.listeners.all())
	for _, n := range []Net{WS, WSS} {
		t.add(&listener{net: n, web: true, addr: t.primary()})
	}
	t.listen.done = true
	return nil
}

func listenError(n Net, addr string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, ErrPortTaken) {
		return fmt.Errorf("listen on %s %s: %w by another program; stop it, or give another address in sip.%s of the configuration", n, addr, ErrPortTaken, n)
	}
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return fmt.Errorf("listen on %s %s: this machine has no such address; correct sip.%s in the configuration: %w", n, addr, n, err)
	}
	return fmt.Errorf("listen on %s %s (sip.%s in the configuration): %w", n, addr, n, err)
}

func (t *Transport) bind(n Net, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if host == "" {
		addr = net.JoinHostPort("0.0.0.0", port)
	}
	l := &listener{net: n}
	files := t.inherited(n, addr)
	switch {
	case n == UDP && len(files) > 0:
		if l.udp, err = adoptUDP(files); err != nil {
			return err
		}
		l.addr = l.udp.sockets[0].local()
	case len(files) > 0:
		if l.stream, err = adoptStream(files); err != nil {
			return err
		}
		l.addr, _ = addrPortOf(l.stream.Addr())
	default:
		if err = t.open(l, addr); err != nil {
			return err
		}
	}
	t.add(l)
	return nil
}

// open binds the sockets of a listener.
func (t *Transport) open(l *listener, addr string) (err error) {
	if l.net == UDP {
		if l.udp, err = t.listenUDP(addr, max(1, min(len(t.shards), runtime.GOMAXPROCS(0)/2))); err == nil {
			l.addr = l.udp.sockets[0].local()
		}
		return err
	}
	if l.stream, err = t.listenStream(addr); err == nil {
		l.addr, _ = addrPortOf(l.stream.Addr())
	}
	return err
}

// add gives a listener the next place in the table.
func (t *Transport) add(l *listener) {
	list := t.listeners.all()
	l.index, l.host = uint16(len(list)), l.addr.Addr().String()
	if l.adopted == nil {
		l.advertise, l.advertiseIP = advertised(t.cfg.Advertise)
	}
	t.listeners.store(append(slices.Clone(list), l))
}

// primary is the address of the first listener, UDP before others: it stands in for connections of the web server.
func (t *Transport) primary() netip.AddrPort {
	list := t.listeners.all()
	if len(list) == 0 {
		return netip.AddrPort{}
	}
	return list[0].addr
}

// Listeners are what Listen has bound, and what was adopted since.
func (t *Transport) Listeners() []ListenerInfo {
	var out []ListenerInfo
	for _, l := range t.listeners.all() {
		if !l.web && !l.gone() {
			out = append(out, ListenerInfo{Net: l.net, Addr: l.addr})
		}
	}
	return out
}

// bound are the listeners once Listen has fixed them, for callers that may come earlier.
func (t *Transport) bound() []*listener {
	t.listen.Lock()
	defer t.listen.Unlock()
	if !t.listen.done {
		return nil
	}
	return t.listeners.all()
}

func (t *Transport) stopping() bool {
	select {
	case <-t.quit:
		return true
	default:
		return false
	}
}

// Run serves until ctx ends or a listener breaks, and returns when all goroutines have ended. It binds the listeners if
// Listen has not been called. A Transport runs once.
//
// The order of the end: listeners and UDP readers stop; the shards handle what they have and send it; connections write
// what they hold and close; sockets close.
func (t *Transport) Run(ctx context.Context) error {
	if err := t.Listen(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var readers, shards sync.WaitGroup
	stopShards := make(chan struct{})
	for _, s := range t.shards {
		shards.Go(func() { s.run(stopShards) })
	}
	for _, l := range t.listeners.all() {
		if l.adopted != nil {
			continue // see StandIn.Serve
		}
		t.serve(l, func(fn func() error) {
			readers.Go(func() {
				if err := fn(); err != nil {
					cancel(err)
				}
			})
		})
	}
	<-ctx.Done()
	t.listen.Lock()
	close(t.quit) // no listener comes from here on
	t.listen.Unlock()
	t.interruptListeners()
	readers.Wait()
	t.listen.late.Wait()
	close(stopShards)
	shards.Wait()
	close(t.dead)
	t.conns.shutdown()
	_ = t.Close()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// serve starts the goroutines that take in from l.
func (t *Transport) serve(l *listener, start func(func() error)) {
	switch {
	case l.udp != nil:
		for _, s := range l.udp.sockets {
			start(func() error { return t.readUDP(l, s) })
		}
	case l.stream != nil && (l.net == WS || l.net == WSS):
		start(func() error { return t.serveHTTP(l) })
	case l.stream != nil:
		start(func() error { return t.accept(l) })
	}
}

func (t *Transport) interruptListeners() {
	for _, l := range t.listeners.all() {
		l.interrupt()
	}
}

// interrupt has the goroutines of a listener end.
func (l *listener) interrupt() {
	for _, s := range l.sockets() {
		s.interrupt()
	}
	if l.stream != nil {
		_ = l.stream.Close()
	}
}

// Close gives the listeners back when Run was never called. Run calls it itself.
func (t *Transport) Close() error {
	t.listen.Lock()
	defer t.listen.Unlock()
	t.listen.closed = true
	t.closeListeners()
	return nil
}

func (t *Transport) closeListeners() {
	for _, l := range t.listeners.all() {
		l.close()
	}
}

func (l *listener) close() {
	for _, s := range l.sockets() {
		_ = s.close()
	}
	if l.stream != nil {
		_ = l.stream.Close()
	}
}
