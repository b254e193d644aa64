package rtpengine

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"tandem/rtpengine/srtp"
)

func under(p SRTPPolicy) *SRTPPolicy { return &p }

// passThrough is an offer/answer in which a's user has the policy passthrough; b answers with its own key.
func passThrough(t *testing.T, s *Session, a, b *secure) {
	t.Helper()
	offer, err := s.OfferWith(A, a.sdp(true), loop4, loop4, OfferOptions{Own: under(SRTPPassThrough), SRTP: under(SRTPMirror)})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(offer), a.key.line(a.tag)) || !strings.Contains(string(offer), "a=crypto:8 F8_128_HMAC_SHA1_80") {
		t.Fatalf("a's keys do not stand in\n%s", offer)
	}
	b.proto = b.dial(offer)
	answer, err := s.AnswerWith(B, []byte(strings.Replace(string(b.phone.sdp(b.key.line(b.tag))), "RTP/AVP", b.proto, 1)), loop4, loop4, AnswerOptions{SRTP: under(SRTPMirror)})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(answer), b.key.line(b.tag)) {
		t.Fatalf("b's key does not stand in\n%s", answer)
	}
	a.dial(answer)
	settle(s.shard)
}

// Two phones with keys of their own hear each other through an engine that has none of them, in RTP, padded or not, and RTCP.
func TestPhonesKeepTheirKeysToThemselves(t *testing.T) {
	for _, proto := range []string{"RTP/SAVP", "RTP/AVP"} {
		s := newSecureSession(t, SRTPMirror)
		a, b := newSecure(t, proto, srtp.AES128GCM), newSecure(t, proto, srtp.AES128GCM)
		passThrough(t, s, a, b)
		talk(t, a, b)

		padded := append(packet(0, 999, 1, a.ssrc, "with padding"), 0, 0, 0, 4)
		padded[0] |= paddingBit
		sealed, err := a.out.Protect(append(make([]byte, 0, 256), padded...))
		if err != nil {
			t.Fatal(err)
		}
		a.raw(a.rtp, a.to, sealed)
		if got := string(b.next(b.rtp)); got != string(sealed) {
			t.Errorf("%s: what b hears is not what a has said", proto)
		}
		st := calm(s).Stats().Media[0].Sides[A]
		if st.Packets == 0 || st.Peer != a.addr() || st.Drops != [len(st.Drops)]uint64{} {
			t.Errorf("%s: the engine counts %+v", proto, st)
		}
	}
}

// What would need the keys is refused with the reason, before anything of the call is touched.
func TestNobodyListensToWhatPhonesEncryptForEachOther(t *testing.T) {
	s := newSecureSession(t, SRTPMirror)
	a, b := newSecure(t, "RTP/SAVP", srtp.AES128GCM), newSecure(t, "RTP/SAVP", srtp.AES128GCM)
	passThrough(t, s, a, b)
	_, recording := s.Record()
	_, playing := s.Play(A, "music", PlayOptions{})
	for what, err := range map[string]error{"recording": recording, "playing": playing, "digits": s.SendDigits(B, "1")} {
		if !errors.Is(err, ErrEndToEnd) {
			t.Errorf("%s: %v", what, err)
		}
	}
	s.Block(A, SilenceMedia) // it cannot be silenced, and so is not heard
	settle(s.shard)
	a.say("secret")
	talkOneWay(t, b, a)
	b.hasNothing(b.rtp)
	if st := calm(s).Stats().Media[0].Sides[A]; st.Drops[DropBlocked] != 1 {
		t.Errorf("dropped: %v", st.Drops)
	}
}

func talkOneWay(t *testing.T, from, to *secure) {
	t.Helper()
	from.say("one way")
	to.hears("one way")
}

