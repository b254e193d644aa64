//go:build linux && !portable

package rtpengine

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// Every other test of this package holds on the kernel tier too. They run again in a process and a network namespace of their own;
// the tests below, which are about that tier, run only there: TANDEM_TEST_TIER=auto unshare -n go test -run …
func TestAllOnTheKernelTier(t *testing.T) {
	if onTier != "" {
		t.Skip("this is a run on one tier")
	}
	needSteering(t)
	t.Parallel() // in a network namespace of its own
	runAllOn(t, TierAuto)
}

// lookAround has the shard look at all its legs now.
func lookAround(sh *shard) {
	sh.order(func(sh *shard) {
		if sh.bypasser != nil {
			sh.visit(len(sh.table) + 1)
		}
	})
}

// needKernel is startEngine on the kernel tier.
func needKernel(t *testing.T, change func(*Config)) *Engine {
	t.Helper()
	if onTier != TierAuto {
		t.Skip("runs in TestAllOnTheKernelTier")
	}
	probe, err := New(Config{Bind: []netip.Addr{loop4}})
	if err != nil {
		t.Fatal(err)
	}
	if st, end := probe.startKernel(); !st.On {
		t.Skip("no kernel tier here: ", st.Reason)
	} else {
		end()
	}
	e := startEngine(t, change)
	settle(e.shards[0])
	return e
}

func TestKernelForwardsALockedCall(t *testing.T) {
	e := needKernel(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	defer s.Close()
	for range 3 {
		a.say("a")
		b.hears("a")
		b.say("b")
		a.hears("b")
	}
	calm(s)
	before := e.Stats().Shards[0].Datagrams
	for range 10 {
		a.say("a in the kernel")
		b.hears("a in the kernel")
		b.say("b in the kernel")
		a.hears("b in the kernel")
	}
	for side, st := range s.Stats().Media[0].Sides {
		if st.Tier != TierKernel || st.Packets != 13 || st.Forwarded != 13 || st.Lost != 0 || st.Drops.Total() != 0 {
			t.Errorf("side %s: %+v", Side(side), st)
		}
	}
	if n := e.Stats().Shards[0].Datagrams - before; n != 0 {
		t.Errorf("the shard saw %d packets", n)
	}
	calm(s)
	if st := e.Stats(); st.Packets != 26 || st.Forwarded != 26 || len(st.Streams) != 1 || st.Streams[0] != (StreamCount{TierKernel, "", 2}) {
		t.Errorf("%d packets, %d forwarded, %+v", st.Packets, st.Forwarded, st.Streams)
	}
}

// converse has both say n words that the other hears.
func converse(a, b *phone, n int) {
	for range n {
		a.say("from a")
		b.hears("from a")
		b.say("from b")
		a.hears("from b")
	}
}

// kernelCall is a call that the kernel forwards in both directions.
func kernelCall(t *testing.T, e *Engine, addr netip.Addr, extra ...string) (s *Session, a, b *phone) {
	t.Helper()
	a, b = newPhone(t, addr), newPhone(t, addr)
	s = call(t, e, a, b, extra...)
	t.Cleanup(s.Close)
	converse(a, b, 3)
	calm(s)
	served(t, s, A, TierKernel, "")
	served(t, s, B, TierKernel, "")
	return s, a, b
}

// served checks which tier serves a direction, and why.
func served(t *testing.T, s *Session, side Side, tier Tier, detour string) StreamStats {
	t.Helper()
	st := s.Stats().Media[0].Sides[side]
	if st.Tier != tier || st.Detour != detour {
		t.Fatalf("side %s: %s serves (%s), want %s (%s)", side, st.Tier, st.Detour, tier, detour)
	}
	return st
}

// seen is how many datagrams the shard has read.
func seen(e *Engine) uint64 {
	settle(e.shards[0])
	return e.Stats().Shards[0].Datagrams
}

func TestKernelServesEveryBind(t *testing.T) {
	for _, addr := range []netip.Addr{loop4, loop6} {
		for _, bind := range [][]netip.Addr{{loop4, loop6}, {netip.IPv4Unspecified(), netip.IPv6Unspecified()}, {addr}} {
			e := needKernel(t, func(c *Config) { c.Bind = bind })
			_, a, b := kernelCall(t, e, addr)
			before := seen(e)
			converse(a, b, 5)
			if n := seen(e) - before; n != 0 {
				t.Errorf("%s, bind %v: the shard saw %d packets", addr, bind, n)
			}
		}
	}
}

// What is not media of the peer comes to the shard, is judged by the same rules as ever, and does not take the call from the kernel.
func TestStrangersAndOdditiesComeToTheShard(t *testing.T) {
	e := needKernel(t, nil)
	s, a, b := kernelCall(t, e, loop4)
	evil := newPhone(t, netip.MustParseAddr("127.0.0.66"))
	evil.to, evil.ssrc, evil.seq = a.to, a.ssrc, a.seq
	evil.say("evil")
	a.raw(a.rtcp, a.to, packet(0, a.seq+1, 0, a.ssrc, "from another port"))
	a.raw(a.rtp, a.to, packet(18, a.seq+1, 0, a.ssrc, "a format that nobody named"))
	a.raw(a.rtp, a.to, []byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}) // STUN
	a.raw(a.rtcp, a.toRTCP, receiverReport(a.ssrc))
	b.next(b.rtcp)
	converse(a, b, 1)
	settle(s.shard)
	st := served(t, s, A, TierKernel, "")
	if st.Packets != 4 || st.RTCP != 1 || st.Drops[DropSource] != 2 || st.Drops[DropPayload] != 1 || st.Drops[DropMalformed] != 1 || st.Drops.Total() != 4 {
		t.Errorf("%+v", st)
	}
	b.hasNothing(b.rtp)
}

