package virtualip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// kernelTime is how long the kernel may take to answer.
const kernelTime = 2 * time.Second

// Add puts the address on its interface. had says that it stood there already. An IPv6 address is of use at once: whether somebody else has it
// is not for the kernel to find out (RFC 4862 §5.4), which would take a second. Errors: ErrRight, ErrInterface, the kernel's.
func (a Address) Add() (had bool, err error) {
	err = a.order(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	if errors.Is(err, unix.EEXIST) {
		return true, nil
	}
	return false, err
}

// Remove takes the address off its interface. It is no error when it does not stand there.
func (a Address) Remove() error {
	err := a.order(unix.RTM_DELADDR, 0)
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, ErrInterface) {
		return nil
	}
	return err
}

// order has the kernel do something about the address, and waits for what came of it.
func (a Address) order(kind, flags uint16) error {
	in, err := a.device()
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return os.NewSyscallError("netlink", err)
	}
	defer unix.Close(fd)
	wait := unix.NsecToTimeval(int64(kernelTime))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return os.NewSyscallError("netlink", err)
	}
	if err := unix.Sendto(fd, a.message(kind, flags, in.Index), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("netlink", err)
	}
	var room [4096]byte
	n, _, err := unix.Recvfrom(fd, room[:], 0)
	if err != nil {
		return os.NewSyscallError("netlink", err)
	}
	// nlmsghdr, and behind it the error number, negative
	if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(room[4:]) != unix.NLMSG_ERROR {
		return errors.New("the kernel has answered something else")
	}
	switch errno := unix.Errno(-int32(binary.NativeEndian.Uint32(room[unix.SizeofNlMsghdr:]))); errno {
	case 0:
		return nil
	case unix.EPERM:
		return fmt.Errorf("%s: %w", a, ErrRight)
	default:
		return fmt.Errorf("%s: %w", a, errno)
	}
}

// message is an order in rtnetlink(7):
//
//	| length 4 | type 2 | flags 2 | sequence 4 | port 4 |                              nlmsghdr
//	| family 1 | prefix length 1 | flags 1 | scope 1 | interface 4 |                  ifaddrmsg
//	| length 2 | IFA_LOCAL 2 | address | length 2 | IFA_ADDRESS 2 | address |         the same: no point-to-point link
func (a Address) message(kind, flags uint16, index int) []byte {
	addr := a.Prefix.Addr()
	family, marks := byte(unix.AF_INET), byte(0)
	if addr.Is6() {
		family, marks = unix.AF_INET6, unix.IFA_F_NODAD
	}
	m := make([]byte, unix.SizeofNlMsghdr+unix.SizeofIfAddrmsg, 96)
	binary.NativeEndian.PutUint16(m[4:], kind)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags)
	m[unix.SizeofNlMsghdr], m[unix.SizeofNlMsghdr+1], m[unix.SizeofNlMsghdr+2] = family, byte(a.Prefix.Bits()), marks
	binary.NativeEndian.PutUint32(m[unix.SizeofNlMsghdr+4:], uint32(index))
	b := addr.AsSlice()
	for _, attribute := range [...]uint16{unix.IFA_LOCAL, unix.IFA_ADDRESS} {
		m = binary.NativeEndian.AppendUint16(m, uint16(unix.SizeofRtAttr+len(b)))
		m = append(binary.NativeEndian.AppendUint16(m, attribute), b...)
	}
	binary.NativeEndian.PutUint32(m, uint32(len(m)))
	return m
}

func (a Address) device() (*net.Interface, error) {
	in, err := net.InterfaceByName(a.Interface)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; ip link lists those that there are", a, ErrInterface)
	}
	return in, nil
}

// talks tells whether there are others on an interface who ask for link-layer addresses.
func talks(in *net.Interface) bool {
	return len(in.HardwareAddr) == 6 && in.Flags&net.FlagLoopback == 0 && in.Flags&net.FlagBroadcast != 0
}

// Announce tells everybody on the segment that the address is here now: by ARP (RFC 5227 §3), or by an unsolicited neighbour advertisement (RFC
// 4861 §7.2.6). It may get lost, so it is said more than once. Where nobody asks for addresses it does nothing.
func (a Address) Announce() error {
	in, err := a.device()
	if err != nil || !talks(in) {
		return err
	}
	if a.Prefix.Addr().Is6() {
		return a.advertise(in)
	}
	fd, err := openARP(in)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	own := a.Prefix.Addr()
	// Some heed requests only, some answers only.
	return errors.Join(sendARP(fd, in, arpRequest, own, own), sendARP(fd, in, arpReply, own, own))
}

