package rtpengine

import (
	"encoding/binary"

	audio "tandem/rtpengine/codec"
)

// redundancy walks through the blocks of a redundant packet (RFC 2198 §3), what was said before first, its own sound last. In front of the
// bodies stand the headers, four octets each and one for the last:
//
//	|1| block PT 7 |  timestamp offset 14     |   block length 10 |
//	|0| block PT 7 |
type redundancy struct{ heads, bodies []byte }

// block is one of them.
type block struct {
	payload uint8
	before  uint32 // how much earlier than the packet's own timestamp it was said; 0 in the packet's own
	body    []byte
}

// openRedundancy takes a payload; false when it is cut short.
func openRedundancy(b []byte) (r redundancy, ok bool) {
	at, bodies := 0, 0
	for ; at < len(b) && b[at]&0x80 != 0; at += 4 {
		if len(b) < at+4 {
			return r, false
		}
		bodies += int(binary.BigEndian.Uint16(b[at+2:]) & 0x3ff)
	}
	if at++; at > len(b) || bodies > len(b)-at {
		return r, false
	}
	return redundancy{b[:at], b[at:]}, true
}

// next gives a block; false behind the last.
func (r *redundancy) next() (b block, ok bool) {
	switch {
	case len(r.heads) == 0:
		return b, false
	case len(r.heads) < 4:
		b = block{payload: r.heads[0] & 0x7f, body: r.bodies}
		r.heads = nil
		return b, true
	}
	word := binary.BigEndian.Uint32(r.heads)
	b = block{payload: uint8(word >> 24 & 0x7f), before: word >> 10 & 0x3fff, body: r.bodies[:word&0x3ff]}
	r.heads, r.bodies = r.heads[4:], r.bodies[word&0x3ff:]
	return b, true
}

// redundantSpeech is what a transcoder knows redundancy by. It is taken apart before anything is decoded.
const redundantSpeech = audio.Event + 1

// redOf is the redundancy that a side has offered for a codec.
func redOf(list []codec, of codec) (codec, bool) {
	for _, c := range list {
		if c.named("red") && c.clock == of.clock && c.primary(list).payload == of.payload && len(c.refers()) > 0 {
			return c, true
		}
	}
	return codec{}, false
}

// withRedundancy puts the redundancy of a codec beside it, in the order in which their side has offered them: the first is what it sends.
func withRedundancy(offer []codec, own codec) []codec {
	red, ok := redOf(offer, own)
	if !ok {
		return []codec{own}
	}
	for _, c := range offer {
		if c.payload == red.payload {
			return []codec{red, own}
		}
		if c.payload == own.payload {
			break
		}
	}
	return []codec{own, red}
}

// unpack takes redundant speech: what was lost is taken from what this packet repeats of it. missing is how many packets did not come before it.
func (t *transcoder) unpack(p *voicePacket, missing int) {
	list, ok := openRedundancy(p.body)
	if !ok {
		t.path.coder.failed.Add(1)
		return
	}
	if missing > 0 {
		missing = max(0, missing-t.repeated(p, list))
	}
	part := *p
	for b, more := list.next(); more; b, more = list.next() {
		part.payload, part.stamp, part.body = b.payload, p.stamp-b.before, b.body
		if len(list.heads) == 0 {
			if t.kinds[part.payload] != redundantSpeech { // not once more
				t.play(&part, missing)
			}
			return
		}
		if t.lacks(&part) {
			t.speak(&part, t.kinds[part.payload], missing)
			missing = 0
			t.path.coder.repeated.Add(1)
		}
	}
}

// repeated is how many of a packet's blocks say what has not been heard.
func (t *transcoder) repeated(p *voicePacket, list redundancy) (n int) {
	part := *p
	for b, more := list.next(); more && len(list.heads) > 0; b, more = list.next() {
		if part.payload, part.stamp, part.body = b.payload, p.stamp-b.before, b.body; t.lacks(&part) {
			n++
		}
	}
	return n
}

// lacks reports whether a repetition is of sound that did not come: nothing that was heard is later.
func (t *transcoder) lacks(part *voicePacket) bool {
	return t.began && t.kinds[part.payload].Speech() && len(part.body) > 0 && int32(part.stamp-t.expected) >= 0
}

// takeBlocks takes the redundant sound of a side: its own, and what it repeats of what has not come.
func (r *Recording) takeBlocks(e *tapped, arrival int64) {
	list, ok := openRedundancy(e.body)
	if !ok {
		r.tap.foreign.Add(1)
		return
	}
	words, voice := r.tap.words[e.channel&3].Load(), r.voices[e.channel&1]
	var last block
	walk := list
	for b, more := walk.next(); more; b, more = walk.next() {
		last = b
	}
	own := words[last.payload]
	switch {
	case !own.speech() && last.payload != payloadCN:
		r.tap.foreign.Add(1)
		return
	case !own.speech():
		return
	}
	pos, ok := r.tracks[e.channel&1].place(e.ssrc, e.stamp, own.clock(), arrival)
	if !ok || !voice.put(own, pos, last.body) {
		r.late++
		return
	}
	for b, more := list.next(); more && len(list.heads) > 0; b, more = list.next() {
		if m := words[b.payload]; m == own && len(b.body) > 0 {
			voice.put(m, pos-int64(b.before)*sampleRate/own.clock(), b.body) // what is there, or too late, is not needed
		}
	}
}
