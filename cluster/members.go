package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// mindEvery is how often the list of members is brought up to date.
	mindEvery = 50 * time.Millisecond
	// helloEvery is the pause between attempts of a node to be admitted.
	helloEvery = 500 * time.Millisecond
	// tendEvery is how often the leader looks after the members.
	tendEvery = 200 * time.Millisecond
	// closeBehind is how far a newcomer may be behind, in entries, to be given a vote.
	closeBehind = 64

	kindHello = "cluster.hello"
	kindAdmit = "cluster.admit"
)

// Member is one node of the cluster as this node sees it.
type Member struct {
	Name    string        `json:"name"`
	Address string        `json:"address" doc:"Where the other nodes reach it."`
	Epoch   uint64        `json:"epoch" doc:"How often a node of this name has been taken into the cluster."`
	Self    bool          `json:"self" doc:"It is the node that was asked."`
	Voter   bool          `json:"voter" doc:"It takes part in agreement; false while it catches up."`
	Leader  bool          `json:"leader"`
	Health  Health        `json:"health" enum:"unknown,alive,suspect,dead" doc:"What the node that was asked hears of it."`
	Ready   bool          `json:"ready" doc:"It says that it is up to date."`
	Program string        `json:"version" doc:"Of its program."`
	Applied uint64        `json:"applied_index"`
	Behind  uint64        `json:"behind" doc:"Entries that it has not applied yet, as far as this node knows."`
	Free    uint64        `json:"disk_free" doc:"Bytes; 0 when not known."`
	Disk    string        `json:"disk" enum:"ok,stuck,full" doc:"stuck: a write hangs; full: hardly any room, or writes are refused."`
	RTT     time.Duration `json:"rtt_ns"`
	Speaks  int           `json:"speaks" doc:"Newest version of commands that its program knows; 0 when not known."`
	// Diverged: the other nodes should go on without it.
	Diverged bool `json:"diverged" doc:"Its state is not what most others hold."`
}

// hello is what a node tells about itself.
type hello struct {
	Node    string `json:"node,omitempty"` // set when one member passes it on to the leader
	Epoch   uint64 `json:"epoch"`
	Address string `json:"address"`
	Program string `json:"program"`
	Speaks  int    `json:"speaks"`
}

// Members lists the nodes of the cluster by name. A node alone lists itself. Any goroutine.
func (c *Cluster) Members() []Member {
	list, _, _ := c.Watch()
	return list
}

// Watch gives the members by name, the leader's name ("" when none is known) and a channel that is closed as soon as one of these is another
// or a member's life has changed: then ask again. Indexes, disk space and round trips are of the moment and close nothing. The list
// is the caller's. Any goroutine.
func (c *Cluster) Watch() (members []Member, leader string, changed <-chan struct{}) {
	c.membersMu.Lock()
	defer c.membersMu.Unlock()
	return slices.Clone(c.members), c.leader, c.membersChanged
}

