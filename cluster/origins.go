package cluster

import (
	"encoding/json"
	"io"
	"maps"
	"sync"
)

// originsMachine is the name of their section in a snapshot.
const originsMachine = "cluster.origins"

// origins remember of each node the last of its items that was applied, so that one which stands in the log twice, because its node
// had to send it again to the next leader, is applied once. A node sends its items to each leader in the order of their numbers, and those that
// are open before the new ones; so an item with a lower number than one that was applied is either a repetition or must go
// again with a new number, and its node knows which. The log's goroutine writes, any reads.
type origins struct {
	mu   sync.Mutex
	seen map[string]origin
}

type origin struct {
	Incarnation uint64 `json:"incarnation"` // of the node: one for each start
	Seq         uint64 `json:"seq"`
}

func newOrigins() *origins { return &origins{seen: map[string]origin{}} }

// first says whether an item is to be applied, and notes that it was. known is the incarnation that counts.
func (o *origins) first(node string, incarnation, seq uint64) (ok bool, known uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	was := o.seen[node]
	if incarnation < was.Incarnation || incarnation == was.Incarnation && seq <= was.Seq {
		return false, was.Incarnation
	}
	o.seen[node] = origin{incarnation, seq}
	return true, incarnation
}

func (o *origins) of(node string) origin {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen[node]
}

// Apply is never called: the fsm writes.
func (o *origins) Apply([]byte) any { return nil }

// Snapshot writes them as JSON, keys sorted.
func (o *origins) Snapshot() (func(io.Writer) error, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	seen := maps.Clone(o.seen)
	return func(w io.Writer) error { return json.NewEncoder(w).Encode(seen) }, nil
}

// Restore replaces them.
func (o *origins) Restore(r io.Reader) error {
	seen := map[string]origin{}
	if err := json.NewDecoder(r).Decode(&seen); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen = seen
	return nil
}
