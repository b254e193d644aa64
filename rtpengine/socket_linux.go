//go:build linux && !portable

package rtpengine

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is one bound, non-blocking UDP socket. After attach, the shard owns it.
type socket struct {
	fd        int
	leg       *leg
	crowdAt   int64   // second of crowd
	crowd     uint32  // steered datagrams of whatever source
	slot      int32   // place in the shard's table
	local     [4]byte // the address of ours to which the peer sends, when reached
	port      uint16
	share     uint16 // datagrams that it may give in one turn; more than one at ports of many
	family    uint8
	component uint8
	reached   bool
	steered   bool // its packets come by the shard's inbox
	single    bool // the port that many calls share
	foreign   bool // bound to an address of another engine, see site
	closed    bool
}

// openSocket binds addr:port and marks what it sends, unless dscp is negative.
func openSocket(addr netip.Addr, port uint16, dscp int) (*socket, error) {
	domain, level, mark := unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_TCLASS
	if addr.Is4() {
		domain, level, mark = unix.AF_INET, unix.IPPROTO_IP, unix.IP_TOS
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(port), Addr: v4bytes(addr)}
	if !addr.Is4() {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
		sa = &unix.SockaddrInet6{Port: int(port), Addr: addr.As16()}
	}
	if err := unix.Bind(fd, sa); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	if dscp >= 0 { // a kernel that refuses the mark still carries the packets
		_ = unix.SetsockoptInt(fd, level, mark, dscp<<2)
	}
	return &socket{fd: fd, family: uint8(familyOf(addr)), port: port, slot: -1, share: 1}, nil
}

// widen asks for a queue that holds the packets of many calls.
func (k *socket) widen() {
	if unix.SetsockoptInt(k.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, inboxBuffer) != nil {
		_ = unix.SetsockoptInt(k.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, inboxBuffer)
	}
}

// overruns is how many datagrams the kernel dropped because nobody read them in time.
func (k *socket) overruns() uint64 { return overruns(k.fd) }

func portTaken(err error) bool { return errors.Is(err, unix.EADDRINUSE) }

func (k *socket) close() {
	if !k.closed {
		k.closed = true
		unix.Close(k.fd)
	}
}

// rawAddr is the kernel's socket address: a sockaddr_in or the larger sockaddr_in6.
type rawAddr struct {
	bytes [unix.SizeofSockaddrInet6]byte
	len   uint32
}

func (r *rawAddr) set(ap netip.AddrPort) {
	binary.BigEndian.PutUint16(r.bytes[2:], ap.Port())
	if ap.Addr().Is4() {
		binary.NativeEndian.PutUint16(r.bytes[:], unix.AF_INET)
		a := ap.Addr().As4()
		copy(r.bytes[4:], a[:])
		clear(r.bytes[8:])
		r.len = unix.SizeofSockaddrInet4
		return
	}
	binary.NativeEndian.PutUint16(r.bytes[:], unix.AF_INET6)
	a := ap.Addr().As16()
	clear(r.bytes[4:])
	copy(r.bytes[8:], a[:])
	r.len = unix.SizeofSockaddrInet6
}

func (r *rawAddr) valid() bool { return r.len != 0 }

func (r *rawAddr) family() int {
	if r.len == unix.SizeofSockaddrInet4 {
		return v4
	}
	return v6
}

// source reads the address; a link-local zone stays in the raw form only.
func (r *rawAddr) source() netip.AddrPort {
	port := binary.BigEndian.Uint16(r.bytes[2:])
	if binary.NativeEndian.Uint16(r.bytes[:]) == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(r.bytes[4:8])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(r.bytes[8:24])), port)
}

// receive reads one datagram without blocking; n < 0 when there is none. n is the datagram's true
// length, also when the buffer is shorter.
//
// RawSyscall, not Syscall: the socket never blocks, and telling the Go scheduler about every packet
// costs more than the call (BenchmarkRelay).
func (k *socket) receive(b []byte, from *rawAddr) (n int) {
	from.len = uint32(len(from.bytes))
	got, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(k.fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_TRUNC,
		uintptr(unsafe.Pointer(&from.bytes)), uintptr(unsafe.Pointer(&from.len)))
	if errno != 0 {
		return -1
	}
	return int(got)
}

func (k *socket) send(b []byte, to *destination) bool {
	_, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(k.fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_NOSIGNAL,
		uintptr(unsafe.Pointer(&to.raw.bytes)), uintptr(to.raw.len))
	return errno == 0
}

func v4bytes(addr netip.Addr) (b [4]byte) {
	if addr.Is4() {
		b = addr.As4()
	}
	return b
}
