package sip

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tandem/internal/fakephone"
	"tandem/internal/simnet"
)

// begins makes a filter that loses the first n datagrams that begin with a text and go to an address.
func begins(to *fakephone.Phone, text string, n int) func(simnet.Datagram) bool {
	return func(d simnet.Datagram) bool {
		if (to == nil && d.To.Addr().String() == stageServer || to != nil && d.To == to.Addr()) && strings.HasPrefix(string(d.Payload), text) && n > 0 {
			n--
			return false
		}
		return true
	}
}

func TestRetransmittedInviteIsAbsorbedAndAnsweredAgain(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		bob.OnInvite(answerAfter(5 * time.Second))
		call := alice.Call("bob", sdpOf("alice"))
		call.AwaitStatus(180)
		sent := alice.Sent("INVITE")
		alice.Send(sent[len(sent)-1].Text)
		time.Sleep(time.Second)
		expect(t, "180s", len(alice.Responses(180, "INVITE")), 2)
		expect(t, "INVITEs at bob", len(bob.Requests("INVITE")), 1)
		expect(t, "retransmissions", s.srv.Stats().Retransmitted, 1)
		call.MustAnswer()
		alice.Send(sent[len(sent)-1].Text)
		time.Sleep(time.Second)
		expect(t, "INVITEs at bob behind the answer", len(bob.Requests("INVITE")), 1)
		call.Bye()
	})
}

func TestAnswerIsRepeatedUntilTheACKComes(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		s.net.SetFilter(begins(bob, "ACK", 3))
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		time.Sleep(10 * time.Second)
		expect(t, "200s", len(alice.Responses(200, "INVITE")), 4)
		expect(t, "ACKs sent", len(alice.Sent("ACK")), 5) // one of them for the 407
		expect(t, "ACKs at bob", len(bob.Requests("ACK")), 1)
		call.Bye()
	})
}

func TestLostAnswerIsRepeatedByTheCallee(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.media = new(stageMedia)
		alice, bob := s.pair()
		s.net.SetFilter(begins(alice, "SIP/2.0 200", 2))
		call := alice.Call("bob", sdpOf("alice"))
		ok := call.MustAnswer()
		if !strings.Contains(ok.Body(), "relayed answer") {
			t.Errorf("the repeated answer was not rewritten: %s", ok.Body())
		}
		expect(t, "media", s.media.told(), "offer of caller, answer of callee")
		time.Sleep(time.Second)
		expect(t, "ACKs at bob", len(bob.Requests("ACK")), 1)
		expect(t, "answered once", strings.Count(s.told(), "answered"), 1)
		call.Bye()
	})
}

func TestRefusalIsRepeatedUntilTheACKComes(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		bob.OnInvite(refuseWith(486))
		lost := 0
		s.net.SetFilter(func(d simnet.Datagram) bool {
			if text := string(d.Payload); d.From == alice.Addr() && strings.HasPrefix(text, "ACK") && strings.Contains(text, "CSeq: 4 ") && lost < 2 {
				lost++
				return false
			}
			return true
		})
		expect(t, "INVITE", alice.Call("bob", sdpOf("alice")).Final().Status(), 486)
		time.Sleep(20 * time.Second)
		expect(t, "486s at the caller", len(alice.Responses(486, "INVITE")), 1+lost)
		only(t, "ACKs at bob", bob.Requests("ACK"))
	})
}

func TestTimerHEndsARefusalWithoutACK(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		bob.OnInvite(refuseWith(486))
		call := alice.Call("bob", sdpOf("alice"))
		s.net.SetFilter(func(d simnet.Datagram) bool {
			return d.From != alice.Addr() || !strings.HasPrefix(string(d.Payload), "ACK") || !strings.Contains(string(d.Payload), "CSeq: 4 ")
		})
		expect(t, "INVITE", call.Final().Status(), 486)
		time.Sleep(40 * time.Second)
		// RFC 3261 §17.2.1, timer G: at 0.5, 1.5, 3.5, 7.5, 11.5 ... 31.5 s
		expect(t, "486s", len(alice.Responses(486, "INVITE")), 11)
		expect(t, "transactions", s.srv.Stats().Transactions, 0)
	})
}

