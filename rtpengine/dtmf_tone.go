package rtpengine

import (
	"math"
	"math/cmplx"
	"strings"
)

// The tones of ITU-T Q.23: a key is one of the low group, its row, and one of the high group, its column.
const dtmfPad = "123A" + "456B" + "789C" + "*0#D"

var dtmfHertz = [8]float64{697, 770, 852, 941, 1209, 1336, 1477, 1633}

// dtmfPair gives the places of a key's tones in dtmfHertz.
func dtmfPair(key byte) (low, high int, ok bool) {
	i := strings.IndexByte(dtmfPad, key)
	if i < 0 {
		return 0, 0, false
	}
	return i / 4, 4 + i%4, true
}

// Levels of what we send, peaks of 16-bit samples, where a full sine is +3.14 dBm0 (ITU-T G.711): -10 dBm0 for the low tone and
// -8 for the high one, which lines dampen more (ETSI ES 201 235-2 §4.2.3).
const (
	dtmfLowPeak  = 7080
	dtmfHighPeak = 8910
	dtmfRamp     = 24 // samples that it takes to rise and fall, 3 ms
)

// dtmfTone writes the samples of a key's tone from its sample at on; the tone is length samples long, then there is silence.
func dtmfTone(out []int16, key byte, at, length int) {
	low, high, ok := dtmfPair(key)
	for i := range out {
		n := at + i
		if !ok || n < 0 || n >= length {
			out[i] = 0
			continue
		}
		turn := 2 * math.Pi * float64(n) / sampleRate
		v := dtmfLowPeak*math.Sin(turn*dtmfHertz[low]) + dtmfHighPeak*math.Sin(turn*dtmfHertz[high])
		if edge := min(n, length-1-n); edge < dtmfRamp {
			v *= float64(edge) / dtmfRamp
		}
		out[i] = int16(v)
	}
}

// The detector looks at blocks of 12.75 ms with Goertzel's filters. The figures are those of ITU-T Q.24 annex A with what a block so short
// makes of them added: a tone that is off by the tolerated 1.5 % loses up to 1.4 dB, and a strong tone leaks into the filter of a weak one.
const (
	earBlock   = 102
	earTwist   = 13.0 // power of the low tone over the high one: 8 dB
	earReverse = 3.55 // and the other way: 4 dB
	earPeak    = 4.0  // over each other tone of the group: 6 dB
	earShare   = 0.70 // of a block's power that the two tones must have
	earPure    = 0.87 // the same without the loss of tones that are off: speech consists of more than two
	earOff     = 0.025
	earLength  = 2.4  // blocks: 31 ms; what is shorter than 23 ms must not count, what is longer than 40 must
	earFaded   = 0.25 // power of a tone that has stopped, of what it had
	earGap     = 2    // blocks without the tone that end it; an interruption of 10 ms does not
)

// earFloor is the least power of a tone, -38 dBm0.
var earFloor = math.Pow(earBlock/2*32124*math.Pow(10, (-38-3.14)/20), 2)

// bin is one filter.
type bin struct {
	turn  float64    // radians a sample
	coeff float64    // 2 cos turn
	back  complex128 // e^-i·turn
	block complex128 // e^i·turn·earBlock
}

var dtmfBins = func() (bins [8]bin) {
	for i, hertz := range dtmfHertz {
		turn := 2 * math.Pi * hertz / sampleRate
		bins[i] = bin{turn, 2 * math.Cos(turn), cmplx.Rect(1, -turn), cmplx.Rect(1, turn*earBlock)}
	}
	return bins
}()

// toneEar finds keys in the sound of one direction. It holds nothing but numbers; a new one is ready.
type toneEar struct {
	s1, s2 [8]float64
	energy float64
	n      int // samples of this block

	last   [8]complex128 // spectrum of the block before
	power  [4][8]float64 // of the last blocks, the newest first
	total  [2]float64    // energy of the last blocks
	judged [2]byte       // keys of the last blocks, the newest first; 0 none
	maybe  byte          // a key that passed all tests in the block before but that of its length
	key    byte          // that sounds
	loud   float64       // its power in the loudest block
	blocks int           // how long it has sounded
	gap    int           // blocks since
}

