package cluster

import (
	"errors"

	"github.com/hashicorp/raft"
)

// ballot keeps a node from standing for election that should not lead: Raft's own timer knows nothing of disks and of states that differ. Its
// requests for votes stay here, so it goes on as a follower, and votes for others.
type ballot struct {
	*raft.NetworkTransport
	yields func() bool
}

var errYields = errors.New("this node is not fit to lead and another one is")

// RequestPreVote asks for a promise of a vote.
func (b *ballot) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if b.yields() {
		return errYields
	}
	return b.NetworkTransport.RequestPreVote(id, target, args, resp)
}

// RequestVote asks for a vote.
func (b *ballot) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	if b.yields() {
		return errYields
	}
	return b.NetworkTransport.RequestVote(id, target, args, resp)
}

// unfit says why this node should not lead, "" when it may.
func (c *Cluster) unfit() string {
	switch why := c.unserviceable(); {
	case why != "":
		return why
	case c.disk.stuck():
		return "its disk is slow"
	case c.disk.full():
		return "its disk is nearly full"
	}
	return ""
}

// unserviceable says why phones should be sent to other nodes, "" when they need not.
func (c *Cluster) unserviceable() string {
	switch {
	case c.disk.hung():
		return "its disk does not answer"
	case c.disk.failing():
		return "its disk refuses writes"
	case c.comparing.diverged.Load():
		return "its state is not what most others hold"
	}
	return ""
}

// yields says that this node should not lead, and another can: one that votes, is fit, and has at least as much of the log. Where there is none, a
// leader with a full disk is better than none.
func (c *Cluster) yields() bool {
	r := c.raft.Load()
	if r == nil || c.unfit() == "" {
		return false
	}
	last := r.LastIndex()
	for _, m := range c.Members() {
		h, ok := c.healthOf(m.Name)
		if !m.Self && m.Voter && m.Health == Alive && m.fit() && ok && h.pulse.last >= last {
			return true
		}
	}
	return false
}

// fit says whether a member may lead, as far as it has told.
func (m *Member) fit() bool { return m.Disk == "ok" && !m.Diverged }
