package message

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestMessageIsReadIntoItsParts(t *testing.T) {
	m, err := check(invite)
	if err != nil {
		t.Fatal(err)
	}
	number, method, ok := m.CSeq()
	via, _ := m.TopVia()
	for _, c := range []struct{ what, got, want string }{
		{"method", m.Method, "INVITE"},
		{"URI", m.URI, "sip:1001@192.0.2.10:5060"},
		{"Call-ID", m.CallID(), "6f1c1f64e3a147b6a2b5cb2cbb0ff6a3"},
		{"From tag", m.FromTag(), "3e5a1f0bd24a4bd7"},
		{"To tag", m.ToTag(), ""},
		{"CSeq", fmt.Sprintln(number, method, ok), "27563 INVITE true\n"},
		{"User-Agent", m.Get(UserAgent), "PJSUA v2.14 Linux-6.1/x86_64"},
		{"Via", fmt.Sprintln(via.Transport, via.Host, via.Port, via.Branch, via.HasRPort), "UDP 192.0.2.21 5062 z9hG4bKPjd1b4e1a30c2d4b0ea1b2 true\n"},
		{"Supported", strings.Join(m.List(Supported), "|"), "replaces|100rel|timer|norefersub"},
		{"body", m.Body()[:5], "v=0\r\n"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, c.got, c.want)
		}
	}
	if !m.HasToken(Supported, "TIMER") || m.HasToken(Supported, "path") || m.Count(ViaID) != 1 || m.Has(Route) || m.Index(Route) != -1 {
		t.Error("HasToken, Count, Has or Index disagree with the message")
	}
	if v, ok := m.Lookup("session-expires"); !ok || v != "1800" {
		t.Errorf("Lookup: got %q %v", v, ok)
	}
}

