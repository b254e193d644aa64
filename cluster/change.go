package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

const (
	kindRemove   = "cluster.remove"
	kindTransfer = "cluster.transfer"

	// fullEvery is the pause between attempts of a leader that is not fit to give its office away.
	fullEvery = 5 * time.Second
)

// removal asks the leader to remove a node.
type removal struct {
	Node  string `json:"node"`
	Force bool   `json:"force,omitempty"`
}

// Remove takes a node out of the cluster: it loses its vote, and its certificate no longer counts. Any node may be asked, for itself or another one. It is
// refused when those who answer could not agree on anything afterwards; force does it all the same, as long as it can be agreed on now.
func (c *Cluster) Remove(ctx context.Context, node string, force bool) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	text, err := json.Marshal(removal{node, force})
	if err != nil {
		return err
	}
	for {
		_, leader, changed := c.Watch()
		switch {
		case leader == "":
			err = ErrNotLeader
		case leader != c.cfg.Node:
			_, err = c.Call(ctx, leader, kindRemove, text)
		case node == c.cfg.Node: // the next leader does it
			if err = c.transfer(""); err == nil {
				err = ErrNotLeader
			}
		default:
			err = c.remove(ctx, node, force)
		}
		if !errors.Is(err, ErrNotLeader) {
			return err
		}
		select {
		case <-changed:
		case <-time.After(retryEvery):
		case <-ctx.Done():
			return err
		}
	}
}

func (c *Cluster) answerRemove(ctx context.Context, _ string, payload []byte) ([]byte, error) {
	var r removal
	if err := json.Unmarshal(payload, &r); err != nil {
		return nil, err
	}
	if r.Node == c.cfg.Node {
		if err := c.transfer(""); err != nil {
			return nil, err
		}
		return nil, ErrNotLeader // ask the next one
	}
	return nil, c.remove(ctx, r.Node, r.Force)
}

