package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// fill gives a node things that the others have.
func (c *piles) fill(t *testing.T, i, n int) {
	t.Helper()
	for k := range n {
		id := fmt.Sprintf("%s-%d-%d", c.cfgs[i].Node, c.nodes[i].life.Load(), k)
		if !c.own[i].set(id, id+"=1", time.Second) {
			t.Fatalf("%s is on no other node", id)
		}
	}
}

func (c *piles) count(i int) int {
	c.own[i].mu.Lock()
	defer c.own[i].mu.Unlock()
	return len(c.own[i].things)
}

// until waits for something in fake time and gives how long that took.
func until(t *testing.T, what string, most time.Duration, is func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !is() {
		if time.Since(began) > most {
			t.Fatalf("not within %v: %s", most, what)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(began)
}

// takers gives those who have taken what a node has left.
func (c *piles) takers(of int) (list []int) {
	for i, p := range c.own {
		p.mu.Lock()
		for range p.taken[c.cfgs[of].Node] {
			if i != of {
				list = append(list, i)
			}
		}
		p.mu.Unlock()
	}
	return list
}

func TestCallsOfADeadNodeGoOnAtAnother(t *testing.T) {
	for dead := range 3 {
		synctest.Test(t, func(t *testing.T) {
			c := beginPiles(t, nil)
			leads := c.leader(t, -1) == dead
			c.fill(t, dead, 20)
			c.kill(dead)
			took := until(t, "somebody to take the calls", 2*time.Second, func() bool { return len(c.takers(dead)) > 0 })
			t.Logf("it took %v, and the dead node led: %v", took, leads)
			if most := map[bool]time.Duration{false: 50 * time.Millisecond, true: 400 * time.Millisecond}[leads]; took > most {
				t.Errorf("it took %v, more than %v", took, most)
			}
			time.Sleep(5 * time.Second)
			takers := c.takers(dead)
			if len(takers) != 1 {
				t.Fatalf("taken by %v", takers)
			}
			if n := c.count(takers[0]); n != 20 {
				t.Errorf("%d of 20 calls go on", n)
			}
			if infos := c.own[takers[0]].told(); len(infos) != 1 || string(infos[0].Info) != "address of "+c.cfgs[dead].Node {
				t.Errorf("infos %q", infos)
			}
			other := 3 - dead - takers[0]
			if held := c.held(other, dead); len(held) != 0 {
				t.Errorf("the third node still holds %d copies of the dead one", len(held))
			}
			if held := c.held(other, takers[0]); len(held) != 20 {
				t.Errorf("the third node holds %d copies of the taker", len(held))
			}
		})
	}
}

func TestANodeThatWasCutOffDropsWhatOthersHaveTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginPiles(t, nil)
		c.fill(t, 0, 5)
		if !c.nodes[0].Entitled() {
			t.Fatal("a node that all hear is not entitled")
		}
		c.cut(0)
		until(t, "the node to doubt", 600*time.Millisecond, func() bool { return !c.nodes[0].Entitled() })
		if len(c.takers(0)) != 0 {
			t.Error("its calls were taken before it doubted")
		}
		until(t, "somebody to take the calls", 3*time.Second, func() bool { return len(c.takers(0)) == 1 })
		if c.count(0) != 5 {
			t.Error("a node that is cut off keeps its calls: nobody has told it anything")
		}
		c.heal()
		until(t, "the node to be fenced", 5*time.Second, func() bool { return c.own[0].times() == 1 })
		if c.count(0) != 0 || c.count(c.takers(0)[0]) != 5 {
			t.Errorf("%d calls here, %d there", c.count(0), c.count(c.takers(0)[0]))
		}
		until(t, "its next life", 2*time.Second, func() bool { return c.nodes[0].Entitled() && c.nodes[0].Status().Succession.Life != 0 })
		c.fill(t, 0, 3)
		time.Sleep(12 * time.Second)
		if len(c.takers(0)) != 1 || c.own[0].times() != 1 {
			t.Errorf("taken by %v, fenced %d times", c.takers(0), c.own[0].times())
		}
	})
}

func TestAMinorityTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginPiles(t, nil)
		for i := range 3 {
			c.fill(t, i, 3)
		}
		c.cut(0)
		c.net.Cut([]string{address(1)}, []string{address(2)})
		time.Sleep(30 * time.Second)
		for i := range 3 {
			if len(c.takers(i)) != 0 || c.count(i) != 3 || c.nodes[i].Entitled() {
				t.Errorf("node %d: taken by %v, %d calls, entitled %v", i, c.takers(i), c.count(i), c.nodes[i].Entitled())
			}
		}
		c.heal()
		time.Sleep(15 * time.Second)
		for i := range 3 {
			if len(c.takers(i)) != 0 || c.count(i) != 3 || !c.nodes[i].Entitled() {
				t.Errorf("node %d behind it: taken by %v, %d calls, entitled %v", i, c.takers(i), c.count(i), c.nodes[i].Entitled())
			}
		}
	})
}

func TestWhatNobodyCouldTakeStaysWhereItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginPiles(t, nil)
		c.fill(t, 0, 3)
		for i := 1; i < 3; i++ {
			c.own[i].refuses = errors.New("its addresses are in use")
		}
		c.cut(0)
		time.Sleep(3 * time.Second)
		c.heal()
		until(t, "the node to live on", 5*time.Second, func() bool { return c.nodes[0].Status().Succession.Fenced == 1 && c.nodes[0].Entitled() })
		if c.own[0].times() != 0 || c.count(0) != 3 {
			t.Errorf("fenced %d times, %d calls", c.own[0].times(), c.count(0))
		}
		until(t, "its calls to be copied anew", 2*time.Second, func() bool { return len(c.held(1, 0)) == 3 })
	})
}

func TestANodeThatIsBackBeforeItWasMissedGoesOnItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginPiles(t, nil)
		c.fill(t, 0, 4)
		if err := c.nodes[0].stop(); err != nil {
			t.Fatal(err)
		}
		c.cfgs[0].Bootstrap = false
		c.launch(t, 0, nil) // in no time
		until(t, "it to have its calls", 3*time.Second, func() bool { return c.count(0) == 4 })
		time.Sleep(3 * time.Second)
		if len(c.takers(0)) != 0 {
			t.Errorf("others have them, too: %v", c.takers(0))
		}
	})
}

func TestWhoDiesWhileItTakesIsTakenFromWithAllOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &piles{three: newThree(t, 1)}
		voters := c.cfgs[0].Voters
		for i := 3; i < 5; i++ {
			c.add(t, fmt.Sprint("n", i+1), 1)
			voters[fmt.Sprint("n", i+1)] = address(i) + ":7000"
		}
		for i := range 5 {
			c.cfgs[i].Bootstrap, c.cfgs[i].Voters = true, voters
			c.launch(t, i, nil)
		}
		time.Sleep(2 * time.Second)
		c.fill(t, 0, 10)
		first := 1
		for i := 2; i < 5; i++ {
			if weight("n1", c.cfgs[i].Node) > weight("n1", c.cfgs[first].Node) {
				first = i
			}
		}
		c.own[first].refuses = errors.New("it dies of it")
		c.kill(0)
		until(t, "the first to try", 2*time.Second, func() bool { return c.nodes[first].Status().Succession.Failures == 1 })
		c.kill(first)
		until(t, "another one to take all", 3*time.Second, func() bool {
			n := 0
			for i := range c.own {
				if i != 0 && i != first {
					n += c.count(i)
				}
			}
			return n == 10
		})
	})
}

// TestNoCallHasTwoNodesThatSend cuts, heals and restarts nodes at random. At no moment may two nodes have the same call and count themselves as
// the one to send for it, and in the end each call is at one node.
func TestNoCallHasTwoNodesThatSend(t *testing.T) {
	for seed := uint64(1); seed <= 4; seed++ {
		synctest.Test(t, func(t *testing.T) { playSuccession(t, seed) })
	}
}

