package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	socketBuffer = 4 << 20 // bytes, each way: 20,000 calls/s for 100 ms
	readBatch    = 32      // datagrams a recvmmsg; a buffer of 64 KiB each, of which only what arrives is touched
	writeBatch   = 64
	writeWait    = 20 * time.Millisecond
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// batchSocket is a datagramSocket on recvmmsg and sendmmsg. Its descriptor is kept out of the runtime's poller: there every
// datagram wakes a thread up, also while the reader rests so that datagrams may gather.
type batchSocket struct {
	fd   int
	bell int // eventfd that ends a blocked read
	addr netip.AddrPort
	wild bool // bound to all addresses

	mu     sync.Mutex // guards closed against drops
	closed bool
}

var errInterrupted = errors.New("the socket was told to stop reading")

// bindUDP binds n sockets to one address. The first is bound without SO_REUSEPORT and given it afterwards: it fails when
// anybody else has the port, another Tandem included, and the others can still join it.
func bindUDP(addr string, n int) ([]datagramSocket, error) {
	first, err := bindOne(addr, false)
	if err != nil {
		return nil, err
	}
	sockets := []datagramSocket{first}
	for len(sockets) < n {
		s, err := bindOne(first.addr.String(), true)
		if err != nil {
			for _, s := range sockets {
				_ = s.close()
			}
			return nil, err
		}
		sockets = append(sockets, s)
	}
	return sockets, nil
}

func bindOne(addr string, join bool) (*batchSocket, error) {
	var optErr error
	lc := net.ListenConfig{Control: func(network, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { optErr = udpOptions(int(fd), network == "udp6", join) })
	}}
	pc, err := lc.ListenPacket(context.Background(), udpNetwork(addr), addr)
	if err != nil {
		return nil, err
	}
	defer pc.Close()
	if optErr != nil {
		return nil, optErr
	}
	return takeSocket(pc.(*net.UDPConn))
}

// takeSocket takes the descriptor of a bound socket away from the runtime's poller.
func takeSocket(conn *net.UDPConn) (*batchSocket, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &batchSocket{fd: -1}
	s.addr, _ = addrPortOf(conn.LocalAddr())
	s.wild = s.addr.Addr().IsUnspecified()
	var opErr error
	err = raw.Control(func(fd uintptr) {
		if s.fd, opErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); opErr == nil {
			opErr = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}
	})
	if err = errors.Join(err, opErr); err == nil {
		s.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	if err != nil {
		if s.fd >= 0 {
			_ = unix.Close(s.fd)
		}
		return nil, err
	}
	return s, nil
}

// copied is the socket for another process.
func (s *batchSocket) copied() (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, net.ErrClosed
	}
	fd, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	return os.NewFile(uintptr(fd), "udp"), nil
}

// adoptUDP takes the sockets of one address from another process.
func adoptUDP(files []*os.File) (*udpGroup, error) {
	g := &udpGroup{}
	for _, f := range files {
		s, err := adoptSocket(f)
		_ = f.Close()
		if err != nil {
			return nil, err
		}
		g.sockets = append(g.sockets, s)
	}
	return g, nil
}

func adoptSocket(f *os.File) (*batchSocket, error) {
	pc, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	defer pc.Close()
	conn, ok := pc.(*net.UDPConn)
	if !ok {
		return nil, errors.New("an adopted socket is not one of UDP")
	}
	return takeSocket(conn)
}

// udpNetwork is the network of one family: a wildcard IPv6 socket must not take the IPv4 packets of the listener beside it.
func udpNetwork(addr string) string {
	if ap, err := netip.ParseAddrPort(addr); err == nil && ap.Addr().Is6() && !ap.Addr().Is4In6() {
		return "udp6"
	}
	return "udp4"
}

func udpOptions(fd int, v6, join bool) error {
	if join {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return os.NewSyscallError("SO_REUSEPORT", err)
		}
	}
	// The FORCE variants go over the system's maximum and need CAP_NET_ADMIN; without it the kernel clips to the maximum.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, socketBuffer)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, socketBuffer)
	}
	// A message larger than the path's MTU must arrive in fragments rather than not at all (RFC 3261 §18.1.1 leaves nothing
	// else when the peer has no TCP), so the don't-fragment bit stays off.
	if v6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		return os.NewSyscallError("IPV6_V6ONLY", unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1))
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	return nil
}

