package sip

import (
	"time"

	"tandem/sip/message"
	"tandem/sip/transport"
)

type txState uint8

const (
	txProceeding txState = iota // no final response yet (for non-INVITE: Trying and Proceeding)
	txCompleted                 // final response sent; INVITE: until the ACK
	txAccepted                  // INVITE: 2xx sent, absorbs retransmissions (RFC 6026 §7.1)
)

// A transaction is the server side of one request (RFC 3261 §17.2). Once nothing more can come of it but retransmissions, its
// remains take its place.
type transaction struct {
	sh    *shard
	key   uint64
	flow  transport.Flow // where responses go
	timer timer
	state txState

	invite bool
	m      *message.Message // the request; nil once a final response went out
	toTag  string           // tag of responses that are ours
	last   []byte           // last response as sent
	every  time.Duration    // timer G
	until  time.Time        // timers H, J, L
	fork   *fork            // RFC 3261 §16.7 response context, nil unless the request is relayed
	in     *Inbound         // the handler's end, nil for requests inside a dialog
	routed routed
	own    *outgoing      // in place of a caller on the network, when the INVITE is ours
	later  *laterResponse // what keeps the next final response back, nil for nothing
	open   bool           // a phone was left out because the way to it is not encrypted
}

// newTransaction opens the server transaction of m and keeps m. A full table refuses with 503 and returns nil.
func (sh *shard) newTransaction(m *message.Message, p transport.Packet, key uint64) *transaction {
	if sh.transactions() >= sh.srv.limits().MaxTransactions {
		sh.shed(m, p.Flow)
		return nil
	}
	tx := &transaction{sh: sh, key: key, flow: replyFlow(m, p.Flow), invite: m.Method == "INVITE", m: sh.keep(m)}
	sh.txs[key] = tx
	sh.count.transactions.Store(int64(sh.transactions()))
	sh.watchCaller(tx)
	return tx
}

// transactions counts the server transactions, those that have answered included.
func (sh *shard) transactions() int { return len(sh.txs) + sh.answered.len() }

// shed refuses a request because there is too much to do.
func (sh *shard) shed(m *message.Message, f transport.Flow) {
	sh.count.shed.Add(1)
	if m.Method == "ACK" {
		return
	}
	sh.reply(m, f, &message.Response{Status: 503, ToTag: sh.statelessTag(m), Extra: []byte("Retry-After: 5\r\n")})
}

// again handles a request that matches this transaction: a retransmission, an ACK or a CANCEL.
func (tx *transaction) again(m *message.Message) {
	switch {
	case m.Method == "CANCEL":
		tx.cancel(m)
	case m.Method == "ACK":
		tx.ack(m)
	default:
		tx.sh.count.retransmitted.Add(1)
		if tx.last != nil && (tx.state == txProceeding || tx.state == txCompleted) {
			_ = tx.sh.send(tx.flow, tx.last)
		}
	}
}

// ack ends the retransmissions of a final response other than 2xx (RFC 3261 §17.2.1). Behind a 2xx an ACK with the INVITE's
// branch comes from an old peer: it belongs to the dialog.
func (tx *transaction) ack(m *message.Message) {
	switch tx.state {
	case txCompleted:
		tx.leave(silence)
	case txAccepted:
		tx.sh.ack(m, transport.Packet{Flow: tx.flow})
	}
}

// cancel answers a CANCEL and passes it on to the branches (RFC 3261 §9.2, §16.10).
func (tx *transaction) cancel(m *message.Message) {
	tag := tx.toTag
	if tag == "" {
		tag = tx.sh.statelessTag(m)
	}
	tx.sh.reply(m, tx.flow, &message.Response{Status: 200, ToTag: tag})
	if !tx.invite || tx.state != txProceeding {
		return
	}
	if tx.fork != nil && !tx.fork.done { // else the handler is between two relays, or before the first
		tx.fork.cancel("")
		return
	}
	tx.respond(&message.Response{Status: 487})
}

