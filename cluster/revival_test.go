package cluster

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// load proposes through all nodes but one until it is told to end, and remembers the longest wait.
func (c *three) load(t *testing.T, without int) (end func() time.Duration) {
	var worst atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i, n := range c.nodes {
		if i == without {
			continue
		}
		tick := time.NewTicker(5 * time.Millisecond)
		wg.Go(func() {
			defer tick.Stop()
			for k := 0; ; k++ {
				select {
				case <-tick.C:
				case <-stop:
					return
				}
				began := time.Now()
				wg.Add(1)
				_ = n.ProposeAsync("a", setCmd(fmt.Sprint(i, k%10), "v"), func(_ any, err error) {
					defer wg.Done()
					took := int64(time.Since(began))
					if err != nil {
						t.Errorf("node %d: %v", i, err)
					}
					for old := worst.Load(); took > old && !worst.CompareAndSwap(old, took); old = worst.Load() {
					}
				})
			}
		})
	}
	return func() time.Duration {
		close(stop)
		wg.Wait()
		return time.Duration(worst.Load())
	}
}

// whole waits until every node finds that all are alive and ready.
func (c *three) whole(t *testing.T) {
	t.Helper()
	for range 3000 {
		good := 0
		for _, n := range c.nodes {
			for _, m := range n.Members() {
				if m.Health == Alive && m.Ready {
					good++
				}
			}
		}
		if good == len(c.nodes)*len(c.nodes) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the cluster is not whole in half a minute")
}

// TestALeaderThatIsCutOffIsReplacedByOneThatWas: its connections stand still for as long as TCP waits before it sends again, unless they are made anew.
func TestALeaderThatIsCutOffIsReplacedByOneThatWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t, 1)
		c.net.SetBackoff()
		for i := range 3 {
			c.nodes[i] = launch(t, c.cfgs[i])
		}
		c.whole(t)
		time.Sleep(3 * time.Second)
		for round, away := range []time.Duration{2000, 2500, 1200, 3200, 700, 6000, 1500, 2800, 3600, 900, 2200, 4500} {
			lead := c.leader(t, -1)
			end := c.load(t, lead)
			time.Sleep(time.Second)
			c.cut(lead)
			time.Sleep(away * time.Millisecond)
			c.heal()
			healed := time.Now()
			c.whole(t)
			took := time.Since(healed)
			if worst := end(); worst > 300*time.Millisecond {
				t.Errorf("round %d, %s cut off for %v: a change waited for %v", round, c.cfgs[lead].Node, away*time.Millisecond, worst)
			}
			if took > 2*time.Second {
				t.Errorf("round %d, %s cut off for %v: it was back after %v", round, c.cfgs[lead].Node, away*time.Millisecond, took)
			}
		}
	})
}
