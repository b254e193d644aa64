package cluster

import (
	"context"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A firewall between the nodes of a test ends connections and refuses new ones, as if nothing ran behind it.
type firewall struct {
	mu     sync.Mutex
	to     map[string]bool // addresses, with ports, that nothing reaches
	from   map[int]bool    // nodes that reach nothing
	around map[*walled]bool
}

// walled is a connection through it, at the end that has dialled.
type walled struct {
	net.Conn
	from  int
	to    string
	reset atomic.Bool
}

func (c *walled) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && c.reset.Load() {
		err = os.NewSyscallError("read", syscall.ECONNRESET)
	}
	return n, err
}

// putUp sets a firewall between nodes that have not been started.
func putUp(c *three) *firewall {
	w := &firewall{to: map[string]bool{}, from: map[int]bool{}, around: map[*walled]bool{}}
	for i := range c.cfgs {
		c.cfgs[i].Network = passage{hostNetwork{c.hosts[i]}, w, i}
	}
	return w
}

// passage is the way of one node through the firewall.
type passage struct {
	hostNetwork
	wall *firewall
	node int
}

func (g passage) Dial(ctx context.Context, address string) (net.Conn, error) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	if g.wall.refuses(g.node, address) {
		return nil, refused
	}
	conn, err := g.hostNetwork.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	through := &walled{Conn: conn, from: g.node, to: address}
	g.wall.mu.Lock()
	defer g.wall.mu.Unlock()
	if g.wall.to[address] || g.wall.from[g.node] {
		conn.Close()
		return nil, refused
	}
	g.wall.around[through] = true
	return through, nil
}

func (w *firewall) refuses(node int, address string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to[address] || w.from[node]
}

// against refuses what others dial at a node, and ends those of their connections; all: what it dials itself as well.
func (w *firewall) against(node int, all bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	to := address(node) + ":7000"
	w.to[to] = true
	if all {
		w.from[node] = true
	}
	for c := range w.around {
		if c.to == to || all && c.from == node {
			delete(w.around, c)
			c.reset.Store(true)
			c.Conn.Close()
		}
	}
}

func (w *firewall) down() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.to)
	clear(w.from)
}

// That nobody can connect to a node says nothing as long as its own connections are there.
func TestANodeThatAFirewallKeepsOthersFromIsNotTakenFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &piles{three: newThree(t, 1)}
		wall := putUp(c.three)
		for i := range 3 {
			c.launch(t, i, nil)
		}
		time.Sleep(2 * time.Second)
		at := (c.leader(t, -1) + 1) % 3
		c.fill(t, at, 3)
		wall.against(at, false)
		time.Sleep(5 * time.Second)
		if len(c.takers(at)) != 0 || c.count(at) != 3 || !c.nodes[at].Entitled() {
			t.Errorf("taken by %v, %d calls, entitled %v", c.takers(at), c.count(at), c.nodes[at].Entitled())
		}
	})
}

// A node whose connections are all ended and refused looks dead. It is taken from at once, and knows before.
func TestANodeThatLooksDeadDoubtsBeforeItIsTakenFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &piles{three: newThree(t, 1)}
		wall := putUp(c.three)
		for i := range 3 {
			c.launch(t, i, nil)
		}
		time.Sleep(2 * time.Second)
		at := (c.leader(t, -1) + 1) % 3
		c.fill(t, at, 3)
		wall.against(at, true)
		until(t, "the node to doubt", 10*time.Millisecond, func() bool {
			if len(c.takers(at)) != 0 {
				t.Fatal("its calls were taken before it doubted")
			}
			return !c.nodes[at].Entitled()
		})
		until(t, "somebody to take the calls", 50*time.Millisecond, func() bool { return len(c.takers(at)) == 1 })
		wall.down()
		until(t, "the node to be fenced", 5*time.Second, func() bool { return c.own[at].times() == 1 })
		if c.count(at) != 0 || c.count(c.takers(at)[0]) != 3 {
			t.Errorf("%d calls here, %d there", c.count(at), c.count(c.takers(at)[0]))
		}
	})
}
