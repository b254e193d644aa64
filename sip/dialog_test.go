package sip

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/fakephone"
	"tandem/internal/simnet"
)

// blackHole is a Dial whose connections are never set up.
func blackHole(func(context.Context, string, netip.AddrPort, netip.AddrPort) (net.Conn, error)) func(context.Context, string, netip.AddrPort, netip.AddrPort) (net.Conn, error) {
	return func(ctx context.Context, _ string, _, _ netip.AddrPort) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
}

// established is a call between alice and bob that has been answered.
func (s *stage) established(headers ...string) (call *fakephone.Call, alice, bob *fakephone.Phone) {
	s.t.Helper()
	alice, bob = s.pair()
	call = alice.Call("bob", sdpOf("alice"), headers...)
	call.MustAnswer()
	time.Sleep(100 * time.Millisecond)
	return call, alice, bob
}

func TestCalleeHangsUp(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		call, alice, bob := s.established()
		expect(t, "BYE", bob.Calls()[0].Bye().Status(), 200)
		expect(t, "the caller's call is over", call.WaitEnded(time.Second), true)
		bye := only(t, "BYE", alice.Requests("BYE"))
		expect(t, "Request-URI", bye.URI(), alice.Contact())
		expect(t, "Routes left", len(bye.Headers("Route")), 0)
		expect(t, "story", s.told(), "ringing 180 bob, answered bob, ended BYE false")
	})
}

func TestHoldAndResume(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.media = new(stageMedia)
		call, _, bob := s.established()
		hold := strings.Replace(sdpOf("alice"), "sendrecv", "sendonly", 1)
		ok := call.Reinvite(hold)
		expect(t, "hold", ok.Status(), 200)
		if !strings.Contains(ok.Body(), "relayed") {
			t.Errorf("the answer was not rewritten: %s", ok.Body())
		}
		expect(t, "resume", call.Reinvite(sdpOf("alice")).Status(), 200)
		expect(t, "hold by the callee", bob.Calls()[0].Reinvite(hold).Status(), 200)
		expect(t, "media", s.media.told(), "offer of caller, answer of callee, offer of caller, answer of callee, offer of caller, answer of callee, offer of callee, answer of caller")
		list := bob.Requests("INVITE")
		if !strings.Contains(list[1].Body(), "sendonly") || !strings.Contains(list[1].Body(), "relayed offer") {
			t.Errorf("hold at bob: %s", list[1].Body())
		}
		expect(t, "Record-Route of a re-INVITE", len(list[1].Headers("Record-Route")), 0)
		call.Bye()
		expect(t, "media closed", s.media.closes(), 1)
	})
}

func TestRefusedReinviteRollsTheMediaBack(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.media = new(stageMedia)
		call, _, bob := s.established()
		bob.OnRequest(func(m *fakephone.Message) bool {
			if m.Method() == "INVITE" {
				bob.Reply(m, 488)
				return true
			}
			return false
		})
		expect(t, "re-INVITE", call.Reinvite(sdpOf("alice")).Status(), 488)
		expect(t, "media", s.media.told(), "offer of caller, answer of callee, offer of caller, rollback of caller")
		expect(t, "dialogs", s.srv.Stats().Dialogs, 1)
		expect(t, "BYE", call.Bye().Status(), 200)
	})
}

// noCodec is a MediaError.
type noCodec struct{ error }

func (noCodec) SIPStatus() (status, code int, warning string) { return 606, 305, "no common codec" }

