package rtpengine

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem/rtpengine/srtp"
)

// secure is a phone that can do SRTP with keys of its own.
type secure struct {
	*phone
	proto string // of its descriptions
	tag   string // of its a=crypto line
	key   *ourKey
	takes srtp.Suite // it chooses this of what it is offered
	in    *srtp.Context
	out   *srtp.Context
	heard []cryptoLine // of the last description
	wire  []byte       // last packet sent
}

func newSecure(t testing.TB, proto string, s srtp.Suite) *secure {
	p := &secure{phone: newPhone(t, loop4), proto: proto, tag: "1", takes: s}
	p.rekey()
	return p
}

// rekey takes a new key, and forgets that of the other side.
func (p *secure) rekey() {
	p.key = newOurKey(p.takes)
	p.out, _ = srtp.New(p.takes, p.key.master, srtp.Sender)
	p.in = nil
}

// keyed says whether this phone's description carries keys.
func (p *secure) sdp(keyed bool) []byte {
	var lines []string
	if keyed {
		lines = []string{"a=crypto:8 F8_128_HMAC_SHA1_80 inline:" + key30, p.key.line(p.tag)}
	}
	return []byte(strings.Replace(string(p.phone.sdp(lines...)), "RTP/AVP", p.proto, 1))
}

// dial reads the description it was given. Offered several keys, it answers under the tag of the suite that it takes.
func (p *secure) dial(sdp []byte) string {
	p.t.Helper()
	p.phone.dial(sdp)
	d, _ := parseSDP(sdp)
	p.heard, _ = d.sections[0].keys()
	for _, c := range p.heard {
		if c.suite == p.takes {
			p.tag = c.tag
			if p.in == nil || !p.knows(c) {
				p.in, _ = srtp.New(c.suite, []byte(c.key), srtp.Receiver)
			}
		}
	}
	return d.sections[0].proto
}

func (p *secure) knows(c cryptoLine) bool {
	return strings.HasPrefix(string(p.in.Export(nil)[3:]), c.key)
}

func (p *secure) say(body string) {
	p.t.Helper()
	p.seq++
	b := append(make([]byte, 0, 256), packet(0, p.seq, uint32(p.seq)*160, p.ssrc, body)...)
	if p.in != nil {
		b, _ = p.out.Protect(b)
	}
	p.wire = b
	p.raw(p.rtp, p.to, b)
}

func (p *secure) hears(want string) {
	p.t.Helper()
	b := p.next(p.rtp)
	if p.in != nil {
		if strings.Contains(string(b), want) {
			p.t.Fatalf("%q came readable", want)
		}
		var err error
		if b, err = p.in.Unprotect(b); err != nil {
			p.t.Fatalf("%s: %v", want, err)
		}
	}
	if got := string(b[12:]); got != want {
		p.t.Fatalf("heard %q, want %q", got, want)
	}
}

func (p *secure) report() {
	p.t.Helper()
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 64), 2<<30|rtcpRR<<16|1)
	b = binary.BigEndian.AppendUint32(b, p.ssrc)
	if p.in != nil {
		b, _ = p.out.ProtectRTCP(b)
	}
	p.raw(p.rtcp, p.toRTCP, b)
}

func (p *secure) hearsReport(of uint32) {
	p.t.Helper()
	b := p.next(p.rtcp)
	if p.in != nil {
		var err error
		if b, err = p.in.UnprotectRTCP(b); err != nil {
			p.t.Fatal(err)
		}
	}
	if ssrc, ok := parseRTCP(b); !ok || ssrc != of {
		p.t.Fatalf("report of %x: %x", of, b)
	}
}

