package sip

import (
	"net/netip"
	"strconv"
	"time"

	"tandem/sip/message"
	"tandem/sip/transport"
)

type branchState uint8

const (
	branchCalling    branchState = iota // request sent, nothing heard
	branchProceeding                    // provisional response heard
	branchAccepted                      // 2xx to INVITE that nobody wanted: each one is acknowledged and ended
	branchEnded
)

// A branch is the client side of one request sent on (RFC 3261 §17.1): one target, one flow, one branch parameter.
// It may belong to a fork, or stand alone for a request of our own (BYE, CANCEL).
type branch struct {
	sh     *shard
	fork   *fork       // nil for requests of our own
	own    *ownRequest // one whose sender wants to know what came of it
	id     uint64
	loop   uint32 // second part of the branch parameter, which no other peer can know
	method string
	target Target
	flow   transport.Flow
	conn   uint64 // key in byConn while an answer is awaited on a stream
	state  branchState
	timer  timer
	every  time.Duration // timers A, E; 0 when nothing is retransmitted
	until  time.Time     // timers B, C, F, D, K, M
	body   string        // session description of the request; see fork.newBody
	out    []byte        // request as sent, then the ACK to a final response; nil once neither is needed

	answered  int // challenges
	breadth   int
	udp       transport.Flow // where to send when TCP, tried for size, does not work (RFC 3261 §18.1.1)
	viaTCP    bool
	lost      bool   // it ended because the way to the target is gone, or was not there
	cancelOut []byte // CANCEL as sent, until its answer comes
	cancelled bool   // CANCEL sent, or to be sent as soon as a provisional response allows it
	reason    string
	sdpIn     string // last session description from this branch and what the caller was told
	sdpOut    string
}

// mtuLimit is the largest request sent over UDP when the target can be had over TCP (RFC 3261 §18.1.1).
const mtuLimit = 1300

// start sends the request to the branch's target.
func (b *branch) start() {
	flow, ok := b.sh.srv.flowFor(&b.target)
	if !ok {
		b.number()
		b.unreachable(480)
		return
	}
	if b.fork.tooOpen(flow) {
		b.number()
		b.unreachable(480)
		return
	}
	if flow != b.target.Flow && b.sh.srv.net.IsLocalAddr(flow.Remote) { // a contact that names this node
		b.sh.count.loops.Add(1)
		b.fork.unreached = 482
		b.number()
		b.unreachable(482)
		return
	}
	body, err := b.fork.wordFor(flow, &b.target)
	if err != nil {
		b.fork.unreached, _, _ = mediaStatus(err)
		b.number()
		b.unreachable(b.fork.unreached)
		return
	}
	b.body = body
	b.prepare(flow)
	if flow.Net == transport.UDP && (len(b.out) > mtuLimit || b.wantsTCP(flow)) {
		if tcp, ok := b.preferTCP(flow); ok {
			b.prepare(tcp)
		}
	}
	b.send()
}

// flowFor finds the way to a target: the flow it registered over when that is alive, else its address.
func (s *Server) flowFor(t *Target) (transport.Flow, bool) {
	if t.Known && s.net.Alive(t.Flow) {
		return t.Flow, true
	}
	uri := t.URI
	if len(t.Path) > 0 {
		if a, err := message.ParseAddress(t.Path[0]); err == nil {
			uri = a.URI
		}
	}
	u, err := message.ParseURI(uri)
	if err != nil {
		return transport.Flow{}, false
	}
	addr, ok := addrOf(u)
	abroad := t.Known && t.Flow.Node != 0
	if abroad && len(t.Path) == 0 && !(ok && s.reachesToo(t.Flow, addr)) {
		return transport.Flow{}, false
	}
	if !ok {
		if abroad || !t.Known || t.Flow.Net != transport.UDP {
			return transport.Flow{}, false
		}
		addr = t.Flow.Remote
	}
	n := transport.UDP
	if t.Known {
		n = t.Flow.Net
	}
	if name := u.Transport(); name != "" {
		if n, ok = transport.ParseNet(name); !ok {
			return transport.Flow{}, false
		}
	}
	if n == transport.WS || n == transport.WSS {
		return transport.Flow{}, false // nobody can connect to a browser
	}
	f, err := s.net.FlowTo(n, addr)
	return f, err == nil
}

// prepare builds the request for a flow, under a number of its own.
func (b *branch) prepare(flow transport.Flow) {
	b.number()
	b.flow = flow
	if b.fork.veil != nil {
		b.writeVeiled()
		return
	}
	b.sh.buf = b.build(b.sh.buf[:0])
	b.out = append(b.out[:0], b.sh.buf...)
}

