package rtpengine

import "encoding/binary"

// maxSources bounds the RTP sources that a transport remembers the m-lines of: a browser has one for each medium, one for its
// retransmissions, and one more of each for every layer of simulcast.
const maxSources = 16

type sourceOf struct {
	ssrc uint32
	leg  *leg
}

// legOf finds the m-line of an RTP packet (RFC 9143 §9.2): by its source when that is known, by the name of the m-line in its header
// extension, by a payload type that only one has. The packet is not authentic yet, so nothing is learned here. nil: none.
func (t *transport) legOf(b []byte) *leg {
	if len(t.legs) == 1 {
		return t.legs[0]
	}
	if len(b) < 12 {
		return nil
	}
	ssrc := binary.BigEndian.Uint32(b[8:])
	for i := range min(t.learned, maxSources) {
		if t.sources[i].ssrc == ssrc {
			return t.sources[i].leg
		}
	}
	if t.mid != 0 {
		if name := headerExtension(b, t.mid); name != nil {
			for _, l := range t.legs {
				if l.shield.mid == string(name) {
					return l
				}
			}
		}
	}
	var only *leg
	for _, l := range t.legs {
		if l.ready && l.rates[b[1]&0x7f] != 0 && !(b[1]&0x7f == payloadCN && only != nil) {
			if only != nil {
				return nil
			}
			only = l
		}
	}
	return only
}

// learn remembers whose source an authentic packet's is.
func (t *transport) learn(ssrc uint32, l *leg) {
	if len(t.legs) == 1 {
		return
	}
	for i := range min(t.learned, maxSources) {
		if t.sources[i].ssrc == ssrc {
			return
		}
	}
	t.sources[t.learned%maxSources] = sourceOf{ssrc, l}
	t.learned++
}

// unlearn forgets the sources: the m-lines have been agreed on anew.
func (t *transport) unlearn() { t.sources, t.learned = [maxSources]sourceOf{}, 0 }

// legOfRTCP finds the m-line of a valid compound packet: that of its sender, or that of the stream it speaks of. A browser sends
// packets of its own for each m-line; where it speaks of several at once, all lead to the same other side.
func (t *transport) legOfRTCP(b []byte) *leg {
	if len(t.legs) == 1 {
		return t.legs[0]
	}
	sender, subject := binary.BigEndian.Uint32(b[4:]), uint32(0)
	switch {
	case b[1] == rtcpRR && len(b) >= 12:
		subject = binary.BigEndian.Uint32(b[8:])
	case b[1] == rtcpSR && len(b) >= 32:
		subject = binary.BigEndian.Uint32(b[28:])
	}
	for rest := b; len(rest) >= 12; {
		n := min(len(rest), 4+4*int(binary.BigEndian.Uint16(rest[2:])))
		if isFeedback(rest) {
			if p, ok := parseFeedback(rest[:n]); ok && p.subject() != 0 {
				subject = p.subject()
			}
			break
		}
		rest = rest[n:]
	}
	for _, l := range t.legs {
		if l.quality.started && l.quality.ssrc == sender {
			return l
		}
	}
	for _, l := range t.legs {
		if l.app != nil && l.app.ssrc == subject || l.out != nil && l.out.quality.started && l.out.quality.ssrc == subject {
			return l
		}
	}
	for i := range min(t.learned, maxSources) {
		if t.sources[i].ssrc == sender {
			return t.sources[i].leg
		}
	}
	return t.legs[0]
}

// receiveBundled takes a media packet of a transport on the ICE port. Its source has proved itself by a check.
func (r *relay) receiveBundled(t *transport, b []byte) {
	control := looksRTCP(b)
	var l *leg
	if !control {
		l = t.legOf(b)
	} else if len(t.legs) > 0 {
		l = t.legs[0] // all have the same keys
	}
	switch {
	case l == nil:
		r.stray(DropPayload)
		return
	case !l.ready:
		r.drop(l, DropUnready)
		return
	case r.flooded(l):
		r.drop(l, DropFlood)
		return
	}
	if b = r.plain(l, rtp, b, control); b == nil { // a leg of a transport has a shield
		return
	}
	if control {
		ssrc, ok := parseRTCP(b)
		if !ok {
			r.drop(l, DropMalformed)
			return
		}
		_ = ssrc
		r.acceptRTCP(t.legOfRTCP(b), b)
		return
	}
	h, ok := parseRTP(b)
	if !ok {
		r.drop(l, DropMalformed)
		return
	}
	rate := l.rates[h.payload]
	if rate == 0 {
		r.drop(l, DropPayload)
		return
	}
	t.learn(h.ssrc, l)
	r.accept(l, &h, rate, b)
}

// headerExtension gives an element of an RTP packet's header extension in the forms of RFC 8285 §4, nil where there is none:
//
//	0xBEDE | words      then | id 4 bits, length-1 4 bits | value |
//	0x100n | words      then | id | length | value |
func headerExtension(b []byte, id uint8) []byte {
	if len(b) < 16 || b[0]&0x10 == 0 {
		return nil
	}
	at := 12 + 4*int(b[0]&0x0f)
	if len(b) < at+4 {
		return nil
	}
	profile, end := binary.BigEndian.Uint16(b[at:]), at+4+4*int(binary.BigEndian.Uint16(b[at+2:]))
	if end > len(b) {
		return nil
	}
	long := profile>>4 == 0x100
	if !long && profile != 0xBEDE {
		return nil
	}
	for b = b[at+4 : end]; len(b) > 1; {
		if b[0] == 0 { // padding
			b = b[1:]
			continue
		}
		name, n, head := b[0]>>4, int(b[0]&0x0f)+1, 1
		if long {
			name, n, head = b[0], int(b[1]), 2
		} else if name == 15 {
			return nil
		}
		if len(b) < head+n {
			return nil
		}
		if name == id {
			return b[head : head+n]
		}
		b = b[head+n:]
	}
	return nil
}
