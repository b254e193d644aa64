package sip

import (
	"testing"
	"time"

	"tandem/internal/fakephone"
)

// answeredAfter is how long alice waits for her answer when bob picks up at once.
func (s *stage) answeredAfter(alice *fakephone.Phone) (*fakephone.Call, time.Duration) {
	began := time.Now()
	call := alice.Call("bob", sdpOf("alice"))
	call.MustAnswer()
	return call, time.Since(began)
}

func TestAnswerWaitsUntilItIsReleasedAndNoLonger(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice"), s.registered("bob")
		bob.OnInvite(answerAfter(0))
		s.relay.Hold = 50 * time.Millisecond
		call, took := s.answeredAfter(alice)
		if took < 50*time.Millisecond || took > 80*time.Millisecond {
			t.Errorf("an answer that nobody releases took %v", took)
		}
		told := make(chan bool, 1)
		s.lastDialog().Release(func(inTime bool) { told <- inTime })
		expect(t, "in time", <-told, false)
		call.Bye()

		s.onAnswered = func(d *Dialog) {
			time.AfterFunc(10*time.Millisecond, func() { d.Release(func(inTime bool) { told <- inTime }) })
		}
		call, took = s.answeredAfter(alice)
		if took < 10*time.Millisecond || took > 40*time.Millisecond {
			t.Errorf("an answer that is released took %v", took)
		}
		expect(t, "in time", <-told, true)
		expect(t, "hold", call.Reinvite(sdpOf("alice")).Status(), 200)
		call.Bye()
	})
}

func TestWhatComesBehindAnAnswerThatWaitsComesBehindIt(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice"), s.registered("bob")
		bob.OnInvite(answerAfter(0))
		s.relay.Hold = 300 * time.Millisecond
		s.onAnswered = func(d *Dialog) { time.AfterFunc(5*time.Millisecond, func() { d.Hangup("an operator wants it") }) }
		call, took := s.answeredAfter(alice)
		if took > 100*time.Millisecond {
			t.Errorf("the answer came after %v", took)
		}
		expect(t, "over", call.WaitEnded(time.Second), true)

		s.onAnswered = nil
		call = alice.Call("bob", sdpOf("alice"))
		time.Sleep(100 * time.Millisecond) // answered by bob, not yet for alice
		expect(t, "CANCEL that crosses the answer", call.Cancel().Final().Status(), 200)
		call.MustAnswer()
		call.Bye()
	})
}
