package pbx

import (
	"context"
	"strings"
	"testing"
	"time"

	"tandem/dialplan"
	"tandem/events"
	"tandem/internal/fakephone"
)

const queuePlan = `
dialplan "acme" { domains = ["acme.example"] }
user "alice" { extension = "201" }
user "bob"   { extension = "202" }
user "carol" { extension = "203" }
user "dave"  { extension = "204" }
queue "support" {
  extension = "300"
  agents    = [user.bob, ring.second]
  strategy  = "in_order"
  timeout   = "2s"
  max_callers = 2
  announce  = "10s"
  record    = true
  key "1" { go = user.dave }
  otherwise { go = echo.test }
}
queue "short" {
  extension = "301"
  agents    = [user.carol]
  max_wait  = "1s"
  stay      = true
  otherwise { go = echo.test }
}
ring "second" {
  members = [user.carol]
  otherwise { go = echo.test }
}
agent "out" {
  extension = "*46"
  does      = "log_out"
}
echo "test" {}
`

// staffed is an office with a queue, and agents whose words are agreed on by one.
func staffed(t *testing.T, fn func(t *testing.T, o *office)) {
	t.Helper()
	live(t, func(t *testing.T, o *office) {
		o.change(queuePlan)
		agents := o.pbx.switchboard.said
		o.pbx.cfg.Agree = func(_ context.Context, _ string, cmd []byte) (any, error) { return agents.Apply(cmd), nil }
		fn(t, o)
	})
}

func (o *office) last(kind events.Kind) events.Event {
	list := o.events.Recent(1, func(e events.Event) bool { return e.Kind == kind })
	if len(list) == 0 {
		return events.Event{}
	}
	return list[0]
}

func TestCallerWaitsForAnAgentAndTalksWithHim(t *testing.T) {
	staffed(t, func(t *testing.T, o *office) {
		alice, bob, carol := o.phone("alice", rings), o.phone("bob", refuses(486)), o.phone("carol", atOnce)
		call := alice.Call("300", description("alice"))
		call.MustAnswer()
		o.until(func() bool { return o.tally(events.QueueAnswered) == 1 }) // bob refuses
		expect(t, "bob was called", len(bob.Calls()), 1)
		if invite := carol.Requests("INVITE")[0]; !strings.Contains(invite.Header("From"), "alice@acme.example") {
			t.Errorf("carol is called so:\n%s", invite)
		}
		answered := o.last(events.QueueAnswered)
		expect(t, "answered", answered.Detail["agent"]+" "+answered.To+" "+answered.From, "carol queue.support alice")
		expect(t, "joined", o.last(events.QueueJoined).Detail["position"], "1")
		o.until(func() bool { return len(o.recordings(events.RecordingStarted)) == 1 })
		queues, err := o.pbx.Queues(t.Context())
		if err != nil || len(queues) != 2 || len(queues[0].Callers) != 1 || queues[0].Callers[0].Stage != "talking" || queues[0].Agents[1].State != AgentTalking || queues[0].Agents[0].State != AgentResting {
			t.Errorf("queues: %+v, %v", queues, err)
		}
		expect(t, "BYE", call.Bye().Status(), 200)
		expect(t, "carol is hung up", carol.Calls()[0].WaitEnded(time.Minute), true)
		expect(t, "route", o.route(), "queue.support")
		o.until(func() bool { return o.tally(events.RecordingEnded) == 1 })
		st := o.pbx.QueueStats()
		if len(st) != 1 || st[0].Joined != 1 || st[0].Answered != 1 || st[0].Waiting != 0 || st[0].Abandoned != 0 {
			t.Errorf("figures: %+v", st)
		}
		queues, _ = o.pbx.Queues(t.Context())
		expect(t, "callers who are left", len(queues[0].Callers), 0)
		expect(t, "rooms", o.pbx.cfg.Media.Stats().Mixer.Rooms, 0)
	})
}

