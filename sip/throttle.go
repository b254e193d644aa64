package sip

import (
	"runtime/debug"
	"sync/atomic"
	"time"
)

// A throttle lets one line a second into the log and counts the rest, so that a flood cannot fill a disk.
type throttle struct {
	last    atomic.Int64 // unix nanoseconds
	skipped atomic.Uint64
}

// allow tells whether to log now and how many lines were left out before.
func (t *throttle) allow(now time.Time) (skipped uint64, ok bool) {
	last := t.last.Load()
	if now.UnixNano()-last < int64(time.Second) || !t.last.CompareAndSwap(last, now.UnixNano()) {
		t.skipped.Add(1)
		return 0, false
	}
	return t.skipped.Swap(0), true
}

func stack() string { return string(debug.Stack()) }
