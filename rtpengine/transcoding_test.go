package rtpengine

import (
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	pion "github.com/pion/rtcp"

	audio "tandem/rtpengine/codec"
)

// speaker is a phone of some codecs.
type speaker struct {
	*phone
	says  audio.Encoder
	hears audio.Decoder
	kind  audio.Kind
	sends uint8  // payload type
	stamp uint32 // next
}

// formats describes a phone by the words of its m-line and its attributes.
func (p *phone) formats(words string, lines ...string) []byte {
	a := p.addr()
	at := family(a.Addr()) + " " + a.Addr().String()
	text := fmt.Sprintf("v=0\r\no=phone 1 1 IN %s\r\ns=-\r\nc=IN %s\r\nt=0 0\r\nm=audio %d RTP/AVP %s\r\na=rtcp:%d\r\n", at, at, a.Port(), words,
		p.rtcp.LocalAddr().(*net.UDPAddr).Port)
	for _, line := range lines {
		text += line + "\r\n"
	}
	return []byte(text)
}

func newSpeaker(t *testing.T, kind audio.Kind, sends uint8) *speaker {
	t.Helper()
	lib := audio.Open("")
	if !lib.Encodes(kind) {
		t.Skip(lib.Missing())
	}
	rate := min(16000, kind.Rate())
	s := &speaker{phone: newPhone(t, loop4), kind: kind, sends: sends}
	var err error
	if s.says, err = lib.NewEncoder(kind, rate); err != nil {
		t.Fatal(err)
	}
	if s.hears, err = lib.NewDecoder(kind, rate); err != nil {
		t.Fatal(err)
	}
	return s
}

// hum sends 20 ms of a tone.
func (s *speaker) hum(hz float64) {
	s.t.Helper()
	rate := s.says.Rate()
	pcm := make([]int16, rate/50)
	for i := range pcm {
		at := float64(s.stamp)/float64(s.kind.Clock()) + float64(i)/float64(rate)
		pcm[i] = int16(8000 * math.Sin(2*math.Pi*hz*at))
	}
	var b [1500]byte
	n, err := s.says.Encode(b[:], pcm)
	if err != nil {
		s.t.Fatal(err)
	}
	s.sound(b[:n])
}

// sound sends a payload of 20 ms.
func (s *speaker) sound(body []byte) {
	s.seq++
	s.raw(s.rtp, s.to, packet(s.sends, s.seq, s.stamp, s.ssrc, string(body)))
	s.stamp += uint32(s.kind.Clock() / 50)
}

// listen takes a packet, which must have a payload type, and gives its header and what it sounds like.
func (s *speaker) listen(payload uint8) (rtpHeader, []int16) {
	s.t.Helper()
	b := s.next(s.rtp)
	h, ok := parseRTP(b)
	if !ok || h.payload != payload {
		s.t.Fatalf("payload type %d, want %d", h.payload, payload)
	}
	pcm := make([]int16, audio.MaxSamples)
	n, err := s.hears.Decode(pcm, b[h.body:])
	if err != nil {
		s.t.Fatal(err)
	}
	return h, pcm[:n]
}

// share is how much of a sound is a frequency.
func share(pcm []int16, rate int, hz float64) float64 {
	w := 2 * math.Pi * hz / float64(rate)
	re, im, all := 0.0, 0.0, 1e-9
	for i, v := range pcm {
		re += float64(v) * math.Cos(w*float64(i))
		im += float64(v) * math.Sin(w*float64(i))
		all += float64(v) * float64(v)
	}
	return 2 * (re*re + im*im) / float64(len(pcm)) / all
}

// pair lets two phones agree, and gives what each was shown.
func settleOn(t *testing.T, s *Session, a, b *phone, offer, answer []byte) (shown, told string) {
	t.Helper()
	from, to := a.addr().Addr(), b.addr().Addr()
	out, err := s.Offer(A, offer, from, to)
	if err != nil {
		t.Fatal(err)
	}
	b.dial(out)
	back, err := s.Answer(B, answer, to, from)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(back)
	return string(out), string(back)
}

