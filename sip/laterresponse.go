package sip

import (
	"slices"
	"time"

	"tandem/sip/transport"
)

// A laterResponse is the 2xx to an INVITE on its way to the caller while others are still to learn of the call, see Relay.Hold. Everything else
// about the call is as if it had gone out: for the caller it is a response that takes a little longer on the network.
type laterResponse struct {
	d     *Dialog
	flow  transport.Flow
	text  []byte // empty until it is there
	timer timer
}

// hold keeps the next response of a transaction back, for at most so long.
func (d *Dialog) hold(tx *transaction, wait time.Duration) {
	if d.events == nil || d.later != nil {
		return
	}
	l := &laterResponse{d: d}
	d.later, tx.later = l, l
	d.sh.arm(&l.timer, l, wait)
}

// keep takes the response; false: it is not wanted any more.
func (l *laterResponse) keep(f transport.Flow, b []byte) bool {
	if l.d.later != l {
		return false
	}
	l.flow, l.text = f, slices.Clone(b)
	return true
}

// expire sends what has waited long enough.
func (l *laterResponse) expire(time.Time) { l.d.release() }

// release sends the response that is kept back. It tells whether there was one.
func (d *Dialog) release() bool {
	l := d.later
	if l == nil {
		return false
	}
	d.later = nil
	d.sh.timers.stop(&l.timer)
	if len(l.text) > 0 {
		_ = d.sh.send(l.flow, l.text)
	}
	return true
}

// Release lets the 2xx go that Relay.Hold keeps back. then is told on the shard whether it was still there, so that nobody has waited
// in vain; not at all when the shard has too much to do, and then the response goes when the wait is over. Any goroutine.
func (d *Dialog) Release(then func(inTime bool)) { _ = d.sh.post(func() { then(d.release()) }) }

// changed says that a copy of the dialog is not good any more.
func (d *Dialog) changed() {
	if d.events != nil && (d.state == dialogConfirmed || d.state == dialogEnding) {
		d.events.Changed()
	}
}
