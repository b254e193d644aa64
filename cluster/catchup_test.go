package cluster

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestANodeThatCatchesUpKnowsWhatOthersWereTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		leader := c.leader(t, -1)
		follower, other := c.nodes[(leader+1)%3], c.nodes[(leader+2)%3]
		behind := 0
		for range 50 {
			follower.set(t, "a", "k", "v")
			_, told := follower.a.state()
			if _, before := other.a.state(); before < told {
				behind++
			}
			began := time.Now()
			for name, n := range map[string]*node{"the other follower": other, "the leader": c.nodes[leader]} {
				if err := n.CatchUp(t.Context()); err != nil {
					t.Fatal(err)
				}
				if _, now := n.a.state(); now < told {
					t.Fatalf("%s has caught up and knows %d changes of %d", name, now, told)
				}
			}
			if took := time.Since(began); took > 3*commitNews {
				t.Errorf("to catch up took %v", took)
			}
		}
		if behind == 0 {
			t.Error("no node was ever behind: this test shows nothing")
		}
	})
}

func TestANodeWithoutALeaderDoesNotSayThatItHasCaughtUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		lone := (c.leader(t, -1) + 1) % 3
		c.cut(lone)
		time.Sleep(3 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := c.nodes[lone].CatchUp(ctx); !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrUnreachable) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took > 350*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		c.heal()
		if err := c.nodes[lone].CatchUp(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
