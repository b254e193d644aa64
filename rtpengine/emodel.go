package rtpengine

import (
	"math"
	"time"
)

// Score is how a direction of a call sounds, as the E-model has it (ITU-T G.107, G.107.1); the zero Score is unknown.
type Score struct {
	R   float64 // transmission rating: 0 to 93.2 for a codec of the telephone's band, 0 to 129 for a wider one (G.107.1)
	MOS float64 // what people who are used to that band would say, 1 to 4.5
}

// rate is the E-model with the default values of G.107 for all that a relay cannot know: room, set, echo, loudness. loss is in
// percent and random; delay is from mouth to ear.
func (i impairment) rate(loss float64, delay time.Duration) Score {
	const (
		basic = 93.2 // Ro - Is with all defaults
		wide  = 129  // the same of G.107.1
	)
	effective := i.ie + (95-i.ie)*loss/(loss+i.bpl) // 95 in both: G.107 (7-29), G.107.1 (7-15)
	if i.wide {
		r := max(0, wide-delayImpairment(delay)-effective)
		return Score{R: tenths(r), MOS: scoreOf(r / 1.29).MOS} // G.107.1 Annex A
	}
	return scoreOf(basic - delayImpairment(delay) - effective)
}

func tenths(r float64) float64 { return math.Round(10*r) / 10 }

// delayImpairment is Idd of G.107 (7-27, 7-28): what a long way does even without echo.
func delayImpairment(delay time.Duration) float64 {
	ms := float64(delay) / float64(time.Millisecond)
	if ms <= 100 {
		return 0
	}
	x := math.Log2(ms / 100)
	return 25 * (math.Pow(1+math.Pow(x, 6), 1.0/6) - 3*math.Pow(1+math.Pow(x/3, 6), 1.0/6) + 2)
}

// scoreOf adds the MOS to a rating (G.107 Annex B).
func scoreOf(r float64) Score {
	r = max(0, min(100, r))
	mos := 1 + 0.035*r + r*(r-60)*(100-r)*7e-6
	return Score{R: tenths(r), MOS: math.Round(100*max(1, mos)) / 100}
}

// score rates what a side said as the other side hears it: what was lost before us or behind us, the delay of both ways, a packet, and
// the jitter buffer of a usual phone. by is what the codec does to it.
func (st *StreamStats) score(listener *StreamStats, by impairment) Score {
	if st.Packets == 0 || !by.known() {
		return Score{}
	}
	here := max(0, st.Lost)
	lost := max(here, listener.reported)
	loss := min(100, 100*float64(lost)/float64(int64(st.Packets)+here)+listener.discarded)
	delay := (st.RTT+listener.RTT)/2 + frameTime + max(2*frameTime, 2*st.Jitter)
	return by.rate(loss, delay)
}
