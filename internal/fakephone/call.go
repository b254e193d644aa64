package fakephone

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Call is one dialog, or one on its way to be, at either end.
type Call struct {
	Phone  *Phone
	CallID string
	Invite *Message // as received; nil for calls the phone has placed
	Tag    string   // ours

	incoming bool
	tries    int          // challenges answered
	tx       *Transaction // last INVITE sent

	mu      sync.Mutex
	remote  string // tag of the peer, "" before there is a dialog
	local   string // From value of our requests
	peer    string // To value of our requests
	target  string
	routes  []string
	cseq    uint32
	noACK   bool
	answers []*Message // distinct 2xx to INVITEs sent, by their tag
	acks    map[string]string
	ackSDP  string
	said    string // the description that it has begun with
	last    string // response to the INVITE received, sent again for retransmissions of it
	dead    bool

	once      struct{ cancel, ack, end sync.Once }
	cancelled chan struct{}
	acked     chan struct{}
	ended     chan struct{}
}

func (p *Phone) newCall(callID, tag string) *Call {
	c := &Call{
		Phone: p, CallID: callID, Tag: tag, noACK: p.cfg.NoACK, acks: make(map[string]string), cancelled: make(chan struct{}), acked: make(chan struct{}),
		ended: make(chan struct{}),
	}
	p.mu.Lock()
	p.calls = append(p.calls, c)
	p.mu.Unlock()
	return c
}

// Call sends an INVITE to a user of the phone's domain, or to a URI, and comes back at once. A challenge is answered by
// itself, and so is a 2xx, with an ACK.
func (p *Phone) Call(to, sdp string, headers ...string) *Call {
	uri := to
	if !strings.Contains(to, ":") {
		uri = "sip:" + to + "@" + p.cfg.Domain
	}
	c := p.newCall(p.newID("call"), p.newID("t"))
	c.local, c.peer = "<"+cmp.Or(p.cfg.From, p.AOR())+">;tag="+c.Tag, "<"+uri+">"
	c.cseq, c.said = p.nextCSeq(), sdp
	if p.cfg.Eager && p.knows("Proxy-Authorization") {
		headers = append(slices.Clone(headers), p.credentials("INVITE", uri))
	}
	r := Request{Method: "INVITE", URI: uri, Headers: headers, Body: sdp, from: c.local, to: c.peer, callID: c.CallID, cseq: c.cseq}
	p.begin(r, c)
	return c
}

// heard takes a response to an INVITE of ours, in the reader: acknowledges what is final, answers challenges, learns the
// dialog.
func (c *Call) heard(t *Transaction, m *Message) {
	switch {
	case m.Status() < 200:
		c.learn(m)
	case m.Status() < 300:
		c.learn(m)
		c.mu.Lock()
		if !slices.ContainsFunc(c.answers, func(o *Message) bool { return o.ToTag() == m.ToTag() && o.Header("CSeq") == m.Header("CSeq") }) {
			c.answers = append(c.answers, m)
		}
		quiet := c.noACK
		c.mu.Unlock()
		if !quiet {
			c.ACK(m)
		}
	default:
		c.Phone.ackFailure(t, m)
		c.retry(t, m)
	}
}

// retry sends the INVITE again with credentials, once.
func (c *Call) retry(t *Transaction, m *Message) {
	if m.Status() != 407 && m.Status() != 401 || t.acked != "" {
		return
	}
	t.acked = "challenged"
	if c.tries++; c.tries > 1 { // only the reader comes here
		return
	}
	line := c.Phone.authorize(m, "INVITE", t.req.URI)
	if line == "" {
		return
	}
	c.mu.Lock()
	c.cseq = c.Phone.nextCSeq()
	r := t.req
	r.Headers = slices.DeleteFunc(slices.Clone(r.Headers), func(h string) bool { return strings.Contains(h, "uthorization: Digest") })
	r.cseq, r.branch, r.Headers = c.cseq, "", append(r.Headers, line)
	c.mu.Unlock()
	c.Phone.begin(r, c)
}

// ackFailure is the ACK to a final response other than 2xx (RFC 3261 §17.1.1.3).
func (p *Phone) ackFailure(t *Transaction, m *Message) {
	r := t.req
	r.Method, r.to, r.Body, r.branch = "ACK", m.Header("To"), "", t.branch
	r.Headers = slices.DeleteFunc(slices.Clone(r.Headers), func(h string) bool { return !strings.HasPrefix(h, "Route:") && !strings.HasPrefix(h, "Via:") })
	p.Send(p.build(&r))
}

// learn takes the dialog's state from a response (RFC 3261 §12.1.2). The first tag counts until a 2xx has another one.
func (c *Call) learn(m *Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.ToTag() == "" || c.remote != "" && c.remote != m.ToTag() && m.Status() < 200 || len(c.answers) > 0 && c.answers[0].ToTag() != m.ToTag() {
		return
	}
	first := c.remote == ""
	c.remote, c.peer = m.ToTag(), m.Header("To")
	if contact := m.Header("Contact"); contact != "" {
		c.target = Addr(contact)
	}
	if !c.incoming && (first || len(c.answers) == 0) {
		c.routes = splitList(m.Headers("Record-Route"))
		slices.Reverse(c.routes)
	}
}

