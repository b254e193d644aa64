package codec

import "math/bits"

const ulawBias = 0x84

// EncodeUlaw turns a 16-bit sample into µ-law (ITU-T G.711, 14-bit input: the two low bits are cut).
func EncodeUlaw(sample int16) byte {
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

// DecodeUlaw is the inverse of EncodeUlaw, to the middle of the step.
func DecodeUlaw(code byte) int16 {
	code = ^code
	v := (int(code&0x0f)<<3 + ulawBias) << (code >> 4 & 7)
	if code&0x80 != 0 {
		return int16(ulawBias - v)
	}
	return int16(v - ulawBias)
}

// EncodeAlaw turns a 16-bit sample into A-law (13-bit input: the three low bits are cut).
func EncodeAlaw(sample int16) byte {
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

// DecodeAlaw is the inverse of EncodeAlaw, to the middle of the step.
func DecodeAlaw(code byte) int16 {
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

// g711Encoder makes the payloads of either law; nothing of one frame matters to the next.
type g711Encoder struct{ alaw bool }

func (g711Encoder) Rate() int { return 8000 }

func (g g711Encoder) Encode(dst []byte, pcm []int16) (int, error) {
	if len(dst) < len(pcm) {
		return 0, ErrShort
	}
	if g.alaw {
		for i, v := range pcm {
			dst[i] = EncodeAlaw(v)
		}
	} else {
		for i, v := range pcm {
			dst[i] = EncodeUlaw(v)
		}
	}
	return len(pcm), nil
}

// g711Decoder is the other way. Its state is only for what is lost.
type g711Decoder struct {
	concealer
	alaw bool
}

func (g *g711Decoder) Decode(dst []int16, payload []byte) (int, error) {
	if len(dst) < len(payload) {
		return 0, ErrShort
	}
	dst = dst[:len(payload)]
	if g.alaw {
		for i, code := range payload {
			dst[i] = DecodeAlaw(code)
		}
	} else {
		for i, code := range payload {
			dst[i] = DecodeUlaw(code)
		}
	}
	g.heard(dst)
	return len(dst), nil
}

func (g *g711Decoder) Samples(payload []byte) int { return len(payload) }