func playSuccession(t *testing.T, seed uint64) {
	c := &piles{three: newThree(t, seed)}
	wall := putUp(c.three)
	rnd := rand.New(rand.NewPCG(seed, 2))
	for i := range 3 {
		c.launch(t, i, nil)
	}
	time.Sleep(2 * time.Second)
	for i := range 3 {
		c.fill(t, i, 4)
	}
	var trail []string
	look := func() {
		senders := map[string][]string{}
		for i, p := range c.own {
			p.mu.Lock()
			for id := range p.things {
				if c.nodes[i].Entitled() {
					senders[id] = append(senders[id], c.cfgs[i].Node)
				}
			}
			p.mu.Unlock()
		}
		for id, nodes := range senders {
			if len(nodes) > 1 {
				t.Fatalf("seed %d: %v send for %s\n%s", seed, nodes, id, strings.Join(trail, "\n"))
			}
		}
	}
	watch := func(d time.Duration) {
		for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			look()
		}
	}
	for range 12 {
		i, what := rnd.IntN(3), ""
		switch rnd.IntN(6) {
		case 0, 1:
			c.cut(i)
			what = "cut"
		case 2:
			wall.against(i, true)
			what = "walled in"
		case 3:
			wall.against(i, false)
			what = "walled off"
		case 4:
			c.net.Cut([]string{address(i)}, []string{address((i + 1) % 3)})
			what = "cut from the next"
		default:
			c.heal()
			wall.down()
			what = "all healed, before"
		}
		trail = append(trail, fmt.Sprintf("%s %s %d", time.Now().Format("05.000"), what, i))
		watch(time.Duration(100+rnd.IntN(2500)) * time.Millisecond)
		if rnd.IntN(2) == 0 {
			c.heal()
			wall.down()
			trail = append(trail, time.Now().Format("05.000")+" healed")
			watch(time.Duration(rnd.IntN(2500)) * time.Millisecond)
		}
	}
	c.heal()
	wall.down()
	watch(20 * time.Second)
	total := 0
	for i := range 3 {
		total += c.count(i)
	}
	if total != 12 {
		t.Errorf("seed %d: %d of 12 calls are left\n%s", seed, total, strings.Join(trail, "\n"))
	}
}

func TestSuccessionIsTheSameWhenReadAndWritten(t *testing.T) {
	s := newSuccession()
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range 200 {
		node, other := fmt.Sprint("n", rnd.IntN(3)), fmt.Sprint("n", rnd.IntN(3))
		cmd := successionCommand{Do: "begin", Node: node, Life: uint64(rnd.IntN(i + 1)), Able: true, Info: []byte(node)}
		if rnd.IntN(2) == 0 {
			cmd = successionCommand{Do: "end", Node: node, Life: s.tenure(node).Life, Taker: other}
		}
		before := s.tenure(node)
		done := s.Apply(cmd.encode()).(bool)
		if after := s.tenure(node); cmd.Do == "end" && done && (before.Dead || !after.Dead || after.Past[len(after.Past)-1].Taker != other || other == node) {
			t.Fatalf("%+v made %+v of %+v", cmd, after, before)
		}
		var first, second bytes.Buffer
		write, _ := s.Snapshot()
		_ = write(&first)
		next := newSuccession()
		if err := next.Restore(bytes.NewReader(first.Bytes())); err != nil {
			t.Fatal(err)
		}
		write, _ = next.Snapshot()
		if _ = write(&second); !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Fatalf("%s and %s", first.Bytes(), second.Bytes())
		}
		s = next
	}
}

func TestAReturningNodeWaitsForWhatIsUsedInItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginPiles(t, nil)
		c.fill(t, 0, 1)
		busy := errors.New("a call goes on there")
		for i := 1; i < 3; i++ {
			c.own[i].releases = func(node string) error {
				if node != "n1" {
					t.Errorf("%s wants its addresses back", node)
				}
				return busy
			}
		}
		if err := c.nodes[0].stop(); err != nil {
			t.Fatal(err)
		}
		until(t, "somebody to take the call", 2*time.Second, func() bool { return len(c.takers(0)) == 1 })
		c.cfgs[0].Bootstrap = false
		c.nodes[0] = begin(t, c.cfgs[0]) // not entered: it does not listen yet
		for range 20 {
			if err := c.nodes[0].Reclaim(t.Context()); err == nil {
				t.Fatal("it has its addresses while they are used")
			}
			time.Sleep(100 * time.Millisecond)
		}
		busy = nil
		if err := c.nodes[0].Reclaim(t.Context()); err != nil {
			t.Errorf("it waits still: %v", err)
		}
	})
}
