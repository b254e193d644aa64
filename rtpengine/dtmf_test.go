package rtpengine

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	audio "tandem/rtpengine/codec"
)

// twoTones makes a tone of two frequencies at levels in dBm0.
func twoTones(low, high, lowLevel, highLevel float64, length int) []int16 {
	peak := func(level float64) float64 { return 32124 * math.Pow(10, (level-3.14)/20) }
	out := make([]int16, length)
	for i := range out {
		turn := 2 * math.Pi * float64(i) / sampleRate
		v := peak(lowLevel)*math.Sin(turn*low) + peak(highLevel)*math.Sin(turn*high+1)
		out[i] = int16(max(-32768, min(32767, v)))
	}
	return out
}

func silence(ms int) []int16 { return make([]int16, ms*8) }

// spell gives what an ear hears in samples, through G.711 and in packets of 20 ms.
func spell(samples []int16) string {
	var ear toneEar
	var out []byte
	samples = append(samples, silence(60)...)
	for len(samples) > 0 {
		n := min(len(samples), frameSamples)
		frame := make([]int16, n)
		for i, v := range samples[:n] {
			frame[i] = audio.DecodeUlaw(audio.EncodeUlaw(v))
		}
		if key, _ := ear.hear(frame); key != 0 {
			out = append(out, key)
		}
		samples = samples[n:]
	}
	return string(out)
}

// ITU-T Q.24 annex A: what a receiver must take and what it must not. Every case is tried for all keys at many offsets to the blocks.
func TestTonesAreHeardWithinTheLimitsOfQ24AndNotBeyond(t *testing.T) {
	t.Parallel()
	const ms = 8
	for _, c := range []struct {
		name      string
		low, high float64 // off, relative
		levels    [2]float64
		length    int
		want      bool
	}{
		{"usual", 0, 0, [2]float64{-10, -8}, 70 * ms, true},
		{"40 ms", 0, 0, [2]float64{-10, -8}, 40 * ms, true},
		{"loud", 0, 0, [2]float64{-3, -3}, 50 * ms, true},
		{"faint", 0, 0, [2]float64{-25, -25}, 50 * ms, true},
		{"both 1.5 % high", 0.015, 0.015, [2]float64{-10, -10}, 50 * ms, true},
		{"both 1.5 % low", -0.015, -0.015, [2]float64{-10, -10}, 50 * ms, true},
		{"against each other", 0.015, -0.015, [2]float64{-10, -10}, 50 * ms, true},
		{"high 4 dB stronger", 0, 0, [2]float64{-14, -10}, 50 * ms, true},
		{"high 8 dB weaker", 0, 0, [2]float64{-8, -16}, 50 * ms, true},
		{"23 ms", 0, 0, [2]float64{-10, -8}, 23 * ms, false},
		{"too faint", 0, 0, [2]float64{-45, -45}, 100 * ms, false},
		{"low 3.5 % off", 0.035, 0, [2]float64{-10, -10}, 100 * ms, false},
		{"high 3.5 % off", 0, 0.035, [2]float64{-10, -10}, 100 * ms, false},
		{"both 3.5 % off", -0.035, -0.035, [2]float64{-10, -10}, 100 * ms, false},
		{"high 12 dB stronger", 0, 0, [2]float64{-20, -8}, 100 * ms, false},
		{"low 16 dB stronger", 0, 0, [2]float64{-8, -24}, 100 * ms, false},
	} {
		for i := range 16 {
			key := dtmfPad[i]
			low, high, _ := dtmfPair(key)
			for offset := 0; offset < earBlock; offset += 7 {
				tone := twoTones(dtmfHertz[low]*(1+c.low), dtmfHertz[high]*(1+c.high), c.levels[0], c.levels[1], c.length)
				want := ""
				if c.want {
					want = string(key)
				}
				if got := spell(append(make([]int16, 4*earBlock+offset), tone...)); got != want {
					t.Errorf("%s, key %c, offset %d: heard %q", c.name, key, offset, got)
					break
				}
			}
		}
	}
}

func TestDigitsInARowAreToldApartAndAShortBreakIsNone(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var said []byte
	var samples []int16
	for range 300 {
		key := dtmfPad[random.IntN(16)]
		said = append(said, key)
		tone := make([]int16, (40+random.IntN(60))*8)
		dtmfTone(tone, key, 0, len(tone))
		samples = append(append(samples, tone...), silence(40+random.IntN(30))...)
	}
	if got := spell(samples); got != string(said) {
		t.Errorf("heard %d of %d\n%s\n%s", len(got), len(said), got, said)
	}
	for offset := range earBlock {
		tone := make([]int16, 200*8)
		dtmfTone(tone, '5', 0, len(tone))
		clear(tone[90*8 : 100*8]) // Q.24: an interruption of up to 10 ms
		if got := spell(append(make([]int16, offset), tone...)); got != "5" {
			t.Fatalf("offset %d: an interruption makes %q", offset, got)
		}
	}
}

