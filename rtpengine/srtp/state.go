package srtp

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
)

// State on the wire, numbers in network order:
//
//	| version 1 | suite | role | key and salt | sent SRTCP index 4 | sources 2 |
//	  then each source:  | SSRC 4 | flags | RTP index 8 | SRTCP index 4 |
const (
	stateVersion = 1
	sourceBytes  = 4 + 1 + 8 + 4

	flagRTP  = 1
	flagRTCP = 2
)

// leap is by how much the SRTCP index of an imported sender jumps at least, and at most by twice as much: what the other node sent after the
// export must not come again. The index stands in the packet (RFC 3711 §3.4), so that a receiver follows a jump of any size; there are
// fewer reports than packets, of which less than 2^16 may have gone by. It is random, because a context that is imported twice from one
// state, the first importer having died as well, must not send the same indices twice. A key has room for 1,300 such jumps.
const leap = 1 << 20

var errState = errors.New("srtp: this is no exported context")

// Export appends the context's state, master key included, for another node that takes the call over.
func (c *Context) Export(out []byte) []byte {
	out = append(out, stateVersion, byte(c.suite), byte(c.role))
	out = append(out, c.master...)
	out = binary.BigEndian.AppendUint32(out, c.sentRTCP)
	out = binary.BigEndian.AppendUint16(out, uint16(len(c.sources)))
	for i := range c.sources {
		s := &c.sources[i]
		var flags byte
		if s.rtp.started {
			flags |= flagRTP
		}
		if s.rtcp.started {
			flags |= flagRTCP
		}
		out = append(binary.BigEndian.AppendUint32(out, s.ssrc), flags)
		out = binary.BigEndian.AppendUint64(out, s.rtp.highest)
		out = binary.BigEndian.AppendUint32(out, uint32(s.rtcp.highest))
	}
	return out
}

// Import makes a context from an exported state. It takes and gives only higher indices than the exported ones, since
// nobody knows here which of the lower ones had been used. resumption.go says how old the state may be.
func Import(state []byte) (*Context, error) {
	if len(state) < 3 || state[0] != stateVersion || state[1] >= byte(suites) || state[2] > byte(Sender) {
		return nil, errState
	}
	suite, role, rest := Suite(state[1]), Role(state[2]), state[3:]
	if len(rest) < suite.KeyBytes()+6 {
		return nil, errState
	}
	c, err := New(suite, rest[:suite.KeyBytes()], role)
	if err != nil {
		return nil, err
	}
	c.resumed = &resumption{}
	rest = rest[suite.KeyBytes():]
	sent, n := binary.BigEndian.Uint32(rest), int(binary.BigEndian.Uint16(rest[4:]))
	rest = rest[6:]
	most := maxReceived
	if role == Sender {
		most = maxSent
	}
	if sent > lastIndexRTCP || n > most || len(rest) != n*sourceBytes {
		return nil, errState
	}
	if role == Sender {
		c.sentRTCP = min(sent+leap+rand.Uint32N(leap), lastIndexRTCP)
	}
	for ; n > 0; n-- {
		ssrc, flags, rtp, rtcp := binary.BigEndian.Uint32(rest), rest[4], binary.BigEndian.Uint64(rest[5:]), binary.BigEndian.Uint32(rest[13:])
		rest = rest[sourceBytes:]
		if rtp > lastIndex || rtcp > lastIndexRTCP || c.find(ssrc) != nil {
			return nil, errState
		}
		s := c.admit(ssrc)
		if flags&flagRTP != 0 {
			s.rtp.resume(rtp)
		}
		if flags&flagRTCP != 0 {
			s.rtcp.resume(uint64(rtcp))
		}
	}
	return c, nil
}
