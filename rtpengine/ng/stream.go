package ng

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	maxConns = 256 // TCP, HTTP and WebSocket together
	// halfTime is how long half a message, or an answer that nobody reads, may stay.
	halfTime = 10 * time.Second
	// maxAnswers may wait for a peer to read them; then it is too slow and its connection ends. It asks again over another one.
	maxAnswers = 256
)

var errSlow = errors.New("the answers are not read")

// door is a listener of TCP, HTTP or WebSocket.
type door struct {
	net.Listener
	network string
}

// serve takes connections until the door is closed.
func (s *Server) serve(ctx context.Context, d door) error {
	if d.network == "http" {
		return s.serveHTTP(ctx, d)
	}
	var streams sync.WaitGroup
	defer streams.Wait()
	for {
		conn, err := d.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		streams.Go(func() {
			defer conn.Close()
			s.stream(ctx, conn)
		})
	}
}

// guarded lets in who may command, as long as there are not too many.
type guarded struct {
	net.Listener
	server *Server
}

func (s *Server) guarding(l net.Listener) net.Listener { return guarded{l, s} }

// Accept gives the next connection that is let in. What keeps the kernel from giving one, like too many open files, passes: it waits.
func (g guarded) Accept() (net.Conn, error) {
	for faults := 0; ; {
		conn, err := g.Listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil, err
			}
			g.server.count.faults.Add(1)
			if faults++; faults == maxFaults {
				return nil, err
			}
			time.Sleep(50 * time.Millisecond)
			continue
		}
		faults = 0
		if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); !ok || !g.server.admits(hostOf(tcp.AddrPort()), tcp) {
			_ = conn.Close()
			continue
		}
		select {
		case g.server.slots <- struct{}{}:
			return &slot{Conn: conn, server: g.server}, nil
		default:
			g.server.count.full.Add(1)
			_ = conn.Close()
		}
	}
}

// slot is a connection that counts.
type slot struct {
	net.Conn
	server *Server
	once   sync.Once
}

// Close closes the connection and makes room for another one.
func (c *slot) Close() error {
	c.once.Do(func() { <-c.server.slots })
	return c.Conn.Close()
}

// stream answers what comes over one TCP connection, until it ends.
func (s *Server) stream(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	back := &answers{peer: conn.RemoteAddr().String(), queue: make(chan []byte, maxAnswers), cancel: cancel}
	var writer sync.WaitGroup
	defer writer.Wait()
	defer cancel()
	writer.Go(func() {
		defer conn.Close() // wakes the reader
		if back.write(ctx, func(answer []byte) error {
			_ = conn.SetWriteDeadline(time.Now().Add(halfTime))
			_, err := conn.Write(answer)
			return err
		}) != nil {
			s.count.faults.Add(1)
		}
	})
	tcp, _ := conn.RemoteAddr().(*net.TCPAddr)
	if err := s.readStream(ctx, conn, hostOf(tcp.AddrPort()), back); err != nil {
		s.count.malformed.Add(1)
		s.log.Debug("an NG connection ends", "peer", back.peer, "error", err)
	}
}

// readStream hands over messages until the connection ends; the error says what was wrong with it.
func (s *Server) readStream(ctx context.Context, conn net.Conn, host netip.Addr, back *answers) error {
	var f framer
	buffer := make([]byte, 0, 4096)
	timed := false // the message that has begun
	for {
		switch begun := len(buffer) > 0; {
		case begun && !timed: // from its first bytes on, however slowly the others come
			_ = conn.SetReadDeadline(time.Now().Add(halfTime))
			timed = true
		case !begun:
			_ = conn.SetReadDeadline(time.Time{})
			timed = false
		}
		if len(buffer) >= maxMessage {
			return errors.New("the message is too long")
		}
		if len(buffer) == cap(buffer) {
			buffer = slices.Grow(buffer, len(buffer))
		}
		n, err := conn.Read(buffer[len(buffer):cap(buffer)])
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				s.count.slow.Add(1)
			}
			return nil
		}
		buffer = buffer[:len(buffer)+n]
		for {
			if f.pos == 0 {
				buffer = buffer[:copy(buffer, bytes.TrimLeft(buffer, " \r\n"))]
			}
			end, err := f.end(buffer)
			if err != nil {
				return err
			}
			if end == 0 {
				break
			}
			select {
			case s.inbox <- request{back: back, host: host, packet: slices.Clone(buffer[:end])}:
			case <-ctx.Done():
				return nil
			}
			buffer = buffer[:copy(buffer, buffer[end:])]
			timed = false
		}
	}
}

// answers are those that wait for a connection to take them.
type answers struct {
	peer   string
	queue  chan []byte
	cancel context.CancelFunc // ends the connection
}

func (a *answers) tell(answer []byte) error {
	select {
	case a.queue <- answer:
		return nil
	default:
		a.cancel()
		return errSlow
	}
}

func (*answers) room() int { return maxMessage }

func (a *answers) String() string { return a.peer }

// write sends answers as they come until ctx ends or one cannot be sent.
func (a *answers) write(ctx context.Context, send func([]byte) error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case answer := <-a.queue:
			if err := send(answer); err != nil {
				a.cancel()
				return err
			}
		}
	}
}
