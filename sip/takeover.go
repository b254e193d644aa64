package sip

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"tandem/sip/message"
	"tandem/sip/transport"
)

// A take-over is the move of the answered calls of one process to another that has been given its sockets:
//
//	Hold     what begins something waits, the rest goes on
//	Freeze   nothing is handled any more: all that comes waits
//	Export   of each Dialog
//	         the other process imports; Thaw takes all of it back instead
//	Run ends
//	Held     what has come since Hold is the other process's
//
// Nothing that arrives is lost, and nothing is handled twice.

// pause is how far the way to a take-over a server has gone.
type pause int32

const (
	running pause = iota
	holding       // requests outside a dialog wait
	frozen        // everything waits
)

// maxHeld bounds what one shard keeps back: some seconds of a busy node. What comes beyond it is dropped and counted; over UDP it is sent
// again.
const maxHeld = 8192

// Hold keeps requests back that begin something and came over UDP, so that they can be handled later or by somebody else; over connections, that
// will end, they are refused with 503. The rest goes on. Any goroutine.
func (s *Server) Hold() { s.pause.Store(int32(holding)) }

// Freeze has nothing handled any more: what comes is kept, and answered calls stand still until Thaw or for good. It waits a moment for
// requests inside calls to be answered, as long as there are any and ctx lasts. Any goroutine that is not a shard's.
func (s *Server) Freeze(ctx context.Context) error {
	s.pause.Store(int32(holding))
	for deadline := time.Now().Add(settleTime); s.busy() && time.Now().Before(deadline); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	s.pause.Store(int32(frozen))
	return s.onShards(ctx, (*shard).settle)
}

// settleTime is how long Freeze waits for answers inside calls. Phones send again what is lost after half a second.
const settleTime = 300 * time.Millisecond

// busy tells whether requests wait for an answer of a phone.
func (s *Server) busy() bool { return s.Stats().Branches > 0 }

// onShards runs fn on each shard and waits for all.
func (s *Server) onShards(ctx context.Context, fn func(*shard)) error {
	var wg sync.WaitGroup
	for _, sh := range s.shards {
		wg.Add(1)
		for err := sh.post(func() { defer wg.Done(); fn(sh) }); err != nil; err = sh.post(func() { defer wg.Done(); fn(sh) }) {
			if !errors.Is(err, transport.ErrBusy) || ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
			time.Sleep(busyPause)
		}
	}
	wg.Wait()
	return nil
}

// settle ends what the other process cannot know of: calls that this one answers; a phone whose offer is under way is told to make it again (RFC 3261 §14.1), and what
// else waits for an answer is sent again by who asked.
func (sh *shard) settle() {
	for _, tx := range sh.txs {
		if !tx.invite || tx.m == nil || tx.state != txProceeding {
			continue
		}
		f := tx.fork
		if tx.in == nil {
			tx.respond(&message.Response{Status: 491})
		} else {
			tx.respond(&message.Response{Status: 503, Extra: []byte("Retry-After: 1\r\n")})
		}
		if f != nil {
			f.abandon()
		}
	}
	for _, list := range sh.dialogs {
		for _, d := range slices.Clone(list) {
			switch d := d.(type) {
			case *Dialog:
				d.release()
				sh.timers.stop(&d.timer)
			case *Leg: // one that was not acknowledged when it was to be ended, or was answered since
				d.ok = nil
				d.hangup(cmp.Or(d.why, "the node is replaced"))
			}
		}
	}
}

// kept tells whether a message waits for a take-over, and keeps it.
func (sh *shard) kept(m *message.Message, p transport.Packet) bool {
	switch pause(sh.srv.pause.Load()) {
	case running:
		return false
	case holding:
		if !m.IsRequest() || m.Method == "ACK" || m.ToTag() != "" && m.Method != "REGISTER" {
			return false
		}
		via, _ := m.TopVia()
		if key := sh.transactionKey(m, &via); sh.txs[key] != nil || sh.byKey(key) {
			return false
		}
		if sh.yields(m, p) {
			return true
		}
		if p.Flow.Net != transport.UDP {
			sh.shed(m, p.Flow)
			return true
		}
	}
	if len(sh.held) >= maxHeld {
		sh.count.heldLost.Add(1)
		return true
	}
	sh.held = append(sh.held, p)
	return true
}

func (sh *shard) byKey(key uint64) bool { _, ok := sh.answered.get(key); return ok }

// Thaw is the end of a take-over that came to nothing: what was kept back is handled, and calls go on. Any goroutine that is not a shard's.
func (s *Server) Thaw(ctx context.Context) error {
	s.pause.Store(int32(running))
	return s.onShards(ctx, func(sh *shard) {
		for _, list := range sh.dialogs {
			for _, d := range slices.Clone(list) {
				if d, ok := d.(*Dialog); ok && (d.state == dialogConfirmed || d.state == dialogEnding) {
					d.armSession()
				}
			}
		}
		held := sh.held
		sh.held = nil
		for _, p := range held {
			sh.Receive(p)
		}
	})
}

// A Held is a message that was kept back for another process.
type Held struct {
	Text  string
	Place transport.Place
}

// Held are the messages that came since Hold, in their order. Once Run has ended, or Transport().Ended.
func (s *Server) Held() []Held {
	var out []Held
	for _, sh := range s.shards {
		for _, p := range sh.held {
			out = append(out, Held{p.Text, s.net.PlaceOf(p.Flow)})
		}
	}
	return out
}