// number gives the branch its number and puts it into the table.
func (b *branch) number() {
	if b.id != 0 {
		delete(b.sh.branches, b.id)
	}
	b.sh.serial++
	b.id = b.sh.serial
	b.sh.branches[b.id] = b
	b.sh.count.branches.Store(int64(len(b.sh.branches)))
}

func (b *branch) send() {
	b.state = branchCalling
	if err := b.sh.send(b.flow, b.out); err != nil {
		b.unreachable(503)
		return
	}
	now := b.sh.now()
	b.until = now.Add(timerB)
	first := timerB
	if b.flow.Net.Reliable() {
		b.watch()
		if b.viaTCP {
			first = timerT1 // a connection that cannot be had must not cost the call
		}
	} else {
		b.every = timerT1
		first = timerT1
	}
	b.sh.arm(&b.timer, b, first)
}

// watch lets FlowClosed find the branch.
func (b *branch) watch() {
	if b.flow.Conn != 0 && b.conn == 0 {
		b.conn = b.flow.Conn
		b.sh.byConn[b.conn] = append(b.sh.byConn[b.conn], b)
	}
}

func (b *branch) unwatch() {
	if b.conn == 0 {
		return
	}
	list := b.sh.byConn[b.conn]
	for i, o := range list {
		if o == b {
			list[i] = list[len(list)-1]
			list[len(list)-1] = nil
			list = list[:len(list)-1]
			break
		}
	}
	if b.sh.byConn[b.conn] = list; len(list) == 0 {
		delete(b.sh.byConn, b.conn)
	}
	b.conn = 0
}

// build writes the request as it goes to the target (RFC 3261 §16.6).
func (b *branch) build(dst []byte) []byte {
	tx := b.fork.tx
	m, e := tx.m, &b.sh.edit
	e.Reset()
	e.URI = tx.routed.uri
	if b.target.URI != "" {
		e.URI = tx.in.plainURI(b.target.URI)
	}
	b.loop = b.sh.loopHash(m)
	e.Top = b.sh.appendVia(e.Top, b.flow, b.id, b.loop)
	if b.fork.dialog == nil {
		sips := tx.in != nil && tx.in.URI.Scheme == "sips"
		switch m.Method {
		case "INVITE":
			if tx.own != nil {
				e.Tail = b.contact(e.Tail)
				break
			}
			e.Top = b.sh.srv.appendRecordRoute(e.Top, tx.flow, b.flow, false, sips)
		case "SUBSCRIBE", "REFER", "NOTIFY", "PUBLISH":
			e.Top = b.sh.srv.appendRecordRoute(e.Top, tx.flow, b.flow, true, sips)
		}
	}
	for _, p := range b.target.Path {
		e.Top = message.AppendHeader(e.Top, "Route", p)
	}
	e.Received(m, tx.in.source(tx.flow).Addr().Unmap().String(), int(tx.in.source(tx.flow).Port()))
	hops(m, e)
	if i := m.Index(message.MaxBreadth); i >= 0 {
		e.Set(i, strconv.Itoa(b.breadth))
	} else if b.fork.dialog == nil && b.breadth < defaultBreadth {
		e.Tail = message.AppendHeader(e.Tail, "Max-Breadth", strconv.Itoa(b.breadth))
	}
	tx.routed.apply(m, e)
	b.sh.srv.dropCredentials(m, e)
	dropClaims(m, e)
	if d := b.fork.dialog; d != nil {
		d.renumber(m, e, b.fork.fromCaller)
	} else if f := b.fork; f.shift > 0 {
		n, method, _ := m.CSeq()
		setCSeq(m, e, n+f.shift, method)
	}
	e.Tail = tx.assertIdentity(e.Tail)
	b.fork.session.apply(m, e)
	e.SetBody, e.Body = b.fork.newBody, b.body
	return m.Append(dst, e)
}

// hops lowers Max-Forwards, or adds it (RFC 3261 §16.6 step 3). One that is zero never gets here.
func hops(m *message.Message, e *message.Edit) {
	i := m.Index(message.MaxForwards)
	if i < 0 {
		e.Top = append(e.Top, "Max-Forwards: 70\r\n"...)
		return
	}
	n, _ := message.ParseUint(m.Get(message.MaxForwards))
	e.Set(i, strconv.Itoa(int(max(n, 1)-1)))
}

