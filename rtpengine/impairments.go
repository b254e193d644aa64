package rtpengine

// impairment says what a codec does to speech, and how well it stands lost packets. The zero impairment is that of a codec of which nothing
// is published.
type impairment struct {
	ie   float64 // equipment impairment factor without loss: Ie, or Ie,wb
	bpl  float64 // packet-loss robustness factor; 0: unknown codec
	wide bool    // on the scale of the wideband E-model (G.107.1), which ends at 129
}

func (i impairment) known() bool { return i.bpl > 0 }

// G.711, with the concealment of its Appendix I as phones have it, and without any, as we hear and record it.
func g711Concealed() impairment { return impairment{ie: 0, bpl: 25.1} }
func g711Plain() impairment     { return impairment{ie: 0, bpl: 4.3} }

// impairments are the published ones of the codecs that phones use.
//
// Narrow band: ITU-T G.113 Appendix I. It gives a Bpl to G.711, G.729A with VAD, G.723.1 with VAD and GSM EFR alone. The other GSM codecs conceal as
// EFR does and have its; ADPCM conceals nothing and has that of G.711 without concealment. AMR is in no table of its own: its modes of
// 12.2 and 7.4 kbit/s are GSM EFR and IS-641 (3GPP TS 26.071), which are. iLBC is in none.
//
// Wide band: ITU-T G.113 Appendix IV, Ie,wb of table IV.1 (handset). Table IV.4 has a Bpl,wb for three rates of AMR-WB, 4.3 to 4.9, and for
// no other codec; the lowest of them stands for all that have none. The ITU has published nothing of Opus in this band: the coefficients
// that M. Alahmadi has published (2021) for its best wideband rate, 13 kbit/s, stand for it, taken to be on this scale, so that Opus is not
// rated better than it is.
var impairments = [...]struct {
	name, parameter, value string // of the format; a parameter that must have the value, if any
	of                     impairment
}{
	{"PCMU", "", "", g711Concealed()},
	{"PCMA", "", "", g711Concealed()},
	{"G729", "", "", impairment{ie: 11, bpl: 19}},
	{"G723", "", "", impairment{ie: 15, bpl: 16.1}},
	{"GSM", "", "", impairment{ie: 20, bpl: 10}},
	{"GSM-EFR", "", "", impairment{ie: 5, bpl: 10}},
	{"GSM-HR-08", "", "", impairment{ie: 23, bpl: 10}},
	{"AMR", "mode-set", "7", impairment{ie: 5, bpl: 10}},
	{"AMR", "mode-set", "4", impairment{ie: 10, bpl: 10}},
	{"G726-40", "", "", impairment{ie: 2, bpl: 4.3}},
	{"G726-32", "", "", impairment{ie: 7, bpl: 4.3}},
	{"G726-24", "", "", impairment{ie: 25, bpl: 4.3}},
	{"G726-16", "", "", impairment{ie: 50, bpl: 4.3}},

	{"G722", "", "", impairment{ie: 13, bpl: 4.3, wide: true}},
	{"opus", "", "", impairment{ie: 20, bpl: 19.5, wide: true}},
	{"G7221", "bitrate", "32000", impairment{ie: 13, bpl: 4.3, wide: true}},
	{"G7221", "bitrate", "24000", impairment{ie: 19, bpl: 4.3, wide: true}},
	{"AMR-WB", "mode-set", "0", impairment{ie: 41, bpl: 4.3, wide: true}},
	{"AMR-WB", "mode-set", "1", impairment{ie: 26, bpl: 4.3, wide: true}},
	{"AMR-WB", "mode-set", "2", impairment{ie: 13, bpl: 4.3, wide: true}},
	{"AMR-WB", "mode-set", "3", impairment{ie: 10, bpl: 4.3, wide: true}},
	{"AMR-WB", "mode-set", "4", impairment{ie: 7, bpl: 4.3, wide: true}},
	{"AMR-WB", "mode-set", "5", impairment{ie: 5, bpl: 4.3, wide: true}},
	{"AMR-WB", "mode-set", "6", impairment{ie: 3, bpl: 4.3, wide: true}},
	{"AMR-WB", "mode-set", "7", impairment{ie: 1, bpl: 4.6, wide: true}},
	{"AMR-WB", "mode-set", "8", impairment{ie: 8, bpl: 4.9, wide: true}},
}

