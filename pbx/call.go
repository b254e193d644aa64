package pbx

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tandem/dialplan"
	"tandem/events"
	"tandem/sip"
	"tandem/sip/message"
	"tandem/sip/transport"
)

// State is how far a call has come.
type State string

// The states of a call.
const (
	Routing  State = "routing"
	Ringing  State = "ringing"
	Answered State = "answered"
	Ended    State = "ended"
)

// A Call is one call from its INVITE to its end. It runs the steps of its route on its signalling shard; the fields under mu are
// read by whoever asks.
type Call struct {
	pbx    *PBX
	in     *sip.Inbound
	walk   dialplan.Walk // on its way through the plan that the call began with
	id     string
	callID string
	tenant string
	from   string
	to     string
	phone  []sip.Target // when the caller asked for one phone by its GRUU
	gruu   bool
	peer   netip.AddrPort
	began  time.Time

	trunk    *dialplan.Trunk // that the call comes from, nil = from a user; then also the three below
	display  string          // name of the caller
	shown    string          // his number as phones see it, "" = not known
	domain   string          // that phones see him and us in
	private  bool            // he does not want to be known
	replaces *leg            // in a slot, whose place the call takes; nil for almost all
	picks    *Call           // that rings, and whose Replaces the caller has sent; the same
	handed   *pickup         // to who picks the call up, until that is done; of the shard
	refused  string          // why the latest step came to nothing, for people
	helped   bool            // the world was told that somebody calls for help
	pressed  []string        // what the caller has chosen in menus, for apps; of the shard

	mu       sync.Mutex
	state    State
	node     string // dialplan node in hand
	answerer string
	answered time.Time
	dialog   *sip.Dialog
	leg      *leg
	came     *line // of the trunk that the call comes from, nil without
	line     *line // of the trunk that is called, nil without
	media    *relayMedia
	refusal  string        // why hangup ended the call before it was answered
	looked   bool          // the route was looked at again, see lookAgain; of the shard
	planned  bool          // the step in hand wants the call recorded
	heard    *events.Media // what was measured, once the media of a leg of ours are closed
	over     bool
	rings    []string // users whose phones the step in hand rings
	picker   *leg     // of who is about to answer in their place
	copy     copyState
}

// View is a call as it is shown.
type View struct {
	ID       string    `json:"id"`
	CallID   string    `json:"call_id"`
	Tenant   string    `json:"tenant"`
	From     string    `json:"from"`
	To       string    `json:"to"`
	Answerer string    `json:"answerer,omitempty"`
	Peer     string    `json:"peer"`
	State    State     `json:"state"`
	Node     string    `json:"node,omitempty"`
	Bridged  bool      `json:"bridged"` // answered by Tandem itself
	Started  time.Time `json:"started"`
	Answered time.Time `json:"answered,omitzero"`
	// Recording is the file that is being written.
	Recording string        `json:"recording,omitempty"`
	Media     *events.Media `json:"media,omitempty"` // measured so far, once there is any
}

// newEpoch makes the beginning of the ids of calls. Nodes of a cluster that start together must not have the same.
func newEpoch(now time.Time) string {
	return strconv.FormatInt(now.UnixMilli(), 36) + strconv.FormatUint(36*36*36+rand.Uint64N(36*36*36), 36)[1:]
}

// newCall copies what it keeps of the request: records of calls outlive it, and a substring would keep all of it in memory.
func newCall(p *PBX, in *sip.Inbound, to dialled) *Call {
	return &Call{
		pbx: p, in: in, id: cmp.Or(in.Again, p.epoch+"-"+strconv.FormatUint(p.last.Add(1), 36)), callID: strings.Clone(in.Msg.CallID()), tenant: in.Tenant,
		from: in.User, to: strings.Clone(to.name), phone: to.phone, gruu: to.gruu, peer: in.Flow.Remote, began: in.At, state: Routing,
	}
}

func telNumber(opaque string) string {
	number, _, _ := strings.Cut(opaque, ";")
	return strings.NewReplacer("-", "", ".", "", "(", "", ")", "").Replace(number)
}