func TestDigitsAreHeardInNoise(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	tone := twoTones(770, 1336, -10, -10, 60*8)
	heard := 0
	for range 500 {
		samples := append(append(silence(40), tone...), silence(60)...)
		for i := range samples { // 15 dB below the tones
			samples[i] += int16(random.NormFloat64() * 32124 / math.Sqrt2 * math.Pow(10, (-7-15-3.14)/20))
		}
		if spell(samples) == "5" {
			heard++
		}
	}
	if heard < 498 {
		t.Errorf("%d of 500 heard", heard)
	}
}

// Speech must not sound like digits. What stands in for it here is a voice that never pauses: harmonics through three formants, the first
// two always where the tones of keys are.
func TestVoicesAndMusicAreNoDigits(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	const length = 2 * time.Minute
	const n = int(length/time.Second) * sampleRate
	var ear toneEar
	told := 0
	frame := make([]int16, frameSamples)
	var pitch, glide, phase, level float64
	var formants [3]float64
	var parts [43]float64
	for at := 0; at < n; at += frameSamples {
		if at/frameSamples%8 == 0 {
			pitch, glide, level = 80+random.Float64()*220, 1+random.NormFloat64()*0.00001, 4000*random.Float64()
			formants = [3]float64{600 + random.Float64()*400, 1100 + random.Float64()*700, 2200 + random.Float64()*600}
		}
		for k := range parts {
			hertz, v := float64(k)*pitch, 0.0
			for i, f := range formants {
				v += 1 / math.Sqrt(1+math.Pow((hertz-f)/50, 2)) / float64(i+1) // a resonance 100 Hz wide
			}
			if parts[k] = v; k == 0 || hertz > 3400 {
				parts[k] = 0
			}
		}
		for i := range frame {
			phase += 2 * math.Pi * pitch / sampleRate
			v := 0.0
			for k, part := range parts {
				if part > 0 {
					v += part * math.Sin(float64(k)*phase)
				}
			}
			frame[i] = int16(level*v + 20*random.NormFloat64())
			pitch *= glide
		}
		if key, _ := ear.hear(frame); key != 0 {
			told++
		}
	}
	if told > 2 {
		t.Errorf("a voice of %v made %d digits", length, told)
	}
	music := melody()
	for at := 0; at+frameSamples <= len(music); at += frameSamples {
		if key, _ := ear.hear(music[at : at+frameSamples]); key != 0 {
			t.Errorf("our own music sounds like %c at %d", key, at)
		}
	}
	for name := range map[string]bool{"dial": true, "ring": true, "busy": true, "info": true, "dial:us": true, "busy:us": true} {
		if got := spell(must(generate("tone:" + name))); got != "" {
			t.Errorf("tone:%s sounds like %q", name, got)
		}
	}
}

func BenchmarkToneEar(b *testing.B) {
	var ear toneEar
	frame := make([]int16, frameSamples)
	dtmfTone(frame, '5', 0, 1<<20)
	for b.Loop() {
		ear.hear(frame)
	}
}

// events are the packets of one digit as a phone sends them.
func eventPackets(ssrc uint32, seq uint16, stamp uint32, key byte, frames int) (list [][]byte) {
	for i := 1; i <= frames+2; i++ {
		b := packet(101, seq+uint16(i), stamp, ssrc, "    ")
		e := telephoneEvent{code: uint8(strings.IndexByte(dtmfKeys, key)), duration: uint16(160 * min(i, frames)), end: i >= frames}
		e.put(b[12:])
		list = append(list, b)
	}
	return list
}

