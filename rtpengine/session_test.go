package rtpengine

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"

func newSession(t testing.TB, e *Engine) *Session {
	t.Helper()
	s, err := e.NewSession(SessionConfig{ID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestEncryptedOfferIsRefusedWith488AndTheReason(t *testing.T) {
	e := startEngine(t, nil)
	s := newSession(t, e)
	for _, m := range []string{
		"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=fingerprint:sha-256 AA\r\na=setup:actpass\r\n",
		"m=audio 9 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\n",
	} {
		_, err := s.Offer(A, []byte(head+m), loop4, loop4)
		var r *RejectError
		if !errors.As(err, &r) || r.Status != 488 || !strings.HasPrefix(r.Warning, `302 tandem "Line 6, m=audio: Media encryption`) {
			t.Errorf("got %v", err)
		}
	}
	_, err := s.Offer(A, []byte("garbage"), loop4, loop4)
	var r *RejectError
	if !errors.As(err, &r) || r.Status != 400 {
		t.Errorf("got %v", err)
	}
	if got := e.Stats(); got.Rejected != 3 || got.Ports[0].Used != 0 {
		t.Errorf("%+v", got)
	}
}

func TestMixedOfferGoesOnWithItsPlainMedia(t *testing.T) {
	e := startEngine(t, nil)
	s := newSession(t, e)
	offer, err := s.Offer(A, []byte(head+
		"m=audio 4000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\n"+
		"m=audio 4002 RTP/AVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\n"+
		"m=application 4004 TCP/BFCP *\r\n"+
		"m=video 0 RTP/AVP 96\r\n"), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	d, err := parseSDP(offer)
	if err != nil || len(d.sections) != 4 || strings.Contains(string(offer), "crypto") {
		t.Fatalf("%v\n%s", err, offer)
	}
	for i, want := range []bool{false, true, false, false} {
		if got := d.sections[i].port != 0; got != want {
			t.Errorf("m-line %d: %+v", i, d.sections[i])
		}
	}
	// A careless phone accepts what was rejected and leaves the last line out.
	answer, err := s.Answer(B, []byte(head+"m=audio 5000 RTP/SAVP 0\r\nm=audio 5002 RTP/AVP 0\r\nm=application 0 TCP/BFCP *\r\n"), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	if d, err = parseSDP(answer); err != nil || len(d.sections) != 4 {
		t.Fatalf("%v\n%s", err, answer)
	}
	for i, want := range []bool{false, true, false, false} {
		if got := d.sections[i].port != 0; got != want {
			t.Errorf("answer, m-line %d: %+v", i, d.sections[i])
		}
	}
	if _, err := s.Answer(B, []byte(head+strings.Repeat("m=audio 0 RTP/AVP 0\r\n", 5)), loop4, loop4); err == nil {
		t.Error("five m-lines answered four")
	}
}

func TestAnswersOutOfTurnAreErrors(t *testing.T) {
	e := startEngine(t, nil)
	s := newSession(t, e)
	plain := []byte(head + "m=audio 4000 RTP/AVP 0\r\n")
	if _, err := s.Answer(B, plain, loop4, loop4); err != ErrNoOffer {
		t.Errorf("got %v", err)
	}
	s.Rollback()
	if _, err := s.Offer(A, plain, loop4, loop4); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Answer(A, plain, loop4, loop4); err != ErrNoOffer {
		t.Errorf("got %v", err)
	}
	s.Rollback()
	if _, err := s.Answer(B, plain, loop4, loop4); err != ErrNoOffer {
		t.Errorf("after rollback: got %v", err)
	}
}

func TestOfferWithoutMediaPasses(t *testing.T) {
	e := startEngine(t, nil)
	s := newSession(t, e)
	if out, err := s.Offer(A, []byte(head), loop4, loop4); err != nil || !hasLine(out, "c=IN IP4 127.0.0.1") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := s.Answer(B, []byte(head), loop4, loop4); err != nil {
		t.Error(err)
	}
}

func TestSideThatNeedsAFamilyWeDoNotHaveIsRefused(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.Bind = []netip.Addr{loop4} })
	s := newSession(t, e)
	_, err := s.Offer(A, []byte(head+"m=audio 4000 RTP/AVP 0\r\n"), loop4, loop6)
	var r *RejectError
	if !errors.As(err, &r) || r.Status != 488 || !strings.HasPrefix(r.Warning, "301 ") {
		t.Errorf("got %v", err)
	}
}

func TestForksInBothFamiliesShareOneOffer(t *testing.T) {
	e := startEngine(t, nil)
	a, b4, b6 := newPhone(t, loop4), newPhone(t, loop4), newPhone(t, loop6)
	s := newSession(t, e)
	for _, b := range []*phone{b4, b6} {
		offer, err := s.Offer(A, a.sdp(), loop4, b.addr().Addr())
		if err != nil {
			t.Fatal(err)
		}
		b.dial(offer)
	}
	if !b6.to.Addr().Is6() || !b4.to.Addr().Is4() {
		t.Fatalf("%v %v", b4.to, b6.to)
	}
	for _, b := range []*phone{b4, b6, b4} {
		answer, err := s.Answer(B, b.sdp(), b.addr().Addr(), loop4)
		if err != nil {
			t.Fatal(err)
		}
		a.dial(answer)
		settle(s.shard)
		a.say("hello")
		b.hears("hello")
		b.say("hi")
		a.hears("hi")
	}
}

func TestReofferKeepsTheFamilyOfAPhonesMedia(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := newSession(t, e)
	if _, err := s.Offer(A, a.sdp(), loop6, loop4); err != nil { // a signals over IPv6
		t.Fatal(err)
	}
	answer, err := s.Answer(B, b.sdp(), loop4, loop6)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(answer)
	offer, err := s.Offer(B, b.sdp(), loop4, loop6)
	if err != nil {
		t.Fatal(err)
	}
	before := a.to
	if a.dial(offer); a.to != before {
		t.Errorf("a's media moved from %v to %v", before, a.to)
	}
}

func TestPortsRunOutCleanly(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.PortMin, c.PortMax = 28000, 28007 })
	plain := []byte(head + "m=audio 4000 RTP/AVP 0\r\n")
	var last error
	for range 3 {
		s := newSession(t, e)
		if _, last = s.Offer(A, plain, loop4, loop4); last != nil {
			break
		}
	}
	if !errors.Is(last, ErrNoPorts) {
		t.Errorf("got %v", last)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.MaxSessions = 2 })
	one := newSession(t, e)
	newSession(t, e)
	if _, err := e.NewEndpoint(SessionConfig{}); err != ErrBusy {
		t.Errorf("got %v", err)
	}
	one.Close()
	newSession(t, e)
	if got := e.Stats(); got.Sessions != 2 || got.Refused != 1 {
		t.Errorf("%+v", got)
	}
}

