package sip

import (
	"context"
	"hash/maphash"
	"slices"
	"time"

	"tandem/sip/message"
	"tandem/sip/transport"
)

// dialog is what a request with a To tag is matched to: a relayed call or a leg answered here.
type dialog interface {
	// owns tells whether the tags are this dialog's, and which side sent the request.
	owns(fromTag, toTag string) (fromCaller, ok bool)
	request(m *message.Message, p transport.Packet, key uint64, fromCaller bool)
	ack(m *message.Message, p transport.Packet, fromCaller bool)
}

func (sh *shard) dialogKey(callID string) uint64 { return maphash.String(sh.srv.seed, callID) }

// findDialog looks a request's dialog up.
func (sh *shard) findDialog(m *message.Message) (d dialog, fromCaller bool) {
	from, to := m.FromTag(), m.ToTag()
	for _, d := range sh.dialogs[sh.dialogKey(m.CallID())] {
		if fromCaller, ok := d.owns(from, to); ok {
			return d, fromCaller
		}
	}
	return nil, false
}

func (sh *shard) addDialog(callID string, d dialog) bool {
	if int(sh.count.dialogs.Load()) >= sh.srv.limits().MaxDialogs {
		sh.count.shed.Add(1)
		return false
	}
	key := sh.dialogKey(callID)
	sh.dialogs[key] = append(sh.dialogs[key], d)
	sh.count.dialogs.Add(1)
	return true
}

func (sh *shard) removeDialog(callID string, d dialog) {
	key := sh.dialogKey(callID)
	list := sh.dialogs[key]
	for i, o := range list {
		if o != d {
			continue
		}
		list[i] = list[len(list)-1]
		list[len(list)-1] = nil
		list = list[:len(list)-1]
		sh.count.dialogs.Add(-1)
		break
	}
	if sh.dialogs[key] = list; len(list) == 0 {
		delete(sh.dialogs, key)
	}
}

// inDialog sends a request with a To tag to its dialog; one without a dialog here goes on by its flow token, or gets 481.
func (sh *shard) inDialog(m *message.Message, p transport.Packet, key uint64) {
	if n, ok := message.ParseUint(m.Get(message.MaxForwards)); ok && n == 0 {
		sh.count.hops.Add(1)
		sh.refuse(m, p, 483, "Max-Forwards is used up")
		return
	}
	if m.Has(message.ProxyRequire) {
		sh.unsupported(m, p, m.List(message.ProxyRequire))
		return
	}
	if d, fromCaller := sh.findDialog(m); d != nil {
		d.request(m, p, key, fromCaller)
		return
	}
	r := sh.srv.route(m)
	flow, ok := sh.srv.openFlow(r.token)
	target := Target{URI: r.uri, Flow: flow, Known: true}
	if ok {
		sh.dereference(&target, r.next != "")
	}
	if ok && r.next != "" && flow == p.Flow { // the next hop's token is none of ours: it would go back to its sender
		ok = false
	}
	if !ok {
		if e := sh.srv.edge; e != nil && r.token != "" && e.home(r.token) == 0 {
			e.count.tokens.Add(1)
		}
		sh.count.unknown481.Add(1)
		sh.refuse(m, p, 481, "no such dialog here")
		return
	}
	if !sh.srv.net.Alive(target.Flow) { // RFC 5626 §5.3.1
		if e := sh.srv.edge; e != nil {
			e.count.tokens.Add(1)
		}
		sh.refuse(m, p, 430, "the connection to the other side is gone")
		return
	}
	tx := sh.newTransaction(m, p, key)
	if tx == nil {
		return
	}
	tx.routed = r
	f := &fork{sh: sh, tx: tx, fromCaller: true, breadth: defaultBreadth, dialog: new(Dialog)}
	tx.fork = f
	f.begin(target, defaultBreadth)
}

// ack sends an ACK to a 2xx on to its dialog. It has no transaction (RFC 3261 §13.2.2.4, §17.1.1.3).
func (sh *shard) ack(m *message.Message, p transport.Packet) {
	if d, fromCaller := sh.findDialog(m); d != nil {
		d.ack(m, p, fromCaller)
		return
	}
	sh.count.strayACKs.Add(1)
}

