package rtpengine

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// fair is hundreds of phones that come and go at one single port, in fake time and without a network: what the port makes of their packets
// is compared with whose they are.
type fair struct {
	t     *testing.T
	rnd   *rand.Rand
	relay relay
	calls []*stream // that live
	dead  []*stream // whose phones go on sending for a while
	sites []*premises

	told, detoured, moved, most             int
	sent, heard, early, late, forged, wrong int
	waiting                                 int // streams that never were heard though they sent enough
}

// premises are where phones are: behind one NAT, or each in the open.
type premises struct {
	host     netip.Addr
	nat      bool
	fixed    bool       // each phone uses the same port for every call
	separate netip.Addr // where media comes from, when it is another host than the signalling's
	next     uint16
	same     uint32 // its phones' only SSRC, 0: each call has another
}

// stream is one phone in one call.
type stream struct {
	leg      *leg
	site     *premises
	said     netip.AddrPort // in its description
	src      netip.AddrPort // where its packets really come from
	ssrc     uint32
	seq      uint16
	answered bool
	told     bool // the single port
	until    int64
	spoke    int64
	sent     int
}

func newFair(t *testing.T, seed uint64) *fair {
	c := &fair{t: t, rnd: rand.New(rand.NewPCG(seed, 1))}
	c.relay.rate, c.relay.now = 1<<30, int64(time.Hour)
	for family := range c.relay.single.doors {
		for component := range c.relay.single.doors[family] {
			c.relay.single.doors[family][component] = &socket{family: uint8(family), component: uint8(component), single: true}
		}
	}
	for i := range 60 {
		s := &premises{host: netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), next: 10000}
		switch {
		case i < 20:
			s.nat = true
		case i < 23:
			s.separate = netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
		case i < 26:
			s.fixed = true
		case i < 28:
			s.nat, s.same = true, 7
		case i < 32:
			s.host = netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", i))
		}
		c.sites = append(c.sites, s)
	}
	return c
}

// dial begins a stream; callees are asked before they have said where they are.
func (c *fair) dial(callee bool) {
	at := c.sites[c.rnd.IntN(len(c.sites))]
	s := &stream{site: at, leg: &leg{rates: new([128]uint32)}, ssrc: c.rnd.Uint32(), seq: uint16(c.rnd.Uint32())}
	s.leg.rates[0] = 8000
	if at.same != 0 {
		s.ssrc = at.same
	}
	c.place(s)
	family := familyOf(at.host)
	x := &expected{from: at.host}
	if !callee {
		x = &expected{s.places(), at.host, true}
	}
	s.told = c.relay.single.admit(s.leg, family, x, c.relay.now) == onSingle
	if !s.told {
		c.detoured++ // it never sends here, but what it says is heard
		c.relay.single.expect(&setup{leg: s.leg, addr: s.places(), from: at.host, active: true, rearm: true}, c.relay.now)
		return
	}
	c.told++
	s.until = c.relay.now + int64(time.Second) + c.rnd.Int64N(int64(20*time.Second))
	c.calls = append(c.calls, s)
	c.most = max(c.most, len(c.calls))
	if !callee {
		c.agree(s)
	}
}

// place gives a stream an address.
func (c *fair) place(s *stream) {
	at := s.site
	at.next += 2
	host := at.host
	if at.separate.IsValid() {
		host = at.separate
	}
	s.src = netip.AddrPortFrom(host, at.next)
	if s.said = s.src; at.nat {
		s.said = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, 1, byte(c.rnd.IntN(20))}), 4000)
	}
	if at.fixed {
		s.src = netip.AddrPortFrom(host, 5004)
		s.said = s.src
	}
}

func (s *stream) places() (addr [2]address) {
	addr[rtp], addr[rtcp] = pack(s.said), pack(netip.AddrPortFrom(s.said.Addr(), s.said.Port()+1))
	return addr
}

// agree puts a stream's description in force.
func (c *fair) agree(s *stream) {
	s.answered = true
	set := &setup{leg: s.leg, out: &leg{}, rates: s.leg.rates, addr: s.places(), from: s.site.host, active: true, rearm: true}
	s.leg.apply(set, c.relay.now)
	c.relay.single.expect(set, c.relay.now)
}

