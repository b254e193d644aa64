package rtpengine

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// startSingle runs an engine whose phones share one port.
func startSingle(t testing.TB, change func(*Config)) *Engine {
	t.Helper()
	return startEngine(t, func(c *Config) {
		c.SinglePort = openPort(t)
		if change != nil {
			change(c)
		}
	})
}

// openPort is one that nobody had a moment ago, in both families.
func openPort(t testing.TB) uint16 {
	t.Helper()
	for range 100 {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		port := conn.LocalAddr().(*net.UDPAddr).Port
		other, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback, Port: port})
		conn.Close()
		if err == nil {
			other.Close()
			return uint16(port)
		}
	}
	t.Fatal("no port is free")
	return 0
}

func TestBothPhonesOfACallAndTheirRTCPComeToTheSinglePort(t *testing.T) {
	e := startSingle(t, nil)
	there := loop4
	for _, lines := range [][]string{nil, {"a=rtcp-mux"}} {
		for _, addr := range []netip.Addr{loop4, loop6} {
			there = there.Next()
			a, b := newPhone(t, addr), newPhone(t, there)
			s := newSession(t, e)
			offer, err := s.Offer(A, a.sdp(lines...), addr, there)
			if err != nil {
				t.Fatal(err)
			}
			b.dial(offer)
			answer, err := s.Answer(B, b.sdp(lines...), there, addr)
			if err != nil {
				t.Fatal(err)
			}
			a.dial(answer)
			settle(s.shard)
			for _, sdp := range [][]byte{offer, answer} {
				if want := fmt.Sprintf("a=rtcp:%d", e.cfg.SinglePort); !hasLine(sdp, fmt.Sprintf("m=audio %d ", e.cfg.SinglePort)) || strings.Count(string(sdp), want) != 1 {
					t.Errorf("%s", sdp)
				}
			}
			chat(t, a, b, lockAfter)
			from, to := a.rtcp, b.rtcp
			if lines != nil {
				from, to = a.rtp, b.rtp
			}
			a.raw(from, a.toRTCP, receiverReport(a.ssrc))
			if got := b.next(to); string(got) != string(receiverReport(a.ssrc)) {
				t.Errorf("RTCP: %x", got)
			}
			st := calm(s).Stats().Media[0].Sides
			for side := range st {
				if st[side].Port != e.cfg.SinglePort || st[side].OwnPorts != "" || st[side].Peer != [2]*phone{a, b}[side].addr() {
					t.Errorf("side %d: %+v", side, st[side])
				}
			}
			s.Close()
		}
	}
	settle(e.shards[0])
	if st := e.Stats(); st.Ports[0].Used != 0 || st.Single.Admitted != 8 || st.Single.Streams != 0 || st.Single.Strangers+st.Single.Ambiguous != 0 {
		t.Errorf("%+v", st.Single)
	}
}

// natted describes the phone as one behind a NAT does that knows no address of its own.
func (p *phone) natted() []byte {
	return []byte(strings.ReplaceAll(string(p.sdp()), "c=IN IP4 127.", "c=IN IP4 behind.a.nat.invalid.127."))
}

func TestTwoPhonesBehindOneNATAreHeardOneAfterTheOther(t *testing.T) {
	e := startSingle(t, nil)
	nat := netip.MustParseAddr("127.0.0.9")
	host := loop4
	dial := func() (*Session, *phone, *phone, string) {
		host = host.Next()
		a, b := newPhone(t, nat), newPhone(t, host)
		s := newSession(t, e)
		offer, err := s.Offer(A, a.natted(), nat, host)
		if err != nil {
			t.Fatal(err)
		}
		b.dial(offer)
		answer, err := s.Answer(B, b.sdp(), host, nat)
		if err != nil {
			t.Fatal(err)
		}
		a.dial(answer)
		settle(s.shard)
		return s, a, b, s.Stats().Media[0].Sides[A].OwnPorts
	}
	hear := func(s *Session, a, b *phone) {
		t.Helper()
		for range lockAfter {
			a.say("is it me?")
		}
		b.hears("is it me?")
		chat(t, a, b, lockAfter)
		calm(s)
	}
	s1, a1, b1, why1 := dial()
	s2, a2, b2, why2 := dial() // nobody has heard the first one yet
	hear(s2, a2, b2)
	hear(s1, a1, b1)
	s3, a3, b3, why3 := dial() // now it has been heard
	hear(s3, a3, b3)
	chat(t, a1, b1, lockAfter)
	if why1 != "" || why2 != "host" || why3 != "" {
		t.Errorf("%q %q %q", why1, why2, why3)
	}
	s1.Close()
	s3.Close()
	settle(s2.shard)
	a1.say("after the call")
	a3.say("after the call")
	_, a4, b4, why4 := dial()
	a1.say("after the call")
	a3.say("after the call")
	a2.say("still here")
	b2.hears("still here")
	settle(s2.shard)
	for range lockAfter {
		a4.say("new")
	}
	b4.hears("new")
	b4.hasNothing(b4.rtp)
	settle(s2.shard)
	if st := e.Stats().Single; why4 != "" || st.Late != 4 || st.Ambiguous != 0 || st.Detours["host"] != 1 {
		t.Errorf("%q %+v", why4, st)
	}
}