// A party is one end of a relayed call as the node must know it to send it a request.
type party struct {
	tag     string
	value   string   // From or To value with the tag
	contact string   // remote target
	routes  []string // elements between the node and the party
	flow    transport.Flow
	cseq    uint32 // last number this party used
	numbers numbering
	noInfo  bool // its last Allow leaves INFO out
	tenant  string
	user    string
	login   *Login // answers its challenges, nil without
}

type dialogState uint8

const (
	dialogEarly dialogState = iota
	dialogConfirmed
	dialogEnding // a BYE is on its way through
	dialogEnded
)

// A Dialog is a relayed call: what a dialog-stateful proxy keeps so that requests inside it find their way and so that the
// node can end it. It belongs to its shard; Hangup may be called from anywhere.
type Dialog struct {
	sh       *shard
	callID   string
	fork     *fork // until the call is answered
	caller   party
	callee   party
	veil     *veil  // between them, nil without
	above    string // To value that the caller knows us by, behind a veil
	state    dialogState
	byCaller bool   // who sent the BYE
	late     bool   // the last INVITE carried no offer: its ACK carries the answer
	raised   uint32 // what its INVITE's number was raised by, see Inbound.Again
	relayed  int    // INVITEs and offers in UPDATE that are on their way between the parties
	own      int    // requests of the node's own that are not answered
	ownOffer bool   // one of them is an INVITE

	media  Media
	events CallEvents
	later  *laterResponse // the 2xx that the caller is still to get

	timer    timer
	session  time.Time // when the session ends unless it is refreshed (RFC 4028), zero without a session timer
	interval uint32    // of the session in seconds
	byCallee bool      // the callee refreshes it
	limit    time.Time // when the call ends whatever happens
}

// CallID is the Call-ID both legs share.
func (d *Dialog) CallID() string { return d.callID }

func (d *Dialog) owns(fromTag, toTag string) (fromCaller, ok bool) {
	other := d.callee.tag
	if d.veil != nil {
		other = message.Tag(d.above)
	}
	switch {
	case d.caller.tag == fromTag && other == toTag:
		return true, true
	case d.caller.tag == toTag && other == fromTag:
		return false, true
	}
	return false, false
}

// earlyDialog finds or makes the dialog that a response with a To tag belongs to (RFC 3261 §12.1). nil: the table is full.
func (sh *shard) earlyDialog(f *fork, b *branch, m *message.Message) *Dialog {
	from, to, callID := m.FromTag(), m.ToTag(), m.CallID()
	if f.veil != nil {
		from, callID = f.tx.m.FromTag(), f.in.callID
	}
	for _, d := range sh.dialogs[sh.dialogKey(callID)] {
		if d, ok := d.(*Dialog); ok && d.caller.tag == from && d.callee.tag == to && (f.veil == nil || d.fork == f) {
			return d
		}
	}
	if f.tx.m == nil { // a second 2xx behind the first
		return sh.secondDialog(m, b.flow, f)
	}
	inv := f.tx.m
	d := &Dialog{sh: sh, callID: inv.CallID(), fork: f, media: f.relay.Media, events: f.relay.Events}
	n, _, _ := inv.CSeq()
	d.caller = party{
		tag: from, value: inv.Get(message.From), contact: remoteTarget(inv), routes: inv.List(message.RecordRoute), cseq: n,
		tenant: f.in.Tenant, user: f.in.User,
	}
	d.raised = f.shift
	d.caller.numbers = raised(n, d.raised)
	d.caller.flow = sh.partyFlow(&d.caller, f.in.Flow)
	d.caller.allows(inv)
	d.callee = party{tag: to, value: m.Get(message.To), flow: b.flow, tenant: b.target.Tenant, user: b.target.User}
	d.caller.login, d.callee.login = f.in.Login, b.target.Login
	if f.veil != nil && !d.veiled(f, inv) {
		return nil
	}
	if !sh.addDialog(d.callID, d) {
		d.forget()
		return nil
	}
	return d
}

// forget takes the dialog out of the tables.
func (d *Dialog) forget() {
	d.sh.removeDialog(d.callID, d)
	if d.veil != nil {
		d.sh.removeDialog(d.veil.callID, calleeSide{d})
		d.sh.vacate(d.veil.callID)
	}
}

