package cluster

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/simnet"
)

func TestANodeLeavesAndTheClusterGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		time.Sleep(2 * time.Second)
		lead := c.leader(t, -1)
		away := (lead + 1) % 3
		other := (lead + 2) % 3
		if err := c.nodes[other].Remove(t.Context(), c.cfgs[away].Node, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		c.nodes[other].set(t, "a", "k", "v")
		if members := c.nodes[lead].Members(); len(members) != 2 {
			t.Errorf("members %+v", members)
		}
		if s := c.nodes[away].Status(); s.Ready || !s.Removed {
			t.Errorf("the node that left: %+v", s)
		}
		if fenced := c.nodes[lead].Status().Port.Fenced; fenced == 0 {
			t.Error("the node that left was not refused")
		}
		if err := c.nodes[lead].Remove(t.Context(), "n9", true); !errors.Is(err, ErrNoNode) {
			t.Errorf("a node that is not there: %v", err)
		}
	})
}

func TestTheLeaderLeavesAfterGivingItsOfficeAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		time.Sleep(2 * time.Second)
		lead := c.leader(t, -1)
		if err := c.nodes[lead].Remove(t.Context(), c.cfgs[lead].Node, false); err != nil {
			t.Fatal(err)
		}
		next := c.leader(t, lead)
		c.nodes[next].set(t, "a", "k", "v")
		time.Sleep(100 * time.Millisecond)
		if members := c.nodes[next].Members(); len(members) != 2 {
			t.Errorf("members %+v", members)
		}
	})
}

func TestNoNodeLeavesWhenTheOthersCouldNotAgreeWithoutIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		time.Sleep(2 * time.Second)
		lead := c.leader(t, -1)
		away, other := (lead+1)%3, (lead+2)%3
		c.nodes[away].stop()
		time.Sleep(5 * time.Second)
		if err := c.nodes[lead].Remove(t.Context(), c.cfgs[other].Node, false); err == nil {
			t.Error("the last but one left")
		}
		if err := c.nodes[lead].Remove(t.Context(), c.cfgs[away].Node, false); err != nil {
			t.Errorf("the dead one: %v", err)
		}
	})
}

func TestLeadershipGoesToTheNodeThatIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		time.Sleep(2 * time.Second)
		lead := c.leader(t, -1)
		next, through := (lead+1)%3, (lead+2)%3
		if err := c.nodes[through].Transfer(t.Context(), c.cfgs[next].Node); err != nil {
			t.Fatal(err)
		}
		if got := c.leader(t, -1); got != next {
			t.Errorf("node %d leads, want %d", got, next)
		}
		if err := c.nodes[through].Transfer(t.Context(), "n9"); err == nil {
			t.Error("a node that is not there leads")
		}
	})
}

func TestALeaderThatStopsHandsOverFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		time.Sleep(2 * time.Second)
		lead := c.leader(t, -1)
		start := time.Now()
		c.nodes[lead].stop()
		c.nodes[(lead+1)%3].set(t, "a", "k", "v")
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("the next change was agreed on after %v", took)
		}
	})
}

// outage measures how long changes through a follower wait when something happens to the leader.
func (c *three) outage(t *testing.T, lead int, happen func()) time.Duration {
	t.Helper()
	through := (lead + 1) % 3
	c.nodes[through].set(t, "a", "before", "v")
	start := time.Now()
	happen()
	c.nodes[through].set(t, "a", "after", "v")
	return time.Since(start)
}

