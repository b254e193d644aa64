package cluster

import (
	"time"

	"github.com/hashicorp/raft"
)

// presideAfter is how long a node must have led before it presides; half of it is how long the confirmation of a majority counts.
const presideAfter = time.Second

// reign is since when this node has led in a term, as far as it has noticed.
type reign struct {
	term  uint64
	since time.Time
}

// Presides says that this node leads and that no other node can be presiding at this moment: duties that only one may do, such as registering at a
// carrier, are its own. A node alone always presides. Nobody does for up to about a second behind a change of leaders.
//
// A leader that was cut off does not know at once that another one was elected. So it presides only while a majority has answered, in
// its own term, pings that it sent within the last half of presideAfter; and a new leader waits for all of that time. Who elects it shares a node with every
// majority, and that node has left the old term before: what it had confirmed until then is over when the new one begins. It rests on clocks that run
// equally fast. Any goroutine.
func (c *Cluster) Presides() bool {
	if c.port == nil {
		return true
	}
	r, reign := c.raft.Load(), c.reign.Load()
	if r == nil || reign == nil || r.CurrentTerm() != reign.term || r.State() != raft.Leader {
		return false
	}
	now, voters, sure := time.Now(), 0, 0
	if now.Sub(reign.since) < presideAfter {
		return false
	}
	for _, m := range c.Members() {
		if !m.Voter {
			continue
		}
		voters++
		h, ok := c.healthOf(m.Name)
		if m.Self || ok && h.pulse.term == reign.term && now.Sub(h.told) < presideAfter/2 {
			sure++
		}
	}
	return sure > voters/2
}

// noteReign is called often enough for a reign to be noticed soon; to notice it late is on the safe side.
func (c *Cluster) noteReign(r *raft.Raft) {
	term := r.CurrentTerm()
	if r.State() != raft.Leader {
		c.reign.Store(nil)
		return
	}
	if was := c.reign.Load(); was == nil || was.term != term {
		c.reign.Store(&reign{term, time.Now()})
	}
}
