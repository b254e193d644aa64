package cluster

import (
	"context"
	"encoding/binary"
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

	kindForward = "cluster.forward"
	kindRefused = "cluster.refused"
)

// logItem is an item with where it comes from, as it stands in the log.
type logItem struct {
	origin      string // the node that proposed it, and which of its starts
	incarnation uint64
	seq         uint64
	machine     string
	cmd         []byte
}

// flight is one entry that Raft has taken, with the items in it.
type flight struct {
	items  []logItem
	term   uint64
	future raft.ApplyFuture
}

// merger is where the items of all nodes meet on the leader and wait for the batcher.
type merger struct {
	wake chan struct{} // one token: there is something new, or the end

	mu     sync.Mutex
	items  []logItem
	bytes  int
	closed bool
}

func newMerger() *merger { return &merger{wake: make(chan struct{}, 1)} }

// put takes items of one node, all or none. Those of this node are bounded by its outbox; limits are for others', 0 is none.
func (m *merger) put(items []logItem, maxItems, maxBytes int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	size := 0
	for i := range items {
		size += len(items[i].cmd)
	}
	if maxItems > 0 && (len(m.items)+len(items) > maxItems || m.bytes+size > maxBytes) {
		return ErrBusy
	}
	had := len(m.items)
	m.items = append(m.items, items...)
	m.bytes += size
	if had == 0 || m.bytes >= entryBytes {
		signal(m.wake)
	}
	return nil
}

// take removes the items of the next entry: as many as fit into limit bytes, at least one.
func (m *merger) take(limit int) []logItem {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, size := 0, 0
	for n < len(m.items) && (n == 0 || size+itemHead+len(m.items[n].cmd) <= limit) {
		size += itemHead + len(m.items[n].cmd)
		m.bytes -= len(m.items[n].cmd)
		n++
	}
	taken := m.items[:n:n]
	m.items = m.items[n:]
	if len(m.items) == 0 {
		m.items = nil // the array belongs to the flight now
	} else {
		signal(m.wake)
	}
	return taken
}

func (m *merger) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	signal(m.wake)
}

func (m *merger) state() (items, bytes int, closed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.items), m.bytes, m.closed
}

// signal puts a token into a channel of capacity one; it never blocks.
func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// dispatch gives what is proposed on this node to whoever leads, at once, until ctx ends and the outbox is empty.
func (c *Cluster) dispatch(ctx context.Context, r *raft.Raft) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	done := ctx.Done()
	var to string
	var term uint64
	retry, stopping := false, false
	for {
		leader, now := c.leaderOf(r)
		if leader != to || now != term {
			to, term = leader, now
			c.outbox.rewind()
		}
		wait := c.outbox.expire(time.Now(), c.patience(leader, stopping))
		if n, _, _ := c.outbox.state(); n == 0 && stopping {
			return
		}
		if leader != "" && !retry {
			some, err := c.handOver(leader, term)
			if some && err == nil {
				continue
			}
			retry = err != nil
		}
		if retry {
			wait = min(wait, retryEvery)
		}
		timer.Reset(wait)
		select {
		case <-c.outbox.wake:
		case <-c.led:
			retry = false
		case <-c.relink:
			c.outbox.rewind()
			retry = true // and not at once: who leads may be news that is still under way
		case <-timer.C:
			retry = false
		case <-done:
			done, stopping = nil, true
			c.outbox.close() // before it is found empty, or an item could slip in behind
		}
	}
}

// leaderOf is who leads, and in which term.
func (c *Cluster) leaderOf(r *raft.Raft) (string, uint64) {
	_, id := r.LeaderWithID()
	return string(id), r.CurrentTerm()
}

// patience says how long items may wait now.
func (c *Cluster) patience(leader string, stopping bool) limits {
	l := limits{unsent: patience, sent: patience, err: ErrNotLeader}
	if leader != "" {
		l.sent = outcomeWait
	}
	if stopping && leader != c.cfg.Node {
		l = limits{unsent: 0, sent: stopWait, err: ErrClosed}
	}
	return l
}

// handOver gives the next items to the leader, if there are some. An error means that it cannot be had now.
func (c *Cluster) handOver(leader string, term uint64) (some bool, err error) {
	items, incarnation := c.outbox.take(entryBytes)
	if len(items) == 0 {
		return false, nil
	}
	if leader == c.cfg.Node {
		own := make([]logItem, len(items))
		for i, it := range items {
			own[i] = logItem{c.cfg.Node, incarnation, it.seq, it.machine, it.cmd}
		}
		return true, c.merger.put(own, 0, 0)
	}
	if err := c.Send(leader, kindForward, encodeForward(term, incarnation, items)); err != nil {
		c.outbox.unsent(items)
		return true, err
	}
	c.counts.forwarded.Add(uint64(len(items)))
	return true, nil
}

