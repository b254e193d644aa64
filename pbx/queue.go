package pbx

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"tandem/dialplan"
	"tandem/events"
	"tandem/sip"
)

// Fellows are the other nodes, as far as queues are concerned.
type Fellows interface {
	// Home is the node where the agents of a tenant are given away, "" for this one.
	Home(tenant string) string
	// Ask has another node's PBX.FromFellow answer. It waits.
	Ask(ctx context.Context, node string, request []byte) ([]byte, error)
}

// askTime bounds how long another node is asked; a caller asks again with his next beat.
const askTime = 2 * time.Second

// waiting is a caller in a queue, from his coming until he is gone. It belongs to the leg's shard.
type waiting struct {
	leg   *leg
	queue string
	step  dialplan.Step
	began time.Time
	level int

	stage    queueStage
	fresh    bool     // nothing was reported yet
	asking   bool     // a report is on its way
	again    bool     // and another one is wanted
	rings    []string // agents whose phones ring
	missed   []string // agents who did not take the call, until that is reported
	agent    string   // who talks with the caller
	position int      // in the line, as told last; 0 = not yet
	estimate time.Duration
	beats    int
	clock    *time.Timer
	announce time.Time // when the caller is told his place next
	keys     []byte
	keyed    time.Time // when the last of them was pressed
}

// wait begins the wait of a caller, who hears the music by now.
func (l *leg) wait(step dialplan.Step) {
	c, now := l.call, time.Now()
	w := &waiting{leg: l, queue: queueName(step.Node), step: step, began: now, stage: waits, fresh: true}
	var groups []string
	number := c.walk.Caller()
	if u, ok := c.pbx.cfg.Plan().User(c.tenant, c.from); ok && c.trunk == nil {
		groups, number = u.Groups, u.Caller
	}
	w.level = step.Queue.PriorityOf(groups, number)
	if step.Queue.Announce > 0 {
		w.announce = now.Add(step.Queue.Announce)
	}
	l.queue = w
	w.beat()
}

// beat comes once a second, as long as the caller is there.
func (w *waiting) beat() {
	now := time.Now()
	w.beats++
	switch {
	case w.stage == talks:
		if w.beats%int(talkBeat/queueBeat) == 0 {
			w.ask()
		}
	case w.stage == waits && now.Sub(w.began) >= w.step.Queue.MaxWait:
		w.goOn(408, "waited long enough")
		return
	default:
		w.ask()
	}
	if w.stage == gone {
		return
	}
	if w.stage == waits && !w.announce.IsZero() && w.position > 0 && !now.Before(w.announce) {
		w.announce = now.Add(w.step.Queue.Announce)
		w.leg.tellWithin(w.step.Play, w.place())
	}
	w.clock = w.after(queueBeat, w.beat)
}

// after does something later, unless the caller is gone by then.
func (w *waiting) after(d time.Duration, fn func()) *time.Timer {
	return time.AfterFunc(d, func() {
		w.leg.sip.Post(func() {
			if w.stage != gone {
				defer w.leg.call.recovered()
				fn()
			}
		})
	})
}

// report is how the caller fares now.
func (w *waiting) report() *queueReport {
	c := w.leg.call
	r := &queueReport{
		Tenant: c.tenant, Queue: w.queue, Agents: w.step.Users, Terms: w.step.Queue, Call: c.id, Caller: c.from, Node: c.pbx.cfg.Node, Began: w.began, Level: w.level,
		Fresh: w.fresh, Stage: w.stage, Rings: w.rings, Agent: w.agent, Missed: w.missed,
	}
	w.missed = nil
	return r
}

// ask tells the home how the caller fares, and does what it says.
func (w *waiting) ask() {
	p := w.leg.call.pbx
	if w.asking {
		w.again = true
		return
	}
	r := w.report()
	node := p.home(r.Tenant)
	if node == "" {
		w.obey(p.switchboard.hear(r, time.Now()))
		return
	}
	for _, user := range r.Agents {
		if p.engaged(r.Tenant, user) {
			r.Engaged = append(r.Engaged, user)
		}
	}
	w.asking = true
	w.leg.sip.Go(func() func() {
		o, err := p.askHome(node, r)
		return func() {
			w.asking = false
			if w.stage == gone {
				return
			}
			if err != nil { // it may be gone: the next home hears of us soon
				w.missed = append(w.missed, r.Missed...)
				return
			}
			again := w.again
			w.again = false
			w.obey(o)
			if again && w.stage != gone {
				w.ask()
			}
		}
	})
}

