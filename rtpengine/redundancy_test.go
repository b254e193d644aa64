package rtpengine

import (
	"bytes"
	"math"
	"strings"
	"testing"

	audio "tandem/rtpengine/codec"
)

// repeating puts what was said before in front of what is said now, as RFC 2198 §3 has it; all bodies are of the same payload type, and each is ticks
// units of the clock long.
func repeating(payload uint8, ticks int, bodies ...[]byte) []byte {
	var heads, rest []byte
	for i, body := range bodies {
		if before := (len(bodies) - 1 - i) * ticks; before > 0 {
			heads = append(heads, 0x80|payload, byte(before>>6), byte(before<<2)|byte(len(body)>>8), byte(len(body)))
		} else {
			heads = append(heads, payload)
		}
		rest = append(rest, body...)
	}
	return append(heads, rest...)
}

// level is 20 ms of A-law at a level that tells the packet's number.
func level(n int) []byte {
	return bytes.Repeat([]byte{audio.EncodeAlaw(int16(n * 1000))}, frameSamples)
}

func TestRedundancyMakesUpForLossesWhereACallIsTranscoded(t *testing.T) {
	e := startEngine(t, transcoding)
	a, b := newSpeaker(t, audio.PCMA, 63), newSpeaker(t, audio.PCMU, 0)
	s := quietSession(t, e)
	defer s.Close()
	_, told := settleOn(t, s, a.phone, b.phone, a.formats("63 8", "a=rtpmap:63 red/8000", "a=fmtp:63 8/8/8"), b.formats("0"))
	if got := mline(told); got != "m=audio PORT RTP/AVP 63 8" || !strings.Contains(told, "a=fmtp:63 8/8/8\r\n") {
		t.Errorf("%s in\n%s", got, told)
	}
	lost := map[int]bool{4: true, 8: true, 9: true, 13: true, 14: true, 15: true} // of the last three one is in no packet that comes
	atOnce(s, func() {
		for n := 1; n <= 22; n++ {
			a.seq++
			if !lost[n] {
				body := repeating(8, frameSamples, level(max(1, n-2)), level(max(1, n-1)), level(n))
				a.raw(a.rtp, a.to, packet(63, a.seq, uint32(n*frameSamples), a.ssrc, string(body)))
			}
		}
	})
	for n := 1; n <= 22; n++ {
		_, pcm := b.listen(0)
		if got := int(math.Round(float64(pcm[159]) / 1000)); got != n && n != 13 {
			t.Errorf("packet %d: heard %d", n, got)
		}
	}
	if st := e.Stats().Coders; st.Repeated != 5 || st.Concealed != 1 || st.Failed != 0 {
		t.Errorf("%+v", st)
	}
	for _, body := range []string{"", "\x88", "\x88\x00\x01\xff", "\x88\x00\x00\x05\x08abc", "\x3fabc"} { // cut short, and redundancy of redundancy
		a.seq++
		a.raw(a.rtp, a.to, packet(63, a.seq, uint32(a.seq)*frameSamples, a.ssrc, body))
	}
	a.seq++
	a.raw(a.rtp, a.to, packet(63, a.seq, uint32(a.seq)*frameSamples, a.ssrc, string(repeating(8, frameSamples, level(7)))))
	if _, pcm := b.listen(0); len(pcm) != frameSamples {
		t.Errorf("%d samples", len(pcm))
	}
}

func TestRecordingHearsLostPacketsFromRedundancy(t *testing.T) {
	b := newBench(t, RecordingConfig{})
	b.rec.tap.words[0].Store(&vocabulary{63: redundantSound, payloadPCMU: mediumOf(audio.PCMU)})
	say := func(n int) []byte {
		p := speech(arrival{n: n}, 440, 0)
		return p[12:]
	}
	const packets = 100
	for n := range packets {
		b.now = int64(n)*20*ms + 1
		if n%10 == 0 {
			b.recorder.step()
		}
		if n%3 == 1 || n%20 == 11 { // one of three, and now and then two on end
			continue
		}
		body := repeating(payloadPCMU, frameSamples, say(max(0, n-2)), say(max(0, n-1)), say(n))
		if n < 2 {
			body = repeating(payloadPCMU, frameSamples, say(n))
		}
		p := packet(63, uint16(n), 0xffffff00+uint32(n*frameSamples), 7, string(body))
		h, _ := parseRTP(p)
		b.rec.tap.put(0, &h, p, b.now)
	}
	left, _ := b.end()
	if got := share(left[:(packets-1)*frameSamples], sampleRate, 440); got < 0.99 {
		t.Errorf("the tone is %.3f of what was recorded", got)
	}
	if n := b.rec.tap.foreign.Load(); n != 0 {
		t.Errorf("%d packets were of nothing that is known", n)
	}
}

// A phone that would send redundancy to us sends its codec alone where we answer ourselves: nobody there needs more.
func TestEndpointTakesNoRedundancy(t *testing.T) {
	for _, echo := range []bool{false, true} {
		e := startEngine(t, nil)
		p, a := startEndpoint(t, e), newPhone(t, loop4)
		if echo {
			p.Echo()
		}
		answer, err := p.Answer(a.formats("63 0", "a=rtpmap:63 red/8000", "a=fmtp:63 0/0"), loop4)
		if got := mline(string(answer)); err != nil || got != "m=audio PORT RTP/AVP 0" {
			t.Errorf("echo %v: %s, %v", echo, got, err)
		}
	}
}

func FuzzRedundancy(f *testing.F) {
	f.Add(repeating(8, frameSamples, level(1), level(2)))
	f.Add([]byte{0x88, 0, 0, 5, 8, 1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, ok := openRedundancy(b)
		if !ok {
			return
		}
		size, last := 0, false
		for p, more := list.next(); more; p, more = list.next() {
			if last || p.before > 1<<14 || p.payload > 127 {
				t.Fatalf("%+v", p)
			}
			last = len(list.heads) == 0
			size += len(p.body)
		}
		if !last || size > len(b) {
			t.Fatalf("%d octets of %d, the last was there: %v", size, len(b), last)
		}
	})
}
