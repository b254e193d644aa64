package cluster

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// detectEvery is how often a follower looks whether its leader is still there; a broken connection makes it look at once.
	detectEvery = 10 * time.Millisecond
	// detectStall is a pause of this node's own after which what it has not heard says nothing about others.
	detectStall = 60 * time.Millisecond
	// A node calls elections at least electFirst apart; each that comes within electCalm of the last doubles that, up to electLast, unless
	// the last one was right: the leader that it replaced was still lost electSure later.
	electSure  = time.Second
	electFirst = 500 * time.Millisecond
	electLast  = 10 * time.Second
	electCalm  = time.Minute
)

// detector notices a dead leader sooner than Raft would. Raft's timeout has to bear what a busy machine does to heartbeats; pings have a connection
// of their own and say more: that nothing listens any more, that the leader's disk hangs while its heartbeats go on. One node's opinion is not
// enough: a second voter must find the same, and of those who do the one with the longest log calls the election, at once and
// with Raft's own means (TimeoutNow, as in a transfer of leadership). If it is wrong, a healthy leader loses its office and nothing else.
type detector struct {
	c         *Cluster
	transport raft.Transport

	looked  time.Time // when look ran last
	blind   time.Time // until then this node has been asleep and knows nothing
	called  time.Time // its last election
	accused string    // the leader that it replaced, until it is known whether that was right
	pause   time.Duration
	suspect uint64
}

// detect watches the leader until ctx ends.
func (c *Cluster) detect(ctx context.Context, r *raft.Raft, transport raft.Transport) {
	d := &detector{c: c, transport: transport, looked: time.Now(), pause: electFirst}
	tick := time.NewTicker(detectEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.alarm:
		case <-ctx.Done():
			return
		}
		d.look(r, time.Now())
	}
}

func (d *detector) look(r *raft.Raft, now time.Time) {
	if now.Sub(d.looked) > detectStall {
		d.blind = now.Add(d.c.cfg.Silence)
		d.c.blind.Store(d.blind.UnixNano())
	}
	d.looked = now
	d.judge(now)
	_, id := r.LeaderWithID()
	leader, term := string(id), r.CurrentTerm()
	suspect := uint64(0)
	if r.State() == raft.Follower && leader != "" && leader != d.c.cfg.Node && now.After(d.blind) && d.c.lost(leader, now) {
		suspect = term
	}
	if suspect != d.suspect {
		d.suspect = suspect
		d.c.suspects.Store(suspect)
		d.c.kick() // the others should know at once
	}
	if suspect != 0 && d.due(now) && d.c.unfit() == "" && d.c.agreed(leader, suspect, r.LastIndex(), now) {
		d.elect(leader, term, now)
	}
}

// judge finds out whether the last election was right. Those that were say nothing against the next one: machines may well die twice in a minute.
func (d *detector) judge(now time.Time) {
	if d.accused == "" || now.Sub(d.called) < electSure {
		return
	}
	h, ok := d.c.healthOf(d.accused)
	if !ok || !h.heard.After(d.called.Add(d.c.cfg.Silence)) || h.pulse.flags&pulseStuck != 0 {
		d.pause = electFirst
	}
	d.accused = ""
}

// due bounds how often this node calls elections.
func (d *detector) due(now time.Time) bool { return now.Sub(d.called) >= d.pause }

func (d *detector) elect(leader string, term uint64, now time.Time) {
	if now.Sub(d.called) < electCalm {
		d.pause = min(2*d.pause, electLast)
	} else {
		d.pause = electFirst
	}
	d.called, d.accused = now, leader
	d.c.counts.elections.Add(1)
	d.c.log.Warn("the leader does not answer, another is elected", "leader", leader, "term", term)
	self := raft.ServerID(d.c.cfg.Node)
	address := d.transport.LocalAddr()
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(self), Addr: []byte(address)}
	if err := d.transport.TimeoutNow(self, address, &raft.TimeoutNowRequest{RPCHeader: header}, &raft.TimeoutNowResponse{}); err != nil {
		d.c.log.Warn("the election could not be called", "err", err)
	}
}

// lost says that a leader which was there is not: nothing listens at its address, it has been silent, or its disk hangs.
func (c *Cluster) lost(leader string, now time.Time) bool {
	h, ok := c.healthOf(leader)
	if !ok || h.heard.IsZero() {
		return false
	}
	return h.refused || now.Sub(h.heard) > h.silence(c.cfg.Silence) || h.pulse.flags&pulseStuck != 0
}

// agreed says that another voter finds the same leader lost, that those who answer are enough to elect, and that none of them has a longer log than
// this node, or the same and a smaller name.
func (c *Cluster) agreed(leader string, term, last uint64, now time.Time) bool {
	agree, answer, voters := false, 1, 0
	for _, m := range c.Members() {
		if !m.Voter {
			if m.Self {
				return false
			}
			continue
		}
		voters++
		h, ok := c.healthOf(m.Name)
		if m.Self || m.Name == leader || !ok || h.refused || now.Sub(h.heard) > h.silence(c.cfg.Silence) {
			continue
		}
		answer++
		agree = agree || h.pulse.suspect == term
		able := h.pulse.flags&(pulseStuck|pulseFull|pulseDiverged) == 0
		if able && (h.pulse.last > last || h.pulse.last == last && m.Name < c.cfg.Node) {
			return false
		}
	}
	return agree && answer > voters/2
}

func (c *Cluster) healthOf(node string) (health, bool) {
	c.linksMu.Lock()
	l := c.links[node]
	c.linksMu.Unlock()
	if l == nil {
		return health{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.health, true
}

// kick has all links ping now.
func (c *Cluster) kick() {
	c.linksMu.Lock()
	defer c.linksMu.Unlock()
	for _, l := range c.links {
		signal(l.kick)
	}
}
