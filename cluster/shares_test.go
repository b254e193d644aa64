package cluster

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestSharesNeverAddUpToMoreThanThereIs has lives of nodes begin, end and say anything about their shares, in any order. What is held is never more
// than the limit, late words of lives that are over change nothing, and once all others are over the last one can have all of it.
func TestSharesNeverAddUpToMoreThanThereIs(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		rnd := rand.New(rand.NewPCG(seed, 1))
		lives := map[string]uint64{"n1": 1, "n2": 1, "n3": 1}
		s := newShares(func(of life) bool { return lives[of.node] == of.incarnation })
		limits := map[string]int64{"channels": 2, "calls": 30, "minutes": 6000}
		names := []string{"channels", "calls", "minutes"}
		move := func(node string, of uint64, ch shareChange) {
			ch.Limit = limits[ch.Pool]
			if ch.Pool == "minutes" {
				ch.Until = 1 << 40
			}
			s.Apply(sharesCommand{Do: "move", Node: node, Life: of, Pools: []shareChange{ch}}.encode())
		}
		for step := range 2000 {
			node := fmt.Sprint("n", 1+rnd.IntN(3))
			of := lives[node]
			if rnd.IntN(20) == 0 {
				of-- // too late
			}
			name := names[rnd.IntN(3)]
			p, _ := s.pool(name)
			switch rnd.IntN(8) {
			case 0:
				lives[node]++
			case 1:
				dead := share{Node: node, Life: lives[node] - 1}
				other := fmt.Sprint("n", 1+rnd.IntN(3))
				s.Apply(sharesCommand{Do: "settle", Node: other, Life: lives[other], Of: []share{dead}, Pools: []shareChange{{Pool: name, Want: int64(rnd.IntN(3))}}}.encode())
				s.Apply(sharesCommand{Do: "free", Node: other, Life: lives[other], Of: []share{dead}, Keep: rnd.IntN(2) == 0}.encode())
			case 2, 3:
				down := rnd.Int64N(p.held(life{node, of}) + 1)
				move(node, of, shareChange{Pool: name, Down: &down})
			default:
				move(node, of, shareChange{Pool: name, Want: 1 + rnd.Int64N(limits[name])})
			}
			for name, limit := range limits {
				if p, _ := s.pool(name); p.all()+p.Spent > limit {
					t.Fatalf("seed %d, step %d: %s has %d and %+v", seed, step, name, limit, p)
				}
			}
			if step%100 == 0 {
				s = reread(t, s)
			}
		}
		var over []share
		for node := range lives {
			lives[node]++
		}
		for _, of := range s.over() {
			over = append(over, share{Node: of.node, Life: of.incarnation})
		}
		s.Apply(sharesCommand{Do: "free", Node: "n1", Life: lives["n1"], Of: over}.encode())
		for _, name := range names[:2] {
			move("n1", lives["n1"], shareChange{Pool: name, Want: limits[name]})
			if p, _ := s.pool(name); p.held(life{"n1", lives["n1"]}) != limits[name] {
				t.Fatalf("seed %d: the last one has %+v of %d %s", seed, p, limits[name], name)
			}
		}
	}
}

func reread(t *testing.T, s *shares) *shares {
	t.Helper()
	var first, second bytes.Buffer
	write, _ := s.Snapshot()
	_ = write(&first)
	next := newShares(s.lives)
	if err := next.Restore(bytes.NewReader(first.Bytes())); err != nil {
		t.Fatal(err)
	}
	write, _ = next.Snapshot()
	if _ = write(&second); !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Fatalf("%s and %s", first.Bytes(), second.Bytes())
	}
	return next
}

// sharing gives nodes that share, once all know how.
func sharing(t *testing.T, seed uint64) *piles {
	t.Helper()
	c := &piles{three: newThree(t, seed)}
	for i := range 3 {
		c.launch(t, i, nil)
	}
	for i := range 3 {
		until(t, "all to share", 10*time.Second, func() bool {
			n := c.nodes[i]
			return n.Shares().Shared() && n.Entitled() && n.succession.goesOn(n.sharing.own())
		})
	}
	return c
}

func borrows(n *node, pool string, limit int64) bool {
	if n.Shares().Take(pool, limit, 1) {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), 150*time.Millisecond)
	defer cancel()
	return n.Shares().Borrow(ctx, pool, limit, time.Time{}, 1) && n.Shares().Take(pool, limit, 1)
}

func TestASmallLimitIsUsedUpFromAnyNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := sharing(t, 1)
		for i := range 3 {
			for n := range 2 {
				if !borrows(c.nodes[i], "two", 2) {
					t.Fatalf("node %d gets %d", i, n)
				}
			}
			if borrows(c.nodes[(i+1)%3], "two", 2) {
				t.Fatal("a third one was given")
			}
			c.nodes[i].Shares().Return("two", 2)
		}
		for range 3 { // ten times three and five
			for i := range 3 {
				if !borrows(c.nodes[i], "thirty", 30) {
					t.Fatal("there is enough for all")
				}
			}
		}
		time.Sleep(2 * time.Second)
		before := c.nodes[0].Status().Shares.Asked + c.nodes[1].Status().Shares.Asked + c.nodes[2].Status().Shares.Asked
		for range 200 {
			for i := range 3 {
				if !c.nodes[i].Shares().Take("thirty", 30, 1) {
					t.Fatal("what was given back is not there")
				}
				c.nodes[i].Shares().Return("thirty", 1)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if after := c.nodes[0].Status().Shares.Asked + c.nodes[1].Status().Shares.Asked + c.nodes[2].Status().Shares.Asked; after != before {
			t.Errorf("%d words in the log for calls that come and go", after-before)
		}
		got := 9
		for borrows(c.nodes[2], "thirty", 30) {
			got++
		}
		if got != 30 {
			t.Errorf("%d of 30", got)
		}
	})
}

