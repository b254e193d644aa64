package rtpengine

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	audio "tandem/rtpengine/codec"
)

// toneFile is a WAV file of 16 bits: a tone of some seconds, in stereo where the right channel is silent.
func toneFile(rate, channels int, seconds, hz float64) []byte {
	frames := int(seconds * float64(rate))
	samples := make([]int16, 0, frames*channels)
	for i := range frames {
		v := int16(8000 * math.Sin(2*math.Pi*hz*float64(i)/float64(rate)))
		for c := range channels {
			samples = append(samples, v*int16(1-c))
		}
	}
	w := wavOut{rate: rate, channels: channels, written: int64(2 * len(samples))}
	out := w.header()
	for _, v := range samples {
		out = append(out, byte(v), byte(v>>8))
	}
	return out
}

func samplesIn(t *testing.T, wav []byte) (samples []int16, rate int) {
	t.Helper()
	in := must(openWAV(bytes.NewReader(wav)))
	samples, whole := read(in, in.hertz(), 1<<30)
	if !whole {
		t.Fatal("cut")
	}
	return samples, in.hertz()
}

func TestAnUploadIsKeptAsItIsPlayed(t *testing.T) {
	none := audio.Open("none")
	for _, c := range []struct {
		name           string
		rate, channels int
		seconds, hz    float64
		most, want     int
	}{
		{"a studio's", 48000, 2, 1, 5000, 1 << 20, 16000},
		{"of a CD", 44100, 1, 1, 5000, 1 << 20, 16000},
		{"of a telephone", 8000, 1, 1, 1000, 1 << 20, 8000},
		{"between", 11025, 2, 1, 1000, 1 << 20, 8000},
		{"too long for 16 kHz", 16000, 1, 3, 1000, 50_000, 8000},
	} {
		p, err := makePrompt(none, toneFile(c.rate, c.channels, c.seconds, c.hz), c.most)
		if err != nil || p.Rate != c.want || (p.Length-time.Duration(c.seconds*float64(time.Second))).Abs() > 10*time.Millisecond || len(p.WAV) > c.most {
			t.Errorf("%s: %d Hz, %v, %d bytes, %v", c.name, p.Rate, p.Length, len(p.WAV), err)
			continue
		}
		samples, rate := samplesIn(t, p.WAV)
		if got := share(samples, rate, c.hz); rate != c.want || got < 0.9 {
			t.Errorf("%s: at %d Hz, %.2f of it is the tone", c.name, rate, got)
		}
	}
	if _, err := makePrompt(none, toneFile(16000, 1, 4, 1000), 50_000); !errors.Is(err, ErrLongPrompt) || !strings.Contains(err.Error(), "3s is the most") {
		t.Errorf("too long: %v", err)
	}
}

func TestAnUploadThatCannotBePlayedIsNamed(t *testing.T) {
	cut := toneFile(8000, 1, 1, 1000)
	threeBytes := toneFile(8000, 1, 1, 1000)
	threeBytes[34] = 24
	for want, file := range map[string][]byte{
		"an MP3 file":                    []byte("ID3\x03\x00"),
		"this is an MP3 file":            {0xff, 0xfb, 0x90, 0x64},
		"a FLAC file":                    []byte("fLaC\x00"),
		"an MP4 file":                    []byte("\x00\x00\x00\x20ftypM4A "),
		"the file is empty":              {},
		"neither WAV nor Ogg/Opus":       []byte("hello"),
		"ends before its samples":        cut[:30],
		"holds no samples":               cut[:recordedHead],
		"format 1 with 24 bits":          threeBytes,
		"7000 samples a second":          toneFile(7000, 1, 1, 1000),
		"3 channels":                     toneFile(8000, 3, 1, 1000),
		"the Ogg file holds no Opus":     []byte("OggS\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x07\x01vorbis"),
		"PCM of 8 or 16 bits, A-law and": threeBytes,
	} {
		if _, err := makePrompt(audio.Open("none"), file, 1<<20); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

func TestWhatWasUploadedComesBeforeTheFilesOfTheNode(t *testing.T) {
	dir, name := wideTone(t, 1000)
	uploaded := map[string]Prompt{}
	s := newSounds(&Config{Prompts: dir, Uploaded: func(name string) ([]byte, string, bool) {
		p, ok := uploaded[name]
		return p.WAV, p.Length.String(), ok
	}})
	length := func(name string) int {
		t.Helper()
		snd, err := s.take(name)
		if err != nil {
			t.Fatal(err)
		}
		defer s.release(snd)
		return snd.packets()
	}
	if got := length(name); got != 50 {
		t.Errorf("the file of the node has %d packets", got)
	}
	uploaded[name] = must(makePrompt(s.codecs, toneFile(16000, 1, 2, 6000), 1<<20))
	if got := length(name); got != 100 {
		t.Errorf("what was uploaded has %d packets", got)
	}
	snd := must(s.take(name))
	if got := share(s.wide(snd), wideRate, 6000); got < 0.9 {
		t.Errorf("phones with more than G.711 hear %.2f of it", got)
	}
	s.release(snd)
	uploaded[name] = must(makePrompt(s.codecs, toneFile(16000, 1, 3, 1000), 1<<20))
	if got := length(name); got != 150 {
		t.Errorf("what replaced it has %d packets", got)
	}
	if err := s.check(name); err != nil {
		t.Error(err)
	}
	delete(uploaded, name)
	if got := length(name); got != 50 {
		t.Errorf("after it was removed there are %d packets", got)
	}
	if err := s.check("acme/nothing"); err == nil || !strings.Contains(err.Error(), "it was not uploaded") {
		t.Errorf("none: %v", err)
	}
}
