package transport

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// addresses answers what we are called: by which name a listener stands in Via and Record-Route, and whether a host and port
// in a Route or Request-URI mean this node. Its maps are built anew with every change of the listeners; the interface list is renewed now and then,
// because addresses move between nodes.
type addresses struct {
	known      atomic.Pointer[known]
	interfaces atomic.Pointer[interfaces]
	sources    atomic.Pointer[sources]
	learning   sync.Mutex // held while sources is replaced
}

// known is what the listeners of the moment make ours.
type known struct {
	listeners []*listener
	exact     map[netip.AddrPort]bool // concrete listeners and what is advertised for one
	wild      map[wildPort]bool       // wildcard listeners
}

type wildPort struct {
	v6   bool
	port uint16
}

type interfaces struct {
	at       time.Time
	prefixes []prefix
	out4     named // source address towards the world, zero when there is no way
	out6     named
}

type prefix struct {
	netip.Prefix
	addr named
}

// named is an address with its text, which is wanted for every message.
type named struct {
	ip   netip.Addr
	text string
}

func name(ip netip.Addr) named { return named{ip, ip.String()} }

// sources are the addresses of the machine by their number in a Flow. The number is a hash of the address, so that it means the
// same after a restart; of two addresses with one number the second has none.
type sources [256]named

const interfacesFresh = 10 * time.Second

func (a *addresses) build(listeners []*listener) {
	a.know(listeners)
	a.interfaces.Store(&interfaces{})
	a.sources.Store(&sources{})
	if len(a.known.Load().wild) > 0 {
		in := readInterfaces()
		a.interfaces.Store(in)
		for i := range in.prefixes {
			a.learn(in.prefixes[i].addr.ip)
		}
	}
}

// know takes the listeners of the moment.
func (a *addresses) know(listeners []*listener) {
	k := &known{exact: make(map[netip.AddrPort]bool), wild: make(map[wildPort]bool)}
	for _, l := range listeners {
		if l.web || l.gone() {
			continue
		}
		k.listeners = append(k.listeners, l)
		if l.addr.Addr().IsUnspecified() {
			k.wild[wildPort{l.addr.Addr().Is6(), l.addr.Port()}] = true
		} else {
			k.exact[l.addr] = true
		}
		if l.advertiseIP.IsValid() {
			k.exact[netip.AddrPortFrom(l.advertiseIP, l.addr.Port())] = true
		}
	}
	a.known.Store(k)
}

// advertised reads what stands for our addresses: a name, or an address.
func advertised(text string) (string, netip.Addr) {
	ip, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		return text, netip.Addr{}
	}
	return ip.Unmap().String(), ip.Unmap()
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
		in.prefixes = append(in.prefixes, prefix{netip.PrefixFrom(p.Addr().Unmap(), p.Bits()), name(p.Addr().Unmap())})
	}
	return in
}

// sourceTowards asks the routing table; a connected UDP socket sends nothing.
func sourceTowards(addr string) named {
	c, err := net.Dial("udp", addr)
	if err != nil {
		return named{}
	}
	defer c.Close()
	ap, _ := addrPortOf(c.LocalAddr())
	return name(ap.Addr())
}

// sourceFor is the local address the kernel takes towards remote when the socket is bound to all of them.
func (in *interfaces) sourceFor(remote netip.Addr) named {
	remote = remote.Unmap()
	if remote.IsLoopback() {
		return loopback(remote)
	}
	var best named
	bits := -1
	for i := range in.prefixes {
		if p := &in.prefixes[i]; p.Bits() > bits && p.Contains(remote) {
			best, bits = p.addr, p.Bits()
		}
	}
	switch {
	case best.ip.IsValid():
		return best
	case remote.Is4() && in.out4.ip.IsValid():
		return in.out4
	case remote.Is6() && in.out6.ip.IsValid():
		return in.out6
	}
	for i := range in.prefixes {
		if p := &in.prefixes[i]; p.Addr().Is4() == remote.Is4() && !p.Addr().IsLoopback() {
			return p.addr
		}
	}
	return loopback(remote)
}

func loopback(like netip.Addr) named {
	if like.Is6() {
		return named{netip.IPv6Loopback(), "::1"}
	}
	return named{netip.AddrFrom4([4]byte{127, 0, 0, 1}), "127.0.0.1"}
}

// source is the address that a number in a Flow stands for, zero when it stands for none.
func (a *addresses) source(number uint8) named {
	if number == 0 {
		return named{}
	}
	return a.sources.Load()[number]
}

