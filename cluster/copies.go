package cluster

import (
	"cmp"
	"context"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	kindCopies = "cluster.copies"

	// copyHolders is how many other nodes have a copy of each thing.
	copyHolders = 2
	// A batch goes when the one before is answered; what has come meanwhile goes with it.
	batchItems = 256
	batchBytes = 256 << 10
	// maxCopy is the longest copy.
	maxCopy = 256 << 10
	// batchTime is how long a holder may take to answer, and batchPause how soon a batch that failed is sent again.
	batchTime  = 2 * time.Second
	batchPause = 50 * time.Millisecond
)

// CopiesConfig is how copies are kept.
type CopiesConfig struct {
	// Again is told what is to be given to Keep once more, because a holder is gone or a node has come. It must not block. nil keeps no copies
	// anywhere, and holds none.
	Again func(ids []string)
	// MaxItems and MaxBytes bound what this node holds for others (defaults 100,000 and 256 MiB). What is beyond is refused.
	MaxItems int
	MaxBytes int64
}

// Copies keeps copies of small things that live on this node in the memory of two others, so that one of those can go on with them when this node
// dies: never on a disk, and encrypted on the way. Which two is told by the name of the thing and those that live (rendezvous hashing), so that what a
// dead node has held moves, and nothing else does. Every holder has a queue of names; the newest content of each goes with the next batch, so a
// queue is never longer than there are things, and what changes faster than a holder answers is merged. Any goroutine may call its methods.
type Copies struct {
	c    *Cluster
	cfg  CopiesConfig
	held *heldCopies

	mu    sync.Mutex
	own   map[string]*kept
	peers map[string]*holder // that live
	seq   uint64             // of batches and contents

	counts copyCounts
}

type copyCounts struct {
	kept, forgotten, again, batches, items, bytes, failures, refused atomic.Uint64
}

// kept is one thing of this node's.
type kept struct {
	content []byte // nil once all holders have it
	version uint64
	since   time.Time // when the oldest change that a holder lacks was made
	holders []holding
	done    []func(bool)
}

type holding struct {
	node string
	has  uint64 // the version that it has
}

// holder is another node, and what is on its way there.
type holder struct {
	node  string
	wake  chan struct{}
	queue []string
	in    map[string]bool // what stands in queue
	fresh bool            // the next batch is the first: what it still has of before is not ours any more
	stop  context.CancelFunc
}

func newCopies(c *Cluster, cfg CopiesConfig) *Copies {
	cfg.MaxItems = cmp.Or(cfg.MaxItems, 100_000)
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, 256<<20)
	return &Copies{c: c, cfg: cfg, held: newHeldCopies(cfg.MaxItems, cfg.MaxBytes), own: map[string]*kept{}, peers: map[string]*holder{}}
}

// Keep replaces what others have under id. done, which may be nil, is called once, and must not block: held says that each of those who should have
// this or something newer does, and that there is anybody. content is not copied, and must not change.
func (k *Copies) Keep(id string, content []byte, done func(held bool)) {
	if len(content) > maxCopy || len(id) > maxKind {
		k.counts.refused.Add(1)
		if done != nil {
			done(false)
		}
		return
	}
	k.counts.kept.Add(1)
	k.mu.Lock()
	it := k.own[id]
	if it == nil {
		it = &kept{holders: k.choose(id)}
		k.own[id] = it
	}
	k.seq++
	it.version, it.content = k.seq, content
	if it.since.IsZero() {
		it.since = time.Now()
	}
	if done != nil {
		it.done = append(it.done, done)
	}
	var told []func(bool)
	if len(it.holders) == 0 {
		told = it.settle()
	}
	for _, h := range it.holders {
		k.peers[h.node].put(id)
	}
	k.mu.Unlock()
	for _, fn := range told {
		fn(false)
	}
}

// Forget is the end of what Keep began.
func (k *Copies) Forget(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	it := k.own[id]
	if it == nil {
		return
	}
	k.counts.forgotten.Add(1)
	delete(k.own, id)
	for _, h := range it.holders {
		k.peers[h.node].put(id)
	}
}

// tell calls those who wait; no lock is held.
func tell(told map[bool][]func(bool)) {
	for held, list := range told {
		for _, fn := range list {
			fn(held)
		}
	}
}

// settle lets go of what is not needed once everybody has a thing, or there is nobody to have it.
func (it *kept) settle() (done []func(bool)) {
	done = it.done
	it.content, it.since, it.done = nil, time.Time{}, nil
	return done
}

// put queues a name. Copies.mu is held, as for all of a holder but run.
func (h *holder) put(id string) {
	if !h.in[id] {
		h.in[id] = true
		h.queue = append(h.queue, id)
	}
	signal(h.wake)
}

// choose gives those who are to hold a thing: the first in the order of a hash of both names.
func (k *Copies) choose(id string) []holding {
	var list []holding
	for node := range k.peers {
		list = append(list, holding{node: node})
	}
	slices.SortFunc(list, func(a, b holding) int {
		return cmp.Or(cmp.Compare(weight(id, b.node), weight(id, a.node)), cmp.Compare(a.node, b.node))
	})
	return list[:min(len(list), copyHolders)]
}

