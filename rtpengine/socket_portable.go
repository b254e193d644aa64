//go:build !linux || portable

package rtpengine

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// socket is one bound UDP socket; see socket_linux.go for the fast twin.
type socket struct {
	conn      *net.UDPConn
	family    uint8
	component uint8
	leg       *leg
	share     uint16 // more than 1 at ports of many
	single    bool   // the port that many calls share
	foreign   bool   // bound to an address of another engine, see site
	closed    bool
}

// openSocket binds addr:port; the portable twin does not mark its packets.
func openSocket(addr netip.Addr, port uint16, _ int) (*socket, error) {
	network := "udp6"
	if addr.Is4() {
		network = "udp4"
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port)))
	if err != nil {
		return nil, err
	}
	return &socket{conn: conn, family: uint8(familyOf(addr)), share: 1}, nil
}

// widen asks for a queue that holds the packets of many calls.
func (k *socket) widen() { _ = k.conn.SetReadBuffer(8 << 20) }

// overruns is not told here.
func (k *socket) overruns() uint64 { return 0 }

func portTaken(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

func (k *socket) close() {
	if !k.closed {
		k.closed = true
		k.conn.Close()
	}
}

func (k *socket) send(b []byte, to *destination) bool {
	_, err := k.conn.WriteToUDPAddrPort(b, to.raw.addr)
	return err == nil
}

// rawAddr is an address with its zone, which the rest of the engine does not see.
type rawAddr struct{ addr netip.AddrPort }

func (r *rawAddr) set(ap netip.AddrPort) { r.addr = ap }

func (r *rawAddr) valid() bool { return r.addr.IsValid() }

func (r *rawAddr) family() int { return familyOf(r.addr.Addr()) }

func (r *rawAddr) source() netip.AddrPort {
	return netip.AddrPortFrom(r.addr.Addr().WithZone("").Unmap(), r.addr.Port())
}
