package rtpengine

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	audio "tandem/rtpengine/codec"
)

// wideTone writes a second of a tone at 16 kHz as a prompt and gives the directory and the name.
func wideTone(t *testing.T, hz float64) (dir, name string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "acme"), 0o700); err != nil {
		t.Fatal(err)
	}
	out := must(makeSoundFile(RecordWAV, nil, filepath.Join(dir, "acme", "tone.wav"), 16000, 1))
	pcm := make([]int16, 16000)
	for i := range pcm {
		pcm[i] = int16(8000 * math.Sin(2*math.Pi*hz*float64(i)/16000))
	}
	if err := out.append(pcm); err != nil {
		t.Fatal(err)
	}
	if err := out.close(); err != nil {
		t.Fatal(err)
	}
	return dir, "acme/tone"
}

// hearsTone listens for a second and gives the share of a frequency in what it hears, under one source and a clock of whole packets.
func hearsTone(t *testing.T, s *speaker, hz float64) float64 {
	t.Helper()
	var heard []int16
	var last rtpHeader
	for n := 0; n < 60; n++ {
		h, pcm := s.listen(s.sends)
		if n > 0 && (h.ssrc != last.ssrc || h.seq != last.seq+1 || (h.stamp-last.stamp)%uint32(s.kind.Clock()/50) != 0) {
			t.Fatalf("packet %d: %+v after %+v", n, h, last)
		}
		last, heard = h, append(heard, pcm...)
	}
	// Piece by piece, since a late player leaves packets out and so shifts the phase; the middle one counts.
	var shares []float64
	for piece := s.hears.Rate() / 10; len(heard) >= piece; heard = heard[piece:] {
		shares = append(shares, share(heard[:piece], s.hears.Rate(), hz))
	}
	slices.Sort(shares)
	return shares[len(shares)/2]
}

var widePhones = []struct {
	name  string
	kind  audio.Kind
	pt    uint8
	words string
	lines string
}{
	{"G.722", audio.G722, 9, "9", ""},
	{"Opus", audio.Opus, 107, "107 98", opusLines},
}