// What a node forwards: the term in which it believes the other to lead, its incarnation, and items in the order of their numbers:
//
//	+---------+-------------+------------------------------------------------------------------+
//	| term uv | incarnation | items x (seq uv, uv len machine, uv len cmd)                     |
//	+---------+-------------+------------------------------------------------------------------+
//
// The term keeps the order: a leader that says no in a term says no to everything that comes later in it.
func encodeForward(term, incarnation uint64, items []*item) []byte {
	size := 3 * binary.MaxVarintLen64
	for _, it := range items {
		size += 3*binary.MaxVarintLen32 + len(it.machine) + len(it.cmd)
	}
	b := binary.AppendUvarint(make([]byte, 0, size), term)
	b = binary.AppendUvarint(b, incarnation)
	for _, it := range items {
		b = binary.AppendUvarint(b, it.seq)
		b = binary.AppendUvarint(b, uint64(len(it.machine)))
		b = append(b, it.machine...)
		b = binary.AppendUvarint(b, uint64(len(it.cmd)))
		b = append(b, it.cmd...)
	}
	return b
}

func decodeForward(origin string, b []byte) (term uint64, items []logItem, err error) {
	d := decoder{b: b}
	term = d.uvarint()
	incarnation := d.uvarint()
	for len(d.b) > 0 {
		it := logItem{origin: origin, incarnation: incarnation, seq: d.uvarint(), machine: string(d.bytes())}
		it.cmd = d.bytes()
		items = append(items, it)
	}
	if d.bad || len(items) == 0 {
		return 0, nil, errFrame
	}
	return term, items, nil
}

// refusal tells a node that forwarded items what became of them.
type refusal struct {
	term        uint64
	incarnation uint64
	first, last uint64
	busy        bool // nothing was done and nothing will be; else they may be sent again
}

func (f refusal) encode() []byte {
	b := []byte{0}
	if f.busy {
		b[0] = 1
	}
	for _, v := range []uint64{f.term, f.incarnation, f.first, f.last} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

// receiveForward takes items of another node into the merger, if this node leads.
func (c *Cluster) receiveForward(from string, payload []byte) {
	term, items, err := decodeForward(from, payload)
	if err != nil {
		c.counts.unknown.Add(1)
		return
	}
	no := refusal{term: term, incarnation: items[0].incarnation, first: items[0].seq, last: items[len(items)-1].seq}
	r := c.raft.Load()
	if r == nil || r.State() != raft.Leader || r.CurrentTerm() != term {
		err = ErrNotLeader
	} else if err = c.merger.put(items, c.cfg.QueueItems, c.cfg.QueueBytes); errors.Is(err, ErrBusy) {
		no.busy = true
	}
	if err != nil {
		_ = c.Send(from, kindRefused, no.encode()) // without an answer the items wait for the next leader, or their time
	}
}

// receiveRefused is told by a leader that it did not take items, or does not know what became of them.
func (c *Cluster) receiveRefused(_ string, payload []byte) {
	if len(payload) == 0 {
		return
	}
	d := decoder{b: payload[1:]}
	no := refusal{d.uvarint(), d.uvarint(), d.uvarint(), d.uvarint(), payload[0] == 1}
	switch {
	case d.bad:
		c.counts.unknown.Add(1)
	case no.busy:
		c.outbox.refuse(no.incarnation, no.first, no.last, ErrBusy)
	default:
		c.counts.resent.Add(1)
		signal(c.relink)
	}
}

// batch merges what waits into entries and hands them to Raft, until the merger is closed and empty. It is the
// only caller of raft.Apply, so the order in the log is the order in the merger.
func (c *Cluster) batch(r *raft.Raft, flights chan<- flight, landed <-chan struct{}) {
	defer close(flights)
	timer := time.NewTimer(gather)
	defer timer.Stop()
	for {
		n, _, closed := c.merger.state()
		if n == 0 {
			if closed {
				return
			}
			<-c.merger.wake
			continue
		}
		if !closed {
			c.company(timer, landed)
		}
		items := c.merger.take(entryBytes)
		data := encodeEntry(time.Now(), items)
		c.counts.inFlight.Add(1)
		c.counts.entries.Add(1)
		c.counts.bytes.Add(uint64(len(data)))
		if len(items) > 1 {
			c.counts.merged.Add(uint64(len(items)))
		}
		flights <- flight{items, r.CurrentTerm(), r.Apply(data, 0)}
	}
}

// company waits for more items while entries are on their way: until those have landed, the entry is full, the
// merger was closed or the timer says that it has been long enough.
func (c *Cluster) company(timer *time.Timer, landed <-chan struct{}) {
	timer.Reset(gather)
	for c.counts.inFlight.Load() > 0 {
		if _, bytes, closed := c.merger.state(); bytes >= entryBytes || closed {
			return
		}
		select {
		case <-landed:
		case <-c.merger.wake:
		case <-timer.C:
			return
		}
	}
}

// complete waits for the entries in their order. Results reach the proposers by way of the machines of their own node; here shows only
// that an entry failed, and its items go to the next leader.
func (c *Cluster) complete(flights <-chan flight, landed chan<- struct{}) {
	for f := range flights {
		err := f.future.Error()
		c.counts.inFlight.Add(-1)
		signal(landed)
		if err != nil {
			c.failed(f, proposalError(err))
		}
	}
}

// failed tells the nodes whose items were in an entry.
func (c *Cluster) failed(f flight, cause error) {
	c.counts.resent.Add(1)
	told := map[string]bool{}
	for _, it := range f.items {
		if told[it.origin] {
			continue
		}
		told[it.origin] = true
		if it.origin == c.cfg.Node {
			c.outbox.failed(cause)
			signal(c.relink)
			continue
		}
		_ = c.Send(it.origin, kindRefused, refusal{term: f.term, incarnation: it.incarnation, first: it.seq, last: it.seq}.encode())
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
