package sip

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"tandem/sip/message"
	"tandem/sip/transport"
)

// ErrGone says that the caller hung up, or was answered, before.
var ErrGone = errors.New("sip: the caller is gone")

// LegEvents is told what happens on a leg that Tandem answers. All methods run on the leg's shard and must not block.
type LegEvents interface {
	// Reoffer answers a new offer inside the dialog; an empty sdp asks for an offer of ours (RFC 3261 §14.2).
	Reoffer(sdp string) (string, error)
	// Answered gives the answer to an offer of ours, from an ACK.
	Answered(sdp string)
	// Ended is told once that the leg is over.
	Ended(reason string, byCaller bool)
}

// A Leg is our end of a dialog (RFC 3261 §12): with a caller whom Tandem has answered (echo test, music, tones, menus), or with a phone that
// it has called for one (see Call). It belongs to its shard; Hangup may be called from anywhere.
type Leg struct {
	sh     *shard
	callID string
	tag    string // ours
	local  string // From value of requests of ours
	remote party
	cseq   uint32 // last number we used
	events LegEvents
	timer  timer
	flow   transport.Flow // of the INVITE whose 2xx waits for its ACK
	ok     []byte         // that 2xx, nil once acknowledged
	every  time.Duration
	until  time.Time
	ours   bool // the 2xx carried an offer of ours
	doomed bool // to be hung up as soon as the 2xx is acknowledged
	why    string
	over   bool

	domain  string // the party's
	privacy string // what the party asks for (RFC 3323)
	unheard bool   // no request of the party has come yet: its CSeq is not known

	session time.Time
	limit   time.Time
}

// Answer says how an INVITE is answered here.
type Answer struct {
	SDP    string // answer to the INVITE's offer, or an offer of ours when it had none
	Events LegEvents
}

// legMethods is what a leg takes.
const legMethods = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE"

// supportedByLegs are the option tags a leg understands (RFC 3261 §8.2.2.3).
var supportedByLegs = []string{"timer", "100rel", "replaces", "outbound", "path", "gruu"}

// Answer takes the call: 200 OK with the session description, sent again until the ACK comes. From the shard.
func (in *Inbound) Answer(a Answer) (*Leg, error) {
	sh, tx := in.sh, in.tx
	if tx.state != txProceeding || tx.m == nil || !tx.invite {
		return nil, ErrGone
	}
	m := tx.m
	if unknown := unknownOptions(m); unknown != nil {
		tx.respond(&message.Response{Status: 420, Extra: message.AppendHeader(nil, "Unsupported", strings.Join(unknown, ", "))})
		return nil, errors.New("sip: the caller requires " + strings.Join(unknown, ", "))
	}
	if tx.toTag == "" {
		tx.toTag = sh.statelessTag(m)
	}
	n, _, _ := m.CSeq()
	l := &Leg{sh: sh, callID: m.CallID(), tag: tx.toTag, local: m.Get(message.To) + ";tag=" + tx.toTag, events: a.Events, limit: sh.now().Add(sh.srv.limits().MaxCallTime)}
	l.remote = party{
		tag: m.FromTag(), value: m.Get(message.From), contact: remoteTarget(m), routes: m.List(message.RecordRoute), cseq: n, tenant: in.Tenant, user: in.User,
	}
	l.domain, l.privacy = in.URI.Host, m.Get(message.Privacy)
	l.remote.flow = sh.partyFlow(&l.remote, in.Flow)
	if !sh.addDialog(l.callID, l) {
		tx.respond(&message.Response{Status: 503, Extra: []byte("Retry-After: 5\r\n")})
		return nil, errors.New("sip: too many calls")
	}
	l.ours = !hasSDP(m)
	l.accept(tx, a.SDP)
	return l, nil
}

func unknownOptions(m *message.Message) (unknown []string) {
	m.Values(message.Require, func(v string) bool {
		for _, s := range supportedByLegs {
			if strings.EqualFold(s, v) {
				return true
			}
		}
		unknown = append(unknown, v)
		return true
	})
	return unknown
}

// accept sends the 2xx of an INVITE and keeps it until the ACK (RFC 3261 §13.3.1.4).
func (l *Leg) accept(tx *transaction, sdp string) {
	sh := l.sh
	l.flow = tx.flow
	extra := l.contact(nil, tx.flow, tx.m)
	extra = append(extra, "Allow: "+legMethods+"\r\nSupported: timer\r\n"...)
	extra = l.sessionTimer(extra, tx.m)
	r := &message.Response{Status: 200, ToTag: l.tag, RecordRoute: true, Extra: extra, ContentType: "application/sdp", Body: sdp}
	sh.buf = sh.appendReply(sh.buf[:0], tx.m, tx.flow, r)
	l.ok = append([]byte(nil), sh.buf...)
	tx.sendResponse(200, l.ok)
	l.every, l.until = timerT1, sh.now().Add(timerB)
	sh.arm(&l.timer, l, timerT1)
}

// contact writes the Contact line by which the peer reaches this leg: a sips URI when it has called one (RFC 5630 §5.1.2).
func (l *Leg) contact(dst []byte, f transport.Flow, m *message.Message) []byte {
	return append(l.sh.srv.appendOwnURI(append(dst, "Contact: <"...), f, l.sh.srv.homeUser(), wantsSIPS(m)), ">\r\n"...)
}

// sessionTimer accepts the session interval a caller asks for and leaves the refreshing to it (RFC 4028 §9).
func (l *Leg) sessionTimer(dst []byte, m *message.Message) []byte {
	n, ok := sessionExpires(m)
	if !ok || n < minSession || !supportsTimer(m) {
		l.session = time.Time{}
		return dst
	}
	l.session = l.sh.now().Add(time.Duration(n)*time.Second + sessionGrace)
	return append(dst, "Require: timer\r\nSession-Expires: "+strconv.Itoa(int(n))+";refresher=uac\r\n"...)
}

