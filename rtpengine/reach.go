package rtpengine

import (
	"net"
	"net/netip"
)

// Reach gives the local address on which media is received that phones are told to send to an address: an address we are bound to, or the one
// advertised for it. False for any other. Any goroutine; it asks the kernel for our addresses when media is received on all of them.
func (e *Engine) Reach(told netip.Addr) (local netip.Addr, ours bool) {
	pool := e.pools[familyOf(told)]
	if pool == nil {
		return netip.Addr{}, false
	}
	if local, ours := e.reachSite(told); ours {
		return local, true
	}
	if !pool.addr.IsUnspecified() {
		return pool.addr, told == pool.addr || told == e.advertised(pool.addr)
	}
	addrs, _ := net.InterfaceAddrs() // without them nothing is ours
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		addr, _ := netip.AddrFromSlice(n.IP)
		if addr = addr.Unmap(); familyOf(addr) == familyOf(told) && (addr == told || e.advertised(addr) == told) {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// Told is the address that descriptions give for media to a phone anywhere, in the family of one we are bound in; invalid when there is none.
func (e *Engine) Told(sixth bool) netip.Addr {
	family := v4
	if sixth {
		family = v6
	}
	if e.pools[family] == nil {
		return netip.Addr{}
	}
	return e.local(family, netip.Addr{})
}

// IsPort reports whether a port is one that media is received on: of calls, or the ICE port of a shard. Any goroutine.
func (e *Engine) IsPort(port uint16) bool {
	ice := int(port) - int(e.cfg.ICEPort)
	return port >= e.cfg.PortMin && port <= e.cfg.PortMax || port != 0 && port == e.cfg.SinglePort || e.cfg.ICEPort != 0 && ice >= 0 && ice < e.cfg.Shards
}
