package cluster

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// fitness has node i say how well it could go on with what others do.
func fitness(fits []int) func(int, *Config) {
	return func(i int, c *Config) {
		c.Succession.Fit = func(node string, infos []EstateInfo) int {
			if node == c.Node || len(infos) != 1 || string(infos[0].Info) != "address of "+node {
				return Unfit
			}
			return fits[i]
		}
	}
}

func TestANodeThatPartsIsFollowedAtOnceByTheFittest(t *testing.T) {
	for fittest := 1; fittest < 3; fittest++ {
		synctest.Test(t, func(t *testing.T) {
			fits := []int{Best, Able, Able}
			fits[fittest] = Best
			c := beginPiles(t, fitness(fits))
			c.fill(t, 0, 7)
			heir, fit, err := c.nodes[0].Heir(t.Context())
			if err != nil || heir != c.cfgs[fittest].Node || fit != Best {
				t.Fatalf("the heir is %s (%d): %v", heir, fit, err)
			}
			began := time.Now()
			if err := c.nodes[0].Part(t.Context(), heir); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 50*time.Millisecond {
				t.Errorf("it took %v", took)
			}
			if n := c.count(fittest); n != 7 {
				t.Errorf("%d of 7 calls go on", n)
			}
			if err := c.nodes[0].stop(); err != nil {
				t.Error(err)
			}
			time.Sleep(5 * time.Second)
			if got := c.takers(0); len(got) != 1 || c.own[0].times() != 0 {
				t.Errorf("taken by %v; the node was fenced %d times", got, c.own[0].times())
			}
		})
	}
}

func TestANodeWhoseCallsNobodyCanTakeHasNoHeir(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := beginPiles(t, fitness([]int{Best, Unfit, Unfit}))
		if heir, _, err := c.nodes[0].Heir(t.Context()); !errors.Is(err, ErrNoHeir) {
			t.Errorf("the heir is %q: %v", heir, err)
		}
		if heir, _, err := c.nodes[1].Heir(t.Context()); heir != "n1" || err != nil {
			t.Errorf("the heir of another one is %q: %v", heir, err)
		}
		c.own[1].refuses = errors.New("its addresses are in use")
		if err := c.nodes[0].Part(t.Context(), "n2"); err == nil {
			t.Error("an heir that could not go on has")
		}
		c.cut(1)
		time.Sleep(time.Second)
		if heir, _, err := c.nodes[1].Heir(t.Context()); !errors.Is(err, ErrNoHeir) {
			t.Errorf("a node that is cut off has the heir %q: %v", heir, err)
		}
	})
}
