package cluster

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	kindGone = "cluster.gone"

	// mournEvery is how often the leader looks whether a node is dead; a node that nothing listens for any more makes it look at once.
	mournEvery = 20 * time.Millisecond
	// Between two attempts to have the same node declared dead it waits mournFirst, then twice that and so on, up to mournLast: the others may be
	// a moment behind, or hear it.
	mournFirst = 5 * time.Millisecond
	mournLast  = 300 * time.Millisecond
	// goneRefused is how long nothing must have listened at a node's address, and nothing have come from it, for it to count as dead, where its
	// connections have not ended.
	goneRefused = 100 * time.Millisecond
	// askTime is how long the others may take to say what they hear of it.
	askTime = 200 * time.Millisecond
	// shunTime is how long a node that was called dead here is told so, unless the log has decided by then.
	shunTime = 10 * time.Second
)

// A node is dead for the cluster when the leader and a majority of those that vote have heard nothing of it for Succession.After, or find
// that nothing listens at its address any more, and nobody who was asked hears it. Then one entry in the log ends its life and names the taker. A
// minority cannot write that entry.
//
// That nothing listens is proof at once when the connections of both directions have ended as well, each by its other end. A node opens its port before its
// life begins and closes it when its media and its signalling have ended, and it never listens anew while it lives: so its process does not run, and sends nothing.
// A firewall that refuses connections to a node leaves those that the node has opened; one that ends those as well makes the node doubt at
// once, for its own pings have come to an end. Where a connection has not ended, as when a machine was switched off and another one answers for it, it takes a
// tenth of a second without a word.
//
// The other half of the promise that nobody sends for a call that another node has: who said so tells the node with each answer to its pings, and a node that was
// not answered by a majority for half of that time, or is told so, does not count itself as the one whose calls they are (Entitled).
// Any two majorities share a node: before that one calls it dead it has answered none of its pings for the whole of the time, and behind
// that its answers do not count.

// goneQuestion asks a node what it hears of another one.
type goneQuestion struct {
	Node string `json:"node"`
	Life uint64 `json:"life"`
}

// gone says that this node has heard nothing of another one for as long as that means its death.
func (c *Cluster) gone(node string, now time.Time) bool {
	if now.UnixNano() < c.blind.Load() {
		return false
	}
	h, ok := c.healthOf(node)
	if !ok {
		return false
	}
	last := h.known
	for _, at := range [...]time.Time{h.heard, h.asked} {
		if at.After(last) {
			last = at
		}
	}
	quiet := now.Sub(last)
	return quiet > c.after(&h) || h.refused && (quiet > goneRefused || h.ended && !c.attended(node))
}

// after is the silence that means death: longer where the way is long.
func (c *Cluster) after(h *health) time.Duration {
	return max(c.cfg.Succession.After, 4*h.silence(c.cfg.Silence))
}

// answerGone says whether this node finds another one dead. Having said so it holds on to it for a while.
func (c *Cluster) answerGone(_ context.Context, _ string, payload []byte) ([]byte, error) {
	var q goneQuestion
	if err := json.Unmarshal(payload, &q); err != nil {
		return nil, err
	}
	if q.Node == c.cfg.Node || !c.condemn(q.Node, q.Life, time.Now()) {
		return []byte{0}, nil
	}
	return []byte{1}, nil
}

// condemn gives this node's voice.
func (c *Cluster) condemn(node string, incarnation uint64, now time.Time) bool {
	c.shunMu.Lock()
	defer c.shunMu.Unlock()
	if !c.gone(node, now) {
		return false
	}
	c.shunned[node] = shun{incarnation, now.Add(shunTime)}
	return true
}

// shun is a life that was called dead here.
type shun struct {
	incarnation uint64
	until       time.Time
}

// shuns says whether answers to a node's pings must not give it confidence.
func (c *Cluster) shuns(node string) bool {
	t := c.succession.tenure(node)
	if t.Dead {
		return true
	}
	c.shunMu.Lock()
	defer c.shunMu.Unlock()
	s, ok := c.shunned[node]
	if ok && (t.Life != s.incarnation || time.Now().After(s.until)) {
		delete(c.shunned, node)
		return false
	}
	return ok
}

