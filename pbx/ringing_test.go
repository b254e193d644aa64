package pbx

import (
	"testing"
	"time"

	"tandem/events"
	"tandem/internal/fakephone"
)

// ringsNow counts the calls that a phone was rung for and that nobody has stopped.
func ringsNow(p *fakephone.Phone) (n int) {
	for _, c := range p.Calls() {
		select {
		case <-c.Cancelled():
		case <-c.Ended():
		default:
			n++
		}
	}
	return n
}

// A node dies while phones ring. They stop and ring again, and the caller gets his answer.
func TestACallThatRingsWhenItsNodeDiesIsAnswered(t *testing.T) {
	for what, number := range map[string]string{"one phone": "bob", "a group": "300", "one after the other": "302"} {
		t.Run(what, func(t *testing.T) {
			s := &shelf{}
			work(t, s.office, func(t *testing.T, o *office) {
				alice, bob, carol := o.phone("alice", rings), o.phone("bob", rings), o.phone("carol", rings)
				call := alice.Call(number, description("alice"))
				call.AwaitStatus(180)
				time.Sleep(time.Second)
				if what == "one after the other" {
					time.Sleep(5 * time.Second)
					expect(t, "the first was stopped", ringsNow(bob), 0)
					expect(t, "the second rings", ringsNow(carol), 1)
				}
				id := o.pbx.Calls()[0].ID
				before := len(bob.Calls()) + len(carol.Calls())
				o.succeed(s)
				time.Sleep(time.Second)
				expect(t, "begun again", o.pbx.Stats().Revived, uint64(1))
				expect(t, "the same call", o.pbx.Calls()[0].ID, id)
				if got := len(bob.Calls()) + len(carol.Calls()); got <= before {
					t.Errorf("phones were rung %d times, and %d before", got, before)
				}
				expect(t, "bob rings once", ringsNow(bob), 1)
				last := bob.Calls()[len(bob.Calls())-1]
				if first := bob.Calls()[0]; first.Invite.Header("CSeq") == last.Invite.Header("CSeq") {
					t.Error("the second INVITE is a merged one") // RFC 3261 §8.2.2.2
				}
				last.Answer(description("bob"))
				call.MustAnswer()
				time.Sleep(time.Second)
				expect(t, "carol was stopped", ringsNow(carol), 0)
				expect(t, "ACK", acked(last), true)
				expect(t, "hold", call.Reinvite(description("alice")).Status(), 200)
				expect(t, "hold by bob", last.Reinvite(description("bob")).Status(), 200)
				o.succeed(s)
				time.Sleep(time.Second)
				expect(t, "hold behind a second death", call.Reinvite(description("alice")).Status(), 200)
				expect(t, "BYE of bob", last.Bye().Status(), 200)
				expect(t, "alice heard", call.WaitEnded(time.Second), true)
				o.awaitKind(events.CallEnded)
				expect(t, "records", len(o.events.CDRs(10)), 1)
				expect(t, "copies", len(s.all()), 0)
			})
		})
	}
}

func acked(c *fakephone.Call) bool {
	select {
	case <-c.Acked():
		return true
	default:
		return false
	}
}

// Who picks up at the moment of death hears his call end and the phone ring again: nobody is left with a call that is none.
func TestAnAnswerThatNobodyHeardMakesNoGhost(t *testing.T) {
	s := &shelf{}
	work(t, s.office, func(t *testing.T, o *office) {
		alice, bob := o.phone("alice", rings), o.phone("bob", rings)
		call := alice.Call("bob", description("alice"))
		call.AwaitStatus(180)
		time.Sleep(time.Second)
		before := s.all()
		bob.Calls()[0].Answer(description("bob"))
		s.texts = map[string][]byte{o.pbx.Calls()[0].ID: before[0]} // what came of it is copied by nobody
		o.succeedAfter(s, 100*time.Millisecond)
		time.Sleep(5 * time.Second)
		expect(t, "the first call of bob is over", bob.Calls()[0].WaitEnded(time.Second), true)
		expect(t, "he rings again", len(bob.Calls()), 2)
		bob.Calls()[1].Answer(description("bob"))
		call.MustAnswer()
		expect(t, "BYE", call.Bye().Status(), 200)
	})
}

// A caller who gives up behind the death of the node is heard, and so is one whom nobody answers.
func TestNobodyRingsForACallerWhoHasGivenUp(t *testing.T) {
	s := &shelf{}
	work(t, s.office, func(t *testing.T, o *office) {
		alice, bob := o.phone("alice", rings), o.phone("bob", rings)
		call := alice.Call("bob", description("alice"))
		call.AwaitStatus(180)
		time.Sleep(time.Second)
		o.succeed(s)
		time.Sleep(time.Second)
		call.Cancel()
		expect(t, "caller", call.Final().Status(), 487)
		time.Sleep(time.Second)
		expect(t, "bob rings", ringsNow(bob), 0)
		expect(t, "copies", len(s.all()), 0)

		nobody := alice.Call("301", description("alice")) // dave has no phone
		expect(t, "nobody there", nobody.Final().Status(), 480)

		gone := alice.Call("bob", description("alice"))
		gone.AwaitStatus(180)
		time.Sleep(time.Second)
		bob.Register("Expires: 0")
		o.succeed(s)
		expect(t, "the phone is gone", gone.Final().Status(), 480)
		time.Sleep(time.Second)
		expect(t, "bob rings for nobody", ringsNow(bob), 0)
	})
}

func TestACallThatRingsAtATrunkGoesOn(t *testing.T) {
	s := &shelf{}
	work(t, s.office, func(t *testing.T, o *office) {
		defer o.trade()()
		a := o.carrier("203.0.113.1", "acme", rings)
		b := o.carrier("203.0.113.2", "x", rings)
		alice := o.phone("alice", rings)
		time.Sleep(time.Second)
		out, in := alice.Call("07700900456", description("alice")), b.Call("sip:+442079460201@"+officeServer, description("carrier"))
		out.AwaitStatus(180)
		in.AwaitStatus(180)
		time.Sleep(time.Second)
		o.succeedAfter(s, time.Second)
		time.Sleep(5 * time.Second)
		for _, p := range []*fakephone.Phone{a, alice} {
			expect(t, "rings", ringsNow(p), 1)
			p.Calls()[len(p.Calls())-1].Answer(description("answer"))
		}
		out.MustAnswer()
		in.MustAnswer()
		expect(t, "channels", o.channels(), "1 1")
		out.Bye()
		in.Bye()
	})
}

// A node that was cut off says nothing to anybody of calls that another one has begun again.
func TestCallsThatRingAreDroppedWithoutAWord(t *testing.T) {
	s := &shelf{}
	work(t, s.office, func(t *testing.T, o *office) {
		alice, bob := o.phone("alice", rings), o.phone("bob", rings)
		call := alice.Call("bob", description("alice"))
		call.AwaitStatus(180)
		time.Sleep(time.Second)
		dropped, ended := o.pbx.Disown(t.Context(), "another node has it")
		expect(t, "dropped", dropped, 1)
		expect(t, "ended", ended, 0)
		time.Sleep(5 * time.Second)
		expect(t, "bob rings", ringsNow(bob), 1)
		expect(t, "answers to alice", len(call.Answers()), 0)
		expect(t, "records", len(o.events.CDRs(10)), 0)
		expect(t, "copies", len(s.all()), 0)
	})
}