// agree does one offer/answer and gives the protos that b was offered and a was answered.
func agree(t testing.TB, s *Session, from Side, a, b *secure, aKeyed, bKeyed bool) (offered, answered string) {
	t.Helper()
	offer, err := s.Offer(from, a.sdp(aKeyed), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	offered = b.dial(offer)
	b.proto = offered
	if !bKeyed {
		b.in = nil
	} else if b.in == nil {
		t.Fatalf("no key in\n%s", offer)
	}
	answer, err := s.Answer(from.Other(), b.sdp(bKeyed), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	answered = a.dial(answer)
	if aKeyed != (a.in != nil) {
		t.Fatalf("offered with keys: %v, answered\n%s", aKeyed, answer)
	}
	settle(s.shard)
	return offered, answered
}

// talk checks both directions of RTP and RTCP.
func talk(t testing.TB, a, b *secure) {
	t.Helper()
	for i := range 4 {
		text := fmt.Sprintf("a long enough text to be seen %d", i)
		a.say(text)
		b.hears(text)
		b.say(text + " back")
		a.hears(text + " back")
	}
	a.report()
	b.hearsReport(a.ssrc)
	b.report()
	a.hearsReport(b.ssrc)
}

func newSecureSession(t testing.TB, p SRTPPolicy) *Session {
	e := startEngine(t, func(c *Config) { c.SRTP = p })
	return newSession(t, e)
}

func TestAnyPhoneTalksToAnyThatThePolicyAllows(t *testing.T) {
	const avp, savp = "RTP/AVP", "RTP/SAVP"
	for _, c := range []struct {
		name             string
		policy           SRTPPolicy
		a                string
		suiteA           srtp.Suite
		aKeyed           bool
		b                string
		suiteB           srtp.Suite
		bKeyed           bool
		offered, answers string
	}{
		{"plain", SRTPMirror, avp, 0, false, avp, 0, false, avp, avp},
		{"SAVP, one suite", SRTPMirror, savp, srtp.AES128CM80, true, savp, srtp.AES128CM80, true, savp, savp},
		{"SAVP, two suites", SRTPMirror, savp, srtp.AES128CM32, true, savp, srtp.AES256GCM, true, savp, savp},
		{"SAVPF", SRTPMirror, "RTP/SAVPF", srtp.AES128GCM, true, "RTP/SAVPF", srtp.AES128GCM, true, "RTP/SAVPF", "RTP/SAVPF"},
		{"both can", SRTPMirror, avp, srtp.AES128GCM, true, avp, srtp.AES128CM80, true, avp, avp},
		{"the caller can", SRTPMirror, avp, srtp.AES128CM80, true, avp, 0, false, avp, avp},
		{"the callee is preferred to", SRTPPreferred, avp, 0, false, avp, srtp.AES256GCM, true, avp, avp},
		{"preferred but the callee cannot", SRTPPreferred, savp, srtp.AES128CM80, true, avp, 0, false, avp, savp},
		{"plain towards the callee", SRTPOff, savp, srtp.AES128CM80, true, avp, 0, false, avp, savp},
		{"required", SRTPRequired, avp, srtp.AES128CM80, true, savp, srtp.AES128CM32, true, savp, avp},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSecureSession(t, c.policy)
			a, b := newSecure(t, c.a, c.suiteA), newSecure(t, c.b, c.suiteB)
			offered, answered := agree(t, s, A, a, b, c.aKeyed, c.bKeyed)
			if offered != c.offered || answered != c.answers {
				t.Errorf("offered %s, answered %s", offered, answered)
			}
			talk(t, a, b)
			if c.aKeyed && c.bKeyed {
				for _, k := range append(a.heard, b.heard...) {
					if k.key == string(a.key.master) || k.key == string(b.key.master) {
						t.Error("a phone's key went to the other side")
					}
				}
			}
			// The callee holds the call and the caller resumes it: no side may lose what it has.
			again, _ := agree(t, s, B, b, a, c.bKeyed, c.aKeyed)
			if strings.Contains(c.a, "SAVP") && again != c.a {
				t.Errorf("the caller was offered %s", again)
			}
			talk(t, a, b)
		})
	}
}

func TestOfferOfUselessKeysIsRefused(t *testing.T) {
	for _, c := range []struct {
		policy       SRTPPolicy
		proto, lines string
		want         string
	}{
		{SRTPMirror, "RTP/SAVP", "", `302 tandem "Line 6, m=audio: Media encryption (RTP/SAVP) without a usable key: there is no a=crypto line"`},
		{SRTPMirror, "RTP/SAVP", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + " UNENCRYPTED_SRTP\r\n", "UNENCRYPTED_SRTP"},
		{SRTPRequired, "RTP/AVP", "", "Media encryption is required here"},
	} {
		s := newSecureSession(t, c.policy)
		_, err := s.Offer(A, []byte(head+"m=audio 4000 "+c.proto+" 0\r\n"+c.lines), loop4, loop4)
		var r *RejectError
		if !errors.As(err, &r) || r.Status != 488 || !strings.Contains(r.Warning, c.want) {
			t.Errorf("%s: %v", c.want, err)
		}
	}
}

