package dialplan

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// line is a trunk in its finished form: what is the same for all calls over it.
type line struct {
	trunk    *Trunk
	in, out  rewriting
	caller   string
	callerID callerID
	name     string   // our user name at the carrier: it stands in From when there is no number
	rates    prefixes // millionths a minute
	arrives  target   // calls from it whose number nobody has
}

// departure is how calls leave the house at a node.
type departure struct {
	via       []departs
	cheapest  bool
	next      []int // SIP statuses for which the next trunk is tried
	noReply   time.Duration
	timeout   time.Duration
	caller    string
	callerID  callerID
	hasPolicy bool
	emergency *Emergency

	limits     []*limitDraft // that count for some callers
	everyLimit []*Limit      // all of them
}

// departs is one trunk of a departure.
type departs struct {
	line *line
	to   target // its vertex
	exit int    // of the vertex that calls leave at; -1 = that is the trunk itself
	at   Position
}

// entrance is who may dial a node.
type entrance struct {
	groups []string
	words  string // for refusals
}

// owned is a pattern and whose it is.
type owned struct {
	pattern string
	to      target
	at      Position
}

// out is a call on its way over trunks.
type out struct {
	order [mostVia]uint8 // of the departure's trunks
	tried uint8          // of them
	all   uint8
	back  target // the number that sent the call here, where it goes on when nobody has carried it
	step  *Step  // nil: the call is somewhere else

	digits  [mostDigits + 1]byte // of what is dialled, as "+" and digits
	long    uint8                // of digits; 0: dialled is no such number
	dialled string
	from    int32 // index of the caller's user, -1 = none
	caller  string
	outside bool
	private bool
	came    *line // the trunk that the call came in over
}

// outStep is a step over a trunk in one piece of memory.
type outStep struct {
	step Step
	out  Out
}

// number is what is to be called.
func (o *out) number() []byte { return o.digits[:o.long] }

func (o *out) set(number []byte) { o.long = uint8(copy(o.digits[:], number)) }

// depart begins to try the trunks of a vertex. When there is none that can be tried, it gives back the way that the call takes instead, nil
// when that is its end.
func (w *Walk) depart(v *vertex, why *reason) (instead *exit) {
	d := v.departs
	w.out.tried, w.out.all = 0, 0
	if d.cheapest {
		w.sortByPrice(d)
	} else {
		for i := range d.via {
			w.out.order[i] = uint8(i)
		}
		w.out.all = uint8(len(d.via))
	}
	if w.try(v, why) {
		return nil
	}
	w.log.note(Trace{At: v.at, Node: v.name, Text: fmt.Sprintf("no trunk of %s has a price for the number", v.name)}, "")
	if instead = w.uncarried(v, true); instead == nil {
		w.refuse(&Step{Kind: StepReject, Status: 503, Reason: fmt.Sprintf("no trunk of %s has a price for this number", v.name), At: v.at})
	}
	return instead
}

// sortByPrice puts those trunks into order that have a price for the number.
func (w *Walk) sortByPrice(d *departure) {
	var prices [mostVia]int32
	for i := range d.via {
		price := d.via[i].line.price(w.out.number())
		if price < 0 {
			continue
		}
		at := int(w.out.all)
		for ; at > 0 && prices[at-1] > price; at-- {
			prices[at], w.out.order[at] = prices[at-1], w.out.order[at-1]
		}
		prices[at], w.out.order[at] = price, uint8(i)
		w.out.all++
	}
}

// price is what a minute costs, in millionths; -1 = not known.
func (l *line) price(number []byte) int32 {
	if len(number) == 0 {
		return -1
	}
	return l.rates.longest(number[1:])
}

// try makes the next trunk the step.
func (w *Walk) try(v *vertex, why *reason) bool {
	if w.out.tried >= w.out.all {
		return false
	}
	d := v.departs
	via := &d.via[w.out.order[w.out.tried]]
	w.out.tried++
	s := w.dial(d, via)
	w.out.step = s
	if w.log == nil {
		return true
	}
	trunk := &w.t.vertices[via.to]
	if via.exit >= 0 {
		w.log.cover.took(&v.exits[via.exit])
		w.log.nodes = append(w.log.nodes, trunk.name)
		w.log.cover.reached(trunk)
	}
	text := ""
	if why != nil {
		text = why.text
	}
	w.log.note(Trace{At: s.At, Node: trunk.name, Text: s.words()}, text)
	return true
}

