package rtpengine

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	audio "tandem/rtpengine/codec"
)

// wavOf is a WAV file of a sine with an amplitude of 10000, with the chunk that many programs put in front.
func wavOf(format uint16, bits, channels, rate int, hz, seconds float64) []byte {
	var data []byte
	for i := range int(seconds * float64(rate)) {
		v := int16(math.Round(10000 * math.Sin(2*math.Pi*hz*float64(i)/float64(rate))))
		for range channels {
			switch {
			case format == wavAlaw:
				data = append(data, audio.EncodeAlaw(v))
			case format == wavUlaw:
				data = append(data, audio.EncodeUlaw(v))
			case bits == 8:
				data = append(data, byte(int(v)>>8+128))
			default:
				data = binary.LittleEndian.AppendUint16(data, uint16(v))
			}
		}
	}
	var b bytes.Buffer
	frame := channels * bits / 8
	b.WriteString("RIFF\x00\x00\x00\x00WAVELIST\x03\x00\x00\x00abc\x00fmt \x10\x00\x00\x00")
	for _, v := range []any{format, uint16(channels), uint32(rate), uint32(rate * frame), uint16(frame), uint16(bits)} {
		_ = binary.Write(&b, binary.LittleEndian, v)
	}
	b.WriteString("data")
	_ = binary.Write(&b, binary.LittleEndian, uint32(len(data)))
	b.Write(data)
	return b.Bytes()
}

// amplitude of one frequency in samples at 8 kHz.
func amplitude(samples []int16, hz float64) float64 {
	var re, im float64
	for i, v := range samples {
		window := 1 - math.Cos(2*math.Pi*float64(i)/float64(len(samples))) // Hann: what is not hz does not leak into it
		re += float64(v) * window * math.Cos(2*math.Pi*hz*float64(i)/sampleRate)
		im += float64(v) * window * math.Sin(2*math.Pi*hz*float64(i)/sampleRate)
	}
	return 2 * math.Hypot(re, im) / float64(len(samples))
}

func TestEveryWAVFormatComesOutAsTheSameTone(t *testing.T) {
	t.Parallel()
	for _, f := range []struct {
		format         uint16
		bits, channels int
		tolerance      float64
	}{{wavPCM, 16, 1, 30}, {wavPCM, 16, 2, 30}, {wavPCM, 8, 1, 150}, {wavPCM, 8, 2, 150}, {wavAlaw, 8, 1, 150}, {wavUlaw, 8, 2, 150}} {
		for _, rate := range []int{8000, 11025, 16000, 22050, 32000, 44100, 48000} {
			w, err := openWAV(bytes.NewReader(wavOf(f.format, f.bits, f.channels, rate, 1000, 1)))
			if err != nil {
				t.Fatal(err)
			}
			samples, whole := read(w, sampleRate, 1<<20)
			if !whole || len(samples) < 7999 || len(samples) > 8001 {
				t.Errorf("%+v at %d Hz: %d samples", f, rate, len(samples))
				continue
			}
			if got := amplitude(samples[:7900], 1000); math.Abs(got-10000) > f.tolerance {
				t.Errorf("%+v at %d Hz: amplitude %.0f", f, rate, got)
			}
		}
	}
}

func TestResamplingKeepsSpeechAndLetsNoWhistleThrough(t *testing.T) {
	t.Parallel()
	for _, rate := range []int{11025, 16000, 44100, 48000} {
		for _, c := range []struct {
			hz, alias float64
			keeps     bool
		}{{100, 100, true}, {300, 300, true}, {3000, 3000, true}, {3400, 3400, true}, {4400, 3600, false}, {5000, 3000, false}} {
			w, err := openWAV(bytes.NewReader(wavOf(wavPCM, 16, 1, rate, c.hz, 1)))
			if err != nil {
				t.Fatal(err)
			}
			samples, _ := read(w, sampleRate, 1<<20)
			decibel := 20 * math.Log10(amplitude(samples[100:7900], c.alias)/10000)
			if c.keeps && math.Abs(decibel) > 0.2 || !c.keeps && decibel > -65 {
				t.Errorf("%.0f Hz at %d samples a second: %.2f dB at %.0f Hz", c.hz, rate, decibel, c.alias)
			}
		}
	}
}

