package sip

import (
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tandem/internal/fakephone"
	"tandem/sip/message"
	"tandem/sip/transport"
)

func TestRecordRouteNamesBothSidesWhenTheTransportChanges(t *testing.T) {
	for _, c := range []struct{ caller, callee string }{{"tcp", "udp"}, {"udp", "tcp"}, {"tcp", "tcp"}, {"udp", "udp"}} {
		t.Run(c.caller+" to "+c.callee, func(t *testing.T) {
			play(t, nil, func(t *testing.T, s *stage) {
				alice := s.registered("alice", func(f *fakephone.Config) { f.Net = c.caller })
				bob := s.registered("bob", func(f *fakephone.Config) { f.Net = c.callee })
				bob.OnInvite(answerAfter(time.Second))
				line := map[string]string{"udp": "<sip:" + stageServer + ":5060;lr>", "tcp": "<sip:" + stageServer + ":5060;transport=tcp;lr>"}
				want := line[c.caller]
				if c.caller != c.callee {
					want = line[c.callee] + ", " + want
				}
				call := alice.Call("bob", sdpOf("alice"))
				ok := call.MustAnswer()
				expect(t, "Record-Route at the callee", strings.Join(bob.Requests("INVITE")[0].Headers("Record-Route"), ", "), want)
				expect(t, "Record-Route at the caller", strings.Join(ok.Headers("Record-Route"), ", "), want)
				expect(t, "re-INVITE", call.Reinvite(sdpOf("alice")).Status(), 200)
				expect(t, "re-INVITE of the callee", bob.Calls()[0].Reinvite(sdpOf("bob")).Status(), 200)
				for _, m := range append(bob.Requests("INVITE")[1:], alice.Requests("INVITE")...) {
					expect(t, "Route left over", m.Header("Route"), "")
				}
				expect(t, "BYE of the callee", bob.Calls()[0].Bye().Status(), 200)
				expect(t, "Route left over", alice.Requests("BYE")[0].Header("Route"), "")
			})
		})
	}
}

func TestPreloadedRouteToTheNodeIsTakenOff(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		call := alice.Call("bob", sdpOf("alice"), "Route: <sip:"+stageServer+":5060;lr>, <sip:"+stageServer+";lr>")
		call.MustAnswer()
		expect(t, "Route at bob", len(bob.Requests("INVITE")[0].Headers("Route")), 0)
		call.Bye()
	})
}

func TestRouteBeyondTheNodeIsRefused(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, _ := s.pair()
		m := alice.Call("bob", sdpOf("alice"), "Route: <sip:"+stageServer+";lr>", "Route: <sip:203.0.113.9;lr>").Final()
		expect(t, "INVITE", m.Status(), 403)
	})
}

func TestStrictRouterIsUnderstood(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		call, _, bob := s.established()
		call.SetRoutes("sip:"+stageServer+":5060;lr", "<"+bob.Contact()+">")
		expect(t, "INFO", call.Request("INFO", "").Final().Status(), 200)
		info := only(t, "INFO", bob.Requests("INFO"))
		expect(t, "Request-URI", info.URI(), bob.Contact())
		expect(t, "Routes left", len(info.Headers("Route")), 0)
		call.Bye()
	})
}

// A strict router on the way puts our Record-Route value into the Request-URI, with or without its lr, and what was there at the end of
// Route (RFC 3261 §16.4).
func TestStrictRouterIsUnderstoodOutsideADialog(t *testing.T) {
	for _, uri := range []string{"sip:" + stageServer + ":5060;lr", "sip:" + stageServer + ":5060"} {
		t.Run(uri, func(t *testing.T) {
			play(t, nil, func(t *testing.T, s *stage) {
				alice, bob := s.pair()
				m := alice.Do("MESSAGE", uri, []string{"Route: <sip:bob@example.com>"}, "hello")
				expect(t, "MESSAGE", m.Status(), 200)
				got := only(t, "MESSAGE", bob.Requests("MESSAGE"))
				expect(t, "Request-URI", got.URI(), bob.Contact())
				expect(t, "Routes left", len(got.Headers("Route")), 0)
				expect(t, "MESSAGE to the node itself", alice.Do("MESSAGE", uri, nil, "").Status(), 405)
			})
		})
	}
}

func TestPhoneThatIgnoresTheRemoteTargetIsUnderstood(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		call, _, bob := s.established()
		call.SetRoutes("sip:" + stageServer + ":5060")
		expect(t, "BYE", call.Bye().Status(), 200)
		expect(t, "Request-URI", only(t, "BYE", bob.Requests("BYE")).URI(), bob.Contact())
	})
}

