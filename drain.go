package tandem

import (
	"context"
	"errors"
	"sync"
	"time"

	"tandem/admin"
	"tandem/events"
)

// A node that drains ends, and the others go on with what it does. In this order:
//
//   - it leads no more
//   - what begins goes to other nodes (sip.Server.Yield), and nothing is refused
//   - what cannot move is waited for: calls that ring, and those that it answers itself
//   - signalling stands still, and the other nodes get the newest copy of each call
//   - its sockets are closed and its virtual addresses taken away
//   - one entry in the log names the heir, which has all of it a moment later
//
// Without an heir, because it is alone or nobody else could be heard at its addresses, it waits for all calls to end.

const (
	drainLook    = 100 * time.Millisecond
	drainHeir    = time.Second            // between two questions who could go on
	drainMove    = 15 * time.Second       // for all calls to be described, and to be gone on with
	drainParting = 10 * time.Second       // for sockets to be closed
	drainTold    = 2 * time.Second        // for who asked for it to hear that it is over
	drainLead    = 3 * time.Second        // for another node to lead
	drainGoodbye = 500 * time.Millisecond // for the answers to what was ended at last
)

const stopped = "the node is stopped"

// drainage is how far a node that drains is.
type drainage struct {
	wishes chan time.Duration // the wait of one that was asked for, see DrainWishes

	mu    sync.Mutex
	now   admin.Drain
	asked bool
	told  chan struct{} // closed when who asked has heard the end
}

func newDrainage() *drainage {
	return &drainage{wishes: make(chan time.Duration, 1), now: admin.Drain{State: admin.DrainNot}, told: make(chan struct{})}
}

// wish is the API's wish for a drain.
func (d *drainage) wish(wait time.Duration) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.asked || d.now.State != admin.DrainNot {
		return errors.New("the node drains already")
	}
	d.asked = true
	d.wishes <- wait // there is room: it is the only one
	return nil
}

// state tells how far it is; whoever asks is the one who asked for it.
func (d *drainage) state() admin.Drain {
	d.mu.Lock()
	defer d.mu.Unlock()
	st := d.now
	if !st.Until.IsZero() {
		st.Left = max(time.Until(st.Until), 0)
	}
	if st.State == admin.DrainOver && d.told != nil {
		close(d.told)
		d.told = nil
	}
	return st
}

func (d *drainage) set(change func(*admin.Drain)) {
	d.mu.Lock()
	change(&d.now)
	d.mu.Unlock()
}

// DrainWishes gives the wait of a drain that an operator asks for by the API, at most once; negative is the configured one. Who runs the node
// calls Drain then.
func (n *Node) DrainWishes() <-chan time.Duration { return n.drainage.wishes }

// Drain gives away what the node does, and returns when that is done or ctx ends; the caller then ends Run's context. Calls that cannot
// move are waited for as long as wait, negative being node.drain_timeout, and then ended.
func (n *Node) Drain(ctx context.Context, wait time.Duration) {
	if wait < 0 {
		wait = n.cfg.Node.DrainTimeout
	}
	d := n.drainage
	n.draining.Store(true)
	d.set(func(s *admin.Drain) { s.State, s.Until = admin.DrainWaiting, time.Now().Add(wait) })
	n.events.Publish(events.Event{Kind: events.NodeDraining})
	n.log.Info("draining: calls go to other nodes, or are waited for", "calls", n.pbx.Stats().Calls, "wait", wait)
	n.sip.Yield()
	n.abdicate(ctx)
	heir := n.awaitFixed(ctx, wait)
	if ctx.Err() == nil {
		n.move(ctx, heir)
	}
	st := d.state()
	n.log.Info("drained", "heir", st.Heir, "moved", st.Moved, "ended", st.Ended)
	d.finish(ctx)
}

// finish waits a moment for whoever asked, so that he hears how it went.
func (d *drainage) finish(ctx context.Context) {
	d.mu.Lock()
	d.now.State = admin.DrainOver
	asked, told := d.asked, d.told
	d.mu.Unlock()
	if !asked || told == nil {
		return
	}
	select {
	case <-told:
	case <-time.After(drainTold):
	case <-ctx.Done():
	}
}

