package rtpengine

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
)

// levelURI names the header extension in which a client tells how loud its packet is (RFC 6464 §4).
const levelURI = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"

// levelID is the id under which a description's writer offers to send the extension, 0 when it does not (RFC 8285 §5:
// "a=extmap:3/sendonly urn:..."). Those above 14 need heads of two octets, which not everybody writes; we read both.
func (s *section) levelID() uint8 {
	for _, line := range s.lines {
		value, ok := strings.CutPrefix(line, "a=extmap:")
		if !ok {
			continue
		}
		id, rest, _ := strings.Cut(value, " ")
		uri, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		id, dir, _ := strings.Cut(id, "/")
		if n, err := strconv.Atoi(id); uri == levelURI && err == nil && n > 0 && n < 256 && n != 15 && dir != "recvonly" && dir != "inactive" {
			return uint8(n)
		}
	}
	return 0
}

// unknownLevel stands where a packet does not tell its level; told ones are 0 (full scale) to 127 dB below it.
const unknownLevel = 0xff

// audioLevel finds the level in the header extensions of a packet that parseRTP has taken, -dBov (RFC 6464 §3):
//
//	| 0xBEDE         | length |  one octet heads (RFC 8285 §4.2): | ID 4 | len-1 4 | V 1 | level 7 | ...
//	| 0x100 + appbits| length |  two octet heads (RFC 8285 §4.3): | ID 8 | len 8   | V 1 | level 7 | ...
func audioLevel(b []byte, id uint8) uint8 {
	if id == 0 || b[0]&0x10 == 0 {
		return unknownLevel
	}
	at := 12 + 4*int(b[0]&0x0f)
	profile := binary.BigEndian.Uint16(b[at:])
	b = b[at+4 : at+4+4*int(binary.BigEndian.Uint16(b[at+2:]))]
	short := profile == 0xbede
	if !short && profile>>4 != 0x100 {
		return unknownLevel
	}
	for len(b) > 1 {
		if b[0] == 0 { // padding
			b = b[1:]
			continue
		}
		has, n, head := b[0], int(b[1]), 2
		if short {
			if has>>4 == 15 { // RFC 8285 §4.2: nothing behind it counts
				return unknownLevel
			}
			has, n, head = b[0]>>4, int(b[0]&15)+1, 1
		}
		if len(b) < head+n {
			return unknownLevel
		}
		if has == id && n > 0 {
			return b[head] & 0x7f
		}
		b = b[head+n:]
	}
	return unknownLevel
}

// silentLevel is the lowest level, in dBov.
const silentLevel = -127

// loudness measures samples: their power against that of full scale, in dBov, not below silentLevel.
func loudness(pcm []int16) float64 {
	sum := 0.0
	for _, v := range pcm {
		sum += float64(v) * float64(v)
	}
	if sum == 0 {
		return silentLevel
	}
	return max(silentLevel, 10*math.Log10(sum/float64(len(pcm))/(1<<30)))
}
