package pbx

import (
	"strings"
	"testing"
	"time"

	"tandem/events"
	"tandem/internal/fakephone"
)

const parkPlan = `
dialplan "acme" { domains = ["acme.example"] }
user "alice" { extension = "201" }
user "bob"   { extension = "202" }
user "carol" { extension = "203" }
user "dave"  { extension = "204" }
park "lot" {
  extension = "700"
  slots     = "701-702"
  timeout   = "2s"
  otherwise { go = user.dave }
}
page "all" {
  extension = "800"
  members   = [user.bob, user.carol, user.dave]
}
page "both" {
  extension = "801"
  members   = [user.bob]
  talk      = true
}
`

// parks has bob transfer a call of alice to a number: his phone asks hers to call it, and hangs up as soon as hers is about to.
func (o *office) parks(number string, bob *fakephone.Phone, alice *fakephone.Phone) (parked *fakephone.Call) {
	o.t.Helper()
	first := alice.Call("bob", description("alice"))
	first.MustAnswer()
	calls := bob.Calls()
	refer := calls[len(calls)-1].Request("REFER", "", "Refer-To: <sip:"+number+"@acme.example>")
	expect(o.t, "REFER", refer.Final().Status(), 200)
	first.Bye()
	return alice.Call(number, description("alice"))
}

func TestTransferredCallIsParkedAndFetchedByDiallingItsSlot(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(parkPlan)
		alice, bob, carol := o.phone("alice", rings), o.phone("bob", atOnce), o.phone("carol", rings)
		expect(t, "an empty slot: otherwise has no phone", carol.Call("702", description("carol")).Final().Status(), 480)
		parked := o.parks("702", bob, alice)
		parked.MustAnswer()
		o.soon(func() bool { return o.tally(events.CallParked) == 1 })
		list := o.pbx.Parked()
		if len(list) != 1 || list[0].Slot != "702" || list[0].Caller != "alice" || list[0].By != "bob" || list[0].Tenant != "acme" {
			t.Errorf("parked: %+v", list)
		}
		expect(t, "a second call for the same slot", o.parks("702", bob, carol).Final().Status(), 480)
		fetch := carol.Call("702", description("carol"))
		fetch.MustAnswer()
		o.soon(func() bool { return o.tally(events.CallFetched) == 1 && len(o.pbx.Parked()) == 0 })
		o.reaches("carol")
		v, _ := o.pbx.Call(parked.CallID)
		expect(t, "who talks with alice", v.Answerer, "carol")
		expect(t, "re-INVITE", fetch.Reinvite(description("carol")).Status(), 200)
		expect(t, "BYE", fetch.Bye().Status(), 200)
		expect(t, "alice is hung up", parked.WaitEnded(time.Minute), true)
		o.soon(func() bool { return o.pbx.Stats().Calls == 0 })
		expect(t, "rooms", o.pbx.cfg.Media.Stats().Mixer.Rooms, 0)
	})
}

func TestParkedCallComesBackToWhoHasParkedIt(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(parkPlan)
		alice, bob := o.phone("alice", rings), o.phone("bob", atOnce)
		parked := o.parks("700", bob, alice)
		parked.MustAnswer()
		o.until(func() bool { return len(bob.Calls()) == 2 })
		o.reaches("bob")
		expect(t, "parked", len(o.pbx.Parked()), 0)
		expect(t, "BYE", parked.Bye().Status(), 200)
		expect(t, "bob is hung up", bob.Calls()[1].WaitEnded(time.Minute), true)
	})
}

func TestParkedCallGoesOnWhenNobodyWantsIt(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(parkPlan)
		times := 0
		bob := o.phone("bob", func(c *fakephone.Call) {
			if times++; times == 1 {
				c.Answer(description("bob"))
				return
			}
			c.Refuse(486)
		})
		alice, dave := o.phone("alice", rings), o.phone("dave", atOnce)
		parked := o.parks("700", bob, alice)
		parked.MustAnswer()
		o.reaches("dave")
		parked.Bye()
		expect(t, "dave is hung up", dave.Calls()[0].WaitEnded(time.Minute), true)
	})
}

