package sip

import (
	"errors"
	"hash/maphash"
	"slices"
	"strconv"

	"tandem/sip/message"
)

// An ownRequest is a request of the node's own inside a dialog, to one party of it.
type ownRequest struct {
	method       string
	to           party
	from, callID string // From value with its tag
	cseq         uint32
	extra        []byte // whole header lines with CRLF
	body         string
	spent        int         // hops that it has made already
	dialog       *Dialog     // whose remote target and count it concerns, nil for the end of a call
	toCaller     bool        // which party of dialog it goes to
	later        bool        // the 2xx to an INVITE is acknowledged by Reply.ack
	done         func(Reply) // told once what came of it; may be nil
}

// mostHops is Max-Forwards of a request of the node's own (RFC 3261 §8.1.1.6).
const mostHops = 70

// sendOwn sends a request of the node's own.
func (sh *shard) sendOwn(r ownRequest) {
	b := &branch{sh: sh, method: r.method, flow: r.to.flow, target: Target{Login: r.to.login}}
	if r.done != nil {
		b.own = &r
	}
	if !sh.srv.net.Alive(b.flow) {
		t := Target{URI: r.to.contact, Flow: r.to.flow, Known: true}
		f, ok := sh.srv.flowFor(&t)
		if !ok {
			b.own.answered(Reply{Status: 480})
			return
		}
		b.flow = f
	}
	b.number()
	b.writeOwn(&r)
	if r.method == "ACK" {
		_ = sh.send(b.flow, b.out)
		b.end()
		return
	}
	b.send()
}

// ownBranch is what the branch parameter of a request of the node's own depends on: two shards may count the same (RFC 3261 §8.1.1.7).
type ownBranch struct {
	id     uint64
	callID string
}

// writeOwn makes the bytes of a request of the node's own and decides on the connection it takes.
func (b *branch) writeOwn(r *ownRequest) {
	sh := b.sh
	target := Target{URI: r.to.contact, Flow: b.flow}
	sh.dereference(&target, len(r.to.routes) > 0)
	uri, routes := target.URI, r.to.routes
	if len(routes) == 0 {
		routes = target.Path
	}
	if len(routes) == 0 {
		b.flow = sh.openTCP(uri, b.flow)
	}
	if len(routes) > 0 && !isLoose(routes[0]) { // RFC 3261 §12.2.1.1: the next hop is a strict router
		a, _ := message.ParseAddress(routes[0])
		uri, routes = a.URI, append(slices.Clone(routes[1:]), "<"+target.URI+">")
	}
	out := make([]byte, 0, 512+len(r.body))
	out = append(append(append(append(out, r.method...), ' '), uri...), " SIP/2.0\r\n"...)
	b.loop = uint32(maphash.Comparable(sh.srv.seed, ownBranch{b.id, r.callID}))
	out = sh.appendVia(out, b.flow, b.id, b.loop)
	for _, v := range routes {
		out = message.AppendHeader(out, "Route", v)
	}
	out = message.AppendHeader(out, "Max-Forwards", strconv.Itoa(mostHops-r.spent))
	out = message.AppendHeader(out, "From", r.from)
	out = message.AppendHeader(out, "To", r.to.value)
	out = message.AppendHeader(out, "Call-ID", r.callID)
	out = message.AppendHeader(out, "CSeq", strconv.FormatUint(uint64(r.cseq), 10)+" "+r.method)
	if sh.srv.cfg.Software != "" {
		out = message.AppendHeader(out, "User-Agent", sh.srv.cfg.Software)
	}
	out = append(out, r.extra...)
	out = message.AppendHeader(out, "Content-Length", strconv.Itoa(len(r.body)))
	b.out = append(append(out, "\r\n"...), r.body...)
}

// answered tells the sender of a request what came of it. Nobody asks after most of them.
func (r *ownRequest) answered(reply Reply) {
	if r == nil || r.done == nil {
		return
	}
	done := r.done
	r.done = nil
	if d := r.dialog; d != nil {
		d.own--
		if r.method == "INVITE" {
			d.ownOffer = false
		}
	}
	done(reply)
}

