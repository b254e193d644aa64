package pbx

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tandem/events"
	"tandem/internal/fakephone"
)

func TestCallLeavesItsEventsAndItsRecord(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		o.phone("bob", answers(3*time.Second))
		call := alice.Call("202", description("alice"))
		call.MustAnswer()
		time.Sleep(10 * time.Second)
		call.Bye()
		time.Sleep(time.Second)
		expect(t, "events", o.kinds(), "started routed ringing answered ended")
		records := o.events.CDRs(10)
		if len(records) != 1 {
			t.Fatalf("%d records, want 1", len(records))
		}
		r := records[0]
		expect(t, "from and to", r.From+" "+r.To, "alice 202")
		expect(t, "duration", r.Duration.Round(time.Second), 10*time.Second)
		expect(t, "rang for", r.Answered.Sub(r.Started).Round(time.Second), 3*time.Second)
		expect(t, "route", strings.Join(r.Route, " "), "user.bob")
		expect(t, "answered", o.pbx.Stats().Answered, 1)
	})
}

func TestGroupRingsEverybodyButTheCaller(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		alice, desk := o.phone("alice", rings), o.phone("alice", rings)
		bob, carol := o.phone("bob", rings), o.phone("carol", answers(2*time.Second))
		call := alice.Call("300", description("alice"))
		call.MustAnswer()
		time.Sleep(time.Second)
		expect(t, "the phone that calls rings", len(alice.Calls()), 0)
		expect(t, "the caller's other phone rings", len(desk.Calls()), 1)
		expect(t, "bob rings", len(bob.Calls()), 1)
		expect(t, "bob is cancelled", len(bob.Requests("CANCEL")), 1)
		expect(t, "carol rings", len(carol.Calls()), 1)
		v, _ := o.pbx.Call(call.CallID)
		expect(t, "answerer", v.Answerer, "carol")
		call.Bye()
	})
}

func TestRecordOfALostCallerSaysWhatWasLost(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		alice, bob := o.phone("alice", rings, func(c *fakephone.Config) { c.Net = "tcp" }), o.phone("bob", rings)
		alice.Call("bob", description("alice")).AwaitStatus(180)
		alice.Disconnect()
		bob.AwaitRequest("CANCEL")
		time.Sleep(time.Second)
		r := o.awaitRecord()
		expect(t, "result", r.Result, events.ResultCancelled)
		expect(t, "status", r.Status, 487)
		expect(t, "reason", r.Reason, "caller's connection lost")
	})
}

func TestGroupOfTheCallerAloneIsUnavailable(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		dave := o.phone("dave", rings)
		expect(t, "INVITE", dave.Call("301", description("dave")).Final().Status(), 480)
		expect(t, "rings", len(dave.Calls()), 0)
	})
}

func TestNextStepIsTriedWhenNobodyAnswersInTime(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		bob, dave := o.phone("bob", rings), o.phone("dave", answers(time.Second))
		begin := time.Now()
		call := alice.Call("300", description("alice"))
		call.MustAnswer()
		expect(t, "answered after", time.Since(begin).Round(time.Second), 21*time.Second)
		expect(t, "bob is cancelled", len(bob.Requests("CANCEL")), 1)
		expect(t, "dave rings", len(dave.Calls()), 1)
		expect(t, "final responses before the answer", len(alice.Responses(408, "INVITE")), 0)
		v, _ := o.pbx.Call(call.CallID)
		expect(t, "node", v.Node, "ring.boss")
		call.Bye()
		time.Sleep(time.Second)
		expect(t, "route", strings.Join(o.events.CDRs(1)[0].Route, " "), "ring.sales ring.boss")
	})
}

func TestNextStepIsTriedAtOnceWhenAllRefuse(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		o.phone("bob", refuses(486))
		o.phone("carol", refuses(603))
		o.phone("dave", answers(time.Second))
		begin := time.Now()
		call := alice.Call("300", description("alice"))
		call.MustAnswer()
		expect(t, "answered after", time.Since(begin).Round(time.Second), time.Second)
		call.Bye()
	})
}

func TestLastStepDecidesWhatTheCallerIsTold(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		o.phone("bob", rings)
		o.phone("dave", refuses(486))
		expect(t, "INVITE", alice.Call("300", description("alice")).Final().Status(), 486)
		expect(t, "failed", o.pbx.Stats().Failed, 1)
	})
}

func TestPhonesRingInOrder(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		bob, carol, dave := o.phone("bob", rings), o.phone("carol", refuses(486)), o.phone("dave", rings)
		begin := time.Now()
		expect(t, "INVITE", alice.Call("302", description("alice")).Final().Status(), 486)
		expect(t, "lasted", time.Since(begin).Round(time.Second), 10*time.Second)
		at := func(p *fakephone.Phone) time.Duration {
			return p.Requests("INVITE")[0].At.Sub(begin).Round(time.Second)
		}
		expect(t, "bob", at(bob), 0)
		expect(t, "carol", at(carol), 5*time.Second)
		expect(t, "dave", at(dave), 5*time.Second)
	})
}