func TestTimerBEndsACallToAPhoneThatIsGone(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		bob.Close()
		begin := time.Now()
		expect(t, "INVITE", alice.Call("bob", sdpOf("alice")).Final().Status(), 408)
		expect(t, "waited", time.Since(begin), 64*timerT1)
		// RFC 3261 §17.1.1.2, timer A: 0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5 s
		n := 0
		for _, m := range s.srv.Trace(0) {
			if m.Out && strings.HasPrefix(m.Text, "INVITE") {
				n++
			}
		}
		expect(t, "INVITEs sent", n, 7)
	})
}

func TestTimerCEndsACallThatRingsForEver(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		bob.OnInvite(forever)
		begin := time.Now()
		call := alice.Call("bob", sdpOf("alice"))
		time.Sleep(60 * time.Second)
		bob.Calls()[0].Ring() // starts timer C anew
		m := call.Final()
		expect(t, "INVITE", m.Status(), 408)
		expect(t, "waited", time.Since(begin), 4*time.Minute)
		expect(t, "timer C", s.srv.Stats().TimerC, 1)
		expect(t, "CANCELs at bob", len(bob.Requests("CANCEL")), 1)
	})
}

func TestTimerFEndsARequestNobodyAnswersWithoutA408(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		bob.OnRequest(func(m *fakephone.Message) bool { return m.Method() == "MESSAGE" })
		if m := alice.Do("MESSAGE", "sip:bob@example.com", nil, ""); m != nil {
			t.Errorf("the sender got %v; RFC 4320 §4.2 forbids a 408", m)
		}
		// timer E: 0, 0.5, 1.5, 3.5, 7.5, 11.5 ... 31.5 s
		expect(t, "MESSAGEs at bob", len(bob.Requests("MESSAGE")), 11)
	})
}

func TestAnswerOfAMessageIsRepeatedForRetransmissions(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		s.net.SetFilter(begins(alice, "SIP/2.0 200", 1))
		expect(t, "MESSAGE", alice.Do("MESSAGE", "sip:bob@example.com", nil, "").Status(), 200)
		only(t, "MESSAGEs at bob", bob.Requests("MESSAGE"))
	})
}