// ownSuccess is a 2xx to a request whose sender asks after it. That to an INVITE is acknowledged, each time it comes (RFC 3261 §13.2.2.4).
func (b *branch) ownSuccess(m *message.Message) {
	r := b.own
	if uri := remoteTarget(m); uri != "" && refreshes(m) {
		r.to.contact = uri
		if d := r.dialog; d != nil {
			_, to := d.sides(!r.toCaller)
			to.contact, to.flow = uri, d.sh.partyFlow(to, to.flow)
		}
	}
	if r.method != "INVITE" {
		b.leave(nil)
		r.answered(replyOf(m))
		return
	}
	left, reply := &remains{flow: b.flow, own: true}, replyOf(m)
	b.leave(left)
	if r.later {
		reply.ack = func(body string) { b.sh.ackOwn(r, left, body) }
	} else {
		b.sh.ackOwn(r, left, "")
	}
	r.answered(reply)
}

// ackOwn acknowledges the 2xx to an INVITE of the node's own. What is left of it does so again.
func (sh *shard) ackOwn(r *ownRequest, left *remains, body string) {
	ack := &branch{sh: sh, method: "ACK", flow: left.flow}
	ack.number()
	out := ownRequest{method: "ACK", to: r.to, from: r.from, callID: r.callID, cseq: r.cseq, body: body}
	if body != "" {
		out.extra = message.AppendHeader(nil, "Content-Type", "application/sdp")
	}
	ack.writeOwn(&out)
	_ = sh.send(ack.flow, ack.out)
	left.flow, left.last = ack.flow, ack.out
	ack.end()
}

// A Request is one that the node itself sends inside a relayed call, in the name of the other party.
type Request struct {
	Method      string // INFO, OPTIONS, MESSAGE, UPDATE, INVITE; a call is ended by Hangup
	ToCaller    bool   // which party it is for
	ContentType string
	Body        string // an INVITE must have one: the offer. Media is not asked; who makes an offer has it from there.
	Done        func(Reply)

	later bool // an INVITE without an offer, whose answer Reply.ack acknowledges
}

// A Reply is the final response to a Request, or what took its place: 408 nobody answered, 480 the party cannot be reached, 481 the call is
// over, 405 it has said that it knows no INFO, 491 there is an offer of a party under way, 500 its numbers are used up, 503 too many requests wait or it could not be sent.
type Reply struct {
	Status      int
	ContentType string
	Body        string
	msg         *message.Message  // nil when there is none; not to be kept
	ack         func(body string) // of a Request.later
}

func replyOf(m *message.Message) Reply {
	return Reply{Status: m.Status, ContentType: m.Get(message.ContentType), Body: m.Body(), msg: m}
}

// maxOwn is how many requests of the node's own may wait for an answer in one call.
const maxOwn = 8

var ownMethods = []string{"INFO", "OPTIONS", "MESSAGE", "UPDATE", "INVITE"}

// Request sends a request of the node's own to one party of an answered call. What that party gets from the other afterwards has numbers
// that begin behind it (see numbering). Done is called once, on the call's shard, and must not block. A refused request changes nothing about
// the call; what a 408 or 481 says of it is for the caller to judge (RFC 3261 §12.2.1.2). An INVITE or UPDATE moves the time at which that
// party refreshes the session (RFC 4028 §7.4), so who sends one to one party sends one to the other. Any goroutine. An error means that
// the request was not sent and Done is not called.
func (d *Dialog) Request(r Request) error {
	if !slices.Contains(ownMethods, r.Method) || r.Method == "INVITE" && r.Body == "" {
		return errors.New("sip: " + r.Method + " cannot be sent inside a call so")
	}
	return d.sh.post(func() { d.send(r) })
}

