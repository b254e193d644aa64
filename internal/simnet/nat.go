package simnet

import (
	"net/netip"
	"time"
)

// NATKind says how a NAT maps and what it lets in (RFC 4787 §4, §5).
type NATKind uint8

// The kinds, from the friendliest.
const (
	FullCone       NATKind = iota // one public port for a private one; anybody may send to it
	RestrictedCone                // only addresses that were sent to
	PortRestricted                // only addresses and ports that were sent to
	Symmetric                     // another public port for every destination
)

// NATConfig describes a NAT.
type NATConfig struct {
	Kind    NATKind
	Timeout time.Duration // a UDP mapping without outbound traffic for so long is forgotten; 0 is never
}

// A NAT is a router with one public address and private hosts behind it.
type NAT struct {
	n      *Network
	public netip.Addr
	cfg    NATConfig

	// Guarded by n.mu.
	private  map[netip.Addr]bool
	byInner  map[natKey]*mapping
	byPublic map[uint16]*mapping
	port     uint16
}

type natKey struct {
	inner netip.AddrPort
	to    netip.AddrPort // zero unless symmetric
}

type mapping struct {
	key    natKey
	public netip.AddrPort
	used   time.Time
	sentTo map[netip.AddrPort]bool
}

// NAT adds a router with a public address.
func (n *Network) NAT(public string, cfg NATConfig) *NAT {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := &NAT{n: n, public: netip.MustParseAddr(public), cfg: cfg, private: make(map[netip.Addr]bool)}
	t.forget()
	t.port = 40000
	n.nats[t.public] = t
	return t
}

// Host adds a host behind the NAT.
func (t *NAT) Host(addrs ...string) *Host {
	h := t.n.addHost(t, addrs)
	t.n.mu.Lock()
	defer t.n.mu.Unlock()
	for _, a := range h.addrs {
		t.private[a] = true
	}
	return h
}

// Restart forgets all mappings, as routers do at night. The next packets leave from other ports.
func (t *NAT) Restart() {
	t.n.mu.Lock()
	defer t.n.mu.Unlock()
	t.forget()
}

func (t *NAT) forget() {
	t.byInner, t.byPublic = make(map[natKey]*mapping), make(map[uint16]*mapping)
}

func (t *NAT) inside(a netip.Addr) bool { return t.private[a] }

// outbound is the address a packet from inside has on the outside.
func (t *NAT) outbound(src, dst netip.AddrPort) netip.AddrPort {
	key := natKey{inner: src}
	if t.cfg.Kind == Symmetric {
		key.to = dst
	}
	m := t.byInner[key]
	if m != nil && t.over(m) {
		delete(t.byPublic, m.public.Port())
		m = nil
	}
	if m == nil {
		m = &mapping{key: key, public: netip.AddrPortFrom(t.public, t.freePort()), sentTo: make(map[netip.AddrPort]bool)}
		t.byInner[key], t.byPublic[m.public.Port()] = m, m
	}
	m.used = time.Now()
	m.sentTo[dst] = true
	m.sentTo[netip.AddrPortFrom(dst.Addr(), 0)] = true
	return m.public
}

func (t *NAT) freePort() uint16 {
	for {
		t.port++
		if t.port < 1024 {
			t.port = 1024
		}
		if t.byPublic[t.port] == nil {
			return t.port
		}
	}
}

func (t *NAT) over(m *mapping) bool {
	return t.cfg.Timeout > 0 && time.Since(m.used) >= t.cfg.Timeout
}

// inbound is the private address a packet from outside is for.
func (t *NAT) inbound(src, dst netip.AddrPort) (netip.AddrPort, bool) {
	m := t.byPublic[dst.Port()]
	if m == nil || t.over(m) {
		return netip.AddrPort{}, false
	}
	switch t.cfg.Kind {
	case RestrictedCone:
		if !m.sentTo[netip.AddrPortFrom(src.Addr(), 0)] {
			return netip.AddrPort{}, false
		}
	case PortRestricted, Symmetric:
		if !m.sentTo[src] {
			return netip.AddrPort{}, false
		}
	}
	return m.key.inner, true
}