func quietSession(t *testing.T, e *Engine) *Session {
	t.Helper()
	s, err := e.NewSession(SessionConfig{ID: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// transcoding has startEngine transcode, which other tests of descriptions do without.
func transcoding(c *Config) { c.Transcode.Off, c.Transcode.Always = false, true }

const opusLines = "a=rtpmap:107 opus/48000/2\r\na=fmtp:107 useinbandfec=1\r\na=rtpmap:98 telephone-event/48000"

func TestPhonesWithoutACommonCodecHearEachOther(t *testing.T) {
	for _, c := range []struct {
		name          string
		a, b          audio.Kind
		offer, answer string // formats
		pa, pb        uint8
		wantOffer     string // what B was shown
		wantAnswer    string // what A was told
	}{
		{"G.711 to Opus", audio.PCMA, audio.Opus, "8", "OPUS", 8, 0, "m=audio PORT RTP/AVP 8 0 9 111", "m=audio PORT RTP/AVP 8"},
		{"Opus to G.711", audio.Opus, audio.PCMU, "107", "0", 107, 0, "m=audio PORT RTP/AVP 107 9 8 0", "m=audio PORT RTP/AVP 107"},
		{"G.711 to G.722", audio.PCMU, audio.G722, "0", "9", 0, 9, "m=audio PORT RTP/AVP 0 8 9 111", "m=audio PORT RTP/AVP 0"},
		{"G.722 to G.711", audio.G722, audio.PCMA, "9", "8", 9, 8, "m=audio PORT RTP/AVP 9 111 8 0", "m=audio PORT RTP/AVP 9"},
		{"Opus to G.722", audio.Opus, audio.G722, "107", "9", 107, 9, "m=audio PORT RTP/AVP 107 9 8 0", "m=audio PORT RTP/AVP 107"},
		{"one law to the other", audio.PCMU, audio.PCMA, "0", "8", 0, 8, "m=audio PORT RTP/AVP 0 8 9 111", "m=audio PORT RTP/AVP 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := startEngine(t, transcoding)
			a, b := newSpeaker(t, c.a, c.pa), newSpeaker(t, c.b, c.pb)
			s := quietSession(t, e)
			defer s.Close()
			lines := ""
			if c.offer == "107" {
				lines = opusLines
			}
			answer, answerLine := c.answer, ""
			if c.answer == "OPUS" { // as the number that it was offered under
				answer, answerLine, b.sends = "111", "a=rtpmap:111 opus/48000/2", 111
			}
			shown, told := settleOn(t, s, a.phone, b.phone, a.formats(c.offer, lines), b.formats(answer, answerLine))
			for got, want := range map[string]string{shown: c.wantOffer, told: c.wantAnswer} {
				if words := mline(got); words != want {
					t.Errorf("m-line %q, want %q in\n%s", words, want, got)
				}
			}
			hums(t, a, b, 700)
			hums(t, b, a, 500)
			if st := e.Stats().Coders; st.Calls != 1 || st.Streams != 2 || st.Frames < 100 || st.Failed+st.Late+st.Refused > 0 {
				t.Errorf("%+v", st)
			}
			s.Close()
			if st := e.Stats().Coders; st.Calls != 0 || st.Streams != 0 {
				t.Errorf("after the call: %+v", st)
			}
		})
	}
}

// mline is the m-line with PORT for its port.
func mline(sdp string) string {
	for line := range strings.Lines(sdp) {
		if words := strings.Fields(line); strings.HasPrefix(line, "m=") {
			words[1] = "PORT"
			return strings.Join(words, " ")
		}
	}
	return ""
}

// hums has one hum for a second and the other hear it, in order, under one source, in packets of 20 ms.
func hums(t *testing.T, from, to *speaker, hz float64) {
	t.Helper()
	var heard []int16
	var last rtpHeader
	for i := range 50 {
		from.hum(hz)
		h, pcm := to.listen(to.sends)
		if i > 0 && (h.ssrc != last.ssrc || h.seq != last.seq+1 || h.stamp != last.stamp+uint32(to.kind.Clock()/50)) {
			t.Fatalf("packet %d: %+v after %+v", i, h, last)
		}
		if h.marker != (i == 0) {
			t.Errorf("packet %d: marker %v", i, h.marker)
		}
		last, heard = h, append(heard, pcm...)
	}
	if got := share(heard[len(heard)/5:], to.hears.Rate(), hz); got < 0.95 {
		t.Errorf("%v to %v: the tone is %.3f of what is heard", from.kind, to.kind, got)
	}
}

func TestWhatPhonesShareIsNotTranscoded(t *testing.T) {
	e := startEngine(t, transcoding)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := quietSession(t, e)
	defer s.Close()
	_, told := settleOn(t, s, a, b, a.formats("0 8 101", "a=rtpmap:101 telephone-event/8000"), b.formats("8 101", "a=rtpmap:101 telephone-event/8000"))
	if got := mline(told); got != "m=audio PORT RTP/AVP 8 101" {
		t.Error(got)
	}
	a.raw(a.rtp, a.to, packet(8, 7, 160, a.ssrc, "as it is"))
	if b := b.next(b.rtp); string(b[12:]) != "as it is" || binary.BigEndian.Uint16(b[2:]) != 7 {
		t.Errorf("% x", b)
	}
	if st := e.Stats().Coders; st.Calls+st.Streams != 0 {
		t.Errorf("%+v", st)
	}
}

// baresip, for one, answers with all that it has, in its own order, and then sends the first.
func TestAnAnswererThatPrefersOursIsTranscodedOneWay(t *testing.T) {
	e := startEngine(t, transcoding)
	a, b := newSpeaker(t, audio.PCMU, 0), newSpeaker(t, audio.G722, 9)
	s := quietSession(t, e)
	defer s.Close()
	_, told := settleOn(t, s, a.phone, b.phone, a.formats("0"), b.formats("9 0"))
	if got := mline(told); got != "m=audio PORT RTP/AVP 0" {
		t.Error(got)
	}
	hums(t, b, a, 600)
	a.sound([]byte("relayed"))
	if got := b.next(b.rtp); string(got[12:]) != "relayed" {
		t.Errorf("% x", got)
	}
}

func TestKeysAreHeardByTheOthersClock(t *testing.T) {
	e := startEngine(t, transcoding)
	a, b := newSpeaker(t, audio.PCMU, 0), newSpeaker(t, audio.Opus, 111)
	s := quietSession(t, e)
	defer s.Close()
	shown, told := settleOn(t, s, a.phone, b.phone, a.formats("0 101", "a=rtpmap:101 telephone-event/8000"),
		b.formats("111 101", "a=rtpmap:111 opus/48000/2", "a=rtpmap:101 telephone-event/8000"))
	if got := mline(shown); got != "m=audio PORT RTP/AVP 0 101 8 9 111" {
		t.Error(got)
	}
	if got := mline(told); got != "m=audio PORT RTP/AVP 0 101" {
		t.Error(got)
	}
	for range 3 {
		a.hum(500)
	}
	var before rtpHeader
	for range 3 {
		before, _ = b.listen(111)
	}
	// Key 5, 20 ms after the last sound began: three packets, then its end.
	begin := a.stamp
	for i, duration := range []uint16{160, 320, 480, 640} {
		a.seq++
		body := []byte{5, 10, byte(duration >> 8), byte(duration)}
		if i == 3 {
			body[1] |= 0x80
		}
		p := packet(101, a.seq, begin, a.ssrc, string(body))
		if i == 0 {
			p[1] |= 0x80
		}
		a.raw(a.rtp, a.to, p)
		got := b.next(b.rtp)
		h, _ := parseRTP(got)
		if h.payload != 101 || h.stamp != before.stamp+960 || h.seq != before.seq+uint16(i)+1 || h.marker != (i == 0) {
			t.Fatalf("key packet %d: %+v after %+v", i, h, before)
		}
		if body := got[h.body:]; len(body) != 4 || body[0] != 5 || binary.BigEndian.Uint16(body[2:]) != duration || body[1]&0x80 != 0 != (i == 3) {
			t.Errorf("key packet %d: % x", i, body)
		}
	}
	a.stamp += 640
	a.hum(500)
	if h, _ := b.listen(111); h.stamp != before.stamp+960+4*960 || !h.marker {
		t.Errorf("after the key: %+v after %+v", h, before)
	}
}

func TestPacketsAreAsLongAsTheListenerWants(t *testing.T) {
	e := startEngine(t, transcoding)
	a, b := newSpeaker(t, audio.G722, 9), newSpeaker(t, audio.PCMA, 8)
	s := quietSession(t, e)
	defer s.Close()
	settleOn(t, s, a.phone, b.phone, a.formats("9"), b.formats("8", "a=ptime:60"))
	var last rtpHeader
	for i := range 5 {
		for range 3 {
			a.hum(800)
		}
		h, pcm := b.listen(8)
		if len(pcm) < 479 || i > 0 && h.stamp != last.stamp+480 {
			t.Fatalf("%d samples: %+v after %+v", len(pcm), h, last)
		}
		last = h
	}
}

// atOnce has a session's shard hear all that say sends in one turn, however busy the machine is: what is spread over time is stretched and concealed.
func atOnce(s *Session, say func()) {
	held, release := make(chan struct{}), make(chan struct{})
	s.shard.order(func(*shard) { close(held); <-release })
	<-held
	say()
	close(release)
}

func TestWhatComesInDisorderIsHeardInOrder(t *testing.T) {
	e := startEngine(t, transcoding)
	a, b := newSpeaker(t, audio.PCMA, 8), newSpeaker(t, audio.PCMU, 0)
	s := quietSession(t, e)
	defer s.Close()
	settleOn(t, s, a.phone, b.phone, a.formats("8"), b.formats("0"))
	tell := func(n int) {
		body := make([]byte, 160)
		for i := range body {
			body[i] = audio.EncodeAlaw(int16(n * 1000))
		}
		a.raw(a.rtp, a.to, packet(8, uint16(100+n), uint32(n*160), a.ssrc, string(body)))
	}
	hear := func() int {
		_, pcm := b.listen(0)
		return int(math.Round(float64(pcm[159]) / 1000))
	}
	atOnce(s, func() {
		for _, n := range []int{1, 2, 4, 3, 3, 5, 7, 8, 9, 10} { // 3 came late and twice, 6 never
			tell(n)
		}
	})
	var got []int
	for range 10 {
		got = append(got, hear())
	}
	for i, n := range got {
		if want := i + 1; n != want && want != 6 {
			t.Errorf("heard %v", got)
			break
		}
	}
	if got[5] == 0 {
		t.Errorf("the loss is silent: %v", got)
	}
	if st := e.Stats().Coders; st.Late != 1 || st.Concealed != 1 {
		t.Errorf("%+v", st)
	}
}

func TestSilenceStaysSilence(t *testing.T) {
	e := startEngine(t, transcoding)
	a, b := newSpeaker(t, audio.PCMA, 8), newSpeaker(t, audio.PCMU, 0)
	s := quietSession(t, e)
	defer s.Close()
	settleOn(t, s, a.phone, b.phone, a.formats("8 13"), b.formats("0 13"))
	for range 3 {
		a.hum(500)
	}
	var last rtpHeader
	for range 3 {
		last, _ = b.listen(0)
	}
	a.seq++
	a.raw(a.rtp, a.to, packet(13, a.seq, a.stamp, a.ssrc, "\x2d"))
	got := b.next(b.rtp)
	if h, _ := parseRTP(got); h.payload != 13 || h.stamp != last.stamp+160 || string(got[h.body:]) != "\x2d" {
		t.Errorf("%+v after %+v: % x", h, last, got)
	}
	a.stamp += 8000 // a second of silence
	a.hum(500)
	if h, _ := b.listen(0); h.stamp != last.stamp+160+8000 || !h.marker || h.seq != last.seq+2 {
		t.Errorf("%+v after %+v", h, last)
	}
}

func TestARefreshedCallKeepsItsStream(t *testing.T) {
	e := startEngine(t, transcoding)
	a, b := newSpeaker(t, audio.PCMA, 8), newSpeaker(t, audio.PCMU, 0)
	s := quietSession(t, e)
	defer s.Close()
	agree := func() { settleOn(t, s, a.phone, b.phone, a.formats("8"), b.formats("0")) }
	agree()
	a.hum(500)
	before, _ := b.listen(0)
	agree()
	a.hum(500)
	if h, _ := b.listen(0); h.ssrc != before.ssrc || h.seq != before.seq+1 || h.stamp != before.stamp+160 {
		t.Errorf("%+v after %+v", h, before)
	}
	// And when the phones come to share a codec, nothing is in between any more.
	settleOn(t, s, a.phone, b.phone, a.formats("8"), b.formats("8"))
	a.sound([]byte("relayed"))
	if got := b.next(b.rtp); string(got[12:]) != "relayed" {
		t.Errorf("% x", got)
	}
	if st := e.Stats().Coders; st.Calls+st.Streams != 0 {
		t.Errorf("%+v", st)
	}
}

func TestTooManyTranscodedCallsAreRefused(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.Transcode = TranscodeConfig{MaxCalls: 1, Always: true} })
	phones := func() (a, b *phone, s *Session) {
		s = quietSession(t, e)
		t.Cleanup(s.Close)
		return newPhone(t, loop4), newPhone(t, loop4), s
	}
	a, b, s := phones()
	a2, b2, s2 := phones()
	// Both are offered while there is room.
	offer := func(s *Session, a, b *phone) string {
		out, err := s.Offer(A, a.formats("8"), loop4, loop4)
		if err != nil {
			t.Fatal(err)
		}
		return mline(string(out))
	}
	for _, got := range []string{offer(s, a, b), offer(s2, a2, b2)} {
		if !strings.HasPrefix(got, "m=audio PORT RTP/AVP 8 0 9") {
			t.Error(got)
		}
	}
	if _, err := s.Answer(B, b.formats("0"), loop4, loop4); err != nil {
		t.Fatal(err)
	}
	_, err := s2.Answer(B, b2.formats("0"), loop4, loop4)
	if rejected, ok := err.(*RejectError); !ok || rejected.Status != 488 || !strings.Contains(rejected.Error(), "Too many calls are transcoded") {
		t.Errorf("got %v", err)
	}
	// A third is not offered what could not be done.
	a3, b3, s3 := phones()
	if got := offer(s3, a3, b3); got != "m=audio PORT RTP/AVP 8" {
		t.Error(got)
	}
	if st := e.Stats().Coders; st.Calls != 1 || st.Full != 1 || st.MaxCalls != 1 {
		t.Errorf("%+v", st)
	}
}

