package sip

import (
	"context"
	"sync"
	"sync/atomic"

	"tandem/sip/message"
)

// maxHandlers is how many requests may have a goroutine at once; one more gets 503.
const maxHandlers = 50_000

// handlers are the goroutines that handlers asked for.
type handlers struct {
	running atomic.Int64
	wg      sync.WaitGroup
}

// Go runs fn in a goroutine of its own, for what waits or takes long; most requests need none. What fn returns runs on the
// shard when fn has come back. A caller who hangs up meanwhile is answered at once. From the shard.
func (in *Inbound) Go(fn func() (then func())) {
	h := &in.sh.srv.handlers
	if h.running.Add(1) > maxHandlers {
		h.running.Add(-1)
		in.sh.count.shed.Add(1)
		in.tx.respond(&message.Response{Status: 503, Extra: []byte("Retry-After: 5\r\n")})
		return
	}
	in.away = true
	h.wg.Go(func() {
		defer h.running.Add(-1)
		then := in.think(fn)
		in.Post(func() {
			in.away = false
			in.sh.serve(in, then)
		})
	})
}

// GoFor is Go for what is in vain once the caller has hung up, or was refused: ctx ends then.
func (in *Inbound) GoFor(fn func(ctx context.Context) (then func())) {
	ctx, cancel := context.WithCancel(context.Background())
	in.vain = cancel
	in.Go(func() func() {
		defer cancel()
		return fn(ctx)
	})
}

// think runs fn; a fault in it comes to 500.
func (in *Inbound) think(fn func() func()) (then func()) {
	defer func() {
		if r := recover(); r != nil {
			in.failed(r)
			then = nil
		}
	}()
	return fn()
}

// serve lets the handler think about a request, and sees to it that the request is answered: one that nothing is under way
// for when the handler has returned gets 500.
func (sh *shard) serve(in *Inbound, fn func()) {
	defer in.rescue()
	if fn != nil {
		fn()
	}
	tx := in.tx
	if tx.state == txProceeding && tx.m != nil && !in.away && (tx.fork == nil || tx.fork.told) {
		tx.respond(&message.Response{Status: 500})
	}
}

// rescue ends the request whose handler panicked, and no other.
func (in *Inbound) rescue() {
	if r := recover(); r != nil {
		in.failed(r)
		in.Respond(500, "", nil)
	}
}

func (in *Inbound) failed(r any) {
	in.sh.count.panics.Add(1)
	in.sh.srv.cfg.Log.Error("a call's handler panicked; the call is ended, others go on", "call", in.callID, "panic", r, "stack", stack())
}