// secondDialog is the dialog of a further 2xx to one INVITE: the caller will end it (RFC 3261 §13.2.2.4). It gets no media
// of its own. nil: there is no first one, or there are too many.
func (sh *shard) secondDialog(m *message.Message, from transport.Flow, f *fork) *Dialog {
	list := sh.dialogs[sh.dialogKey(m.CallID())]
	if len(list) >= defaultBreadth {
		return nil
	}
	for _, o := range list {
		first, ok := o.(*Dialog)
		if !ok || first.caller.tag != m.FromTag() {
			continue
		}
		d := &Dialog{sh: sh, callID: first.callID, fork: f, caller: first.caller}
		d.raised = first.raised
		d.caller.numbers = raised(first.caller.cseq, d.raised)
		d.callee = party{tag: m.ToTag(), value: m.Get(message.To), flow: from, tenant: first.callee.tenant, user: first.callee.user}
		if sh.addDialog(d.callID, d) {
			return d
		}
	}
	return nil
}

// partyFlow is where requests to a party go: the flow it was seen on, unless its Contact names another port of the same
// host (gateways that send from ports they do not listen on).
func (sh *shard) partyFlow(p *party, seen transport.Flow) transport.Flow {
	if seen.Net != transport.UDP || len(p.routes) > 0 {
		return seen
	}
	u, err := message.ParseURI(p.contact)
	if err != nil {
		return seen
	}
	addr, ok := addrOf(u)
	if !ok || addr.Addr() != seen.Remote.Addr().Unmap() || addr.Port() == seen.Remote.Port() {
		return seen
	}
	if seen.Node != 0 {
		seen.Remote = addr
		return seen
	}
	if sh.srv.net.IsLocalAddr(addr) { // a GRUU of ours as Contact (RFC 5627 §4.3)
		return seen
	}
	seen.Remote = addr // from the socket that it knows
	return seen
}

// fromCallee learns the callee's remote target and route set from a response (RFC 3261 §12.1.2).
func (d *Dialog) fromCallee(m *message.Message) {
	if uri := remoteTarget(m); uri != "" {
		d.callee.contact = uri
	}
	d.callee.routes = nil
	m.Values(message.RecordRoute, func(v string) bool {
		if d.sh.srv.isOurRouteValue(v) {
			return false
		}
		d.callee.routes = append([]string{v}, d.callee.routes...)
		return true
	})
	d.callee.flow = d.sh.partyFlow(&d.callee, d.callee.flow)
	d.callee.allows(m)
}

// confirm is the first 2xx of the dialog.
func (d *Dialog) confirm(m *message.Message, t Target, late bool, s *session) {
	if d.state != dialogEarly {
		return
	}
	f := d.fork
	d.state, d.fork, d.late = dialogConfirmed, nil, late
	d.limit = d.sh.now().Add(d.sh.srv.limits().MaxCallTime)
	d.sh.dropOtherEarly(f, d)
	d.refreshed(m, s, true)
	if d.events != nil {
		d.events.Answered(d, t)
	}
}

// dropEarly forgets the early dialogs of a fork nobody answered.
func (sh *shard) dropEarly(f *fork) { sh.dropOtherEarly(f, nil) }

func (sh *shard) dropOtherEarly(f *fork, but *Dialog) {
	if f == nil {
		return
	}
	callID := f.in.callID
	list := sh.dialogs[sh.dialogKey(callID)]
	for i := len(list) - 1; i >= 0; i-- {
		if d, ok := list[i].(*Dialog); ok && d != but && d.fork == f && d.state == dialogEarly {
			d.state = dialogEnded
			d.forget()
			list = sh.dialogs[sh.dialogKey(callID)]
		}
	}
}

// refreshed reads the session interval of a 2xx to INVITE or UPDATE and arms the dialog's timer (RFC 4028 §8).
func (d *Dialog) refreshed(m *message.Message, s *session, fromCaller bool) {
	d.session = time.Time{}
	n, own := s.agreed(m)
	if d.interval = n; n > 0 {
		d.session = d.sh.now().Add(time.Duration(n)*time.Second + sessionGrace)
		d.byCallee = fromCaller == (!own && refresherIsUAS(m))
	}
	d.armSession()
}

