package sip

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/fakephone"
)

// ask sends a request of the node's own in the first call and waits for what comes of it.
func (s *stage) ask(r Request) Reply {
	s.t.Helper()
	told := s.begin(r)
	select {
	case reply := <-told:
		return reply
	case <-time.After(time.Minute):
		s.t.Fatalf("nothing came of the %s", r.Method)
		return Reply{}
	}
}

// begin sends a request of the node's own in the first call.
func (s *stage) begin(r Request) <-chan Reply {
	s.t.Helper()
	told := make(chan Reply, 1)
	r.Done = func(r Reply) { told <- r }
	s.mu.Lock()
	d := s.dialogs[0]
	s.mu.Unlock()
	if err := d.Request(r); err != nil {
		s.t.Fatal(err)
	}
	return told
}

// numbers are the CSeq numbers of what a phone got, in order, without ACKs.
func numbers(list []*fakephone.Message) string {
	var out []string
	for _, m := range list {
		if m.Method() != "ACK" && !m.Out && m.Method() != "" {
			n, method := m.CSeq()
			out = append(out, fmt.Sprint(n, " ", method))
		}
	}
	return strings.Join(out, ", ")
}

// accepting answers what the phone does not answer by itself.
func accepting(p *fakephone.Phone, methods ...string) *fakephone.Phone {
	p.OnRequest(func(m *fakephone.Message) bool {
		for _, method := range methods {
			if m.Method() == method {
				p.Reply(m, 200)
				return true
			}
		}
		return false
	})
	return p
}

func cseqOf(m *fakephone.Message) uint32 { n, _ := m.CSeq(); return n }

func TestNodeAsksAPhoneInsideACallAndTheOtherNeverNotices(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		call, alice, bob := s.established()
		accepting(alice, "INFO", "OPTIONS", "NOTIFY")
		accepting(bob, "INFO", "OPTIONS", "NOTIFY", "REFER")
		first := cseqOf(bob.Requests("INVITE")[0])

		picture := `<?xml version="1.0" encoding="utf-8"?><media_control><vc_primitive><to_encoder><picture_fast_update/></to_encoder></vc_primitive></media_control>`
		expect(t, "INFO of the node", s.ask(Request{Method: "INFO", ContentType: "application/media_control+xml", Body: picture}).Status, 200)
		info := only(t, "INFO", bob.Requests("INFO"))
		expect(t, "its number", cseqOf(info), first+1)
		expect(t, "its body", info.Body(), picture)
		expect(t, "its type", info.Header("Content-Type"), "application/media_control+xml")
		expect(t, "whose name it comes in", info.FromTag(), call.Tag)
		expect(t, "Routes", len(info.Headers("Route")), 0)
		expect(t, "alice's requests", len(alice.Requests("INFO")), 0)

		// What alice sends from here on is one higher at bob, and her answers read as she counts.
		tx := call.Request("INFO", "Signal=1", "Content-Type: application/dtmf-relay")
		m := tx.Final()
		expect(t, "INFO of alice", m.Status(), 200)
		sent := alice.Sent("INFO")[0]
		expect(t, "number of the answer", m.Header("CSeq"), sent.Header("CSeq"))
		expect(t, "number at bob", cseqOf(bob.Requests("INFO")[1]), cseqOf(sent)+1)

		// Three more, and a re-INVITE: its 200 and its ACK fit together at both ends.
		for range 3 {
			expect(t, "OPTIONS", s.ask(Request{Method: "OPTIONS"}).Status, 200)
		}
		ok := call.Reinvite(sdpOf("alice"))
		expect(t, "re-INVITE", ok.Status(), 200)
		time.Sleep(100 * time.Millisecond)
		reinvite := bob.Requests("INVITE")[1]
		acks := bob.Requests("ACK")
		expect(t, "number of the re-INVITE", cseqOf(reinvite), cseqOf(ok)+4)
		expect(t, "number of its ACK", cseqOf(acks[len(acks)-1]), cseqOf(reinvite))

		// The other leg counts for itself.
		expect(t, "OPTIONS to alice", s.ask(Request{Method: "OPTIONS", ToCaller: true}).Status, 200)
		expect(t, "its number", cseqOf(only(t, "OPTIONS", alice.Requests("OPTIONS"))), 1)
		back := bob.Calls()[0].Request("INFO", "x", "Content-Type: text/plain").Final()
		expect(t, "INFO of bob", back.Status(), 200)
		expect(t, "its number at alice", cseqOf(only(t, "INFO", alice.Requests("INFO"))), cseqOf(back)+2)

		expect(t, "BYE", call.Bye().Status(), 200)
		expect(t, "story", s.told(), "ringing 180 bob, answered bob, ended BYE true")
		expect(t, "counted", s.srv.Stats().OwnRequests, 5)
		t.Log(numbers(bob.Messages()))
	})
}

