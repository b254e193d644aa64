package transport

import (
	"sync"
	"sync/atomic"
)

// housed are Call-IDs that belong to another shard than the one their hash names. A node chooses the Call-ID of the far side of a call so that both
// sides fall to one shard; another process, with another seed and perhaps another number of shards, goes on with that call and cannot choose.
// There are as many as such calls have come, and none on a node that has taken nothing over: then asking costs one load.
type housed struct {
	some atomic.Bool

	mu     sync.RWMutex
	shards map[string]*Shard
}

func (h *housed) of(callID string) *Shard {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.shards[callID]
}

// House has a shard own a Call-ID until Unhouse, whatever its hash says. Any goroutine.
func (t *Transport) House(callID string, s *Shard) {
	if t.Shard(callID) == s {
		return
	}
	h := &t.housed
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shards == nil {
		h.shards = map[string]*Shard{}
	}
	h.shards[callID] = s
	h.some.Store(true)
}

// Housed tells whether House has been said of a Call-ID. Any goroutine.
func (t *Transport) Housed(callID string) bool {
	return t.housed.some.Load() && t.housed.of(callID) != nil
}

// Unhouse is the end of what House began; of a Call-ID that is not housed it is nothing. Any goroutine.
func (t *Transport) Unhouse(callID string) {
	h := &t.housed
	if !h.some.Load() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.shards, callID)
	if len(h.shards) == 0 {
		h.shards = nil
		h.some.Store(false)
	}
}
