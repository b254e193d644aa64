package rtpengine

import "math/bits"

// packedMoment is a second of a course in 32 bits: packets 9 | lost 7 | jitter 8 | mos 8. A call holds 128 of them. Packets and losses of
// ordinary sound are exact, larger figures within some percent; see squeeze.
type packedMoment uint32

// packedStretch is a finished stretch of a course. Packets and losses are exact.
type packedStretch struct {
	packets, lost uint32
	rated         uint16
	mean          uint16 // of the opinions, times 50*256
	worst         uint8
	jitter, rtt   uint8 // squeezed
}

// Bits of the squeezed figures, and of those how many are digits.
const (
	packetBits, packetDigits = 9, 6 // exact to 127 a second
	lostBits, lostDigits     = 7, 4 // exact to 31
	timeBits, timeDigits     = 8, 4 // exact to 31 units: 3.1 ms of jitter
)

func (m moment) packed() packedMoment {
	return packedMoment(squeeze(uint32(m.packets), packetBits, packetDigits)<<23 | squeeze(uint32(m.lost), lostBits, lostDigits)<<16 |
		squeeze(uint32(m.jitter), timeBits, timeDigits)<<8 | uint32(m.mos))
}

func (p packedMoment) open() moment {
	return moment{
		packets: uint16(release(uint32(p)>>23, packetDigits)), lost: uint16(release(uint32(p)>>16&(1<<lostBits-1), lostDigits)),
		jitter: saturate16(uint64(release(uint32(p)>>8&(1<<timeBits-1), timeDigits))), mos: uint8(p),
	}
}

func (t *stretch) packed() packedStretch {
	p := packedStretch{
		packets: t.packets, lost: t.lost, rated: t.rated, worst: t.worst,
		jitter: uint8(squeeze(uint32(t.jitter), timeBits, timeDigits)), rtt: uint8(squeeze(uint32(t.rtt), timeBits, timeDigits)),
	}
	if t.rated > 0 {
		p.mean = uint16((uint64(t.sum)<<8 + uint64(t.rated)/2) / uint64(t.rated))
	}
	return p
}

// open gives the stretch, of which the course knows the length.
func (p *packedStretch) open(seconds uint32) stretch {
	return stretch{
		packets: p.packets, lost: p.lost, seconds: seconds, rated: p.rated, sum: uint32((uint64(p.mean)*uint64(p.rated) + 1<<7) >> 8), worst: p.worst,
		jitter: saturate16(uint64(release(uint32(p.jitter), timeDigits))), rtt: saturate16(uint64(release(uint32(p.rtt), timeDigits))),
	}
}

// squeeze writes v with so many binary digits behind the first one and an exponent in the other bits, as floating point does: exact while it
// has no more digits than that, else rounded to them; the largest that can be written when it is more.
func squeeze(v uint32, width, digits int) uint32 {
	shift := max(bits.Len32(v)-digits-1, 0)
	if shift > 0 {
		if v = v>>shift + v>>(shift-1)&1; v>>(digits+1) > 0 { // rounded up to one digit more
			v >>= 1
			shift++
		}
	}
	return min(uint32(shift)<<digits+v, 1<<width-1)
}

// release reads what squeeze wrote.
func release(code uint32, digits int) uint32 {
	shift := int(code >> digits)
	if shift == 0 {
		return code
	}
	return (code&(1<<digits-1) | 1<<digits) << (shift - 1)
}