// sourceNumber is the number of the address of ours that remote talks to, 0 when the routing table would answer from it anyway.
func (a *addresses) sourceNumber(local, remote netip.Addr) uint8 {
	if a.interfaces.Load().sourceFor(remote).ip == local {
		return 0
	}
	n := numberOf(local)
	if a.sources.Load()[n].ip == local {
		return n
	}
	return a.learn(local)
}

// learn gives an address its number: at the start those the machine has, later those that came to it.
func (a *addresses) learn(ip netip.Addr) uint8 {
	a.learning.Lock()
	defer a.learning.Unlock()
	n, known := numberOf(ip), *a.sources.Load()
	if known[n].ip.IsValid() && known[n].ip != ip {
		return 0
	}
	known[n] = name(ip)
	a.sources.Store(&known)
	return n
}

// numberOf is a hash from 1 to 255.
func numberOf(ip netip.Addr) uint8 {
	h := uint32(2166136261) // FNV-1a
	for _, b := range ip.As16() {
		h = (h ^ uint32(b)) * 16777619
	}
	return uint8(h%255) + 1
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
// IPv6 addresses have no brackets. A flow of another node gets what that node replaces by its own, see Carry. Any goroutine; it does not allocate.
func (t *Transport) SentBy(f Flow) (host string, port int) {
	if f.Node != 0 {
		return holderHost, holderPort
	}
	l := t.listenerOf(f)
	if l == nil {
		host, _ = advertised(t.cfg.Advertise)
		return host, 0
	}
	port = int(l.addr.Port())
	a := &t.addrs
	ip := l.addr.Addr()
	if l.advertise != "" && (!l.advertiseIP.IsValid() || l.advertiseIP.Is4() == ip.Is4()) {
		return l.advertise, port
	}
	if !ip.IsUnspecified() {
		return l.host, port
	}
	if src := a.source(f.source()); src.ip.IsValid() {
		return src.text, port
	}
	return a.interfaces.Load().sourceFor(f.Remote.Addr()).text, port
}

func (t *Transport) listenerOf(f Flow) *listener {
	list := t.listeners.all()
	if f.index() >= len(list) || f.Node != 0 {
		return nil
	}
	return list[f.index()]
}

// Local is our end of a flow: the connection's, else the listener's address, as SentBy without what is advertised.
func (t *Transport) Local(f Flow) netip.AddrPort {
	if c := t.conns.get(f); c != nil && c.local.IsValid() {
		return c.local
	}
	l := t.listenerOf(f)
	if l == nil {
		return netip.AddrPort{}
	}
	if src := t.addrs.source(f.source()); src.ip.IsValid() {
		return netip.AddrPortFrom(src.ip, l.addr.Port())
	}
	if l.addr.Addr().IsUnspecified() && f.Remote.IsValid() {
		return netip.AddrPortFrom(t.addrs.interfaces.Load().sourceFor(f.Remote.Addr()).ip, l.addr.Port())
	}
	return l.addr
}

// IsLocal tells whether host and port mean this node: a listener of ours or the advertised address. Port 0, a URI without a
// port, means any port of ours. IPv6 addresses may have brackets. Any goroutine.
func (t *Transport) IsLocal(host string, port int) bool {
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil {
		return t.addrs.known.Load().named(host, port)
	}
	return t.IsLocalAddr(netip.AddrPortFrom(ip, uint16(port)))
}

// IsLocalAddr is IsLocal for an address.
func (t *Transport) IsLocalAddr(ap netip.AddrPort) bool {
	a, k := &t.addrs, t.addrs.known.Load()
	ap = unmap(ap)
	if ap.Port() != 0 {
		return k.exact[ap] || k.wild[wildPort{ap.Addr().Is6(), ap.Port()}] && a.onInterface(ap.Addr())
	}
	for _, l := range k.listeners {
		if l.addr.Addr() == ap.Addr() || l.advertiseIP == ap.Addr() {
			return true
		}
		if l.addr.Addr().IsUnspecified() && l.addr.Addr().Is6() == ap.Addr().Is6() && a.onInterface(ap.Addr()) {
			return true
		}
	}
	return false
}

// named tells whether a host name and a port, 0 for any, are what a listener is advertised as.
func (k *known) named(host string, port int) bool {
	for _, l := range k.listeners {
		if l.advertise != "" && !l.advertiseIP.IsValid() && strings.EqualFold(host, l.advertise) && (port == 0 || port == int(l.addr.Port())) {
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
