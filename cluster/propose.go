package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// gather is the longest that an item waits for company while other entries are on their way.
	gather = 10 * time.Millisecond
	// maxFlights bounds the entries between raft.Apply and their result.
	maxFlights = 64
)

// item is one proposed command on its way into the log.
type item struct {
	machine string
	cmd     []byte
	done    func(result any, err error)
}

// flight is one entry that Raft has taken, with the items in it.
type flight struct {
	items  []item
	future raft.ApplyFuture
}

// queue holds what waits for the batcher. It never blocks a proposer: full is ErrBusy.
type queue struct {
	wake chan struct{} // one token: there is something new, or the end

	mu       sync.Mutex
	items    []item
	bytes    int
	closed   bool
	maxItems int
	maxBytes int
}

func newQueue(items, bytes int) *queue {
	return &queue{wake: make(chan struct{}, 1), maxItems: items, maxBytes: bytes}
}

func (q *queue) put(it item) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	if len(q.items) >= q.maxItems || q.bytes+len(it.cmd) > q.maxBytes {
		return ErrBusy
	}
	q.items = append(q.items, it)
	q.bytes += len(it.cmd)
	if len(q.items) == 1 || q.bytes >= entryBytes {
		signal(q.wake)
	}
	return nil
}

// take removes the items of the next entry: as many as fit into limit bytes, at least one; all when limit is 0.
func (q *queue) take(limit int) []item {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < len(q.items) && (limit == 0 || n == 0 || size+itemHead+len(q.items[n].cmd) <= limit) {
		size += itemHead + len(q.items[n].cmd)
		q.bytes -= len(q.items[n].cmd)
		n++
	}
	taken := q.items[:n:n]
	q.items = q.items[n:]
	if len(q.items) == 0 {
		q.items = nil // the array belongs to the flight now
	} else {
		signal(q.wake)
	}
	return taken
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	signal(q.wake)
}

func (q *queue) state() (items, bytes int, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items), q.bytes, q.closed
}

// signal puts a token into a channel of capacity one; it never blocks.
func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Propose commits one command and returns what the machine's Apply made of it on this node. It blocks until then;
// when ctx ends first the outcome is not known and the error wraps both ErrUnknown and the context's error.
// A full queue is ErrBusy at once.
func (c *Cluster) Propose(ctx context.Context, machine string, cmd []byte) (any, error) {
	type outcome struct {
		result any
		err    error
	}
	ch := make(chan outcome, 1)
	err := c.ProposeAsync(machine, cmd, func(result any, err error) { ch <- outcome{result, err} })
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
	if _, _, closed := c.queue.state(); !closed && c.raft.Load() == nil {
		c.counts.refused.Add(1)
		return fmt.Errorf("cluster: %s: %w: it is still starting", machine, ErrNotLeader)
	}
	if err := c.queue.put(item{machine, cmd, done}); err != nil {
		c.counts.refused.Add(1)
		return fmt.Errorf("cluster: %s: %w", machine, err)
	}
	c.counts.proposed.Add(1)
	return nil
}

// batch merges what waits into entries and hands them to Raft, until the queue is closed and empty. It is the
// only caller of raft.Apply, so the order in the log is the order in the queue.
func (c *Cluster) batch(r *raft.Raft, flights chan<- flight, landed <-chan struct{}) {
	defer close(flights)
	timer := time.NewTimer(gather)
	defer timer.Stop()
	for {
		n, _, closed := c.queue.state()
		if n == 0 {
			if closed {
				return
			}
			<-c.queue.wake
			continue
		}
		if !closed {
			c.company(timer, landed)
		}
		items := c.queue.take(entryBytes)
		data := encodeEntry(items)
		c.counts.inFlight.Add(1)
		c.counts.entries.Add(1)
		c.counts.bytes.Add(uint64(len(data)))
		if len(items) > 1 {
			c.counts.merged.Add(uint64(len(items)))
		}
		flights <- flight{items, r.Apply(data, 0)}
	}
}

// company waits for more items while entries are on their way: until those have landed, the entry is full, the
// queue was closed or the timer says that it has been long enough.
func (c *Cluster) company(timer *time.Timer, landed <-chan struct{}) {
	timer.Reset(gather)
	for c.counts.inFlight.Load() > 0 {
		if _, bytes, closed := c.queue.state(); bytes >= entryBytes || closed {
			return
		}
		select {
		case <-landed:
		case <-c.queue.wake:
		case <-timer.C:
			return
		}
	}
}

// complete waits for the entries in their order and gives each proposer its result.
func (c *Cluster) complete(flights <-chan flight, landed chan<- struct{}) {
	for f := range flights {
		err := f.future.Error()
		c.counts.inFlight.Add(-1)
		signal(landed) // first, so that the next entry is on its way while we answer
		if err != nil {
			c.fail(f.items, err)
			continue
		}
		c.counts.committed.Add(uint64(len(f.items)))
		results := f.future.Response().([]any)
		for i, it := range f.items {
			it.done(results[i], nil)
		}
	}
}

func (c *Cluster) fail(items []item, cause error) {
	c.counts.failed.Add(uint64(len(items)))
	err := fmt.Errorf("cluster: commit: %w", proposalError(cause))
	for _, it := range items {
		it.done(nil, err)
	}
}

// proposalError says in our words what Raft answered: nothing done, or not known.
func proposalError(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return ErrNotLeader
	case errors.Is(err, raft.ErrRaftShutdown):
		return ErrClosed
	default: // leadership lost after the entry was written, or the disk refused it half way
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
}
