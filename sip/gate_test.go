package sip

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"tandem/internal/fakephone"
	"tandem/sip/message"
	"tandem/sip/transport"
)

func TestPhoneRegistersAndFetchesItsBindings(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		bob := s.phone("bob")
		ok := bob.Register()
		expect(t, "REGISTER", ok.Status(), 200)
		if c := ok.Header("Contact"); !strings.Contains(c, "<"+bob.Contact()+">") || !strings.Contains(c, "expires=3600") {
			t.Errorf("the 200 lists %q", c)
		}
		fetched := bob.Register("Contact:", "Expires:")
		expect(t, "fetch", fetched.Status(), 200)
		expect(t, "fetched", len(fetched.Headers("Contact")), 1)
		expect(t, "un-REGISTER", bob.Register("Expires: 0").Status(), 200)
		expect(t, "bindings left", len(s.loc.Lookup("example", "bob", time.Now())), 0)
	})
}

func TestWrongPasswordIsRefusedAndCounted(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		bob := s.phone("bob", func(c *fakephone.Config) { c.Password = "guess" })
		expect(t, "REGISTER", bob.Register().Status(), 403)
		expect(t, "INVITE", bob.Call("alice", sdpOf("bob")).Final().Status(), 403)
		expect(t, "failures", s.srv.Stats().AuthFailed, 2)
		expect(t, "bindings", len(s.loc.Lookup("example", "bob", time.Now())), 0)
	})
}

func TestUnknownUserIsChallengedLikeAKnownOne(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		varies := regexp.MustCompile(`nonce="[^"]*"|tag=[^\r]*|branch=[^\r;]*|(Call-ID|From|To|Via): [^\r]*`)
		text := func(user string) string {
			p := s.phone(user, func(c *fakephone.Config) { c.Password = "wrong" })
			first := p.Start("REGISTER", "sip:example.com", []string{"Contact: <" + p.Contact() + ">"}, "").Final()
			again := p.Register()
			return varies.ReplaceAllString(first.Text+again.Text, "")
		}
		if known, unknown := text("bob"), text("nobody"); known != unknown {
			t.Errorf("a known user is answered with\n%s\nand an unknown one with\n%s", known, unknown)
		}
	})
}

func TestFromOfAnotherUserIsRefused(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		m := alice.Do("INVITE", "sip:bob@example.com", []string{"From: <sip:carol@example.com>;tag=x"}, sdpOf("alice"))
		expect(t, "INVITE with another From", m.Status(), 403)
		m = alice.Do("MESSAGE", "sip:bob@example.com", []string{"From: <sip:alice@elsewhere.example>;tag=x"}, "")
		expect(t, "MESSAGE from the same name in another domain", m.Status(), 403)
		expect(t, "requests at bob", len(bob.Requests("INVITE"))+len(bob.Requests("MESSAGE")), 0)
	})
}

func TestStrangersHaveNoBusinessHere(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice := s.phone("alice")
		m := alice.Start("INVITE", "sip:x@elsewhere.example", []string{"From: <sip:a@other.example>;tag=1"}, "").Final()
		expect(t, "INVITE between foreign domains", m.Status(), 403)
		m = alice.Start("REGISTER", "sip:elsewhere.example", nil, "").Final()
		expect(t, "REGISTER for a foreign domain", m.Status(), 404)
		m = alice.Start("INVITE", "http://example.com", nil, "").Final()
		expect(t, "INVITE to a web address", m.Status(), 416)
	})
}

func TestMaxForwardsIsUsedUpAtZeroAndPassedOnAtOne(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		expect(t, "INVITE with 0", alice.Call("bob", sdpOf("alice"), "Max-Forwards: 0").Final().Status(), 483)
		expect(t, "hops", s.srv.Stats().TooManyHops, 1)
		call := alice.Call("bob", sdpOf("alice"), "Max-Forwards: 1")
		call.MustAnswer()
		expect(t, "Max-Forwards at bob", bob.Requests("INVITE")[0].Header("Max-Forwards"), "0")
		call.Bye()
		m := alice.Do("OPTIONS", "sip:bob@example.com", []string{"Max-Forwards: 0"}, "")
		expect(t, "OPTIONS with 0 is answered here", m.Status(), 200)
	})
}

