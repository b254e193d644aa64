//go:build linux

package phone

// lane is a queue of timers that all take the same time, so that the first is always the next due: no heap, no allocation.
type lane struct {
	wait  int64 // nanoseconds
	queue []timer
	head  int
}

// timer fires fn for the call or user in slot, unless generation has moved on.
type timer struct {
	due        int64
	slot       uint32
	generation uint32
	kind       timerKind
}

func (l *lane) push(now int64, slot, generation uint32, kind timerKind) {
	if l.head > 1024 && l.head*2 > len(l.queue) { // move the living to the front
		l.queue = l.queue[:copy(l.queue, l.queue[l.head:])]
		l.head = 0
	}
	l.queue = append(l.queue, timer{now + l.wait, slot, generation, kind})
}

// pop takes the next timer that is due at now.
func (l *lane) pop(now int64) (timer, bool) {
	if l.head == len(l.queue) {
		l.head, l.queue = 0, l.queue[:0]
		return timer{}, false
	}
	if t := l.queue[l.head]; t.due <= now {
		l.head++
		return t, true
	}
	return timer{}, false
}

// next is when the first timer is due, or far.
func (l *lane) next(far int64) int64 {
	if l.head < len(l.queue) {
		return min(far, l.queue[l.head].due)
	}
	return far
}
