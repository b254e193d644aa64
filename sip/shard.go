package sip

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"tandem/sip/message"
	"tandem/sip/transport"
)

// A shard is the protocol machine for the calls whose Call-ID falls to it. Everything in it is touched inside a round of
// the transport's shard only, and there is one round at a time; other goroutines reach it with post and do.
type shard struct {
	srv    *Server
	io     *transport.Shard
	timers timers
	wake   time.Time // what SetWake was last told

	txs      map[uint64]*transaction   // server transactions by transactionKey
	answered afterlife                 // what is left of them, by the same key
	branches map[uint64]*branch        // client transactions by the number in their branch
	settled  afterlife                 // what is left of those of INVITE, by the same number
	heard    afterlife                 // and of the others
	dialogs  map[uint64][]dialog       // by hash of the Call-ID; more than one when a call forked
	byConn   map[uint64][]*branch      // branches that wait for an answer on a stream connection
	callers  map[uint64][]*transaction // INVITEs without a final answer, by the connection they came on
	serial   uint64                    // number of the last branch
	peak     int                       // most entries of a table since it was last replaced

	second   bool               // a request is looked at again, see lookAgain
	held     []transport.Packet // see takeover.go
	finished []*fork            // whose handlers are to be told
	msg      *message.Message   // the message in hand; whoever keeps it puts a new one here
	edit     message.Edit
	buf      []byte
	trace    *traceRing
	count    counters
}

func newShard(s *Server, io *transport.Shard) *shard {
	sh := &shard{
		srv: s, io: io, msg: new(message.Message),
		txs: make(map[uint64]*transaction), branches: make(map[uint64]*branch), dialogs: make(map[uint64][]dialog), byConn: make(map[uint64][]*branch),
		callers: make(map[uint64][]*transaction), answered: newAfterlife(timerB), settled: newAfterlife(timerB), heard: newAfterlife(timerT4),
		serial: uint64(io.Now().UnixNano()) << 8,
	}
	if s.cfg.TraceBytes > 0 {
		sh.trace = &traceRing{buf: make([]byte, s.cfg.TraceBytes)}
	}
	return sh
}

// Receive handles one message (transport.Handler).
func (sh *shard) Receive(p transport.Packet) {
	defer sh.contain(p.Text)
	m := sh.msg
	err := m.Parse(p.Text)
	if err == nil {
		err = m.Validate()
	}
	switch {
	case err != nil:
		sh.malformed(m, p, err)
	case sh.srv.pause.Load() != int32(running) && sh.kept(m, p):
	case m.IsRequest():
		sh.count.requests.Add(1)
		sh.request(m, p)
	default:
		sh.count.responses.Add(1)
		sh.response(m, p)
	}
	sh.rest()
}

// Wake runs the timers that are due (transport.Handler). A fault in one ends its call, and the others run.
func (sh *shard) Wake(now time.Time) {
	defer sh.contain("")
	sh.wake = time.Time{}
	for faults := 0; !sh.runTimers(now) && faults < maxTimerFaults; faults++ {
	}
	sh.answered.due(now)
	sh.settled.due(now)
	sh.heard.due(now)
	sh.count.transactions.Store(int64(sh.transactions()))
	sh.count.remains.Store(int64(sh.answered.len() + sh.settled.len() + sh.heard.len()))
	sh.shrink()
	sh.rest()
}

// shrink gives the memory of tables back that a load has left empty: a map never gets smaller by itself.
func (sh *shard) shrink() {
	sh.peak = max(sh.peak, len(sh.txs), len(sh.branches), len(sh.dialogs))
	if sh.peak < shrinkAbove || len(sh.txs)+len(sh.branches)+len(sh.dialogs) > 0 {
		return
	}
	sh.peak = 0
	sh.txs, sh.branches, sh.dialogs = make(map[uint64]*transaction), make(map[uint64]*branch), make(map[uint64][]dialog)
	if len(sh.timers.heap) == 0 {
		sh.timers.heap = nil
	}
}

// shrinkAbove is how many entries make a table worth its replacement.
const shrinkAbove = 256

// FlowClosed fails the branches that wait for an answer on a connection that is gone (RFC 3261 §18.4), and looks after those who called
// over it.
func (sh *shard) FlowClosed(f transport.Flow, err error) {
	defer sh.contain("")
	waiting := sh.byConn[f.Conn]
	delete(sh.byConn, f.Conn)
	for _, b := range waiting {
		b.conn = 0
		b.connectionLost(err)
	}
	sh.callersLost(f)
	if e := sh.srv.edge; e != nil && f.Node == 0 && sh.io.Index() == 0 {
		e.closed(f)
	}
	sh.rest()
}

// post runs fn on the shard, with the same safety net as a packet.
func (sh *shard) post(fn func()) error { return sh.io.Post(func() { sh.safely(fn) }) }

func (sh *shard) safely(fn func()) {
	defer sh.contain("")
	fn()
	sh.rest()
}