func splitList(lines []string) []string {
	var out []string
	for _, l := range lines {
		for _, v := range strings.Split(l, ",") {
			out = append(out, strings.TrimSpace(v))
		}
	}
	return out
}

// transaction is that of the last INVITE sent.
func (c *Call) transaction() *Transaction {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tx
}

// Final waits for the final response to the call's INVITE, challenges aside; nil when none came in ten minutes.
func (c *Call) Final() *Message {
	deadline := time.Now().Add(10 * time.Minute)
	for {
		t := c.transaction()
		m := t.Within(time.Until(deadline))
		if m == nil {
			return nil
		}
		if t == c.transaction() {
			return m
		}
	}
}

// MustAnswer waits for a 2xx and fails the test on anything else.
func (c *Call) MustAnswer() *Message {
	c.Phone.t.Helper()
	m := c.Final()
	if m.Status()/100 != 2 {
		c.Phone.t.Fatalf("%s's call was not answered: %v\n%s", c.Phone.cfg.User, m, c.Phone.Ladder())
	}
	return m
}

// AwaitStatus waits until the call's INVITE has had a response with a status.
func (c *Call) AwaitStatus(status int) *Message {
	c.Phone.t.Helper()
	return c.Phone.Await(strconv.Itoa(status), func(m *Message) bool {
		_, method := m.CSeq()
		return m.Status() == status && method == "INVITE" && m.CallID() == c.CallID
	})
}

// Answers are the 2xx of different peers.
func (c *Call) Answers() []*Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.answers)
}

// SetACK gives the body of the ACK to come: the answer to an offer in the 2xx. Or that there is none to be.
func (c *Call) SetACK(sdp string, none bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ackSDP, c.noACK = sdp, none
}

// ACK acknowledges a 2xx (RFC 3261 §13.2.2.4): with the same bytes for each retransmission.
func (c *Call) ACK(ok *Message) {
	p := c.Phone
	n, _ := ok.CSeq()
	key := ok.ToTag() + " " + strconv.Itoa(int(n))
	c.mu.Lock()
	text := c.acks[key]
	if text == "" {
		routes := splitList(ok.Headers("Record-Route"))
		slices.Reverse(routes)
		if c.incoming || len(c.answers) > 0 && c.answers[0].ToTag() == ok.ToTag() {
			routes = c.routes
		}
		r := Request{Method: "ACK", URI: Addr(ok.Header("Contact")), Body: c.ackSDP, from: c.local, to: ok.Header("To"), callID: c.CallID, cseq: n, routes: routes}
		c.mu.Unlock()
		r.branch = p.newBranch()
		text = p.build(&r)
		c.mu.Lock()
		c.acks[key] = text
	}
	c.mu.Unlock()
	p.Send(text)
}

// Cancel sends a CANCEL for the last INVITE (RFC 3261 §9.1).
func (c *Call) Cancel() *Transaction {
	t := c.transaction()
	r := t.req
	r.Method, r.Body = "CANCEL", ""
	r.Headers = slices.DeleteFunc(slices.Clone(r.Headers), func(h string) bool { return !strings.HasPrefix(h, "Route:") && !strings.HasPrefix(h, "Via:") })
	r.branch = t.branch
	return c.Phone.begin(r, nil)
}

// Request sends a request inside the dialog.
func (c *Call) Request(method, sdp string, headers ...string) *Transaction {
	var call *Call
	if method == "INVITE" {
		call = c
	}
	c.mu.Lock()
	if c.cseq == 0 {
		c.cseq = 100
	}
	c.cseq = max(c.cseq+1, c.Phone.nextCSeq())
	r := Request{Method: method, URI: c.target, Headers: headers, Body: sdp, from: c.local, to: c.peer, callID: c.CallID, cseq: c.cseq, routes: c.routes}
	c.mu.Unlock()
	return c.Phone.begin(r, call)
}

// RequestTo is Request for the peer of one of several answers.
func (c *Call) RequestTo(ok *Message, method string) *Transaction {
	routes := splitList(ok.Headers("Record-Route"))
	slices.Reverse(routes)
	r := Request{Method: method, URI: Addr(ok.Header("Contact")), from: c.local, to: ok.Header("To"), callID: c.CallID, cseq: c.Phone.nextCSeq(), routes: routes}
	return c.Phone.begin(r, nil)
}

// SetRoutes replaces the route set and the remote target of later requests.
func (c *Call) SetRoutes(target string, routes ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.target, c.routes = target, routes
}

// Reinvite sends a new offer and gives the final response.
func (c *Call) Reinvite(sdp string, headers ...string) *Message {
	return c.Request("INVITE", sdp, headers...).Final()
}

// Bye hangs up and gives the final response, nil when there was none.
func (c *Call) Bye() *Message {
	t := c.Request("BYE", "")
	m := t.Final()
	c.end()
	return m
}

