package sip

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/fakephone"
	"tandem/internal/simnet"
)

// phones registers several users and gives each the behaviour behind its name.
func (s *stage) phones(behave map[string]func(*fakephone.Call)) map[string]*fakephone.Phone {
	s.t.Helper()
	out := make(map[string]*fakephone.Phone)
	for _, user := range stageUsers {
		if fn, ok := behave[user]; ok {
			out[user] = s.registered(user)
			out[user].OnInvite(fn)
		}
	}
	return out
}

// group makes the next calls ring the phones of users, in groups: "bob carol | dave".
func (s *stage) group(plan string, change ...func(*Relay)) {
	s.onInvite = func(in *Inbound) {
		r := s.template()
		r.Groups = s.targetsOf(plan, in)
		for _, fn := range change {
			fn(&r)
		}
		s.ring(in, r)
	}
}

func (s *stage) targetsOf(plan string, in *Inbound) (groups [][]Target) {
	for g := range strings.SplitSeq(plan, "|") {
		var group []Target
		for _, user := range strings.Fields(g) {
			for _, own := range s.srv.Targets("example", user, in.At) {
				group = append(group, own...)
			}
		}
		groups = append(groups, group)
	}
	return groups
}

func forever(c *fakephone.Call) { c.Ring() }

func TestForkedCallIsCancelledWhenOneAnswers(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		p := s.phones(map[string]func(*fakephone.Call){"bob": answerAfter(2 * time.Second), "carol": forever, "dave": forever})
		s.group("bob carol dave")
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		time.Sleep(time.Second)
		for _, user := range []string{"carol", "dave"} {
			cancel := only(t, "CANCELs at "+user, p[user].Requests("CANCEL"))
			if r := cancel.Header("Reason"); !strings.Contains(r, "cause=200") {
				t.Errorf("Reason of the CANCEL is %q", r)
			}
			invite := p[user].Requests("INVITE")[0]
			expect(t, "branch of the CANCEL", cancel.Branch(), invite.Branch())
			expect(t, "Request-URI of the CANCEL", cancel.URI(), invite.URI())
			n, _ := cancel.CSeq()
			m, _ := invite.CSeq()
			expect(t, "CSeq of the CANCEL", n, m)
			ack := only(t, "ACKs to the 487", p[user].Requests("ACK"))
			expect(t, "branch of the ACK", ack.Branch(), invite.Branch())
			if ack.ToTag() == "" {
				t.Error("the ACK to the 487 has no To tag")
			}
		}
		expect(t, "CANCELs at bob", len(p["bob"].Requests("CANCEL")), 0)
		expect(t, "487s at the caller", len(alice.Responses(487, "INVITE")), 0)
		expect(t, "180s at the caller", len(alice.Responses(180, "INVITE")), 3)
		call.Bye()
		expect(t, "BYEs at bob", len(p["bob"].Requests("BYE")), 1)
		expect(t, "BYEs at carol", len(p["carol"].Requests("BYE")), 0)
	})
}

func TestSecondAnswerIsForwardedAsWell(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		p := s.phones(map[string]func(*fakephone.Call){
			"bob":   func(c *fakephone.Call) { c.Answer(sdpOf("bob")) },
			"carol": func(c *fakephone.Call) { c.Answer(sdpOf("carol")) },
		})
		s.net.SetLink(linkDelay(20 * time.Millisecond))
		s.group("bob carol")
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		time.Sleep(time.Second)
		answers := call.Answers()
		if len(answers) != 2 {
			t.Fatalf("the caller got %d answers, want 2", len(answers))
		}
		expect(t, "dialogs", s.srv.Stats().Dialogs, 2)
		expect(t, "BYE to the second", call.RequestTo(answers[1], "BYE").Final().Status(), 200)
		expect(t, "dialogs", s.srv.Stats().Dialogs, 1)
		expect(t, "ACKs", len(p["bob"].Requests("ACK"))+len(p["carol"].Requests("ACK")), 2)
		expect(t, "BYE to the first", call.Bye().Status(), 200)
		expect(t, "BYEs", len(p["bob"].Requests("BYE"))+len(p["carol"].Requests("BYE")), 2)
		if !strings.HasSuffix(s.told(), "ended BYE true") {
			t.Errorf("story: %s", s.told())
		}
	})
}

