package cluster

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/simnet"
)

// three is a cluster of three nodes over a simulated network, with the port, the certificates and the calls of a real one.
type three struct {
	authority *authority
	net       *simnet.Network
	hosts     []*simnet.Host
	nodes     []*node
	cfgs      []Config
	disks     [3]*slowLog // where a test slows them down
}

func address(i int) string { return fmt.Sprintf("10.0.0.%d", i+1) }

// newThree sets up three nodes and starts none.
func newThree(t *testing.T, seed uint64) *three {
	t.Helper()
	c := &three{authority: newAuthority(t), net: simnet.ForTest(t, seed)}
	c.net.SetLink(simnet.Link{Delay: 200 * time.Microsecond})
	voters := map[string]string{}
	for i := range 3 {
		voters[fmt.Sprint("n", i+1)] = address(i) + ":7000"
	}
	for i := range 3 {
		c.add(t, fmt.Sprint("n", i+1), 1)
		c.cfgs[i].Bootstrap, c.cfgs[i].Voters = true, voters
	}
	return c
}

// add sets up one more machine, with the identity of a node that has been taken in.
func (c *three) add(t *testing.T, name string, epoch uint64) {
	t.Helper()
	i := len(c.cfgs)
	c.hosts = append(c.hosts, c.net.Host(address(i)))
	c.cfgs = append(c.cfgs, Config{
		Node: name, Listen: address(i) + ":7000", Network: hostNetwork{c.hosts[i]}, Identity: c.authority.member(t, name, epoch), Key: testKey,
		Store: MemoryStore(), SnapshotBytes: 20_000, Program: "test",
	})
	c.nodes = append(c.nodes, nil)
}

func beginThree(t *testing.T) *three {
	t.Helper()
	c := newThree(t, 1)
	for i := range 3 {
		c.nodes[i] = launch(t, c.cfgs[i])
	}
	for _, n := range c.nodes {
		if err := n.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// cut separates node i from the others, heal undoes all cuts.
func (c *three) cut(i int) {
	var others []string
	for j := range c.hosts {
		if j != i {
			others = append(others, address(j))
		}
	}
	c.net.Cut([]string{address(i)}, others)
}

// kill is what the others see when the process of node i is killed; it goes on, unheard.
func (c *three) kill(i int) { c.hosts[i].Kill() }

func (c *three) heal() { c.net.Heal() }

// leader returns the position of the leader among the nodes that are not left out, waiting for one.
func (c *three) leader(t *testing.T, without int) int {
	t.Helper()
	for range 1000 {
		for i, n := range c.nodes {
			if s := n.Status(); i != without && s.State == "leader" && s.Ready {
				return i
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("no leader in ten seconds")
	return -1
}

// agree waits until all nodes hold the same as the first.
func (c *three) agree(t *testing.T) {
	t.Helper()
	for range 500 {
		rows, changes := c.nodes[0].a.state()
		same := true
		for _, n := range c.nodes[1:] {
			other, count := n.a.state()
			same = same && count == changes && reflect.DeepEqual(rows, other)
		}
		if same {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	for i, n := range c.nodes {
		_, changes := n.a.state()
		s := n.Status()
		t.Logf("node %d: %d changes, %s of term %d, leader %q, last %d, commit %d, applied %d, ready %v, disk full %v", i, changes, s.State, s.Term, s.Leader, s.Last, s.Commit, s.Applied, s.Ready, n.disk.full())
	}
	t.Fatal("the nodes do not agree")
}

func TestAnyNodeTakesChangesAndHasAppliedThemWhenItSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		lead := c.leader(t, -1)
		for i := range 60 {
			n := c.nodes[i%3]
			n.set(t, "a", fmt.Sprint(i), "v")
			if rows, _ := n.a.state(); rows[fmt.Sprint(i)] != "v" { // read your writes, on whatever node
				t.Fatalf("node %d has not applied item %d", i%3, i)
			}
		}
		c.agree(t)
		for i, n := range c.nodes {
			s := n.Status()
			if s.Leader != c.cfgs[lead].Node || !s.Ready {
				t.Errorf("node %d: %+v", i, s)
			}
			if forwarded := s.Counters.Forwarded; (i == lead) != (forwarded == 0) {
				t.Errorf("node %d forwarded %d", i, forwarded)
			}
		}
	})
}

func TestChangesOfAllNodesShareTheLeadersEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t, 1)
		for i := range 3 {
			c.cfgs[i].Store, _ = slowStore(4 * time.Millisecond)
			c.nodes[i] = launch(t, c.cfgs[i])
		}
		lead := c.leader(t, -1)
		before := c.nodes[lead].Status().Counters.Entries
		var wg sync.WaitGroup
		for i := range 300 {
			wg.Go(func() { c.nodes[i%3].set(t, "a", fmt.Sprint(i), "v") })
		}
		wg.Wait()
		if entries := c.nodes[lead].Status().Counters.Entries - before; entries > 10 {
			t.Errorf("300 items took %d entries", entries)
		}
	})
}