// heed notes that a node has asked something.
func (c *Cluster) heed(node string) {
	c.linksMu.Lock()
	l := c.links[node]
	c.linksMu.Unlock()
	if l != nil {
		l.mu.Lock()
		l.health.asked = time.Now()
		l.mu.Unlock()
	}
}

// attend counts the connections that a node's pings come by.
func (c *Cluster) attend(node string, more int) {
	c.linksMu.Lock()
	defer c.linksMu.Unlock()
	if c.asking[node] += more; c.asking[node] == 0 {
		delete(c.asking, node)
		signal(c.knell)
	}
}

func (c *Cluster) attended(node string) bool {
	c.linksMu.Lock()
	defer c.linksMu.Unlock()
	return c.asking[node] > 0
}

// Entitled says that no other node has been given what this one does, nor can be at this moment: a majority hears it. A node that is alone, or whose
// cluster has no succession, always is. It is not while it is cut off, although nobody may take anything from it: that cannot be told from there.
// Any goroutine.
func (c *Cluster) Entitled() bool {
	if c.port == nil || c.cfg.Succession.Take == nil {
		return true
	}
	if c.raft.Load() == nil || c.succession.over(life{c.cfg.Node, c.life.Load()}) {
		return false
	}
	now, voters, sure := time.Now(), 0, 0
	for _, m := range c.Members() {
		if !m.Voter {
			continue
		}
		voters++
		if m.Self {
			sure++
			continue
		}
		if h, ok := c.healthOf(m.Name); ok && !h.sure.IsZero() && !h.refused && !h.ended && now.Sub(h.sure) < c.cfg.Succession.After/2 {
			sure++
		}
	}
	return sure > voters/2
}

// undertake has dead nodes declared so while this one leads, until ctx ends.
func (c *Cluster) undertake(ctx context.Context, r *raft.Raft) {
	tick := time.NewTicker(mournEvery)
	defer tick.Stop()
	type attempt struct {
		at    time.Time
		pause time.Duration
	}
	tried := map[string]attempt{}
	again := time.NewTimer(mournLast)
	defer again.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.knell:
		case <-again.C:
		case <-ctx.Done():
			return
		}
		if ready, _, _ := c.ready.state(); !ready || r.State() != raft.Leader {
			continue
		}
		for _, m := range c.Members() {
			now := time.Now()
			if t := c.succession.tenure(m.Name); m.Self || t.Life == 0 || t.Dead || !c.gone(m.Name, now) {
				delete(tried, m.Name)
				continue
			}
			a := tried[m.Name]
			if now.Sub(a.at) < a.pause {
				continue
			}
			c.mourn(ctx, m.Name)
			a = attempt{time.Now(), min(max(2*a.pause, mournFirst), mournLast)}
			tried[m.Name] = a
			again.Reset(a.pause)
		}
	}
}

// mourn asks the others, and if they agree ends the life of a node.
func (c *Cluster) mourn(ctx context.Context, node string) {
	t := c.succession.tenure(node)
	candidates := c.candidates(node)
	if len(candidates) == 0 || !c.agree(ctx, node, t.Life) {
		return
	}
	taker, _ := c.fittest(ctx, life{node, t.Life}, candidates)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := successionCommand{Do: "end", Node: node, Life: t.Life, Taker: taker}
	result, err := c.Propose(ctx, successionMachine, cmd.encode())
	if err != nil {
		c.log.Warn("a dead node could not be declared so", "node", node, "err", err)
		return
	}
	if done, _ := result.(bool); done {
		c.log.Warn("node is dead, another goes on with its calls", "node", node, "taker", taker)
	}
}

// agree says that most of those who vote find a node dead, and none that answers hears it.
func (c *Cluster) agree(ctx context.Context, node string, incarnation uint64) bool {
	text, err := json.Marshal(goneQuestion{node, incarnation})
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	voters, yes, no := 0, 0, 0
	for _, m := range c.Members() {
		if !m.Voter {
			continue
		}
		voters++
		switch {
		case m.Self:
			if c.condemn(node, incarnation, time.Now()) {
				mu.Lock()
				yes++
				mu.Unlock()
			}
		case m.Name != node && lives(&m):
			wg.Go(func() {
				answer, err := c.Call(ctx, m.Name, kindGone, text)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
				case len(answer) == 1 && answer[0] == 1:
					yes++
				default:
					no++
				}
			})
		}
	}
	wg.Wait()
	return no == 0 && yes > voters/2
}
