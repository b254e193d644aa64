package codec

import "math"

// concealer replaces lost sound by what came before it, after the idea of ITU-T G.711 Appendix I: the last period of the voice is
// found and repeated, more periods of it the longer the loss lasts so that it does not hum, and it fades to silence within 60 ms. Unlike
// there, nothing is delayed: the step at the beginning is spread over a quarter of a period, and the end is a cross-fade.
type concealer struct {
	rate    int
	past    []int16 // what was last played, the newest at the end
	lost    int     // samples concealed since the last packet
	period  int
	periods int // how many of them are in wave
	at      int // next sample of wave
	wave    []float32
	step    float32 // from the wave's beginning to what came before it
}

const (
	pitchLeast  = 5  // ms, 200 Hz
	pitchMost   = 15 // ms, 66 Hz
	pitchWindow = 20 // ms that are compared
	fadeFrom    = 10 // ms of loss that are not yet quieter
	fadeUntil   = 60 // ms after which there is silence
)

func newConcealer(rate int) concealer {
	return concealer{
		rate: rate, past: make([]int16, rate*50/1000), wave: make([]float32, 0, 3*rate*pitchMost/1000),
	}
}

func (c *concealer) Rate() int { return c.rate }

// Recover is for codecs that repeat nothing.
func (c *concealer) Recover([]int16, []byte) bool { return false }

func (c *concealer) ms(n int) int { return c.rate * n / 1000 }

// heard takes what was decoded, and softens its beginning after a loss.
func (c *concealer) heard(pcm []int16) {
	if c.lost > 0 {
		// Appendix I: 4 ms, and 4 ms more for each 10 ms lost, at most 10 ms.
		n := min(len(pcm), c.ms(10), c.ms(4)+4*c.lost/10)
		for i := range n {
			w := float32(i+1) / float32(n+1)
			pcm[i] = clip(w*float32(pcm[i]) + (1-w)*c.next())
		}
		c.lost = 0
	}
	c.keep(pcm)
}

// keep moves played samples into the past.
func (c *concealer) keep(pcm []int16) {
	if len(pcm) >= len(c.past) {
		copy(c.past, pcm[len(pcm)-len(c.past):])
		return
	}
	copy(c.past, c.past[len(pcm):])
	copy(c.past[len(c.past)-len(pcm):], pcm)
}

// Conceal fills dst with what may have been said.
func (c *concealer) Conceal(dst []int16) {
	if c.lost == 0 {
		c.period = c.pitch()
		c.at, c.periods = 0, 1
		c.step = float32(c.past[len(c.past)-1]) - float32(c.past[len(c.past)-1-c.period])
		c.shape()
	}
	for i := range dst {
		dst[i] = clip(c.next())
	}
	// The past stays as it is while a loss goes on: repeating a repetition makes a robot.
}

// next gives one sample more of the repetition.
func (c *concealer) next() float32 {
	gain := float32(1)
	if over := c.lost - c.ms(fadeFrom); over > 0 {
		gain = max(0, 1-float32(over)/float32(c.ms(fadeUntil-fadeFrom)))
	}
	if gain == 0 {
		c.lost++
		return 0
	}
	if want := min(3, 1+c.lost/c.ms(10)); want > c.periods && c.at%c.period == 0 {
		c.periods, c.at = want, 0
		c.shape()
	}
	v := c.wave[c.at]
	if quarter := c.period / 4; c.lost < quarter {
		v += c.step * float32(quarter-c.lost) / float32(quarter+1)
	}
	if c.at++; c.at == len(c.wave) {
		c.at = 0
	}
	c.lost++
	return v * gain
}

// shape takes the last periods as a wave that can be repeated: its last quarter of a period fades into what came before its first.
func (c *concealer) shape() {
	n, quarter := c.periods*c.period, c.period/4
	first := len(c.past) - n
	c.wave = c.wave[:n]
	for i := range c.wave {
		c.wave[i] = float32(c.past[first+i])
	}
	for i := range quarter {
		w := float32(i+1) / float32(quarter+1)
		c.wave[n-quarter+i] = (1-w)*c.wave[n-quarter+i] + w*float32(c.past[first-quarter+i])
	}
}

// pitch finds the period in which the past resembles itself most: first on every fourth of a millisecond, then exactly.
func (c *concealer) pitch() int {
	coarse := max(1, c.rate/4000)
	best, most := c.ms(pitchLeast), math.Inf(-1)
	for lag := c.ms(pitchLeast); lag <= c.ms(pitchMost); lag += coarse {
		if like := c.resemblance(lag, coarse); like > most {
			best, most = lag, like
		}
	}
	from, to := max(c.ms(pitchLeast), best-coarse+1), min(c.ms(pitchMost), best+coarse-1)
	most = math.Inf(-1)
	for lag := from; lag <= to; lag++ {
		if like := c.resemblance(lag, 1); like > most {
			best, most = lag, like
		}
	}
	return best
}

// resemblance is the correlation of the window with what was a lag before, by the latter's strength.
func (c *concealer) resemblance(lag, step int) float64 {
	now := c.past[len(c.past)-c.ms(pitchWindow):]
	then := c.past[len(c.past)-c.ms(pitchWindow)-lag:]
	var cross, power int64
	for i := 0; i < len(now); i += step {
		cross += int64(now[i]) * int64(then[i])
		power += int64(then[i]) * int64(then[i])
	}
	return float64(cross) / math.Sqrt(float64(power)+1)
}

func clip(v float32) int16 { return int16(max(-32768, min(32767, v))) }