func (d *Dialog) armSession() {
	at := d.limit
	if !d.session.IsZero() && d.session.Before(at) {
		at = d.session
	}
	d.timer.owner = d
	d.sh.timers.arm(&d.timer, at)
}

// sessionGrace lets the phones, who should end a stale session themselves, be first (RFC 4028 §10).
const sessionGrace = 10 * time.Second

// byeGrace is how long a call outlives a BYE that nobody answers.
const byeGrace = 2 * time.Second

// doubtPause is how soon a node that may have lost its calls to another one looks again whether a call of its is to be ended.
const doubtPause = time.Second

// expire ends a call that nobody refreshed, that lasted too long, or whose BYE was not answered.
func (d *Dialog) expire(now time.Time) {
	switch {
	case d.state == dialogEnding:
		d.ended("BYE", d.byCaller)
	case d.sh.srv.cfg.Entitled != nil && !d.sh.srv.cfg.Entitled():
		d.sh.arm(&d.timer, d, doubtPause)
	case !d.session.IsZero() && !now.Before(d.session):
		d.sh.count.sessionsExpired.Add(1)
		d.hangup("session expired")
	default:
		d.hangup("longest call time reached")
	}
}

// request relays a request inside the dialog to the other side.
func (d *Dialog) request(m *message.Message, p transport.Packet, key uint64, fromCaller bool) {
	sh := d.sh
	d.release() // what the callee says now must not come before his answer
	tx := sh.newTransaction(m, p, key)
	if tx == nil {
		return
	}
	from, to := d.sides(fromCaller)
	if tx.sessionTooShort() {
		return
	}
	d.seen(from, m, p)
	if m.Method != "BYE" {
		d.changed()
	}
	if d.glares(m) {
		tx.respond(&message.Response{Status: 491})
		return
	}
	if d.veil != nil && !crosses(m.Method) {
		tx.respond(&message.Response{Status: 501, Extra: []byte("Allow: " + veiledMethods + "\r\n")})
		return
	}
	d.refers(m, fromCaller)
	if d.takenByMedia(m, fromCaller) {
		tx.respond(&message.Response{Status: 200})
		return
	}
	tx.routed = sh.srv.route(m)
	f := &fork{sh: sh, tx: tx, relay: Relay{Media: d.media}, dialog: d, fromCaller: fromCaller, breadth: defaultBreadth, veil: d.veil}
	tx.fork = f
	d.begins(f, m)
	if d.state == dialogConfirmed {
		f.session = sessionOf(m, sh.srv.cfg.SessionInterval)
	}
	if err := d.rewriteRequest(f, m); err != nil {
		f.refuseMedia(err)
		return
	}
	if m.Method == "BYE" {
		d.ending(fromCaller)
	}
	if m.Method == "INVITE" {
		tx.respond(&message.Response{Status: 100})
	}
	d.relocate(to)
	uri := tx.routed.uri
	if sh.srv.isOurHop(uri) && to.contact != "" { // phones that send to the node instead of to the remote target
		uri = to.contact
	}
	target := Target{URI: uri, Flow: to.flow, Known: true, Tenant: to.tenant, User: to.user, Login: to.login}
	if d.veil != nil {
		target.URI, target.Path = to.contact, to.routes
	}
	sh.dereference(&target, tx.routed.next != "")
	f.begin(target, defaultBreadth)
}

func (d *Dialog) sides(fromCaller bool) (from, to *party) {
	if fromCaller {
		return &d.caller, &d.callee
	}
	return &d.callee, &d.caller
}

// seen refreshes what is known of the side that sent a request (RFC 3261 §12.2.2). One that was overtaken says nothing new: an ACK may
// be read off a connection after the re-INVITE that came over the next one.
func (d *Dialog) seen(from *party, m *message.Message, p transport.Packet) {
	n, _, _ := m.CSeq()
	if n < from.cseq {
		return
	}
	from.cseq = n
	if m.Method == "INVITE" || m.Method == "UPDATE" {
		if uri := remoteTarget(m); uri != "" {
			from.contact = uri
		}
	}
	from.flow = d.sh.partyFlow(from, p.Flow)
}