// weight is how much a node is the one for a thing.
func weight(id, node string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(node))
	h.Write([]byte{0})
	h.Write([]byte(id))
	v := h.Sum64() // mixed: the last octets of an FNV hash change little
	v ^= v >> 33
	v *= 0xff51afd7ed558ccd
	v ^= v >> 33
	v *= 0xc4ceb9fe1a85ec53
	return v ^ v>>33
}

// run keeps the copies where they belong until ctx ends.
func (k *Copies) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer k.spread(ctx, &wg, nil)
	for {
		members, _, changed := k.c.Watch()
		k.spread(ctx, &wg, members)
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// spread makes holders of those who live, and moves what belongs elsewhere now.
func (k *Copies) spread(ctx context.Context, wg *sync.WaitGroup, members []Member) {
	k.mu.Lock()
	changed := false
	for node, h := range k.peers {
		if !slices.ContainsFunc(members, func(m Member) bool { return m.Name == node && lives(&m) }) {
			h.stop()
			delete(k.peers, node)
			changed = true
		}
	}
	for _, m := range members {
		if lives(&m) && k.peers[m.Name] == nil {
			h := &holder{node: m.Name, wake: make(chan struct{}, 1), in: map[string]bool{}, fresh: true}
			ctx, stop := context.WithCancel(ctx)
			h.stop = stop
			k.peers[m.Name] = h
			signal(h.wake)
			wg.Go(func() { k.carry(ctx, h) })
			changed = true
		}
	}
	var again []string
	told := map[bool][]func(bool){}
	if changed {
		for id, it := range k.own {
			if k.move(id, it) {
				again = append(again, id)
			}
			if there := len(it.holders) > 0; !there || it.content != nil && it.everywhere() {
				told[there] = append(told[there], it.settle()...)
			}
		}
	}
	k.mu.Unlock()
	tell(told)
	if len(again) > 0 {
		k.counts.again.Add(uint64(len(again)))
		k.cfg.Again(again)
	}
}

// lives tells whether a node is one to give copies to. Silence for a moment moves nothing.
func lives(m *Member) bool { return !m.Self && (m.Health == Alive || m.Health == Suspect) }

// move gives a thing the holders that it should have now. lacking: one of them has nothing, and the content is not here any more.
func (k *Copies) move(id string, it *kept) (lacking bool) {
	before := it.holders
	it.holders = k.choose(id)
	for i, h := range it.holders {
		if was := slices.IndexFunc(before, func(b holding) bool { return b.node == h.node }); was >= 0 {
			it.holders[i].has = before[was].has
		}
		switch {
		case it.holders[i].has == it.version:
		case it.content == nil:
			lacking = true
		default:
			k.peers[h.node].put(id)
		}
	}
	for _, b := range before {
		if p := k.peers[b.node]; p != nil && !slices.ContainsFunc(it.holders, func(h holding) bool { return h.node == b.node }) {
			p.put(id) // it is to forget it
		}
	}
	return lacking
}

func (it *kept) everywhere() bool {
	return !slices.ContainsFunc(it.holders, func(h holding) bool { return h.has < it.version })
}

// carry brings a holder what is for it, one batch after the other.
func (k *Copies) carry(ctx context.Context, h *holder) {
	for {
		select {
		case <-h.wake:
		case <-ctx.Done():
			return
		}
		for ctx.Err() == nil {
			b := k.gather(h)
			if b == nil {
				break
			}
			k.counts.batches.Add(1)
			k.counts.items.Add(uint64(len(b.items)))
			text := b.encode()
			k.counts.bytes.Add(uint64(len(text)))
			asking, cancel := context.WithTimeout(ctx, batchTime)
			answer, err := k.c.Call(asking, h.node, kindCopies, text)
			cancel()
			if k.landed(h, b, answer, err); err != nil {
				k.counts.failures.Add(1)
				select {
				case <-time.After(batchPause):
				case <-ctx.Done():
				}
			}
		}
	}
}

// gather takes the next batch off a holder's queue; nil when there is nothing to say.
func (k *Copies) gather(h *holder) *copyBatch {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(h.queue) == 0 && !h.fresh {
		return nil
	}
	k.seq++
	b := &copyBatch{incarnation: k.c.life.Load(), seq: k.seq, fresh: h.fresh}
	size := 0
	n := 0
	for ; n < len(h.queue) && n < batchItems && size < batchBytes; n++ {
		id := h.queue[n]
		delete(h.in, id)
		it := copyItem{id: id}
		if own := k.own[id]; own != nil && slices.ContainsFunc(own.holders, func(g holding) bool { return g.node == h.node }) {
			if own.content == nil {
				continue
			}
			it.version, it.content = own.version, own.content
		}
		size += len(it.content) + len(id)
		b.items = append(b.items, it)
	}
	if h.queue = h.queue[n:]; len(h.queue) == 0 {
		h.queue = nil
	}
	return b
}

// landed is the end of a batch. One that came to nothing is queued again, for what is the newest then.
func (k *Copies) landed(h *holder, b *copyBatch, answer []byte, err error) {
	told := map[bool][]func(bool){}
	k.mu.Lock()
	if err == nil {
		h.fresh = false
	}
	for i, it := range b.items {
		if err != nil {
			h.put(it.id)
			continue
		}
		own := k.own[it.id]
		if own == nil || it.version == 0 {
			continue
		}
		if i >= len(answer) || answer[i] != copyTaken {
			k.counts.refused.Add(1)
			told[false], own.done = append(told[false], own.done...), nil
			continue // it has no room: the next change tries again
		}
		for j := range own.holders {
			if g := &own.holders[j]; g.node == h.node {
				g.has = max(g.has, it.version)
			}
		}
		if own.everywhere() {
			told[true] = append(told[true], own.settle()...)
		}
	}
	k.mu.Unlock()
	tell(told)
}

// CopiesStatus says how well what lives on this node is kept on others, and what this one keeps for them.
type CopiesStatus struct {
	Own      int           `json:"own" doc:"Calls of this node that others are to have."`
	Covered  int           `json:"covered" doc:"Of these, those whose newest state all holders have."`
	Alone    int           `json:"alone" doc:"Of these, those for which there is no other node."`
	Lag      time.Duration `json:"lag_ns" doc:"How long the oldest change has waited that a holder lacks."`
	Held     int           `json:"held" doc:"Calls of other nodes that this one could go on with."`
	Bytes    int64         `json:"held_bytes"`
	Kept     uint64        `json:"kept" doc:"Times that a call was given to the others, since the start."`
	Again    uint64        `json:"again" doc:"Times that a call was copied anew because nodes have come or gone."`
	Batches  uint64        `json:"batches"`
	Sent     uint64        `json:"sent_bytes"`
	Failures uint64        `json:"failures" doc:"Batches that were not answered, and sent again."`
	Refused  uint64        `json:"refused" doc:"Copies that were too large, or that a holder had no room for."`
	Full     uint64        `json:"full" doc:"Copies of others that this node had no room for."`
}

func (k *Copies) status() (s CopiesStatus) {
	if k == nil {
		return s
	}
	now := time.Now()
	k.mu.Lock()
	for _, it := range k.own {
		s.Own++
		switch {
		case len(it.holders) == 0:
			s.Alone++
		case it.content == nil && it.everywhere():
			s.Covered++
		case !it.since.IsZero():
			s.Lag = max(s.Lag, now.Sub(it.since))
		}
	}
	k.mu.Unlock()
	n := &k.counts
	s.Kept, s.Again, s.Batches, s.Sent, s.Failures, s.Refused = n.kept.Load(), n.again.Load(), n.batches.Load(), n.bytes.Load(), n.failures.Load(), n.refused.Load()
	s.Held, s.Bytes, s.Full = k.held.size()
	return s
}

// A copyBatch is what one node has another keep.
//
//	incarnation(8) seq(8) flags(1) { uvarint id, version(8), uvarint content }
//
// Version 0 forgets. The answer has an octet for each item.
type copyBatch struct {
	incarnation, seq uint64
	fresh            bool
	items            []copyItem
}

type copyItem struct {
	id      string
	version uint64
	content []byte
}

const (
	copyRefused = 0
	copyTaken   = 1

	copyFresh = 1
)

func (b *copyBatch) encode() []byte {
	out := binary.BigEndian.AppendUint64(nil, b.incarnation)
	out = binary.BigEndian.AppendUint64(out, b.seq)
	flags := byte(0)
	if b.fresh {
		flags |= copyFresh
	}
	out = append(out, flags)
	for _, it := range b.items {
		out = append(binary.AppendUvarint(out, uint64(len(it.id))), it.id...)
		out = binary.BigEndian.AppendUint64(out, it.version)
		out = append(binary.AppendUvarint(out, uint64(len(it.content))), it.content...)
	}
	return out
}

func readCopyBatch(p []byte) (*copyBatch, error) {
	if len(p) < 17 {
		return nil, errFrame
	}
	b := &copyBatch{incarnation: binary.BigEndian.Uint64(p), seq: binary.BigEndian.Uint64(p[8:]), fresh: p[16]&copyFresh != 0}
	part := func(most int) ([]byte, bool) {
		n, size := binary.Uvarint(p)
		if size <= 0 || n > uint64(most) || n > uint64(len(p)-size) {
			return nil, false
		}
		out := p[size : size+int(n)]
		p = p[size+int(n):]
		return out, true
	}
	for p = p[17:]; len(p) > 0; {
		id, ok := part(maxKind)
		if !ok || len(id) == 0 || len(p) < 8 || len(b.items) == batchItems {
			return nil, errFrame
		}
		it := copyItem{id: string(id), version: binary.BigEndian.Uint64(p)}
		p = p[8:]
		if it.content, ok = part(maxCopy); !ok {
			return nil, errFrame
		}
		b.items = append(b.items, it)
	}
	return b, nil
}

// answerCopies takes a batch of another node.
func (c *Cluster) answerCopies(_ context.Context, from string, payload []byte) ([]byte, error) {
	b, err := readCopyBatch(payload)
	if err != nil {
		return nil, err
	}
	return c.copies.held.take(from, b)
}
