package rtpengine

import "encoding/binary"

// rtpHeader is the fixed part of an RTP packet (RFC 3550 §5.1):
//
//	 0                   1                   2                   3
//	|V=2|P|X|  CC   |M|     PT      |       sequence number         |
//	|                           timestamp                           |
//	|                             SSRC                              |
type rtpHeader struct {
	payload uint8
	marker  bool
	seq     uint16
	stamp   uint32
	ssrc    uint32
	body    int // where the payload starts
}

// parseRTP checks a datagram as RFC 3550 A.1 does and reads its header. It never allocates.
func parseRTP(b []byte) (h rtpHeader, ok bool) {
	if len(b) < 12 || b[0]>>6 != 2 {
		return h, false
	}
	h.body = 12 + 4*int(b[0]&0x0f)
	if b[0]&0x10 != 0 { // extension: a word with its length in words, §5.3.1
		if len(b) < h.body+4 {
			return h, false
		}
		h.body += 4 + 4*int(binary.BigEndian.Uint16(b[h.body+2:]))
	}
	if len(b) < h.body {
		return h, false
	}
	if b[0]&0x20 != 0 { // padding: its length is the last octet
		if pad := int(b[len(b)-1]); pad == 0 || h.body+pad > len(b) {
			return h, false
		}
	}
	h.marker = b[1]&0x80 != 0
	h.payload = b[1] & 0x7f
	h.seq = binary.BigEndian.Uint16(b[2:])
	h.stamp = binary.BigEndian.Uint32(b[4:])
	h.ssrc = binary.BigEndian.Uint32(b[8:])
	return h, true
}

// RTCP packet types (RFC 3550 §12.1, RFC 4585 §6.1).
const (
	rtcpFormerFIR = 192 // RFC 2032 §5.2.1

	rtcpSR    = 200
	rtcpRR    = 201
	rtcpSDES  = 202
	rtcpBYE   = 203
	rtcpRTPFB = 205
	rtcpPSFB  = 206
	rtcpXR    = 207 // RFC 3611 §2
)

// looksRTCP tells RTCP from RTP on one port by the second octet (RFC 5761 §4).
func looksRTCP(b []byte) bool { return len(b) >= 2 && b[1] >= 192 && b[1] <= 223 }

// parseRTCP checks a compound packet's framing (RFC 3550 A.2, reduced size of RFC 5506 allowed)
// and reads the first packet's sender.
func parseRTCP(b []byte) (ssrc uint32, ok bool) {
	if len(b) < 8 || len(b)%4 != 0 {
		return 0, false
	}
	ssrc = binary.BigEndian.Uint32(b[4:])
	for len(b) > 0 {
		if len(b) < 4 || b[0]>>6 != 2 || !looksRTCP(b) {
			return 0, false
		}
		n := 4 + 4*int(binary.BigEndian.Uint16(b[2:]))
		if n > len(b) {
			return 0, false
		}
		b = b[n:]
	}
	return ssrc, true
}

// wantsKeyframe reports whether a valid compound asks for a full picture: PLI (RFC 4585 §6.3.1) or FIR (RFC 5104 §4.3.1).
func wantsKeyframe(b []byte) bool {
	for len(b) >= 4 {
		if format := b[0] & 0x1f; b[1] == rtcpPSFB && (format == 1 || format == 4) {
			return true
		}
		n := 4 + 4*int(binary.BigEndian.Uint16(b[2:]))
		if n > len(b) {
			return false
		}
		b = b[n:]
	}
	return false
}
