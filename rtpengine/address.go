package rtpengine

import "net/netip"

// address is a netip.AddrPort in 18 octets instead of 32 and without a pointer: a call holds a dozen. It has no zone, and IPv4 is written as
// RFC 4291 §2.5.5.2 maps it. The zero one is none. Equal ones are the same address and port.
type address struct {
	ip   [16]byte
	port uint16
}

func pack(ap netip.AddrPort) address {
	if !ap.Addr().IsValid() {
		return address{}
	}
	return address{ap.Addr().As16(), ap.Port()}
}

// packHost is an address without a port.
func packHost(ip netip.Addr) address { return pack(netip.AddrPortFrom(ip, 0)) }

// is reports whether it is that one. Each packet asks it of its peer's.
func (a *address) is(ap netip.AddrPort) bool { return a.port == ap.Port() && a.ip == ap.Addr().As16() }

func (a address) valid() bool { return a.ip != [16]byte{} }

// sameHost reports whether two addresses differ in the port at most. None is nobody's host.
func (a address) sameHost(b address) bool { return a.ip == b.ip && a.valid() }

func (a address) host() netip.Addr {
	if !a.valid() {
		return netip.Addr{}
	}
	return netip.AddrFrom16(a.ip).Unmap()
}

func (a address) addrPort() netip.AddrPort { return netip.AddrPortFrom(a.host(), a.port) }
