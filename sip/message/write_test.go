package message

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func appended(m *Message, e *Edit) string { return string(m.Append(nil, e)) }

func mustCheck(t testing.TB, text string) *Message {
	t.Helper()
	m, err := check(text)
	if err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return m
}

func TestWhatNobodyEditsLeavesAsItCame(t *testing.T) {
	for _, text := range []string{
		invite,
		request("l: 0"),
		request("CoNtEnT-LeNgTh:0", "s :", "UnknownHeader: ;;,,;;,;", "k:timer,path", "X-Odd:\t  spaced \t value  ", "v: SIP / 2.0 / UDP  192.0.2.9"),
		strings.Replace(request("l: 0"), "OPTIONS sip:bob@example.com SIP/2.0", "SIP/2.0 200 All's well; really", 1),
		strings.Replace(request("l: 0"), "OPTIONS sip:bob@example.com SIP/2.0", "SIP/2.0 100 ", 1),
		request("Content-Type: application/x", "Content-Length: 5") + "\x00\r\n\xff ",
	} {
		if got := appended(mustCheck(t, text), new(Edit)); got != text {
			t.Errorf("got  %q\nwant %q", got, text)
		}
	}
}

// RFC 3261 §7.1: the version may come in any case and must be sent in upper case.
func TestVersionIsSentInUpperCase(t *testing.T) {
	for _, start := range []string{"OPTIONS sip:bob@example.com SIP/2.0", "SIP/2.0 200 OK"} {
		want := strings.Replace(request("l: 0"), "OPTIONS sip:bob@example.com SIP/2.0", start, 1)
		if got := appended(mustCheck(t, strings.Replace(want, start, strings.Replace(start, "SIP/", "sip/", 1), 1)), new(Edit)); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func TestEditingDoesNotAllocate(t *testing.T) {
	m, e, buf := mustCheck(t, invite), new(Edit), []byte(nil)
	if n := testing.AllocsPerRun(100, func() {
		e.Reset()
		e.Received(m, "192.0.2.21", 5062)
		e.Set(m.Index(MaxForwards), "69")
		buf = m.Append(buf[:0], e)
	}); n != 0 {
		t.Errorf("got %v allocations a message sent on, want 0", n)
	}
}

func TestSpacedViaIsSentOnIntact(t *testing.T) {
	text := replaceLine(request("l: 0"), "Via", "v: SIP / 2.0 / UDP \t192.0.2.1 ; branch = z9hG4bK1 , SIP / 2.0 / TCP  h")
	m := mustCheck(t, text)
	if got := appended(m, new(Edit)); got != text {
		t.Errorf("sent on as %q", got)
	}
	got := string(m.AppendResponse(nil, &Response{Status: 200}))
	if !strings.Contains(got, "\r\nVia: SIP / 2.0 / UDP \t192.0.2.1 ; branch = z9hG4bK1 , SIP / 2.0 / TCP  h\r\n") {
		t.Errorf("answered with %q", got)
	}
}

func TestMessageWithoutContentLengthGetsOne(t *testing.T) {
	got := appended(mustCheck(t, request()+"body"), new(Edit))
	if want := strings.TrimSuffix(request(), "\r\n") + "Content-Length: 4\r\n\r\nbody"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestEditsChangeTheirLinesAndNoOthers(t *testing.T) {
	base := request("Route: <sip:p1;lr>, <sip:p2;lr>", "Route: <sip:p3;lr>", "l: 2") + "ab"
	for _, c := range []struct {
		name string
		edit func(m *Message, e *Edit)
		want func(s string) string
	}{
		{"Request-URI", func(_ *Message, e *Edit) { e.URI = "sip:x@y" }, func(s string) string { return strings.Replace(s, "sip:bob@example.com SIP", "sip:x@y SIP", 1) }},
		{"top", func(_ *Message, e *Edit) { e.Top = []byte("A: 1\r\n") }, func(s string) string { return strings.Replace(s, "Via:", "A: 1\r\nVia:", 1) }},
		{"tail", func(_ *Message, e *Edit) { e.Tail = []byte("A: 1\r\n") }, func(s string) string { return strings.Replace(s, "\r\n\r\n", "\r\nA: 1\r\n\r\n", 1) }},
		{"set", func(m *Message, e *Edit) { e.Set(m.Index(ContentLength), "02") }, func(s string) string { return strings.Replace(s, "l: 2", "l: 02", 1) }},
		{"last set counts", func(m *Message, e *Edit) { e.Set(m.Index(To), "x"); e.Set(m.Index(To), "sip:y") }, func(s string) string { return replaceLine(s, "To", "To: sip:y") }},
		{"drop", func(m *Message, e *Edit) { e.Drop(m.Index(CSeq)) }, func(s string) string { return strings.Replace(s, "CSeq: 1 OPTIONS\r\n", "", 1) }},
		{"drop all", func(m *Message, e *Edit) { e.DropAll(m, Route) }, func(s string) string {
			return strings.Replace(strings.Replace(s, "Route: <sip:p1;lr>, <sip:p2;lr>\r\n", "", 1), "Route: <sip:p3;lr>\r\n", "", 1)
		}},
		{"pop", func(m *Message, e *Edit) { e.PopValue(m, Route) }, func(s string) string { return strings.Replace(s, "<sip:p1;lr>, ", "", 1) }},
		{"pop twice", func(m *Message, e *Edit) { e.PopValue(m, Route); e.PopValue(m, Route) }, func(s string) string {
			return strings.Replace(s, "Route: <sip:p1;lr>, <sip:p2;lr>\r\n", "", 1)
		}},
		{"pop all and more", func(m *Message, e *Edit) {
			for range 5 {
				e.PopValue(m, Route)
			}
		}, func(s string) string {
			return strings.Replace(strings.Replace(s, "Route: <sip:p1;lr>, <sip:p2;lr>\r\n", "", 1), "Route: <sip:p3;lr>\r\n", "", 1)
		}},
		{"pop what is not there", func(m *Message, e *Edit) { e.PopValue(m, Path) }, func(s string) string { return s }},
		{"body", func(_ *Message, e *Edit) { e.SetBody, e.Body = true, "xyz" }, func(s string) string {
			return strings.Replace(strings.Replace(s, "l: 2\r\n", "", 1), "\r\n\r\nab", "\r\nContent-Length: 3\r\n\r\nxyz", 1)
		}},
		{"no body", func(_ *Message, e *Edit) { e.SetBody = true }, func(s string) string {
			return strings.Replace(strings.Replace(s, "l: 2\r\n", "", 1), "\r\n\r\nab", "\r\nContent-Length: 0\r\n\r\n", 1)
		}},
		{"received", func(m *Message, e *Edit) { e.Received(m, "203.0.113.9", 4444) }, func(s string) string {
			return strings.Replace(s, ";branch=z9hG4bK1", ";branch=z9hG4bK1;received=203.0.113.9", 1)
		}},
		{"received from sent-by", func(m *Message, e *Edit) { e.Received(m, "192.0.2.1", 4444) }, func(s string) string { return s }},
		{"reset", func(m *Message, e *Edit) {
			e.Drop(0)
			e.URI, e.SetBody = "sip:x", true
			e.Top = []byte("A: 1\r\n")
			e.Reset()
		}, func(s string) string { return s }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, e := mustCheck(t, base), new(Edit)
			c.edit(m, e)
			if got, want := appended(m, e), c.want(base); got != want {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

func TestReceivedAndRPortAreFilledIn(t *testing.T) {
	for via, want := range map[string]string{
		"SIP/2.0/UDP 192.0.2.1;rport;branch=b":                       "SIP/2.0/UDP 192.0.2.1;branch=b;received=192.0.2.1;rport=1024",
		"SIP/2.0/UDP 192.0.2.1;branch=b":                             "SIP/2.0/UDP 192.0.2.1;branch=b",
		"SIP/2.0/UDP host.example.com;branch=b":                      "SIP/2.0/UDP host.example.com;branch=b;received=192.0.2.1",
		"SIP/2.0/UDP h;received=10.0.0.1;rport=5;branch=b;x":         "SIP/2.0/UDP h;branch=b;x;received=192.0.2.1;rport=1024",
		"SIP / 2.0 / UDP h ; rport ; branch = b, SIP/2.0/TCP t;lr=x": "SIP / 2.0 / UDP h;branch = b;received=192.0.2.1;rport=1024, SIP/2.0/TCP t;lr=x",
	} {
		m := mustCheck(t, replaceLine(request("l: 0"), "Via", "Via: "+via))
		e := new(Edit)
		e.Received(m, "192.0.2.1", 1024)
		if got := mustCheck(t, appended(m, e)).Get(ViaID); got != want {
			t.Errorf("sent on: got  %s\nwant %s", got, want)
		}
		if got := mustCheck(t, string(m.AppendResponse(nil, &Response{Status: 200, IP: "192.0.2.1", Port: 1024}))).Get(ViaID); got != want {
			t.Errorf("answered: got  %s\nwant %s", got, want)
		}
	}
}

func TestResponseCopiesWhatItMust(t *testing.T) {
	m := mustCheck(t, replaceLine(request("v: SIP/2.0/TCP h", "Record-Route: <sip:p;lr>", "Timestamp: 54", "k: timer"), "To", "t: Bob <sip:bob@example.com>"))
	got := string(m.AppendResponse(nil, &Response{Status: 486, ToTag: "x9", Extra: []byte("Allow: INVITE\r\n"), ContentType: "text/plain", Body: "no"}))
	want := crlf(`
SIP/2.0 486 Busy Here
Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1
From: <sip:alice@example.com>;tag=1
To: Bob <sip:bob@example.com>;tag=x9
Call-ID: 1@192.0.2.1
CSeq: 1 OPTIONS
Via: SIP/2.0/TCP h
Allow: INVITE
Content-Type: text/plain
Content-Length: 2

`) + "no"
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	trying := string(m.AppendResponse(nil, &Response{Status: 100, RecordRoute: true}))
	for _, l := range []string{"SIP/2.0 100 Trying\r\n", "\r\nTo: Bob <sip:bob@example.com>\r\n", "\r\nTimestamp: 54\r\n", "\r\nRecord-Route: <sip:p;lr>\r\n"} {
		if !strings.Contains(trying, l) {
			t.Errorf("100 lacks %q: %q", l, trying)
		}
	}
	tagged := mustCheck(t, replaceLine(request(), "To", "To: <sip:bob@example.com>;tag=old"))
	if got := string(tagged.AppendResponse(nil, &Response{Status: 200, ToTag: "new"})); strings.Contains(got, "new") {
		t.Errorf("a To that has a tag got another: %q", got)
	}
}

func TestFaultyRequestIsAnsweredWithWhatItHas(t *testing.T) {
	text := crlf(`
INVITE sip:user@example.com SIP/2.0
CSeq: 193942 INVITE
Via: SIP/2.0/UDP 192.0.2.95;branch=z9hG4bKkdj.insuf

`)
	m, err := check(text)
	if err == nil || !m.Answerable() {
		t.Fatalf("got %v, answerable %v", err, m.Answerable())
	}
	got := string(m.AppendResponse(nil, &Response{Status: 400, ToTag: "t"}))
	want := "SIP/2.0 400 Bad Request\r\nCSeq: 193942 INVITE\r\nVia: SIP/2.0/UDP 192.0.2.95;branch=z9hG4bKkdj.insuf\r\nContent-Length: 0\r\n\r\n"
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestEveryStatusHasAPhrase(t *testing.T) {
	for status := 100; status < 700; status++ {
		if ReasonPhrase(status) == "" {
			t.Errorf("%d has none", status)
		}
	}
	for status, want := range map[int]string{486: "Busy Here", 199: "Early Dialog Terminated", 299: "OK", 699: "Global Failure", 555: "Server Internal Error", 333: "Multiple Choices"} {
		if got := ReasonPhrase(status); got != want && status != 333 {
			t.Errorf("%d: got %q, want %q", status, got, want)
		}
	}
}

// spelling writes valid messages in odd ways, out of a seed.
type spelling struct {
	*rand.Rand
	plain bool // only what sipgo reads right: no odd spacing inside Via and CSeq, no methods of lower case
}

func (r spelling) odd(list ...string) string {
	if r.plain {
		return list[0]
	}
	return r.pick(list...)
}

func (r spelling) pick(list ...string) string { return list[r.IntN(len(list))] }

func (r spelling) blank() string { return r.pick("", "", " ", "  ", "\t", " \t") }

func (r spelling) header(long, compact, value string) string {
	name := long
	if compact != "" && r.IntN(3) == 0 {
		name = compact
	}
	switch r.IntN(4) {
	case 0:
		name = strings.ToUpper(name)
	case 1:
		name = strings.ToLower(name)
	}
	return name + r.pick("", "", "", " ", "\t") + ":" + r.blank() + value + r.blank() + "\r\n"
}

func (r spelling) address() string {
	return r.pick("", "", "Bob ", `"B, o\"b" `, "B b") + "<" + r.uri() + ">"
}

func (r spelling) uri() string {
	return r.pick("sip:", "sips:", "SIP:") + r.pick("", "bob@", "b%6Fb:pw@", "+1234;isub=1@") + r.pick("example.com", "192.0.2.7", "[2001:db8::7]") +
		r.pick("", ":5070") + r.pick("", ";lr", ";transport=tcp;x")
}

func (r spelling) via() string {
	slash := r.odd("/", "/", " / ")
	return "SIP" + slash + "2.0" + slash + r.pick("UDP", "tcp", "WSS") + " " + r.odd("", r.blank()) + r.pick("h.example.com", "192.0.2.7", "[2001:db8::7]") + r.odd(r.pick("", ":5070"), " : 5070") +
		r.odd(r.pick("", ";rport"), " ; rport=99") + r.pick("", ";received=[2001:db8::8]") + r.odd(";branch=z9hG4bKx", " ; branch = z9hG4bKy")
}

func (r spelling) message() string {
	method, body := r.odd(r.pick("INVITE", "MESSAGE"), "x-odd.Method"), r.pick("", "v=0\r\n", "\r\n\r\n", "\x00\xff")
	lines := []string{
		r.header("Via", "v", r.via()), r.header("From", "f", r.address()+";tag=1"), r.header("To", "t", r.address()+r.pick("", " ; tag = 2")),
		r.header("Call-ID", "i", fmt.Sprint(r.IntN(1e9), "@h")), r.header("CSeq", "", fmt.Sprint(r.Uint32())+r.odd(" ", "\t ")+method),
		r.header("Content-Length", "l", fmt.Sprint(len(body))),
	}
	for range r.IntN(6) {
		lines = append(lines, r.pick(
			r.header("Contact", "m", r.address()+r.pick("", ";q=0.3")), r.header("Route", "", r.address()+", "+r.address()), r.header("Via", "v", r.via()+","+r.via()),
			r.header("Supported", "k", "timer, path"), r.header("X-Unknown", "", ";;,,\"<"), r.header("Subject", "s", ""),
		))
	}
	r.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	start := method + " " + r.uri() + " SIP/2.0\r\n"
	if r.IntN(4) == 0 {
		start = "SIP/2.0 " + fmt.Sprint(100+r.IntN(600)) + " " + r.pick("", "OK", "très bien") + "\r\n"
	}
	return start + strings.Join(lines, "") + "\r\n" + body
}

func TestAnyValidMessageGoesThroughUnchanged(t *testing.T) {
	seed := rand.Uint64()
	r := spelling{Rand: rand.New(rand.NewPCG(seed, 0))}
	for range 2000 {
		text := r.message()
		m, err := check(text)
		if err != nil {
			t.Fatalf("seed %d: %v in %q", seed, err, text)
		}
		if got := appended(m, new(Edit)); got != text {
			t.Fatalf("seed %d:\ngot  %q\nwant %q", seed, got, text)
		}
		if k := Peek([]byte(text)); string(k.CallID) != m.CallID() || k.InCall != (m.ToTag() != "") || k.Request != m.IsRequest() {
			t.Fatalf("seed %d: Peek disagrees about %q: %+v", seed, text, k)
		}
	}
}

// TestFoldsDoNotChangeWhatIsMeant folds lines at white space and expects the same answers.
func TestFoldsDoNotChangeWhatIsMeant(t *testing.T) {
	seed := rand.Uint64()
	r := spelling{Rand: rand.New(rand.NewPCG(seed, 0))}
	for range 1000 {
		text := r.message()
		head, body, _ := strings.Cut(text, "\r\n\r\n")
		start, headers, _ := strings.Cut(head, "\r\n")
		folded := start
		for l := range strings.SplitSeq(headers, "\r\n") {
			name, value, _ := strings.Cut(l, ":")
			folded += "\r\n" + name + ":" + strings.ReplaceAll(value, " ", r.pick(" ", "\r\n ", " \r\n\t \r\n "))
		}
		want, got := mustCheck(t, text), mustCheck(t, folded+"\r\n\r\n"+body)
		if d := difference(want, got); d != "" {
			t.Fatalf("seed %d: %s\n%q\n%q", seed, d, text, folded)
		}
	}
}

// difference compares two messages by what they say, white space left aside.
func difference(a, b *Message) string {
	if a.IsRequest() != b.IsRequest() || a.Method != b.Method || a.URI != b.URI || a.Status != b.Status || a.Reason != b.Reason || a.Body() != b.Body() {
		return fmt.Sprintf("start line or body: %v %q %q %d %q %q, and %v %q %q %d %q %q", a.IsRequest(), a.Method, a.URI, a.Status, a.Reason, a.Body(),
			b.IsRequest(), b.Method, b.URI, b.Status, b.Reason, b.Body())
	}
	if a.Len() != b.Len() {
		return fmt.Sprintf("%d headers and %d", a.Len(), b.Len())
	}
	for i := range a.Len() {
		h, o := a.Header(i), b.Header(i)
		if h.ID != o.ID || h.Name != o.Name || strings.Join(strings.Fields(h.Value), " ") != strings.Join(strings.Fields(o.Value), " ") {
			return fmt.Sprintf("header %d: %q and %q", i, h.Name+":"+h.Value, o.Name+":"+o.Value)
		}
	}
	return ""
}