func TestWithoutTheLibraryOpusIsNotOffered(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Transcode.Opus = "none" }, "m=audio PORT RTP/AVP 8 0 9"},
		{func(c *Config) { c.Transcode.Off = true }, "m=audio PORT RTP/AVP 8"},
		{func(c *Config) { c.Codecs.Block = []string{"PCMU", "opus"} }, "m=audio PORT RTP/AVP 8 9"},
		{func(c *Config) { c.Codecs.Only = []string{"G722", "PCMA"} }, "m=audio PORT RTP/AVP 8 9"},
	} {
		e := startEngine(t, func(c2 *Config) { transcoding(c2); c.change(c2) })
		s := quietSession(t, e)
		out, err := s.Offer(A, newPhone(t, loop4).formats("8"), loop4, loop4)
		if err != nil {
			t.Fatal(err)
		}
		if got := mline(string(out)); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
		s.Close()
	}
}

func TestAnotherCodecsReportsDoNotPass(t *testing.T) {
	e := startEngine(t, transcoding)
	a, b := newSpeaker(t, audio.PCMA, 8), newSpeaker(t, audio.PCMU, 0)
	s := quietSession(t, e)
	defer s.Close()
	settleOn(t, s, a.phone, b.phone, a.formats("8"), b.formats("0"))
	a.hum(500)
	b.listen(0)
	sr := binary.BigEndian.AppendUint32(nil, 2<<30|rtcpSR<<16|6)
	sr = append(binary.BigEndian.AppendUint32(sr, a.ssrc), make([]byte, 20)...)
	a.raw(a.rtcp, a.toRTCP, sr)
	a.hum(500)
	b.listen(0)
	b.hasNothing(b.rtcp)
	if got := s.Stats().Media[0].Sides[A].RTCP; got != 1 {
		t.Errorf("%d reports of A", got)
	}
}

