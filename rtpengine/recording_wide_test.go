package rtpengine

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	audio "tandem/rtpengine/codec"
)

// sides reads a stereo WAV file of any rate.
func sides(t *testing.T, path string) (left, right []int16, rate int) {
	t.Helper()
	w, err := openWAV(bytes.NewReader(must(os.ReadFile(path))))
	if err != nil || w.channels != 2 || w.bits != 16 {
		t.Fatalf("%s: %+v, %v", path, w, err)
	}
	for {
		var frame [2]int16
		if binary.Read(w.in, binary.LittleEndian, &frame) != nil {
			return left, right, w.rate
		}
		left, right = append(left, frame[0]), append(right, frame[1])
	}
}

func TestCallsInG722AndOpusAreRecordedAsTheySound(t *testing.T) {
	for _, c := range []struct {
		name string
		kind audio.Kind
		pt   uint8
		rest string
		hz   [2]float64 // of the caller and of the called one
	}{
		{"G.722", audio.G722, 9, "", [2]float64{700, 5200}},
		{"Opus", audio.Opus, 107, opusLines, [2]float64{600, 5200}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := startEngine(t, func(cfg *Config) { cfg.Recording.Dir = t.TempDir() })
			a, b := newSpeaker(t, c.kind, c.pt), newSpeaker(t, c.kind, c.pt)
			onEnd, ends := ended()
			s := must(e.NewSession(SessionConfig{ID: c.name, OnRecorded: onEnd}))
			words := map[uint8]string{9: "9", 107: "107"}[c.pt]
			settleOn(t, s, a.phone, b.phone, a.formats(words, c.rest), b.formats(words, c.rest))
			settle(s.shard)
			rec := must(s.Record())
			settle(s.shard)
			for range 50 {
				a.hum(c.hz[0])
				b.hum(c.hz[1])
				a.next(a.rtp)
				b.next(b.rtp)
			}
			calm(s).Close()
			end := <-ends
			left, right, rate := sides(t, rec.File)
			if end.Err != nil || end.Lost != 0 || rate != 16000 || len(left) < rate {
				t.Fatalf("%d samples at %d, %+v", len(left), rate, end)
			}
			for i, sound := range [][]int16{left, right} {
				if got := share(sound[rate/5:rate*9/10], rate, c.hz[i]); got < 0.9 {
					t.Errorf("side %d: %.0f Hz is %.3f of what was recorded", i, c.hz[i], got)
				}
			}
		})
	}
}

// One side of a transcoded call speaks G.711, the other Opus: the recording has both.
func TestTranscodedCallIsRecordedOnBothSides(t *testing.T) {
	e := startEngine(t, func(cfg *Config) { transcoding(cfg); cfg.Recording.Dir = t.TempDir() })
	a, b := newSpeaker(t, audio.PCMA, 8), newSpeaker(t, audio.Opus, 111)
	onEnd, ends := ended()
	s := must(e.NewSession(SessionConfig{ID: t.Name(), OnRecorded: onEnd}))
	settleOn(t, s, a.phone, b.phone, a.formats("8"), b.formats("111", "a=rtpmap:111 opus/48000/2"))
	settle(s.shard)
	rec := must(s.Record())
	settle(s.shard)
	for range 50 {
		a.hum(700)
		b.hum(5200)
		a.next(a.rtp)
		b.next(b.rtp)
	}
	calm(s).Close()
	<-ends
	left, right, rate := sides(t, rec.File)
	if l, r := share(left[rate/5:rate*9/10], rate, 700), share(right[rate/5:rate*9/10], rate, 5200); rate != 16000 || l < 0.9 || r < 0.9 {
		t.Errorf("at %d the tones are %.3f and %.3f of the sides", rate, l, r)
	}
}

// Packets of a codec with memory must be decoded in the order in which they were made, however they came.
func TestOpusIsRecordedWholeInSpiteOfJitterReorderingAndDuplicates(t *testing.T) {
	lib := withOpus(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	b := newBench(t, RecordingConfig{})
	b.rec.rate = 16000
	b.rec.tap.words[0].Store(&vocabulary{107: mediumOf(audio.Opus)})
	enc := must(lib.NewEncoder(audio.Opus, 16000))
	var list []arrival
	var packets [][]byte
	for n := range 200 {
		pcm, body := make([]int16, 320), make([]byte, 1500)
		for i := range pcm {
			pcm[i] = int16(8000 * math.Sin(2*math.Pi*1000*float64(n*320+i)/16000))
		}
		size := must(enc.Encode(body, pcm))
		packets = append(packets, packet(107, uint16(n), uint32(n*960), 5, string(body[:size])))
		at := int64(n)*20*ms + 1
		if n > 0 {
			at += random.Int64N(150) * ms
		}
		list = append(list, arrival{at: at, n: n})
		if random.IntN(10) == 0 {
			list = append(list, arrival{at: at + random.Int64N(100)*ms, n: n})
		}
	}
	sortArrivals(list)
	next := 200 * ms
	for _, a := range list {
		for ; next <= a.at; next += 200 * ms {
			b.now = next
			b.recorder.step()
		}
		b.now = a.at
		h, _ := parseRTP(packets[a.n])
		b.rec.tap.put(0, &h, packets[a.n], b.now)
	}
	b.rec.stop()
	b.recorder.step()
	left, _, rate := sides(t, b.rec.File)
	if rate != 16000 || b.ends[0].Late != 0 || b.ends[0].Lost != 0 {
		t.Fatalf("%d samples at %d, %+v", len(left), rate, b.ends[0])
	}
	for from := 3200; from+3200 <= 199*320; from += 3200 {
		if got := share(left[from:from+3200], rate, 1000); got < 0.99 {
			t.Errorf("from %v on the tone is %.3f of what was recorded", time.Duration(from)*time.Second/16000, got)
		}
	}
}

func TestRecordingSurvivesPacketsThatAreNoneOfTheirCodec(t *testing.T) {
	b := newBench(t, RecordingConfig{Dir: filepath.Join(t.TempDir(), "r")})
	b.rec.tap.words[0].Store(&vocabulary{9: mediumOf(audio.G722), 107: mediumOf(audio.Opus)})
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 2000 {
		b.now = int64(n)*10*ms + 1
		body := make([]byte, random.IntN(700))
		for i := range body {
			body[i] = byte(random.Uint32())
		}
		p := packet([2]uint8{9, 107}[random.IntN(2)], uint16(random.Uint32()), random.Uint32(), uint32(random.IntN(3)), string(body))
		h, ok := parseRTP(p)
		if !ok {
			b.Fatal("no RTP")
		}
		b.rec.tap.put(0, &h, p, b.now)
		if n%20 == 0 {
			b.recorder.step()
		}
	}
	if left, _ := b.end(); len(left) < 19*sampleRate || b.ends[0].Err != nil {
		t.Errorf("%d samples, %+v", len(left), b.ends[0])
	}
}
