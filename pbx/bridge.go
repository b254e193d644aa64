package pbx

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"tandem/dialplan"
	"tandem/events"
	"tandem/rtpengine"
	"tandem/sip"
	"tandem/sip/transport"
)

// bridge is the way of a caller whom Tandem has answered to somebody else: a call of our own to his phones, and a room for two, in which our
// end of that call meets the caller's leg. Between our end and the phones are the media of any relayed call, so that every phone is
// spoken to as it likes. It belongs to the shard that both legs share.
type bridge struct {
	near    *leg
	far     *rtpengine.Endpoint // our end of the call
	media   *relayMedia         // between far and the phones
	ringing *sip.Ringing
	sip     *sip.Leg // to the phone that has answered
	room    *rtpengine.Room
	queue   *waiting // that the caller is in, nil when he is in none
	page    *paging  // of which it is a call, nil when it is of none
	over    bool
}

// ring rings the phones of a step for a caller whom Tandem has answered. status is 0, or says why there is nobody to ring.
func (l *leg) ring(step dialplan.Step) (status int) {
	groups, busy := l.call.targets(step)
	if len(groups) == 0 {
		if busy {
			return 486
		}
		return 480
	}
	r := sip.Relay{Groups: groups, Timeout: step.Timeout, Veil: l.call.veil()}
	if step.Strategy != dialplan.All {
		r.Timeout, r.Pause = step.Timeout*time.Duration(len(groups)), step.Timeout
	}
	l.begin(step, r, nil)
	return 0
}

// overTrunk is ring for a number beyond a trunk.
func (l *leg) overTrunk(step dialplan.Step) (outcome int) {
	return l.call.leave(step, func(ways sip.TrunkWays) { l.begin(step, l.call.trunkRelay(step, ways), step.Out.Trunk) })
}

// begin makes our end of a call and lets it go out.
func (l *leg) begin(step dialplan.Step, r sip.Relay, trunk *dialplan.Trunk) {
	l.sip.Go(func() func() {
		b, offer, err := l.newBridge("tone:ring")
		if err != nil {
			return func() {
				l.call.hangUpLine()
				l.call.next(l.call.unperformed(step, err))
			}
		}
		b.media.out = trunk
		return func() { b.call(r, offer) }
	})
}

// newBridge makes our end of a call, and has the caller hear that phones ring, or "" for what he hears anyway.
func (l *leg) newBridge(hears string) (*bridge, string, error) {
	engine := l.call.pbx.cfg.Media
	far, err := engine.NewEndpoint(rtpengine.SessionConfig{ID: l.call.id + "/far"})
	if err != nil {
		return nil, "", err
	}
	offer, err := far.Offer(netip.Addr{})
	if err == nil && hears != "" {
		err = l.media.Play(hears)
	}
	if err == nil && !l.keep(far) {
		err = errOver
	}
	if err != nil {
		far.Close()
		return nil, "", err
	}
	b := &bridge{near: l, far: far, media: newRelayMedia(l.call)}
	b.media.own = true
	b.media.rings.Store(true)
	return b, string(offer), nil
}

// closer is what a leg holds of the media engine besides its endpoint.
type closer interface{ Close() }

// keep has something closed with the leg, whatever becomes of it. Any goroutine. False: the leg is over.
func (l *leg) keep(c closer) bool {
	l.call.mu.Lock()
	defer l.call.mu.Unlock()
	if l.call.over {
		return false
	}
	if l.kept == nil {
		l.kept = make(map[closer]struct{})
	}
	l.kept[c] = struct{}{}
	return true
}

// drop closes what keep has kept.
func (l *leg) drop(c closer) {
	c.Close()
	l.call.mu.Lock()
	delete(l.kept, c)
	l.call.mu.Unlock()
}

// closeKept closes what is kept, once the call is over.
func (l *leg) closeKept() {
	l.call.mu.Lock()
	kept := l.kept
	l.kept = nil
	l.call.mu.Unlock()
	for c := range kept {
		c.Close()
	}
}

// call rings phones for the caller.
func (b *bridge) call(r sip.Relay, offer string) {
	b.near.bridge = b
	b.invite(r, offer, "")
}

// invite sends the INVITE, with header lines that it needs besides.
func (b *bridge) invite(r sip.Relay, offer, extra string) {
	l := b.near
	r.Media, r.Events = b.media, bridgeRinging{b}
	b.ringing = l.sip.Call(sip.Outgoing{Relay: r, To: l.call.to, SDP: b.inside(offer), Extra: extra, Leg: b, Answered: b.answered}, b.rung)
}

// bridgeRinging hears of the phones that ring (sip.CallEvents). The rest of what it could be told concerns relayed calls.
type bridgeRinging struct{ *bridge }

func (bridgeRinging) Ringing(int, sip.Target)          {}
func (bridgeRinging) Answered(*sip.Dialog, sip.Target) {}
func (bridgeRinging) Changed()                         {}