func TestEventIsToldOnceWhateverIsLostRepeatedOrLate(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for run := range 200 {
		var ear eventEar
		var said, told []byte
		stamp, seq := random.Uint32(), uint16(random.Uint32())
		take := func(code uint8, duration uint32, ok bool) {
			if ok {
				told = append(told, dtmfKeys[code])
				if duration == 0 || duration > 160*12 {
					t.Errorf("run %d: %d units", run, duration)
				}
			}
		}
		for range 20 {
			key, frames := dtmfKeys[random.IntN(16)], 3+random.IntN(8)
			list := eventPackets(9, seq, stamp, key, frames)
			said = append(said, key)
			keep := random.IntN(len(list)) // one at least comes
			for i, b := range list {
				if i != keep && random.IntN(4) == 0 {
					continue
				}
				for range 1 + random.IntN(2) {
					h, _ := parseRTP(b)
					take(ear.event(&h, b[h.body:]))
				}
			}
			stamp += uint32(160 * (frames + 10))
			seq += uint16(len(list) + 10)
			h := rtpHeader{ssrc: 9, stamp: stamp - 160} // sound goes on
			take(ear.other(&h))
			late := list[random.IntN(len(list))]
			if random.IntN(3) == 0 {
				h, _ := parseRTP(late)
				take(ear.event(&h, late[h.body:]))
			}
		}
		if string(told) != string(said) {
			t.Fatalf("run %d: told %s, want %s", run, told, said)
		}
	}
}

// RFC 4733 §2.5.1.3: an event longer than the field goes on in a further segment.
func TestLongEventIsOne(t *testing.T) {
	var ear eventEar
	say := func(stamp uint32, duration uint16, end bool) (uint8, uint32, bool) {
		var b [4]byte
		telephoneEvent{code: 11, duration: duration, end: end}.put(b[:])
		return ear.event(&rtpHeader{ssrc: 1, stamp: stamp}, b[:])
	}
	for _, d := range []uint16{160, 32000, 65535} {
		if _, _, told := say(1000, d, false); told {
			t.Fatal("told too early")
		}
	}
	say(1000+65535, 160, false)
	if code, duration, told := say(1000+65535, 1600, true); !told || code != 11 || duration != 65535+1600 {
		t.Errorf("%d for %d, %v", code, duration, told)
	}
	if _, _, told := say(1000+65535, 1600, true); told {
		t.Error("told twice")
	}
}

func FuzzTelephoneEvent(f *testing.F) {
	f.Add([]byte{5, 0x8a, 3, 0x20}, uint32(1), uint32(2))
	f.Add([]byte{5}, uint32(1), uint32(2))
	f.Fuzz(func(t *testing.T, b []byte, stamp, later uint32) {
		var ear eventEar
		for _, s := range []uint32{stamp, later, stamp, later + 160} {
			if code, _, ok := ear.event(&rtpHeader{stamp: s}, b); ok && code != b[0] {
				t.Fatalf("event %d of %x", code, b)
			}
			ear.other(&rtpHeader{stamp: s + 4000})
		}
		if e, ok := parseTelephoneEvent(b); ok {
			var out [4]byte
			e.put(out[:])
			if again, _ := parseTelephoneEvent(out[:]); again != e {
				t.Fatalf("%+v became %+v", e, again)
			}
		}
	})
}

// pressed collects what OnDigit is told.
type pressed chan Digit

func (p pressed) await(t *testing.T) Digit {
	t.Helper()
	select {
	case d := <-p:
		return d
	case <-time.After(5 * time.Second):
		t.Fatal("no digit was told")
	}
	return Digit{}
}