func TestResponseIsRead(t *testing.T) {
	text := strings.Replace(request(), "OPTIONS sip:bob@example.com SIP/2.0", "SIP/2.0 480 Temporarily not here", 1)
	m, err := check(text)
	if err != nil {
		t.Fatal(err)
	}
	if m.IsRequest() || m.Status != 480 || m.Reason != "Temporarily not here" || m.Method != "OPTIONS" {
		t.Errorf("got %v %d %q %q", m.IsRequest(), m.Status, m.Reason, m.Method)
	}
	for _, line := range []string{"SIP/2.0 200 ", "SIP/2.0 200", "sip/2.0 200 OK"} {
		if _, err := check(strings.Replace(text, "SIP/2.0 480 Temporarily not here", line, 1)); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// TestMalformedMessageIsRefused holds, among others, every trap of the parser that SIPGO.md marks as proved.
func TestMalformedMessageIsRefused(t *testing.T) {
	type fault struct {
		name, text string
		status     int
		answer     bool // somebody can be told
	}
	line := func(name, l string) string { return replaceLine(request(), name, l) }
	start := func(l string) string { return strings.Replace(request(), "OPTIONS sip:bob@example.com SIP/2.0", l, 1) }
	many := make([]string, 5000)
	for i := range many {
		many[i] = "Z: y"
	}
	faults := []fault{
		{"two From", request("f: <sip:eve@example.com>;tag=2"), 400, true},
		{"two To", request("To: <sip:eve@example.com>"), 400, true},
		{"two Call-ID, one compact", request("i: 2@192.0.2.1"), 400, true},
		{"two CSeq", request("CSeq: 1 OPTIONS"), 400, true},
		{"two Content-Length that agree", request("Content-Length: 0", "l: 0"), 400, true},
		{"two Max-Forwards", request("Max-Forwards: 70", "Max-Forwards: 70"), 400, true},
		{"two Expires", request("Expires: 60", "expires: 70"), 400, true},
		{"version 3.0", start("OPTIONS sip:bob@example.com SIP/3.0"), 505, true},
		{"no version", start("OPTIONS sip:bob@example.com"), 400, true},
		{"another protocol", start("GET http://example.com/ HTTP/1.1"), 400, true},
		{"two spaces in the request line", start("OPTIONS  sip:bob@example.com SIP/2.0"), 400, true},
		{"tab in the request line", start("OPTIONS\tsip:bob@example.com\tSIP/2.0"), 400, false},
		{"space behind the version", start("OPTIONS sip:bob@example.com SIP/2.0 "), 400, true},
		{"LF in the request line", start("OPTIONS sip:bob\n@example.com SIP/2.0"), 400, true},
		{"CSeq of another method", line("CSeq", "CSeq: 1 INVITE"), 400, true},
		{"CSeq of another case", line("CSeq", "CSeq: 1 options"), 400, true},
		{"CSeq of 2^32", line("CSeq", "CSeq: 4294967296 OPTIONS"), 400, true},
		{"CSeq with a sign", line("CSeq", "CSeq: +1 OPTIONS"), 400, true},
		{"CSeq without a method", line("CSeq", "CSeq: 1"), 400, true},
		{"NUL in a header", request("Subject: a\x00b"), 400, true},
		{"NUL in From", line("From", "From: <sip:al\x00ice@example.com>;tag=1"), 400, false},
		{"CR in a header", request("Subject: a\rX-Evil: b"), 400, true},
		{"CR in Call-ID", line("Call-ID", "Call-ID: 1\rTo: x"), 400, false},
		{"line ended by LF", strings.Replace(request(), "\r\nTo", "\nTo", 1), 400, false},
		{"LF only", strings.ReplaceAll(request(), "\r\n", "\n"), 400, false},
		{"5000 headers", request(many...), 513, true},
		{"no empty line", strings.TrimSuffix(request(), "\r\n"), 400, true},
		{"header without colon", request("Subject"), 400, true},
		{"header name with a space", request("Sub ject: x"), 400, true},
		{"header without a name", request(": x"), 400, true},
		{"Via port 99999", line("Via", "Via: SIP/2.0/UDP 192.0.2.1:99999;branch=z9hG4bK1"), 400, true},
		{"Via port 0", line("Via", "Via: SIP/2.0/UDP 192.0.2.1:0;branch=z9hG4bK1"), 400, true},
		{"rport 70000", line("Via", "Via: SIP/2.0/UDP 192.0.2.1;rport=70000;branch=z9hG4bK1"), 400, true},
		{"Via of version 3.0", line("Via", "Via: SIP/3.0/UDP 192.0.2.1;branch=z9hG4bK1"), 400, true},
		{"Via of another protocol", line("Via", "Via: HTTP/1.1/TCP 192.0.2.1"), 400, false},
		{"Via without host", line("Via", "Via: SIP/2.0/UDP ;branch=z9hG4bK1"), 400, false},
		{"Via with empty parameters", line("Via", "Via: SIP/2.0/UDP 192.0.2.1;;branch=z9hG4bK1"), 400, true},
		{"Content-Length beyond the datagram", request("Content-Length: 10"), 400, true},
		{"Content-Length below zero", request("Content-Length: -1"), 400, true},
		{"Content-Length that overflows", request("Content-Length: 18446744073709551617"), 400, true},
		{"Max-Forwards 256", request("Max-Forwards: 256"), 400, true},
		{"Max-Forwards below zero", request("Max-Forwards: -1"), 400, true},
		{"Request-URI in angle brackets", start("OPTIONS <sip:bob@example.com> SIP/2.0"), 400, true},
		{"Request-URI with headers", start("OPTIONS sip:bob@example.com?Route=%3Csip:x%3E SIP/2.0"), 400, true},
		{"IPv6 Request-URI without brackets", start("OPTIONS sip:2001:db8::10 SIP/2.0"), 400, true},
		{"quote that is not closed", line("To", `To: "Bob <sip:bob@example.com>`), 400, true},
		{"angle bracket that is not closed", line("To", `To: <sip:bob@example.com`), 400, true},
		{"comma in an unquoted name", line("To", `To: Bell, Alexander <sip:bob@example.com>`), 400, true},
		{"spaces in angle brackets", line("To", `To: < sip:bob@example.com >`), 400, true},
		{"headers in a bare Contact", request("Contact: sip:a@b?Route=%3Csip:x%3E"), 400, true},
		{"quote that is not closed in a parameter", line("To", `To: <sip:bob@example.com>;x="y`), 400, true},
		{"empty parameters in Contact", request("Contact: <sip:a@b>;;q=1"), 400, true},
		{"second Contact broken", request("Contact: <sip:a@b>, <sip:c@d"), 400, true},
		{"Route that is no address", request("Route: nonsense"), 400, true},
		{"status 99", start("SIP/2.0 99 Low"), 400, false},
		{"status 700", start("SIP/2.0 700 High"), 400, false},
		{"status of ten digits", start("SIP/2.0 4294967301 Big"), 400, false},
		{"LF in a reason phrase", start("SIP/2.0 200 O\nK"), 400, false},
		{"nothing", "", 400, false},
		{"only line ends", "\r\n\r\n", 400, false},
		{"larger than a datagram", request("X: " + strings.Repeat("x", 70000)), 513, false},
	}
	for _, name := range []string{"Via", "From", "To", "Call-ID", "CSeq"} {
		faults = append(faults, fault{"no " + name, line(name, "X: y"), 400, name != "Via" && name != "CSeq"})
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			m, err := check(f.text)
			var pe *ParseError
			if !errors.As(err, &pe) || pe.Status != f.status {
				t.Fatalf("got %v, want status %d", err, f.status)
			}
			if got := m.Answerable(); got != f.answer {
				t.Errorf("answerable: got %v, want %v", got, f.answer)
			}
		})
	}
}

