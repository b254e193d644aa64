package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const kindFit = "cluster.fit"

// How well a node could go on with what another one does (SuccessionConfig.Fit).
const (
	Unfit = iota // it cannot
	Able         // it can
	Best         // nobody can better
)

// ErrNoHeir is Heir's and Part's: nobody could go on with what this node does.
var ErrNoHeir = errors.New("cluster: no other node can go on with the calls of this one")

// candidates are those who could be named as the taker of a node: they live, and have said that they can go on with calls.
func (c *Cluster) candidates(node string) (list []string) {
	for _, m := range c.Members() {
		if m.Name != node && m.Health == Alive && c.Serves(m.Name) {
			list = append(list, m.Name)
		}
	}
	return list
}

// Serves tells whether a node has entered, with calls that it can go on with, and is not called dead. Any goroutine.
func (c *Cluster) Serves(node string) bool {
	t := c.succession.tenure(node)
	return t.Able && !t.Dead && t.Life != 0
}

// HeirOf names who goes on with what a node did before it died last, or was drained: "" when nobody does, or it does so itself. Any goroutine.
func (c *Cluster) HeirOf(node string) string {
	at := node
	for range maxPast { // whoever took it may have died in its turn
		t := c.succession.tenure(at)
		if at != node && !t.Dead {
			return at
		}
		if len(t.Past) == 0 {
			return ""
		}
		if at = t.Past[len(t.Past)-1].Taker; at == node {
			return ""
		}
	}
	return ""
}

// fittest asks the candidates how well they could go on with a life, and gives the one that can best; of several the first by a hash of the names.
func (c *Cluster) fittest(ctx context.Context, of life, candidates []string) (best string, fit int) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	fits := make([]int, len(candidates))
	var wg sync.WaitGroup
	for i, name := range candidates {
		wg.Go(func() {
			if name == c.cfg.Node {
				fits[i] = c.fits(of)
				return
			}
			if answer, err := c.Call(ctx, name, kindFit, lifeText(of)); err == nil && len(answer) == 1 {
				fits[i] = int(answer[0])
			}
		})
	}
	wg.Wait()
	for i, name := range candidates {
		if best == "" || fits[i] > fit || fits[i] == fit && weight(of.node, name) > weight(of.node, best) {
			best, fit = name, fits[i]
		}
	}
	return best, fit
}

func (c *Cluster) answerFit(_ context.Context, _ string, payload []byte) ([]byte, error) {
	of, err := readLife(payload)
	if err != nil {
		return nil, err
	}
	return []byte{byte(c.fits(of))}, nil
}

// fits tells how well this node could go on with a life of another one.
func (c *Cluster) fits(of life) int {
	if c.cfg.Succession.Fit == nil {
		return Able
	}
	return c.cfg.Succession.Fit(of.node, c.succession.infos(of))
}

// infos are what the node of a life has told of itself, and those whose calls it goes on with.
func (s *succession) infos(of life) []EstateInfo {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := estate{node: of.node}
	n := s.state.Nodes[of.node]
	info := n.Info
	for _, p := range n.Past {
		if p.Life == of.incarnation {
			info = p.Info
		}
	}
	s.inherit(&e, of, info)
	return e.infos
}

// Heir is who would go on with what this node does if it parted now, and how well (Able or Best). Error: ErrNoHeir.
func (c *Cluster) Heir(ctx context.Context) (node string, fit int, err error) {
	s := c.successor
	s.mu.Lock()
	entered := s.entered
	s.mu.Unlock()
	if !entered || !c.Entitled() {
		return "", Unfit, fmt.Errorf("%w: the others do not hear it", ErrNoHeir)
	}
	if node, fit = c.fittest(ctx, life{c.cfg.Node, c.life.Load()}, c.candidates(c.cfg.Node)); fit == Unfit {
		return "", Unfit, ErrNoHeir
	}
	return node, fit, nil
}

// Part ends the life of this node in order: heir goes on with all that it has given to Copies. Nothing of that may be done here any more, and what the
// heir needs, such as addresses, must be free. It returns when the heir has it. Behind an error the others find out by themselves, once this process
// has ended. The node takes nothing from others any more.
func (c *Cluster) Part(ctx context.Context, heir string) error {
	s, own := c.successor, life{c.cfg.Node, c.life.Load()}
	s.mu.Lock()
	s.wants, s.entered = false, false // it is not to find that others have declared it dead
	s.mu.Unlock()
	cmd := successionCommand{Do: "end", Node: own.node, Life: own.incarnation, Taker: heir}
	result, err := c.Propose(ctx, successionMachine, cmd.encode())
	if err != nil {
		return fmt.Errorf("cluster: part: %w", err)
	}
	if done, _ := result.(bool); !done && !c.succession.over(own) {
		return fmt.Errorf("%w: node %s is gone, too", ErrNoHeir, heir)
	}
	past := c.succession.tenure(own.node).Past // the others may have been quicker, and have named another one
	if i := slices.IndexFunc(past, func(p pastLife) bool { return p.Life == own.incarnation }); i >= 0 {
		heir = past[i].Taker
	}
	for {
		switch answer, err := c.Call(ctx, heir, kindOutcome, lifeText(own)); {
		case err != nil:
			return fmt.Errorf("cluster: part: node %s does not say whether it goes on: %w", heir, err)
		case len(answer) == 1 && answer[0] == outcomeTaken:
			return nil
		case len(answer) == 1 && answer[0] == outcomeLeft:
			return fmt.Errorf("cluster: part: node %s could not go on; its log says why", heir)
		}
		select {
		case <-time.After(outcomePause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// outcomePause is how soon a node that parts asks again.
const outcomePause = 5 * time.Millisecond
