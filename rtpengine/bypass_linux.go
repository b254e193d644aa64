//go:build linux && !portable

package rtpengine

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"tandem/rtpengine/internal/kernel"
)

const (
	// visitEvery and visitParts: every leg is looked at about once a second, a part of them at a time.
	visitEvery = 100 * time.Millisecond
	visitParts = 10
	// startsPerVisit bounds the flows that one visit hands to the kernel: each costs about as much as relaying two packets.
	startsPerVisit = 64
	// maxPatience is how many visits a leg waits at most whose packets came back at once.
	maxPatience = 64
)

// bypass is how a leg's packets go past its shard. The shard owns it but for what anyone may read: running and why, and turn, which is odd
// while counters move from running to the tally.
type bypass struct {
	running atomic.Pointer[flow]
	why     atomic.Uint32
	turn    atomic.Uint32

	packets, bytes uint64 // of running, that the shard's totals have already
	epoch          uint32 // of the routes that running goes by
	patience, wait uint8  // visits
}

// flow is a direction in the kernel's hands, with what its losses are counted from.
type flow struct {
	*kernel.Running
	earlier int64
	base    uint32
}

func (f *flow) lost(s *kernel.State) int64 {
	return f.earlier + int64(s.Highest-f.base+1) - int64(s.Received)
}

// bypasser is the kernel tier of an engine.
type bypasser struct {
	*kernel.Forwarder
	addrs [2]netip.Addr // ours, by family
	epoch atomic.Uint32 // grows with every change of the network
	flows int           // at the same time
}

// openKernel loads the program and puts it on the interfaces; the shards do not run yet.
func (e *Engine) openKernel() (*bypasser, error) {
	b := &bypasser{}
	c := kernel.Config{
		Low: e.cfg.PortMin, High: e.cfg.PortMax, Rate: min(e.cfg.PacketRate, math.MaxInt32), TOS: byte(max(e.cfg.DSCP, 0) << 2),
		Now: e.now, Only: e.cfg.Interfaces,
	}
	for family, p := range e.pools {
		if p != nil {
			c.Addrs = append(c.Addrs, p.addr)
			c.Flows += len(p.free) // pairs
			b.addrs[family] = p.addr
		}
	}
	c.Flows = min(c.Flows, kernel.MaxFlows) // a record has 256 octets
	b.flows = c.Flows
	var err error
	if b.Forwarder, err = kernel.Open(c); err != nil {
		return nil, err
	}
	if _, err := b.Refresh(); err != nil {
		b.Close()
		return nil, err
	}
	for _, s := range e.shards {
		s.bypasser = b
	}
	return b, nil
}

// keepBypass has the shards look after their legs, and follows the changes of the network.
func (e *Engine) keepBypass(ctx context.Context, b *bypasser) {
	period := time.NewTicker(visitEvery)
	defer period.Stop()
	visit := func(s *shard) { s.visit(1 + len(s.table)/visitParts) }
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-period.C:
		}
		if n%visitParts == 0 {
			b.refresh(e)
		}
		for _, s := range e.shards {
			s.order(visit)
		}
	}
}

func (b *bypasser) refresh(e *Engine) {
	switch changed, err := b.Refresh(); {
	case err != nil:
		e.log.Warn("the interfaces for media in the kernel cannot be listed", "reason", err)
	case changed:
		b.epoch.Add(1)
	}
}

// visit looks at the next n places of the table: legs that can are handed to the kernel, those that cannot any more are taken back, and what
// the kernel counted is added to the totals.
func (s *shard) visit(n int) {
	starts := 0
	for range n {
		if s.visited >= len(s.table) {
			s.visited = 0
			s.countShared()
			s.census.publish()
			if len(s.table) == 0 {
				return
			}
		}
		k := s.table[s.visited]
		s.visited++
		if k == nil || k.component != rtp || k.leg == nil || k.leg.sockets[1-k.family][rtp] != nil && k.family == v6 {
			continue // a leg with sockets in both families is met at its IPv4 one
		}
		l := k.leg
		s.look(l, &starts)
		if l.ready {
			s.census.running[l.bypass.why.Load()]++
		}
	}
}

// countShared counts the legs at the single port, which have no socket in the table: the kernel forwards nothing for them.
func (s *shard) countShared() {
	for l := range s.single.claims {
		if l.ready && l.lodges() {
			why := l.detour()
			l.bypass.why.Store(uint32(why))
			s.census.running[why]++
		}
	}
}

// look decides about one leg.
func (s *shard) look(l *leg, starts *int) {
	b := &l.bypass
	why := l.detour()
	if b.running.Load() != nil {
		epoch := s.bypasser.epoch.Load()
		if why == direct && b.epoch == epoch {
			s.gather(l)
			return
		}
		l.withdraw(&s.relay)
	}
	switch {
	case why != direct:
	case b.wait > 0:
		b.wait--
		why = detourOdd
	case *starts >= startsPerVisit:
		why = detourNew
	default:
		*starts++
		why = s.bypass(l)
	}
	b.why.Store(uint32(why))
}

