package dialplan

import (
	"slices"

	"tandem/internal/hcltext"
)

// vertex is a node of a tenant in its finished form. Vertices know each other by their index.
type vertex struct {
	name  string // "ring.sales"
	at    Position
	step  Step // Kind 0: calls pass through
	dnd   bool
	exits []exit

	departs  *departure // calls leave the house here
	entrance *entrance  // nil = everybody may dial it
	line     *line      // of a trunk
	dials    string     // of a number
}

// exit is a way out of a vertex.
type exit struct {
	on  cause
	key string // of onKey and onAnswer
	to  target
	at  Position
}

// target is where a way leads: a vertex from 0 on, below that a decision, nowhere is -1.
type target int32

const nowhere target = -1

func (t target) decision() int { return int(-t) - 2 }

// decision chooses by a calendar.
type decision struct {
	calendar int32
	yes, no  target
}

// builder makes the vertices of a tenant.
type builder struct {
	t         *tenant
	draft     *draft
	index     map[*node]target
	calendars map[string]int32
}

// build fills in the graph of a tenant.
func (t *tenant) build(d *draft) map[*node]target {
	b := &builder{t: t, draft: d, index: make(map[*node]target, len(d.nodes)), calendars: map[string]int32{}}
	for i, c := range d.calendars {
		t.calendars = append(t.calendars, &c.calendar)
		b.calendars[c.name] = int32(i)
	}
	for i, n := range d.nodes {
		b.index[n] = target(i)
	}
	t.vertices = make([]vertex, len(d.nodes))
	for i, n := range d.nodes {
		if n.trunk != nil {
			t.vertices[i].line = b.line(n)
		}
	}
	for i, n := range d.nodes {
		line := t.vertices[i].line
		t.vertices[i] = b.vertex(n)
		t.vertices[i].line = line
		b.leaveHouse(&t.vertices[i], n)
	}
	t.abroad, t.local = d.abroad, d.local
	for _, m := range d.matches {
		t.matches = append(t.matches, owned{m.text, b.index[m.node], position(m.rng)})
	}
	return b.index
}

// line finishes a trunk.
func (b *builder) line(n *node) *line {
	k := n.trunk
	l := &line{trunk: &k.Trunk, in: k.in, out: k.out, caller: k.caller, callerID: k.callerID, arrives: nowhere}
	l.name, _, _ = splitAddress(k.Register)
	if k.rates != nil {
		l.rates = k.rates.finished()
	}
	if !n.lent {
		for _, w := range k.arrives {
			l.arrives = b.target(w.to)
		}
		b.t.lines[n.name] = l
	}
	return l
}

// leaveHouse finishes how calls leave at a node.
func (b *builder) leaveHouse(v *vertex, n *node) {
	if n.kind == "trunk" {
		v.departs = &departure{via: []departs{{v.line, b.index[n], -1, v.at}}, timeout: outboundTimeout}
		v.departs.limit(b.draft.limitsOf(n))
	}
	o := n.out
	if o == nil {
		return
	}
	v.dials = o.dial
	if len(o.allow) > 0 {
		v.entrance = &entrance{o.allow, list(o.allow)}
	}
	if len(o.via) == 0 {
		return
	}
	d := &departure{
		cheapest: o.cheapest, next: o.next, noReply: o.noReply, timeout: n.timeout, caller: o.caller, callerID: o.callerID, hasPolicy: o.hasPolicy,
		emergency: o.emergency,
	}
	d.limit(b.draft.limitsOf(n))
	for i, e := range v.exits {
		if e.on == onVia {
			d.via = append(d.via, departs{b.t.vertices[e.to].line, e.to, i, e.at})
		}
	}
	v.departs = d
}

func (b *builder) vertex(n *node) vertex {
	v := vertex{name: n.String(), at: position(n.rng), step: b.step(n), dnd: n.dnd}
	for _, w := range n.ways {
		v.exits = append(v.exits, exit{w.on, w.key, b.target(w.to), position(w.to.rng)})
	}
	return v
}

func (b *builder) target(v value) target {
	if v.choice == nil {
		return b.index[b.draft.byRef[v.ref]]
	}
	return b.decide(v.choice.when, b.target(v.choice.yes), b.target(v.choice.no))
}

