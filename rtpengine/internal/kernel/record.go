//go:build linux

package kernel

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// record is one flow as the program sees it. Everything up to the counters is written before the flow's port leads here and not
// touched until long after it no longer does, so the program needs no lock; the counters are the program's alone.
// Addresses and ports are in network order; all else is in the machine's order.
//
// What costs in the program is waiting for memory: between two packets of a flow the processor has seen a thousand others. So what a packet of
// IPv4 needs is two lines of 64 octets side by side, what it must agree with and what changes; the addresses of IPv6 are behind them.
type record struct {
	ends4                  ends4
	remotePort             [2]byte
	fromPort               [2]byte
	toPort                 [2]byte
	longest                uint16 // IP packet, octets; longer ones need fragments
	ssrc                   [4]byte
	ingress                uint32 // interface that leads back to remote
	payloads               [2]uint64
	addrChange, portChange uint32 // one's complement sums of what the rewrite adds, for the checksums
	clock                  uint32 // Hz, of all payloads
	egress                 uint32 // interface

	nextHopFamily  uint32 // with nextHop a struct bpf_redir_neigh; 0: egress is the loopback
	nextHop        [16]byte
	transit        uint32 // RFC 3550 A.8, as is jitter16
	seen           int64  // engine ns of the last packet
	packets, bytes uint64 // RTP, octets with RTP header
	windowAt       uint32 // engine ms, modulo 2^32, at which the second began that window counts
	window         uint16
	codec          uint16 // static payload type of the last packet that has one, and one
	jitter16       uint32
	highest        uint32 // of A.1

	ends6    ends6
	received uint32 // of A.1, when packets was 0; not the program's
	_        [60]byte
}

// ends4 and ends6 are a packet's destination and source, and what source and destination become.
type (
	ends4 struct{ local, remote, from, to [4]byte }
	ends6 struct{ local, remote, from, to [16]byte }
)

const recordBytes = int(unsafe.Sizeof(record{}))

// Offsets for the program.
const (
	atEnds4      = int16(unsafe.Offsetof(record{}.ends4))
	atEnds6      = int16(unsafe.Offsetof(record{}.ends6))
	atRemotePort = int16(unsafe.Offsetof(record{}.remotePort))
	atFromPort   = int16(unsafe.Offsetof(record{}.fromPort))
	atToPort     = int16(unsafe.Offsetof(record{}.toPort))
	atLongest    = int16(unsafe.Offsetof(record{}.longest))
	atSSRC       = int16(unsafe.Offsetof(record{}.ssrc))
	atIngress    = int16(unsafe.Offsetof(record{}.ingress))
	atPayloads   = int16(unsafe.Offsetof(record{}.payloads))
	atAddrChange = int16(unsafe.Offsetof(record{}.addrChange))
	atPortChange = int16(unsafe.Offsetof(record{}.portChange))
	atClock      = int16(unsafe.Offsetof(record{}.clock))
	atEgress     = int16(unsafe.Offsetof(record{}.egress))
	atNextHop    = int16(unsafe.Offsetof(record{}.nextHopFamily))
	atPackets    = int16(unsafe.Offsetof(record{}.packets))
	atBytes      = int16(unsafe.Offsetof(record{}.bytes))
	atSeen       = int16(unsafe.Offsetof(record{}.seen))
	atWindowAt   = int16(unsafe.Offsetof(record{}.windowAt))
	atTransit    = int16(unsafe.Offsetof(record{}.transit))
	atJitter16   = int16(unsafe.Offsetof(record{}.jitter16))
	atHighest    = int16(unsafe.Offsetof(record{}.highest))
	atWindow     = int16(unsafe.Offsetof(record{}.window))
	atCodec      = int16(unsafe.Offsetof(record{}.codec))
)

// redirNeighBytes is the size of struct bpf_redir_neigh.
const redirNeighBytes = 20

// halves are the window and the codec, read as the one word that they are in.
func (r *record) halves() (window, codec uint16) {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.window))))
	return binary.NativeEndian.Uint16(b[:]), binary.NativeEndian.Uint16(b[2:])
}

func netPort(port uint16) (b [2]byte) {
	binary.BigEndian.PutUint16(b[:], port)
	return b
}

// change is the one's complement sum that turns a checksum over the old octets into one over the new, in the machine's order
// (RFC 1624). Both have the same even length.
func change(before, after []byte) uint32 {
	var sum uint32
	for i := 0; i < len(before); i += 2 {
		sum += uint32(binary.NativeEndian.Uint16(after[i:]))
		sum += uint32(^binary.NativeEndian.Uint16(before[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return sum
}

var littleEndian = bits.ReverseBytes16(binary.NativeEndian.Uint16([]byte{1, 0})) == 0x100
