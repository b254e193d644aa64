package pbx

import (
	"strings"
	"testing"
	"time"

	"tandem/events"
	"tandem/internal/fakephone"
)

const pickupPlan = `
dialplan "acme" { domains = ["acme.example"] }
user "alice" { extension = "201" }
user "bob"   {
  extension = "202"
  groups    = ["sales"]
}
user "carol" {
  extension = "203"
  groups    = ["sales"]
}
user "dave"  { extension = "204" }
pickup "calls" { extension = "*8" }
ring "door" {
  extension = "300"
  members   = [user.bob, user.dave]
  timeout   = "20s"
  otherwise { go = echo.test }
}
menu "main" {
  extension = "0"
  play = "music"
  key "1" { go = user.bob }
  otherwise { go = echo.test }
}
queue "support" {
  extension = "400"
  agents    = [user.bob]
  otherwise { go = echo.test }
}
echo "test" {}
`

// picksUp has a phone answer in place of who rings, and looks whether both then talk.
func (o *office) picksUp(caller *fakephone.Call, who string, by *fakephone.Phone, number string, rings *fakephone.Phone, headers ...string) {
	o.t.Helper()
	rung := rings.Calls()[len(rings.Calls())-1]
	pick := by.Call(number, description("by"), headers...)
	pick.MustAnswer()
	<-rung.Cancelled()
	reason := rings.Requests("CANCEL")[len(rings.Requests("CANCEL"))-1].Header("Reason")
	expect(o.t, "missed", strings.Contains(reason, "cause=200"), true)
	o.soon(func() bool {
		v, _ := o.pbx.Call(caller.CallID)
		w, _ := o.pbx.Call(pick.CallID)
		return v.State == Answered && v.Answerer == who && w.Answerer == v.From
	})
	expect(o.t, "BYE", pick.Bye().Status(), 200)
	expect(o.t, "the caller is hung up", caller.WaitEnded(time.Minute), true)
	o.soon(func() bool { return o.pbx.Stats().Calls == 0 && o.pbx.cfg.Media.Stats().Mixer.Rooms == 0 })
}

func TestCallThatRingsAtAColleagueIsPickedUp(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(pickupPlan)
		alice, bob, carol, dave := o.phone("alice", rings), o.phone("bob", rings), o.phone("carol", rings), o.phone("dave", rings)
		for i, c := range []struct {
			called, who string
			by          *fakephone.Phone
			code        string
		}{{"202", "carol", carol, "*8202"}, {"202", "carol", carol, "*8"}, {"202", "dave", dave, "*8202"}, {"300", "dave", dave, "*8"}} {
			call := alice.Call(c.called, description("alice"))
			call.AwaitStatus(180)
			o.picksUp(call, c.who, c.by, c.code, bob)
			call.MustAnswer()
			expect(t, "picked up", o.pbx.Stats().PickedUp, uint64(i+1))
			expect(t, "event", o.last(events.CallPickedUp).To, "bob")
		}
	})
}

func TestWhoSharesNoGroupPicksNothingUp(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(pickupPlan)
		alice, bob, carol := o.phone("alice", rings), o.phone("bob", rings), o.phone("carol", rings)
		call := carol.Call("204", description("carol")) // has no phone
		expect(t, "nobody is there", call.Final().Status(), 480)
		expect(t, "nothing rings", carol.Call("*8", description("carol")).Final().Status(), 404)
		expect(t, "nobody has that extension", carol.Call("*8299", description("carol")).Final().Status(), 404)
		rung := carol.Call("202", description("carol"))
		rung.AwaitStatus(180)
		refused := alice.Call("*8202", description("alice")).Final()
		expect(t, "alice shares no group with bob", refused.Status(), 403)
		expect(t, "why", strings.Contains(refused.Header("Warning"), "you share no group with bob"), true)
		expect(t, "anything", alice.Call("*8", description("alice")).Final().Status(), 404)
		expect(t, "one's own call", carol.Call("*8202", description("carol")).Final().Status(), 404)
		expect(t, "bob still rings", len(bob.Calls()), 1)
		rung.Cancel()
		expect(t, "cancelled", rung.Final().Status(), 487)
		st := o.pbx.Stats()
		expect(t, "refused", st.PickupsRefused, 1)
		expect(t, "in vain", st.PickupsInVain, 3)
	})
}

func TestCallerInAMenuOrQueueIsPickedUp(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(pickupPlan)
		alice, bob, carol := o.phone("alice", rings), o.phone("bob", rings), o.phone("carol", rings)
		call := alice.Call("0", description("alice"))
		call.MustAnswer()
		press(call, "1")
		o.soon(func() bool { return len(bob.Calls()) == 1 })
		o.picksUp(call, "carol", carol, "*8202", bob)
		call = alice.Call("400", description("alice"))
		call.MustAnswer()
		o.soon(func() bool { return len(bob.Calls()) == 2 })
		o.picksUp(call, "carol", carol, "*8", bob)
		expect(t, "picked up", o.pbx.Stats().PickedUp, 2)
	})
}

func TestInviteThatReplacesACallThatRingsPicksItUp(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(pickupPlan)
		alice, bob, carol := o.phone("alice", rings), o.phone("bob", rings), o.phone("carol", rings)
		call := alice.Call("202", description("alice"))
		call.AwaitStatus(180)
		rung := bob.Calls()[0]
		replaces := func(to, from string) string {
			return "Replaces: " + call.CallID + ";to-tag=" + to + ";from-tag=" + from + ";early-only"
		}
		expect(t, "other tags", carol.Call("alice", description("carol"), replaces("x", "y")).Final().Status(), 481)
		o.picksUp(call, "carol", carol, "alice", bob, replaces(call.Tag, rung.Tag))
		expect(t, "alice was not called", len(alice.Calls()), 0)
	})
}