func TestWhatADeadNodeHeldComesBackWithoutWhatGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := sharing(t, 1)
		for range 10 {
			if !borrows(c.nodes[0], "sixteen", 16) {
				t.Fatal("there is enough")
			}
		}
		for i := 1; i < 3; i++ { // four of its calls go on with who takes them
			c.own[i].took = func() { c.nodes[i].Shares().Use("sixteen", 16, time.Time{}, 4) }
		}
		c.fill(t, 0, 1)
		c.own[0].fence = func() { c.nodes[0].Shares().Return("sixteen", 10) }
		c.cut(0)
		until(t, "a taker", 3*time.Second, func() bool { return len(c.takers(0)) == 1 })
		got := func() (n int) {
			for i := 1; i < 3; i++ {
				for borrows(c.nodes[i], "sixteen", 16) {
					n++
				}
			}
			return n
		}
		early := got()
		if early > 6 {
			t.Errorf("%d are free before the dead node can know", early)
		}
		time.Sleep(15 * time.Second)
		if n := early + got(); n != 10 { // 16 without 4 that go on and 2 that the dead node may use if it lives
			t.Errorf("%d are free", n)
		}
		c.heal()
		until(t, "the node to be back", 5*time.Second, func() bool { return c.own[0].times() == 1 })
		time.Sleep(2 * time.Second)
		if n := got(); n != 2 {
			t.Errorf("%d more are free once it is back", n)
		}
	})
}

// TestNoLimitIsExceededWhateverTheNetworkDoes has users take and return at all nodes while those are cut and healed. At no moment is more
// in use than there is, and in the end all of it can be used by one.
func TestNoLimitIsExceededWhateverTheNetworkDoes(t *testing.T) {
	for seed := uint64(1); seed <= 3; seed++ {
		synctest.Test(t, func(t *testing.T) { playShares(t, seed) })
	}
}

func playShares(t *testing.T, seed uint64) {
	c := sharing(t, seed)
	limits := map[string]int64{"two": 2, "twenty": 20}
	var mu sync.Mutex
	inUse, most := map[string]int64{}, map[string]int64{}
	var here [3]map[string]int64 // of inUse
	var fences [3]int
	stop := make(chan struct{})
	var users sync.WaitGroup
	for i := range 3 {
		here[i] = map[string]int64{}
		c.own[i].fence = func() { // its calls end
			mu.Lock()
			defer mu.Unlock()
			fences[i]++
			for name, n := range here[i] {
				inUse[name] -= n
				c.nodes[i].Shares().Return(name, n)
			}
			clear(here[i])
		}
		for u := range 8 {
			rnd := rand.New(rand.NewPCG(seed, uint64(10*i+u)))
			users.Go(func() {
				for {
					name := []string{"two", "twenty"}[rnd.IntN(2)]
					if borrows(c.nodes[i], name, limits[name]) {
						mu.Lock()
						inUse[name]++
						here[i][name]++
						life := fences[i]
						most[name] = max(most[name], inUse[name])
						if inUse[name] > limits[name] {
							t.Errorf("seed %d: %d of %s are in use", seed, inUse[name], name)
						}
						mu.Unlock()
						for range rnd.IntN(40) { // a call of a node that nobody hears is ended
							time.Sleep(50 * time.Millisecond)
							if !c.nodes[i].Entitled() && c.nodes[i].Shares().Free(name, limits[name], time.Time{}) < 0 {
								break
							}
						}
						mu.Lock()
						if life == fences[i] {
							inUse[name]--
							here[i][name]--
							c.nodes[i].Shares().Return(name, 1)
						}
						mu.Unlock()
					}
					select {
					case <-stop:
						return
					case <-time.After(time.Duration(rnd.IntN(300)) * time.Millisecond):
					}
				}
			})
		}
	}
	rnd := rand.New(rand.NewPCG(seed, 3))
	for range 8 {
		if i := rnd.IntN(3); rnd.IntN(3) > 0 {
			c.cut(i)
		} else {
			c.net.Cut([]string{address(i)}, []string{address((i + 1) % 3)})
		}
		time.Sleep(time.Duration(100+rnd.IntN(15_000)) * time.Millisecond)
		c.heal()
		time.Sleep(time.Duration(rnd.IntN(5000)) * time.Millisecond)
	}
	close(stop)
	users.Wait()
	time.Sleep(20 * time.Second)
	for name, limit := range limits {
		n := int64(0)
		for borrows(c.nodes[rnd.IntN(3)], name, limit) {
			n++
		}
		if n != limit {
			p, _ := c.nodes[0].shares.pool(name)
			t.Errorf("seed %d: %d of %d %s can be used in the end: %+v, %s", seed, n, limit, name, p, strings.Join(c.nodes[0].Status().Words(), " "))
		}
		if most[name] < limit*2/3 {
			t.Errorf("seed %d: at most %d of %d %s were in use", seed, most[name], limit, name)
		}
	}
}
