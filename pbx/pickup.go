package pbx

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"tandem/dialplan"
	"tandem/events"
	"tandem/sip"
)

// A call that rings at one user is picked up by another: he calls a code of the plan, or his phone sends an INVITE with Replaces (RFC 3891). Both he
// and the caller are answered by the node and join in a room; the phones that ring are told that the call was completed elsewhere.

// Errors of picking up.
var (
	errNothingRings  = errors.New("no call rings that could be picked up")
	errNotColleagues = errors.New("the call is not yours to pick up")
	errNoSuchDialog  = errors.New("there is no such call")
)

// earlyTime bounds how long a shard is asked whether a call still rings.
const earlyTime = 2 * time.Second

// pickup is a call that rings and that somebody else is about to answer. Who has claimed it owns it: first the picker's leg, see leg.pickup, then
// whoever does the next step.
type pickup struct {
	by   *leg         // who answers
	call *Call        // that rings
	user string       // at whose phones
	in   *sip.Inbound // of the call, nil when Tandem has answered the caller already: a menu, a queue
	leg  *leg         // that the caller gets, with in
	sdp  string       // of its answer
}

// ringsAt are the users whose phones a call rings, and its request as long as nobody has answered it. Any goroutine.
func (c *Call) ringsAt() (users []string, in *sip.Inbound) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || c.picker != nil || c.leg == nil && (c.state == Answered || c.in == nil) {
		return nil, nil
	}
	return c.rings, c.in
}

// ringsFor notes whose phones ring besides what the step in hand says.
func (c *Call) ringsFor(users []string) {
	c.mu.Lock()
	c.rings = users
	c.mu.Unlock()
}

// pickUp does a step: it claims a call that rings.
func (l *leg) pickUp(step dialplan.Step) error {
	c, p := l.call, l.call.pbx
	k, err := p.claim(l, step)
	if err == nil {
		if err = k.prepare(); err != nil {
			k.drop()
		}
	}
	switch {
	case errors.Is(err, errNotColleagues):
		p.pickupsRefused.Add(1)
	case err != nil:
		p.pickupsInVain.Add(1)
	}
	if err != nil {
		return err
	}
	p.mu.Lock()
	over := c.isOver()
	if !over {
		l.pickup = k
	}
	p.mu.Unlock()
	if over {
		k.drop()
		return errOver
	}
	l.media.Hush()
	return nil
}

// claim finds the call that has rung longest of those that the caller may pick up, and keeps it from others.
func (p *PBX) claim(l *leg, step dialplan.Step) (*pickup, error) {
	c := l.call
	if c.trunk != nil {
		return nil, errNotColleagues
	}
	user := ""
	if number, ok := strings.CutPrefix(c.to, step.Code); ok && number != "" {
		if user, ok = p.cfg.Directory.User(c.tenant, number); !ok {
			return nil, errNothingRings
		}
	}
	plan, others := p.cfg.Plan(), ""
	var k *pickup
	for _, o := range p.all() {
		if o == c || o.tenant != c.tenant || o.trunk == nil && o.from == c.from || c.picks != nil && o != c.picks {
			continue
		}
		users, in := o.ringsAt()
		for _, at := range users {
			switch {
			case user != "" && at != user:
			case !plan.MayPickUp(c.tenant, c.from, at, &step):
				others = at
			case k == nil || o.began.Before(k.call.began):
				k = &pickup{by: l, call: o, user: at, in: in}
			}
		}
	}
	if k == nil {
		if others != "" && (user != "" || c.picks != nil) {
			return nil, fmt.Errorf("%w: you share no group with %s", errNotColleagues, others)
		}
		return nil, errNothingRings
	}
	k.call.mu.Lock()
	free := k.call.picker == nil
	if free {
		k.call.picker = l
	}
	k.call.mu.Unlock()
	if !free {
		return nil, errNothingRings
	}
	return k, nil
}

