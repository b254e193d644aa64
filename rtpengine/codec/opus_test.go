package codec

import (
	"errors"
	"math"
	"testing"
)

// withOpus is the library with libopus; what encodes Opus is tested where it is installed.
func withOpus(t testing.TB) *Library {
	t.Helper()
	l := Open("")
	if err := l.Missing(); err != nil {
		t.Skip(err)
	}
	return l
}

// packets are n frames of 20 ms of a sound, encoded.
func packets(t testing.TB, e Encoder, pcm []int16) (out [][]byte) {
	t.Helper()
	frame := e.Rate() / 50
	for ; len(pcm) >= frame; pcm = pcm[frame:] {
		var b [1500]byte
		n, err := e.Encode(b[:], pcm[:frame])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, append([]byte(nil), b[:n]...))
	}
	return out
}

func TestWithoutTheLibraryOpusIsHeardButNotSpoken(t *testing.T) {
	for _, path := range []string{"none", "/there/is/no/libopus.so"} {
		l := Open(path)
		if l.Missing() == nil || l.Version() != "" || l.Encodes(Opus) || !l.Decodes(Opus) || !l.Encodes(G722) {
			t.Errorf("%s: missing %v, encodes %v", path, l.Missing(), l.Encodes(Opus))
		}
		if _, err := l.NewEncoder(Opus, 8000); !errors.Is(err, ErrMissing) {
			t.Errorf("%s: got %v", path, err)
		}
		if _, err := l.NewDecoder(Opus, 8000); err != nil {
			t.Error(err)
		}
	}
	if _, err := Open("none").NewDecoder(Opus, 44100); !errors.Is(err, ErrRate) {
		t.Errorf("44,100 Hz: got %v", err)
	}
}

func TestATellTaleToneComesThroughOpusAtEveryRate(t *testing.T) {
	l := withOpus(t)
	for _, in := range []int{8000, 16000, 48000} {
		sent := packets(t, mustEncoder(t, l, Opus, in), tone(in, 1000, 8000, 0, in/2))
		for _, out := range []int{8000, 16000, 48000} {
			for name, d := range map[string]Decoder{"libopus": mustDecoder(t, l, Opus, out), "pion": mustDecoder(t, Open("none"), Opus, out)} {
				var heard []int16
				for _, p := range sent {
					var pcm [MaxSamples]int16
					n, err := d.Decode(pcm[:], p)
					if err != nil || n != out/50 || d.Samples(p) != n {
						t.Fatalf("%s %d->%d: %d samples, %v", name, in, out, n, err)
					}
					heard = append(heard, pcm[:n]...)
				}
				if got := share(heard[out/5:], out, 1000); got < 0.95 {
					t.Errorf("%s %d->%d: the tone is %.3f of what is heard", name, in, out, got)
				}
			}
		}
	}
}

// Both decoders are of RFC 6716, so what they make of the same packets differs by rounding alone.
func TestBothOpusDecodersAgree(t *testing.T) {
	l := withOpus(t)
	for _, rate := range []int{8000, 16000, 48000} {
		sent := packets(t, mustEncoder(t, l, Opus, rate), voice(rate, rate))
		a, b := mustDecoder(t, l, Opus, rate), mustDecoder(t, Open("none"), Opus, rate)
		var one, two []int16
		for _, p := range sent {
			var x, y [MaxSamples]int16
			n, err1 := a.Decode(x[:], p)
			m, err2 := b.Decode(y[:], p)
			if err1 != nil || err2 != nil || n != m {
				t.Fatalf("%d Hz: %d %v, %d %v", rate, n, err1, m, err2)
			}
			one, two = append(one, x[:n]...), append(two, y[:m]...)
		}
		if got := snr(one, two); got < 25 {
			t.Errorf("%d Hz: they differ by %.1f dB", rate, got)
		}
	}
}