func TestOfferThatMediaRefusesNeverReachesTheCallee(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.media = &stageMedia{refuse: noCodec{errors.New("x")}}
		alice, bob := s.pair()
		m := alice.Call("bob", sdpOf("alice")).Final()
		expect(t, "INVITE", m.Status(), 606)
		if w := m.Header("Warning"); !strings.HasPrefix(w, "305 ") || !strings.Contains(w, "no common codec") {
			t.Errorf("Warning: %q", m.Header("Warning"))
		}
		expect(t, "calls at bob", len(bob.Calls()), 0)
		expect(t, "media closed", s.media.closes(), 1)
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		s.media.mu.Lock()
		s.media.refuse = errors.New("ICE is not spoken here")
		s.media.mu.Unlock()
		expect(t, "re-INVITE", call.Reinvite(sdpOf("alice")).Status(), 488)
		expect(t, "BYE", call.Bye().Status(), 200)
	})
}

func TestLateOfferIsAnsweredInTheACK(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.media = new(stageMedia)
		alice, bob := s.pair()
		s.net.SetLink(linkDelay(time.Millisecond)) // the ACK is settled before the answer is there
		call := alice.Call("bob", "")
		call.SetACK(sdpOf("alice"), false)
		ok := call.MustAnswer()
		if !strings.Contains(ok.Body(), "relayed offer") {
			t.Errorf("offer in the 200: %s", ok.Body())
		}
		time.Sleep(100 * time.Millisecond)
		if ack := only(t, "ACK", bob.Requests("ACK")); !strings.Contains(ack.Body(), "relayed answer") {
			t.Errorf("answer in the ACK: %s", ack.Body())
		}
		expect(t, "media", s.media.told(), "offer of callee, answer of caller")
		call.Bye()
	})
}

func TestEarlyMediaReachesTheCaller(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.media = new(stageMedia)
		alice, bob := s.pair()
		bob.OnInvite(func(c *fakephone.Call) {
			c.Respond(183, sdpOf("bob"))
			time.Sleep(2 * time.Second)
			c.Answer(sdpOf("bob"))
		})
		call := alice.Call("bob", sdpOf("alice"))
		if m := call.AwaitStatus(183); !strings.Contains(m.Body(), "relayed answer") {
			t.Errorf("early description: %s", m.Body())
		}
		call.MustAnswer()
		expect(t, "media", s.media.told(), "offer of caller, answer of callee") // the same description needs no second rewriting
		call.Bye()
	})
}

func TestReliableProvisionalResponsesAndUpdatePassWhileRinging(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.media = new(stageMedia)
		alice, bob := s.pair()
		bob.OnInvite(func(c *fakephone.Call) {
			c.Respond(183, sdpOf("bob"), "Require: 100rel", "RSeq: 7")
			bob.AwaitRequest("UPDATE")
			time.Sleep(time.Second)
			c.Answer("")
		})
		bob.OnRequest(func(m *fakephone.Message) bool {
			if m.Method() == "UPDATE" {
				bob.Reply(m, 200, "Contact: <"+bob.Contact()+">")
				return true
			}
			return false
		})
		call := alice.Call("bob", sdpOf("alice"), "Supported: 100rel")
		m := call.AwaitStatus(183)
		expect(t, "RSeq", m.Header("RSeq"), "7")
		expect(t, "Require", m.Header("Require"), "100rel")
		n, _ := m.CSeq()
		prack := call.Request("PRACK", "", "RAck: 7 "+m.Header("CSeq"))
		expect(t, "PRACK", prack.Final().Status(), 200)
		got := only(t, "PRACK", bob.Requests("PRACK"))
		expect(t, "RAck", got.Header("RAck"), "7 "+m.Header("CSeq"))
		expect(t, "UPDATE", call.Request("UPDATE", sdpOf("alice")).Final().Status(), 200)
		if u := bob.Requests("UPDATE")[0]; !strings.Contains(u.Body(), "relayed offer") {
			t.Errorf("UPDATE at bob: %s", u.Body())
		}
		call.MustAnswer()
		if n == 0 {
			t.Error("no CSeq")
		}
		call.Bye()
	})
}