func TestMuxedRTCPComesToTheShard(t *testing.T) {
	e := needKernel(t, nil)
	s, a, b := kernelCall(t, e, loop4, "a=rtcp-mux")
	a.raw(a.rtp, a.to, receiverReport(a.ssrc))
	b.next(b.rtp)
	converse(a, b, 1)
	if st := served(t, s, A, TierKernel, ""); st.RTCP != 1 || st.Packets != 4 {
		t.Errorf("%+v", st)
	}
}

// A re-INVITE begins anew in the shard: the phone must lock again, then the kernel has the call again.
func TestNewAgreementTakesTheCallFromTheKernel(t *testing.T) {
	e := needKernel(t, nil)
	s, a, b := kernelCall(t, e, loop4)
	converse(a, b, 2)
	renew(t, s, a, b)
	before := seen(e)
	served(t, s, A, TierSteered, "unheard")
	converse(a, b, 3)
	if n := seen(e) - before; n != 6 {
		t.Errorf("the shard saw %d of 6 packets", n)
	}
	calm(s)
	for _, side := range []Side{A, B} {
		if st := served(t, s, side, TierKernel, ""); st.Packets != 8 || st.Forwarded != 8 || st.Lost != 0 {
			t.Errorf("side %s: %+v", side, st)
		}
	}
	renew(t, s, a, b, "a=inactive")
	calm(s)
	served(t, s, A, TierSteered, "hold")
	a.say("on hold")
	calm(s)
	if st := served(t, s, A, TierSteered, "hold"); st.Drops[DropHold] != 1 {
		t.Errorf("%+v", st)
	}
	b.hasNothing(b.rtp)
}

// Who starts to record hears the very next packet.
func TestTapTakesTheCallFromTheKernel(t *testing.T) {
	dir := t.TempDir()
	e := needKernel(t, func(c *Config) { c.Recording.Dir = dir })
	s, a, b := kernelCall(t, e, loop4)
	rec, err := s.Record()
	if err != nil {
		t.Fatal(err)
	}
	before := seen(e)
	converse(a, b, 5)
	if n := seen(e) - before; n != 10 {
		t.Errorf("the shard saw %d of 10 packets", n)
	}
	served(t, s, A, TierSteered, "tapped")
	if rec.tap.ring.head.Load() == 0 {
		t.Error("nothing was heard")
	}
	s.StopRecording()
	calm(s)
	served(t, s, A, TierKernel, "")
}

