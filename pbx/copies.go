package pbx

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"tandem/events"
	"tandem/rtpengine"
	"tandem/sip"
)

// Copies keeps what is known of a call in the memory of other nodes, so that one of them can go on with it when this one dies.
// *cluster.Copies satisfies it.
type Copies interface {
	// Keep replaces what others have under id. done, which may be nil, is called once: held says that all who should have this or something
	// newer do, and that there is anybody. It never blocks.
	Keep(id string, content []byte, done func(held bool))
	// Forget is the end of what Keep began.
	Forget(id string)
}

const (
	// lookEvery is how often media are asked whether they are still as they were copied. What signalling changes is copied at once.
	lookEvery = 250 * time.Millisecond
	// settled is the age from which on a call is looked at every settledLook-th time only: phones are where they are by then. What is left
	// are encrypted media, whose copies must be no older than some ten thousand packets (rtpengine.Session.Revision).
	settled     = 10 * time.Second
	settledLook = 8
	// copyTime bounds how long one call may take to be described.
	copyTime = time.Second
)

// copier has the calls of a PBX copied. One goroutine describes them, one after the other: those that are just answered first, because their
// callers wait. A call stands in its queue once, however often it changes.
type copier struct {
	pbx    *PBX
	copies Copies
	wait   time.Duration // of a caller for the copy of his call
	wake   chan struct{}

	mu    sync.Mutex
	fresh []*Call // answered just now
	stale []*Call // copied, and different since; or ringing

	counts copyCounts
}

type copyCounts struct {
	copied, failed, inTime, late atomic.Uint64
}

// CopyStats count the copies of calls on other nodes, since the start.
type CopyStats struct {
	Copied uint64 // times that a call was described for the others
	Failed uint64 // times that this was not possible: media that have not begun, or are on an engine elsewhere
	InTime uint64 // calls that others had before their callers heard of the answer
	Late   uint64 // calls whose callers have waited in vain: others had them later, or not
}

// CopyStats may be called from any goroutine.
func (p *PBX) CopyStats() CopyStats {
	if p.copier == nil {
		return CopyStats{}
	}
	n := &p.copier.counts
	return CopyStats{n.copied.Load(), n.failed.Load(), n.inTime.Load(), n.late.Load()}
}

// copyState is what a Call knows of its copies; Call.mu guards it.
type copyState struct {
	queued   bool
	given    bool // others may have it
	waits    bool // the caller does
	revision uint64
}

// Run keeps the copies of calls on other nodes up to date until ctx ends. Without Config.Copies it has nothing to do.
func (p *PBX) Run(ctx context.Context) error {
	var teller sync.WaitGroup
	defer teller.Wait()
	teller.Go(func() { p.tellEngaged(ctx) })
	teller.Go(func() { p.tally(ctx) })
	if p.copier == nil {
		<-ctx.Done()
		return nil
	}
	p.copier.run(ctx)
	return nil
}

func (r *copier) run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for looks := 0; ; {
		for c := r.next(); c != nil && ctx.Err() == nil; c = r.next() {
			r.copy(ctx, c)
		}
		select {
		case <-r.wake:
		case now := <-tick.C:
			r.look(now, looks%settledLook == 0)
			looks++
		case <-ctx.Done():
			return
		}
	}
}

// next takes a call off the queues.
func (r *copier) next() (c *Call) {
	r.mu.Lock()
	for _, q := range [...]*[]*Call{&r.fresh, &r.stale} {
		if len(*q) > 0 {
			c = (*q)[0]
			(*q)[0] = nil
			if *q = (*q)[1:]; len(*q) == 0 {
				*q = nil
			}
			break
		}
	}
	r.mu.Unlock()
	if c != nil {
		c.mu.Lock()
		c.copy.queued = false
		c.mu.Unlock()
	}
	return c
}

// put queues a call that is to be copied; c.mu is held.
func (r *copier) put(c *Call, q *[]*Call) {
	if c.copy.queued {
		return
	}
	c.copy.queued = true
	r.mu.Lock()
	*q = append(*q, c)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// holds tells how long a 2xx to the INVITE may wait for the others.
func (p *PBX) holds() time.Duration {
	if p.copier == nil {
		return 0
	}
	return p.copier.wait
}

// begin has a call that was answered just now copied, for whose 2xx the caller waits.
func (r *copier) begin(c *Call) {
	if r == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.copy.waits = true
	r.put(c, &r.fresh)
}

// Changed is told by the shard: the dialog is not as it was copied (sip.CallEvents).
func (c *Call) Changed() {
	r := c.pbx.copier
	if r == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		r.put(c, &r.stale)
	}
}

// CopyAgain has calls copied whose copies are lost. Any goroutine.
func (p *PBX) CopyAgain(ids []string) {
	if p.copier == nil {
		return
	}
	for _, id := range ids {
		p.mu.Lock()
		c := p.calls[id]
		p.mu.Unlock()
		if c != nil {
			c.Changed()
		} else {
			p.copier.copies.Forget(id)
		}
	}
}

// look asks the media of calls whether they are as they were.
func (r *copier) look(now time.Time, all bool) {
	for _, c := range r.pbx.all() {
		c.mu.Lock()
		media, due := c.media, c.copy.given && !c.copy.queued && !c.over && (all || now.Sub(c.answered) < settled)
		revision := c.copy.revision
		c.mu.Unlock()
		if due && media != nil && media.revision() != revision {
			c.Changed()
		}
	}
}

