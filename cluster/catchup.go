package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

const (
	kindApplied = "cluster.applied"

	// catchUpLook is how often a node looks whether it has applied what it waits for.
	catchUpLook = time.Millisecond
)

// CatchUp waits until this node has applied every change that somebody had been told of before the call, on whatever node. It is for answers that
// must not be given from behind (nobody has this number, this password is wrong), and costs a question to the leader. A leader that was cut off
// a moment ago may not know of the latest. An error says that it is not known whether this node lags: no node leads, or ctx has ended. Any
// goroutine.
func (c *Cluster) CatchUp(ctx context.Context) error {
	if c.port == nil {
		return nil
	}
	for {
		_, leader, changed := c.Watch()
		r := c.raft.Load()
		if leader == "" || r == nil {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return fmt.Errorf("cluster: catch up: %w: %w", ErrNotLeader, context.Cause(ctx))
			}
		}
		index, err := c.agreedBy(ctx, r, leader)
		if err == nil {
			return c.awaitApplied(ctx, r, index)
		}
		if !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrUnreachable) {
			return err
		}
		select {
		case <-changed:
		case <-time.After(followerCheck):
		case <-ctx.Done():
			return err
		}
	}
}

// agreedBy is the newest entry with changes that the leader has applied.
func (c *Cluster) agreedBy(ctx context.Context, r *raft.Raft, leader string) (uint64, error) {
	if leader == c.cfg.Node {
		return c.appliedHere(ctx, r)
	}
	b, err := c.Call(ctx, leader, kindApplied, nil)
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, errFrame
	}
	return binary.BigEndian.Uint64(b), nil
}

// appliedHere is asked of the leader.
func (c *Cluster) appliedHere(ctx context.Context, r *raft.Raft) (uint64, error) {
	if r == nil || r.State() != raft.Leader {
		return 0, ErrNotLeader
	}
	for commit := r.CommitIndex(); r.AppliedIndex() < commit; {
		if err := pause(ctx, catchUpLook); err != nil {
			return 0, err
		}
	}
	return c.fsm.applied.Load(), nil
}

func (c *Cluster) answerApplied(ctx context.Context, _ string, _ []byte) ([]byte, error) {
	index, err := c.appliedHere(ctx, c.raft.Load())
	if err != nil {
		return nil, err
	}
	return binary.BigEndian.AppendUint64(nil, index), nil
}

// awaitApplied waits until the machines here have seen an entry: Raft counts one as applied when it gives it to them. Behind a restored snapshot, which
// has no number of its own, Raft's count has to do.
func (c *Cluster) awaitApplied(ctx context.Context, r *raft.Raft, index uint64) error {
	for c.fsm.applied.Load() < index && (c.fsm.applied.Load() > 0 || r.AppliedIndex() < index) {
		if err := pause(ctx, catchUpLook); err != nil {
			return fmt.Errorf("cluster: catch up: %w", err)
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