func TestAnswerInAPRACKIsRewritten(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.media = new(stageMedia)
		alice, bob := s.pair()
		bob.OnInvite(func(c *fakephone.Call) {
			c.Respond(183, sdpOf("bob"), "Require: 100rel", "RSeq: 1")
			bob.AwaitRequest("PRACK")
			c.Answer("")
		})
		call := alice.Call("bob", "", "Supported: 100rel")
		m := call.AwaitStatus(183)
		call.Request("PRACK", sdpOf("alice"), "RAck: 1 "+m.Header("CSeq")).Final()
		call.MustAnswer()
		expect(t, "media", s.media.told(), "offer of callee, answer of caller")
		call.Bye()
	})
}

func TestInfoAndUnknownMethodsPassInsideADialog(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		call, _, bob := s.established()
		expect(t, "INFO", call.Request("INFO", "", "Info-Package: dtmf").Final().Status(), 200)
		expect(t, "JUGGLE", call.Request("JUGGLE", "").Final().Status(), 200)
		expect(t, "header", bob.Requests("INFO")[0].Header("Info-Package"), "dtmf")
		call.Bye()
	})
}

func TestTargetRefreshMovesLaterRequests(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		call, alice, bob := s.established()
		other := "sip:alice@" + alice.Addr().Addr().String() + ":5070"
		desk := fakephone.New(t, fakephone.Config{Host: s.hostOf(alice), Port: 5070, Server: netip.MustParseAddrPort(stageServer + ":5060"), User: "alice", Domain: "example.com"})
		expect(t, "re-INVITE", call.Reinvite(sdpOf("alice"), "Contact: <"+other+">").Status(), 200)
		at := bob.Calls()[0]
		bye := at.Request("BYE", "")
		got := desk.AwaitRequest("BYE")
		expect(t, "Request-URI", got.URI(), other)
		expect(t, "BYEs at the old port", len(alice.Requests("BYE")), 0)
		bye.Final()
		expect(t, "dialogs", s.srv.Stats().Dialogs, 0)
	})
}

func TestTargetRefreshInAnAnswerMovesLaterRequests(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		call, _, bob := s.established()
		other := "sip:bob@" + bob.Addr().Addr().String() + ":5070"
		desk := fakephone.New(t, fakephone.Config{Host: s.hostOf(bob), Port: 5070, Server: netip.MustParseAddrPort(stageServer + ":5060"), User: "bob", Domain: "example.com"})
		bob.OnRequest(func(m *fakephone.Message) bool {
			if m.Method() == "UPDATE" {
				bob.Reply(m, 200, "Contact: <"+other+">")
				return true
			}
			return false
		})
		expect(t, "UPDATE", call.Request("UPDATE", "").Final().Status(), 200)
		s.dialogs[0].Hangup("enough")
		expect(t, "Request-URI", desk.AwaitRequest("BYE").URI(), other)
	})
}

func TestByeWithoutAnswerEndsTheCallInTwoSeconds(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.media = new(stageMedia)
		call, _, bob := s.established()
		bob.Close()
		begin := time.Now()
		bye := call.Request("BYE", "")
		for s.srv.Stats().Dialogs > 0 {
			time.Sleep(50 * time.Millisecond)
		}
		if d := time.Since(begin); d > byeGrace+100*time.Millisecond {
			t.Errorf("the call was kept for %v", d)
		}
		synctest.Wait() // the dialog is gone from the count before its media are
		expect(t, "media closed", s.media.closes(), 1)
		bye.Final()
	})
}

func TestByeRefusedForWantOfCredentialsKeepsTheCall(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		call, _, bob := s.established()
		bob.OnRequest(func(m *fakephone.Message) bool {
			if m.Method() == "BYE" {
				bob.Reply(m, 401, `WWW-Authenticate: Digest realm="bob", nonce="1"`)
				return true
			}
			return false
		})
		expect(t, "BYE", call.Request("BYE", "").Final().Status(), 401)
		time.Sleep(5 * time.Second)
		expect(t, "dialogs", s.srv.Stats().Dialogs, 1)
		bob.OnRequest(nil)
		call.Bye()
	})
}