func TestRequestWithoutMaxForwardsGetsOne(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		expect(t, "MESSAGE", alice.Do("MESSAGE", "sip:bob@example.com", []string{"Max-Forwards:"}, "").Status(), 200)
		expect(t, "Max-Forwards at bob", bob.Requests("MESSAGE")[0].Header("Max-Forwards"), "70")
	})
}

func TestProxyRequireIsRefused(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, _ := s.pair()
		m := alice.Call("bob", sdpOf("alice"), "Proxy-Require: privacy, sec-agree").Final()
		expect(t, "INVITE", m.Status(), 420)
		expect(t, "Unsupported", m.Header("Unsupported"), "privacy, sec-agree")
	})
}

func TestNodeAnswersWhatIsAddressedToItself(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		m := alice.Do("OPTIONS", "sip:example.com", nil, "")
		expect(t, "OPTIONS", m.Status(), 200)
		expect(t, "Allow", m.Header("Allow"), allowed)
		m = alice.Do("INVITE", "sip:example.com", nil, "")
		expect(t, "INVITE", m.Status(), 405)
		expect(t, "Allow", m.Header("Allow"), allowed)
		m = alice.Do("JUGGLE", "sip:"+stageServer, nil, "")
		expect(t, "JUGGLE", m.Status(), 501)
		m = alice.Do("OPTIONS", "sip:example.com", []string{"Require: telepathy"}, "")
		expect(t, "OPTIONS with Require", m.Status(), 420)
		expect(t, "Unsupported", m.Header("Unsupported"), "telepathy")
		expect(t, "OPTIONS with a Require that is met", alice.Do("OPTIONS", "sip:example.com", []string{"Require: timer"}, "").Status(), 200)
	})
}

func TestUnknownMethodIsRelayedToAUser(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		expect(t, "JUGGLE", alice.Do("JUGGLE", "sip:bob@example.com", []string{"Balls: 3"}, "").Status(), 200)
		expect(t, "header", only(t, "JUGGLE", bob.Requests("JUGGLE")).Header("Balls"), "3")
	})
}

func TestMessageReachesAUserByNameAndByExtension(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		expect(t, "MESSAGE to bob", alice.Do("MESSAGE", "sip:bob@example.com", []string{"Content-Type: text/plain"}, "hello").Status(), 200)
		expect(t, "MESSAGE to 202", alice.Do("MESSAGE", "sip:202@example.com", []string{"Content-Type: text/plain"}, "hello").Status(), 200)
		expect(t, "MESSAGE to carol", alice.Do("MESSAGE", "sip:carol@example.com", nil, "").Status(), 480)
		expect(t, "MESSAGE to nobody", alice.Do("MESSAGE", "sip:zoe@example.com", nil, "").Status(), 404)
		for _, m := range bob.Requests("MESSAGE") {
			expect(t, "body", m.Body(), "hello")
			if m.Has("Record-Route") {
				t.Error("a MESSAGE was record-routed; it makes no dialog")
			}
		}
		expect(t, "messages", len(bob.Requests("MESSAGE")), 2)
	})
}

func TestPanicInAHandlerEndsThatCallAlone(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, _ := s.pair()
		s.onInvite = func(in *Inbound) {
			if in.URI.User == "carol" {
				panic("a fault of the handler")
			}
			s.ring(in, s.template())
		}
		call := alice.Call("bob", sdpOf("alice"))
		expect(t, "the faulty call", alice.Call("carol", sdpOf("alice")).Final().Status(), 500)
		call.MustAnswer()
		call.Bye()
		expect(t, "panics", s.srv.Stats().Panics, 1)
	})
}

func TestAnswerIsNotLostWhileTheShardIsBusy(t *testing.T) {
	play(t, func(c *Config) { c.Transport.Shards = 1; c.Transport.Queue = 8 }, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		called, full := make(chan struct{}), make(chan struct{})
		s.onInvite = func(in *Inbound) {
			in.Go(func() func() {
				close(called)
				<-full
				return func() { in.Refuse(486, "busy") }
			})
		}
		call := alice.Call("bob", sdpOf("alice"))
		<-called
		release := make(chan struct{})
		sh := s.srv.shards[0]
		_ = sh.post(func() { <-release })
		time.Sleep(time.Millisecond)
		for sh.post(func() {}) == nil {
		}
		close(full)
		time.Sleep(time.Second)
		close(release)
		expect(t, "INVITE", call.Final().Status(), 486)
	})
}