// move gives a stream another address, as its phone's re-INVITE says; the answer tells it the single port again, or ports of its own.
func (c *fair) move(i int) {
	s := c.calls[i]
	c.place(s)
	c.moved++
	if c.relay.single.admit(s.leg, familyOf(s.site.host), &expected{s.places(), s.site.host, true}, c.relay.now) == onSingle {
		c.agree(s)
		return
	}
	c.detoured++
	c.relay.single.leave(s.leg, c.relay.now)
	c.calls = slices.Delete(c.calls, i, i+1)
}

// end closes a call; its phone may not know yet.
func (c *fair) end(i int) {
	s := c.calls[i]
	c.calls = slices.Delete(c.calls, i, i+1)
	if s.answered && s.sent > 20 && s.leg.tally.packets.Load() == 0 {
		c.waiting++
	}
	c.relay.single.leave(s.leg, c.relay.now)
	s.until = c.relay.now + c.rnd.Int64N(int64(quarantine)*9/10)
	if c.rnd.IntN(10) == 0 {
		s.until += int64(10 * time.Second) // it has missed the BYE
	}
	c.dead = append(c.dead, s)
}

// packet has the port hear one, and sees who accepts it.
func (c *fair) packet(src netip.AddrPort, b []byte, owner *leg) bool {
	before := make([]uint64, len(c.calls))
	for i, s := range c.calls {
		before[i] = s.leg.tally.packets.Load() + uint64(s.leg.tally.rtcp.Load())
	}
	var raw rawAddr
	raw.set(src)
	k := &socket{family: uint8(familyOf(src.Addr())), single: true, share: iceShare}
	c.relay.receive(k, src, &raw, b)
	got := false
	for i, s := range c.calls {
		switch {
		case s.leg.tally.packets.Load()+uint64(s.leg.tally.rtcp.Load()) == before[i]:
		case s.leg == owner:
			got = true
		default:
			c.wrong++
			c.t.Errorf("a packet from %s went to the call of %s", src, s.src)
		}
	}
	return got
}

// say has a stream's phone send one packet.
func (c *fair) say(s *stream) bool {
	s.seq++
	s.spoke = c.relay.now
	if c.rnd.IntN(25) == 0 {
		b := receiverReport(s.ssrc)
		return c.packet(netip.AddrPortFrom(s.src.Addr(), s.src.Port()+1), b, s.leg)
	}
	return c.packet(s.src, packet(0, s.seq, uint32(s.seq)*160, s.ssrc, "word"), s.leg)
}

// step is what happens next.
func (c *fair) step() {
	c.relay.now += c.rnd.Int64N(int64(time.Millisecond))
	switch n := c.rnd.IntN(1000); {
	case n < 16 && len(c.calls) < 300:
		c.dial(n%2 == 0)
	case n < 80:
		if len(c.calls) > 0 {
			if s := c.calls[c.rnd.IntN(len(c.calls))]; !s.answered {
				c.agree(s)
			}
		}
	case n < 83 && len(c.calls) > 0: // a re-INVITE with another address
		if i := c.rnd.IntN(len(c.calls)); c.calls[i].answered {
			c.move(i)
		}
	case n < 86 && len(c.calls) > 0: // a phone begins anew
		if s := c.calls[c.rnd.IntN(len(c.calls))]; s.site.same == 0 {
			s.ssrc, s.seq = c.rnd.Uint32(), uint16(c.rnd.Uint32())
		}
	case n < 120:
		c.forge()
	case n < 240 && len(c.dead) > 0:
		i := c.rnd.IntN(len(c.dead))
		if c.dead[i].until < c.relay.now || c.relay.now-c.dead[i].spoke > int64(quarantine)/2 { // a phone does not pause like that
			c.dead = slices.Delete(c.dead, i, i+1)
			return
		}
		c.late++
		c.say(c.dead[i])
	case len(c.calls) > 0:
		i := c.rnd.IntN(len(c.calls))
		s := c.calls[i]
		if s.until < c.relay.now {
			c.end(i)
			return
		}
		if !s.answered {
			if s.early(c) {
				c.early++
				c.say(s)
			}
			return
		}
		s.sent++
		c.sent++
		if c.say(s) {
			c.heard++
		}
	}
	if c.rnd.IntN(500) == 0 {
		c.relay.single.sweep(c.relay.now)
	}
}

