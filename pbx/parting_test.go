package pbx

import (
	"context"
	"testing"
	"time"

	"tandem/events"
)

func TestWhatANodeThatStopsCanGiveAwayAndWhatItWaitsFor(t *testing.T) {
	s := &shelf{after: 5 * time.Millisecond}
	work(t, s.office, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		bob := o.phone("bob", atOnce)
		call := alice.Call("bob", description("alice"))
		call.MustAnswer()
		ringing := bob.Call("alice", description("bob"))
		ringing.AwaitStatus(180)
		expect(t, "load", o.pbx.Load(), Load{Movable: 1, Ringing: 1})

		refused, ended := o.pbx.End("the node is stopped", false)
		expect(t, "refused", refused, 1)
		expect(t, "ended", ended, 0)
		final := ringing.Final()
		expect(t, "who rings", final.Status(), 503)
		expect(t, "Retry-After", final.Header("Retry-After"), "1")
		time.Sleep(time.Second)
		expect(t, "load", o.pbx.Load(), Load{Movable: 1})

		if err := o.srv.Freeze(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, before := s.only(t)
		held, lacking := o.pbx.Handover(t.Context())
		expect(t, "held", held, 1)
		expect(t, "lacking", lacking, 0)
		if _, times := s.only(t); times != before+1 {
			t.Errorf("given %d times, and %d before", times, before)
		}
		s.after = -1 // nobody answers any more
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		held, lacking = o.pbx.Handover(ctx)
		expect(t, "held by nobody", held, 0)
		expect(t, "lacking", lacking, 1)

		if err := o.srv.Thaw(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, ended = o.pbx.End("the node is stopped", true)
		expect(t, "ended", ended, 1)
		expect(t, "the call is over", call.WaitEnded(time.Second), true)
		o.awaitKind(events.CallEnded)
		expect(t, "load", o.pbx.Load(), Load{})
	})
}
