package sip

import (
	"slices"
	"time"

	"tandem/sip/message"
	"tandem/sip/transport"
)

const (
	callerGrace = 5 * time.Second        // how long a call rings on whose caller has lost his connection
	callerLook  = 250 * time.Millisecond // how often it is looked whether he is back
)

// A lostCaller waits for somebody whose connection broke while the phones he calls were ringing. A phone that went from one network to
// another registers again and goes on (RFC 5626 §4.5): answers then take its new connection. When nobody comes, nobody will hear an
// answer, and whoever picked up would talk to a dead line: the call is cancelled.
type lostCaller struct {
	tx           *transaction
	timer        timer
	until        time.Time
	tenant, user string
	contact      string // of his INVITE
}

// watchCaller lets FlowClosed find an INVITE that came on a connection.
func (sh *shard) watchCaller(tx *transaction) {
	if tx.invite && tx.flow.Conn != 0 {
		sh.callers[tx.flow.Conn] = append(sh.callers[tx.flow.Conn], tx)
	}
}

func (tx *transaction) unwatchCaller() {
	if !tx.invite || tx.flow.Conn == 0 {
		return
	}
	list := tx.sh.callers[tx.flow.Conn]
	if i := slices.Index(list, tx); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) == 0 {
		delete(tx.sh.callers, tx.flow.Conn)
		return
	}
	tx.sh.callers[tx.flow.Conn] = list
}

// callersLost begins the wait for those who called over a connection that is gone. A request inside a dialog is left to its dialog.
func (sh *shard) callersLost(f transport.Flow) {
	waiting := sh.callers[f.Conn]
	delete(sh.callers, f.Conn)
	for _, tx := range waiting {
		if tx.in == nil || tx.m == nil || tx.state != txProceeding {
			continue
		}
		sh.awaitCaller(tx)
	}
}

func (sh *shard) awaitCaller(tx *transaction) {
	contact, _ := message.ParseAddress(tx.m.Get(message.Contact))
	l := &lostCaller{tx: tx, until: sh.now().Add(callerGrace), tenant: tx.in.Tenant, user: tx.in.User, contact: contact.URI}
	sh.arm(&l.timer, l, callerLook)
}

// expire looks whether the caller is back, and gives him up in the end.
func (l *lostCaller) expire(now time.Time) {
	tx := l.tx
	sh := tx.sh
	switch f, back := l.newFlow(now); {
	case sh.txs[tx.key] != tx || sh.srv.net.Alive(tx.flow): // over, or he has sent something himself
	case back:
		sh.count.callersBack.Add(1)
		tx.flow = f
		if tx.in != nil {
			sh.watchCaller(tx)
		}
		if tx.last != nil { // what was said meanwhile went nowhere
			_ = sh.send(tx.flow, tx.last)
		}
	case now.Before(l.until):
		sh.arm(&l.timer, l, callerLook)
	default:
		tx.callerGone()
	}
}

// newFlow is the connection the caller's phone has registered over since, known by its Contact as a dialog knows it (see relocate).
func (l *lostCaller) newFlow(now time.Time) (transport.Flow, bool) {
	srv := l.tx.sh.srv
	for _, b := range srv.cfg.Location.Lookup(l.tenant, l.user, now) {
		if b.Flow.Conn != 0 && message.SameURI(b.Contact, l.contact) && srv.net.Alive(b.Flow) {
			return b.Flow, true
		}
	}
	return transport.Flow{}, false
}

// callerGone ends an INVITE whose caller is out of reach.
func (tx *transaction) callerGone() {
	if tx.state != txProceeding || tx.in == nil {
		return
	}
	tx.sh.count.callersLost.Add(1)
	tx.in.lost = true
	if f := tx.fork; f != nil && !f.done {
		f.byCaller = true
		f.cancel(`SIP;cause=487;text="caller's connection lost"`)
		return
	}
	tx.respond(&message.Response{Status: 487})
}

// follow has answers go where a request of this transaction came from, when the connection they went to is gone (RFC 3261 §18.2.2).
func (tx *transaction) follow(m *message.Message, p transport.Packet) {
	if tx.flow.Conn != 0 && tx.flow.Conn != p.Flow.Conn && !tx.sh.srv.net.Alive(tx.flow) {
		tx.unwatchCaller()
		tx.flow = replyFlow(m, p.Flow)
		if tx.in != nil {
			tx.sh.watchCaller(tx)
		}
	}
}

// Lost tells whether the request was given up because the caller's connection broke.
func (in *Inbound) Lost() bool { return in.lost }