// contain keeps a fault in one message to that message.
func (sh *shard) contain(text string) {
	if r := recover(); r != nil {
		sh.count.panics.Add(1)
		sh.msg = new(message.Message)
		sh.srv.cfg.Log.Error("a message could not be handled; its call is ended, others go on", "panic", r, "message", strconv.QuoteToASCII(text), "stack", stack())
		sh.condemn(text)
		sh.attempt(sh.rest)
	}
}

// condemn ends the calls with the Call-ID of a message that could not be handled: what it left behind cannot be trusted. It
// looks at every transaction, which is dear and rare.
func (sh *shard) condemn(text string) {
	defer func() { _ = recover() }() // a call too broken to be ended stays as it is
	var m message.Message
	if text == "" || m.Parse(text) != nil {
		return
	}
	sh.condemnCall(m.CallID())
}

func (sh *shard) condemnCall(id string) {
	for _, tx := range sh.txs {
		if tx.m == nil || tx.m.CallID() != id {
			continue
		}
		if f := tx.fork; f != nil && f.in != nil {
			f.abandon()
		}
		tx.respond(&message.Response{Status: 500})
	}
	for _, d := range slices.Clone(sh.dialogs[sh.dialogKey(id)]) {
		switch d := d.(type) {
		case *Dialog:
			d.hangup("internal error")
		case calleeSide:
			d.hangup("internal error")
		case *Leg:
			d.hangup("internal error")
		}
	}
}

