//go:build linux && !portable

package rtpengine

import (
	"encoding/binary"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tandem/rtpengine/internal/steer"
)

const (
	inboxBatch = 64 // datagrams a recvmmsg

	// inboxStride keeps the buffers' first lines, which are all that most packets fill, out of each
	// other's cache sets.
	inboxStride = slabBytes + 5*64

	// inboxBuffer is the kernel's queue for all calls of a shard: about 100 ms of a full one.
	inboxBuffer = 8 << 20

	// With an inbox a wake-up costs one system call however many packets there are, so it pays to nap
	// even when more have come.
	inboxNapBelow = 24
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// inbox is the steered way into a shard: a socket a family, which gets the packets of all ports that
// were taken. Its shard owns it.
type inbox struct {
	program *steer.Steer
	low     uint16
	line    [2]int       // of the program's table, by family
	number  [2]int       // receiver numbers, by family
	fds     [2]int       // -1 where the family is not bound
	ports   [2][]*socket // taken ports, by family and port-low

	hdrs    [inboxBatch]mmsghdr
	iovs    [inboxBatch]unix.Iovec
	from    [inboxBatch]rawAddr
	control [inboxBatch][controlBytes]byte
	slab    []byte

	checked int64 // when overruns were last asked for, engine ns
}

func newInbox(program *steer.Steer, low uint16, count int, line [2]int) *inbox {
	x := &inbox{program: program, low: low, line: line, fds: [2]int{-1, -1}, slab: make([]byte, inboxBatch*inboxStride)}
	for i := range x.hdrs {
		x.iovs[i].Base = &x.slab[i*inboxStride]
		x.iovs[i].SetLen(slabBytes)
		h := &x.hdrs[i].hdr
		h.Name, h.Control, h.Iov = &x.from[i].bytes[0], &x.control[i][0], &x.iovs[i]
		h.SetIovlen(1)
		x.rewind(i)
	}
	for family := range x.ports {
		x.ports[family] = make([]*socket, count)
	}
	return x
}

// rewind makes a header ready for the next datagram.
func (x *inbox) rewind(i int) {
	x.hdrs[i].hdr.Namelen = unix.SizeofSockaddrInet6
	x.hdrs[i].hdr.SetControllen(controlBytes)
}

// open makes the socket of a family. It is bound to a port of loopback that nobody is told, because
// the kernel steers to bound sockets only.
func (x *inbox) open(family, number int) error {
	level, option, addr := unix.IPPROTO_IP, unix.IP_RECVORIGDSTADDR, netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if family == v6 {
		level, option, addr = unix.IPPROTO_IPV6, unix.IPV6_RECVORIGDSTADDR, netip.IPv6Loopback()
	}
	k, err := openSocket(addr, 0, -1)
	if err != nil {
		return err
	}
	x.fds[family], x.number[family] = k.fd, number
	if err := unix.SetsockoptInt(k.fd, level, option, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	k.widen()
	return x.program.Receiver(number, k.fd)
}

func (x *inbox) close() {
	for family, fd := range x.fds {
		if fd >= 0 {
			unix.Close(fd)
			x.fds[family] = -1
		}
	}
}

// take has a port's packets come here; false when the kernel would not.
func (x *inbox) take(k *socket) bool {
	if x.program.Take(x.line[k.family], k.port, x.number[k.family]) != nil {
		return false
	}
	x.ports[k.family][k.port-x.low] = k
	k.steered = true
	return true
}

// leave has them come to the port's own socket again. What is queued here already is still served
// as long as the socket stays in ports.
func (x *inbox) leave(k *socket) bool {
	k.steered = false
	return x.program.Leave(x.line[k.family], k.port) == nil
}

// forget is leave for a socket that will be closed: the program must not take its port from whoever
// binds it next.
func (x *inbox) forget(k *socket) {
	x.leave(k)
	x.ports[k.family][k.port-x.low] = nil
}

// receive reads what has come for a family, up to a batch.
func (x *inbox) receive(family int) int {
	n, _, errno := syscall.RawSyscall6(unix.SYS_RECVMMSG, uintptr(x.fds[family]), uintptr(unsafe.Pointer(&x.hdrs)),
		inboxBatch, unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// controlBytes holds one control message with a sockaddr_in6.
const controlBytes = unix.SizeofCmsghdr + unix.SizeofSockaddrInet6 + 4

// owner is the socket whose port the i-th datagram was sent to; nil when that is ours no more. The
// kernel tells by IP_ORIGDSTADDR, the only control message that was asked for.
func (x *inbox) owner(family, i int) *socket {
	if x.hdrs[i].hdr.Controllen < unix.SizeofCmsghdr+4 {
		return nil
	}
	at := int(binary.BigEndian.Uint16(x.control[i][unix.SizeofCmsghdr+2:])) - int(x.low)
	if at < 0 || at >= len(x.ports[family]) {
		return nil
	}
	return x.ports[family][at]
}

// learn notes which address of ours a port's peer sends to: what is sent to it comes from there.
func (x *inbox) learn(k *socket, from *rawAddr, i int) {
	at := [4]byte(x.control[i][unix.SizeofCmsghdr+4:])
	if k.family != v4 || k.leg == nil || k.reached && at == k.local {
		return
	}
	if to := &k.leg.to[k.component]; to.valid() && to.family() == v4 && [6]byte(to.raw.bytes[2:]) == [6]byte(from.bytes[2:]) {
		k.local, k.reached = at, true
	}
}

// overruns is how many datagrams the kernel dropped because nobody read them in time.
func (x *inbox) overruns() (n uint64) {
	for _, fd := range x.fds {
		if fd >= 0 {
			n += overruns(fd)
		}
	}
	return n
}

// overruns are those of one socket.
func overruns(fd int) uint64 {
	var info [unix.SK_MEMINFO_VARS]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := syscall.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0
	}
	return uint64(info[unix.SK_MEMINFO_DROPS])
}

// unpack takes a batch of steered datagrams.
func (s *shard) unpack(family int) int {
	x := s.inbox
	n := x.receive(family)
	for i := range n {
		h := &x.hdrs[i]
		from := &x.from[i]
		from.len = h.hdr.Namelen
		k := x.owner(family, i)
		switch {
		case k == nil:
			s.count.drops[DropClosed]++
			s.count.dropped = true
		case h.n > slabBytes:
			s.drop(k.leg, DropOversize)
		default:
			s.receive(k, from.source(), from, x.slab[i*inboxStride:][:h.n])
			x.learn(k, from, i)
		}
		if k != nil {
			s.crowd(k)
		}
		x.rewind(i)
	}
	s.flush()
	s.steered.Add(uint64(n))
	return n
}

// crowd counts what comes for one port. A port that gets more than any phone may send is left to its
// own socket and its own queue, so that a flood of one call does not push all others' packets out.
func (s *shard) crowd(k *socket) {
	if s.now-k.crowdAt >= int64(time.Second) {
		k.crowdAt, k.crowd = s.now, 0
	}
	if k.crowd++; int(k.crowd) > s.rate && k.steered && s.inbox.leave(k) {
		s.exiled.Add(1)
	}
}

// recount reads the inbox's overruns about once a second.
func (s *shard) recount() {
	if s.inbox != nil && s.now-s.inbox.checked >= int64(time.Second) {
		s.inbox.checked = s.now
		s.overruns.Store(s.inbox.overruns())
	}
}