// bypass hands a leg to the kernel, if the kernel will.
func (s *shard) bypass(l *leg) detour {
	peer, to := l.latch[rtp].source.addrPort(), l.out.to[rtp].addr()
	family := familyOf(peer.Addr())
	in, out := l.sockets[family][rtp], l.out.sockets[family][rtp]
	if in == nil || out == nil {
		return detourFamily
	}
	if in.foreign || out.foreign {
		return detourForeign
	}
	q := &l.quality
	w := kernel.Flow{
		Local: netip.AddrPortFrom(s.bypasser.addrs[family], in.port), Remote: peer,
		From: netip.AddrPortFrom(s.bypasser.addrs[family], out.port), To: to,
		Clock: q.rate.Load(), SSRC: q.ssrc,
		State: kernel.State{
			Highest: q.highest, Received: q.received, Transit: q.transit, Jitter16: q.jitter16.Load(),
			WindowAt: l.windowAt, Window: min(l.window, math.MaxInt32), Codec: q.codec.Load(),
		},
	}
	for payload, rate := range l.rates {
		if rate == w.Clock {
			w.Payloads[payload/64] |= 1 << (payload % 64)
		}
	}
	b := &l.bypass
	b.epoch = s.bypasser.epoch.Load()
	running, err := s.bypasser.Start(&w)
	switch {
	case err == nil:
		b.packets, b.bytes = 0, 0
		b.running.Store(&flow{running, q.earlier, q.base})
		return direct
	case errors.Is(err, kernel.ErrFull):
		return detourFull
	case errors.Is(err, kernel.ErrInterface):
		return detourSource
	}
	return detourRoute
}

// gather adds what the kernel counted since the last time to the shard's totals.
func (s *shard) gather(l *leg) {
	f, b := l.bypass.running.Load(), &l.bypass
	s.total(b, f.Packets(), f.Bytes())
}

func (r *relay) total(b *bypass, packets, bytes uint64) {
	r.count.packets += packets - b.packets
	r.count.forwarded += packets - b.packets
	r.count.bytes += bytes - b.bytes
	b.packets, b.bytes = packets, bytes
}

// withdraw takes a leg back from the kernel, with its accounts, before anything of it changes. Its next packet comes to the shard.
func (l *leg) withdraw(r *relay) {
	b := &l.bypass
	f := b.running.Load()
	if f == nil {
		return
	}
	f.Stop()
	packets, bytes, state := f.Packets(), f.Bytes(), f.State()
	r.total(b, packets, bytes)
	b.turn.Add(1)
	l.tally.packets.Add(packets)
	l.tally.bytes.Add(bytes)
	l.tally.forwarded.Add(packets)
	l.tally.lastSeen.Store(max(l.tally.lastSeen.Load(), f.Seen()))
	q := &l.quality
	q.highest, q.received, q.transit = state.Highest, state.Received, state.Transit
	q.jitter16.Store(state.Jitter16)
	q.resume()
	q.lost.Store(q.earlier + q.lostNow())
	q.codec.Store(state.Codec)
	l.windowAt, l.window = state.WindowAt, state.Window
	b.why.Store(uint32(detourNew))
	b.running.Store(nil)
	b.turn.Add(1)
}

// returned takes a leg back because one of its packets came up: the next visit hands it over again, unless the kernel has not had a single
// one; then it waits twice as long as the last time.
func (l *leg) returned(r *relay) {
	b := &l.bypass
	if f := b.running.Load(); f.Packets() > 0 {
		b.patience = 0
	} else {
		b.patience = min(max(1, 2*b.patience), maxPatience)
	}
	b.wait = b.patience
	l.withdraw(r)
}

// bypassed reports whether a leg is in the kernel's hands.
func (l *leg) bypassed() bool { return l.bypass.running.Load() != nil }

// counts may be called from any goroutine.
func (l *leg) counts() counts {
	b := &l.bypass
	for {
		turn := b.turn.Load()
		c := l.shardCounts()
		if f := b.running.Load(); f != nil {
			state := f.State()
			c.direct = true
			c.packets += f.Packets()
			c.forwarded += f.Packets()
			c.bytes += f.Bytes()
			c.seen = max(c.seen, f.Seen())
			c.lost, c.jitter, c.codec = f.lost(&state), state.Jitter16>>4, state.Codec
		}
		if turn%2 == 0 && turn == b.turn.Load() {
			return c
		}
		runtime.Gosched()
	}
}

func (b *bypasser) stats() (list []InterfaceStats) {
	for _, in := range b.Interfaces() {
		list = append(list, InterfaceStats(in))
	}
	return list
}