func TestAListenerWhoLosesPacketsIsToldThingsTwice(t *testing.T) {
	e := startEngine(t, transcoding)
	a, b := newSpeaker(t, audio.PCMA, 8), newSpeaker(t, audio.Opus, 111)
	s := quietSession(t, e)
	defer s.Close()
	settleOn(t, s, a.phone, b.phone, a.formats("8"), b.formats("111", "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1"))
	b.hum(500)
	repeated := func() (n int, ssrc uint32) {
		for i := range 20 {
			a.hum(float64(200 + 50*(i%4))) // a steady tone is no speech, and noise is not worth repeating
			p := b.next(b.rtp)
			if h, _ := parseRTP(p); h.payload != 111 {
				t.Fatalf("payload type %d", h.payload)
			}
			if p[13]&0x40 != 0 { // the LBRR flag, RFC 6716 §4.2.3
				n++
			}
			ssrc = binary.BigEndian.Uint32(p[8:])
		}
		return n, ssrc
	}
	n, ssrc := repeated()
	if n > 0 {
		t.Errorf("%d of 20 packets repeat something before anything was lost", n)
	}
	rr := binary.BigEndian.AppendUint32(nil, 2<<30|1<<24|rtcpRR<<16|7)
	rr = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(rr, b.ssrc), ssrc)
	rr = append(binary.BigEndian.AppendUint32(rr, 64<<24|5), make([]byte, 16)...) // a quarter, five in all
	b.raw(b.rtcp, b.toRTCP, rr)
	for range 3 { // the report may be read behind the next packets
		n, _ = repeated()
	}
	if n < 5 {
		t.Errorf("%d of 20 packets repeat something at a quarter lost", n)
	}
}

