package sip

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"tandem/sip/message"
	"tandem/sip/transport"
)

const (
	defaultBreadth = 60              // RFC 5393 §5.3.3
	cancelGrace    = 4 * time.Second // how long cancelled branches may take to say so before the handler goes on without them
	maxRecursion   = 8               // targets added by 3xx answers to one request
)

// A fork is the response context of a request that is being relayed (RFC 3261 §16.7): its branches, the best answer so
// far and what is left to try. It belongs to the shard.
type fork struct {
	sh      *shard
	tx      *transaction
	in      *Inbound // nil for requests inside a dialog: the best answer goes up by itself
	relay   Relay
	then    func(Result) // told the outcome, with in
	outcome Result
	groups  [][]Target
	live    int // branches without a final response
	all     []*branch
	first   branch // most forks have no other
	best    *message.Message
	auth    []byte // challenges of all 401 and 407 answers (step 7)
	timer   timer
	until   time.Time // end of Relay.Timeout
	silent  time.Time // end of Relay.Quiet for the group in hand, zero once somebody has spoken
	delayed delayed
	breadth int

	session    session
	veil       *veil   // that the request goes on behind, nil without
	sent       []byte  // 2xx to an INVITE as the caller of a veiled call got it
	dialog     *Dialog // set for requests inside a dialog
	fromCaller bool    // which side sent the request
	shift      uint32  // what its number was raised by, see numbering
	offers     bool    // it counts in Dialog.relayed
	body       string  // session description that goes down instead of the request's, to the first kind of target
	newBody    bool
	kind       targetKind
	others     []wording // for other kinds of targets
	offered    bool      // the request carried an offer that Media knows
	late       bool      // the request carried none: the 2xx will

	recursed   int
	relocated  bool // a party of the call was found on another flow
	unreached  int  // what a target that could not be tried comes to, 0 is 480
	cancelling bool // no further group is begun
	byCaller   bool // the caller sent CANCEL
	timedOut   bool
	quiet      bool // ended by Relay.Quiet
	heard      bool // somebody has said more than 100
	answered   bool
	abandoned  bool // the handler has gone on: a late 2xx is acknowledged and ended by us
	done       bool
	told       bool // the handler knows
}

// start begins to relay the request.
func (f *fork) start() {
	tx := f.tx
	if tx.state != txProceeding || tx.m == nil || tx.fork != nil && !tx.fork.done {
		f.finish(Result{Cancelled: true})
		return
	}
	tx.fork = f
	if tx.own == nil {
		f.session = sessionOf(tx.m, f.sh.srv.cfg.SessionInterval)
	}
	if f.breadth == 0 { // RFC 5393 §5.3.3
		tx.respond(&message.Response{Status: 440})
		f.finish(Result{Status: 440})
		return
	}
	if f.veil != nil {
		if options := impassable(tx.m); options != nil {
			tx.respond(&message.Response{Status: 420, Extra: message.AppendHeader(nil, "Unsupported", strings.Join(options, ", "))})
			f.finish(Result{Status: 420})
			return
		}
	}
	f.limitBreadth()
	if d := f.relay.Timeout; d > 0 {
		f.until = f.sh.now().Add(d)
	}
	if err := f.rewriteOffer(); err != nil {
		f.refuseMedia(err)
		return
	}
	f.nextGroup()
}

func breadthOf(m *message.Message) int {
	if n, ok := message.ParseUint(m.Get(message.MaxBreadth)); ok {
		return int(min(n, defaultBreadth))
	}
	return defaultBreadth
}

// limitBreadth serialises what may not go out at once (RFC 5393 §5.3.3.1).
func (f *fork) limitBreadth() {
	if !slices.ContainsFunc(f.groups, func(g []Target) bool { return len(g) > f.breadth }) {
		return
	}
	var groups [][]Target
	for _, g := range f.groups {
		for len(g) > f.breadth {
			groups = append(groups, g[:f.breadth])
			g = g[f.breadth:]
		}
		groups = append(groups, g)
	}
	f.groups = groups
}

// rewriteOffer gives the request's session description to Media, as the first kind of target is to see it that Media has words for. It
// fails when there is none for any.
func (f *fork) rewriteOffer() error {
	m := f.tx.m
	if f.relay.Media == nil {
		return nil
	}
	d, err := describe(m)
	if err != nil || !d.found {
		f.late = m.Method == "INVITE"
		return err
	}
	if f.dialog != nil || len(f.groups) == 0 { // Media knows the other party
		return f.offerTo(transport.Flow{}, &Target{}, &d)
	}
	var tried []targetKind
	for _, g := range f.groups {
		for i := range g {
			kind := f.kindOf(g[i].Flow, &g[i])
			if slices.Contains(tried, kind) {
				continue
			}
			if err = f.offerTo(g[i].Flow, &g[i], &d); err == nil {
				return nil
			}
			tried = append(tried, kind)
		}
	}
	return err
}

