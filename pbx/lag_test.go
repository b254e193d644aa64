package pbx

import (
	"errors"
	"strings"
	"testing"
	"time"

	"tandem/sip"
)

// lagging is a server of a node whose fellows may know more.
type lagging struct {
	*sip.Server
	catchUp func() error
}

func (l lagging) MayLag() bool   { return true }
func (l lagging) CatchUp() error { return l.catchUp() }

func (o *office) lags(catchUp func() error) { o.pbx.Attach(lagging{o.srv, catchUp}) }

func TestWhatBecameKnownElsewhereAMomentAgoIsNotRefused(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		asked := 0
		o.lags(func() error {
			if asked++; asked == 1 { // the phone has registered at another node
				o.phone("bob", answers(time.Second))
			}
			return nil
		})
		call := alice.Call("202", description("alice"))
		call.MustAnswer()
		call.Bye()

		asked = 0
		o.lags(func() error {
			if asked++; asked == 1 { // the number is in a plan that was applied on another node
				o.change(officePlan + `
ring "new" {
  extension = "499"
  members   = [user.bob]
}`)
			}
			return nil
		})
		call = alice.Call("499", description("alice"))
		call.MustAnswer()
		call.Bye()

		asked = 0
		expect(t, "a number that nobody has", alice.Call("498", description("alice")).Final().Status(), 404)
		expect(t, "a user without a phone", alice.Call("203", description("alice")).Final().Status(), 480)
		expect(t, "times the others were asked", asked, 2)
		expect(t, "MESSAGE to a user without a phone", alice.Do("MESSAGE", "sip:203@acme.example", nil, "").Status(), 480)
		o.lags(func() error { o.phone("carol", rings); return nil })
		expect(t, "MESSAGE to one whose phone has come", alice.Do("MESSAGE", "sip:203@acme.example", nil, "").Status(), 200)
	})
}

func TestANodeThatKnowsThatItLagsDoesNotSayThatANumberIsUnknown(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		o.lags(func() error { time.Sleep(300 * time.Millisecond); return errors.New("no node leads") })
		m := alice.Call("498", description("alice")).Final()
		expect(t, "a number that it does not know", m.Status(), 503)
		expect(t, "Retry-After", m.Header("Retry-After"), "2")
		expect(t, "a user without a phone", alice.Call("203", description("alice")).Final().Status(), 480)
		expect(t, "MESSAGE", alice.Do("MESSAGE", "sip:498@acme.example", nil, "").Status(), 503)
		expect(t, "events", strings.Count(o.kinds(), "ended"), 2)

		call := alice.Call("498", description("alice"))
		call.AwaitStatus(100)
		call.Cancel()
		expect(t, "given up meanwhile", call.Final().Status(), 487)
		bob := o.phone("bob", answers(time.Second))
		call = alice.Call("202", description("alice"))
		call.MustAnswer()
		expect(t, "internal calls", len(bob.Calls()), 1)
		call.Bye()
	})
}