// decide turns a condition into decisions about one calendar each.
func (b *builder) decide(c condition, yes, no target) target {
	switch c.op {
	case isNot:
		return b.decide(c.parts[0], no, yes)
	case isBoth:
		return b.decide(c.parts[0], b.decide(c.parts[1], yes, no), no)
	case isEither:
		return b.decide(c.parts[0], yes, b.decide(c.parts[1], yes, no))
	}
	b.t.decisions = append(b.t.decisions, decision{b.calendars[c.calendar.text], yes, no})
	return target(-len(b.t.decisions) - 1)
}

// exit finds the way that a cause takes: its own, else otherwise.
func (v *vertex) exit(on cause) *exit {
	for _, c := range [2]cause{on, onOther} {
		if i := slices.IndexFunc(v.exits, func(e exit) bool { return e.on == c }); i >= 0 {
			return &v.exits[i]
		}
	}
	return nil
}

// has tells whether there is a way for just this cause.
func (v *vertex) has(on cause) bool {
	return slices.ContainsFunc(v.exits, func(e exit) bool { return e.on == on })
}

func (b *builder) step(n *node) Step {
	s := Step{Node: n.String(), Timeout: n.timeout, At: position(n.rng)}
	switch n.kind {
	case "user":
		s.Kind, s.Users = StepRing, []string{n.name}
	case "ring":
		s.Kind, s.Strategy, s.Record, s.SkipBusy = StepRing, n.strategy, n.record, n.skipBusy
		for i, m := range n.members {
			if user := b.draft.byRef[m.ref]; user.dnd {
				continue
			}
			s.Users = append(s.Users, m.ref.name)
			if n.delays != nil {
				s.Delays = append(s.Delays, n.delays[i])
			}
		}
	case "echo":
		s.Kind = StepEcho
	case "music":
		s.Kind, s.Play = StepMusic, n.play
	case "conference":
		s.Kind, s.Play, s.Record, s.MaxMembers, s.Announce = StepConference, n.play, n.record, n.room, n.announce
		s.PIN, s.Prompt = n.pin, n.wrong
	case "menu":
		s.Kind, s.Play, s.Retries, s.Wrong, s.Dial = StepMenu, n.play, n.retries, n.wrong, n.dial
	case "voicemail":
		if s.Kind = StepVoicemail; !n.box.listen {
			n.box.Greeting = n.play
			s.Mailbox = &n.box.Mailbox
		}
	case "queue":
		s.Kind, s.Users, s.Play, s.Record, s.Queue = StepQueue, b.usersOf(n), n.play, n.record, n.queue
	case "agent":
		s.Kind, s.Does, s.Queues = StepAgent, n.does, n.serves
	case "park":
		s.Kind, s.Play, s.Slots, s.Back = StepPark, n.play, n.slots, n.back
	case "page":
		s.Kind, s.Users, s.MaxMembers, s.Talk = StepPage, b.usersOf(n), n.room, n.talk
	case "app":
		s.Kind, s.App = StepApp, n.app
	case "pickup":
		s.Kind, s.Code, s.Groups = StepPickup, n.extension.text, n.picks
	case "reject":
		s.Kind, s.Status, s.Reason = StepReject, n.status, n.reason
	default:
		return Step{}
	}
	return s
}

// words says what happens at the vertex, for traces.
func (v *vertex) words() string {
	if v.step.Kind == 0 {
		return v.name
	}
	return v.step.words()
}

func (s Step) ringing() string {
	words := list(s.Users) + ", " + map[Strategy]string{
		All: "all at once", InOrder: "one after the other", Random: "one after the other in random order", LongestIdle: "one after the other, who was idle longest first",
	}[s.Strategy]
	if len(s.Users) == 0 {
		words = "nobody: all its members want not to be disturbed"
	}
	for i, d := range s.Delays {
		if d > 0 {
			words += ", " + s.Users[i] + " after " + hcltext.Duration(d)
		}
	}
	if s.SkipBusy {
		words += ", not those in a call"
	}
	return words
}