// A REFER is known by its number to who notifies of it, and a PRACK names the INVITE by its number.
func TestNumbersInsideRequestsAreShiftedToo(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		call, alice, bob := s.established()
		accepting(alice, "NOTIFY")
		accepting(bob, "INFO", "REFER", "SUBSCRIBE", "OPTIONS", "PRACK")
		s.ask(Request{Method: "OPTIONS"})
		s.ask(Request{Method: "OPTIONS"})
		call.Request("INFO", "")
		refer := call.Request("REFER", "", "Refer-To: <sip:carol@example.com>").Final()
		expect(t, "REFER", refer.Status(), 200)
		s.ask(Request{Method: "OPTIONS"})
		atBob := only(t, "REFER", bob.Requests("REFER"))
		expect(t, "REFER at bob", cseqOf(atBob), cseqOf(refer)+2)
		bob.Calls()[0].Request("NOTIFY", "SIP/2.0 100 Trying", fmt.Sprintf("Event: refer;id=%d", cseqOf(atBob)), "Subscription-State: active", "Content-Type: message/sipfrag").Final()
		expect(t, "which REFER alice is told of", only(t, "NOTIFY", alice.Requests("NOTIFY")).Header("Event"), fmt.Sprintf("refer;id=%d", cseqOf(refer)))
		call.Request("SUBSCRIBE", "", fmt.Sprintf("Event: refer ; x=y;id=%d", cseqOf(refer)), "Expires: 0").Final()
		expect(t, "which REFER bob is asked of", only(t, "SUBSCRIBE", bob.Requests("SUBSCRIBE")).Header("Event"), fmt.Sprintf("refer ; x=y;id=%d", cseqOf(atBob)))

		bob.OnRequest(func(m *fakephone.Message) bool {
			switch m.Method() {
			case "INVITE":
				bob.Reply(m, 183, "Require: 100rel", "RSeq: 7", "Contact: <"+bob.Contact()+">")
			case "PRACK":
				bob.Reply(m, 200)
				bob.Reply(bob.Requests("INVITE")[1], 200, "Contact: <"+bob.Contact()+">")
			default:
				return false
			}
			return true
		})
		again := call.Request("INVITE", sdpOf("alice"), "Supported: 100rel")
		m := alice.Await("183", func(m *fakephone.Message) bool { return m.Status() == 183 })
		s.begin(Request{Method: "OPTIONS"}) // between the INVITE and what names it; nobody answers
		expect(t, "PRACK", call.Request("PRACK", "", "RAck: 7 "+m.Header("CSeq")).Final().Status(), 200)
		expect(t, "what it names at bob", only(t, "PRACK", bob.Requests("PRACK")).Header("RAck"), "7 "+bob.Requests("INVITE")[1].Header("CSeq"))
		expect(t, "re-INVITE", again.Final().Status(), 200)
		time.Sleep(100 * time.Millisecond)
		acks := bob.Requests("ACK")
		expect(t, "ACK of an INVITE from before the node's last request", cseqOf(acks[len(acks)-1]), cseqOf(bob.Requests("INVITE")[1]))
		time.Sleep(40 * time.Second)
		call.Bye()
	})
}