// offerTo gives Media an offer for the kind of a target, the first of the fork's.
func (f *fork) offerTo(flow transport.Flow, t *Target, d *description) error {
	kind := f.kindOf(flow, t)
	sdp, err := f.relay.Media.Offer(f.fromCaller, d.sdp(), f.tx.flow, flow, kind.terms)
	if err == nil {
		f.body, f.newBody, f.offered, f.kind = d.with(sdp), true, true, kind
	}
	return err
}

// A targetKind is what a description depends on besides the call: a browser wants to be spoken to in its own way, a phone in its address
// family, and a user on the terms that Media has for him.
type targetKind struct {
	web, v6 bool
	terms   uint8
}

func (f *fork) kindOf(flow transport.Flow, t *Target) targetKind {
	return targetKind{
		web: flow.Net == transport.WS || flow.Net == transport.WSS, v6: flow.Remote.Addr().Is6() && !flow.Remote.Addr().Is4In6(), terms: f.terms(t),
	}
}

// terms are those of who is called: of a target, or of the dialog's callee whoever sent the request.
func (f *fork) terms(t *Target) uint8 {
	if f.dialog != nil {
		return f.dialog.terms()
	}
	return f.relay.Media.Terms(t.Tenant, t.User)
}

// A wording is the session description for one kind of target.
type wording struct {
	kind targetKind
	body string
}

// wordFor gives the session description for a target that is reached over a flow.
func (f *fork) wordFor(flow transport.Flow, t *Target) (string, error) {
	if !f.offered || f.dialog != nil {
		return f.body, nil
	}
	kind := f.kindOf(flow, t)
	if kind == f.kind {
		return f.body, nil
	}
	for _, w := range f.others {
		if w.kind == kind {
			return w.body, nil
		}
	}
	d, err := describe(f.tx.m)
	if err != nil {
		return "", err
	}
	sdp, err := f.relay.Media.Offer(f.fromCaller, d.sdp(), f.tx.flow, flow, kind.terms)
	if err != nil {
		return "", err
	}
	f.others = append(f.others, wording{kind, d.with(sdp)})
	return f.others[len(f.others)-1].body, nil
}

func (f *fork) refuseMedia(err error) {
	f.refuseWith(mediaStatus(err))
}

// mediaStatus is the answer that an error of Media asks for.
func mediaStatus(err error) (status, code int, warn string) {
	if me, ok := err.(MediaError); ok {
		return me.SIPStatus()
	}
	return 488, 399, err.Error()
}

func (f *fork) refuseWith(status, code int, warn string) {
	f.tx.respond(&message.Response{Status: status, Extra: f.sh.srv.warning(nil, code, warn)})
	f.finish(Result{Status: status})
}

// nextGroup begins the next group of targets, or ends the fork when none is left.
func (f *fork) nextGroup() {
	for !f.cancelling && len(f.groups) > 0 {
		g := f.groups[0]
		f.groups = f.groups[1:]
		f.live++ // a target that fails at once must not end the group before it has begun
		share := max(f.breadth/max(len(g), 1), 1)
		for i := range g {
			if g[i].Delay > 0 {
				f.delayed.add(g[i], share, f.sh.now())
				continue
			}
			f.begin(g[i], share)
		}
		f.live--
		f.hurry()
		if f.live > 0 {
			if q := f.relay.Quiet; q > 0 {
				f.silent = f.sh.now().Add(q)
			}
			f.armTimer()
			return
		}
	}
	f.conclude()
}

func (f *fork) begin(t Target, breadth int) {
	b := &f.first
	if len(f.all) > 0 {
		b = new(branch)
	}
	*b = branch{sh: f.sh, fork: f, method: f.tx.m.Method, target: t, breadth: breadth}
	f.live++
	f.all = append(f.all, b)
	b.start()
}

