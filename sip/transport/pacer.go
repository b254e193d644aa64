package transport

import "time"

// A pacer decides when a UDP reader rests, so that datagrams gather in the socket and come in one batch. Being woken costs more
// than a message does. Measured with 3,000 refreshing REGISTERs a second over loopback on two cores: 65 us of CPU a message with a
// rest of half a millisecond above 3,000 messages a second, 49 us with one of a millisecond above 1,500, at a median round trip of
// 0.3 and 0.7 ms. Nobody who rings a phone can tell; where messages are few and CPU is not scarce the price is not paid.
type pacer struct {
	rate float64 // messages a second, smoothed over some restWindow
	last time.Time
	full int // full batches in a row
}

const (
	restAbove  = 1500 // messages a second on one socket
	restFor    = time.Millisecond
	restWindow = 10 * time.Millisecond
	restFull   = 32 // a batch of so many is worth its wake-up: more are probably waiting
	fullInARow = 4  // a reader that has had so many full batches is late
)

// hasTime tells a reader that it may run shards itself behind a batch of n messages. One that finds nothing but full batches must
// read on: its socket's buffer holds a few hundred messages where nobody may enlarge it.
func (p *pacer) hasTime(n int) bool {
	if n < restFull {
		p.full = 0
	} else {
		p.full++
	}
	return p.full < fullInARow
}

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
