package sip

import (
	"crypto/rand"
	"strings"

	"tandem/sip/message"
	"tandem/sip/transport"
)

// An Outgoing is a call that Tandem itself makes on behalf of somebody whom it has answered: whom it rings, and with what offer.
type Outgoing struct {
	Relay        // who rings; Media, if any, stands between the phones and SDP; Events hears of ringing alone
	To    string // number or name that is called
	SDP   string // the offer, a description of our own
	Extra string // header lines with CRLF, of a request that wants more than to ring
	Leg   LegEvents
	// Answered is told, before the outcome, that a phone has answered: the leg to it, and its answer as Media tells it. On the shard.
	Answered func(l *Leg, sdp string)
}

// outgoing is what the transaction of an Outgoing has in place of a caller on the network.
type outgoing struct {
	Outgoing
	tag  string // ours
	from string // From value with it
}

// Ringing is an Outgoing under way. It belongs to the shard of the leg that it is for.
type Ringing struct{ fork *fork }

// Cancel gives up; the outcome says so. From the shard.
func (r *Ringing) Cancel(reason string) { r.fork.cancel(`SIP;cause=487;text=` + message.Quote(reason)) }

// CompletedElsewhere is Cancel for a call that somebody else has answered: phones do not count it as missed. From the shard.
func (r *Ringing) CompletedElsewhere() { r.fork.cancel(elsewhere) }

// Call rings phones in the name of the party of a leg. The call has a Call-ID and a dialog of its own, on the shard of this leg; then is told
// there how it ended. From the shard.
func (l *Leg) Call(o Outgoing, then func(Result)) *Ringing {
	sh := l.sh
	own := &outgoing{Outgoing: o, tag: rand.Text()}
	own.from = l.remote.withoutTag() + ";tag=" + own.tag
	callID := sh.callID()
	uri := message.URI{Scheme: "sip", User: message.Escape(o.To), Host: l.domain}
	text := append([]byte("INVITE "), uri.String()...)
	text = append(text, " SIP/2.0\r\nMax-Forwards: 70\r\n"...)
	to := "<" + uri.String() + ">"
	if v := o.Veil; v != nil {
		own.from, to = v.From+";tag="+own.tag, v.To
	}
	text = message.AppendHeader(text, "From", own.from)
	text = message.AppendHeader(text, "To", to)
	text = message.AppendHeader(text, "Call-ID", callID)
	text = append(text, "CSeq: 1 INVITE\r\nAllow: "+legMethods+"\r\n"...)
	if l.privacy != "" && o.Veil == nil {
		text = message.AppendHeader(text, "Privacy", l.privacy)
	}
	if sh.srv.cfg.Software != "" {
		text = message.AppendHeader(text, "User-Agent", sh.srv.cfg.Software)
	}
	text = append(text, o.Extra...)
	text = append(text, "Content-Type: application/sdp\r\n\r\n"...)
	text = append(text, o.SDP...)
	m := new(message.Message)
	err := m.Parse(string(text))
	tx := &transaction{sh: sh, invite: true, m: m, own: own}
	tx.routed.uri = m.URI
	tx.in = &Inbound{Msg: m, URI: uri, Tenant: l.remote.tenant, User: l.remote.user, At: sh.now(), sh: sh, tx: tx, callID: callID}
	sh.count.pending.Add(1)
	f := &fork{sh: sh, tx: tx, in: tx.in, relay: o.Relay, then: then, groups: o.Groups, fromCaller: true, breadth: defaultBreadth}
	if err != nil { // only a number that cannot be written into a URI does that
		f.refuseWith(500, 399, err.Error())
		return &Ringing{f}
	}
	f.start()
	return &Ringing{f}
}

// callID makes a Call-ID that falls to this shard, so that what belongs together is thought about in one place.
func (sh *shard) callID() string {
	for {
		if id := rand.Text(); sh.srv.net.Shard(id) == sh.io {
			return id
		}
	}
}

func (p *party) withoutTag() string {
	value, _, _ := strings.Cut(p.value, ";tag="+p.tag)
	return value
}

// over is the end of an INVITE of our own, which no network waits for.
func (o *outgoing) over(tx *transaction, status int) {
	if status >= 200 && tx.state == txProceeding {
		tx.state = txCompleted
		tx.finish()
	}
}