func TestWhatIsLostOfOpusComesBackFromTheNextPacket(t *testing.T) {
	l := withOpus(t)
	const rate = 16000
	pcm := voice(rate, 2*rate)
	e := mustEncoder(t, l, Opus, rate)
	e.(Redundant).Expect(10)
	sent := packets(t, e, pcm)
	listen := func(how func(d Decoder, dst []int16, next []byte)) (out []int16) {
		d := mustDecoder(t, l, Opus, rate)
		for i, p := range sent {
			var frame [MaxSamples]int16
			if i%10 == 7 && i+1 < len(sent) {
				how(d, frame[:rate/50], sent[i+1])
				out = append(out, frame[:rate/50]...)
				continue
			}
			n, err := d.Decode(frame[:], p)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, frame[:n]...)
		}
		return out
	}
	whole := func() (out []int16) {
		d := mustDecoder(t, l, Opus, rate)
		for _, p := range sent {
			var frame [MaxSamples]int16
			n, _ := d.Decode(frame[:], p)
			out = append(out, frame[:n]...)
		}
		return out
	}()
	recovered := snr(whole, listen(func(d Decoder, dst []int16, next []byte) {
		if !d.Recover(dst, next) {
			t.Error("no redundancy")
		}
	}))
	concealed := snr(whole, listen(func(d Decoder, dst []int16, _ []byte) { d.Conceal(dst) }))
	silent := snr(whole, listen(func(_ Decoder, dst []int16, _ []byte) { clear(dst) }))
	t.Logf("10 %% lost: recovered %.1f dB, concealed %.1f dB, silent %.1f dB", recovered, concealed, silent)
	if !(recovered > concealed+1 && concealed > silent+0.3) {
		t.Errorf("recovered %.1f dB, concealed %.1f dB, silent %.1f dB", recovered, concealed, silent)
	}
}

func TestWhoLosesNothingGetsNoRedundancy(t *testing.T) {
	l := withOpus(t)
	const rate = 8000
	pcm := voice(rate, 2*rate)
	redundant := func(expect ...int) (n int) {
		e, d := mustEncoder(t, l, Opus, rate), mustDecoder(t, l, Opus, rate)
		for _, percent := range expect {
			e.(Redundant).Expect(percent)
		}
		for _, p := range packets(t, e, pcm) {
			var frame [MaxSamples]int16
			if p[1]&0x40 != 0 { // the LBRR flag behind the one VAD flag of a packet of 20 ms (RFC 6716 §4.2.3)
				n++
			}
			if _, err := d.Decode(frame[:], p); err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	if n := redundant(); n > 0 {
		t.Errorf("%d of 100 packets repeat something from the beginning", n)
	}
	if n := redundant(10); n < 50 {
		t.Errorf("%d of 100 packets repeat something at 10 %% loss", n)
	}
	if n := redundant(10, 400, -1); n > 0 {
		t.Errorf("%d of 100 packets repeat something after the loss is over", n)
	}
}

func TestOpusTakesTheFramesItHas(t *testing.T) {
	e := mustEncoder(t, withOpus(t), Opus, 8000)
	var b [1500]byte
	for _, n := range []int{80, 160, 320, 480} {
		got, err := e.Encode(b[:], make([]int16, n))
		if err != nil || opusTime(b[:got]) != 6*n {
			t.Errorf("%d samples: %v, %d octets of %d samples", n, err, got, opusTime(b[:got])/6)
		}
	}
	for _, n := range []int{0, 1, 159, 240, 960} {
		if _, err := e.Encode(b[:], make([]int16, n)); !errors.Is(err, ErrFrame) {
			t.Errorf("%d samples: %v", n, err)
		}
	}
	if _, err := e.Encode(b[:10], make([]int16, 160)); !errors.Is(err, ErrShort) {
		t.Errorf("no room: %v", err)
	}
}

func TestOpusPacketsSayHowLongTheyAre(t *testing.T) {
	for _, c := range []struct {
		first []byte
		want  int // 48 kHz samples
	}{
		{nil, 0},
		{[]byte{0 << 3}, 480},
		{[]byte{1 << 3}, 960},
		{[]byte{3<<3 | 1}, 5760},
		{[]byte{12 << 3}, 480},
		{[]byte{15<<3 | 2}, 1920},
		{[]byte{16 << 3}, 120},
		{[]byte{31 << 3}, 960},
		{[]byte{31<<3 | 3}, 0},
		{[]byte{31<<3 | 3, 6}, 5760},
		{[]byte{31<<3 | 3, 7}, 0},
		{[]byte{31<<3 | 3, 0}, 0},
	} {
		if got := opusTime(c.first); got != c.want {
			t.Errorf("% x: got %d, want %d", c.first, got, c.want)
		}
	}
}

func TestOpusEncodersShareNothing(t *testing.T) {
	l := withOpus(t)
	done := make(chan float64)
	for range 8 {
		go func() {
			e, _ := l.NewEncoder(Opus, 8000)
			d, _ := l.NewDecoder(Opus, 8000)
			var b [1500]byte
			var pcm [MaxSamples]int16
			var heard []int16
			for i := range 40 {
				n, err := e.Encode(b[:], tone(8000, 440, 8000, i*160, 160))
				if err != nil {
					break
				}
				m, _ := d.Decode(pcm[:], b[:n])
				heard = append(heard, pcm[:m]...)
			}
			done <- share(heard, 8000, 440)
		}()
	}
	for range 8 {
		if got := <-done; got < 0.9 || math.IsNaN(got) {
			t.Errorf("the tone is %.2f of what is heard", got)
		}
	}
}