// impairment is the published one of a codec. A codec of several rates that may change in the middle of a call has none.
func (c codec) impairment() impairment {
	for i := range impairments {
		if p := &impairments[i]; c.named(p.name) && (p.parameter == "" || c.parameter(p.parameter) == p.value) {
			return p.of
		}
	}
	return impairment{}
}

// unconcealed is what a codec does to us, who hear and record lost G.711 as silence.
func (i impairment) unconcealed() impairment {
	if i == g711Concealed() {
		return g711Plain()
	}
	return i
}

// then is what two codecs do one after the other: impairments add up (G.107 §7.5), loss strikes the first, and nothing is wider than the
// narrower of the two.
func (i impairment) then(second impairment) impairment {
	switch {
	case !i.known() || !second.known():
		return impairment{}
	case i.wide && !second.wide:
		return impairment{ie: second.ie, bpl: i.bpl}
	case !i.wide && second.wide:
		return i
	}
	i.ie += second.ie
	return i
}

// lastCodec is what the last packets of a side's m-line were, a comfort noise or a key press left out; the zero codec when nobody
// knows. mu is held.
func (s *Session) lastCodec(i int, side Side) codec {
	pt, ok := s.lines[i].legs[side].lastPayload()
	x := s.inForce()
	if !ok || x == nil || x.said[A] == nil || x.said[B] == nil || i >= len(x.said[A].lines) || i >= len(x.said[B].lines) {
		return codec{}
	}
	mine, other, told := x.said[side].lines[i].codecs, x.said[side.Other()].lines[i].codecs, x.toldTo(i, side)
	c := ofNumber(mine, pt)
	if c.clock == 0 { // a phone may send the numbers that it was told
		for _, o := range other {
			if toOf(told, o.payload) == pt {
				c = o
				break
			}
		}
		mine = other
	}
	return c.primary(mine)
}

// toldTo is how the other side's formats of an m-line were told to a side; nil: as they were.
func (x *exchange) toldTo(i int, side Side) []told {
	list := x.back
	if side != x.from {
		list = x.shown
	}
	if i < len(list) {
		return list[i]
	}
	return nil
}

// ofNumber finds the codec of a number; the zero codec when there is none.
func ofNumber(list []codec, pt uint8) codec {
	for _, c := range list {
		if c.payload == pt {
			return c
		}
	}
	return codec{}
}

// primary is what redundancy (RFC 2198) carries; any other codec is itself.
func (c codec) primary(list []codec) codec {
	if of := c.refers(); c.named("red") && len(of) > 0 {
		return ofNumber(list, of[0])
	}
	return c
}

// lastPayload is the payload type of the last packet that was neither a key press, comfort noise nor a repetition; false before the first.
func (l *leg) lastPayload() (uint8, bool) {
	if l == nil {
		return 0, false
	}
	code := l.counts().codec
	return uint8(code - 1), code != 0
}

// impairment is that of what a side says, as the other one hears it; mu is held.
func (s *Session) impairment(i int, side Side) impairment {
	l := s.lines[i]
	c := s.lastCodec(i, side)
	by := c.impairment()
	if via := l.vias[side]; via != nil && c.kind().Speech() {
		by = by.then(asCodec(via.to.kind).impairment())
	}
	return by
}

// lastCodec is the same of the phone; mu is held.
func (p *Endpoint) lastCodec(i int) codec {
	pt, ok := p.legs[i].lastPayload()
	if !ok || i >= len(p.codecs) {
		return codec{}
	}
	return ofNumber(p.codecs[i], pt).primary(p.codecs[i])
}

// telling is the name of a codec as reports have it.
func (c codec) telling() string {
	for i := range impairments { // one spelling for each that is known
		if c.named(impairments[i].name) {
			return impairments[i].name
		}
	}
	return c.name
}
