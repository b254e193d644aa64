package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pile is what lives on a node of a test, and has to be copied.
type pile struct {
	mu     sync.Mutex
	node   *node
	things map[string]string
	taken  map[string]int // how often it has taken what a node has left
	infos  []EstateInfo   // of the last of them
	fences int

	took     func()                  // is told when it has
	fence    func()                  // likewise, that it was taken for dead
	refuses  error                   // what take says
	releases func(node string) error // what giving back says
}

// set changes a thing, and tells whether others had it within a time.
func (p *pile) set(id, content string, within time.Duration) bool {
	p.mu.Lock()
	p.things[id] = content
	p.mu.Unlock()
	done := make(chan bool, 1)
	p.node.Copies().Keep(id, []byte(content), func(held bool) { done <- held })
	select {
	case held := <-done:
		return held
	case <-time.After(within):
		return false
	}
}

func (p *pile) remove(id string) {
	p.mu.Lock()
	delete(p.things, id)
	p.mu.Unlock()
	p.node.Copies().Forget(id)
}

func (p *pile) again(ids []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		if content, ok := p.things[id]; ok {
			p.node.Copies().Keep(id, []byte(content), nil)
		}
	}
}

// take goes on with what a dead node has left, each thing as "id=content".
func (p *pile) take(_ context.Context, e Estate) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuses != nil {
		return p.refuses
	}
	p.taken[e.Node]++
	if p.took != nil {
		p.took()
	}
	p.infos = e.Infos
	for _, c := range e.Copies {
		id, _, _ := strings.Cut(string(c), "=")
		p.things[id] = string(c)
		p.node.Copies().Keep(id, c, nil)
	}
	return nil
}

func (p *pile) fenced(string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fences++
	if p.fence != nil {
		p.fence()
	}
	for id := range p.things {
		p.node.Copies().Forget(id)
	}
	clear(p.things)
}

// times is how often the node was fenced.
func (p *pile) times() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fences
}

// told are the infos of what was taken last.
func (p *pile) told() []EstateInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.infos
}

// piles are nodes that keep things for each other.
type piles struct {
	*three
	own []*pile
}

// beginPiles starts nodes that keep things for each other; more than three join when they are told to.
func beginPiles(t *testing.T, configure func(i int, c *Config)) *piles {
	t.Helper()
	c := &piles{three: newThree(t, 1)}
	for i := range 3 {
		c.launch(t, i, configure)
	}
	for _, n := range c.nodes {
		if err := n.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Second)
	return c
}

func (c *piles) launch(t *testing.T, i int, configure func(int, *Config)) {
	p := &pile{things: map[string]string{}, taken: map[string]int{}}
	c.cfgs[i].Copies = CopiesConfig{Again: p.again}
	c.cfgs[i].Succession = SuccessionConfig{Take: p.take, Fenced: p.fenced, Release: func(node string) error {
		p.mu.Lock()
		releases := p.releases
		p.mu.Unlock()
		if releases == nil {
			return nil
		}
		return releases(node)
	}}
	if configure != nil {
		configure(i, &c.cfgs[i])
	}
	p.mu.Lock() // until its node is known
	c.nodes[i] = launch(t, c.cfgs[i])
	p.node = c.nodes[i]
	p.mu.Unlock()
	if err := c.nodes[i].Enter([]byte("address of "+c.cfgs[i].Node), true); err != nil {
		t.Fatal(err)
	}
	if i < len(c.own) {
		c.own[i] = p
	} else {
		c.own = append(c.own, p)
	}
}

// held lists what a node holds of another one's present life.
func (c *piles) held(by, of int) map[string]string {
	out := map[string]string{}
	h := c.nodes[by].copies.held
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.lives[life{c.cfgs[of].Node, c.nodes[of].life.Load()}]; l != nil {
		for id, it := range l.copies {
			out[id] = string(it.content)
		}
	}
	return out
}

// holders counts the nodes that have the newest of a thing.
func (c *piles) holders(of int, id string) (n int) {
	c.own[of].mu.Lock()
	want := c.own[of].things[id]
	c.own[of].mu.Unlock()
	for by := range c.nodes {
		if by != of && c.held(by, of)[id] == want {
			n++
		}
	}
	return n
}

func TestCopiesAreOnTwoNodesWhenItIsSaidSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginPiles(t, nil)
		began := time.Now()
		if !c.own[0].set("a", "one", time.Second) {
			t.Fatal("nobody has it")
		}
		if took := time.Since(began); took > 5*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if n := c.holders(0, "a"); n != 2 {
			t.Errorf("%d nodes have it, want 2", n)
		}
		for i := range 1000 { // nobody waits for these
			c.own[0].node.Copies().Keep("a", fmt.Append(nil, "change ", i), nil)
		}
		if !c.own[0].set("a", "last", time.Second) || c.holders(0, "a") != 2 {
			t.Error("the newest is not there")
		}
		st := c.nodes[0].Status().Copies
		if st.Batches > 20 {
			t.Errorf("changes were not merged: %d batches", st.Batches)
		}
		if st.Own != 1 || st.Covered != 1 || st.Lag != 0 {
			t.Errorf("%+v", st)
		}
		c.own[0].remove("a")
		time.Sleep(100 * time.Millisecond)
		for i := 1; i < 3; i++ {
			if st := c.nodes[i].Status().Copies; st.Held != 0 || st.Bytes != 0 {
				t.Errorf("node %d: %+v", i, st)
			}
		}
	})
}

