package pbx

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	"tandem/dialplan"
	"tandem/events"
	"tandem/rtpengine"
	"tandem/sip"
)

// Times of pages.
const (
	pageRings = 10 * time.Second // how long phones have for answering by themselves
	pageWaits = 2 * time.Second  // how long the others are waited for behind the first
)

// paging is a caller who speaks to many phones: our own calls to them, and one room. It ends with the caller. It belongs to the leg's shard.
type paging struct {
	leg   *leg
	step  dialplan.Step
	room  *rtpengine.Room
	calls []*bridge // that ring or talk
	ready int       // phones that have answered so far
	heard bool      // the caller knows that they listen
	over  bool
}

// autoAnswer asks phones to answer by themselves, in the ways that they know: Answer-Mode is RFC 5373.
const autoAnswer = "Call-Info: <sip:page.invalid>;answer-after=0\r\nAlert-Info: <http://page.invalid>;info=alert-autoanswer;delay=0\r\nAnswer-Mode: Auto\r\n"

// page calls the members of a step who are in no call.
func (l *leg) page(step dialplan.Step) (status int) {
	c := l.call
	var targets [][]sip.Target
	busy := false
	for _, user := range step.Users {
		if len(targets) == step.MaxMembers {
			break
		}
		if c.pbx.engaged(c.tenant, user) {
			busy = true
			continue
		}
		if groups, _ := c.targets(dialplan.Step{Kind: dialplan.StepRing, Users: []string{user}}); len(groups) > 0 {
			targets = append(targets, groups[0])
		}
	}
	switch {
	case len(targets) == 0 && busy:
		return 486
	case len(targets) == 0:
		return 480
	}
	g := &paging{leg: l, step: step}
	l.paging = g
	l.sip.Go(func() func() {
		room, err := c.pbx.cfg.Media.OpenRoom(rtpengine.RoomConfig{ID: c.id, MaxMembers: len(targets) + 1})
		if err != nil {
			return func() {
				l.paging = nil
				c.next(c.unperformed(step, err))
			}
		}
		if !l.keep(room) {
			room.Close()
			return nil
		}
		var calls []*bridge
		var offers []string
		for range targets {
			b, offer, err := l.newBridge("")
			if err != nil { // those that there is room for
				c.pbx.cfg.Log.Error("a phone cannot be paged", "call", c.id, "node", step.Node, "error", err)
				break
			}
			calls, offers = append(calls, b), append(offers, offer)
		}
		return func() {
			g.room = room
			g.begin(calls, offers, targets)
		}
	})
	return 0
}

// begin calls the phones. The caller hears nothing yet.
func (g *paging) begin(calls []*bridge, offers []string, targets [][]sip.Target) {
	g.calls = slices.Clone(calls)
	for i, b := range calls {
		b.page = g
		b.invite(sip.Relay{Groups: [][]sip.Target{targets[i]}, Timeout: pageRings, Veil: g.leg.call.veil()}, offers[i], autoAnswer)
	}
	if len(calls) == 0 {
		g.left(nil)
	}
}

// answered joins a phone that has answered.
func (g *paging) answered(b *bridge, sdp string) error {
	if err := b.far.Accept([]byte(b.inside(sdp)), netip.Addr{}); err != nil {
		return err
	}
	member, err := g.room.Join(b.far)
	if err != nil {
		return err
	}
	member.Mute(!g.step.Talk)
	g.leg.call.pbx.paged.Add(1)
	if g.ready++; g.ready == 1 {
		time.AfterFunc(pageWaits, func() { g.leg.sip.Post(g.speak) })
	}
	if !g.rings() {
		g.speak()
	}
	return nil
}

// paged joins the phone that has answered a page.
func (b *bridge) paged(sdp string) {
	if err := b.page.answered(b, sdp); err != nil {
		b.near.call.pbx.cfg.Log.Warn("a phone cannot be paged", "call", b.near.call.id, "error", err)
		b.end("the call could not be joined")
		b.page.left(b)
	}
}

// rings tells whether some phones have not answered yet.
func (g *paging) rings() bool {
	for _, b := range g.calls {
		if b.sip == nil {
			return true
		}
	}
	return false
}

// speak lets the caller hear a beep and then speak to the phones that have answered.
func (g *paging) speak() {
	l := g.leg
	if g.over || g.heard || g.ready == 0 {
		return
	}
	g.heard = true
	l.call.pbx.pages.Add(1)
	l.call.publish(events.Event{Kind: events.PageStarted, From: l.call.from, To: g.step.Node, Detail: map[string]string{"phones": strconv.Itoa(g.ready)}})
	l.tell([]string{beep}, func() {
		if g.over {
			return
		}
		if _, err := g.room.Join(l.media); err != nil {
			l.call.pbx.cfg.Log.Error("a caller cannot speak to the phones that he pages; the call is ended", "call", l.call.id, "error", err)
			l.sip.Hangup("the call could not be joined")
			return
		}
		l.after(g.step.Timeout, func() { l.sip.Hangup("time of " + g.step.Node + " is over") })
	})
}

// left is told that a phone has not answered, or has hung up.
func (g *paging) left(b *bridge) {
	g.calls = slices.DeleteFunc(g.calls, func(o *bridge) bool { return o == b })
	l := g.leg
	switch {
	case g.over:
	case len(g.calls) == 0 && g.ready == 0:
		g.end("")
		l.call.next(480)
	case len(g.calls) == 0:
		l.sip.Hangup("nobody listens any more")
	case !g.rings():
		g.speak()
	}
}

// end takes the page down. The caller's leg stays.
func (g *paging) end(reason string) {
	g.over = true
	g.leg.paging = nil
	for _, b := range g.calls {
		b.end(reason)
	}
	g.leg.stopClock()
	if g.room != nil {
		g.leg.drop(g.room)
	}
}