// Receive handles messages that another process has kept back, as if they had come in here. Before Run.
func (s *Server) Receive(list []Held) {
	now := time.Now()
	for _, h := range list {
		var m message.Message
		if m.Parse(h.Text) != nil {
			continue
		}
		s.shards[s.net.Shard(m.CallID()).Index()].Receive(transport.Packet{Text: h.Text, Flow: s.net.FlowAt(h.Place), At: now})
	}
}

// Export gives an answered call as another process can go on with it, see Import. It is the dialog of both parties with the numbers of
// their requests, where they are, session timer and the end of the longest call time; not its media, which have an Export of their own. The
// dialog here must not be used any more when the other one is. Any goroutine that is not a shard's. Errors: ErrNotMovable when the call is
// over or not answered yet, that of ctx.
func (d *Dialog) Export(ctx context.Context) ([]byte, error) {
	var out []byte
	err := d.sh.ask(ctx, func() {
		if d.state == dialogConfirmed || d.state == dialogEnding {
			out = d.snapshot()
		}
	})
	if err != nil {
		return nil, err
	}
	if out == nil || len(out) > maxSnapshot {
		return nil, ErrNotMovable
	}
	return out, nil
}

// ask runs fn on the shard and waits for it, as long as ctx lasts. Behind an error fn may still come to run, or be running.
func (sh *shard) ask(ctx context.Context, fn func()) error {
	done := make(chan struct{})
	for {
		err := sh.post(func() { defer close(done); fn() })
		if err == nil {
			break
		}
		if !errors.Is(err, transport.ErrBusy) || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		time.Sleep(busyPause)
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Import makes an answered call of a snapshot. A party that was reached over a connection is awaited: requests for it go where its phone has
// registered since, or to the connection that it speaks up on. Behind Listen, before Run or while it is on; any goroutine that is not a shard's.
// It waits for the shard as long as ctx lasts. Errors: ErrSnapshot, ErrSnapshotVersion, one of a full table, ctx's; then nothing has come.
func (s *Server) Import(ctx context.Context, a Arrival) (*Dialog, error) {
	snap, err := readDialog(a.Snapshot)
	if err != nil {
		return nil, err
	}
	sh := s.shards[s.net.Shard(snap.callID).Index()]
	d := &Dialog{
		sh: sh, callID: snap.callID, state: dialogConfirmed, late: snap.late, byCallee: snap.byCallee, media: a.Media, events: a.Events,
		session: snap.session, interval: snap.interval, limit: snap.limit, veil: snap.veil, above: snap.above,
	}
	for _, p := range [...]struct {
		to   *party
		from *partySnapshot
	}{{&d.caller, &snap.caller}, {&d.callee, &snap.callee}} {
		*p.to = p.from.party
		p.to.flow = s.net.FlowAt(p.from.place)
		if a.Old {
			p.to.numbers.leap = oldLeap
		}
	}
	d.caller.login, d.callee.login = s.loginOf(a.CallerTrunk), s.loginOf(a.CalleeTrunk)
	refused := errors.New("sip: the call could not be taken in")
	err = sh.io.Do(ctx, func() {
		sh.safely(func() { refused = sh.enter(d) })
	})
	if err = cmp.Or(err, refused); err != nil {
		return nil, err
	}
	return d, nil
}

// An Arrival is an answered call from elsewhere. Media and Events are as in Relay.
type Arrival struct {
	Snapshot []byte
	Media    Media
	Events   CallEvents
	// Over which trunks the parties are reached, nil for phones: they are asked for their credentials here, which no snapshot has.
	CallerTrunk, CalleeTrunk *TrunkName
	Old                      bool // who had the call may have sent requests of its own behind the snapshot: ours keep clear of their numbers
}

// oldLeap is how many requests of its own a node may have sent in a call that nobody has heard of.
const oldLeap = 16

// enter takes a call that has come.
func (sh *shard) enter(d *Dialog) error {
	if sh.hasDialog(d) {
		return errors.New("sip: the call is here already")
	}
	if !sh.addDialog(d.callID, d) {
		return errors.New("sip: too many calls")
	}
	if d.veil != nil {
		sh.srv.net.House(d.veil.callID, sh.io) // another process has chosen it, for a shard of its own
		if !sh.addDialog(d.veil.callID, calleeSide{d}) {
			d.forget()
			return errors.New("sip: too many calls")
		}
	}
	d.armSession()
	return nil
}

// A leaving is the end of a Call-ID that another shard's would be (transport.House): not before what is still to be answered has been.
type leaving struct {
	sh     *shard
	callID string
	timer  timer
}

func (sh *shard) vacate(callID string) {
	if !sh.srv.net.Housed(callID) {
		return
	}
	l := &leaving{sh: sh, callID: callID}
	sh.arm(&l.timer, l, 2*timerB)
}

func (l *leaving) expire(time.Time) { l.sh.srv.net.Unhouse(l.callID) }

// hasDialog tells whether there is a call of the same Call-ID and tags.
func (sh *shard) hasDialog(d *Dialog) bool {
	other := d.callee.tag
	if d.veil != nil {
		other = message.Tag(d.above)
	}
	return slices.ContainsFunc(sh.dialogs[sh.dialogKey(d.callID)], func(o dialog) bool {
		_, there := o.owns(d.caller.tag, other)
		return there
	})
}

func (s *Server) frozen() bool { return s.pause.Load() == int32(frozen) }