// askEvery is how often the segment is asked for an address.
const askEvery = 60 * time.Millisecond

const (
	arpRequest = 1
	arpReply   = 2
	arpLength  = 28
)

func openARP(in *net.Interface) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) {
		return -1, ErrRight
	}
	if err != nil {
		return -1, os.NewSyscallError("packet socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: network16(unix.ETH_P_ARP), Ifindex: in.Index}); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("bind", err)
	}
	return fd, nil
}

// sendARP sends, to everybody (RFC 826):
//
//	| 1, Ethernet 2 | 0800 2 | 6 1 | 4 1 | operation 2 | our hardware 6 | sender 4 | whose hardware is asked for 6 | target 4 |
func sendARP(fd int, in *net.Interface, operation byte, sender, target netip.Addr) error {
	m := []byte{0, 1, 8, 0, 6, 4, 0, operation}
	m = append(append(m, in.HardwareAddr...), sender.AsSlice()...)
	if operation == arpReply {
		m = append(m, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	} else {
		m = append(m, 0, 0, 0, 0, 0, 0)
	}
	m = append(m, target.AsSlice()...)
	to := unix.SockaddrLinklayer{Protocol: network16(unix.ETH_P_ARP), Ifindex: in.Index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
	return os.NewSyscallError("send ARP", unix.Sendto(fd, m, 0, &to))
}

// network16 is a number whose bytes stand in memory as on the network.
func network16(n uint16) uint16 { return binary.NativeEndian.Uint16([]byte{byte(n >> 8), byte(n)}) }

// advertise sends an unsolicited neighbour advertisement to all nodes:
//
//	| 136 1 | 0 1 | checksum 2, the kernel's | override 4 | target 16 | 2 1 | 1 1 | our hardware 6 |
func (a Address) advertise(in *net.Interface) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if errors.Is(err, unix.EPERM) {
		return ErrRight
	}
	if err != nil {
		return os.NewSyscallError("raw socket", err)
	}
	defer unix.Close(fd)
	addr := a.Prefix.Addr().As16()
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, in.Index),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255), // RFC 4861 §7.1.2
		unix.Bind(fd, &unix.SockaddrInet6{Addr: addr}),
	)
	if err != nil {
		return fmt.Errorf("%s: announce: %w", a, err)
	}
	m := append([]byte{136, 0, 0, 0, 0x20, 0, 0, 0}, addr[:]...)
	m = append(append(m, 2, 1), in.HardwareAddr...)
	all := unix.SockaddrInet6{Addr: netip.IPv6LinkLocalAllNodes().As16(), ZoneId: uint32(in.Index)}
	return os.NewSyscallError("send neighbour advertisement", unix.Sendto(fd, m, 0, &all))
}

// Holder asks the segment who has the address (RFC 5227 §2.1.1) and gives the hardware address of who answers before wait is over, nil for nobody.
// IPv6 addresses are not asked for.
func (a Address) Holder(wait time.Duration) (net.HardwareAddr, error) {
	in, err := a.device()
	if err != nil || !talks(in) || a.Prefix.Addr().Is6() {
		return nil, err
	}
	fd, err := openARP(in)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var m [128]byte
	var asked time.Time
	for until := time.Now().Add(wait); ; {
		left := time.Until(until)
		if left <= 0 {
			return nil, nil
		}
		if time.Since(asked) >= askEvery { // it may get lost
			asked = time.Now()
			if err := sendARP(fd, in, arpRequest, netip.IPv4Unspecified(), a.Prefix.Addr()); err != nil {
				return nil, err
			}
		}
		limit := unix.NsecToTimeval(int64(min(max(left, time.Millisecond), askEvery)))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
			return nil, os.NewSyscallError("setsockopt", err)
		}
		n, _, err := unix.Recvfrom(fd, m[:], 0)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, os.NewSyscallError("receive ARP", err)
		case n >= arpLength && netip.AddrFrom4([4]byte(m[14:18])) == a.Prefix.Addr() && string(m[8:14]) != string(in.HardwareAddr):
			return net.HardwareAddr(append([]byte(nil), m[8:14]...)), nil
		}
	}
}