func TestCallsCompleteOverALossyNetwork(t *testing.T) {
	for _, link := range []simnet.Link{
		{Delay: 20 * time.Millisecond, Jitter: 30 * time.Millisecond, Loss: 0.3},
		{Delay: 20 * time.Millisecond, Jitter: 40 * time.Millisecond, Reorder: 0.3, Duplicate: 0.3},
	} {
		t.Run(fmt.Sprintf("loss %v reorder %v", link.Loss, link.Reorder), func(t *testing.T) {
			play(t, func(c *Config) { c.TraceBytes = 16 << 20 }, func(t *testing.T, s *stage) {
				const calls = 200
				done := make(chan error)
				callees := make(map[string]string) // by Call-ID
				s.onInvite = func(in *Inbound) {
					r := s.template()
					s.mu.Lock()
					r.Groups = [][]Target{{{URI: callees[in.Msg.CallID()]}}}
					s.mu.Unlock()
					s.ring(in, r)
				}
				// Each call has hosts of its own: what the network loses of one call depends on the seed alone then.
				for range calls {
					alice, bob := s.phone("alice", func(c *fakephone.Config) { c.Eager = true }), s.phone("bob")
					bob.OnInvite(answerAfter(2 * time.Second))
					expect(t, "MESSAGE for a nonce", alice.Do("MESSAGE", "sip:zoe@example.com", nil, "").Status(), 404)
					go func() { done <- s.longCall(alice, bob, callees) }()
				}
				time.Sleep(time.Second)
				s.net.SetLink(link)
				for range calls {
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
				s.net.SetLink(simnet.Link{})
				time.Sleep(time.Minute)
				expect(t, "dialogs left", s.srv.Stats().Dialogs, 0)
				expect(t, "calls answered", strings.Count(s.told(), "answered"), calls)
				expect(t, "calls ended", strings.Count(s.told(), "ended"), calls)
			})
		})
	}
}

// longCall calls, talks for longer than any transaction lasts, and hangs up.
func (s *stage) longCall(alice, bob *fakephone.Phone, callees map[string]string) error {
	time.Sleep(2 * time.Second)
	s.mu.Lock()
	call := alice.Call("bob", sdpOf("alice"))
	callees[call.CallID] = bob.Contact()
	s.mu.Unlock()
	if m := call.Final(); m.Status() != 200 {
		return fmt.Errorf("the call of %v: %v\n%s%s", alice.Addr(), m, alice.Ladder(), bob.Ladder())
	}
	time.Sleep(40 * time.Second)
	if m := call.Bye(); m != nil && m.Status() != 200 && m.Status() != 481 {
		return fmt.Errorf("the BYE of %v: %v", alice.Addr(), m)
	}
	return nil
}

func TestOldPeerWithoutBranchCookieCanCall(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice", func(c *fakephone.Config) { c.OldBranch = true }), s.registered("bob")
		bob.OnInvite(answerAfter(5 * time.Second))
		call := alice.Call("bob", sdpOf("alice"))
		call.AwaitStatus(180)
		sent := alice.Sent("INVITE")
		alice.Send(sent[len(sent)-1].Text)
		time.Sleep(100 * time.Millisecond)
		expect(t, "INVITEs at bob", len(bob.Requests("INVITE")), 1)
		call.MustAnswer()
		expect(t, "re-INVITE", call.Reinvite(sdpOf("alice")).Status(), 200)
		expect(t, "BYE", call.Bye().Status(), 200)
		other := alice.Call("bob", sdpOf("alice"))
		other.AwaitStatus(180)
		other.Cancel()
		expect(t, "INVITE", other.Final().Status(), 487)
		expect(t, "CANCELs at bob", len(bob.Requests("CANCEL")), 1)
	})
}

func TestLargeRequestIsTriedOverTCPFirst(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		bob := s.registered("bob", func(c *fakephone.Config) { c.Accepts = true })
		bob.OnInvite(answerAfter(time.Second))
		call := alice.Call("bob", sdpOf("alice")+strings.Repeat("a=x:0123456789\r\n", 100))
		call.MustAnswer()
		invite := only(t, "INVITE", bob.Requests("INVITE"))
		expect(t, "transport", invite.Net, "tcp")
		if !strings.HasPrefix(invite.Header("Via"), "SIP/2.0/TCP ") {
			t.Errorf("Via: %s", invite.Header("Via"))
		}
		expect(t, "Record-Routes", len(invite.Headers("Record-Route")), 2)
		expect(t, "BYE", call.Bye().Status(), 200)
		only(t, "ACK", bob.Requests("ACK"))
	})
}

func TestLargeRequestFallsBackToUDP(t *testing.T) {
	for _, name := range []string{"refused", "cut off"} {
		t.Run(name, func(t *testing.T) {
			play(t, func(c *Config) {
				if name == "refused" {
					return
				}
				dial := c.Transport.Dial
				c.Transport.Dial = nil
				c.Transport.Dial = blackHole(dial)
			}, func(t *testing.T, s *stage) {
				alice, bob := s.pair()
				body := sdpOf("alice") + strings.Repeat("a=x:0123456789\r\n", 100)
				begin := time.Now()
				call := alice.Call("bob", body)
				call.MustAnswer()
				invite := only(t, "INVITE", bob.Requests("INVITE"))
				expect(t, "transport", invite.Net, "udp")
				expect(t, "body", invite.Body(), body)
				if d := time.Since(begin); d > 2*time.Second {
					t.Errorf("the call took %v", d)
				}
				call.Bye()
				begin = time.Now()
				again := alice.Call("bob", body)
				again.AwaitStatus(180)
				expect(t, "the second call waits", time.Since(begin), 0)
				again.MustAnswer()
				again.Bye()
			})
		})
	}
}

