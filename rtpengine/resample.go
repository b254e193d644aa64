package rtpengine

import "math"

// resampler brings sound to a lower rate. What the lower rate cannot carry would come back as a whistle (aliasing), so a
// low-pass goes first: a sinc under a Kaiser window, at 8 kHz flat to 3.4 kHz, 70 dB down at 4.3 kHz and beyond. Output times fall on
// a grid of phases between input samples, and each phase has its own taps, made when first needed.
type resampler struct {
	up, down int // rate out : rate in, in lowest terms
	half     int // taps on each side
	taps     map[int][]float32

	held []float32 // input from index base on
	base int
}

const (
	cutoff     = 0.925 // of the lower rate's band, the middle of the filter's slope
	kaiserBeta = 7.0
	crossings  = 40 // periods of the output rate on each side
)

func newResampler(rate, to int) *resampler {
	g := gcd(rate, to)
	r := &resampler{up: to / g, down: rate / g, taps: make(map[int][]float32)}
	r.half = (crossings*rate + to - 1) / to
	r.base = -r.half
	r.held = make([]float32, r.half) // silence before the beginning
	return r
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// run reads input to its end and gives at most limit samples of output, and whether that was all of it.
func (r *resampler) run(next func() (float32, bool), limit int) (out []int16, whole bool) {
	ended, length := false, 0
	for n := 0; ; n++ {
		at, phase := n*r.down/r.up, n*r.down%r.up
		for r.base+len(r.held) <= at+r.half {
			v, ok := float32(0), false
			if !ended {
				v, ok = next()
			}
			if ok {
				length++
			} else {
				ended = true
			}
			r.held = append(r.held, v)
		}
		if ended && at >= length {
			return out, true
		}
		if len(out) == limit {
			return out, false
		}
		from := at - r.half + 1
		sum := float32(0)
		for i, tap := range r.kernel(phase) {
			sum += tap * r.held[from-r.base+i]
		}
		out = append(out, int16(max(-32768, min(32767, math.Round(float64(sum))))))
		if drop := from - r.base; drop > 4096 {
			r.held = append(r.held[:0], r.held[drop:]...)
			r.base = from
		}
	}
}

// kernel gives the taps for an output that lies phase/up of an input sample behind one; they sum to one.
func (r *resampler) kernel(phase int) []float32 {
	if taps := r.taps[phase]; taps != nil {
		return taps
	}
	taps, sum := make([]float64, 2*r.half), 0.0
	width := cutoff * float64(r.up) / float64(r.down) // of the pass band, in input Nyquist bands
	for i := range taps {
		t := float64(i-r.half+1) - float64(phase)/float64(r.up)
		window := 0.0
		if x := t / float64(r.half); x > -1 && x < 1 {
			window = bessel(kaiserBeta*math.Sqrt(1-x*x)) / bessel(kaiserBeta)
		}
		taps[i] = window * sinc(width*t)
		sum += taps[i]
	}
	out := make([]float32, len(taps))
	for i, v := range taps {
		out[i] = float32(v / sum)
	}
	r.taps[phase] = out
	return out
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

// bessel is I0, the modified Bessel function of order zero.
func bessel(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > sum*1e-12; k++ {
		term *= x / 2 / k * x / 2 / k
		sum += term
	}
	return sum
}
