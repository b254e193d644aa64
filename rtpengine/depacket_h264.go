package rtpengine

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// Types of NAL units (ITU-T H.264 table 7-1, RFC 6184 §5.2).
const (
	nalIDR    = 5
	nalSPS    = 7
	nalPPS    = 8
	nalAUD    = 9
	nalFiller = 12
	nalSTAPA  = 24
	nalFUA    = 28
)

// parameters are the sets without which no picture of H.264 can be shown: the latest of each.
type parameters struct{ sps, pps []byte }

// depacket reads RFC 6184 §5.4, packetization modes 0 and 1: single NAL units, STAP-A and FU-A. What comes out are units that begin with their
// length, as files have them, with the parameter sets left in place.
//
//	single:  |F|NRI|type 1-23| ...   STAP-A: |F|NRI|24| (size 2 | unit) ...   FU-A: |F|NRI|28|S|E|R|type| piece
func (s *parameters) depacket(p *picture, body []byte, _ bool) bool {
	if len(body) < 2 {
		return false
	}
	switch kind := body[0] & 0x1f; {
	case kind >= 1 && kind < nalSTAPA:
		s.unit(p, body)
	case kind == nalSTAPA:
		for rest := body[1:]; len(rest) > 0; {
			if len(rest) < 3 {
				return false
			}
			n := int(binary.BigEndian.Uint16(rest))
			if n == 0 || n > len(rest)-2 {
				return false
			}
			s.unit(p, rest[2:2+n])
			rest = rest[2+n:]
		}
	case kind == nalFUA:
		return s.piece(p, body)
	default:
		return false
	}
	return true
}

// unit adds a whole NAL unit.
func (s *parameters) unit(p *picture, unit []byte) {
	switch unit[0] & 0x1f {
	case nalAUD, nalFiller:
		return
	case nalSPS:
		s.sps = append(s.sps[:0], unit...)
	case nalPPS:
		s.pps = append(s.pps[:0], unit...)
	case nalIDR:
		p.key = true
		p.width, p.height = sizeH264(s.sps)
	}
	p.data = binary.BigEndian.AppendUint32(p.data, uint32(len(unit)))
	p.data = append(p.data, unit...)
}

// piece adds a piece of a NAL unit. The length in front of it grows with each; an end that never came leaves a unit that is cut off, and the
// picture is spoilt by the gap.
func (s *parameters) piece(p *picture, body []byte) bool {
	if len(body) < 3 {
		return false
	}
	if body[1]&0x80 != 0 {
		unit := append(make([]byte, 0, len(body)-1), body[0]&0xe0|body[1]&0x1f)
		p.open = len(p.data)
		p.data = append(binary.BigEndian.AppendUint32(p.data, 1), unit...)
		if body[1]&0x1f == nalIDR {
			p.key = true
			p.width, p.height = sizeH264(s.sps)
		}
	} else if p.open < 0 || p.open+5 > len(p.data) {
		return false
	}
	p.data = append(p.data, body[2:]...)
	binary.BigEndian.PutUint32(p.data[p.open:], uint32(len(p.data)-p.open-4))
	if body[1]&0x40 != 0 {
		p.open = -1
	}
	return true
}

// configuration is the AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1) that Matroska has as the private data of its codec; without
// parameter sets it says so, and those in the pictures count.
func (s *parameters) configuration() []byte {
	if len(s.sps) < 4 || len(s.pps) == 0 {
		return []byte{1, 66, 0xc0, 31, 0xff, 0xe0, 0}
	}
	b := []byte{1, s.sps[1], s.sps[2], s.sps[3], 0xff, 0xe1}
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(s.sps))), s.sps...)
	b = append(b, 1)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s.pps))), s.pps...)
}

// withChroma are the profiles whose sequence parameter sets say more about colours (ITU-T H.264 §7.3.2.1.1).
var withChroma = []uint32{100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}

// sizeH264 is the size of pictures by a sequence parameter set (ITU-T H.264 §7.3.2.1.1), 0 when it is none.
func sizeH264(sps []byte) (width, height int) {
	if len(sps) < 5 {
		return 0, 0
	}
	r := bitReader{b: bytes.ReplaceAll(sps[1:], []byte{0, 0, 3}, []byte{0, 0})} // emulation prevention, §7.4.1
	profile := r.take(8)
	r.take(16)
	r.golomb()
	chroma := uint32(1)
	if slices.Contains(withChroma, profile) {
		if chroma = r.golomb(); chroma == 3 {
			r.take(1)
		}
		r.golomb()
		r.golomb()
		r.take(1)
		if r.take(1) != 0 { // scaling lists: nobody on a telephone has any
			return 0, 0
		}
	}
	r.golomb()
	switch order := r.golomb(); order {
	case 0:
		r.golomb()
	case 1:
		r.take(1)
		r.signed()
		r.signed()
		for range min(r.golomb(), 255) {
			r.signed()
		}
	}
	r.golomb()
	r.take(1)
	wide, high := int(r.golomb())+1, int(r.golomb())+1
	fields := 2 - int(r.take(1))
	if fields == 2 {
		r.take(1)
	}
	r.take(1)
	width, height = 16*wide, 16*high*fields
	if r.take(1) != 0 { // cropped, in units of the chroma samples
		unitX, unitY := 1, fields
		if chroma == 1 || chroma == 2 {
			unitX = 2
		}
		if chroma == 1 {
			unitY *= 2
		}
		left, right, top, bottom := int(r.golomb()), int(r.golomb()), int(r.golomb()), int(r.golomb())
		width, height = width-unitX*(left+right), height-unitY*(top+bottom)
	}
	if r.over || width <= 0 || height <= 0 || width > 1<<14 || height > 1<<14 {
		return 0, 0
	}
	return width, height
}
