package cluster

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
)

// sharesMachine is the name under which they stand in the log.
const sharesMachine = "cluster.shares"

const (
	// maxPools bounds what is shared: limits of users have a pool for each user who has called lately.
	maxPools = 20_000
	// sweepEvery is how often pools of days that are over are looked for, in seconds of the proposers.
	sweepEvery = 600
)

// shares is the replicated answer to who may use how much of something that the whole cluster has so much of: calls at a time, channels, minutes of a
// day. A pool is divided among lives of nodes. What a life holds it may use without asking, whatever has become of the others; so what is used
// is never more than what the pool has, in no part of a network that is cut. Only a life that goes on can be given anything, and what one holds that
// is over comes back when its taker says what of it is still used.
type shares struct {
	lives func(life) bool // whether it goes on, by the log up to here

	mu      sync.RWMutex
	state   sharesState
	changed chan struct{} // closed at the next change
}

type sharesState struct {
	Pools map[string]pool `json:"pools"`
	Swept int64           `json:"swept,omitempty"` // when days that are over were looked for, Unix seconds
}

// pool is what is agreed on about one thing; it is never changed in place.
type pool struct {
	Limit int64   `json:"limit"`
	Until int64   `json:"until,omitempty"` // Unix seconds of the end of its day, 0 when what is used comes back
	Spent int64   `json:"spent,omitempty"` // by lives that are over; of a day alone
	Held  []share `json:"held,omitempty"`  // by holder
	Wants []share `json:"wants,omitempty"` // that there was nothing for, the oldest first
}

// share is a part of a pool.
type share struct {
	Node   string `json:"node"`
	Life   uint64 `json:"life"`
	Amount int64  `json:"amount"`
}

func (s share) life() life { return life{s.Node, s.Life} }

// sharesCommand is one node's changes.
type sharesCommand struct {
	Do    string        `json:"do"` // move: what the node holds; settle: what it has taken over of lives that are over; free: what nobody has taken over
	Node  string        `json:"node"`
	Life  uint64        `json:"life"`
	Time  int64         `json:"time"` // Unix seconds, the proposer's
	Pools []shareChange `json:"pools,omitempty"`
	Of    []share       `json:"of,omitempty"`   // lives that are over
	Keep  bool          `json:"keep,omitempty"` // free: leaves what a node may use that does not know of the end of its life
}

// shareChange is about one pool. Down leaves the holder no more than that, Want is how much more it asks for.
type shareChange struct {
	Pool  string `json:"pool"`
	Limit int64  `json:"limit,omitempty"`
	Until int64  `json:"until,omitempty"`
	Down  *int64 `json:"down,omitempty"`
	Want  int64  `json:"want,omitempty"`
}

func (c sharesCommand) encode() []byte {
	b, _ := json.Marshal(c) // plain fields
	return b
}

func newShares(lives func(life) bool) *shares {
	return &shares{lives: lives, state: sharesState{Pools: map[string]pool{}}, changed: make(chan struct{})}
}

// reserve is what of its share a node may use that nobody hears: an eighth, for a cluster has seven nodes at most.
func reserve(limit int64) int64 { return limit / 8 }

