package sip

import (
	"strings"
	"testing"
	"time"
)

func TestCallOfALostCallerIsCancelled(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice", overTCP), s.registered("bob")
		bob.OnInvite(forever)
		alice.Call("bob", sdpOf("alice")).AwaitStatus(180)
		lost := time.Now()
		alice.Disconnect()
		cancel := bob.AwaitRequest("CANCEL")
		if d := time.Since(lost); d < callerGrace || d > callerGrace+time.Second {
			t.Errorf("cancelled after %v, want the grace of %v", d, callerGrace)
		}
		if r := cancel.Header("Reason"); !strings.Contains(r, "connection lost") {
			t.Errorf("Reason: %q", r)
		}
		time.Sleep(time.Second)
		expect(t, "the relay", s.result(0), Result{Cancelled: true})
		expect(t, "callers lost", s.srv.Stats().CallersLost, 1)
	})
}

func TestCallerWhoComesBackHearsTheAnswer(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer time.Duration // after the connection broke
	}{{"before he is back", 500 * time.Millisecond}, {"behind", 8 * time.Second}} {
		t.Run(test.name, func(t *testing.T) {
			play(t, nil, func(t *testing.T, s *stage) {
				alice, bob := s.registered("alice", overTCP), s.registered("bob")
				bob.OnInvite(answerAfter(time.Second + test.answer))
				call := alice.Call("bob", sdpOf("alice"))
				call.AwaitStatus(180)
				time.Sleep(time.Second)
				alice.Disconnect()
				time.Sleep(2 * time.Second)
				alice.Reconnect()
				alice.MustRegister()
				call.MustAnswer()
				expect(t, "CANCELs at bob", len(bob.Requests("CANCEL")), 0)
				expect(t, "callers back", s.srv.Stats().CallersBack, 1)
				expect(t, "BYE", call.Bye().Status(), 200)
			})
		})
	}
}

func TestCallerWhoComesBackCanHangUp(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice", overTCP), s.registered("bob")
		bob.OnInvite(forever)
		call := alice.Call("bob", sdpOf("alice"))
		call.AwaitStatus(180)
		alice.Reconnect() // and does not register
		time.Sleep(time.Second)
		expect(t, "CANCEL", call.Cancel().Final().Status(), 200)
		expect(t, "INVITE", call.Final().Status(), 487)
		expect(t, "CANCELs at bob", len(bob.Requests("CANCEL")), 1)
		expect(t, "callers lost", s.srv.Stats().CallersLost, 0)
	})
}

func TestAnsweredCallOutlivesTheCallersConnection(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice", overTCP), s.registered("bob")
		bob.OnInvite(answerAfter(time.Second))
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		alice.Disconnect()
		time.Sleep(time.Minute)
		expect(t, "BYEs at bob", len(bob.Requests("BYE")), 0)
		alice.Reconnect()
		expect(t, "BYE", call.Bye().Status(), 200)
	})
}
