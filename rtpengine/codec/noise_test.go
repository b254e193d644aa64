package codec

import (
	"math"
	"math/rand/v2"
	"testing"
)

func rms(pcm []int16) float64 {
	sum := 0.0
	for _, v := range pcm {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum / float64(len(pcm)))
}

func TestNoiseIsAsLoudAsItSays(t *testing.T) {
	for _, level := range []byte{20, 40, 60} {
		var s NoiseSource
		out := make([]int16, 8000)
		if !s.Describe([]byte{level}) {
			t.Fatal("refused")
		}
		s.Fill(out)
		want := 32768 * math.Pow(10, -float64(level)/20)
		if got := rms(out); got < want*0.9 || got > want*1.1 {
			t.Errorf("-%d dBov: %.0f, want %.0f", level, got, want)
		}
	}
}

// What is described and made again is as loud and of the same colour: the noise of a room rumbles.
func TestARoomSoundsTheSameFromItsDescription(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	room := make([]int16, 8000)
	low := 0.0
	for i := range room {
		low = 0.9*low + 60*r.NormFloat64()
		room[i] = int16(low)
	}
	var payload [noiseOrder + 1]byte
	n := DescribeNoise(payload[:], room)
	var s NoiseSource
	if n != noiseOrder+1 || !s.Describe(payload[:n]) {
		t.Fatal(n)
	}
	out := make([]int16, 8000)
	s.Fill(out)
	if got, want := rms(out), rms(room); got < want*0.85 || got > want*1.15 {
		t.Errorf("%.0f as loud, want %.0f", got, want)
	}
	colour := func(pcm []int16) float64 { // correlation of neighbours
		sum, all := 0.0, 0.0
		for i := 1; i < len(pcm); i++ {
			sum += float64(pcm[i]) * float64(pcm[i-1])
			all += float64(pcm[i]) * float64(pcm[i])
		}
		return sum / all
	}
	if got, want := colour(out), colour(room); math.Abs(got-want) > 0.05 {
		t.Errorf("neighbours correlate by %.2f, want %.2f", got, want)
	}
	if n := DescribeNoise(payload[:1], room); n != 1 {
		t.Errorf("%d octets in one", n)
	}
}

func TestSilenceIsDescribedAndHeard(t *testing.T) {
	var payload [4]byte
	if n := DescribeNoise(payload[:], make([]int16, 160)); n != 4 || payload != [4]byte{127, 127, 127, 127} {
		t.Errorf("% x", payload[:n])
	}
	var s NoiseSource
	out := []int16{9, 9}
	s.Fill(out)
	if out[0] != 0 || out[1] != 0 {
		t.Error("the zero value is not silent")
	}
	if s.Describe(nil) || s.Describe([]byte{128}) {
		t.Error("took what is none")
	}
}

func FuzzNoise(f *testing.F) {
	f.Add([]byte{30, 127, 255, 0, 254})
	f.Fuzz(func(t *testing.T, payload []byte) {
		var s NoiseSource
		if !s.Describe(payload) {
			return
		}
		out := make([]int16, 1600)
		s.Fill(out)
		var back [noiseOrder + 1]byte
		DescribeNoise(back[:], out)
	})
}
