package transport

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// round is the most messages a shard handles between two flushes of what it sends.
const round = 128

// A Shard is a queue, the packets it is about to send, and one round at a time: whoever holds the turn runs it. That is the
// shard's own goroutine, or a UDP reader that found nobody at it, which saves waking the goroutine up. All messages
// of one Call-ID come to the same shard, so what a handler keeps for a call needs no lock. "On the shard" means inside a round.
type Shard struct {
	t       *Transport
	index   int
	in      *inbox
	handler Handler

	turn  sync.Mutex // held for a round; guards everything below
	batch []item
	posts []func()
	timer *time.Timer // nil until Run
	armed time.Time

	now     time.Time
	wakeAt  time.Time
	udp     []*outbox          // packets to send, by listener; nil for streams, and where nothing has been sent
	sourced map[uint16]*outbox // by listener and source, when it is not the one the routing table takes; at most 255 a listener
	pending []*outbox          // those that hold something
	count   shardCounters
}

type shardCounters struct {
	received, sent, busy, sendErrors atomic.Uint64
}

// Index is the shard's number, from 0.
func (s *Shard) Index() int { return s.index }

// Now is the time at which the round in progress began. From the shard's goroutine.
func (s *Shard) Now() time.Time { return s.now }

// SetWake asks for a call of the handler's Wake at an instant; the zero Time for none. There is one such instant, the last
// one set. From the shard's goroutine.
func (s *Shard) SetWake(at time.Time) { s.wakeAt = at }

// Post runs fn on the shard, after the messages of the round in progress. ErrBusy when too many wait already,
// ErrClosed when the shard has ended; without an error fn is run for certain, provided that Run is. Any goroutine.
func (s *Shard) Post(fn func()) error {
	err := s.in.post(fn)
	switch err {
	case nil:
		signal(s.in.wake)
	case ErrBusy:
		s.count.busy.Add(1)
	}
	return err
}

