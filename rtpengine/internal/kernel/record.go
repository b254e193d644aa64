//go:build linux

package kernel

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"unsafe"
)

// record is one flow as the program sees it. Everything up to the counters is written before the flow's port leads here and not
// touched until long after it no longer does, so the program needs no lock; the counters are the program's alone.
// Addresses and ports are in network order, an IPv4 address is in the first four octets; all else is in the machine's order.
type record struct {
	local, remote  [16]byte // destination and source of a packet that may pass
	remotePort     [2]byte
	fromPort       [2]byte
	toPort         [2]byte
	longest        uint16   // IP packet, octets; longer ones need fragments
	ssrc           [4]byte  //
	ingress        uint32   // interface that leads back to remote
	from, to       [16]byte // what source and destination become
	payloads       [2]uint64
	addrChange     uint32 // one's complement sums of what the rewrite adds, for the checksums
	portChange     uint32
	clock          uint32 // Hz, of all payloads
	egress         uint32 // interface
	nextHopFamily  uint32 // with nextHop a struct bpf_redir_neigh; 0: egress is the loopback
	nextHop        [16]byte
	_              [4]byte
	packets, bytes uint64 // RTP, octets with RTP header
	seen           int64  // engine ns of the last packet
	windowAt       int64  // engine ns at which the second began that window counts
	transit        uint32 // RFC 3550 A.8, as are jitter16 and
	jitter16       uint32
	highest        uint32 // of A.1
	received       uint32
	window         uint32
	codec          uint32 // static payload type of the last packet that has one, and one
	_              [24]byte
}

const recordBytes = int(unsafe.Sizeof(record{}))

// Offsets for the program.
const (
	atLocal      = int16(unsafe.Offsetof(record{}.local))
	atRemote     = int16(unsafe.Offsetof(record{}.remote))
	atRemotePort = int16(unsafe.Offsetof(record{}.remotePort))
	atFromPort   = int16(unsafe.Offsetof(record{}.fromPort))
	atToPort     = int16(unsafe.Offsetof(record{}.toPort))
	atLongest    = int16(unsafe.Offsetof(record{}.longest))
	atSSRC       = int16(unsafe.Offsetof(record{}.ssrc))
	atIngress    = int16(unsafe.Offsetof(record{}.ingress))
	atFrom       = int16(unsafe.Offsetof(record{}.from))
	atTo         = int16(unsafe.Offsetof(record{}.to))
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
	atReceived   = int16(unsafe.Offsetof(record{}.received))
	atWindow     = int16(unsafe.Offsetof(record{}.window))
	atCodec      = int16(unsafe.Offsetof(record{}.codec))
)

// redirNeighBytes is the size of struct bpf_redir_neigh.
const redirNeighBytes = 20

func put16(to *[16]byte, addr netip.Addr) { copy(to[:], addr.AsSlice()) }

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
