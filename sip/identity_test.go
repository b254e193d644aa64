package sip

import (
	"strings"
	"testing"
	"time"

	"tandem/internal/fakephone"
)

// claimed are headers in which a phone says what only a network may say.
var claimed = []string{
	`P-Asserted-Identity: "The Boss" <sip:boss@example.com>, <tel:+1>`, "P-Asserted-Identity: <sip:carol@example.com>", "P-Charging-Vector: icid-value=1",
	"P-Charging-Function-Addresses: ccf=192.0.2.8", "Remote-Party-ID: <sip:boss@example.com>;party=calling", "P-Served-User: <sip:boss@example.com>",
	"p-asserted-service: urn:urn-7:3gpp-service.x",
}

func claimsOf(m *fakephone.Message) string {
	var out []string
	for _, l := range m.Lines() {
		if strings.HasPrefix(strings.ToLower(l), "p-") || strings.HasPrefix(l, "Remote-") {
			out = append(out, l)
		}
	}
	return strings.Join(out, "|")
}

func TestPhoneCannotSayWhoItIs(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		bob.OnInvite(func(c *fakephone.Call) {
			c.Respond(180, "", claimed...)
			c.Answer(sdpOf("bob"), claimed...)
		})
		call := alice.Call("bob", sdpOf("alice"), claimed...)
		call.MustAnswer()
		const alices = "P-Asserted-Identity: <sip:alice@example.com>"
		expect(t, "INVITE at bob", claimsOf(bob.Requests("INVITE")[0]), alices)
		for _, m := range append(alice.Responses(180, "INVITE"), alice.Responses(200, "INVITE")...) {
			expect(t, m.StartLine(), claimsOf(m), "")
		}
		call.Request("UPDATE", "", claimed...).Final()
		expect(t, "UPDATE at bob", claimsOf(only(t, "UPDATE", bob.Requests("UPDATE"))), "")
		call.Bye()
		alice.Do("MESSAGE", "sip:bob@example.com", claimed, "")
		expect(t, "MESSAGE at bob", claimsOf(only(t, "MESSAGE", bob.Requests("MESSAGE"))), alices)
		bob.OnInvite(refuseWith(486, claimed...))
		expect(t, "486 at alice", claimsOf(alice.Call("bob", sdpOf("alice")).Final()), "")
	})
}

func TestIdentityIsThePreferredOneIfItIsTheCallersOwn(t *testing.T) {
	for prefers, want := range map[string]string{
		`"Al" <sip:201@example.com:5060;user=phone>`:     "<sip:201@example.com>",
		"sip:alice@" + stageServer + ", sip:bob@x":       "<sip:alice@" + stageServer + ">",
		"<sip:bob@example.com>":                          "<sip:alice@example.com>",
		"<sip:alice@elsewhere.example>":                  "<sip:alice@example.com>",
		"<sip:201;phone-context=x@example.com>, <tel:1>": "<sip:alice@example.com>",
		"<nonsense": "<sip:alice@example.com>",
	} {
		t.Run(prefers, func(t *testing.T) {
			play(t, nil, func(t *testing.T, s *stage) {
				alice, bob := s.registered("alice"), s.registered("bob")
				alice.Do("MESSAGE", "sip:bob@example.com", []string{"P-Preferred-Identity: " + prefers}, "")
				expect(t, "at bob", claimsOf(only(t, "MESSAGE", bob.Requests("MESSAGE"))), "P-Asserted-Identity: "+want)
			})
		})
	}
}

func TestCallerThatAsksForPrivacyIsNotNamed(t *testing.T) {
	const nobody = `"Anonymous" <sip:anonymous@anonymous.invalid>;tag=x`
	for _, c := range []struct {
		headers []string
		status  int
		want    string
	}{
		{[]string{"Privacy: id"}, 200, ""},
		{[]string{"Privacy: header;session", "Privacy: ID ; none"}, 200, ""},
		{[]string{"Privacy: user"}, 200, ""},
		{[]string{"Privacy: none"}, 200, "P-Asserted-Identity: <sip:alice@example.com>"},
		{[]string{"Privacy: header"}, 200, "P-Asserted-Identity: <sip:alice@example.com>"},
		{[]string{"Privacy: id;critical"}, 200, ""},
		{[]string{"Privacy: user;critical"}, 500, ""},
		{[]string{"Privacy: session;critical"}, 500, ""},
		{[]string{"From: " + nobody, "Privacy: id;user;critical"}, 200, ""},
		{[]string{"From: " + nobody}, 200, "P-Asserted-Identity: <sip:alice@example.com>"},
	} {
		t.Run(strings.Join(c.headers, " "), func(t *testing.T) {
			play(t, nil, func(t *testing.T, s *stage) {
				alice, bob := s.registered("alice"), s.registered("bob")
				expect(t, "status", alice.Do("MESSAGE", "sip:bob@example.com", append(c.headers, "P-Asserted-Identity: <sip:alice@example.com>"), "").Status(), c.status)
				if c.status != 200 {
					expect(t, "requests at bob", len(bob.Requests("MESSAGE")), 0)
					return
				}
				got := only(t, "MESSAGE", bob.Requests("MESSAGE"))
				expect(t, "at bob", claimsOf(got), c.want)
				expect(t, "Privacy at bob", strings.Join(got.Headers("Privacy"), ";"), strings.Join(alice.Sent("MESSAGE")[1].Headers("Privacy"), ";"))
				expect(t, "From at bob", got.Header("From"), alice.Sent("MESSAGE")[1].Header("From"))
			})
		})
	}
}

func TestAnonymousCallIsSetUpAndTakenDown(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice", func(c *fakephone.Config) { c.From = "sip:anonymous@anonymous.invalid" }), s.registered("bob")
		bob.OnInvite(answerAfter(time.Second))
		alice.Call("bob", sdpOf("alice"), "Privacy: id").MustAnswer()
		time.Sleep(time.Second)
		expect(t, "From at bob", fakephone.Addr(bob.Requests("INVITE")[0].Header("From")), "sip:anonymous@anonymous.invalid")
		expect(t, "BYE of bob", bob.Calls()[0].Bye().Status(), 200)
	})
}

func TestAnonymousCallerNeedsCredentials(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.registered("bob")
		m := s.phone("alice").Start("MESSAGE", "sip:bob@example.com", []string{`From: <sip:anonymous@anonymous.invalid>;tag=x`}, "").Final()
		expect(t, "status", m.Status(), 407)
	})
}
