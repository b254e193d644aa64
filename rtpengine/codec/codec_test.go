package codec

import (
	"errors"
	"testing"
)

func TestCodecsAreFoundByWhatADescriptionSays(t *testing.T) {
	for _, c := range []struct {
		name            string
		clock, channels int
		want            Kind
	}{
		{"PCMU", 8000, 1, PCMU},
		{"pcma", 8000, 0, PCMA},
		{"G722", 8000, 1, G722},
		{"G722", 16000, 1, None}, // RFC 3551 §4.5.2: the clock is 8000 for ever
		{"opus", 48000, 2, Opus},
		{"opus", 48000, 1, None}, // RFC 7587 §4.1
		{"opus", 16000, 2, None},
		{"CN", 8000, 1, Noise},
		{"CN", 16000, 1, Noise},
		{"telephone-event", 48000, 1, Event},
		{"PCMU", 16000, 1, None},
		{"PCMU", 8000, 2, None},
		{"", 8000, 1, None},
		{"iLBC", 8000, 1, None},
	} {
		if got := Named(c.name, c.clock, c.channels); got != c.want {
			t.Errorf("%s/%d/%d: got %v, want %v", c.name, c.clock, c.channels, got, c.want)
		}
	}
	for payload := -1; payload < 128; payload++ {
		want, ok := map[int]Kind{0: PCMU, 8: PCMA, 9: G722, 13: Noise}[payload]
		if got := Static(payload); got != want || ok && got.Payload() != payload {
			t.Errorf("%d: got %v, want %v", payload, got, want)
		}
	}
	for k, want := range map[Kind]string{PCMU: "PCMU/8000", G722: "G722/8000", Opus: "opus/48000/2"} {
		if got := k.Mapping(); got != want || Named(k.String(), k.Clock(), k.Channels()) != k {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestCodecsHaveTheirRates(t *testing.T) {
	l := Open("none")
	for _, k := range []Kind{PCMU, PCMA, G722} {
		for _, rate := range []int{8000, 16000, 48000} {
			_, err1 := l.NewDecoder(k, rate)
			_, err2 := l.NewEncoder(k, rate)
			if want := rate == k.Rate(); (err1 == nil) != want || (err2 == nil) != want {
				t.Errorf("%v at %d: %v, %v", k, rate, err1, err2)
			}
		}
	}
	for _, k := range []Kind{None, Noise, Event} {
		if _, err := l.NewDecoder(k, 8000); !errors.Is(err, ErrMissing) {
			t.Errorf("%v: %v", k, err)
		}
		if _, err := l.NewEncoder(k, 8000); !errors.Is(err, ErrMissing) {
			t.Errorf("%v: %v", k, err)
		}
	}
}

// each runs a test for every codec with its decoder and encoder at the rate of a telephone.
func each(t *testing.T, f func(t *testing.T, e Encoder, d Decoder)) {
	l := Open("")
	for _, k := range []Kind{PCMU, PCMA, G722, Opus} {
		t.Run(k.String(), func(t *testing.T) {
			if !l.Encodes(k) {
				t.Skip(l.Missing())
			}
			rate := k.Rate()
			if k == Opus {
				rate = 16000
			}
			f(t, mustEncoder(t, l, k, rate), mustDecoder(t, l, k, rate))
		})
	}
	t.Run("opus by pion", func(t *testing.T) {
		if !l.Encodes(Opus) {
			t.Skip(l.Missing())
		}
		f(t, mustEncoder(t, l, Opus, 16000), mustDecoder(t, Open("none"), Opus, 16000))
	})
}

func TestAFrameAllocatesNothing(t *testing.T) {
	each(t, func(t *testing.T, e Encoder, d Decoder) {
		pcm, frame := make([]int16, MaxSamples), make([]byte, 1500)
		sound := voice(e.Rate(), e.Rate()/50*21)
		round, most := 0, 0.0
		switch d.(type) {
		case *pionDecoder:
			most = 40 // pion's own
		case *opusDecoder:
			most = 4 * raceDetector // purego keeps its argument blocks in a sync.Pool, which the race detector empties at random
		}
		if got := testing.AllocsPerRun(20, func() {
			at := round % 20 * e.Rate() / 50
			round++
			n, err := e.Encode(frame, sound[at:at+e.Rate()/50])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.Decode(pcm, frame[:n]); err != nil {
				t.Fatal(err)
			}
			d.Conceal(pcm[:e.Rate()/50])
			d.Recover(pcm[:e.Rate()/50], frame[:n])
		}); got > most {
			t.Errorf("%.0f allocations a frame", got)
		}
	})
}

func FuzzDecoders(f *testing.F) {
	f.Add([]byte{0x80, 0x7f, 0xff}, uint8(0))
	f.Add([]byte{0x48, 1, 2, 3, 4, 5, 6, 7, 8}, uint8(9))
	f.Add([]byte{31<<3 | 3, 6, 0, 0}, uint8(3))
	f.Add([]byte{}, uint8(4))
	l, pure := Open(""), Open("none")
	f.Fuzz(func(t *testing.T, data []byte, what uint8) {
		for _, lib := range []*Library{l, pure} {
			for _, k := range []Kind{PCMU, PCMA, G722, Opus} {
				rate := k.Rate()
				if k == Opus {
					rate = [...]int{8000, 12000, 16000, 24000, 48000}[what%5]
				}
				d := mustDecoder(t, lib, k, rate)
				pcm := make([]int16, MaxSamples)
				for range 2 { // the second time with a past
					n, err := d.Decode(pcm, data)
					if err == nil && n != d.Samples(data) {
						t.Errorf("%v: %d samples, promised %d", k, n, d.Samples(data))
					}
					d.Conceal(pcm[:rate*int(what)/1000])
					d.Recover(pcm[:rate/50], data)
				}
			}
		}
	})
}

func BenchmarkFrame(b *testing.B) {
	l := Open("")
	for _, c := range []struct {
		name string
		lib  *Library
		kind Kind
		rate int
	}{
		{"PCMU", l, PCMU, 8000},
		{"PCMA", l, PCMA, 8000},
		{"G722", l, G722, 16000},
		{"opus at 8 kHz", l, Opus, 8000},
		{"opus at 16 kHz", l, Opus, 16000},
		{"opus at 48 kHz", l, Opus, 48000},
		{"opus by pion at 8 kHz", Open("none"), Opus, 8000},
		{"opus by pion at 48 kHz", Open("none"), Opus, 48000},
	} {
		if !l.Encodes(c.kind) {
			continue
		}
		sound := voice(c.rate, c.rate*2)
		frame := c.rate / 50
		sent := packets(b, mustEncoder(b, l, c.kind, c.rate), sound)
		if c.lib.Encodes(c.kind) {
			b.Run(c.name+"/encode", func(b *testing.B) {
				e, out := mustEncoder(b, l, c.kind, c.rate), make([]byte, 1500)
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					at := i % 100 * frame
					if _, err := e.Encode(out, sound[at:at+frame]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run(c.name+"/decode", func(b *testing.B) {
			d, out := mustDecoder(b, c.lib, c.kind, c.rate), make([]int16, MaxSamples)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := d.Decode(out, sent[i%100]); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/conceal", func(b *testing.B) {
			d, out := mustDecoder(b, c.lib, c.kind, c.rate), make([]int16, MaxSamples)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				_, _ = d.Decode(out, sent[i%100])
				d.Conceal(out[:frame])
			}
		})
	}
}
