//go:build interop

package interop

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/cmplx"
	"os"
	"path/filepath"
	"testing"
)

// sampleRate of everything the phones play and record, in Hz: G.711.
const sampleRate = 8000

// window is how many samples one look at a spectrum takes: 0.5 s, 2 Hz a bin.
const window = 4096

// wavHeader is the length of the canonical RIFF header, which is what sox,
// libsndfile and mediastreamer write for plain PCM.
const wavHeader = 44

// writeTone writes a 16-bit mono WAV file with a sine of hz, long enough for
// any call of a test (0 Hz is silence).
func writeTone(t testing.TB, path string, hz float64) {
	t.Helper()
	const seconds = 120
	data := make([]int16, seconds*sampleRate)
	for i := range data {
		data[i] = int16(12000 * math.Sin(2*math.Pi*hz*float64(i)/sampleRate))
	}
	var b bytes.Buffer
	b.WriteString("RIFF")
	for _, field := range []any{
		uint32(36 + 2*len(data)), []byte("WAVEfmt "), uint32(16), uint16(1), uint16(1),
		uint32(sampleRate), uint32(2 * sampleRate), uint16(2), uint16(16), []byte("data"), uint32(2 * len(data)), data,
	} {
		if err := binary.Write(&b, binary.LittleEndian, field); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// sound is one channel of a recording.
type sound struct {
	path    string
	rate    int // Hz
	samples []int16
}

// readSound returns the first channel of a WAV file that may still be growing:
// the lengths in its header are not true until it is closed, so the file's end
// counts. A file that is not there yet is empty.
func readSound(path string) sound {
	s := sound{path: path, rate: sampleRate}
	raw, err := os.ReadFile(path)
	if err != nil || len(raw) < wavHeader {
		return s
	}
	channels := max(1, int(binary.LittleEndian.Uint16(raw[22:])))
	if rate := int(binary.LittleEndian.Uint32(raw[24:])); rate != 0 { // Linphone fills it in when it closes the file
		s.rate = rate
	}
	raw = raw[wavHeader:]
	s.samples = make([]int16, len(raw)/2/channels)
	for i := range s.samples {
		s.samples[i] = int16(binary.LittleEndian.Uint16(raw[2*channels*i:]))
	}
	return s
}

// newest returns the newest recording that matches pattern; phones put the
// time of day into the name, so the names sort by age.
func newest(pattern string) sound {
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		return sound{rate: sampleRate}
	}
	return readSound(names[len(names)-1])
}

// since returns what was recorded after an earlier look at the same recording;
// all of it when a new one was begun.
func (s sound) since(earlier sound) sound {
	if s.path == earlier.path && len(s.samples) >= len(earlier.samples) {
		s.samples = s.samples[len(earlier.samples):]
	}
	return s
}

// spectrum is what one window of sound is made of.
type spectrum struct {
	peak  float64 // Hz, the strongest frequency
	share float64 // 0..1, the part of all energy within 8 Hz of the peak
	level float64 // root mean square of the samples, full scale 32768
}

func (s spectrum) String() string {
	return fmt.Sprintf("%.0f Hz holds %.0f %% of the energy, level %.0f", s.peak, 100*s.share, s.level)
}

// is reports whether the sound is that tone and nearly nothing else.
func (s spectrum) is(hz float64) bool {
	return s.level > 500 && math.Abs(s.peak-hz) <= 8 && s.share > 0.7
}

// analyse looks at the last window of a sound. ok is false when it is not yet
// that long.
func analyse(heard sound) (s spectrum, ok bool) {
	samples := heard.samples
	if len(samples) < window {
		return s, false
	}
	samples = samples[len(samples)-window:]
	bins := make([]complex128, window)
	var square float64
	for i, v := range samples {
		hann := 0.5 - 0.5*math.Cos(2*math.Pi*float64(i)/window)
		bins[i] = complex(float64(v)*hann, 0)
		square += float64(v) * float64(v)
	}
	s.level = math.Sqrt(square / window)
	fft(bins)
	energy := make([]float64, window/2)
	var total float64
	best := 1
	for k := 1; k < len(energy); k++ { // bin 0 is the mean, not a tone
		energy[k] = real(bins[k])*real(bins[k]) + imag(bins[k])*imag(bins[k])
		total += energy[k]
		if energy[k] > energy[best] {
			best = k
		}
	}
	if total == 0 {
		return s, true
	}
	var near float64
	for k := max(1, best-4); k <= min(len(energy)-1, best+4); k++ {
		near += energy[k]
	}
	s.peak = float64(best) * float64(heard.rate) / window
	s.share = near / total
	return s, true
}

// fft transforms x in place; its length is a power of two.
func fft(x []complex128) {
	n := len(x)
	if n == 1 {
		return
	}
	even, odd := make([]complex128, n/2), make([]complex128, n/2)
	for i := range even {
		even[i], odd[i] = x[2*i], x[2*i+1]
	}
	fft(even)
	fft(odd)
	for k := range even {
		turned := cmplx.Rect(1, -2*math.Pi*float64(k)/float64(n)) * odd[k]
		x[k], x[k+n/2] = even[k]+turned, even[k]-turned
	}
}

func TestAnalyseNamesTheToneItWasGiven(t *testing.T) {
	for _, hz := range []float64{440, 1000, 1633} {
		path := filepath.Join(t.TempDir(), "tone.wav")
		writeTone(t, path, hz)
		got, ok := analyse(readSound(path))
		if !ok || !got.is(hz) || got.is(hz+30) {
			t.Errorf("a tone of %v Hz was heard as %v", hz, got)
		}
	}
	if got, _ := analyse(sound{rate: sampleRate, samples: make([]int16, window)}); got.level != 0 || got.is(0) {
		t.Errorf("silence was heard as %v", got)
	}
}