// prepare makes the leg that the caller gets, and sees that it is the call that a Replaces means.
func (k *pickup) prepare() error {
	if k.in == nil {
		return nil
	}
	if c := k.by.call; c.picks != nil {
		r, early := replacesOf(c.in.Msg), make(chan bool, 1)
		k.in.Post(func() { early <- k.in.HasEarly(r.toTag, r.fromTag) })
		select {
		case has := <-early:
			if !has {
				return errNoSuchDialog
			}
		case <-time.After(earlyTime):
			return errNothingRings
		}
	}
	l, err := k.call.newLeg()
	if err != nil {
		return err
	}
	k.leg = l
	k.sdp, err = l.describe(k.in)
	return err
}

// drop leaves the call to those at whom it rings.
func (k *pickup) drop() {
	if k.leg != nil {
		k.leg.media.Close()
	}
	k.call.mu.Lock()
	k.call.picker = nil
	k.call.mu.Unlock()
}

// picking is told that who picks up is answered: now the caller is.
func (l *leg) picking() {
	p := l.call.pbx
	p.mu.Lock()
	k := l.pickup
	l.pickup = nil
	p.mu.Unlock()
	if k == nil {
		return
	}
	time.AfterFunc(0, func() { // one shard waits for no other
		switch far := k.call.answeredHere(); {
		case k.in != nil:
			k.in.Post(k.withdraw)
		case far != nil:
			far.sip.Post(func() { k.unbridge(far) })
		}
	})
}

// withdraw ends the ringing of a relayed call; handOver hears of that. On its shard.
func (k *pickup) withdraw() {
	k.call.handed = k
	if !k.by.call.talking() || !k.in.Withdraw() {
		k.call.handed = nil
		k.inVain()
	}
}

// handOver answers the caller for who picks his call up.
func (c *Call) handOver() {
	k := c.handed
	c.handed = nil
	answered, err := c.in.Answer(sip.Answer{SDP: k.sdp, Events: k.leg})
	if err != nil {
		status := 503
		if errors.Is(err, sip.ErrGone) {
			status = 487
		}
		c.end(status, err.Error())
		k.inVain()
		return
	}
	c.mu.Lock()
	k.leg.sip, c.leg, c.media = answered, k.leg, nil
	over, why := c.over, c.refusal
	c.mu.Unlock()
	if over {
		answered.Hangup(why)
	}
	k.leg.flow = c.in.Flow
	c.isAnswered(k.by.call.from)
	k.join(k.leg)
}

// unbridge ends the ringing for a caller whom Tandem has answered. On his shard.
func (k *pickup) unbridge(far *leg) {
	b := far.bridge
	if b == nil || b.sip != nil || k.call.isOver() || !k.by.call.talking() {
		k.inVain()
		return
	}
	b.ringing.CompletedElsewhere()
	if far.queue != nil {
		far.queue.leave("picked up by " + k.by.call.from)
	} else {
		b.end("")
	}
	far.menu = nil
	far.stopClock()
	k.join(far)
	k.call.joined(k.by.call.from)
}

// join lets both talk. On the caller's shard.
func (k *pickup) join(far *leg) {
	c, p := k.by.call, k.call.pbx
	if !k.by.talk(far) {
		return
	}
	p.pickedUp.Add(1)
	c.publish(events.Event{Kind: events.CallPickedUp, From: c.from, To: k.user, Detail: map[string]string{"picked_up": k.call.id}})
	time.AfterFunc(0, func() {
		k.by.sip.Post(func() {
			if !c.isOver() {
				c.joined(k.call.from)
			}
		})
	})
}

// inVain tells who picks up that the call was answered meanwhile, or is gone.
func (k *pickup) inVain() {
	k.drop()
	k.call.pbx.pickupsInVain.Add(1)
	time.AfterFunc(0, func() {
		k.by.sip.Post(func() { k.by.sorry(404, errNothingRings.Error()) })
	})
}
