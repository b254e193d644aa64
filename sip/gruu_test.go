package sip

import (
	"strings"
	"testing"
	"time"

	"tandem/internal/fakephone"
	"tandem/sip/message"
)

// cutTemporary takes the temporary GRUU, which is different each time, off a Contact value.
func cutTemporary(t *testing.T, contact string) (rest, temp string) {
	t.Helper()
	before, after, ok := strings.Cut(contact, `;temp-gruu="`)
	if !ok {
		t.Fatalf("no temporary GRUU in %s", contact)
	}
	temp, after, _ = strings.Cut(after, `"`)
	return before + after, temp
}

func contactOf(r RegisterReply) string {
	_, rest, _ := strings.Cut(string(r.Extra), "Contact: ")
	v, _, _ := strings.Cut(rest, "\r\n")
	return v
}

func TestGRUUsAreGivenWhenAskedFor(t *testing.T) {
	h := regNew(t, nil)
	const contact = `Contact: <sip:a@b>;+sip.instance="<urn:uuid:1>"`
	h.want(h.send(1, contact), 200, `<sip:a@b>;expires=3600;+sip.instance="<urn:uuid:1>"`)
	rest, first := cutTemporary(t, contactOf(h.send(2, "Supported: gruu", contact)))
	expect(t, "Contact", rest, `<sip:a@b>;expires=3600;+sip.instance="<urn:uuid:1>";pub-gruu="sip:alice@acme.example;gr=urn:uuid:1"`)
	_, second := cutTemporary(t, contactOf(h.send(3, "Supported: gruu", contact)))
	if first == second || len(first) != len(second) {
		t.Errorf("temporary GRUUs %s and %s", first, second)
	}
	if u, err := message.ParseURI(first); err != nil || !strings.HasPrefix(u.User, tempGRUU) || u.Host != "acme.example" || u.Params != "gr" || strings.Contains(first, "alice") {
		t.Errorf("temporary GRUU %s: %v", first, err)
	}
	if got := string(h.send(1, "Supported: gruu", "Contact: <sip:c@d>", "Call-ID: id2").Extra); !strings.Contains(got, "<sip:c@d>;expires=3600\r\n") || strings.Count(got, "gruu=") != 2 {
		t.Errorf("a phone without an instance got %s", got)
	}
}

func TestInstanceThatIsNoParameterIsEscapedInItsGRUU(t *testing.T) {
	h := regNew(t, nil)
	rest, _ := cutTemporary(t, contactOf(h.send(1, "Supported: gruu", `Contact: <sip:a@b>;+sip.instance="<urn:x:a;b=c?d>"`)))
	if want := `pub-gruu="sip:alice@acme.example;gr=urn:x:a%3Bb%3Dc%3Fd"`; !strings.Contains(rest, want) {
		t.Errorf("got %s, want %s", rest, want)
	}
}

func TestGRUUCannotBeRegistered(t *testing.T) {
	h := regNew(t, nil)
	h.want(h.send(1, "Contact: <sip:alice@acme.example;gr=urn:uuid:1>"), 403)
	h.want(h.send(2, "Contact: <sip:alice@192.0.2.7;gr=urn:uuid:1>"), 200, "<sip:alice@192.0.2.7;gr=urn:uuid:1>;expires=3600")
}

// instance registers a phone with an instance and gives its GRUUs.
func (s *stage) instance(p *fakephone.Phone, urn string, headers ...string) (pub, temp string) {
	s.t.Helper()
	ok := p.Register(append(headers, `Contact: <`+p.Contact()+`>;+sip.instance="<`+urn+`>"`, "Supported: gruu")...)
	if ok.Status() != 200 {
		s.t.Fatalf("REGISTER: %v", ok)
	}
	for _, v := range ok.Headers("Contact") {
		if strings.Contains(v, "<"+urn+">") {
			a, _ := message.ParseAddress(v)
			pub, _ = a.Param("pub-gruu")
			temp, _ = a.Param("temp-gruu")
		}
	}
	return pub, temp
}

func TestGRUUReachesOnePhoneOfAUser(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, desk, mobile := s.registered("alice"), s.phone("bob"), s.phone("bob")
		pub, temp := s.instance(desk, "urn:uuid:desk")
		s.instance(mobile, "urn:uuid:mobile")
		expect(t, "public GRUU", pub, "sip:bob@example.com;gr=urn:uuid:desk")
		s.onInvite = s.reaching
		desk.OnInvite(answerAfter(time.Second))
		for _, uri := range []string{pub, temp, "sip:202@example.com;gr=URN:UUID:DESK"} {
			call := alice.Call(uri, sdpOf("alice"))
			call.MustAnswer()
			call.Bye()
		}
		expect(t, "calls of the desk phone", len(desk.Calls()), 3)
		expect(t, "calls of the mobile", len(mobile.Calls()), 0)
		for _, m := range desk.Requests("INVITE") {
			expect(t, "Request-URI", m.URI(), desk.Contact())
		}
		for _, c := range []struct {
			uri    string
			status int
		}{
			{"sip:bob@example.com;gr=urn:uuid:other", 480},
			{"sip:nobody@example.com;gr=urn:uuid:desk", 404},
			{"sip:bob@example.com;gr", 404},
			{"sip:bob@example.com;gr=nonsense", 404},
			{"sip:tgruu.AAAA@example.com;gr", 404},
			{strings.Replace(temp, "tgruu.", "tgruu.x", 1), 404},
		} {
			expect(t, c.uri, alice.Call(c.uri, sdpOf("alice")).Final().Status(), c.status)
		}
	})
}

