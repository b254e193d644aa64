package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// keepAliveConfig finds out that a peer vanished without a word, after a minute.
var keepAliveConfig = net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}

// streamNetwork is the network of one family, as udpNetwork is.
func streamNetwork(addr string) string {
	if ap, err := netip.ParseAddrPort(addr); err == nil && ap.Addr().Is6() && !ap.Addr().Is4In6() {
		return "tcp6"
	}
	return "tcp4"
}

func (t *Transport) listenStream(addr string) (net.Listener, error) {
	if t.cfg.Listen != nil {
		return t.cfg.Listen("tcp", addr)
	}
	lc := net.ListenConfig{KeepAliveConfig: keepAliveConfig}
	return lc.Listen(context.Background(), streamNetwork(addr), addr)
}

func (t *Transport) dialTCP(ctx context.Context, laddr, raddr netip.AddrPort) (net.Conn, error) {
	if t.cfg.Dial != nil {
		return t.cfg.Dial(ctx, "tcp", laddr, raddr)
	}
	d := net.Dialer{KeepAliveConfig: keepAliveConfig}
	if laddr.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(laddr)
	}
	return d.DialContext(ctx, "tcp", raddr.String())
}

// dialTLS does the handshake as a client. The name to verify is not known here, so it is the address, unless the
// configuration says otherwise (RFC 5922 §7.2).
func (t *Transport) dialTLS(ctx context.Context, nc net.Conn, raddr netip.AddrPort) (net.Conn, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.cfg.TLSClient != nil {
		cfg = t.cfg.TLSClient.Clone()
	}
	if cfg.ServerName == "" && t.cfg.ServerName != nil {
		cfg.ServerName = t.cfg.ServerName(raddr)
	}
	if cfg.ServerName == "" {
		cfg.ServerName = raddr.Addr().String()
	}
	tc := tls.Client(nc, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return tc, nil
}

// accept is the goroutine of one TCP or TLS listener.
func (t *Transport) accept(l *listener) error {
	var pause backOff
	for {
		nc, err := l.stream.Accept()
		if err != nil {
			if t.stopping() || l.gone() {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			// Out of file descriptors, most of the time: it passes, and giving up would make it permanent.
			t.count.acceptErrors.Add(1)
			if !pause.wait(t.quit) {
				return nil
			}
			continue
		}
		pause = 0
		t.admit(l, nc)
	}
}

// admit gives an accepted connection its goroutine, or refuses it.
func (t *Transport) admit(l *listener, nc net.Conn) {
	remote, ok := addrPortOf(nc.RemoteAddr())
	if !ok || t.cfg.Guard != nil && !t.cfg.Guard.AllowAt(remote.Addr(), time.Now()) {
		t.count.refusedConns.Add(1)
		_ = nc.Close()
		return
	}
	c := &conn{t: t, flow: Flow{Net: l.net, Listener: l.index, Remote: remote}}
	c.local, _ = addrPortOf(nc.LocalAddr())
	raw := nc
	if l.net == TLS {
		nc = tls.Server(nc, t.cfg.TLSConfig)
	}
	w := newStreamWire(nc, t.limits().WriteTimeout)
	w.raw = raw
	c.wire = w
	if err := t.conns.enter(c); err != nil {
		_ = raw.Close()
		return
	}
	t.count.accepted.Add(1)
	go func() {
		err := t.handshake(nc)
		if err == nil {
			w.ready.Store(true)
			err = c.read(nc)
		}
		c.finish(err)
	}()
}

func (t *Transport) handshake(nc net.Conn) error {
	tc, ok := nc.(*tls.Conn)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.limits().HandshakeTimeout)
	defer cancel()
	if err := tc.HandshakeContext(ctx); err != nil {
		t.count.handshakeFailed.Add(1)
		return err
	}
	return nil
}

// backOff is the pause after a failed accept, 5 ms to 1 s.
type backOff time.Duration

func (b *backOff) wait(quit <-chan struct{}) bool {
	*b = min(max(*b*2, backOff(5*time.Millisecond)), backOff(time.Second))
	timer := time.NewTimer(time.Duration(*b))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-quit:
		return false
	}
}

// streamWire writes to TCP and TLS.
type streamWire struct {
	nc      net.Conn
	raw     net.Conn // under TLS; nc otherwise
	timeout time.Duration
	ready   atomic.Bool // the handshake is over, so that asking tls.Conn anything does not wait for it
}

func newStreamWire(nc net.Conn, timeout time.Duration) *streamWire {
	w := &streamWire{nc: nc, raw: nc, timeout: timeout}
	if tc, ok := nc.(*tls.Conn); ok {
		w.raw = tc.NetConn()
	}
	return w
}

func (w *streamWire) write(buf []byte, _ []int) error {
	if err := w.nc.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
		return err
	}
	_, err := w.nc.Write(buf)
	return err
}

