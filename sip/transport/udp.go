package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// maxDatagram is the largest UDP payload over IPv4.
const maxDatagram = 65507

// A datagramSocket is one UDP socket: read by one goroutine, written to by any. Messages go in batches where the system
// can do that.
type datagramSocket interface {
	// newReader gives a reader of its own buffers.
	newReader() datagramReader
	// newWriter gives a writer of its own buffers; several may write to one socket at a time.
	newWriter() datagramWriter
	local() netip.AddrPort
	batches() bool // one read takes all that has come
	nap(d time.Duration)
	drops() uint64 // datagrams the kernel dropped because the socket's buffer was full
	interrupt()    // makes a blocked read return, now and from then on; writing goes on
	close() error  // ends everything
}

type datagramReader interface {
	read(yield yieldDatagram) error // waits for datagrams and calls yield for each
}

// yieldDatagram is told of one datagram. b is valid for the call. to is the address it was sent to, on sockets bound to all
// addresses. truncated ones were too large.
type yieldDatagram func(b []byte, from netip.AddrPort, to netip.Addr, truncated bool)

type datagramWriter interface {
	// sendFrom sets the source address of what is written from now on, on sockets bound to all addresses; the zero Addr leaves it
	// to the routing table.
	sendFrom(ip netip.Addr)
	// write sends msgs in order and tells how many could not be sent.
	write(slab []byte, msgs []datagram) (failed int)
}

// A datagram is a message to send: bytes of a slab.
type datagram struct {
	to         netip.AddrPort
	start, end int
}

// An outbox collects what one shard sends from one listener in one round.
type outbox struct {
	w    datagramWriter
	v6   bool
	slab []byte
	msgs []datagram
}

const (
	outboxMessages = 256
	outboxBytes    = 512 << 10
)

func (o *outbox) empty() bool { return len(o.msgs) == 0 }
func (o *outbox) full() bool  { return len(o.msgs) >= outboxMessages || len(o.slab) >= outboxBytes }

func (o *outbox) add(to netip.AddrPort, msg []byte) error {
	switch {
	case len(msg) > maxDatagram:
		return ErrTooLarge
	case to.Addr().Unmap().Is6() != o.v6:
		return ErrNoRoute
	}
	start := len(o.slab)
	o.slab = append(o.slab, msg...)
	o.msgs = append(o.msgs, datagram{to: to, start: start, end: len(o.slab)})
	return nil
}

func (o *outbox) flush() (failed int) {
	failed = o.w.write(o.slab, o.msgs)
	o.slab, o.msgs = o.slab[:0], o.msgs[:0]
	return failed
}

// udpGroup is the sockets of one UDP address, all bound to it with SO_REUSEPORT. The kernel spreads sources over them; a
// source always meets the same socket, so its packets stay in order.
type udpGroup struct {
	sockets []datagramSocket
}

func (t *Transport) listenUDP(addr string, n int) (*udpGroup, error) {
	if t.cfg.ListenPacket != nil {
		pc, err := t.cfg.ListenPacket("udp", addr)
		if err != nil {
			return nil, err
		}
		s, err := newPacketSocket(pc)
		if err != nil {
			return nil, err
		}
		return &udpGroup{sockets: []datagramSocket{s}}, nil
	}
	sockets, err := bindUDP(addr, n)
	if err != nil {
		return nil, err
	}
	return &udpGroup{sockets: sockets}, nil
}

// readUDP is the goroutine of one socket. It ends when the transport stops or the socket breaks for good.
func (t *Transport) readUDP(l *listener, s datagramSocket) error {
	in := newIntake(t)
	r, w := s.newReader(), s.newWriter()
	one := make([]datagram, 1)
	send := func(f Flow, to netip.AddrPort, b []byte) {
		one[0] = datagram{to: to, end: len(b)}
		w.sendFrom(t.addrs.source(f.source()).ip)
		w.write(b, one)
	}
	now := time.Now()
	first, count := true, 0
	var pace pacer
	yield := func(b []byte, from netip.AddrPort, to netip.Addr, truncated bool) {
		if first {
			now, first = time.Now(), false
		}
		count++
		if truncated {
			t.count.oversized.Add(1)
			return
		}
		f := Flow{Net: UDP, Listener: l.index, Remote: from}
		if to.IsValid() {
			f.Listener |= uint16(t.addrs.sourceNumber(to, from.Addr())) << 8
		}
		if reply := in.datagram(b, f, now); len(reply) > 0 {
			send(f, from, reply)
		}
	}
	refuse := func(f Flow, b []byte) { send(f, in.replyTo(f), b) }
	for {
		first, count = true, 0
		err := r.read(yield)
		in.deliver(refuse, s.batches() && pace.hasTime(count))
		if err == nil && (t.stopping() || l.gone()) { // what still comes must not keep the reader from ending
			return nil
		}
		if err == nil {
			t.count.datagrams.Add(uint64(count))
			if d := pace.rest(count, now); d > 0 && s.batches() {
				s.nap(d)
			}
			continue
		}
		if t.stopping() || l.gone() {
			return nil
		}
		if !transient(err) {
			return fmt.Errorf("read from %s %s: %w", l.net, l.addr, err)
		}
		t.count.readErrors.Add(1)
	}
}

// transient tells errors that concern one datagram from those that end a socket. ICMP errors surface as read errors on some
// systems; a listener that ends on one is a way to switch a server off from outside.
func transient(err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		switch errno {
		case syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EMSGSIZE, syscall.EINTR,
			syscall.ENOBUFS, syscall.ENOMEM, syscall.EPERM, syscall.EPROTO, syscall.ENOPROTOOPT, syscall.EHOSTDOWN, syscall.ENETDOWN:
			return true
		}
		return false
	}
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
