package cluster

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// checkMachine is the name under which checksums are asked for in the log.
	checkMachine = "cluster.check"
	kindSums     = "cluster.sums"

	// compareEvery is how often the leader has the states compared when nobody says; compareSoon is how long after it has begun, or another
	// node has come back.
	compareEvery = 5 * time.Minute
	compareSoon  = 20 * time.Second
	// maxSums bounds what one node may say of its machines.
	maxSums = 64
)

// comparing finds nodes whose machines are not what the log makes of them: a fault of the program or of memory, a file that somebody has changed. An item in the
// log names the place; behind it every node takes its state as for a snapshot, hashes it beside Apply, and tells the others. What most of those that
// vote and run the same program hold is right (another version may write the same thing otherwise). A node that holds something else says so, is not
// ready, and does not lead.
type comparing struct {
	c    *Cluster
	jobs chan comparison

	mu       sync.Mutex
	said     map[string]sums // by node, the newest
	differs  map[string][]string
	last     time.Time // when this node has compared
	done     atomic.Uint64
	skipped  atomic.Uint64
	diverged atomic.Bool // this node differs from most
}

// comparison is a state to be hashed.
type comparison struct {
	id       uint64
	sections []section
	release  func()
}

// sums are what a node holds at one place in the log.
type sums struct {
	ID       uint64            `json:"id"` // of the place
	Program  string            `json:"program"`
	Machines map[string]string `json:"machines"`
}

// ComparisonStatus is what came of comparing the states of all nodes.
type ComparisonStatus struct {
	Done    uint64    `json:"done"`                             // states hashed here
	Skipped uint64    `json:"skipped"`                          // a snapshot or backup was being written
	Last    time.Time `json:"last,omitzero"`                    // when one was hashed here
	Differs []string  `json:"differs"         nullable:"false"` // parts of this node's state that are not what most others hold
}

func newComparing(c *Cluster) *comparing {
	return &comparing{c: c, jobs: make(chan comparison, 1), said: map[string]sums{}, differs: map[string][]string{}}
}

// Apply takes the state of this place in the log, unless another copy is being written: the next time will do.
func (k *comparing) Apply(cmd []byte) any {
	if len(cmd) != 9 || cmd[0] != 1 {
		panic("a command to compare cannot be read")
	}
	if ready, _, _ := k.c.ready.state(); !ready || k.c.cfg.alone() {
		return nil // of the past
	}
	select {
	case k.c.capturing <- struct{}{}:
	default:
		k.skipped.Add(1)
		return nil
	}
	release := func() { <-k.c.capturing }
	sections, err := k.c.fsm.sections(func(string) bool { return true })
	if err != nil {
		release()
		k.skipped.Add(1)
		return nil
	}
	k.jobs <- comparison{binary.BigEndian.Uint64(cmd[1:]), sections, release} // there is room: one copy at a time
	return nil
}

// Snapshot writes nothing: what was compared is no state.
func (k *comparing) Snapshot() (func(io.Writer) error, error) {
	return func(io.Writer) error { return nil }, nil
}

// Restore reads nothing.
func (k *comparing) Restore(in io.Reader) error {
	_, err := io.Copy(io.Discard, in)
	return err
}

// compare hashes what Apply has taken, and has the leader ask for the next comparison, until ctx ends.
func (c *Cluster) compare(ctx context.Context, r *raft.Raft) {
	k := c.comparing
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	var due time.Time // zero while another leads
	var alive string
	soon := min(compareSoon, c.cfg.CompareEvery)
	for {
		select {
		case job := <-k.jobs:
			k.hash(job)
		case now := <-tick.C:
			who := c.chorus()
			switch {
			case r.State() != raft.Leader || c.Agreed() < sinceChecks:
				due = time.Time{}
			case due.IsZero(), who != alive && due.Sub(now) > soon:
				due = now.Add(soon)
			case now.After(due):
				due = now.Add(c.cfg.CompareEvery)
				_ = c.ProposeAsync(checkMachine, newComparison(), func(any, error) {}) // else the next time
			}
			alive = who
		case <-ctx.Done():
			select {
			case job := <-k.jobs:
				job.release()
				discard(job.sections)
			default:
			}
			return
		}
	}
}