func (s *batchSocket) local() netip.AddrPort { return s.addr }
func (s *batchSocket) batches() bool         { return true }

// nap rests without the runtime's timers, which would wake a second thread up.
func (s *batchSocket) nap(d time.Duration) {
	runtime.Gosched() // as in await: handlers just begun must not sit behind a processor that sleeps
	t := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&t, nil)
}

func (s *batchSocket) interrupt() { _, _ = unix.Write(s.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// close is called when nobody reads or writes any more.
func (s *batchSocket) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.closed = true
	return errors.Join(unix.Close(s.fd), unix.Close(s.bell))
}

// await waits until the socket can be read or written, or the bell rings.
func (s *batchSocket) await(event int16, limit time.Duration) error {
	runtime.Gosched() // what this goroutine has made ready runs before its processor waits with it
	fds := [2]unix.PollFd{{Fd: int32(s.fd), Events: event}, {Fd: int32(s.bell), Events: unix.POLLIN}}
	n := 2
	if event == unix.POLLOUT {
		n = 1
	}
	for {
		_, err := unix.Poll(fds[:n], int(limit/time.Millisecond))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return os.NewSyscallError("poll", err)
		case fds[1].Revents != 0:
			return errInterrupted
		default:
			return nil
		}
	}
}

// drops reads SK_MEMINFO_DROPS of SO_MEMINFO (linux/sock_diag.h).
func (s *batchSocket) drops() uint64 {
	const skMeminfoDrops, skMeminfoVars = 8, 9
	var info [skMeminfoVars]uint32
	size := uint32(unsafe.Sizeof(info))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0
	}
	_, _, _ = unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	return uint64(info[skMeminfoDrops])
}

// batchReader is one goroutine's arrays for recvmmsg.
type batchReader struct {
	s     *batchSocket
	hdrs  [readBatch]mmsghdr
	iovs  [readBatch]unix.Iovec
	names [readBatch]unix.RawSockaddrInet6 // also holds a RawSockaddrInet4
	oobs  [readBatch][oobSize]byte         // IP_PKTINFO, on wildcard sockets
	bufs  []byte
	n     int
	err   error
}

const (
	readBuffer = 64 << 10
	oobSize    = 64
)

func (s *batchSocket) newReader() datagramReader {
	r := &batchReader{s: s, bufs: make([]byte, readBatch*readBuffer)}
	for i := range r.hdrs {
		r.iovs[i].Base = &r.bufs[i*readBuffer]
		r.iovs[i].SetLen(readBuffer)
		r.hdrs[i].hdr.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		r.hdrs[i].hdr.Iov = &r.iovs[i]
		r.hdrs[i].hdr.SetIovlen(1)
	}
	return r
}

// receive takes what has come; false when that is nothing.
func (r *batchReader) receive() bool {
	for i := range r.hdrs {
		r.hdrs[i].hdr.Namelen = unix.SizeofSockaddrInet6
		if r.s.wild {
			r.hdrs[i].hdr.Control = &r.oobs[i][0]
			r.hdrs[i].hdr.SetControllen(oobSize)
		}
	}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(r.s.fd), uintptr(unsafe.Pointer(&r.hdrs[0])), readBatch, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			r.n, r.err = int(n), nil
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			r.n, r.err = 0, os.NewSyscallError("recvmmsg", errno)
			return true
		}
	}
}

func (r *batchReader) read(yield yieldDatagram) error {
	for !r.receive() {
		if err := r.s.await(unix.POLLIN, -time.Millisecond); err != nil {
			return err
		}
	}
	for i := range r.n {
		start := i * readBuffer
		h := &r.hdrs[i]
		var to netip.Addr
		if r.s.wild {
			to = pktInfo(r.oobs[i][:h.hdr.Controllen])
		}
		yield(r.bufs[start:start+int(h.n)], addrPortFrom(&r.names[i]), to, h.hdr.Flags&unix.MSG_TRUNC != 0)
	}
	return r.err
}

// batchWriter is one goroutine's arrays for sendmmsg.
type batchWriter struct {
	s      *batchSocket
	hdrs   [writeBatch]mmsghdr
	iovs   [writeBatch]unix.Iovec
	names  [writeBatch]unix.RawSockaddrInet6
	at, to int // hdrs still to send
	failed int

	source  netip.Addr
	control []byte
}

