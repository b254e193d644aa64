package codec

import (
	"fmt"
	"testing"
)

func TestTonesPassAtEveryRate(t *testing.T) {
	for _, from := range []int{8000, 16000, 48000} {
		for _, to := range []int{8000, 16000, 48000} {
			t.Run(fmt.Sprint(from, " to ", to), func(t *testing.T) {
				for _, hz := range []float64{300, 1000, 3000} {
					in := tone(from, hz, 8000, 0, from)
					r, out := NewResampler(from, to), []int16(nil)
					for i := 0; i < len(in); i += from / 50 { // frame by frame, as it is used
						had := len(out)
						out = r.Run(out, in[i:i+from/50])
						if got := len(out) - had; got < to/50-to/400 || got > to/50+to/400 {
							t.Fatalf("a frame became %d samples, want about %d", got, to/50)
						}
					}
					if d := to - len(out); d < 0 || d > to/100 {
						t.Errorf("%.0f Hz: a second became %d samples", hz, len(out))
					}
					// The end of one second may be a sample off the next one's; the middle is what counts.
					middle := out[to/10 : to*9/10]
					if got := share(middle, to, hz); got < 0.999 {
						t.Errorf("%.0f Hz: %.4f of what is heard", hz, got)
					}
					power := 0.0
					for _, v := range middle {
						power += float64(v) * float64(v)
					}
					if got := power / float64(len(middle)) / (8000 * 8000 / 2); got < 0.95 || got > 1.05 {
						t.Errorf("%.0f Hz: %.2f as strong", hz, got)
					}
				}
			})
		}
	}
}

func TestWhatALowRateCannotCarryIsNotHeard(t *testing.T) {
	for _, from := range []int{16000, 48000} {
		for _, hz := range []float64{4700, 5300, 7000} {
			out := NewResampler(from, 8000).Run(nil, tone(from, hz, 8000, 0, 4800))
			for i, v := range out[40:] {
				if abs(int(v)) > 24 { // 50 dB down
					t.Fatalf("%.0f Hz at %d Hz: %d at sample %d", hz, from, v, i)
				}
			}
		}
	}
}

func TestResamplingAllocatesNothing(t *testing.T) {
	r, out, in := NewResampler(8000, 16000), make([]int16, 0, MaxSamples), voice(8000, 160)
	if got := testing.AllocsPerRun(100, func() { out = r.Run(out[:0], in) }); got > 0 {
		t.Errorf("%.0f allocations a frame", got)
	}
}

func BenchmarkResample(b *testing.B) {
	for _, c := range [][2]int{{8000, 16000}, {16000, 8000}, {48000, 8000}, {8000, 48000}} {
		b.Run(fmt.Sprint(c[0], " to ", c[1]), func(b *testing.B) {
			r, out, in := NewResampler(c[0], c[1]), make([]int16, 0, MaxSamples), voice(c[0], c[0]/50)
			b.ReportAllocs()
			for b.Loop() {
				out = r.Run(out[:0], in)
			}
		})
	}
}
