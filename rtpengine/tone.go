package rtpengine

import (
	"math"
	"slices"
	"strings"
)

// segment is a piece of a call progress tone: frequencies in Hz at once, none for a pause, and how long, in ms.
type segment struct {
	hertz []float64
	ms    int
}

func on(ms int, hertz ...float64) segment { return segment{hertz, ms} }
func off(ms int) segment                  { return segment{nil, ms} }

// steady is a tone without pauses; two seconds hold whole periods of every whole frequency.
func steady(hertz ...float64) []segment { return []segment{on(2000, hertz...)} }

// pulses are a tone and a pause in turn.
func pulses(hertz float64, onMs, offMs int) []segment { return []segment{on(onMs, hertz), off(offMs)} }

// special is the special information tone: three rising tones and a pause (ITU-T E.180 §4.9).
func special() []segment { return []segment{on(330, 950), on(330, 1400), on(330, 1800), off(1000)} }

// toneSet is what an administration uses.
type toneSet struct{ dial, ring, busy, congestion, info []segment }

// tonesOf gives the tones of a country as they are used there: "" and "uk" are British, after BT SIN 350. at, ch, de, fr, it and nl
// were compared with a public table after ITU-T E.180 Supplement 2; us, es, au and jp have not been compared with that list. Where a
// list has two frequencies or a span the one that is in use counts; a tone that it modulates is two tones whose beat is the
// modulation; where it names no special information tone the one of E.180 itself is given.
func tonesOf(country string) (toneSet, bool) {
	switch country {
	case "", "uk":
		ring := []segment{on(400, 400, 450), off(200), on(400, 400, 450), off(2000)}
		return toneSet{steady(350, 440), ring, pulses(400, 375, 375), []segment{on(400, 400), off(350), on(225, 400), off(525)}, special()}, true
	case "de":
		return toneSet{steady(425), pulses(425, 1000, 4000), pulses(425, 480, 480), pulses(425, 240, 240), special()}, true
	case "us":
		return toneSet{
			steady(350, 440), []segment{on(2000, 440, 480), off(4000)}, []segment{on(500, 480, 620), off(500)}, []segment{on(250, 480, 620), off(250)}, special(),
		}, true
	case "fr":
		return toneSet{steady(440), pulses(440, 1500, 3500), pulses(440, 500, 500), pulses(440, 250, 250), special()}, true
	case "it":
		dial := []segment{on(200, 425), off(200), on(600, 425), off(1000)}
		return toneSet{dial, pulses(425, 1000, 4000), pulses(425, 500, 500), pulses(425, 200, 200), special()}, true
	case "es":
		congestion := []segment{on(200, 425), off(200), on(200, 425), off(200), on(200, 425), off(600)}
		return toneSet{steady(425), pulses(425, 1500, 3000), pulses(425, 200, 200), congestion, special()}, true
	case "nl":
		return toneSet{steady(425), pulses(425, 1000, 4000), pulses(425, 500, 500), pulses(425, 250, 250), special()}, true
	case "at":
		info := []segment{on(330, 950), on(330, 1450), on(330, 1850), off(1000)}
		return toneSet{steady(420), pulses(420, 1000, 5000), pulses(420, 400, 400), pulses(420, 200, 200), info}, true
	case "ch":
		return toneSet{steady(425), pulses(425, 1000, 4000), pulses(425, 500, 500), pulses(425, 200, 200), special()}, true
	case "au":
		ring := []segment{on(400, 413, 438), off(200), on(400, 413, 438), off(2000)}
		return toneSet{steady(413, 438), ring, pulses(425, 375, 375), pulses(425, 375, 375), pulses(425, 2500, 500)}, true
	case "jp":
		return toneSet{steady(400), []segment{on(1000, 392, 408), off(2000)}, pulses(400, 500, 500), pulses(400, 500, 500), special()}, true
	}
	return toneSet{}, false
}

// toneOf finds a tone by what follows "tone:", a kind and perhaps a country: "busy", "busy:de".
func toneOf(name string) ([]segment, bool) {
	kind, country, named := strings.Cut(name, ":")
	set, ok := tonesOf(country)
	if !ok || named && country == "" {
		return nil, false
	}
	if kind == "beep" { // after which callers may speak
		return []segment{on(400, 1000)}, true
	}
	tones := map[string][]segment{"dial": set.dial, "ring": set.ring, "busy": set.busy, "congestion": set.congestion, "info": set.info}
	return tones[kind], tones[kind] != nil
}

// samplesOf is one round of a tone, or two when one is no whole number of frames.
func samplesOf(tone []segment) []int16 {
	var out []int16
	for _, s := range tone {
		start := len(out)
		for range s.ms * sampleRate / 1000 {
			v := 0.0
			for _, hz := range s.hertz {
				v += math.Sin(2 * math.Pi * hz * float64(len(out)) / sampleRate)
			}
			out = append(out, int16(v*5000/float64(max(1, len(s.hertz)))))
		}
		if len(tone) > 1 {
			fade(out[start:], 40)
		}
	}
	if len(out)%frameSamples != 0 {
		out = slices.Concat(out, out)
	}
	return out
}