func TestAttendedTransferToTheLotTakesTheSlotThatWasTold(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(parkPlan)
		alice, bob := o.phone("alice", rings), o.phone("bob", atOnce)
		first := alice.Call("bob", description("alice"))
		first.MustAnswer()
		asked := bob.Call("700", description("bob"))
		ok := asked.MustAnswer()
		o.soon(func() bool { return len(o.pbx.Parked()) == 1 })
		tag := func(header string) string {
			_, tag, _ := strings.Cut(ok.Header(header), ";tag=")
			return tag
		}
		wrong := alice.Call("700", description("alice"), "Replaces: "+asked.CallID+";to-tag=x;from-tag=y")
		wrong.MustAnswer()
		o.soon(func() bool { return len(o.pbx.Parked()) == 2 })
		wrong.Bye()
		moved := alice.Call("700", description("alice"), "Replaces: "+asked.CallID+";to-tag="+tag("To")+";from-tag="+tag("From"))
		moved.MustAnswer()
		expect(t, "bob is hung up", asked.WaitEnded(time.Minute), true)
		o.soon(func() bool {
			list := o.pbx.Parked()
			return len(list) == 1 && list[0].Slot == "701" && list[0].Caller == "alice" && list[0].By == "bob"
		})
		first.Bye()
		moved.Bye()
		o.soon(func() bool { return len(o.pbx.Parked()) == 0 })
	})
}

func TestPageReachesPhonesThatAnswerByThemselves(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(parkPlan)
		alice, bob, carol, dave := o.phone("alice", rings), o.phone("bob", atOnce), o.phone("carol", refuses(486)), o.phone("dave", atOnce)
		busy := dave.Call("201", description("dave"))
		busy.AwaitStatus(180)
		page := alice.Call("800", description("alice"))
		page.MustAnswer()
		o.until(func() bool { return o.tally(events.PageStarted) == 1 })
		expect(t, "phones", o.last(events.PageStarted).Detail["phones"], "1")
		invite := bob.Requests("INVITE")[0]
		if invite.Header("Answer-Mode") != "Auto" || !strings.Contains(invite.Header("Call-Info"), "answer-after=0") || !strings.Contains(invite.Header("Alert-Info"), "info=alert-autoanswer") {
			t.Errorf("bob is paged so:\n%s", invite)
		}
		expect(t, "carol was called", len(carol.Calls()), 1)
		expect(t, "dave is in a call", len(dave.Calls()), 0)
		expect(t, "BYE", page.Bye().Status(), 200)
		expect(t, "bob is hung up", bob.Calls()[0].WaitEnded(time.Minute), true)
		busy.Cancel()
		busy.Final()
		o.soon(func() bool { return o.pbx.Stats().Calls == 0 && o.pbx.cfg.Media.Stats().Mixer.Rooms == 0 })
	})
}

func TestPageEndsWhenNobodyListensAnyMore(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(parkPlan)
		alice, bob := o.phone("alice", rings), o.phone("bob", atOnce)
		page := alice.Call("801", description("alice"))
		page.MustAnswer()
		o.until(func() bool { return o.tally(events.PageStarted) == 1 })
		bob.Calls()[0].Bye()
		expect(t, "alice is hung up", page.WaitEnded(time.Minute), true)
	})
}

func TestWhoHasGoneMeanwhileLeavesNoSlotBehind(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(parkPlan)
		alice, bob, carol := o.phone("alice", rings), o.phone("bob", atOnce), o.phone("carol", rings)
		for range 3 { // each takes the slot that the one before has left
			parked := o.parks("701", bob, alice)
			parked.MustAnswer()
			expect(t, "BYE", parked.Bye().Status(), 200)
			o.soon(func() bool { return len(o.pbx.Parked()) == 0 })
		}
		expect(t, "nobody is there", carol.Call("701", description("carol")).Final().Status(), 480)
		outsider := carol.Call("701", description("carol"), "Referred-By: <sip:bob@acme.example>")
		outsider.MustAnswer()
		o.soon(func() bool { list := o.pbx.Parked(); return len(list) == 1 && list[0].By == "bob" })
		outsider.Bye()
		o.soon(func() bool { return o.pbx.Stats().Calls == 0 })
	})
}

func TestCallerWhoCallsTheLotHearsItsSlot(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(parkPlan)
		bob := o.phone("bob", rings)
		asked := bob.Call("700", description("bob"))
		asked.MustAnswer()
		o.soon(func() bool { return o.tally(events.CallParked) == 1 })
		expect(t, "parked", o.last(events.CallParked).To, "701")
		o.until(func() bool { return o.tally(events.CallReturned) == 1 })
		asked.Bye()
		o.soon(func() bool { return o.pbx.Stats().Calls == 0 })
	})
}
