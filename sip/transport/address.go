package transport

import (
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
)

// addresses answers what we are called: by which name a listener stands in Via and Record-Route, and whether a host and port
// in a Route or Request-URI mean this node. Its maps are built by Listen; the interface list is renewed now and then,
// because addresses move between nodes.
type addresses struct {
	advertise   string
	advertiseIP netip.Addr // valid when advertise is an address

	listeners  []*listener
	exact      map[netip.AddrPort]bool // concrete listeners and the advertised address
	wild       map[wildPort]bool       // wildcard listeners
	interfaces atomic.Pointer[interfaces]
}

type wildPort struct {
	v6   bool
	port uint16
}

type interfaces struct {
	at       time.Time
	prefixes []prefix
	out4     string // source address towards the world, "" when there is no way
	out6     string
}

type prefix struct {
	netip.Prefix
	text string
}

const interfacesFresh = 10 * time.Second

func (a *addresses) build(listeners []*listener) {
	a.listeners = listeners
	a.exact = make(map[netip.AddrPort]bool)
	a.wild = make(map[wildPort]bool)
	if ip, err := netip.ParseAddr(strings.Trim(a.advertise, "[]")); err == nil {
		a.advertiseIP = ip.Unmap()
		a.advertise = a.advertiseIP.String()
	}
	for _, l := range listeners {
		if l.addr.Addr().IsUnspecified() {
			a.wild[wildPort{l.addr.Addr().Is6(), l.addr.Port()}] = true
		} else {
			a.exact[l.addr] = true
		}
		if a.advertiseIP.IsValid() {
			a.exact[netip.AddrPortFrom(a.advertiseIP, l.addr.Port())] = true
		}
	}
	a.interfaces.Store(&interfaces{})
	if len(a.wild) > 0 {
		a.interfaces.Store(readInterfaces())
	}
}

func readInterfaces() *interfaces {
	in := &interfaces{at: time.Now(), out4: sourceTowards("192.0.2.1:9"), out6: sourceTowards("[2001:db8::1]:9")}
	list, err := net.InterfaceAddrs()
	if err != nil {
		return in
	}
	for _, a := range list {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
			continue
		}
		in.prefixes = append(in.prefixes, prefix{netip.PrefixFrom(p.Addr().Unmap(), p.Bits()), p.Addr().Unmap().String()})
	}
	return in
}

// sourceTowards asks the routing table; a connected UDP socket sends nothing.
func sourceTowards(addr string) string {
	c, err := net.Dial("udp", addr)
	if err != nil {
		return ""
	}
	defer c.Close()
	ap, _ := addrPortOf(c.LocalAddr())
	return ap.Addr().String()
}

// sourceFor is the local address the kernel takes towards remote when the socket is bound to all of them.
func (in *interfaces) sourceFor(remote netip.Addr) string {
	remote = remote.Unmap()
	if remote.IsLoopback() {
		return loopback(remote)
	}
	best, bits := "", -1
	for i := range in.prefixes {
		if p := &in.prefixes[i]; p.Bits() > bits && p.Contains(remote) {
			best, bits = p.text, p.Bits()
		}
	}
	switch {
	case best != "":
		return best
	case remote.Is4() && in.out4 != "":
		return in.out4
	case remote.Is6() && in.out6 != "":
		return in.out6
	}
	for i := range in.prefixes {
		if p := &in.prefixes[i]; p.Addr().Is4() == remote.Is4() && !p.Addr().IsLoopback() {
			return p.text
		}
	}
	return loopback(remote)
}

func loopback(like netip.Addr) string {
	if like.Is6() {
		return "::1"
	}
	return "127.0.0.1"
}

func (in *interfaces) has(ip netip.Addr) bool {
	if ip.Is4() && ip.IsLoopback() {
		return true
	}
	for i := range in.prefixes {
		if in.prefixes[i].Addr() == ip {
			return true
		}
	}
	return false
}

// SentBy is the host and port that stand for this node in Via and Record-Route of messages sent on f (RFC 3261 §18.1.1): what
// is advertised, else the listener's address, for a wildcard listener that of the interface towards the flow's remote.
// IPv6 addresses have no brackets. Any goroutine; it does not allocate.
func (t *Transport) SentBy(f Flow) (host string, port int) {
	l := t.listenerOf(f)
	if l == nil {
		return t.addrs.advertise, 0
	}
	port = int(l.addr.Port())
	a := &t.addrs
	ip := l.addr.Addr()
	if a.advertise != "" && (!a.advertiseIP.IsValid() || a.advertiseIP.Is4() == ip.Is4()) {
		return a.advertise, port
	}
	if !ip.IsUnspecified() {
		return l.host, port
	}
	return a.interfaces.Load().sourceFor(f.Remote.Addr()), port
}

func (t *Transport) listenerOf(f Flow) *listener {
	if int(f.Listener) >= len(t.listeners) {
		return nil
	}
	return t.listeners[f.Listener]
}

// Local is our end of a flow: the connection's, else the listener's address.
func (t *Transport) Local(f Flow) netip.AddrPort {
	if c := t.conns.get(f); c != nil && c.local.IsValid() {
		return c.local
	}
	if l := t.listenerOf(f); l != nil {
		return l.addr
	}
	return netip.AddrPort{}
}

// IsLocal tells whether host and port mean this node: a listener of ours or the advertised address. Port 0, a URI without a
// port, means any port of ours. IPv6 addresses may have brackets. Any goroutine.
func (t *Transport) IsLocal(host string, port int) bool {
	a := &t.addrs
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil {
		return a.advertise != "" && !a.advertiseIP.IsValid() && strings.EqualFold(host, a.advertise) && (port == 0 || a.hasPort(uint16(port)))
	}
	return t.IsLocalAddr(netip.AddrPortFrom(ip, uint16(port)))
}

// IsLocalAddr is IsLocal for an address.
func (t *Transport) IsLocalAddr(ap netip.AddrPort) bool {
	a := &t.addrs
	ap = unmap(ap)
	if ap.Port() != 0 {
		return a.exact[ap] || a.wild[wildPort{ap.Addr().Is6(), ap.Port()}] && a.onInterface(ap.Addr())
	}
	for _, l := range a.listeners {
		if l.addr.Addr() == ap.Addr() {
			return true
		}
		if l.addr.Addr().IsUnspecified() && l.addr.Addr().Is6() == ap.Addr().Is6() && a.onInterface(ap.Addr()) {
			return true
		}
	}
	return a.advertiseIP.IsValid() && ap.Addr() == a.advertiseIP
}

func (a *addresses) hasPort(port uint16) bool {
	for _, l := range a.listeners {
		if l.addr.Port() == port {
			return true
		}
	}
	return false
}

func (a *addresses) onInterface(ip netip.Addr) bool {
	in := a.interfaces.Load()
	if in.has(ip) {
		return true
	}
	if time.Since(in.at) < interfacesFresh {
		return false
	}
	in = readInterfaces()
	a.interfaces.Store(in)
	return in.has(ip)
}
