package transport

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// noListener is the Listener of connections opened from a node that listens on nothing of their kind.
const noListener = 0xFFFF

// Alive tells whether something sent on f has a way: a UDP flow always while its listener exists, a stream while it is open
// or being opened.
func (t *Transport) Alive(f Flow) bool {
	if f.Node != 0 {
		return t.cfg.Fellows != nil && t.cfg.Fellows.Alive(f)
	}
	if f.Net == UDP {
		l := t.listenerOf(f)
		return l != nil && l.udp != nil && !l.gone()
	}
	c := t.conns.get(f)
	return c != nil && !c.gone()
}

// FlowTo is the way to an address. UDP: the listener that reaches it. Streams: the live connection to exactly that address,
// accepted or opened, else one is opened in the background; what is sent meanwhile waits in its write queue, and FlowClosed
// tells when it cannot be opened. There is no way to open a WebSocket from this side: browsers do not listen (ErrNoRoute).
// Any goroutine.
func (t *Transport) FlowTo(n Net, remote netip.AddrPort) (Flow, error) {
	remote = unmap(remote)
	if !remote.Addr().IsValid() || remote.Port() == 0 {
		return Flow{}, ErrNoRoute
	}
	if n == UDP {
		l := t.listenerTowards(UDP, remote.Addr())
		if l == nil {
			return Flow{}, ErrNoRoute
		}
		return Flow{Net: UDP, Listener: l.index, Remote: remote}, nil
	}
	var ctx context.Context
	c, isNew, err := t.conns.liveOrNew(remoteKey{n, remote}, func() *conn {
		if n != TCP && n != TLS {
			return nil
		}
		c := &conn{t: t, outbound: true, flow: Flow{Net: n, Listener: noListener, Remote: remote}}
		if l := t.listenerTowards(n, remote.Addr()); l != nil {
			c.flow.Listener = l.index
		}
		ctx, c.cancel = context.WithCancel(context.Background())
		return c
	})
	if err != nil {
		return Flow{}, err
	}
	if isNew {
		go t.dial(ctx, c)
	}
	return c.flow, nil
}

// Connected is the connection there is to exactly that address, accepted or opened, and nothing is opened for it. Any goroutine.
func (t *Transport) Connected(n Net, remote netip.AddrPort) (Flow, bool) {
	c := t.conns.to(remoteKey{n, unmap(remote)})
	if c == nil || !c.open() {
		return Flow{}, false
	}
	return c.flow, true
}

// Abandon gives a connection up that is still being opened: nothing that waits on it will be sent, and FlowClosed tells those who wait with
// ErrNotConnected. false: it is open, or was, and what was sent on it may have arrived. Any goroutine.
func (t *Transport) Abandon(f Flow) bool {
	c := t.conns.get(f)
	return c != nil && c.abandon()
}

// listenerTowards chooses the listener that messages to remote leave from or are answered at: of its family, loopback for
// loopback, on the same network when there are several. When no listener of n fits, another one stands in for streams: its
// host is right, and that is what Via is about.
func (t *Transport) listenerTowards(n Net, remote netip.Addr) *listener {
	var best *listener
	score := 0
	for _, l := range t.listeners.all() {
		if l.web || l.gone() {
			continue
		}
		if s := t.suits(l, n, remote); s > score {
			best, score = l, s
		}
	}
	return best
}

// suits ranks a listener for a remote address; 0 is unfit.
func (t *Transport) suits(l *listener, n Net, remote netip.Addr) int {
	ip := l.addr.Addr()
	if ip.Is4() != remote.Is4() || n == UDP && l.net != UDP {
		return 0
	}
	s := 1
	switch {
	case ip.IsUnspecified():
		s = 3
	case ip.IsLoopback() && !remote.IsLoopback():
		return 0
	case ip.IsLoopback() == remote.IsLoopback():
		s = 4
		if t.sameNetwork(ip, remote) {
			s = 5
		}
	}
	if l.net == n {
		s += 10
	}
	if l.adopted == nil { // what is ours, before what we have from others
		s += 100
	}
	return s
}

func (t *Transport) sameNetwork(local, remote netip.Addr) bool {
	in := t.addrs.interfaces.Load()
	for i := range in.prefixes {
		if p := &in.prefixes[i]; p.Addr() == local && p.Contains(remote) {
			return true
		}
	}
	return false
}

// dial is the goroutine of a connection opened from here.
func (t *Transport) dial(ctx context.Context, c *conn) {
	ctx, cancel := context.WithTimeout(ctx, t.limits().HandshakeTimeout)
	nc, err := t.connect(ctx, c)
	cancel()
	if err != nil {
		t.count.dialFailed.Add(1)
		c.finish(fmt.Errorf("%w: %w", ErrNotConnected, err))
		return
	}
	t.count.dialled.Add(1)
	c.local, _ = addrPortOf(nc.LocalAddr())
	w := newStreamWire(nc, t.limits().WriteTimeout)
	w.ready.Store(true)
	if !c.connected(w) {
		w.abort()
		c.finish(ErrClosed)
		return
	}
	c.finish(c.read(nc))
}

func (t *Transport) connect(ctx context.Context, c *conn) (net.Conn, error) {
	var laddr netip.AddrPort
	if l := t.listenerOf(c.flow); l != nil && !l.addr.Addr().IsUnspecified() {
		laddr = netip.AddrPortFrom(l.addr.Addr(), 0)
	}
	nc, err := t.dialTCP(ctx, laddr, c.flow.Remote)
	if err != nil || c.flow.Net != TLS {
		return nc, err
	}
	return t.dialTLS(ctx, nc, c.flow.Remote)
}
