package simnet

import (
	"sync"
	"time"
)

// A waiter is a condition with a deadline: the lock and the wake-up of one thing that blocks.
type waiter struct {
	sync.Mutex
	cond  *sync.Cond
	timer *time.Timer
	until time.Time // zero is for ever
}

func newWaiter() *waiter {
	w := &waiter{}
	w.cond = sync.NewCond(&w.Mutex)
	return w
}

// expired tells whether the deadline has passed. Called with the lock held.
func (w *waiter) expired() bool { return !w.until.IsZero() && !time.Now().Before(w.until) }

func (w *waiter) setDeadline(t time.Time) {
	w.Lock()
	defer w.Unlock()
	w.until = t
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	if d := time.Until(t); !t.IsZero() && d > 0 {
		w.timer = time.AfterFunc(d, func() {
			w.Lock()
			defer w.Unlock()
			w.cond.Broadcast()
		})
	}
	w.cond.Broadcast()
}

// stop lets go of the timer. Called with the lock held.
func (w *waiter) stop() {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}
