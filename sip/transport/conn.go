package transport

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"
)

// errSlowReader ends a connection whose peer does not take what it is sent.
var errSlowReader = errors.New("the peer does not read what it is sent")

// A wire is what a connection writes to: bytes of a stream or WebSocket messages.
type wire interface {
	// write sends messages: buf[:ends[0]], buf[ends[0]:ends[1]] and so on.
	write(buf []byte, ends []int) error
	// farewell tells the peer that the end is meant (TLS close_notify). It may block for a second.
	farewell()
	// abort ends the connection at once, even under a write; it does not block.
	abort()
}

// A conn is one stream connection. One goroutine reads it, from accept or dial to its end; writing is done by a goroutine
// that lives as long as there is something to write. Shards only put bytes into its queue.
type conn struct {
	t        *Transport
	flow     Flow
	local    netip.AddrPort // set before the connection is in the table (accepted) or before the wire is (dialled)
	outbound bool
	cancel   context.CancelFunc // stops dialling; nil when accepted

	mu      sync.Mutex
	wire    wire // nil while connecting
	queue   []byte
	ends    []int
	spare   []byte
	spareTo []int
	writing bool
	ended   bool
	err     error
	idle    chan struct{} // closed when the writer has nothing left; nil when nobody waits
}

func (c *conn) gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// open tells whether the connection has come about and not ended.
func (c *conn) open() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wire != nil && !c.ended
}

// send queues one message. A queue that is full ends the connection: its peer has stopped reading, and what it is told later
// would be of no use to it.
func (c *conn) send(msg []byte) error {
	c.mu.Lock()
	switch {
	case c.ended:
		c.mu.Unlock()
		return ErrFlowGone
	case len(c.queue)+len(msg) > c.t.limits().WriteQueue:
		c.mu.Unlock()
		if c.end(errSlowReader) {
			c.t.count.slowReaders.Add(1)
			c.t.notices.slowReader.say(c.t.cfg.Log, time.Now(), "net", c.flow.Net.String(), "peer", c.flow.Remote)
		}
		return ErrFlowGone
	}
	c.queue = append(c.queue, msg...)
	c.ends = append(c.ends, len(c.queue))
	c.startWriter()
	c.mu.Unlock()
	return nil
}

// startWriter is called with mu held. The connection's reading goroutine is still counted in the table's WaitGroup, for
// it ends only after ended is set.
func (c *conn) startWriter() {
	if c.writing || c.wire == nil || c.ended || len(c.queue) == 0 {
		return
	}
	c.writing = true
	c.t.conns.wg.Add(1)
	go c.writer(c.wire)
}

// keepBuffer is the largest write buffer that an idle connection keeps.
const keepBuffer = 4 << 10

func (c *conn) writer(w wire) {
	defer c.t.conns.wg.Done()
	c.mu.Lock()
	for len(c.queue) > 0 && !c.ended {
		buf, ends := c.queue, c.ends
		c.queue, c.ends = c.spare[:0], c.spareTo[:0]
		c.mu.Unlock()
		err := w.write(buf, ends)
		if err != nil {
			c.end(err)
		}
		c.mu.Lock()
		c.spare, c.spareTo = buf, ends
	}
	if cap(c.queue) > keepBuffer {
		c.queue = nil
	}
	if cap(c.spare) > keepBuffer {
		c.spare = nil
	}
	c.writing = false
	if c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
	c.mu.Unlock()
}

// connected gives a dialled connection its wire; what was queued meanwhile goes out. It reports whether the connection was
// ended before.
func (c *conn) connected(w wire) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.wire = w
	c.startWriter()
	return true
}

// drain waits until everything queued was written, at most for d.
func (c *conn) drain(d time.Duration) {
	c.mu.Lock()
	if !c.writing || c.ended {
		c.mu.Unlock()
		return
	}
	if c.idle == nil {
		c.idle = make(chan struct{})
	}
	idle := c.idle
	c.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
}

// end breaks the connection off and tells whether it was not ended before. The reading goroutine notices and does the rest.
// Any goroutine; it does not block.
func (c *conn) end(err error) bool {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return false
	}
	c.ended, c.err = true, err
	w := c.wire
	c.mu.Unlock()
	if c.cancel != nil {
		c.cancel()
	}
	if w != nil {
		w.abort()
	}
	return true
}

// abandon ends a connection that has no wire yet.
func (c *conn) abandon() bool {
	c.mu.Lock()
	if c.wire != nil || c.cancel == nil {
		c.mu.Unlock()
		return false
	}
	if !c.ended {
		c.ended, c.err = true, ErrNotConnected
	}
	c.mu.Unlock()
	c.cancel()
	return true
}

// part says farewell and ends the connection.
func (c *conn) part(err error) {
	c.mu.Lock()
	w, ended := c.wire, c.ended
	c.mu.Unlock()
	if w != nil && !ended {
		w.farewell()
	}
	c.end(err)
}

// finish is the last thing the reading goroutine does.
func (c *conn) finish(err error) {
	c.part(err)
	c.mu.Lock()
	err = c.err
	c.mu.Unlock()
	c.t.conns.leave(c, err)
}

// deliver hands one message to its shard, waiting for room when the shard has none: a stream has back-pressure, and what is
// dropped on it would never be sent again.
func (c *conn) deliver(r *refusal, b []byte, now time.Time) error {
	t := c.t
	if err := c.admitted(now); err != nil {
		return err
	}
	t.count.streamMessages.Add(1)
	it, shard := t.itemOf(b, c.flow, now)
	v, waited := t.shards[shard].in.putWait(&it, t.dead)
	if waited {
		t.count.backPressure.Add(1)
	}
	switch v {
	case shed, shedLate:
		short := shortage{shed: 1}
		if v == shedLate {
			short.late = 1
		}
		t.overloaded(shard, short, now)
		if answer := r.answer(it.Text, c.flow, 503); answer != nil {
			_ = c.send(answer)
		}
	case stopped:
		return ErrClosed
	}
	return nil
}

// slowDown is how long a stream that sends too fast is not read.
const slowDown = 50 * time.Millisecond

// admitted waits until the guard lets a message in. What a stream sends too fast is not lost but left in the socket, until the
// peer's own writes block.
func (c *conn) admitted(now time.Time) error {
	g, ip := c.t.cfg.Guard, c.flow.Remote.Addr()
	for g != nil && !g.AllowAt(ip, now) {
		if g.Banned(ip, now) {
			return errGuarded
		}
		timer := time.NewTimer(slowDown)
		select {
		case <-timer.C:
		case <-c.t.dead:
			timer.Stop()
			return ErrClosed
		}
		now = time.Now()
	}
	return nil
}

var errGuarded = errors.New("the source is banned or sends too much")
