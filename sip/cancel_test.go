package sip

import (
	"testing"
	"time"

	"tandem/internal/fakephone"
	"tandem/internal/simnet"
)

func linkDelay(d time.Duration) simnet.Link { return simnet.Link{Delay: d} }

// slow takes calls without a word.
func silent(m *fakephone.Message) bool { return m.Method() == "INVITE" }

func TestCallerHangsUpWhileThePhoneRings(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		bob.OnInvite(forever)
		call := alice.Call("bob", sdpOf("alice"))
		call.AwaitStatus(180)
		expect(t, "CANCEL", call.Cancel().Final().Status(), 200)
		expect(t, "INVITE", call.Final().Status(), 487)
		time.Sleep(time.Second)
		only(t, "CANCELs at bob", bob.Requests("CANCEL"))
		only(t, "ACKs at bob", bob.Requests("ACK"))
		expect(t, "result", s.result(0), Result{Cancelled: true})
	})
}

func TestCancelWaitsForAProvisionalResponse(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		bob.OnRequest(silent)
		call := alice.Call("bob", sdpOf("alice"))
		invite := bob.AwaitRequest("INVITE")
		call.Cancel()
		time.Sleep(2 * time.Second)
		expect(t, "CANCELs before a provisional response", len(bob.Requests("CANCEL")), 0)
		bob.Reply(invite, 180)
		cancel := bob.AwaitRequest("CANCEL")
		expect(t, "branch", cancel.Branch(), invite.Branch())
		bob.Reply(invite, 487)
		expect(t, "INVITE", call.Final().Status(), 487)
	})
}

func TestCallerIsLetGoWhenThePhoneNeverSaysAnything(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		bob.OnRequest(silent)
		call := alice.Call("bob", sdpOf("alice"))
		bob.AwaitRequest("INVITE")
		begin := time.Now()
		call.Cancel()
		expect(t, "INVITE", call.Final().Status(), 487)
		expect(t, "waited", time.Since(begin).Round(time.Second), cancelGrace)
	})
}

func TestAnswerThatComesAfterTheCallerWasLetGoIsEnded(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		var late *fakephone.Call
		got := make(chan *fakephone.Call, 1)
		bob.OnInvite(func(c *fakephone.Call) { got <- c; time.Sleep(6 * time.Second); c.Answer(sdpOf("bob")) })
		call := alice.Call("bob", sdpOf("alice"))
		late = <-got
		call.Cancel()
		expect(t, "INVITE", call.Final().Status(), 487)
		expect(t, "the phone was hung up", late.WaitEnded(10*time.Second), true)
		ack, bye := only(t, "ACK", bob.Requests("ACK")), only(t, "BYE", bob.Requests("BYE"))
		a, _ := ack.CSeq()
		b, _ := bye.CSeq()
		expect(t, "CSeq of the BYE", b, a+1)
		expect(t, "Request-URI of the BYE", bye.URI(), bob.Contact())
		expect(t, "200s at the caller", len(alice.Responses(200, "INVITE")), 0)
	})
}

func TestCancelThatCrossesTheAnswerLeavesACall(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		s.net.SetLink(linkDelay(50 * time.Millisecond))
		bob.OnInvite(func(c *fakephone.Call) { c.Ring(); time.Sleep(time.Second); c.Answer(sdpOf("bob")) })
		call := alice.Call("bob", sdpOf("alice"))
		call.AwaitStatus(180)
		time.Sleep(880 * time.Millisecond)
		call.Cancel() // reaches the server before bob's 200 does, and bob after he has sent it
		ok := call.MustAnswer()
		expect(t, "body", ok.Body(), sdpOf("bob"))
		expect(t, "BYE", call.Bye().Status(), 200)
		expect(t, "CANCELs at bob", len(bob.Requests("CANCEL")), 1)
	})
}

func TestCancelAfterTheAnswerChangesNothing(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		expect(t, "CANCEL", call.Cancel().Final().Status(), 200)
		time.Sleep(time.Second)
		expect(t, "CANCELs at bob", len(bob.Requests("CANCEL")), 0)
		expect(t, "dialogs", s.srv.Stats().Dialogs, 1)
		call.Bye()
	})
}

func TestLostCancelIsSentAgain(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		bob.OnInvite(forever)
		lost := 0
		s.net.SetFilter(func(d simnet.Datagram) bool {
			if d.To == bob.Addr() && len(d.Payload) > 6 && string(d.Payload[:6]) == "CANCEL" && lost < 2 {
				lost++
				return false
			}
			return true
		})
		call := alice.Call("bob", sdpOf("alice"))
		call.AwaitStatus(180)
		begin := time.Now()
		call.Cancel()
		expect(t, "INVITE", call.Final().Status(), 487)
		expect(t, "waited", time.Since(begin), 1500*time.Millisecond)
		only(t, "CANCELs that arrived", bob.Requests("CANCEL"))
	})
}

func TestRetransmittedCancelIsAnsweredAgain(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		bob.OnInvite(forever)
		call := alice.Call("bob", sdpOf("alice"))
		call.AwaitStatus(180)
		t1 := call.Cancel()
		t1.Final()
		alice.Send(t1.Text())
		time.Sleep(time.Second)
		expect(t, "answers", len(alice.Responses(200, "CANCEL")), 2)
		expect(t, "CANCELs at bob", len(bob.Requests("CANCEL")), 1)
	})
}

func TestCancelOfNothingIs481(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		expect(t, "CANCEL", alice.Start("CANCEL", "sip:bob@example.com", nil, "").Final().Status(), 481)
	})
}

func TestCancelOfAReinviteEndsOnlyThat(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.media = new(stageMedia)
		alice, bob := s.pair()
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		var invite *fakephone.Message
		bob.OnRequest(func(m *fakephone.Message) bool {
			switch m.Method() {
			case "INVITE":
				invite = m
				bob.Reply(m, 180)
				return true
			case "CANCEL":
				bob.Reply(m, 200)
				bob.Reply(invite, 487)
				return true
			}
			return false
		})
		re := call.Request("INVITE", sdpOf("alice"))
		call.AwaitStatus(180)
		time.Sleep(100 * time.Millisecond)
		call.Cancel()
		expect(t, "re-INVITE", re.Final().Status(), 487)
		bob.OnRequest(nil)
		expect(t, "media", s.media.told(), "offer of caller, answer of callee, offer of caller, rollback of caller")
		expect(t, "dialogs", s.srv.Stats().Dialogs, 1)
		expect(t, "BYE", call.Bye().Status(), 200)
	})
}
