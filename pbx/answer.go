package pbx

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"tandem/dialplan"
	"tandem/events"
	"tandem/pbx/mailbox"
	"tandem/rtpengine"
	"tandem/sip"
	"tandem/sip/transport"
)

// A leg is a call that Tandem answers: one dialog of ours and one endpoint of the media engine (sip.LegEvents).
type leg struct {
	call  *Call
	sip   *sip.Leg // set with Call.leg; guarded by Call.mu
	media *rtpengine.Endpoint

	conference *conference       // that it is in, or about to be; guarded by PBX.mu, as is member
	member     *rtpengine.Member // there
	met        bool              // the world was told that it has come; its shard's

	// The shard's, once the call is answered:
	flow   transport.Flow // of the caller's INVITE
	menu   *menu          // that asks the caller, nil when none does
	gate   *gate          // likewise for a PIN
	passed string         // the conference whose PIN he has pressed
	said   time.Duration  // length of the prompt that was begun last
	clock  *time.Timer    // what comes next by itself
	bridge *bridge        // to somebody else
	taking *taking        // a message of the caller
	visit  *visit         // of the caller in a mailbox
	speech speech
	secret atomic.Bool        // what the caller presses is nobody's business
	queue  *waiting           // that the caller is in, nil when he is in none
	asks   context.CancelFunc // ends the request to an app

	paging *paging // that the caller speaks to, nil when he does not

	kept map[closer]struct{} // see keep; guarded by Call.mu

	// Guarded by PBX.mu:
	parked  *parked // in a slot
	fetches *parked // about to be fetched from its slot
	pickup  *pickup // about to be picked up
	pair    *pair   // with who was fetched, or has fetched
}

// answer prepares an echo, music or conference step, away from the shard; what it returns takes the call there.
func (c *Call) answer(step dialplan.Step) (then func()) {
	defer c.recovered()
	if c.pbx.cfg.Media == nil {
		c.pbx.cfg.Log.Warn("this node cannot play or echo: it has no media engine of its own, which the role media gives it", "call", c.id, "node", step.Node)
		return c.goOn(480)
	}
	l, err := c.newLeg()
	if err != nil {
		return c.goOn(503)
	}
	media := l.media
	if step.Kind == dialplan.StepEcho {
		media.Echo() // before the answer, which depends on it: an echo takes every codec, and video
	}
	sdp, err := l.describe(c.in)
	if err != nil {
		media.Close()
		return func() { c.refuseMedia(err) }
	}
	if err := l.perform(step); err != nil {
		media.Close()
		return c.goOn(c.unperformed(step, err))
	}
	return func() {
		defer c.recovered()
		l.take(step, sdp)
	}
}

// newLeg makes the leg of a caller who is to be answered, with an endpoint that is silent. Any goroutine.
func (c *Call) newLeg() (*leg, error) {
	l := &leg{call: c}
	media, err := c.pbx.cfg.Media.NewEndpoint(rtpengine.SessionConfig{ID: c.id, OnSilence: l.silence, OnRecorded: c.recorded, OnDigit: l.digit, OnQuality: c.sounds})
	if err != nil {
		return nil, err
	}
	l.media = media
	if policy, ok := rtpengine.ParseSRTPPolicy(c.pbx.cfg.Plan().SRTP(c.tenant, c.from)); ok {
		media.Policy(policy)
	}
	return l, nil
}

// unperformed is the status of a step that came to nothing.
func (c *Call) unperformed(step dialplan.Step, err error) int {
	switch {
	case errors.Is(err, rtpengine.ErrRoomFull):
		return 486
	case errors.Is(err, mailbox.ErrFull), errors.Is(err, mailbox.ErrNoRoom):
		return 480
	case errors.Is(err, rtpengine.ErrRooms), errors.Is(err, rtpengine.ErrClosed):
		return 503
	case errors.Is(err, rtpengine.ErrNoAudio):
		return 488
	case errors.Is(err, errOver):
		return 487
	case errors.Is(err, errNobodyParked), errors.Is(err, errNothingRings):
		c.refused = err.Error()
		return 404
	case errors.Is(err, errNotColleagues):
		c.refused = err.Error()
		return 403
	case errors.Is(err, errNoSuchDialog): // RFC 3891 §3
		return 481
	case errors.Is(err, errLotFull):
		c.refused = err.Error()
		return 486
	case errors.Is(err, ErrNoAgent), errors.Is(err, ErrNoQueue):
		return 403
	}
	c.pbx.cfg.Log.Error("a step cannot be performed", "call", c.id, "node", step.Node, "error", err)
	return 500
}

// goOn tries the next step because one came to status.
func (c *Call) goOn(status int) func() {
	return func() {
		defer c.recovered()
		if c.in.Gone() {
			c.walk = dialplan.Walk{}
			c.perform(487)
			return
		}
		c.next(status)
	}
}

