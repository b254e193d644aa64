package codec

import "math"

// Comfort noise (RFC 3389) is what a phone sends instead of silence: how loud its room is, and perhaps of what colour.
//
//	|0|  level 7    |   N1  8   |   N2  8   | ...
//
// The level is -dBov, the loudness below a full-scale square wave; the N are reflection coefficients of an all-pole filter.

// noiseOrder is how many coefficients are used; more tell nothing of a room.
const noiseOrder = 10

// NoiseSource makes noise as a payload describes it. The zero value is silent.
type NoiseSource struct {
	loud  float64 // of the excitation
	k     [noiseOrder]float64
	b     [noiseOrder + 1]float64 // backward errors of the lattice
	state uint32
}

// Describe takes a payload; false when it is none.
func (s *NoiseSource) Describe(payload []byte) bool {
	if len(payload) == 0 || payload[0] > 127 {
		return false
	}
	s.loud = 32768 * math.Pow(10, -float64(payload[0])/20)
	s.k = [noiseOrder]float64{}
	for i := range s.k {
		if i+1 < len(payload) && payload[i+1] != 255 {
			s.k[i] = 258 * (float64(payload[i+1]) - 127) / 32768 // RFC 3389 §3.2
		}
		s.loud *= math.Sqrt(1 - s.k[i]*s.k[i]) // what the filter adds in power
	}
	return true
}

// Fill makes the next samples.
func (s *NoiseSource) Fill(dst []int16) {
	for i := range dst {
		sum := 0.0
		for range 4 { // nearly Gaussian, of variance 4/12
			s.state = s.state*1664525 + 1013904223
			sum += float64(s.state)/(1<<32) - 0.5
		}
		f := s.loud * sum * math.Sqrt(3)
		for j := noiseOrder - 1; j >= 0; j-- { // all-pole lattice
			f -= s.k[j] * s.b[j]
			s.b[j+1] = s.b[j] + s.k[j]*f
		}
		s.b[0] = f
		dst[i] = int16(max(-32768, min(32767, f)))
	}
}

// DescribeNoise writes the payload for samples and tells its length: the level, and the colour as far as dst has room.
func DescribeNoise(dst []byte, pcm []int16) int {
	if len(dst) == 0 {
		return 0
	}
	var r [noiseOrder + 1]float64
	order := min(noiseOrder, len(dst)-1)
	for lag := 0; lag <= order; lag++ {
		for i := lag; i < len(pcm); i++ {
			r[lag] += float64(pcm[i]) * float64(pcm[i-lag])
		}
	}
	level := 127.0
	if r[0] > 0 {
		level = -10 * math.Log10(r[0]/float64(len(pcm))/(32768*32768))
	}
	dst[0] = byte(max(0, min(127, math.Round(level))))
	// Levinson and Durbin; a[1..] of A(z) = 1 + a1/z + ...
	var a, next [noiseOrder + 1]float64
	left := r[0] * 1.001
	for m := 1; m <= order; m++ {
		k := 0.0
		if left > 0 {
			k = r[m]
			for i := 1; i < m; i++ {
				k += a[i] * r[m-i]
			}
			k = max(-0.99, min(0.99, -k/left))
		}
		dst[m] = byte(127 + math.Round(k*32768/258))
		next = a
		next[m] = k
		for i := 1; i < m; i++ {
			next[i] = a[i] + k*a[m-i]
		}
		a, left = next, left*(1-k*k)
	}
	return order + 1
}
