package sip

import (
	"crypto/rand"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"

	"tandem/sip/message"
	"tandem/sip/transport"
)

// A Veil has a relayed call go on as a call of the node's own: under another Call-ID, with tags and a Contact of ours, in the name that
// the veil gives the caller. It is for calls to and from trunks. Neither side learns anything of the other but what passes; what the
// parties have to agree on between themselves does (offers, reliable provisional responses, session timers, digits), so the call is held,
// changed, recorded, moved and ended as any other.
type Veil struct {
	From     string // of the INVITE that goes on: a name-addr without a tag
	To       string // the same
	Identity string // P-Asserted-Identity (RFC 3325), "" = none
	Privacy  string // Privacy (RFC 3323), "" = none
}

// veil is a Veil in use: by a fork, and by the dialogs that come of it.
type veil struct {
	Veil
	callID string // of the side that is called
	tag    string // of ours there
}

// wear makes the veil of a request that is to go on under one.
func (sh *shard) wear(m *Veil) *veil {
	if m == nil {
		return nil
	}
	return &veil{Veil: *m, callID: sh.callID(), tag: rand.Text()}
}

// local is the From value of the node's own requests to who is called.
func (k *veil) local() string { return k.From + ";tag=" + k.tag }

// tagAbove is the tag that the caller sees in the place of a callee's. Each callee has another, so that early dialogs are told apart (RFC 3261
// §12.1).
func (sh *shard) tagAbove(k *veil, calleeTag string) string {
	var h maphash.Hash
	h.SetSeed(sh.srv.seed)
	h.WriteString(k.callID)
	h.WriteByte(0)
	h.WriteString(calleeTag)
	return strconv.FormatUint(h.Sum64(), 36)
}

// passing are headers that go from side to side as they are: what the parties say to each other, and nothing that tells where they are.
var passing = [...]message.ID{
	message.Accept, message.ContentEncoding, message.ContentDisposition, message.SessionExpires, message.MinSE, message.RSeq, message.RetryAfter,
	message.ReasonID, message.Date, message.Expires,
}

// passingOptions are the option tags (RFC 3261 §19.2) that concern the parties and not the elements between them.
var passingOptions = []string{"100rel", "timer", "early-session"}

// veiledMethods are the requests that pass inside a veiled call. A REFER would lead one side to the other past the veil.
const veiledMethods = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, MESSAGE"

// crosses tells whether a request passes inside a veiled call.
func crosses(method string) bool { return slices.Contains(strings.Split(veiledMethods, ", "), method) }

// appendPassing writes the header lines of m that pass.
func appendPassing(dst []byte, m *message.Message) []byte {
	for _, id := range passing {
		for i := m.Index(id); i >= 0; i = m.Next(i) {
			dst = message.AppendHeader(dst, id.String(), m.Header(i).Value)
		}
	}
	for _, id := range [...]message.ID{message.Supported, message.Require} {
		if options := passable(m, id); len(options) > 0 {
			dst = message.AppendHeader(dst, id.String(), strings.Join(options, ", "))
		}
	}
	if m.Has(message.Allow) {
		dst = append(dst, "Allow: "+veiledMethods+"\r\n"...)
	}
	return dst
}

func passable(m *message.Message, id message.ID) (options []string) {
	m.Values(id, func(v string) bool {
		if slices.ContainsFunc(passingOptions, func(o string) bool { return strings.EqualFold(o, v) }) {
			options = append(options, strings.ToLower(v))
		}
		return true
	})
	return options
}

// impassable are the options that a request asks for and that do not pass.
func impassable(m *message.Message) []string {
	all, some := m.List(message.Require), passable(m, message.Require)
	return slices.DeleteFunc(all, func(v string) bool { return slices.Contains(some, strings.ToLower(v)) })
}