func TestADeadLeaderIsReplacedInATenthOfASecond(t *testing.T) {
	for what, happen := range map[string]struct {
		do   func(c *three, lead int)
		most time.Duration
	}{
		"its process is killed": {func(c *three, lead int) { c.kill(lead) }, 100 * time.Millisecond},
		"its link is cut":       {func(c *three, lead int) { c.cut(lead) }, 300 * time.Millisecond},
		"its disk hangs":        {func(c *three, lead int) { c.disks[lead].Delay.Store(int64(4 * time.Second)) }, 500 * time.Millisecond},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newThree(t, 1)
				for i := range 3 {
					c.cfgs[i].Store, c.disks[i] = slowStore(time.Millisecond)
					c.nodes[i] = launch(t, c.cfgs[i])
				}
				lead := c.leader(t, -1)
				time.Sleep(3 * time.Second)
				if took := c.outage(t, lead, func() { happen.do(c, lead) }); took > happen.most {
					t.Errorf("changes waited for %v", took)
				}
				c.disks[lead].Delay.Store(0)
				c.net.Heal()
			})
		})
	}
}

func TestABumpyRoadAloneMakesNoElection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		lead := c.leader(t, -1)
		term := c.nodes[lead].Status().Term
		c.net.SetLink(simnet.Link{Delay: 5 * time.Millisecond, Jitter: 30 * time.Millisecond})
		for i := range 20 {
			time.Sleep(time.Second)
			c.nodes[i%3].set(t, "a", fmt.Sprint(i), "v")
		}
		for i, n := range c.nodes {
			if s := n.Status(); s.Term != term || s.Counters.Elections != 0 {
				t.Errorf("node %d: term %d after %d, %d elections", i, s.Term, term, s.Counters.Elections)
			}
		}
	})
}

func TestALeaderWhoseDiskIsFullLetsAnotherLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t, 1)
		var free [3]atomic.Uint64
		for i := range 3 {
			free[i].Store(1 << 40)
			c.cfgs[i].Store.Free = free[i].Load
			c.nodes[i] = launch(t, c.cfgs[i])
		}
		lead := c.leader(t, -1)
		time.Sleep(3 * time.Second)
		free[lead].Store(1 << 20)
		time.Sleep(8 * time.Second)
		if next := c.leader(t, -1); next == lead {
			t.Error("it still leads")
		}
		for _, m := range c.nodes[(lead+1)%3].Members() {
			if (m.Name == c.cfgs[lead].Node) != (m.Disk == "full") {
				t.Errorf("member %+v", m)
			}
		}
	})
}

func TestTheLastNodeOfThreeIsRecoveredWithAllItKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		time.Sleep(2 * time.Second)
		for i := range 50 {
			c.nodes[0].set(t, "a", fmt.Sprint(i), "v")
		}
		c.agree(t)
		for _, n := range c.nodes {
			n.stop()
		}
		a := newTable()
		cfg := c.cfgs[2]
		cfg.Machines = map[string]Machine{"a": a, "b": newTable()}
		dead, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := dead.Recover(); err != nil {
			t.Fatal(err)
		}
		n := begin(t, c.cfgs[2])
		n.set(t, "a", "after", "v")
		if rows, _ := n.a.state(); len(rows) != 51 {
			t.Errorf("%d rows, want 51", len(rows))
		}
		if members := n.Members(); len(members) != 1 {
			t.Errorf("members %+v", members)
		}
		time.Sleep(time.Second)
		c.nodes[0] = launch(t, c.cfgs[0]) // it comes back with what it had, and is of no use any more
		c.nodes[1] = launch(t, c.cfgs[1])
		time.Sleep(5 * time.Second)
		n.set(t, "a", "again", "v")
		if s := n.Status(); len(s.Members) != 1 || s.Port.Fenced == 0 {
			t.Errorf("after the others came back: %+v", s)
		}
	})
}

// TestLeadersMayDieOftenAndAreReplacedAsSoonEachTime cuts off five leaders in half a minute.
func TestLeadersMayDieOftenAndAreReplacedAsSoonEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		time.Sleep(3 * time.Second)
		for round := range 5 {
			lead := c.leader(t, -1)
			if took := c.outage(t, lead, func() { c.cut(lead) }); took > 300*time.Millisecond {
				t.Errorf("round %d: changes waited for %v", round, took)
			}
			time.Sleep(2 * time.Second)
			c.heal()
			time.Sleep(3 * time.Second)
		}
	})
}
