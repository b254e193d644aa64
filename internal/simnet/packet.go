package simnet

import (
	"net"
	"net/netip"
	"os"
	"time"
)

// socketQueue is how many datagrams wait in one socket before further ones are lost, as in a kernel.
const socketQueue = 4096

// PacketConn is a UDP socket.
type PacketConn struct {
	h     *Host
	local netip.AddrPort

	w      *waiter
	queue  []received
	closed bool
}

type received struct {
	from    netip.AddrPort
	payload []byte
}

func newPacketConn(h *Host, local netip.AddrPort) *PacketConn {
	return &PacketConn{h: h, local: local, w: newWaiter()}
}

func (c *PacketConn) receive(from netip.AddrPort, payload []byte) bool {
	c.w.Lock()
	defer c.w.Unlock()
	if c.closed || len(c.queue) >= socketQueue {
		return false
	}
	c.queue = append(c.queue, received{from, payload})
	c.w.cond.Broadcast()
	return true
}

// ReadFromUDPAddrPort waits for a datagram.
func (c *PacketConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	c.w.Lock()
	defer c.w.Unlock()
	for {
		switch {
		case c.closed:
			return 0, netip.AddrPort{}, c.fault("read", net.ErrClosed)
		case c.w.expired():
			return 0, netip.AddrPort{}, c.fault("read", os.ErrDeadlineExceeded)
		case len(c.queue) > 0:
			r := c.queue[0]
			c.queue = c.queue[1:]
			return copy(b, r.payload), r.from, nil
		}
		c.w.cond.Wait()
	}
}

// WriteToUDPAddrPort sends a datagram. It never blocks.
func (c *PacketConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	c.w.Lock()
	closed := c.closed
	c.w.Unlock()
	if closed {
		return 0, c.fault("write", net.ErrClosed)
	}
	c.h.n.mu.Lock()
	defer c.h.n.mu.Unlock()
	c.h.n.send(c.h, c.local, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()), b)
	return len(b), nil
}

// ReadFrom is ReadFromUDPAddrPort with a net.Addr.
func (c *PacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.ReadFromUDPAddrPort(b)
	if err != nil {
		return n, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// WriteTo is WriteToUDPAddrPort with a net.Addr.
func (c *PacketConn) WriteTo(b []byte, to net.Addr) (int, error) {
	ap, err := netip.ParseAddrPort(to.String())
	if err != nil {
		return 0, c.fault("write", err)
	}
	return c.WriteToUDPAddrPort(b, ap)
}

// Close ends the socket and gives its port back.
func (c *PacketConn) Close() error {
	c.w.Lock()
	if c.closed {
		c.w.Unlock()
		return c.fault("close", net.ErrClosed)
	}
	c.closed, c.queue = true, nil
	c.w.stop()
	c.w.cond.Broadcast()
	c.w.Unlock()
	c.h.n.mu.Lock()
	defer c.h.n.mu.Unlock()
	delete(c.h.packets, c.local.Port())
	return nil
}

// LocalAddr is the address the socket is bound to.
func (c *PacketConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.local) }

// SetDeadline is SetReadDeadline: writing never waits.
func (c *PacketConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline makes reads fail from t on.
func (c *PacketConn) SetReadDeadline(t time.Time) error { c.w.setDeadline(t); return nil }

// SetWriteDeadline does nothing.
func (c *PacketConn) SetWriteDeadline(time.Time) error { return nil }

func (c *PacketConn) fault(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Addr: c.LocalAddr(), Err: err}
}

// connectedUDP is a UDP socket that talks to one address.
type connectedUDP struct {
	*PacketConn
	remote netip.AddrPort
}

func (c *connectedUDP) Read(b []byte) (int, error) {
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil || from == c.remote {
			return n, err
		}
	}
}

func (c *connectedUDP) Write(b []byte) (int, error) { return c.WriteToUDPAddrPort(b, c.remote) }
func (c *connectedUDP) RemoteAddr() net.Addr        { return net.UDPAddrFromAddrPort(c.remote) }
