package rtpengine

import (
	"runtime"
	"sync"
	"weak"
)

// clocks are the RTP clocks of the payload types that a side may send, in Hz; 0 is a type that was not agreed on. They never change once a leg
// has them.
type clocks = [128]uint32

// clockTables give equal clocks the same memory: most calls agree on one of a few lists of codecs, and a table is a tenth of a call. A table
// is forgotten with the last call that has it. Safe for use by many goroutines.
type clockTables struct {
	mu   sync.Mutex
	live map[clocks]weak.Pointer[clocks]
}

// share gives the table that all have whose clocks are these.
func (t *clockTables) share(c *clocks) *clocks {
	t.mu.Lock()
	defer t.mu.Unlock()
	if had := t.live[*c].Value(); had != nil {
		return had
	}
	if t.live == nil {
		t.live = make(map[clocks]weak.Pointer[clocks])
	}
	own := *c // alone in its memory, or it would never be forgotten
	t.live[own] = weak.Make(&own)
	runtime.AddCleanup(&own, t.forget, own)
	return &own
}

func (t *clockTables) forget(c clocks) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live[c].Value() == nil { // it may have come back
		delete(t.live, c)
	}
}