func (f *fork) armTimer() {
	at := f.until
	if p := f.relay.Pause; p > 0 {
		if next := f.sh.now().Add(p); at.IsZero() || next.Before(at) {
			at = next
		}
	}
	if next := f.delayed.next(); !next.IsZero() && (at.IsZero() || next.Before(at)) {
		at = next
	}
	if !f.silent.IsZero() && (at.IsZero() || f.silent.Before(at)) {
		at = f.silent
	}
	if at.IsZero() {
		return
	}
	f.timer.owner = f
	f.sh.timers.arm(&f.timer, at)
}

// tooQuiet gives a group up of which nobody has said anything but 100: the next is tried, or the handler goes on at once. A late answer is
// acknowledged and ended.
func (f *fork) tooQuiet() {
	f.silent = time.Time{}
	if len(f.groups) == 0 {
		f.quiet = f.best == nil
		f.abandon()
		return
	}
	f.cancelBranches(`SIP;cause=408;text="no reply"`)
	f.nextGroup()
}

// elsewhere is the Reason (RFC 3326) of a CANCEL to phones that somebody else was faster than.
const elsewhere = `SIP;cause=200;text="Call completed elsewhere"`

// expire ends a group that rang long enough, or the whole fork.
func (f *fork) expire(now time.Time) {
	switch {
	case f.cancelling: // branches that did not answer their CANCEL in time
		f.timedOut = true
		f.abandon()
	case !f.silent.IsZero() && !now.Before(f.silent):
		f.tooQuiet()
	case !f.until.IsZero() && !now.Before(f.until):
		f.timedOut = true
		f.cancel(`SIP;cause=408;text="no answer"`)
	case f.delayed.due(now): // nobody gives both delays and a pause
		f.beginDelayed(now)
		f.armTimer()
	case len(f.groups) == 0: // Pause of the last group
		f.timedOut = true
		f.cancel(`SIP;cause=408;text="no answer"`)
	default: // Pause: the next group rings
		f.cancelBranches(`SIP;cause=408;text="no answer"`)
		f.nextGroup()
	}
}

// cancel stops the whole fork. reason goes into the CANCELs (RFC 3326); an empty one means that the caller hung up.
func (f *fork) cancel(reason string) {
	if f.cancelling {
		return
	}
	f.cancelling = true
	if reason == "" {
		f.byCaller = true
		reason = ""
	}
	f.groups, f.delayed = nil, nil
	f.cancelBranches(reason)
	if f.live == 0 {
		f.conclude()
		return
	}
	f.sh.arm(&f.timer, f, cancelGrace)
}

func (f *fork) cancelBranches(reason string) {
	for _, b := range f.all {
		b.cancel(reason)
	}
}

// abandon ends the fork for the handler while branches may still be open.
func (f *fork) abandon() {
	if f.done {
		return
	}
	f.abandoned = true
	f.cancelling = true
	f.groups, f.delayed = nil, nil
	f.cancelBranches("")
	f.conclude()
}

// provisional passes a 1xx other than 100 up (RFC 3261 §16.7 step 5).
func (f *fork) provisional(b *branch, m *message.Message, p transport.Packet) {
	if f.tx.state != txProceeding || f.abandoned {
		return
	}
	f.heard = true
	if !f.silent.IsZero() {
		f.silent = time.Time{}
		f.sh.timers.stop(&f.timer)
		f.armTimer()
	}
	d := f.dialog
	if d == nil && f.tx.invite && f.tx.own == nil && m.ToTag() != "" {
		d = f.sh.earlyDialog(f, b, m)
	}
	if d != nil && f.in != nil {
		d.fromCallee(m)
	}
	if f.relay.Events != nil {
		f.relay.Events.Ringing(m.Status, b.target)
	}
	if f.tx.own == nil {
		f.up(b, m, p)
	}
}

// success passes a 2xx up at once, each one (step 5), and ends the other branches (step 10). It tells whether that was done:
// what comes too late is acknowledged and ended.
func (f *fork) success(b *branch, m *message.Message, p transport.Packet) bool {
	if f.tx.own != nil {
		return f.ownAnswered(b, m, p)
	}
	if f.abandoned || f.tx.state != txProceeding && f.tx.state != txAccepted || f.veil != nil && f.tx.m == nil {
		if f.tx.invite {
			b.ackAndBye(m, tooLate)
		}
		return false
	}
	first := !f.answered
	if first && f.tx.invite && f.in != nil && f.unusable(b, m, p) {
		return false
	}
	f.answered = true
	f.groups, f.delayed = nil, nil
	if f.tx.invite && f.in != nil {
		d := f.sh.earlyDialog(f, b, m)
		if d == nil { // the table is full: better no call than one that nobody can end
			b.ackAndBye(m, tooLate)
			f.abandon()
			f.tx.respond(&message.Response{Status: 503, Extra: []byte("Retry-After: 5\r\n")})
			return false
		}
		d.fromCallee(m)
		if first && f.relay.Hold > 0 {
			d.hold(f.tx, f.relay.Hold)
		}
		d.confirm(m, b.target, f.late, &f.session)
	} else if f.dialog != nil {
		f.dialog.agreed(f, m, p)
	}
	f.up(b, m, p)
	if first {
		f.cancelling = true
		f.cancelBranches(elsewhere)
		f.sh.timers.stop(&f.timer)
		f.finish(Result{Status: m.Status, Answered: true})
	}
	return true
}

