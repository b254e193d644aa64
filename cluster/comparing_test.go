package cluster

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestANodeThatHoldsAnotherStateIsFoundAndDoesNotLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginThree(t)
		odd := c.leader(t, -1)
		c.nodes[odd].set(t, "a", "k", "v")
		time.Sleep(2 * compareSoon)
		for i, n := range c.nodes {
			if s := n.Status().Comparison; s.Done == 0 || len(s.Differs) > 0 {
				t.Errorf("node %d: %+v while all is well", i, s)
			}
		}
		c.nodes[odd].a.Apply(setCmd("flipped", "bit")) // behind the log's back
		time.Sleep(compareEvery + 10*time.Second)
		lead := c.leader(t, odd)
		if s := c.nodes[odd].Status(); !reflect.DeepEqual(s.Comparison.Differs, []string{"a"}) || s.Ready || s.State == "leader" || !strings.Contains(strings.Join(s.Words(), " "), "another state") {
			t.Errorf("the node itself: %+v, %s, ready %v: %s", s.Comparison, s.State, s.Ready, s.Words())
		}
		for i, n := range c.nodes {
			s := n.Status()
			if i != odd && (len(s.Comparison.Differs) > 0 || !s.Ready) {
				t.Errorf("node %d is accused: %+v", i, s.Comparison)
			}
			for _, m := range s.Members {
				if m.Diverged != (m.Name == c.cfgs[odd].Node) {
					t.Errorf("node %d says of %s: %v", i, m.Name, m.Diverged)
				}
			}
		}
		c.kill(lead)
		if next := c.leader(t, lead); next == odd {
			t.Error("the node that holds another state leads")
		}
		c.hosts[lead].Revive()
		for i, n := range c.nodes {
			if i != odd {
				n.a.Apply(setCmd("flipped", "bit"))
			}
		}
		time.Sleep(2*compareEvery + 10*time.Second)
		if s := c.nodes[odd].Status(); len(s.Comparison.Differs) > 0 || !s.Ready {
			t.Errorf("the nodes hold the same again: %+v", s.Comparison)
		}
	})
}

func TestOnlyAMajorityOfTheSameProgramIsRight(t *testing.T) {
	voters := []string{"n1", "n2", "n3"}
	say := func(program, sum string) sums {
		return sums{ID: 1, Program: program, Machines: map[string]string{"a": sum}}
	}
	for name, test := range map[string]struct {
		said   map[string]sums
		voters []string
		want   map[string][]string
	}{
		"all the same":               {map[string]sums{"n1": say("1", "x"), "n2": say("1", "x"), "n3": say("1", "x")}, voters, map[string][]string{"n1": {}, "n2": {}, "n3": {}}},
		"one differs":                {map[string]sums{"n1": say("1", "y"), "n2": say("1", "x"), "n3": say("1", "x")}, voters, map[string][]string{"n1": {"a"}, "n2": {}, "n3": {}}},
		"a replica differs":          {map[string]sums{"n1": say("1", "x"), "n2": say("1", "x"), "r": say("1", "y")}, voters, map[string][]string{"n1": {}, "n2": {}, "r": {"a"}}},
		"another program":            {map[string]sums{"n1": say("2", "y"), "n2": say("1", "x"), "n3": say("1", "x")}, voters, nil},
		"two differ from each other": {map[string]sums{"n1": say("1", "y"), "n2": say("1", "x")}, voters[:2], nil},
		"two of three are heard":     {map[string]sums{"n1": say("1", "y"), "n2": say("1", "x")}, voters, nil},
		"another place":              {map[string]sums{"n1": say("1", "x"), "n2": {ID: 2, Program: "1", Machines: map[string]string{"a": "y"}}, "n3": say("1", "x")}, voters, map[string][]string{"n1": {}, "n3": {}}},
		"nothing heard":              {map[string]sums{"n2": say("1", "x")}, voters, nil},
	} {
		if got := verdict(test.said, "n1", test.voters); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// slowWriter is a table whose snapshots take long to write.
type slowWriter struct {
	*table
	took time.Duration
}

func (m slowWriter) Snapshot() (func(io.Writer) error, error) {
	write, err := m.table.Snapshot()
	return func(w io.Writer) error {
		<-time.After(m.took)
		return write(w)
	}, err
}

func TestStatesAreComparedBesideTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t, 1)
		for i := range 3 {
			c.cfgs[i].CompareEvery, c.cfgs[i].SnapshotBytes = 5*time.Second, 16<<20
			c.cfgs[i].Machines = map[string]Machine{"a": slowWriter{newTable(), 3 * time.Second}}
			c.nodes[i] = launch(t, c.cfgs[i])
		}
		n := c.nodes[c.leader(t, -1)]
		worst := time.Duration(0)
		for i := range 4000 {
			start := time.Now()
			n.set(t, "a", fmt.Sprint(i%50), "v")
			worst = max(worst, time.Since(start))
			time.Sleep(10 * time.Millisecond)
		}
		if s := n.Status().Comparison; s.Done < 3 || len(s.Differs) > 0 {
			t.Errorf("comparisons: %+v", s)
		}
		if worst > 50*time.Millisecond {
			t.Errorf("a change waited %v for a comparison", worst)
		}
	})
}