// The way of a packet through the shard to its coder allocates nothing.
func TestHandingOverAllocatesNothing(t *testing.T) {
	p := &pathway{coder: newCoder(func() int64 { return 0 })}
	via := &transcoder{path: p}
	via.kinds[0] = audio.PCMU
	r, l := &relay{}, &leg{via: via}
	b := packet(0, 1, 160, 7, strings.Repeat("x", 160))
	h, _ := parseRTP(b)
	var room [laneBody]byte
	if got := testing.AllocsPerRun(2000, func() {
		r.handOver(l, &h, b)
		if e := p.in.next(room[:]); e != nil {
			p.in.done(e)
		}
	}); got > 0 || p.coder.refused.Load() > 0 {
		t.Errorf("%.1f allocations a packet, %d refused", got, p.coder.refused.Load())
	}
	// A coder that does not keep up loses what comes, and nobody waits.
	for range laneEntries + 5 {
		r.handOver(l, &h, b)
	}
	if got := p.coder.refused.Load(); got != 5 {
		t.Errorf("%d dropped, want 5", got)
	}
}

func TestWhatWaitedTooLongIsNotDecoded(t *testing.T) {
	var now time.Duration
	c := newCoder(func() int64 { return int64(now) })
	p := &pathway{coder: c, shard: newShard(func() int64 { return 0 }, 0, 1)}
	c.paths.Store(&[]*pathway{p})
	via := &transcoder{path: p}
	via.kinds[0] = audio.Noise
	p.in.put(via, &voicePacket{})
	now = 101 * time.Millisecond
	if c.serve() != 1 || c.late.Load() != 1 || c.failed.Load() != 0 {
		t.Errorf("late %d", c.late.Load())
	}
}