// unusable looks at the session description of a first 2xx before the caller hears of it. One that Media cannot use makes no call:
// the callee's is ended, and the caller is told why.
func (f *fork) unusable(b *branch, m *message.Message, p transport.Packet) bool {
	if f.relay.Media == nil || m.Body() == "" {
		return false
	}
	_, err := f.rewriteAnswer(b, m, p)
	if err == nil {
		return false
	}
	f.sh.srv.cfg.Log.Warn("an answer's session description cannot be used; the call is refused", "call", m.CallID(), "peer", p.Flow.Remote, "error", err)
	b.ackAndBye(m, `SIP;cause=488;text="session description refused"`)
	f.abandoned, f.cancelling, f.groups, f.delayed = true, true, nil, nil
	f.cancelBranches("")
	f.sh.timers.stop(&f.timer)
	_, code, warn := mediaStatus(err)
	f.refuseWith(488, code, warn) // whatever was wrong with the answer, the caller's request was not
	return true
}

// successAgain passes a further 2xx of a branch up: a retransmission, or the answer of another phone behind the same next hop,
// whose call the caller will end (RFC 3261 §13.2.2.4).
func (sh *shard) successAgain(r *remains, m *message.Message, p transport.Packet) {
	first := true
	d, _ := sh.findDialog(m)
	if d, ok := d.(*Dialog); ok && !sh.srv.net.Alive(r.flow) { // the caller lost his connection
		if d.relocate(&d.caller); sh.srv.net.Alive(d.caller.flow) {
			r.flow = d.caller.flow
			sh.count.callersBack.Add(1)
		}
	}
	if d == nil {
		if second := sh.secondDialog(m, p.Flow, nil); second != nil {
			first = false
			second.fromCallee(m)
			second.confirm(m, Target{}, false, &r.session)
		}
	}
	e := &sh.edit
	e.Reset()
	e.PopValue(m, message.ViaID)
	dropClaims(m, e)
	if r.shift > 0 {
		n, method, _ := m.CSeq()
		setCSeq(m, e, n-r.shift, method)
	}
	if first && len(r.last) > 0 {
		e.SetBody, e.Body = true, string(r.last)
	}
	r.session.answer(m, e)
	sh.buf = m.Append(sh.buf[:0], e)
	_ = sh.send(r.flow, sh.buf)
}

// up sends a response to the caller without our Via and with the session description as the caller is to see it.
func (f *fork) up(b *branch, m *message.Message, p transport.Packet) {
	if f.veil != nil {
		f.upVeiled(b, m, p)
		return
	}
	e := &f.sh.edit
	e.Reset()
	e.PopValue(m, message.ViaID)
	dropClaims(m, e)
	f.restoreCSeq(m, e)
	if f.relay.Media != nil && m.Body() != "" && f.tx.m != nil || b.sdpIn != "" {
		body, err := f.rewriteAnswer(b, m, p)
		if err != nil {
			body = "" // unchanged it would lead the media past the engine
			e.DropAll(m, message.ContentType)
			outcome := "it is left out"
			if m.Status >= 200 {
				outcome = "the call is ended"
				f.sh.hangupLater(m)
			}
			f.sh.srv.cfg.Log.Warn("an answer's session description cannot be used; "+outcome, "call", m.CallID(), "peer", p.Flow.Remote, "error", err)
		}
		e.SetBody, e.Body = body != m.Body(), body
	}
	f.session.answer(m, e)
	f.sh.buf = m.Append(f.sh.buf[:0], e)
	f.tx.sendResponse(m.Status, f.sh.buf)
}

