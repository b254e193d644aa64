// Package simnet is a packet network in memory, for tests that want to say what the network does: lose, delay, repeat and
// reorder packets, cut hosts off, translate addresses. It is made for testing/synctest: everything that blocks, blocks
// durably, and delays are timers, so that minutes of protocol pass in no time.
//
//	n := simnet.ForTest(t, 1)
//	server, phone := n.Host("192.0.2.1"), n.NAT("203.0.113.9", simnet.NATConfig{}).Host("10.0.0.2")
//	n.SetLink(simnet.Link{Delay: 20 * time.Millisecond, Loss: 0.05})
//	pc, _ := server.ListenPacket("udp", "192.0.2.1:5060")
//
// What happens to a packet depends on the seed, the two addresses and the packet's number on that path, and on nothing else:
// not on what other hosts send meanwhile, nor on the order in which goroutines run. The same seed gives the same losses.
package simnet

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Link is what happens to packets on their way. The zero Link is a perfect wire.
type Link struct {
	Loss      float64       // share of datagrams that vanish, 0 to 1; streams do not lose, they repeat
	Duplicate float64       // share of datagrams that arrive twice
	Delay     time.Duration // one way
	Jitter    time.Duration // added to Delay, evenly spread from 0
	Reorder   float64       // share of datagrams that wait another Delay + Jitter + 1ms and are overtaken
}

// Datagram is what a Filter sees.
type Datagram struct {
	From, To netip.AddrPort // as on the wire: behind address translation
	Payload  []byte         // not to be changed or kept
}

// Stats count datagrams.
type Stats struct {
	Sent, Delivered, Lost, Duplicated, Reordered, Filtered, Unreachable, Overflowed int
}

// A Network is a set of hosts. Its methods may be called from any goroutine.
type Network struct {
	seed uint64

	mu      sync.Mutex
	hosts   map[netip.Addr]*Host
	nats    map[netip.Addr]*NAT
	link    Link
	links   map[[2]netip.Addr]Link
	cut     map[[2]netip.Addr]bool
	backoff bool
	paths   map[[2]netip.AddrPort]*path
	filter  func(Datagram) bool
	events  eventHeap
	serial  uint64
	timer   *time.Timer
	stalled []*half
	stats   Stats
	closed  bool
}

// path is the state of one direction between two addresses.
type path struct {
	rand *rand.Rand
	last time.Time // arrival of the last datagram that was not reordered
}

// New makes an empty network.
func New(seed uint64) *Network {
	return &Network{
		seed: seed, hosts: make(map[netip.Addr]*Host), nats: make(map[netip.Addr]*NAT), links: make(map[[2]netip.Addr]Link),
		cut: make(map[[2]netip.Addr]bool), paths: make(map[[2]netip.AddrPort]*path),
	}
}

// TB is the part of testing.TB that ForTest needs.
type TB interface {
	Helper()
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
}

// ForTest is New for a test: it closes the network at the test's end and prints the seed when the test has failed.
func ForTest(t TB, seed uint64) *Network {
	t.Helper()
	n := New(seed)
	t.Cleanup(func() {
		n.Close()
		if t.Failed() {
			t.Logf("simnet: seed %d, %+v", seed, n.Stats())
		}
	})
	return n
}

// Seed is what New was given.
func (n *Network) Seed() uint64 { return n.seed }

// Stats of all datagrams so far.
func (n *Network) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stats
}

// SetLink sets the link between any two hosts that have none of their own.
func (n *Network) SetLink(l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link = l
}

// SetPath sets the link from one host to another, in this direction only.
func (n *Network) SetPath(from, to string, l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[[2]netip.Addr{netip.MustParseAddr(from), netip.MustParseAddr(to)}] = l
}

// SetFilter sets a function that sees every datagram before anything happens to it and may say false to lose it. It must not
// call the network. nil lets all pass.
func (n *Network) SetFilter(f func(Datagram) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.filter = f
}

// Cut separates every host of a from every host of b, both ways: datagrams vanish, streams stall, connecting times out.
func (n *Network) Cut(a, b []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, x := range a {
		for _, y := range b {
			from, to := netip.MustParseAddr(x), netip.MustParseAddr(y)
			n.cut[[2]netip.Addr{from, to}] = true
			n.cut[[2]netip.Addr{to, from}] = true
		}
	}
}

// Heal undoes all cuts. Streams go on where they stalled.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
	stalled := n.stalled
	n.stalled = nil
	for _, h := range stalled {
		h.wake()
	}
}

// SetBackoff has streams do behind a cut what TCP does: they go on when what was lost is sent again, and the pauses between attempts double. A connection
// that stood still for three seconds may do so for three more. Without it they go on at once.
func (n *Network) SetBackoff() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.backoff = true
}

