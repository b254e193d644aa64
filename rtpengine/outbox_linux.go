//go:build linux && !portable

package rtpengine

import (
	"encoding/binary"
	"math/bits"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	ipHeader  = 20
	udpHeader = 8

	// rawLongest is the longest datagram that leaves by the raw socket: with its headers it is no longer than what every host
	// and path takes in one piece (RFC 791), so that whatever needs the kernel's path MTU discovery leaves by a socket that has it.
	rawLongest = 576 - ipHeader - udpHeader

	outboxBuffer = 8 << 20
)

// outbox is the way out of a shard whose packets are steered: what one batch of the inbox is turned into leaves together. IPv4
// leaves by one raw socket with headers that we write, since the packets of one sendmmsg have many source ports; that costs a
// third less than as many ports' sockets do. What a raw socket is not good for leaves by its port's own, in its turn.
//
// The packets stay where they are, in the inbox's slab, until flush.
type outbox struct {
	fd         int // -1: there is no right to raw sockets
	ttl, tos   byte
	base, size uintptr // the slab

	n    int
	sent [inboxBatch]outgoing

	hdrs  [inboxBatch]mmsghdr
	iovs  [inboxBatch][2]unix.Iovec
	names [inboxBatch]unix.RawSockaddrInet4
	heads [inboxBatch][ipHeader + udpHeader]byte
}

// outgoing is a packet that waits for flush.
type outgoing struct {
	from *leg // whose packet it is
	k    *socket
	to   *destination
	b    []byte
	raw  bool
}

// openOutbox makes the outbox for the packets in slab. Without the right to a raw socket it is of use all the same, and err says so.
func openOutbox(slab []byte, dscp int) (o *outbox, err error) {
	o = &outbox{fd: -1, base: uintptr(unsafe.Pointer(unsafe.SliceData(slab))), size: uintptr(len(slab))}
	for i := range o.hdrs {
		h := &o.hdrs[i].hdr
		o.names[i].Family = unix.AF_INET
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&o.names[i])), unix.SizeofSockaddrInet4
		o.iovs[i][0].Base = &o.heads[i][0]
		o.iovs[i][0].SetLen(ipHeader + udpHeader)
		h.Iov = &o.iovs[i][0]
		h.SetIovlen(2)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return o, os.NewSyscallError("raw socket", err)
	}
	if dscp > 0 { // on the socket too: it sets the queueing priority, and routes are looked up with it
		o.tos = byte(dscp << 2)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TOS, int(o.tos))
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, outboxBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, outboxBuffer)
	}
	ttl, err := unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL)
	if err != nil {
		unix.Close(fd)
		return o, os.NewSyscallError("getsockopt", err)
	}
	o.fd, o.ttl = fd, byte(ttl)
	return o, nil
}

func (o *outbox) close() {
	if o.fd >= 0 {
		unix.Close(o.fd)
		o.fd = -1
	}
}

// queue takes a packet of the inbox's slab for the next flush, where it is counted; false for any other packet, which the caller
// sends himself, behind those that wait.
func (r *relay) queue(l *leg, k *socket, to *destination, b []byte) bool {
	o := r.outbox
	if o == nil || len(b) == 0 {
		return false
	}
	if at := uintptr(unsafe.Pointer(unsafe.SliceData(b))) - o.base; at >= o.size || o.n == inboxBatch {
		r.flush()
		return false
	}
	i := o.n
	o.n++
	g := &o.sent[i]
	g.from, g.k, g.to, g.b = l, k, to, b
	if g.raw = o.fd >= 0 && k.reached && len(b) <= rawLongest && k.family == v4; g.raw {
		o.address(i, k, to, b)
	}
	return true
}

// address writes the headers of the i-th packet:
//
//	| 45 | TOS | length |  0  | DF  | TTL | 17 | checksum* | source | destination |   IPv4, RFC 791
//	| source port | destination port | length | checksum |                              UDP, RFC 768
//
// The kernel fills in what is marked. A packet that may not be fragmented needs no identification (RFC 6864 §4.1).
func (o *outbox) address(i int, k *socket, to *destination, b []byte) {
	h := &o.heads[i]
	length := udpHeader + len(b)
	h[0], h[1] = 0x45, o.tos
	binary.BigEndian.PutUint16(h[2:], uint16(ipHeader+length))
	binary.BigEndian.PutUint32(h[4:], 0x4000)
	h[8], h[9] = o.ttl, unix.IPPROTO_UDP
	copy(h[12:16], k.local[:])
	copy(h[16:20], to.raw.bytes[4:8])
	binary.BigEndian.PutUint16(h[20:], k.port)
	copy(h[22:24], to.raw.bytes[2:4])
	binary.BigEndian.PutUint16(h[24:], uint16(length))
	h[26], h[27] = 0, 0

	// RFC 768: of addresses, protocol, length and the datagram; 0 would mean that there is none.
	sum := uint64(unix.IPPROTO_UDP+length) + add(h[12:])
	if sum = fold(sum + add(b)); sum != 0xffff {
		sum = ^sum
	}
	binary.BigEndian.PutUint16(h[26:], uint16(sum))

	copy(o.names[i].Addr[:], to.raw.bytes[4:8])
	o.iovs[i][1].Base = unsafe.SliceData(b)
	o.iovs[i][1].SetLen(len(b))
}

// add is the sum of RFC 1071 over b, not folded further than to 32 bits.
func add(b []byte) uint64 {
	var sum, carry uint64
	for ; len(b) >= 8; b = b[8:] {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
	}
	var last [8]byte
	copy(last[:], b)
	sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(last[:]), carry)
	return sum>>32 + sum&0xffffffff + carry
}

// fold makes 16 bits of a sum.
func fold(sum uint64) uint64 {
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return sum
}

// flush sends what waits, in the order it came.
func (r *relay) flush() {
	o := r.outbox
	if o == nil || o.n == 0 {
		return
	}
	for at := 0; at < o.n; {
		end := at
		for end < o.n && o.sent[end].raw {
			end++
		}
		n := 0
		if end > at {
			n = o.send(at, end)
		}
		for i := at; i < at+n; i++ {
			r.passed(o.sent[i].from)
		}
		r.count.batched += uint64(n)
		if at += n; at < o.n && (n == 0 || !o.sent[at].raw) { // not fit for the raw socket, or refused by it
			r.sendAlone(&o.sent[at])
			at++
		}
	}
	clear(o.sent[:o.n]) // legs and sockets may end
	o.n = 0
}

func (o *outbox) send(at, end int) int {
	n, _, errno := syscall.RawSyscall6(unix.SYS_SENDMMSG, uintptr(o.fd), uintptr(unsafe.Pointer(&o.hdrs[at])), uintptr(end-at), unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// sendAlone sends by the port's own socket.
func (r *relay) sendAlone(g *outgoing) {
	if g.raw {
		r.count.unbatched++
	}
	if g.k.send(g.b, g.to) {
		r.passed(g.from)
	} else {
		r.drop(g.from, DropSend)
	}
}
