//go:build linux

package kernel

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// watcher asks the kernel for routes and hears when anything changes. Its owner's mutex guards it.
type watcher struct {
	asks, hears int // netlink sockets, non-blocking
	seq         uint32
	room        [8192]byte
	fresh       bool        // changed has not been asked yet
	mtu         map[int]int // by interface
}

// route is where packets to an address go.
type route struct {
	index  int        // interface
	hop    netip.Addr // gateway, or the address itself
	source netip.Addr // that we send from
	mtu    int
}

func newWatcher() (w *watcher, err error) {
	w = &watcher{asks: -1, hears: -1, fresh: true}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.asks, err = openNetlink(0); err != nil {
		return w, err
	}
	w.hears, err = openNetlink(unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR |
		unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE | unix.RTMGRP_IPV4_RULE | 1<<(unix.RTNLGRP_IPV6_RULE-1))
	return w, err
}

func openNetlink(groups uint32) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("bind", err)
	}
	return fd, nil
}

func (w *watcher) close() {
	for _, fd := range [...]int{w.asks, w.hears} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	w.asks, w.hears = -1, -1
}

// changed reports whether interfaces, addresses, routes or rules have changed since the last call, or it is the first. Messages that had no
// room in the socket are a change as well.
func (w *watcher) changed() bool {
	news := w.fresh
	w.fresh = false
	for range 64 { // what is left is heard the next time
		n, _, err := unix.Recvfrom(w.hears, w.room[:], 0)
		if errors.Is(err, unix.EAGAIN) || err == nil && n <= 0 {
			return news
		}
		news = true
	}
	return news
}

// route asks for the way to an address, as a socket bound to from would take it.
func (w *watcher) route(to, from netip.Addr) (route, error) {
	r := route{hop: to, source: from}
	w.seq++
	if err := unix.Sendto(w.asks, ask(to, from, w.seq), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return r, ErrRoute
	}
	for range 8 { // answers to questions that were given up
		n, _, err := unix.Recvfrom(w.asks, w.room[:], 0)
		if err != nil {
			return r, ErrRoute
		}
		// nlmsghdr: length 4, type 2, flags 2, sequence 4, port 4
		if m := w.room[:n]; n >= unix.SizeofNlMsghdr && binary.NativeEndian.Uint32(m[8:]) == w.seq {
			if binary.NativeEndian.Uint16(m[4:]) != unix.RTM_NEWROUTE || !r.read(m) {
				return r, ErrRoute
			}
			if r.mtu == 0 {
				r.mtu = w.mtu[r.index]
			}
			return r, nil
		}
	}
	return r, ErrRoute
}

// ask writes RTM_GETROUTE.
func ask(to, from netip.Addr, seq uint32) []byte {
	family := byte(unix.AF_INET6)
	if to.Is4() {
		family = unix.AF_INET
	}
	m := make([]byte, unix.SizeofNlMsghdr+unix.SizeofRtMsg, 96)
	binary.NativeEndian.PutUint16(m[4:], unix.RTM_GETROUTE)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(m[8:], seq)
	m[unix.SizeofNlMsghdr] = family
	m[unix.SizeofNlMsghdr+1] = byte(to.BitLen())
	m = attribute(m, unix.RTA_DST, to)
	if !from.IsUnspecified() {
		m[unix.SizeofNlMsghdr+2] = byte(from.BitLen())
		m = attribute(m, unix.RTA_SRC, from)
	}
	binary.NativeEndian.PutUint32(m, uint32(len(m)))
	return m
}

func attribute(m []byte, kind uint16, addr netip.Addr) []byte {
	b := addr.AsSlice()
	m = binary.NativeEndian.AppendUint16(m, uint16(unix.SizeofRtAttr+len(b)))
	m = binary.NativeEndian.AppendUint16(m, kind)
	return append(m, b...)
}

// read takes the answer; false when it is no way to one host.
func (r *route) read(m []byte) bool {
	if len(m) < unix.SizeofNlMsghdr+unix.SizeofRtMsg {
		return false
	}
	// rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type
	if kind := m[unix.SizeofNlMsghdr+7]; kind != unix.RTN_UNICAST && kind != unix.RTN_LOCAL {
		return false
	}
	attributes(m[unix.SizeofNlMsghdr+unix.SizeofRtMsg:], func(kind uint16, b []byte) {
		switch kind {
		case unix.RTA_OIF:
			r.index = int(binary.NativeEndian.Uint32(b))
		case unix.RTA_GATEWAY:
			r.hop, _ = netip.AddrFromSlice(b)
		case unix.RTA_VIA: // family 2, address: an IPv4 route by an IPv6 gateway
			r.hop, _ = netip.AddrFromSlice(b[2:])
		case unix.RTA_PREFSRC:
			if r.source.IsUnspecified() {
				r.source, _ = netip.AddrFromSlice(b)
			}
		case unix.RTA_METRICS:
			attributes(b, func(kind uint16, b []byte) {
				if kind == unix.RTAX_MTU {
					r.mtu = int(binary.NativeEndian.Uint32(b))
				}
			})
		}
	})
	return r.index > 0 && r.hop.IsValid() && !r.source.IsUnspecified()
}

// attributeKind masks flags out of an attribute's type (NLA_TYPE_MASK).
const attributeKind = 0x3fff

// attributes walks a list of netlink attributes, each of at least four octets.
func attributes(b []byte, each func(kind uint16, b []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return
		}
		if n >= unix.SizeofRtAttr+4 {
			each(binary.NativeEndian.Uint16(b[2:])&attributeKind, b[unix.SizeofRtAttr:n])
		}
		b = b[min(len(b), (n+3)&^3):]
	}
}