func TestGroupsRingOneAfterTheOtherByQ(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		low, high := s.phone("bob"), s.phone("bob")
		low.MustRegister("Contact: <" + low.Contact() + ">;q=0.3")
		high.MustRegister("Contact: <" + high.Contact() + ">;q=0.9")
		high.OnInvite(func(c *fakephone.Call) { c.Ring(); time.Sleep(3 * time.Second); c.Refuse(486) })
		low.OnInvite(answerAfter(time.Second))
		call := alice.Call("bob", sdpOf("alice"))
		time.Sleep(2 * time.Second)
		expect(t, "calls at the phone with the lower q, early", len(low.Calls()), 0)
		call.MustAnswer()
		expect(t, "calls at the phone with the lower q", len(low.Calls()), 1)
		expect(t, "486s at the caller", len(alice.Responses(486, "INVITE")), 0)
		call.Bye()
	})
}

func TestBestResponseIsChosen(t *testing.T) {
	for _, c := range []struct {
		answers []int
		want    int
	}{
		{[]int{486}, 486},
		{[]int{486, 404}, 486}, // the first of equal ones
		{[]int{500, 486}, 486},
		{[]int{302, 486}, 302},
		{[]int{486, 603}, 603},
		{[]int{480, 486}, 486},
		{[]int{408, 480, 404}, 404},
		{[]int{486, 415}, 415},
		{[]int{404, 420}, 420},
		{[]int{486, 484}, 484},
		{[]int{486, 407}, 407},
		{[]int{503}, 500},
		{[]int{503, 486}, 486},
		{[]int{600, 603}, 600},
		{[]int{401, 603}, 603},
	} {
		t.Run(strings.Trim(fmt.Sprint(c.answers), "[]"), func(t *testing.T) {
			play(t, nil, func(t *testing.T, s *stage) {
				alice := s.registered("alice")
				behave := make(map[string]func(*fakephone.Call))
				for i, status := range c.answers {
					behave[stageUsers[i+1]] = func(call *fakephone.Call) {
						time.Sleep(time.Duration(i+1) * 100 * time.Millisecond)
						call.Refuse(status, "WWW-Authenticate: Digest realm=\"own\", nonce=\"1\", algorithm=XYZ")
					}
				}
				s.phones(behave)
				s.group(strings.Join(stageUsers[1:len(c.answers)+1], " "))
				m := alice.Call("bob", sdpOf("alice")).Final()
				expect(t, "status", m.Status(), c.want)
				if m.Has("WWW-Authenticate") != (c.want == 401 || c.want == 407) && !slices.Contains(c.answers, c.want) {
					t.Errorf("%d has a challenge: %s", m.Status(), m.Text)
				}
			})
		})
	}
}

func TestSixHundredStopsTheOtherPhones(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		p := s.phones(map[string]func(*fakephone.Call){
			"bob":   func(c *fakephone.Call) { c.Ring(); time.Sleep(time.Second); c.Refuse(603) },
			"carol": forever, "dave": forever,
		})
		s.group("bob carol | dave")
		expect(t, "INVITE", alice.Call("bob", sdpOf("alice")).Final().Status(), 603)
		expect(t, "CANCELs at carol", len(p["carol"].Requests("CANCEL")), 1)
		expect(t, "calls at dave", len(p["dave"].Calls()), 0)
	})
}

func TestChallengesOfAllBranchesReachTheCaller(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		s.phones(map[string]func(*fakephone.Call){
			"bob":   refuseWith(401, `WWW-Authenticate: Digest realm="bob's", nonce="1", algorithm=XYZ`),
			"carol": refuseWith(407, `Proxy-Authenticate: Digest realm="carol's", nonce="2", algorithm=XYZ`),
			"dave":  refuseWith(486),
		})
		s.group("bob carol dave")
		m := alice.Call("bob", sdpOf("alice")).Final()
		if m.Status() != 401 && m.Status() != 407 {
			t.Fatalf("the caller got %v", m)
		}
		all := strings.Join(append(m.Headers("WWW-Authenticate"), m.Headers("Proxy-Authenticate")...), " ")
		if strings.Count(all, "bob's") != 1 || strings.Count(all, "carol's") != 1 {
			t.Errorf("challenges: %s", all)
		}
	})
}

func TestChallengesDoNotDecorateAnotherRefusal(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		s.phones(map[string]func(*fakephone.Call){
			"bob":   refuseWith(401, `WWW-Authenticate: Digest realm="bob's", nonce="1", algorithm=XYZ`),
			"carol": func(c *fakephone.Call) { time.Sleep(time.Second); c.Refuse(603) },
		})
		s.group("bob carol")
		m := alice.Call("bob", sdpOf("alice")).Final()
		expect(t, "INVITE", m.Status(), 603)
		expect(t, "has a challenge", m.Has("WWW-Authenticate"), false)
	})
}