// The tone is above the band of G.711: the phone hears the file itself, not what G.711 has left of it.
func TestPhonesOfG722OrOpusAloneHearPromptsInTheirFullBand(t *testing.T) {
	dir, name := wideTone(t, 5000)
	for _, c := range widePhones {
		t.Run(c.name, func(t *testing.T) {
			e := startEngine(t, func(cfg *Config) { cfg.Prompts = dir })
			a := newSpeaker(t, c.kind, c.pt)
			p := startEndpoint(t, e)
			answer := must(p.Answer(a.formats(c.words, c.lines), loop4))
			a.dial(answer)
			if got, want := mline(string(answer)), "m=audio PORT RTP/AVP "+c.words; got != want {
				t.Errorf("%q, want %q", got, want)
			}
			if err := p.Play(name); err != nil {
				t.Fatal(err)
			}
			if got := hearsTone(t, a, 5000); got < 0.95 {
				t.Errorf("the tone is %.3f of what is heard", got)
			}
			if err := p.Play("tone:dial:de"); err != nil {
				t.Fatal(err)
			}
			settle(p.shard)
			for unread(t, a.rtp) != nil { // what is left of the prompt
			}
			if got := hearsTone(t, a, 425); got < 0.9 {
				t.Errorf("the dial tone is %.3f of what is heard", got)
			}
			if st := e.Stats().Sounds; st.Bytes != e.sounds.kept[name].bytes()+e.sounds.kept["tone:dial:de"].bytes() {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestWhatIsPlayedIntoARelayedCallIsHeardInItsCodec(t *testing.T) {
	dir, name := wideTone(t, 3000)
	for _, c := range widePhones {
		t.Run(c.name, func(t *testing.T) {
			e := startEngine(t, func(cfg *Config) { cfg.Prompts = dir })
			a, b := newSpeaker(t, c.kind, c.pt), newSpeaker(t, c.kind, c.pt)
			s := quietSession(t, e)
			defer s.Close()
			settleOn(t, s, a.phone, b.phone, a.formats(c.words, c.lines), b.formats(c.words, c.lines))
			if _, err := s.Play(A, name, PlayOptions{}); err != nil {
				t.Fatal(err)
			}
			if got := hearsTone(t, a, 3000); got < 0.95 {
				t.Errorf("the tone is %.3f of what is heard", got)
			}
		})
	}
}

func TestLoopsOfCodecsWithMemoryHaveNoClickAtTheirSeam(t *testing.T) {
	s := newSounds(&Config{})
	s.codecs = withOpus(t)
	k := must(s.take("tone:busy"))
	for _, kind := range []audio.Kind{audio.G722, audio.Opus} {
		l := must(s.loop(k, kind))
		if l != must(s.loop(k, kind)) || l.packets() != k.packets() {
			t.Fatalf("%v: %d packets of %d", kind, l.packets(), k.packets())
		}
		dec := must(s.codecs.NewDecoder(kind, wideRate))
		pcm := make([]int16, audio.MaxSamples)
		for n := range 2 * l.packets() {
			size := must(dec.Decode(pcm, l.packet(n%l.packets())))
			step := 0
			for i := 1; i < size; i++ {
				step = max(step, int(math.Abs(float64(pcm[i])-float64(pcm[i-1]))))
			}
			if n > 5 && step > 3500 { // a 400 Hz tone of this level moves by 1500 a sample at most
				t.Errorf("%v: a step of %d in packet %d of %d", kind, step, n, l.packets())
			}
		}
	}
	if _, err := s.loop(k, audio.Event); err == nil {
		t.Error("a sound in telephone events")
	}
}

// A room is mixed as wide as its best phone, everybody hears everybody, and it becomes narrow again.
func TestRoomIsMixedAsWideAsItsPhonesSpeak(t *testing.T) {
	e := startEngine(t, nil)
	room := must(e.OpenRoom(RoomConfig{ID: "hall"}))
	defer room.Close()
	phones := []*speaker{newSpeaker(t, audio.PCMU, 0), newSpeaker(t, audio.G722, 9), newSpeaker(t, audio.Opus, 107)}
	offers := [][]byte{phones[0].formats("0"), phones[1].formats("9"), phones[2].formats("107", opusLines)}
	tones := []float64{600, 5000, 6200}
	var ends []*Endpoint
	for i, a := range phones {
		p := startEndpoint(t, e)
		ends = append(ends, p)
		a.dial(must(p.Answer(offers[i], loop4)))
		must(room.Join(p))
		if got, want := room.Stats().Rate, []int{8000, 16000, 16000}[i]; got != want {
			t.Fatalf("with %d members the room is mixed at %d Hz", i+1, got)
		}
	}
	stop := make(chan struct{})
	talked := make(chan struct{})
	go func() {
		defer close(talked)
		beat := time.NewTicker(frameTime)
		defer beat.Stop()
		for {
			select {
			case <-stop:
				return
			case <-beat.C:
			}
			for i, a := range phones {
				a.hum(tones[i])
			}
		}
	}()
	heard := make([][]int16, len(phones))
	for range 75 {
		for i, a := range phones {
			b := a.next(a.rtp)
			if b[1]&0x7f != a.sends {
				t.Fatalf("payload type %d for phone %d", b[1]&0x7f, i)
			}
			pcm := make([]int16, audio.MaxSamples)
			heard[i] = append(heard[i], pcm[:must(a.hears.Decode(pcm, b[12:]))]...)
		}
	}
	close(stop)
	<-talked
	for i, a := range phones {
		rate := a.hears.Rate()
		last := heard[i][len(heard[i])-rate/2:]
		for n, hz := range tones {
			got, want := share(last, rate, hz), 0.25
			switch {
			case n == i || hz > float64(rate)/2:
				if hz < float64(rate)/2 && got > 0.02 {
					t.Errorf("phone %d hears itself: %.3f", i, got)
				}
			case got < want:
				t.Errorf("phone %d: the tone of phone %d is %.3f of what it hears", i, n, got)
			}
		}
	}
	ends[1].Close()
	ends[2].Close()
	if got := room.Stats().Rate; got != 8000 {
		t.Errorf("among phones of G.711 the room is mixed at %d Hz", got)
	}
}
