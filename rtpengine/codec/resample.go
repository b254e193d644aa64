package codec

import "math"

// Resampler brings a stream from one of 8, 16 and 48 kHz to another. What the lower rate cannot carry is taken out by a low-pass, a sinc
// under a Kaiser window, flat to 0.86 of the lower rate's band and 60 dB down where it would come back as a whistle (aliasing). It delays by
// half the filter, 2 ms at 8 kHz.
type Resampler struct {
	up, down int         // rate out : rate in, in lowest terms
	taps     [][]float32 // by phase
	past     []float32   // the last len(taps[0]) samples, then the new ones
	phase    int
}

const (
	resamplerHalf = 16 // taps on each side, in samples of the lower rate
	resamplerEdge = 0.93
	resamplerBeta = 6.0
)

// NewResampler makes one; nil when the rates are equal, and nil works: it copies.
func NewResampler(from, to int) *Resampler {
	if from == to {
		return nil
	}
	g := from
	for b := to; b != 0; {
		g, b = b, g%b
	}
	r := &Resampler{up: to / g, down: from / g}
	low := min(from, to)
	half := resamplerHalf * from / low // in samples of the input
	width := resamplerEdge * float64(low) / float64(from)
	r.taps = make([][]float32, r.up)
	for phase := range r.taps {
		taps, sum := make([]float64, 2*half), 0.0
		for i := range taps {
			t := float64(i-half+1) - float64(phase)/float64(r.up)
			if x := t / float64(half); x > -1 && x < 1 {
				taps[i] = sinc(width*t) * bessel(resamplerBeta*math.Sqrt(1-x*x))
			}
			sum += taps[i]
		}
		r.taps[phase] = make([]float32, len(taps))
		for i, v := range taps {
			r.taps[phase][i] = float32(v / sum)
		}
	}
	r.past = make([]float32, 2*half-1, 2*half-1+MaxSamples)
	return r
}

// Run takes the next samples, at most MaxSamples, and appends what they become to dst.
func (r *Resampler) Run(dst, pcm []int16) []int16 {
	if r == nil {
		return append(dst, pcm...)
	}
	n := len(r.taps[0])
	for _, v := range pcm[:min(len(pcm), MaxSamples)] {
		r.past = append(r.past, float32(v))
	}
	at := 0
	for ; at+n <= len(r.past); r.phase += r.down {
		for ; r.phase >= r.up; r.phase -= r.up {
			at++
		}
		if at+n > len(r.past) {
			break
		}
		dst = append(dst, clip(dot(r.taps[r.phase], r.past[at:at+n])))
	}
	r.past = r.past[:copy(r.past, r.past[min(at, len(r.past)):])]
	return dst
}

func dot(a, b []float32) float32 {
	b = b[:len(a)]
	var even, odd float32
	for i := 0; i+1 < len(a); i += 2 {
		even += a[i] * b[i]
		odd += a[i+1] * b[i+1]
	}
	return even + odd
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