func TestRandomOrderIsNotAlwaysTheSame(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		phones := []*fakephone.Phone{o.phone("bob", refuses(486)), o.phone("carol", refuses(486)), o.phone("dave", refuses(486))}
		first := make(map[int]bool)
		for i := range 40 {
			alice.Call("303", description("alice")).Final()
			best := 0
			for k, p := range phones {
				list := p.Requests("INVITE")
				if len(list) != i+1 {
					t.Fatalf("phone %d got %d calls, want %d", k, len(list), i+1)
				}
				// fake time stands still within a call: the number in our branch parameter tells the order
				if branchOf(list[i]) < branchOf(phones[best].Requests("INVITE")[i]) {
					best = k
				}
			}
			first[best] = true
			time.Sleep(time.Second)
		}
		expect(t, "different first phones", len(first), 3)
	})
}

func branchOf(m *fakephone.Message) string {
	b, _, _ := strings.Cut(m.Branch(), ".")
	return fmt.Sprintf("%40s", b)
}

func TestCallerHangsUpBetweenSteps(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		o.phone("bob", rings)
		dave := o.phone("dave", rings)
		call := alice.Call("300", description("alice"))
		time.Sleep(20*time.Second + 100*time.Millisecond)
		call.Cancel()
		expect(t, "INVITE", call.Final().Status(), 487)
		time.Sleep(time.Second)
		expect(t, "dave is cancelled", len(dave.Requests("CANCEL")), len(dave.Requests("INVITE")))
		expect(t, "calls", o.pbx.Stats().Calls, 0)
		expect(t, "status of the record", o.events.CDRs(1)[0].Status, 487)
	})
}

func TestOperatorEndsAnAnsweredCall(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		bob := o.phone("bob", answers(time.Second))
		call := alice.Call("bob", description("alice"))
		call.MustAnswer()
		v, _ := o.pbx.Call(call.CallID)
		expect(t, "Hangup", o.pbx.Hangup(v.ID, "maintenance"), true)
		expect(t, "caller", call.WaitEnded(time.Second), true)
		expect(t, "callee", bob.Calls()[0].WaitEnded(time.Second), true)
		time.Sleep(time.Second)
		expect(t, "Hangup of a call that is over", o.pbx.Hangup(v.ID, "again"), false)
		expect(t, "calls", o.pbx.Stats().Calls, 0)
	})
}

func TestOperatorEndsARingingCall(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		bob, dave := o.phone("bob", rings), o.phone("dave", rings)
		call := alice.Call("300", description("alice"))
		call.AwaitStatus(180)
		o.pbx.Hangup(call.CallID, "maintenance")
		m := call.Final()
		expect(t, "INVITE", m.Status(), 480)
		if !strings.Contains(m.Header("Warning"), "maintenance") {
			t.Errorf("Warning: %q", m.Header("Warning"))
		}
		time.Sleep(time.Second)
		expect(t, "bob is cancelled", len(bob.Requests("CANCEL")), 1)
		expect(t, "the next step was not tried", len(dave.Calls()), 0)
		expect(t, "reason in the record", o.events.CDRs(1)[0].Reason, "maintenance")
	})
}

func TestCallWithoutMediaEngineCannotBeTakenByTheNode(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		plan := strings.Replace(officePlan, `ring "boss"`, `echo "test" { extension = "*43" }`+"\n"+`ring "boss"`, 1)
		o.change(plan)
		expect(t, "INVITE", alice.Call("*43", description("alice")).Final().Status(), 480)
	})
}

func TestManyCallsAtOnceLeaveNothingBehind(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		o.phone("bob", answers(time.Second))
		o.phone("carol", refuses(486))
		done := make(chan int)
		const calls = 40
		for i := range calls {
			go func() {
				switch i % 4 {
				case 0:
					c := alice.Call("bob", description("alice"))
					c.MustAnswer()
					c.Bye()
				case 1:
					alice.Call("carol", description("alice")).Final()
				case 2:
					c := alice.Call("300", description("alice"))
					c.AwaitStatus(180)
					c.Cancel()
					c.Final()
				case 3:
					alice.Call("999", description("alice")).Final()
				}
				done <- i
			}()
		}
		for range calls {
			<-done
		}
		time.Sleep(time.Second)
		expect(t, "calls", o.pbx.Stats().Calls, 0)
		expect(t, "records", len(o.events.CDRs(100)), calls)
	})
}