// dial makes the step of a call over a trunk.
func (w *Walk) dial(d *departure, via *departs) *Step {
	o := &w.out
	l := via.line
	s := &outStep{
		step: Step{Kind: StepTrunk, Node: w.t.vertices[via.to].name, Timeout: d.timeout, At: via.at},
		out:  Out{Trunk: l.trunk, NoReply: d.noReply, Emergency: d.emergency},
	}
	s.step.Out = &s.out
	var buffer [8 * (mostDigits + 1)]byte
	text := buffer[:0]
	cuts := [5]int{}
	if o.long > 0 {
		text = append(text, o.number()...)
		cuts[1] = len(text)
		text = write(l.out, text, o.number())
	} else {
		text = append(text, o.dialled...)
		cuts[1] = len(text)
		if d.emergency != nil {
			text = append(text, o.dialled...)
		} else {
			text = write(l.out, text, o.dialled)
		}
	}
	cuts[2] = len(text)
	var shown [mostDigits + 1]byte
	caller, asserted, display := w.shows(d, l, shown[:0])
	text = write(l.out, text, caller)
	cuts[3] = len(text)
	text = write(l.out, text, asserted)
	cuts[4] = len(text)
	all := string(text)
	s.out.E164, s.out.Number = all[:cuts[1]], all[cuts[1]:cuts[2]]
	s.out.Caller, s.out.Asserted, s.out.Display = all[cuts[2]:cuts[3]], all[cuts[3]:], display
	if price := l.price(o.number()); price > 0 {
		s.out.Price = int64(price)
	}
	if d.emergency == nil && len(d.limits) > 0 {
		s.out.Limits = d.limitsFor(w.groups())
	}
	return &s.step
}

// groups are those of the caller.
func (w *Walk) groups() []string {
	if w.out.from < 0 {
		return nil
	}
	return w.t.public.Users[w.out.from].Groups
}

// shows says whose number those see who are called, and what the carrier is told besides. A number that came from outside is written to buffer.
func (w *Walk) shows(d *departure, l *line, buffer []byte) (caller, asserted []byte, display string) {
	o := &w.out
	policy, ours := l.callerID, l.caller
	if d.hasPolicy {
		policy = d.callerID
	}
	if d.caller != "" {
		ours = d.caller
	}
	private := o.private
	if d.emergency != nil { // who is asked for help must be able to call back
		private = false
		if policy != trunkCaller {
			policy = ownCaller
		}
	}
	own := ours
	if o.from >= 0 && policy != trunkCaller {
		u := &w.t.public.Users[o.from]
		if u.Caller != "" {
			own = u.Caller
		}
		display = u.Display
	}
	switch {
	case policy == passCaller && o.outside:
		return w.outsider(buffer), []byte(ours), ""
	case policy == anonymousCaller || private:
		return nil, []byte(own), ""
	case own == "":
		return []byte(l.name), nil, display
	}
	return []byte(own), []byte(own), display
}

// outsider is the number of a caller outside.
func (w *Walk) outsider(buffer []byte) []byte {
	o := &w.out
	if o.private || o.caller == "" {
		return nil
	}
	var plain [8 * mostDigits]byte
	number, rules := plain[:0], rewriting(nil)
	if o.came != nil {
		rules = o.came.in
	}
	if len(o.caller) > 2*mostDigits {
		return nil
	}
	number = write(rules, number, o.caller)
	return w.t.country.e164(buffer, string(number))
}

// nextTrunk goes on because a trunk has not carried the call.
func (w *Walk) nextTrunk(v *vertex, outcome int) bool {
	failed := w.out.step.Node
	w.out.step = nil
	d := v.departs
	onward := outcome == NoReply || outcome == Down || outcome == Full || d.emergency != nil || slices.Contains(d.next, outcome)
	if onward {
		var why *reason
		if w.log != nil {
			why = &reason{text: fmt.Sprintf("when %s %s: ", failed, outcomeWords(outcome))}
		}
		if w.try(v, why) {
			return true
		}
	}
	e := w.uncarried(v, onward || outcome == Limited)
	if e == nil {
		w.here = nowhere
		return false
	}
	why := ""
	if w.log != nil {
		why = "when the call comes to nothing: "
	}
	w.leave(v, e, why)
	return w.Step() != nil
}