// rewriteAnswer gives a session description from below to Media: the answer to an offer of the request, else an offer of
// its own (RFC 3264, RFC 3262 §5). A retransmission gets what the first one got.
func (f *fork) rewriteAnswer(b *branch, m *message.Message, p transport.Packet) (string, error) {
	if b.sdpIn == m.Body() {
		return b.sdpOut, nil
	}
	d, err := describe(m)
	if err != nil || !d.found || f.relay.Media == nil {
		return m.Body(), err
	}
	rewrite := f.relay.Media.Answer
	if !f.offered {
		rewrite = f.relay.Media.Offer
	}
	sdp, err := rewrite(!f.fromCaller, d.sdp(), p.Flow, f.tx.flow, f.terms(&b.target))
	if err == nil {
		b.sdpIn, b.sdpOut = m.Body(), d.with(sdp)
	}
	return b.sdpOut, err
}

// failed takes a final response other than 2xx (step 6, 7).
func (f *fork) failed(b *branch, m *message.Message) {
	f.live--
	if f.nextFlow(b, m) {
		return
	}
	if m != nil {
		switch {
		case m.Status == 487 && b.cancelled: // the echo of our own CANCEL says nothing about the callee
		case m.Status/100 == 3 && f.sh.srv.limits().Recurse && f.in != nil && !f.cancelling && f.recurse(m): // step 4
		default:
			f.judge(m)
		}
		if m.Status >= 600 && !f.cancelling {
			f.groups, f.delayed = nil, nil
			f.cancelling = true
			f.cancelBranches("")
			f.sh.arm(&f.timer, f, cancelGrace)
		}
	}
	if f.live > 0 || f.done {
		return
	}
	if f.answered {
		return
	}
	if f.hurry(); f.live > 0 {
		f.armTimer()
		return
	}
	f.nextGroup()
}

// judge keeps the better of two final responses: 6xx, else the lowest class, within 4xx the ones that tell the caller what
// to change (RFC 3261 §16.7 step 6).
func (f *fork) judge(m *message.Message) {
	if m.Status == 401 || m.Status == 407 {
		for i := range m.Len() {
			if h := m.Header(i); h.ID == message.WWWAuthenticate || h.ID == message.ProxyAuthenticate {
				f.auth = message.AppendHeader(f.auth, h.Name, h.Value)
			}
		}
	}
	if f.best == nil || rank(m.Status) < rank(f.best.Status) {
		f.best = f.sh.keep(m)
	}
}

func rank(status int) int {
	switch {
	case status >= 600:
		return 0
	case status == 401, status == 407, status == 415, status == 420, status == 484:
		return 4000
	case status == 487: // our own CANCEL's echo says least
		return 4999
	case status == 408, status == 480:
		return 4900
	}
	return status/100*1000 + 500
}

// recurse adds the contacts of a 3xx that are users of this node (RFC 3261 §16.5); anything else would let a phone spend
// somebody else's money. It tells whether there were any.
func (f *fork) recurse(m *message.Message) bool {
	var group []Target
	m.Values(message.Contact, func(v string) bool {
		a, err := message.ParseAddress(v)
		if err != nil || f.recursed >= maxRecursion {
			return f.recursed < maxRecursion
		}
		u, err := message.ParseURI(a.URI)
		if err != nil {
			return true
		}
		tenant, ok := f.sh.srv.cfg.Directory.TenantOf(u.Host)
		if !ok {
			return true
		}
		if user, groups := f.sh.srv.reach(tenant, u, f.sh.now()); user != "" && !f.tried(tenant, user) {
			f.recursed++
			for _, g := range groups {
				group = append(group, g...)
			}
		}
		return true
	})
	if len(group) > 0 {
		f.groups = append([][]Target{group}, f.groups...)
	}
	return len(group) > 0
}

func (f *fork) tried(tenant, user string) bool {
	for _, b := range f.all {
		if b.target.Tenant == tenant && b.target.User == user {
			return true
		}
	}
	return false
}

// conclude ends a fork nobody answered.
func (f *fork) conclude() {
	if f.done {
		return
	}
	f.sh.timers.stop(&f.timer)
	if f.offered && f.dialog != nil {
		f.relay.Media.Rollback()
	}
	f.byeFailed()
	res := Result{TimedOut: f.timedOut, Cancelled: f.byCaller, Quiet: f.quiet || f.timedOut && !f.heard && f.best == nil}
	res.Unreached = f.best == nil && !f.timedOut && !f.byCaller && !f.quiet
	if f.best != nil {
		res.Status = f.best.Status
	} else if f.timedOut {
		res.Status = 408
	} else if !f.byCaller {
		res.Status = cmp.Or(f.unreached, 480)
	}
	f.finish(res)
	switch {
	case f.byCaller:
		f.tx.respond(&message.Response{Status: 487})
	case f.doneInMedia(res.Status):
		f.tx.respond(&message.Response{Status: 200})
	case f.in == nil:
		f.tx.refuseBest(res.Status, "")
	}
}

