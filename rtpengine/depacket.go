package rtpengine

import "encoding/binary"

// picture is one full or partial image of a video, put together from its packets.
type picture struct {
	pos           int64 // on the recording's time line
	key           bool  // it can be shown without those before it
	width, height int   // of a key picture; 0 where it does not say
	data          []byte
	open          int // of H.264: where the unit begins whose pieces come; -1 none
}

// mostPicture bounds a picture: a key picture of 4K at the best quality that phones have.
const mostPicture = 4 << 20

// depacket adds a packet's payload to the picture that it belongs to; first tells that it begins it. false: the picture is spoilt.
type depacket func(p *picture, body []byte, first bool) bool

// depacketVP8 reads RFC 7741 §4.2:
//
//	|X|R|N|S|R| PID |   and for X  |I|L|T|K| RSV |  and what those announce: PictureID 1 or 2 octets, TL0PICIDX 1, TID|Y|KEYIDX 1
//
// and, in the first packet, the frame tag of RFC 6386 §9.1, whose lowest bit is 0 in a key picture:
//
//	| tag 3 | 9d 01 2a | scale 2 width 14 | scale 2 height 14 |
func depacketVP8(p *picture, body []byte, first bool) bool {
	if len(body) < 2 {
		return false
	}
	starts := body[0]&0x10 != 0 && body[0]&0x07 == 0
	at := 1
	if body[0]&0x80 != 0 {
		has := body[1]
		at = 2
		if has&0x80 != 0 {
			if len(body) <= at {
				return false
			}
			at += 1 + int(body[at]>>7)
		}
		at += int(has>>6&1) + int((has>>5|has>>4)&1)
	}
	if len(body) <= at || first != starts {
		return false
	}
	body = body[at:]
	if first && body[0]&1 == 0 {
		if len(body) < 10 || body[3] != 0x9d || body[4] != 0x01 || body[5] != 0x2a {
			return false
		}
		p.key = true
		p.width, p.height = int(binary.LittleEndian.Uint16(body[6:])&0x3fff), int(binary.LittleEndian.Uint16(body[8:])&0x3fff)
	}
	p.data = append(p.data, body...)
	return true
}

// depacketVP9 reads RFC 9628 §4.2. Of a picture with several spatial layers only the lowest is kept, since a player shows that one alone:
//
//	|I|P|L|F|B|E|V|Z|  and what those announce: PictureID 1 or 2; TID|U|SID|D 1 and, without F, TL0PICIDX 1; with F and P up to 3 of P_DIFF|N;
//	                   the scalability structure
func depacketVP9(p *picture, body []byte, first bool) bool {
	if len(body) < 2 {
		return false
	}
	has := body[0]
	at := 1
	need := func(n int) bool { at += n; return at <= len(body) }
	if has&0x80 != 0 && !need(1+int(body[at]>>7)) {
		return false
	}
	layer := uint8(0)
	if has&0x20 != 0 {
		if !need(1) {
			return false
		}
		layer = body[at-1] >> 1 & 7
		if has&0x10 == 0 && !need(1) {
			return false
		}
	}
	if has&0x50 == 0x50 {
		for more, n := true, 0; more; n++ {
			if n == 3 || !need(1) {
				return false
			}
			more = body[at-1]&1 != 0
		}
	}
	if has&0x02 != 0 {
		n := structureVP9(body[min(at, len(body)):])
		if n == 0 || !need(n) {
			return false
		}
	}
	if layer > 0 {
		return true
	}
	if at >= len(body) || first != (has&0x08 != 0) {
		return false
	}
	if body = body[at:]; first {
		headVP9(p, body)
	}
	p.data = append(p.data, body...)
	return true
}

// structureVP9 is the length of a scalability structure, 0 when it is cut off:
//
//	| N_S 3 |Y|G| RES 3 |  (width 2 | height 2) N_S+1 times for Y  | N_G 1  (TID 3 |U| R 2 | RES 2 | R times P_DIFF) N_G times for G |
func structureVP9(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	at := 1
	if b[0]&0x10 != 0 {
		at += 4 * (int(b[0]>>5) + 1)
	}
	if b[0]&0x08 != 0 {
		if at >= len(b) {
			return 0
		}
		groups := int(b[at])
		at++
		for range groups {
			if at >= len(b) {
				return 0
			}
			at += 1 + int(b[at]>>2&3)
		}
	}
	if at > len(b) {
		return 0
	}
	return at
}

// headVP9 reads the uncompressed header (VP9 bitstream specification §6.2), as far as it tells whether the picture is a key one and, in profile 0,
// how large.
func headVP9(p *picture, b []byte) {
	bits := bitReader{b: b}
	if bits.take(2) != 2 {
		return
	}
	profile := bits.take(1) | bits.take(1)<<1
	if profile == 3 {
		bits.take(1)
	}
	if bits.take(2) != 0 { // an existing picture is shown, or this is no key picture
		return
	}
	bits.take(2)
	if bits.take(24) != 0x498342 {
		return
	}
	p.key = true
	if profile == 0 && bits.take(3) != 7 {
		bits.take(1)
		p.width, p.height = int(bits.take(16))+1, int(bits.take(16))+1
	}
	if bits.over {
		p.width, p.height = 0, 0
	}
}

// bitReader reads bits, the highest first. Behind the end are zeros.
type bitReader struct {
	b    []byte
	at   int
	over bool
}

func (r *bitReader) take(n int) (v uint32) {
	for range n {
		v <<= 1
		if r.at>>3 >= len(r.b) {
			r.over = true
			continue
		}
		v |= uint32(r.b[r.at>>3]>>(7-r.at&7)) & 1
		r.at++
	}
	return v
}

// golomb reads an unsigned Exp-Golomb code (ITU-T H.264 §9.1).
func (r *bitReader) golomb() uint32 {
	zeros := 0
	for r.take(1) == 0 {
		if zeros++; zeros > 31 || r.over {
			r.over = true
			return 0
		}
	}
	return 1<<zeros - 1 + r.take(zeros)
}

// signed reads a signed one (§9.1.1).
func (r *bitReader) signed() int {
	v := r.golomb()
	if v&1 != 0 {
		return int(v/2 + 1)
	}
	return -int(v / 2)
}
