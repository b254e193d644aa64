//go:build linux && !portable

package rtpengine

import (
	"net/netip"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BenchmarkReadPort is why the single port is read datagram by datagram: 32 of them, sent and read over loopback, cost the same by recvfrom and by
// recvmmsg. What a batch would save is on the way out.
func BenchmarkReadPort(b *testing.B) {
	k, err := openSocket(loop4, 0, -1)
	if err != nil {
		b.Fatal(err)
	}
	sa, err := unix.Getsockname(k.fd)
	if err != nil {
		b.Fatal(err)
	}
	port := sa.(*unix.SockaddrInet4).Port
	out, err := openSocket(loop4, 0, -1)
	if err != nil {
		b.Fatal(err)
	}
	defer k.close()
	defer out.close()
	var to destination
	to.set(netip.AddrPortFrom(loop4, uint16(port)))
	const n = 32
	pkt := make([]byte, 172)
	fill := func() {
		for range n {
			out.send(pkt, &to)
		}
	}
	b.Run("recvfrom", func(b *testing.B) {
		slab := make([]byte, 16<<10)
		var from rawAddr
		for b.Loop() {
			fill()
			for k.receive(slab, &from) >= 0 {
			}
		}
	})
	b.Run("recvmmsg", func(b *testing.B) {
		var hdrs [n]mmsghdr
		var iovs [n]unix.Iovec
		var from [n]rawAddr
		slab := make([]byte, n*inboxStride)
		for i := range hdrs {
			iovs[i].Base = &slab[i*inboxStride]
			iovs[i].SetLen(slabBytes)
			hdrs[i].hdr.Name, hdrs[i].hdr.Iov = &from[i].bytes[0], &iovs[i]
			hdrs[i].hdr.SetIovlen(1)
		}
		for b.Loop() {
			fill()
			for {
				for i := range hdrs {
					hdrs[i].hdr.Namelen = unix.SizeofSockaddrInet6
				}
				got, _, errno := syscall.RawSyscall6(unix.SYS_RECVMMSG, uintptr(k.fd), uintptr(unsafe.Pointer(&hdrs)), n, unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
				if errno != 0 || got < n {
					break
				}
			}
		}
	})
	b.Run("sendmmsg+recvmmsg", func(b *testing.B) {
		var hdrs, outs [n]mmsghdr
		var iovs, oiovs [n]unix.Iovec
		var from [n]rawAddr
		slab := make([]byte, n*inboxStride)
		for i := range hdrs {
			iovs[i].Base = &slab[i*inboxStride]
			iovs[i].SetLen(slabBytes)
			hdrs[i].hdr.Name, hdrs[i].hdr.Iov = &from[i].bytes[0], &iovs[i]
			hdrs[i].hdr.SetIovlen(1)
			oiovs[i].Base = &pkt[0]
			oiovs[i].SetLen(172)
			outs[i].hdr.Name, outs[i].hdr.Iov, outs[i].hdr.Namelen = &to.raw.bytes[0], &oiovs[i], to.raw.len
			outs[i].hdr.SetIovlen(1)
		}
		for b.Loop() {
			syscall.RawSyscall6(unix.SYS_SENDMMSG, uintptr(out.fd), uintptr(unsafe.Pointer(&outs)), n, 0, 0, 0)
			for {
				for i := range hdrs {
					hdrs[i].hdr.Namelen = unix.SizeofSockaddrInet6
				}
				got, _, errno := syscall.RawSyscall6(unix.SYS_RECVMMSG, uintptr(k.fd), uintptr(unsafe.Pointer(&hdrs)), n, unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
				if errno != 0 || got < n {
					break
				}
			}
		}
	})
}