// begin waits until this node changes nothing else in Raft's configuration; the function ends the change.
func (c *Cluster) begin(ctx context.Context) (end func(), err error) {
	select {
	case c.changing <- struct{}{}:
		return func() { <-c.changing }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// farewell is how long a node that is removed stays in Raft's configuration, to hear of it: several rounds of news.
const farewell = 5 * commitNews

// remove is done by the leader.
func (c *Cluster) remove(ctx context.Context, node string, force bool) error {
	r := c.raft.Load()
	if r == nil || r.State() != raft.Leader {
		return ErrNotLeader
	}
	if err := c.mayRemove(node); err != nil && (!force || errors.Is(err, ErrNoNode)) {
		return err
	}
	end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	// The roster first: while it goes round, the node still hears that it is no longer wanted.
	result, err := c.Propose(ctx, rosterMachine, rosterCommand{Do: "remove", Node: node}.encode())
	if err != nil {
		return err
	}
	if refused, ok := result.(error); ok {
		return refused
	}
	select { // it has the entry, and hears a moment later that it is agreed on
	case <-time.After(farewell):
	case <-ctx.Done():
	}
	if err := r.RemoveServer(raft.ServerID(node), 0, handshakeTimeout).Error(); err != nil {
		return fmt.Errorf("cluster: remove node %s: %w", node, proposalError(err))
	}
	c.log.Info("node removed", "node", node)
	return nil
}

// mayRemove says whether the cluster can do without a node.
func (c *Cluster) mayRemove(node string) error {
	voters, alive := 0, 0
	found := false
	for _, m := range c.Members() {
		found = found || m.Name == node
		if m.Name == node || !m.Voter {
			continue
		}
		voters++
		if m.Health == Alive {
			alive++
		}
	}
	switch {
	case !found:
		return fmt.Errorf("cluster: %w: %q", ErrNoNode, node)
	case voters == 0:
		return errors.New("cluster: the last node with a vote cannot leave")
	case alive <= voters/2:
		return fmt.Errorf("cluster: without node %s only %d of %d voting nodes would answer, which is too few to agree on anything; bring others back first, or force it", node, alive, voters)
	}
	return nil
}

// Transfer makes another node lead, "" being the one that is furthest. Any node may be asked.
func (c *Cluster) Transfer(ctx context.Context, to string) error {
	_, leader, _ := c.Watch()
	switch leader {
	case "":
		return fmt.Errorf("cluster: transfer: %w", ErrNotLeader)
	case c.cfg.Node:
		return c.transfer(to)
	case to:
		return nil
	}
	_, err := c.Call(ctx, leader, kindTransfer, []byte(to))
	return err
}

func (c *Cluster) answerTransfer(_ context.Context, _ string, payload []byte) ([]byte, error) {
	return nil, c.transfer(string(payload))
}

// transfer is done by the leader.
func (c *Cluster) transfer(to string) error {
	r := c.raft.Load()
	if r == nil || r.State() != raft.Leader {
		return ErrNotLeader
	}
	if to == "" {
		to = c.heir(r.LastIndex())
	}
	members := c.Members()
	i := slices.IndexFunc(members, func(m Member) bool { return m.Name == to })
	switch {
	case to == c.cfg.Node:
		return nil
	case to == "":
		return c.transferred(r.LeadershipTransfer().Error())
	case i < 0:
		return fmt.Errorf("cluster: %w: %q", ErrNoNode, to)
	case !members[i].Voter || members[i].Health != Alive:
		return fmt.Errorf("cluster: node %s cannot lead now: it is %s and must be alive and have a vote", to, members[i].Health)
	}
	return c.transferred(r.LeadershipTransferToServer(raft.ServerID(to), raft.ServerAddress(members[i].Address)).Error())
}

// heir is who should lead next: of those that are fit the one with the longest log, "" when Raft may choose.
func (c *Cluster) heir(last uint64) (best string) {
	least := uint64(0)
	for _, m := range c.Members() {
		h, ok := c.healthOf(m.Name)
		if m.Self || !m.Voter || m.Health != Alive || !m.fit() || !ok || h.pulse.last+closeBehind < last || h.pulse.last < least {
			continue
		}
		best, least = m.Name, h.pulse.last
	}
	return best
}

func (c *Cluster) transferred(err error) error {
	if err != nil {
		return fmt.Errorf("cluster: leadership could not be transferred: %w", err)
	}
	c.log.Info("leadership given to another node", "node", c.cfg.Node)
	return nil
}

// mend brings roster and Raft's configuration together where a change stopped half way: a node that the roster has removed loses its place, and
// one that lost its place, as by a recovery after the quorum was lost, is fenced.
func (c *Cluster) mend(ctx context.Context, r *raft.Raft) {
	end, err := c.begin(ctx)
	if err != nil {
		return
	}
	defer end()
	servers := r.GetConfiguration().Configuration().Servers
	for _, name := range c.roster.stray(servers) {
		_, _ = c.Propose(ctx, rosterMachine, rosterCommand{Do: "remove", Node: name}.encode()) // the next round tries again
		c.log.Info("a node without a place in the cluster is fenced", "node", name)
	}
	for _, s := range servers {
		if n := c.roster.node(string(s.ID)); n.Gone && string(s.ID) != c.cfg.Node {
			_ = r.RemoveServer(s.ID, 0, handshakeTimeout).Error()
		}
	}
}

// relieve gives leadership away when this node should not lead, and another can.
func (c *Cluster) relieve(now time.Time, last *time.Time) {
	why := c.unfit()
	if why == "" || now.Sub(*last) < fullEvery {
		return
	}
	for _, m := range c.Members() {
		if !m.Self && m.Voter && m.Health == Alive && m.fit() {
			*last = now
			c.log.Warn("this node is not fit to lead, so another shall", "reason", why, "free", c.disk.free.Load())
			_ = c.transfer(m.Name) // tried again when it did not work
			return
		}
	}
}

// forget removes nodes that have been dead for as long as the configuration says, while enough others answer.
func (c *Cluster) forget(ctx context.Context, now time.Time) {
	if c.cfg.ForgetAfter <= 0 {
		return
	}
	voters := 0
	members := c.Members()
	for _, m := range members {
		if m.Voter {
			voters++
		}
	}
	for _, m := range members {
		h, ok := c.healthOf(m.Name)
		if m.Self || m.Health != Dead || !ok || h.heard.IsZero() || now.Sub(h.heard) < c.cfg.ForgetAfter || m.Voter && voters <= 3 {
			continue
		}
		if err := c.remove(ctx, m.Name, false); err == nil {
			c.log.Warn("a node that has been dead for long was removed; it needs a new token to come back", "node", m.Name, "silent_since", h.heard)
		}
		return // one at a time
	}
}

// Recover makes a node that has lost the other ones for good the only one of its cluster, with all it knows. What the others had agreed on and
// this node had not heard of is lost. It works on the directory of a node that does not run, on a Cluster that is not run afterwards.
func (c *Cluster) Recover() error {
	store, err := c.openStore()
	if err != nil {
		return err
	}
	defer store.close()
	has, err := raft.HasExistingState(store.Log, store.Stable, store.Snapshots)
	if err != nil {
		return fmt.Errorf("cluster: recover: %w", err)
	}
	if !has {
		return fmt.Errorf("cluster: recover: %s holds nothing that could be recovered", c.place())
	}
	address := raft.ServerAddress(c.cfg.Node)
	if c.port != nil {
		address = raft.ServerAddress(c.port.addr())
	}
	conf := c.raftConfig()
	_, transport := raft.NewInmemTransport(address)
	alone := raft.Configuration{Servers: []raft.Server{{ID: conf.LocalID, Address: address}}}
	if err := raft.RecoverCluster(conf, c.fsm, store.Log, store.Stable, store.Snapshots, transport, alone); err != nil {
		return fmt.Errorf("cluster: recover %s: %w", c.place(), err)
	}
	return nil
}
