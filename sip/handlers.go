package sip

import (
	"sync"
	"sync/atomic"
)

const (
	maxHandlers = 50_000 // requests being handled at once; beyond it new ones get 503
	idleWorkers = 256    // goroutines kept for the next request; their stacks have grown already
)

// handlers runs the Handler: one goroutine a request, and a few that wait for the next one. Growing the stack of a new
// goroutine for every call cost 4 % of a loaded node.
type handlers struct {
	running atomic.Int64
	idle    atomic.Int64
	panics  atomic.Uint64
	next    chan job // taken by an idle worker
	wg      sync.WaitGroup
}

type job struct {
	in *Inbound
	fn func(*Inbound)
}

// serve runs fn in a goroutine of its own unless there are too many.
func (s *Server) serve(in *Inbound, fn func(*Inbound)) bool {
	h := &s.handlers
	if h.running.Add(1) > maxHandlers {
		h.running.Add(-1)
		return false
	}
	j := job{in, fn}
	select {
	case h.next <- j:
	default:
		h.wg.Go(func() { s.work(j) })
	}
	return true
}

// work is one worker: it handles j, then what comes, as long as there are not enough idle ones.
func (s *Server) work(j job) {
	h := &s.handlers
	for {
		s.handle(j)
		if h.idle.Add(1) > idleWorkers {
			h.idle.Add(-1)
			return
		}
		select {
		case j = <-h.next:
			h.idle.Add(-1)
		case <-s.stopped:
			return
		}
	}
}

// handle runs the handler of one request and sees to it that the request is answered.
func (s *Server) handle(j job) {
	defer s.handlers.running.Add(-1)
	defer func() {
		if r := recover(); r != nil {
			s.handlers.panics.Add(1)
			s.cfg.Log.Error("a call's handler panicked; the call is ended, others go on", "call", j.in.Msg.CallID(), "panic", r, "stack", stack())
			j.in.Respond(500, "", nil)
		}
	}()
	j.fn(j.in)
	select {
	case <-j.in.gone:
	default: // an answer on its way comes first, then this one is dropped
		j.in.Respond(500, "", nil)
	}
}
