package turn

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/pion/turn/v5"
)

// Media says where the media engine is, as far as a relayed phone may reach it. Its methods are called from any goroutine.
type Media interface {
	// Reach gives the local address of a media address as phones are told it (an advertised one, for instance); false for what is not ours.
	Reach(told netip.Addr) (local netip.Addr, ours bool)
	// IsPort reports whether media is received on a port.
	IsPort(port uint16) bool
}

var errNoTCP = errors.New("TCP allocations (RFC 6062) are not available")

// ways makes the relay sockets of one listener.
type ways struct {
	s *Server
	// told is the address that media is told of, and local what to bind; both by family, invalid where we have none.
	told, local [2]netip.Addr
}

// Validate is turn.RelayAddressGenerator's.
func (w *ways) Validate() error { return nil }

// AllocateListener is for RFC 6062, which no phone uses.
func (w *ways) AllocateListener(turn.AllocateListenerConfig) (net.Listener, net.Addr, error) {
	return nil, nil, errNoTCP
}

// AllocateConn is for RFC 6062 as well.
func (w *ways) AllocateConn(turn.AllocateConnConfig) (net.Conn, error) { return nil, errNoTCP }

// AllocatePacketConn opens the relay socket of an allocation.
func (w *ways) AllocatePacketConn(c turn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	family := 0
	if c.Network == "udp6" {
		family = 1
	}
	if !w.local[family].IsValid() {
		return nil, nil, fmt.Errorf("media has no %s address", c.Network)
	}
	conn, err := net.ListenPacket(c.Network, net.JoinHostPort(w.local[family].String(), strconv.Itoa(c.RequestedPort)))
	if err != nil {
		w.s.count.exhausted.Add(1)
		return nil, nil, err
	}
	port := conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	return &relay{PacketConn: conn, s: w.s, began: time.Now()}, net.UDPAddrFromAddrPort(netip.AddrPortFrom(w.told[family], port)), nil
}

// relay is the socket of one allocation. It lets packets through to media ports and from them, and no faster than allowed.
type relay struct {
	net.PacketConn
	s     *Server
	began time.Time
	spent atomic.Int64 // ns of the allowed rate's time that were used up, since began
	named atomic.Pointer[naming]
}

// naming is how one media address is told and where it is.
type naming struct{ told, local netip.Addr }

// burst is how much may come at once, in time at the allowed rate.
const burst = int64(time.Second)

// WriteTo sends what a phone has for a media address as it was told.
func (r *relay) WriteTo(b []byte, to net.Addr) (int, error) {
	peer, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, net.InvalidAddrError("not UDP")
	}
	told := peer.AddrPort()
	addr := told.Addr().Unmap()
	name := r.named.Load()
	if name == nil || name.told != addr {
		local, ours := r.s.cfg.Media.Reach(addr)
		if !ours {
			r.s.count.strayed.Add(1)
			return len(b), nil // dropped, as a network would
		}
		name = &naming{addr, local}
		r.named.Store(name)
	}
	switch {
	case !r.s.cfg.Media.IsPort(told.Port()):
		r.s.count.strayed.Add(1)
		return len(b), nil
	case !r.allowed(len(b)):
		r.s.count.limited.Add(1)
		return len(b), nil
	}
	r.s.count.toMedia.Add(1)
	return r.PacketConn.WriteTo(b, net.UDPAddrFromAddrPort(netip.AddrPortFrom(name.local, told.Port())))
}

// ReadFrom gives what media sends, under the address that the phone knows.
func (r *relay) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := r.PacketConn.ReadFrom(b)
		if err != nil {
			return n, from, err
		}
		src := from.(*net.UDPAddr).AddrPort()
		name := r.named.Load()
		switch {
		case name == nil || name.local != src.Addr().Unmap() || !r.s.cfg.Media.IsPort(src.Port()):
			r.s.count.strayed.Add(1)
		case !r.allowed(n):
			r.s.count.limited.Add(1)
		default:
			r.s.count.toPhones.Add(1)
			return n, net.UDPAddrFromAddrPort(netip.AddrPortFrom(name.told, src.Port())), nil
		}
	}
}

// allowed takes the time that n bytes need at the allowed rate, and gives false when that is not there.
func (r *relay) allowed(n int) bool {
	need := int64(n) * 8 * int64(time.Second) / r.s.cfg.BitRate
	now := int64(time.Since(r.began))
	for {
		spent := r.spent.Load()
		next := max(spent, now-burst) + need
		if next > now {
			return false
		}
		if r.spent.CompareAndSwap(spent, next) {
			return true
		}
	}
}
