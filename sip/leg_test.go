package sip

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/fakephone"
	"tandem/internal/simnet"
)

// echoLeg is a LegEvents that writes down what it is told.
type echoLeg struct {
	mu     sync.Mutex
	story  []string
	refuse error
}

func (l *echoLeg) note(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.story = append(l.story, s)
}

func (l *echoLeg) told() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.story, ", ")
}

func (l *echoLeg) Reoffer(sdp string) (string, error) {
	l.note("reoffer " + strings.Fields(sdp + " none")[0])
	l.mu.Lock()
	defer l.mu.Unlock()
	return sdpOf("tandem"), l.refuse
}

func (l *echoLeg) Answered(sdp string)         { l.note("answered " + strings.Fields(sdp)[0]) }
func (l *echoLeg) Ended(reason string, c bool) { l.note("ended " + reason) }

// answering makes the server take all calls itself.
func (s *stage) answering() (l *echoLeg, legs chan *Leg) {
	l, legs = &echoLeg{}, make(chan *Leg, 100)
	s.onInvite = func(in *Inbound) {
		leg, err := in.Answer(Answer{SDP: sdpOf("tandem"), Events: l})
		if err != nil {
			l.note("error " + err.Error())
			return
		}
		legs <- leg
	}
	return l, legs
}

func TestNodeTakesACallItself(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		l, _ := s.answering()
		alice := s.registered("alice")
		call := alice.Call("*43", sdpOf("alice"))
		ok := call.MustAnswer()
		expect(t, "body", ok.Body(), sdpOf("tandem"))
		expect(t, "Content-Type", ok.Header("Content-Type"), "application/sdp")
		expect(t, "Contact", ok.Header("Contact"), "<sip:"+stageServer+":5060>")
		expect(t, "Record-Routes", len(ok.Headers("Record-Route")), 0)
		expect(t, "re-INVITE", call.Reinvite("").Status(), 200)
		expect(t, "UPDATE", call.Request("UPDATE", sdpOf("alice")).Final().Body(), sdpOf("tandem"))
		expect(t, "UPDATE without an offer", call.Request("UPDATE", "").Final().Body(), "")
		expect(t, "INFO", call.Request("INFO", "").Final().Status(), 200)
		expect(t, "OPTIONS", call.Request("OPTIONS", "").Final().Status(), 200)
		expect(t, "NOTIFY", call.Request("NOTIFY", "", "Event: x").Final().Status(), 489)
		expect(t, "PRACK", call.Request("PRACK", "").Final().Status(), 481)
		m := call.Request("JUGGLE", "").Final()
		expect(t, "JUGGLE", m.Status(), 501)
		expect(t, "Allow", m.Header("Allow"), allowed)
		expect(t, "BYE", call.Bye().Status(), 200)
		expect(t, "story", l.told(), "reoffer none, reoffer v=0, ended BYE")
		expect(t, "200s", len(alice.Responses(200, "INVITE")), 2)
	})
}

func TestLateOfferOfALegIsAnsweredInTheACK(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		l, _ := s.answering()
		alice := s.registered("alice")
		s.net.SetLink(linkDelay(time.Millisecond)) // the ACK is settled before the answer is there
		call := alice.Call("*43", "")
		call.SetACK(sdpOf("alice"), false)
		call.MustAnswer()
		time.Sleep(time.Second)
		expect(t, "story", l.told(), "answered v=0")
		call.Bye()
	})
}

func TestLegRepeatsItsAnswerUntilTheACKComes(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			play(t, nil, func(t *testing.T, s *stage) {
				l, _ := s.answering()
				alice := s.registered("alice", func(c *fakephone.Config) { c.Net = network })
				s.net.SetLink(linkDelay(time.Millisecond)) // the ACK is settled before the answer is there
				call := alice.Call("*43", sdpOf("alice"))
				call.SetACK("", true)
				ok := call.MustAnswer()
				time.Sleep(2 * time.Second)
				expect(t, "200s", len(alice.Responses(200, "INVITE")), 3)
				call.ACK(ok)
				time.Sleep(30 * time.Second)
				expect(t, "200s", len(alice.Responses(200, "INVITE")), 3)
				expect(t, "story", l.told(), "")
				call.Bye()
			})
		})
	}
}