func TestByeThatIsRefusedEndsTheCallAllTheSame(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		call, _, bob := s.established()
		bob.OnRequest(func(m *fakephone.Message) bool {
			if m.Method() == "BYE" {
				bob.Reply(m, 481)
			}
			return m.Method() == "BYE"
		})
		expect(t, "BYE", call.Bye().Status(), 481)
		expect(t, "dialogs", s.srv.Stats().Dialogs, 0)
		if !strings.Contains(s.told(), "ended BYE true") {
			t.Errorf("story: %s", s.told())
		}
	})
}

func TestByeOfACallThatRingsLeavesTheRestToTheInvite(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.media = new(stageMedia)
		alice, bob := s.pair()
		bob.OnInvite(forever)
		bob.OnRequest(func(m *fakephone.Message) bool {
			if m.Method() == "BYE" {
				bob.Reply(m, 200)
				bob.Calls()[0].Refuse(487)
			}
			return m.Method() == "BYE"
		})
		call := alice.Call("bob", sdpOf("alice"))
		call.AwaitStatus(180)
		expect(t, "BYE", call.Request("BYE", "").Final().Status(), 200)
		expect(t, "INVITE", call.Final().Status(), 487)
		expect(t, "story", s.told(), "ringing 180 bob")
		time.Sleep(time.Second)
		expect(t, "media closed", s.media.closes(), 1)
	})
}

func TestProxyRequireIsRefusedInsideADialog(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		call, _, bob := s.established()
		m := call.Request("INFO", "", "Proxy-Require: privacy").Final()
		expect(t, "INFO", m.Status(), 420)
		expect(t, "Unsupported", m.Header("Unsupported"), "privacy")
		expect(t, "INFOs at bob", len(bob.Requests("INFO")), 0)
		call.Bye()
	})
}

func TestCrossingByesAreBothAnswered(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		call, _, bob := s.established()
		s.net.SetLink(linkDelay(30 * time.Millisecond))
		a, b := call.Request("BYE", ""), bob.Calls()[0].Request("BYE", "")
		if m := a.Final(); m.Status() != 200 && m.Status() != 481 {
			t.Errorf("the caller's BYE: %v", m)
		}
		if m := b.Final(); m.Status() != 200 && m.Status() != 481 {
			t.Errorf("the callee's BYE: %v", m)
		}
		expect(t, "times the call has ended", strings.Count(s.told(), "ended"), 1)
	})
}

func TestAdminHangsUpOnBothSides(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.media = new(stageMedia)
		call, alice, bob := s.established()
		expect(t, "re-INVITE of the callee", bob.Calls()[0].Reinvite(sdpOf("bob")).Status(), 200)
		s.dialogs[0].Hangup(`the "boss" says so`)
		expect(t, "the caller's call is over", call.WaitEnded(time.Second), true)
		expect(t, "the callee's call is over", bob.Calls()[0].WaitEnded(time.Second), true)
		invite := bob.Requests("INVITE")[0]
		toBob, toAlice := only(t, "BYE", bob.Requests("BYE")), only(t, "BYE", alice.Requests("BYE"))
		reinvite := only(t, "re-INVITE at alice", alice.Requests("INVITE"))

		expect(t, "From tag towards bob", toBob.FromTag(), invite.FromTag())
		expect(t, "To tag towards bob", toBob.ToTag(), bob.Calls()[0].Tag)
		expect(t, "Request-URI towards bob", toBob.URI(), bob.Contact())
		n, _ := invite.CSeq()
		b, _ := toBob.CSeq()
		expect(t, "CSeq towards bob", b, n+1)

		expect(t, "From tag towards alice", toAlice.FromTag(), bob.Calls()[0].Tag)
		expect(t, "To tag towards alice", toAlice.ToTag(), invite.FromTag())
		expect(t, "Request-URI towards alice", toAlice.URI(), alice.Contact())
		n, _ = reinvite.CSeq()
		b, _ = toAlice.CSeq()
		expect(t, "CSeq towards alice", b, n+1)
		expect(t, "Reason", toAlice.Header("Reason"), `SIP;cause=200;text="the \"boss\" says so"`)
		expect(t, "media closed", s.media.closes(), 1)
		s.dialogs[0].Hangup("again")
		time.Sleep(time.Second)
		only(t, "BYEs at bob", bob.Requests("BYE"))
		if !strings.HasSuffix(s.told(), `ended the "boss" says so false`) {
			t.Errorf("story: %s", s.told())
		}
	})
}

