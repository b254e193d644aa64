package sip

import (
	"errors"
	"time"

	"tandem/sip/message"
	"tandem/sip/transport"
)

// A call whose node has died goes on at one that cannot have its addresses. Both parties are told where their media are now by an INVITE
// of the node's own, the first without an offer (RFC 3725 §4.1, flow I):
//
//	caller                      node                       callee
//	  | <-- INVITE, no offer ---- |                           |
//	  | --- 200, offer ---------> | --- INVITE, that offer -> |
//	  |                           | <-- 200, answer --------- |
//	  | <-- ACK, that answer ---- | --- ACK ----------------> |
//
// Both have said anew what they speak, and Media has given both addresses of its own. The remote targets stay those of the parties; their route
// sets cannot be changed (RFC 3261 §12.2), so what they ask later goes to the dead node's address, unless Record-Route had a name that stands for all.
const (
	readdressTime  = 4 * time.Second        // for each party to answer
	readdressReach = 20 * time.Second       // for a party that was connected to the dead node to come back
	readdressPause = 200 * time.Millisecond // between two looks whether it has
	readdressAgain = time.Second            // behind an offer of its own (491), or no way to it
)

// readdress is such an exchange; it belongs to the shard.
type readdress struct {
	d     *Dialog
	timer timer
	by    time.Time // when waiting is over
	next  func()    // what the timer is for; nil: the party that was asked is silent
	over  bool
	ack   func(body string) // acknowledges the caller's answer
	done  func(problem string)
}

// Readdress tells both parties of an answered call where their media are now. done is called once, on the call's shard, with "" or with why the call
// was ended instead: one party refuses, or says nothing. Any goroutine. An error means that nothing was done.
func (d *Dialog) Readdress(done func(problem string)) error {
	if d.media == nil {
		return errors.New("sip: a call without media has nothing to tell")
	}
	return d.sh.post(func() {
		r := &readdress{d: d, done: done, by: d.sh.now().Add(readdressReach)}
		r.begin()
	})
}

// begin asks the caller once both can be reached.
func (r *readdress) begin() {
	d := r.d
	switch {
	case d.state != dialogConfirmed:
		r.end("the call is over")
	case d.sh.now().After(r.by):
		r.fail("a phone has not come back")
	case !d.reaches(&d.caller) || !d.reaches(&d.callee):
		r.wait(readdressPause, r.begin)
	default:
		r.ask(true, "")
	}
}

// reaches tells whether a party has a way: any over UDP, a connection that its phone has opened since, or one that we may open, for there is no
// NAT between.
func (d *Dialog) reaches(p *party) bool {
	d.relocate(p)
	if d.sh.srv.net.Alive(p.flow) {
		return true
	}
	u, err := message.ParseURI(p.contact)
	if err != nil || p.flow.Net == transport.WS || p.flow.Net == transport.WSS {
		return false
	}
	at, ok := addrOf(u)
	return ok && at.Addr() == p.flow.Remote.Addr().Unmap()
}

func (r *readdress) wait(d time.Duration, next func()) {
	r.next = next
	r.d.sh.arm(&r.timer, r, d)
}

func (r *readdress) expire(time.Time) {
	next := r.next
	r.next = nil
	switch {
	case r.over:
	case next != nil:
		next()
	default:
		r.fail("a phone has not answered")
	}
}

// later tells whether a party that could not be asked now is to be asked once more: it offers something itself, or could not be reached.
func (r *readdress) later(reply *Reply) bool {
	return (reply.Status == 491 || reply.msg == nil) && r.d.sh.now().Before(r.by)
}

// ask sends the INVITE to one party; without an offer its answer is acknowledged later.
func (r *readdress) ask(toCaller bool, offer string) {
	r.wait(readdressTime, nil)
	q := Request{Method: "INVITE", ToCaller: toCaller, Body: offer, ContentType: "application/sdp", later: offer == "", Done: r.offered}
	if offer != "" {
		q.Done = func(reply Reply) { r.answered(reply, offer) }
	}
	r.d.send(q)
}

// offered is the caller's answer, with an offer.
func (r *readdress) offered(reply Reply) {
	r.ack = reply.ack
	d := r.d
	switch {
	case r.over: // too late
		r.acknowledge("")
		return
	case r.later(&reply):
		r.wait(readdressAgain, r.begin)
		return
	case reply.Status/100 != 2:
		r.fail("the caller's phone refuses")
		return
	}
	b, err := describe(reply.msg)
	if err != nil || !b.found {
		r.fail("the caller's phone offers nothing")
		return
	}
	sdp, err := d.media.Offer(true, b.sdp(), d.caller.flow, d.callee.flow, d.terms())
	if err != nil {
		r.fail("session description refused")
		return
	}
	r.ask(false, sdp)
}

// answered is the callee's.
func (r *readdress) answered(reply Reply, offer string) {
	d := r.d
	switch {
	case r.over:
		return
	case r.later(&reply):
		r.wait(readdressAgain, func() { r.ask(false, offer) })
		return
	case reply.Status/100 != 2:
		d.media.Rollback()
		r.fail("the callee's phone refuses")
		return
	}
	b, err := describe(reply.msg)
	var sdp string
	if err == nil {
		sdp, err = d.media.Answer(false, b.sdp(), d.callee.flow, d.caller.flow, d.terms())
	}
	if err != nil {
		r.fail("session description refused")
		return
	}
	r.acknowledge(sdp)
	d.changed()
	r.end("")
}

func (r *readdress) acknowledge(body string) {
	if ack := r.ack; ack != nil {
		r.ack = nil
		ack(body)
	}
}

// fail ends the call on both sides.
func (r *readdress) fail(problem string) {
	r.acknowledge("")
	r.end(problem)
	r.d.hangup(problem)
}

func (r *readdress) end(problem string) {
	r.d.sh.timers.stop(&r.timer)
	r.over = true
	r.done(problem)
}