// source is the address the request came from; tx.flow may have another port (see replyFlow).
func (in *Inbound) source(f transport.Flow) netip.AddrPort {
	if in == nil {
		return f.Remote
	}
	return in.Flow.Remote
}

func (sh *shard) appendVia(dst []byte, f transport.Flow, id uint64, loop uint32) []byte {
	host, port := sh.srv.net.SentBy(f)
	dst = append(append(dst, "Via: SIP/2.0/"...), f.Net.Via()...)
	dst = append(dst, ' ')
	dst = appendHostPort(dst, host, port)
	dst = append(dst, ";branch="...)
	dst = appendBranch(dst, id, loop)
	if f.Node != 0 { // the answer comes to the node that holds the flow, and is to find its way here
		dst = strconv.AppendUint(append(dst, '.'), uint64(sh.srv.edge.number), 36)
	}
	return append(dst, ";rport\r\n"...)
}

// expire is timers A, B, C, D, E, F, K and M.
func (b *branch) expire(now time.Time) {
	switch {
	case b.viaTCP && b.state == branchCalling:
		b.tcpWaited()
	case b.state == branchAccepted || b.state == branchEnded:
		b.end()
	case !now.Before(b.until):
		b.timedOut()
	case b.every > 0:
		b.retransmit(now)
	default:
		b.sh.timers.arm(&b.timer, b.until)
	}
}

func (b *branch) retransmit(now time.Time) {
	out := b.out
	if b.cancelOut != nil {
		out = b.cancelOut
	}
	_ = b.sh.send(b.flow, out)
	b.every *= 2
	if b.method != "INVITE" || b.cancelOut != nil {
		b.every = min(b.every, timerT2)
		if b.state == branchProceeding && b.cancelOut == nil {
			b.every = timerT2
		}
	}
	next := now.Add(b.every)
	if next.After(b.until) {
		next = b.until
	}
	b.sh.timers.arm(&b.timer, next)
}

// timedOut is timer B, F or C (RFC 3261 §16.8).
func (b *branch) timedOut() {
	if b.method == "INVITE" && b.state == branchProceeding && !b.cancelled {
		b.sh.count.timerC.Add(1)
		if b.fork != nil {
			b.fork.timedOut = true
		}
		b.cancel(`SIP;cause=408;text="timer C"`)
		return
	}
	if b.cancelled {
		b.fail(487)
		return
	}
	b.distrustTCP()
	b.fail(408)
}

// fallBack gives a large request to UDP because no connection could be had.
func (b *branch) fallBack() {
	b.sh.srv.noTCP.add(b.udp.Remote, b.sh.now())
	b.viaTCP = false
	b.unwatch()
	if b.fork == nil || b.fork.tx.m == nil {
		b.fail(503)
		return
	}
	b.prepare(b.udp)
	b.send()
}

// unreachable is a transport failure (RFC 3261 §16.9).
func (b *branch) unreachable(status int) {
	if b.viaTCP && b.state == branchCalling {
		b.fallBack()
		return
	}
	switch b.state {
	case branchCalling, branchProceeding:
		b.lost = true
		b.fail(status)
	}
}

// fail ends a branch as if it had answered with a final status of ours.
func (b *branch) fail(status int) {
	b.state = branchEnded
	b.out = nil
	b.end()
	if b.fork == nil {
		b.own.answered(Reply{Status: status})
		return
	}
	if status == 408 || status == 487 {
		if f := b.fork; f.best == nil && status == 408 {
			f.timedOut = true
		}
	}
	b.fork.failed(b, nil)
}

func (b *branch) end() {
	b.sh.timers.stop(&b.timer)
	b.unwatch()
	delete(b.sh.branches, b.id)
	b.sh.count.branches.Store(int64(len(b.sh.branches)))
	b.state = branchEnded
	b.out, b.sdpIn, b.sdpOut = nil, "", ""
}

// leave puts remains in the branch's place, for the retransmissions of its final response.
func (b *branch) leave(r *remains) {
	sh := b.sh
	switch {
	case b.method == "INVITE": // timers D and M
		r.loop = b.loop
		sh.settled.put(b.id, r, sh.now(), sh.srv.limits().MaxTransactions)
	case !b.flow.Net.Reliable(): // timer K
		sh.heard.put(b.id, nil, sh.now(), sh.srv.limits().MaxTransactions)
	}
	b.end()
}

