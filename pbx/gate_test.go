package pbx

import (
	"slices"
	"testing"
	"time"

	"tandem/events"
)

const pinPlan = officePlan + `
conference "board" {
  extension = "8100"
  pin       = "4711"
}
conference "club" {
  extension = "8101"
  pin       = "135790"
  prompt    = "tone:info"
  otherwise { go = echo.test }
}
echo "test" {}
`

// soon is until for what is no event.
func (o *office) soon(done func() bool) {
	o.t.Helper()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for last := time.After(10 * time.Second); !done(); {
		select {
		case <-look.C:
		case <-last:
			o.t.Fatal("never")
		}
	}
}

func TestConferenceLetsInWhoPressesItsPIN(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(pinPlan)
		alice := o.phone("alice", rings)
		call := alice.Call("8100", description("alice"))
		call.MustAnswer()
		o.until(func() bool { return o.tally(events.CallAnswered) == 1 })
		press(call, "12*47") // a slip, taken back
		o.soon(func() bool { return o.pbx.Stats().InfoDigits == 5 })
		if n := o.tally(events.ConferenceJoined); n != 0 {
			t.Fatalf("joined %d times without the PIN", n)
		}
		press(call, "11")
		o.until(func() bool { return o.tally(events.ConferenceJoined) == 1 })
		expect(t, "BYE", call.Bye().Status(), 200)
		o.until(func() bool { return o.tally(events.ConferenceLeft) == 1 })
		if n := o.pbx.Stats().WrongPINs; n != 0 {
			t.Errorf("%d wrong PINs", n)
		}
	})
}

func TestAWrongPINIsAskedForAgainTwice(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(pinPlan)
		alice := o.phone("alice", rings)
		call := alice.Call("8101", description("alice"))
		call.MustAnswer()
		o.until(func() bool { return o.tally(events.CallAnswered) == 1 })
		for i, keys := range []string{"1234#", "999999", "#"} { // shorter than it should be, another, and none
			press(call, keys)
			o.soon(func() bool { return o.pbx.Stats().WrongPINs == uint64(i+1) })
		}
		o.soon(func() bool {
			v, _ := o.pbx.Call(call.CallID)
			return v.Node == "echo.test"
		})
		if n := o.pbx.Stats().WrongPINs; n != 3 || o.tally(events.ConferenceJoined) != 0 {
			t.Errorf("%d wrong PINs, joined %d times", n, o.tally(events.ConferenceJoined))
		}
		expect(t, "BYE", call.Bye().Status(), 200)

		// Without otherwise it is busy, by a tone, and over.
		call = alice.Call("8100", description("alice"))
		call.MustAnswer()
		o.until(func() bool { return o.tally(events.CallAnswered) == 2 })
		for i := range 3 {
			press(call, "0000")
			o.soon(func() bool { return o.pbx.Stats().WrongPINs == uint64(i+4) })
		}
		expect(t, "ended", call.WaitEnded(time.Minute), true)
		o.until(func() bool { return len(o.events.CDRs(10)) == 2 })
		if r := o.events.CDRs(1)[0]; !slices.Equal(r.Route, []string{"conference.board"}) {
			t.Errorf("record: %+v", r)
		}
	})
}