// rest is what each piece of work ends with: handlers hear how their relays ended, and the next wake-up is set.
func (sh *shard) rest() {
	for len(sh.finished) > 0 {
		f := sh.finished[0]
		sh.finished = sh.finished[:copy(sh.finished, sh.finished[1:])]
		f.told = true
		sh.serve(f.in, func() { f.then(f.outcome) })
	}
	next := sh.timers.next()
	for _, t := range [...]time.Time{sh.answered.next(), sh.settled.next(), sh.heard.next()} {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if !next.Equal(sh.wake) {
		sh.wake = next
		sh.io.SetWake(next)
	}
}

func (sh *shard) now() time.Time { return sh.io.Now() }

func (sh *shard) arm(t *timer, owner timed, d time.Duration) {
	t.owner = owner
	sh.timers.arm(t, sh.now().Add(d))
}

// keep hands the message in hand to whoever must remember it.
func (sh *shard) keep(m *message.Message) *message.Message {
	if m == sh.msg {
		sh.msg = new(message.Message)
	}
	return m
}

func (sh *shard) send(f transport.Flow, b []byte) error {
	err := sh.io.Send(f, b)
	if err != nil {
		sh.count.sendErrors.Add(1)
	}
	return err
}

// request sends a request the way it belongs: to its transaction, its dialog, the registrar or the handler.
func (sh *shard) request(m *message.Message, p transport.Packet) {
	if sh.strays(m, p) {
		return
	}
	via, _ := m.TopVia() // Validate has read it
	key := sh.transactionKey(m, &via)
	if tx := sh.txs[key]; tx != nil {
		tx.follow(m, p)
		tx.again(m)
		return
	}
	if r, ok := sh.answered.get(key); ok {
		sh.again(r, m, p)
		return
	}
	if sh.yields(m, p) {
		return
	}
	switch {
	case m.Method == "ACK":
		sh.ack(m, p)
	case m.Method == "CANCEL":
		sh.reply(m, p.Flow, &message.Response{Status: 481, ToTag: sh.statelessTag(m)})
	case m.ToTag() != "" && m.Method != "REGISTER":
		sh.inDialog(m, p, key)
	default:
		sh.outside(m, p, key)
	}
}

// transactionKey matches requests to server transactions (RFC 3261 §17.2.3). The seed is secret, so nobody can make two
// transactions collide on purpose. An ACK has the key of its INVITE, and so has a CANCEL, see again.
func (sh *shard) transactionKey(m *message.Message, via *message.Via) uint64 {
	method := m.Method
	if method == "ACK" || method == "CANCEL" {
		method = "INVITE"
	}
	var h maphash.Hash
	h.SetSeed(sh.srv.seed)
	h.WriteString(method)
	h.WriteByte(0)
	h.WriteString(via.Branch)
	h.WriteByte(0)
	h.WriteString(via.Host)
	h.WriteByte(byte(via.Port))
	h.WriteByte(byte(via.Port >> 8))
	h.WriteString(m.CallID())
	if len(via.Branch) <= len(message.BranchMagic) || via.Branch[:len(message.BranchMagic)] != message.BranchMagic {
		// RFC 2543 peers: everything that tells two requests apart. The To tag is left out because an ACK carries one.
		n, _, _ := m.CSeq()
		h.WriteString(m.FromTag())
		h.WriteString(strconv.FormatUint(uint64(n), 10))
	}
	return h.Sum64()
}

// statelessTag is the To tag of answers that leave no state behind: the same for every retransmission (RFC 3261 §8.2.7).
func (sh *shard) statelessTag(m *message.Message) string {
	var h maphash.Hash
	h.SetSeed(sh.srv.seed)
	h.WriteString(m.CallID())
	h.WriteByte(0)
	h.WriteString(m.FromTag())
	return strconv.FormatUint(h.Sum64(), 36)
}

// reply answers a request without keeping anything.
func (sh *shard) reply(m *message.Message, f transport.Flow, r *message.Response) {
	sh.buf = sh.appendReply(sh.buf[:0], m, f, r)
	_ = sh.send(replyFlow(m, f), sh.buf)
}

func (sh *shard) appendReply(dst []byte, m *message.Message, f transport.Flow, r *message.Response) []byte {
	r.IP, r.Port = f.Remote.Addr().Unmap().String(), int(f.Remote.Port())
	if sh.srv.cfg.Software != "" {
		r.Extra = message.AppendHeader(r.Extra, "Server", sh.srv.cfg.Software)
	}
	return m.AppendResponse(dst, r)
}

// replyFlow is where the answer to a request goes: back on its connection; over UDP to the source when the Via asks for
// rport, else to the source address at the port of sent-by (RFC 3261 §18.2.2, RFC 3581 §4).
func replyFlow(m *message.Message, f transport.Flow) transport.Flow {
	if f.Net != transport.UDP {
		return f
	}
	via, err := m.TopVia()
	if err != nil || via.HasRPort {
		return f
	}
	port := via.Port
	if port == 0 {
		port = 5060
	}
	f.Remote = netip.AddrPortFrom(f.Remote.Addr(), uint16(port))
	return f
}

// malformed refuses what does not parse, when it can be answered at all, and says so in the log once a second.
func (sh *shard) malformed(m *message.Message, p transport.Packet, err error) {
	sh.count.malformed.Add(1)
	srv := sh.srv
	if skipped, ok := srv.faults.allow(sh.now()); ok {
		srv.cfg.Log.Warn("malformed message", "peer", p.Flow.Remote, "net", p.Flow.Net.String(), "error", err, "skipped", skipped,
			"message", strconv.QuoteToASCII(p.Text[:min(len(p.Text), 512)]))
	}
	pe, ok := err.(*message.ParseError)
	if !ok || !m.Answerable() {
		return
	}
	sh.reply(m, p.Flow, &message.Response{
		Status: pe.Status, ToTag: sh.statelessTag(m),
		Extra: srv.warning(nil, 399, pe.Text),
	})
}

// warnAgent is the name of this node in Warning headers (RFC 3261 §20.43).
func (s *Server) warnAgent() string {
	if s.cfg.Transport.Advertise != "" {
		return s.cfg.Transport.Advertise
	}
	return "tandem"
}

// response gives a response to the branch that waits for it (RFC 3261 §16.7 step 1, §17.1.3), or to what is left of it.
func (sh *shard) response(m *message.Message, p transport.Packet) {
	via, _ := m.TopVia()
	id, loop, node, ok := branchNumber(via.Branch)
	if e := sh.srv.edge; ok && node != 0 && e != nil && node != e.number {
		if p.Flow.Node == 0 {
			e.stray(node, p)
		}
		return
	}
	if b := sh.branches[id]; ok && b != nil && b.loop == loop {
		switch m.Method {
		case b.method:
			b.response(m, p)
			return
		case "CANCEL":
			b.cancelHeard()
			return
		}
	}
	if r, ok := sh.settled.get(id); ok && r.loop == loop {
		sh.responseAgain(r, m, p)
		return
	}
	if _, ok := sh.heard.get(id); ok {
		return
	}
	sh.count.strayResponses.Add(1)
}

// appendBranch writes the branch parameter of branch number id with the loop detection hash (RFC 3261 §16.6 step 8). One that goes over a flow of
// another node ends with the number of this one, see appendVia.
func appendBranch(dst []byte, id uint64, loop uint32) []byte {
	dst = append(dst, message.BranchMagic...)
	dst = strconv.AppendUint(dst, id, 36)
	dst = append(dst, '.')
	return strconv.AppendUint(dst, uint64(loop), 36)
}

func branchNumber(branch string) (id uint64, loop, node uint32, ok bool) {
	if len(branch) <= len(message.BranchMagic) {
		return 0, 0, 0, false
	}
	num, hash, ok := strings.Cut(branch[len(message.BranchMagic):], ".")
	if !ok {
		return 0, 0, 0, false
	}
	hash, home, abroad := strings.Cut(hash, ".")
	if abroad {
		n, err := strconv.ParseUint(home, 36, 32)
		if err != nil {
			return 0, 0, 0, false
		}
		node = uint32(n)
	}
	id, err := strconv.ParseUint(num, 36, 64)
	if err != nil {
		return 0, 0, 0, false
	}
	h, err := strconv.ParseUint(hash, 36, 32)
	return id, uint32(h), node, err == nil
}
