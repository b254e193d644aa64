package simnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// A Host is one machine with one or more addresses.
type Host struct {
	n     *Network
	addrs []netip.Addr
	nat   *NAT // it is behind this one; nil when it is in the open

	// Guarded by n.mu.
	packets   map[uint16]*PacketConn
	listeners map[uint16]*Listener
	streams   map[*Conn]bool
	ephemeral uint16
	dead      bool
}

// Host adds a machine with the addresses given.
func (n *Network) Host(addrs ...string) *Host { return n.addHost(nil, addrs) }

func (n *Network) addHost(nat *NAT, addrs []string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &Host{n: n, nat: nat, packets: make(map[uint16]*PacketConn), listeners: make(map[uint16]*Listener), streams: make(map[*Conn]bool), ephemeral: 32768}
	for _, s := range addrs {
		a := netip.MustParseAddr(s)
		if n.hosts[a] != nil || n.nats[a] != nil {
			panic(fmt.Sprintf("simnet: address %v is taken", a))
		}
		h.addrs = append(h.addrs, a)
		n.hosts[a] = h
	}
	return h
}

// Addr is the host's first address.
func (h *Host) Addr() netip.Addr { return h.addrs[0] }

func (h *Host) sockets() []interface{ Close() error } {
	var list []interface{ Close() error }
	for _, s := range h.packets {
		list = append(list, s)
	}
	for _, s := range h.listeners {
		list = append(list, s)
	}
	for s := range h.streams {
		list = append(list, s)
	}
	return list
}

// resolve reads an address to bind to: one of the host's, or an unspecified one, which means the first of its family.
func (h *Host) resolve(op, network, addr string) (netip.AddrPort, error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return ap, &net.OpError{Op: op, Net: network, Err: err}
	}
	for _, a := range h.addrs {
		if a == ap.Addr() || ap.Addr().IsUnspecified() && a.Is4() == ap.Addr().Is4() {
			return netip.AddrPortFrom(a, ap.Port()), nil
		}
	}
	return ap, &net.OpError{Op: op, Net: network, Err: os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)}
}

// freePort is the next port that nothing of this host uses. Called with n.mu held.
func (h *Host) freePort() uint16 {
	for {
		h.ephemeral++
		if h.ephemeral == 0 {
			h.ephemeral = 32768
		}
		if h.packets[h.ephemeral] == nil && h.listeners[h.ephemeral] == nil {
			return h.ephemeral
		}
	}
}

// Kill is what the others see when the processes of the machine are killed: connections end, nothing listens any more. What still runs in the test
// opens nothing new from there.
func (h *Host) Kill() {
	h.n.mu.Lock()
	h.dead = true
	sockets := h.sockets()
	h.n.mu.Unlock()
	for _, s := range sockets {
		_ = s.Close()
	}
}

// Revive lets the machine be used again after Kill.
func (h *Host) Revive() {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	h.dead = false
}

// ListenPacket opens a UDP socket. A port belongs to one socket of the host, whatever the address.
func (h *Host) ListenPacket(network, addr string) (net.PacketConn, error) {
	ap, err := h.resolve("listen", network, addr)
	if err != nil {
		return nil, err
	}
	return h.listenPacket(network, ap)
}

func (h *Host) listenPacket(network string, ap netip.AddrPort) (*PacketConn, error) {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	if ap.Port() == 0 {
		ap = netip.AddrPortFrom(ap.Addr(), h.freePort())
	}
	if h.packets[ap.Port()] != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	s := newPacketConn(h, ap)
	h.packets[ap.Port()] = s
	return s, nil
}

// Listen opens a TCP listener.
func (h *Host) Listen(network, addr string) (net.Listener, error) {
	ap, err := h.resolve("listen", network, addr)
	if err != nil {
		return nil, err
	}
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	if ap.Port() == 0 {
		ap = netip.AddrPortFrom(ap.Addr(), h.freePort())
	}
	if h.listeners[ap.Port()] != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	l := newListener(h, ap)
	h.listeners[ap.Port()] = l
	return l, nil
}

// Dial connects to an address, over "tcp" or "udp". laddr may be zero. A cut way makes it wait for ctx.
func (h *Host) Dial(ctx context.Context, network string, laddr, raddr netip.AddrPort) (net.Conn, error) {
	if !laddr.IsValid() {
		for _, a := range h.addrs {
			if a.Is4() == raddr.Addr().Is4() {
				laddr = netip.AddrPortFrom(a, 0)
				break
			}
		}
	}
	if !laddr.IsValid() {
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ENETUNREACH)}
	}
	if network[:3] == "udp" {
		pc, err := h.listenPacket(network, laddr)
		if err != nil {
			return nil, err
		}
		return &connectedUDP{PacketConn: pc, remote: raddr}, nil
	}
	return h.dialStream(ctx, laddr, raddr)
}