func TestNodeOffersInsideACall(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		call, alice, bob := s.established("Supported: timer")
		reply := s.ask(Request{Method: "INVITE", ContentType: "application/sdp", Body: sdpOf("node")})
		expect(t, "INVITE of the node", reply.Status, 200)
		expect(t, "answer", reply.Body, sdpOf("node")) // the phone says what it was told
		time.Sleep(100 * time.Millisecond)
		invite := bob.Requests("INVITE")[1]
		acks := bob.Requests("ACK")
		expect(t, "its ACK", cseqOf(acks[len(acks)-1]), cseqOf(invite))
		expect(t, "remote target", invite.Header("Contact"), "<"+alice.Contact()+">")
		expect(t, "session timer is kept", invite.Header("Session-Expires"), "1800;refresher=uac")
		expect(t, "requests at alice", len(alice.Requests("INVITE")), 0)

		reply = s.ask(Request{Method: "INVITE", ToCaller: true, ContentType: "application/sdp", Body: sdpOf("node")})
		expect(t, "INVITE to alice", reply.Status, 200)
		expect(t, "who refreshes", alice.Requests("INVITE")[0].Header("Session-Expires"), "1800;refresher=uas")

		// bob's 200 comes again, and so does the ACK.
		expect(t, "resume", call.Reinvite(sdpOf("alice")).Status(), 200)
		time.Sleep(100 * time.Millisecond)
		bob.OnRequest(func(m *fakephone.Message) bool {
			if m.Method() == "INVITE" {
				for range 3 {
					bob.Reply(m, 200, "Contact: <"+bob.Contact()+">")
				}
			}
			return m.Method() == "INVITE"
		})
		before := len(bob.Requests("ACK"))
		expect(t, "INVITE whose answer comes three times", s.ask(Request{Method: "INVITE", ContentType: "application/sdp", Body: sdpOf("node")}).Status, 200)
		time.Sleep(100 * time.Millisecond)
		expect(t, "ACKs", len(bob.Requests("ACK"))-before, 3)

		for status := range map[int]bool{488: true, 491: true, 500: true} {
			bob.OnRequest(func(m *fakephone.Message) bool {
				if m.Method() == "INVITE" {
					bob.Reply(m, status)
				}
				return m.Method() == "INVITE"
			})
			expect(t, "refused INVITE", s.ask(Request{Method: "INVITE", ContentType: "application/sdp", Body: "x"}).Status, status)
		}
		expect(t, "dialogs", s.srv.Stats().Dialogs, 1)
		call.Bye()
	})
}

// RFC 3261 §14: two offers that cross are refused with 491, whoever made them.
func TestOffersThatCrossThoseOfTheNodeAreRefused(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		call, alice, bob := s.established()
		var held *fakephone.Message
		bob.OnRequest(func(m *fakephone.Message) bool {
			if m.Method() == "INVITE" {
				held = m
				bob.Reply(m, 100)
			}
			return m.Method() == "INVITE"
		})
		told := s.begin(Request{Method: "INVITE", ContentType: "application/sdp", Body: sdpOf("node")})
		time.Sleep(time.Second)
		expect(t, "alice's INVITE", call.Reinvite(sdpOf("alice")).Status(), 491)
		expect(t, "alice's UPDATE", call.Request("UPDATE", sdpOf("alice")).Final().Status(), 491)
		expect(t, "bob's INVITE", bob.Calls()[0].Reinvite(sdpOf("bob")).Status(), 491)
		expect(t, "another of the node's", s.ask(Request{Method: "INVITE", ToCaller: true, ContentType: "application/sdp", Body: "x"}).Status, 491)
		expect(t, "INVITEs at alice", len(alice.Requests("INVITE")), 0)
		bob.Reply(held, 200, "Contact: <"+bob.Contact()+">")
		expect(t, "the node's INVITE", (<-told).Status, 200)
		time.Sleep(100 * time.Millisecond)

		// Now bob thinks about alice's.
		again := call.Request("INVITE", sdpOf("alice"))
		time.Sleep(time.Second)
		expect(t, "the node's INVITE", s.ask(Request{Method: "INVITE", ToCaller: true, ContentType: "application/sdp", Body: "x"}).Status, 491)
		accepted := s.begin(Request{Method: "OPTIONS"})
		bob.Reply(held, 488)
		expect(t, "alice's INVITE", again.Final().Status(), 488)
		expect(t, "number of the answer", again.Final().Header("CSeq"), fmt.Sprint(cseqOf(held)-1, " INVITE"))
		expect(t, "a question beside it", (<-accepted).Status, 200)
		bob.OnRequest(func(*fakephone.Message) bool { return false })
		expect(t, "alice's next", call.Reinvite(sdpOf("alice")).Status(), 200)
		expect(t, "refusals", s.srv.Stats().OwnRefused, 2)
		call.Bye()
	})
}

