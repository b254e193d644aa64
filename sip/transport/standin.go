package transport

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// A Foreign is a listener of another node: one that phones send to still, though the node is gone.
type Foreign struct {
	Net       Net
	Addr      netip.AddrPort
	Advertise string // what the node had in place of the address in its headers, "" for none
}

// A StandIn listens in the place of another node. What comes there is handled as if it had come to a listener of our own, answers leave from
// there, and its address counts as ours in Route and Via.
type StandIn struct {
	t      *Transport
	l      *listener // nil where a listener of ours hears the address anyway
	serves bool      // under listen
}

// adoption is the time that a listener of another node's address is here.
type adoption struct {
	over    atomic.Bool
	readers sync.WaitGroup
}

// gone tells whether a listener was here and is so no more.
func (l *listener) gone() bool { return l.adopted != nil && l.adopted.over.Load() }

// ErrNotRunning is StandIn's before Listen, and behind Run.
var ErrNotRunning = errors.New("the transport does not listen")

// StandIn binds an address of another node, until the StandIn is ended or Run is. What comes there waits until Serve, so that the calls of
// that node can be here before. An address that a listener of ours hears
// already (it is bound to all addresses, and the machine has got this one) costs nothing. WS and WSS are those that have listeners of their own;
// connections of a web server come by ServeWebSocket, whoever it listens for. Any goroutine that is not a shard's. Errors: ErrNotRunning, those
// of bind.
func (t *Transport) StandIn(f Foreign) (*StandIn, error) {
	t.listen.Lock()
	defer t.listen.Unlock()
	if !t.listen.done || t.listen.closed || t.stopping() {
		return nil, ErrNotRunning
	}
	f.Addr = unmap(f.Addr)
	if t.hears(f) {
		t.addrs.interfaces.Store(readInterfaces()) // the address is newer than the last look
		return &StandIn{t: t}, nil
	}
	l := &listener{net: f.Net, adopted: &adoption{}}
	l.advertise, l.advertiseIP = advertised(f.Advertise)
	list := t.listeners.all()
	at := slices.IndexFunc(list, func(o *listener) bool { return o.gone() && o.net == f.Net && o.addr == f.Addr })
	if at < 0 && len(list) >= maxListeners {
		return nil, fmt.Errorf("more than %d listeners", maxListeners)
	}
	if err := t.open(l, f.Addr.String()); err != nil {
		return nil, listenError(f.Net, f.Addr.String(), err)
	}
	if at < 0 {
		t.add(l)
	} else { // it was ours before
		l.index, l.host = uint16(at), f.Addr.Addr().String()
		list = slices.Clone(list)
		list[at] = l
		t.listeners.store(list)
	}
	t.addrs.know(t.listeners.all())
	return &StandIn{t: t, l: l}, nil
}

// Serve takes in what comes, and what has come since the address was bound. Any goroutine; once it has ended, or Run has, it does nothing.
func (s *StandIn) Serve() {
	t, l := s.t, s.l
	t.listen.Lock()
	defer t.listen.Unlock()
	if l == nil || s.serves || l.gone() || t.stopping() {
		return
	}
	s.serves = true
	t.serve(l, func(fn func() error) {
		t.listen.late.Add(1)
		l.adopted.readers.Go(func() {
			defer t.listen.late.Done()
			if err := fn(); err != nil { // the others go on
				t.cfg.Log.Error("a listener at the address of another node has failed", "net", l.net.String(), "address", l.addr, "error", err)
			}
		})
	})
}

// hears tells whether a listener of ours takes what is sent to an address.
func (t *Transport) hears(f Foreign) bool {
	return slices.ContainsFunc(t.listeners.all(), func(l *listener) bool {
		ip := l.addr.Addr()
		return !l.web && !l.gone() && l.net == f.Net && l.addr.Port() == f.Addr.Port() &&
			(ip == f.Addr.Addr() || ip.IsUnspecified() && ip.Is4() == f.Addr.Addr().Is4())
	})
}

// End stops listening, ends the connections that came there and gives the address back. It waits for the shards, as long as ctx lasts; a socket
// that one of them may still write to is then closed with Run. Any goroutine that is not a shard's. It may be called again.
func (s *StandIn) End(ctx context.Context) error {
	t, l := s.t, s.l
	if l == nil || !l.adopted.over.CompareAndSwap(false, true) {
		return nil
	}
	t.listen.Lock()
	closed := t.listen.closed
	if !closed {
		t.addrs.know(t.listeners.all())
		l.interrupt()
	}
	t.listen.Unlock()
	if closed {
		return nil
	}
	l.adopted.readers.Wait()
	for _, c := range t.conns.all() {
		if c.flow.index() == int(l.index) {
			c.end(ErrClosed)
		}
	}
	for _, sh := range t.shards {
		if err := sh.Do(ctx, func() { sh.forget(l) }); errors.Is(err, ErrClosed) {
			break // Run closes what is left
		} else if err != nil {
			return err
		}
	}
	t.listen.Lock()
	defer t.listen.Unlock()
	if !t.listen.closed {
		l.close()
	}
	return nil
}