// early reports whether the phone speaks before it answers.
func (s *stream) early(c *fair) bool { return s.ssrc%3 == 0 }

// forge sends what no phone has sent: from anywhere, or from a phone's host, where nobody is waited for, under its source.
func (c *fair) forge() {
	src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(c.rnd.IntN(256))}), uint16(1024+c.rnd.IntN(60000)))
	ssrc := c.rnd.Uint32()
	if len(c.calls) > 0 && c.rnd.IntN(2) == 0 {
		s := c.calls[c.rnd.IntN(len(c.calls))]
		if !slices.ContainsFunc(c.calls, func(o *stream) bool { return o.site.host == s.site.host && !o.leg.latch[rtp].locked }) {
			src, ssrc = netip.AddrPortFrom(s.src.Addr(), 999), s.ssrc
		}
	}
	c.forged++
	c.packet(src, packet(0, uint16(c.rnd.Uint32()), 0, ssrc, "lies"), nil)
}

// baresip, for one, opens the way through a NAT as soon as it picks up: with RTCP from the port above, which nobody has named before its answer is
// here. It is too early for the only call that it can be of, and no riddle.
func TestRTCPBeforeTheAnswerIsEarlyAndNotAmbiguous(t *testing.T) {
	c := newFair(t, 1)
	for call := range 3 {
		at := c.sites[40+call]
		s := &stream{site: at, leg: &leg{rates: new([128]uint32)}, ssrc: uint32(100 + call)}
		s.leg.rates[0] = 8000
		c.place(s)
		if why := c.relay.single.admit(s.leg, v4, &expected{from: at.host}, c.relay.now); why != onSingle {
			t.Fatalf("call %d: %s", call, why)
		}
		c.calls = append(c.calls, s)
		ping := netip.AddrPortFrom(s.src.Addr(), s.src.Port()+1)
		c.packet(ping, receiverReport(s.ssrc), s.leg)
		drops := s.leg.tally.dropped()
		if n := c.relay.single.count; n.ambiguous+n.strangers+n.late > 0 || drops[DropUnready] != 1 {
			t.Errorf("call %d: %+v, %d were too early", call, n, drops[DropUnready])
		}
		c.agree(s)
		if !c.packet(ping, receiverReport(s.ssrc), s.leg) || !c.say(s) {
			t.Errorf("call %d is not heard after its answer", call)
		}
	}
}

func TestNoPacketAtTheSinglePortReachesAnotherCall(t *testing.T) {
	t.Parallel()
	for range 2 {
		seed := rand.Uint64()
		c := newFair(t, seed)
		for range 50_000 {
			c.step()
		}
		n := c.relay.single.count
		t.Logf("seed %d: %d told the port, %d at once, %d detoured (%v), %d moved; %d sent, %d heard, %d before the answer, %d after the end, %d forged; %d wrong; %+v; %d never heard",
			seed, c.told, c.most, c.detoured, n.detours, c.moved, c.sent, c.heard, c.early, c.late, c.forged, c.wrong, n, c.waiting)
		if c.wrong > 0 || c.most < 200 || c.heard < c.sent*8/10 || c.waiting > c.told/20 || n.late == 0 || n.detours[ownHost] == 0 || n.detours[ownAddress] == 0 {
			t.Errorf("seed %d", seed)
		}
		for len(c.calls) > 0 {
			c.end(0)
		}
		c.relay.now += int64(time.Hour)
		for range 200 {
			c.relay.single.sweep(c.relay.now)
		}
		if p := &c.relay.single; len(p.claims)+len(p.slots)+len(p.hosts) > 0 {
			t.Errorf("seed %d: %d claims, %d slots, %d hosts are left", seed, len(p.claims), len(p.slots), len(p.hosts))
		}
	}
}
