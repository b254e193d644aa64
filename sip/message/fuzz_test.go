package message

import (
	"strings"
	"testing"
)

func FuzzMessage(f *testing.F) {
	f.Add(invite)
	f.Add(request("Route: <sip:a;lr>,\r\n <sip:b>", "l: 2") + "ab")
	f.Add("\r\n\r\nSIP/2.0 200 OK\r\nv:SIP / 2.0 / UDP h;branch=x,SIP/2.0/TCP [::1]:5\r\nf:sip:a@b\r\nt:\"\\\x00\"<sip:c>;tag=1\r\ni:x\r\nCSeq:0 A\r\n\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		k := Peek([]byte(text))
		m, err := check(text)
		if err != nil {
			if m.Answerable() {
				answer := string(m.AppendResponse(nil, &Response{Status: 400, ToTag: "t", IP: "192.0.2.1", Port: 9}))
				if err := new(Message).Parse(answer); err != nil {
					t.Fatalf("the answer %q does not parse: %v", answer, err)
				}
			}
			return
		}
		if k.Request != m.IsRequest() || string(k.CallID) != m.CallID() || m.IsRequest() && string(k.Method) != m.Method {
			t.Fatalf("Peek says %v %q %q, Parse %v %q %q", k.Request, k.Method, k.CallID, m.IsRequest(), m.Method, m.CallID())
		}
		out := appended(m, new(Edit))
		again, err := check(out)
		if err != nil {
			t.Fatalf("%q was good and is written as %q: %v", text, out, err)
		}
		if !m.Has(ContentLength) {
			again.lines = again.lines[:again.Len()-1]
		}
		if d := difference(m, again); d != "" {
			t.Fatal(d)
		}
		answer, err := check(string(m.AppendResponse(nil, &Response{Status: 200, ToTag: "t", IP: "192.0.2.1", Port: 9})))
		if err != nil {
			t.Fatalf("the answer to %q is malformed: %v", text, err)
		}
		if answer.CallID() != m.CallID() || answer.FromTag() != m.FromTag() || len(answer.List(ViaID)) != len(m.List(ViaID)) {
			t.Fatalf("the answer to %q is for somebody else: %q", text, answer.Raw())
		}
		e := new(Edit)
		e.Received(m, "192.0.2.1", 9)
		e.PopValue(m, Route)
		e.DropAll(m, Contact)
		e.SetBody, e.Body = true, "new"
		if edited, err := check(appended(m, e)); err != nil || edited.Body() != "new" || edited.Has(Contact) {
			t.Fatalf("edited into %q: %v", appended(m, e), err)
		}
	})
}

func FuzzParseURI(f *testing.F) {
	for _, s := range []string{"sip:a:b@[::1]:5;lr?x=y", "tel:+1", "sip:%61@b", "x:y"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, s, o string) {
		if !SameURI(s, s) || SameURI(s, o) != SameURI(o, s) {
			t.Fatalf("comparing %q and %q is not fair", s, o)
		}
		u, err := ParseURI(s)
		if err != nil {
			return
		}
		again, err := ParseURI(u.String())
		if err != nil || again != u {
			t.Fatalf("%q reads %+v, written %q, reads %+v, %v", s, u, u, again, err)
		}
		if u.Opaque == "" && !SameURI(s, u.String()) {
			t.Fatalf("%q and %q are not the same", s, u)
		}
		u.UserDecoded()
		u.Transport()
	})
}

func FuzzParseVia(f *testing.F) {
	f.Add("SIP / 2.0 / UDP [::1] : 5 ; rport ; branch = x")
	f.Add("SIP/2.0/TCP h;received=1.2.3.4;rport=7;branch=b;x=\"y;z\"")
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseVia(s)
		if err != nil {
			return
		}
		out := string(v.appendReceived(nil, s, "192.0.2.1", 9))
		o, err := ParseVia(out)
		switch {
		case err != nil:
			t.Fatalf("%q becomes %q: %v", s, out, err)
		case o.Host != v.Host || o.Port != v.Port || o.Branch != v.Branch || o.HasRPort != v.HasRPort:
			t.Fatalf("%q becomes %q", s, out)
		case (v.Host != "192.0.2.1" || v.HasRPort) && o.Received != "192.0.2.1" || v.HasRPort && o.RPort != 9:
			t.Fatalf("%q becomes %q", s, out)
		}
	})
}

func FuzzParseAddress(f *testing.F) {
	f.Add(`"A \" <x>" <sip:a@b;lr?x=y> ; tag = 1;y="z;"`)
	f.Add(`sip:a@b;tag=1, <sip:c>`)
	f.Fuzz(func(t *testing.T, s string) {
		v, rest := CutValue(s)
		if len(v)+len(rest) > len(s) {
			t.Fatalf("%q is cut into %q and %q", s, v, rest)
		}
		a, err := ParseAddress(v)
		Tag(v)
		if err != nil {
			return
		}
		if tag, _ := a.Param("tag"); tag != Tag(v) {
			t.Fatalf("%q has the tags %q and %q", v, tag, Tag(v))
		}
		for _, part := range []string{a.Display, a.URI, a.Params} {
			if !strings.Contains(v, part) {
				t.Fatalf("%q is not part of %q", part, v)
			}
		}
	})
}

func FuzzPeek(f *testing.F) {
	f.Add([]byte(invite))
	f.Add([]byte("SIP/2.0 200 OK\nCall-ID:\n x\nt\n"))
	f.Fuzz(func(_ *testing.T, p []byte) { Peek(p) })
}