func newComparison() []byte {
	b := make([]byte, 9)
	_, _ = rand.Read(b[1:])
	b[0] = 1
	return b
}

// chorus are the nodes that answer.
func (c *Cluster) chorus() string {
	var names []string
	for _, m := range c.Members() {
		if m.Health == Alive {
			names = append(names, m.Name)
		}
	}
	return strings.Join(names, " ")
}

// hash makes the sums of a state and tells the others.
func (k *comparing) hash(job comparison) {
	defer job.release()
	own := sums{ID: job.id, Program: k.c.cfg.Program, Machines: map[string]string{}}
	for i, s := range job.sections {
		h := sha256.New()
		if err := s.write(h); err != nil {
			discard(job.sections[i+1:])
			k.skipped.Add(1)
			return
		}
		own.Machines[s.name] = hex.EncodeToString(h.Sum(nil))
	}
	text, err := json.Marshal(own)
	if err != nil {
		return
	}
	k.done.Add(1)
	for _, m := range k.c.Members() {
		if !m.Self {
			_ = k.c.Send(m.Name, kindSums, text) // who does not hear it compares the next time
		}
	}
	k.mu.Lock()
	k.last = time.Now()
	k.mu.Unlock()
	k.hear(k.c.cfg.Node, own)
}

func (c *Cluster) receiveSums(from string, payload []byte) {
	var s sums
	if err := json.Unmarshal(payload, &s); err != nil || len(s.Machines) > maxSums {
		c.counts.unknown.Add(1)
		return
	}
	c.comparing.hear(from, s)
}

// hear notes what a node holds, and judges.
func (k *comparing) hear(node string, s sums) {
	var voters []string
	for _, m := range k.c.Members() {
		if m.Voter {
			voters = append(voters, m.Name)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.said[node] = s
	for name := range k.said {
		if !slices.Contains(voters, name) && name != node {
			delete(k.said, name)
		}
	}
	for name, differs := range verdict(k.said, k.c.cfg.Node, voters) {
		was := k.differs[name]
		k.differs[name] = differs
		if slices.Equal(was, differs) {
			continue
		}
		switch {
		case name == k.c.cfg.Node && len(differs) > 0:
			k.c.log.Error("the state of this node is not what most others hold; it does not lead and is not ready: take it out of the cluster and let it join anew", "node", name, "differs", differs)
		case len(differs) > 0:
			k.c.log.Error("the state of a node is not what most others hold: take it out of the cluster and let it join anew", "node", name, "differs", differs)
		default:
			k.c.log.Info("the state of a node is what the others hold again", "node", name)
		}
	}
	k.diverged.Store(len(k.differs[k.c.cfg.Node]) > 0)
}

// verdict says of each node that was heard about the same place as this one which of its machines are not what a majority of the voters holds. Where
// there is no such majority nothing is said.
func verdict(said map[string]sums, self string, voters []string) map[string][]string {
	own, ok := said[self]
	if !ok {
		return nil
	}
	same := func(s sums) bool { return s.ID == own.ID && s.Program == own.Program }
	count := map[[2]string]int{} // machine and sum
	for _, v := range voters {
		if s, heard := said[v]; heard && same(s) {
			for machine, sum := range s.Machines {
				count[[2]string{machine, sum}]++
			}
		}
	}
	right := map[string]string{}
	for key, n := range count {
		if n > len(voters)/2 {
			right[key[0]] = key[1]
		}
	}
	if len(right) == 0 {
		return nil
	}
	out := map[string][]string{}
	for node, s := range said {
		if !same(s) {
			continue
		}
		differs := []string{}
		for machine, sum := range s.Machines {
			if want, sure := right[machine]; sure && want != sum {
				differs = append(differs, machine)
			}
		}
		slices.SortFunc(differs, cmp.Compare)
		out[node] = differs
	}
	return out
}

// differs are the machines of a node that are not as most others have them.
func (k *comparing) of(node string) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.differs[node])
}

func (k *comparing) status() ComparisonStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	return ComparisonStatus{k.done.Load(), k.skipped.Load(), k.last, append([]string{}, k.differs[k.c.cfg.Node]...)}
}