// Phones that agree on keys by DTLS without ICE do so through the engine: handshakes and media pass, each from its own side's place only.
func TestHandshakesOfPhonesPassThrough(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.SRTP = SRTPPassThrough })
	s, err := e.NewSession(SessionConfig{ID: "dtls"})
	if err != nil {
		t.Fatal(err)
	}
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	print := "a=fingerprint:sha-256 " + strings.TrimSuffix(strings.Repeat("AB:", 32), ":")
	describe := func(p *phone, setup string) []byte {
		return []byte(strings.Replace(string(p.sdp(print, "a=setup:"+setup, "a=tls-id:"+setup)), "RTP/AVP", "UDP/TLS/RTP/SAVP", 1))
	}
	offer, err := s.Offer(A, describe(a, "actpass"), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{print, "a=setup:actpass", "a=tls-id:actpass"} {
		if !hasLine(offer, line) || strings.Count(string(offer), line[:8]) != 1 {
			t.Errorf("no %q, or more than that, in\n%s", line, offer)
		}
	}
	b.dial(offer)
	answer, err := s.Answer(B, describe(b, "active"), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(answer)
	settle(s.shard)
	hello := append([]byte{22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20}, "ClientHello of the phone"...)
	b.raw(b.rtp, b.to, hello)
	if got := string(a.next(a.rtp)); got != string(hello) {
		t.Errorf("a got %q", got)
	}
	a.raw(a.rtp, a.to, hello)
	if got := string(b.next(b.rtp)); got != string(hello) {
		t.Errorf("b got %q", got)
	}
	stranger := newPhone(t, netip.MustParseAddr("127.0.0.9"))
	stranger.raw(stranger.rtp, b.to, hello)
	a.say("under keys that nobody here has")
	b.hears("under keys that nobody here has")
	a.hasNothing(a.rtp)
	if st := calm(s).Stats().Media[0].Sides[B]; st.Drops[DropSource] != 1 {
		t.Errorf("the stranger's handshake: %v", st.Drops)
	}
}

func TestPassThroughIsNeverWeakened(t *testing.T) {
	plainSDP := func(p *secure) []byte { return p.phone.sdp() }
	for name, c := range map[string]struct {
		offer  func(*secure) []byte
		wishes OfferOptions
		answer func(*secure) []byte // nil: the offer is refused
		want   string
	}{
		"a browser has no part in it": {
			offer: func(p *secure) []byte { return p.sdp(true) }, wishes: OfferOptions{Own: under(SRTPPassThrough), Speaks: WebRTC}, want: "with a browser",
		},
		"a plain answer to RTP/SAVP": {
			offer: func(p *secure) []byte { return p.sdp(true) }, wishes: OfferOptions{Own: under(SRTPPassThrough)}, answer: plainSDP, want: "The answer is plain RTP/AVP",
		},
	} {
		s := newSecureSession(t, SRTPMirror)
		a, b := newSecure(t, "RTP/SAVP", srtp.AES128GCM), newSecure(t, "RTP/AVP", srtp.AES128GCM)
		_, err := s.OfferWith(A, c.offer(a), loop4, loop4, c.wishes)
		if err == nil && c.answer != nil {
			_, err = s.Answer(B, c.answer(b), loop4, loop4)
		}
		var r *RejectError
		if !errors.As(err, &r) || r.Status != 488 || !strings.Contains(r.Warning, "302 tandem") || !strings.Contains(r.Warning, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}

	// The callee's user requires encryption and the caller's phone only wishes for it: what the callee's phone answers plain is no call.
	s := newSecureSession(t, SRTPMirror)
	a, b := newSecure(t, "RTP/AVP", srtp.AES128GCM), newSecure(t, "RTP/AVP", srtp.AES128GCM)
	if _, err := s.OfferWith(A, a.sdp(true), loop4, loop4, OfferOptions{Own: under(SRTPPassThrough), SRTP: under(SRTPRequired)}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AnswerWith(B, b.phone.sdp(), loop4, loop4, AnswerOptions{SRTP: under(SRTPRequired)}); err == nil {
		t.Error("a plain answer passes where encryption is required")
	}
	// Where there are no keys there is nothing to pass: an ordinary call, which may be recorded.
	s = newSecureSession(t, SRTPMirror)
	if _, err := s.OfferWith(A, a.phone.sdp(), loop4, loop4, OfferOptions{Own: under(SRTPPassThrough)}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Answer(B, b.phone.sdp(), loop4, loop4); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Record(); !errors.Is(err, ErrNoRecording) {
		t.Errorf("to record a plain call: %v", err)
	}
}

// Phones of several users ring. Each is offered what its own user's policy says, in any order, and is held to that: who must encrypt cannot
// get away with the plain offer that another one got.
func TestEachPhoneIsHeldToWhatItWasOffered(t *testing.T) {
	offered := map[SRTPPolicy]string{SRTPRequired: "RTP/SAVP", SRTPPreferred: "RTP/AVP", SRTPOff: "RTP/AVP"}
	policies := []SRTPPolicy{SRTPRequired, SRTPPreferred, SRTPOff}
	for _, by := range policies {
		for last := range policies {
			for _, keyed := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s answers, last offered was %s, keyed %v", policyNames[by], policyNames[policies[last]], keyed), func(t *testing.T) {
					s := newSecureSession(t, SRTPMirror)
					a, b := newSecure(t, "RTP/AVP", srtp.AES128GCM), newSecure(t, offered[by], srtp.AES128GCM)
					for i := range policies {
						p := policies[(last+1+i)%len(policies)]
						offer, err := s.OfferWith(A, a.sdp(true), loop4, loop4, OfferOptions{Speaks: Phone, SRTP: under(p)})
						if err != nil {
							t.Fatal(err)
						}
						if p == by {
							if got := b.dial(offer); got != offered[by] {
								t.Fatalf("%s was offered %s", policyNames[p], got)
							}
						}
					}
					text := b.phone.sdp()
					if keyed = keyed && by != SRTPOff; keyed {
						text = b.sdp(true)
					} else {
						b.in = nil
					}
					answer, err := s.AnswerWith(B, text, loop4, loop4, AnswerOptions{SRTP: under(by)})
					if refused := by == SRTPRequired && !keyed; refused != (err != nil) {
						t.Fatalf("answer: %v", err)
					} else if refused {
						return
					}
					a.dial(answer)
					settle(s.shard)
					talk(t, a, b)
				})
			}
		}
	}
}

// A phone that rang first and sent early media has agreed to something; the next user's phone has not.
func TestEarlyMediaOfOnePhoneBindsNoOther(t *testing.T) {
	s := newSecureSession(t, SRTPMirror)
	a, b := newSecure(t, "RTP/AVP", srtp.AES128GCM), newSecure(t, "RTP/SAVP", srtp.AES128GCM)
	offer, err := s.OfferWith(A, a.phone.sdp(), loop4, loop4, OfferOptions{Speaks: Phone, SRTP: under(SRTPRequired)})
	if err != nil {
		t.Fatal(err)
	}
	b.dial(offer)
	if _, err := s.AnswerWith(B, b.sdp(true), loop4, loop4, AnswerOptions{SRTP: under(SRTPRequired)}); err != nil {
		t.Fatal(err)
	}
	offer, err = s.OfferWith(A, a.phone.sdp(), loop4, loop4, OfferOptions{Speaks: Phone, SRTP: under(SRTPOff)})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(offer), "SAVP") || strings.Contains(string(offer), "a=crypto") {
		t.Errorf("the second phone is offered\n%s", offer)
	}
}

