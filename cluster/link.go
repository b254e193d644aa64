package cluster

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Pauses between two attempts to reach a node.
const (
	redialFirst = 20 * time.Millisecond
	redialLast  = time.Second
)

// link is this node's way to one other node: it dials until it is connected, and carries what this node has to say. What the other one has to
// say comes over its own link.
type link struct {
	c    *Cluster
	node string
	stop context.CancelFunc
	kick chan struct{} // a token: ping now
	anew chan struct{} // a token: connect now

	mu      sync.Mutex
	address string
	attempt context.CancelFunc // ends the attempt to connect that is under way
	talk    *talk              // nil while there is no connection
	changed chan struct{}      // closed when talk changes
	health  health
}

// talk is one connection, from the side that dialled.
type talk struct {
	conn  *tls.Conn
	out   *outgoing
	began time.Time

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan<- reply
	dead    bool
}

type reply struct {
	payload []byte
	err     error
}

func newLink(c *Cluster, node, address string) *link {
	return &link{c: c, node: node, address: address, changed: make(chan struct{}), kick: make(chan struct{}, 1), anew: make(chan struct{}, 1), health: health{known: time.Now()}}
}

// run keeps the connection up until ctx ends.
func (l *link) run(ctx context.Context) {
	pause := redialFirst
	for ctx.Err() == nil {
		began := time.Now()
		if conn, err := l.dialTalk(ctx); err == nil {
			l.carry(ctx, conn)
			if time.Since(began) > redialLast {
				pause = redialFirst
			}
		}
		select {
		case <-time.After(pause):
		case <-l.anew:
			pause = redialFirst
			continue
		case <-ctx.Done():
		}
		pause = min(2*pause, redialLast)
	}
}

func (l *link) dialTalk(ctx context.Context) (*tls.Conn, error) {
	attempt, stop := context.WithCancel(ctx)
	defer stop()
	l.mu.Lock()
	l.attempt = stop
	l.mu.Unlock()
	return l.c.port.dial(attempt, l.node, l.target(), protoCall)
}

// revive has all connections to the node made anew that are older than its silence: where bytes were lost they stand still until TCP sends again, and its pauses have
// grown with the silence. What stands still may be a vote, or the changes that a phone waits for.
func (l *link) revive(silent time.Time) {
	l.mu.Lock()
	t, stop := l.talk, l.attempt
	l.mu.Unlock()
	if stop != nil {
		stop() // of no effect on a connection that is there
	}
	if t != nil && t.began.Before(silent) {
		t.conn.NetConn().Close()
	}
	signal(l.anew)
	l.c.port.rafts.renew(l.node, silent)
}

func (l *link) target() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.address
}

func (l *link) move(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.address != address {
		l.address = address
		if l.talk != nil {
			l.talk.conn.Close()
		}
	}
}

// carry uses one connection until it ends.
func (l *link) carry(ctx context.Context, conn *tls.Conn) {
	t := &talk{conn: conn, out: newOutgoing(), began: time.Now(), waiting: map[uint64]chan<- reply{}}
	stop := context.AfterFunc(ctx, func() { conn.NetConn().Close() })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { t.out.run(conn) })
	l.set(t)
	t.read()
	t.out.close()
	conn.NetConn().Close() // no farewell: the other end may hang
	wg.Wait()
	t.fail()
	l.set(nil)
	signal(l.c.relink)
}

func (l *link) set(t *talk) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.talk = t
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *link) state() (*talk, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.talk, l.changed
}

// connected waits for a connection.
func (l *link) connected(ctx context.Context) (*talk, error) {
	for {
		t, changed := l.state()
		if t != nil {
			return t, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("cluster: node %s: %w: %w", l.node, ErrUnreachable, context.Cause(ctx))
		}
	}
}

// send queues a message, if there is a connection.
func (l *link) send(kind string, payload []byte) error {
	t, _ := l.state()
	if t == nil {
		return fmt.Errorf("cluster: node %s: %w", l.node, ErrUnreachable)
	}
	return t.out.put(frame{typ: frameMessage, kind: kind, payload: payload})
}

// read takes answers until the connection ends.
func (t *talk) read() {
	in := bufio.NewReaderSize(t.conn, 32<<10)
	for {
		f, err := readFrame(in)
		if err != nil {
			return
		}
		t.mu.Lock()
		ch := t.waiting[f.id]
		delete(t.waiting, f.id)
		t.mu.Unlock()
		if ch == nil {
			continue // nobody waits for it any more
		}
		switch f.typ {
		case frameAnswer:
			ch <- reply{payload: f.payload}
		case frameFault:
			ch <- reply{err: faultError(f.payload)}
		default:
			return
		}
	}
}

// fail tells all who wait that no answer will come.
func (t *talk) fail() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dead = true
	for _, ch := range t.waiting {
		ch <- reply{err: fmt.Errorf("%w: the connection broke before the answer", ErrUnreachable)}
	}
	t.waiting = nil
}

// ask sends a request and waits for its answer.
func (t *talk) ask(ctx context.Context, kind string, payload []byte) ([]byte, error) {
	ch := make(chan reply, 1)
	t.mu.Lock()
	if t.dead {
		t.mu.Unlock()
		return nil, ErrUnreachable
	}
	t.next++
	id := t.next
	t.waiting[id] = ch
	t.mu.Unlock()
	if err := t.out.put(frame{frameRequest, id, kind, payload}); err != nil {
		t.drop(id)
		return nil, err
	}
	select {
	case r := <-ch:
		return r.payload, r.err
	case <-ctx.Done():
		t.drop(id)
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, context.Cause(ctx))
	}
}

func (t *talk) drop(id uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.waiting, id)
}

// askOnce asks the node at an address over a connection of its own: for those that are not members yet, which have no links.
func (p *port) askOnce(ctx context.Context, address, kind string, payload []byte) ([]byte, error) {
	conn, err := p.dial(ctx, "", address, protoCall)
	if err != nil {
		return nil, err
	}
	return converse(ctx, conn, kind, payload)
}

// converse asks one thing over conn and closes it.
func converse(ctx context.Context, conn *tls.Conn, kind string, payload []byte) ([]byte, error) {
	t := &talk{conn: conn, out: newOutgoing(), waiting: map[uint64]chan<- reply{}}
	var wg sync.WaitGroup
	wg.Go(func() { t.out.run(conn) })
	wg.Go(func() { t.read(); t.fail() })
	defer wg.Wait()
	defer t.out.close()
	defer conn.NetConn().Close()
	return t.ask(ctx, kind, payload)
}

// Codes of faults. They are part of the protocol.
const (
	faultOther     = 0
	faultBusy      = 1
	faultNotLeader = 2
	faultKind      = 3
	faultClosed    = 4
)

var faults = map[byte]error{faultBusy: ErrBusy, faultNotLeader: ErrNotLeader, faultKind: ErrNoHandler, faultClosed: ErrClosed}

func faultOf(err error) []byte {
	code := byte(faultOther)
	for c, e := range faults {
		if errors.Is(err, e) {
			code = c
		}
	}
	text := err.Error()
	return append([]byte{code}, text[:min(len(text), 4096)]...)
}

// remoteError is what another node answered, in its words.
type remoteError struct {
	text string
	kind error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }

func faultError(payload []byte) error {
	if len(payload) == 0 {
		return &remoteError{text: "the other node failed without saying why"}
	}
	return &remoteError{string(payload[1:]), faults[payload[0]]}
}
