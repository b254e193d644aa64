package transport

import (
	"fmt"
	"net"
	"net/netip"
	"time"
)

// packetConn is what a net.PacketConn has when it speaks netip: no address on the heap for every packet.
type packetConn interface {
	net.PacketConn
	ReadFromUDPAddrPort(b []byte) (n int, from netip.AddrPort, err error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
}

// packetSocket is the portable datagramSocket, one datagram a call, over any net.PacketConn.
type packetSocket struct {
	conn packetConn
	addr netip.AddrPort
}

func newPacketSocket(pc net.PacketConn) (*packetSocket, error) {
	addr, ok := addrPortOf(pc.LocalAddr())
	if !ok {
		_ = pc.Close()
		return nil, fmt.Errorf("local address %v is not a UDP address", pc.LocalAddr())
	}
	c, ok := pc.(packetConn)
	if !ok {
		c = addrPacketConn{pc}
	}
	return &packetSocket{conn: c, addr: addr}, nil
}

func (s *packetSocket) newReader() datagramReader { return &packetReader{s, make([]byte, 65536)} }
func (s *packetSocket) newWriter() datagramWriter { return packetWriter{s} }
func (s *packetSocket) local() netip.AddrPort     { return s.addr }
func (s *packetSocket) batches() bool             { return false }
func (s *packetSocket) nap(time.Duration)         {}
func (s *packetSocket) drops() uint64             { return 0 }
func (s *packetSocket) interrupt()                { _ = s.conn.SetReadDeadline(time.Unix(1, 0)) }
func (s *packetSocket) close() error              { return s.conn.Close() }

type packetReader struct {
	s   *packetSocket
	buf []byte
}

func (r *packetReader) read(yield yieldDatagram) error {
	n, from, err := r.s.conn.ReadFromUDPAddrPort(r.buf)
	if err != nil {
		return err
	}
	yield(r.buf[:n], unmap(from), netip.Addr{}, n == len(r.buf))
	return nil
}

type packetWriter struct{ s *packetSocket }

func (w packetWriter) sendFrom(netip.Addr) {}

func (w packetWriter) write(slab []byte, msgs []datagram) (failed int) {
	for i := range msgs {
		m := &msgs[i]
		if _, err := w.s.conn.WriteToUDPAddrPort(slab[m.start:m.end], m.to); err != nil {
			failed++
		}
	}
	return failed
}

// addrPacketConn lends netip methods to a net.PacketConn without them.
type addrPacketConn struct{ net.PacketConn }

func (c addrPacketConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	n, from, err := c.ReadFrom(b)
	if err != nil {
		return n, netip.AddrPort{}, err
	}
	addr, _ := addrPortOf(from)
	return n, addr, nil
}

func (c addrPacketConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	return c.WriteTo(b, net.UDPAddrFromAddrPort(to))
}

// addrPortOf reads a net.Addr of whatever kind.
func addrPortOf(a net.Addr) (netip.AddrPort, bool) {
	switch a := a.(type) {
	case *net.UDPAddr:
		return unmap(a.AddrPort()), true
	case *net.TCPAddr:
		return unmap(a.AddrPort()), true
	case nil:
		return netip.AddrPort{}, false
	}
	ap, err := netip.ParseAddrPort(a.String())
	return unmap(ap), err == nil
}

func unmap(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
