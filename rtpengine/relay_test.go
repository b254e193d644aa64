package rtpengine

import (
	"net/netip"
	"testing"
)

func TestTwoPhonesHearEachOtherThroughTheRelay(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	for _, word := range []string{"one", "two", "three", "four"} {
		a.say("a " + word)
		b.hears("a " + word)
		b.say("b " + word)
		a.hears("b " + word)
	}
	st := calm(s).Stats()
	for side, p := range []*phone{a, b} {
		got := st.Media[0].Sides[side]
		if got.Packets != 4 || got.Forwarded != 4 || got.Lost != 0 || got.Peer != p.addr() || got.Drops.Total() != 0 {
			t.Errorf("side %s: %+v", Side(side), got)
		}
	}
	s.Close()
	s.Close()
}

func TestIPv4PhoneTalksToIPv6Phone(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop6)
	s := call(t, e, a, b)
	defer s.Close()
	if !b.to.Addr().Is6() || !a.to.Addr().Is4() {
		t.Fatalf("a sends to %v, b sends to %v", a.to, b.to)
	}
	a.say("four")
	b.hears("four")
	b.say("six")
	a.hears("six")
}

func TestStrangerInjectsNothingAndGetsNothing(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	evil := newPhone(t, netip.MustParseAddr("127.0.0.66"))
	s := call(t, e, a, b)
	defer s.Close()
	attack := func(n int) {
		for range n {
			evil.to = a.to // pretends to be a: same port, a's next number and source
			evil.ssrc, evil.seq = a.ssrc, a.seq
			evil.say("evil")
			evil.raw(evil.rtcp, a.toRTCP, receiverReport(7))
		}
	}
	attack(20) // before anybody spoke
	for range 5 {
		a.say("true")
		b.hears("true")
		b.say("reply")
		a.hears("reply")
		attack(5)
	}
	a.say("last")
	b.hears("last")
	evil.hasNothing(evil.rtp)
	evil.hasNothing(evil.rtcp)
	b.hasNothing(b.rtcp)
	if got := calm(s).Stats().Media[0].Sides[A]; got.Drops[DropSource] < 45 || got.Packets != 6 {
		t.Errorf("%+v", got)
	}
}

func TestNeighbourOnTheSameHostCannotTakeALockedStream(t *testing.T) {
	e := startEngine(t, nil)
	a, b, evil := newPhone(t, loop4), newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	defer s.Close()
	evil.to, evil.ssrc = a.to, a.ssrc
	evil.say("evil") // same IP, so a candidate, but three in a row never come
	evil.say("evil")
	for range 3 {
		a.say("true")
		b.hears("true")
		evil.say("evil")
	}
	for range 10 {
		evil.say("evil")
	}
	a.say("end")
	b.hears("end")
	b.say("back")
	a.hears("back")
	evil.hasNothing(evil.rtp)
	got := calm(s).Stats().Media[0].Sides[A]
	if got.Peer != a.addr() || got.Packets != 4 {
		t.Errorf("%+v", got)
	}
}

