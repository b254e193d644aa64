package sip

import "time"

// RFC 3261 §17.1.1.1 and table 4.
const (
	timerT1 = 500 * time.Millisecond
	timerT2 = 4 * time.Second
	timerT4 = 5 * time.Second
	timerB  = 64 * timerT1 // also F, H, J, L, M and the life of an unacknowledged 2xx
)

// timed is what a timer wakes: a transaction, a branch, a dialog.
type timed interface {
	// expire runs on the shard once the timer's instant has come. The timer is not armed then; expire may arm it again.
	expire(now time.Time)
}

// A timer is one entry of its shard's heap and a field of what it wakes, so that arming one allocates nothing. Each
// transaction has one and re-arms it for whatever comes next.
type timer struct {
	at    time.Time
	owner timed
	pos   int // index in the heap plus one; 0 when not armed
}

// timers is a 4-ary heap ordered by instant, owned by one shard.
type timers struct {
	heap    []*timer
	ringing timed // whose timer runs now, or failed last
}

func (h *timers) next() time.Time {
	if len(h.heap) == 0 {
		return time.Time{}
	}
	return h.heap[0].at
}

// arm sets or moves t.
func (h *timers) arm(t *timer, at time.Time) {
	if t.pos == 0 {
		h.heap = append(h.heap, t)
		t.pos = len(h.heap)
		t.at = at
		h.up(t.pos - 1)
		return
	}
	later := at.After(t.at)
	t.at = at
	if later {
		h.down(t.pos - 1)
		return
	}
	h.up(t.pos - 1)
}

// stop takes t out; it is no error when it was not armed.
func (h *timers) stop(t *timer) {
	if t.pos == 0 {
		return
	}
	i, last := t.pos-1, len(h.heap)-1
	h.swap(i, last)
	h.heap[last] = nil
	h.heap = h.heap[:last]
	t.pos = 0
	if i < last {
		h.down(i)
		h.up(i)
	}
}

// due wakes what is due at now, in order of time.
func (h *timers) due(now time.Time) {
	for len(h.heap) > 0 && !h.heap[0].at.After(now) {
		t := h.heap[0]
		h.stop(t)
		h.ringing = t.owner
		t.owner.expire(now)
	}
	h.ringing = nil
}

func (h *timers) up(i int) {
	for i > 0 {
		parent := (i - 1) / 4
		if !h.heap[i].at.Before(h.heap[parent].at) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *timers) down(i int) {
	for {
		least := i
		for c := 4*i + 1; c <= 4*i+4 && c < len(h.heap); c++ {
			if h.heap[c].at.Before(h.heap[least].at) {
				least = c
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}

func (h *timers) swap(i, j int) {
	h.heap[i], h.heap[j] = h.heap[j], h.heap[i]
	h.heap[i].pos, h.heap[j].pos = i+1, j+1
}
