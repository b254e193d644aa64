package pbx

import (
	"strings"
	"testing"
	"time"

	"tandem/events"
	"tandem/internal/fakephone"
)

const menuPlan = `
dialplan "acme" { domains = ["acme.example"] }
user "alice" { extension = "201" }
user "bob"   { extension = "202" }
user "carol" { extension = "203" }
menu "main" {
  extension = "0"
  play      = "tone:dial"
  wait      = "2s"
  retries   = 1
  wrong     = "tone:info"
  dial      = true
  key "1" { go = ring.sales }
  key "2" { go = menu.more }
  key "*" { go = echo.test }
  key "9" { go = reject.no }
  otherwise { go = user.carol }
}
menu "more" {
  play    = "tone:ring"
  wait    = "1s"
  retries = 0
  key "0" { go = menu.main }
  key "22" { go = conference.all }
  otherwise { go = reject.no }
}
ring "sales" {
  members = [user.bob]
  timeout = "2s"
  otherwise { go = user.carol }
}
echo "test" {}
conference "all" {}
reject "no" { status = 486 }
`

// press sends a key in an INFO.
func press(call *fakephone.Call, keys string) {
	for _, key := range keys {
		call.Request("INFO", "Signal="+string(key)+"\r\nDuration=100\r\n", "Content-Type: application/dtmf-relay").Final()
	}
}

func (o *office) route() string { return strings.Join(o.awaitRecord().Route, " ") }

// reaches waits until somebody has answered a call, in addition to the menu.
func (o *office) reaches(who string) {
	o.t.Helper()
	o.until(func() bool {
		list := o.events.Recent(1, func(e events.Event) bool { return e.Kind == events.CallAnswered })
		return len(list) > 0 && list[0].To == who
	})
}

func TestAKeyInTheMenuReachesAColleague(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(menuPlan)
		alice, bob := o.phone("alice", rings), o.phone("bob", atOnce)
		call := alice.Call("0", description("alice"))
		call.MustAnswer()
		press(call, "1")
		o.reaches("bob")
		rung := bob.Calls()[0]
		invite := bob.Requests("INVITE")[0]
		if !strings.Contains(invite.Header("From"), "alice@acme.example") || !strings.Contains(string(invite.Body()), "m=audio") || strings.Contains(string(invite.Body()), "198.51.100") {
			t.Errorf("bob is called so:\n%s", invite)
		}
		if invite.Header("Call-ID") == call.CallID {
			t.Error("both legs have one Call-ID")
		}
		v, _ := o.pbx.Call(call.CallID)
		expect(t, "view", v.Answerer+" "+v.Node, "bob ring.sales")
		expect(t, "re-INVITE of the caller", call.Reinvite(description("alice")).Status(), 200)
		expect(t, "re-INVITE of the callee", rung.Reinvite(description("bob")).Status(), 200)
		expect(t, "BYE", call.Bye().Status(), 200)
		expect(t, "bob is hung up", rung.WaitEnded(time.Minute), true)
		cdr := o.awaitRecord()
		expect(t, "record", strings.Join(cdr.Route, " ")+": "+cdr.Answerer, "menu.main ring.sales: bob")
	})
}

func TestTheCalledEndsTheCallOfTheMenu(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(menuPlan)
		alice, bob := o.phone("alice", rings), o.phone("bob", atOnce)
		call := alice.Call("0", description("alice"))
		call.MustAnswer()
		press(call, "202") // by extension
		o.reaches("bob")
		bob.Calls()[0].Bye()
		expect(t, "alice is hung up", call.WaitEnded(time.Minute), true)
		expect(t, "route", o.route(), "menu.main user.bob")
		expect(t, "rooms", o.pbx.cfg.Media.Stats().Mixer.Rooms, 0)
	})
}

func TestMenuGoesOnWhenNobodyAnswers(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(menuPlan)
		alice, bob, carol := o.phone("alice", rings), o.phone("bob", refuses(486)), o.phone("carol", atOnce)
		call := alice.Call("0", description("alice"))
		call.MustAnswer()
		press(call, "1")
		o.reaches("carol")
		expect(t, "bob was called", len(bob.Calls()), 1)
		call.Bye()
		expect(t, "carol is hung up", carol.Calls()[0].WaitEnded(time.Minute), true)
		expect(t, "route", o.route(), "menu.main ring.sales user.carol")
	})
}

func TestWhoHangsUpWhilePhonesRingForTheMenu(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(menuPlan)
		alice, bob := o.phone("alice", rings), o.phone("bob", rings)
		call := alice.Call("0", description("alice"))
		call.MustAnswer()
		press(call, "1")
		bob.AwaitRequest("INVITE")
		call.Bye()
		bob.AwaitRequest("CANCEL")
		expect(t, "route", o.route(), "menu.main ring.sales")
	})
}

func TestWrongKeysAndSilenceEndWhereTheMenuSays(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(menuPlan)
		alice, carol := o.phone("alice", rings), o.phone("carol", atOnce)
		call := alice.Call("0", description("alice"))
		call.MustAnswer()
		begin := time.Now()
		o.reaches("carol")
		if waited := time.Since(begin); waited < 3900*time.Millisecond {
			t.Errorf("two tries of 2 s took %v", waited)
		}
		call.Bye()
		expect(t, "carol is hung up", carol.Calls()[0].WaitEnded(time.Minute), true)

		call = alice.Call("0", description("alice"))
		call.MustAnswer()
		press(call, "##")
		o.until(func() bool { return len(carol.Calls()) == 2 })
		call.Bye()
	})
}

func TestMenusLeadToMenusAndRooms(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(menuPlan)
		alice := o.phone("alice", rings)
		call := alice.Call("0", description("alice"))
		call.MustAnswer()
		at := func(node string) func() bool {
			return func() bool { v, _ := o.pbx.Call(call.CallID); return v.Node == node }
		}
		step := func(key, node string) {
			press(call, key)
			o.until(at(node))
		}
		step("2", "menu.more")
		step("0", "menu.main")
		step("2", "menu.more")
		step("22", "conference.all")
		o.until(func() bool { return o.tally(events.ConferenceJoined) == 1 })
		call.Bye()
		expect(t, "route", o.route(), "menu.main menu.more menu.main menu.more conference.all")

		call = alice.Call("0", description("alice"))
		call.MustAnswer()
		press(call, "9")
		expect(t, "hung up behind the busy tone", call.WaitEnded(time.Minute), true)
	})
}
