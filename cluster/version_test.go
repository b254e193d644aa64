package cluster

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// nextTable is the table of the next version of the program: it knows a command that sets a row to nothing.
type nextTable struct{ *table }

func (m nextTable) Apply(cmd []byte) any {
	if cmd[0] != 2 {
		return m.table.Apply(cmd)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.rows, string(cmd[1:]))
	return "deleted"
}

const nextVersion = CommandVersion + 1

// upgrade starts node i again, with the program of the next version or, without, the present one.
func (c *three) upgrade(t *testing.T, i int, next bool) *node {
	t.Helper()
	if err := c.nodes[i].stop(); err != nil {
		t.Fatal(err)
	}
	cfg := c.cfgs[i]
	a := newTable()
	cfg.Program, cfg.Machines = "1.0", map[string]Machine{"a": a, "b": newTable()}
	if next {
		cfg.Program, cfg.Speaks, cfg.Machines = "2.0", nextVersion, map[string]Machine{"a": nextTable{a}, "b": newTable()}
	}
	c.nodes[i] = launch(t, cfg)
	c.nodes[i].a = a
	return c.nodes[i]
}

func (c *three) awaitVersion(t *testing.T, version int) {
	t.Helper()
	for range 100 {
		same := true
		for _, n := range c.nodes {
			same = same && n.Agreed() == version
		}
		if same {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("version %d is not agreed on: %d, %d, %d", version, c.nodes[0].Agreed(), c.nodes[1].Agreed(), c.nodes[2].Agreed())
}

func TestANewKindOfCommandWaitsForTheLastNodeOfARollingUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t, 1)
		for i := range 3 {
			c.cfgs[i].Program = "1.0"
			c.nodes[i] = launch(t, c.cfgs[i])
		}
		c.nodes[c.leader(t, -1)].set(t, "a", "k", "v")
		c.awaitVersion(t, CommandVersion)
		for i := range 3 {
			n := c.upgrade(t, i, true)
			if err := n.WaitReady(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			n.set(t, "a", "during", "v") // what all know goes on all the time
			if i == 2 {
				break
			}
			_, err := n.ProposeSince(t.Context(), nextVersion, "a", []byte("\x02k"))
			if !errors.Is(err, ErrTooOld) || !strings.Contains(err.Error(), "n3") {
				t.Errorf("after %d nodes: %v", i+1, err)
			}
			words := strings.Join(n.Status().Words(), "\n")
			if !strings.Contains(words, fmt.Sprintf("until all know %d: upgrade ", nextVersion)) || !strings.Contains(words, fmt.Sprintf("n3 (1.0 knows %d)", CommandVersion)) {
				t.Errorf("the skew is not said: %s", words)
			}
		}
		c.awaitVersion(t, nextVersion)
		if result, err := c.nodes[0].ProposeSince(t.Context(), nextVersion, "a", []byte("\x02k")); err != nil || result != "deleted" {
			t.Fatalf("%v, %v", result, err)
		}
		c.agree(t)
		for i, n := range c.nodes {
			if rows, _ := n.a.state(); rows["k"] != "" {
				t.Errorf("node %d: %v", i, rows)
			}
		}

		old := c.upgrade(t, 1, false) // an operator goes back
		time.Sleep(3 * time.Second)
		err := old.WaitReady(t.Context())
		if !errors.Is(err, ErrTooOld) || !strings.Contains(err.Error(), "version 2.0") {
			t.Errorf("the old program says %v", err)
		}
		if rows, _ := old.a.state(); rows["k"] != "" && rows["k"] != "v" {
			t.Errorf("it holds %v", rows)
		}
		if err := old.stop(); !errors.Is(err, ErrTooOld) {
			t.Errorf("it ends with %v", err)
		}
		c.nodes[c.leader(t, 1)].set(t, "a", "without it", "v")
	})
}

func TestAnOldProgramStopsAtASnapshotThatNeedsANewerOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Bootstrap: true, Store: MemoryStore(), Speaks: nextVersion, Program: "2.0"}
		n := begin(t, cfg)
		n.set(t, "a", "k", "v")
		time.Sleep(2 * checkEvery)
		if n.Agreed() != nextVersion {
			t.Fatalf("version %d", n.Agreed())
		}
		if err := n.Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		cfg.Speaks, cfg.Program = 0, "1.0"
		old := launch(t, cfg)
		if err := old.WaitReady(t.Context()); !errors.Is(err, ErrTooOld) || !strings.Contains(err.Error(), "version 2.0") {
			t.Errorf("got %v", err)
		}
	})
}

func TestANodeWithAProgramThatIsTooOldIsNotAdmitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t, 1)
		for i := range 3 {
			c.cfgs[i].Speaks, c.cfgs[i].Program = nextVersion, "2.0"
			c.nodes[i] = launch(t, c.cfgs[i])
		}
		c.leader(t, -1)
		c.awaitVersion(t, nextVersion)
		c.add(t, "n4", 1)
		c.cfgs[3].Seeds = []string{address(0) + ":7000"}
		c.nodes[3] = launch(t, c.cfgs[3])
		time.Sleep(5 * time.Second)
		if got := len(c.nodes[0].Members()); got != 3 {
			t.Errorf("%d members", got)
		}
		_, err := c.nodes[3].port.askOnce(t.Context(), address(0)+":7000", kindHello, []byte(`{"epoch":1,"address":"10.0.0.4:7000","speaks":3}`))
		if err == nil || !strings.Contains(err.Error(), "install version 2.0") {
			t.Errorf("it is told %v", err)
		}
	})
}
