package rtpengine

import (
	"sync"
	"sync/atomic"
	"time"
)

// coder is one of the fixed number of goroutines of the payload tier: it decodes and encodes what a shard, which may take no more than a
// microsecond for a packet, hands it, and hands back what came of it. A transcoder stays with its coder.
type coder struct {
	now     func() int64
	paths   atomic.Pointer[[]*pathway]
	streams atomic.Int64 // transcoders that are its
	asleep  atomic.Bool
	wake    chan struct{} // buffered by one
	room    [laneBody]byte

	frames, concealed, repeated, late, failed, refused atomic.Uint64
}

// pathway leads from one shard to one coder and back.
type pathway struct {
	shard    *shard
	coder    *coder
	in, back lane
}

// lateAfter is how long a packet may wait for its coder: who hears it later hears it as lost, and it would delay those behind it.
const lateAfter = 100 * time.Millisecond

func newCoder(now func() int64) *coder {
	return &coder{now: now, wake: make(chan struct{}, 1)}
}

// run serves until stop is closed.
func (c *coder) run(stop <-chan struct{}) {
	for {
		if c.serve() > 0 {
			continue
		}
		c.asleep.Store(true)
		if c.serve() == 0 { // somebody may have put something before he could see that we sleep
			select {
			case <-c.wake:
			case <-stop:
				return
			}
		}
		c.asleep.Store(false)
	}
}

// poke wakes the coder if it sleeps.
func (c *coder) poke() {
	if c.asleep.Load() && c.asleep.CompareAndSwap(true, false) {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// serve takes what waits, a batch from each shard in turn, and tells how much that was.
func (c *coder) serve() (served int) {
	paths := c.paths.Load()
	if paths == nil {
		return 0
	}
	now := c.now()
	for _, p := range *paths {
		for range batchOfCoder {
			e := p.in.next(c.room[:])
			if e == nil {
				break
			}
			served++
			if now-e.at > int64(lateAfter) {
				c.late.Add(1)
			} else {
				e.via.take(&e.voicePacket)
			}
			p.in.done(e)
		}
		if p.back.depth() > 0 {
			p.shard.called()
		}
	}
	return served
}

const batchOfCoder = 64

// coders is the payload tier of an engine: a fixed number of coders, and a bounded number of calls.
type coders struct {
	all   []*coder
	limit atomic.Int64 // of calls at once
	calls atomic.Int64
	full  atomic.Uint64 // calls that found the limit reached

	mu    sync.Mutex
	paths []*pathway
}

func newCoders(n, limit int, now func() int64) *coders {
	t := &coders{}
	t.limit.Store(int64(limit))
	for range n {
		t.all = append(t.all, newCoder(now))
	}
	return t
}

// begin takes one of the places for calls; false when there is none.
func (t *coders) begin() bool {
	if t.calls.Add(1) > t.limit.Load() {
		t.calls.Add(-1)
		t.full.Add(1)
		return false
	}
	return true
}

// end gives a place back.
func (t *coders) end() { t.calls.Add(-1) }

// room reports whether another call could be taken now.
func (t *coders) room() bool { return t.calls.Load() < t.limit.Load() }

// assign chooses the coder of a new transcoder, the one with the fewest, and makes the way there from a shard if there is none yet.
func (t *coders) assign(sh *shard) *pathway {
	t.mu.Lock()
	defer t.mu.Unlock()
	best := t.all[0]
	for _, c := range t.all {
		if c.streams.Load() < best.streams.Load() {
			best = c
		}
	}
	best.streams.Add(1)
	for _, p := range t.paths {
		if p.shard == sh && p.coder == best {
			return p
		}
	}
	p := &pathway{shard: sh, coder: best}
	t.paths = append(t.paths, p)
	sh.order(func(sh *shard) { sh.paths = append(sh.paths, p) })
	mine := []*pathway{p}
	if had := best.paths.Load(); had != nil {
		mine = append(mine, *had...)
	}
	best.paths.Store(&mine)
	return p
}

// CoderStats are those of the payload tier.
type CoderStats struct {
	Workers   int
	Calls     int // transcoded now
	MaxCalls  int
	Streams   int    // directions of them
	Waiting   int    // packets on their way to and from the workers
	Full      uint64 // calls that were not transcoded because of MaxCalls
	Frames    uint64 // packets made
	Concealed uint64 // packets that were lost before they came here, and made up for
	Repeated  uint64 // packets that were lost before they came here, and heard from the redundancy of later ones (RFC 2198)
	Late      uint64 // packets that came too late, twice, or waited too long for a worker
	Failed    uint64 // packets that could not be decoded or encoded
	Refused   uint64 // packets that found the way to or from a worker full
}

func (t *coders) stats() CoderStats {
	st := CoderStats{Workers: len(t.all), Calls: int(t.calls.Load()), MaxCalls: int(t.limit.Load()), Full: t.full.Load()}
	for _, c := range t.all {
		st.Streams += int(c.streams.Load())
		st.Frames += c.frames.Load()
		st.Concealed += c.concealed.Load()
		st.Repeated += c.repeated.Load()
		st.Late += c.late.Load()
		st.Failed += c.failed.Load()
		st.Refused += c.refused.Load()
		if paths := c.paths.Load(); paths != nil {
			for _, p := range *paths {
				st.Waiting += p.in.depth() + p.back.depth()
			}
		}
	}
	return st
}
