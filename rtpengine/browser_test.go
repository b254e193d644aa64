package rtpengine

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/stun/v3"
)

// browserToPhone connects a browser that calls to a phone that answers in plain RTP.
func browserToPhone(t testing.TB, e *Engine, web *webPhone, desk *phone) *Session {
	t.Helper()
	s, err := e.NewSession(SessionConfig{ID: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	browserCalls(t, s, web, desk, "actpass")
	return s
}

// browserCalls does one offer/answer from a browser to a phone.
func browserCalls(t testing.TB, s *Session, web *webPhone, desk *phone, setup string) {
	t.Helper()
	offer, err := s.Offer(A, audioOnly(web.sdp(setup)), web.addr().Addr(), desk.addr().Addr())
	if err != nil {
		t.Fatal(err)
	}
	noBrowserLines(t, offer)
	desk.dial(offer)
	answer, err := s.Answer(B, desk.sdp(), desk.addr().Addr(), web.addr().Addr())
	if err != nil {
		t.Fatal(err)
	}
	web.hear(answer)
	settle(s.shard)
}

func noBrowserLines(t testing.TB, sdp []byte) {
	t.Helper()
	for _, no := range []string{"ice-", "candidate", "fingerprint", "setup", "extmap", "ssrc", "msid", "BUNDLE", "a=mid", "SAVP", "theirs"} {
		if strings.Contains(string(sdp), no) {
			t.Errorf("a phone is told %q in\n%s", no, sdp)
		}
	}
}

// counted waits until a figure of the engine is as wanted: what is dropped tells nobody.
func counted(t testing.TB, e *Engine, what string, want uint64, get func(WebRTCStats) uint64) {
	t.Helper()
	for range 200000 {
		if get(e.Stats().WebRTC) == want {
			return
		}
		runtime.Gosched()
	}
	t.Fatalf("%s: want %d in %+v", what, want, e.Stats().WebRTC)
}

func TestABrowserCallsADeskPhone(t *testing.T) {
	for _, c := range []struct {
		name, setup string
		profile     dtls.SRTPProtectionProfile
		at          netip.Addr
	}{
		{"GCM, we begin the handshake", "actpass", dtls.SRTP_AEAD_AES_128_GCM, loop4},
		{"GCM with 256 bits, over IPv6", "actpass", dtls.SRTP_AEAD_AES_256_GCM, loop6},
		{"counter mode, the browser begins", "active", dtls.SRTP_AES128_CM_HMAC_SHA1_80, loop4},
		{"the browser waits", "passive", dtls.SRTP_AEAD_AES_128_GCM, loop4},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := startEngine(t, nil)
			web, desk := newWebPhone(t, c.at), newPhone(t, loop4)
			web.profiles = []dtls.SRTPProtectionProfile{c.profile}
			s, err := e.NewSession(SessionConfig{ID: t.Name()})
			if err != nil {
				t.Fatal(err)
			}
			browserCalls(t, s, web, desk, c.setup)
			web.connect(s)
			web.say(0, 77, "", "hello desk")
			desk.hears("hello desk")
			desk.say("hello browser")
			web.hears("hello browser")
			web.report(emptyReport(77))
			if got := desk.next(desk.rtcp); !bytes.Equal(got, emptyReport(77)) {
				t.Errorf("the phone's RTCP is %x", got)
			}
			s.Close()
			settle(s.shard)
			settle(s.shard) // gauges follow after the wake-up
			if st := e.Stats(); st.WebRTC.Transports != 0 || st.WebRTC.Handshakes != 1 || len(st.WebRTC.HandshakesFailed) != 0 {
				t.Errorf("%+v", st.WebRTC)
			}
			if n := len(s.shard.ice.byAddr) + len(s.shard.ice.byName); n != 0 { // the shard rests
				t.Errorf("%d entries are left", n)
			}
		})
	}
}