// A phone's request is on its way when the node takes the next number: it may come before or behind the node's, and keeps its own.
func TestRequestThatCrossesOneOfTheNodesAndIsSentAgain(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		call, alice, bob := s.established()
		accepting(bob, "INFO", "OPTIONS")
		s.net.SetLink(linkDelay(150 * time.Millisecond))
		tx := call.Request("INFO", "crossing")
		time.Sleep(100 * time.Millisecond)
		told := s.begin(Request{Method: "OPTIONS"}) // alice's INFO is not here yet
		expect(t, "alice's INFO", tx.Final().Status(), 200)
		expect(t, "the node's", (<-told).Status, 200)
		expect(t, "what bob got", strings.HasSuffix(numbers(bob.Messages()), fmt.Sprintf("%d OPTIONS, %d INFO", cseqOf(tx.Final()), cseqOf(tx.Final())+1)), true)
		before := len(bob.Requests("INFO"))
		alice.Send(tx.Text()) // again, although it was answered
		time.Sleep(time.Second)
		expect(t, "INFOs at bob", len(bob.Requests("INFO")), before)
		call.Bye()
		call.WaitEnded(time.Second)
	})
}

func TestNodesRequestsAreBounded(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		call, _, bob := s.established()
		bob.OnRequest(func(m *fakephone.Message) bool { return m.Method() == "OPTIONS" }) // and never an answer
		var told []<-chan Reply
		for range maxOwn {
			told = append(told, s.begin(Request{Method: "OPTIONS"}))
		}
		synctest.Wait()
		expect(t, "one too many", s.ask(Request{Method: "OPTIONS"}).Status, 503)
		for _, c := range told {
			expect(t, "not answered", (<-c).Status, 408)
		}
		expect(t, "no offer", s.dialogs[0].Request(Request{Method: "INVITE"}) != nil, true)
		expect(t, "a BYE", s.dialogs[0].Request(Request{Method: "BYE"}) != nil, true)
		call.Bye()
		expect(t, "over", s.ask(Request{Method: "OPTIONS"}).Status, 481)
	})
}

func TestPhoneThatIsGoneCannotBeAsked(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice"), s.registered("bob", func(c *fakephone.Config) { c.Net = "tcp" })
		bob.OnInvite(answerAfter(time.Second))
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		bob.Disconnect()
		time.Sleep(time.Second)
		if got := s.ask(Request{Method: "OPTIONS"}).Status; got != 480 && got != 503 {
			t.Errorf("OPTIONS: %d", got)
		}
		call.Bye()
		time.Sleep(40 * time.Second)
	})
}

func TestNumberingIsOneSequence(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for range 200 {
		var n numbering
		last, sent := uint32(0), uint32(0) // of the party; the highest that the other got
		if rng.IntN(2) == 0 {
			last = rng.Uint32() % (1 << 30)
			sent = last
		}
		type pair struct{ seq, out uint32 }
		var recent []pair
		for range 300 {
			if rng.IntN(3) == 0 {
				seq, ok := n.own(last)
				if !ok || seq <= sent && (sent != 0 || seq != 1) {
					t.Fatalf("own %d behind %d, %v", seq, sent, ok)
				}
				sent = seq
				continue
			}
			last += 1 + rng.Uint32()%3
			out := n.out(last)
			if out <= sent {
				t.Fatalf("%d goes out as %d, behind %d", last, out, sent)
			}
			sent = out
			recent = append(recent, pair{last, out})
			for _, p := range recent[max(0, len(recent)-5):] { // answers and ACKs of what was sent a moment ago
				if n.out(p.seq) != p.out || n.in(p.out) != p.seq {
					t.Fatalf("%d was %d and is %d; back %d", p.seq, p.out, n.out(p.seq), n.in(p.out))
				}
			}
		}
		if len(n.steps) > maxSteps {
			t.Fatalf("%d steps", len(n.steps))
		}
	}
	var n numbering
	if _, ok := n.own(1<<31 - 10); ok || len(n.steps) > 0 {
		t.Error("a number near the end was taken")
	}
}

// RFC 3261 §20.5: who lists what he allows, and not INFO, gets none. Who lists nothing may know it all the same.
func TestNodeSendsNoINFOToAPhoneThatDoesNotAllowIt(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		accepting(alice, "INFO")
		bob.OnInvite(func(c *fakephone.Call) { c.Respond(200, sdpOf("bob"), "Allow: INVITE, ACK, BYE,OPTIONS") })
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		info := Request{Method: "INFO", ContentType: "text/plain", Body: "hello"}
		expect(t, "to bob", s.ask(info).Status, 405)
		info.ToCaller = true
		expect(t, "to alice", s.ask(info).Status, 200)
		expect(t, "INFOs that bob got", len(bob.Requests("INFO")), 0)
		call.Bye()
	})
}
