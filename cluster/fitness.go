package cluster

import (
	"errors"
	"syscall"
	"time"

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
	return anotherConnection(func() error { return b.NetworkTransport.RequestPreVote(id, target, args, resp) })
}

// RequestVote asks for a vote.
func (b *ballot) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	if b.yields() {
		return errYields
	}
	return anotherConnection(func() error { return b.NetworkTransport.RequestVote(id, target, args, resp) })
}

// AppendEntries sends entries to a follower.
func (b *ballot) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	return anotherConnection(func() error { return b.NetworkTransport.AppendEntries(id, target, args, resp) })
}

// anotherConnection does again what has failed at once: Raft keeps connections that were good when it last used them, tries one, and counts a node as
// gone whose connection was closed since. All that it sends may come twice.
func anotherConnection(send func() error) (err error) {
	for range rpcPool + 1 {
		began := time.Now()
		if err = send(); err == nil || errors.Is(err, syscall.ECONNREFUSED) || time.Since(began) > connectWait/10 {
			return err
		}
	}
	return err
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