func TestSessionThatNobodyRefreshesIsEndedOnBothSides(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		bob.OnInvite(func(c *fakephone.Call) { c.Answer(sdpOf("bob"), "Require: timer", "Session-Expires: 90;refresher=uac") })
		begin := time.Now()
		call := alice.Call("bob", sdpOf("alice"), "Session-Expires: 90", "Supported: timer")
		ok := call.MustAnswer()
		expect(t, "Session-Expires at the caller", ok.Header("Session-Expires"), "90;refresher=uac")
		time.Sleep(60 * time.Second)
		bob.OnRequest(func(m *fakephone.Message) bool {
			if m.Method() == "UPDATE" {
				bob.Reply(m, 200, "Session-Expires: 90;refresher=uac", "Contact: <"+bob.Contact()+">")
			}
			return m.Method() == "UPDATE"
		})
		expect(t, "refresh", call.Request("UPDATE", "", "Session-Expires: 90;refresher=uac").Final().Status(), 200)
		expect(t, "ended on the caller's side", call.WaitEnded(10*time.Minute), true)
		expect(t, "ended on the callee's side", bob.Calls()[0].WaitEnded(time.Second), true)
		expect(t, "lasted", time.Since(begin).Round(time.Second), 150*time.Second+sessionGrace)
		expect(t, "counted", s.srv.Stats().SessionsExpired, 1)
		if !strings.HasSuffix(s.told(), "ended session expired false") {
			t.Errorf("story: %s", s.told())
		}
	})
}

func TestCallIsEndedAfterTheLongestCallTime(t *testing.T) {
	play(t, func(c *Config) { c.MaxCallTime = time.Hour }, func(t *testing.T, s *stage) {
		call, _, bob := s.established()
		begin := time.Now()
		expect(t, "ended on the caller's side", call.WaitEnded(2*time.Hour), true)
		expect(t, "ended on the callee's side", bob.Calls()[0].WaitEnded(time.Second), true)
		expect(t, "lasted", time.Since(begin).Round(time.Second), time.Hour)
	})
}

func TestRequestForAnUnknownDialogIs481(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		call, alice, _ := s.established()
		m := alice.Start("BYE", "sip:bob@198.51.100.2:5060", []string{"To: <sip:bob@example.com>;tag=unknown"}, "").Final()
		expect(t, "BYE", m.Status(), 481)
		expect(t, "counted", s.srv.Stats().Unknown481, 1)
		alice.Send("ACK sip:bob@198.51.100.2 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: none\r\nCSeq: 1 ACK\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n")
		time.Sleep(time.Second)
		expect(t, "stray ACKs", s.srv.Stats().StrayACKs, 2) // the other one is for the 407, which holds no transaction
		call.Bye()
		expect(t, "second BYE", call.Request("BYE", "").Final().Status(), 481)
	})
}

func TestPhoneOnANewConnectionGetsTheRequestsOfItsCall(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice"), s.registered("bob", overTCP)
		bob.OnInvite(answerAfter(time.Second))
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		bob.Reconnect()
		bob.MustRegister()
		expect(t, "re-INVITE", call.Reinvite(sdpOf("alice")).Status(), 200)
		expect(t, "BYE", call.Bye().Status(), 200)
		expect(t, "BYEs at bob", len(bob.Requests("BYE")), 1)
	})
}