func TestAddressThatAnotherCallHasGetsPortsOfItsOwn(t *testing.T) {
	e := startSingle(t, func(c *Config) { c.PortMin, c.PortMax = 21000, 21003 })
	there := loop4.Next()
	a, b := newPhone(t, loop4), newPhone(t, there)
	s1 := call(t, e, a, b)
	chat(t, a, b, lockAfter)
	// A phone with one socket for all its calls: the second one has a new source.
	there = there.Next()
	twin, c := *a, newPhone(t, there)
	twin.ssrc++
	s2 := call(t, e, &twin, c)
	for range 20 {
		chat(t, &twin, c, 1)
		chat(t, a, b, 1)
	}
	if st := calm(s2).Stats().Media[0].Sides[A]; st.OwnPorts != "address" || st.Port == e.cfg.SinglePort {
		t.Errorf("%+v", st)
	}
	there = there.Next()
	third, d := *a, newPhone(t, there)
	call(t, e, &third, d)
	there = there.Next()
	fourth, f := *a, newPhone(t, there)
	s4 := newSession(t, e)
	if _, err := s4.Offer(A, fourth.sdp(), loop4, there); err != nil {
		t.Fatal(err)
	}
	_, err := s4.Answer(B, f.sdp(), there, loop4)
	if !errors.Is(err, ErrNoPorts) || !strings.Contains(err.Error(), "ports of its own") || !strings.HasSuffix(err.Error(), ": address)") {
		t.Errorf("the fourth call of one address: %v", err)
	}
	s1.Close()
	s2.Close()
	settle(s1.shard)
	if st := e.Stats(); st.Single.Detours["address"] < 3 || st.Ports[0].Exhausted == 0 {
		t.Errorf("%+v %+v", st.Single, st.Ports)
	}
}

func TestReINVITEWithAnotherAddressIsFollowedAndTheOldOneIsNobodys(t *testing.T) {
	e := startSingle(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4.Next())
	s := call(t, e, a, b)
	chat(t, a, b, lockAfter)
	old, moved := *a, newPhone(t, netip.MustParseAddr("127.0.0.7"))
	renew(t, s, moved, b)
	old.say("late")
	chat(t, moved, b, lockAfter)
	moved.ssrc++ // it begins anew
	moved.seq = 40000
	chat(t, moved, b, lockAfter)
	b.hasNothing(b.rtp)
	if st := calm(s).Stats().Media[0].Sides[A]; st.Peer != moved.addr() || e.Stats().Single.Late != 1 {
		t.Errorf("%+v %+v", st, e.Stats().Single)
	}
}

func TestCallAtTheSinglePortGoesOnInAnotherEngine(t *testing.T) {
	port := openPort(t)
	e := startEngine(t, func(c *Config) { c.SinglePort = port })
	a, b := newPhone(t, loop4), newPhone(t, loop6)
	s := call(t, e, a, b)
	chat(t, a, b, lockAfter)
	snapshot, err := calm(s).Export()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := startEngine(t, nil).Import(SessionConfig{}, snapshot); !errors.Is(err, ErrForeignAddress) {
		t.Errorf("by an engine without a single port: %v", err)
	}
	if _, err := e.Import(SessionConfig{}, snapshot); !errors.Is(err, ErrPortTaken) || !strings.Contains(err.Error(), "single port") {
		t.Errorf("by the engine that has the call: %v", err)
	}
	chat(t, a, b, lockAfter) // nothing of these has harmed it
	done := make(chan struct{})
	s.shard.order(func(sh *shard) { // as the kernel does for a process that was killed
		for slot, k := range sh.table {
			if k != nil && k.single {
				sh.table[slot] = nil
				sh.vacant = append(sh.vacant, int32(slot))
				k.close()
			}
		}
		close(done)
	})
	<-done
	next := startEngine(t, func(c *Config) { c.SinglePort = port })
	again, err := next.Import(SessionConfig{ID: "x"}, snapshot)
	if err != nil {
		t.Fatal(err)
	}
	settle(again.shard)
	chat(t, a, b, lockAfter)
	st := calm(again).Stats().Media[0].Sides
	if st[A].Port != port || st[A].Peer != a.addr() || st[B].Peer != b.addr() || st[A].Drops.Total() != 0 {
		t.Errorf("%+v", st)
	}
	renew(t, again, a, b)
	chat(t, a, b, lockAfter)
}

func TestPacketPathOfTheSinglePortDoesNotAllocate(t *testing.T) {
	e := startSingle(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4.Next())
	s := call(t, e, a, b)
	chat(t, a, b, lockAfter)
	calm(s) // from here on the shard is idle: the test may act as it
	r := &relay{rate: 1 << 30, single: s.shard.single}
	door := r.single.doors[v4][rtp]
	k := &socket{fd: door.fd, family: v4, single: true, share: iceShare}
	var raw rawAddr
	raw.set(a.addr())
	p := packet(0, a.seq, 0, a.ssrc, string(make([]byte, 160)))
	before := s.Stats().Media[0].Sides[A].Forwarded
	if n := testing.AllocsPerRun(200, func() {
		p[3]++
		r.now += 20_000_000
		r.receive(k, raw.source(), &raw, p)
	}); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
	if n := s.Stats().Media[0].Sides[A].Forwarded - before; n < 200 {
		t.Errorf("%d were forwarded", n)
	}
}
