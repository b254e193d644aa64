package cluster

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// sharePause is the least time between two words of a node about its shares: whatever happens there are no more than fifty a second.
	sharePause = 20 * time.Millisecond
	// shareLook is how often a node looks at its shares when nothing happens.
	shareLook = 500 * time.Millisecond
	// shareIdle is how long a share that is not used is kept.
	shareIdle = time.Hour
	// mostChanges bounds what one word is about.
	mostChanges = 256
	// doubtTime is how long the share of a life that is over waits, besides what its taker goes on with: its node may not know yet.
	doubtTime = 10 * time.Second
)

// Shares are what this node may use of things that the whole cluster has so much of. A node holds its shares by the log, ahead of need: as long as
// they suffice nothing is written and nobody is asked. When they do not it asks in the log for more, and those who have too much and read that give
// some back. Any goroutine.
type Shares struct {
	c    *Cluster
	kick chan struct{}

	mu     sync.Mutex
	stakes map[string]*stake
	counts struct{ asked, given, lent, late, settled, failed atomic.Uint64 }
}

// stake is what this node has to do with a pool.
type stake struct {
	limit   int64
	until   time.Time // zero: what is used comes back
	used    int64
	touched time.Time
	down    int64               // while giving: what is left, and may be used
	giving  bool                // a word about it is on its way, or its outcome unknown
	lacks   map[*int64]struct{} // how much each of those who wait wants to be free
}

// SharesStatus says how limits of the whole cluster are divided.
type SharesStatus struct {
	Pools   int    `json:"pools" doc:"Limits of which somebody has used something lately."`
	Held    int    `json:"held" doc:"Of them, those of which this node holds a share."`
	Orphans int    `json:"orphans" doc:"Lives of nodes that are over and whose shares are not free yet."`
	Asked   uint64 `json:"asked" doc:"Times that this node has asked for more."`
	Given   uint64 `json:"given" doc:"Times that it has given some back."`
	Lent    uint64 `json:"lent" doc:"Calls that waited for a share, and got it."`
	Late    uint64 `json:"late" doc:"Calls that waited for one in vain."`
	Settled uint64 `json:"settled" doc:"Dead nodes whose shares it has settled."`
}

func newShareholder(c *Cluster) *Shares {
	return &Shares{c: c, kick: make(chan struct{}, 1), stakes: map[string]*stake{}}
}

// Shares are those of this node; nil when it is alone, or nobody would go on with its calls: then everything is its own.
func (c *Cluster) Shares() *Shares { return c.sharing }

// Shared says whether anything is divided: as long as a node has a program that does not know of it, each counts for itself.
func (s *Shares) Shared() bool { return s.c.Agreed() >= sinceShares }

// Take takes n of a pool into use, which has limit of it altogether, if this node may. Return gives it back.
func (s *Shares) Take(pool string, limit, n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.stake(pool, limit, time.Time{})
	if s.free(pool, k) < n {
		return false
	}
	k.used += n
	return true
}

// Use takes n into use whether this node may or not: calls for help, those that were taken over, and what calls use as they go on. until is the end of the day
// of which it is, zero when it comes back with Return.
func (s *Shares) Use(pool string, limit int64, until time.Time, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.stake(pool, limit, until)
	k.used += n
	if s.free(pool, k) < reserve(limit)/2 {
		signal(s.kick)
	}
}

// Return gives back what Take or Use has taken.
func (s *Shares) Return(pool string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.stakes[pool]; k != nil {
		k.used -= n
		k.touched = time.Now()
		if p, _ := s.c.shares.pool(pool); len(p.Wants) > 0 {
			signal(s.kick)
		}
	}
}

// Free is how much more of a pool this node may use at this moment without asking anybody.
func (s *Shares) Free(pool string, limit int64, until time.Time) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.free(pool, s.stake(pool, limit, until))
}

// Borrow waits until n of a pool are free for this node, or ctx ends. False: they are not. Not on a goroutine that must not wait.
func (s *Shares) Borrow(ctx context.Context, pool string, limit int64, until time.Time, n int64) bool {
	s.mu.Lock()
	k := s.stake(pool, limit, until)
	k.lacks[&n] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(k.lacks, &n)
		s.mu.Unlock()
	}()
	for {
		changed := s.c.shares.watch()
		if s.Free(pool, limit, until) >= n {
			s.counts.lent.Add(1)
			return true
		}
		signal(s.kick)
		select {
		case <-changed:
		case <-ctx.Done():
			s.counts.late.Add(1)
			return false
		}
	}
}