func (c *Call) view() View {
	heard, file := c.quality(), c.recording()
	c.mu.Lock()
	defer c.mu.Unlock()
	return View{
		Recording: file, Media: heard, ID: c.id, CallID: c.callID, Tenant: c.tenant, From: c.from, To: c.to, Answerer: c.answerer, Peer: c.peer.String(), State: c.state,
		Node: c.node, Bridged: c.leg != nil, Started: c.began, Answered: c.answered,
	}
}

// quality is what was measured of the media so far; nil when nothing was.
func (c *Call) quality() *events.Media {
	c.mu.Lock()
	media, l, heard := c.media, c.leg, c.heard
	c.mu.Unlock()
	switch {
	case heard != nil:
		return heard
	case media != nil:
		return media.quality()
	case l != nil:
		return quality(l.media.Quality())
	}
	return nil
}

// measured keeps what a leg of ours has measured.
func (c *Call) measured(m *events.Media) {
	c.mu.Lock()
	c.heard = m
	c.mu.Unlock()
}

// run finds the route and tries its first step.
func (c *Call) run() {
	c.begin()
	c.publish(events.Event{Kind: events.CallStarted, Time: c.began, CallID: c.callID, From: c.from, To: c.to, Peer: c.peer.String()})
	if c.unknown() && c.lookAgain(func(lags bool) {
		c.begin()
		if lags && c.unknown() {
			refuseUnsure(c.in)
			c.end(503, "this node lags behind the others")
			return
		}
		c.perform(404)
	}) {
		return
	}
	c.perform(404)
}

func (c *Call) begin() {
	q := dialplan.Call{Tenant: c.tenant, FromUser: c.from, To: c.to, At: c.began}
	switch {
	case c.trunk != nil:
		q.Tenant, q.FromUser, q.Outside, q.Trunk, q.Number, q.Private = c.trunk.Tenant, "", true, c.trunk.Name, c.from, c.private
	case c.in.Msg.Has(message.Privacy):
		_, _, q.Private = caller(c.in.Msg)
	}
	c.walk = c.pbx.cfg.Plan().Begin(q, c.pbx.cfg.Directory)
	c.arrived()
}

// next goes on in the plan because the step in hand has come to status.
func (c *Call) next(status int) {
	c.walk.Next(status)
	c.perform(status)
}

// perform does the step in hand, and those behind it as long as they come to nothing at once, until one is under way or the call is over.
// status is what the last one came to.
func (c *Call) perform(status int) {
	for ; c.walk.Step() != nil; c.walk.Next(status) {
		step := *c.walk.Step()
		if !c.concerns(step) {
			status = 480
			continue
		}
		c.enter(step)
		if l := c.answeredHere(); l != nil {
			if status = l.do(step); status == 0 {
				return
			}
			continue
		}
		switch step.Kind {
		case dialplan.StepRing:
			if status = c.ring(step); status == 0 {
				return
			}
		case dialplan.StepTrunk:
			if status = c.overTrunk(step); status == 0 {
				return
			}
		case dialplan.StepEcho, dialplan.StepMusic, dialplan.StepConference, dialplan.StepMenu, dialplan.StepVoicemail, dialplan.StepQueue, dialplan.StepAgent, dialplan.StepPark, dialplan.StepPage, dialplan.StepPickup:
			c.in.Go(func() func() { return c.answer(step) })
			return
		case dialplan.StepApp:
			c.askApp(step)
			return
		default:
			status = cmp.Or(step.Status, 404)
			c.in.Refuse(status, cmp.Or(step.Reason, "refused by the dialplan"))
			c.end(status, step.Reason)
			return
		}
	}
	why := c.whyNotCarried(status)
	status = dialplan.StatusOf(status)
	if l := c.answeredHere(); l != nil {
		l.sorry(status, "nobody has answered")
		return
	}
	c.in.RefuseBest(status, why)
	c.end(status, why)
}

