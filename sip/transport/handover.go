package transport

import (
	"net"
	"net/netip"
	"os"
	"slices"
)

// A Place is a Flow as another process understands it: the listener by its address instead of its number. A connection has no place in
// another process; what is left of it says who was at its other end.
type Place struct {
	Net      Net
	Listener netip.AddrPort // zero: there was none
	Source   netip.Addr     // the address of ours that the peer talks to, zero when the routing table says it; see Flow
	Remote   netip.AddrPort
	Holder   Holder // of a flow that another node holds: it means the same in every process
}

// A Holder says which flow of another node one is.
type Holder struct {
	Node     uint32 // see Flow
	Listener uint16
	Conn     uint64
}

// PlaceOf tells where a flow is, for FlowAt in another process.
func (t *Transport) PlaceOf(f Flow) Place {
	if f.Node != 0 {
		return Place{Net: f.Net, Remote: f.Remote, Holder: Holder{f.Node, f.Listener, f.Conn}}
	}
	p := Place{Net: f.Net, Source: t.addrs.source(f.source()).ip, Remote: f.Remote}
	if l := t.listenerOf(f); l != nil && !l.web {
		p.Listener = l.addr
	}
	return p
}

// FlowAt is the flow at a place that another process told of. One of UDP is as good as it was there; a connection is gone, and its flow
// stays dead. It wants Listen to have been called.
func (t *Transport) FlowAt(p Place) Flow {
	if h := p.Holder; h.Node != 0 {
		f := Flow{Net: p.Net, Listener: h.Listener, Conn: h.Conn, Remote: p.Remote, Node: h.Node}
		if h.Node == t.cfg.Self {
			f.Node = 0
		}
		return f
	}
	f := Flow{Net: p.Net, Listener: noListener, Remote: p.Remote}
	list := t.listeners.all()
	at := slices.IndexFunc(list, func(l *listener) bool { return !l.web && !l.gone() && l.net == p.Net && l.addr == p.Listener })
	if one := netip.AddrPortFrom(p.Source, p.Listener.Port()); at < 0 && p.Source.IsValid() { // it was heard at all addresses there, and is at its own here
		at = slices.IndexFunc(list, func(l *listener) bool { return !l.web && !l.gone() && l.net == p.Net && l.addr == one })
	}
	if at < 0 && p.Net == UDP {
		if l := t.listenerTowards(UDP, p.Remote.Addr()); l != nil {
			at = int(l.index)
		}
	}
	if at < 0 {
		return f
	}
	f.Listener = uint16(at)
	if p.Net == UDP && p.Source.IsValid() && list[at].addr.Addr().IsUnspecified() {
		f.Listener |= uint16(t.addrs.learn(p.Source)) << 8
	}
	return f
}

// A Socket is one that a process gives to its successor: what waits in it is not lost, and nobody is refused meanwhile.
type Socket struct {
	Net  Net
	Addr netip.AddrPort
	File *os.File // the receiver's to close
}

// Sockets are copies of all that is listened on, for another process of this machine. Both then share what comes in. Systems and networks
// that cannot give sockets away give none.
func (t *Transport) Sockets() ([]Socket, error) {
	var out []Socket
	add := func(l *listener, f *os.File, err error) error {
		if f != nil {
			out = append(out, Socket{l.net, l.addr, f})
		}
		return err
	}
	for _, l := range t.bound() {
		if l.gone() {
			continue
		}
		for _, s := range l.sockets() {
			if g, ok := s.(interface{ copied() (*os.File, error) }); ok {
				f, err := g.copied()
				if err := add(l, f, err); err != nil {
					closeSockets(out)
					return nil, err
				}
			}
		}
		if tl, ok := l.stream.(*net.TCPListener); ok {
			f, err := tl.File()
			if err := add(l, f, err); err != nil {
				closeSockets(out)
				return nil, err
			}
		}
	}
	return out, nil
}

func closeSockets(list []Socket) {
	for _, s := range list {
		_ = s.File.Close()
	}
}

// Adopt gives Listen sockets of a predecessor: where the address of one is to be listened on, it is taken instead of a new one. Those that
// are not needed are closed. Before Listen.
func (t *Transport) Adopt(list []Socket) { t.adopted = list }

// inherited takes the adopted sockets of an address out of the list.
func (t *Transport) inherited(n Net, addr string) (files []*os.File) {
	want, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil
	}
	t.adopted = slices.DeleteFunc(t.adopted, func(s Socket) bool {
		mine := s.Net == n && s.Addr.Port() == want.Port() && s.Addr.Addr().Unmap() == want.Addr().Unmap()
		if mine {
			files = append(files, s.File)
		}
		return mine
	})
	return files
}

// adoptStream makes a listener of an adopted socket.
func adoptStream(files []*os.File) (net.Listener, error) {
	l, err := net.FileListener(files[0])
	for _, f := range files {
		_ = f.Close()
	}
	return l, err
}

// Ended is closed when the shards have ended: nothing is handled and nothing comes in any more, connections may still write what they hold.
func (t *Transport) Ended() <-chan struct{} { return t.dead }
