package cluster

import (
	"context"
	"sync"
)

// gate is passed while it is open, and reports an error for ever once it has failed.
type gate struct {
	mu   sync.Mutex
	open bool
	err  error
	wake chan struct{} // closed at every change
}

func newGate() *gate { return &gate{wake: make(chan struct{})} }

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open != open {
		g.open = open
		g.change()
	}
}

func (g *gate) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open, g.err = false, err
	g.change()
}

// change wakes all who wait; mu is held.
func (g *gate) change() {
	close(g.wake)
	g.wake = make(chan struct{})
}

func (g *gate) state() (open bool, wake <-chan struct{}, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open, g.wake, g.err
}

func (g *gate) wait(ctx context.Context) error {
	for {
		open, wake, err := g.state()
		if err != nil || open {
			return err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
