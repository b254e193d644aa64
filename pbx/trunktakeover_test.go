package pbx

import (
	"fmt"
	"testing"
	"time"

	"tandem/events"
	"tandem/internal/fakephone"
)

// succeed kills the process of an office, and has another one go on at its address with what others have of its calls.
func (o *office) succeed(s *shelf) { o.succeedAfter(s, 0) }

// succeedAfter is succeed with an other one that has been there for some time: it knows which trunks are up.
func (o *office) succeedAfter(s *shelf, age time.Duration) {
	o.t.Helper()
	copies := s.all()
	o.crash()
	time.Sleep(age)
	var arrivals []*Arrival
	for _, text := range copies {
		a, err := o.pbx.Import(o.t.Context(), text, FromDead)
		if err != nil {
			o.t.Fatal(err)
		}
		a.Settle()
		arrivals = append(arrivals, a)
	}
	for _, a := range arrivals {
		a.Resume()
	}
}

func (o *office) channels() string {
	a, _ := o.pbx.Channels("acme", "a")
	b, _ := o.pbx.Channels("acme", "b")
	return fmt.Sprint(a, b)
}

func TestCallsToAndFromTrunksOutliveTheirNode(t *testing.T) {
	s := &shelf{}
	work(t, s.office, func(t *testing.T, o *office) {
		defer o.trade()()
		a := o.carrier("203.0.113.1", "acme", atOnce)
		a.Demand("carrier", "SHA-256")
		b := o.carrier("203.0.113.2", "x", atOnce)
		alice, bob := o.phone("alice", atOnce), o.phone("bob", rings)
		time.Sleep(time.Second)
		out := bob.Call("07700900456", description("bob"))
		out.MustAnswer()
		in := b.Call("sip:+442079460201@"+officeServer, description("carrier"))
		in.MustAnswer()
		time.Sleep(time.Second)
		expect(t, "channels before", o.channels(), "1 1")
		expect(t, "in time", o.pbx.CopyStats().InTime, uint64(2))
		before := len(a.Requests("INVITE"))
		o.succeed(s)
		time.Sleep(time.Second)
		expect(t, "channels behind it", o.channels(), "1 1")
		carried, rung := a.Calls()[len(a.Calls())-1], alice.Calls()[0]
		expect(t, "hold of a phone", out.Reinvite(description("bob")).Status(), 200)
		expect(t, "INVITEs at the carrier, challenged", len(a.Requests("INVITE")) > before, true)
		expect(t, "hold of the carrier", carried.Reinvite(description("carrier")).Status(), 200)
		expect(t, "hold of who is called from outside", rung.Reinvite(description("alice")).Status(), 200)
		expect(t, "hold of who calls from outside", in.Reinvite(description("carrier")).Status(), 200)
		full := alice.Call("07700900457", description("alice"))
		full.MustAnswer()
		expect(t, "a call beyond the channels", o.channels(), "1 2")
		full.Bye()
		expect(t, "BYE of the carrier", carried.Bye().Status(), 200)
		expect(t, "bob heard", out.WaitEnded(time.Second), true)
		expect(t, "ended by an operator", o.pbx.Hangup(in.CallID, "enough"), true)
		expect(t, "the carrier heard", in.WaitEnded(5*time.Second), true)
		expect(t, "alice heard", rung.WaitEnded(5*time.Second), true)
		o.awaitKind(events.CallEnded)
		time.Sleep(time.Second)
		expect(t, "channels at the end", o.channels(), "0 0")
		expect(t, "records", len(o.events.CDRs(10)), 3)
	})
}

// A trunk's own challenges are answered by the node that goes on.
func TestTheTakerHasTheCredentialsOfATrunk(t *testing.T) {
	for range 4 { // the Call-ID at the carrier falls to the shard of the call, or not
		takerAnswersChallenges(t)
	}
}

func takerAnswersChallenges(t *testing.T) {
	s := &shelf{}
	work(t, s.office, func(t *testing.T, o *office) {
		defer o.trade()()
		a := o.carrier("203.0.113.1", "acme", atOnce)
		a.Demand("carrier", "MD5")
		bob := o.phone("bob", rings)
		time.Sleep(time.Second)
		out := bob.Call("07700900456", description("bob"))
		out.MustAnswer()
		time.Sleep(time.Second)
		o.succeed(s)
		expect(t, "ended", o.pbx.Hangup(out.CallID, "enough"), true)
		expect(t, "the carrier heard", a.Calls()[len(a.Calls())-1].WaitEnded(5*time.Second), true)
		expect(t, "bob heard", out.WaitEnded(5*time.Second), true)
	})
}

// A call that comes from one trunk and leaves by another gives both channels back.
func TestACallFromTrunkToTrunkGivesBothChannelsBack(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		o.change(trunkPlan + `
did "+442079460288" { go = number.mobile }
`)
		defer o.change(officePlan)
		a := o.carrier("203.0.113.1", "acme", atOnce)
		b := o.carrier("203.0.113.2", "x", rings)
		time.Sleep(time.Second)
		for _, way := range []func(*fakephone.Call){atOnce, refuses(486)} {
			a.OnInvite(way)
			call := b.Call("sip:+442079460288@"+officeServer, description("carrier"))
			if call.Final().Status() == 200 {
				expect(t, "channels", o.channels(), "1 1")
				call.Bye()
			}
			time.Sleep(time.Second)
			expect(t, "channels at the end", o.channels(), "0 0")
		}
	})
}
