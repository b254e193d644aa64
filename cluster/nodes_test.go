package cluster

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
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
	t.Fatal("the nodes do not agree")
}

func TestThreeNodesAgreeAndFollowersSayWhoDoesNotLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		lead := c.leader(t, -1)
		for i := range 20 {
			c.nodes[lead].set(t, "a", fmt.Sprint(i), "v")
		}
		c.agree(t)
		for i, n := range c.nodes {
			if s := n.Status(); s.Leader != c.cfgs[lead].Node || !s.Ready {
				t.Errorf("node %d: %+v", i, s)
			}
			if i == lead {
				continue
			}
			if _, err := n.Propose(t.Context(), "a", setCmd("k", "v")); !errors.Is(err, ErrNotLeader) {
				t.Errorf("a follower answered %v", err)
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
