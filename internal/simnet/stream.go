package simnet

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// streamWindow is how many bytes may be on their way or unread in one direction of a stream.
const streamWindow = 64 << 10

// backlog is how many connections wait to be accepted.
const backlog = 1024

// Listener is a TCP listener.
type Listener struct {
	h     *Host
	local netip.AddrPort

	w      *waiter
	queue  []*Conn
	closed bool
}

func newListener(h *Host, local netip.AddrPort) *Listener {
	return &Listener{h: h, local: local, w: newWaiter()}
}

// Accept waits for a connection.
func (l *Listener) Accept() (net.Conn, error) {
	l.w.Lock()
	defer l.w.Unlock()
	for {
		if l.closed {
			return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
		}
		if len(l.queue) > 0 {
			c := l.queue[0]
			l.queue = l.queue[1:]
			return c, nil
		}
		l.w.cond.Wait()
	}
}

// Close ends the listener; connections that nobody accepted are reset.
func (l *Listener) Close() error {
	l.w.Lock()
	if l.closed {
		l.w.Unlock()
		return net.ErrClosed
	}
	l.closed = true
	queue := l.queue
	l.queue = nil
	l.w.cond.Broadcast()
	l.w.Unlock()
	l.h.n.mu.Lock()
	delete(l.h.listeners, l.local.Port())
	l.h.n.mu.Unlock()
	for _, c := range queue {
		_ = c.Close()
	}
	return nil
}

// Addr is the address the listener is bound to.
func (l *Listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.local) }

func (l *Listener) offer(c *Conn) bool {
	l.w.Lock()
	defer l.w.Unlock()
	if l.closed || len(l.queue) >= backlog {
		return false
	}
	l.queue = append(l.queue, c)
	l.w.cond.Broadcast()
	return true
}

// Conn is one end of a stream.
type Conn struct {
	h             *Host
	local, remote netip.AddrPort
	in, out       *half
}

// A half is one direction of a stream.
type half struct {
	n        *Network
	from, to netip.Addr // as routed

	// Guarded by n.mu: what is on its way.
	flight  [][]byte // nil is the end of the stream
	last    time.Time
	stalled bool
	lost    time.Time // when the first chunk was lost that is not there yet
	resume  time.Time // when it is sent again, behind a cut

	w       *waiter // reading side
	buf     []byte
	eof     bool // nothing comes behind buf
	reset   bool // the other end has gone with our bytes unread, or the connection is broken
	closed  bool // the reading end was closed here
	ww      *waiter
	size    int // bytes on their way or unread; guarded by ww
	shut    bool
	discard bool // the reader has gone: writing fails
}

func newHalf(n *Network, from, to netip.Addr) *half {
	return &half{n: n, from: from, to: to, w: newWaiter(), ww: newWaiter()}
}