func TestCopiesMoveWhenAHolderDiesOrComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginPiles(t, nil)
		for i := range 50 {
			c.own[0].set(fmt.Sprint(i), "before", time.Second)
		}
		c.cut(2)
		time.Sleep(5 * time.Second)
		c.own[0].remove("7")
		if !c.own[0].set("8", "with one holder", time.Second) {
			t.Error("the one that is left does not count")
		}
		c.heal()
		time.Sleep(5 * time.Second)
		for i := range 50 {
			if n := c.holders(0, fmt.Sprint(i)); i != 7 && n != 2 {
				t.Errorf("%d nodes have thing %d", n, i)
			}
		}
		if _, there := c.held(2, 0)["7"]; there {
			t.Error("what ended meanwhile is still held")
		}
		if st := c.nodes[0].Status().Copies; st.Covered != 49 || st.Again == 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestEachThingIsOnTwoOfManyNodes(t *testing.T) {
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
		share := make([]int, 5)
		for i := range 400 {
			id := fmt.Sprint("call ", i)
			if !c.own[0].set(id, "x", time.Second) || c.holders(0, id) != 2 {
				t.Fatalf("%s is on %d nodes", id, c.holders(0, id))
			}
		}
		for by := 1; by < 5; by++ {
			share[by] = len(c.held(by, 0))
			if share[by] < 130 || share[by] > 270 {
				t.Errorf("shares %v of 800", share)
			}
		}
		before := c.held(1, 0)
		c.kill(4)
		time.Sleep(5 * time.Second)
		for i := range 400 {
			n := c.holders(0, fmt.Sprint("call ", i))
			if _, dead := c.held(4, 0)[fmt.Sprint("call ", i)]; dead {
				n--
			}
			if n != 2 {
				t.Fatalf("call %d is on %d nodes", i, n)
			}
		}
		for id := range before {
			if _, still := c.held(1, 0)[id]; !still {
				t.Errorf("%s has moved away for nothing", id)
			}
		}
	})
}

func TestAHolderWithoutRoomSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginPiles(t, func(i int, cfg *Config) {
			if i == 1 {
				cfg.Copies.MaxItems = 3
			} else if i == 2 {
				cfg.Copies.MaxBytes = 5000
			}
		})
		for i := range 5 {
			held := c.own[0].set(fmt.Sprint(i), strings.Repeat("x", 100), time.Second)
			if held != (i < 3) {
				t.Errorf("thing %d: held %v", i, held)
			}
		}
		if c.own[0].set("large", strings.Repeat("x", 4900), time.Second) || c.own[0].set("too large", strings.Repeat("x", maxCopy+1), time.Second) {
			t.Error("there was room for something large")
		}
		if st := c.nodes[1].Status().Copies; st.Held != 3 || st.Full == 0 {
			t.Errorf("%+v", st)
		}
		if st := c.nodes[2].Status().Copies; st.Bytes > 5000 || st.Full == 0 {
			t.Errorf("%+v", st)
		}
		if st := c.nodes[0].Status().Copies; st.Refused == 0 || st.Lag == 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestBatchesThatComeLateChangeNothing(t *testing.T) {
	h := newHeldCopies(10, 1000)
	keep := func(seq, version uint64, content string) error {
		_, err := h.take("n1", &copyBatch{incarnation: 1, seq: seq, items: []copyItem{{"a", version, []byte(content)}}})
		return err
	}
	if err := errors.Join(keep(1, 1, "one"), keep(3, 0, "")); err != nil {
		t.Fatal(err)
	}
	if err := keep(2, 1, "one"); !errors.Is(err, errOldBatch) {
		t.Errorf("a batch that was overtaken: %v", err)
	}
	if n, bytes, _ := h.size(); n != 0 || bytes != 0 {
		t.Errorf("%d copies, %d bytes are held", n, bytes)
	}
}

func FuzzReadCopyBatch(f *testing.F) {
	f.Add((&copyBatch{incarnation: 1, seq: 2, fresh: true, items: []copyItem{{"a", 3, []byte("b")}, {"c", 0, nil}}}).encode())
	f.Fuzz(func(t *testing.T, p []byte) {
		b, err := readCopyBatch(p)
		if err != nil {
			return
		}
		again, err := readCopyBatch(b.encode())
		if err != nil || again.seq != b.seq || !slices.EqualFunc(again.items, b.items, func(x, y copyItem) bool {
			return x.id == y.id && x.version == y.version && string(x.content) == string(y.content)
		}) {
			t.Errorf("%+v and %+v, %v", b, again, err)
		}
	})
}