// A phone that goes to another network cannot end its old connection, which the node takes for alive for a long time.
func TestPhoneThatLeftItsConnectionBehindGetsTheRequestsOfItsCall(t *testing.T) {
	for _, contact := range []string{"an address", "a GRUU"} {
		t.Run(contact, func(t *testing.T) {
			play(t, nil, func(t *testing.T, s *stage) {
				alice, bob := s.registered("alice"), s.phone("bob", overTCP)
				pub, _ := s.instance(bob, "urn:uuid:1")
				bob.OnInvite(func(c *fakephone.Call) {
					if contact == "a GRUU" {
						c.Answer(sdpOf("bob"), "Contact: <"+pub+">")
					} else {
						c.Answer(sdpOf("bob"))
					}
				})
				call := alice.Call("bob", sdpOf("alice"))
				call.MustAnswer()
				bob.Move()
				s.instance(bob, "urn:uuid:1")
				expect(t, "INFO", call.Request("INFO", "").Final().Status(), 200)
				expect(t, "re-INVITE", call.Reinvite(sdpOf("alice")).Status(), 200)
				expect(t, "BYE", call.Bye().Status(), 200)
			})
		})
	}
}

// Two connections that are both registered (RFC 5626 §4.2.1) are both good: a call stays on the one it came over.
func TestCallStaysOnItsConnectionWhileThatIsRegistered(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice"), s.phone("bob", overTCP)
		flow := func(id string) {
			ok := bob.Register("Supported: outbound, path", "Contact: <"+bob.Contact()+`>;+sip.instance="<urn:uuid:1>";reg-id=`+id)
			expect(t, "REGISTER", ok.Status(), 200)
			expect(t, "Require", ok.Header("Require"), "outbound")
		}
		flow("1")
		bob.OnInvite(answerAfter(time.Second))
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		bob.Move()
		flow("2")
		heard := len(bob.Requests("INFO"))
		info := call.Request("INFO", "")
		expect(t, "INFO on the connection that nobody listens to", info.Within(time.Second) == nil, true)
		expect(t, "INFOs on the new connection", len(bob.Requests("INFO")), heard)
		s.dirty = true
	})
}

// A phone that was called over TCP, for the size of the request, answers with a Contact that says so (RFC 3261 §12.2.1.1, §18).
func TestRemoteTargetThatAsksForTCPGetsTheRequestsOfItsCallOverTCP(t *testing.T) {
	for _, c := range []struct {
		name, host string
		accepts    bool
		net        string
	}{
		{"it listens", "198.51.100.2:5060", true, "tcp"},
		{"it does not listen", "198.51.100.2:5060", false, "udp"},
		{"it is behind a NAT", "10.0.0.7:5060", true, "udp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, nil, func(t *testing.T, s *stage) {
				alice, bob := s.registered("alice"), s.registered("bob", func(f *fakephone.Config) { f.Accepts = c.accepts })
				bob.OnInvite(answerAfter(time.Second))
				bob.OnRequest(func(m *fakephone.Message) bool {
					if m.Method() == "INVITE" && m.ToTag() != "" {
						bob.Reply(m, 200, "Contact: <sip:bob@"+c.host+";transport=tcp>")
						return true
					}
					return false
				})
				call := alice.Call("bob", sdpOf("alice"))
				call.MustAnswer()
				time.Sleep(time.Second)
				expect(t, "re-INVITE", call.Reinvite(largeSDP).Status(), 200)
				time.Sleep(time.Second)
				acks := bob.Requests("ACK")
				expect(t, "ACKs", len(acks), 2)
				expect(t, "ACK of the re-INVITE", acks[len(acks)-1].Net, c.net)
				expect(t, "INFO", call.Request("INFO", "").Final().Status(), 200)
				expect(t, "INFO goes over", only(t, "INFO", bob.Requests("INFO")).Net, c.net)
				s.dialogs[0].Hangup("enough")
				time.Sleep(time.Second)
				expect(t, "the node's BYE goes over", only(t, "BYE", bob.Requests("BYE")).Net, c.net)
			})
		})
	}
}

