//go:build linux

// Package steer has the kernel hand the packets of many UDP ports to a few sockets.
//
// An sk_lookup program of the network namespace sees each packet that no connected socket wants. When its
// destination is one of our addresses and a port that was taken here, the program names the socket that gets it;
// else the kernel looks on as if there were no program. So it can never take a packet from a port that
// is not ours: whoever calls Take must hold a socket bound to that address and port, until after Leave.
package steer

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
)

// Steer is a program attached to the process's network namespace, and its two maps. Its methods may be
// called from any goroutine.
type Steer struct {
	low   uint16
	ports *ebpf.Map // line*count + port-low -> 1 + index in sockets; 0 leaves the packet alone
	socks *ebpf.Map // the receiving sockets
	count int       // ports of one address
	link  *link.NetNsLink
}

// Attach puts the program in place for ports low..high of the addresses. There will be receivers up to
// the given number. The kernel asks for CAP_BPF and CAP_NET_ADMIN, and to be 5.9 or newer.
func Attach(addrs []netip.Addr, low, high uint16, receivers int) (_ *Steer, err error) {
	s := &Steer{low: low, count: int(high) - int(low) + 1}
	defer func() {
		if err != nil {
			err = errors.Join(plain(err), s.Close())
		}
	}()
	// Before Linux 5.11 maps counted against RLIMIT_MEMLOCK; later kernels are left as they are.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, err
	}
	if s.ports, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "tandem_ports", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: uint32(len(addrs) * s.count),
	}); err != nil {
		return nil, err
	}
	if s.socks, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "tandem_socks", Type: ebpf.SockMap, KeySize: 4, ValueSize: 4, MaxEntries: uint32(receivers),
	}); err != nil {
		return nil, err
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "tandem_steer", Type: ebpf.SkLookup, AttachType: ebpf.AttachSkLookup, License: "Apache-2.0",
		Instructions: program(addrs, low, s.count, s.ports.FD(), s.socks.FD()),
	})
	if err != nil {
		return nil, err
	}
	defer prog.Close() // the link keeps it
	ns, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	s.link, err = link.AttachNetNs(int(ns.Fd()), prog)
	return s, err
}

// plain says for an operator what the kernel's refusal means.
func plain(err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("the kernel asks for CAP_BPF and CAP_NET_ADMIN: %w", err)
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("this kernel has no BPF sk_lookup: %w", err)
	}
	return err
}

// Receiver makes a bound UDP socket the one that Take calls by this number.
func (s *Steer) Receiver(number, fd int) error { return s.socks.Put(uint32(number), uint32(fd)) }

// Take sends the packets of a port of the line-th address to a receiver from now on.
func (s *Steer) Take(line int, port uint16, receiver int) error {
	return s.ports.Put(s.key(line, port), uint32(receiver)+1)
}

// Leave sends them to the port's own socket again.
func (s *Steer) Leave(line int, port uint16) error { return s.ports.Put(s.key(line, port), uint32(0)) }

func (s *Steer) key(line int, port uint16) uint32 {
	return uint32(line*s.count + int(port) - int(s.low))
}

// Close takes the program away; every packet goes to its port's own socket then.
func (s *Steer) Close() error {
	var errs []error
	if s.link != nil {
		errs = append(errs, s.link.Close())
	}
	return errors.Join(append(errs, s.socks.Close(), s.ports.Close())...) // a nil map closes well
}