func TestADeskPhoneCallsABrowser(t *testing.T) {
	e := startEngine(t, nil)
	web, desk := newWebPhone(t, loop4), newPhone(t, loop4)
	s, err := e.NewSession(SessionConfig{ID: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	offer, err := s.OfferWith(A, desk.sdp(), loop4, loop4, OfferOptions{Speaks: WebRTC})
	if err != nil {
		t.Fatal(err)
	}
	web.hear(offer)
	web.check() // before its answer is here, as browsers do
	answer, err := s.Answer(B, audioOnly(web.sdp("active")), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	desk.dial(answer)
	noBrowserLines(t, answer)
	web.connect(s)
	web.say(0, 77, "", "hello desk")
	desk.hears("hello desk")
	desk.say("hello browser")
	web.hears("hello browser")

	// The phone's session timer: nothing moves.
	again, err := s.Offer(A, desk.sdp(), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again, offer) {
		t.Errorf("the refresh is another offer:\n%s\nwas\n%s", again, offer)
	}
	if _, err := s.Answer(B, audioOnly(web.sdp("active")), loop4, loop4); err != nil {
		t.Fatal(err)
	}
	settle(s.shard)
	desk.say("still here")
	web.hears("still here")
	if n := e.handshakes.succeeded(); n != 1 {
		t.Errorf("%d handshakes", n)
	}
}

func TestTwoBrowsersSeeEachOther(t *testing.T) {
	e := startEngine(t, nil)
	alice, bob := newWebPhone(t, loop4), newWebPhone(t, loop4)
	s, err := e.NewSession(SessionConfig{ID: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	offer, err := s.OfferWith(A, alice.sdp("actpass"), loop4, loop4, OfferOptions{Speaks: WebRTC})
	if err != nil {
		t.Fatal(err)
	}
	bob.hear(offer)
	if one, two := bob.remote.sections[0].wiring.ufrag, bob.remote.sections[1].wiring.ufrag; one == two {
		t.Error("m-lines that may end up apart have one name")
	}
	answer, err := s.Answer(B, bob.sdp("active"), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	alice.hear(answer)
	if one, two := alice.remote.sections[0].wiring.ufrag, alice.remote.sections[1].wiring.ufrag; one != two {
		t.Error("a bundle has two transports")
	}
	for _, sdp := range [][]byte{offer, answer} {
		for _, want := range []string{"a=group:BUNDLE 0 1\r\n", "a=mid:0\r\n", "a=mid:1\r\n", "a=extmap:4 ", "a=rtcp-fb:96 nack pli\r\n"} {
			if !strings.Contains(string(sdp), want) {
				t.Errorf("%q is missing in\n%s", want, sdp)
			}
		}
		for _, no := range []string{"theirs", ".local", alice.ufrag, bob.ufrag, alice.identity.fingerprint, bob.identity.fingerprint} {
			if strings.Contains(string(sdp), no) {
				t.Errorf("%q crosses in\n%s", no, sdp)
			}
		}
	}
	settle(s.shard)
	alice.connect(s)
	bob.connect(s)
	alice.say(111, 1001, "", "sound")   // by its payload type
	alice.say(96, 1002, "1", "picture") // by its name
	bob.hears("sound")
	bob.hears("picture")
	bob.say(96, 2002, "", "face")
	alice.hears("face")
	settle(s.shard)
	settle(s.shard)
	st := s.Stats()
	if st.Media[0].Sides[A].Packets != 1 || st.Media[1].Sides[A].Packets != 1 || st.Media[1].Sides[B].Packets != 1 || st.Media[0].Sides[B].Packets != 0 {
		t.Errorf("%+v", st.Media)
	}
	if n := e.Stats().Sessions; n != 1 {
		t.Errorf("%d sessions", n)
	}
	for _, p := range e.Stats().Ports {
		if p.Used != 1 { // the ICE port
			t.Errorf("two browsers use %d pairs of %s", p.Used, p.Addr)
		}
	}
}

func TestABrowserHearsItsEcho(t *testing.T) {
	e := startEngine(t, nil)
	web := newWebPhone(t, loop4)
	p, err := e.NewEndpoint(SessionConfig{ID: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	p.Echo()
	answer, err := p.Answer(web.sdp("actpass"), loop4)
	if err != nil {
		t.Fatal(err)
	}
	web.hear(answer)
	web.connectTo(e, p.shard)
	web.say(111, 77, "", "hello myself")
	web.hears("hello myself")
	web.say(96, 78, "", "my face")
	web.hears("my face")
	p.Close()
	settle(p.shard)
	settle(p.shard) // gauges follow after the wake-up
	if st := e.Stats().WebRTC; st.Transports != 0 {
		t.Errorf("%+v", st)
	}
}

func TestABrowserHearsATone(t *testing.T) {
	e := startEngine(t, nil)
	web := newWebPhone(t, loop4)
	p, err := e.NewEndpoint(SessionConfig{ID: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Play("tone:busy"); err != nil {
		t.Fatal(err)
	}
	answer, err := p.Answer(web.sdp("actpass"), loop4)
	if err != nil {
		t.Fatal(err)
	}
	web.hear(answer)
	if web.remote.sections[1].port != 0 {
		t.Errorf("a player takes video:\n%s", answer)
	}
	web.connectTo(e, p.shard)
	for range 3 {
		select {
		case b := <-web.media:
			if _, err := web.in.DecryptRTP(nil, b, nil); err != nil || len(b) < 12+frameSamples {
				t.Errorf("%v: %x", err, b)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("nothing heard")
		}
	}
}

func TestAWrongPasswordOpensNothing(t *testing.T) {
	e := startEngine(t, nil)
	web, desk := newWebPhone(t, loop4), newPhone(t, loop4)
	browserToPhone(t, e, web, desk)
	web.send(web.binding("not the password at all", leads, nominates).Raw)
	var code stun.ErrorCodeAttribute
	if m := web.answer(); m.Type != stun.BindingError || code.GetFrom(m) != nil || code.Code != stun.CodeUnauthorized {
		t.Errorf("answered %v", m)
	}
	web.send(clientHelloLike())
	counted(t, e, "hellos", 1, func(st WebRTCStats) uint64 { return st.Hellos })
	if st := e.Stats().WebRTC; st.Unproved != 1 || st.Connected != 0 || st.Answered != 0 {
		t.Errorf("%+v", st)
	}
}

// clientHelloLike is enough of a ClientHello to be taken for one.
func clientHelloLike() []byte {
	return append([]byte{22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 1}, make([]byte, 11)...)
}

func TestAnotherCertificateGetsNoKeys(t *testing.T) {
	for _, setup := range []string{"actpass", "active"} {
		e := startEngine(t, nil)
		web, desk := newWebPhone(t, loop4), newPhone(t, loop4)
		s, err := e.NewSession(SessionConfig{ID: t.Name()})
		if err != nil {
			t.Fatal(err)
		}
		browserCalls(t, s, web, desk, setup)
		if web.identity, err = newIdentity(nil); err != nil { // not the one of its description
			t.Fatal(err)
		}
		web.check()
		_ = web.secure() // as a server it may have been done before we refused
		counted(t, e, "failures by fingerprint", 1, func(st WebRTCStats) uint64 { return st.HandshakesFailed["fingerprint"] })
		if web.out != nil {
			web.say(0, 77, "", "let me in")
			desk.hasNothing(desk.rtp)
		}
		desk.say("secret")
		web.hearsNothing()
	}
}

func TestAPacketComesOnceAndFromANominatedPairOnly(t *testing.T) {
	e := startEngine(t, nil)
	web, desk := newWebPhone(t, loop4), newPhone(t, loop4)
	s := browserToPhone(t, e, web, desk)
	web.connect(s)
	b := web.sealed(0, 77, "", "once")
	web.send(b)
	desk.hears("once")
	web.send(b)
	settleBy(t, s, func(st SessionStats) bool { return st.Media[0].Sides[A].Drops[DropReplay] == 1 })
	forged := web.sealed(0, 77, "", "forged")
	forged[len(forged)-1] ^= 1
	web.send(forged)
	settleBy(t, s, func(st SessionStats) bool { return st.Media[0].Sides[A].Drops[DropForged] == 1 })

	// A stranger with a recorded packet has no place here: no check has come from him.
	stranger := newPhone(t, loop4)
	stranger.raw(stranger.rtp, web.to, web.sealed(0, 77, "", "stolen"))
	for e.Stats().Drops[DropSource] == 0 {
		runtime.Gosched()
	}
	desk.hasNothing(desk.rtp)

	// An address that was proved and not nominated is heard, for it has the keys; but nothing is sent there.
	other, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loop4, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_, _ = other.WriteToUDPAddrPort(web.binding(web.remote.sections[0].wiring.pwd, leads).Raw, web.to)
	counted(t, e, "answers", 2, func(st WebRTCStats) uint64 { return st.Answered })
	desk.say("for the nominated one")
	web.hears("for the nominated one")
}

func TestTheFirstProvedPairIsUsedUntilOneIsNominated(t *testing.T) {
	e := startEngine(t, nil)
	web, desk := newWebPhone(t, loop4), newPhone(t, loop4)
	s := browserToPhone(t, e, web, desk)
	password := web.remote.sections[0].wiring.pwd
	nominated, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loop4, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer nominated.Close()

	web.send(web.binding(password, leads).Raw) // as browsers begin
	web.answer()
	_ = web.secure()
	settleBy(t, s, func(st SessionStats) bool { return e.handshakes.succeeded() == 1 })
	desk.say("before any nomination")
	web.hears("before any nomination")

	_, _ = nominated.WriteToUDPAddrPort(web.binding(password, leads).Raw, web.to)
	counted(t, e, "answers", 2, func(st WebRTCStats) uint64 { return st.Answered })
	desk.say("proved later, not nominated either")
	web.hears("proved later, not nominated either")

	_, _ = nominated.WriteToUDPAddrPort(web.binding(password, leads, nominates).Raw, web.to)
	counted(t, e, "answers", 3, func(st WebRTCStats) uint64 { return st.Answered })
	b := make([]byte, 2048)
	for range 2 {
		if n, err := nominated.Read(b); err != nil || !looksSTUN(b[:n]) {
			t.Fatal(n, err)
		}
	}
	desk.say("nominated")
	n, err := nominated.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := web.in.DecryptRTP(nil, b[:n], nil); err != nil || string(out[12:]) != "nominated" {
		t.Errorf("%q %v", out, err)
	}
}

func TestAnICERestartMovesTheCallAndKeepsItsKeys(t *testing.T) {
	e := startEngine(t, nil)
	web, desk := newWebPhone(t, loop4), newPhone(t, loop4)
	s := browserToPhone(t, e, web, desk)
	web.connect(s)
	before := web.remote.sections[0].wiring.ufrag
	web.restart()
	browserCalls(t, s, web, desk, "actpass")
	if after := web.remote.sections[0].wiring; after.ufrag == before || after.setup != "active" {
		t.Errorf("after a restart we are still %s, or another part in DTLS: %s", after.ufrag, after.setup)
	}
	desk.say("over the old pair") // until the new one is nominated
	web.hears("over the old pair")
	moved, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loop4, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer moved.Close()
	_, _ = moved.WriteToUDPAddrPort(web.binding(web.remote.sections[0].wiring.pwd, leads, nominates).Raw, web.to)
	b := make([]byte, 2048)
	n, err := moved.Read(b)
	if err != nil || !looksSTUN(b[:n]) {
		t.Fatal(err)
	}
	desk.say("over the new one")
	if n, err = moved.Read(b); err != nil {
		t.Fatal(err)
	}
	if out, err := web.in.DecryptRTP(nil, b[:n], nil); err != nil || string(out[12:]) != "over the new one" {
		t.Errorf("%q %v", out, err)
	}
	if n := e.handshakes.succeeded(); n != 1 {
		t.Errorf("%d handshakes", n)
	}
}

func TestWhoBelievesThatWeLeadIsToldOtherwise(t *testing.T) {
	e := startEngine(t, nil)
	web, desk := newWebPhone(t, loop4), newPhone(t, loop4)
	browserToPhone(t, e, web, desk)
	password := web.remote.sections[0].wiring.pwd
	web.send(web.binding(password, stun.RawAttribute{Type: stun.AttrICEControlled, Value: make([]byte, 8)}).Raw)
	var code stun.ErrorCodeAttribute
	if m := web.answer(); code.GetFrom(m) != nil || code.Code != stun.CodeRoleConflict || stun.NewShortTermIntegrity(password).Check(m) != nil {
		t.Errorf("answered %v", m)
	}
	web.send(web.binding(password, leads, stun.RawAttribute{Type: 0x7777, Value: []byte{1, 2, 3, 4}}).Raw)
	m := web.answer()
	if unknown, err := m.Get(stun.AttrUnknownAttributes); code.GetFrom(m) != nil || code.Code != stun.CodeUnknownAttribute || err != nil || binary.BigEndian.Uint16(unknown) != 0x7777 {
		t.Errorf("answered %v", m)
	}
	web.check()
}

func TestAFloodOfChecksIsAnsweredSparely(t *testing.T) {
	e := startEngine(t, nil)
	web, desk := newWebPhone(t, loop4), newPhone(t, loop4)
	s := browserToPhone(t, e, web, desk)
	wrong := web.binding("wrong", leads)
	name := web.remote.sections[0].wiring.ufrag
	web.remote.sections[0].wiring.ufrag = "nobody00"
	unknown := web.binding("whatever", leads)
	web.remote.sections[0].wiring.ufrag = name
	for round := 0; ; round++ {
		for range 50 { // no more than a small receive buffer holds
			web.send(wrong.Raw)
		}
		web.send(unknown.Raw)
		web.send([]byte{7, 1, 2, 3})
		web.send(make([]byte, 28)) // STUN without its cookie
		settle(s.shard)
		settle(s.shard)
		st := e.Stats().WebRTC
		if st.Strangers > 0 && st.Unproved > 0 && st.Floods > 0 && st.Garbage > 1 && st.Answered == 0 {
			break
		}
		if round == 1000 {
			t.Fatalf("%+v", st)
		}
	}
	if answers := len(web.stun); answers > 2*refusals { // at most two seconds
		t.Errorf("%d answers", answers)
	}
}

func TestABrowserThatIsCheckedNoMoreGetsNoMoreMedia(t *testing.T) {
	e := startEngine(t, nil)
	web, desk := newWebPhone(t, loop4), newPhone(t, loop4)
	s := browserToPhone(t, e, web, desk)
	web.connect(s)
	desk.say("one")
	web.hears("one")
	later := func(d time.Duration) { // the shard's clock is ahead
		done := make(chan struct{})
		s.shard.order(func(sh *shard) {
			now := sh.now
			sh.now += int64(d)
			sh.consents()
			sh.now = now // a nap that ends by a clock so far ahead would be a long one
			close(done)
		})
		<-done
	}
	later(consent - time.Second)
	desk.say("two")
	web.hears("two")
	later(consent + 2*time.Second)
	desk.say("three")
	web.hearsNothing()
	counted(t, e, "consents lost", 1, func(st WebRTCStats) uint64 { return st.Lost })
	web.check()
	desk.say("four")
	web.hears("four")
	counted(t, e, "consents restored", 1, func(st WebRTCStats) uint64 { return st.Restored })
}

func TestALostLastFlightIsSentAgain(t *testing.T) {
	e := startEngine(t, nil)
	web, desk := newWebPhone(t, loop4), newPhone(t, loop4)
	s, err := e.NewSession(SessionConfig{ID: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	browserCalls(t, s, web, desk, "active")
	web.lose = func(b []byte) bool { return b[0] == 20 } // our ChangeCipherSpec and what is with it, once
	web.connect(s)
	web.say(0, 77, "", "after all")
	desk.hears("after all")
}

func TestWhatABrowserCannotBeGivenIsRefused(t *testing.T) {
	e := startEngine(t, nil)
	web, desk := newWebPhone(t, loop4), newPhone(t, loop4)
	for name, change := range map[string]func(string) string{
		"no fingerprint": func(s string) string { return strings.ReplaceAll(s, "a=fingerprint:sha-256", "a=fingerprint:md5") },
		"holdconn":       func(s string) string { return strings.ReplaceAll(s, "actpass", "holdconn") },
		"TCP":            func(s string) string { return strings.ReplaceAll(s, "UDP/TLS", "TCP/DTLS") },
	} {
		s, err := e.NewSession(SessionConfig{ID: t.Name()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Offer(A, []byte(change(string(audioOnly(web.sdp("actpass"))))), loop4, loop4); err == nil {
			t.Errorf("%s: taken", name)
		}
		s.Close()
	}
	// A plain answer to what was offered to a browser.
	s, err := e.NewSession(SessionConfig{ID: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.OfferWith(A, desk.sdp(), loop4, loop4, OfferOptions{Speaks: WebRTC}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Answer(B, desk.sdp(), loop4, loop4); err == nil {
		t.Error("a plain answer is taken where DTLS was asked for")
	}
}

// TestWhatABrowserCosts holds calls between browsers after their handshakes, with audio and video on both sides: no goroutine is left, no
// socket, and little memory.
func TestWhatABrowserCosts(t *testing.T) {
	const calls, most = 40, 30 << 10 // bytes for a side, which is a WebRTC session; its packets cost the kernel nothing of its own
	e := startEngine(t, nil)
	first, err := e.NewSession(SessionConfig{ID: "opens the ICE port"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Offer(A, newWebPhone(t, loop4).sdp("actpass"), loop4, loop4); err != nil {
		t.Fatal(err)
	}
	settle(first.shard)
	measure := func() (bytes uint64, goroutines int) {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse, runtime.NumGoroutine()
	}
	sockets := e.Stats().Shards[0].Sockets
	before, running := measure()
	var held []*Session
	t.Run("calls", func(t *testing.T) {
		for range calls {
			s, err := e.NewSession(SessionConfig{ID: t.Name()})
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, s)
			alice, bob := newWebPhone(t, loop4), newWebPhone(t, loop4)
			offer, err := s.OfferWith(A, alice.sdp("actpass"), loop4, loop4, OfferOptions{Speaks: WebRTC})
			if err != nil {
				t.Fatal(err)
			}
			bob.hear(offer)
			answer, err := s.Answer(B, bob.sdp("active"), loop4, loop4)
			if err != nil {
				t.Fatal(err)
			}
			alice.hear(answer)
			settle(s.shard)
			alice.connect(s)
			bob.connect(s)
			alice.say(96, 1, "1", "picture")
			bob.hears("picture")
		}
	})
	after, left := measure()
	for range 1000 { // the library's goroutines see that their connection is closed
		if left <= running {
			break
		}
		runtime.Gosched()
		after, left = measure()
	}
	each := (int64(after) - int64(before)) / (2 * calls)
	t.Logf("%d bytes a session", each)
	if each > most {
		t.Errorf("a session has %d bytes, want at most %d", each, most)
	}
	if left > running {
		t.Errorf("%d goroutines more than before", left-running)
	}
	if st := e.Stats(); st.Shards[0].Sockets != sockets || st.WebRTC.Handshaking != 0 || st.WebRTC.Handshakes != 2*calls {
		t.Errorf("%d sockets, were %d; %+v", st.Shards[0].Sockets, sockets, st.WebRTC)
	}
	runtime.KeepAlive(held)
}
