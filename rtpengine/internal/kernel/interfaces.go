//go:build linux

package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// attachment is the program on an interface, or why it is not there.
type attachment struct {
	name   string
	link   link.Link // nil: it is not
	reason string
}

// Interface tells of one interface that media may come by.
type Interface struct {
	Name   string
	Reason string // why the program is not on it; "" when it is
}

// Refresh puts the program on the interfaces that should have it and lets go of those that are gone or have lost their address.
// changed is false when nothing in the network of this machine has changed since the last call; then nothing was done.
func (f *Forwarder) Refresh() (changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || !f.net.changed() {
		return false, nil
	}
	all, err := net.Interfaces()
	if err != nil {
		return true, err
	}
	wanted := make(map[int]bool)
	f.net.mtu = make(map[int]int, len(all))
	for i := range all {
		in := &all[i]
		f.net.mtu[in.Index] = in.MTU
		if in.Flags&net.FlagLoopback != 0 {
			f.lo = in.Index
		}
		if in.Flags&net.FlagUp == 0 || !f.carries(in) {
			continue
		}
		wanted[in.Index] = true
		if a := f.attached[in.Index]; a == nil || a.link == nil {
			f.attached[in.Index] = f.attach(in)
		}
	}
	for index := range f.attached {
		if !wanted[index] {
			f.detach(index)
		}
	}
	return true, nil
}

// carries reports whether packets for our addresses come by an interface. Those that this machine sends itself all come by the loopback.
func (f *Forwarder) carries(in *net.Interface) bool {
	if len(f.cfg.Only) > 0 {
		return slices.Contains(f.cfg.Only, in.Name)
	}
	if in.Flags&net.FlagLoopback != 0 {
		return true
	}
	has, err := in.Addrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(has, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		if !ok {
			return false
		}
		addr, _ := netip.AddrFromSlice(n.IP)
		addr = addr.Unmap()
		return slices.ContainsFunc(f.cfg.Addrs, func(ours netip.Addr) bool {
			return ours == addr || ours.IsUnspecified() && ours.Is4() == addr.Is4()
		})
	})
}

func (f *Forwarder) attach(in *net.Interface) *attachment {
	a := &attachment{name: in.Name}
	if in.Flags&net.FlagLoopback == 0 && len(in.HardwareAddr) != 6 {
		a.reason = "it has no Ethernet addresses"
		return a
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: in.Index, Program: f.prog, Attach: ebpf.AttachTCXIngress})
	switch {
	case errors.Is(err, ebpf.ErrNotSupported):
		a.reason = "this kernel has no TCX, Linux 6.6 is wanted"
	case err != nil:
		a.reason = plain(fmt.Errorf("attach: %w", err)).Error()
	}
	a.link = l
	return a
}

func (f *Forwarder) detach(index int) {
	if a := f.attached[index]; a.link != nil {
		_ = a.link.Close()
	}
	delete(f.attached, index)
}

// Interfaces tells of every interface that carries our addresses, by name.
func (f *Forwarder) Interfaces() []Interface {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]Interface, 0, len(f.attached))
	for _, a := range f.attached {
		list = append(list, Interface{a.name, a.reason})
	}
	slices.SortFunc(list, func(a, b Interface) int { return cmp.Compare(a.Name, b.Name) })
	return list
}