// A temporary GRUU is good for as long as the registration it was given with, and outlives refreshes (RFC 5627 §3.1.2).
func TestTemporaryGRUUEndsWithItsRegistration(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice"), s.phone("bob")
		s.onInvite = s.reaching
		bob.OnInvite(refuseWith(486))
		pub, first := s.instance(bob, "urn:uuid:1")
		_, second := s.instance(bob, "urn:uuid:1")
		for _, uri := range []string{first, second} {
			expect(t, "still good", alice.Call(uri, sdpOf("alice")).Final().Status(), 486)
		}
		_, third := s.instance(bob, "urn:uuid:1", "Call-ID: another")
		expect(t, "of the first registration", alice.Call(first, sdpOf("alice")).Final().Status(), 404)
		expect(t, "of the second", alice.Call(third, sdpOf("alice")).Final().Status(), 486)
		expect(t, "public", alice.Call(pub, sdpOf("alice")).Final().Status(), 486)
		bob.Register("Call-ID: another", "Expires: 0")
		expect(t, "temporary, gone", alice.Call(third, sdpOf("alice")).Final().Status(), 404)
		expect(t, "public, gone", alice.Call(pub, sdpOf("alice")).Final().Status(), 480)
	})
}

// A phone that puts its GRUU into Contact gets requests inside the dialog at what it has registered, on the connection it has now
// (RFC 5627 §4.3, §6.1).
func TestRequestsInsideADialogFindThePhoneOfAGRUU(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice"), s.phone("bob", overTCP)
		_, gruu := s.instance(bob, "urn:uuid:1")
		bob.OnInvite(func(c *fakephone.Call) { c.Answer(sdpOf("bob"), "Contact: <"+gruu+">") })
		call := alice.Call("bob", sdpOf("alice"))
		expect(t, "Contact at alice", fakephone.Addr(call.MustAnswer().Header("Contact")), gruu)
		time.Sleep(time.Second)
		expect(t, "Request-URI of the ACK", only(t, "ACK", bob.Requests("ACK")).URI(), bob.Contact())
		expect(t, "INFO", call.Request("INFO", "").Final().Status(), 200)
		bob.Reconnect()
		s.instance(bob, "urn:uuid:1")
		expect(t, "INFO on a new connection", call.Request("INFO", "").Final().Status(), 200)
		for _, m := range bob.Requests("INFO") {
			expect(t, "Request-URI of the INFO", m.URI(), bob.Contact())
		}
		s.dialogs[0].Hangup("enough")
		time.Sleep(time.Second)
		expect(t, "Request-URI of the node's BYE", only(t, "BYE", bob.Requests("BYE")).URI(), bob.Contact())
	})
}

func TestSubscriptionReachesAGRUUOnANewConnection(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.phone("alice", overTCP), s.registered("bob")
		gruu, _ := s.instance(alice, "urn:uuid:1")
		ok := alice.Do("SUBSCRIBE", "sip:bob@example.com", []string{"Event: presence", "Expires: 600", "Contact: <" + gruu + ">"}, "")
		sub := only(t, "SUBSCRIBE", bob.Requests("SUBSCRIBE"))
		expect(t, "NOTIFY", notify(bob, alice, sub, ok, sub.Headers("Record-Route")).Status(), 200)
		alice.Reconnect()
		s.instance(alice, "urn:uuid:1")
		expect(t, "NOTIFY on a new connection", notify(bob, alice, sub, ok, sub.Headers("Record-Route")).Status(), 200)
		for _, m := range alice.Requests("NOTIFY") {
			expect(t, "Request-URI", m.URI(), alice.Contact())
		}
	})
}

// reaching relays to whoever the Request-URI stands for, as the pbx does.
func (s *stage) reaching(in *Inbound) {
	r := s.template()
	t, user, status := s.srv.GRUU(in.Tenant, in.URI, in.At)
	switch {
	case status != 0:
		in.Refuse(status, "no such phone")
		return
	case user != "":
		r.Groups = [][]Target{{t}}
	}
	s.ring(in, r)
}

func FuzzGRUU(f *testing.F) {
	f.Add("sip:tgruu.AAAA@example.com;gr")
	f.Add("sip:alice@example.com;gr=urn:uuid:1")
	f.Add("sip:alice@example.com;gr=%00;gr")
	g, err := newGRUUs([32]byte{1})
	if err != nil {
		f.Fatal(err)
	}
	srv := &Server{cfg: Config{Registrar: &Registrar{gruus: g}, Directory: stageDirectory{}}}
	f.Fuzz(func(t *testing.T, uri string) {
		u, err := message.ParseURI(uri)
		if err != nil {
			return
		}
		if got, status := srv.readGRUU("example", u); status == absentPhone && got.user == "" {
			t.Errorf("%s is the phone of nobody", uri)
		}
	})
}