// responseAgain handles a response to an INVITE that has had its final one: the ACK got lost, or the 2xx goes up again
// (RFC 3261 §17.1.1.2, RFC 6026 §7.2).
func (sh *shard) responseAgain(r *remains, m *message.Message, p transport.Packet) {
	switch {
	case m.Method != "INVITE" || m.Status < 200:
	case r.tag != "" && m.Status < 300 && m.ToTag() != r.tag: // another phone behind the next hop of a veiled call (RFC 3261 §13.2.2.4)
		(&branch{sh: sh, flow: p.Flow}).ackAndBye(m, tooLate)
	case m.Status < 300 && !r.own:
		sh.successAgain(r, m, p)
	case r.last != nil:
		_ = sh.send(r.flow, r.last)
	}
}

// response is RFC 3261 §16.7 and the client machines of §17.1 and RFC 6026 §7.2.
func (b *branch) response(m *message.Message, p transport.Packet) {
	switch b.state {
	case branchEnded:
		return
	case branchAccepted:
		if m.Status/100 == 2 && b.fork != nil {
			b.fork.success(b, m, p)
		}
		return
	}
	switch {
	case m.Status < 200:
		b.provisional(m, p)
	case m.Status < 300:
		b.success(m, p)
	default:
		b.failure(m)
	}
}

func (b *branch) provisional(m *message.Message, p transport.Packet) {
	b.viaTCP = false
	first := b.state == branchCalling
	b.state = branchProceeding
	if b.method == "INVITE" {
		if first || m.Status > 100 { // timer C starts with the first, every one but 100 starts it anew (§16.7 step 2)
			b.every = 0
			if !b.cancelled {
				b.until = b.sh.now().Add(b.sh.srv.limits().TimerC)
				b.sh.timers.arm(&b.timer, b.until)
			}
		}
		if b.cancelled && first {
			b.sendCancel()
		}
	}
	if m.Status > 100 && b.fork != nil {
		b.fork.provisional(b, m, p)
	}
}

func (b *branch) success(m *message.Message, p transport.Packet) {
	b.unwatch()
	f := b.fork
	if b.own != nil {
		b.ownSuccess(m)
		return
	}
	if f == nil || b.method != "INVITE" {
		b.leave(nil)
		if f != nil {
			f.live--
			f.success(b, m, p)
		}
		return
	}
	b.state = branchAccepted
	f.live--
	switch {
	case !f.success(b, m, p):
	case f.tx.own != nil: // it has left already
		return
	case f.veil != nil:
		b.leave(&remains{flow: f.tx.flow, last: f.sent, own: true, tag: m.ToTag()})
		return
	default:
		b.leave(&remains{flow: f.tx.flow, last: []byte(b.sdpOut), shift: f.shift, session: f.session})
		return
	}
	b.out = nil
	b.sh.arm(&b.timer, b, timerB) // timer M
}

// failure takes a final response of 300 and above: acknowledges it and judges it.
func (b *branch) failure(m *message.Message) {
	b.unwatch()
	again := b.authorized(m)
	if b.method == "INVITE" {
		ack := b.acknowledge(m.Get(message.To))
		_ = b.sh.send(b.flow, ack)
		b.leave(&remains{flow: b.flow, last: ack})
	} else {
		b.leave(nil)
	}
	if again != nil {
		again()
		return
	}
	if b.fork != nil {
		b.fork.failed(b, m)
		return
	}
	b.own.answered(replyOf(m))
}

// acknowledge builds the ACK to a final response other than 2xx (RFC 3261 §17.1.1.3).
func (b *branch) acknowledge(to string) []byte { return b.derive("ACK", to, nil) }

// derive builds an ACK or CANCEL from the INVITE as sent: same Request-URI, top Via, Route, From, Call-ID and CSeq number.
func (b *branch) derive(method, to string, extra []byte) []byte {
	var inv message.Message
	if inv.Parse(string(b.out)) != nil {
		return nil
	}
	if to == "" {
		to = inv.Get(message.To)
	}
	n, _, _ := inv.CSeq()
	via, _ := message.CutValue(inv.Get(message.ViaID))
	out := make([]byte, 0, 512)
	out = append(append(append(append(out, method...), ' '), inv.URI...), " SIP/2.0\r\n"...)
	out = message.AppendHeader(out, "Via", via)
	inv.Values(message.Route, func(v string) bool { out = message.AppendHeader(out, "Route", v); return true })
	out = append(out, "Max-Forwards: 70\r\n"...)
	out = message.AppendHeader(out, "From", inv.Get(message.From))
	out = message.AppendHeader(out, "To", to)
	out = message.AppendHeader(out, "Call-ID", inv.CallID())
	out = message.AppendHeader(out, "CSeq", strconv.FormatUint(uint64(n), 10)+" "+method)
	return append(append(out, extra...), "Content-Length: 0\r\n\r\n"...)
}