func TestWhatIsNoPlayableWAVIsRefusedWithTheReason(t *testing.T) {
	good := wavOf(wavPCM, 16, 1, 8000, 440, 0.1)
	for want, b := range map[string][]byte{
		"no WAV":        []byte("ID3 something else entirely"),
		"channels":      wavOf(wavPCM, 16, 6, 8000, 440, 0.1),
		"96000 samples": wavOf(wavPCM, 16, 1, 96000, 440, 0.1),
		"24 bits":       wavOf(wavPCM, 24, 1, 8000, 440, 0.1),
		"format 85":     wavOf(85, 16, 1, 8000, 440, 0.1),
		"before its":    good[:40],
	} {
		if _, err := openWAV(bytes.NewReader(b)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func FuzzWAV(f *testing.F) {
	f.Add(wavOf(wavPCM, 16, 1, 8000, 440, 0.01))
	f.Add(wavOf(wavUlaw, 8, 2, 44100, 440, 0.01))
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := openWAV(bytes.NewReader(b))
		if err != nil {
			return
		}
		if samples, _ := read(w, sampleRate, 1000); len(samples) > 1000 {
			t.Errorf("%d samples", len(samples))
		}
	})
}

func writeFile(t *testing.T, path string, b []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPlayersShareAPromptAndAChangedFileIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	file := writeFile(t, filepath.Join(dir, "acme/welcome.wav"), wavOf(wavPCM, 16, 1, 16000, 440, 1))
	s := newSounds(&Config{Prompts: dir, Log: slog.New(slog.DiscardHandler)})
	first, second := must(s.take("acme/welcome")), must(s.take("acme/welcome"))
	if first != second || len(first.pcmu) != 8000 || s.stats().Loads != 1 {
		t.Errorf("%p and %p, %d samples, %+v", first, second, len(first.pcmu), s.stats())
	}
	if byPath := must(s.take(file)); len(byPath.pcmu) != 8000 {
		t.Errorf("by its path: %d samples", len(byPath.pcmu))
	}
	writeFile(t, file, wavOf(wavPCM, 16, 1, 8000, 440, 2))
	if err := os.Chtimes(file, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	third := must(s.take("acme/welcome"))
	if len(third.pcmu) != 16000 || s.stats().Bytes != 2*(8000+8000+16000) {
		t.Errorf("changed: %d samples, %+v", len(third.pcmu), s.stats())
	}
	s.release(first)
	s.release(second)
	if got := s.stats().Bytes; got != 2*(8000+16000) {
		t.Errorf("when nobody plays the old one: %d bytes", got)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got := must(s.take("acme/welcome")); got != third || s.stats().Failures != 1 {
		t.Errorf("a file that has vanished: %+v", s.stats())
	}
}

func TestSoundsThatNobodyPlaysMakeRoomForOthers(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		writeFile(t, filepath.Join(dir, "x", name+".wav"), wavOf(wavUlaw, 8, 1, 8000, 440, 1))
	}
	writeFile(t, filepath.Join(dir, "x/long.wav"), wavOf(wavUlaw, 8, 1, 8000, 440, 5))
	s := newSounds(&Config{Prompts: dir, SoundBytes: 33000, Log: slog.New(slog.DiscardHandler)})
	a, b := must(s.take("x/a")), must(s.take("x/b"))
	if _, err := s.take("x/c"); err != ErrSoundMemory {
		t.Errorf("while two play: %v", err)
	}
	s.release(b)
	s.release(a)
	must(s.take("x/c"))
	if st := s.stats(); st.Kept != 2 || st.Evicted != 1 || st.Bytes != 32000 || s.kept["x/a"] != nil {
		t.Errorf("the longest unused should be gone: %+v", st)
	}
	for _, f := range []func(string) error{s.check, func(name string) error { _, err := s.take(name); return err }} {
		if err := f("x/long"); err == nil || !strings.Contains(err.Error(), "longer than the memory") {
			t.Errorf("a long one: %v", err)
		}
		for _, name := range []string{"x/none", "../x/a", "x/../../y", "/etc/hostname", "nonsense", dir} {
			if err := f(name); err == nil {
				t.Errorf("%q can be played", name)
			}
		}
	}
}

func TestPromptIsPlayedToAPhone(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "acme/closed.wav"), wavOf(wavPCM, 16, 2, 44100, 1000, 1))
	e := startEngine(t, func(c *Config) { c.Prompts = dir })
	if err := e.CheckSound("acme/closed"); err != nil {
		t.Fatal(err)
	}
	p, a := startEndpoint(t, e), newPhone(t, loop4)
	if err := p.Play("acme/closed"); err != nil {
		t.Fatal(err)
	}
	answer, err := p.Answer(a.sdp(), loop4)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(answer)
	var heard []int16
	for len(heard) < 1600 {
		for _, code := range a.next(a.rtp)[12:] {
			heard = append(heard, audio.DecodeUlaw(code))
		}
	}
	if got := amplitude(heard, 1000); math.Abs(got-10000) > 300 {
		t.Errorf("amplitude of 1000 Hz: %.0f", got)
	}
	p.Close()
	if st := e.Stats(); st.Sounds.Kept != 1 || st.Playing != 0 || e.sounds.kept["acme/closed"].players != 0 {
		t.Errorf("after the end: %+v", st.Sounds)
	}
}
