package rtpengine

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"

	audio "tandem/rtpengine/codec"
)

const (
	sampleRate   = 8000
	frameSamples = sampleRate / 50 // 20 ms
)

// sound is an endless loop, ready to be sent: whole frames in both laws of G.711, and in other codecs once somebody has needed those.
type sound struct {
	pcmu, pcma []byte

	loops  [audio.Opus + 1]atomic.Pointer[loop] // by codec; those of G.711 are always there
	making sync.Mutex                           // of further ones
}

func (s *sound) packets() int { return len(s.pcma) / frameSamples }

func newSound(samples []int16) *sound {
	for len(samples)%frameSamples != 0 {
		samples = append(samples, 0)
	}
	s := &sound{pcmu: make([]byte, len(samples)), pcma: make([]byte, len(samples))}
	for i, v := range samples {
		s.pcmu[i], s.pcma[i] = audio.EncodeUlaw(v), audio.EncodeAlaw(v)
	}
	s.loops[audio.PCMU].Store(&loop{codec: audio.PCMU, body: s.pcmu})
	s.loops[audio.PCMA].Store(&loop{codec: audio.PCMA, body: s.pcma})
	return s
}

// bytes is what it takes in memory; it grows when it is needed in another codec.
func (s *sound) bytes() (n int64) {
	for i := range s.loops {
		if l := s.loops[i].Load(); l != nil {
			n += l.bytes()
		}
	}
	return n
}

// builtin tells whether a name is of the sounds that need no file.
func builtin(name string) bool {
	tone, ok := strings.CutPrefix(name, "tone:")
	if ok {
		_, ok = toneOf(tone)
	}
	return ok || name == "music"
}

func generate(name string) ([]int16, error) {
	if name == "music" {
		return melody(), nil
	}
	if tone, ok := strings.CutPrefix(name, "tone:"); ok {
		if t, ok := toneOf(tone); ok {
			return samplesOf(t), nil
		}
	}
	return nil, noSound(name)
}

func noSound(name string) error {
	return fmt.Errorf("rtpengine: no sound %q (have music, tone:dial, tone:ring, tone:busy, tone:congestion, tone:info, tone:beep, each also with a country, like tone:busy:de)", name)
}

// fade takes the click off both ends, over n samples.
func fade(s []int16, n int) {
	for i := range min(n, len(s)/2) {
		s[i] = int16(int(s[i]) * i / n)
		s[len(s)-1-i] = int16(int(s[len(s)-1-i]) * i / n)
	}
}

// melody is the music on hold: slow arpeggios over four chords on a bell-like voice, with a soft
// bass below; 16 s, made of sines only, so that G.711 carries it well and nobody owns it.
func melody() []int16 {
	// Semitones from middle C: C, A minor, F, G; an arpeggio of eight eighths each.
	chords := [4][8]int{
		{0, 4, 7, 12, 16, 12, 7, 4},
		{-3, 0, 4, 9, 12, 9, 4, 0},
		{-7, 0, 5, 9, 12, 9, 5, 0},
		{-5, -1, 2, 7, 11, 14, 11, 7},
	}
	const eighth = sampleRate / 2
	mix := make([]float64, len(chords)*8*eighth)
	for c, chord := range chords {
		for n, tone := range chord {
			strike(mix, (c*8+n)*eighth, pitch(tone+12), 1.2, 0.20)
		}
		strike(mix, c*8*eighth, pitch(chord[0]), 3.0, 0.16)
		strike(mix, (c*8+4)*eighth, pitch(chord[0]+7), 2.0, 0.10)
	}
	out := make([]int16, len(mix))
	for i, v := range mix {
		out[i] = int16(max(-1, min(1, v)) * 16000)
	}
	return out
}

// pitch is the frequency a number of semitones from middle C.
func pitch(semitones int) float64 { return 261.63 * math.Pow(2, float64(semitones)/12) }

// strike adds a bell at a sample, that rings for some seconds past the loop's end into its start.
func strike(mix []float64, at int, hz, seconds, loud float64) {
	n := int(seconds * sampleRate)
	for i := range n {
		t := float64(i) / sampleRate
		attack := min(1, t/0.008)
		env := attack * math.Exp(-3.5*t/seconds) * (1 - float64(i)/float64(n))
		v := math.Sin(2*math.Pi*hz*t) + 0.35*math.Sin(4*math.Pi*hz*t)*math.Exp(-4*t) + 0.12*math.Sin(6*math.Pi*hz*t)*math.Exp(-8*t)
		mix[(at+i)%len(mix)] += loud * env * v
	}
}