// answered joins the caller with the phone that has answered.
func (b *bridge) answered(far *sip.Leg, sdp string) {
	b.sip = far
	b.media.rings.Store(b.page != nil) // who only listens to a page may send nothing
	if b.over {                        // the caller has hung up meanwhile
		far.Hangup("the caller has hung up")
		return
	}
	if b.page != nil {
		b.paged(sdp)
		return
	}
	if b.queue != nil {
		b.near.cede()
	}
	if err := b.join(sdp); err != nil {
		b.near.call.pbx.cfg.Log.Error("two legs cannot be joined; the call is ended", "call", b.near.call.id, "error", err)
		b.near.call.hangup("the call could not be joined")
		return
	}
	b.near.call.joined(far.User())
	if b.queue != nil {
		b.queue.taken(far.User())
	}
}

func (b *bridge) join(sdp string) error {
	if err := b.far.Accept([]byte(b.inside(sdp)), netip.Addr{}); err != nil {
		return err
	}
	room, err := b.near.call.pbx.cfg.Media.OpenRoom(rtpengine.RoomConfig{ID: b.near.call.id, MaxMembers: 2})
	if err != nil {
		return err
	}
	b.room = room
	_, near := room.Join(b.near.media)
	_, far := room.Join(b.far)
	return errors.Join(near, far)
}

// rung is told how the ringing ended.
func (b *bridge) rung(r sip.Result) {
	l := b.near
	defer l.call.recovered()
	if r.Answered || b.over {
		return
	}
	b.end("")
	switch {
	case b.queue != nil:
		b.queue.notTaken()
		return
	case b.page != nil:
		b.page.left(b)
		return
	}
	trunk := b.media.out != nil
	if trunk {
		l.call.hangUpLine()
	}
	l.call.next(outcomeOf(r, trunk))
}

// discard ends a bridge over which nobody was called.
func (b *bridge) discard() {
	b.over = true
	b.media.Close()
	b.near.drop(b.far)
}

// end takes the bridge down: what rings is cancelled, the phone that has answered is hung up. The caller's leg stays.
func (b *bridge) end(reason string) {
	if b.over {
		return
	}
	b.over = true
	if b.near.bridge == b {
		b.near.bridge = nil
	}
	switch {
	case b.sip != nil:
		b.sip.Hangup(reason)
	case b.ringing != nil:
		b.ringing.Cancel(reason)
	}
	if b.room != nil {
		b.room.Close()
	}
	b.media.Close()
	b.near.drop(b.far)
}

// Ended ends the call with the phone that was called (sip.LegEvents).
func (b *bridge) Ended(reason string, _ bool) {
	if b.over {
		return
	}
	b.end(reason)
	if b.page != nil {
		b.page.left(b)
		return
	}
	b.near.sip.Hangup(reason)
}

// terms are those of whoever has answered (sip.Media).
func (b *bridge) terms() uint8 { return b.media.Terms(b.near.call.tenant, b.sip.User()) }

// Reoffer answers a re-INVITE of the phone (sip.LegEvents).
func (b *bridge) Reoffer(sdp string) (string, error) {
	var here transport.Flow
	terms := b.terms()
	if sdp == "" {
		offer, err := b.far.Offer(netip.Addr{})
		if err != nil {
			return "", mediaError(err)
		}
		return b.media.Offer(true, b.inside(string(offer)), here, here, terms)
	}
	offer, err := b.media.Offer(false, sdp, here, here, terms)
	if err != nil {
		return "", err
	}
	answer, err := b.far.Answer([]byte(b.inside(offer)), netip.Addr{})
	if err != nil {
		b.media.Rollback()
		return "", mediaError(err)
	}
	return b.media.Answer(true, b.inside(string(answer)), here, here, terms)
}

// Answered takes the phone's answer to an offer of ours (sip.LegEvents).
func (b *bridge) Answered(sdp string) {
	answer, err := b.media.Answer(false, sdp, transport.Flow{}, transport.Flow{}, b.terms())
	if err == nil {
		err = b.far.Accept([]byte(b.inside(answer)), netip.Addr{})
	}
	if err != nil {
		b.near.call.pbx.cfg.Log.Warn("an answer cannot be used; the call is ended", "call", b.near.call.id, "error", err)
		b.near.call.hangup("session description refused")
	}
}

// joined is told that somebody has answered whose phone was rung for a caller on a leg of ours.
func (c *Call) joined(by string) {
	c.mu.Lock()
	l, was := c.leg, c.answerer
	c.answerer, c.rings = by, nil
	c.mu.Unlock()
	l.menu = nil
	c.pbx.leaves(c.tenant, was, time.Now())
	c.pbx.takes(c.tenant, by)
	c.publish(events.Event{Kind: events.CallAnswered, Time: time.Now(), To: by, Status: 200, Detail: map[string]string{"in_place_of": was}})
	if c.recording() == "" {
		c.recordAsPlanned(by)
	}
}

// inside gives a description of our own, for an end of media that is in this node as well, the addresses that packets are sent to inside:
// those that the world is told may lead out to a NAT and not back.
func (b *bridge) inside(sdp string) string {
	lines := strings.Split(sdp, "\r\n")
	for i, line := range lines {
		field := strings.LastIndexByte(line, ' ') + 1
		if !strings.HasPrefix(line, "c=IN IP") || field == 0 {
			continue
		}
		if told, err := netip.ParseAddr(line[field:]); err == nil {
			if local, ours := b.near.call.pbx.cfg.Media.Reach(told); ours {
				lines[i] = line[:field] + local.String()
			}
		}
	}
	return strings.Join(lines, "\r\n")
}
