package rtpengine

import "testing"

// rounds are the on and off times of a tone, in ms, as its samples have them, and its loudest frequencies among those asked for.
func rounds(samples []int16) (turns []int) {
	const window = sampleRate / 200 // 5 ms
	loud, since := true, 0
	for at := 0; at+window <= len(samples); at += window {
		peak := int16(0)
		for _, v := range samples[at : at+window] {
			peak = max(peak, v, -v)
		}
		if now := peak > 0; now != loud {
			turns = append(turns, (at-since)*1000/sampleRate)
			loud, since = now, at
		}
	}
	return append(turns, (len(samples)-since)*1000/sampleRate)
}

func TestTonesHaveTheFrequenciesAndCadencesOfE180(t *testing.T) {
	for name, c := range map[string]struct {
		hertz []float64
		turns []int // on and off in turn, of one round or two
	}{
		"busy":          {[]float64{400}, []int{375, 375, 375, 375}},
		"ring":          {[]float64{400, 450}, []int{400, 200, 400, 2000}},
		"busy:de":       {[]float64{425}, []int{480, 480}},
		"congestion:de": {[]float64{425}, []int{240, 240}},
		"ring:us":       {[]float64{440, 480}, []int{2000, 4000}},
		"busy:us":       {[]float64{480, 620}, []int{500, 500}},
		"ring:fr":       {[]float64{440}, []int{1500, 3500}},
		"dial:it":       {[]float64{425}, []int{200, 200, 600, 1000}},
		"congestion:es": {[]float64{425}, []int{200, 200, 200, 200, 200, 600}},
		"ring:at":       {[]float64{420}, []int{1000, 5000}},
		"congestion:ch": {[]float64{425}, []int{200, 200}},
		"ring:nl":       {[]float64{425}, []int{1000, 4000}},
		"ring:au":       {[]float64{413, 438}, []int{400, 200, 400, 2000}},
		"dial:jp":       {[]float64{400}, []int{2000}},
		"info:de":       {[]float64{950, 1400, 1800}, []int{990, 1000, 990, 1000}},
	} {
		samples := must(generate("tone:" + name))
		got := rounds(samples)
		if len(got) != len(c.turns) {
			t.Errorf("%s: turns %v, want %v", name, got, c.turns)
			continue
		}
		for i := range got {
			if d := got[i] - c.turns[i]; d < -10 || d > 10 {
				t.Errorf("%s: turns %v, want %v", name, got, c.turns)
			}
		}
		for _, hz := range c.hertz {
			if amplitude(samples[:c.turns[0]*8], hz) < 500 {
				t.Errorf("%s has no %.0f Hz", name, hz)
			}
		}
		if amplitude(samples[:c.turns[0]*8], 700) > 100 {
			t.Errorf("%s has 700 Hz", name)
		}
	}
	for _, name := range []string{"tone:busy:", "tone:busy:xx", "tone:", "tone:de", "tone:busy:de:de"} {
		if _, err := generate(name); err == nil || builtin(name) {
			t.Errorf("there is a %q", name)
		}
	}
}
