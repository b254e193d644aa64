package transport

import "time"

// A pacer decides when a UDP reader rests, so that datagrams gather in the socket and come in one batch. Being woken costs more
// than a message does: a return from epoll, two goroutines to schedule, often a thread that finds nothing to do. Measured with an
// echo over loopback on two shared cores, three runs each, CPU per message and median round trip:
//
//	messages/s    never rests        rests 500 us
//	 8,000        25-30 us  0.1 ms   17-19 us  1.2 ms
//	25,000         9-16 us  0.3 ms   10-13 us  0.9 ms
//
// The price is about a millisecond (the runtime's timers are no finer when the process is idle), which nobody who rings a phone
// can tell; below restAbove, when CPU is not scarce, it is not paid.
type pacer struct {
	rate float64 // messages a second, smoothed over some restWindow
	last time.Time
}

const (
	restAbove  = 3000 // messages a second on one socket
	restFor    = 500 * time.Microsecond
	restWindow = 10 * time.Millisecond
	restFull   = 16 // a batch of so many is worth its wake-up: more are probably waiting
)

// rest is how long to wait after a batch of n messages that was read at now, 0 for not at all.
func (p *pacer) rest(n int, now time.Time) time.Duration {
	gap := max(now.Sub(p.last), time.Microsecond)
	p.last = now
	weight := float64(gap) / float64(gap+restWindow)
	p.rate += weight * (float64(n)/gap.Seconds() - p.rate)
	if n >= restFull || p.rate < restAbove {
		return 0
	}
	return restFor
}
