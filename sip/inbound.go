package sip

import (
	"sync"
	"time"

	"tandem/sip/message"
	"tandem/sip/transport"
)

// Inbound is a request that began something, as the Handler sees it. Its methods may be called from the goroutine the
// Handler was given; Msg is never written to again and may be read anywhere.
type Inbound struct {
	Msg    *message.Message
	Flow   transport.Flow
	URI    message.URI // Request-URI after route processing
	Tenant string
	User   string // canonical user who sent it, authenticated
	At     time.Time

	sh   *shard
	tx   *transaction // shard's
	once sync.Once
	gone chan struct{}
}

func newInbound(tx *transaction, f transport.Flow, uri message.URI, tenant, user string) *Inbound {
	return &Inbound{Msg: tx.m, Flow: f, URI: uri, Tenant: tenant, User: user, At: tx.sh.now(), sh: tx.sh, tx: tx, gone: make(chan struct{})}
}

// Done is closed once nobody waits for an answer any more: the caller has cancelled or a final response went out.
func (in *Inbound) Done() <-chan struct{} { return in.gone }

func (in *Inbound) finished() { in.once.Do(func() { close(in.gone) }) }

// Respond sends a response of the node's own: a provisional one, or a final one, which ends the transaction. A response
// behind a final one is dropped. extra are whole header lines with CRLF.
func (in *Inbound) Respond(status int, reason string, extra []byte) {
	in.tell(func() {
		if in.tx.fork != nil && status >= 200 {
			in.tx.fork.abandon()
		}
		in.tx.respond(&message.Response{Status: status, Reason: reason, Extra: extra})
	})
}

// An answer asks a full shard again after busyPause, busyTries times.
const (
	busyPause = 10 * time.Millisecond
	busyTries = 1000
)

// tell runs fn on the shard. A final answer must not get lost because the shard has too much to do: nothing else would end
// the transaction.
func (in *Inbound) tell(fn func()) {
	for range busyTries {
		if in.sh.do(fn) != transport.ErrBusy {
			return
		}
		select {
		case <-in.sh.srv.stopped:
			return
		case <-time.After(busyPause):
		}
	}
}

// Refuse is Respond with a final status and a Warning that says why.
func (in *Inbound) Refuse(status int, why string) {
	in.Respond(status, "", in.sh.srv.warning(nil, 399, why))
}

// Relay says how a request is sent on (RFC 3261 §16.5, §16.6).
type Relay struct {
	Groups  [][]Target    // one group after the other, the targets of a group at once
	Timeout time.Duration // longest wait for an answer over all groups; 0 is timer C alone
	Pause   time.Duration // longest ringing of one group before the next is tried; 0 waits for final responses
	Media   Media         // rewrites session descriptions; nil leaves bodies alone. The relay owns it from here on.
	Events  CallEvents    // told of what happens to the call; nil tells nobody
}

// Media rewrites the session descriptions of one relayed call. All methods run on the call's shard and must not block.
type Media interface {
	// Offer and Answer turn what one side said into what the other side is told (RFC 3264).
	Offer(fromCaller bool, sdp string, src, dst transport.Flow) (string, error)
	Answer(fromCaller bool, sdp string, src, dst transport.Flow) (string, error)
	Rollback() // the last offer was refused: what was agreed before stays
	Close()    // the call is over or was never answered
}

// MediaError is an error of Media with the answer it asks for.
type MediaError interface {
	error
	SIPStatus() (status int, warning string)
}

// CallEvents is told what happens to a relayed call. All methods run on the call's shard and must not block.
type CallEvents interface {
	Ringing(status int, t Target)
	Answered(d *Dialog, t Target)
	Ended(reason string, byCaller bool) // of an answered call, once
}

// Result is how a relay ended.
type Result struct {
	Status    int  // final status, 0 when the caller hung up first
	Answered  bool // a 2xx was passed on
	Cancelled bool // the caller gave up
	TimedOut  bool // Timeout or Pause ran out
}

// Relay sends the request on and waits for how it ends. When nobody answers, nothing final has been sent to the caller
// yet: the handler tries something else or calls RefuseBest.
func (in *Inbound) Relay(r Relay) Result {
	result := make(chan Result, 1)
	if err := in.sh.do(func() { in.sh.beginFork(in, &r, result) }); err != nil {
		if r.Media != nil {
			r.Media.Close()
		}
		return Result{Status: 503}
	}
	select {
	case res := <-result:
		return res
	case <-in.sh.srv.stopped:
		return Result{Status: 503}
	}
}

// RefuseBest passes the best response of the last relay on to the caller (RFC 3261 §16.7 step 6), or status when there
// was none.
func (in *Inbound) RefuseBest(status int) {
	in.tell(func() { in.tx.refuseBest(status) })
}
