package turn

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// doorman bounds the stream connections of one listener: in all, from one address, and in the time that they may say nothing.
type doorman struct {
	net.Listener
	s   *Server
	tls *tls.Config // nil: plain TCP

	mu   sync.Mutex
	open map[*caller]struct{}
	from map[netip.Addr]int
}

// An allocation is refreshed every ten minutes at the latest; who says nothing for longer is gone. A new connection speaks at once.
const (
	firstWord = 10 * time.Second
	nextWord  = 11 * time.Minute
)

func newDoorman(l net.Listener, s *Server, t *tls.Config) *doorman {
	return &doorman{Listener: l, s: s, tls: t, open: map[*caller]struct{}{}, from: map[netip.Addr]int{}}
}

// Accept gives the next connection that is within bounds; the others are closed.
func (d *doorman) Accept() (net.Conn, error) {
	for {
		conn, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := d.admit(conn); c != nil {
			return c, nil
		}
		d.s.count.refused.Add(1)
		_ = conn.Close()
	}
}

func (d *doorman) admit(conn net.Conn) *caller {
	addr := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open == nil || len(d.open) >= d.s.cfg.Connections || d.from[addr] >= d.s.cfg.ConnectionsPerIP {
		return nil
	}
	if d.tls != nil {
		conn = tls.Server(conn, d.tls)
	}
	c := &caller{Conn: conn, at: d, addr: addr}
	_ = conn.SetReadDeadline(time.Now().Add(firstWord))
	d.open[c] = struct{}{}
	d.from[addr]++
	d.s.count.connections.Add(1)
	return c
}

// Close ends the listener and its connections.
func (d *doorman) Close() error {
	err := d.Listener.Close()
	d.mu.Lock()
	all := d.open
	d.open = nil
	d.mu.Unlock()
	for c := range all {
		_ = c.Close()
	}
	return err
}

// caller is one admitted connection. Over TLS its first Read shakes hands. The server above forgets to close some of those that fail, so a
// failed Read closes.
type caller struct {
	net.Conn
	at   *doorman
	addr netip.Addr
	once sync.Once
}

// Read moves the deadline with every word.
func (c *caller) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		_ = c.Close()
	} else {
		_ = c.SetReadDeadline(time.Now().Add(nextWord))
	}
	return n, err
}

// Close leaves the books.
func (c *caller) Close() error {
	c.once.Do(func() {
		d := c.at
		d.mu.Lock()
		delete(d.open, c)
		if d.from[c.addr]--; d.from[c.addr] <= 0 {
			delete(d.from, c.addr)
		}
		d.mu.Unlock()
		d.s.count.connections.Add(-1)
	})
	return c.Conn.Close()
}

// datagrams is a UDP listener that outlives a failed read; the server above takes any error for the end.
type datagrams struct {
	net.PacketConn
	s *Server
}

// maxFaults in a row end a listener: its socket is broken.
const maxFaults = 100

func (d *datagrams) ReadFrom(b []byte) (n int, from net.Addr, err error) {
	for range maxFaults {
		if n, from, err = d.PacketConn.ReadFrom(b); err == nil || errors.Is(err, net.ErrClosed) {
			return n, from, err
		}
		d.s.count.faults.Add(1)
	}
	d.s.log.Error("a TURN listener has ended", "address", d.LocalAddr().String(), "error", err)
	return n, from, err
}