// abdicate has another node lead the cluster.
func (n *Node) abdicate(ctx context.Context) {
	members, leader, _ := n.cluster.Watch()
	if leader != n.cfg.Node.Name || len(members) < 2 {
		return
	}
	if err := n.cluster.Transfer(ctx, ""); err != nil {
		n.log.Warn("no other node leads yet", "error", err)
		return
	}
	n.drainage.set(func(s *admin.Drain) { s.Led = true })
	ctx, cancel := context.WithTimeout(ctx, drainLead)
	defer cancel()
	for {
		_, leader, changed := n.cluster.Watch()
		if leader != "" && leader != n.cfg.Node.Name {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// awaitFixed waits until all that is left can move, or without an heir until nothing is left, and no longer than wait. It gives the heir, "" for none.
func (n *Node) awaitFixed(ctx context.Context, wait time.Duration) (heir string) {
	tick := time.NewTicker(drainLook)
	defer tick.Stop()
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var asked time.Time
	for {
		if now := time.Now(); now.Sub(asked) > drainHeir {
			asked, heir = now, n.heirOf(ctx)
		}
		load, sessions := n.pbx.Load(), 0
		if n.ng != nil {
			sessions = int(n.ng.Stats().Sessions)
		}
		n.drainage.set(func(s *admin.Drain) {
			s.Heir, s.Movable, s.Ringing, s.Fixed, s.Sessions = heir, load.Movable, load.Ringing, load.Fixed, sessions
		})
		if load.Ringing+load.Fixed+sessions == 0 && (heir != "" || load.Movable == 0) {
			return heir
		}
		select {
		case <-tick.C:
		case <-waiting.Done():
			return n.heirOf(ctx) // who could go on now
		}
	}
}

// heirOf asks who could go on now with what this node does.
func (n *Node) heirOf(ctx context.Context) string {
	if n.cluster.Copies() == nil {
		return ""
	}
	heir, _, err := n.cluster.Heir(ctx)
	if err != nil {
		n.drainage.set(func(s *admin.Drain) { s.Problem = err.Error() })
		return ""
	}
	n.drainage.set(func(s *admin.Drain) { s.Problem = "" })
	return heir
}

// move ends what cannot move, and gives the rest to the heir, if there is one.
func (n *Node) move(ctx context.Context, heir string) {
	d := n.drainage
	var refused, ended int
	if heir != "" {
		refused, ended = n.pbx.End(stopped, false)
	} else if n.cluster.Entitled() { // else others may go on with them all the same
		refused, ended = n.pbx.End(stopped, true)
	}
	d.set(func(s *admin.Drain) { s.Ended, s.State, s.Ringing, s.Fixed = refused+ended, admin.DrainMoving, 0, 0 })
	if refused+ended > 0 {
		n.log.Warn("calls that cannot go to another node are ended", "without_answer", refused, "answered", ended)
		n.sayGoodbye(ctx)
	}
	if heir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, drainMove)
	defer cancel()
	moved, err := n.part(ctx, heir)
	if err != nil {
		n.log.Error("the calls of this node could not be given away in order", "heir", heir, "error", err)
	}
	d.set(func(s *admin.Drain) {
		if s.Moved, s.Movable = moved, 0; err != nil {
			s.Moved, s.Problem = 0, err.Error()
		}
	})
}

// sayGoodbye waits a moment for the phones of ended calls to answer.
func (n *Node) sayGoodbye(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainGoodbye)
	defer cancel()
	tick := time.NewTicker(drainGoodbye / 20)
	defer tick.Stop()
	for n.sip.Stats().Branches > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// part gives calls and addresses to the heir.
func (n *Node) part(ctx context.Context, heir string) (calls int, err error) {
	if err := n.sip.Freeze(ctx); err != nil {
		return 0, errors.Join(err, n.sip.Thaw(context.WithoutCancel(ctx)))
	}
	held, lacking := n.pbx.Handover(ctx)
	if lacking > 0 {
		n.log.Warn("other nodes may not know the newest of some calls", "calls", lacking)
	}
	closing, cancel := context.WithTimeout(ctx, drainParting)
	defer cancel()
	n.halt.sip()
	n.halt.media()
	for _, over := range []<-chan struct{}{n.halt.phonesOver, n.halt.mediaOver} {
		select {
		case <-over:
		case <-closing.Done():
			return 0, closing.Err()
		}
	}
	n.endAdoptions()
	n.virtual.end()
	n.pbx.GiveBack(ctx)
	return held + lacking, n.cluster.Part(ctx, heir)
}