// writeVeiled writes the request of a veiled fork for the branch's target.
func (b *branch) writeVeiled() {
	f := b.fork
	m, k := f.tx.m, f.veil
	n, _, _ := m.CSeq()
	r := ownRequest{method: m.Method, from: k.local(), callID: k.callID, cseq: n + f.shift, spent: hopsSpent(m)}
	r.to = party{contact: b.target.URI, routes: b.target.Path, value: k.To, flow: b.flow}
	if d := f.dialog; d != nil {
		from, to := d.sides(f.fromCaller)
		r.to.value, r.to.contact, r.to.routes = to.value, to.contact, to.routes
		r.from, r.callID = d.seenBy(!f.fromCaller)
		r.extra = d.appendRAck(r.extra, m, from)
	} else {
		r.extra = k.appendCaller(r.extra)
	}
	if refreshes(m) {
		r.extra = b.contact(r.extra)
	}
	r.extra = appendPassing(r.extra, m)
	r.extra = f.session.write(r.extra)
	r.body = m.Body()
	if f.newBody {
		r.body = b.body
	}
	if r.body != "" {
		r.extra = message.AppendHeader(r.extra, "Content-Type", m.Get(message.ContentType))
	}
	b.writeOwn(&r)
}

// hopsSpent is how many of a request's hops are used when it goes on (RFC 3261 §16.6 step 3): a call that comes back over a trunk must end
// some time.
func hopsSpent(m *message.Message) int {
	n, ok := message.ParseUint(m.Get(message.MaxForwards))
	if !ok {
		return 0
	}
	return mostHops + 1 - int(max(min(n, mostHops), 1))
}

// appendCaller writes what the callee is told of the caller besides From.
func (k *Veil) appendCaller(dst []byte) []byte {
	if k.Identity != "" {
		dst = message.AppendHeader(dst, "P-Asserted-Identity", k.Identity)
	}
	if k.Privacy != "" {
		dst = message.AppendHeader(dst, "Privacy", k.Privacy)
	}
	return dst
}

// appendRAck writes the RAck of a PRACK with the number that the other side knows its INVITE by (RFC 3262 §7.2).
func (d *Dialog) appendRAck(dst []byte, m *message.Message, from *party) []byte {
	rseq, of, ok := strings.Cut(m.Get(message.RAck), " ")
	if !ok || m.Method != "PRACK" {
		return dst
	}
	n, method, ok := message.ParseCSeq(strings.TrimSpace(of))
	if !ok {
		return dst
	}
	return message.AppendHeader(dst, "RAck", rseq+" "+strconv.FormatUint(uint64(from.numbers.out(n)), 10)+" "+method)
}

// write is apply for a request that is written anew. What the request itself said has passed already.
func (s *session) write(dst []byte) []byte {
	if s.insert || s.raise {
		dst = message.AppendHeader(dst, "Session-Expires", strconv.FormatUint(uint64(s.seconds), 10))
	}
	return dst
}

// seenBy is the node's end of a call as one party knows it: the From value of requests to it, and the Call-ID. Without a veil that is the
// other party's.
func (d *Dialog) seenBy(caller bool) (from, callID string) {
	switch {
	case d.veil == nil:
		other, _ := d.sides(!caller)
		return other.value, d.callID
	case caller:
		return d.above, d.callID
	}
	return d.veil.local(), d.veil.callID
}

// veiled puts a new dialog behind its fork's veil: the callee's side is found under a Call-ID of its own. false: the table is full.
func (d *Dialog) veiled(f *fork, inv *message.Message) bool {
	d.veil = f.veil
	d.above = inv.Get(message.To) + ";tag=" + d.sh.tagAbove(d.veil, d.callee.tag)
	return d.sh.addDialog(d.veil.callID, calleeSide{d})
}

// calleeSide is a veiled call as its callee's requests find it.
type calleeSide struct{ *Dialog }

func (c calleeSide) owns(fromTag, toTag string) (fromCaller, ok bool) {
	switch {
	case c.callee.tag == fromTag && c.veil.tag == toTag:
		return false, true
	case c.callee.tag == toTag && c.veil.tag == fromTag: // of a response
		return true, true
	}
	return false, false
}

