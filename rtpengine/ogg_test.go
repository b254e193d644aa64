package rtpengine

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	audio "tandem/rtpengine/codec"
)

// withOpus skips where libopus is not installed.
func withOpus(t *testing.T) *audio.Library {
	t.Helper()
	lib := audio.Open("")
	if err := lib.Missing(); err != nil {
		t.Skip(err)
	}
	return lib
}

// readOgg gives the channels of a recording at 8 kHz, as far as they are whole, and whether its end is marked.
func readOgg(t *testing.T, lib *audio.Library, b []byte) (channels [2][]int16) {
	t.Helper()
	pages := newOggReader(bytes.NewReader(b))
	if head, err := pages.next(); err != nil || string(head[:8]) != "OpusHead" {
		return channels
	}
	if tags, err := pages.next(); err != nil || string(tags[:8]) != "OpusTags" {
		return channels
	}
	decoders := [2]audio.Decoder{must(lib.NewDecoder(audio.Opus, sampleRate)), must(lib.NewDecoder(audio.Opus, sampleRate))}
	for {
		packet, err := pages.next()
		if err != nil {
			if err != io.EOF {
				t.Fatal(err)
			}
			return channels
		}
		first, rest, ok := cutDelimited(packet)
		if !ok {
			t.Fatalf("a packet of %x", packet)
		}
		for i, p := range [2][]byte{first, rest} {
			var pcm [sampleRate / 5]int16
			n, err := decoders[i].Decode(pcm[:], p)
			if err != nil {
				t.Fatal(err)
			}
			channels[i] = append(channels[i], pcm[:n]...)
		}
	}
}