// respond sends a response of our own.
func (tx *transaction) respond(r *message.Response) {
	if tx.state != txProceeding || tx.m == nil {
		return
	}
	if tx.own != nil {
		tx.own.over(tx, r.Status)
		return
	}
	if r.Status > 100 && r.ToTag == "" {
		if tx.toTag == "" {
			tx.toTag = tx.sh.statelessTag(tx.m)
		}
		r.ToTag = tx.toTag
	}
	tx.sh.buf = tx.sh.appendReply(tx.sh.buf[:0], tx.m, tx.flow, r)
	tx.sendResponse(r.Status, tx.sh.buf)
}

// sendResponse sends response bytes, ours or relayed, and moves the state machine (RFC 3261 §17.2, RFC 6026 §7.1).
func (tx *transaction) sendResponse(status int, b []byte) {
	if l := tx.later; l == nil || status < 200 || !l.keep(tx.flow, b) {
		_ = tx.sh.send(tx.flow, b)
	}
	if status >= 200 {
		tx.later = nil
	}
	if status >= 200 && tx.invite && status < 300 {
		tx.accept()
		return
	}
	if status < 200 {
		tx.last = append(tx.last[:0], b...)
		return
	}
	last := append(make([]byte, 0, len(b)), b...)
	if !tx.invite { // timer J
		tx.leave(&remains{flow: tx.flow, last: last})
		return
	}
	tx.last = last
	tx.finish()
	tx.state = txCompleted
	tx.every = timerT1
	tx.until = tx.sh.now().Add(timerB)
	d := timerB
	if !tx.flow.Net.Reliable() {
		d = timerT1
	}
	tx.sh.arm(&tx.timer, tx, d)
}

// accept is the INVITE's way to Accepted. As long as other branches may bring a further 2xx, it passes through sendResponse.
func (tx *transaction) accept() {
	if tx.state == txAccepted {
		return
	}
	tx.state = txAccepted
	tx.last = nil
	if tx.fork == nil || tx.fork.live == 0 {
		tx.leave(nil)
		return
	}
	tx.finish()
	tx.sh.arm(&tx.timer, tx, timerB) // timer L
}

// silence absorbs retransmissions, those of the ACK to a refused INVITE too. nil remains leave the ACK to the dialog.
var silence = new(remains)

// leave puts the remains in the transaction's place. A stream brings no retransmissions, but may bring a CANCEL.
func (tx *transaction) leave(r *remains) {
	sh := tx.sh
	if tx.invite || !tx.flow.Net.Reliable() {
		sh.answered.put(tx.key, r, sh.now(), sh.srv.limits().MaxTransactions)
	}
	if tx.state == txProceeding {
		tx.state = txCompleted
	}
	tx.end()
}

// again handles a request whose transaction has answered.
func (sh *shard) again(r *remains, m *message.Message, p transport.Packet) {
	switch {
	case m.Method == "ACK":
		if r == nil { // behind a 2xx it has the INVITE's branch when it comes from an old peer
			sh.ack(m, p)
		}
	case m.Method == "CANCEL": // too late (RFC 3261 §9.2)
		sh.reply(m, p.Flow, &message.Response{Status: 200, ToTag: sh.statelessTag(m)})
	default:
		sh.count.retransmitted.Add(1)
		if r != nil && r.last != nil {
			_ = sh.send(r.flow, r.last)
		}
	}
}

// finish lets go of what is not needed behind a final response.
func (tx *transaction) finish() {
	tx.unwatchCaller()
	tx.m, tx.fork = nil, nil
	if tx.in != nil {
		if tx.in.vain != nil {
			tx.in.vain()
		}
		tx.in = nil
		tx.sh.count.pending.Add(-1)
	}
}

// expire is timer G, H or L.
func (tx *transaction) expire(now time.Time) {
	if tx.state != txCompleted || !tx.invite || !now.Before(tx.until) || tx.flow.Net.Reliable() {
		tx.end()
		return
	}
	_ = tx.sh.send(tx.flow, tx.last)
	tx.every = min(2*tx.every, timerT2)
	next := now.Add(tx.every)
	if next.After(tx.until) {
		next = tx.until
	}
	tx.sh.timers.arm(&tx.timer, next)
}

func (tx *transaction) end() {
	tx.sh.timers.stop(&tx.timer)
	tx.finish()
	delete(tx.sh.txs, tx.key)
	tx.sh.count.transactions.Store(int64(tx.sh.transactions()))
}