// hear takes samples at 8 kHz. When a key has been let go it gives the key and for how many samples it was heard; one call gives one
// at most, so give it no more than 400 samples.
func (e *toneEar) hear(samples []int16) (key byte, length int) {
	for _, sample := range samples {
		v := float64(sample)
		e.energy += v * v
		for i := range e.s1 {
			e.s1[i], e.s2[i] = v+dtmfBins[i].coeff*e.s1[i]-e.s2[i], e.s1[i]
		}
		if e.n++; e.n == earBlock {
			if k, l := e.block(); k != 0 {
				key, length = k, l
			}
		}
	}
	return key, length
}

// block judges a full block and begins the next.
func (e *toneEar) block() (key byte, length int) {
	copy(e.power[1:], e.power[:3])
	var now [8]complex128
	for i := range now {
		now[i] = complex(e.s1[i], 0) - dtmfBins[i].back*complex(e.s2[i], 0)
		e.power[0][i] = real(now[i])*real(now[i]) + imag(now[i])*imag(now[i])
	}
	e.total[1], e.total[0] = e.total[0], e.energy
	e.judged[1], e.judged[0] = e.judged[0], judge(&e.power[0], e.energy)
	if e.key != 0 {
		key, length = e.sounding()
	}
	if e.key == 0 {
		e.begin(&now)
	}
	e.last = now
	e.s1, e.s2, e.energy, e.n = [8]float64{}, [8]float64{}, 0, 0
	return key, length
}

// judge names the key whose two tones a block consists of, or 0.
func judge(power *[8]float64, energy float64) byte {
	low, high := 0, 4
	for i := range 4 {
		if power[i] > power[low] {
			low = i
		}
		if power[4+i] > power[high] {
			high = 4 + i
		}
	}
	l, h := power[low], power[high]
	if l < earFloor || h < earFloor || l > h*earTwist || h > l*earReverse || l+h < earShare*earBlock/2*energy {
		return 0
	}
	for i, p := range power {
		if i != low && i != high && (i < 4 && p*earPeak > l || i >= 4 && p*earPeak > h) {
			return 0
		}
	}
	return dtmfPad[4*low+high-4]
}

// sounding follows the key that was found until it is let go.
func (e *toneEar) sounding() (key byte, length int) {
	low, high, _ := dtmfPair(e.key)
	p := e.power[0][low] + e.power[0][high]
	other := e.judged[0] != 0 && e.judged[0] != e.key
	if !other && p >= earFaded*e.loud {
		e.loud = max(e.loud, p)
		e.blocks, e.gap = e.blocks+e.gap+1, 0
		return 0, 0
	}
	if e.gap++; e.gap < earGap {
		return 0, 0
	}
	key, length = e.key, e.blocks*earBlock
	e.key = 0
	return key, length
}

// begin looks whether a key has begun: two blocks in a row consist of it, in both the tones have the right frequency, and with what is
// around them they are long enough. The block behind the two may bring what is missing.
func (e *toneEar) begin(now *[8]complex128) {
	key, waiting := e.judged[0], e.maybe
	e.maybe = 0
	pure := key != 0 && key == e.judged[1] && e.pure(key, now)
	if waiting == 0 && pure {
		waiting = key
	}
	if waiting != 0 && !e.start(waiting) && pure {
		e.maybe = key
	}
}

// start takes a key that has passed all tests but that of its length.
func (e *toneEar) start(key byte) bool {
	low, high, _ := dtmfPair(key)
	var loud, length float64
	for i := range e.power {
		loud = max(loud, e.power[i][low]+e.power[i][high])
	}
	for i := range e.power {
		length += math.Sqrt((e.power[i][low] + e.power[i][high]) / loud)
	}
	if length < earLength {
		return false
	}
	e.key, e.loud, e.blocks, e.gap = key, loud, int(length+0.5), 0
	return true
}

// pure tells whether the last two blocks consist of a key's tones at the right frequencies: what their phases have advanced by from one to
// the other says how far they are off, and that says what the filters have missed of them.
func (e *toneEar) pure(key byte, now *[8]complex128) bool {
	low, high, _ := dtmfPair(key)
	var have [2]float64
	for _, i := range [...]int{low, high} {
		b := &dtmfBins[i]
		off := cmplx.Phase(now[i]*cmplx.Conj(e.last[i]*b.block)) / earBlock // radians a sample
		if math.Abs(off) > earOff*b.turn {
			return false
		}
		loss := 1.0
		if x := off * earBlock / 2; x != 0 {
			loss = math.Pow(math.Sin(x)/x, 2)
		}
		have[0] += e.power[0][i] / loss
		have[1] += e.power[1][i] / loss
	}
	return have[0] >= earPure*earBlock/2*e.total[0] && have[1] >= earPure*earBlock/2*e.total[1]
}
