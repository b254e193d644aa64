package transport

import "sync"

// item is one entry of a shard's queue: a message, or the end of a connection.
type item struct {
	Packet
	err       error
	closed    bool // not a message: the connection of Flow has ended with err
	sheddable bool // a request that begins something: answered by 503 when the queue runs full
}

// An inbox is the bounded queue in front of one shard. UDP readers and connections put in, the shard takes out. What does
// not fit is shed or dropped (UDP) or waited for (streams, which have back-pressure).
//
//	0 ............. 3/4 ............ limit ...... limit+closings
//	everything      no new requests  nothing      connection ends, which must not be lost
type inbox struct {
	wake  chan struct{} // has a token when there may be something to take
	space chan struct{} // has a token when somebody waits and there is room

	mu      sync.Mutex
	ring    []item
	head, n int
	limit   int
	waiting int
	posts   []func()
	closed  bool // nothing is posted any more
}

const closings = 256 // room kept for connection ends above the limit

func newInbox(limit int) *inbox {
	return &inbox{wake: make(chan struct{}, 1), space: make(chan struct{}, 1), ring: make([]item, limit+closings), limit: limit}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// put queues what a reader received for this shard, in order, under one lock. It moves what is to be answered with 503 to
// the front of items and tells how many those are, and how many were dropped. The caller wakes the shard.
func (q *inbox) put(items []item) (shed, dropped int) {
	q.mu.Lock()
	for i := range items {
		it := &items[i]
		switch {
		case q.n >= q.limit:
			dropped++
		case it.sheddable && q.n >= q.limit/4*3:
			items[shed] = *it
			shed++
		default:
			q.push(it)
		}
	}
	q.mu.Unlock()
	return shed, dropped
}

func (q *inbox) push(it *item) {
	at := q.head + q.n
	if at >= len(q.ring) {
		at -= len(q.ring)
	}
	q.ring[at] = *it
	q.n++
}

// verdict is what became of a message put by putWait.
type verdict uint8

const (
	queued verdict = iota
	shed
	stopped
)

// putWait queues one item of a stream and waits for room when there is none. waited tells that it had to.
func (q *inbox) putWait(it *item, stop <-chan struct{}) (v verdict, waited bool) {
	limit := q.limit
	if it.closed {
		limit += closings
	}
	q.mu.Lock()
	for q.n >= limit {
		q.waiting++
		q.mu.Unlock()
		waited = true
		select {
		case <-q.space:
		case <-stop:
			return stopped, true
		}
		q.mu.Lock()
		q.waiting--
	}
	if it.sheddable && q.n >= q.limit/4*3 {
		v = shed
	} else {
		q.push(it)
	}
	more := q.waiting > 0 && q.n < q.limit
	q.mu.Unlock()
	signal(q.wake)
	if more {
		signal(q.space)
	}
	return v, waited
}

// take moves up to len(batch) items out and tells how many it moved and how many are left.
func (q *inbox) take(batch []item) (taken, left int) {
	q.mu.Lock()
	for taken < len(batch) && q.n > 0 {
		batch[taken] = q.ring[q.head]
		q.ring[q.head] = item{}
		if q.head++; q.head == len(q.ring) {
			q.head = 0
		}
		q.n--
		taken++
	}
	left = q.n
	waiting := q.waiting > 0
	q.mu.Unlock()
	if waiting && taken > 0 {
		signal(q.space)
	}
	return taken, left
}

func (q *inbox) post(fn func()) error {
	q.mu.Lock()
	switch {
	case q.closed:
		q.mu.Unlock()
		return ErrClosed
	case len(q.posts) >= q.limit:
		q.mu.Unlock()
		return ErrBusy
	}
	q.posts = append(q.posts, fn)
	q.mu.Unlock()
	return nil
}

// close refuses posts from here on, unless some are waiting still: a post that was not refused is run.
func (q *inbox) close() (closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = len(q.posts) == 0
	return q.closed
}

// takePosts swaps the posted functions for an empty slice.
func (q *inbox) takePosts(empty []func()) []func() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.posts) == 0 {
		return empty
	}
	posts := q.posts
	q.posts = empty
	return posts
}

func (q *inbox) depth() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.n
}