func FuzzTranscoder(f *testing.F) {
	f.Add([]byte{0, 160, 1, 2, 3, 101, 4, 1, 2, 3, 4})
	f.Add([]byte{111, 3, 0, 0, 0, 13, 1, 40, 9, 2, 1, 1})
	f.Fuzz(func(t *testing.T, script []byte) {
		e := &Engine{codecs: audio.Open(""), coders: newCoders(1, 1, func() int64 { return 0 })}
		sh := newShard(func() int64 { return 0 }, 0, 1)
		var says speaking
		for _, c := range []codec{
			{name: "PCMU", clock: 8000, channels: 1},
			{name: "G722", clock: 8000, channels: 1, payload: 9},
			{name: "opus", clock: 48000, channels: 2, payload: 111},
			{name: "telephone-event", clock: 8000, channels: 1, payload: 101},
		} {
			says.add(c)
		}
		says.companions(nil)
		to := codec{name: "PCMA", clock: 8000, channels: 1, payload: 8}.hears(nil)
		fit(&says, &to, 20)
		via, err := e.newTranscoder(sh, &leg{}, &says, to)
		if err != nil {
			t.Fatal(err)
		}
		p := voicePacket{}
		for len(script) >= 2 {
			p.payload, p.seq, p.stamp = script[0]&0x7f, p.seq+uint16(int8(script[1])), p.stamp+160*uint32(int8(script[1]))
			n := min(int(script[1]), len(script)-2)
			p.body, script = script[2:2+n], script[2+n:]
			via.take(&p)
			for e := via.path.back.next(make([]byte, laneBody)); e != nil; e = via.path.back.next(make([]byte, laneBody)) {
				if e.payload != 8 {
					t.Errorf("payload type %d", e.payload)
				}
				via.path.back.done(e)
			}
		}
	})
}