func (d *Dialog) send(r Request) {
	done := r.Done
	if done == nil {
		done = func(Reply) {}
	}
	offer := r.Method == "INVITE" || r.Method == "UPDATE" && r.Body != ""
	refusal := 0
	var own ownRequest
	switch {
	case d.state != dialogConfirmed:
		refusal = 481
	case offer && (d.relayed > 0 || d.ownOffer): // RFC 3261 §14.1
		refusal = 491
	case r.Method == "INFO" && d.deaf(r.ToCaller):
		refusal = 405
	case d.own >= maxOwn || d.sh.srv.frozen():
		refusal = 503
	default:
		var ok bool
		if own, ok = d.ownRequest(r.Method, r.ToCaller); !ok {
			refusal = 500
		}
	}
	if refusal != 0 {
		d.sh.count.ownRefused.Add(1)
		done(Reply{Status: refusal})
		return
	}
	d.sh.count.own.Add(1)
	own.dialog, own.done, own.body, own.later = d, done, r.Body, r.later
	d.own++
	if r.Method == "INVITE" {
		d.ownOffer = true
	}
	if r.Method == "INVITE" || r.Method == "UPDATE" {
		own.extra = d.target(own.extra, r.ToCaller)
		own.extra = d.keepSession(own.extra, r.ToCaller)
	}
	if r.Body != "" {
		own.extra = message.AppendHeader(own.extra, "Content-Type", r.ContentType)
	}
	d.sh.sendOwn(own)
}

// ownRequest is a request to one party in the name of the other, with a number of its own. false: the numbers are used up.
func (d *Dialog) ownRequest(method string, toCaller bool) (ownRequest, bool) {
	from, to := d.sides(!toCaller)
	d.relocate(to)
	seq, ok := from.numbers.own(from.cseq)
	d.changed()
	r := ownRequest{method: method, to: *to, cseq: seq, toCaller: toCaller}
	r.from, r.callID = d.seenBy(toCaller)
	return r, ok
}

// target writes the Contact that a request which refreshes the remote target has: that of the party it is sent for stays.
func (d *Dialog) target(dst []byte, toCaller bool) []byte {
	from, to := d.sides(!toCaller)
	if d.veil != nil {
		return append(d.sh.srv.appendOwnURI(append(dst, "Contact: <"...), to.flow, "", isSIPS(to.contact)), ">\r\n"...)
	}
	return message.AppendHeader(dst, "Contact", "<"+from.contact+">")
}

// keepSession repeats what was agreed on of session timers: left out it would end them (RFC 4028 §7.4).
func (d *Dialog) keepSession(dst []byte, toCaller bool) []byte {
	if d.interval == 0 {
		return dst
	}
	refresher := "uac"
	if d.byCallee == !toCaller { // the party it goes to is the one that refreshes
		refresher = "uas"
	}
	dst = append(dst, "Supported: timer\r\n"...)
	return message.AppendHeader(dst, "Session-Expires", strconv.FormatUint(uint64(d.interval), 10)+";refresher="+refresher)
}

// offers tells the requests that may not cross another of their kind (RFC 3261 §14.1, RFC 3311 §5.2).
func offers(m *message.Message) bool {
	return m.Method == "INVITE" || m.Method == "UPDATE" && m.Body() != ""
}

// glares tells whether a request of a party meets an INVITE of the node's own that is not answered yet (RFC 3261 §14.2).
func (d *Dialog) glares(m *message.Message) bool { return d.ownOffer && offers(m) }

// begins notes under which number a request goes on, and that there is an offer on its way.
func (d *Dialog) begins(f *fork, m *message.Message) {
	from, _ := d.sides(f.fromCaller)
	n, _, _ := m.CSeq()
	if m.Method == "INVITE" {
		from.numbers.invite = step{}
		from.numbers.invite = step{n, from.numbers.out(n) - n}
	}
	f.shift = from.numbers.out(n) - n
	if offers(m) {
		f.offers = true
		d.relayed++
	}
}

// settled is the end of a fork of a request inside a dialog.
func (f *fork) settled() {
	if f.offers {
		f.offers = false
		f.dialog.relayed--
	}
}

// restoreCSeq gives a response on its way up the number that the request came with.
func (f *fork) restoreCSeq(m *message.Message, e *message.Edit) {
	if f.shift != 0 {
		n, method, _ := m.CSeq()
		setCSeq(m, e, n-f.shift, method)
	}
}