func TestRedirectToAnOwnUserIsFollowed(t *testing.T) {
	play(t, func(c *Config) { c.Recurse = true }, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		p := s.phones(map[string]func(*fakephone.Call){
			"bob":   refuseWith(302, "Contact: <sip:carol@example.com>, <sip:premium@elsewhere.example>"),
			"carol": answerAfter(time.Second),
		})
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		expect(t, "calls at carol", len(p["carol"].Calls()), 1)
		expect(t, "302s at the caller", len(alice.Responses(302, "INVITE")), 0)
		call.Bye()
	})
}

func TestRedirectThatWasFollowedIsNoAnswer(t *testing.T) {
	play(t, func(c *Config) { c.Recurse = true }, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		s.phones(map[string]func(*fakephone.Call){"bob": refuseWith(302, "Contact: <sip:carol@example.com>"), "carol": refuseWith(486)})
		expect(t, "INVITE", alice.Call("bob", sdpOf("alice")).Final().Status(), 486)
	})
}

func TestRedirectElsewhereOrInACircleIsPassedOn(t *testing.T) {
	for name, contact := range map[string]string{"elsewhere": "sip:premium@elsewhere.example", "back to bob": "sip:bob@example.com", "nobody": "sip:zoe@example.com"} {
		t.Run(name, func(t *testing.T) {
			play(t, func(c *Config) { c.Recurse = true }, func(t *testing.T, s *stage) {
				alice := s.registered("alice")
				p := s.phones(map[string]func(*fakephone.Call){"bob": refuseWith(302, "Contact: <"+contact+">")})
				m := alice.Call("bob", sdpOf("alice")).Final()
				expect(t, "INVITE", m.Status(), 302)
				expect(t, "Contact", m.Header("Contact"), "<"+contact+">")
				expect(t, "calls at bob", len(p["bob"].Calls()), 1)
			})
		})
	}
}

func TestRedirectIsPassedOnWhenFollowingIsOff(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		p := s.phones(map[string]func(*fakephone.Call){"bob": refuseWith(302, "Contact: <sip:carol@example.com>"), "carol": forever})
		expect(t, "INVITE", alice.Call("bob", sdpOf("alice")).Final().Status(), 302)
		expect(t, "calls at carol", len(p["carol"].Calls()), 0)
	})
}

func TestPhoneWhoseConnectionIsGoneDoesNotSilenceTheOthers(t *testing.T) {
	for _, plan := range []string{"bob carol", "carol bob"} {
		t.Run(plan, func(t *testing.T) {
			play(t, nil, func(t *testing.T, s *stage) {
				alice, bob, carol := s.registered("alice"), s.registered("bob", overTCP), s.registered("carol")
				carol.OnInvite(answerAfter(time.Second))
				bob.Disconnect()
				time.Sleep(time.Second)
				s.group(plan)
				call := alice.Call("bob", sdpOf("alice"))
				call.MustAnswer()
				call.Bye()
				expect(t, "calls at carol", len(carol.Calls()), 1)
			})
		})
	}
}

func TestNobodyReachableIs480(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice"), s.registered("bob", overTCP)
		bob.Disconnect()
		time.Sleep(time.Second)
		expect(t, "INVITE", alice.Call("bob", sdpOf("alice")).Final().Status(), 480)
		expect(t, "INVITE to a user without phones", alice.Call("carol", sdpOf("alice")).Final().Status(), 480)
	})
}

func TestConnectionThatDiesWhileRingingFailsItsBranch(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice"), s.registered("bob", overTCP)
		bob.OnInvite(forever)
		call := alice.Call("bob", sdpOf("alice"))
		call.AwaitStatus(180)
		begin := time.Now()
		bob.Disconnect()
		expect(t, "INVITE", call.Final().Status(), 480)
		if d := time.Since(begin); d > time.Second {
			t.Errorf("the caller waited %v", d)
		}
	})
}

func TestRingTimeoutCancelsAndIsTold(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		p := s.phones(map[string]func(*fakephone.Call){"bob": forever})
		s.relay = Relay{Timeout: 20 * time.Second}
		begin := time.Now()
		expect(t, "INVITE", alice.Call("bob", sdpOf("alice")).Final().Status(), 408)
		expect(t, "waited", time.Since(begin).Round(time.Second), 20*time.Second)
		expect(t, "result", s.result(0), Result{Status: 408, TimedOut: true})
		if r := only(t, "CANCEL", p["bob"].Requests("CANCEL")).Header("Reason"); !strings.Contains(r, "cause=408") {
			t.Errorf("Reason: %q", r)
		}
	})
}