func (h *Host) dialStream(ctx context.Context, laddr, raddr netip.AddrPort) (net.Conn, error) {
	n := h.n
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(raddr), Err: err}
	}
	n.mu.Lock()
	if laddr.Port() == 0 {
		laddr = netip.AddrPortFrom(laddr.Addr(), h.freePort())
	}
	seen := laddr // as the listener sees it
	if h.nat != nil && !h.nat.inside(raddr.Addr()) {
		seen = h.nat.outbound(laddr, raddr)
	}
	rtt := n.linkOf(seen.Addr(), raddr.Addr()).Delay + n.linkOf(raddr.Addr(), seen.Addr()).Delay
	dead := h.dead
	cut := n.cut[[2]netip.Addr{seen.Addr(), raddr.Addr()}] || n.cut[[2]netip.Addr{laddr.Addr(), raddr.Addr()}]
	peer := n.hosts[raddr.Addr()]
	n.mu.Unlock()
	if dead {
		return fail(net.ErrClosed)
	}
	if cut || peer == nil {
		if !n.knocksAgain(ctx, seen.Addr(), laddr.Addr(), raddr.Addr()) || peer == nil {
			<-ctx.Done()
			return fail(os.ErrDeadlineExceeded)
		}
	}
	if rtt > 0 {
		timer := time.NewTimer(rtt)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return fail(ctx.Err())
		}
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	l := peer.listeners[raddr.Port()]
	if l == nil || peer.nat != nil && peer.nat != h.nat || n.closed {
		return fail(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	}
	there, back := newHalf(n, seen.Addr(), raddr.Addr()), newHalf(n, raddr.Addr(), seen.Addr())
	mine := &Conn{h: h, local: laddr, remote: raddr, in: back, out: there}
	theirs := &Conn{h: peer, local: raddr, remote: seen, in: there, out: back}
	if !l.offer(theirs) {
		return fail(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	}
	h.streams[mine], peer.streams[theirs] = true, true
	return mine, nil
}

// push sends a chunk on its way. Called with n.mu held.
func (h *half) push(chunk []byte) {
	h.flight = append(h.flight, chunk)
	link := h.n.linkOf(h.from, h.to)
	arrive := time.Now().Add(link.Delay)
	if arrive.Before(h.last) {
		arrive = h.last
	}
	h.last = arrive
	h.n.at(arrive, h.arrive)
}

// arrive takes what has come to the reader. A cut holds it back until the network heals. Called with n.mu held.
func (h *half) arrive() {
	now := time.Now()
	if h.n.cut[[2]netip.Addr{h.from, h.to}] {
		if !h.stalled {
			h.lost = now
		}
		if !h.stalled || !h.resume.IsZero() {
			h.stalled, h.resume = true, time.Time{}
			h.n.stalled = append(h.n.stalled, h)
		}
		return
	}
	if h.stalled && now.Before(h.resume) {
		return // what was lost goes first
	}
	take := 1
	if h.stalled {
		h.stalled, take = false, len(h.flight)
	}
	h.w.Lock()
	defer h.w.Unlock()
	for ; take > 0 && len(h.flight) > 0; take-- {
		chunk := h.flight[0]
		h.flight = h.flight[1:]
		if chunk == nil {
			h.eof = true
		} else if !h.closed {
			h.buf = append(h.buf, chunk...)
		}
	}
	h.w.cond.Broadcast()
}

// wake has a stream go on behind a cut: at once, or when TCP sends again what was lost. Called with n.mu held.
func (h *half) wake() {
	h.resume = time.Now()
	if h.n.backoff {
		h.resume = again(h.lost, firstRTO, h.resume)
	}
	h.n.at(h.resume, h.arrive)
}

const (
	firstRTO = 200 * time.Millisecond // Linux's least (TCP_RTO_MIN)
	firstSYN = time.Second            // RFC 6298 §2.1
)

// again is the first time from now on at which TCP sends once more what it has sent at a time: the pauses double (RFC 6298 §5.5).
func again(sent time.Time, pause time.Duration, now time.Time) time.Time {
	for ; ; pause *= 2 {
		if sent = sent.Add(pause); !sent.Before(now) {
			return sent
		}
	}
}

// knocksAgain waits until the first packet of a connection gets through, where TCP sends it more than once.
func (n *Network) knocksAgain(ctx context.Context, seen, from, to netip.Addr) bool {
	n.mu.Lock()
	backoff := n.backoff
	n.mu.Unlock()
	for pause := firstSYN; backoff; pause *= 2 {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false
		}
		n.mu.Lock()
		cut := n.cut[[2]netip.Addr{seen, to}] || n.cut[[2]netip.Addr{from, to}]
		n.mu.Unlock()
		if !cut {
			return true
		}
	}
	return false
}

// Read waits for bytes.
func (c *Conn) Read(b []byte) (int, error) {
	h := c.in
	n, err := h.read(b)
	if n > 0 {
		h.ww.Lock()
		h.size -= n
		h.ww.cond.Broadcast()
		h.ww.Unlock()
	}
	if err != nil && err != io.EOF {
		err = c.fault("read", err)
	}
	return n, err
}