func (c *Call) end() {
	c.mu.Lock()
	c.dead = true
	c.mu.Unlock()
	c.once.end.Do(func() { close(c.ended) })
}

// Ended is closed when the peer or the phone has hung up.
func (c *Call) Ended() <-chan struct{} { return c.ended }

// Cancelled is closed when the caller has given up before the call was answered.
func (c *Call) Cancelled() <-chan struct{} { return c.cancelled }

// Acked is closed when the ACK to our 2xx has come.
func (c *Call) Acked() <-chan struct{} { return c.acked }

// WaitEnded waits until the call is over, for so long; false when it is not.
func (c *Call) WaitEnded(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.ended:
		return true
	case <-timer.C:
		return false
	}
}

// Respond answers the call's INVITE.
func (c *Call) Respond(status int, sdp string, headers ...string) *Message {
	return c.Phone.answer(c.Invite, c.Tag, status, sdp, headers, func(text string) {
		c.mu.Lock()
		c.last = text
		c.mu.Unlock()
	})
}

// Ring sends 180.
func (c *Call) Ring() { c.Respond(180, "") }

// Answer sends 200 with a session description, again and again until the ACK comes (RFC 3261 §13.3.1.4). It comes back at
// once.
func (c *Call) Answer(sdp string, headers ...string) {
	c.mu.Lock()
	c.said = sdp
	c.mu.Unlock()
	m := c.Respond(200, sdp, headers...)
	c.Phone.run(func() { c.repeat(m) })
}

func (c *Call) repeat(m *Message) {
	every, until := t1, time.Now().Add(timeout)
	for time.Now().Before(until) {
		timer := time.NewTimer(every)
		select {
		case <-timer.C:
		case <-c.acked:
			timer.Stop()
			return
		case <-c.ended:
			timer.Stop()
			return
		}
		if c.Phone.isClosed() {
			return
		}
		c.Phone.sendOn(m.link, m.Text, m.Peer)
		every = min(2*every, t2)
	}
}

// Refuse sends a final response other than 2xx, again until the ACK comes.
func (c *Call) Refuse(status int, headers ...string) {
	m := c.Respond(status, "", headers...)
	if m.link.net == "udp" {
		c.Phone.run(func() { c.repeat(m) })
	}
}

// reply makes the bytes of a response.
func (p *Phone) reply(req *Message, tag string, status int, sdp string, headers []string) string {
	var out strings.Builder
	out.WriteString("SIP/2.0 " + strconv.Itoa(status) + " " + phrase(status) + "\r\n")
	given := make(map[string]bool)
	for _, h := range headers {
		name, _, _ := strings.Cut(h, ":")
		given[strings.ToLower(name)] = true
	}
	for _, v := range req.Headers("Via") {
		out.WriteString("Via: " + v + "\r\n")
	}
	to := req.Header("To")
	if Param(to, "tag") == "" && status > 100 {
		to += ";tag=" + tag
	}
	out.WriteString("From: " + req.Header("From") + "\r\nTo: " + to + "\r\nCall-ID: " + req.CallID() + "\r\nCSeq: " + req.Header("CSeq") + "\r\n")
	_, method := req.CSeq()
	if status > 100 && status < 300 {
		if !given["record-route"] {
			for _, v := range req.Headers("Record-Route") {
				out.WriteString("Record-Route: " + v + "\r\n")
			}
		}
		if (method == "INVITE" || method == "UPDATE" || method == "SUBSCRIBE") && !given["contact"] {
			out.WriteString("Contact: <" + p.Contact() + ">\r\n")
		}
	}
	for _, h := range headers {
		out.WriteString(h + "\r\n")
	}
	if sdp != "" && !given["content-type"] {
		out.WriteString("Content-Type: application/sdp\r\n")
	}
	out.WriteString("Content-Length: " + strconv.Itoa(len(sdp)) + "\r\n\r\n" + sdp)
	return out.String()
}

func phrase(status int) string {
	switch status {
	case 100:
		return "Trying"
	case 180:
		return "Ringing"
	case 183:
		return "Session Progress"
	case 200:
		return "OK"
	case 486:
		return "Busy Here"
	case 487:
		return "Request Terminated"
	case 603:
		return "Decline"
	}
	return "Status " + strconv.Itoa(status)
}

// answer sends a response to a request on the link it came over and remembers it for retransmissions.
func (p *Phone) answer(req *Message, tag string, status int, sdp string, headers []string, keep func(string)) *Message {
	text := p.reply(req, tag, status, sdp, headers)
	_, method := req.CSeq()
	p.mu.Lock()
	if s := p.servers[req.Branch()+" "+method]; s != nil {
		s.last = text
	}
	p.mu.Unlock()
	if keep != nil {
		keep(text)
	}
	m := &Message{Text: text, Out: true, Peer: req.Peer, Net: req.link.net, link: req.link}
	p.sendOn(req.link, text, req.Peer)
	return m
}

// Reply answers a request that OnRequest has taken.
func (p *Phone) Reply(req *Message, status int, headers ...string) {
	p.answer(req, p.newID("t"), status, "", headers, nil)
}