func TestRegisteredPathBecomesRoute(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice"), s.phone("bob")
		bob.MustRegister("Supported: path", "Path: <sip:edge@198.51.100.2;lr>")
		bob.OnInvite(answerAfter(time.Second))
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		invite := bob.Requests("INVITE")[0]
		expect(t, "Route", invite.Header("Route"), "<sip:edge@198.51.100.2;lr>")
		expect(t, "Request-URI", invite.URI(), bob.Contact())
		call.Bye()
	})
}

// A Route escaped into a contact must not steer the calls that the contact receives (RFC 3261 §19.1.5).
func TestHeadersInAContactStayInTheTable(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		const evil = "?Route=%3Csip:203.0.113.9;lr%3E"
		alice, bob := s.registered("alice"), s.phone("bob")
		ok := bob.MustRegister("Contact: <"+bob.Contact()+evil+">").Responses(200, "REGISTER")[0]
		expect(t, "Contact in the 200", fakephone.Addr(ok.Header("Contact")), bob.Contact()+evil)
		bob.OnInvite(answerAfter(time.Second))
		call := alice.Call("bob", sdpOf("alice"), "Contact: <"+alice.Contact()+evil+">")
		call.MustAnswer()
		invite := only(t, "INVITE", bob.Requests("INVITE"))
		expect(t, "Request-URI", invite.URI(), bob.Contact())
		expect(t, "Route", invite.Header("Route"), "")
		time.Sleep(time.Second)
		s.dialogs[0].Hangup("enough")
		expect(t, "ended", call.WaitEnded(time.Second), true)
		time.Sleep(time.Second)
		expect(t, "BYE to alice", only(t, "BYE", alice.Requests("BYE")).URI(), alice.Contact())
		expect(t, "BYE to bob", only(t, "BYE", bob.Requests("BYE")).URI(), bob.Contact())
	})
}

// subscribed is a subscription of alice to bob.
func (s *stage) subscribed() (alice, bob *fakephone.Phone, ok *fakephone.Message) {
	s.t.Helper()
	alice, bob = s.registered("alice", overTCP), s.registered("bob")
	ok = alice.Do("SUBSCRIBE", "sip:bob@example.com", []string{"Event: presence", "Expires: 600"}, "")
	expect(s.t, "SUBSCRIBE", ok.Status(), 200)
	return alice, bob, ok
}

// notify is the way back: the subscription's own Record-Route as Route.
func notify(bob, alice *fakephone.Phone, sub *fakephone.Message, ok *fakephone.Message, routes []string) *fakephone.Message {
	headers := []string{"From: " + ok.Header("To"), "To: " + ok.Header("From"), "Call-ID: " + ok.CallID(), "CSeq: 7 NOTIFY", "Event: presence", "Subscription-State: active"}
	for _, r := range routes {
		headers = append(headers, "Route: "+r)
	}
	return bob.Start("NOTIFY", fakephone.Addr(sub.Header("Contact")), headers, "").Final()
}

func TestSubscriptionPassesThroughFlowTokens(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob, ok := s.subscribed()
		sub := only(t, "SUBSCRIBE", bob.Requests("SUBSCRIBE"))
		routes := sub.Headers("Record-Route")
		expect(t, "Record-Routes", len(routes), 2)
		expect(t, "NOTIFY", notify(bob, alice, sub, ok, routes).Status(), 200)
		got := only(t, "NOTIFY", alice.Requests("NOTIFY"))
		expect(t, "Routes left", len(got.Headers("Route")), 0)
		expect(t, "Request-URI", got.URI(), alice.Contact())
		m := alice.Start("SUBSCRIBE", fakephone.Addr(ok.Header("Contact")), []string{
			"From: " + ok.Header("From"), "To: " + ok.Header("To"), "Call-ID: " + ok.CallID(), "CSeq: 90 SUBSCRIBE", "Event: presence", "Expires: 0",
			"Route: " + routes[1], "Route: " + routes[0],
		}, "").Final()
		expect(t, "un-SUBSCRIBE", m.Status(), 200)
		expect(t, "SUBSCRIBEs at bob", len(bob.Requests("SUBSCRIBE")), 2)
	})
}