// mind keeps links and the list of members in step with Raft's configuration until ctx ends.
func (c *Cluster) mind(ctx context.Context, r *raft.Raft) {
	tick := time.NewTicker(mindEvery)
	defer tick.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer c.keepLinks(ctx, &wg, nil)
	for {
		servers := r.GetConfiguration().Configuration().Servers
		c.keepLinks(ctx, &wg, servers)
		c.list(r, servers)
		c.noteReign(r)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// keepLinks has a link to each of the servers and none to others.
func (c *Cluster) keepLinks(ctx context.Context, wg *sync.WaitGroup, servers []raft.Server) {
	if c.port == nil {
		return
	}
	c.linksMu.Lock()
	defer c.linksMu.Unlock()
	for name, l := range c.links {
		if !slices.ContainsFunc(servers, func(s raft.Server) bool { return string(s.ID) == name }) {
			l.stop()
			delete(c.links, name)
		}
	}
	for _, s := range servers {
		name := string(s.ID)
		if name == c.cfg.Node {
			continue
		}
		l := c.links[name]
		if l != nil {
			l.move(string(s.Address))
			continue
		}
		l = newLink(c, name, string(s.Address))
		ctx, stop := context.WithCancel(ctx)
		l.stop = stop
		c.links[name] = l
		wg.Go(func() { l.run(ctx) })
		wg.Go(func() { l.beat(ctx) })
	}
}

// list makes the list of members anew.
func (c *Cluster) list(r *raft.Raft, servers []raft.Server) {
	_, id := r.LeaderWithID()
	leader, last := string(id), r.LastIndex()
	now := time.Now()
	var members []Member
	for _, s := range servers {
		m := Member{Name: string(s.ID), Address: string(s.Address), Voter: s.Suffrage == raft.Voter, Leader: string(s.ID) == leader}
		n := c.roster.node(m.Name)
		m.Epoch, m.Program, m.Speaks = max(n.Epoch, 1), n.Program, n.Speaks
		p := pulse{}
		if m.Name == c.cfg.Node {
			m.Self, m.Health, m.Program, m.Speaks = true, Alive, c.cfg.Program, c.cfg.Speaks
			p = c.pulse(0)
		} else {
			p = c.hearsay(&m, now)
		}
		last = max(last, p.last)
		m.Ready, m.Applied, m.Free, m.Disk = p.flags&pulseReady != 0, p.applied, p.free, diskWord(p.flags)
		m.Diverged = p.flags&pulseDiverged != 0 || len(c.comparing.of(m.Name)) > 0
		members = append(members, m)
	}
	for i := range members {
		if members[i].Applied > 0 {
			members[i].Behind = last - min(last, members[i].Applied)
		}
	}
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	c.publish(members, leader)
}

// hearsay fills in what the link to a member knows.
func (c *Cluster) hearsay(m *Member, now time.Time) pulse {
	c.linksMu.Lock()
	l := c.links[m.Name]
	c.linksMu.Unlock()
	if l == nil {
		m.Health = Unknown
		return pulse{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	m.Health, m.RTT = l.health.judge(now, l.health.silence(c.cfg.Silence)), l.health.rtt
	return l.health.pulse
}

func diskWord(flags byte) string {
	switch {
	case flags&pulseStuck != 0:
		return "stuck"
	case flags&pulseFull != 0:
		return "full"
	}
	return "ok"
}

func (c *Cluster) publish(members []Member, leader string) {
	c.membersMu.Lock()
	defer c.membersMu.Unlock()
	news := leader != c.leader || !slices.EqualFunc(members, c.members, func(a, b Member) bool {
		return a.Name == b.Name && a.Address == b.Address && a.Epoch == b.Epoch && a.Voter == b.Voter && a.Health == b.Health
	})
	c.tell(members, leader)
	c.members, c.leader = members, leader
	if news {
		close(c.membersChanged)
		c.membersChanged = make(chan struct{})
	}
}

// tell writes a line when a member dies or comes back, and when another node leads. It is called before these are known as such.
func (c *Cluster) tell(members []Member, leader string) {
	if leader != c.leader && leader != "" {
		c.log.Info("node leads the cluster", "leader", leader)
	}
	for _, m := range members {
		i := slices.IndexFunc(c.members, func(was Member) bool { return was.Name == m.Name })
		if i < 0 || m.Self {
			continue
		}
		switch was := c.members[i].Health; {
		case m.Health == Dead && was != Dead:
			c.log.Warn("node does not answer any more", "node", m.Name, "address", m.Address)
		case m.Health == Alive && (was == Dead || was == Unknown):
			c.log.Info("node answers", "node", m.Name, "address", m.Address)
		}
	}
}

// nodeAt is the name of the node at an address, "" when it is not known.
func (c *Cluster) nodeAt(address string) string {
	for _, m := range c.Members() {
		if m.Address == address {
			return m.Name
		}
	}
	return ""
}

// present introduces this node to the cluster whenever the roster does not know it as it is, until ctx ends.
func (c *Cluster) present(ctx context.Context, r *raft.Raft) {
	tick := time.NewTicker(helloEvery)
	defer tick.Stop()
	for {
		if !c.known(r) {
			if err := c.introduce(ctx); err != nil && ctx.Err() == nil {
				c.log.Debug("this node is not admitted yet", "node", c.cfg.Node, "err", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (c *Cluster) myself() hello {
	return hello{Epoch: c.cfg.Identity.Epoch(), Address: c.port.addr(), Program: c.cfg.Program, Speaks: c.cfg.Speaks}
}

// known says that Raft's configuration and the roster have this node as it is.
func (c *Cluster) known(r *raft.Raft) bool {
	n, h := c.roster.node(c.cfg.Node), c.myself()
	if !n.Admitted || n.Epoch != h.Epoch || n.Address != h.Address || n.Program != h.Program || n.Speaks != h.Speaks {
		return false
	}
	return slices.ContainsFunc(r.GetConfiguration().Configuration().Servers, func(s raft.Server) bool {
		return string(s.ID) == c.cfg.Node && string(s.Address) == h.Address
	})
}

// introduce says hello to whoever leads, through any member that answers.
func (c *Cluster) introduce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	h := c.myself()
	h.Node = c.cfg.Node
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if r := c.raft.Load(); r.State() == raft.Leader {
		return c.admit(ctx, h)
	}
	addresses := c.seeds()
	for _, m := range c.Members() {
		if !m.Self {
			addresses = append(addresses, m.Address)
		}
	}
	err = ErrUnreachable
	for _, a := range addresses {
		if _, err = c.port.askOnce(ctx, a, kindHello, text); err == nil {
			return nil
		}
	}
	return err
}

// answerHello is asked by a node that wants to be admitted, answerAdmit by a member on behalf of one.
func (c *Cluster) answerHello(ctx context.Context, from string, payload []byte) ([]byte, error) {
	var h hello
	if err := json.Unmarshal(payload, &h); err != nil {
		return nil, err
	}
	h.Node = from
	_, leader, _ := c.Watch()
	if leader == "" || leader == c.cfg.Node {
		return nil, c.admit(ctx, h)
	}
	text, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	return c.Call(ctx, leader, kindAdmit, text)
}

func (c *Cluster) answerAdmit(ctx context.Context, _ string, payload []byte) ([]byte, error) {
	var h hello
	if err := json.Unmarshal(payload, &h); err != nil {
		return nil, err
	}
	return nil, c.admit(ctx, h)
}

// admit notes a node in the roster and gives it a place in Raft's configuration, without a vote at first. Only the leader can.
func (c *Cluster) admit(ctx context.Context, h hello) error {
	r := c.raft.Load()
	if r == nil || r.State() != raft.Leader {
		return ErrNotLeader
	}
	cmd := rosterCommand{Do: "hello", Node: h.Node, Epoch: h.Epoch, Address: h.Address, Program: h.Program, Speaks: h.Speaks}
	end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	result, err := c.Propose(ctx, rosterMachine, cmd.encode())
	if err != nil {
		return err
	}
	if refused, ok := result.(error); ok {
		return refused
	}
	id, address := raft.ServerID(h.Node), raft.ServerAddress(h.Address)
	for _, s := range r.GetConfiguration().Configuration().Servers {
		if s.ID == id && s.Address == address {
			return nil
		}
		if s.ID != id && s.Address == address {
			return fmt.Errorf("cluster: node %s has the address %s already", s.ID, address)
		}
	}
	// For a node that votes this changes the address only.
	if err := r.AddNonvoter(id, address, 0, handshakeTimeout).Error(); err != nil {
		return fmt.Errorf("cluster: admit node %s: %w", h.Node, proposalError(err))
	}
	c.log.Info("node admitted", "node", h.Node, "address", h.Address, "epoch", h.Epoch)
	return nil
}

// tend is the leader's care for the members, until ctx ends: newcomers get a vote once they have caught up, what was changed half way is brought
// to its end, and a leader whose disk fails gives its office away.
func (c *Cluster) tend(ctx context.Context, r *raft.Raft) {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	var relieved time.Time
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if ready, _, _ := c.ready.state(); !ready || r.State() != raft.Leader {
			continue
		}
		now := time.Now()
		c.promote(ctx, r)
		c.mend(ctx, r)
		c.relieve(now, &relieved)
		c.forget(ctx, now)
	}
}

func (c *Cluster) promote(ctx context.Context, r *raft.Raft) {
	for _, m := range c.Members() {
		if m.Voter || m.Health != Alive || m.Applied == 0 || m.Applied+closeBehind < r.CommitIndex() {
			continue
		}
		end, err := c.begin(ctx)
		if err != nil {
			return
		}
		err = r.AddVoter(raft.ServerID(m.Name), raft.ServerAddress(m.Address), 0, handshakeTimeout).Error()
		end()
		if err != nil {
			c.log.Warn("a node that has caught up could not be given a vote", "node", m.Name, "err", err)
			continue
		}
		c.log.Info("node votes", "node", m.Name, "address", m.Address)
	}
}
