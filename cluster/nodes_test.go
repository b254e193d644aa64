package cluster

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// three is a cluster of three nodes over an in-memory network.
type three struct {
	nodes []*node
	nets  []*raft.InmemTransport
	cfgs  []Config
}

func beginThree(t *testing.T) *three {
	t.Helper()
	c := &three{}
	voters := map[string]string{"n1": "n1", "n2": "n2", "n3": "n3"}
	for i := range 3 {
		name := fmt.Sprint("n", i+1)
		_, net := raft.NewInmemTransportWithTimeout(raft.ServerAddress(name), time.Second)
		c.nets = append(c.nets, net)
		c.cfgs = append(c.cfgs, Config{
			Node: name, Bootstrap: true, Voters: voters, Transport: net, Store: MemoryStore(),
			SnapshotBytes: 20_000,
		})
	}
	for i := range 3 {
		c.link(i)
		c.nodes = append(c.nodes, launch(t, c.cfgs[i]))
	}
	for _, n := range c.nodes {
		if err := n.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// link connects node i with the others, both ways.
func (c *three) link(i int) {
	for j := range c.nets {
		if i != j {
			c.nets[i].Connect(c.nets[j].LocalAddr(), c.nets[j])
			c.nets[j].Connect(c.nets[i].LocalAddr(), c.nets[i])
		}
	}
}

func (c *three) cut(i int) {
	c.nets[i].DisconnectAll()
	for j := range c.nets {
		c.nets[j].Disconnect(c.nets[i].LocalAddr())
	}
}

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
		c.link(old)
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
		c.cut(away)
		for i := range 1500 {
			c.nodes[lead].set(t, "a", fmt.Sprint(i%10), strings.Repeat("x", 100))
		}
		time.Sleep(3 * time.Second)
		if got := c.nodes[lead].Status().Counters.Snapshots; got == 0 {
			t.Fatal("no snapshot was taken")
		}
		c.cfgs[away].Store = MemoryStore() // it comes back with an empty disk
		c.cfgs[away].Bootstrap = false
		_, net := raft.NewInmemTransportWithTimeout(c.nets[away].LocalAddr(), time.Second)
		c.nets[away], c.cfgs[away].Transport = net, net
		c.link(away)
		c.nodes[away] = begin(t, c.cfgs[away])
		c.agree(t)
		if _, changes := c.nodes[away].a.state(); changes != 1500 {
			t.Errorf("%d changes, want 1500", changes)
		}
	})
}
