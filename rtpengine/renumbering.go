package rtpengine

import "slices"

// renumbering gives each payload type of one side the number that the other side knows it under. The top bit marks redundancy, whose
// packets name the numbers of their blocks (RFC 2198 §3). Directions in which all numbers agree have none.
type renumbering [128]uint8

const redundant = 0x80

// rewrite gives a packet its number; false when it holds something that the other side would not understand. rates are those of
// the packet's own side.
func (t *renumbering) rewrite(h *rtpHeader, b []byte, rates *[128]uint32) bool {
	to := t[h.payload]
	b[1] = b[1]&0x80 | to&0x7f
	return to&redundant == 0 || t.rewriteBlocks(b[h.body:], rates)
}

// rewriteBlocks does the same for the blocks of a redundant packet (RFC 2198 §3); the last header is one octet:
//
//	|1| block PT    |  timestamp offset         |   block length    |
//	|0| block PT    |
func (t *renumbering) rewriteBlocks(b []byte, rates *[128]uint32) bool {
	for len(b) > 0 {
		pt := b[0] & 0x7f
		if rates[pt] == 0 {
			return false
		}
		b[0] = b[0]&0x80 | t[pt]&0x7f
		if b[0]&0x80 == 0 {
			return true
		}
		if len(b) < 4 {
			return false
		}
		b = b[4:]
	}
	return false
}

// passage is what may pass in one direction of an m-line: the clocks of the payload types that its sender may use, and their numbers
// on the other side.
type passage struct {
	rates    *[128]uint32
	events   payloads     // which of them are telephone events
	renumber *renumbering // nil: the numbers agree
}

// passages are those of an exchange's m-line, from the offerer and from the answerer. offer and answer are the codecs that each named, shown and
// back how they were told to the other one; nil: as they were.
func passages(kind string, offer, answer []codec, shown, back []told) (fromOfferer, fromAnswerer passage) {
	if shown == nil && back == nil {
		p := passage{rates: merge(kind, offer, answer), events: eventsOf(offer, answer)}
		return p, p
	}
	if shown == nil {
		shown = asTheyAre(offer)
	}
	if back == nil {
		back = asTheyAre(answer)
	}
	var out, in way
	for _, c := range answer { // first, since these are the numbers that the answerer listens to
		pt := toOf(back, c.payload)
		if pt == untold {
			continue
		}
		out.add(pt, c.payload, c)
		// A phone that numbers codecs in its own way may also send so, though it should send the numbers that it was offered.
		if other := fromOf(shown, c.payload); other == untold || other == pt || fromOf(back, other) == untold {
			in.add(c.payload, pt, c)
		}
	}
	for _, c := range offer {
		pt := toOf(shown, c.payload)
		if pt == untold {
			continue
		}
		in.add(pt, c.payload, c)
		if !slices.ContainsFunc(answer, func(a codec) bool { return a.payload == pt }) {
			out.add(c.payload, pt, c)
		}
	}
	return out.passage(kind), in.passage(kind)
}

func asTheyAre(list []codec) []told {
	out := make([]told, len(list))
	for i, c := range list {
		out[i] = told{c.payload, c.payload}
	}
	return out
}

// fromOf is the writer's number of a format that was told, or untold.
func fromOf(list []told, to uint8) uint8 {
	for _, t := range list {
		if t.to == to {
			return t.from
		}
	}
	return untold
}

// way collects a passage.
type way struct {
	rates  [128]uint32
	events payloads
	to     renumbering
	moved  bool
}

// add lets a payload type pass; the first that is said of a number counts.
func (w *way) add(from, to uint8, c codec) {
	if w.rates[from] != 0 {
		return
	}
	w.rates[from], w.to[from] = c.clock, to
	if c.named("red") {
		w.to[from] |= redundant
	}
	if c.named("telephone-event") {
		w.events.add(from)
	}
	w.moved = w.moved || from != to
}

func (w *way) passage(kind string) passage {
	if kind == "audio" && w.rates[payloadCN] == 0 { // see merge
		w.rates[payloadCN], w.to[payloadCN] = 8000, payloadCN
	}
	p := passage{rates: &w.rates, events: w.events}
	if w.moved {
		p.renumber = &w.to
	}
	return p
}
