package sip

import (
	"context"
	"sync"
	"time"

	"tandem/sip/message"
)

// catchUpTime bounds how long an answer is held back because other nodes may know more.
const catchUpTime = 300 * time.Millisecond

// catching has those who ask at about the same time share one question to the other nodes: there is one under way at most, and who comes while it is
// shares the next.
type catching struct {
	turn sync.Mutex // held by the question under way
	mu   sync.Mutex
	next *caughtUp
}

type caughtUp struct {
	done chan struct{}
	err  error
}

// MayLag tells whether there are other nodes that may know more than this one. Any goroutine.
func (s *Server) MayLag() bool { return s.cfg.CatchUp != nil }

// CatchUp waits, not for long, until this node knows what had been agreed when it was called. An error says that this could not be had. Any
// goroutine that is not a shard's.
func (s *Server) CatchUp() error {
	if s.cfg.CatchUp == nil {
		return nil
	}
	c := &s.catching
	c.mu.Lock()
	r := c.next
	if r != nil {
		c.mu.Unlock()
		<-r.done
		return r.err
	}
	r = &caughtUp{done: make(chan struct{})}
	c.next = r
	c.mu.Unlock()
	c.turn.Lock()
	c.mu.Lock()
	c.next = nil
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), catchUpTime)
	r.err = s.cfg.CatchUp(ctx)
	cancel()
	c.turn.Unlock()
	close(r.done)
	return r.err
}

// lookAgain has a request looked at once more when this node has caught up: the account that it was refused for may have been made on another node a
// moment ago. Until then nothing is answered and nobody blamed. It tells whether that is so.
func (sh *shard) lookAgain(m *message.Message, d *DigestResult, look func()) bool {
	if sh.srv.cfg.CatchUp == nil || !d.Rejected || sh.second {
		return false
	}
	h := &sh.srv.handlers
	if h.running.Add(1) > maxHandlers {
		h.running.Add(-1)
		return false
	}
	sh.keep(m)
	sh.count.lagged.Add(1)
	h.wg.Go(func() {
		defer h.running.Add(-1)
		_ = sh.srv.CatchUp()
		sh.insist(func() {
			sh.second = true
			defer func() { sh.second = false }()
			look()
		})
	})
	return true
}