func (w *streamWire) farewell() {
	if tc, ok := w.nc.(*tls.Conn); ok && w.ready.Load() {
		_ = tc.SetWriteDeadline(time.Now().Add(time.Second))
		_ = tc.CloseWrite()
	}
}

func (w *streamWire) abort() { _ = w.raw.Close() }

var (
	errIdle    = errors.New("nothing came for too long")
	errStarted = errors.New("a message was begun and not finished in time")
	errNothing = errors.New("no message came after the connection was opened")
)

var (
	ping = []byte("\r\n\r\n") // RFC 5626 §4.4.1
	pong = []byte("\r\n")
)

// read takes messages from a stream until it ends, and says why it ended. It is the connection's goroutine.
func (c *conn) read(nc net.Conn) error {
	t, lim := c.t, c.t.limits()
	fr := framer{max: lim.MessageBytes}
	r := refusal{t: t}
	now := time.Now()
	clock := readClock{conn: c, heard: now, opened: now}
	for {
		b, kind, err := fr.next()
		switch {
		case err != nil:
			c.refuseStream(nc, &r, &fr, err, clock.greeted)
			return err
		case kind == framePing:
			t.count.keepAlives.Add(1)
			clock.complete()
			if err := c.send(pong); err != nil {
				return err
			}
			continue
		case kind == frameMessage:
			clock.complete()
			if err := c.deliver(&r, b, clock.heard); err != nil {
				return err
			}
			continue
		}
		n, err := clock.read(nc, fr.space(), fr.partial())
		if err != nil {
			return err
		}
		fr.grow(n)
	}
}

// settleTime bounds how long a connection that is to end waits for the shards.
const settleTime = time.Second

// settle waits until the shards have handled what this connection delivered, so that their answers are in its write queue.
func (c *conn) settle() {
	handled := make(chan struct{}, len(c.t.shards))
	waiting := 0
	for _, s := range c.t.shards {
		if s.Post(func() { handled <- struct{}{} }) == nil {
			waiting++
		}
	}
	timer := time.NewTimer(settleTime)
	defer timer.Stop()
	for ; waiting > 0; waiting-- {
		select {
		case <-handled:
		case <-timer.C:
			return
		case <-c.t.dead:
			return
		}
	}
}

// readClock applies the time limits of one connection's reading side.
type readClock struct {
	conn    *conn
	opened  time.Time
	heard   time.Time // last bytes from the peer
	begun   time.Time // first bytes of the message in progress, zero when there is none
	greeted bool      // a whole message or keep-alive has come
}

func (k *readClock) complete() { k.greeted, k.begun = true, time.Time{} }

// read reads once, waiting no longer than the limits allow. partial tells that a message has begun.
func (k *readClock) read(nc net.Conn, buf []byte, partial bool) (int, error) {
	for {
		deadline, why := k.deadline(partial)
		pinging := k.conn.outbound && !partial
		if next := time.Now().Add(k.conn.t.limits().KeepAlive); pinging && next.Before(deadline) {
			deadline = next
		} else {
			pinging = false
		}
		if err := nc.SetReadDeadline(deadline); err != nil {
			return 0, err
		}
		n, err := nc.Read(buf)
		if n > 0 {
			k.heard = time.Now()
			return n, nil
		}
		var ne net.Error
		switch {
		case err == nil:
		case !errors.As(err, &ne) || !ne.Timeout():
			return 0, err
		case pinging:
			// RFC 5626 §4.4.1: who opened the connection keeps it alive.
			if err := k.conn.send(ping); err != nil {
				return 0, err
			}
		default:
			k.conn.t.count.timedOut.Add(1)
			return 0, why
		}
	}
}

func (k *readClock) deadline(partial bool) (time.Time, error) {
	lim := k.conn.t.limits()
	if partial {
		if k.begun.IsZero() {
			k.begun = k.heard
		}
		return k.begun.Add(lim.ReadTimeout), errStarted
	}
	if !k.greeted && !k.conn.outbound {
		return k.opened.Add(lim.FirstMessage), errNothing
	}
	return k.heard.Add(lim.IdleTimeout), errIdle
}

// refuseStream answers a message whose end cannot be found and lingers until the peer has the answer: closing a socket with
// unread bytes in it would take the answer away again. What came before that message is answered first.
func (c *conn) refuseStream(nc net.Conn, r *refusal, fr *framer, err error, greeted bool) {
	c.t.count.framing.Add(1)
	var fe *frameError
	if !errors.As(err, &fe) {
		return
	}
	if greeted {
		c.settle()
	}
	answer := r.answer(string(fr.head()), c.flow, fe.status)
	if answer != nil && c.send(answer) != nil || answer == nil && !greeted {
		return
	}
	c.drain(c.t.limits().WriteTimeout)
	if cw, ok := nc.(interface{ CloseWrite() error }); ok && cw.CloseWrite() == nil {
		_ = nc.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = io.CopyN(io.Discard, nc, 256<<10)
	}
}
