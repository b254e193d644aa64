package rtpengine

import "net/netip"

// destination is where a component's packets go; the zero value is nowhere.
type destination struct {
	raw    rawAddr // as the kernel wants it
	socket *socket // where packets leave, when it is not one of the leg's own
}

func (d *destination) set(addr netip.AddrPort) {
	*d = destination{}
	d.raw.set(addr)
}

// take adopts a source that packets came from, in the kernel's own form.
func (d *destination) take(raw *rawAddr) { *d = destination{raw: *raw} }

func (d *destination) valid() bool { return d.raw.valid() }

func (d *destination) family() int { return d.raw.family() }

// addr is where it leads; nowhere's is invalid.
func (d *destination) addr() netip.AddrPort {
	if !d.valid() {
		return netip.AddrPort{}
	}
	return d.raw.source()
}

func (d *destination) clear() { *d = destination{} }
