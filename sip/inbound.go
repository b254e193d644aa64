package sip

import (
	"context"
	"time"

	"tandem/sip/message"
	"tandem/sip/transport"
)

// Inbound is a request that began something, as the Handler sees it. Its methods may be called on its shard only: in the
// Handler's methods, in what Start and Go call back; any other goroutine goes through Post. Msg is never written to again and
// may be read anywhere.
type Inbound struct {
	Msg    *message.Message
	Flow   transport.Flow
	URI    message.URI // Request-URI after route processing
	Tenant string
	User   string // canonical user who sent it, authenticated
	At     time.Time
	Trunk  string // that it comes from, "" = none; then User is ""
	Login  *Login // answers challenges of who has sent it, nil without
	Again  string // name of a call that has begun at another node and goes on here, see Server.Revive; "" = none

	sh     *shard
	tx     *transaction
	callID string
	away   bool               // a goroutine thinks about it
	lost   bool               // see Lost
	vain   context.CancelFunc // ends what GoFor has begun, nil without
	raise  uint32             // what is added to its number on its way to phones, see Again
}

func newInbound(tx *transaction, f transport.Flow, uri message.URI, tenant, user string) *Inbound {
	return &Inbound{Msg: tx.m, Flow: f, URI: uri, Tenant: tenant, User: user, At: tx.sh.now(), sh: tx.sh, tx: tx, callID: tx.m.CallID()}
}

// from notes the trunk that a call comes from, if it does. A carrier calls the contact that it was given: whom the call is for stands in To.
func (in *Inbound) from(peer *Peer, t *Trunks) {
	if peer == nil {
		return
	}
	t.count.inbound.Add(1)
	in.Trunk, in.Login = peer.Name, peer.login
	if in.URI.User != peer.token {
		return
	}
	a, _ := message.ParseAddress(in.Msg.Get(message.To))
	if to, err := message.ParseURI(a.URI); err == nil {
		in.URI = to
	}
}

// Respond sends a response of the node's own: a provisional one, or a final one, which ends the transaction. A response
// behind a final one is dropped. extra are whole header lines with CRLF.
func (in *Inbound) Respond(status int, reason string, extra []byte) {
	if f := in.tx.fork; f != nil && status >= 200 {
		f.abandon()
	}
	in.tx.respond(&message.Response{Status: status, Reason: reason, Extra: extra})
}

// Refuse is Respond with a final status and a Warning that says why.
func (in *Inbound) Refuse(status int, why string) { in.RefuseFor(status, 399, why) }

// RefuseFor is Refuse with one of the warning codes of RFC 3261 §20.43.
func (in *Inbound) RefuseFor(status, code int, why string) {
	in.Respond(status, "", in.sh.srv.warning(nil, code, why))
}

// A post asks a full shard again after busyPause, busyTries times.
const (
	busyPause = 10 * time.Millisecond
	busyTries = 1000
)

// Post runs fn on the request's shard. Any goroutine. It waits while the shard has too much to do: what it brings may be the
// only thing that ends the request.
func (in *Inbound) Post(fn func()) { in.sh.insist(fn) }

// insist is post that waits while there is too much to do.
func (sh *shard) insist(fn func()) {
	for range busyTries {
		if sh.post(fn) != transport.ErrBusy {
			return
		}
		select {
		case <-sh.srv.stopped:
			return
		case <-time.After(busyPause):
		}
	}
}

// Relay says how a request is sent on (RFC 3261 §16.5, §16.6).
type Relay struct {
	Groups  [][]Target    // one group after the other, the targets of a group at once
	Timeout time.Duration // longest wait for an answer over all groups; 0 is timer C alone
	Pause   time.Duration // longest ringing of one group before the next is tried; 0 waits for final responses
	Quiet   time.Duration // longest wait of one group for anything but 100 before the next is tried; 0 is as long as SIP waits
	Media   Media         // rewrites session descriptions; nil leaves bodies alone. The relay owns it from here on.
	Veil    *Veil         // nil relays the request as it is
	Events  CallEvents    // told of what happens to the call; nil tells nobody
	Hold    time.Duration // how long the first 2xx waits for Dialog.Release at most, behind Events.Answered; 0 sends it at once
}

// Media rewrites the session descriptions of one relayed call. All methods run on the call's shard and must not block.
type Media interface {
	// Offer and Answer turn what one side said into what the other side is told (RFC 3264). An offer that forks is given once for
	// each kind of target: browsers (dst is a WebSocket) and others, IPv4 and IPv6, and users of different terms. terms are those of
	// the user who is called.
	Offer(fromCaller bool, sdp string, src, dst transport.Flow, terms uint8) (string, error)
	Answer(fromCaller bool, sdp string, src, dst transport.Flow, terms uint8) (string, error)
	// Terms tell apart the users that must be offered media differently, whatever phones they have.
	Terms(tenant, user string) uint8
	Rollback() // the last offer was refused: what was agreed before stays
	Close()    // the call is over or was never answered
}

// MediaError is an error of Media with the answer it asks for: a status, and code and text of a Warning (RFC 3261 §20.43).
type MediaError interface {
	error
	SIPStatus() (status, code int, warning string)
}

// CallEvents is told what happens to a relayed call. All methods run on the call's shard and must not block.
type CallEvents interface {
	Ringing(status int, t Target)
	Answered(d *Dialog, t Target)
	Changed()                           // what Export gives of an answered call is another now
	Ended(reason string, byCaller bool) // of an answered call, once
}

// Result is how a relay ended.
type Result struct {
	Status    int  // final status, 0 when the caller hung up first
	Answered  bool // a 2xx was passed on
	Cancelled bool // the caller gave up
	TimedOut  bool // Timeout or Pause ran out
	Quiet     bool // nobody has said anything: Quiet ran out, or nothing came at all
	Unreached bool // nobody could be reached, and what is there of a status is not theirs
}

// Gone tells whether nobody waits for an answer any more: the caller has hung up, or a final response went out.
func (in *Inbound) Gone() bool { return in.tx.state != txProceeding }

// Start sends the request on; then is told how that ended. When nobody answered, nothing final has been sent to the caller
// yet: then tries something else or calls RefuseBest.
func (in *Inbound) Start(r Relay, then func(Result)) {
	f := &fork{sh: in.sh, tx: in.tx, in: in, relay: r, then: then, groups: r.Groups, fromCaller: true, breadth: breadthOf(in.Msg), veil: in.sh.wear(r.Veil)}
	if f.veil == nil {
		f.shift = in.raise
	}
	f.start()
}

// RefuseBest passes the best response of the last relay on to the caller (RFC 3261 §16.7 step 6), or status when there
// was none, with a Warning that says why unless that is "".
func (in *Inbound) RefuseBest(status int, why string) { in.tx.refuseBest(status, why) }