// Do runs fn on the shard and returns when that is done. Who calls it may run the round himself, so it may be called before Run, by one goroutine
// then, and never from a shard. Errors: ErrClosed when the shard has ended; ErrBusy, when it had no room as long as ctx lasted. Then fn is not run.
func (s *Shard) Do(ctx context.Context, fn func()) error {
	done := make(chan struct{})
	for {
		err := s.Post(func() { defer close(done); fn() })
		if err == nil {
			break
		}
		if !errors.Is(err, ErrBusy) {
			return err
		}
		select {
		case <-time.After(busyPause):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
	s.help()
	<-done // a post that was not refused is run for certain
	return nil
}

// busyPause is how long a caller waits whom a shard has no room for.
const busyPause = 5 * time.Millisecond

// Send sends one message on a flow and keeps no reference to msg. Datagrams leave at the end of the round, in the order of
// the calls, from the socket of the flow's listener. Stream messages go to the connection's write queue; ErrFlowGone when the
// connection has ended. From the shard's goroutine.
func (s *Shard) Send(f Flow, msg []byte) error {
	if s.t.cfg.Tap != nil {
		s.t.cfg.Tap(s.index, true, f, msg)
	}
	err := s.send(f, msg)
	if err != nil {
		s.count.sendErrors.Add(1)
		return err
	}
	s.count.sent.Add(1)
	return nil
}

func (s *Shard) send(f Flow, msg []byte) error {
	if f.Node != 0 {
		if s.t.cfg.Fellows == nil {
			return ErrFlowGone
		}
		return s.t.cfg.Fellows.SendOn(f, msg)
	}
	if f.Net != UDP {
		c := s.t.conns.get(f)
		if c == nil {
			return ErrFlowGone
		}
		return c.send(msg)
	}
	out := s.outboxOf(f)
	if out == nil {
		return ErrFlowGone
	}
	first := out.empty()
	if err := out.add(f.Remote, msg); err != nil {
		return err
	}
	if first {
		s.pending = append(s.pending, out)
	}
	if out.full() {
		s.flush()
	}
	return nil
}

// outboxOf is where datagrams on f are collected, nil when its listener is gone.
func (s *Shard) outboxOf(f Flow) *outbox {
	usual := s.usual(f.index())
	if usual == nil {
		return nil
	}
	src := s.t.addrs.source(f.source())
	if !src.ip.IsValid() || src.ip.Is6() != usual.v6 {
		return usual
	}
	out := s.sourced[f.Listener]
	if out == nil {
		out = &outbox{w: s.socket(s.t.listenerOf(f)).newWriter(), v6: usual.v6}
		out.w.sendFrom(src.ip)
		if s.sourced == nil {
			s.sourced = make(map[uint16]*outbox)
		}
		s.sourced[f.Listener] = out
	}
	return out
}

// usual is the outbox of a listener, nil when there is none.
func (s *Shard) usual(index int) *outbox {
	if index < len(s.udp) && s.udp[index] != nil {
		return s.udp[index]
	}
	list := s.t.listeners.all()
	if index >= len(list) || list[index].udp == nil || list[index].gone() {
		return nil
	}
	for len(s.udp) <= index {
		s.udp = append(s.udp, nil)
	}
	l := list[index]
	s.udp[index] = &outbox{w: s.socket(l).newWriter(), v6: l.addr.Addr().Is6()}
	return s.udp[index]
}

// forget sends what waits on a listener and has nothing sent there any more.
func (s *Shard) forget(l *listener) {
	s.flush()
	if int(l.index) < len(s.udp) {
		s.udp[l.index] = nil
	}
	for at := range s.sourced {
		if (Flow{Listener: at}).index() == int(l.index) {
			delete(s.sourced, at)
		}
	}
}

// socket is the one of a UDP group that this shard writes to: a socket each as long as they last.
func (s *Shard) socket(l *listener) datagramSocket {
	return l.udp.sockets[s.index%len(l.udp.sockets)]
}

func (s *Shard) flush() {
	for i, out := range s.pending {
		if failed := out.flush(); failed > 0 {
			s.count.sendErrors.Add(uint64(failed))
		}
		s.pending[i] = nil
	}
	s.pending = s.pending[:0]
}

// help runs a round unless somebody is at it, whose round may be over before it sees what came last: then the shard's
// goroutine looks again.
func (s *Shard) help() {
	if !s.turn.TryLock() {
		signal(s.in.wake)
		return
	}
	left := s.round()
	s.turn.Unlock()
	if left {
		signal(s.in.wake)
	}
}

// run is the shard's goroutine. It ends once stop is closed and the queue is empty.
func (s *Shard) run(stop <-chan struct{}) {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	s.turn.Lock()
	s.timer = timer
	for {
		left := s.round()
		s.turn.Unlock()
		rung := false
		if !left {
			select {
			case <-s.in.wake:
			case <-timer.C:
				rung = true
			case <-stop:
				s.finish()
				return
			}
		}
		s.turn.Lock()
		if rung {
			s.armed = time.Time{}
		}
	}
}

// round handles what is waiting, up to a limit, and sends what that produced. The caller holds the turn. It tells whether more
// is waiting.
func (s *Shard) round() (left bool) {
	if s.batch == nil {
		s.batch = make([]item, round)
	}
	s.now = time.Now()
	taken, more := s.in.take(s.batch)
	s.handle(s.batch[:taken])
	s.runPosts()
	if !s.wakeAt.IsZero() && !s.now.Before(s.wakeAt) {
		s.wakeAt = time.Time{}
		s.handler.Wake(s.now)
	}
	s.flush()
	if s.timer != nil && !s.wakeAt.IsZero() && (s.armed.IsZero() || s.wakeAt.Before(s.armed)) {
		s.armed = s.wakeAt
		s.timer.Reset(time.Until(s.armed))
	}
	return more > 0
}

func (s *Shard) handle(batch []item) {
	messages := 0
	for i := range batch {
		it := &batch[i]
		if it.closed {
			s.handler.FlowClosed(it.Flow, it.err)
		} else {
			messages++
			if s.t.cfg.Tap != nil {
				s.t.cfg.Tap(s.index, false, it.Flow, unsafe.Slice(unsafe.StringData(it.Text), len(it.Text))) // a Tap does not write
			}
			s.handler.Receive(it.Packet)
		}
		*it = item{}
	}
	if messages > 0 {
		s.count.received.Add(uint64(messages))
	}
}

func (s *Shard) runPosts() {
	posts := s.in.takePosts(s.posts[:0])
	for i, fn := range posts {
		fn()
		posts[i] = nil
	}
	s.posts = posts[:0]
}

// finish handles what is still queued when the node stops: nothing new comes in any more, but what is posted may post again.
func (s *Shard) finish() {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.timer = nil
	for s.round() || !s.in.close() {
	}
}
