package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// patience is how long a change waits for a leader. A phone asks again after two seconds or more (RFC 3261 §17.1.2.1: the third
	// transmission), and should have its 503 before.
	patience = 1800 * time.Millisecond
	// outcome is how long a change that a leader has may be without result.
	outcomeWait = 5 * time.Second
	// retryEvery is the pause before a leader that could not be reached, or said no, is tried again.
	retryEvery = 10 * time.Millisecond
	// stopWait is how long a node that stops waits for what it has given to another.
	stopWait = time.Second
)

// item is one proposed command, from Propose until its outcome is known on this node.
type item struct {
	seq     uint64
	machine string
	cmd     []byte
	done    func(result any, err error)
	began   time.Time
	sent    int   // how often a leader has had it: it may be in the log
	over    bool  // the outcome is known
	cause   error // of the last attempt that failed
}

// outbox holds what was proposed on this node, in order, until it was applied on this node or given up. The items before next have been
// given to the present leader. When leaders change all are given to the new one, in the same order; the machines of all nodes
// skip what they have applied already (origins.go).
type outbox struct {
	wake    chan struct{} // a token: there is something to send, or the end
	settled chan struct{} // a token: outcomes wait for the settler

	mu          sync.Mutex
	incarnation uint64
	seq         uint64
	items       []*item
	next        int
	byID        map[uint64]*item
	bytes       int
	outcomes    []outcome
	closed      bool
	maxItems    int
	maxBytes    int
}

type outcome struct {
	it     *item
	result any
	err    error
}

func newOutbox(incarnation uint64, items, bytes int) *outbox {
	return &outbox{
		wake: make(chan struct{}, 1), settled: make(chan struct{}, 1), incarnation: incarnation, byID: map[uint64]*item{}, maxItems: items, maxBytes: bytes,
	}
}

// put takes a proposal, or refuses it: it never blocks.
func (o *outbox) put(machine string, cmd []byte, done func(any, error)) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return ErrClosed
	}
	if len(o.byID) >= o.maxItems || o.bytes+len(cmd) > o.maxBytes {
		return ErrBusy
	}
	o.add(&item{machine: machine, cmd: cmd, done: done, began: time.Now()})
	return nil
}

// add gives an item the next number and queues it; mu is held.
func (o *outbox) add(it *item) {
	o.seq++
	it.seq = o.seq
	o.items = append(o.items, it)
	o.byID[it.seq] = it
	o.bytes += len(it.cmd)
	if o.next == len(o.items)-1 {
		signal(o.wake)
	}
}

// take gives the next items for the leader, as many as fit into limit bytes and at least one, with the incarnation they belong to.
func (o *outbox) take(limit int) (items []*item, incarnation uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	size := 0
	for o.next < len(o.items) {
		it := o.items[o.next]
		if size += itemHead + len(it.cmd); size > limit && len(items) > 0 {
			break
		}
		o.next++
		if !it.over {
			it.sent++
			items = append(items, it)
		}
	}
	return items, o.incarnation
}

// rewind has everything that is open sent again, in order: the leader is another one, or may not have got it.
func (o *outbox) rewind() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next = 0
}

// unsent takes back that items were sent: this leader never had them.
func (o *outbox) unsent(items []*item) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next = 0
	for _, it := range items {
		it.sent--
	}
}

// finish ends an item; the settler tells its proposer. mu is held.
func (o *outbox) finish(it *item, result any, err error) {
	if it.over {
		return
	}
	it.over = true
	delete(o.byID, it.seq)
	o.bytes -= len(it.cmd)
	if it.done != nil {
		o.outcomes = append(o.outcomes, outcome{it, result, err})
		signal(o.settled)
	}
	for len(o.items) > 0 && o.items[0].over {
		o.items[0] = nil
		o.items = o.items[1:]
		o.next = max(o.next-1, 0)
	}
}

// applied is told by the machines, in the order of the log, what became of an item of this node: its result, or that it was skipped, because a
// later one stood in the log before it (known is the incarnation that the machines expect).
func (o *outbox) applied(incarnation, seq uint64, result any, skipped bool, known uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	it := o.byID[seq]
	switch {
	case incarnation != o.incarnation || it == nil: // of an earlier start, or settled already
	case !skipped:
		o.finish(it, result, nil)
	case known > o.incarnation: // the clock of this machine was ahead at its last start
		o.incarnation, o.next = known+1, 0
		signal(o.wake)
	default:
		again := *it
		it.done = nil
		o.finish(it, nil, nil)
		o.add(&again)
	}
}