// answeredHere is the leg of a caller whom Tandem has answered, nil for others.
func (c *Call) answeredHere() *leg {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leg
}

// concerns tells whether a step is for this call. One to a GRUU is for a certain phone and nobody else: of the user's route it takes
// what rings the user, or refuses the caller (RFC 5627 §6.1).
func (c *Call) concerns(step dialplan.Step) bool {
	return !c.gruu || step.Kind == dialplan.StepReject || step.Kind == dialplan.StepRing && slices.Contains(step.Users, c.to)
}

func (c *Call) enter(step dialplan.Step) {
	c.refused = ""
	c.mu.Lock()
	c.node, c.planned = step.Node, step.Record && step.Kind == dialplan.StepRing // a conference is recorded as a whole
	if c.rings = nil; step.Kind == dialplan.StepRing {
		c.rings = step.Users
	}
	c.mu.Unlock()
	c.publish(events.Event{Kind: events.CallRouted, Reason: step.Node})
}

// ring rings the phones of a step's users. status is 0, or says why there is nobody to ring.
func (c *Call) ring(step dialplan.Step) (status int) {
	groups, busy := c.targets(step)
	if len(groups) == 0 && !busy && c.lookAgain(func(bool) { c.perform(480) }) {
		return 0
	}
	if len(groups) == 0 {
		if busy {
			return 486
		}
		return 480
	}
	r := sip.Relay{Groups: groups, Events: c, Timeout: step.Timeout, Hold: c.pbx.holds(), Veil: c.veil()}
	if step.Strategy != dialplan.All {
		r.Timeout, r.Pause = step.Timeout*time.Duration(len(groups)), step.Timeout
	}
	if c.pbx.cfg.Media != nil || c.pbx.cfg.Relay != nil {
		c.mu.Lock()
		c.media = newRelayMedia(c)
		r.Media = c.media
		c.mu.Unlock()
	}
	c.in.Start(r, c.rung)
	return 0
}

// rung is told how a ring step ended.
func (c *Call) rung(r sip.Result) {
	defer c.recovered()
	switch {
	case r.Answered:
	case c.handed != nil:
		c.handOver()
	case r.Cancelled:
		c.end(487, c.whyEnded())
	case c.isOver():
	default:
		step := c.walk.Step()
		c.next(outcomeOf(r, step != nil && step.Kind == dialplan.StepTrunk))
	}
}

func (c *Call) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}

func (c *Call) whyEnded() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusal == "" && c.in != nil && c.in.Lost() {
		return "caller's connection lost"
	}
	return c.refusal
}

// targets are the phones a step rings, in the order and grouping of its strategy; the phone that calls is left out. busy: somebody was
// left out for being in a call.
func (c *Call) targets(step dialplan.Step) (groups [][]sip.Target, busy bool) {
	if c.gruu {
		if phone := c.withoutCaller(c.phone); len(phone) > 0 {
			return [][]sip.Target{phone}, false
		}
		return nil, false
	}
	users := step.Users
	switch step.Strategy {
	case dialplan.Random:
		users = append([]string(nil), users...)
		rand.Shuffle(len(users), func(i, j int) { users[i], users[j] = users[j], users[i] })
	case dialplan.LongestIdle:
		users = c.pbx.idleFirst(c.tenant, users)
	}
	for n, user := range users {
		if step.SkipBusy && c.pbx.engaged(c.tenant, user) {
			busy = true
			continue
		}
		own := c.pbx.sig.Targets(c.tenant, user, c.began)
		for i, g := range own {
			g = c.withoutCaller(g)
			if step.Delays != nil {
				for j := range g {
					g[j].Delay = step.Delays[n]
				}
			}
			switch {
			case len(g) == 0:
			case step.Strategy == dialplan.All && i < len(groups):
				groups[i] = append(groups[i], g...)
			default:
				groups = append(groups, g)
			}
		}
	}
	for i, g := range groups {
		groups[i] = g[:min(len(g), c.pbx.limits.Load().MaxBranches)]
	}
	return groups, busy
}

