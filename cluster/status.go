package cluster

import (
	"strings"
	"sync/atomic"
	"time"
)

// counters are written by the proposing path and read by Status.
type counters struct {
	proposed, refused, committed, failed atomic.Uint64
	entries, merged, bytes               atomic.Uint64
	forwarded, resent, elections         atomic.Uint64
	snapshots, snapshotErrors            atomic.Uint64
	inFlight                             atomic.Int64
	callCounts
}

// Status is what an operator wants to know about a node's part in the cluster.
type Status struct {
	Node    string `json:"node"`
	State   string `json:"state"`             // "starting", "follower", "candidate", "leader", "stopped"
	Leader  string `json:"leader"`            // node name; "" when none is known
	Ready   bool   `json:"ready"`             // a leader is known and everything committed before it is applied here
	Removed bool   `json:"removed,omitempty"` // the cluster has taken this node out
	Term    uint64 `json:"term"`
	Last    uint64 `json:"last_index"`    // the newest entry in this node's log
	Commit  uint64 `json:"commit_index"`  // the newest entry known to be agreed
	Applied uint64 `json:"applied_index"` // the newest entry that the machines here have seen

	LogBytes   int64 `json:"log_bytes"`   // of log since the last snapshot: what a start replays
	LogEntries int64 `json:"log_entries"` // likewise
	FileBytes  int64 `json:"file_bytes"`  // what the log takes on the disk

	Snapshot SnapshotStatus `json:"snapshot"`
	// Time is the leader's, of the newest entry applied here.
	Time       time.Time        `json:"time,omitzero"`
	Queue      QueueStatus      `json:"queue"`
	Counters   Counters         `json:"counters"`
	Port       PortStatus       `json:"port"`
	Calls      CallStatus       `json:"calls"`
	Copies     CopiesStatus     `json:"copies"`
	Succession SuccessionStatus `json:"succession"`
	Shares     SharesStatus     `json:"shares"`
	Comparison ComparisonStatus `json:"comparison"`
	// Speaks is the newest version of commands that this program knows, Agreed what all nodes know and the cluster uses.
	Speaks int `json:"speaks"`
	Agreed int `json:"agreed"`
	// Unfit says why this node should not lead, "" when it may; Unserviceable why phones should be sent to other nodes.
	Unfit         string   `json:"unfit,omitempty"`
	Unserviceable string   `json:"unserviceable,omitempty"`
	Members       []Member `json:"members" nullable:"false"`
}

// PortStatus counts what became of connections to the cluster port, since the start.
type PortStatus struct {
	Accepted  uint64 `json:"accepted"`  // from members, and from newcomers with a good token
	Strangers uint64 `json:"strangers"` // knew no secret of the cluster: closed without an answer
	Refused   uint64 `json:"refused"`   // knew one, but failed the handshake, or were refused to join
	Fenced    uint64 `json:"fenced"`    // nodes that had been removed, or replaced under their name
	Turned    uint64 `json:"turned"`    // too many at once
}

// CallStatus counts what went between the nodes besides Raft, since the start.
type CallStatus struct {
	Calls      uint64 `json:"calls"`       // requests made here
	CallErrors uint64 `json:"call_errors"` // of these without a good answer
	Sent       uint64 `json:"sent"`        // messages
	SendErrors uint64 `json:"send_errors"` // messages that could not be sent
	Answered   uint64 `json:"answered"`    // requests of others
	Received   uint64 `json:"received"`    // messages of others
	Unknown    uint64 `json:"unknown"`     // requests and messages that this program does not know
	Panics     uint64 `json:"panics"`      // handlers that failed
}

// SnapshotStatus describes the newest snapshot on the disk.
type SnapshotStatus struct {
	Index uint64        `json:"index"` // 0: there is none yet
	Term  uint64        `json:"term"`
	Bytes int64         `json:"bytes"`
	Time  time.Time     `json:"time,omitzero"` // when this process wrote it; zero when an earlier one did
	Took  time.Duration `json:"took_ns"`
	Pause time.Duration `json:"pause_ns"` // longest that changes have waited for any snapshot since the start
}

// QueueStatus is what was proposed here and waits for its outcome now.
type QueueStatus struct {
	Items    int   `json:"items"`
	Bytes    int   `json:"bytes"`
	Capacity int   `json:"capacity"`
	InFlight int64 `json:"in_flight"` // entries that Raft has taken and not answered
}