func TestLegWithoutACKIsHungUp(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		l, _ := s.answering()
		alice := s.registered("alice", func(c *fakephone.Config) { c.NoACK = true })
		begin := time.Now()
		call := alice.Call("*43", sdpOf("alice"))
		call.MustAnswer()
		expect(t, "ended", call.WaitEnded(time.Minute), true)
		expect(t, "after", time.Since(begin).Round(time.Second), 64*timerT1)
		expect(t, "story", l.told(), "ended no ACK")
	})
}

func TestNodeHangsUpItsLeg(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		l, legs := s.answering()
		alice := s.registered("alice")
		call := alice.Call("*43", sdpOf("alice"))
		ok := call.MustAnswer()
		time.Sleep(time.Second)
		(<-legs).Hangup("the music is over")
		expect(t, "ended", call.WaitEnded(time.Second), true)
		bye := only(t, "BYE", alice.Requests("BYE"))
		expect(t, "Request-URI", bye.URI(), alice.Contact())
		expect(t, "From tag", bye.FromTag(), ok.ToTag())
		expect(t, "To tag", bye.ToTag(), call.Tag)
		expect(t, "CSeq", bye.Header("CSeq"), "1 BYE")
		expect(t, "Reason", bye.Header("Reason"), `SIP;cause=200;text="the music is over"`)
		expect(t, "story", l.told(), "ended the music is over")
	})
}

func TestUnknownExtensionRequiredOfALegIs420(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		l, _ := s.answering()
		alice := s.registered("alice")
		m := alice.Call("*43", sdpOf("alice"), "Require: timer, telepathy").Final()
		expect(t, "INVITE", m.Status(), 420)
		expect(t, "Unsupported", m.Header("Unsupported"), "telepathy")
		expect(t, "story", l.told(), "error sip: the caller requires telepathy")
	})
}

func TestLegRefusesAnOfferItCannotTake(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		l, _ := s.answering()
		alice := s.registered("alice")
		call := alice.Call("*43", sdpOf("alice"))
		call.MustAnswer()
		l.mu.Lock()
		l.refuse = errors.New("no such codec")
		l.mu.Unlock()
		m := call.Reinvite(sdpOf("alice"))
		expect(t, "re-INVITE", m.Status(), 488)
		if !strings.Contains(m.Header("Warning"), "no such codec") {
			t.Errorf("Warning: %q", m.Header("Warning"))
		}
		expect(t, "BYE", call.Bye().Status(), 200)
	})
}

func TestLegKeepsOrderByCSeq(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.answering()
		alice := s.registered("alice")
		call := alice.Call("*43", sdpOf("alice"))
		call.MustAnswer()
		m := call.Request("INFO", "", "CSeq: 1 INFO").Final()
		expect(t, "INFO with a lower CSeq", m.Status(), 500)
		call.Bye()
	})
}

func TestReinviteBeforeTheACKIsPending(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.answering()
		alice := s.registered("alice")
		s.net.SetLink(linkDelay(time.Millisecond)) // the ACK is settled before the answer is there
		call := alice.Call("*43", sdpOf("alice"))
		call.SetACK("", true)
		ok := call.MustAnswer()
		expect(t, "re-INVITE", call.Reinvite(sdpOf("alice")).Status(), 491)
		call.SetACK("", false)
		call.ACK(ok)
		expect(t, "re-INVITE behind the ACK", call.Reinvite(sdpOf("alice")).Status(), 200)
		call.Bye()
	})
}

