package rtpengine

import "math/bits"

// Payload types of G.711 (RFC 3551 §6): one octet a sample, 8 kHz.
const (
	payloadPCMU = 0
	payloadPCMA = 8
)

const ulawBias = 0x84

// encodeUlaw turns a 16-bit sample into µ-law (ITU-T G.711, 14-bit input: the two low bits are cut).
func encodeUlaw(sample int16) byte {
	v, sign := int(sample)>>2, byte(0xff)
	if v < 0 {
		v, sign = -v, 0x7f
	}
	v = min(v, 8159) + ulawBias>>2
	segment := bits.Len(uint(v)) - 6
	if segment >= 8 {
		return 0x7f ^ sign
	}
	return (byte(segment<<4) | byte(v>>(segment+1))&0x0f) ^ sign
}

// decodeUlaw is its inverse, to the middle of the step.
func decodeUlaw(code byte) int16 {
	code = ^code
	v := (int(code&0x0f)<<3 + ulawBias) << (code >> 4 & 7)
	if code&0x80 != 0 {
		return int16(ulawBias - v)
	}
	return int16(v - ulawBias)
}

// encodeAlaw turns a 16-bit sample into A-law (13-bit input: the three low bits are cut).
func encodeAlaw(sample int16) byte {
	v, mask := int(sample)>>3, byte(0xd5)
	if v < 0 {
		v, mask = -v-1, 0x55
	}
	segment := max(0, bits.Len(uint(v))-5)
	code := byte(segment << 4)
	if segment < 2 {
		code |= byte(v>>1) & 0x0f
	} else {
		code |= byte(v>>segment) & 0x0f
	}
	return code ^ mask
}

// decodeAlaw is its inverse.
func decodeAlaw(code byte) int16 {
	code ^= 0x55
	v := int(code&0x0f) << 4
	switch segment := code >> 4 & 7; segment {
	case 0:
		v += 8
	case 1:
		v += 0x108
	default:
		v = (v + 0x108) << (segment - 1)
	}
	if code&0x80 == 0 {
		return int16(-v)
	}
	return int16(v)
}