func (c *Call) withoutCaller(g []sip.Target) []sip.Target {
	var from transport.Flow
	if l := c.answeredHere(); l != nil {
		from = l.flow
	} else {
		from = c.in.Flow
	}
	kept := g[:0]
	for _, t := range g {
		if t.Over(from) {
			continue
		}
		kept = append(kept, t)
	}
	return kept
}

// Ringing is told by the shard (sip.CallEvents).
func (c *Call) Ringing(status int, _ sip.Target) {
	c.mu.Lock()
	first := c.state == Routing
	if first {
		c.state = Ringing
	}
	c.mu.Unlock()
	if first {
		c.publish(events.Event{Kind: events.CallRinging, Status: status})
	}
	c.Changed() // one more phone rings, perhaps: others are to know whom to stop
}

// Answered is told by the shard: phones talk to each other from here on (sip.CallEvents).
func (c *Call) Answered(d *sip.Dialog, t sip.Target) {
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		d.Hangup("the call was ended")
		return
	}
	c.dialog = d
	c.mu.Unlock()
	by := t.User
	if step := c.walk.Step(); by == "" && step != nil {
		by = step.Node
	}
	c.isAnswered(by)
	c.pbx.copier.begin(c)
}

func (c *Call) isAnswered(by string) {
	now := time.Now()
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return
	}
	c.state, c.answerer, c.answered, c.in = Answered, by, now, nil
	if c.leg == nil { // between phones the plan has nothing more to say
		c.walk = dialplan.Walk{}
	}
	c.mu.Unlock()
	c.speaks(now)
	c.pbx.answered.Add(1)
	c.pbx.takes(c.tenant, by)
	c.publish(events.Event{Kind: events.CallAnswered, Time: now, To: by, Status: 200})
	c.recordAsPlanned(by)
	c.setHoldMusic(by)
}

// setHoldMusic has the parties hear what the plan gives those who hold them.
func (c *Call) setHoldMusic(by string) {
	c.mu.Lock()
	media := c.media
	c.mu.Unlock()
	if media != nil {
		plan := c.pbx.cfg.Plan()
		media.holdMusic(plan.HoldMusic(c.tenant, c.from), plan.HoldMusic(c.tenant, by))
	}
}

// talking tells whether the call is answered and not over.
func (c *Call) talking() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == Answered
}

// Ended is told by the shard when an answered call is over (sip.CallEvents).
func (c *Call) Ended(reason string, _ bool) { c.end(200, reason) }

// end forgets the call and tells the world, once.
func (c *Call) end(status int, reason string) {
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return
	}
	c.over = true
	wasAnswered, by := !c.answered.IsZero(), c.answerer
	c.state = Ended
	c.mu.Unlock()
	c.pbx.remove(c)
	c.pbx.copier.ended(c)
	c.hangUpLines()
	if wasAnswered {
		c.pbx.leaves(c.tenant, by, time.Now())
	}
	if !wasAnswered {
		c.pbx.failed.Add(1)
	}
	c.publish(events.Event{Kind: events.CallEnded, Status: status, Reason: reason, Media: c.quality()})
}

// hangup ends the call whatever it does.
func (c *Call) hangup(reason string) {
	c.mu.Lock()
	dialog, l, in := c.dialog, c.leg, c.in
	c.refusal = reason
	c.mu.Unlock()
	switch {
	case dialog != nil:
		dialog.Hangup(reason)
	case l != nil:
		l.sip.Hangup(reason)
	case in != nil:
		in.Post(func() {
			in.Refuse(480, reason)
			c.end(480, reason)
		})
	}
}

// recovered keeps a fault in one call to that call; the server answers 500.
func (c *Call) recovered() {
	if r := recover(); r != nil {
		c.end(500, "internal error")
		panic(r)
	}
}

func (c *Call) publish(e events.Event) {
	e.Call, e.Tenant = c.id, c.tenant
	c.pbx.cfg.Events.Publish(e)
}