func TestPauseMovesOnToTheNextPhoneAndEndsWithTheLast(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		p := s.phones(map[string]func(*fakephone.Call){"bob": forever, "carol": refuseWith(486), "dave": forever})
		s.group("bob | carol | dave", func(r *Relay) { r.Pause = 5 * time.Second })
		begin := time.Now()
		m := alice.Call("bob", sdpOf("alice")).Final()
		expect(t, "INVITE", m.Status(), 486)
		expect(t, "bob and dave rang for five seconds each", time.Since(begin).Round(time.Second), 10*time.Second)
		for _, user := range []string{"bob", "dave"} {
			expect(t, "CANCELs at "+user, len(p[user].Requests("CANCEL")), 1)
		}
	})
}

func TestPhoneThatAnswersAsItsTurnEndsIsConnected(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		s.net.SetLink(linkDelay(50 * time.Millisecond))
		p := s.phones(map[string]func(*fakephone.Call){
			"bob":   func(c *fakephone.Call) { c.Ring(); time.Sleep(4910 * time.Millisecond); c.Answer(sdpOf("bob")) },
			"carol": forever,
		})
		s.group("bob | carol", func(r *Relay) { r.Pause = 5 * time.Second })
		call := alice.Call("bob", sdpOf("alice"))
		expect(t, "answer", call.MustAnswer().Body(), sdpOf("bob"))
		time.Sleep(time.Second)
		expect(t, "CANCELs at carol", len(p["carol"].Requests("CANCEL")), 1)
		call.Bye()
	})
}

func TestMaxBreadthIsDividedAndLimits(t *testing.T) {
	for _, c := range []struct {
		header string
		want   string // Max-Breadth of bob, carol, dave when the call begins; "-" not rung yet
	}{
		{"", "20 20 20"},
		{"Max-Breadth: 6", "2 2 2"},
		{"Max-Breadth: 2", "1 1 -"},
		{"Max-Breadth: 1", "1 - -"},
	} {
		t.Run(c.header, func(t *testing.T) {
			play(t, nil, func(t *testing.T, s *stage) {
				alice := s.registered("alice")
				p := s.phones(map[string]func(*fakephone.Call){"bob": forever, "carol": forever, "dave": forever})
				s.group("bob carol dave")
				var headers []string
				if c.header != "" {
					headers = append(headers, c.header)
				}
				call := alice.Call("bob", sdpOf("alice"), headers...)
				call.AwaitStatus(180)
				time.Sleep(time.Second)
				var got []string
				for _, user := range []string{"bob", "carol", "dave"} {
					v := "-"
					if list := p[user].Requests("INVITE"); len(list) > 0 {
						v = list[0].Header("Max-Breadth")
					}
					got = append(got, v)
				}
				expect(t, "Max-Breadth", strings.Join(got, " "), c.want)
				call.Cancel()
				call.Final()
			})
		})
	}
}

func TestMaxBreadthOfZeroIsRefused(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		s.phones(map[string]func(*fakephone.Call){"bob": forever, "carol": forever})
		s.group("bob carol")
		expect(t, "INVITE", alice.Call("bob", sdpOf("alice"), "Max-Breadth: 0").Final().Status(), 440)
	})
}

// chance is a phone that does anything a phone may do.
func chance(seed uint64, user string) func(*fakephone.Call) {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, uint64(len(user))+uint64(user[0])))
	return func(c *fakephone.Call) {
		mu.Lock()
		kind, wait, status := random.IntN(10), time.Duration(random.IntN(8000))*time.Millisecond, []int{404, 480, 486, 500, 503, 603, 302}[random.IntN(7)]
		mu.Unlock()
		if kind > 1 {
			c.Ring()
		}
		time.Sleep(wait)
		select {
		case <-c.Cancelled():
			return
		default:
		}
		switch kind {
		case 0, 1: // says nothing, or nothing more
		case 2, 3:
			c.Respond(183, sdpOf(user))
			time.Sleep(wait / 2)
			c.Refuse(status)
		case 4, 5:
			c.Refuse(status)
		default:
			c.Answer(sdpOf(user))
			if kind == 9 {
				time.Sleep(wait)
				c.Bye()
			}
		}
	}
}

