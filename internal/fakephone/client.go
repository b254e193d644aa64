package fakephone

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/icholy/digest"
)

const (
	t1      = 500 * time.Millisecond
	t2      = 4 * time.Second
	timeout = 64 * t1
)

// login is the challenge a phone answers without being asked again.
type login struct {
	header string // "Authorization" or "Proxy-Authorization"
	chal   *digest.Challenge
	count  int
}

// A Request is what a phone is to send. Header lines given replace the ones the phone would write; an empty value leaves
// them out.
type Request struct {
	Method  string
	URI     string
	Headers []string // "Name: value"
	Body    string

	from, to, callID string
	cseq             uint32
	branch           string
	routes           []string
}

// A Transaction is the client side of one request.
type Transaction struct {
	p      *Phone
	req    Request
	text   string
	branch string

	mu        sync.Mutex
	responses []*Message
	heard     chan struct{} // closed with the first response
	final     chan struct{} // closed with the first final response
	stop      chan struct{} // closed when nothing is to be sent any more
	once      struct{ heard, final, stop sync.Once }
	call      *Call // INVITE
	acked     string
}

// build writes a request.
func (p *Phone) build(r *Request) string {
	var out strings.Builder
	out.WriteString(r.Method + " " + r.URI + " SIP/2.0\r\n")
	given := make(map[string]bool)
	for _, h := range r.Headers {
		name, _, _ := strings.Cut(h, ":")
		n := strings.ToLower(strings.TrimSpace(name))
		if long, ok := compact[n]; ok {
			n = long
		}
		given[n] = true
	}
	line := func(name, value string) {
		if !given[strings.ToLower(name)] {
			out.WriteString(name + ": " + value + "\r\n")
		}
	}
	via := "SIP/2.0/" + strings.ToUpper(p.main.net) + " " + p.local.String() + ";branch=" + r.branch
	if !p.cfg.NoRPort {
		via += ";rport"
	}
	line("Via", via)
	for _, route := range r.routes {
		line("Route", route)
	}
	line("Max-Forwards", "70")
	line("From", r.from)
	line("To", r.to)
	line("Call-ID", r.callID)
	line("CSeq", strconv.FormatUint(uint64(r.cseq), 10)+" "+r.Method)
	switch r.Method {
	case "INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER":
		line("Contact", "<"+p.Contact()+">")
	}
	if r.Method == "INVITE" && p.cfg.Supported != "" {
		line("Supported", p.cfg.Supported)
	}
	for _, h := range r.Headers {
		if _, v, _ := strings.Cut(h, ":"); strings.TrimSpace(v) != "" {
			out.WriteString(h + "\r\n")
		}
	}
	if r.Body != "" {
		line("Content-Type", "application/sdp")
	}
	line("Content-Length", strconv.Itoa(len(r.Body)))
	return out.String() + "\r\n" + r.Body
}

func (p *Phone) newBranch() string {
	if p.cfg.OldBranch {
		return p.newID("old")
	}
	return "z9hG4bK" + p.newID("b")
}

// begin sends a request and starts its client transaction (RFC 3261 §17.1).
func (p *Phone) begin(r Request, call *Call) *Transaction {
	if r.branch == "" {
		r.branch = p.newBranch()
	}
	t := &Transaction{p: p, req: r, text: p.build(&r), branch: r.branch, heard: make(chan struct{}), final: make(chan struct{}), stop: make(chan struct{}), call: call}
	p.mu.Lock()
	p.clients[r.branch+" "+r.Method] = t
	p.mu.Unlock()
	if call != nil {
		call.mu.Lock()
		call.tx = t
		call.mu.Unlock()
	}
	p.Send(t.text)
	if p.main.net == "udp" && !p.cfg.NoRetry {
		p.run(t.retransmit)
	}
	return t
}

func (t *Transaction) retransmit() {
	every, until := t1, time.Now().Add(timeout)
	heard := t.heard
	for time.Now().Before(until) {
		timer := time.NewTimer(every)
		select {
		case <-timer.C:
		case <-heard:
			timer.Stop()
			if t.req.Method == "INVITE" {
				return
			}
			every, heard = t2, nil
			continue
		case <-t.final:
			timer.Stop()
			return
		case <-t.stop:
			timer.Stop()
			return
		}
		if t.p.isClosed() || !time.Now().Before(until) {
			return
		}
		t.p.Send(t.text)
		if every *= 2; t.req.Method != "INVITE" {
			every = min(every, t2)
		}
	}
}

func (p *Phone) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// response gives a response to its transaction and keeps it: behind what the phone makes of it, and before anybody who waits for it goes on.
func (p *Phone) response(m *Message) {
	_, method := m.CSeq()
	p.mu.Lock()
	t := p.clients[m.Branch()+" "+method]
	p.mu.Unlock()
	if t == nil {
		p.record(m)
		return
	}
	t.mu.Lock()
	t.responses = append(t.responses, m)
	t.mu.Unlock()
	if t.call != nil && method == "INVITE" {
		t.call.heard(t, m)
	}
	p.record(m)
	t.once.heard.Do(func() { close(t.heard) })
	if m.Status() >= 200 {
		t.once.final.Do(func() { close(t.final) })
	}
}

// Final waits for the final response, two minutes at most; nil when there was none.
func (t *Transaction) Final() *Message { return t.Within(2 * time.Minute) }