// take answers the call with the description sdp.
func (l *leg) take(step dialplan.Step, sdp string) {
	c := l.call
	answered, err := c.in.Answer(sip.Answer{SDP: sdp, Events: l})
	if err != nil {
		c.pbx.leave(l)
		l.unpair("the call could not be answered")
		l.media.Close()
		status := 503
		if errors.Is(err, sip.ErrGone) {
			status = 487
		}
		c.end(status, err.Error())
		return
	}
	c.mu.Lock()
	l.sip, c.leg = answered, l
	over, why := c.over, c.refusal
	c.mu.Unlock()
	if over { // ended meanwhile; a leg that knows it already stays over
		answered.Hangup(why)
	}
	l.flow = c.in.Flow
	c.isAnswered(step.Node)
	l.performing(step)
}

// joinedConference tells the world, when the step was one.
func (l *leg) joinedConference() {
	if node, members := l.call.pbx.size(l); members > 0 {
		l.met = true
		l.tellConference(events.ConferenceJoined, node, members)
	}
}

// describe is the session description of the 200 OK: the answer to the INVITE's offer, or an offer (RFC 3264 §5).
func (l *leg) describe(in *sip.Inbound) (string, error) {
	sdp, err := in.SDP()
	if err != nil {
		return "", err
	}
	if sdp != "" {
		out, err := l.media.Answer([]byte(sdp), in.Flow.Remote.Addr().Unmap())
		return string(out), err
	}
	out, err := l.media.Offer(in.Flow.Remote.Addr().Unmap())
	return string(out), err
}

func (l *leg) perform(step dialplan.Step) error {
	switch step.Kind {
	case dialplan.StepEcho: // mostly since before the answer
		l.media.Echo()
		return nil
	case dialplan.StepMenu:
		return l.prompting(step.Play)
	case dialplan.StepConference:
		if l.barred(step) {
			return l.promptAtGate(step)
		}
		return l.call.pbx.join(l, step)
	case dialplan.StepVoicemail:
		return l.mailboxOpen(step)
	case dialplan.StepQueue:
		return l.play(step.Play)
	case dialplan.StepAgent:
		return l.asAgent(step)
	case dialplan.StepPark:
		return l.park(step)
	case dialplan.StepPage:
		return l.play("tone:ring")
	case dialplan.StepPickup:
		return l.pickUp(step)
	}
	return l.media.Play(cmp.Or(step.Play, "music"))
}

// play plays a sound over and over, "" is silence.
func (l *leg) play(sound string) error {
	if sound == "" {
		l.media.Hush()
		return nil
	}
	return l.media.Play(sound)
}

// prompting plays what a menu asks with: a recording once, tones and music as long as nothing is pressed.
func (l *leg) prompting(play string) (err error) {
	l.said = 0
	switch {
	case play == "":
		l.media.Hush()
	case strings.Contains(play, "/"):
		l.said, err = l.media.Say(play)
	default:
		err = l.media.Play(play)
	}
	return err
}

// refuseMedia refuses a call whose offer cannot be answered.
func (c *Call) refuseMedia(err error) {
	status, code, why := 488, 399, err.Error()
	if me, ok := mediaError(err).(sip.MediaError); ok {
		status, code, why = me.SIPStatus()
	}
	c.in.RefuseFor(status, code, why)
	c.end(status, why)
}

// Reoffer answers a re-INVITE (sip.LegEvents).
func (l *leg) Reoffer(sdp string) (string, error) {
	src := l.call.peer.Addr().Unmap()
	if sdp == "" {
		out, err := l.media.Offer(src)
		return string(out), mediaError(err)
	}
	out, err := l.media.Answer([]byte(sdp), src)
	return string(out), mediaError(err)
}

// Answered takes the answer to an offer of ours (sip.LegEvents).
func (l *leg) Answered(sdp string) {
	if err := l.media.Accept([]byte(sdp), l.call.peer.Addr().Unmap()); err != nil {
		l.call.pbx.cfg.Log.Warn("an answer cannot be used; the call is ended", "call", l.call.id, "error", err)
		l.call.hangup("session description refused")
	}
}

// Ended closes the endpoint (sip.LegEvents).
func (l *leg) Ended(reason string, _ bool) {
	l.leaveMailbox()
	l.stopClock()
	l.stopAsking()
	l.menu, l.taking, l.visit, l.gate = nil, nil, nil, nil
	if l.queue != nil {
		l.queue.hungUp(reason)
	}
	if l.paging != nil {
		l.paging.end(reason)
	}
	if l.bridge != nil {
		l.bridge.end(reason)
	}
	l.call.measured(quality(l.media.Quality()))
	node, members := l.call.pbx.size(l)
	l.call.pbx.leave(l)
	if l.met {
		l.tellConference(events.ConferenceLeft, node, members-1)
	}
	l.media.Close()
	l.call.end(200, reason)
	l.unpair(reason) // now that the call is known to be over: see fetch
	l.closeKept()
}

// silence ends the call of a phone that vanished.
func (l *leg) silence(_ rtpengine.Side, d time.Duration) {
	l.call.pbx.silent.Add(1)
	l.call.hangup("no media from the caller for " + d.Round(time.Second).String())
}
