package sip

import (
	"time"

	"tandem/sip/message"
)

// maxTimerFaults is how many faults in timers one round bears. A timer that fails and is due again at once must not hold the shard.
const maxTimerFaults = 100

// runTimers runs the timers that are due. false: one of them had a fault, its call was ended, and the others are still due.
func (sh *shard) runTimers(now time.Time) (done bool) {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		sh.count.panics.Add(1)
		sh.msg = new(message.Message)
		id := callIDOf(sh.timers.ringing)
		sh.srv.cfg.Log.Error("a timer failed; its call is ended, others go on", "call", id, "panic", r, "stack", stack())
		sh.condemnTimer(sh.timers.ringing, id)
	}()
	sh.timers.due(now)
	return true
}

// condemnTimer ends the call a timer belonged to, and what the timer should have woken: nothing else would any more.
func (sh *shard) condemnTimer(owner timed, callID string) {
	sh.attempt(func() {
		if callID != "" {
			sh.condemnCall(callID)
		}
	})
	sh.attempt(func() {
		switch o := owner.(type) {
		case *branch:
			if o.state != branchEnded && o.timer.pos == 0 {
				o.end()
			}
		case *transaction:
			if sh.txs[o.key] == o && o.timer.pos == 0 {
				o.end()
			}
		}
	})
}

// attempt runs fn on what may be broken: what cannot be ended stays as it is.
func (sh *shard) attempt(fn func()) {
	defer func() { _ = recover() }()
	fn()
}

// callIDOf is the Call-ID of what a timer wakes, "" when nothing in it tells any more.
func callIDOf(owner timed) string {
	switch o := owner.(type) {
	case *Dialog:
		return o.callID
	case *Leg:
		return o.callID
	case *fork:
		return callIDOf(o.tx)
	case *lostCaller:
		return callIDOf(o.tx)
	case *branch:
		if o.fork != nil {
			if id := callIDOf(o.fork.tx); id != "" {
				return id
			}
		}
		return callIDIn(o.out)
	case *transaction:
		switch {
		case o.m != nil:
			return o.m.CallID()
		case o.fork != nil && o.fork.dialog != nil:
			return o.fork.dialog.callID
		}
		return callIDIn(o.last)
	}
	return ""
}

func callIDIn(text []byte) string {
	var m message.Message
	if m.Parse(string(text)) != nil {
		return ""
	}
	return m.CallID()
}