// uncarried is the way that a call takes whose trunks have not carried it: that of the node which they are of, when it has tried all, else that
// of the number that sent it there.
func (w *Walk) uncarried(v *vertex, tried bool) *exit {
	if e := v.only(onOther); e != nil && tried {
		return e
	}
	back := w.out.back
	w.out.back = nowhere
	if back == nowhere {
		return nil
	}
	return w.t.vertices[back].only(onOther)
}

// only is the way of just this cause.
func (v *vertex) only(on cause) *exit {
	if i := slices.IndexFunc(v.exits, func(e exit) bool { return e.on == on }); i >= 0 {
		return &v.exits[i]
	}
	return nil
}

func outcomeWords(outcome int) string {
	switch outcome {
	case NoReply:
		return "does not reply"
	case Down:
		return "is down"
	case Full:
		return "is full"
	case Limited:
		return "is beyond a limit"
	}
	return fmt.Sprintf("answers %d", outcome)
}

// outcomes are the words of plans for what a trunk comes to besides SIP statuses.
func outcomes() map[string]int {
	return map[string]int{"no_reply": NoReply, "down": Down, "full": Full, "limited": Limited}
}

// arriving reads what a trunk wants to reach: a number of its tenant, or of one that shares it. It gives back nowhere when that is nobody's.
func (w *Walk) arriving(p *Plan, c *Call) target {
	l := w.t.lines[c.Trunk]
	if l == nil {
		return nowhere
	}
	w.out.came = l
	var plain [8 * mostDigits]byte
	if len(c.To) <= 2*mostDigits {
		var number [mostDigits + 1]byte
		w.out.set(w.t.country.e164(number[:0], string(write(l.in, plain[:0], c.To))))
	}
	if to := w.ours(); to != nowhere {
		return to
	}
	for _, name := range l.trunk.Shared {
		home := w.t
		w.t = p.tenant(name)
		if to := w.ours(); to != nowhere {
			return to
		}
		w.t = home
	}
	if l.arrives != nowhere {
		w.log.note(Trace{At: l.trunk.At, Node: "trunk." + l.trunk.Name, Text: "this came in over trunk." + l.trunk.Name + ", and no did has the number"}, "")
	}
	return l.arrives
}

// ours finds the number of the world's network that was dialled among those of the tenant.
func (w *Walk) ours() target {
	at, ok := w.t.numbers[string(w.out.number())]
	if !ok || w.out.long == 0 {
		return nowhere
	}
	w.log.note(w.t.found[at], "")
	return w.t.entries[at]
}

// leaveHouse finds the outbound node whose prefix is the longest of those that the number begins with. What a plan matches as it is dialled
// counts before numbers of the world's network.
func (w *Walk) leaveHouse() bool {
	t := w.t
	found := int32(-1)
	if len(t.local.nodes) > 0 && len(w.out.dialled) <= 2*mostDigits && strings.Trim(w.out.dialled, "0123456789") == "" {
		var digits [2 * mostDigits]byte
		if found = t.local.longest(digits[:copy(digits[:], w.out.dialled)]); found >= 0 {
			w.out.long = 0
		}
	}
	if found < 0 && w.out.long > 0 {
		found = t.abroad.longest(w.out.digits[1:w.out.long])
	}
	if found < 0 {
		return false
	}
	match := &t.matches[found]
	v := &t.vertices[match.to]
	if w.log != nil {
		number := w.out.dialled
		if w.out.long > 0 {
			number = string(w.out.number())
		}
		w.log.note(Trace{At: match.at, Node: v.name, Text: fmt.Sprintf("%s is one of %s, which %s is for", number, match.pattern, v.name)}, "")
	}
	if v.entrance != nil && !common(v.entrance.groups, w.groups()) {
		w.arrive(v, nil)
		w.refuse(&Step{Kind: StepReject, Status: 403, Reason: fmt.Sprintf("%s is for users of %s", v.name, v.entrance.words), At: v.at})
		return true
	}
	w.enter(match.to, nil)
	return true
}