func TestWhoHangsUpInAQueueStopsTheRinging(t *testing.T) {
	staffed(t, func(t *testing.T, o *office) {
		alice, bob := o.phone("alice", rings), o.phone("bob", rings)
		call := alice.Call("300", description("alice"))
		call.MustAnswer()
		bob.AwaitRequest("INVITE")
		expect(t, "BYE", call.Bye().Status(), 200)
		bob.AwaitRequest("CANCEL")
		o.awaitRecord()
		expect(t, "abandoned", o.tally(events.QueueAbandoned), 1)
		expect(t, "answered", o.tally(events.QueueAnswered), 0)
	})
}

func TestAgentIsRungForOneCallerAtATime(t *testing.T) {
	staffed(t, func(t *testing.T, o *office) {
		alice, dave, bob := o.phone("alice", rings), o.phone("dave", rings), o.phone("bob", atOnce)
		alice.Call("300", description("alice")).MustAnswer()
		o.until(func() bool { return o.tally(events.QueueAnswered) == 1 })
		second := dave.Call("300", description("dave"))
		second.MustAnswer()
		o.until(func() bool { return o.tally(events.QueueJoined) == 2 })
		third := alice.Call("300", description("alice"))
		third.MustAnswer()
		o.until(func() bool { return o.tally(events.QueueJoined) == 3 })
		expect(t, "calls of bob", len(bob.Calls()), 1)
		fourth := dave.Call("300", description("dave")) // two wait: it is full
		fourth.MustAnswer()
		o.until(func() bool { v, _ := o.pbx.Call(fourth.CallID); return v.Node == "echo.test" })
		bob.Calls()[0].Bye()
		o.until(func() bool { return o.tally(events.QueueAnswered) == 2 })
		expect(t, "who was next", o.last(events.QueueAnswered).From, "dave")
		for _, c := range []*fakephone.Call{second, third, fourth} {
			c.Bye()
		}
	})
}

func TestKeysAndTimeLeadOutOfAQueue(t *testing.T) {
	staffed(t, func(t *testing.T, o *office) {
		alice, dave := o.phone("alice", rings), o.phone("dave", atOnce)
		bob := o.phone("bob", rings)
		call := alice.Call("300", description("alice"))
		call.MustAnswer()
		bob.AwaitRequest("INVITE")
		press(call, "71")
		o.reaches("dave")
		bob.AwaitRequest("CANCEL")
		expect(t, "why", o.last(events.QueueLeft).Reason, "pressed 1")
		call.Bye()
		expect(t, "dave is hung up", dave.Calls()[0].WaitEnded(time.Minute), true)

		call = alice.Call("301", description("alice"))
		call.MustAnswer()
		o.until(func() bool { v, _ := o.pbx.Call(call.CallID); return v.Node == "echo.test" })
		expect(t, "why", o.last(events.QueueLeft).Reason, "waited long enough")
		call.Bye()
	})
}

func TestAgentsLogOutByDialling(t *testing.T) {
	staffed(t, func(t *testing.T, o *office) {
		for _, user := range []string{"bob", "carol"} {
			call := o.phone(user, rings).Call("*46", description(user))
			call.MustAnswer()
			o.until(func() bool { return o.last(events.AgentLoggedOut).From == user })
			call.Bye()
		}
		alice := o.phone("alice", rings)
		expect(t, "who is no agent", alice.Call("*46", description("alice")).Final().Status(), 403)
		call := alice.Call("300", description("alice"))
		call.MustAnswer()
		o.until(func() bool { v, _ := o.pbx.Call(call.CallID); return v.Node == "echo.test" })
		expect(t, "joined", o.tally(events.QueueJoined), 0)
		call.Bye()
		if err := o.pbx.AgentDoes(t.Context(), "acme", "bob", nil, dialplan.LogIn); err != nil {
			t.Fatal(err)
		}
		queues, _ := o.pbx.Queues(t.Context())
		expect(t, "bob", queues[0].Agents[0].State, AgentFree)
		expect(t, "carol", queues[0].Agents[1].State, AgentOut)
	})
}