func TestAnswerThatLacksTheEncryptionAskedForIsRefused(t *testing.T) {
	for name, answer := range map[string]func(b *secure) string{
		"plain": func(b *secure) string {
			return strings.Replace(string(b.phone.sdp()), "RTP/AVP", "RTP/AVP", 1)
		},
		"SAVP without a key": func(b *secure) string { return strings.Replace(string(b.phone.sdp()), "RTP/AVP", "RTP/SAVP", 1) },
		"a tag not offered": func(b *secure) string {
			b.tag = "9"
			return string(b.sdp(true))
		},
		"a suite of another tag": func(b *secure) string {
			b.tag = "1"
			return string(b.sdp(true))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSecureSession(t, SRTPMirror)
			a, b := newSecure(t, "RTP/SAVP", srtp.AES128CM80), newSecure(t, "RTP/SAVP", srtp.AES128CM80)
			offer, err := s.Offer(A, a.sdp(true), loop4, loop4)
			if err != nil {
				t.Fatal(err)
			}
			b.dial(offer)
			_, err = s.Answer(B, []byte(answer(b)), loop4, loop4)
			var r *RejectError
			if !errors.As(err, &r) || r.Status != 488 || !strings.HasPrefix(r.Warning, "302 ") {
				t.Errorf("got %v", err)
			}
			if s.latest.answered {
				t.Error("it is in force")
			}
		})
	}
}