// restored ends the items that a snapshot of the leader holds already: they are committed, and their results unknown.
func (o *outbox) restored(incarnation, seq uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if incarnation != o.incarnation {
		return
	}
	for _, it := range append([]*item(nil), o.items...) {
		if it.seq <= seq {
			o.finish(it, nil, fmt.Errorf("%w: it was committed, and came to this node within a snapshot", ErrUnknown))
		}
	}
}

// refuse ends items of which the leader said that it has done nothing.
func (o *outbox) refuse(incarnation, first, last uint64, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if incarnation != o.incarnation {
		return
	}
	for _, it := range append([]*item(nil), o.items...) {
		switch {
		case it.seq < first || it.seq > last:
		case it.sent > 1: // an earlier leader had it too
			o.finish(it, nil, fmt.Errorf("%w: %w", ErrUnknown, err))
		default:
			o.finish(it, nil, err)
		}
	}
}

// limits say how long items may wait, and what those hear that no leader has had.
type limits struct {
	unsent, sent time.Duration
	err          error
}

// expire gives up what has waited too long, and returns when to look again.
func (o *outbox) expire(now time.Time, l limits) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.items) > 0 {
		it := o.items[0]
		limit, err := l.unsent, l.err
		if it.sent > 0 {
			limit, err = l.sent, ErrUnknown
			if it.cause != nil {
				err = fmt.Errorf("%w: %w", ErrUnknown, it.cause)
			}
		}
		if wait := it.began.Add(limit).Sub(now); wait > 0 {
			return wait
		}
		o.finish(it, nil, err)
	}
	return patience
}

// close refuses further proposals.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	signal(o.wake)
}

// settle takes what the settler has to tell.
func (o *outbox) settle() []outcome {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := o.outcomes
	o.outcomes = nil
	return list
}

// failed notes why an entry with items of this node did not get through.
func (o *outbox) failed(cause error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, it := range o.items {
		if it.sent > 0 {
			it.cause = cause
		}
	}
}

func (o *outbox) state() (items, bytes int, closed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.byID), o.bytes, o.closed
}

// Propose commits one command and returns what the machine's Apply made of it on this node, which has applied it by then: whoever reads here
// afterwards sees it. Any node takes proposals and passes them to the leader; a change of leaders shows as a longer wait. It blocks
// until then; when ctx ends first the outcome is not known and the error wraps both ErrUnknown and the context's error. A full
// queue is ErrBusy at once, no leader within 1.8 s ErrNotLeader.
func (c *Cluster) Propose(ctx context.Context, machine string, cmd []byte) (any, error) {
	ch := make(chan outcome, 1)
	err := c.ProposeAsync(machine, cmd, func(result any, err error) { ch <- outcome{result: result, err: err} })
	if err != nil {
		return nil, err
	}
	select {
	case o := <-ch:
		return o.result, o.err
	case <-ctx.Done():
		return nil, fmt.Errorf("cluster: %s: %w: %w", machine, ErrUnknown, context.Cause(ctx))
	}
}

// ProposeAsync puts one command into the queue. When it returns nil, done is called exactly once, from a goroutine
// of the cluster, which it must not block; when it returns an error, done is never called. cmd must not be changed
// until done was called. Commands of one goroutine are applied in the order in which they were proposed.
func (c *Cluster) ProposeAsync(machine string, cmd []byte, done func(result any, err error)) error {
	if _, ok := c.cfg.Machines[machine]; !ok {
		return fmt.Errorf("cluster: %w: %q", ErrNoMachine, machine)
	}
	if len(cmd) > MaxCommand {
		c.counts.refused.Add(1)
		return fmt.Errorf("cluster: %s: %w: %d bytes, at most %d", machine, ErrTooLarge, len(cmd), MaxCommand)
	}
	if _, _, closed := c.outbox.state(); !closed && c.raft.Load() == nil {
		c.counts.refused.Add(1)
		return fmt.Errorf("cluster: %s: %w: it is still starting", machine, ErrNotLeader)
	}
	if err := c.outbox.put(machine, cmd, done); err != nil {
		c.counts.refused.Add(1)
		return fmt.Errorf("cluster: %s: %w", machine, err)
	}
	c.counts.proposed.Add(1)
	return nil
}

// settle tells proposers their outcomes, until end is closed and all are told.
func (c *Cluster) settle(end <-chan struct{}) {
	for ended := false; ; {
		list := c.outbox.settle()
		for _, o := range list {
			if o.err == nil {
				c.counts.committed.Add(1)
				o.it.done(o.result, nil)
				continue
			}
			c.counts.failed.Add(1)
			o.it.done(nil, fmt.Errorf("cluster: commit: %w", o.err))
		}
		if len(list) > 0 {
			continue
		}
		if ended {
			return
		}
		select {
		case <-c.outbox.settled:
		case <-end:
			ended = true
		}
	}
}