// cancel ends a ringing branch (RFC 3261 §9.1). Before a provisional response nothing may be sent: it waits.
func (b *branch) cancel(reason string) {
	if b.method != "INVITE" || b.cancelled || b.state > branchProceeding {
		return
	}
	b.cancelled, b.reason = true, reason
	if b.state == branchProceeding {
		b.sendCancel()
	}
}

func (b *branch) sendCancel() {
	var extra []byte
	if b.reason != "" {
		extra = message.AppendHeader(nil, "Reason", b.reason)
	}
	b.cancelOut = b.derive("CANCEL", "", extra)
	_ = b.sh.send(b.flow, b.cancelOut)
	b.until = b.sh.now().Add(timerB)
	if b.flow.Net.Reliable() {
		b.sh.timers.arm(&b.timer, b.until)
		return
	}
	b.every = timerT1
	b.sh.arm(&b.timer, b, timerT1)
}

// cancelHeard is the answer to the CANCEL: what is awaited now is the final response to the INVITE (RFC 3261 §9.1).
func (b *branch) cancelHeard() {
	if b.cancelOut == nil {
		return
	}
	b.cancelOut, b.every = nil, 0
	if b.state <= branchProceeding {
		b.sh.timers.arm(&b.timer, b.until)
	}
}

// tooLate is the Reason (RFC 3326) of ackAndBye when the call was answered after it had ended.
const tooLate = `SIP;cause=487;text="answered too late"`

// ackAndBye ends a call that was answered when nobody wanted it any more, or in a way that the caller cannot have.
func (b *branch) ackAndBye(m *message.Message, reason string) {
	contact := remoteTarget(m)
	if contact == "" {
		return
	}
	n, _, _ := m.CSeq()
	var routes []string
	for _, v := range m.List(message.RecordRoute) {
		if b.sh.srv.isOurRouteValue(v) {
			break
		}
		routes = append([]string{v}, routes...)
	}
	own := ownRequest{to: party{contact: contact, value: m.Get(message.To), routes: routes, flow: b.flow}, from: m.Get(message.From), callID: m.CallID()}
	ack, bye := own, own
	ack.method, ack.cseq = "ACK", n
	bye.method, bye.cseq, bye.extra = "BYE", n+1, message.AppendHeader(nil, "Reason", reason)
	b.sh.sendOwn(ack)
	b.sh.sendOwn(bye)
}

func (s *Server) isOurRouteValue(v string) bool {
	a, err := message.ParseAddress(v)
	return err == nil && s.isOurRoute(a.URI)
}

// nextFlow goes on with a phone over another flow of its own, when the one that was tried is gone (RFC 5626 §5.3): a 430, or no way at all. A party
// of a call that has registered elsewhere meanwhile is found there. It tells whether there was one.
func (f *fork) nextFlow(b *branch, m *message.Message) bool {
	gone := b.lost || m != nil && m.Status == 430
	if b.lost && b.target.Known {
		f.sh.forget(&b.target)
	}
	if !gone || f.cancelling || f.answered || f.done {
		return false
	}
	next := b.target
	switch d := f.dialog; {
	case d != nil && d.sh != nil && !f.relocated:
		_, to := d.sides(f.fromCaller)
		if d.relocate(to); to.flow == b.target.Flow || !f.sh.srv.net.Alive(to.flow) {
			return false
		}
		next.Flow, f.relocated = to.flow, true
	case len(next.Others) > 0:
		next, next.Others = b.target.Others[0], b.target.Others[1:]
	default:
		return false
	}
	f.sh.count.nextFlows.Add(1)
	f.begin(next, b.breadth)
	return true
}

// forget removes the binding of a flow of another node that is gone for good, see Location.Forget.
func (sh *shard) forget(t *Target) {
	srv := sh.srv
	if srv.edge == nil || t.User == "" || t.Flow.Node == 0 || srv.net.Alive(t.Flow) {
		return
	}
	if _, there := srv.edge.fellow(t.Flow.Node); there {
		srv.cfg.Location.Forget(srv.cfg.Registrar.cfg.Log, t.Tenant, t.User, t.Flow)
	}
}