func TestWhateverPhonesDoNothingIsLeftBehind(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			play(t, func(c *Config) { c.TimerC = time.Minute; c.MaxCallTime = 5 * time.Minute; c.Recurse = true }, func(t *testing.T, s *stage) {
				var callers []*fakephone.Phone
				var medias []*stageMedia // guarded by s.mu
				for i := range 5 {
					callers = append(callers, s.registered("alice", func(c *fakephone.Config) {
						if i%2 == 1 {
							c.Net = "tcp"
						}
					}))
				}
				for i, user := range []string{"bob", "carol", "dave"} {
					p := s.registered(user, func(c *fakephone.Config) {
						if i == 1 {
							c.Net = "tcp"
						}
					})
					p.OnInvite(chance(seed, user))
				}
				plans := []string{"bob carol dave", "bob | carol | dave", "bob carol | dave", "carol", "erin bob"}
				random := rand.New(rand.NewPCG(seed, 1))
				s.onInvite = func(in *Inbound) {
					s.mu.Lock()
					plan, media := plans[random.IntN(len(plans))], new(stageMedia)
					medias = append(medias, media)
					r := Relay{Events: s, Media: media, Timeout: time.Duration(random.IntN(3)) * 10 * time.Second, Pause: time.Duration(random.IntN(3)) * 3 * time.Second}
					s.mu.Unlock()
					r.Groups = s.targetsOf(plan, in)
					s.ring(in, r)
				}
				s.net.SetLink(simnet.Link{Delay: 5 * time.Millisecond, Jitter: 20 * time.Millisecond, Loss: 0.1, Duplicate: 0.1, Reorder: 0.1})
				done := make(chan struct{})
				for i, alice := range callers {
					go func() {
						defer func() { done <- struct{}{} }()
						own := rand.New(rand.NewPCG(seed, uint64(i)+100))
						for range 12 {
							call := alice.Call("bob", sdpOf("alice"))
							if own.IntN(3) == 0 {
								time.Sleep(time.Duration(own.IntN(6000)) * time.Millisecond)
								call.Cancel()
							}
							if call.Final().Status() == 200 {
								time.Sleep(time.Duration(own.IntN(5000)) * time.Millisecond)
								if own.IntN(2) == 0 {
									call.Reinvite(sdpOf("alice"))
								}
								for _, ok := range call.Answers() {
									call.RequestTo(ok, "BYE").Final()
								}
							}
						}
					}()
				}
				for range callers {
					<-done
				}
				s.net.SetLink(simnet.Link{})
				time.Sleep(8 * time.Minute)
				for i, m := range medias {
					expect(t, fmt.Sprintf("times media %d was closed (%s)", i, m.told()), m.closes(), 1)
				}
				expect(t, "calls ended", strings.Count(s.told(), "ended"), strings.Count(s.told(), "answered"))
				expect(t, "panics", s.srv.Stats().Panics, 0)
			})
		})
	}
}

// Media may have other words for a user than for the next one: each is offered media on his own terms, and his answer is told with them.
func TestUsersAreOfferedMediaOnTheirOwnTerms(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		p := s.phones(map[string]func(*fakephone.Call){
			"bob":   func(c *fakephone.Call) { c.Ring() },
			"carol": func(c *fakephone.Call) { time.Sleep(time.Second); c.Answer(sdpOf("carol")) },
			"dave":  func(c *fakephone.Call) { c.Ring() },
		})
		s.media = &stageMedia{terms: map[string]uint8{"carol": 3}}
		s.group("bob carol dave")
		call := alice.Call("bob", sdpOf("alice"))
		expect(t, "answer", strings.Contains(call.MustAnswer().Body(), "s=relayed answer on terms 3"), true)
		for user, want := range map[string]string{"bob": "s=relayed offer\r\n", "carol": "s=relayed offer on terms 3\r\n", "dave": "s=relayed offer\r\n"} {
			expect(t, "offer to "+user, strings.Contains(p[user].Requests("INVITE")[0].Body(), want), true)
		}
		expect(t, "told", s.media.told(), "offer of caller, offer on terms 3 of caller, answer on terms 3 of callee")
		p["carol"].OnRequest(nil)
		call.Reinvite(sdpOf("alice"))
		if told := s.media.told(); !strings.Contains(told, "answer on terms 3 of callee, offer on terms 3 of caller") {
			t.Errorf("told: %s", told)
		}
		call.Bye()
	})
}

// A kind of phone that Media has no words for does not keep the others from ringing.
func TestOfferThatSuitsOnePhoneOnlyReachesIt(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice := s.registered("alice")
		p := s.phones(map[string]func(*fakephone.Call){
			"bob":   func(c *fakephone.Call) { c.Answer(sdpOf("bob")) },
			"carol": func(c *fakephone.Call) { c.Answer(sdpOf("carol")) },
		})
		s.media = &stageMedia{terms: map[string]uint8{"bob": stageRefuses}}
		s.group("bob carol")
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		expect(t, "INVITEs at bob", len(p["bob"].Requests("INVITE")), 0)
		expect(t, "INVITEs at carol", len(p["carol"].Requests("INVITE")), 1)
		call.Bye()
	})
}