func TestAnOfferMaySayWhatIsLent(t *testing.T) {
	s := quietSession(t, startEngine(t, transcoding))
	defer s.Close()
	for _, c := range []struct {
		lend []string
		want string
	}{
		{[]string{"g722", "PCMU/8000"}, "m=audio PORT RTP/AVP 8 0 9"},
		{nil, "m=audio PORT RTP/AVP 8"},
	} {
		out, err := s.OfferWith(A, newPhone(t, loop4).formats("8"), loop4, loop4, OfferOptions{Lend: &c.lend})
		if err != nil || mline(string(out)) != c.want {
			t.Errorf("%v: %v, %q", c.lend, err, mline(string(out)))
		}
	}
}

// BenchmarkTranscodedCall is what 20 ms of a call between Opus and G.711 cost in both directions, without the sockets: 200,000 ns are one per cent of
// a processor a call.
func BenchmarkTranscodedCall(b *testing.B) {
	lib := audio.Open("")
	if !lib.Encodes(audio.Opus) {
		b.Skip(lib.Missing())
	}
	e := &Engine{codecs: lib, coders: newCoders(1, 1, func() int64 { return 0 })}
	sh := newShard(func() int64 { return 0 }, 0, 1)
	opus := codec{name: "opus", clock: 48000, channels: 2, payload: 111}
	pcmu := codec{name: "PCMU", clock: 8000, channels: 1}
	direction := func(from, to codec) (*transcoder, [][]byte) {
		var says speaking
		says.add(from)
		h := to.hears(nil)
		fit(&says, &h, 20)
		via, err := e.newTranscoder(sh, &leg{}, &says, h)
		if err != nil {
			b.Fatal(err)
		}
		rate := 8000
		enc, err := lib.NewEncoder(from.kind(), rate)
		if err != nil {
			b.Fatal(err)
		}
		var bodies [][]byte
		for i := range 100 {
			pcm := make([]int16, rate/50)
			for j := range pcm { // a vowel whose pitch moves
				at := float64(i*len(pcm)+j) / float64(rate)
				phase := 2 * math.Pi * (120*at + 3*math.Sin(4*at))
				for h := 1.0; h < 20; h++ {
					pcm[j] += int16(3000 / h * math.Sin(h*phase))
				}
			}
			var out [1500]byte
			n, err := enc.Encode(out[:], pcm)
			if err != nil {
				b.Fatal(err)
			}
			bodies = append(bodies, append([]byte(nil), out[:n]...))
		}
		return via, bodies
	}
	there, voice := direction(opus, pcmu)
	back, answer := direction(pcmu, opus)
	var room [laneBody]byte
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		there.take(&voicePacket{payload: 111, seq: uint16(i), stamp: uint32(i) * 960, body: voice[i%100]})
		back.take(&voicePacket{payload: 0, seq: uint16(i), stamp: uint32(i) * 160, body: answer[i%100]})
		for _, t := range [...]*transcoder{there, back} {
			for e := t.path.back.next(room[:]); e != nil; e = t.path.back.next(room[:]) {
				t.path.back.done(e)
			}
		}
	}
}

