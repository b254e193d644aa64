//go:build linux

package wire

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2) on 64-bit Linux.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   uint32
}

const controlBytes = 64 // room for one timestamp, or one source address

// batch is the arrays of one recvmmsg or sendmmsg, wired to each other once.
type batch struct {
	size    int
	msgs    []mmsghdr
	iov     []unix.Iovec
	names   []unix.RawSockaddrInet4
	data    []byte
	control []byte
}

func (b *batch) init(count, size int) {
	b.size = size
	b.msgs = make([]mmsghdr, count)
	b.iov = make([]unix.Iovec, count)
	b.names = make([]unix.RawSockaddrInet4, count)
	b.data = make([]byte, count*size)
	for i := range b.msgs {
		b.iov[i].Base = &b.data[i*size]
		b.iov[i].SetLen(size)
		h := &b.msgs[i].hdr
		h.Iov = &b.iov[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Namelen = unix.SizeofSockaddrInet4
	}
}

func (b *batch) slot(i int) []byte { return b.data[i*b.size : i*b.size+b.size : i*b.size+b.size] }

// reset makes the batch ready to receive again.
func (b *batch) reset() {
	if b.control == nil {
		b.control = make([]byte, len(b.msgs)*controlBytes)
	}
	for i := range b.msgs {
		h := &b.msgs[i].hdr
		h.Namelen = unix.SizeofSockaddrInet4
		h.Control = &b.control[i*controlBytes]
		h.SetControllen(controlBytes)
	}
}

// source has datagram i leave with a source address.
func (b *batch) source(i int, from [4]byte) {
	if b.control == nil {
		b.control = make([]byte, len(b.msgs)*controlBytes)
	}
	at := b.control[i*controlBytes : (i+1)*controlBytes]
	head := (*unix.Cmsghdr)(unsafe.Pointer(&at[0]))
	head.Level, head.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
	head.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
	(*unix.Inet4Pktinfo)(unsafe.Pointer(&at[unix.CmsgLen(0)])).Spec_dst = from
	h := &b.msgs[i].hdr
	h.Control = &at[0]
	h.SetControllen(unix.CmsgSpace(unix.SizeofInet4Pktinfo))
}

// stamp is the kernel's receive time of datagram i, nanoseconds of the real clock, or 0.
func (b *batch) stamp(i int) int64 {
	if b.msgs[i].hdr.Controllen < unix.SizeofCmsghdr {
		return 0
	}
	head := (*unix.Cmsghdr)(unsafe.Pointer(&b.control[i*controlBytes]))
	if head.Level != unix.SOL_SOCKET || head.Type != unix.SCM_TIMESTAMPNS {
		return 0
	}
	at := (*unix.Timespec)(unsafe.Pointer(&b.control[i*controlBytes+unix.CmsgLen(0)]))
	return at.Nano()
}