func TestForgedFlowTokenIsRefused(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob, ok := s.subscribed()
		sub := bob.Requests("SUBSCRIBE")[0]
		for name, route := range map[string]string{
			"no token":      "<sip:" + stageServer + ":5060;lr>",
			"changed token": strings.Replace(sub.Headers("Record-Route")[1], "sip:A", "sip:B", 1),
			"made-up token": "<sip:" + base64.RawURLEncoding.EncodeToString(make([]byte, 40)) + "@" + stageServer + ":5060;lr>",
		} {
			if m := notify(bob, alice, sub, ok, []string{route}); m.Status() != 481 {
				t.Errorf("%s: %v", name, m)
			}
		}
		expect(t, "NOTIFYs at alice", len(alice.Requests("NOTIFY")), 0)
	})
}

func TestFlowTokenOfAConnectionThatIsGoneIsRefused(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob, ok := s.subscribed()
		alice.Reconnect()
		time.Sleep(time.Second)
		sub := bob.Requests("SUBSCRIBE")[0]
		expect(t, "NOTIFY", notify(bob, alice, sub, ok, sub.Headers("Record-Route")).Status(), 430)
	})
}

func TestFlowTokensOpenOnlyUnchanged(t *testing.T) {
	s := &Server{flowKey: [32]byte{1, 2, 3}}
	for _, f := range []transport.Flow{
		{Net: transport.UDP, Listener: 3, Remote: netip.MustParseAddrPort("192.0.2.1:5060")},
		{Net: transport.WSS, Listener: 65535, Conn: 1 << 60, Remote: netip.MustParseAddrPort("[2001:db8::1]:65535")},
	} {
		token := s.flowToken(f)
		got, ok := s.openFlow(token)
		if !ok || got != f {
			t.Errorf("%v came back as %v, %v", f, got, ok)
		}
		for i := range token {
			b := []byte(token)
			b[i] ^= 1
			if got, ok := s.openFlow(string(b)); ok && got != f {
				t.Errorf("a token changed at %d opens as %v", i, got)
			}
		}
	}
	for _, token := range []string{"", "a", "!!!", strings.Repeat("A", 200)} {
		if _, ok := s.openFlow(token); ok {
			t.Errorf("%q opens", token)
		}
	}
}

func FuzzRouteOfARequest(f *testing.F) {
	f.Add("sip:192.0.2.1;lr", "<sip:192.0.2.1;lr>, <sip:bob@198.51.100.1>")
	f.Add("sip:bob@198.51.100.1", "<sip:192.0.2.1:5060;transport=tcp;lr>,<sip:x>")
	f.Add("sip:bob@198.51.100.1", ",,<,>;\"")
	tr, err := transport.New(transport.Config{UDP: []string{"127.0.0.1:0"}, NewHandler: func(*transport.Shard) transport.Handler { return nil }})
	if err != nil {
		f.Fatal(err)
	}
	s := &Server{net: tr}
	f.Fuzz(func(t *testing.T, uri, route string) {
		var m message.Message
		if m.Parse("BYE "+uri+" SIP/2.0\r\nRoute: "+route+"\r\n\r\n") != nil || !m.IsRequest() {
			t.Skip()
		}
		r := s.route(&m)
		var e message.Edit
		e.Reset()
		r.apply(&m, &e)
		if r.pop > len(m.List(message.Route)) {
			t.Errorf("%d of %d values taken off", r.pop, len(m.List(message.Route)))
		}
	})
}

func TestOwnRequestsFollowTheRouteSetOfTheirSide(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice"), s.registered("bob")
		bob.OnInvite(func(c *fakephone.Call) {
			c.Answer(sdpOf("bob"), "Record-Route: <sip:b2@203.0.113.2;lr>, <sip:b1@198.51.100.2;lr>", "Record-Route: "+c.Invite.Headers("Record-Route")[0])
		})
		call := alice.Call("bob", sdpOf("alice"), "Record-Route: <sip:a1@198.51.100.1>, <sip:a2@203.0.113.1;lr>")
		call.MustAnswer()
		time.Sleep(time.Second)
		s.dialogs[0].Hangup("enough")
		toBob, toAlice := bob.AwaitRequest("BYE"), alice.AwaitRequest("BYE")
		expect(t, "Request-URI towards bob", toBob.URI(), bob.Contact())
		expect(t, "Route towards bob", strings.Join(toBob.Headers("Route"), ", "), "<sip:b1@198.51.100.2;lr>, <sip:b2@203.0.113.2;lr>")
		expect(t, "Request-URI towards alice's strict router", toAlice.URI(), "sip:a1@198.51.100.1")
		expect(t, "Route towards alice", strings.Join(toAlice.Headers("Route"), ", "), "<sip:a2@203.0.113.1;lr>, <"+alice.Contact()+">")
	})
}
