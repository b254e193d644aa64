package rtpengine

import (
	"math"
	"time"
)

// Score is how a direction of a call sounds, as the E-model has it (ITU-T G.107); the zero Score is unknown.
type Score struct {
	R   float64 // transmission rating, 0 to 93.2
	MOS float64 // what people would say, 1 to 4.5
}

// impairment says what a codec does to speech, and how well it stands lost packets (ITU-T G.113 Appendix I).
type impairment struct {
	ie  float64 // equipment impairment factor without loss
	bpl float64 // packet-loss robustness factor
}

// G.711, with the concealment of its Appendix I as phones have it, and without any, as we hear and record it.
func g711Concealed() impairment { return impairment{0, 25.1} }
func g711Plain() impairment     { return impairment{0, 4.3} }

// rate is the E-model with the default values of G.107 for all that a relay cannot know: room, set, echo, loudness. loss is in
// percent and random; delay is from mouth to ear.
func (i impairment) rate(loss float64, delay time.Duration) Score {
	const basic = 93.2 // Ro - Is with all defaults
	effective := i.ie + (95-i.ie)*loss/(loss+i.bpl)
	return scoreOf(basic - delayImpairment(delay) - effective)
}

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
	return Score{R: math.Round(10*r) / 10, MOS: math.Round(100*max(1, mos)) / 100}
}

// score rates what a side said as the other side hears it: what was lost before us or behind us, the delay of both ways, a packet, and
// the jitter buffer of a usual phone. by says how the listener stands losses. Codecs other than G.711 are not rated.
func (st *StreamStats) score(listener *StreamStats, by impairment) Score {
	if st.Packets == 0 || st.Codec != "PCMU" && st.Codec != "PCMA" {
		return Score{}
	}
	here := max(0, st.Lost)
	lost := max(here, listener.reported)
	loss := min(100, 100*float64(lost)/float64(int64(st.Packets)+here)+listener.discarded)
	delay := (st.RTT+listener.RTT)/2 + frameTime + max(2*frameTime, 2*st.Jitter)
	return by.rate(loss, delay)
}

// staticCodec names the audio formats that have a number of their own (RFC 3551 §6) and that phones use.
func staticCodec(payload uint32) string {
	switch payload {
	case payloadPCMU:
		return "PCMU"
	case 3:
		return "GSM"
	case 4:
		return "G723"
	case payloadPCMA:
		return "PCMA"
	case 9:
		return "G722"
	case 18:
		return "G729"
	}
	return ""
}
