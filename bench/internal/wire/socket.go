//go:build linux

package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	batchLength  = 64
	receiveBytes = 4096 // longest datagram the drivers expect
	sendBytes    = 2048 // longest datagram the drivers send
)

// Addr is an IPv4 address and port in the kernel's own form, comparable.
type Addr struct {
	raw unix.RawSockaddrInet4
}

// AddrFrom converts ap, which must be IPv4.
func AddrFrom(ap netip.AddrPort) Addr {
	var a Addr
	a.raw.Family = unix.AF_INET
	a.raw.Addr = ap.Addr().As4()
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&a.raw.Port))[:], ap.Port())
	return a
}

// Port is the UDP port.
func (a *Addr) Port() uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&a.raw.Port))[:])
}

// AddrPort converts back.
func (a *Addr) AddrPort() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4(a.raw.Addr), a.Port())
}

// Handler gets one datagram. packet is borrowed until it returns. stamp is the kernel's receive time in nanoseconds of the real clock
// (0 unless the socket was opened with stamps).
type Handler func(s *Socket, packet []byte, from *Addr, stamp int64)

// Socket is one bound UDP socket of a Loop.
type Socket struct {
	Addr netip.AddrPort
	Host string // "127.0.0.1:7000", for messages

	fd    int
	loop  *Loop
	take  Handler
	out   batch
	queue int // datagrams queued in out
	dirty bool

	Sent, Received uint64
	Blocked        uint64 // times the kernel's send buffer was full
	Refused        uint64 // send errors (ICMP port unreachable and the like)
}

// Open binds addr and adds the socket to the loop.
func (l *Loop) Open(addr netip.AddrPort, stamps bool, take Handler) (*Socket, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := &Socket{fd: fd, loop: l, take: take}
	if err := s.open(addr, stamps); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open %s: %w", addr, err)
	}
	for len(l.sockets) <= fd {
		l.sockets = append(l.sockets, nil)
	}
	l.sockets[fd] = s
	s.out.init(batchLength, sendBytes)
	return s, nil
}

func (s *Socket) open(addr netip.AddrPort, stamps bool) error {
	for _, option := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF} {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, option, 4<<20)
	}
	if stamps {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if err := unix.Bind(s.fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	name, err := unix.Getsockname(s.fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	bound := name.(*unix.SockaddrInet4)
	s.Addr = netip.AddrPortFrom(netip.AddrFrom4(bound.Addr), uint16(bound.Port))
	s.Host = s.Addr.String()
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(s.fd)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(s.loop.epoll, unix.EPOLL_CTL_ADD, s.fd, &event))
}

// Close closes the socket at once; what is queued is lost.
func (s *Socket) Close() {
	s.loop.sockets[s.fd] = nil
	s.queue = 0
	unix.Close(s.fd)
}

// Buffer is the empty buffer of the next datagram to send: append to it, then Push it.
func (s *Socket) Buffer() []byte {
	if s.queue == batchLength {
		s.flush()
	}
	return s.out.slot(s.queue)[:0]
}

// Push queues the datagram built in Buffer. It leaves with the next flush; datagrams of one socket keep their order.
func (s *Socket) Push(packet []byte, to *Addr) {
	i := s.queue
	if cap(packet) == 0 || &packet[:1][0] != &s.out.slot(i)[:1][0] {
		panic("wire: Push takes what was built in Buffer; the packet outgrew it or lies elsewhere")
	}
	s.out.iov[i].SetLen(len(packet))
	s.out.names[i] = to.raw
	s.queue++
	if !s.dirty {
		s.dirty = true
		s.loop.dirty = append(s.loop.dirty, s)
	}
}

// Send copies packet and queues it.
func (s *Socket) Send(packet []byte, to *Addr) { s.Push(append(s.Buffer(), packet...), to) }

// SendFrom is Send under a source address of the caller's choice, of a socket that is bound to 0.0.0.0. A socket sends all its datagrams so, or none.
func (s *Socket) SendFrom(from netip.Addr, packet []byte, to *Addr) {
	buffer := s.Buffer()
	s.out.source(s.queue, from.As4())
	s.Push(append(buffer, packet...), to)
}

func (s *Socket) flush() {
	for from := 0; from < s.queue; {
		n, _, e := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.out.msgs[from])), uintptr(s.queue-from), 0, 0, 0)
		switch {
		case e == 0:
			from += int(n)
			s.Sent += uint64(n)
		case e == unix.EAGAIN:
			s.Blocked++
			ready := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}
			_, _ = unix.Poll(ready, 10)
		case e == unix.EINTR:
		default: // the error of an earlier datagram (ICMP); reading it cleared it, this one goes out on the next attempt
			s.Refused++
			if s.Refused%8 == 0 {
				from++
			}
		}
	}
	s.queue = 0
}

// receive reads everything that waits (bounded: the loop comes back for more) and hands it over.
func (s *Socket) receive(in *batch) {
	if s == nil {
		return
	}
	for range 16 {
		in.reset()
		n, _, e := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&in.msgs[0])), batchLength, unix.MSG_DONTWAIT, 0, 0)
		if e != 0 {
			return
		}
		s.Received += uint64(n)
		for i := range int(n) {
			from := Addr{in.names[i]}
			s.take(s, in.slot(i)[:in.msgs[i].n], &from, in.stamp(i))
		}
		if n < batchLength {
			return
		}
	}
}