func TestSilenceIsReportedOnceAndAgainAfterLife(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.Silence = time.Hour })
	type report struct {
		side Side
		d    time.Duration
	}
	var got []report
	s, err := e.NewSession(SessionConfig{OnSilence: func(side Side, d time.Duration) { got = append(got, report{side, d}) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	e.sweep(int64(100 * time.Hour))
	if len(got) != 0 {
		t.Fatalf("a call without answer is not silent: %v", got)
	}
	renew(t, s, a, b)
	a.say("x")
	b.hears("x")
	settle(s.shard)
	now := e.now()
	for _, at := range []time.Duration{59 * time.Minute, 61 * time.Minute, 62 * time.Minute} {
		e.sweep(now + int64(at))
	}
	if len(got) != 2 || got[0].side != A || got[1].side != B || got[0].d < time.Hour {
		t.Fatalf("%v", got)
	}
	got = nil
	offer, _ := s.Offer(A, a.sdp("a=sendonly"), loop4, loop4)
	b.dial(offer)
	if _, err := s.Answer(B, b.sdp("a=recvonly"), loop4, loop4); err != nil {
		t.Fatal(err)
	}
	settle(s.shard)
	e.sweep(e.now() + int64(61*time.Minute))
	if len(got) != 1 || got[0].side != A {
		t.Errorf("on hold only A is expected to send: %v", got)
	}
}

func TestConfigurationIsCheckedBeforeAnythingStarts(t *testing.T) {
	good := Config{Bind: []netip.Addr{loop4}}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]Config{
		"no address":      {},
		"multicast":       {Bind: []netip.Addr{netip.MustParseAddr("224.0.0.1")}},
		"one family two":  {Bind: []netip.Addr{loop4, netip.MustParseAddr("127.0.0.2")}},
		"ports reversed":  {Bind: good.Bind, PortMin: 3000, PortMax: 2000},
		"privileged port": {Bind: good.Bind, PortMin: 80, PortMax: 2000},
		"negative":        {Bind: good.Bind, MaxSessions: -1},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestAdvertisedAddressStandsInTheDescription(t *testing.T) {
	public := netip.MustParseAddr("203.0.113.10")
	e := startEngine(t, func(c *Config) {
		c.Bind = []netip.Addr{netip.IPv4Unspecified()}
		c.Advertise = func(local netip.Addr) netip.Addr {
			if local != loop4 {
				t.Errorf("local %v", local)
			}
			return public
		}
	})
	s := newSession(t, e)
	out, err := s.Offer(A, []byte(head+"m=audio 4000 RTP/AVP 0\r\n"), loop4, loop4)
	if err != nil || !hasLine(out, "c=IN IP4 203.0.113.10") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestEndedEngineRefusesAndForgets(t *testing.T) {
	var e *Engine
	var s *Session
	t.Run("while it runs", func(t *testing.T) {
		e = startEngine(t, nil)
		s, _ = e.NewSession(SessionConfig{})
		if _, err := s.Offer(A, []byte(head+"m=audio 4000 RTP/AVP 0\r\n"), loop4, loop4); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := e.NewSession(SessionConfig{}); err != ErrClosed {
		t.Errorf("got %v", err)
	}
	if _, err := s.Answer(B, []byte(head), loop4, loop4); err != ErrClosed {
		t.Errorf("got %v", err)
	}
	s.Close()
	if got := e.Stats(); got.Sessions != 0 || got.Ports[0].Used != 0 {
		t.Errorf("%+v", got)
	}
}

func TestRefusalIsAWellFormedWarningWhateverTheStrangerWrote(t *testing.T) {
	got := reject(488, 304, "Media type \"x\\\r\nVia: evil\u00e9 is not available").Warning
	want := `304 tandem "Media type \"x\\??Via: evil?? is not available"`
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if text := reject(488, 304, "x").Error(); text != `rtpengine: refused with 488: 304 tandem "x"` {
		t.Errorf("got %s", text)
	}
}

func TestDropsHaveNames(t *testing.T) {
	d := Drops{DropSource: 2, DropSend: 1}
	if got := d.ByReason(); len(got) != 2 || got["source"] != 2 || got["send"] != 1 || d.Total() != 3 {
		t.Errorf("%v", got)
	}
	if drops.String() != "unknown" {
		t.Error(drops.String())
	}
}

// Whatever strangers offer and answer, the engine answers with as many m-lines, or with a refusal.
func FuzzOfferAnswer(f *testing.F) {
	f.Add([]byte(softphone), []byte(head+"m=audio 5000 RTP/AVP 0\r\na=rtcp-mux\r\nm=video 0 RTP/AVPF 99\r\n"))
	f.Add([]byte(head+"m=audio 1 RTP/AVP 0\r\nc=IN IP6 ::1\r\n"), []byte(head))
	f.Add([]byte(head+"m=audio 1 RTP/SAVP 0\r\nm=text 5 RTP/AVP 98\r\n"), []byte(head+"m=audio 1 RTP/AVP\r\nm=audio 5 RTP/AVP 98 98\r\n"))
	e := startEngine(f, nil)
	f.Fuzz(func(t *testing.T, offer, answer []byte) {
		s, err := e.NewSession(SessionConfig{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		p, err := e.NewEndpoint(SessionConfig{})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		p.Echo()
		if out, err := p.Answer(offer, loop4); err == nil {
			sameSections(t, offer, out)
		}
		out, err := s.Offer(A, offer, loop4, loop6)
		if err != nil {
			return
		}
		sameSections(t, offer, out)
		if out, err = s.Answer(B, answer, loop6, loop4); err == nil {
			sameSections(t, offer, out)
		}
		s.Rollback()
		s.Stats()
	})
}

func sameSections(t *testing.T, given, written []byte) {
	t.Helper()
	in, err := parseSDP(given)
	if err != nil {
		t.Fatal(err)
	}
	out, err := parseSDP(written)
	if err != nil {
		t.Fatalf("%v in our own\n%q", err, written)
	}
	if len(in.sections) != len(out.sections) {
		t.Fatalf("%d m-lines became %d:\n%q", len(in.sections), len(out.sections), written)
	}
}