func (l *Leg) owns(fromTag, toTag string) (fromCaller, ok bool) {
	return true, fromTag == l.remote.tag && toTag == l.tag
}

// Has tells whether the tags of a dialog that a Replaces names are those of this leg: to-tag is ours (RFC 3891 §3). Any goroutine.
func (l *Leg) Has(toTag, fromTag string) bool { return l.tag == toTag && l.remote.tag == fromTag }

// expire repeats the 2xx, gives up on a missing ACK, ends a stale session.
func (l *Leg) expire(now time.Time) {
	switch {
	case l.ok != nil && !now.Before(l.until):
		l.hangup("no ACK")
	case l.ok != nil:
		_ = l.sh.send(l.flow, l.ok) // over streams as well: a later hop may be UDP
		l.every = min(2*l.every, timerT2)
		next := now.Add(l.every)
		if next.After(l.until) {
			next = l.until
		}
		l.sh.timers.arm(&l.timer, next)
	case !l.session.IsZero() && !now.Before(l.session):
		l.sh.count.sessionsExpired.Add(1)
		l.hangup("session expired")
	default:
		l.hangup("longest call time reached")
	}
}

func (l *Leg) ack(m *message.Message, p transport.Packet, _ bool) {
	l.remote.flow = l.sh.partyFlow(&l.remote, p.Flow)
	if l.ok == nil {
		return
	}
	l.ok = nil
	if l.doomed {
		l.hangup(l.why)
		return
	}
	if l.ours {
		switch b, err := describe(m); {
		case err != nil:
			l.hangup("session description refused")
			return
		case b.found:
			l.events.Answered(b.sdp())
		}
	}
	l.armSession()
}

func (l *Leg) armSession() {
	at := l.limit
	if !l.session.IsZero() && l.session.Before(at) {
		at = l.session
	}
	l.timer.owner = l
	l.sh.timers.arm(&l.timer, at)
}

// request answers requests inside the dialog.
func (l *Leg) request(m *message.Message, p transport.Packet, key uint64, _ bool) {
	n, _, _ := m.CSeq()
	if n <= l.remote.cseq && !l.unheard { // RFC 3261 §12.2.2
		l.sh.refuse(m, p, 500, "CSeq is not higher than the last one")
		return
	}
	tx := l.sh.newTransaction(m, p, key)
	if tx == nil {
		return
	}
	l.remote.cseq, l.unheard = n, false
	l.remote.flow = l.sh.partyFlow(&l.remote, p.Flow)
	tx.toTag = l.tag
	switch m.Method {
	case "BYE":
		tx.respond(&message.Response{Status: 200})
		l.end("BYE", true)
	case "INVITE", "UPDATE":
		l.reoffer(tx, m)
	case "INFO":
		l.info(tx, m)
	case "OPTIONS", "MESSAGE":
		tx.respond(&message.Response{Status: 200, Extra: []byte("Allow: " + allowed + "\r\n")})
	case "PRACK":
		tx.respond(&message.Response{Status: 481})
	case "SUBSCRIBE", "NOTIFY":
		tx.respond(&message.Response{Status: 489})
	default:
		tx.respond(&message.Response{Status: 501, Extra: []byte("Allow: " + allowed + "\r\n")})
	}
}

// reoffer is a re-INVITE or UPDATE.
func (l *Leg) reoffer(tx *transaction, m *message.Message) {
	if tx.sessionTooShort() {
		return
	}
	if uri := remoteTarget(m); uri != "" {
		l.remote.contact = uri
	}
	if l.ok != nil && m.Method == "INVITE" { // RFC 3261 §14.2: the last one is not settled yet
		tx.respond(&message.Response{Status: 491})
		return
	}
	b, err := describe(m)
	offer, answer := b.sdp(), ""
	if err == nil && (m.Method == "INVITE" || offer != "") {
		answer, err = l.events.Reoffer(offer)
	}
	if err != nil {
		status, code, warn := mediaStatus(err)
		tx.respond(&message.Response{Status: status, Extra: l.sh.srv.warning(nil, code, warn)})
		return
	}
	l.ours = offer == ""
	if m.Method == "INVITE" {
		l.accept(tx, answer)
		return
	}
	extra := l.sessionTimer(l.contact(nil, tx.flow, m), m)
	tx.respond(&message.Response{Status: 200, Extra: extra, ContentType: "application/sdp", Body: answer})
	if l.ok == nil {
		l.armSession()
	}
}

// Hangup ends the leg with a BYE. Any goroutine.
func (l *Leg) Hangup(reason string) { _ = l.sh.post(func() { l.hangup(reason) }) }

func (l *Leg) hangup(reason string) {
	if l.over {
		return
	}
	if l.ok != nil && l.sh.now().Before(l.until) { // RFC 3261 §15: no BYE before the ACK
		l.doomed, l.why = true, reason
		return
	}
	l.cseq++
	l.sh.sendOwn(ownRequest{
		method: "BYE", to: l.remote, from: l.local, callID: l.callID, cseq: l.cseq, extra: message.AppendHeader(nil, "Reason", `SIP;cause=200;text=`+message.Quote(reason)),
	})
	l.end(reason, false)
}

func (l *Leg) end(reason string, byCaller bool) {
	if l.over {
		return
	}
	l.over = true
	l.ok = nil
	l.sh.timers.stop(&l.timer)
	l.sh.removeDialog(l.callID, l)
	l.events.Ended(reason, byCaller)
}