// obey does what the home says to a report. What has changed since counts.
func (w *waiting) obey(o queueOrder) {
	if w.stage != waits {
		return
	}
	first := w.fresh
	w.fresh, w.position, w.estimate = false, o.Position, o.Estimate
	c := w.leg.call
	if first && !o.Full && !o.Empty {
		c.pbx.queued(w, func(n *QueueStats) { n.Joined++ })
		c.publish(events.Event{Kind: events.QueueJoined, From: c.from, To: w.step.Node, Detail: map[string]string{"position": strconv.Itoa(o.Position)}})
	}
	switch {
	case o.Full:
		w.goOn(486, "the queue is full")
	case o.Empty:
		w.goOn(480, "no agent is there")
	case len(o.Ring) > 0:
		w.ring(o.Ring)
	}
}

// ring calls agents.
func (w *waiting) ring(agents []string) {
	l := w.leg
	step := dialplan.Step{Kind: dialplan.StepRing, Node: w.step.Node, Timeout: w.step.Timeout}
	for _, user := range agents {
		step.Users = []string{user}
		if groups, _ := l.call.targets(step); len(groups) > 0 && !l.call.pbx.engaged(l.call.tenant, user) {
			w.rings = append(w.rings, user)
		} else {
			w.missed = append(w.missed, user)
		}
	}
	step.Users = w.rings
	groups, _ := l.call.targets(step)
	if len(groups) == 0 {
		w.missed = append(w.missed, w.rings...)
		w.rings = nil
		w.ask()
		return
	}
	w.stage = rung
	l.call.mu.Lock()
	l.call.planned, l.call.rings = w.step.Record, w.rings
	l.call.mu.Unlock()
	r := sip.Relay{Groups: groups, Timeout: step.Timeout, Veil: l.call.veil()}
	l.sip.Go(func() func() {
		b, offer, err := l.newBridge("")
		return func() {
			switch {
			case err != nil:
				l.call.pbx.cfg.Log.Error("an agent cannot be called", "call", l.call.id, "node", w.step.Node, "error", err)
				w.notTaken()
			case w.stage != rung:
				b.discard()
			default:
				b.queue = w
				b.call(r, offer)
			}
		}
	})
}

// notTaken is told that none of the agents who were rung took the call.
func (w *waiting) notTaken() {
	if w.stage != rung {
		return
	}
	w.missed, w.rings, w.stage = append(w.missed, w.rings...), nil, waits
	w.leg.call.ringsFor(nil)
	w.ask()
}

// taken is told that an agent talks with the caller.
func (w *waiting) taken(by string) {
	c := w.leg.call
	w.stage, w.agent = talks, by
	w.missed = slices.DeleteFunc(w.missed, func(user string) bool { return user == by })
	w.rings = nil
	w.ask()
	waited := time.Since(w.began)
	c.pbx.queued(w, func(n *QueueStats) { n.Answered, n.Waited = n.Answered+1, n.Waited+waited })
	c.publish(events.Event{Kind: events.QueueAnswered, From: c.from, To: w.step.Node, Duration: waited, Detail: map[string]string{"agent": by}})
}

// pressed takes a key of the caller.
func (w *waiting) pressed(key byte) {
	if w.stage == talks {
		return
	}
	now := time.Now()
	if now.Sub(w.keyed) > betweenKeys || len(w.keys) >= mostKeys {
		w.keys = nil
	}
	w.keys, w.keyed = append(w.keys, key), now
	walk := &w.leg.call.walk
	complete, more := walk.Keyed(string(w.keys))
	if !complete && !more && len(w.keys) > 1 { // a new beginning
		w.keys = []byte{key}
		complete, more = walk.Keyed(string(w.keys))
	}
	switch pressed := string(w.keys); {
	case complete && more:
		w.after(sureKeys, func() {
			if string(w.keys) == pressed && w.stage != talks {
				w.choose()
			}
		})
	case complete:
		w.choose()
	case !more:
		w.keys = nil
	}
}

// choose goes where the keys lead.
func (w *waiting) choose() {
	c := w.leg.call
	if !c.press(string(w.keys)) {
		return
	}
	w.leave("pressed " + string(w.keys))
	c.perform(404)
}

