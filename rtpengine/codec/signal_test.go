package codec

import (
	"math"
	"math/rand/v2"
	"testing"
)

// probe is sound that needs every part of a codec: silence, quiet and full-scale noise, steps from one extreme to the other. It is made
// of integers alone, so that another program can be given the very same.
func probe(n int) []int16 {
	out := make([]int16, n)
	state, slow := uint32(1), int32(0)
	for i := range out {
		state = state*1664525 + 1013904223
		noise := int32(int16(state >> 16))
		slow += (noise - slow) >> 3
		switch i * 8 / n {
		case 0:
			out[i] = int16(noise >> 12)
		case 1:
			out[i] = int16(slow >> 2)
		case 2:
			out[i] = int16(slow)
		case 3:
			out[i] = int16(noise)
		case 4:
			if i/37%2 == 0 {
				out[i] = 32767
			} else {
				out[i] = -32768
			}
		case 5: // nothing
		case 6:
			out[i] = int16((i * 257) & 0xffff) // a saw
		default:
			out[i] = int16(noise>>1 + slow>>1)
		}
	}
	return out
}

// tone is a sine, in phase across calls.
func tone(rate int, hz, amplitude float64, from, n int) []int16 {
	out := make([]int16, n)
	for i := range out {
		out[i] = int16(math.Round(amplitude * math.Sin(2*math.Pi*hz*float64(from+i)/float64(rate))))
	}
	return out
}

// voice is like a vowel: a pitch that wanders a little, with harmonics under formants, and pauses between words.
func voice(rate, n int) []int16 {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([]int16, n)
	var formants [200]float64 // in steps of 20 Hz
	for i := range formants {
		f := float64(20 * i)
		formants[i] = math.Exp(-math.Pow((f-600)/300, 2)) + 0.5*math.Exp(-math.Pow((f-1400)/400, 2)) + 0.2*math.Exp(-math.Pow((f-2500)/500, 2)) + 0.02
	}
	phase := 0.0
	for i := range out {
		t := float64(i) / float64(rate)
		pitch := 120 + 15*math.Sin(2*math.Pi*0.7*t)
		phase += 2 * math.Pi * pitch / float64(rate)
		v := 0.0
		for h := 1; float64(h)*pitch < 3400; h++ {
			f := float64(h) * pitch
			v += formants[int(f)/20] * math.Sin(float64(h)*phase)
		}
		loud := math.Max(0.02, math.Sin(2*math.Pi*1.3*t))
		out[i] = int16(math.Max(-32000, math.Min(32000, 5000*loud*v+20*r.NormFloat64())))
	}
	return out
}

// snr is how far the difference of two sounds lies below the first, in dB.
func snr(want, got []int16) float64 {
	signal, noise := 0.0, 1e-9
	for i := range want {
		d := float64(want[i]) - float64(got[i])
		signal += float64(want[i]) * float64(want[i])
		noise += d * d
	}
	return 10 * math.Log10(signal/noise)
}

// power is the mean square of a frequency's part, relative to all: Goertzel's.
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

// aligned is the best snr over all shifts of up to most samples, for codecs with delay.
func aligned(want, got []int16, most int) (best float64, shift int) {
	best = math.Inf(-1)
	for s := 0; s <= most; s++ {
		n := min(len(want), len(got)-s)
		if v := snr(want[:n], got[s:s+n]); v > best {
			best, shift = v, s
		}
	}
	return best, shift
}

func mustDecoder(t testing.TB, l *Library, k Kind, rate int) Decoder {
	t.Helper()
	d, err := l.NewDecoder(k, rate)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustEncoder(t testing.TB, l *Library, k Kind, rate int) Encoder {
	t.Helper()
	e, err := l.NewEncoder(k, rate)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
