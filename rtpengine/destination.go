package rtpengine

import "net/netip"

// destination is where a component's packets go.
type destination struct {
	valid  bool
	family uint8
	addr   netip.AddrPort
	raw    rawAddr
	socket *socket // where packets leave, when it is not one of the leg's own
}

func (d *destination) set(addr netip.AddrPort) {
	*d = destination{valid: true, family: uint8(familyOf(addr.Addr())), addr: addr}
	d.raw.set(addr)
}

// take adopts a source that packets came from, in the kernel's own form.
func (d *destination) take(addr netip.AddrPort, raw *rawAddr) {
	*d = destination{valid: true, family: uint8(familyOf(addr.Addr())), addr: addr, raw: *raw}
}

func (d *destination) clear() { *d = destination{} }