// Both phones are told of the streams that they get and send, though neither knows the other's, and so the ways to both are known.
func TestReportsGoOnWhereAStreamIsTranscoded(t *testing.T) {
	a, b := newSpeaker(t, audio.PCMU, 0), newSpeaker(t, audio.G722, 9)
	s := quietSession(t, startEngine(t, transcoding))
	defer s.Close()
	settleOn(t, s, a.phone, b.phone, a.formats("0"), b.formats("9"))
	line := s.lines[0]
	due := func(from Side) { // the next packet finds a report due to who hears it
		settle(s.shard)
		s.shard.order(func(*shard) { line.vias[from].voice.due = 1 })
		settle(s.shard)
	}
	read := func(to *speaker) (ssrc uint32, sr bool, block pion.ReceptionReport, middle uint32) {
		t.Helper()
		list, err := pion.Unmarshal(to.next(to.rtcp))
		if err != nil {
			t.Fatal(err)
		}
		switch p := list[0].(type) {
		case *pion.SenderReport:
			return p.SSRC, true, append(p.Reports, pion.ReceptionReport{})[0], uint32(p.NTPTime >> 16)
		case *pion.ReceiverReport:
			return p.SSRC, false, append(p.Reports, pion.ReceptionReport{})[0], 0
		}
		t.Fatalf("%T", list[0])
		return 0, false, block, 0
	}
	for range 3 { // b says nothing
		a.hum(440)
		b.listen(9)
	}
	due(A)
	a.hum(440)
	h, _ := b.listen(9)
	voice, sr, _, middle := read(b)
	if !sr || voice != h.ssrc || voice == a.ssrc {
		t.Errorf("b is told of %x by %v, and hears %x", voice, sr, h.ssrc)
	}
	due(B)
	a.hum(440)
	b.listen(9)
	if ssrc, sr, block, _ := read(a); sr || ssrc == b.ssrc || block.SSRC != a.ssrc {
		t.Errorf("a is told of %x by %x, %v", block.SSRC, ssrc, sr)
	}
	b.raw(b.rtcp, b.toRTCP, packetsOf(t, &pion.ReceiverReport{SSRC: b.ssrc, Reports: []pion.ReceptionReport{{
		SSRC: voice, FractionLost: 64, TotalLost: 7, LastSenderReport: middle, Delay: 1,
	}}}))
	for line.legs[B].tally.rtcp.Load() == 0 {
		settle(s.shard)
	}
	if st := s.Stats().Media[0].Sides[B]; st.RTT <= 0 || st.reported != 7 || st.fraction != 0.25 {
		t.Errorf("the way to b takes %v, %d packets are lost on it", st.RTT, st.reported)
	}
	a.hasNothing(a.rtcp)
}

// What is added to an offer, and when.
func TestOfferThatAnyPhoneCanAnswerIsNotMadeLonger(t *testing.T) {
	opus := "a=rtpmap:111 opus/48000/2"
	for _, c := range []struct{ offered, rtpmap, want string }{
		{"0 8 101", "a=rtpmap:101 telephone-event/8000", "0 8 101"},
		{"111 0 8", opus, "111 0 8"},
		{"8", "a=ptime:20", "8 0"}, // the other law costs five octets and 3 us
		{"9 0", "a=ptime:20", "9 0 8"},
		{"9", "a=ptime:20", "9 111 8 0"},
		{"111", opus, "111 9 8 0"},
	} {
		s := quietSession(t, startEngine(t, func(c *Config) { c.Transcode.Off = false }))
		out, err := s.Offer(A, newPhone(t, loop4).formats(c.offered, c.rtpmap), loop4, loop4)
		if err != nil {
			t.Fatal(err)
		}
		if got := mline(string(out)); got != "m=audio PORT RTP/AVP "+c.want {
			t.Errorf("%s: got %q", c.offered, got)
		}
		s.Close()
	}
}

// A call between a phone that knows Opus alone and one of G.711 is renewed from either side, and goes on.
func TestTranscodedCallOutlivesEitherSidesReinvite(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.Transcode.Off = false })
	a, b := newSpeaker(t, audio.Opus, 111), newSpeaker(t, audio.PCMA, 8)
	s := quietSession(t, e)
	defer s.Close()
	opus, g711 := a.formats("111", "a=rtpmap:111 opus/48000/2"), b.formats("8 0")
	settleOn(t, s, a.phone, b.phone, opus, b.formats("8"))
	hums(t, a, b, 500)
	offer, err := s.Offer(B, g711, loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	if got := mline(string(offer)); got != "m=audio PORT RTP/AVP 8 0 9 111" {
		t.Errorf("a is offered %q", got)
	}
	if _, err := s.Answer(A, opus, loop4, loop4); err != nil {
		t.Fatal(err)
	}
	hums(t, b, a, 700)
	if offer, err = s.Offer(A, opus, loop4, loop4); err != nil {
		t.Fatal(err)
	}
	if got := mline(string(offer)); !strings.HasPrefix(got, "m=audio PORT RTP/AVP 111 ") || !strings.Contains(got, " 8") {
		t.Errorf("b is offered %q", got)
	}
}
