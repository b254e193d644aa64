package transport

import (
	"sync"
	"time"
)

// item is one entry of a shard's queue: a message, or the end of a connection.
type item struct {
	Packet
	err       error
	closed    bool // not a message: the connection of Flow has ended with err
	sheddable bool // a request that begins something: answered by 503 when the queue runs full or late

	since time.Duration // when it was put, on the inbox's clock
}

// An inbox is the bounded queue in front of one shard. UDP readers and connections put in, the shard takes out. What does
// not fit is shed or dropped (UDP) or waited for (streams, which have back-pressure).
//
//	0 ............. 3/4 ...................... 2*limit ....... 2*limit+closings
//	everything      no new requests            nothing         connection ends, which must not be lost
//
// New requests are shed as well while what is at the head has waited for longer than tooLate, however few are behind it. What goes on
// with a call or ends it (ACK, BYE, CANCEL, responses, requests inside a dialog) has more than half of the room to itself: dropping it
// would keep calls alive that nobody wants, and have it sent again.
type inbox struct {
	wake  chan struct{} // has a token when there may be something to take
	space chan struct{} // has a token when somebody waits and there is room
	began time.Time     // of the clock of item.since

	mu      sync.Mutex
	ring    []item
	head, n int
	limit   int
	full    int // limit and the reserve
	waiting int
	posts   []func()
	closed  bool // nothing is posted any more
}

const (
	closings = 256 // room kept for connection ends above everything

	// tooLate is timer T1 (RFC 3261 §17.1.1.1): a request over UDP that waits for longer comes once more, and the queue fills with
	// repetitions of what it holds. Its sender is better served by a 503 now.
	tooLate = 500 * time.Millisecond
)

func newInbox(limit int) *inbox {
	return &inbox{
		wake: make(chan struct{}, 1), space: make(chan struct{}, 1), began: time.Now(),
		ring: make([]item, 2*limit+closings), limit: limit, full: 2 * limit,
	}
}

// crowded tells, with mu held, whether there is no room for a new request at an instant, and whether that is for lateness alone.
func (q *inbox) crowded(now time.Duration) (crowded, late bool) {
	if q.n >= q.limit/4*3 {
		return true, false
	}
	late = q.n > 0 && now-q.ring[q.head].since > tooLate
	return late, late
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// shortage tells what became of messages that were not simply queued.
type shortage struct {
	shed     int // to be answered with 503
	late     int // those of them that there would have been room for
	reserved int // queued in the reserve
	dropped  int
}

// put queues what a reader received at an instant for this shard, in order, under one lock. It moves what is to be answered with 503 to
// the front of items. The caller wakes the shard.
func (q *inbox) put(items []item, at time.Time) (s shortage) {
	now := at.Sub(q.began)
	q.mu.Lock()
	for i := range items {
		it := &items[i]
		it.since = now
		if it.sheddable {
			if crowded, late := q.crowded(now); crowded {
				items[s.shed] = *it
				s.shed++
				if late {
					s.late++
				}
				continue
			}
		}
		if q.n >= q.full {
			s.dropped++
			continue
		}
		if q.n >= q.limit {
			s.reserved++
		}
		q.push(it)
	}
	q.mu.Unlock()
	return s
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
	shedLate
	stopped
)

// putWait queues one item of a stream and waits for room when there is none. waited tells that it had to.
func (q *inbox) putWait(it *item, stop <-chan struct{}) (v verdict, waited bool) {
	limit := q.full
	if it.closed {
		limit += closings
	}
	it.since = time.Since(q.began)
	q.mu.Lock()
	if it.sheddable {
		if crowded, late := q.crowded(it.since); crowded {
			q.mu.Unlock()
			if late {
				return shedLate, false
			}
			return shed, false
		}
	}
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
		it.since = time.Since(q.began)
	}
	q.push(it)
	more := q.waiting > 0 && q.n < q.full
	q.mu.Unlock()
	signal(q.wake)
	if more {
		signal(q.space)
	}
	return queued, waited
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