func TestRemoteTargetThatAsksForTCPAndTakesNoConnectionIsReachedOverUDP(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice"), s.registered("bob")
		bob.OnInvite(func(c *fakephone.Call) { c.Answer(sdpOf("bob"), "Contact: <"+bob.Contact()+";transport=tcp>") })
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		time.Sleep(time.Second)
		expect(t, "ACK goes over", only(t, "ACK", bob.Requests("ACK")).Net, "udp")
		expect(t, "BYE", call.Bye().Status(), 200)
		expect(t, "BYE goes over", only(t, "BYE", bob.Requests("BYE")).Net, "udp")
	})
}

// RFC 3261 §22.3. Whoever takes a call must not be able to guess the caller's password from what his phone sends inside it.
func TestCredentialsForThisNodeDoNotReachTheOtherPhone(t *testing.T) {
	digest := func(realm string) string {
		return `Digest username="alice", realm="` + realm + `", nonce="n", uri="sip:bob@example.com", response="0123456789abcdef0123456789abcdef"`
	}
	sent := []string{
		"Proxy-Authorization: " + digest("example"), "Proxy-Authorization: " + digest("elsewhere"), "proxy-authorization:\tDigest\trealm=\"e\\xample\", response=\"0\"",
		"Authorization: " + digest("example"), "Authorization: " + digest("elsewhere"), "Authorization: Basic YTpi", "Authorization: Digest realm=",
	}
	left := func(t *testing.T, m *fakephone.Message) {
		t.Helper()
		got := strings.Join(append(m.Headers("Proxy-Authorization"), m.Headers("Authorization")...), "\n")
		expect(t, m.Method()+" arrives with", got, digest("elsewhere")+"\n"+digest("elsewhere")+"\nBasic YTpi")
	}
	play(t, nil, func(t *testing.T, s *stage) {
		call, alice, bob := s.established()
		for _, method := range []string{"INFO", "UPDATE", "PRACK", "INVITE"} {
			call.SetACK("", true)
			ok := call.Request(method, "", sent...).Final()
			expect(t, method, ok.Status(), 200)
			list := bob.Requests(method)
			left(t, list[len(list)-1])
			if n, _ := ok.CSeq(); method == "INVITE" {
				alice.Send("ACK " + bob.Contact() + " SIP/2.0\r\nVia: SIP/2.0/UDP " + alice.Addr().String() + ";rport;branch=z9hG4bKack\r\nRoute: " + call.Answers()[0].Header("Record-Route") +
					"\r\nFrom: " + ok.Header("From") + "\r\nTo: " + ok.Header("To") + "\r\nCall-ID: " + ok.CallID() + "\r\nCSeq: " + strconv.Itoa(int(n)) +
					" ACK\r\nMax-Forwards: 70\r\n" + strings.Join(sent, "\r\n") + "\r\nContent-Length: 0\r\n\r\n")
			}
		}
		time.Sleep(time.Second)
		acks := bob.Requests("ACK")
		left(t, acks[len(acks)-1])
		expect(t, "INFO of the callee", bob.Calls()[0].Request("INFO", "", sent...).Final().Status(), 200)
		left(t, only(t, "INFO", alice.Requests("INFO")))
		expect(t, "BYE", call.Request("BYE", "", sent...).Final().Status(), 200)
		left(t, only(t, "BYE", bob.Requests("BYE")))
	})
}

