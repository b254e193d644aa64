package pbx

import (
	"errors"
	"testing"
	"time"

	"tandem/events"
)

const conferencePlan = officePlan + `
conference "sales" {
  extension   = "8000"
  max_members = 2
  otherwise { go = echo.test }
}
conference "full" {
  extension   = "8001"
  max_members = 2
}
conference "kept" {
  extension = "8003"
  record    = true
}
conference "short" {
  extension = "8002"
  timeout   = "1s"
}
echo "test" {}
`

func (o *office) tally(kind events.Kind) int {
	return len(o.events.Recent(1000, func(e events.Event) bool { return e.Kind == kind }))
}

func TestCallsMeetInAConference(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(conferencePlan)
		alice, bob, carol := o.phone("alice", rings), o.phone("bob", rings), o.phone("carol", rings)
		first := alice.Call("8000", description("alice"))
		first.MustAnswer()
		second := bob.Call("8000", description("bob"))
		second.MustAnswer()
		o.until(func() bool { return o.tally(events.ConferenceJoined) == 2 })
		list := o.pbx.Conferences()
		if len(list) != 1 || list[0].Name != "sales" || list[0].Tenant != "acme" || len(list[0].Members) != 2 || list[0].Members[1].User != "bob" {
			t.Fatalf("conferences: %+v", list)
		}
		if err := o.pbx.Mute(second.CallID, true); err != nil || !o.pbx.Conferences()[0].Members[1].Muted {
			t.Errorf("mute: %v", err)
		}
		if err := o.pbx.Mute(list[0].Members[1].Call, false); err != nil || o.pbx.Conferences()[0].Members[1].Muted {
			t.Errorf("unmute: %v", err)
		}

		third := carol.Call("8000", description("carol")) // it is full: the plan says where to go
		third.MustAnswer()
		o.until(func() bool { return o.tally(events.CallAnswered) == 3 })
		v, _ := o.pbx.Call(third.CallID)
		expect(t, "node", v.Node, "echo.test")
		if err := o.pbx.Mute(third.CallID, true); !errors.Is(err, ErrNotInConference) {
			t.Errorf("mute of a call outside: %v", err)
		}
		if err := o.pbx.Kick("nobody", ""); !errors.Is(err, ErrNoCall) {
			t.Errorf("kick of nobody: %v", err)
		}

		if err := o.pbx.Kick(second.CallID, "too loud"); err != nil {
			t.Fatal(err)
		}
		expect(t, "kicked", second.WaitEnded(time.Minute), true)
		o.until(func() bool { return o.tally(events.ConferenceLeft) == 1 && len(o.events.CDRs(10)) == 1 })
		cdr := o.events.CDRs(1)[0]
		if cdr.Reason != "too loud" || len(cdr.Route) != 1 || cdr.Route[0] != "conference.sales" || cdr.Result != events.ResultAnswered {
			t.Errorf("record: %+v", cdr)
		}
		left := o.events.Recent(1, func(e events.Event) bool { return e.Kind == events.ConferenceLeft })[0]
		if left.From != "bob" || left.To != "conference.sales" || left.Detail["members"] != "1" {
			t.Errorf("left: %+v", left)
		}
		expect(t, "BYE", first.Bye().Status(), 200)
		o.until(func() bool { return o.tally(events.ConferenceLeft) == 2 })
		expect(t, "conferences", len(o.pbx.Conferences()), 0)
		expect(t, "rooms", o.pbx.cfg.Media.Stats().Mixer.Rooms, 0)
		expect(t, "BYE", third.Bye().Status(), 200)
	})
}

func TestConferenceIsRecordedAsAWhole(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(conferencePlan)
		alice, bob := o.phone("alice", rings), o.phone("bob", rings)
		first, second := alice.Call("8003", description("alice")), bob.Call("8003", description("bob"))
		first.MustAnswer()
		second.MustAnswer()
		o.until(func() bool { return o.tally(events.ConferenceJoined) == 2 })
		first.Bye()
		o.until(func() bool { return o.tally(events.ConferenceLeft) == 1 })
		if n := o.tally(events.RecordingEnded); n != 0 {
			t.Errorf("%d recordings have ended with the first who left", n)
		}
		second.Bye()
		o.until(func() bool { return o.tally(events.RecordingEnded) == 1 })
		files := o.recordings(events.RecordingStarted)
		if len(files) != 1 || len(o.events.CDRs(2)[1].Recordings)+len(o.events.CDRs(2)[0].Recordings) != 1 {
			t.Errorf("recordings: %v, records %+v", files, o.events.CDRs(2))
		}
	})
}

func TestFullConferenceIsBusyAndALongOneEnds(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(conferencePlan)
		alice := o.phone("alice", rings)
		for range 2 {
			alice.Call("8001", description("alice")).MustAnswer()
		}
		expect(t, "the third", alice.Call("8001", description("alice")).Final().Status(), 486)
		short := alice.Call("8002", description("alice"))
		short.MustAnswer()
		expect(t, "ended", short.WaitEnded(time.Minute), true)
		o.until(func() bool { return o.tally(events.ConferenceLeft) == 1 })
		if list := o.pbx.Conferences(); len(list) != 1 || list[0].Name != "full" {
			t.Errorf("conferences: %+v", list)
		}
		expect(t, "rooms", o.pbx.cfg.Media.Stats().Mixer.Rooms, 1)
	})
}