func TestHandlerThatSaysNothingIsAnsweredFor(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		s.onInvite = func(*Inbound) {}
		expect(t, "INVITE", alice.Call("bob", sdpOf("alice")).Final().Status(), 500)
	})
}

func TestPanicOnAShardIsContained(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		carol := s.registered("carol")
		carol.OnInvite(answerAfter(time.Second))
		s.onInvite = func(in *Inbound) {
			r := s.template()
			if in.URI.User == "carol" {
				r.Media = faultyMedia{}
			} else {
				r.Events = faultyEvents{s}
			}
			s.ring(in, r)
		}
		expect(t, "a call whose media fails", alice.Call("carol", sdpOf("alice")).Final().Status(), 500)
		expect(t, "a call whose listener fails", alice.Call("bob", sdpOf("alice")).Final().Status(), 500)
		time.Sleep(time.Second)
		expect(t, "CANCELs at bob", len(bob.Requests("CANCEL")), 1)
		expect(t, "panics", s.srv.Stats().Panics, 2)
		s.onInvite = nil
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		call.Bye()
	})
}

func TestPanicInATimerEndsItsCallAndTheOtherTimersRun(t *testing.T) {
	play(t, func(c *Config) { c.Transport.Shards = 1 }, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		for _, user := range []string{"bob", "carol", "dave"} {
			s.registered(user).OnInvite(func(*fakephone.Call) {}) // not even a 100
		}
		s.onInvite = func(in *Inbound) {
			r := s.template()
			r.Timeout = 10 * time.Second
			if in.URI.User == "carol" {
				r.Media = mediaThatCannotClose{}
			}
			s.ring(in, r)
		}
		began := time.Now()
		var calls []*fakephone.Call
		for _, user := range []string{"bob", "carol", "dave"} {
			calls = append(calls, alice.Call(user, sdpOf("alice")))
		}
		for i, want := range []int{408, 500, 408} {
			expect(t, fmt.Sprint("call ", i), calls[i].Final().Status(), want)
			if took := time.Since(began); took > 10*time.Second+cancelGrace+time.Second {
				t.Errorf("call %d ended after %v", i, took)
			}
		}
		expect(t, "panics", s.srv.Stats().Panics, 1)
	})
}

type mediaThatCannotClose struct{ Media }

func (mediaThatCannotClose) Offer(_ bool, sdp string, _, _ transport.Flow, _ uint8) (string, error) {
	return sdp, nil
}

func (mediaThatCannotClose) Terms(_, _ string) uint8 { return 0 }

func (mediaThatCannotClose) Close() { panic("a fault of the media engine") }

type faultyMedia struct{ Media }

func (faultyMedia) Close() {}

type faultyEvents struct{ *stage }

func (faultyEvents) Ringing(int, Target) { panic("a fault of the listener") }

func TestDrainRefusesNewCallsAndLetsOthersFinish(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		drained := make(chan error, 1)
		go func() { drained <- s.srv.Drain(context.Background()) }()
		time.Sleep(time.Second)
		m := bob.Call("alice", sdpOf("bob")).Final()
		expect(t, "new INVITE", m.Status(), 503)
		expect(t, "Retry-After", m.Header("Retry-After"), "5")
		expect(t, "re-INVITE", call.Reinvite(sdpOf("alice")).Status(), 200)
		select {
		case err := <-drained:
			t.Fatalf("Drain came back during a call: %v", err)
		default:
		}
		expect(t, "BYE", call.Bye().Status(), 200)
		expect(t, "Drain", <-drained, nil)
	})
}

func TestDrainGivesUpWithItsContext(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, _ := s.pair()
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		expect(t, "Drain", s.srv.Drain(ctx), context.DeadlineExceeded)
		call.Bye()
	})
}

func TestFullTransactionTableShedsNewRequests(t *testing.T) {
	play(t, func(c *Config) { c.MaxTransactions = 1; c.Transport.Shards = 1 }, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		bob.OnInvite(func(c *fakephone.Call) { c.Ring(); <-c.Cancelled() })
		call := alice.Call("bob", sdpOf("alice"))
		call.AwaitStatus(180)
		m := alice.Do("MESSAGE", "sip:bob@example.com", nil, "")
		expect(t, "MESSAGE", m.Status(), 503)
		expect(t, "shed", s.srv.Stats().Shed, 1)
		expect(t, "CANCEL", call.Cancel().Final().Status(), 200)
		expect(t, "INVITE", call.Final().Status(), 487)
	})
}

