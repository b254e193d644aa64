package cluster

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"sync"
)

// life is what a node was between one start and its end.
type life struct {
	node        string
	incarnation uint64
}

// heldCopies is what this node keeps for others, in memory only.
type heldCopies struct {
	maxItems int
	maxBytes int64

	mu    sync.Mutex
	lives map[life]*heldLife
	items int
	bytes int64
	full  uint64 // copies that were refused
}

// heldLife are the copies of one life of a node.
type heldLife struct {
	seq    uint64 // of the last batch
	copies map[string]heldCopy
	closed bool // it is over: nothing that may still come of it counts
}

type heldCopy struct {
	version uint64
	content []byte
}

// maxLives is of how many lives of one node copies are held; the oldest goes.
const maxLives = 3

// itemOverhead is about what a copy takes besides its content.
const itemOverhead = 128

var errOldBatch = errors.New("a batch of copies that was overtaken by a later one, or of a node that counts as dead")

func newHeldCopies(items int, bytes int64) *heldCopies {
	return &heldCopies{maxItems: items, maxBytes: bytes, lives: map[life]*heldLife{}}
}

// take does what a batch says.
func (h *heldCopies) take(from string, b *copyBatch) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.lives[life{from, b.incarnation}]
	if l == nil {
		l = h.begin(life{from, b.incarnation})
	}
	if l.closed || b.seq <= l.seq { // requests are answered side by side: one that was given up may come late
		return nil, errOldBatch
	}
	l.seq = b.seq
	if b.fresh {
		h.empty(l)
	}
	answer := make([]byte, len(b.items))
	for i, it := range b.items {
		old, there := l.copies[it.id]
		if there {
			h.items--
			h.bytes -= old.size(it.id)
			delete(l.copies, it.id)
		}
		next := heldCopy{it.version, nil}
		if it.version == 0 {
			answer[i] = copyTaken
			continue
		}
		next.content = bytes.Clone(it.content)
		if h.items >= h.maxItems || h.bytes+next.size(it.id) > h.maxBytes {
			h.full++
			continue
		}
		l.copies[it.id] = next
		h.items++
		h.bytes += next.size(it.id)
		answer[i] = copyTaken
	}
	return answer, nil
}

// begin makes room for another life of a node; mu is held.
func (h *heldCopies) begin(of life) *heldLife {
	var first *life
	n := 0
	for other := range h.lives {
		if other.node != of.node {
			continue
		}
		if n++; first == nil || other.incarnation < first.incarnation {
			first = &other
		}
	}
	if n >= maxLives {
		h.empty(h.lives[*first])
		delete(h.lives, *first)
	}
	l := &heldLife{copies: map[string]heldCopy{}}
	h.lives[of] = l
	return l
}

func (c *heldCopy) size(id string) int64 { return int64(len(c.content) + len(id) + itemOverhead) }

// empty forgets the copies of a life; mu is held.
func (h *heldCopies) empty(l *heldLife) {
	for id, c := range l.copies {
		h.items--
		h.bytes -= c.size(id)
	}
	clear(l.copies)
}

func (h *heldCopies) size() (items int, bytes int64, full uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.items, h.bytes, h.full
}

// close says that a life is over: its copies stay as they are.
func (h *heldCopies) close(of life) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.lives[of]
	if l == nil {
		l = h.begin(of)
	}
	l.closed = true
}

// of gives the copies of a life, in the order of their names.
func (h *heldCopies) of(of life) (list []copyItem) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.lives[of]
	if l == nil {
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(l.copies)) {
		list = append(list, copyItem{id, l.copies[id].version, l.copies[id].content})
	}
	return list
}

// forget drops the copies of a life that is over, which stays so.
func (h *heldCopies) forget(of life) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.lives[of]; l != nil {
		h.empty(l)
		l.closed = true
	}
}