// A phone that begins a new stream is heard by the shard, which then hands the new stream over.
func TestNewSourceIsLearnedByTheShard(t *testing.T) {
	e := needKernel(t, nil)
	s, a, b := kernelCall(t, e, loop4)
	converse(a, b, 5)
	a.ssrc, a.seq = a.ssrc+1, 7000
	before := seen(e)
	a.say("anew")
	b.hears("anew")
	served(t, s, A, TierSteered, "new")
	if n := seen(e) - before; n != 1 {
		t.Errorf("the shard saw %d packets, want 1", n)
	}
	calm(s)
	a.say("go on")
	b.hears("go on")
	if st := served(t, s, A, TierKernel, ""); st.SSRC != a.ssrc || st.Packets != 10 || st.Lost != 0 {
		t.Errorf("%+v", st)
	}
}

// A phone whose packets are never the kernel's kind is left to the shard for longer and longer.
func TestOddSourceIsLeftToTheShard(t *testing.T) {
	e := needKernel(t, nil)
	s, a, b := kernelCall(t, e, loop4)
	for range 4 {
		calm(s)
		a.ssrc++
		a.say("x")
		b.hears("x")
	}
	calm(s)
	served(t, s, A, TierSteered, "odd")
	served(t, s, B, TierKernel, "")
	for range 10 {
		calm(s)
	}
	served(t, s, A, TierKernel, "")
}

// The figures of a call are the same whoever counts.
func TestLossIsTheSameInEveryTier(t *testing.T) {
	var lost [2]int64
	for i, tier := range []Tier{TierSteered, TierAuto} {
		e := needKernel(t, func(c *Config) { c.Tier = tier })
		a, b := newPhone(t, loop4), newPhone(t, loop4)
		s := call(t, e, a, b)
		a.seq = 65500
		for n := range 100 {
			if n == 50 {
				calm(s) // from here on the kernel counts, if it may
			}
			if n%7 == 3 {
				a.seq++
			}
			converse(a, b, 1)
			if n%10 == 5 {
				a.seq--
				converse(a, b, 1)
			}
			if n == 60 {
				a.seq += 5000 // a jump, that nothing confirms
				converse(a, b, 1)
				a.seq -= 5000
				calm(s)
			}
		}
		st := s.Stats().Media[0].Sides[A]
		s.Close()
		settle(s.shard)
		after := s.Stats().Media[0].Sides[A]
		if after.Packets != st.Packets || after.Lost != st.Lost || after.Codec != "PCMU" || after.Packets != 111 {
			t.Errorf("%s: %+v, after the end %+v", tier, st, after)
		}
		if tier == TierAuto && (st.Tier != TierKernel || after.Tier == TierKernel) {
			t.Errorf("%s, then %s serves", st.Tier, after.Tier)
		}
		lost[i] = st.Lost
	}
	if lost[0] != lost[1] {
		t.Errorf("lost %d, in the kernel %d", lost[0], lost[1])
	}
}