func TestRefreshKeepsKeysAndRekeyingLosesNothingOfThePhone(t *testing.T) {
	s := newSecureSession(t, SRTPMirror)
	a, b := newSecure(t, "RTP/SAVP", srtp.AES128GCM), newSecure(t, "RTP/SAVP", srtp.AES128CM80)
	agree(t, s, A, a, b, true, true)
	talk(t, a, b)
	toA, toB := a.heard[0], b.heard
	agree(t, s, A, a, b, true, true)
	if a.heard[0] != toA || len(b.heard) != len(toB) || b.heard[0] != toB[0] {
		t.Error("a refresh changed keys")
	}
	talk(t, a, b)

	old, oldTo := a.out, a.in
	a.rekey()
	offer, err := s.Offer(A, a.sdp(true), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	b.dial(offer)
	answer, err := s.Answer(B, b.sdp(true), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	settle(s.shard)
	fresh := a.out
	a.out, a.in = old, oldTo // it has not heard the answer
	a.say("still under the key of before")
	b.hears("still under the key of before")
	a.out, a.in = fresh, nil
	a.dial(answer)
	if a.heard[0].key == toA.key {
		t.Error("our key towards the phone stayed, though the phone has a new one")
	}
	talk(t, a, b)
	a.out = old
	a.say("an old key")
	a.out = fresh
	a.say("end")
	b.hears("end")
	settle(s.shard)
	if got := s.Stats().Media[0].Sides[A].Drops[DropForged]; got != 1 {
		t.Errorf("%d packets under the key of before were dropped, want 1", got)
	}
}

func TestRefusedRekeyingLeavesTheKeysOfBefore(t *testing.T) {
	s := newSecureSession(t, SRTPMirror)
	a, b := newSecure(t, "RTP/SAVP", srtp.AES128CM80), newSecure(t, "RTP/SAVP", srtp.AES128CM80)
	agree(t, s, A, a, b, true, true)
	talk(t, a, b)
	out, in, key := a.out, a.in, a.key
	a.rekey()
	if _, err := s.Offer(A, a.sdp(true), loop4, loop4); err != nil {
		t.Fatal(err)
	}
	s.Rollback()
	a.out, a.in, a.key = out, in, key
	talk(t, a, b)
	agree(t, s, A, a, b, true, true)
	talk(t, a, b)
}

func TestForksHaveKeysOfTheirOwn(t *testing.T) {
	s := newSecureSession(t, SRTPMirror)
	a, b, c := newSecure(t, "RTP/SAVP", srtp.AES128CM80), newSecure(t, "RTP/SAVP", srtp.AES128GCM), newSecure(t, "RTP/SAVP", srtp.AES128GCM)
	offer, err := s.Offer(A, a.sdp(true), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*secure{b, c, b} { // early media of b, of c, and b answers
		if p.in == nil {
			p.dial(offer)
		}
		answer, err := s.Answer(B, p.sdp(true), loop4, loop4)
		if err != nil {
			t.Fatal(err)
		}
		a.dial(answer)
		settle(s.shard)
		for i := range 3 {
			text := fmt.Sprintf("this is fork number %d", i)
			p.say(text)
			a.hears(text)
			a.say(text)
			p.hears(text)
		}
	}
}

// Whoever has no key neither becomes the peer nor disturbs the call.
func TestForgedAndRepeatedPacketsAreDroppedAndTheCallLives(t *testing.T) {
	s := newSecureSession(t, SRTPMirror)
	a, b := newSecure(t, "RTP/SAVP", srtp.AES128GCM), newSecure(t, "RTP/SAVP", srtp.AES128CM80)
	agree(t, s, A, a, b, true, true)
	flood := func(from *phone) {
		for i := range 200 {
			junk := packet(0, uint16(1000+i), 0, a.ssrc, "no key was used for this packet")
			_, _ = rand.Read(junk[12:])
			from.raw(from.rtp, a.to, junk)
		}
	}
	// dropped waits until n packets of a are, for one reason.
	dropped := func(why Drop, n uint64) {
		for begin := time.Now(); s.Stats().Media[0].Sides[A].Drops[why] < n; settle(s.shard) {
			if time.Since(begin) > 10*time.Second {
				t.Fatalf("want %d %s, got %v", n, why, s.Stats().Media[0].Sides[A].Drops.ByReason())
			}
		}
	}
	stranger := newPhone(t, loop4) // on the phone's own host
	flood(stranger)
	dropped(DropForged, 200)
	if st := s.Stats().Media[0].Sides[A]; st.Peer.IsValid() {
		t.Fatalf("%+v", st)
	}
	talk(t, a, b)
	if got := s.Stats().Media[0].Sides[A].Peer; got != a.addr() {
		t.Errorf("the peer is %s", got)
	}
	flood(a.phone) // an attacker who can write the phone's address on his packets
	for range 3 {
		a.raw(a.rtp, a.to, a.wire)
	}
	talk(t, a, b)
	dropped(DropReplay, 3)
	st := s.Stats().Media[0].Sides[A]
	if st.Drops[DropForged] != 400 || st.Drops[DropReplay] != 3 || st.Packets != 8 {
		t.Errorf("%v of %d", st.Drops.ByReason(), st.Packets)
	}
	b.hasNothing(b.rtp)
}

// A plain phone that repeats a packet number would make us use an index twice; the second packet goes nowhere.
func TestRepeatedNumberOfAPlainPhoneIsNotEncryptedTwice(t *testing.T) {
	s := newSecureSession(t, SRTPPreferred)
	a, b := newSecure(t, "RTP/AVP", 0), newSecure(t, "RTP/AVP", srtp.AES128GCM)
	agree(t, s, A, a, b, false, true)
	talk(t, a, b)
	a.seq--
	a.say("the same number with another text")
	a.say("the next")
	b.hears("the next")
	settle(s.shard)
	if got := s.Stats().Media[0].Sides[A].Drops[DropReplay]; got != 1 {
		t.Errorf("%d dropped", got)
	}
}

func TestMuxedSecurePhone(t *testing.T) {
	s := newSecureSession(t, SRTPOff)
	a, b := newSecure(t, "RTP/SAVP", srtp.AES128CM80), newSecure(t, "RTP/AVP", 0)
	offer, err := s.Offer(A, append(a.sdp(true), "a=rtcp-mux\r\n"...), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	b.dial(offer)
	b.in = nil
	answer, err := s.Answer(B, b.sdp(false), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(answer)
	settle(s.shard)
	a.toRTCP = a.to
	for range lockAfter {
		a.say("a word of the muxed phone")
		b.hears("a word of the muxed phone")
	}
	rtcpConn := a.phone.rtcp
	a.phone.rtcp = a.phone.rtp
	a.report()
	b.hearsReport(a.ssrc)
	b.report()
	a.hearsReport(b.ssrc)
	a.phone.rtcp = rtcpConn
}

func TestEndpointSpeaksSRTP(t *testing.T) {
	for _, suite := range []srtp.Suite{srtp.AES128GCM, srtp.AES256GCM, srtp.AES128CM80, srtp.AES128CM32} {
		for _, proto := range []string{"RTP/SAVP", "RTP/AVP"} {
			t.Run(suite.String()+" "+proto, func(t *testing.T) {
				e := startEngine(t, nil)
				p, err := e.NewEndpoint(SessionConfig{ID: "x"})
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				p.Echo()
				a := newSecure(t, proto, suite)
				answer, err := p.Answer(a.sdp(true), loop4)
				if err != nil {
					t.Fatal(err)
				}
				if got := a.dial(answer); got != proto || a.in == nil {
					t.Fatalf("%s in\n%s", got, answer)
				}
				settle(p.shard)
				for range 5 {
					a.say("an echo of this is expected")
					a.hears("an echo of this is expected")
				}
				if err := p.Play("music"); err != nil {
					t.Fatal(err)
				}
				for range 3 {
					b, err := a.in.Unprotect(a.next(a.rtp))
					if err != nil || len(b) != 12+frameSamples {
						t.Fatalf("%d bytes, %v", len(b), err)
					}
				}
			})
		}
	}
}

func TestEndpointOffersKeysAsThePolicySays(t *testing.T) {
	for _, c := range []struct {
		policy SRTPPolicy
		keyed  bool
		proto  string
		ok     bool
	}{
		{SRTPMirror, false, "RTP/AVP", true},
		{SRTPPreferred, true, "RTP/AVP", true},
		{SRTPPreferred, false, "RTP/AVP", true},
		{SRTPRequired, true, "RTP/SAVP", true},
		{SRTPRequired, false, "RTP/AVP", false},
		{SRTPMirror, true, "RTP/SAVP", false},
	} {
		t.Run(policyNames[c.policy]+" "+c.proto, func(t *testing.T) {
			e := startEngine(t, func(cfg *Config) { cfg.SRTP = c.policy })
			p, err := e.NewEndpoint(SessionConfig{ID: "x"})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			p.Echo()
			offer, err := p.Offer(loop4)
			if err != nil {
				t.Fatal(err)
			}
			a := newSecure(t, c.proto, srtp.AES128CM80)
			a.dial(offer)
			if !c.keyed {
				a.in = nil
			}
			err = p.Accept(a.sdp(c.keyed), loop4)
			if (err == nil) != c.ok {
				t.Fatalf("got %v", err)
			}
			if err == nil {
				settle(p.shard)
				a.say("heard on an offer of ours")
				a.hears("heard on an offer of ours")
			}
		})
	}
}

// Offers and answers of all kinds, in any order, now on one engine and now on another: what the two phones agreed to is what they can talk with.
func TestAnyOrderOfKeyingsEndsInATalk(t *testing.T) {
	e, other := startEngine(t, nil), startEngine(t, nil)
	rapid.Check(t, func(r *rapid.T) {
		s, err := e.NewSession(SessionConfig{ID: "x"})
		if err != nil {
			r.Fatal(err)
		}
		defer func() { s.Close() }()
		suites := rapid.SampledFrom([]srtp.Suite{srtp.AES128GCM, srtp.AES256GCM, srtp.AES128CM80, srtp.AES128CM32})
		phones := [2]*secure{newSecure(t, "RTP/AVP", suites.Draw(r, "suite A")), newSecure(t, "RTP/AVP", suites.Draw(r, "suite B"))}
		for range rapid.IntRange(1, 5).Draw(r, "exchanges") {
			from := Side(rapid.IntRange(0, 1).Draw(r, "from"))
			a, b := phones[from], phones[from.Other()]
			if rapid.Bool().Draw(r, "re-key") {
				a.rekey()
			}
			a.proto = rapid.SampledFrom([]string{"RTP/AVP", "RTP/SAVP"}).Draw(r, "proto")
			keyed := a.proto == "RTP/SAVP" || rapid.Bool().Draw(r, "keyed")
			a.tag = "1"
			offer, err := s.Offer(from, a.sdp(keyed), loop4, loop4)
			if err != nil {
				r.Fatal(err)
			}
			if rapid.IntRange(0, 4).Draw(r, "refused") == 0 {
				s.Rollback()
				return
			}
			b.proto = b.dial(offer)
			takes := len(b.heard) > 0 && (b.proto == "RTP/SAVP" || rapid.Bool().Draw(r, "takes"))
			if !takes {
				b.in = nil
			}
			answer, err := s.Answer(from.Other(), b.sdp(takes), loop4, loop4)
			if err != nil {
				r.Fatal(err)
			}
			if a.dial(answer); !keyed {
				a.in = nil
			}
			settle(s.shard)
			talk(t, a, b)
			if rapid.Bool().Draw(r, "taken over") {
				s = moved(r, s, e, other)
				talk(t, a, b)
			}
		}
	})
}

func TestSecurePacketPathDoesNotAllocate(t *testing.T) {
	s := newSecureSession(t, SRTPMirror)
	a, b := newSecure(t, "RTP/SAVP", srtp.AES128CM80), newSecure(t, "RTP/SAVP", srtp.AES128GCM)
	agree(t, s, A, a, b, true, true)
	talk(t, a, b)
	settle(s.shard)
	from := s.lines[0].legs[A]
	k := from.sockets[v4][rtp]
	var raw rawAddr
	raw.set(a.addr())
	r, buffer := &relay{rate: 1 << 30}, make([]byte, 0, 256)
	plain := packet(0, a.seq, 0, a.ssrc, string(make([]byte, 160)))
	if n := testing.AllocsPerRun(200, func() {
		a.seq++
		binary.BigEndian.PutUint16(plain[2:], a.seq)
		wire, err := a.out.Protect(append(buffer, plain...))
		if err != nil {
			t.Error(err)
		}
		r.receive(k, raw.source(), &raw, wire)
	}); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
	if r.count.dropped {
		t.Errorf("%v", r.count.drops.ByReason())
	}
}
