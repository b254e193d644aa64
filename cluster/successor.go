package cluster

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	kindGather  = "cluster.gather"
	kindTaken   = "cluster.taken"
	kindOutcome = "cluster.outcome"
	kindReclaim = "cluster.reclaim"

	// gatherTime is how long another holder may take to tell what it has.
	gatherTime = 400 * time.Millisecond
	// gatherBytes is how much it tells at once.
	gatherBytes = 2 << 20
	// enterEvery is the pause between attempts to begin a life.
	enterEvery = 250 * time.Millisecond
	// outcomeEvery is how often a node that was declared dead asks what became of its calls.
	outcomeEvery = 100 * time.Millisecond
)

// SuccessionConfig is how nodes go on with what dead ones did.
type SuccessionConfig struct {
	// Take goes on with what a node did that is dead; an error leaves it where it is. It runs in a goroutine of its own, one at a time. nil: nobody
	// takes anything here.
	Take func(ctx context.Context, e Estate) error
	// Fit tells how well this node could go on with what another one does, by what nodes have told of themselves, as in Estate.Infos: Unfit, Able or
	// Best. The fittest is named. It may be called from any goroutine and must not block. nil: Able.
	Fit func(node string, infos []EstateInfo) int
	// Fenced is told that this node was declared dead while it lived, and that another one goes on with all of its calls that it has given to Copies:
	// they are to be dropped without a word to anybody. Behind it the node begins a new life.
	Fenced func(taker string)
	// Release gives back what was taken for a node that has returned: nil when nothing of it is used any more.
	Release func(node string) error
	// After is the silence that means that a node is dead (default 1 s).
	After time.Duration
}

// An Estate is what a dead node has left.
type Estate struct {
	Node   string       // who is dead: perhaps this node itself, in an earlier life
	Infos  []EstateInfo // of that node first, then of those whose calls it was going on with itself
	Copies [][]byte     // what it gave to Keep, the newest of each
}

// EstateInfo is what a node has told about itself when its life began.
type EstateInfo struct {
	Node string
	Info []byte
}

// SuccessionStatus says what became of dead nodes' calls, since the start.
type SuccessionStatus struct {
	Life     uint64        `json:"life" doc:"Which of its lives this node lives; 0 while the others do not know of it."`
	Entitled bool          `json:"entitled" doc:"A majority hears this node: nobody else has its calls."`
	Takes    uint64        `json:"takes" doc:"Dead nodes whose calls this node has gone on with."`
	Failures uint64        `json:"failures" doc:"Dead nodes with whose calls it could not."`
	Fenced   uint64        `json:"fenced" doc:"Times that this node was declared dead while it lived."`
	Took     time.Duration `json:"took_ns" doc:"How long the last one took, from the agreement on."`
	Last     string        `json:"last,omitempty" doc:"Whose calls those were."`
}

// successor is the part of a node that goes on with what others did.
type successor struct {
	c *Cluster

	mu       sync.Mutex
	info     []byte
	able     bool
	wants    bool // Enter was called
	entered  bool // the present life is agreed on
	outcomes map[life]bool
	status   SuccessionStatus
	kick     chan struct{}
}

func newSuccessor(c *Cluster) *successor {
	return &successor{c: c, outcomes: map[life]bool{}, kick: make(chan struct{}, 1)}
}

// Enter begins this node's life for the others: from when that is agreed on, its calls are gone on with when it dies. info is what its taker must know,
// at most MaxInfo bytes; able says that it can itself go on with others' calls. It returns at once; without a majority it is agreed on later.
func (c *Cluster) Enter(info []byte, able bool) error {
	if len(info) > MaxInfo {
		return ErrTooLarge
	}
	s := c.successor
	s.mu.Lock()
	s.info, s.able, s.wants = info, able, true
	s.mu.Unlock()
	signal(s.kick)
	return nil
}