func (h *half) read(b []byte) (int, error) {
	h.w.Lock()
	defer h.w.Unlock()
	for {
		switch {
		case h.closed:
			return 0, net.ErrClosed
		case h.w.expired():
			return 0, os.ErrDeadlineExceeded
		case len(h.buf) > 0 || len(b) == 0:
			n := copy(b, h.buf)
			if h.buf = h.buf[n:]; len(h.buf) == 0 {
				h.buf = nil
			}
			return n, nil
		case h.reset:
			return 0, os.NewSyscallError("read", syscall.ECONNRESET)
		case h.eof:
			return 0, io.EOF
		}
		h.w.cond.Wait()
	}
}

// Write waits until all bytes fit into the window.
func (c *Conn) Write(b []byte) (int, error) {
	h := c.out
	written := 0
	for written < len(b) {
		room, err := h.waitRoom()
		if err != nil {
			return written, c.fault("write", err)
		}
		chunk := append([]byte(nil), b[written:min(written+room, len(b))]...)
		h.ww.Lock()
		h.size += len(chunk)
		h.ww.Unlock()
		c.h.n.mu.Lock()
		h.push(chunk)
		c.h.n.mu.Unlock()
		written += len(chunk)
	}
	return written, nil
}

func (h *half) waitRoom() (int, error) {
	h.ww.Lock()
	defer h.ww.Unlock()
	for {
		switch {
		case h.shut:
			return 0, net.ErrClosed
		case h.discard:
			return 0, os.NewSyscallError("write", syscall.EPIPE)
		case h.ww.expired():
			return 0, os.ErrDeadlineExceeded
		case h.size < streamWindow:
			return streamWindow - h.size, nil
		}
		h.ww.cond.Wait()
	}
}

// CloseWrite ends our direction; the peer reads the rest and then EOF.
func (c *Conn) CloseWrite() error {
	h := c.out
	h.ww.Lock()
	was := h.shut
	h.shut = true
	h.ww.cond.Broadcast()
	h.ww.Unlock()
	if !was {
		c.h.n.mu.Lock()
		h.push(nil)
		c.h.n.mu.Unlock()
	}
	return nil
}

// Close ends the connection. As with TCP, bytes that were not read reset it: the peer may lose what is on its way to it.
func (c *Conn) Close() error {
	h := c.in
	h.w.Lock()
	was, unread := h.closed, len(h.buf) > 0
	h.closed, h.buf = true, nil
	h.w.stop()
	h.w.cond.Broadcast()
	h.w.Unlock()
	if was {
		return c.fault("close", net.ErrClosed)
	}
	_ = c.CloseWrite()
	h.ww.Lock()
	h.discard = true
	h.ww.cond.Broadcast()
	h.ww.Unlock()
	c.out.ww.Lock()
	c.out.ww.stop()
	c.out.ww.Unlock()
	if unread {
		c.out.w.Lock()
		c.out.reset, c.out.buf = true, nil
		c.out.w.cond.Broadcast()
		c.out.w.Unlock()
	}
	c.h.n.mu.Lock()
	delete(c.h.streams, c)
	c.h.n.mu.Unlock()
	return nil
}

// LocalAddr is our address, as we know it.
func (c *Conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }

// RemoteAddr is the peer's address, as we see it.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	c.in.w.setDeadline(t)
	c.out.ww.setDeadline(t)
	return nil
}

// SetReadDeadline makes reads fail from t on.
func (c *Conn) SetReadDeadline(t time.Time) error { c.in.w.setDeadline(t); return nil }

// SetWriteDeadline makes writes fail from t on.
func (c *Conn) SetWriteDeadline(t time.Time) error { c.out.ww.setDeadline(t); return nil }

func (c *Conn) fault(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
