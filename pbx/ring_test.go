package pbx

import (
	"testing"
	"time"
)

const ringPlan = `
dialplan "acme" {
  domains  = ["acme.example"]
  timezone = "Europe/London"
}
calendar "office" { open = ["mon-fri 09:00-17:30"] }
user "alice" { extension = "201" }
user "bob" {
  extension = "202"
  timeout   = "15s"
  forward {
    busy        = user.carol
    no_answer   = user.dave
    unreachable = reject.gone
  }
}
user "carol" { extension = "203" }
user "dave"  { extension = "204" }
user "erin" {
  extension = "205"
  dnd       = true
}
user "frank" {
  extension = "206"
  forward { always = user.dave }
}
ring "late" {
  extension = "300"
  members   = [user.bob, user.carol, user.dave]
  delays    = { "user.carol" = "5s", "user.dave" = "12s" }
  timeout   = "20s"
  otherwise { go = reject.gone }
}
ring "free" {
  extension = "301"
  members   = [user.bob, user.carol]
  skip_busy = true
  otherwise { go = reject.gone }
}
ring "fair" {
  extension = "302"
  members   = [user.bob, user.carol, user.dave]
  strategy  = "longest_idle"
  timeout   = "5s"
  otherwise { go = reject.gone }
}
reject "gone" {
  status = 410
  reason = "gone fishing"
}
feature "night" {
  extension = "*55"
  go        = open("office") ? user.carol : user.dave
}
`

func TestForwardsFollowWhatThePhonesSay(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		o.change(ringPlan)
		alice, dave := o.phone("alice", rings), o.phone("dave", answers(time.Second))
		expect(t, "bob has no phone", alice.Call("202", description("alice")).Final().Status(), 410)

		o.phone("carol", answers(time.Second))
		bob := o.phone("bob", refuses(486))
		call := alice.Call("202", description("alice"))
		call.MustAnswer()
		v, _ := o.pbx.Call(call.CallID)
		expect(t, "bob is busy", v.Answerer, "carol")
		call.Bye()

		bob.OnInvite(rings)
		begin := time.Now()
		call = alice.Call("202", description("alice"))
		call.MustAnswer()
		expect(t, "bob rang", time.Since(begin).Round(time.Second), 16*time.Second)
		v, _ = o.pbx.Call(call.CallID)
		expect(t, "bob does not answer", v.Answerer, "dave")
		call.Bye()

		expect(t, "erin does not want", alice.Call("205", description("alice")).Final().Status(), 486)
		call = alice.Call("206", description("alice"))
		call.MustAnswer()
		v, _ = o.pbx.Call(call.CallID)
		expect(t, "frank has gone to dave", v.Answerer, "dave")
		expect(t, "dave has rung", len(dave.Calls()), 2)
		call.Bye()
		time.Sleep(time.Second)
	})
}

func TestMembersOfAGroupRingLater(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		o.change(ringPlan)
		alice := o.phone("alice", rings)
		bob, carol, dave := o.phone("bob", rings), o.phone("carol", rings), o.phone("dave", answers(2*time.Second))
		begin := time.Now()
		call := alice.Call("300", description("alice"))
		call.AwaitStatus(180)
		time.Sleep(4 * time.Second)
		expect(t, "carol rings after 4 s", len(carol.Calls()), 0)
		time.Sleep(2 * time.Second)
		expect(t, "carol rings after 6 s", len(carol.Calls()), 1)
		expect(t, "dave rings after 6 s", len(dave.Calls()), 0)
		call.MustAnswer()
		expect(t, "dave answers", time.Since(begin).Round(time.Second), 14*time.Second)
		time.Sleep(time.Second)
		expect(t, "bob is cancelled", len(bob.Requests("CANCEL")), 1)
		call.Bye()

		bob.OnInvite(refuses(486))
		carol.OnInvite(refuses(486))
		begin = time.Now()
		call = alice.Call("300", description("alice"))
		call.MustAnswer()
		expect(t, "nobody waits for those who are busy", time.Since(begin).Round(time.Second), 2*time.Second)
		call.Bye()

		dave.OnInvite(rings)
		begin = time.Now()
		call = alice.Call("300", description("alice"))
		expect(t, "nobody answers", call.Final().Status(), 410)
		expect(t, "the group rang", time.Since(begin).Round(time.Second), 20*time.Second)

		call = alice.Call("300", description("alice"))
		call.AwaitStatus(180)
		call.Cancel()
		expect(t, "given up before dave rang", call.Final().Status(), 487)
		time.Sleep(15 * time.Second)
	})
}

func TestGroupSkipsThoseInACall(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		o.change(ringPlan)
		alice, dave := o.phone("alice", rings), o.phone("dave", rings)
		bob, carol := o.phone("bob", answers(time.Second)), o.phone("carol", answers(2*time.Second))
		first := alice.Call("301", description("alice"))
		first.MustAnswer() // bob's
		second := dave.Call("301", description("dave"))
		second.MustAnswer()
		v, _ := o.pbx.Call(second.CallID)
		expect(t, "second call", v.Answerer, "carol")
		expect(t, "bob rang", len(bob.Calls()), 1)
		expect(t, "all are busy", dave.Call("301", description("dave")).Final().Status(), 410)
		first.Bye()
		time.Sleep(time.Second)
		third := alice.Call("301", description("alice"))
		third.MustAnswer()
		expect(t, "bob is free again", len(bob.Calls()), 2)
		expect(t, "carol rang", len(carol.Calls()), 2)
		second.Bye()
		third.Bye()
		time.Sleep(time.Second)
	})
}

func TestLongestIdleRingsFirst(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		o.change(ringPlan)
		alice := o.phone("alice", rings)
		for _, user := range []string{"bob", "carol", "dave"} {
			o.phone(user, answers(time.Second))
		}
		for i, want := range []string{"bob", "carol", "dave", "bob", "carol"} {
			call := alice.Call("302", description("alice"))
			call.MustAnswer()
			v, _ := o.pbx.Call(call.CallID)
			if v.Answerer != want {
				t.Errorf("call %d: %s, want %s", i+1, v.Answerer, want)
			}
			time.Sleep(2 * time.Second)
			call.Bye()
			time.Sleep(time.Second)
		}
	})
}

func TestCallsFollowTheClockOfTheOffice(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		o.change(ringPlan)
		alice := o.phone("alice", rings)
		o.phone("carol", answers(time.Second))
		o.phone("dave", answers(time.Second))
		for _, want := range []string{"dave", "carol"} { // it is midnight, then ten o'clock
			call := alice.Call("*55", description("alice"))
			call.MustAnswer()
			v, _ := o.pbx.Call(call.CallID)
			if v.Answerer != want {
				t.Errorf("at %s: %s, want %s", time.Now().UTC(), v.Answerer, want)
			}
			call.Bye()
			next := time.Date(2000, 1, 3, 10, 0, 0, 0, time.UTC) // a Monday
			time.Sleep(time.Until(next))
			alice = o.phone("alice", rings)
			o.phone("carol", answers(time.Second))
			o.phone("dave", answers(time.Second))
		}
	})
}