// contact writes the Contact line by which the phone that a branch rings reaches us.
func (b *branch) contact(dst []byte) []byte {
	return append(b.sh.srv.appendOwnURI(append(dst, "Contact: <"...), b.flow, b.sh.srv.homeUser(), false), ">\r\n"...)
}

// ownAnswered is a 2xx to an INVITE of our own: it is acknowledged, and becomes a leg, or is ended when nobody wants it any more or its
// description cannot be used. It tells whether it has become a leg.
func (f *fork) ownAnswered(b *branch, m *message.Message, p transport.Packet) bool {
	if f.abandoned || f.answered || f.tx.state != txProceeding {
		b.ackAndBye(m, tooLate)
		return false
	}
	sdp, err := f.rewriteAnswer(b, m, p)
	if err != nil || sdp == "" {
		b.ackAndBye(m, `SIP;cause=488;text="session description refused"`)
		f.giveUp(488)
		return false
	}
	l := f.legTo(b, m)
	if !f.sh.addDialog(l.callID, l) {
		b.ackAndBye(m, tooLate)
		f.giveUp(503)
		return false
	}
	ack := &branch{sh: f.sh, method: "ACK", flow: l.remote.flow}
	ack.number()
	ack.writeOwn(&ownRequest{method: "ACK", to: l.remote, from: l.local, callID: l.callID, cseq: l.cseq})
	_ = f.sh.send(ack.flow, ack.out)
	b.leave(&remains{flow: ack.flow, last: ack.out, own: true})
	ack.end()

	f.answered, f.cancelling = true, true
	f.groups, f.delayed = nil, nil
	f.cancelBranches(elsewhere)
	f.sh.timers.stop(&f.timer)
	f.tx.own.over(f.tx, m.Status)
	l.armSession()
	f.tx.own.Answered(l, sdp)
	f.finish(Result{Status: m.Status, Answered: true})
	return true
}

// giveUp ends a call of our own at an answer that makes no call.
func (f *fork) giveUp(status int) {
	f.abandoned, f.cancelling = true, true
	f.groups, f.delayed = nil, nil
	f.cancelBranches("")
	f.sh.timers.stop(&f.timer)
	f.finish(Result{Status: status})
}

// legTo is the leg that a 2xx makes (RFC 3261 §12.1.2).
func (f *fork) legTo(b *branch, m *message.Message) *Leg {
	own := f.tx.own
	l := &Leg{
		sh: f.sh, callID: m.CallID(), tag: own.tag, local: own.from, cseq: 1 + f.shift, events: own.Leg, domain: f.in.URI.Host, unheard: true,
		limit: f.sh.now().Add(f.sh.srv.limits().MaxCallTime),
	}
	l.remote = party{
		tag: m.ToTag(), value: m.Get(message.To), contact: remoteTarget(m), flow: b.flow, tenant: b.target.Tenant, user: b.target.User, login: b.target.Login,
	}
	for _, v := range m.List(message.RecordRoute) {
		l.remote.routes = append([]string{v}, l.remote.routes...)
	}
	l.remote.flow = f.sh.partyFlow(&l.remote, b.flow)
	return l
}

// User is who is at the other end, "" outside.
func (l *Leg) User() string { return l.remote.user }

// Post runs fn on the leg's shard. Any goroutine. It waits while the shard has too much to do.
func (l *Leg) Post(fn func()) { l.sh.insist(fn) }

// Go runs fn in a goroutine of its own, for what waits or takes long. What fn returns runs on the leg's shard, unless the leg is over by
// then. From the shard.
func (l *Leg) Go(fn func() (then func())) {
	h := &l.sh.srv.handlers
	if h.running.Add(1) > maxHandlers {
		h.running.Add(-1)
		l.sh.count.shed.Add(1)
		l.hangup("too much to do")
		return
	}
	h.wg.Go(func() {
		defer h.running.Add(-1)
		then := l.think(fn)
		l.Post(func() {
			if !l.over && then != nil {
				then()
			}
		})
	})
}

// think runs fn; a fault in it ends the leg.
func (l *Leg) think(fn func() func()) (then func()) {
	defer func() {
		if r := recover(); r != nil {
			l.sh.count.panics.Add(1)
			l.sh.srv.cfg.Log.Error("a call's handler panicked; the call is ended, others go on", "call", l.callID, "panic", r, "stack", stack())
			then = func() { l.hangup("internal error") }
		}
	}()
	return fn()
}