// TestAChangeOfLeadersIsAWaitAndNoError proposes through followers all the time while leaders fail.
func TestAChangeOfLeadersIsAWaitAndNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		old := c.leader(t, -1)
		through := (old + 1) % 3
		stop := make(chan struct{})
		ended := make(chan int)
		worst := time.Duration(0)
		go func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					ended <- i
					return
				default:
				}
				start := time.Now()
				c.nodes[through].set(t, "a", fmt.Sprint(i), "v")
				worst = max(worst, time.Since(start))
				time.Sleep(time.Millisecond)
			}
		}()
		time.Sleep(100 * time.Millisecond)
		c.cut(old)
		time.Sleep(2 * time.Second)
		c.heal()
		time.Sleep(2 * time.Second)
		close(stop)
		done := <-ended
		c.agree(t)
		rows, changes := c.nodes[old].a.state()
		if len(rows) != done || changes != uint64(done) {
			t.Errorf("%d changes made %d rows, want %d: something was lost or applied twice", changes, len(rows), done)
		}
		if worst > patience {
			t.Errorf("the longest wait was %v", worst)
		}
	})
}

func TestWithoutALeaderAChangeIsRefusedInTimeForAPhone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		time.Sleep(time.Second)
		c.net.Cut([]string{address(0)}, []string{address(1), address(2)})
		c.net.Cut([]string{address(1)}, []string{address(2)})
		time.Sleep(5 * time.Second)
		for i, n := range c.nodes {
			start := time.Now()
			_, err := n.Propose(t.Context(), "a", setCmd("k", "v"))
			if took := time.Since(start); !errors.Is(err, ErrNotLeader) || took < patience || took > patience+100*time.Millisecond {
				t.Errorf("node %d: %v after %v", i, err, took)
			}
		}
	})
}

func TestALeaderThatLosesTheOthersDoesNotKnowWhatBecameOfItsItems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		old := c.leader(t, -1)
		c.nodes[old].set(t, "a", "before", "v")
		c.cut(old)
		_, err := c.nodes[old].Propose(t.Context(), "a", setCmd("lost", "v"))
		if !errors.Is(err, ErrUnknown) {
			t.Errorf("got %v, want ErrUnknown", err)
		}
		lead := c.leader(t, old)
		c.nodes[lead].set(t, "a", "after", "v")
		if s := c.nodes[old].Status(); s.State == "leader" || s.Ready {
			t.Errorf("the cut-off node thinks that all is well: %+v", s)
		}
		c.heal()
		time.Sleep(5 * time.Second)
		c.nodes[c.leader(t, -1)].set(t, "a", "again", "v")
		c.agree(t)
		rows, _ := c.nodes[old].a.state()
		if _, ok := rows["lost"]; ok || len(rows) != 3 {
			t.Errorf("rows %v", rows)
		}
	})
}

func TestANodeThatMissedTheLogGetsASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		lead := c.leader(t, -1)
		away := (lead + 1) % 3
		if err := c.nodes[away].stop(); err != nil {
			t.Fatal(err)
		}
		for i := range 1500 {
			c.nodes[lead].set(t, "a", fmt.Sprint(i%10), strings.Repeat("x", 100))
		}
		time.Sleep(3 * time.Second)
		if got := c.nodes[lead].Status().Counters.Snapshots; got == 0 {
			t.Fatal("no snapshot was taken")
		}
		c.cfgs[away].Store = MemoryStore() // it comes back with an empty disk
		c.cfgs[away].Bootstrap = false
		c.nodes[away] = begin(t, c.cfgs[away])
		c.agree(t)
		if _, changes := c.nodes[away].a.state(); changes != 1500 {
			t.Errorf("%d changes, want 1500", changes)
		}
	})
}