// Within waits for the final response for so long; nil when there was none.
func (t *Transaction) Within(d time.Duration) *Message {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-t.final:
	case <-timer.C:
		t.once.stop.Do(func() { close(t.stop) })
		return nil
	}
	for _, m := range t.Responses() {
		if m.Status() >= 200 {
			return m
		}
	}
	return nil
}

// Responses are the responses so far.
func (t *Transaction) Responses() []*Message {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]*Message(nil), t.responses...)
}

// Stop ends the retransmissions.
func (t *Transaction) Stop() { t.once.stop.Do(func() { close(t.stop) }) }

// Text is the request as sent.
func (t *Transaction) Text() string { return t.text }

// authorize gives the credentials line for the challenge in a 401 or 407, "" when there is none the phone can answer.
func (p *Phone) authorize(m *Message, method, uri string) string {
	header, challenge := "Authorization", "WWW-Authenticate"
	if m.Status() == 407 {
		header, challenge = "Proxy-Authorization", "Proxy-Authenticate"
	}
	for _, v := range m.Headers(challenge) {
		c, err := digest.ParseChallenge(v)
		if err != nil {
			p.t.Errorf("%s: a challenge does not parse: %v: %s", p.cfg.User, err, v)
			return ""
		}
		if !digest.CanDigest(c) || p.cfg.MD5 && c.Algorithm != "" && !strings.EqualFold(c.Algorithm, "MD5") {
			continue
		}
		p.mu.Lock()
		p.login = login{header: header, chal: c}
		p.mu.Unlock()
		return p.credentials(method, uri)
	}
	return ""
}

func (p *Phone) knows(header string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.login.header == header
}

// credentials answers the last challenge once more.
func (p *Phone) credentials(method, uri string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.login.chal == nil {
		return ""
	}
	p.login.count++
	c, err := digest.Digest(p.login.chal, digest.Options{
		Method: method, URI: uri, Username: p.cfg.Auth, Password: p.cfg.Password, Count: p.login.count, Cnonce: "c" + p.cfg.User,
	})
	if err != nil {
		p.t.Errorf("%s: digest: %v", p.cfg.User, err)
		return ""
	}
	return p.login.header + ": " + c.String()
}

// Do sends a request outside a dialog, answers one challenge, and gives the final response; nil when there was none. A To of
// the AOR's domain is made from the URI.
func (p *Phone) Do(method, uri string, headers []string, body string) *Message {
	r := p.outside(method, uri, headers, body)
	m := p.begin(r, nil).Final()
	if m.Status() != 401 && m.Status() != 407 {
		return m
	}
	line := p.authorize(m, method, uri)
	if line == "" {
		return m
	}
	r.cseq, r.branch, r.Headers = p.nextCSeq(), "", append(append([]string(nil), headers...), line)
	return p.begin(r, nil).Final()
}

// Start sends a request outside a dialog without credentials.
func (p *Phone) Start(method, uri string, headers []string, body string) *Transaction {
	return p.begin(p.outside(method, uri, headers, body), nil)
}

// StartAuthorized sends a request outside a dialog with credentials from the last challenge.
func (p *Phone) StartAuthorized(method, uri string, headers []string, body string) *Transaction {
	if line := p.credentials(method, uri); line != "" {
		headers = append(append([]string(nil), headers...), line)
	}
	return p.begin(p.outside(method, uri, headers, body), nil)
}

func (p *Phone) outside(method, uri string, headers []string, body string) Request {
	return Request{
		Method: method, URI: uri, Headers: headers, Body: body, from: "<" + p.AOR() + ">;tag=" + p.newID("t"), to: "<" + uri + ">", callID: p.newID("id"), cseq: p.nextCSeq(),
	}
}

func (p *Phone) nextCSeq() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cseq++
	return p.cseq
}

// Register registers the phone's contact for an hour and gives the final response. Header lines may change that.
func (p *Phone) Register(headers ...string) *Message {
	uri := "sip:" + p.cfg.Domain
	lines := append([]string(nil), headers...)
	has := func(name string) bool {
		for _, h := range headers {
			if strings.HasPrefix(strings.ToLower(h), strings.ToLower(name)+":") {
				return true
			}
		}
		return false
	}
	if !has("Contact") {
		lines = append(lines, "Contact: <"+p.Contact()+">")
	}
	if !has("Expires") {
		lines = append(lines, "Expires: 3600")
	}
	r := Request{
		Method: "REGISTER", URI: uri, Headers: lines, from: "<" + p.AOR() + ">;tag=" + p.newID("t"), to: "<" + p.AOR() + ">", callID: p.callID, cseq: p.nextCSeq(),
	}
	m := p.begin(r, nil).Final()
	if m.Status() != 401 {
		return m
	}
	line := p.authorize(m, "REGISTER", uri)
	if line == "" {
		return m
	}
	r.cseq, r.branch, r.Headers = p.nextCSeq(), "", append(append([]string(nil), lines...), line)
	return p.begin(r, nil).Final()
}

// MustRegister is Register and fails the test unless it was answered with 200.
func (p *Phone) MustRegister(headers ...string) *Phone {
	p.t.Helper()
	if m := p.Register(headers...); m.Status() != 200 {
		p.t.Fatalf("%s could not register: %v\n%s", p.cfg.User, m, p.Ladder())
	}
	return p
}