func (s *batchSocket) newWriter() datagramWriter {
	w := &batchWriter{s: s}
	for i := range w.hdrs {
		w.hdrs[i].hdr.Name = (*byte)(unsafe.Pointer(&w.names[i]))
		w.hdrs[i].hdr.Iov = &w.iovs[i]
		w.hdrs[i].hdr.SetIovlen(1)
	}
	return w
}

// sendFrom puts IP_PKTINFO into every header, or takes it out.
func (w *batchWriter) sendFrom(ip netip.Addr) {
	if ip == w.source {
		return
	}
	w.source, w.control = ip, nil
	switch {
	case ip.Is4():
		w.control = unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: ip.As4()})
	case ip.Is6():
		w.control = unix.PktInfo6(&unix.Inet6Pktinfo{Addr: ip.As16()})
	}
	for i := range w.hdrs {
		h := &w.hdrs[i].hdr
		h.Control = nil
		if len(w.control) > 0 {
			h.Control = &w.control[0]
		}
		h.SetControllen(len(w.control))
	}
}

func (w *batchWriter) write(slab []byte, msgs []datagram) (failed int) {
	w.failed = 0
	for len(msgs) > 0 {
		n := 0
		for n < writeBatch && n < len(msgs) {
			m := &msgs[n]
			w.hdrs[n].hdr.Namelen = putAddrPort(&w.names[n], m.to, w.s.addr.Addr().Is6())
			if m.end > m.start {
				w.iovs[n].Base = &slab[m.start]
			}
			w.iovs[n].SetLen(m.end - m.start)
			n++
		}
		w.at, w.to = 0, n
		w.transmit()
		msgs = msgs[n:]
	}
	for i := range w.iovs {
		w.iovs[i].Base = nil
	}
	return w.failed
}

// transmit sends hdrs[at:to]. One that the kernel refuses (no route, refused by a firewall) is counted and left out; the
// others must not suffer from it. So is all of it when the socket's buffer stays full for writeWait.
func (w *batchWriter) transmit() {
	waited := false
	for w.at < w.to {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(w.s.fd), uintptr(unsafe.Pointer(&w.hdrs[w.at])), uintptr(w.to-w.at), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			w.at += int(n)
		case unix.EINTR:
		case unix.EAGAIN:
			if waited || w.s.await(unix.POLLOUT, writeWait) != nil {
				w.failed += w.to - w.at
				return
			}
			waited = true
		default:
			w.failed++
			w.at++
		}
	}
}

// pktInfo reads the address a datagram was sent to from its control message; the zero Addr when there is none.
func pktInfo(oob []byte) netip.Addr {
	head := unix.CmsgLen(0)
	if len(oob) < head {
		return netip.Addr{}
	}
	h, data := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0])), oob[head:]
	switch {
	case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		return netip.AddrFrom4((*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0])).Spec_dst)
	case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		if ip := netip.AddrFrom16((*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0])).Addr); !ip.IsMulticast() && !ip.IsLinkLocalUnicast() {
			return ip
		}
	}
	return netip.Addr{}
}

func addrPortFrom(sa *unix.RawSockaddrInet6) netip.AddrPort {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:])
	if sa.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), port)
	}
	ip := netip.AddrFrom16(sa.Addr).Unmap()
	if sa.Scope_id != 0 && ip.IsLinkLocalUnicast() {
		ip = ip.WithZone(strconv.FormatUint(uint64(sa.Scope_id), 10))
	}
	return netip.AddrPortFrom(ip, port)
}

// putAddrPort fills in a socket address of the socket's family and tells its length.
func putAddrPort(sa *unix.RawSockaddrInet6, to netip.AddrPort, v6 bool) uint32 {
	*sa = unix.RawSockaddrInet6{}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:], to.Port())
	if !v6 {
		sa.Family = unix.AF_INET
		ip := to.Addr().Unmap()
		if ip.Is4() {
			(*unix.RawSockaddrInet4)(unsafe.Pointer(sa)).Addr = ip.As4()
		}
		return unix.SizeofSockaddrInet4
	}
	sa.Family = unix.AF_INET6
	sa.Addr = to.Addr().As16()
	sa.Scope_id = scopeOf(to.Addr().Zone())
	return unix.SizeofSockaddrInet6
}

func scopeOf(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	return 0
}