// goOn leaves the queue for the plan's next step.
func (w *waiting) goOn(status int, why string) {
	w.leave(why)
	w.leg.call.next(status)
}

// leave takes the caller out of the queue; his call goes on.
func (w *waiting) leave(why string) {
	c := w.leg.call
	if !w.fresh {
		c.pbx.queued(w, func(n *QueueStats) { n.Left++ })
		c.publish(events.Event{Kind: events.QueueLeft, From: c.from, To: w.step.Node, Duration: time.Since(w.began), Reason: why})
	}
	w.end()
	if b := w.leg.bridge; b != nil {
		b.end(why)
	}
}

// hungUp is told that the call is over.
func (w *waiting) hungUp(reason string) {
	c := w.leg.call
	if w.stage != talks && !w.fresh {
		c.pbx.queued(w, func(n *QueueStats) { n.Abandoned++ })
		c.publish(events.Event{Kind: events.QueueAbandoned, From: c.from, To: w.step.Node, Duration: time.Since(w.began), Reason: reason})
	}
	w.end()
}

// end tells the home that the caller is gone.
func (w *waiting) end() {
	p := w.leg.call.pbx
	w.leg.queue, w.stage, w.rings, w.agent = nil, gone, nil, ""
	w.leg.cede()
	if w.clock != nil {
		w.clock.Stop()
	}
	p.unqueue(w)
	r := w.report()
	node := p.home(r.Tenant)
	if node == "" {
		p.switchboard.hear(r, time.Now())
		return
	}
	w.leg.sip.Go(func() func() {
		_, _ = p.askHome(node, r) // when this is lost, so is the lease soon
		return nil
	})
}

// place is what a caller is told of his place in the line.
func (w *waiting) place() []string {
	words := append(prompts("queue_position"), spokenNumber(w.position)...)
	if minutes := int((w.estimate + time.Minute - 1) / time.Minute); minutes > 0 {
		words = append(append(words, prompt("queue_minutes")), spokenNumber(minutes)...)
	}
	return words
}

// QueueStats are counters since the start and gauges of now of a queue, as far as this node's calls are concerned.
type QueueStats struct {
	Tenant, Name                      string
	Joined, Answered, Abandoned, Left uint64
	Waited                            time.Duration // of those who were answered, all together
	Waiting                           int
	Longest                           time.Duration // that somebody waits by now
}

// queueTallies count what happens in queues. Any goroutine.
type queueTallies struct {
	mu      sync.Mutex
	byQueue map[agentName]*QueueStats
	waiting map[*waiting]agentName
}

// queued counts what has happened to a caller. From his coming until he talks he is among those who wait.
func (p *PBX) queued(w *waiting, count func(*QueueStats)) {
	key := agentName{w.leg.call.tenant, w.queue}
	p.tallies.mu.Lock()
	defer p.tallies.mu.Unlock()
	n := p.tallies.byQueue[key]
	if n == nil {
		n = &QueueStats{Tenant: key.tenant, Name: key.user}
		p.tallies.byQueue[key] = n
	}
	count(n)
	if w.stage == talks {
		delete(p.tallies.waiting, w)
	} else {
		p.tallies.waiting[w] = key
	}
}

func (p *PBX) unqueue(w *waiting) {
	p.tallies.mu.Lock()
	defer p.tallies.mu.Unlock()
	delete(p.tallies.waiting, w)
}

// QueueStats are those of all queues that somebody has called through this node and that the plan still has. Any goroutine.
func (p *PBX) QueueStats() []QueueStats {
	now, plan := time.Now(), p.cfg.Plan()
	p.tallies.mu.Lock()
	defer p.tallies.mu.Unlock()
	gauges := make(map[agentName]QueueStats)
	for w, key := range p.tallies.waiting {
		g := gauges[key]
		g.Waiting++
		g.Longest = max(g.Longest, now.Sub(w.began))
		gauges[key] = g
	}
	list := make([]QueueStats, 0, len(p.tallies.byQueue))
	for key, n := range p.tallies.byQueue {
		if _, there := plan.Queue(key.tenant, key.user); !there && gauges[key].Waiting == 0 {
			delete(p.tallies.byQueue, key)
			continue
		}
		n.Waiting, n.Longest = gauges[key].Waiting, gauges[key].Longest
		list = append(list, *n)
	}
	return list
}