// byeFailed ends a call although its BYE was refused, unless the callee only wants credentials first.
func (f *fork) byeFailed() {
	if f.dialog == nil || f.dialog.sh == nil || f.tx.m == nil || f.tx.m.Method != "BYE" {
		return
	}
	if f.best != nil && (f.best.Status == 401 || f.best.Status == 407) {
		f.dialog.stays()
		return
	}
	f.dialog.ended("BYE", f.fromCaller)
}

// finish tells the handler, once the message in hand is dealt with.
func (f *fork) finish(r Result) {
	if f.done {
		return
	}
	f.done = true
	if f.in == nil {
		f.settled()
		return
	}
	f.outcome = r
	if !r.Answered {
		f.sh.dropEarly(f)
		if f.relay.Media != nil {
			f.relay.Media.Close()
			f.relay.Media = nil
		}
	}
	f.sh.finished = append(f.sh.finished, f)
}

// refuseBest sends the best response of the transaction's fork up.
func (tx *transaction) refuseBest(status int, why string) {
	if tx.m == nil || tx.state != txProceeding {
		return
	}
	var best *message.Message
	if tx.fork != nil {
		best = tx.fork.best
	}
	switch {
	case best == nil && !tx.invite && status == 408:
		tx.end() // RFC 4320 §4.2: a 408 to a non-INVITE comes too late for anybody
	case best == nil:
		extra := tx.unencrypted()
		if why != "" {
			extra = append(extra, tx.sh.srv.warning(nil, 399, why)...)
		}
		tx.respond(&message.Response{Status: max(status, 400), Extra: extra})
	case tx.fork.veil != nil:
		tx.refuseVeiled(best)
	case best.Status == 503: // step 6: the node is fine, the callee is not
		tx.respond(&message.Response{Status: 500, Extra: tx.sh.srv.warning(nil, 399, "the next hop answered 503")})
	case best.Status == 401 || best.Status == 407:
		tx.passOn(best, tx.fork.auth)
	default:
		tx.passOn(best, nil)
	}
}

// passOn sends a final response of a branch up, with the challenges of all branches (RFC 3261 §16.7 step 7).
func (tx *transaction) passOn(m *message.Message, auth []byte) {
	e := &tx.sh.edit
	e.Reset()
	e.PopValue(m, message.ViaID)
	dropClaims(m, e)
	tx.fork.restoreCSeq(m, e)
	if len(auth) > 0 {
		e.DropAll(m, message.WWWAuthenticate)
		e.DropAll(m, message.ProxyAuthenticate)
		e.Tail = append(e.Tail, auth...)
	}
	tx.sh.buf = m.Append(tx.sh.buf[:0], e)
	tx.sendResponse(m.Status, tx.sh.buf)
}

// loopHash is what two passes of a looping request share and two passes of a spiral do not (RFC 5393 §4.2.2).
func (sh *shard) loopHash(m *message.Message) uint32 {
	var h maphash.Hash
	h.SetSeed(sh.srv.seed)
	for _, s := range [...]string{m.URI, m.CallID(), m.FromTag(), m.ToTag(), m.Get(message.CSeq), m.Get(message.Route), m.Get(message.ProxyRequire)} {
		h.WriteString(s)
		h.WriteByte(0)
	}
	return uint32(h.Sum64())
}

// looped tells whether this very request came through here before.
func (sh *shard) looped(m *message.Message) bool {
	var want string
	found := false
	m.Values(message.ViaID, func(v string) bool {
		via, err := message.ParseVia(v)
		if err != nil {
			return true
		}
		_, _, node, ours := branchNumber(via.Branch)
		if abroad := node != 0 && sh.srv.edge != nil && node == sh.srv.edge.number; !abroad && !sh.srv.net.IsLocal(via.Host, via.Port) {
			return true
		}
		if want == "" {
			want = string(appendBranch(nil, 0, sh.loopHash(m)))
			want = want[strings.IndexByte(want, '.'):]
		}
		found = ours && (strings.HasSuffix(via.Branch, want) || node != 0 && strings.Contains(via.Branch, want+"."))
		return !found
	})
	return found
}