func listening(t *testing.T, e *Engine) (*Endpoint, pressed) {
	t.Helper()
	told := make(pressed, 16)
	p, err := e.NewEndpoint(SessionConfig{ID: t.Name(), OnDigit: func(d Digit) { told <- d }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, told
}

func (p *phone) tone(key byte, frames int) {
	p.t.Helper()
	for i := range frames + 5 {
		var samples [frameSamples]int16
		dtmfTone(samples[:], key, i*frameSamples, frames*frameSamples)
		body := make([]byte, frameSamples)
		for k, v := range samples {
			body[k] = audio.EncodeUlaw(v)
		}
		p.say(string(body))
	}
}

func TestEndpointHearsEventsAndWithoutThemTones(t *testing.T) {
	e := startEngine(t, nil)
	p, told := listening(t, e)
	a := newPhone(t, loop4)
	answer, err := p.Answer(a.sdp(), loop4)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(answer)
	settle(p.shard)
	a.tone('4', 5) // its phone has agreed on events: what sounds like a digit is none
	for _, b := range eventPackets(a.ssrc, a.seq, 160*uint32(a.seq), '#', 6) {
		a.raw(a.rtp, a.to, b)
	}
	if d := told.await(t); d != (Digit{A, '#', 120 * time.Millisecond, ViaEvent}) {
		t.Errorf("%+v", d)
	}
	offer := strings.Replace(string(a.sdp()), " 101\r\n", "\r\n", 1)
	if answer, err = p.Answer([]byte(strings.Replace(offer, "a=rtpmap:101 telephone-event/8000\r\n", "", 1)), loop4); err != nil {
		t.Fatal(err)
	}
	if hasLine(answer, "a=rtpmap:101") {
		t.Error("events are agreed on")
	}
	settle(p.shard)
	a.seq += 20
	a.tone('7', 5)
	if d := told.await(t); d.Key != '7' || d.Via != ViaTone || d.Duration < 60*time.Millisecond || d.Duration > 140*time.Millisecond {
		t.Errorf("%+v", d)
	}
	st := e.Stats()
	if st.Digits[ViaEvent] != 1 || st.Digits[ViaTone] != 1 || st.Untold != 0 {
		t.Errorf("%+v", st.Digits)
	}
}

// digitsOf reads what a phone hears until it has as many digits as wanted.
func (p *phone) digitsOf(n int, events bool) string {
	p.t.Helper()
	var ear toneEar
	var follow eventEar
	var out []byte
	for range 400 {
		b := p.next(p.rtp)
		h, ok := parseRTP(b)
		if !ok {
			p.t.Fatalf("%x", b)
		}
		switch {
		case events && h.payload == 101:
			if code, duration, ok := follow.event(&h, b[12:]); ok {
				out = append(out, dtmfKeys[code])
				if duration != 800 {
					p.t.Errorf("an event of %d units", duration)
				}
			}
		case !events && h.payload == 0:
			samples := make([]int16, len(b)-12)
			for i, code := range b[12:] {
				samples[i] = audio.DecodeUlaw(code)
			}
			if key, _ := ear.hear(samples); key != 0 {
				out = append(out, key)
			}
		}
		if len(out) == n {
			return string(out)
		}
	}
	return string(out)
}

func TestEndpointDialsAsThePhoneTakesIt(t *testing.T) {
	e := startEngine(t, nil)
	for _, events := range []bool{true, false} {
		for _, playing := range []bool{true, false} {
			t.Run(fmt.Sprintf("events %v, music %v", events, playing), func(t *testing.T) {
				p, a := startEndpoint(t, e), newPhone(t, loop4)
				defer p.Close()
				if playing {
					if err := p.Play("music"); err != nil {
						t.Fatal(err)
					}
				} else {
					p.Echo()
				}
				offer := string(a.sdp())
				if !events {
					offer = strings.Replace(strings.Replace(offer, " 101\r\n", "\r\n", 1), "a=rtpmap:101 telephone-event/8000\r\n", "", 1)
				}
				answer, err := p.Answer([]byte(offer), loop4)
				if err != nil {
					t.Fatal(err)
				}
				a.dial(answer)
				if err := p.SendDigits("1,a"); err != nil {
					t.Fatal(err)
				}
				if err := p.SendDigits("x"); err != ErrDigits {
					t.Errorf("got %v", err)
				}
				if !events { // the ear needs the silence behind the last digit
					if err := p.SendDigits(","); err != nil {
						t.Fatal(err)
					}
				}
				if got := a.digitsOf(2, events); got != "1A" {
					t.Errorf("heard %q", got)
				}
				b := make([]byte, 2048)
				for range 250 { // digits over, what was before goes on
					a.say("echo?")
					_ = a.rtp.SetReadDeadline(time.Now().Add(frameTime))
					n, _ := a.rtp.Read(b)
					if playing && n == 172 && b[1]&0x7f == 0 || !playing && n > 12 && string(b[12:n]) == "echo?" {
						return
					}
				}
				t.Error("nothing but digits")
			})
		}
	}
}

func TestRelayedSideIsDialledOnThePacketsOfTheOther(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	defer s.Close()
	if err := s.SendDigits(B, "5"); err != nil {
		t.Fatal(err)
	}
	settle(s.shard)
	var list []rtpHeader
	var last telephoneEvent
	for range 12 {
		a.say(strings.Repeat("s", 160))
		got := b.next(b.rtp)
		h, _ := parseRTP(got)
		list = append(list, h)
		if h.payload == 101 {
			last, _ = parseTelephoneEvent(got[12:])
		}
	}
	for i, h := range list {
		wantEvent := i < 7 // five that grow, the last of them the end, and two more ends
		if (h.payload == 101) != wantEvent || h.seq != list[0].seq+uint16(i) || wantEvent && (h.stamp != list[0].stamp || h.marker != (i == 0)) {
			t.Errorf("packet %d: %+v", i, h)
		}
	}
	if !last.end || last.duration != 800 || last.code != 5 {
		t.Errorf("%+v", last)
	}
	if err := s.SendDigits(A, "12"); err != nil {
		t.Fatal(err)
	}
	settle(s.shard)
	for range 30 {
		b.say(strings.Repeat("s", 160))
	}
	if got := a.digitsOf(2, true); got != "12" {
		t.Errorf("heard %q", got)
	}
}