// Counters count since the start of the process.
type Counters struct {
	Proposed       uint64 `json:"proposed"`        // items accepted into the queue here
	Refused        uint64 `json:"refused"`         // items not accepted: queue full, no leader yet, too large, stopped
	Committed      uint64 `json:"committed"`       // items whose proposer was told so
	Failed         uint64 `json:"failed"`          // items whose proposer got an error after acceptance
	Forwarded      uint64 `json:"forwarded"`       // items given to another node that leads
	Resent         uint64 `json:"resent"`          // times that entries failed or a leader said no, and items were sent again
	Elections      uint64 `json:"elections"`       // called here because the leader did not answer
	Twice          uint64 `json:"twice"`           // items that stood in the log again and were skipped
	Entries        uint64 `json:"entries"`         // entries written here, with the items of all nodes
	Merged         uint64 `json:"merged"`          // items that shared an entry with others
	EntryBytes     uint64 `json:"entry_bytes"`     // bytes of those entries
	Applied        uint64 `json:"applied"`         // items applied here, replay and other nodes' items included
	Skipped        uint64 `json:"skipped"`         // optional items for machines unknown here
	Snapshots      uint64 `json:"snapshots"`       // snapshots written
	SnapshotErrors uint64 `json:"snapshot_errors"` // snapshots that failed
}

// Status may be called at any time, from any goroutine.
func (c *Cluster) Status() Status {
	s := Status{
		Node: c.cfg.Node, State: "starting", Queue: c.queueStatus(), Counters: c.counters(), Calls: c.callStatus(), Copies: c.copies.status(), Succession: c.successionStatus(), Shares: c.sharing.status(), Members: c.Members(),
		Comparison: c.comparing.status(), Speaks: c.cfg.Speaks, Agreed: c.Agreed(), Unfit: c.unfit(), Unserviceable: c.unserviceable(),
	}
	if c.port != nil {
		n := &c.port.counts
		s.Port = PortStatus{n.accepted.Load(), n.strangers.Load(), n.refused.Load(), n.fenced.Load(), n.turned.Load()}
	}
	if s.Members == nil {
		s.Members = []Member{}
	}
	if ms := c.fsm.clock.Load(); ms > 0 {
		s.Time = time.UnixMilli(ms)
	}
	s.LogBytes, s.LogEntries = c.fsm.sinceSnapshot()
	ready, _, failed := c.ready.state()
	s.Ready = ready
	if failed != nil {
		s.State = "stopped"
	}
	if s.Unserviceable != "" {
		s.Ready = false
	}
	if s.Removed = c.roster.node(c.cfg.Node).Gone; s.Removed {
		s.Ready = false
	}
	r := c.raft.Load()
	if r == nil {
		return s
	}
	if failed == nil {
		s.State = strings.ToLower(r.State().String())
		_, leader := r.LeaderWithID()
		s.Leader = string(leader)
	}
	s.Term, s.Last, s.Commit, s.Applied = r.CurrentTerm(), r.LastIndex(), r.CommitIndex(), r.AppliedIndex()
	store := c.store.Load()
	s.FileBytes = store.fileBytes()
	if list, err := store.Snapshots.List(); err == nil && len(list) > 0 {
		s.Snapshot = SnapshotStatus{Index: list[0].Index, Term: list[0].Term, Bytes: list[0].Size}
	}
	if last := c.fsm.last.Load(); last != nil {
		s.Snapshot.Time, s.Snapshot.Took = last.time, last.took
	}
	s.Snapshot.Pause = time.Duration(c.fsm.pause.Load())
	return s
}

func (c *Cluster) queueStatus() QueueStatus {
	items, bytes, _ := c.outbox.state()
	return QueueStatus{Items: items, Bytes: bytes, Capacity: c.cfg.QueueItems, InFlight: c.counts.inFlight.Load()}
}

func (c *Cluster) counters() Counters {
	return Counters{
		Proposed:       c.counts.proposed.Load(),
		Refused:        c.counts.refused.Load(),
		Committed:      c.counts.committed.Load(),
		Failed:         c.counts.failed.Load(),
		Forwarded:      c.counts.forwarded.Load(),
		Resent:         c.counts.resent.Load(),
		Elections:      c.counts.elections.Load(),
		Twice:          c.fsm.twice.Load(),
		Entries:        c.counts.entries.Load(),
		Merged:         c.counts.merged.Load(),
		EntryBytes:     c.counts.bytes.Load(),
		Applied:        c.fsm.items.Load(),
		Skipped:        c.fsm.skipped.Load(),
		Snapshots:      c.counts.snapshots.Load(),
		SnapshotErrors: c.counts.snapshotErrors.Load(),
	}
}

func (c *Cluster) callStatus() CallStatus {
	n := &c.counts
	return CallStatus{
		n.calls.Load(), n.callErrors.Load(), n.sent.Load(), n.sendErrors.Load(), n.answered.Load(), n.received.Load(), n.unknown.Load(), n.panics.Load(),
	}
}