// A phone that takes the connection and thinks for longer than timer T1 must not get the request a second time.
func TestLargeRequestStaysOnTCPOnceTheConnectionIsThere(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		bob := s.registered("bob", func(c *fakephone.Config) { c.Accepts = true })
		bob.OnInvite(func(c *fakephone.Call) {
			time.Sleep(3 * time.Second)
			answerAfter(time.Second)(c)
		})
		call := alice.Call("bob", largeSDP)
		call.MustAnswer()
		expect(t, "transport", only(t, "INVITE", bob.Requests("INVITE")).Net, "tcp")
		expect(t, "BYE", call.Bye().Status(), 200)
	})
}

var largeSDP = sdpOf("alice") + strings.Repeat("a=x:0123456789\r\n", 100)

// A connection that comes about behind the fall-back must not carry the request as well.
func TestLargeRequestThatFellBackIsNotSentOverALateConnection(t *testing.T) {
	play(t, func(c *Config) {
		dial := c.Transport.Dial
		c.Transport.Dial = func(_ context.Context, network string, laddr, raddr netip.AddrPort) (net.Conn, error) {
			nc, err := dial(context.Background(), network, laddr, raddr)
			time.Sleep(timerT1 + 100*time.Millisecond)
			return nc, err
		}
	}, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		bob := s.registered("bob", func(c *fakephone.Config) { c.Accepts = true })
		bob.OnInvite(answerAfter(3 * time.Second))
		call := alice.Call("bob", largeSDP)
		call.MustAnswer()
		expect(t, "transport", only(t, "INVITE", bob.Requests("INVITE")).Net, "udp")
		expect(t, "BYE", call.Bye().Status(), 200)
	})
}

func TestLargeRequestIsNotRepeatedWhenItsConnectionBreaks(t *testing.T) {
	var opened net.Conn
	play(t, func(c *Config) {
		dial := c.Transport.Dial
		c.Transport.Dial = func(ctx context.Context, network string, laddr, raddr netip.AddrPort) (nc net.Conn, err error) {
			opened, err = dial(ctx, network, laddr, raddr)
			return opened, err
		}
	}, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		bob := s.registered("bob", func(c *fakephone.Config) { c.Accepts = true })
		bob.OnInvite(func(*fakephone.Call) { _ = opened.Close() })
		expect(t, "INVITE", alice.Call("bob", largeSDP).Final().Status(), 480)
		only(t, "INVITE", bob.Requests("INVITE"))
	})
}

func TestGuessedResponseIsNotBelieved(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		bob.OnInvite(answerAfter(3 * time.Second))
		call := alice.Call("bob", sdpOf("alice"))
		call.AwaitStatus(180)
		invite := bob.Requests("INVITE")[0]
		branch := invite.Branch()
		number, _, _ := strings.Cut(branch, ".")
		mallory := s.phone("carol")
		mallory.Send(fmt.Sprintf("SIP/2.0 603 Decline\r\nVia: SIP/2.0/UDP %s:5060;branch=%s.1\r\nFrom: %s\r\nTo: %s;tag=m\r\nCall-ID: %s\r\nCSeq: %s\r\nContent-Length: 0\r\n\r\n",
			stageServer, number, invite.Header("From"), invite.Header("To"), call.CallID, invite.Header("CSeq")))
		call.MustAnswer()
		expect(t, "stray responses", s.srv.Stats().StrayResponses, 1)
		call.Bye()
	})
}

func TestNoTransactionIsLeftWhenTheServerStops(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		bob.OnInvite(forever)
		alice.Call("bob", sdpOf("alice")).AwaitStatus(180)
		s.dirty = true // stopping in the middle of a call must not hang; see stage's clean-up
	})
}