func TestPhoneBehindNATIsFoundByItsSignallingAddress(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s, err := e.NewSession(SessionConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	inside := []byte("v=0\r\no=- 1 1 IN IP4 192.168.7.7\r\ns=-\r\nc=IN IP4 192.168.7.7\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n")
	offer, err := s.Offer(A, inside, netip.MustParseAddr("203.0.113.9"), loop4)
	if err != nil {
		t.Fatal(err)
	}
	b.dial(offer)
	answer, err := s.Answer(B, b.sdp(), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(answer)
	settle(s.shard)
	b.say("nobody is sent this")
	a.say("a does not come from 203.0.113.9")
	settleBy(t, s, func(st SessionStats) bool {
		return st.Media[0].Sides[B].Drops[DropUnlatched] == 1 && st.Media[0].Sides[A].Drops[DropSource] == 1
	})

	// The same phone, its signalling seen from where its media comes from.
	if _, err = s.Offer(A, inside, loop4, loop4); err != nil {
		t.Fatal(err)
	}
	if _, err = s.Answer(B, b.sdp(), loop4, loop4); err != nil {
		t.Fatal(err)
	}
	settle(s.shard)
	a.say("one")
	a.say("two")
	a.say("three locks")
	b.hears("three locks")
	b.say("now")
	a.hears("now")
	if got := calm(s).Stats().Media[0].Sides[A]; got.Drops[DropProbing] != 2 || got.Peer != a.addr() {
		t.Errorf("%+v", got)
	}
}

func TestRefreshOfACallLosesNoPacket(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	defer s.Close()
	for range 5 {
		for range 4 {
			a.say("x")
			b.hears("x")
			b.say("y")
			a.hears("y")
		}
		renew(t, s, a, b)
	}
	for _, side := range calm(s).Stats().Media[0].Sides {
		if side.Drops.Total() != 0 || side.Packets != 20 {
			t.Errorf("%+v", side)
		}
	}
}

func TestMalformedAndUnnegotiatedPacketsGoNoFurther(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	defer s.Close()
	for _, bad := range [][]byte{
		{},
		{0x80},
		[]byte("\x00\x01\x00\x00!\x12\xa4B STUN?....."),
		packet(0, 1, 1, 1, "")[:11],
		append([]byte{0x90, 0}, make([]byte, 10)...), // extension beyond the end
		append([]byte{0x8f, 0}, make([]byte, 10)...), // CSRCs beyond the end
	} {
		a.raw(a.rtp, a.to, bad)
	}
	a.raw(a.rtp, a.to, packet(96, 1, 1, 1, "what is 96?"))
	a.say("good")
	b.hears("good")
	got := calm(s).Stats().Media[0].Sides[A]
	if got.Drops[DropMalformed] != 6 || got.Drops[DropPayload] != 1 || got.Packets != 1 {
		t.Errorf("%+v", got)
	}
}

func TestHeldDirectionCarriesNothing(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	defer s.Close()
	offer, err := s.Offer(A, a.sdp("a=sendonly"), loop4, loop4)
	if err != nil || !hasLine(offer, "a=sendonly") {
		t.Fatalf("%v\n%s", err, offer)
	}
	b.say("still open until the answer")
	a.hears("still open until the answer")
	if _, err := s.Answer(B, b.sdp("a=recvonly"), loop4, loop4); err != nil {
		t.Fatal(err)
	}
	settle(s.shard)
	b.say("not wanted")
	a.say("music")
	b.hears("music")
	settleBy(t, s, func(st SessionStats) bool { return st.Media[0].Sides[B].Drops[DropHold] == 1 })
	a.hasNothing(a.rtp)
	renew(t, s, a, b)
	b.say("back")
	a.hears("back")
}

func TestMuxedPhoneTalksToOneThatDoesNotMux(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s, _ := e.NewSession(SessionConfig{})
	defer s.Close()
	offer, err := s.Offer(A, a.sdp("a=rtcp-mux"), loop4, loop4)
	if err != nil || !hasLine(offer, "a=rtcp-mux") {
		t.Fatalf("%v\n%s", err, offer)
	}
	b.dial(offer)
	answer, err := s.Answer(B, b.sdp(), loop4, loop4)
	if err != nil || !hasLine(answer, "a=rtcp-mux") {
		t.Fatalf("%v\n%s", err, answer)
	}
	a.dial(answer)
	settle(s.shard)
	report := receiverReport(a.ssrc)
	a.raw(a.rtp, a.to, report)
	if got := b.next(b.rtcp); string(got) != string(report) {
		t.Errorf("b got %x", got)
	}
	report = receiverReport(b.ssrc)
	b.raw(b.rtcp, b.toRTCP, report)
	if got := a.next(a.rtp); string(got) != string(report) {
		t.Errorf("a got %x", got)
	}
}

func TestReportsOfANATedPhonePassOnceItsRTCPPortIsLatched(t *testing.T) {
	e := startEngine(t, nil)
	a, b, evil := newPhone(t, loop4), newPhone(t, loop4), newPhone(t, netip.MustParseAddr("127.0.0.66"))
	s := newSession(t, e)
	inside := []byte("v=0\r\no=- 1 1 IN IP4 192.168.7.7\r\ns=-\r\nc=IN IP4 192.168.7.7\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n")
	offer, err := s.Offer(A, inside, loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	b.dial(offer)
	answer, err := s.Answer(B, b.sdp(), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(answer)
	settle(s.shard)
	b.raw(b.rtcp, b.toRTCP, receiverReport(b.ssrc))
	settleBy(t, s, func(st SessionStats) bool { return st.Media[0].Sides[B].RTCP == 1 })
	for range lockAfter {
		evil.raw(evil.rtcp, a.toRTCP, receiverReport(a.ssrc))
		a.raw(a.rtcp, a.toRTCP, []byte("not RTCP"))
		a.raw(a.rtcp, a.toRTCP, receiverReport(a.ssrc))
	}
	b.next(b.rtcp)
	b.hasNothing(b.rtcp)
	b.raw(b.rtcp, b.toRTCP, receiverReport(b.ssrc))
	a.next(a.rtcp)
	got := calm(s).Stats().Media[0].Sides[A]
	if got.RTCP != 1 || got.Drops[DropMalformed] != 3 || got.Drops[DropProbing] != 2 || got.Drops[DropSource] != 3 {
		t.Errorf("%+v", got)
	}
}

func TestOversizedDatagramIsDropped(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	defer s.Close()
	a.raw(a.rtp, a.to, packet(0, 1, 1, 1, string(make([]byte, slabBytes))))
	a.say("x")
	b.hears("x")
	if got := calm(s).Stats().Media[0].Sides[A]; got.Drops[DropOversize] != 1 {
		t.Errorf("%+v", got)
	}
}

func TestRollbackAfterAnAnswerReturnsToTheAgreementBefore(t *testing.T) {
	e := startEngine(t, nil)
	a, b, moved := newPhone(t, loop4), newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	defer s.Close()
	renew(t, s, a, moved)
	s.Rollback()
	settle(s.shard)
	a.say("b again")
	b.hears("b again")
	moved.hasNothing(moved.rtp)
	s.Rollback() // there is nothing more to undo
	settle(s.shard)
	a.say("still b")
	b.hears("still b")
}

func TestTwoForksAnswerAndTheLastIsHeard(t *testing.T) {
	e := startEngine(t, nil)
	a, b1, b2 := newPhone(t, loop4), newPhone(t, loop4), newPhone(t, loop4)
	s, _ := e.NewSession(SessionConfig{})
	defer s.Close()
	offer, err := s.Offer(A, a.sdp(), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	answer := func(p *phone) {
		p.dial(offer)
		got, err := s.Answer(B, p.sdp(), loop4, loop4)
		if err != nil {
			t.Fatal(err)
		}
		a.dial(got)
		settle(s.shard)
	}
	answer(b1) // 183 with early media
	b1.say("ringing")
	a.hears("ringing")
	b1.say("r")
	a.hears("r")
	b1.say("r")
	a.hears("r") // locked to b1
	answer(b2)
	b2.say("hello")
	a.hears("hello")
	a.say("hi")
	b2.hears("hi")
	b2.say("x")
	b2.say("y")
	a.hears("x")
	a.hears("y")
	b1.say("late announcement")
	b2.say("end")
	a.hears("end")
	b1.hasNothing(b1.rtp)
}

func TestRefusedReofferLeavesTheCallAsItWas(t *testing.T) {
	e := startEngine(t, nil)
	a, b, moved := newPhone(t, loop4), newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	defer s.Close()
	if _, err := s.Offer(B, moved.sdp(), loop4, loop4); err != nil {
		t.Fatal(err)
	}
	s.Rollback()
	settle(s.shard)
	a.say("still b")
	b.hears("still b")
	if _, err := s.Answer(B, moved.sdp(), loop4, loop4); err != nil {
		t.Fatalf("the agreement before has A's offer, which another fork may answer: %v", err)
	}
}

func TestClosedSessionFreesItsPortsOnlyAfterQuarantine(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.PortMin, c.PortMax = 26000, 26059 })
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	if e.pools[v4].stats().Used != 2 {
		t.Error("a call with one m-line takes a pair on each side")
	}
	s.Close()
	settle(s.shard)
	if used := e.pools[v4].stats().Used; used != 0 {
		t.Errorf("%d pairs in use after Close", used)
	}
	if _, err := s.Offer(A, a.sdp(), loop4, loop4); err != ErrClosed {
		t.Errorf("got %v", err)
	}
	s.Rollback()
}

func TestFloodFromOneSideIsCut(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.PacketRate = 10 })
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	defer s.Close()
	for range 30 {
		a.say("x")
	}
	settleBy(t, s, func(st SessionStats) bool {
		side := st.Media[0].Sides[A]
		return side.Packets+side.Drops[DropFlood] == 30 && side.Drops[DropFlood] >= 10
	})
}

func TestStrangersFloodDoesNotUseUpThePhonesShare(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.PacketRate = 10 })
	a, b, evil := newPhone(t, loop4), newPhone(t, loop4), newPhone(t, netip.MustParseAddr("127.0.0.66"))
	s := call(t, e, a, b)
	defer s.Close()
	evil.to = a.to
	for range 50 {
		evil.say("evil")
	}
	a.say("true")
	b.hears("true")
	settle(s.shard)
	settle(s.shard) // totals follow after the wake-up
	if st := e.Stats(); st.Drops[DropSource] != 50 || st.Packets != 1 || st.Forwarded != 1 {
		t.Errorf("%+v", st)
	}
}

// receiverReport is an empty RTCP RR.
func receiverReport(ssrc uint32) []byte {
	return []byte{0x80, rtcpRR, 0, 1, byte(ssrc >> 24), byte(ssrc >> 16), byte(ssrc >> 8), byte(ssrc)}
}

// settleBy asks for the counters until they are as wanted; packets that are dropped tell nobody.
func settleBy(t *testing.T, s *Session, good func(SessionStats) bool) {
	t.Helper()
	for range 20000 {
		settle(s.shard)
		if good(s.Stats()) {
			return
		}
	}
	t.Fatalf("never came so: %+v", s.Stats())
}
