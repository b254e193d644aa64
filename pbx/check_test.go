package pbx

import (
	"context"
	"testing"

	"tandem/events"
	"tandem/internal/fakephone"
)

func TestOperatorAsksWhetherPhonesAreStillInACall(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		alice, bob := o.phone("alice", rings), o.phone("bob", atOnce)
		call := alice.Call("bob", description("alice"))
		call.MustAnswer()
		o.awaitKind(events.CallAnswered)
		both, err := o.pbx.Check(context.Background(), call.CallID)
		expect(t, "error", err, nil)
		expect(t, "caller", both.Caller.Status, 200)
		expect(t, "callee", both.Callee.Status, 200)

		bob.OnRequest(func(m *fakephone.Message) bool { // bob's phone was restarted, and alice's has lost its network
			if m.Method() == "OPTIONS" {
				bob.Reply(m, 481)
			}
			return m.Method() == "OPTIONS"
		})
		alice.OnRequest(func(m *fakephone.Message) bool { return m.Method() == "OPTIONS" })
		both, err = o.pbx.Check(context.Background(), call.CallID)
		expect(t, "error", err, nil)
		expect(t, "caller", both.Caller, Pulse{408, checkPatience})
		expect(t, "callee", both.Callee.Status, 481)
		expect(t, "BYE", call.Bye().Status(), 200)

		_, err = o.pbx.Check(context.Background(), call.CallID)
		expect(t, "over", err, ErrNoCall)
	})
	live(t, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		music := alice.Call("*98", description("alice"))
		music.MustAnswer()
		_, err := o.pbx.Check(context.Background(), music.CallID)
		expect(t, "one phone", err, ErrOneParty)
		music.Bye()
	})
}
