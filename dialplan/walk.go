package dialplan

import (
	"fmt"
	"strings"
	"time"
)

// Walk is one call on its way through a plan: at a step, which its carrier performs, and going on from there by what came of it. It is made
// by Plan.Begin, keeps the plan that it began with, and is for one goroutine at a time. A copy of a Walk goes on by itself. The zero Walk is
// at no step.
type Walk struct {
	t     *tenant
	plan  *Plan
	at    time.Time
	here  target
	entry target // where the call began, nowhere when that was no number of the plan
	hops  int
	own   *Step  // of an account that the plan does not name, or a refusal of ours
	out   out    // what calls that leave the house are made of
	log   *trail // nil: nobody asks why
}

// trail is what somebody wants to know who asks why.
type trail struct {
	lines []Trace
	nodes []string
	asks  []string // apps whose answers were assumed
	timed bool     // a calendar was asked
	cover *coverage
}

// Begin finds where a call goes first. d may be nil. It never panics, whatever the call contains, and the Walk it returns is at a step.
func (p *Plan) Begin(c Call, d Directory) Walk { return p.begin(c, d, nil) }

func (p *Plan) begin(c Call, d Directory, log *trail) Walk {
	w := Walk{t: p.tenant(c.Tenant), at: c.At, here: nowhere, entry: nowhere, plan: p, log: log}
	if w.t != nil {
		w.ask(&c)
		if to := w.find(p, &c); to != nowhere {
			w.entry = to
			w.enter(to, nil)
			return w
		}
	}
	if d != nil && c.To != "" && !c.Outside {
		if user, ok := d.User(c.Tenant, c.To); ok {
			w.account(&c, user)
			return w
		}
	}
	if w.t != nil {
		if c.Outside || !w.leaveHouse() {
			w.refuse(w.t.reject)
		}
		return w
	}
	w.refuse(rejection(fmt.Sprintf("there is no tenant %q", c.Tenant), Position{}))
	return w
}

// ask takes who calls whom.
func (w *Walk) ask(c *Call) {
	o := &w.out
	o.back, o.from, o.dialled, o.caller, o.outside, o.private = nowhere, -1, c.To, c.Number, c.Outside, c.Private
	if i, ok := w.t.users[c.FromUser]; ok && !c.Outside {
		o.from = i
	}
}

// find looks up what was dialled: a number as it stands, else as one of the world's numbers.
func (w *Walk) find(p *Plan, c *Call) target {
	if c.Outside && c.Trunk != "" {
		return w.arriving(p, c)
	}
	if !c.Outside {
		if at, ok := w.t.numbers[c.To]; ok {
			w.log.note(w.t.found[at], "")
			return w.t.entries[at]
		}
	}
	var number [mostDigits + 1]byte
	w.out.set(w.t.country.e164(number[:0], c.To))
	return w.ours()
}

// account rings an account that the plan does not name. When it does after all (under its user name, and the caller dialled an extension
// that only the account has), the plan's word counts.
func (w *Walk) account(c *Call, user string) {
	if w.t != nil {
		if i, ok := w.t.users[user]; ok && w.t.public.Users[i].Name == user {
			at := w.t.numbers[user]
			w.log.note(w.t.found[at], "")
			w.enter(w.t.entries[at], nil)
			return
		}
	}
	own := new(struct {
		step  Step
		users [1]string
	})
	own.users[0] = user
	own.step = Step{Kind: StepRing, Node: "user." + user, Users: own.users[:], Timeout: userTimeout}
	w.own = &own.step
	if w.log != nil {
		w.log.note(Trace{Node: own.step.Node, Text: "an account has this name or extension, the plan does not mention it"}, "")
		w.log.note(Trace{Node: own.step.Node, Text: "ring its phones for 1m"}, "")
		w.log.nodes = append(w.log.nodes, own.step.Node)
	}
}

// refuse ends the walk at a refusal that no node of the plan is.
func (w *Walk) refuse(s *Step) {
	w.here, w.own = nowhere, s
	w.log.note(Trace{At: s.At, Text: s.Reason}, "")
	if w.log != nil {
		w.log.note(Trace{At: s.At, Text: s.words()}, "")
	}
}

// Step is what is to be done now; nil when the call is at its end. It is shared with other calls: read only.
func (w *Walk) Step() *Step {
	switch {
	case w.own != nil:
		return w.own
	case w.here < 0 || w.t == nil:
		return nil
	case w.out.step != nil:
		return w.out.step
	}
	return &w.t.vertices[w.here].step
}

// Next goes on because the step has failed with a SIP status, or a StepTrunk with one of the outcomes besides. It tells whether there is a
// further step; when there is none, StatusOf the last outcome is what the call comes to.
func (w *Walk) Next(status int) bool {
	if w.own != nil || w.here < 0 || w.t == nil {
		w.own, w.here = nil, nowhere
		return false
	}
	on := causeOf(status)
	v := &w.t.vertices[w.here]
	if w.out.step != nil {
		return w.nextTrunk(v, status)
	}
	e := v.exit(on)
	if e == nil {
		w.here = nowhere
		return false
	}
	w.leave(v, e, w.failing(v, e))
	return w.Step() != nil
}

// failing says why a call goes on by e, to those who want to know.
func (w *Walk) failing(v *vertex, e *exit) string {
	switch {
	case w.log == nil:
		return ""
	case e.on == onOther && len(v.exits) == 1:
		return "when " + v.name + " fails: "
	case e.on == onOther:
		return fmt.Sprintf("when %s fails otherwise: ", v.name)
	}
	return fmt.Sprintf("when %s is %s: ", v.name, map[cause]string{onBusy: "busy", onNoAnswer: "not answered", onUnreachable: "not reachable"}[e.on])
}