// relocate finds the flow of a phone whose connection was replaced by a new one since the call began.
func (d *Dialog) relocate(to *party) {
	srv, now := d.sh.srv, d.sh.now()
	if to.user == "" || to.flow.Conn == 0 && srv.net.Alive(to.flow) {
		return
	}
	if t, ok := srv.phoneOf(to.contact, now); ok {
		if srv.moved(to.flow, &t, now) {
			to.flow = t.Flow
		}
		return
	}
	var few [4]place
	for _, p := range srv.cfg.Location.places(few[:0], to.tenant, to.user, now) {
		if message.SameURI(p.URI, to.contact) && srv.net.Alive(p.Flow) && srv.moved(to.flow, &p.Target, now) {
			to.flow = p.Flow
			return
		}
	}
}

// moved tells whether a phone last seen on one flow is to be reached on the one it has registered: the first is gone, or it is a
// connection that the phone has replaced by registering over a later one (RFC 5626 §4.2). To see the first one end is not enough. The
// end may come to light behind the new registration, for connections and calls have goroutines of their own, and never does when the
// phone went to another network and cannot end anything there.
func (s *Server) moved(seen transport.Flow, to *Target, now time.Time) bool {
	if !s.net.Alive(seen) {
		return true
	}
	if seen.Conn == 0 || !s.net.Alive(to.Flow) || seen.Node == to.Flow.Node && to.Flow.Conn <= seen.Conn { // numbers of connections only go up
		return false
	}
	var few [4]place
	return !slices.ContainsFunc(s.cfg.Location.places(few[:0], to.Tenant, to.User, now), func(p place) bool { return p.Flow == seen })
}

// rewriteRequest gives the session description of a request inside the dialog to Media (RFC 3264, RFC 3311, RFC 3262 §5).
func (d *Dialog) rewriteRequest(f *fork, m *message.Message) error {
	if d.media == nil {
		return nil
	}
	b, err := describe(m)
	if err != nil || !b.found {
		f.late = m.Method == "INVITE"
		return err
	}
	_, to := d.sides(f.fromCaller)
	rewrite := d.media.Offer
	if m.Method == "PRACK" && d.fork != nil && d.fork.late {
		rewrite = d.media.Answer
	} else {
		f.offered = true
	}
	sdp, err := rewrite(f.fromCaller, b.sdp(), f.tx.flow, to.flow, d.terms())
	if err == nil {
		f.body, f.newBody = b.with(sdp), true
	}
	return err
}

// ack relays the ACK to a 2xx.
func (d *Dialog) ack(m *message.Message, p transport.Packet, fromCaller bool) {
	sh := d.sh
	from, to := d.sides(fromCaller)
	d.seen(from, m, p)
	d.relocate(to)
	if d.veil != nil {
		d.acrossVeiled(m, p, fromCaller)
		return
	}
	r := sh.srv.route(m)
	target := Target{URI: r.uri, Flow: to.flow, Known: true}
	if sh.srv.isOurHop(r.uri) && to.contact != "" {
		target.URI = to.contact
	}
	sh.dereference(&target, r.next != "")
	flow, ok := sh.srv.flowFor(&target)
	if !ok {
		sh.count.sendErrors.Add(1)
		return
	}
	if r.next == "" && len(target.Path) == 0 {
		flow = sh.openTCP(target.URI, flow)
	}
	e := &sh.edit
	e.Reset()
	e.URI = target.URI
	sh.serial++
	e.Top = sh.appendVia(e.Top, flow, sh.serial, 0)
	for _, p := range target.Path {
		e.Top = message.AppendHeader(e.Top, "Route", p)
	}
	e.Received(m, p.Flow.Remote.Addr().Unmap().String(), int(p.Flow.Remote.Port()))
	hops(m, e)
	r.apply(m, e)
	sh.srv.dropCredentials(m, e)
	d.renumber(m, e, fromCaller)
	if d.late && d.media != nil {
		d.lateAnswer(e, m, p.Flow, flow, fromCaller)
		d.changed()
	}
	d.late = false
	sh.buf = m.Append(sh.buf[:0], e)
	_ = sh.send(flow, sh.buf)
}

// terms are those that Media has for the callee.
func (d *Dialog) terms() uint8 { return d.media.Terms(d.callee.tenant, d.callee.user) }