// stake finds what this node has to do with a pool; mu is held.
func (s *Shares) stake(pool string, limit int64, until time.Time) *stake {
	k := s.stakes[pool]
	if k == nil {
		k = &stake{until: until, lacks: map[*int64]struct{}{}}
		s.stakes[pool] = k
	}
	k.limit, k.touched = limit, time.Now()
	return k
}

// free is what may be used and is not; mu is held.
func (s *Shares) free(pool string, k *stake) int64 {
	if !s.Shared() {
		return k.limit - k.used
	}
	p, _ := s.c.shares.pool(pool)
	most := min(p.held(s.own()), k.limit)
	if k.giving {
		most = min(most, k.down)
	}
	if r := reserve(k.limit); most > r && !s.c.Entitled() { // the rest may be somebody else's by now
		most = r
	}
	return most - k.used
}

func (s *Shares) own() life { return life{s.c.cfg.Node, s.c.life.Load()} }

// run asks, gives and settles until ctx ends.
func (s *Shares) run(ctx context.Context) {
	tick := time.NewTicker(shareLook)
	defer tick.Stop()
	estates := map[life]time.Time{} // when they were settled
	for {
		changed := s.c.shares.watch()
		if s.Shared() {
			s.word(ctx)
			s.settleAll(ctx, estates)
			if pause(ctx, sharePause) != nil {
				return
			}
		}
		select {
		case <-changed:
		case <-s.kick:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// word says in the log what this node wants and gives, if there is anything to say.
func (s *Shares) word(ctx context.Context) {
	own, now := s.own(), time.Now()
	cmd := sharesCommand{Do: "move", Node: own.node, Life: own.incarnation, Time: now.Unix()}
	if !s.c.succession.goesOn(own) {
		return
	}
	s.mu.Lock()
	for name, k := range s.stakes {
		if !k.until.IsZero() && now.After(k.until.Add(2*time.Second)) {
			delete(s.stakes, name)
			continue
		}
		p, _ := s.c.shares.pool(name)
		if ch, any := k.change(name, &p, own, now); any && len(cmd.Pools) < mostChanges {
			cmd.Pools = append(cmd.Pools, ch)
		}
		if p.held(own) == 0 && k.used == 0 && len(k.lacks) == 0 && !k.giving && now.Sub(k.touched) > time.Minute {
			delete(s.stakes, name)
		}
	}
	s.mu.Unlock()
	if len(cmd.Pools) == 0 {
		return
	}
	slices.SortFunc(cmd.Pools, func(a, b shareChange) int { return cmp.Compare(a.Pool, b.Pool) })
	if !s.propose(ctx, cmd) {
		return // what may have been given away counts as given: a later word of ours is behind this one
	}
	s.mu.Lock()
	for _, k := range s.stakes {
		k.giving = false
	}
	s.mu.Unlock()
}

// change is what there is to say about a pool.
func (k *stake) change(name string, p *pool, own life, now time.Time) (ch shareChange, any bool) {
	held := p.held(own)
	ch = shareChange{Pool: name, Limit: k.limit, Until: unixOf(k.until)}
	var lack, wished, others int64 // what is missing here, what this node has asked for, what others have
	for n := range k.lacks {
		lack = max(lack, k.used+*n-held)
	}
	lack = max(lack, k.used-held)
	for _, w := range p.Wants {
		if w.life() == own {
			wished = w.Amount
		} else {
			others += w.Amount
		}
	}
	left := p.Limit - p.Spent - p.all()
	spare := held - k.used
	switch {
	case lack > 0 && held+lack <= k.limit:
		ch.Want = max(lack, k.limit/16)
	case others == 0 && spare < reserve(k.limit)/2 && k.used > 0 && (left > 0 || p.Limit == 0): // ahead of need
		ch.Want = reserve(k.limit) - max(spare, 0)
	case spare > 0 && (others > 0 || left < 0 || k.used == 0 && now.Sub(k.touched) > shareIdle):
		give := min(spare, max(others, -left))
		if k.used == 0 && now.Sub(k.touched) > shareIdle {
			give = spare
		}
		k.down, k.giving = held-give, true
		down := k.down
		ch.Down = &down
		return ch, true
	case k.giving: // once more: nobody knows whether it was heard
		down := k.down
		ch.Down = &down
		return ch, true
	case wished > 0: // nobody waits any more
		return ch, true
	}
	if ch.Want > 0 {
		return ch, ch.Want != wished
	}
	return ch, held > 0 && p.Limit != k.limit
}

// propose has one word agreed on.
func (s *Shares) propose(ctx context.Context, cmd sharesCommand) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := s.c.ProposeSince(ctx, sinceShares, sharesMachine, cmd.encode())
	if err != nil {
		s.counts.failed.Add(1)
		return false
	}
	for _, ch := range cmd.Pools {
		if ch.Want > 0 {
			s.counts.asked.Add(1)
		}
		if ch.Down != nil {
			s.counts.given.Add(1)
		}
	}
	return true
}

// settleAll looks after the shares of lives that are over and whose taker this node is.
func (s *Shares) settleAll(ctx context.Context, settled map[life]time.Time) {
	over := s.c.shares.over()
	if len(over) == 0 {
		clear(settled)
		return
	}
	own := s.own()
	for _, e := range s.c.succession.estates(own) {
		if !slices.ContainsFunc(e.lives, func(of life) bool { return slices.Contains(over, of) }) {
			continue
		}
		of := life{e.node, e.Life}
		if _, done := settled[of]; !done && s.c.successor.finished(of) && s.settle(ctx, own, e.lives) {
			settled[of] = time.Now()
			s.counts.settled.Add(1)
		}
		at, done := settled[of]
		for _, of := range e.lives {
			if done && slices.Contains(over, of) {
				s.unburden(ctx, own, of, time.Since(at))
			}
		}
	}
	if s.c.Presides() {
		for _, of := range over {
			if !s.c.succession.remembers(of) {
				s.letGo(ctx, own, of, false)
			}
		}
	}
}

// settle tells what this node uses beyond its own share: it has come from those lives.
func (s *Shares) settle(ctx context.Context, own life, lives []life) bool {
	cmd := sharesCommand{Do: "settle", Node: own.node, Life: own.incarnation}
	for _, of := range lives {
		cmd.Of = append(cmd.Of, share{Node: of.node, Life: of.incarnation})
	}
	s.mu.Lock()
	for _, name := range s.c.shares.heldBy(lives) {
		k := s.stakes[name]
		if k == nil {
			continue
		}
		p, _ := s.c.shares.pool(name)
		if need := k.used - p.held(own); need > 0 {
			cmd.Pools = append(cmd.Pools, shareChange{Pool: name, Want: need})
		}
	}
	s.mu.Unlock()
	return len(cmd.Pools) == 0 || s.propose(ctx, cmd)
}

// unburden gives back what is left of a life that is over. Its node may live and not know of that. It knows once it has begun another one; until then it
// uses no more than its reserve, and has had doubtTime to end what is beyond that.
func (s *Shares) unburden(ctx context.Context, own, of life, since time.Duration) {
	switch t := s.c.succession.tenure(of.node); {
	case t.Life > of.incarnation, s.c.roster.node(of.node).Gone:
		s.letGo(ctx, own, of, false)
	case since > doubtTime && s.beyondReserve(of):
		s.letGo(ctx, own, of, true)
	}
}

func (s *Shares) letGo(ctx context.Context, own, of life, keep bool) {
	s.propose(ctx, sharesCommand{Do: "free", Node: own.node, Life: own.incarnation, Of: []share{{Node: of.node, Life: of.incarnation}}, Keep: keep})
}

// beyondReserve tells whether a life that is over holds more than its node may use without knowing that.
func (s *Shares) beyondReserve(of life) bool {
	for _, name := range s.c.shares.heldBy([]life{of}) {
		if p, _ := s.c.shares.pool(name); p.held(of) > reserve(p.Limit) {
			return true
		}
	}
	return false
}

// GiveBack gives back what this node has not used, before it ends in order: of a day that would count as used. It waits for the log until ctx ends.
func (s *Shares) GiveBack(ctx context.Context) {
	own := s.own()
	cmd := sharesCommand{Do: "move", Node: own.node, Life: own.incarnation, Time: time.Now().Unix()}
	s.mu.Lock()
	for name, k := range s.stakes {
		p, _ := s.c.shares.pool(name)
		if held := p.held(own); held > k.used && len(cmd.Pools) < mostChanges {
			k.down, k.giving = k.used, true
			down := k.used
			cmd.Pools = append(cmd.Pools, shareChange{Pool: name, Limit: k.limit, Until: unixOf(k.until), Down: &down})
		}
	}
	s.mu.Unlock()
	if len(cmd.Pools) > 0 && s.Shared() {
		s.propose(ctx, cmd)
	}
}

func unixOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func (s *Shares) status() (st SharesStatus) {
	if s == nil {
		return st
	}
	m := s.c.shares
	m.mu.RLock()
	own := s.own()
	st.Pools = len(m.state.Pools)
	for _, p := range m.state.Pools {
		if p.held(own) > 0 {
			st.Held++
		}
	}
	m.mu.RUnlock()
	n := &s.counts
	st.Orphans, st.Asked, st.Given, st.Lent, st.Late, st.Settled = len(m.over()), n.asked.Load(), n.given.Load(), n.lent.Load(), n.late.Load(), n.settled.Load()
	return st
}
