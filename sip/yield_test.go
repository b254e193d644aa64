package sip

import (
	"context"
	"testing"
	"time"
)

// serving has all nodes take calls of one that drains, but for those named.
func serving(not ...string) func(int, *Config) {
	return func(_ int, c *Config) {
		c.Edge.Serves = func(name string) bool {
			for _, n := range not {
				if n == name {
					return false
				}
			}
			return true
		}
	}
}

// yield has a node drain and gives what tells that its last call is over.
func (s *stage) yield() <-chan error {
	drained := make(chan error, 1)
	go func() { drained <- s.srv.Drain(context.Background()) }()
	time.Sleep(10 * time.Millisecond)
	return drained
}

func TestWhatBeginsAtANodeThatDrainsRunsAtAnother(t *testing.T) {
	playTogether(t, 3, serving(node(2)), func(t *testing.T, tr *troupe) {
		alice, bob := tr.phone(0, "alice"), tr.phone(0, "bob")
		carol := tr.phone(0, "carol", overTCP)
		bob.OnInvite(answerAfter(time.Second))
		tr.settle()
		old := alice.Call("bob", sdpOf("alice"))
		old.MustAnswer()
		drained := tr.stages[0].yield()

		expect(t, "a call that was there goes on", old.Reinvite(sdpOf("alice")).Status(), 200)
		call := carol.Call("bob", sdpOf("carol"))
		call.MustAnswer()
		expect(t, "calls at the node that drains", tr.stages[0].srv.Stats().Dialogs, int64(1))
		expect(t, "calls at the one that serves", tr.stages[1].srv.Stats().Dialogs, int64(1))
		expect(t, "calls at the one that does not", tr.stages[2].srv.Stats().Dialogs, int64(0))
		expect(t, "hold", call.Reinvite(sdpOf("carol")).Status(), 200)
		expect(t, "back by bob", bob.Calls()[1].Reinvite(sdpOf("bob")).Status(), 200)
		expect(t, "BYE", call.Bye().Status(), 200)

		cancelled := carol.Call("bob", sdpOf("carol"))
		time.Sleep(500 * time.Millisecond)
		cancelled.Cancel()
		expect(t, "a call that was cancelled", cancelled.Final().Status(), 487)
		expect(t, "nobody is there", carol.Call("zoe", sdpOf("carol")).Final().Status(), 404)
		expect(t, "a message", alice.Do("MESSAGE", "sip:bob@example.com", nil, "hello").Status(), 200)
		alice.MustRegister()

		expect(t, "BYE of the old call", old.Bye().Status(), 200)
		expect(t, "Drain", <-drained, nil)
		for i := range tr.stages {
			expect(t, "requests refused by "+node(i), tr.stages[i].srv.Stats().Shed, uint64(0))
		}
	})
}

func TestTwoNodesThatDrainDoNotGiveCallsToAndFro(t *testing.T) {
	playTogether(t, 2, serving(), func(t *testing.T, tr *troupe) {
		alice := tr.phone(0, "alice")
		for _, s := range tr.stages {
			<-s.yield()
		}
		expect(t, "a call that nobody takes", alice.Call("alice", sdpOf("alice")).Final().Status(), 503)
		expect(t, "given by the first", tr.stages[0].srv.Stats().Edge.Strayed > 0, true)
		expect(t, "given by the second", tr.stages[1].srv.Stats().Edge.Strayed, uint64(0))
	})
}