func TestCallerWhoseUserMustEncryptIsRefusedWithoutKeys(t *testing.T) {
	s := newSecureSession(t, SRTPMirror)
	a := newSecure(t, "RTP/AVP", srtp.AES128GCM)
	_, err := s.OfferWith(A, a.phone.sdp(), loop4, loop4, OfferOptions{Own: under(SRTPRequired)})
	var r *RejectError
	if !errors.As(err, &r) || r.Status != 488 || !strings.Contains(r.Warning, `302 tandem "Line 6, m=audio: Media encryption is required here (RTP/SAVP)"`) {
		t.Error(err)
	}
	if _, err := s.OfferWith(A, a.sdp(true), loop4, loop4, OfferOptions{Own: under(SRTPRequired)}); err != nil {
		t.Error(err)
	}
}

// What is sealed stays so when another engine goes on with the call.
func TestKeysOfPhonesAreNobodysAfterATakeoverToo(t *testing.T) {
	s := newSecureSession(t, SRTPMirror)
	a, b := newSecure(t, "RTP/SAVP", srtp.AES128GCM), newSecure(t, "RTP/SAVP", srtp.AES128GCM)
	passThrough(t, s, a, b)
	talk(t, a, b)
	s = takeOver(t, s, nil)
	talk(t, a, b)
	if _, err := s.Record(); !errors.Is(err, ErrEndToEnd) {
		t.Errorf("to record it: %v", err)
	}
}