// lateAnswer gives the answer in an ACK to Media. One that cannot be used ends the call: an ACK cannot be refused, and what it carries
// must not lead the media past the engine.
func (d *Dialog) lateAnswer(e *message.Edit, m *message.Message, src, dst transport.Flow, fromCaller bool) {
	b, err := describe(m)
	if err == nil && !b.found {
		return
	}
	if err == nil {
		var sdp string
		if sdp, err = d.media.Answer(fromCaller, b.sdp(), src, dst, d.terms()); err == nil {
			e.SetBody, e.Body = true, b.with(sdp)
			return
		}
	}
	d.sh.srv.cfg.Log.Warn("an answer's session description cannot be used; the call is ended", "call", d.callID, "peer", src.Remote, "error", err)
	e.SetBody, e.Body = true, ""
	e.DropAll(m, message.ContentType)
	d.Hangup("session description refused")
}

// agreed is a 2xx to a request inside the dialog.
func (d *Dialog) agreed(f *fork, m *message.Message, _ transport.Packet) {
	if d.sh == nil {
		return // not a call: a subscription passing through
	}
	switch m.Method {
	case "BYE":
		d.ended("BYE", f.fromCaller)
	case "INVITE", "UPDATE":
		_, other := d.sides(f.fromCaller)
		if uri := remoteTarget(m); uri != "" {
			other.contact = uri
			other.flow = d.sh.partyFlow(other, other.flow)
		}
		if m.Method == "INVITE" {
			d.late = f.late
		}
		if d.state == dialogConfirmed {
			d.refreshed(m, &f.session, f.fromCaller)
		}
		d.changed()
	}
}

// ending is a BYE passing through: the call ends with its answer, or soon without one.
func (d *Dialog) ending(byCaller bool) {
	if d.state == dialogConfirmed {
		d.state, d.byCaller = dialogEnding, byCaller
		d.sh.arm(&d.timer, d, byeGrace)
	}
}

// stays takes a BYE back that was refused for want of credentials.
func (d *Dialog) stays() {
	if d.state == dialogEnding {
		d.state = dialogConfirmed
		d.armSession()
	}
}

// ended forgets the call. One that was never answered ends with its INVITE, whatever became of a BYE.
func (d *Dialog) ended(reason string, byCaller bool) {
	if d.state == dialogEnded || d.state == dialogEarly {
		return
	}
	d.release()
	d.state = dialogEnded
	d.sh.timers.stop(&d.timer)
	d.forget()
	if d.media != nil {
		d.media.Close()
	}
	if d.events != nil {
		d.events.Ended(reason, byCaller)
	}
}

// Drop forgets an answered call without a word to its phones, because another node goes on with it: they hear of no end, and neither does Events.
// Any goroutine that is not a shard's; it waits for the shard as long as ctx lasts.
func (d *Dialog) Drop(ctx context.Context) error {
	return d.sh.io.Do(ctx, func() { d.sh.safely(d.drop) })
}

func (d *Dialog) drop() {
	if d.state != dialogConfirmed && d.state != dialogEnding {
		return
	}
	d.release()
	d.state = dialogEnded
	d.sh.timers.stop(&d.timer)
	d.forget()
	if d.media != nil {
		d.media.Close()
	}
}

// Hangup ends an answered call on both sides. Any goroutine; a call that is over already stays over.
func (d *Dialog) Hangup(reason string) { _ = d.sh.post(func() { d.hangup(reason) }) }

func (d *Dialog) hangup(reason string) {
	if d.state != dialogConfirmed && d.state != dialogEnding || d.sh.srv.frozen() {
		return
	}
	d.release()
	for _, toCaller := range [...]bool{false, true} {
		bye, _ := d.ownRequest("BYE", toCaller)
		bye.extra = message.AppendHeader(nil, "Reason", `SIP;cause=200;text=`+message.Quote(reason))
		d.sh.sendOwn(bye)
	}
	d.ended(reason, false)
}

// hangupLater ends the call a response belongs to once the response has gone up.
func (sh *shard) hangupLater(m *message.Message) {
	if d, _ := sh.findDialog(m); d != nil {
		switch d := d.(type) {
		case *Dialog:
			d.Hangup("session description refused")
		case calleeSide:
			d.Hangup("session description refused")
		}
	}
}
