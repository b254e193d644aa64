package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// CommandVersion counts the kinds of commands that any machine of the program knows: it is raised when one learns a kind that programs before it
// would stop at. Such a command is proposed by ProposeSince alone.
const CommandVersion = 5

const (
	// firstVersion is what programs know that say nothing.
	firstVersion = 2
	// sinceRestore, sinceChecks and sinceShares are the versions that brought machines of the cluster itself.
	sinceRestore = 3
	sinceChecks  = 3
	sinceShares  = 5

	// versionWait is how long a proposal waits for a version that all know: a cluster that has just begun agrees on it a moment later.
	versionWait = 3 * time.Second
)

// ErrTooOld means that a program is too old: that of another node for a command, or that of this one for the log. The error says which it is, and
// what is needed.
var ErrTooOld = errors.New("a program is too old")

// tooOld is how a machine says that this program cannot go on with the log.
type tooOld struct{ text string }

func (e *tooOld) Error() string { return e.text }
func (e *tooOld) Unwrap() error { return ErrTooOld }

// agree raises the version of commands that may stand in the log. It comes before the first command that needs it, so a program that is too old stops here, and
// knows by what it must be replaced.
func (r *roster) agree(c rosterCommand) any {
	for name, n := range r.state.Nodes {
		if n.Admitted && !n.Gone && n.Speaks < c.Speaks {
			return fmt.Errorf("node %s knows version %d of commands only", name, n.Speaks)
		}
	}
	r.state.Agreed, r.state.Needs = max(r.state.Agreed, c.Speaks), c.Program
	if err := r.suits(); err != nil {
		panic(err)
	}
	return r.state.Agreed
}

// suits says whether this program knows all that may stand in the log.
func (r *roster) suits() error {
	if r.speaks > 0 && r.state.Agreed > r.speaks {
		return &tooOld{fmt.Sprintf("the cluster uses version %d of commands and this program knows %d: install version %s of the program, or a newer one, on this node", r.state.Agreed, r.speaks, r.state.Needs)}
	}
	return nil
}

func (r *roster) agreed() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return max(r.state.Agreed, firstVersion)
}

// common is the version that all servers know, and the program of one that knows no newer one. ok is false while one of them has not introduced itself.
func (r *roster) common(self string, speaks int, program string, servers []raft.Server) (version int, of string, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	version, of = speaks, program
	for _, s := range servers {
		n := r.state.Nodes[string(s.ID)]
		if string(s.ID) == self {
			continue
		}
		if !n.Admitted {
			return 0, "", false
		}
		if n.Speaks < version {
			version, of = n.Speaks, n.Program
		}
	}
	for name, n := range r.state.Nodes { // admitted, and without a place yet
		if n.Admitted && !n.Gone && name != self && n.Speaks < version {
			version, of = n.Speaks, n.Program
		}
	}
	return version, of, true
}

// Agreed is the version of commands that all nodes know. It only grows. Any goroutine.
func (c *Cluster) Agreed() int { return c.roster.agreed() }

// raiseVersion has the leader agree on the newest version that all nodes know.
func (c *Cluster) raiseVersion(r *raft.Raft) {
	if ready, _, _ := c.ready.state(); !ready || r.State() != raft.Leader {
		return
	}
	version, of, ok := c.roster.common(c.cfg.Node, c.cfg.Speaks, c.cfg.Program, r.GetConfiguration().Configuration().Servers)
	if !ok || version <= max(c.Agreed(), sinceRestore-1) {
		return
	}
	cmd := rosterCommand{Do: "agree", Speaks: version, Program: of}
	_ = c.ProposeAsync(rosterMachine, cmd.encode(), func(result any, err error) { // the next second tries again
		if _, refused := result.(error); err == nil && !refused {
			c.log.Info("all nodes know this version of commands, so it is used from now on", "version", version)
		}
	})
}

// ProposeSince is Propose for a kind of command that programs know since a version of commands. While a node has an older program it is ErrTooOld, with
// the names of those nodes.
func (c *Cluster) ProposeSince(ctx context.Context, version int, machine string, cmd []byte) (any, error) {
	for until := time.Now().Add(versionWait); c.Agreed() < version; {
		if old := c.olderThan(version); len(old) > 0 || time.Now().After(until) {
			return nil, fmt.Errorf("cluster: %w: this needs version %d of commands on all nodes, and the cluster uses %d: upgrade %s first", ErrTooOld, version, c.Agreed(), strings.Join(old, ", "))
		}
		if err := pause(ctx, followerCheck); err != nil {
			return nil, fmt.Errorf("cluster: %w: %w", ErrNotLeader, err)
		}
	}
	return c.Propose(ctx, machine, cmd)
}

// olderThan names the nodes that are known not to know a version.
func (c *Cluster) olderThan(version int) (names []string) {
	for _, m := range c.Members() {
		if m.Speaks > 0 && m.Speaks < version {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	return names
}
