package sip

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"tandem/internal/fakephone"
)

// resettled has a survivor go on with the one call of a dead server at its own address, and gives what came of telling the phones.
func (s *stage) resettled(dead *stage, snapshot []byte) <-chan string {
	s.t.Helper()
	d, err := s.srv.Import(s.t.Context(), Arrival{Snapshot: snapshot, Media: dead.callMedia(), Events: s, Old: true})
	if err != nil {
		s.t.Fatal(err)
	}
	s.dialogs = append(s.dialogs, d)
	told := make(chan string, 1)
	if err := d.Readdress(func(problem string) { told <- problem }); err != nil {
		s.t.Fatal(err)
	}
	return told
}

func TestPhonesAreToldWhereTheCallOfADeadNodeGoesOn(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.media = new(stageMedia)
		call, alice, bob := s.established("Supported: timer")
		o := s.survivor()
		old := s.snapshots()
		s.die()
		expect(t, "problem", <-o.resettled(s, old[0]), "")
		asked, offered := only(t, "INVITE to the caller", alice.Requests("INVITE")), bob.Requests("INVITE")[1]
		expect(t, "offer to the caller", asked.Body(), "")
		expect(t, "its Contact", fakephone.Addr(asked.Header("Contact")), bob.Contact())
		expect(t, "offer to the callee", offered.Body(), strings.Replace(sdpOf("alice"), "s=-", "s=relayed offer", 1))
		expect(t, "from here", strings.HasPrefix(offered.Header("Via"), "SIP/2.0/UDP 192.0.2.2:5060"), true)
		time.Sleep(100 * time.Millisecond)
		acks := alice.Requests("ACK")
		expect(t, "ACK to the caller", acks[len(acks)-1].Body(), offered.Body()) // as the callee has answered
		expect(t, "media", strings.HasSuffix(s.media.told(), "offer of caller, answer of callee"), true)
		expect(t, "its number", cseqOf(acks[len(acks)-1]), cseqOf(asked))

		o.dialogs[0].Hangup("enough")
		expect(t, "the caller's call is over", call.WaitEnded(time.Second), true)
		expect(t, "the other one's call is over", bob.Calls()[0].WaitEnded(time.Second), true)
		expect(t, "dialogs left", o.srv.Stats().Dialogs, int64(0))
	})
}

func TestACallOfADeadNodeEndsWhenAPhoneCannotBeTold(t *testing.T) {
	for name, deaf := range map[string]func(*fakephone.Message, *fakephone.Phone) bool{
		"refuses":      func(m *fakephone.Message, p *fakephone.Phone) bool { p.Reply(m, 488); return true },
		"says nothing": func(*fakephone.Message, *fakephone.Phone) bool { return true },
	} {
		for _, callee := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				play(t, nil, func(t *testing.T, s *stage) {
					s.media = new(stageMedia)
					_, alice, bob := s.established()
					o := s.survivor()
					old := s.snapshots()
					s.die()
					one, other := alice, bob
					if callee {
						one, other = bob, alice
					}
					one.OnRequest(func(m *fakephone.Message) bool { return m.Method() == "INVITE" && deaf(m, one) })
					began := time.Now()
					problem := <-o.resettled(s, old[0])
					if took := time.Since(began); problem == "" || took > 4100*time.Millisecond {
						t.Errorf("%q behind %v", problem, took)
					}
					bye := other.AwaitRequest("BYE")
					expect(t, "Reason", strings.Contains(bye.Header("Reason"), problem), true)
					time.Sleep(time.Second)
					expect(t, "BYE to the other", len(one.Requests("BYE")) > 0, true)
					expect(t, "dialogs left", o.srv.Stats().Dialogs, int64(0))
				})
			})
		}
	}
}

func TestAPhoneThatWasConnectedToADeadNodeIsWaitedFor(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.media = new(stageMedia)
		alice, bob := s.registered("alice"), s.registered("bob", overTCP)
		bob.OnInvite(answerAfter(time.Second))
		alice.Call("bob", sdpOf("alice")).MustAnswer()
		time.Sleep(100 * time.Millisecond)
		o := s.survivor()
		old := s.snapshots()
		s.die()
		told := o.resettled(s, old[0])
		time.Sleep(6 * time.Second)
		bob.Roam(netip.MustParseAddrPort("192.0.2.2:5060"))
		bob.MustRegister()
		expect(t, "problem", <-told, "")
		o.dialogs[0].Hangup("enough")
		bob.AwaitRequest("BYE")
	})
}

// The home of a call is dead, or is back without it: what phones ask reaches the heir from any node.
func TestRequestsForADeadHomeReachItsHeir(t *testing.T) {
	for name, back := range map[string]bool{"dead": false, "back": true} {
		t.Run(name, func(t *testing.T) {
			heirs := func(node string) string {
				if node == "n1" {
					return "n2"
				}
				return ""
			}
			playTogether(t, 3, func(_ int, c *Config) { c.Edge.Heir = heirs }, func(t *testing.T, tr *troupe) {
				tr.dirty = true // of the first node
				alice, bob := tr.phone(1, "alice"), tr.phone(2, "bob")
				bob.OnInvite(answerAfter(time.Second))
				tr.settle()
				alice.Roam(netip.MustParseAddrPort(address(0) + ":5060"))
				call := alice.Call("bob", sdpOf("alice"))
				call.MustAnswer()
				time.Sleep(time.Second)
				first := tr.stages[0]
				snapshot, err := first.dialogs[0].Export(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if back {
					if err := first.dialogs[0].Drop(t.Context()); err != nil {
						t.Fatal(err)
					}
				} else {
					tr.kill(0)
				}
				if _, err := tr.stages[1].srv.Import(t.Context(), Arrival{Snapshot: snapshot, Old: true}); err != nil {
					t.Fatal(err)
				}
				if !back {
					alice.Roam(netip.MustParseAddrPort(address(2) + ":5060"))
				}
				expect(t, "hold", call.Reinvite(sdpOf("alice")).Status(), 200)
				expect(t, "BYE", call.Bye().Status(), 200)
				expect(t, "the callee's call is over", bob.Calls()[0].WaitEnded(time.Second), true)
				expect(t, "calls left", tr.stages[1].srv.Stats().Dialogs, int64(0))
			})
		})
	}
}