// A phone that speaks through the kernel is not silent, and one that stops is.
func TestSilenceIsNoticedInTheKernel(t *testing.T) {
	e := needKernel(t, func(c *Config) { c.Silence = 400 * time.Millisecond })
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	silent := make(chan Side, 4)
	s, err := e.NewSession(SessionConfig{ID: "silence", OnSilence: func(side Side, _ time.Duration) { silent <- side }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	renew(t, s, a, b)
	converse(a, b, 3)
	calm(s)
	served(t, s, A, TierKernel, "")
	for end := time.After(time.Second); ; {
		a.say("still here")
		b.hears("still here")
		select {
		case side := <-silent:
			if side != B {
				t.Fatal("a side that speaks is called silent")
			}
			continue
		case <-time.After(50 * time.Millisecond):
			continue
		case <-end:
		}
		break
	}
	if side := <-silent; side != A {
		t.Errorf("%s is called silent", side)
	}
}

// More packets than a phone may send are the shard's to drop and count.
func TestFloodOfThePeerIsBounded(t *testing.T) {
	e := needKernel(t, func(c *Config) { c.PacketRate = 100 })
	s, a, _ := kernelCall(t, e, loop4)
	for range 200 {
		a.say("flood")
	}
	settleBy(t, s, func(st SessionStats) bool {
		from := st.Media[0].Sides[A]
		return from.Packets+from.Drops.Total() == 203
	})
	st := s.Stats().Media[0].Sides[A]
	if st.Packets < 100 || st.Drops[DropFlood] == 0 || st.Packets > 100 && st.Drops[DropFlood] < 90 && st.Packets < 190 {
		t.Errorf("%d packets taken, %d dropped as flood", st.Packets, st.Drops[DropFlood])
	}
}

func TestReasonsAreSaid(t *testing.T) {
	e := needKernel(t, nil)
	a, b, c := newPhone(t, loop4), newPhone(t, loop4), newPhone(t, loop6)
	s := call(t, e, a, b)
	defer s.Close()
	served(t, s, A, TierSteered, "unheard")
	for range 3 {
		a.say("a")
		b.hears("a")
	}
	calm(s)
	served(t, s, A, TierSteered, "far side unheard")
	bridged := call(t, e, a, c)
	defer bridged.Close()
	converse(a, c, 3)
	calm(bridged)
	served(t, bridged, A, TierSteered, "ip version")
	calm(s)
	want := []StreamCount{{TierSteered, "unheard", 1}, {TierSteered, "far side unheard", 1}, {TierSteered, "ip version", 2}}
	if got := e.Stats().Streams; !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestKernelIsNotUsedWhenItMayNot(t *testing.T) {
	for tier, interfaces := range map[Tier][]string{TierSteered: nil, TierAuto: {"absent"}} {
		e := needKernel(t, func(c *Config) { c.Tier, c.Interfaces = tier, interfaces })
		a, b := newPhone(t, loop4), newPhone(t, loop4)
		s := call(t, e, a, b)
		converse(a, b, 4)
		calm(s)
		want := "interface"
		if tier == TierSteered {
			want = configured
		}
		served(t, s, A, TierSteered, want)
		s.Close()
	}
}

// Who blocks a side, or plays to the other one, is obeyed with the next packet.
func TestInterventionTakesTheCallFromTheKernel(t *testing.T) {
	e := needKernel(t, nil)
	s, a, b := kernelCall(t, e, loop4)
	s.Block(A, BlockMedia)
	settle(s.shard)
	a.say("not for you")
	b.say("for you")
	a.hears("for you")
	settle(s.shard)
	served(t, s, A, TierSteered, "barred")
	served(t, s, B, TierKernel, "")
	b.hasNothing(b.rtp)
	s.Block(A, 0)
	calm(s)
	served(t, s, A, TierKernel, "")
	if _, err := s.Play(B, "tone:ring", PlayOptions{}); err != nil {
		t.Fatal(err)
	}
	settle(s.shard)
	a.say("not now")
	b.until("the tone", func(b []byte) bool { return len(b) == 12+frameSamples })
	served(t, s, A, TierSteered, "barred")
	s.StopPlaying(B)
	calm(s)
	served(t, s, A, TierKernel, "")
	b.empties()
	if err := s.SendDigits(B, "5"); err != nil {
		t.Fatal(err)
	}
	settle(s.shard)
	a.say("what the digit takes the place of")
	b.until("the digit", func(b []byte) bool { return tells(b) })
	served(t, s, A, TierSteered, "digits")
}