// Apply makes one node's changes.
func (s *shares) Apply(cmd []byte) any {
	var c sharesCommand
	if err := json.Unmarshal(cmd, &c); err != nil {
		panic(fmt.Sprintf("the command of the shares cannot be read: %v", err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch c.Do {
	case "move":
		s.sweep(c.Time)
		for i := range c.Pools {
			s.move(&c, &c.Pools[i])
		}
	case "settle":
		for i := range c.Pools {
			s.settle(&c, &c.Pools[i])
		}
	case "free":
		s.free(&c)
	default:
		panic(fmt.Sprintf("the shares do not know %q", c.Do))
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// sweep forgets days that are over.
func (s *shares) sweep(now int64) {
	if now-s.state.Swept < sweepEvery {
		return
	}
	s.state.Swept = now
	maps.DeleteFunc(s.state.Pools, func(_ string, p pool) bool { return p.Until != 0 && p.Until+sweepEvery < now })
}

// move is of a life that goes on: a late word of another one changes nothing.
func (s *shares) move(c *sharesCommand, ch *shareChange) {
	own := life{c.Node, c.Life}
	p, known := s.state.Pools[ch.Pool]
	if !s.lives(own) || !known && (ch.Want == 0 || len(s.state.Pools) >= maxPools) || ch.Until != 0 && ch.Until+sweepEvery < c.Time {
		return
	}
	if ch.Limit > 0 {
		p.Limit, p.Until = ch.Limit, ch.Until
	}
	if ch.Down != nil {
		if over := p.held(own) - *ch.Down; over > 0 {
			p.add(own, -over)
		}
	}
	p.Wants = slices.DeleteFunc(slices.Clone(p.Wants), func(w share) bool { return w.life() == own })
	if ch.Want > 0 {
		p.Wants = append(p.Wants, share{own.node, own.incarnation, ch.Want})
	}
	s.put(ch.Pool, p)
}

// settle gives a taker what it uses of the shares of those whose calls it goes on with. Of a day nothing moves: they have used it.
func (s *shares) settle(c *sharesCommand, ch *shareChange) {
	own, p := life{c.Node, c.Life}, s.state.Pools[ch.Pool]
	if !s.lives(own) || p.Until != 0 {
		return
	}
	for _, of := range c.Of {
		if n := min(ch.Want, p.held(of.life())); n > 0 && !s.lives(of.life()) {
			ch.Want -= n
			p.add(of.life(), -n)
			p.add(own, n)
		}
	}
	s.put(ch.Pool, p)
}

// free gives back what lives held that are over.
func (s *shares) free(c *sharesCommand) {
	for name, p := range s.state.Pools {
		touched := false
		for _, of := range c.Of {
			if s.lives(of.life()) {
				continue
			}
			waited := len(p.Wants)
			p.Wants = slices.DeleteFunc(slices.Clone(p.Wants), func(w share) bool { return w.life() == of.life() })
			touched = touched || len(p.Wants) < waited
			over := p.held(of.life())
			if c.Keep {
				over -= reserve(p.Limit)
			}
			if over > 0 {
				p.add(of.life(), -over)
				if touched = true; p.Until != 0 {
					p.Spent += over
				}
			}
		}
		if touched {
			s.put(name, p)
		}
	}
}

// put serves those that wait and live, in their order, and keeps what there is to keep.
func (s *shares) put(name string, p pool) {
	left := p.Limit - p.Spent - p.all()
	var waiting []share
	for _, w := range p.Wants {
		switch n := min(w.Amount, left); {
		case !s.lives(w.life()):
		case n > 0:
			p.add(w.life(), n)
			left -= n
		default:
			waiting = append(waiting, w)
		}
	}
	if p.Wants = waiting; len(p.Held)+len(p.Wants) == 0 && p.Spent == 0 {
		delete(s.state.Pools, name)
		return
	}
	s.state.Pools[name] = p
}

// held is what a life has of the pool.
func (p *pool) held(by life) int64 {
	for _, h := range p.Held {
		if h.life() == by {
			return h.Amount
		}
	}
	return 0
}

func (p *pool) all() (sum int64) {
	for _, h := range p.Held {
		sum += h.Amount
	}
	return sum
}

// add changes what a life has, in another list: readers may have the one before.
func (p *pool) add(by life, n int64) {
	all := slices.Clone(p.Held)
	i, there := slices.BinarySearchFunc(all, by, func(h share, by life) int {
		if c := strings.Compare(h.Node, by.node); c != 0 {
			return c
		}
		return compareLives(h.Life, by.incarnation)
	})
	if !there {
		all = slices.Insert(all, i, share{by.node, by.incarnation, 0})
	}
	if all[i].Amount += n; all[i].Amount <= 0 {
		all = slices.Delete(all, i, i+1)
	}
	p.Held = all
}

func compareLives(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Snapshot writes the pools as JSON; map keys are sorted, so equal shares are equal bytes.
func (s *shares) Snapshot() (func(io.Writer) error, error) {
	s.mu.RLock()
	state := sharesState{maps.Clone(s.state.Pools), s.state.Swept}
	s.mu.RUnlock()
	return func(w io.Writer) error { return json.NewEncoder(w).Encode(state) }, nil
}

// Restore replaces all pools.
func (s *shares) Restore(in io.Reader) error {
	state := sharesState{Pools: map[string]pool{}}
	if err := json.NewDecoder(in).Decode(&state); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

func (s *shares) watch() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changed
}

func (s *shares) pool(name string) (pool, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, ok := s.state.Pools[name]
	return p, ok
}

// over lists lives that hold something and do not go on.
func (s *shares) over() (list []life) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, p := range s.state.Pools {
		for _, h := range p.Held {
			if of := h.life(); !slices.Contains(list, of) && !s.lives(of) {
				list = append(list, of)
			}
		}
	}
	slices.SortFunc(list, func(a, b life) int {
		if c := strings.Compare(a.node, b.node); c != 0 {
			return c
		}
		return compareLives(a.incarnation, b.incarnation)
	})
	return list
}

// heldBy names the pools in which some lives hold something.
func (s *shares) heldBy(lives []life) (names []string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for name, p := range s.state.Pools {
		if slices.ContainsFunc(p.Held, func(h share) bool { return slices.Contains(lives, h.life()) }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
