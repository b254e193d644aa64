package events

import (
	"maps"
	"slices"
)

// Release takes an open call out of the log and gives what is known of it: another process goes on with the call and will write its record.
// false: there is no such call. Any goroutine.
func (l *Log) Release(id string) (CDR, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.fold.calls[id]
	if c == nil {
		return CDR{}, false
	}
	delete(l.fold.calls, id)
	l.fold.unlink(c)
	return c.cdr, true // c is not used again: its route is the receiver's
}

// Adopt goes on with a call that another process has released: events of it are of the same record from here on. A call that is open
// already stays as it is. Any goroutine.
func (l *Log) Adopt(r CDR) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Call == "" || l.fold.calls[r.Call] != nil {
		return
	}
	l.open(&Event{Kind: CallStarted, Call: r.Call, Time: r.Started})
	l.fold.calls[r.Call].cdr = r
}

// Peek gives what is known of an open call and leaves it where it is. false: there is no such call. Any goroutine.
func (l *Log) Peek(id string) (CDR, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.fold.calls[id]
	if c == nil {
		return CDR{}, false
	}
	r := c.cdr
	r.Route, r.Recordings = slices.Clone(r.Route), slices.Clone(r.Recordings)
	r.Answers = maps.Clone(r.Answers)
	return r, true
}
