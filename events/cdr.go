package events

import (
	"slices"
	"time"
)

// The results of a call.
const (
	ResultAnswered   = "answered"
	ResultCancelled  = "cancelled"  // the caller gave up
	ResultBusy       = "busy"       // 486, 600
	ResultNoAnswer   = "no_answer"  // 408, 480
	ResultNotFound   = "not_found"  // 404, 410, 484, 604
	ResultRejected   = "rejected"   // other 4xx and 6xx
	ResultFailed     = "failed"     // 5xx, or no status at all
	ResultUnfinished = "unfinished" // its end was never seen
)

// CDR is the record of one call. It is complete: events are not needed to understand it.
type CDR struct {
	Call     string    `json:"call"`
	CallID   string    `json:"call_id,omitempty"` // Call-ID of the caller's INVITE (RFC 3261 §20.8)
	Tenant   string    `json:"tenant,omitempty"`
	From     string    `json:"from,omitempty"`
	To       string    `json:"to,omitempty"`       // as dialled
	Answerer string    `json:"answerer,omitempty"` // who answered, when the event said so
	Peer     string    `json:"peer,omitempty"`     // the caller's address
	Result   string    `json:"result"`
	Status   int       `json:"status,omitempty"` // final SIP status towards the caller
	Reason   string    `json:"reason,omitempty"`
	Started  time.Time `json:"started"`
	Ringing  time.Time `json:"ringing,omitzero"`
	Answered time.Time `json:"answered,omitzero"`
	Ended    time.Time `json:"ended"`
	// Duration is the answered time, in nanoseconds in JSON.
	Duration time.Duration `json:"duration_ns"`
	Node     string        `json:"node,omitempty"`
	Route    []string      `json:"route,omitempty"` // nodes of the dialplan in the order in which they were tried
	// Answers are what apps have answered, by node, or their faults.
	Answers map[string]string `json:"answers,omitempty"`
	// Recordings are the files that were begun, in their order.
	Recordings []string `json:"recordings,omitempty"`
	// Uncopied says that no other node could have gone on with the call when the caller heard of the answer.
	Uncopied bool   `json:"uncopied,omitempty"`
	Media    *Media `json:"media,omitempty"`
}

// maxRoute bounds the steps a record remembers; a menu may go round for long.
const maxRoute = 32

// maxSpare bounds the records that wait for the next calls.
const maxSpare = 1024

// A call is open, then a record, in one piece of memory: the table of open calls, the ring of records and the queue for the disk
// hold pointers to it. Once neither of the latter two does, it is used again. It belongs to Log.mu; cdr does not change from the
// end of the call until then.
type call struct {
	cdr        CDR
	step       [1]string // room for Route, enough for most calls
	prev, next *call     // in the order of beginning while it is open; next also links the spare ones
	kept       bool      // in the ring of records
	waiting    bool      // for the disk
}

// fold is the table of open calls. It belongs to Log.mu.
type fold struct {
	calls          map[string]*call
	oldest, newest *call
	spare          *call // so that a steady state allocates nothing
	spares         int
}

// foldCall moves the call of e on; mu is held.
func (l *Log) foldCall(e *Event) {
	if e.Call == "" {
		l.stats.Unmatched++
		return
	}
	c := l.fold.calls[e.Call]
	switch {
	case c == nil && e.Kind == CallStarted:
		l.open(e)
	case c == nil:
		l.stats.Unmatched++
	case e.Kind == CallEnded:
		c.end(e)
		l.finish(c)
	default:
		c.note(e)
	}
}

func (l *Log) open(e *Event) {
	if len(l.fold.calls) >= l.cfg.MaxOpen {
		l.stats.Evicted++
		l.fold.oldest.abandon(e.Time, "too many open calls")
		l.finish(l.fold.oldest)
	}
	c := l.fold.take()
	r := &c.cdr
	r.Call, r.CallID, r.Tenant, r.From, r.To, r.Peer, r.Node, r.Started = e.Call, e.CallID, e.Tenant, e.From, e.To, e.Peer, e.Node, e.Time
	r.Route = c.step[:0]
	l.fold.calls[e.Call] = c
	l.fold.push(c)
}

// finish moves a call from the table to the records.
func (l *Log) finish(c *call) {
	delete(l.fold.calls, c.cdr.Call)
	l.fold.unlink(c)
	l.stats.CDRs++
	c.kept = true
	if old := l.cdrs.add(c); old != nil {
		old.kept = false
		l.fold.release(old)
	}
	if l.file != nil {
		if len(l.pending) >= l.cfg.MaxPending {
			l.drop(&l.pending[0])
			l.pending = l.pending[1:]
		}
		c.waiting = true
		l.pending = append(l.pending, c)
	}
}

// drop gives up a record that waits for the disk.
func (l *Log) drop(at **call) {
	l.stats.Dropped++
	l.fold.written(*at)
	*at = nil
}

