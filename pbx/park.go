package pbx

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"tandem/dialplan"
	"tandem/events"
)

// A call is parked when a phone that was transferred calls the lot or one of its slots: the node answers it, and lets it wait in a slot until
// somebody dials that. So a call between phones is parked by their own REFER, and nothing of it has to be kept. A node has its own slots: a
// call is found at the node where it is parked.

// Errors of parking lots.
var (
	errNobodyParked = errors.New("nobody is parked there")
	errLotFull      = errors.New("all slots of the lot are taken")
)

// backTimeout is how long the phones of who has parked a call ring when nobody has asked for it.
const backTimeout = 30 * time.Second

// parked is a call in a slot.
type parked struct {
	leg    *leg
	tenant string
	slot   string
	step   dialplan.Step
	by     string // user who has parked it, "" = not known
	since  time.Time
	quiet  bool        // the caller is not the one to be told the slot, or knows it
	ready  bool        // the call is answered; guarded by PBX.mu
	clock  *time.Timer // until the call goes back; of the leg's shard
}

// key is where it is in PBX.slots.
func (k *parked) key() string { return slotKey(k.tenant, k.slot) }

func slotKey(tenant, slot string) string { return tenant + "\x00" + slot }

// ParkedCall is a call in a slot, as it is shown.
type ParkedCall struct {
	Tenant string    `json:"tenant"`
	Slot   string    `json:"slot"`
	Call   string    `json:"call"`
	Caller string    `json:"caller"`
	By     string    `json:"by,omitempty" doc:"Who has parked it."`
	Since  time.Time `json:"since"`
}

// Parked lists the calls in slots of this node, by tenant and slot. Any goroutine.
func (p *PBX) Parked() []ParkedCall {
	p.mu.Lock()
	list := make([]ParkedCall, 0, len(p.slots))
	for _, k := range p.slots {
		list = append(list, ParkedCall{k.tenant, k.slot, k.leg.call.id, k.leg.call.from, k.by, k.since})
	}
	p.mu.Unlock()
	slices.SortFunc(list, func(a, b ParkedCall) int { return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Slot, b.Slot)) })
	return list
}

// park does a step: the caller comes into a slot, or is to have who is in it.
func (l *leg) park(step dialplan.Step) error {
	c := l.call
	p, old := c.pbx, c.replaces
	k := &parked{leg: l, tenant: c.home(), slot: c.to, step: step, since: time.Now(), quiet: old != nil}
	if old == nil {
		k.by = p.referrer(c)
		k.quiet = k.by != ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	there := p.slots[k.key()]
	switch {
	case c.isOver():
		return errOver
	case old != nil && (there == nil || there.leg != old): // it is there no more (RFC 3891 §3)
		return errNobodyParked
	case old != nil: // the call takes the place of that which has asked for the slot
		k.by = old.call.from
		old.parked = nil
	case !slices.Contains(step.Slots, k.slot):
		i := slices.IndexFunc(step.Slots, func(s string) bool { return p.slots[slotKey(k.tenant, s)] == nil })
		if i < 0 {
			return errLotFull
		}
		k.slot = step.Slots[i]
	case there != nil && there.ready && k.by == "":
		delete(p.slots, there.key())
		there.leg.parked = nil
		l.fetches = there
		return nil
	case there != nil && k.by != "": // somebody was faster
		return errLotFull
	case k.by == "":
		return errNobodyParked
	}
	l.parked = k
	p.slots[k.key()] = k
	return nil
}

// parking is told that the caller is answered: he hears his slot and then music, or talks with whom he fetches.
func (l *leg) parking(step dialplan.Step) {
	p := l.call.pbx
	p.mu.Lock()
	k, fetches := l.parked, l.fetches
	l.fetches = nil
	if k != nil {
		k.ready = true
	}
	p.mu.Unlock()
	switch {
	case fetches != nil:
		l.fetch(fetches)
		return
	case k == nil: // its place was taken meanwhile
		return
	}
	p.parkedCalls.Add(1)
	l.call.publish(events.Event{Kind: events.CallParked, From: l.call.from, To: k.slot, Detail: map[string]string{"by": k.by}})
	if old := l.call.replaces; old != nil {
		l.call.replaces = nil
		old.sip.Hangup("transferred")
	}
	var words []string
	if !k.quiet {
		words = append(prompts("parked-at"), spokenDigits(k.slot)...)
	}
	l.tellWithin(step.Play, words)
	l.awaitFetching(k)
}

// awaitFetching lets a call go back when nobody has asked for it in time.
func (l *leg) awaitFetching(k *parked) {
	k.clock = time.AfterFunc(k.step.Timeout, func() {
		l.sip.Post(func() {
			defer l.call.recovered()
			l.unfetched(k)
		})
	})
}

// fetch joins the caller with a parked call.
func (l *leg) fetch(k *parked) {
	c, other := l.call, k.leg
	if !l.talk(other) {
		return
	}
	c.pbx.fetched.Add(1)
	c.publish(events.Event{Kind: events.CallFetched, From: c.from, To: k.slot, Detail: map[string]string{"parked": other.call.id}})
	c.joined(other.call.from)
	time.AfterFunc(0, func() { // one shard waits for no other
		other.sip.Post(func() {
			k.clock.Stop()
			other.stopClock()
			if !other.call.isOver() {
				other.call.joined(c.from)
			}
		})
	})
}

// unfetched is a call that nobody has asked for in time: it goes back to who has parked it, or on.
func (l *leg) unfetched(k *parked) {
	p, step := l.call.pbx, k.step
	if !p.unpark(l, k) {
		return
	}
	l.cede()
	p.returned.Add(1)
	l.call.publish(events.Event{Kind: events.CallReturned, From: l.call.from, To: k.slot, Detail: map[string]string{"by": k.by}})
	if step.Back && k.by != "" {
		back := dialplan.Step{Kind: dialplan.StepRing, Node: step.Node, Users: []string{k.by}, Timeout: backTimeout}
		if l.ring(back) == 0 {
			l.call.ringsFor(back.Users)
			return
		}
	}
	l.call.next(408)
}

// unpark takes a call out of its slot, if it is still there.
func (p *PBX) unpark(l *leg, k *parked) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k == nil || l.parked != k {
		return false
	}
	delete(p.slots, k.key())
	l.parked = nil
	return true
}

// putBack is told that who wanted to fetch the call is gone: it waits again.
func (k *parked) putBack() {
	p := k.leg.call.pbx
	p.mu.Lock()
	free := p.slots[k.key()] == nil && !k.leg.call.isOver()
	if free {
		p.slots[k.key()], k.leg.parked = k, k
	}
	p.mu.Unlock()
	if !free {
		k.leg.sip.Hangup("the slot is taken")
		return
	}
	time.AfterFunc(0, func() {
		k.leg.sip.Post(func() {
			k.clock.Stop()
			k.leg.awaitFetching(k)
		})
	})
}
