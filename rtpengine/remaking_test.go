package rtpengine

import (
	"bytes"
	"strings"
	"testing"

	audio "tandem/rtpengine/codec"
)

// remade has startEngine convert what phones of one codec take differently, and add nothing to offers for any other reason.
func remade(keys, times bool) func(*Config) {
	return func(c *Config) { c.Transcode = TranscodeConfig{Keys: keys, PacketTimes: times} }
}

var hush = bytes.Repeat([]byte{0xff}, frameSamples) // silence in PCMU

const eventLine = "a=rtpmap:101 telephone-event/8000"

func TestPacketsAreAsLongAsEachPhoneAsks(t *testing.T) {
	e := startEngine(t, remade(false, true))
	a, b := newSpeaker(t, audio.PCMU, 0), newSpeaker(t, audio.PCMU, 0)
	s := quietSession(t, e)
	defer s.Close()
	settleOn(t, s, a.phone, b.phone, a.formats("0 8", "a=ptime:20"), b.formats("0 8", "a=ptime:60"))
	for range 2 {
		for range 3 {
			a.hum(500)
		}
		if _, pcm := b.listen(0); len(pcm) != 480 {
			t.Errorf("%d samples, want 60 ms", len(pcm))
		}
	}
	b.sends, b.kind = 8, audio.PCMA // another codec of the answer
	b.sound(make([]byte, 480))
	for range 3 {
		if _, pcm := a.listen(0); len(pcm) != 160 {
			t.Errorf("%d samples, want 20 ms", len(pcm))
		}
	}
	// Phones that ask for the same are not transcoded, and a wish that nobody has leaves packets as they come.
	settleOn(t, s, a.phone, b.phone, a.formats("0", "a=ptime:30"), b.formats("0", "a=ptime:30"))
	a.sound([]byte("relayed"))
	if got := b.next(b.rtp); string(got[12:]) != "relayed" {
		t.Errorf("% x", got)
	}
	if st := e.Stats().Coders; st.Calls+st.Streams != 0 || st.Failed != 0 {
		t.Errorf("%+v", st)
	}
}

func TestAProxyAsksForTheLengthOfPackets(t *testing.T) {
	e := startEngine(t, remade(false, false))
	a, b := newSpeaker(t, audio.G722, 9), newSpeaker(t, audio.G722, 9)
	s := quietSession(t, e)
	defer s.Close()
	out, err := s.OfferWith(A, a.formats("9"), loop4, loop4, OfferOptions{PacketTime: 40, PacketTimeBack: 10, Lend: &[]string{}})
	if err != nil {
		t.Fatal(err)
	}
	b.dial(out)
	back, err := s.Answer(B, b.formats("9", "a=ptime:20"), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(back)
	a.hum(500)
	a.hum(500)
	if _, pcm := b.listen(9); len(pcm) != 640 {
		t.Errorf("%d samples, want 40 ms", len(pcm))
	}
	b.hum(500)
	for range 2 {
		if _, pcm := a.listen(9); len(pcm) != 160 {
			t.Errorf("%d samples, want 10 ms", len(pcm))
		}
	}
}

// keyed has a phone press a key for 100 ms as RFC 4733 says, with its end three times, and go on humming.
func (s *speaker) keyed(code uint8) {
	begin := s.stamp
	step := uint32(s.kind.Clock() / 50)
	for i := range 7 {
		s.seq++
		duration := min(uint32(i+1), 5) * step
		body := []byte{code, 10, byte(duration >> 8), byte(duration)}
		if i >= 4 {
			body[1] |= 0x80
		}
		s.raw(s.rtp, s.to, packet(101, s.seq, begin, s.ssrc, string(body)))
	}
	s.stamp += 5 * step
}

// tones are the keys that are heard in the next packets.
func (s *speaker) tones(payload uint8, packets int) (keys string) {
	var ear toneEar
	rates := audio.NewResampler(s.hears.Rate(), sampleRate)
	for range packets {
		_, pcm := s.listen(payload)
		if key, _ := ear.hear(rates.Run(nil, pcm)); key != 0 {
			keys += string(key)
		}
	}
	return keys
}

// dials has a phone send a key as a tone of 100 ms between silence, as a payload of 20 ms each.
func (s *speaker) dials(key byte) {
	for i := range 10 {
		var pcm [frameSamples]int16
		if i > 1 {
			dtmfTone(pcm[:], key, (i-2)*frameSamples, 5*frameSamples)
		}
		body := make([]byte, frameSamples)
		for i, v := range pcm {
			body[i] = audio.EncodeUlaw(v)
		}
		s.sound(body)
	}
}

// events are the keys of the whole events among the next packets.
func (s *speaker) events(payload uint8, packets int) (keys string) {
	var ear eventEar
	for range packets {
		b := s.next(s.rtp)
		if h, _ := parseRTP(b); h.payload == payload {
			if code, _, ok := ear.event(&h, b[h.body:]); ok {
				keys += string(dtmfKeys[code])
			}
		}
	}
	return keys
}

// One phone takes telephone-event alone, the other tones alone, whoever of them calls.
func TestKeysAreConvertedBetweenEventsAndTones(t *testing.T) {
	for _, calls := range []bool{true, false} {
		e := startEngine(t, remade(true, false))
		modern, old := newSpeaker(t, audio.PCMU, 0), newSpeaker(t, audio.PCMU, 0)
		s := quietSession(t, e)
		if calls {
			_, told := settleOn(t, s, modern.phone, old.phone, modern.formats("0 101", eventLine), old.formats("0"))
			if !strings.Contains(told, "telephone-event") {
				t.Errorf("who takes events is not told of them:\n%s", told)
			}
		} else {
			shown, _ := settleOn(t, s, old.phone, modern.phone, old.formats("0"), modern.formats("0 101", eventLine))
			if got := mline(shown); got != "m=audio PORT RTP/AVP 0 8 101" || !strings.Contains(shown, eventLine) {
				t.Errorf("offered\n%s", shown)
			}
		}
		modern.hum(300)
		modern.keyed(5)
		for range 6 {
			modern.sound(hush)
		}
		if got := old.tones(0, 12); got != "5" {
			t.Errorf("modern calls %v: tones %q", calls, got)
		}
		old.dials('7')
		if got := modern.events(101, 14); got != "7" {
			t.Errorf("modern calls %v: events %q", calls, got)
		}
		s.Close()
	}
}

// Where a call is transcoded a key is never lost for want of telephone-event on the other side.
func TestKeysBecomeTonesWhereACallIsTranscoded(t *testing.T) {
	e := startEngine(t, transcoding)
	a, b := newSpeaker(t, audio.PCMU, 0), newSpeaker(t, audio.G722, 9)
	s := quietSession(t, e)
	defer s.Close()
	settleOn(t, s, a.phone, b.phone, a.formats("0 101", eventLine), b.formats("9"))
	for range 3 {
		a.sound(hush)
	}
	a.keyed(11)
	for range 6 {
		a.sound(hush)
	}
	if got := b.tones(9, 14); got != "#" {
		t.Errorf("heard %q", got)
	}
	if st := e.Stats().Coders; st.Failed != 0 {
		t.Errorf("%+v", st)
	}
}