func TestFullDialogTableRefusesTheCallAndStopsAllPhones(t *testing.T) {
	play(t, func(c *Config) { c.MaxDialogs = 1; c.Transport.Shards = 1 }, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		carol, desk := s.registered("carol"), s.registered("carol")
		carol.OnInvite(func(c *fakephone.Call) { c.Answer(sdpOf("carol")) })
		desk.OnInvite(func(c *fakephone.Call) { c.Ring() })
		expect(t, "second call", bob.Call("carol", sdpOf("bob")).Final().Status(), 503)
		time.Sleep(time.Second)
		expect(t, "BYEs at the phone that answered", len(carol.Requests("BYE")), 1)
		expect(t, "CANCELs at the other phone", len(desk.Requests("CANCEL")), 1)
		call.Bye()
	})
}

// forward sends a request that a phone has received back to the server, as a proxy at its address would.
func forward(p *fakephone.Phone, m *fakephone.Message, uri string, extra ...string) {
	_, rest, _ := strings.Cut(m.Text, "\r\n")
	head := fmt.Sprintf("%s %s SIP/2.0\r\nVia: SIP/2.0/UDP %v;branch=z9hG4bKfwd%d;rport\r\n", m.Method(), uri, p.Addr(), len(p.Sent(m.Method())))
	for _, x := range extra {
		head += x + "\r\n"
	}
	p.Send(head + rest)
}

func TestRequestThatComesBackUnchangedIsALoop(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		looped := make(chan struct{}, 1)
		bob.OnRequest(func(m *fakephone.Message) bool {
			if m.Method() == "INVITE" {
				forward(bob, m, "sip:bob@example.com")
				looped <- struct{}{}
				return true
			}
			return false
		})
		call := alice.Call("bob", sdpOf("alice"))
		<-looped
		m := bob.Await("482", func(m *fakephone.Message) bool { return m.Status() == 482 })
		if !strings.Contains(m.Header("Warning"), "here before") {
			t.Errorf("Warning: %q", m.Header("Warning"))
		}
		expect(t, "loops", s.srv.Stats().LoopsDetected, 1)
		call.Cancel()
		s.dirty = true // bob never answers the INVITE
	})
}

func TestRequestThatComesBackForSomebodyElseIsASpiral(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		carol := s.registered("carol")
		bob.OnRequest(func(m *fakephone.Message) bool {
			if m.Method() == "MESSAGE" {
				forward(bob, m, "sip:carol@example.com")
				return true
			}
			return false
		})
		go alice.Start("MESSAGE", "sip:bob@example.com", nil, "").Stop()
		alice.Do("MESSAGE", "sip:bob@example.com", nil, "")
		m := bob.Await("an answer to what bob has sent on", func(m *fakephone.Message) bool { return m.Status() > 0 && strings.Contains(m.Branch(), "fwd") })
		expect(t, "a spiral is challenged like any request, not a loop", m.Status(), 407)
		expect(t, "loops", s.srv.Stats().LoopsDetected, 0)
		_ = carol
	})
}

func TestContactThatPointsBackAtTheNodeIsALoop(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		s.onInvite = func(in *Inbound) {
			r := s.template()
			r.Groups = [][]Target{{{URI: "sip:bob@" + stageServer + ":5060"}}}
			s.ring(in, r)
		}
		expect(t, "INVITE", alice.Call("bob", sdpOf("alice")).Final().Status(), 482)
	})
}

func TestStatelessTagIsTheSameForEveryRetransmission(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		sh := s.srv.shards[0]
		var m message.Message
		if err := m.Parse("OPTIONS sip:x SIP/2.0\r\nFrom: <sip:a@b>;tag=1\r\nCall-ID: c\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		expect(t, "tag", sh.statelessTag(&m), sh.statelessTag(&m))
	})
}

func TestRegisterForAnotherUserOrWithUnknownRequirementsIsRefused(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		bob := s.phone("bob")
		expect(t, "REGISTER of carol by bob", bob.Register("To: <sip:carol@example.com>").Status(), 403)
		m := bob.Register("Require: path, telepathy")
		expect(t, "REGISTER with Require", m.Status(), 420)
		expect(t, "Unsupported", m.Header("Unsupported"), "telepathy")
		expect(t, "REGISTER with extension", bob.Register("To: <sip:202@example.com>").Status(), 200)
		expect(t, "bindings", len(s.loc.Lookup("example", "bob", time.Now())), 1)
	})
}
