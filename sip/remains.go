package sip

import (
	"time"

	"tandem/sip/transport"
)

// Remains are what is left of a transaction behind its end: enough to know a retransmission again and to answer it as before
// (RFC 3261 §17.1.1.2 timer D, §17.1.2.2 K, §17.2.2 J, RFC 6026 timers L and M). Three thousand calls a second leave 300,000 of them
// behind; whole transactions with their requests would be a gigabyte.
type remains struct {
	flow    transport.Flow // where last goes
	last    []byte
	loop    uint32 // of a branch: see branch.loop
	shift   uint32 // of an INVITE inside a dialog: see fork.shift
	own     bool   // of an INVITE of the node's own: last is the ACK to its 2xx; of a veiled one: that 2xx as it went up
	tag     string // of a veiled one: the callee's
	session        // of a branch that has answered an INVITE
}

// An afterlife holds the remains of transactions which all have the same time left, by key. nil remains absorb in silence.
type afterlife struct {
	span  time.Duration
	byKey map[uint64]*remains
	queue []ending // in the order of their ends
	head  int      // what stands before it is over
}

type ending struct {
	key uint64
	at  int64 // Unix time in nanoseconds
}

// afterlifeSlack is how much longer remains may stay, so that a shard need not wake up for each.
const afterlifeSlack = 250 * time.Millisecond

func newAfterlife(span time.Duration) afterlife {
	return afterlife{span: span, byKey: make(map[uint64]*remains)}
}

func (a *afterlife) len() int { return len(a.byKey) }

// put takes the remains of a transaction. Where limit of them are kept already the oldest go: they are the least likely to be asked again.
func (a *afterlife) put(key uint64, r *remains, now time.Time, limit int) {
	if len(a.queue)-a.head >= limit {
		delete(a.byKey, a.queue[a.head].key)
		a.head++
	}
	a.byKey[key] = r
	a.queue = append(a.queue, ending{key, now.Add(a.span).UnixNano()})
}

func (a *afterlife) get(key uint64) (r *remains, ok bool) {
	r, ok = a.byKey[key]
	return r, ok
}

// next is when due wants to be called, zero when there is nothing.
func (a *afterlife) next() time.Time {
	if a.head == len(a.queue) {
		return time.Time{}
	}
	return time.Unix(0, a.queue[a.head].at).Add(afterlifeSlack)
}

// due forgets what is over. A key that was put twice goes with the first of its ends, at most a round trip early.
func (a *afterlife) due(now time.Time) {
	limit := now.UnixNano()
	for a.head < len(a.queue) && a.queue[a.head].at <= limit {
		delete(a.byKey, a.queue[a.head].key)
		a.head++
	}
	switch {
	case a.head == len(a.queue) && a.head > shrinkAbove: // what a load has left goes back
		a.queue, a.head, a.byKey = nil, 0, make(map[uint64]*remains)
	case a.head == len(a.queue):
		a.queue, a.head = a.queue[:0], 0
	case a.head > 1024 && a.head > len(a.queue)/2:
		a.queue = a.queue[:copy(a.queue, a.queue[a.head:])]
		a.head = 0
	}
}
