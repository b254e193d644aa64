package cluster

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// maxRequests bounds the requests of one connection that are being answered; further ones get ErrBusy.
const maxRequests = 256

// callTimeout is how long a request may take here when nothing else ends it.
const callTimeout = 30 * time.Second

// Handler answers a request of another node; from is its name, proved by its certificate. It runs in a goroutine of its own, several at
// once, and must return when ctx ends. An error is told to the other node: as ErrBusy, ErrNotLeader, ErrClosed or ErrNoHandler when it wraps one of
// these, else as its text.
type Handler func(ctx context.Context, from string, payload []byte) ([]byte, error)

// Receiver takes a message of another node. Messages of one node come one at a time, in the order they were sent, and hold up what that
// node sends besides: a Receiver must not block.
type Receiver func(from string, payload []byte)

// callCounts count what goes between the nodes besides Raft.
type callCounts struct {
	calls, callErrors, sent, sendErrors atomic.Uint64
	answered, received, unknown, panics atomic.Uint64
}

// Call asks another node and waits for its answer. The errors that another node answers with may be told from ErrBusy, ErrNotLeader, ErrClosed and
// ErrNoHandler; ErrUnreachable says that no answer came, and so nothing about whether the request was carried out. It waits for a connection
// as long as ctx allows. payload is at most MaxPayload bytes. Any goroutine.
func (c *Cluster) Call(ctx context.Context, node, kind string, payload []byte) ([]byte, error) {
	c.counts.calls.Add(1)
	answer, err := c.call(ctx, node, kind, payload)
	if err != nil {
		c.counts.callErrors.Add(1)
		return nil, fmt.Errorf("cluster: ask node %s for %s: %w", node, kind, err)
	}
	return answer, nil
}

func (c *Cluster) call(ctx context.Context, node, kind string, payload []byte) ([]byte, error) {
	l, err := c.link(node, kind, payload)
	if err != nil {
		return nil, err
	}
	t, err := l.connected(ctx)
	if err != nil {
		return nil, err
	}
	return t.ask(ctx, kind, payload)
}

// Send tells another node something and waits for nothing. Messages to one node arrive in the order they were sent, or not: when the connection
// breaks, what was on its way is lost. ErrUnreachable and ErrBusy say that it was not even sent. It never blocks. Any goroutine.
func (c *Cluster) Send(node, kind string, payload []byte) error {
	l, err := c.link(node, kind, payload)
	if err == nil {
		err = l.send(kind, payload)
	}
	if err != nil {
		c.counts.sendErrors.Add(1)
		return fmt.Errorf("cluster: tell node %s about %s: %w", node, kind, err)
	}
	c.counts.sent.Add(1)
	return nil
}

func (c *Cluster) link(node, kind string, payload []byte) (*link, error) {
	if len(kind) > maxKind || len(payload) > MaxPayload {
		return nil, ErrTooLarge
	}
	c.linksMu.Lock()
	defer c.linksMu.Unlock()
	l := c.links[node]
	if l == nil {
		return nil, ErrNoNode
	}
	return l, nil
}

// serveCalls answers one connection until it ends.
func (c *Cluster) serveCalls(conn *tls.Conn, from peer) {
	out := newOutgoing()
	ctx, cancel := context.WithCancel(context.Background())
	room := make(chan struct{}, maxRequests)
	var wg sync.WaitGroup
	wg.Go(func() { out.run(conn) })
	in := bufio.NewReaderSize(conn, 64<<10)
	for {
		f, err := readFrame(in)
		if err != nil {
			break
		}
		switch f.typ {
		case frameMessage:
			c.receive(from.node, f)
		case frameRequest:
			select {
			case room <- struct{}{}:
				wg.Go(func() {
					_ = out.put(c.answer(ctx, from.node, f)) // the asker goes when it is full
					<-room
				})
			default:
				_ = out.put(frame{typ: frameFault, id: f.id, payload: faultOf(ErrBusy)})
			}
		default:
			conn.NetConn().Close()
		}
	}
	cancel()
	out.close()
	conn.NetConn().Close()
	wg.Wait()
}

func (c *Cluster) receive(from string, f frame) {
	receiver, ok := c.receivers[f.kind]
	if !ok {
		c.counts.unknown.Add(1)
		return
	}
	c.counts.received.Add(1)
	defer c.recovered(from, f.kind, nil)
	receiver(from, f.payload)
}

func (c *Cluster) answer(ctx context.Context, from string, f frame) (out frame) {
	handler, ok := c.handlers[f.kind]
	if !ok {
		c.counts.unknown.Add(1)
		return frame{typ: frameFault, id: f.id, payload: faultOf(fmt.Errorf("%w for %q: its version is another one", ErrNoHandler, f.kind))}
	}
	c.counts.answered.Add(1)
	defer c.recovered(from, f.kind, func() { out = frame{typ: frameFault, id: f.id, payload: faultOf(errPanic)} })
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	payload, err := handler(ctx, from, f.payload)
	if err == nil && len(payload) > MaxPayload {
		err = ErrTooLarge
	}
	if err != nil {
		return frame{typ: frameFault, id: f.id, payload: faultOf(err)}
	}
	return frame{typ: frameAnswer, id: f.id, payload: payload}
}

// recovered is deferred around handlers: a mistake in one ends that request and no more.
func (c *Cluster) recovered(from, kind string, answer func()) {
	if p := recover(); p != nil {
		c.counts.panics.Add(1)
		c.log.Error("a handler of the cluster failed", "node", from, "kind", kind, "panic", p, "stack", string(debug.Stack()))
		if answer != nil {
			answer()
		}
	}
}