func TestOggRecordingIsWholeUpToItsLastSecondWhereverItIsCut(t *testing.T) {
	lib := withOpus(t)
	path := filepath.Join(t.TempDir(), "a.ogg")
	out, err := makeSoundFile(RecordOgg, lib, path, sampleRate, 2)
	if err != nil {
		t.Fatal(err)
	}
	const seconds = 10
	at, marks := 0, []int64{out.octets()} // octets after each append
	for range seconds {
		var pcm []int16
		for range sampleRate + 33 { // no whole number of frames
			pcm = append(pcm, int16(8000*math.Sin(2*math.Pi*440*float64(at)/sampleRate)), int16(8000*math.Sin(2*math.Pi*1000*float64(at)/sampleRate)))
			at++
		}
		if err := out.append(pcm); err != nil {
			t.Fatal(err)
		}
		marks = append(marks, out.octets())
	}
	if err := out.close(); err != nil {
		t.Fatal(err)
	}
	whole := must(os.ReadFile(path))
	if size := len(whole); size > seconds*8000 || int64(size) != out.octets() {
		t.Errorf("%d octets for %d s, %d by its own count", size, seconds, out.octets())
	}
	channels := readOgg(t, lib, whole)
	for i, hz := range []float64{440, 1000} {
		sound := channels[i][sampleRate : sampleRate*9]
		if amplitude(sound, hz) < 7000 || amplitude(sound, 1440-hz) > 200 {
			t.Errorf("channel %d: %v Hz at %.0f, the other at %.0f", i, hz, amplitude(sound, hz), amplitude(sound, 1440-hz))
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 100 {
		cut := random.Int64N(int64(len(whole)))
		appended := 0
		for appended < len(marks)-1 && marks[appended+1] <= cut {
			appended++
		}
		got := readOgg(t, lib, whole[:cut])
		if len(got[0])+frameSamples < appended*sampleRate || len(got[0]) > len(channels[0]) {
			t.Fatalf("cut at %d: %d samples of at least %d", cut, len(got[0]), appended*sampleRate)
		}
		for i := range got {
			for j := range got[i] {
				if got[i][j] != channels[i][j] {
					t.Fatalf("cut at %d: another sample %d", cut, j)
				}
			}
		}
	}
}

func TestWithoutLibopusRecordingsAreWAVAndThatIsSaid(t *testing.T) {
	var said strings.Builder
	c := &Config{Recording: RecordingConfig{Dir: t.TempDir(), Format: RecordOgg}, Log: slog.New(slog.NewTextHandler(&said, nil))}
	r := newRecorder(c, audio.Open("none"), func() int64 { return 1 })
	if rec := r.make("a", nil, [2]medium{}); filepath.Ext(rec.File) != ".wav" || !strings.Contains(said.String(), "recordings are WAV files") {
		t.Errorf("%s, %s", rec.File, said.String())
	}
	if _, err := New(Config{Bind: c.Bind, Recording: RecordingConfig{Format: "mp3"}}); err == nil {
		t.Error("a format that is not known")
	}
}

func TestRoomIsRecordedAsItIsHeard(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.Recording.Dir = t.TempDir() })
	h := &hall{TB: t, room: must(e.OpenRoom(RoomConfig{ID: "conference.sales", MaxMembers: 3}))}
	e.rooms.remove(h.room) // its clock is the test's
	e.rooms.open++
	onEnd, ends := ended()
	rec, err := h.room.Record(onEnd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.room.Record(onEnd); !errors.Is(err, ErrRecording) {
		t.Errorf("twice: %v", err)
	}
	all := []*caller{h.join(payloadPCMU, 400, 6000), h.join(payloadPCMA, 1000, 6000)}
	h.pass(50, all...) // a second at once: the tap holds it, and the time stamps count
	h.room.mixer.add(h.room)
	h.room.Close()
	end := <-ends
	b := must(os.ReadFile(rec.File))
	w, err := openWAV(bytes.NewReader(b))
	if err != nil || w.channels != 1 || end.Err != nil || end.File != rec.File || end.Lost != 0 {
		t.Fatalf("%+v, %v, %+v", w, err, end)
	}
	samples, _ := read(w, sampleRate, 1<<20)
	if len(samples) < 50*frameSamples || amplitude(samples[10*frameSamples:50*frameSamples], 400) < 5500 || amplitude(samples[10*frameSamples:50*frameSamples], 1000) < 5500 {
		t.Errorf("%d samples", len(samples))
	}
	if _, err := h.room.Record(onEnd); !errors.Is(err, ErrClosed) {
		t.Errorf("when it is closed: %v", err)
	}
}

func TestOpusFilesArePlayed(t *testing.T) {
	lib := withOpus(t)
	dir := t.TempDir()
	for _, channels := range []int{1, 2} {
		out := must(makeSoundFile(RecordOgg, lib, filepath.Join(dir, "tone.opus"), sampleRate, channels))
		var pcm []int16
		for i := range 2 * sampleRate {
			v := int16(8000 * math.Sin(2*math.Pi*1000*float64(i)/sampleRate))
			pcm = append(pcm, v)
			if channels == 2 {
				pcm = append(pcm, v)
			}
		}
		if err := errors.Join(out.append(pcm), out.close()); err != nil {
			t.Fatal(err)
		}
		for _, codecs := range []*audio.Library{lib, audio.Open("none")} {
			s := newSounds(&Config{Prompts: filepath.Dir(dir), Log: slog.New(slog.DiscardHandler)})
			s.codecs = codecs
			name := filepath.Base(dir) + "/tone"
			if err := s.check(name); err != nil {
				t.Error(err)
			}
			k, err := s.take(name)
			if err != nil {
				t.Fatal(err)
			}
			var heard []int16
			for _, code := range k.pcma {
				heard = append(heard, audio.DecodeAlaw(code))
			}
			if d := len(heard) - 2*sampleRate; amplitude(heard[sampleRate/2:sampleRate*3/2], 1000) < 7000 || d < 0 || d > 2*frameSamples {
				t.Errorf("%d channels: %v at %d samples", channels, amplitude(heard[sampleRate/2:sampleRate*3/2], 1000), len(heard))
			}
		}
		if err := os.Remove(filepath.Join(dir, "tone.opus")); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, filepath.Join(dir, "bad.ogg"), []byte("OggS but nothing else, long enough to be a page of some kind or other"))
	if err := newSounds(&Config{}).check(filepath.Join(dir, "bad.ogg")); err == nil {
		t.Error("a broken file can be played")
	}
}

func FuzzOpusFile(f *testing.F) {
	lib := audio.Open("none")
	var page oggPage
	page.add([]byte("OpusHead\x01\x02\x00\x00\x40\x1f\x00\x00\x00\x00\x01\x02\x00\x00\x01"))
	seed := page.flush(nil, oggFirst, 0)
	page.add([]byte("OpusTags"))
	seed = page.flush(seed, 0, 0)
	page.add([]byte{0x08, 3, 1, 2, 3, 0x08, 1, 2})
	f.Add(page.flush(seed, oggLast, 960))
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := openOpus(bytes.NewReader(b), lib)
		if err != nil {
			return
		}
		for range 1 << 16 {
			if _, ok := in.next(); !ok {
				return
			}
		}
	})
}