func TestUnusualMessageIsTaken(t *testing.T) {
	line := func(name, l string) string { return replaceLine(request(), name, l) }
	for _, c := range []struct{ name, text string }{
		{"line ends before the start line", "\r\n\r\n" + request()},
		{"CSeq of 2^31", line("CSeq", "CSeq: 2147483648 OPTIONS")},
		{"CSeq of 2^32-1", line("CSeq", "CSeq: 4294967295 OPTIONS")},
		{"CSeq 0", line("CSeq", "CSeq: 0 OPTIONS")},
		{"Max-Forwards 0", request("Max-Forwards: 0")},
		{"Max-Forwards 255", request("Max-Forwards: 255")},
		{"Max-Forwards with zeros", request("Max-Forwards: 0068")},
		{"no From tag", line("From", "From: sip:alice@example.com")},
		{"no branch", line("Via", "Via: SIP/2.0/UDP 192.0.2.1")},
		{"space before a colon", line("To", "To \t: <sip:bob@example.com>")},
		{"no space behind a colon", line("To", "To:<sip:bob@example.com>")},
		{"empty header", request("Subject:", "s :")},
		{"semicolon at the end of Contact", request("Contact: <sip:a@b>;")},
		{"NUL escaped in a quoted name", line("To", "To: \"a\\\x00b\" <sip:bob@example.com>")},
		{"tel URI", strings.Replace(request(), "sip:bob@example.com SIP", "tel:+12015550123;phone-context=example.com SIP", 1)},
		{"version in lower case", strings.Replace(request(), "example.com SIP/2.0", "example.com sip/2.0", 1)},
		{"bytes behind the body", request("Content-Length: 0") + "INVITE sip:joe@example.com SIP/2.0\r\n\r\n"},
		{"256 headers", request(strings.Split(strings.Repeat("Z: y\n", 251), "\n")[:251]...)},
	} {
		if _, err := check(c.text); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestCompactNameIsTheSameHeader(t *testing.T) {
	for compact, want := range map[string]ID{
		"v": ViaID, "f": From, "t": To, "i": CallID, "m": Contact, "l": ContentLength, "c": ContentType, "e": ContentEncoding, "k": Supported,
		"o": Event, "x": SessionExpires, "r": ReferTo, "y": Identity,
	} {
		for _, name := range []string{compact, strings.ToUpper(compact), want.String(), strings.ToUpper(want.String()), strings.ToLower(want.String())} {
			if got := HeaderID(name); got != want {
				t.Errorf("%q: got %v, want %v", name, got, want)
			}
		}
	}
	for _, name := range []string{"", "s", "u", "b", "Subject", "Vi", "Viaa", strings.Repeat("x", 100)} {
		if got := HeaderID(name); got != Other {
			t.Errorf("%q: got %v, want Other", name, got)
		}
	}
	m, err := check(request("k: timer", "Supported: 100rel, path"))
	if err != nil || strings.Join(m.List(Supported), "|") != "timer|100rel|path" {
		t.Errorf("Supported: got %q, %v", m.List(Supported), err)
	}
}

func TestEveryContactOfSeveralIsSeen(t *testing.T) {
	m, err := check(request(`Contact: "A, B" <sip:a@b;x=1,2>;q=1, <sip:c@d>`, "m: sip:e@f"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(m.List(Contact), "|"), `"A, B" <sip:a@b;x=1,2>;q=1|<sip:c@d>|sip:e@f`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	n := 0
	m.Values(Contact, func(string) bool { n++; return n < 2 })
	if n != 2 {
		t.Errorf("Values went on after it was told to stop: %d calls", n)
	}
}

func TestFoldedLinesAreJoined(t *testing.T) {
	m, err := check(replaceLine(request("Subject: one\r\n two\r\n\t three", "Route:\r\n <sip:a;lr>,\r\n <sip:b;lr>"), "Call-ID", "Call-ID:\r\n 1@2") + " not a fold")
	if err != nil {
		t.Fatal(err)
	}
	subject, _ := m.Lookup("Subject")
	if got := strings.Join(strings.Fields(subject), " "); got != "one two three" {
		t.Errorf("Subject: got %q", subject)
	}
	if got := strings.Join(m.List(Route), "|"); got != "<sip:a;lr>|<sip:b;lr>" {
		t.Errorf("Route: got %q", got)
	}
	if m.CallID() != "1@2" || m.Body() != " not a fold" {
		t.Errorf("Call-ID %q, body %q", m.CallID(), m.Body())
	}
}

func TestBodyEndsWhereContentLengthSays(t *testing.T) {
	for _, c := range []struct{ length, want string }{{"Content-Length: 3", "abc"}, {"l:0", ""}, {"Z: y", "abcdef"}} {
		m, err := check(request(c.length) + "abcdef")
		if err != nil || m.Body() != c.want || !strings.HasSuffix(m.Raw(), "\r\n\r\n"+c.want) {
			t.Errorf("%s: got %q, %v, want %q", c.length, m.Body(), err, c.want)
		}
	}
}

func TestMessageCanBeParsedIntoAgain(t *testing.T) {
	m, err := check(invite)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Parse(request()); err != nil {
		t.Fatal(err)
	}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	via, _ := m.TopVia()
	if m.Method != "OPTIONS" || m.Has(UserAgent) || m.Body() != "" || via.Host != "192.0.2.1" {
		t.Errorf("something of the former message is left: %s %v %q %s", m.Method, m.Has(UserAgent), m.Body(), via.Host)
	}
}

func TestParsingDoesNotAllocate(t *testing.T) {
	var m Message
	if n := testing.AllocsPerRun(100, func() {
		if m.Parse(invite) != nil || m.Validate() != nil {
			t.Fatal("the message is good")
		}
	}); n != 0 {
		t.Errorf("got %v allocations a message, want 0", n)
	}
	if n := testing.AllocsPerRun(100, func() { kept = new(Message); _ = kept.Parse(invite) }); n != 2 {
		t.Errorf("got %v allocations for a fresh message, want 2: the message and its index", n)
	}
	p := []byte(invite)
	if n := testing.AllocsPerRun(100, func() { Peek(p) }); n != 0 {
		t.Errorf("Peek: got %v allocations, want 0", n)
	}
}

// kept keeps a message alive beyond the function that made it.
var kept *Message

// TestWhatValidateRemembersIsWhatStandsThere asks messages that were validated and such that were only parsed.
func TestWhatValidateRemembersIsWhatStandsThere(t *testing.T) {
	seed := rand.Uint64()
	r := spelling{Rand: rand.New(rand.NewPCG(seed, 0))}
	texts := []string{invite, tortuous, replaceLine(request(), "To", `To: <sip:bob@example.com>;tag="a\"b";tag=2`), replaceLine(request(), "From", "From: <sip:a@b>;tag;tag=2")}
	for range 500 {
		texts = append(texts, r.message())
	}
	for _, text := range texts {
		valid, parsed := mustCheck(t, text), new(Message)
		if err := parsed.Parse(text); err != nil {
			t.Fatal(err)
		}
		said := func(m *Message) string {
			n, method, ok := m.CSeq()
			via, err := m.TopVia()
			return fmt.Sprintf("From tag %q, To tag %q, CSeq %d %s %v, Via %+v %v", m.FromTag(), m.ToTag(), n, method, ok, via, err)
		}
		if got, want := said(valid), said(parsed); got != want {
			t.Fatalf("seed %d: %q\ngot  %s\nwant %s", seed, text, got, want)
		}
	}
}

func TestPeekAgreesWithParse(t *testing.T) {
	line := func(name, l string) string { return replaceLine(request(), name, l) }
	for _, text := range []string{
		invite, request(), "\r\n\r\n" + request(),
		line("Call-ID", "i:x@y"), line("Call-ID", "CALL-ID \t: x@y"), line("Call-ID", "Call-ID:\r\n x@y"),
		line("To", "To: <sip:bob@example.com>;tag=9"), line("To", "t:sip:bob@example.com;x=1; tag = 9"),
		line("To", "To: \"a;tag=1\" <sip:bob@example.com;tag=2>"), line("To", "To: <sip:bob@example.com>\r\n ;\r\n tag=9"),
		line("To", "To: <sip:bob@example.com>;stag=9"), line("To", "To: sip:bob@example.com\r\nTimestamp: 1;tag=1"),
		strings.Replace(request(), "OPTIONS sip:bob@example.com SIP/2.0", "sip/2.0 200 OK", 1),
	} {
		m, err := check(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		k := Peek([]byte(text))
		method := m.Method
		if !m.IsRequest() {
			method = ""
		}
		if k.Request != m.IsRequest() || string(k.Method) != method || string(k.CallID) != m.CallID() || k.InCall != (m.ToTag() != "") {
			t.Errorf("%q\ngot  %v %q %q %v\nwant %v %q %q %v", text, k.Request, k.Method, k.CallID, k.InCall, m.IsRequest(), method, m.CallID(), m.ToTag() != "")
		}
	}
}
