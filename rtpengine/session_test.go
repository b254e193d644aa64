package rtpengine

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
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
		if !errors.As(err, &r) || r.Status != 488 || !strings.HasPrefix(r.Warning, `302 tandem "Media encryption`) {
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
		"m=application 4004 UDP/BFCP *\r\n"+
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
	answer, err := s.Answer(B, []byte(head+"m=audio 5000 RTP/SAVP 0\r\nm=audio 5002 RTP/AVP 0\r\nm=application 0 UDP/BFCP *\r\n"), loop4, loop4)
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

// Whatever is offered and answered, by whichever side, each side sees as many m-lines as were
// offered, an active line only where both sides agreed, the address of its own family, one o= id for
// ever and versions that grow; and every active line really relays.
func TestOfferAnswerClosure(t *testing.T) {
	e := startEngine(t, nil)
	rapid.Check(t, func(t *rapid.T) {
		s, err := e.NewSession(SessionConfig{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		m := &closure{t: t, s: s, fam: [2]netip.Addr{A: drawFamily(t, "a"), B: drawFamily(t, "b")}}
		for range rapid.IntRange(1, 5).Draw(t, "exchanges") {
			m.exchange()
		}
		m.checkRelay()
	})
}

func drawFamily(t *rapid.T, who string) netip.Addr {
	return rapid.SampledFrom([]netip.Addr{loop4, loop6}).Draw(t, who)
}

type closure struct {
	t       *rapid.T
	s       *Session
	fam     [2]netip.Addr
	lines   int
	ids     [2]string
	version [2]string
	active  []bool // by the last agreement
}

type mline struct {
	kind, proto string
	port        int
	extra       string
}

func (m *closure) draw(n int, who string) []mline {
	lines := make([]mline, n)
	for i := range lines {
		lines[i] = mline{
			kind:  rapid.SampledFrom([]string{"audio", "video", "audio", "image"}).Draw(m.t, who+" kind"),
			proto: rapid.SampledFrom([]string{"RTP/AVP", "RTP/AVPF", "RTP/AVP", "RTP/SAVP"}).Draw(m.t, who+" proto"),
			port:  rapid.SampledFrom([]int{4000 + 2*i, 0, 5000 + 2*i}).Draw(m.t, who+" port"),
			extra: rapid.SampledFrom([]string{"", "a=rtcp-mux\r\n", "a=sendonly\r\n", "a=inactive\r\n", "a=rtcp:9\r\n", "a=ssrc:1 cname:z\r\n", "c=IN IP4 0.0.0.0\r\n"}).Draw(m.t, who+" extra"),
		}
	}
	return lines
}

func usable(l mline) bool { return l.port != 0 && l.kind != "image" && l.proto != "RTP/SAVP" }

func (m *closure) write(side Side, lines []mline) []byte {
	at := family(m.fam[side]) + " " + m.fam[side].String()
	text := "v=0\r\no=- 7 7 IN " + at + "\r\ns=-\r\nc=IN " + at + "\r\nt=0 0\r\n"
	for _, l := range lines {
		text += fmt.Sprintf("m=%s %d %s 0\r\n%s", l.kind, l.port, l.proto, l.extra)
	}
	return []byte(text)
}

func (m *closure) exchange() {
	from := Side(rapid.IntRange(0, 1).Draw(m.t, "from"))
	m.lines = max(m.lines, rapid.IntRange(1, 4).Draw(m.t, "m-lines"))
	offered := m.draw(m.lines, "offer")
	some, asked := false, false
	for _, l := range offered {
		some, asked = some || usable(l), asked || l.port != 0
	}
	out, err := m.s.Offer(from, m.write(from, offered), m.fam[from], m.fam[from.Other()])
	if asked && !some {
		if _, ok := err.(*RejectError); !ok {
			m.t.Fatalf("nothing usable: %v", err)
		}
		return
	}
	if err != nil {
		m.t.Fatal(err)
	}
	want := make([]bool, m.lines)
	for i, l := range offered {
		want[i] = usable(l)
	}
	m.check(from.Other(), out, offered, want)
	if rapid.IntRange(0, 3).Draw(m.t, "fate") == 0 {
		m.s.Rollback()
		return
	}
	for range rapid.IntRange(1, 2).Draw(m.t, "answers") {
		answered := m.draw(m.lines, "answer")
		for i := range answered {
			answered[i].kind, answered[i].proto = offered[i].kind, offered[i].proto
		}
		back, err := m.s.Answer(from.Other(), m.write(from.Other(), answered), m.fam[from.Other()], m.fam[from])
		if err != nil {
			m.t.Fatal(err)
		}
		agreed := make([]bool, m.lines)
		for i := range agreed {
			agreed[i] = want[i] && answered[i].port != 0
		}
		m.check(from, back, answered, agreed)
		m.active = agreed
	}
}

func (m *closure) check(side Side, out []byte, lines []mline, want []bool) {
	d, err := parseSDP(out)
	if err != nil {
		m.t.Fatalf("%v\n%s", err, out)
	}
	if len(d.sections) != len(lines) || strings.Contains(string(out), "ssrc") || strings.Contains(string(out), "0.0.0.0") {
		m.t.Fatalf("%s", out)
	}
	ports := map[uint16]bool{}
	for i, sec := range d.sections {
		if (sec.port != 0) != want[i] || sec.addr != m.fam[side] || sec.kind != lines[i].kind {
			m.t.Fatalf("m-line %d for %s:\n%s", i, side, out)
		}
		if sec.port != 0 && (ports[sec.port] || sec.port%2 != 0) {
			m.t.Fatalf("port %d\n%s", sec.port, out)
		}
		ports[sec.port] = true
	}
	words := strings.Fields(strings.SplitN(string(out), "\r\n", 3)[1])
	if m.ids[side] != "" && m.ids[side] != words[1] || len(words[2]) == len(m.version[side]) && words[2] < m.version[side] {
		m.t.Fatalf("o= to %s was %s %s, is %v", side, m.ids[side], m.version[side], words)
	}
	m.ids[side], m.version[side] = words[1], words[2]
}

// checkRelay compares the shard's picture with the last agreement.
func (m *closure) checkRelay() {
	settle(m.s.shard)
	for i, l := range m.s.lines {
		for side, g := range l.legs {
			if g != nil && g.ready != (i < len(m.active) && m.active[i]) {
				m.t.Fatalf("m-line %d side %d: ready %v, agreed %v", i, side, g.ready, m.active)
			}
		}
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