// run begins lives, takes what is to be taken and notices when it is this node that was declared dead, until ctx ends.
func (s *successor) run(ctx context.Context) {
	tick := time.NewTicker(enterEvery)
	defer tick.Stop()
	for {
		changed := s.c.succession.watch()
		s.look(ctx)
		select {
		case <-changed:
		case <-s.kick:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *successor) look(ctx context.Context) {
	s.mu.Lock()
	wants, entered := s.wants, s.entered
	s.mu.Unlock()
	own := life{s.c.cfg.Node, s.c.life.Load()}
	switch {
	case wants && !entered:
		s.enter(ctx, own)
	case entered && s.c.succession.over(own):
		s.fenced(ctx, own)
		return
	}
	for _, e := range s.c.succession.estates(own) {
		s.mu.Lock()
		_, done := s.outcomes[life{e.node, e.Life}]
		s.mu.Unlock()
		if !done && ctx.Err() == nil {
			s.take(ctx, e)
		}
	}
}

// enter has the present life agreed on.
func (s *successor) enter(ctx context.Context, own life) {
	if ready, _, _ := s.c.ready.state(); !ready {
		return
	}
	if t := s.c.succession.tenure(own.node); own.incarnation <= t.Life && (own.incarnation < t.Life || t.Dead) { // the clock has gone back
		s.c.life.Store(max(uint64(time.Now().UnixNano()), t.Life+1))
		signal(s.kick)
		return
	}
	s.mu.Lock()
	cmd := successionCommand{Do: "begin", Node: own.node, Life: own.incarnation, Able: s.able && s.c.cfg.Succession.Take != nil, Info: s.info}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	result, err := s.c.Propose(ctx, successionMachine, cmd.encode())
	if begun, _ := result.(bool); err == nil && begun {
		s.mu.Lock()
		s.entered = true
		s.mu.Unlock()
		signal(s.kick)
	}
}

// fenced ends this node's life, because the others have: its calls are the taker's, unless that one could not take them.
func (s *successor) fenced(ctx context.Context, own life) {
	taker := ""
	for _, p := range s.c.succession.tenure(own.node).Past {
		if p.Life == own.incarnation {
			taker = p.Taker
		}
	}
	s.c.log.Warn("this node was declared dead while it lived", "taker", taker)
	if s.wereTaken(ctx, own, taker) {
		s.c.cfg.Succession.Fenced(taker)
	}
	s.c.life.Store(max(uint64(time.Now().UnixNano()), own.incarnation+1))
	s.mu.Lock()
	s.entered = false
	s.status.Fenced++
	s.mu.Unlock()
	if k := s.c.copies; k != nil {
		k.restart()
	}
	signal(s.kick)
}

// wereTaken asks the taker what became of this node's calls, for as long as it may be at it. Whoever does not say counts as having them.
func (s *successor) wereTaken(ctx context.Context, own life, taker string) bool {
	for deadline := time.Now().Add(callTimeout); ctx.Err() == nil && time.Now().Before(deadline); {
		asking, cancel := context.WithTimeout(ctx, gatherTime)
		answer, err := s.c.Call(asking, taker, kindOutcome, lifeText(own))
		cancel()
		if err != nil {
			return true
		}
		if len(answer) == 1 && answer[0] != outcomeOpen {
			return answer[0] == outcomeTaken
		}
		select {
		case <-time.After(outcomeEvery):
		case <-ctx.Done():
		}
	}
	return true
}

const (
	outcomeOpen = iota
	outcomeTaken
	outcomeLeft
)

func (c *Cluster) answerOutcome(_ context.Context, from string, payload []byte) ([]byte, error) {
	of, err := readLife(payload)
	if err != nil || of.node != from {
		return nil, errFrame
	}
	s := c.successor
	s.mu.Lock()
	defer s.mu.Unlock()
	taken, known := s.outcomes[of]
	switch {
	case !known:
		return []byte{outcomeOpen}, nil
	case taken:
		return []byte{outcomeTaken}, nil
	}
	return []byte{outcomeLeft}, nil
}

// take goes on with what a dead node has left.
func (s *successor) take(ctx context.Context, e estate) {
	began := time.Now()
	copies := s.gather(ctx, e.lives)
	gathered := time.Since(began)
	err := s.c.cfg.Succession.Take(ctx, Estate{Node: e.node, Infos: e.infos, Copies: copies})
	took := time.Since(began)
	s.mu.Lock()
	if len(s.outcomes) >= maxOutcomes {
		clear(s.outcomes)
	}
	s.outcomes[life{e.node, e.Life}] = err == nil
	if err == nil {
		s.status.Takes++
		s.status.Took, s.status.Last = took, e.node
	} else {
		s.status.Failures++
	}
	s.mu.Unlock()
	if err != nil {
		s.c.log.Error("the calls of a dead node cannot be gone on with", "node", e.node, "calls", len(copies), "err", err)
		return
	}
	if e.node != s.c.cfg.Node || len(copies) > 0 {
		s.c.log.Warn("this node goes on with the calls of a dead one", "node", e.node, "calls", len(copies), "gathered", gathered.Round(time.Millisecond), "took", took.Round(time.Millisecond))
	}
	for _, of := range e.lives {
		s.c.copies.held.forget(of)
		for _, m := range s.c.Members() {
			if !m.Self && m.Name != e.node {
				_ = s.c.Send(m.Name, kindTaken, lifeText(of)) // who does not hear of it forgets it with the node's next lives
			}
		}
	}
}

// finished tells whether this node has done what it could about a life that it was to go on with.
func (s *successor) finished(of life) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, done := s.outcomes[of]
	return done
}

// maxOutcomes bounds what is remembered of dead nodes.
const maxOutcomes = 1024

// gather collects the newest copies of what some lives have left, here and on the other nodes.
func (s *successor) gather(ctx context.Context, lives []life) [][]byte {
	type found struct {
		copyItem
		place int
	}
	newest := map[string]found{}
	var mu sync.Mutex
	note := func(place int, list []copyItem) {
		mu.Lock()
		defer mu.Unlock()
		for _, it := range list {
			was, there := newest[it.id]
			// What an earlier taker has made of a call is newer than what it took.
			if !there || place < was.place || place == was.place && it.version > was.version {
				newest[it.id] = found{it, place}
			}
		}
	}
	var wg sync.WaitGroup
	for place, of := range lives {
		s.c.copies.held.close(of)
		note(place, s.c.copies.held.of(of))
		for _, m := range s.c.Members() {
			if !m.Self && m.Name != of.node && m.Health != Dead {
				wg.Go(func() { s.ask(ctx, m.Name, of, func(list []copyItem) { note(place, list) }) })
			}
		}
	}
	wg.Wait()
	all := make([]found, 0, len(newest))
	for _, f := range newest {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Compare(a.id, b.id) })
	out := make([][]byte, len(all))
	for i, f := range all {
		out[i] = f.content
	}
	return out
}