// Close ends all sockets and forgets what is on its way.
func (n *Network) Close() {
	n.mu.Lock()
	n.closed = true
	n.events = nil
	if n.timer != nil {
		n.timer.Stop()
	}
	var sockets []interface{ Close() error }
	for _, h := range n.hosts {
		sockets = append(sockets, h.sockets()...)
	}
	n.mu.Unlock()
	for _, s := range sockets {
		_ = s.Close()
	}
}

func (n *Network) linkOf(from, to netip.Addr) Link {
	if l, ok := n.links[[2]netip.Addr{from, to}]; ok {
		return l
	}
	return n.link
}

func (n *Network) pathOf(from, to netip.AddrPort) *path {
	key := [2]netip.AddrPort{from, to}
	p := n.paths[key]
	if p == nil {
		h := fnv.New64a()
		fmt.Fprintf(h, "%v>%v", from, to)
		p = &path{rand: rand.New(rand.NewPCG(n.seed, h.Sum64()))}
		n.paths[key] = p
	}
	return p
}

// send takes a datagram on its way. Called with mu held.
func (n *Network) send(from *Host, src, dst netip.AddrPort, payload []byte) {
	n.stats.Sent++
	wire := src
	if from.nat != nil && !from.nat.inside(dst.Addr()) {
		wire = from.nat.outbound(src, dst)
	}
	if n.filter != nil && !n.filter(Datagram{From: wire, To: dst, Payload: payload}) {
		n.stats.Filtered++
		return
	}
	if n.cut[[2]netip.Addr{wire.Addr(), dst.Addr()}] || n.cut[[2]netip.Addr{src.Addr(), dst.Addr()}] {
		n.stats.Lost++
		return
	}
	link, p := n.linkOf(wire.Addr(), dst.Addr()), n.pathOf(wire, dst)
	// Always the same draws, so that changing one parameter does not change what the others do.
	lost, twice, late := p.rand.Float64() < link.Loss, p.rand.Float64() < link.Duplicate, p.rand.Float64() < link.Reorder
	jitter, again := p.rand.Float64(), p.rand.Float64()
	if lost {
		n.stats.Lost++
		return
	}
	arrive := time.Now().Add(link.Delay + time.Duration(jitter*float64(link.Jitter)))
	if late {
		n.stats.Reordered++
		arrive = arrive.Add(link.Delay + link.Jitter + time.Millisecond)
	} else {
		if arrive.Before(p.last) {
			arrive = p.last
		}
		p.last = arrive
	}
	data := append([]byte(nil), payload...)
	n.at(arrive, func() { n.deliver(from, wire, dst, data) })
	if twice {
		n.stats.Duplicated++
		n.at(arrive.Add(time.Duration(again*float64(link.Jitter))), func() { n.deliver(from, wire, dst, data) })
	}
}

// deliver puts a datagram into the socket it is for. Called with mu held.
func (n *Network) deliver(from *Host, src, dst netip.AddrPort, payload []byte) {
	if nat := n.nats[dst.Addr()]; nat != nil {
		inner, ok := nat.inbound(src, dst)
		if !ok {
			n.stats.Unreachable++
			return
		}
		dst = inner
	} else if h := n.hosts[dst.Addr()]; h == nil || h.nat != nil && h.nat != from.nat {
		n.stats.Unreachable++
		return
	}
	s := n.hosts[dst.Addr()].packets[dst.Port()]
	switch {
	case s == nil:
		n.stats.Unreachable++
	case !s.receive(src, payload):
		n.stats.Overflowed++
	default:
		n.stats.Delivered++
	}
}

// event is something that happens at an instant; events of one instant happen in the order they were made.
type event struct {
	at     time.Time
	serial uint64
	do     func() // with mu held
}

type eventHeap []event

func (h eventHeap) Len() int      { return len(h) }
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h eventHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].serial < h[j].serial
	}
	return h[i].at.Before(h[j].at)
}
func (h *eventHeap) Push(x any) { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

// at does something at an instant: now, when that has come and nothing else is due before it. Called with mu held.
func (n *Network) at(when time.Time, do func()) {
	if n.closed {
		return
	}
	now := time.Now()
	if !when.After(now) && (len(n.events) == 0 || n.events[0].at.After(now)) {
		do()
		return
	}
	n.serial++
	heap.Push(&n.events, event{when, n.serial, do})
	n.arm(now)
}

func (n *Network) arm(now time.Time) {
	if len(n.events) == 0 || n.closed {
		return
	}
	d := n.events[0].at.Sub(now)
	if n.timer == nil {
		n.timer = time.AfterFunc(d, n.due)
		return
	}
	n.timer.Reset(d)
}

func (n *Network) due() {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	for len(n.events) > 0 && !n.events[0].at.After(now) && !n.closed {
		heap.Pop(&n.events).(event).do()
	}
	n.arm(now)
}