// copy gives a call to the others.
func (r *copier) copy(ctx context.Context, c *Call) {
	c.mu.Lock()
	waits := c.copy.waits
	c.mu.Unlock()
	var done func(bool)
	if waits {
		done = func(held bool) { r.copied(c, held) }
	}
	if r.give(ctx, c, done) != nil { // it has ended, or there is an offer in the answer and nothing to copy before the ACK
		r.counts.failed.Add(1)
		if dialog := c.waiter(); dialog != nil {
			dialog.Release(func(bool) {})
		}
	}
}

// give gives a call to the others as it is now; done is Keep's, and is not called behind an error.
func (r *copier) give(ctx context.Context, c *Call, done func(held bool)) error {
	ctx, cancel := context.WithTimeout(ctx, copyTime)
	defer cancel()
	s, revision, err := c.describe(ctx)
	if err != nil {
		return err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	c.mu.Lock()
	over := c.over
	c.copy.given, c.copy.revision = true, revision
	c.mu.Unlock()
	if over {
		return sip.ErrNotMovable
	}
	r.counts.copied.Add(1)
	r.copies.Keep(c.id, text, done)
	if c.isOver() { // meanwhile
		r.copies.Forget(c.id)
	}
	return nil
}

// copied lets the caller hear of the answer, because others have the call or there is nobody to have it.
func (r *copier) copied(c *Call, held bool) {
	dialog := c.waiter()
	if dialog == nil {
		return
	}
	dialog.Release(func(inTime bool) {
		if held && inTime {
			r.counts.inTime.Add(1)
			return
		}
		r.counts.late.Add(1)
		c.publish(events.Event{Kind: events.CallUncopied})
	})
}

// waiter gives the dialog whose 2xx is kept back, once; nil when there is none.
func (c *Call) waiter() *sip.Dialog {
	c.mu.Lock()
	defer c.mu.Unlock()
	waits := c.copy.waits
	c.copy.waits = false
	if !waits {
		return nil
	}
	return c.dialog
}

// ended forgets the copies of a call.
func (r *copier) ended(c *Call) {
	if r == nil {
		return
	}
	c.mu.Lock()
	given := c.copy.given
	c.mu.Unlock()
	if given {
		r.copies.Forget(c.id)
	}
}

// describe gives an answered call as another node can go on with it, and what its media must be for that to stay so. Nothing about the call
// changes. Dialog and media are of two moments, a few microseconds apart: what comes between them is a change, and described again.
func (c *Call) describe(ctx context.Context) (s callSnapshot, revision uint64, err error) {
	s, dialog, media := c.outline()
	if dialog == nil {
		return c.describeRinging(ctx)
	}
	if s.Dialog, err = dialog.Export(ctx); err != nil {
		return s, 0, err
	}
	if media != nil {
		revision = media.revision() // before: what changes meanwhile is seen the next time
		if s.Media, s.Recorded, err = media.describe(); err != nil {
			return s, 0, err
		}
	}
	s.CDR, _ = c.pbx.cfg.Events.Peek(c.id)
	return s, revision, nil
}

// describeRinging gives a call without an answer. Of its media nothing is needed: they begin anew.
func (c *Call) describeRinging(ctx context.Context) (s callSnapshot, revision uint64, err error) {
	c.mu.Lock()
	in, media := c.in, c.media
	rings := c.state == Ringing && !c.over
	c.mu.Unlock()
	if !rings || in == nil {
		return s, 0, sip.ErrNotMovable
	}
	s = callSnapshot{Version: callSnapshotVersion, ID: c.id}
	if media != nil {
		revision = media.revision()
	}
	s.Ringing, err = in.ExportRinging(ctx)
	return s, revision, err
}

// revision changes when a copy of the media is not good any more.
func (m *relayMedia) revision() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, here := m.session.(*rtpengine.Session); here && !m.closed {
		return s.Revision()
	}
	return 0
}

// describe gives the media of the call as another engine can go on with them, without an end here. nil: there are none.
func (m *relayMedia) describe() (snapshot []byte, recorded bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.session == nil || m.closed {
		return nil, false, nil
	}
	s, here := m.session.(*rtpengine.Session)
	if !here {
		return nil, false, errors.New("the media of the call are on an engine elsewhere")
	}
	snapshot, err = s.Export()
	return snapshot, s.Recording() != "", err
}

// Disown drops every call that other nodes were given, because one of them goes on with them: phones hear nothing, and no record is written here.
// The calls that nobody was given are ended with the reason. Any goroutine that is no shard's.
func (p *PBX) Disown(ctx context.Context, reason string) (dropped, ended int) {
	for _, c := range p.all() {
		c.mu.Lock()
		dialog, in, answerer, over := c.dialog, c.in, c.answerer, c.over
		given := c.copy.given && (dialog != nil || in != nil)
		c.over = over || given
		c.mu.Unlock()
		switch {
		case over:
		case !given:
			ended++
			c.hangup(reason)
		default:
			dropped++
			p.cfg.Events.Release(c.id)
			p.remove(c)
			p.copier.ended(c)
			c.dropLines()
			drop := in.Drop
			if dialog != nil {
				p.leaves(c.tenant, answerer, time.Now())
				drop = dialog.Drop
			}
			if err := drop(ctx); err != nil {
				p.cfg.Log.Error("a call that another node goes on with cannot be dropped", "call", c.id, "error", err)
			}
		}
	}
	return dropped, ended
}

// Leave is the end of a node in order, with its calls still there: no record is written here of those that others were given, for one of them goes on
// with them. Once signalling and media have ended.
func (p *PBX) Leave() {
	for _, c := range p.all() {
		c.mu.Lock()
		given := c.copy.given
		c.mu.Unlock()
		if given {
			p.cfg.Events.Release(c.id)
		}
	}
}
