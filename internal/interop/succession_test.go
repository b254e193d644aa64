//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// member is one node of the three, as phones and operators see it.
func (c *trio) member(i int) *node {
	n := &node{process: c.process, ip: c.ip, ready: c.ready}
	for range i {
		n.ip = n.ip.Next()
	}
	n.ready.Nodes = c.ready.Nodes[i : i+1]
	return n
}

// kill9 kills a node and waits until it is gone.
func (c *trio) kill9(t testing.TB, i int) {
	t.Helper()
	if err := syscall.Kill(c.ready.Nodes[i].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// records gives the records of calls in the files of all nodes.
func (c *trio) records() (list []string) {
	for _, n := range c.ready.Nodes {
		b, _ := os.ReadFile(filepath.Join(n.DataDir, "events", "cdr.jsonl"))
		for line := range strings.Lines(string(b)) {
			list = append(list, line)
		}
	}
	return list
}

// A call whose node is killed goes on at another one: the phones hear each other after a moment, hold and hang up as ever, and there is one record.
func TestACallOutlivesItsNode(t *testing.T) {
	for what, srtp := range map[string]string{"plain": "", "encrypted": "srtp-mand"} {
		t.Run(what, func(t *testing.T) {
			c := startTrio(t)
			c.whole(t)
			home := c.member(1)
			alice := startPhone(t, home, phoneConfig{user: "1000", tone: 440, srtp: srtp}).registered(t)
			bob := startPhone(t, home, phoneConfig{user: "1001", tone: 1000, srtp: srtp}).registered(t)
			alice.dial(t, "1001")
			alice.talks(t, 1)
			hearEachOther(t, alice, bob)
			eventually(t, soon, "two nodes to have the call", func() bool { return home.metric(t, "tandem_copies_covered") == 1 })
			if home.metric(t, "tandem_copies_in_time_total") != 1 {
				t.Error("the caller heard of the answer before two nodes had the call")
			}

			watch := watchRTP(t)
			eventually(t, soon, "packets to both phones", func() bool { _, phones, _ := watch.longest(); return phones == 2 })
			c.kill9(t, 1)
			watch.goesOn(t, time.Second, 2, alice, bob)
			taker := -1
			for i := range c.ready.Nodes {
				if n := c.member(i); i != 1 && n.metric(t, "tandem_takeovers_total") == 1 {
					taker = i
				}
			}
			if taker < 0 {
				t.Fatal("no node says that it has taken over")
			}
			c.member(taker).carries(t, 1)

			for _, holder := range []*phone{alice, bob} {
				answers := len(holder.answers())
				holder.do(t, "hold", "")
				eventually(t, soon, "the answer to the hold to come back", func() bool { return holder.wasAnswered("recvonly") })
				holder.do(t, "resume", "")
				eventually(t, soon, "both re-INVITEs to be answered", func() bool { return len(holder.answers()) >= answers+2 })
			}
			bob.hangUp(t)
			alice.ends(t, 1)
			c.member(taker).carries(t, 0)
			eventually(t, soon, "the record", func() bool { return len(c.records()) > 0 })

			c.restart(t, 1)
			eventually(t, 2*startWithin, "the node to be back at its addresses", func() bool { _, alive := c.status(1); return alive == 3 })
			alice.dial(t, "1001") // over it, as before
			alice.talks(t, 2)
			alice.hangUp(t)
			eventually(t, soon, "the second record", func() bool { return len(c.records()) >= 2 })
			if list := c.records(); len(list) != 2 {
				t.Errorf("want a record for each of two calls:\n%s", strings.Join(list, ""))
			}
		})
	}
}

// A node that is drained leads no more, and its calls go on at another one; who begins a call meanwhile is served.
func TestCallsOfANodeThatIsDrainedGoOnAtAnother(t *testing.T) {
	c := startTrio(t)
	c.whole(t)
	home := c.member(1)
	alice := startPhone(t, home, phoneConfig{user: "1000", tone: 440}).registered(t)
	bob := startPhone(t, home, phoneConfig{user: "1001", tone: 1000}).registered(t)
	carol := startPhone(t, home, phoneConfig{user: "1002", tone: 700}).registered(t)
	alice.dial(t, "1001")
	alice.talks(t, 1)
	hearEachOther(t, alice, bob)
	carol.dial(t, "*43") // cannot move
	carol.talks(t, 1)

	watch := watchRTP(t)
	eventually(t, soon, "packets to the phones", func() bool { _, phones, _ := watch.longest(); return phones == 3 })
	type result struct {
		out string
		err error
	}
	drained := make(chan result, 1)
	go func() {
		out, err := home.cli(t, "drain", "--wait", "1s", "-o", "json")
		drained <- result{out, err}
	}()
	carol.ends(t, 1) // in the end it is hung up
	got := <-drained
	if got.err != nil || !strings.Contains(got.out, `"moved": 1`) || !strings.Contains(got.out, `"ended": 1`) {
		t.Errorf("drain says: %v\n%s", got.err, got.out)
	}
	watch.goesOn(t, 400*time.Millisecond, 3, alice, bob)
	bob.hangUp(t)
	alice.ends(t, 1)
	eventually(t, soon, "two records", func() bool { return len(c.records()) == 2 })
}