func TestSessionTimerEndsALeg(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		l, _ := s.answering()
		alice := s.registered("alice")
		call := alice.Call("*43", sdpOf("alice"), "Session-Expires: 100", "Supported: timer")
		ok := call.MustAnswer()
		expect(t, "Session-Expires", ok.Header("Session-Expires"), "100;refresher=uac")
		expect(t, "Require", ok.Header("Require"), "timer")
		begin := time.Now()
		expect(t, "ended", call.WaitEnded(time.Hour), true)
		expect(t, "after", time.Since(begin).Round(time.Second), 100*time.Second+sessionGrace)
		expect(t, "story", l.told(), "ended session expired")
	})
}

func TestCallerThatIsGoneIsNotAnswered(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		l, gone := &echoLeg{}, make(chan struct{})
		s.onInvite = func(in *Inbound) {
			in.Respond(180, "", nil)
			in.Go(func() func() {
				<-gone
				return func() {
					if _, err := in.Answer(Answer{SDP: sdpOf("tandem"), Events: l}); !errors.Is(err, ErrGone) {
						t.Errorf("Answer: %v", err)
					}
				}
			})
		}
		alice := s.registered("alice")
		call := alice.Call("*43", sdpOf("alice"))
		call.AwaitStatus(180)
		call.Cancel()
		expect(t, "INVITE", call.Final().Status(), 487)
		close(gone)
	})
}

func TestLegSurvivesALossyNetwork(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		l, _ := s.answering()
		alice := s.registered("alice", func(c *fakephone.Config) { c.Eager = true })
		alice.Call("*43", sdpOf("alice")).MustAnswer()
		s.net.SetLink(simnet.Link{Delay: 10 * time.Millisecond, Jitter: 20 * time.Millisecond, Loss: 0.3, Reorder: 0.1, Duplicate: 0.1})
		for range 30 {
			call := alice.Call("*43", sdpOf("alice"))
			call.MustAnswer()
			time.Sleep(40 * time.Second)
			call.Bye()
		}
		s.net.SetLink(simnet.Link{})
		time.Sleep(time.Minute)
		expect(t, "legs ended", strings.Count(l.told(), "ended"), 30)
		expect(t, "dialogs", s.srv.Stats().Dialogs, 1)
		for _, c := range s.srv.shards {
			_ = c.post(func() {
				for _, list := range c.dialogs {
					for _, d := range list {
						d.(*Leg).hangup("the test is over")
					}
				}
			})
		}
	})
}

func TestFullDialogTableAnswersNoCall(t *testing.T) {
	play(t, func(c *Config) { c.MaxDialogs = 1; c.Transport.Shards = 1 }, func(t *testing.T, s *stage) {
		l, _ := s.answering()
		alice := s.registered("alice")
		call := alice.Call("*43", sdpOf("alice"))
		call.MustAnswer()
		expect(t, "second call", alice.Call("*43", sdpOf("alice")).Final().Status(), 503)
		expect(t, "story", l.told(), "error sip: too many calls")
		call.Bye()
	})
}

func TestLegIsNotHungUpBeforeTheACK(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		l, legs := s.answering()
		alice := s.registered("alice")
		s.net.SetLink(linkDelay(time.Millisecond)) // the ACK is settled before the answer is there
		call := alice.Call("*43", sdpOf("alice"))
		call.SetACK("", true)
		ok := call.MustAnswer()
		(<-legs).Hangup("enough")
		time.Sleep(5 * time.Second)
		expect(t, "BYEs before the ACK", len(alice.Requests("BYE")), 0)
		call.ACK(ok)
		expect(t, "ended", call.WaitEnded(time.Second), true)
		expect(t, "story", l.told(), "ended enough")

		mute := s.registered("bob", func(c *fakephone.Config) { c.NoACK = true })
		begin := time.Now()
		other := mute.Call("*43", sdpOf("bob"))
		other.MustAnswer()
		(<-legs).Hangup("enough")
		expect(t, "ended without an ACK", other.WaitEnded(time.Minute), true)
		expect(t, "after", time.Since(begin).Round(time.Second), 64*timerT1)
	})
}
