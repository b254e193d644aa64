package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// checkEvery is how often the size of the log is looked at.
	checkEvery = time.Second
	// snapshotRetry is how long we leave a snapshot alone that failed, most likely for want of space.
	snapshotRetry = 30 * time.Second
	// followerCheck is how often a starting follower looks whether it has caught up.
	followerCheck = 10 * time.Millisecond
)

// watch opens and closes the ready gate as leaders come and go.
func (c *Cluster) watch(ctx context.Context, r *raft.Raft) {
	seen := make(chan raft.Observation, 16)
	observer := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	r.RegisterObserver(observer)
	defer r.DeregisterObserver(observer)
	tick := time.NewTicker(followerCheck)
	defer tick.Stop()
	for {
		ready := c.caughtUp(r)
		c.ready.set(ready)
		signal(c.led)
		poll := tick.C
		if _, leader := r.LeaderWithID(); ready || leader == "" {
			poll = nil // only a change of leader can change anything
		}
		select {
		case <-r.LeaderCh():
		case <-seen:
		case <-poll:
		case <-ctx.Done():
			return
		}
	}
}

// caughtUp says whether the machines hold everything that was committed when the present leader began.
func (c *Cluster) caughtUp(r *raft.Raft) bool {
	if c.fsm.outdated.Load() != nil {
		return false
	}
	if r.State() == raft.Leader {
		if ready, _, _ := c.ready.state(); ready {
			return true
		}
		if r.Barrier(0).Error() != nil {
			return false
		}
		c.log.Info("cluster ready", "node", c.cfg.Node, "state", "leader", "term", r.CurrentTerm(), "applied", r.AppliedIndex())
		return true
	}
	_, leader := r.LeaderWithID()
	commit := r.CommitIndex()
	return leader != "" && commit > 0 && r.AppliedIndex() >= commit
}

// snapshots takes one whenever the log has become long enough.
func (c *Cluster) snapshots(ctx context.Context, r *raft.Raft) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	var notBefore time.Time
	for {
		select {
		case now := <-tick.C:
			if free := c.store.Load().Free; free != nil {
				c.disk.free.Store(free())
			}
			c.tidyRestore(r, now)
			c.raiseVersion(r)
			if !c.snapshotDue() || now.Before(notBefore) {
				continue
			}
			if err := c.Snapshot(ctx); err != nil && ctx.Err() == nil {
				notBefore = now.Add(snapshotRetry)
				c.log.Error("snapshot failed, the log keeps growing; is the disk full?", "node", c.cfg.Node, "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (c *Cluster) snapshotDue() bool {
	limit := c.cfg.SnapshotBytes
	if last := c.fsm.last.Load(); last != nil {
		limit = max(limit, last.size/2)
	}
	bytes, entries := c.fsm.sinceSnapshot()
	return bytes >= limit || entries >= c.cfg.SnapshotEntries
}

// Snapshot writes the state of all machines to the disk now and drops the log before it. It returns nil when there
// is nothing new. It blocks for as long as that takes: ctx ends the waiting for a backup that is being written, and nothing else.
func (c *Cluster) Snapshot(ctx context.Context) error {
	r := c.raft.Load()
	if r == nil {
		return fmt.Errorf("cluster: snapshot: %w", ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	release, err := c.beginCapture(ctx)
	if err != nil {
		return err
	}
	defer release()
	start := time.Now()
	err = r.Snapshot().Error()
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	if err != nil {
		c.counts.snapshotErrors.Add(1)
		return fmt.Errorf("cluster: snapshot: %w", err)
	}
	done := *c.fsm.written.Load()
	done.time, done.took = start, time.Since(start)
	c.fsm.last.Store(&done)
	c.counts.snapshots.Add(1)
	c.log.Info("snapshot written", "node", c.cfg.Node, "bytes", done.size, "took", done.took)
	return nil
}