// ask has another node tell what it holds of a life, page by page.
func (s *successor) ask(ctx context.Context, node string, of life, note func([]copyItem)) {
	for after := ""; ; {
		asking, cancel := context.WithTimeout(ctx, gatherTime)
		answer, err := s.c.Call(asking, node, kindGather, append(lifeText(of), after...))
		cancel()
		if err != nil {
			s.c.log.Warn("a node does not tell what it holds of a dead one", "node", node, "dead", of.node, "err", err)
			return
		}
		b, err := readCopyBatch(answer)
		if err != nil || len(b.items) == 0 {
			return
		}
		note(b.items)
		after = b.items[len(b.items)-1].id
	}
}

// answerGather tells what this node holds of a life, which is over with that.
func (c *Cluster) answerGather(_ context.Context, _ string, payload []byte) ([]byte, error) {
	of, err := readLife(payload)
	if err != nil || c.copies == nil {
		return nil, errFrame
	}
	after := string(payload[9+len(of.node):])
	c.copies.held.close(of)
	b := &copyBatch{incarnation: of.incarnation}
	size := 0
	for _, it := range c.copies.held.of(of) {
		if it.id <= after {
			continue
		}
		if size += len(it.content) + len(it.id); size > gatherBytes && len(b.items) > 0 || len(b.items) == batchItems {
			break
		}
		b.items = append(b.items, it)
	}
	return b.encode(), nil
}

// receiveTaken forgets what another node goes on with. It may know of the end from the log before this one does.
func (c *Cluster) receiveTaken(_ string, payload []byte) {
	if of, err := readLife(payload); err == nil && c.copies != nil {
		c.copies.held.close(of)
		c.copies.held.forget(of)
	}
}

// Reclaim asks who went on with this node's calls to give back what it took for that. nil: nothing is held by others, or nobody knows. Before
// Enter, once the cluster is ready.
func (c *Cluster) Reclaim(ctx context.Context) error {
	asking, done := context.WithTimeout(ctx, patience)
	defer done()
	if err := c.CatchUp(asking); err != nil { // a node that is just back may not know yet that it was dead
		return err
	}
	t := c.succession.tenure(c.cfg.Node)
	if !t.Dead || len(t.Past) == 0 {
		return nil
	}
	taker := t.Past[len(t.Past)-1].Taker
	if n := c.succession.tenure(taker); n.Dead || taker == c.cfg.Node {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	_, err := c.Call(ctx, taker, kindReclaim, nil)
	dead := slices.ContainsFunc(c.Members(), func(m Member) bool { return m.Name == taker && m.Health == Dead })
	if err != nil && !dead && !errors.Is(err, ErrNoHandler) && !errors.Is(err, ErrNoNode) {
		return fmt.Errorf("what node %s has taken over from this one is not free: %w", taker, err)
	}
	return nil
}

func (c *Cluster) answerReclaim(_ context.Context, from string, _ []byte) ([]byte, error) {
	if c.cfg.Succession.Release == nil {
		return nil, nil
	}
	return nil, c.cfg.Succession.Release(from)
}

func (c *Cluster) successionStatus() SuccessionStatus {
	s := c.successor
	s.mu.Lock()
	st := s.status
	if s.entered {
		st.Life = c.life.Load()
	}
	s.mu.Unlock()
	st.Entitled = c.Entitled()
	return st
}

// lifeText is how a life is told: life(8) length(1) node.
func lifeText(of life) []byte {
	b := binary.BigEndian.AppendUint64(nil, of.incarnation)
	return append(append(b, byte(len(of.node))), of.node...)
}

func readLife(b []byte) (of life, err error) {
	if len(b) < 9 || len(b) < 9+int(b[8]) {
		return of, errFrame
	}
	return life{string(b[9 : 9+int(b[8])]), binary.BigEndian.Uint64(b)}, nil
}

// restart has everything copied anew, in another life of this node.
func (k *Copies) restart() {
	k.mu.Lock()
	var again []string
	for id, it := range k.own {
		for i := range it.holders {
			it.holders[i].has = 0
		}
		again = append(again, id)
	}
	for _, h := range k.peers {
		h.fresh = true
		signal(h.wake)
	}
	k.mu.Unlock()
	if len(again) > 0 {
		k.counts.again.Add(uint64(len(again)))
		k.cfg.Again(again)
	}
}
