package cluster

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// rooms are three nodes whose disks have as much room as a test says.
func rooms(t *testing.T) (*three, *[3]atomic.Uint64) {
	t.Helper()
	c, free := newThree(t, 1), new([3]atomic.Uint64)
	for i := range 3 {
		c.cfgs[i].Store, c.disks[i] = slowStore(time.Millisecond)
		c.cfgs[i].Store.Free, c.cfgs[i].Silence = free[i].Load, 30*time.Second // without the detector: Raft's own timer
		free[i].Store(1 << 30)
		c.nodes[i] = launch(t, c.cfgs[i])
	}
	c.leader(t, -1)
	time.Sleep(2 * checkEvery)
	return c, free
}

func TestANodeWithAFullDiskIsNotElected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, free := rooms(t)
		for round := range 6 {
			lead := c.leader(t, -1)
			full := (lead + 1 + round%2) % 3
			free[full].Store(diskReserve - 1)
			time.Sleep(2 * checkEvery)
			resigned := round%3 == 0
			if resigned { // it gives its office away
				if err := c.nodes[lead].stop(); err != nil {
					t.Fatal(err)
				}
			} else {
				c.cut(lead)
			}
			if next := c.leader(t, lead); next == full {
				t.Errorf("round %d: the node with the full disk leads", round)
			}
			if resigned {
				c.nodes[lead] = launch(t, c.cfgs[lead])
			}
			c.heal()
			free[full].Store(1 << 30)
			time.Sleep(5 * time.Second)
		}
	})
}

func TestALeaderWithAFullDiskIsBetterThanNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, free := rooms(t)
		lead := c.leader(t, -1)
		free[lead].Store(1)
		time.Sleep(3 * time.Second)
		next := c.leader(t, -1)
		if next == lead {
			t.Fatal("the leader keeps its office although its disk is full")
		}
		for i := range free {
			free[i].Store(1)
		}
		time.Sleep(3 * time.Second)
		next = c.leader(t, -1)
		c.kill(next)
		c.leader(t, next) // or the test fails
	})
}

func TestAFollowerThatCannotWriteSaysSoUntilItCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := rooms(t)
		lead := c.leader(t, -1)
		sick := (lead + 1) % 3
		c.disks[sick].Fail(errors.New("no space left on device"))
		c.nodes[lead].set(t, "a", "k", "v")
		time.Sleep(20 * time.Second) // an idle cluster: nothing is written meanwhile
		s := c.nodes[sick].Status()
		if s.Ready || s.Unserviceable != "its disk refuses writes" || !strings.Contains(strings.Join(s.Words(), " "), "This node is not ready: its disk refuses writes.") {
			t.Errorf("ready %v, %q, %q", s.Ready, s.Unserviceable, s.Words())
		}
		for _, m := range c.nodes[lead].Members() {
			if sick := m.Name == c.cfgs[sick].Node; m.Ready == sick || (m.Disk != "ok") != sick {
				t.Errorf("the leader says of %s: ready %v, disk %s", m.Name, m.Ready, m.Disk)
			}
		}
		c.disks[sick].Fail(nil)
		time.Sleep(15 * time.Second)
		if s := c.nodes[sick].Status(); !s.Ready || s.Unfit != "" {
			t.Errorf("behind that: ready %v, %q", s.Ready, s.Unfit)
		}
		c.agree(t)
		c.disks[sick].Delay.Store(int64(5 * time.Second))
		c.nodes[lead].set(t, "a", "k", "w")
		time.Sleep(3 * time.Second)
		if s := c.nodes[sick].Status(); s.Ready || s.Unserviceable != "its disk does not answer" {
			t.Errorf("a disk that hangs: ready %v, %q", s.Ready, s.Unserviceable)
		}
		c.disks[sick].Delay.Store(0)
		time.Sleep(15 * time.Second)
	})
}