// take gives an empty call, a spare one if there is any.
func (f *fold) take() *call {
	c := f.spare
	if c == nil {
		return new(call)
	}
	f.spare, c.next = c.next, nil
	f.spares--
	return c
}

// written takes note that a record waits for the disk no longer.
func (f *fold) written(c *call) {
	c.waiting = false
	f.release(c)
}

// release keeps a call that nobody holds any more for the next one.
func (f *fold) release(c *call) {
	if c.kept || c.waiting || f.spares >= maxSpare {
		return
	}
	*c = call{next: f.spare}
	f.spare = c
	f.spares++
}

// expire closes the calls that began longer than MaxAge ago.
func (l *Log) expire(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := l.fold.oldest; c != nil && now.Sub(c.cdr.Started) > l.cfg.MaxAge; c = l.fold.oldest {
		l.stats.Expired++
		c.abandon(now, "its end was never seen")
		l.finish(c)
	}
}

// abandonAll closes every call that is open: nobody will see its end.
func (l *Log) abandonAll(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := l.fold.oldest; c != nil; c = l.fold.oldest {
		c.abandon(now, "the node stopped")
		l.finish(c)
	}
}

func (f *fold) push(c *call) {
	c.prev = f.newest
	if f.newest != nil {
		f.newest.next = c
	} else {
		f.oldest = c
	}
	f.newest = c
}

func (f *fold) unlink(c *call) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		f.oldest = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		f.newest = c.prev
	}
	c.prev, c.next = nil, nil
}

// note takes what an event says about a call that goes on. The first ringing and the first answer count.
func (c *call) note(e *Event) {
	switch e.Kind {
	case CallRouted:
		if len(c.cdr.Route) < maxRoute {
			c.cdr.Route = append(c.cdr.Route, e.Reason)
		}
	case AppAnswered, AppFailed:
		if c.cdr.Answers == nil {
			c.cdr.Answers = make(map[string]string, 1)
		}
		if len(c.cdr.Answers) < maxRoute {
			c.cdr.Answers[e.To] = e.Detail["answer"]
		}
	case CallRinging:
		if c.cdr.Ringing.IsZero() {
			c.cdr.Ringing = e.Time
		}
	case CallAnswered:
		if c.cdr.Answered.IsZero() {
			c.cdr.Answered = e.Time
			c.cdr.Answerer = e.To
			c.cdr.Status = e.Status
		} else if place := e.Detail["in_place_of"]; place != "" && place == c.cdr.Answerer { // a menu has led to somebody
			c.cdr.Answerer = e.To
		}
	case CallUncopied:
		c.cdr.Uncopied = true
	case RecordingStarted:
		if len(c.cdr.Recordings) < maxRoute {
			c.cdr.Recordings = append(c.cdr.Recordings, e.File)
		}
	}
}

func (c *call) end(e *Event) {
	r := &c.cdr
	r.Ended, r.Reason, r.Media = e.Time, e.Reason, e.Media
	if e.Status != 0 {
		r.Status = e.Status
	}
	if !r.Answered.IsZero() {
		r.Result = ResultAnswered
		if r.Duration = e.Duration; r.Duration == 0 {
			r.Duration = max(0, e.Time.Sub(r.Answered))
		}
		return
	}
	r.Result = resultOf(r.Status)
}

func (c *call) abandon(now time.Time, reason string) {
	c.cdr.Result, c.cdr.Reason, c.cdr.Ended = ResultUnfinished, reason, now
}

// resultOf puts the final status of an unanswered call into a word.
func resultOf(status int) string {
	switch {
	case status == 487:
		return ResultCancelled
	case status == 486, status == 600:
		return ResultBusy
	case status == 408, status == 480:
		return ResultNoAnswer
	case status == 404, status == 410, status == 484, status == 604:
		return ResultNotFound
	case status >= 400 && status < 500, status >= 600:
		return ResultRejected
	default:
		return ResultFailed
	}
}

// cdrRing keeps the newest max records.
type cdrRing struct {
	slots []*call
	next  int // where the next one goes once slots is full
	max   int
}

// add returns the record that had to go, if any.
func (r *cdrRing) add(c *call) (old *call) {
	if len(r.slots) < r.max {
		r.slots = append(r.slots, c)
		return nil
	}
	old, r.slots[r.next] = r.slots[r.next], c
	if r.next++; r.next == r.max {
		r.next = 0
	}
	return old
}

// CDRs returns the newest finished calls, at most max of them, in the order in which they ended. The records share
// Media and Answers with the log, which must not be changed.
func (l *Log) CDRs(max int) []CDR {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(max, len(l.cdrs.slots))
	if n <= 0 {
		return nil
	}
	out := make([]CDR, 0, n)
	for i := len(l.cdrs.slots) - n; i < len(l.cdrs.slots); i++ {
		r := l.cdrs.slots[(l.cdrs.next+i)%len(l.cdrs.slots)].cdr
		r.Route = slices.Clone(r.Route) // its room is used again
		out = append(out, r)
	}
	return out
}
