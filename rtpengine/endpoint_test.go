package rtpengine

import (
	"encoding/binary"
	"math"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	audio "tandem/rtpengine/codec"
)

func startEndpoint(t *testing.T, e *Engine) *Endpoint {
	t.Helper()
	p, err := e.NewEndpoint(SessionConfig{ID: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestEchoReturnsEveryWordUnderItsOwnSource(t *testing.T) {
	e := startEngine(t, nil)
	p, a := startEndpoint(t, e), newPhone(t, loop4)
	p.Echo()
	answer, err := p.Answer(a.sdp(), loop4)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(answer)
	settle(p.shard)
	var last []byte
	for i, word := range []string{"one", "two", "three", "four"} {
		if i == 2 {
			a.ssrc, a.seq = a.ssrc+1, 5000 // the phone changes its source: the echo does not
		}
		a.say(word)
		b := a.hears(word)
		ssrc := binary.BigEndian.Uint32(b[8:])
		if ssrc == a.ssrc || last != nil && ssrc != binary.BigEndian.Uint32(last[8:]) {
			t.Errorf("%s: ssrc %x", word, ssrc)
		}
		if last != nil && binary.BigEndian.Uint16(b[2:]) != binary.BigEndian.Uint16(last[2:])+1 {
			t.Errorf("%s: seq %x after %x", word, b[2:4], last[2:4])
		}
		if last != nil && binary.BigEndian.Uint32(b[4:]) != binary.BigEndian.Uint32(last[4:])+160 {
			t.Errorf("%s: timestamp %x after %x", word, b[4:8], last[4:8])
		}
		last = b
	}
	settle(p.shard)
	if got := p.Stats().Media[0].Sides[A]; got.Packets != 4 || got.Forwarded != 4 {
		t.Errorf("%+v", got)
	}
}

func TestEchoTakesVideoAndAsksThePhoneForItsOwnKeyframes(t *testing.T) {
	e := startEngine(t, nil)
	p, a := startEndpoint(t, e), newPhone(t, loop4)
	p.Echo()
	offer := strings.NewReplacer("m=audio", "m=video", "RTP/AVP 0 8 101", "RTP/AVPF 96 97").Replace(
		string(a.sdp("a=rtpmap:96 VP8/90000", "a=rtcp-fb:96 nack pli", "a=rtcp-fb:96 goog-remb", "a=ssrc:1 cname:x")))
	answer, err := p.Answer([]byte(offer), loop4)
	if err != nil {
		t.Fatal(err)
	}
	if !hasLine(answer, "a=rtpmap:96 VP8/90000") || !hasLine(answer, "a=rtcp-fb:96 nack pli") ||
		hasLine(answer, "a=rtcp-fb:96 goog") || hasLine(answer, "a=ssrc") {
		t.Errorf("%s", answer)
	}
	a.dial(answer)
	settle(p.shard)
	a.raw(a.rtp, a.to, packet(96, 1, 3000, a.ssrc, "frame"))
	echoed := a.hears("frame")
	pli := append(receiverReport(a.ssrc), 0x81, rtcpPSFB, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2)
	a.raw(a.rtcp, a.toRTCP, pli)
	got := a.next(a.rtcp)
	if _, ok := parseRTCP(got); !ok || !wantsKeyframe(got) {
		t.Fatalf("got %x", got)
	}
	tail := got[len(got)-8:]
	if string(tail[:4]) != string(echoed[8:12]) || binary.BigEndian.Uint32(tail[4:]) != a.ssrc {
		t.Errorf("PLI from %x about %x", tail[:4], tail[4:])
	}
}

func TestMusicPlaysInTheLawThatThePhoneAskedFor(t *testing.T) {
	e := startEngine(t, nil)
	for payload, law := range map[byte]string{payloadPCMU: "0 8 101", payloadPCMA: "8 0 101"} {
		p, a := startEndpoint(t, e), newPhone(t, loop4)
		if err := p.Play("music"); err != nil {
			t.Fatal(err)
		}
		answer, err := p.Answer([]byte(strings.Replace(string(a.sdp()), "0 8 101", law, 1)), loop4)
		if err != nil {
			t.Fatal(err)
		}
		if !hasLine(answer, "a=rtpmap:101 telephone-event/8000") || !strings.Contains(string(answer), "RTP/AVP "+law[:1]+" 101") {
			t.Errorf("%s", answer)
		}
		last := a.next(a.rtp)
		if len(last) != 172 || last[1] != 0x80|payload {
			t.Fatalf("first packet %x", last[:12])
		}
		for range 5 {
			b := a.next(a.rtp)
			if b[1] != payload || binary.BigEndian.Uint16(b[2:]) != binary.BigEndian.Uint16(last[2:])+1 {
				t.Errorf("packet %x after %x", b[:12], last[:12])
			}
			last = b
		}
		p.Close()
	}
}

func TestPlayingStopsForAnEchoAndOnHold(t *testing.T) {
	e := startEngine(t, nil)
	p, a := startEndpoint(t, e), newPhone(t, loop4)
	if err := p.Play("tone:ring"); err != nil {
		t.Fatal(err)
	}
	if err := p.Play("tone:nonsense"); err == nil || !strings.Contains(err.Error(), "tone:busy") {
		t.Errorf("got %v", err)
	}
	answer, err := p.Answer(a.sdp(), loop4)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(answer)
	a.next(a.rtp)
	if answer, err = p.Answer(a.sdp("a=sendonly"), loop4); err != nil || !hasLine(answer, "a=recvonly") {
		t.Errorf("%v\n%s", err, answer)
	}
	p.Echo()
	settle(p.shard)
	if st := e.Stats(); st.Playing != 0 || st.Shards[0].Playing != 0 {
		t.Errorf("%+v", st)
	}
	if _, err = p.Answer(a.sdp(), loop4); err != nil {
		t.Fatal(err)
	}
	settle(p.shard)
	a.say("echo")
	for {
		if b := a.next(a.rtp); len(b) < 100 { // after what was on its way
			break
		}
	}
}

func TestPlayRefusesAPhoneOfUnknownCodecsAndEchoDoesNot(t *testing.T) {
	e := startEngine(t, nil)
	a := newPhone(t, loop4)
	offer := []byte(strings.Replace(string(a.sdp("a=rtpmap:96 iLBC/8000")), "0 8 101", "96", 1))
	p := startEndpoint(t, e)
	if err := p.Play("music"); err != nil {
		t.Fatal(err)
	}
	_, err := p.Answer(offer, loop4)
	if r, ok := err.(*RejectError); !ok || r.Status != 488 || !strings.HasPrefix(r.Warning, "305 ") {
		t.Errorf("got %v", err)
	}
	p.Echo()
	answer, err := p.Answer(offer, loop4)
	if err != nil || !hasLine(answer, "a=rtpmap:96 iLBC/8000") {
		t.Errorf("%v\n%s", err, answer)
	}
}

func TestMusicIsNotSentToAnAddressThatSignallingMakesImplausible(t *testing.T) {
	e := startEngine(t, nil)
	p, victim, caller := startEndpoint(t, e), newPhone(t, loop4), newPhone(t, loop4)
	if err := p.Play("music"); err != nil {
		t.Fatal(err)
	}
	// A caller somewhere on the Internet names a service on our own host.
	if _, err := p.Answer(victim.sdp(), netip.MustParseAddr("203.0.113.9")); err != nil {
		t.Fatal(err)
	}
	for p.Stats().Media[0].Sides[A].Drops[DropUnlatched] < 3 {
		caller.next(startTone(t, e, caller)) // the pace of another player is our clock
	}
	victim.hasNothing(victim.rtp)
	if got := p.Stats().Media[0].Sides[A].Forwarded; got != 0 {
		t.Errorf("%d packets sent", got)
	}
}

// startTone plays to a phone and gives the socket that hears it.
func startTone(t *testing.T, e *Engine, to *phone) *net.UDPConn {
	t.Helper()
	if to.seq == 0 {
		to.seq = 1
		p := startEndpoint(t, e)
		if err := p.Play("tone:dial"); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Answer(to.sdp(), loop4); err != nil {
			t.Fatal(err)
		}
	}
	return to.rtp
}

func TestInviteWithoutOfferGetsOurs(t *testing.T) {
	e := startEngine(t, nil)
	p, a := startEndpoint(t, e), newPhone(t, loop6)
	if err := p.Play("tone:dial"); err != nil {
		t.Fatal(err)
	}
	if err := p.Accept(a.sdp(), loop6); err != ErrNoOffer {
		t.Errorf("got %v", err)
	}
	offer, err := p.Offer(loop6)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(offer)
	if err := p.Accept([]byte(strings.Replace(string(a.sdp()), "0 8 101", "8 101", 1)), loop6); err != nil {
		t.Fatal(err)
	}
	if b := a.next(a.rtp); b[1]&0x7f != payloadPCMA || len(b) != 172 {
		t.Errorf("got %x", b[:12])
	}
}

func TestEndpointReportsWhatItSent(t *testing.T) {
	l := &leg{app: newApp(), ready: true, open: true, mux: true}
	l.quality.packet(&rtpHeader{seq: 1, ssrc: 77}, 0, 8000)
	r := &relay{epoch: 1_700_000_000_500_000_000}
	l.app.packets, l.app.octets = 3, 480
	b := l.app.words[:l.app.compose(r, l)]
	if _, ok := parseRTCP(b); !ok {
		t.Fatalf("malformed: %x", b)
	}
	if got := binary.BigEndian.Uint32(b[8:]); got != 1_700_000_000+ntpEpoch {
		t.Errorf("NTP seconds %d", got)
	}
	if got := binary.BigEndian.Uint32(b[12:]); got != 1<<31 {
		t.Errorf("NTP fraction %x", got)
	}
	if binary.BigEndian.Uint32(b[20:]) != 3 || binary.BigEndian.Uint32(b[24:]) != 480 || binary.BigEndian.Uint32(b[28:]) != 77 {
		t.Errorf("%x", b)
	}
}

func TestLatePlayerSkipsInsteadOfBursting(t *testing.T) {
	l := &leg{app: newApp()}
	s := newShard(func() int64 { return 0 }, 0, 1)
	s.enlist(l, &loop{codec: audio.PCMU, body: make([]byte, 10*frameSamples)}, payloadPCMU)
	stamp, seq := l.app.stamp, l.app.seq
	l.ready, l.hears = true, true
	s.play(50)
	if got := l.app.stamp - stamp; got != 50*frameSamples {
		t.Errorf("the clock went on by %d", got)
	}
	if got := l.app.seq - seq; got != catchUp {
		t.Errorf("%d packets for 50 missed beats", got)
	}
	if got := s.lateTicks.Load(); got != 50-catchUp {
		t.Errorf("%d skips counted", got)
	}
	s.delist(l)
	s.delist(l)
	if len(s.players) != 0 {
		t.Error("still listed")
	}
}

func TestSoundsAreLoopsOfWholeFramesAtASaneLevel(t *testing.T) {
	s := newSounds(&Config{})
	for _, name := range []string{"music", "tone:ring", "tone:busy", "tone:congestion", "tone:dial", "tone:info", "tone:ring:de", "tone:dial:it", "tone:info:at", "tone:ring:jp"} {
		snd, err := s.take(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(snd.pcmu)%frameSamples != 0 || len(snd.pcma) != len(snd.pcmu) {
			t.Errorf("%s: %d samples", name, len(snd.pcmu))
		}
		var peak, power float64
		for i, code := range snd.pcmu {
			v := float64(audio.DecodeUlaw(code))
			if math.Abs(v-float64(audio.DecodeAlaw(snd.pcma[i]))) > 1100 {
				t.Fatalf("%s: the laws disagree at %d", name, i)
			}
			peak, power = max(peak, math.Abs(v)), power+v*v
		}
		rms := math.Sqrt(power / float64(len(snd.pcmu)))
		if peak > 17000 || rms < 1000 || rms > 5000 {
			t.Errorf("%s: peak %.0f, rms %.0f", name, peak, rms)
		}
	}
}

func TestBusyToneIs400Hertz(t *testing.T) {
	samples := must(generate("tone:busy"))[:3000]
	power := func(hz float64) float64 { // Goertzel's sum, written plainly
		var re, im float64
		for i, v := range samples {
			re += float64(v) * math.Cos(2*math.Pi*hz*float64(i)/sampleRate)
			im += float64(v) * math.Sin(2*math.Pi*hz*float64(i)/sampleRate)
		}
		return re*re + im*im
	}
	if power(400) < 1000*power(440) || power(400) < 1000*power(350) {
		t.Error("not 400 Hz")
	}
	quiet := must(generate("tone:busy"))[3000:6000]
	for _, v := range quiet {
		if v != 0 {
			t.Fatal("the pause is not silent")
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestMelodyHasNoStepAtItsSeam(t *testing.T) {
	m := melody()
	seam := math.Abs(float64(m[0]) - float64(m[len(m)-1]))
	if seam > 1500 {
		t.Errorf("a step of %.0f", seam)
	}
	if len(m) != 16*sampleRate {
		t.Errorf("%d samples", len(m))
	}
}

func TestEndpointReportsSilenceOfItsPhone(t *testing.T) {
	e := startEngine(t, nil)
	var got []Side
	p, err := e.NewEndpoint(SessionConfig{OnSilence: func(side Side, _ time.Duration) { got = append(got, side) }})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Echo()
	a := newPhone(t, loop4)
	if _, err := p.Answer(a.sdp(), loop4); err != nil {
		t.Fatal(err)
	}
	settle(p.shard)
	for range 2 {
		e.sweep(e.now() + int64(2*time.Minute))
	}
	if len(got) != 1 || got[0] != A {
		t.Errorf("got %v", got)
	}
}

func TestClosedEndpointRefuses(t *testing.T) {
	e := startEngine(t, nil)
	p, a := startEndpoint(t, e), newPhone(t, loop4)
	p.Close()
	p.Close()
	p.Echo()
	if _, err := p.Answer(a.sdp(), loop4); err != ErrClosed {
		t.Errorf("Answer: %v", err)
	}
	if _, err := p.Offer(loop4); err != ErrClosed {
		t.Errorf("Offer: %v", err)
	}
	if err := p.Accept(a.sdp(), loop4); err != ErrClosed {
		t.Errorf("Accept: %v", err)
	}
	if err := p.Play("music"); err != ErrClosed {
		t.Errorf("Play: %v", err)
	}
}

// What we offer is what can be played and mixed here, in the order of media.codecs.
func TestOurOfferHasAllThatCanBePlayed(t *testing.T) {
	opus := audio.Open("").Encodes(audio.Opus)
	for _, c := range []struct {
		policy     CodecPolicy
		with, bare string // with libopus, and without
	}{
		{CodecPolicy{}, "0 8 9 111 101 110", "0 8 9 101"},
		{CodecPolicy{Only: []string{"opus", "PCMA", "VP8"}}, "111 8 110 101", "8 101"},
		{CodecPolicy{Only: []string{"G722", "PCMU"}, Block: []string{"telephone-event"}}, "9 0", "9 0"},
		{CodecPolicy{Only: []string{"G729"}}, "0 8 101", "0 8 101"},
	} {
		e := startEngine(t, func(cfg *Config) { cfg.Codecs = c.policy })
		p := startEndpoint(t, e)
		offer, err := p.Offer(loop4)
		want := c.with
		if !opus {
			want = c.bare
		}
		if got := mline(string(offer)); err != nil || got != "m=audio PORT RTP/AVP "+want {
			t.Errorf("%+v: %s, want %s; %v", c.policy, got, want, err)
		}
	}
}

// A phone that takes nothing but G.722 of our offer hears us in it.
func TestAnswerInG722ToOurOfferIsPlayedTo(t *testing.T) {
	e := startEngine(t, nil)
	p, a := startEndpoint(t, e), newPhone(t, loop4)
	if err := p.Play("tone:dial"); err != nil {
		t.Fatal(err)
	}
	offer, err := p.Offer(loop4)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(offer)
	if err := p.Accept(a.formats("9 101", "a=rtpmap:101 telephone-event/8000"), loop4); err != nil {
		t.Fatal(err)
	}
	if b := a.next(a.rtp); b[1]&0x7f != 9 || len(b) != 172 {
		t.Errorf("got %x", b[:12])
	}
}