// upVeiled sends a response to the side that asked, as one of the node's own.
func (f *fork) upVeiled(b *branch, m *message.Message, p transport.Packet) {
	body := m.Body()
	if f.relay.Media != nil && body != "" || b.sdpIn != "" {
		var err error
		if body, err = f.rewriteAnswer(b, m, p); err != nil {
			body = ""
			if m.Status >= 200 {
				f.sh.hangupLater(m)
			}
			f.sh.srv.cfg.Log.Warn("an answer's session description cannot be used", "call", m.CallID(), "peer", p.Flow.Remote, "error", err)
		}
	}
	f.answerVeiled(m, body)
}

// answerVeiled writes a response of one side for the other and sends it.
func (f *fork) answerVeiled(m *message.Message, body string) {
	tx := f.tx
	if tx.m == nil {
		return
	}
	r := message.Response{Status: m.Status, RecordRoute: m.Status < 300, ToTag: f.tagFor(m), ContentType: m.Get(message.ContentType), Body: body}
	if refreshes(tx.m) && m.Status < 300 {
		r.Extra = append(f.sh.srv.appendOwnURI(append(r.Extra, "Contact: <"...), tx.flow, "", wantsSIPS(tx.m)), ">\r\n"...)
	}
	r.Extra = appendPassing(r.Extra, m)
	if n, own := f.session.agreed(m); own && m.Status/100 == 2 {
		r.Extra = append(r.Extra, "Require: timer\r\n"...)
		r.Extra = message.AppendHeader(r.Extra, "Session-Expires", strconv.FormatUint(uint64(n), 10)+";refresher=uac")
	}
	f.sh.buf = f.sh.appendReply(f.sh.buf[:0], tx.m, tx.flow, &r)
	if tx.invite && m.Status/100 == 2 {
		f.sent = append([]byte(nil), f.sh.buf...)
	}
	tx.sendResponse(m.Status, f.sh.buf)
}

// tagFor is the To tag of a response for the side that asked.
func (f *fork) tagFor(m *message.Message) string {
	if f.dialog == nil && m.Status < 300 && m.ToTag() != "" {
		return f.sh.tagAbove(f.veil, m.ToTag())
	}
	return f.sh.statelessTag(f.tx.m)
}

// refuseVeiled sends the best response of a veiled fork up. Redirections and challenges are the carrier's affair with us and not the
// caller's.
func (tx *transaction) refuseVeiled(best *message.Message) {
	status := best.Status
	switch {
	case status/100 == 3:
		status = 480
	case status == 401, status == 407, status == 503: // RFC 3261 §16.7 step 6: this node is fine
		status = 500
	}
	extra := appendPassing(nil, best)
	if status != best.Status {
		extra = tx.sh.srv.warning(nil, 399, "the next hop answered "+strconv.Itoa(best.Status))
	}
	tx.respond(&message.Response{Status: status, Extra: extra})
}

// acrossVeiled sends the ACK of one side to the other.
func (d *Dialog) acrossVeiled(m *message.Message, p transport.Packet, fromCaller bool) {
	from, to := d.sides(fromCaller)
	n, _, _ := m.CSeq()
	r := ownRequest{method: "ACK", to: *to, cseq: from.numbers.out(n), body: m.Body(), spent: hopsSpent(m)}
	r.from, r.callID = d.seenBy(!fromCaller)
	if d.late && d.media != nil {
		r.body = d.lateAnswerVeiled(m, p.Flow, to.flow, fromCaller)
	}
	d.late = false
	if r.body != "" {
		r.extra = message.AppendHeader(nil, "Content-Type", m.Get(message.ContentType))
	}
	d.sh.sendOwn(r)
}

// lateAnswerVeiled is lateAnswer for an ACK that is written anew.
func (d *Dialog) lateAnswerVeiled(m *message.Message, src, dst transport.Flow, fromCaller bool) string {
	e := &d.sh.edit
	e.Reset()
	e.Body = m.Body()
	d.lateAnswer(e, m, src, dst, fromCaller)
	return e.Body
}