// leave goes one way out of a vertex. why is for those who want to know.
func (w *Walk) leave(v *vertex, e *exit, why string) {
	if w.log == nil {
		w.enter(e.to, nil)
		return
	}
	w.log.cover.took(e)
	w.enter(e.to, &reason{e.at, why})
}

// reason is why a vertex is entered, and where the plan says so.
type reason struct {
	at   Position
	text string
}

// maxWay bounds the nodes of one call, the choices of callers in menus included.
const maxWay = 200

// enter goes to a vertex and on from those that a call only passes.
func (w *Walk) enter(to target, why *reason) {
	w.out.step = nil
	for {
		to = w.decide(to, &why)
		if to < 0 {
			w.here = nowhere
			return
		}
		if w.hops++; w.hops > maxWay {
			w.refuse(&Step{Kind: StepReject, Status: 482, Reason: fmt.Sprintf("the call has gone through more than %d nodes", maxWay)})
			return
		}
		w.here = to
		v := &w.t.vertices[to]
		w.arrive(v, why)
		if v.departs != nil {
			if v.line == nil {
				why = nil // arrive has told it
			}
			e := w.depart(v, why)
			if e == nil {
				return
			}
			to, why = e.to, nil
			if w.log != nil {
				w.log.cover.took(e)
				why = &reason{e.at, "when the call comes to nothing: "}
			}
			continue
		}
		e := v.through()
		if e == nil {
			if v.dnd {
				w.refuse(&Step{Kind: StepReject, Status: 486, Reason: v.name + " does not want to be disturbed", At: v.at})
			}
			return
		}
		if v.dials != "" {
			w.out.set([]byte(v.dials))
			w.out.back = to
		}
		to, why = e.to, nil
		if w.log != nil {
			w.log.cover.took(e)
			why = &reason{e.at, v.passes(e)}
		}
	}
}

// through is the way that a call takes at once; nil when it stops here.
func (v *vertex) through() *exit {
	switch {
	case v.step.Kind == 0:
		return v.exit(onGo)
	case v.has(onAlways):
		return v.exit(onAlways)
	case v.dnd:
		return v.exit(onBusy)
	}
	return nil
}

func (v *vertex) passes(e *exit) string {
	switch {
	case e.on == onAlways:
		return v.name + " forwards every call: "
	case v.dnd:
		return v.name + " does not want to be disturbed: "
	case v.dials != "":
		return v.name + " dials " + v.dials + ": "
	}
	return ""
}

func (w *Walk) arrive(v *vertex, why *reason) {
	if w.log == nil {
		return
	}
	w.log.nodes = append(w.log.nodes, v.name)
	w.log.cover.reached(v)
	if v.departs != nil && v.line != nil { // a trunk that calls are sent to says more about itself in a moment
		return
	}
	if v.step.Kind == 0 || v.has(onAlways) || v.dnd {
		if why != nil { // a line for what only leads on is one too many, unless another node sent the call here
			w.log.note(Trace{At: why.at, Node: v.name, Text: v.name}, why.text)
		}
		return
	}
	at, text := v.at, ""
	if why != nil {
		at, text = why.at, why.text
	}
	w.log.note(Trace{At: at, Node: v.name, Text: v.words()}, text)
}

// decide asks calendars until a vertex comes out, or nowhere.
func (w *Walk) decide(to target, why **reason) target {
	for to < nowhere {
		d := &w.t.decisions[to.decision()]
		c := w.t.calendars[d.calendar]
		open, because := c.state(w.at)
		if w.log != nil {
			w.log.asked(c, w.at, open, because, *why)
			w.log.cover.chose(d, open)
		}
		to = d.no
		if open {
			to = d.yes
		}
	}
	return to
}

// note adds a line; a nil trail takes none.
func (l *trail) note(t Trace, before string) {
	if l == nil {
		return
	}
	t.Text = before + t.Text
	l.lines = append(l.lines, t)
}

func (l *trail) asked(c *calendar, at time.Time, open bool, because string, why *reason) {
	l.timed = true
	if because != "" {
		because = " (" + because + ")"
	}
	t := Trace{At: c.at, Text: fmt.Sprintf("calendar %s is %s on %s%s", c.name, openWord(open), at.In(c.zone).Format("Monday 2006-01-02 15:04 MST"), because)}
	if why != nil {
		t.At = why.at
	}
	l.note(t, "")
}

// rejection is the step for calls that go nowhere.
func rejection(why string, at Position) *Step {
	return &Step{Kind: StepReject, Status: 404, Reason: why, At: at}
}

// Tenant is whose plan the call goes by: not that of Call.Tenant when the call came in over a shared trunk to a number of another.
func (w *Walk) Tenant() string {
	if w.t == nil {
		return ""
	}
	return w.t.public.Name
}

// PlanHash is the hash of the plan that the call goes by.
func (w *Walk) PlanHash() string { return w.plan.Hash() }

// DID is the number of ours that the call came to, as "+" and digits; "" when something else was dialled.
func (w *Walk) DID() string {
	if w.t == nil || w.entry < 0 {
		return ""
	}
	number, is := strings.CutPrefix(w.t.vertices[w.entry].name, "did.")
	if !is {
		return ""
	}
	return number
}

// Caller is the number of a caller outside as "+" and digits, read as the trunk writes it that he came in over; "" when it is not known, or
// withheld.
func (w *Walk) Caller() string {
	if w.t == nil {
		return ""
	}
	var number [mostDigits + 1]byte
	return string(w.outsider(number[:0]))
}
