package pbx

import (
	"context"
	"sync"
)

// A Load is what a node carries that is to stop.
type Load struct {
	Movable int // answered calls that another node can go on with
	Ringing int // calls without an answer yet
	Fixed   int // answered calls that end with the node: it answers them itself, or others cannot be given them
}

// Load may be called from any goroutine.
func (p *PBX) Load() (l Load) {
	for _, c := range p.all() {
		c.mu.Lock()
		switch {
		case c.over:
		case c.state != Answered:
			l.Ringing++
		case c.moves():
			l.Movable++
		default:
			l.Fixed++
		}
		c.mu.Unlock()
	}
	return l
}

// moves tells whether another node can go on with the call; c.mu is held.
func (c *Call) moves() bool {
	return c.state == Answered && !c.over && c.dialog != nil && (c.media == nil || c.media.movable())
}

// End ends what cannot go to another node, or all calls: those without an answer are refused with 503, the others hung up. It tells how many. Any
// goroutine that is no shard's.
func (p *PBX) End(reason string, all bool) (refused, ended int) {
	for _, c := range p.all() {
		c.mu.Lock()
		in, stays, over := c.in, c.moves() && !all, c.over
		c.mu.Unlock()
		switch {
		case over || stays:
		case in != nil:
			refused++
			c.refuseLater(reason)
		default:
			ended++
			c.hangup(reason)
		}
	}
	return refused, ended
}

// Handover has every call that can move described to those who hold the copies as it is now, and waits until they have it, as long as ctx lasts.
// Signalling must stand still (sip.Server.Freeze). It tells how many they have, and how many they lack. Any goroutine that is no shard's.
func (p *PBX) Handover(ctx context.Context) (held, lacking int) {
	if p.copier == nil {
		return 0, 0
	}
	var mu sync.Mutex
	settled := make(chan struct{}, 1)
	open := 0
	for _, c := range p.all() {
		c.mu.Lock()
		moves := c.moves()
		c.mu.Unlock()
		if !moves {
			continue
		}
		mu.Lock()
		open++
		mu.Unlock()
		err := p.copier.give(ctx, c, func(has bool) {
			mu.Lock()
			defer mu.Unlock()
			if open--; has {
				held++
			} else {
				lacking++
			}
			select {
			case settled <- struct{}{}:
			default:
			}
		})
		if err != nil {
			mu.Lock()
			open--
			lacking++
			mu.Unlock()
		}
	}
	for {
		mu.Lock()
		rest, has, lacks := open, held, lacking
		mu.Unlock()
		if rest == 0 {
			return has, lacks
		}
		select {
		case <-settled:
		case <-ctx.Done():
			return has, lacks + rest
		}
	}
}