func TestCallerOnANewConnectionIsFoundByItsNextRequest(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice", overTCP), s.registered("bob")
		bob.OnInvite(answerAfter(time.Second))
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		alice.Reconnect()
		expect(t, "re-INVITE", call.Reinvite(sdpOf("alice")).Status(), 200)
		expect(t, "BYE of the callee", bob.Calls()[0].Bye().Status(), 200)
		expect(t, "ended", call.WaitEnded(time.Second), true)
	})
}

// Connections are read by goroutines of their own: what a phone sent first over one may come behind what it sent next over another.
func TestACKOvertakenByANewConnectionDoesNotLeadBackToTheOld(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice", overTCP), s.registered("bob")
		bob.OnInvite(answerAfter(time.Second))
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		time.Sleep(time.Second)
		sent := alice.Sent("ACK")
		late := alice.Move()
		expect(t, "re-INVITE", call.Reinvite(sdpOf("alice")).Status(), 200)
		late(sent[len(sent)-1].Text)
		time.Sleep(time.Second)
		expect(t, "BYE of the callee", bob.Calls()[0].Bye().Status(), 200)
		expect(t, "ended", call.WaitEnded(time.Second), true)
	})
}

func TestMaxForwardsIsUsedUpInsideADialog(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		call, _, bob := s.established()
		expect(t, "INFO", call.Request("INFO", "", "Max-Forwards: 0").Final().Status(), 483)
		expect(t, "INFOs at bob", len(bob.Requests("INFO")), 0)
		call.Bye()
	})
}

// hostOf is the host of a phone.
func (s *stage) hostOf(p *fakephone.Phone) *simnet.Host { return s.byHost[p.Addr().Addr()] }

func TestAnswerThatMediaCannotUseMakesNoCall(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.media = new(stageMedia)
		alice, bob := s.pair()
		bob.OnInvite(func(c *fakephone.Call) {
			c.Ring()
			s.media.mu.Lock()
			s.media.refuse = errors.New("this is no answer")
			s.media.mu.Unlock()
			c.Answer(sdpOf("bob"))
		})
		m := alice.Call("bob", sdpOf("alice")).Final()
		expect(t, "INVITE", m.Status(), 488)
		expect(t, "Warning", strings.Contains(m.Header("Warning"), "this is no answer"), true)
		expect(t, "ended on the callee's side", bob.Calls()[0].WaitEnded(time.Second), true)
		expect(t, "media closed", s.media.closes(), 1)
		expect(t, "dialogs", s.srv.Stats().Dialogs, 0)
	})
}

func TestACKWithTheBranchOfItsInviteIsRelayed(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		s.net.SetLink(linkDelay(time.Millisecond)) // the ACK is settled before the answer is there
		call := alice.Call("bob", sdpOf("alice"))
		call.SetACK("", true)
		ok := call.MustAnswer()
		n, _ := ok.CSeq()
		alice.Send("ACK " + bob.Contact() + " SIP/2.0\r\nVia: SIP/2.0/UDP " + alice.Addr().String() + ";rport;branch=" + ok.Branch() + "\r\nRoute: " + ok.Header("Record-Route") +
			"\r\nFrom: " + ok.Header("From") + "\r\nTo: " + ok.Header("To") + "\r\nCall-ID: " + ok.CallID() + "\r\nCSeq: " + strconv.Itoa(int(n)) + " ACK\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n")
		time.Sleep(time.Second)
		ack := only(t, "ACK", bob.Requests("ACK"))
		if ack.Branch() == ok.Branch() {
			t.Error("the ACK went on with the caller's branch on top")
		}
		call.Bye()
	})
}

func TestHangupOfACallWhosePhoneIsGoneReachesTheOther(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice"), s.registered("bob", overTCP)
		bob.OnInvite(answerAfter(time.Second))
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		bob.Disconnect()
		time.Sleep(time.Second)
		s.dialogs[0].Hangup("enough")
		expect(t, "ended on the caller's side", call.WaitEnded(time.Second), true)
		expect(t, "dialogs", s.srv.Stats().Dialogs, 0)
	})
}
