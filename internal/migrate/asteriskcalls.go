package migrate

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// callState is a call on its way through extensions.conf.
type callState struct {
	context string
	number  string // EXTEN
	at      *exten
	prio    int
	vars    variables
	stack   []frame
	sounds  []string // played just before
	record  bool
	caller  string // of CALLERID(num), as E.164
	from    place  // the line that led here
}

// frame is where a subroutine returns to.
type frame struct {
	back  callState
	macro bool
}

// lost says why a call cannot be followed, and where.
type lost struct {
	at        place
	what, why string
}

func (l *lost) Error() string { return l.what + ": " + l.why }

// maxCalls bounds how deep calls are followed: a subroutine, a choice and a Dial are one each.
const maxCalls = 100

// follow sends calls through the extensions: first those of the house's users, then those from trunks.
func (a *asterisk) follow() {
	for _, e := range a.endpoints { // who is rung by his own name comes first: that Dial is his block's
		if x := a.find(e.context, e.name); x != nil && !e.isTrunk && e.node != nil {
			if t := a.ways(a.begin(e.context, x, e.name)); t != nil && t.node == e.node {
				a.claim(x.at, x.title(), e.name, t)
			}
		}
	}
	a.openLots()
	for _, context := range a.inside {
		if a.contexts[context] == nil {
			a.unmapped(place{}, "context="+context, "endpoints are in this context, and extensions.conf has none of the name")
			continue
		}
		for _, x := range a.everything(context) {
			if !strings.HasPrefix(x.pattern, "_") && !isSpecial(x.pattern) {
				a.extension(context, x)
			}
		}
	}
	for _, context := range a.inside {
		for _, x := range a.everything(context) {
			if strings.HasPrefix(x.pattern, "_") && !isSpecial(x.pattern) {
				a.pattern(context, x)
			}
		}
	}
	for _, e := range a.endpoints {
		if e.isTrunk && e.node != nil {
			a.arrivals(e)
		}
	}
	if a.budget < 0 || a.full {
		a.unmapped(place{}, "extensions.conf", "the dialplan leads to too many different ways: the rest was not followed")
	}
	if len(a.result.Accounts) > 0 {
		a.listUnread()
	}
}

// listUnread names contexts that no call came to.
func (a *asterisk) listUnread() {
	reached := map[string]bool{}
	for _, e := range a.endpoints {
		for _, c := range a.contextsOf(e.context) {
			reached[c] = true
		}
	}
	for _, c := range a.order {
		if !reached[c.name] && !slices.ContainsFunc(c.extens, func(x *exten) bool { return x.visited }) {
			a.unmapped(c.at, "["+c.name+"]", "no call of an endpoint comes to this context")
		}
	}
}

// begin is a call that enters a context.
func (a *asterisk) begin(context string, x *exten, number string) callState {
	v := variables{global: a.globals}
	return callState{context: context, number: number, at: x, prio: 1, vars: v.with("EXTEN", number).with("CONTEXT", context), from: x.at}
}

// extension makes a number that users can dial of a literal extension.
func (a *asterisk) extension(context string, x *exten) {
	number, what := x.pattern, x.title()
	if a.isSlot(x) {
		a.listSlot(x)
		return
	}
	if a.claimed[number] {
		return
	}
	if !isName(number) {
		a.unmapped(x.at, what, "this cannot be dialled here: 1 to 64 digits, letters or one of . _ + * # -")
		return
	}
	if a.contexts[context].ordered && a.find(context, number) != x {
		return // one before it takes its calls
	}
	if a.numbers[number] && a.byName[number] == nil {
		a.unmapped(x.at, what, "this number leads somewhere else in another context: users of a tenant have one numbering")
		return
	}
	t := a.ways(a.begin(context, x, number))
	if t == nil {
		t = to(a.make(&node{kind: "reject", name: number, attrs: []attr{{"reason", quote("the call ends here")}}}, x.at, what))
	}
	if n := t.node; n != nil && n.kind == "leaving" {
		a.literal(x, n, number)
		return
	}
	a.claim(x.at, what, number, t)
}

// claim lets users reach a target by a number.
func (a *asterisk) claim(at place, what, number string, t *target) {
	n := t.node
	if e := a.byName[number]; e != nil && e.node != nil && e.node != n && !e.isTrunk {
		a.unmapped(at, what, fmt.Sprintf("%s is the name of user.%s here, and this leads somewhere else", number, number))
		return
	}
	a.numbers[number], a.claimed[number] = true, true
	if n != nil && n.extension == "" && has([]string{"user", "ring", "menu", "echo", "music", "conference", "reject", "number", "queue", "voicemail", "park", "page"}, n.kind) && (n.kind != "reject" || n.name != "hangup") {
		if n.extension = number; n.kind == "user" && n.name == number {
			n.extension = ""
		}
		if n.kind == "user" {
			a.extend(n)
		}
		a.starts = append(a.starts, start{number: number, to: t, at: at})
		a.mapped(at, what, "extension of "+n.kind)
		return
	}
	f := a.make(&node{kind: "feature", name: number, extension: number, ways: []*way{{"go", t}}}, at, what)
	a.starts = append(a.starts, start{number: number, to: t, node: f, at: at})
	a.mapped(at, what, "feature "+number)
}

// extend writes the extension of a user to his account.
func (a *asterisk) extend(n *node) {
	for i := range a.result.Accounts {
		if x := &a.result.Accounts[i]; x.User == n.name && a.byName[n.extension] == nil {
			x.Extension = n.extension
		}
	}
}

// helpNumbers are those of emergency services.
var helpNumbers = []string{"112", "911", "999", "000"}

// literal is a number that leaves the house as it stands.
func (a *asterisk) literal(x *exten, leaving *node, number string) {
	what := x.title()
	if slices.Contains(helpNumbers, number) {
		n := &node{kind: "emergency", name: "help", attrs: []attr{{"numbers", quotes([]string{number})}}}
		for _, h := range leaving.hops {
			if h.skip >= 0 && h.prepend == "" && h.skip == 0 || h.skip < 0 && h.prepend == number {
				n.via = append(n.via, h.trunk)
				continue
			}
			a.unmapped(x.at, what, fmt.Sprintf("trunk.%s is sent another number than %s, which emergency calls do not do", h.trunk.name, number))
		}
		if len(n.via) == 0 || a.anyUser() == nil {
			a.unmapped(x.at, what, "an emergency number needs a trunk and a user for its test")
			return
		}
		n = a.make(n, x.at, what)
		a.numbers[number] = true
		a.starts = append(a.starts, start{number: number, to: to(n), at: x.at})
		a.mapped(x.at, what, "emergency")
		a.check(x.at, number, "say where callers are: location = \"...\" of the emergency node")
		return
	}
	a.outbound(x.at, what, []string{number}, "", true, leaving)
}

func (a *maker) anyUser() *node {
	for _, n := range a.nodes {
		if n.kind == "user" {
			return n
		}
	}
	return nil
}

// pattern maps a pattern that users dial: as a whole when calls leave the house by it, else number by number.
func (a *asterisk) pattern(context string, x *exten) {
	what := x.title()
	if a.isSlot(x) {
		a.listSlot(x)
		return
	}
	begin := a.begin(context, x, dialledBegin+"0"+dialledEnd)
	if t, err := a.run(begin, 0); err == nil {
		leaves := t != nil && t.node != nil && t.node.kind == "leaving"
		if leaves || !strings.HasPrefix(x.pattern, "_[") || t == nil {
			t = a.ways(begin)
			a.wholePattern(x, what, t, leaves)
			return
		}
	}
	numbers := numbersOf(x.pattern[1:], 10*mostMatches)
	if numbers == nil {
		_, err := a.run(begin, 0)
		var l *lost
		errors.As(err, &l)
		if l == nil {
			l = &lost{x.at, what, "it stands for too many numbers"}
		}
		a.unmapped(x.at, what, fmt.Sprintf("%s (%s)", l.why, clip(l.what)))
		return
	}
	found := 0
	for _, number := range numbers {
		if a.numbers[number] && a.byName[number] == nil || a.find(context, number) != x {
			continue
		}
		if a.claimed[number] {
			found++
			continue
		}
		t, err := a.run(a.begin(context, x, number), 0)
		if err != nil || t == nil || t.node == nil || t.node.kind == "leaving" || t.node.kind == "reject" {
			continue
		}
		if found++; found > 200 {
			a.unmapped(x.at, what, "it stands for more than 200 numbers that lead somewhere: the rest is left out")
			break
		}
		a.claim(x.at, what, number, a.ways(a.begin(context, x, number)))
	}
	if found == 0 {
		_, err := a.run(begin, 0)
		why := "none of its numbers leads anywhere"
		var l *lost
		if errors.As(err, &l) {
			why += ": " + l.why
		}
		a.unmapped(x.at, what, why)
		return
	}
	a.mapped(x.at, what, fmt.Sprintf("%d numbers, those that there are users and services for", found))
}

// wholePattern is a pattern whose calls all go one way.
func (a *asterisk) wholePattern(x *exten, what string, t *target, leaves bool) {
	least := 0
	if leaves {
		for _, h := range t.node.hops {
			least = max(least, h.skip)
		}
	}
	begin, open, cut, ok := beginnings(x.pattern[1:], least)
	if !ok {
		a.unmapped(x.at, what, fmt.Sprintf("it stands for more than %d beginnings, or is no pattern of digits", mostMatches))
		return
	}
	if cut {
		a.check(x.at, what, "it stands for very many beginnings: it is told apart by its first digits only, and takes all numbers that begin so")
	} else if open == "" || strings.Trim(open, "Xx") == "" {
		a.check(x.at, what, "numbers are told apart by how they begin: this one takes longer and shorter ones, too")
	}
	if !leaves {
		if t == nil {
			t = to(a.hangup(x.at))
		}
		n := a.make(&node{kind: "outbound", name: name(strings.Trim(x.pattern, "_.!X")), ways: []*way{{"go", t}}}, x.at, what)
		if a.matches(x.at, what, n, begin, open, false, nil) {
			a.allow(x, n)
			a.mapped(x.at, what, "outbound that leads on")
		}
		return
	}
	n := a.outbound(x.at, what, begin, open, false, t.node)
	if n != nil {
		a.allow(x, n)
	}
}

// allow keeps an outbound node to the users whose contexts reach its pattern.
func (a *asterisk) allow(x *exten, n *node) {
	if x.allow != "" && isName(x.allow) {
		n.allow = unique(append(n.allow, x.allow))
		return
	}
	if len(a.inside) < 2 {
		return
	}
	for _, c := range a.inside {
		if slices.Contains(a.everything(c), x) && !slices.Contains(n.allow, name(c)) {
			n.allow = append(n.allow, name(c))
		}
	}
	if len(n.allow) == len(a.inside) {
		n.allow = nil
	}
}

// arrivals maps the context that a trunk's calls enter.
func (a *asterisk) arrivals(e *endpoint) {
	if a.contexts[e.context] == nil {
		a.unmapped(e.at, "context="+e.context, "calls of this trunk enter this context, and extensions.conf has none of the name")
		return
	}
	for _, x := range a.everything(e.context) {
		what := x.title()
		switch {
		case x.pattern == "s":
			a.catchAll(e, x, what, "s")
		case isSpecial(x.pattern):
		case strings.HasPrefix(x.pattern, "_"):
			a.arrivalPattern(e, x, what)
		default:
			a.did(e, x, what, x.pattern)
		}
	}
}

func (a *asterisk) arrivalPattern(e *endpoint, x *exten, what string) {
	begin := a.begin(e.context, x, dialledBegin+"0"+dialledEnd)
	wide := strings.HasSuffix(x.pattern, ".") || strings.HasSuffix(x.pattern, "!")
	if t, err := a.run(begin, 0); err == nil && wide && t != nil && (t.node == nil || t.node.kind != "leaving") {
		a.catchAll(e, x, what, begin.number)
		return
	}
	numbers := numbersOf(x.pattern[1:], mostMatches)
	if numbers == nil {
		a.unmapped(x.at, what, "this pattern stands for too many numbers, or for any: the world reaches the numbers that a plan names (did), or where the trunk's in { go } says")
		return
	}
	for _, number := range numbers {
		if t, err := a.run(a.begin(e.context, x, number), 0); err == nil && t != nil && a.find(e.context, number) == x {
			a.did(e, x, what, number)
		}
	}
}

// catchAll is where calls of a trunk go whose number nobody has.
func (a *asterisk) catchAll(e *endpoint, x *exten, what, number string) {
	k := e.node.trunk
	if k.arrives != nil {
		return
	}
	if k.arrives = a.ways(a.begin(e.context, x, number)); k.arrives == nil {
		return
	}
	if n := k.arrives.node; n != nil && n.kind == "leaving" {
		k.arrives = a.notImported(x.at, what, "calls from a trunk that leave by another need a number of the plan")
	}
	a.mapped(x.at, what, "in { go } of trunk."+e.node.name)
}

// did makes a number of the world's network of what a trunk's calls want.
func (a *asterisk) did(e *endpoint, x *exten, what, number string) {
	full := a.e164(number)
	if plain, is := strings.CutPrefix(number, a.Country); full == "" && is && a.Country != "" && a.e164("+"+a.Country+plain) != "" {
		full = "+" + number // without +, as carriers like to write
	}
	if full == "" {
		if a.numbers[number] {
			return // a number of the house, which the world does not dial
		}
		why := "this is no number of the world's telephone network"
		if a.Country == "" {
			why += "; --country says how numbers are to be read"
		}
		a.unmapped(x.at, what, why)
		return
	}
	for _, n := range a.nodes {
		if n.kind == "did" && n.name == full {
			if n.at != x.at {
				a.unmapped(x.at, what, full+" is there already, and leads to one place whichever trunk it comes over")
			}
			return
		}
	}
	t := a.ways(a.begin(e.context, x, number))
	if t == nil {
		t = to(a.hangup(x.at))
	}
	if t.node != nil && t.node.kind == "leaving" {
		t = a.notImported(x.at, what, "calls from a trunk that leave by another need a number of the plan")
	}
	n := a.make(&node{kind: "did", name: full, ways: []*way{{"go", t}}}, x.at, what)
	a.starts = append(a.starts, start{number: full, to: t, node: n, at: x.at})
	a.mapped(x.at, what, "did "+full)
}

// ways follows a call, and makes a node that says so of what cannot be followed. The target may be a node of kind leaving.
func (a *asterisk) ways(s callState) *target {
	t, err := a.run(s, 0)
	return a.orLost(t, err, s)
}

func (a *asterisk) orLost(t *target, err error, s callState) *target {
	if err == nil {
		return t
	}
	var l *lost
	if !errors.As(err, &l) {
		l = &lost{s.from, s.number, err.Error()}
	}
	return a.notImported(l.at, l.what, l.why)
}

// onward follows a call to what can stand in the middle of a way: a call that leaves the house there needs a number.
func (a *asterisk) onward(s callState, depth int) *target {
	t, err := a.run(s, depth+1)
	t = a.orLost(t, err, s)
	if t != nil && t.node != nil && t.node.kind == "leaving" {
		return a.numbered(t.node)
	}
	return t
}

// numbered makes a number of a call that leaves the house in the middle of a way.
func (a *asterisk) numbered(n *node) *target {
	h := n.hops[0]
	full := ""
	if h.skip < 0 {
		full = a.e164(h.prepend)
	}
	if full == "" {
		return a.notImported(n.at, n.what, "where this leaves the house only a number of the world's network can be dialled, and this is none that is known")
	}
	number := &node{kind: "number", name: full, attrs: []attr{{"dial", quote(full)}}}
	if other := n.way("otherwise"); other != nil {
		number.lead("otherwise", other)
	}
	bare := *n
	bare.ways = nil
	if a.outbound(n.at, n.what, []string{full}, "", true, &bare) == nil {
		return a.notImported(n.at, n.what, "no outbound node can carry this number")
	}
	return to(a.make(number, n.at, n.what))
}

// run follows a call to the first thing that is done to it.
func (a *asterisk) run(s callState, depth int) (*target, error) {
	var been []string
	defer func() {
		for _, key := range been {
			a.active[key]--
		}
	}()
	if depth > maxCalls {
		return nil, &lost{s.from, s.number, "the way is too long to be followed"}
	}
	for {
		if a.budget--; a.budget < 0 || a.full {
			return nil, &lost{s.from, s.number, "the dialplan leads to too many different ways"}
		}
		st, ok := s.at.steps[s.prio]
		if !ok {
			if n := len(s.stack); n > 0 && s.stack[n-1].macro {
				s = s.stack[n-1].back
				continue
			}
			return nil, nil
		}
		s.at.visited = true
		key := fmt.Sprintf("%s|%s|%d|%d|%v", s.context, s.number, s.prio, len(s.stack), s.vars.own["DIALSTATUS"])
		if a.active[key] > 1 { // once more is the way back to a menu
			return nil, &lost{st.at, st.String(), "calls go round in a loop here"}
		}
		a.active[key]++
		been = append(been, key)
		s.from = st.at
		t, next, err := a.step(s, st, depth)
		if next == nil || err != nil {
			return t, err
		}
		s = *next
	}
}

// without lists applications that need no counterpart: what they do is done anyway, or is not heard.
var without = []string{
	"noop", "verbose", "log", "answer", "progress", "ringing", "wait", "proceeding", "resetcdr", "nocdr", "dumpchan", "userevent", "stopmonitor", "stopmixmonitor",
	"setmusiconhold", "startmusiconhold", "stopmusiconhold", "incomplete", "sipaddheader", "celgenuserevent",
}

// step carries one priority out: next is where the call goes on, nil when t is the result.
func (a *asterisk) step(s callState, st step, depth int) (t *target, next *callState, err error) {
	on := s
	on.prio++
	app := strings.ToLower(st.app)
	fail := func(why string) (*target, *callState, error) { return nil, nil, &lost{st.at, st.String(), why} }
	if slices.Contains(without, app) {
		return nil, &on, nil
	}
	if app == "set" || app == "mset" {
		a.setVariable(&on, st)
		return nil, &on, nil
	}
	if app == "gotoiftime" {
		return a.byTime(s, st, on, depth)
	}
	if app == "voicemailmain" {
		n, why := a.listen(st.args, st)
		if why != "" {
			return fail(why)
		}
		return to(a.make(n, st.at, st.String())), nil, nil
	}
	args, err := s.vars.expand(st.args, 0)
	if err != nil {
		return fail(err.Error())
	}
	list := arguments(args)
	switch app {
	case "goto", "gotoif", "nextextension", "condition":
		return a.leap(s, on, app, args, st)
	case "gosub", "gosubif", "macro", "return":
		return a.subroutine(s, on, app, args, st)
	case "execif":
		return a.execute(s, on, args, st, depth)
	case "dial":
		t, err := a.dial(s, on, st, list, depth)
		return t, nil, err
	case "queue":
		t, err := a.queue(s, on, list, st, depth)
		return t, nil, err
	case "page":
		t, err := a.page(s, on, list, st, depth)
		return t, nil, err
	case "park":
		n, why := a.park(list)
		if why != "" {
			return fail(why)
		}
		return to(n), nil, nil
	case "playback", "background", "waitexten":
		return a.play(s, on, st, app, list, depth)
	case "mixmonitor", "monitor":
		on.record = true
		return nil, &on, nil
	case "voicemail":
		n, why := a.voicemail(list, on, st)
		if why != "" {
			return fail(why)
		}
		return to(n), nil, nil
	}
	return a.serve(s, app, list, st)
}

// branches cuts "condition?yes:no".
func branches(args string) (condition, yes, no string) {
	condition, rest, _ := strings.Cut(args, "?")
	yes, no, _ = strings.Cut(rest, ":")
	return strings.TrimSpace(condition), yes, no
}

// leap goes on at another priority: Goto and GotoIf, and what the import of FreeSWITCH writes for its own ways.
func (a *asterisk) leap(s, on callState, app, args string, st step) (*target, *callState, error) {
	fail := func(why string) (*target, *callState, error) { return nil, nil, &lost{st.at, st.String(), why} }
	switch app {
	case "condition":
		return fail(st.args)
	case "nextextension":
		next := s
		if next.at = a.contexts[s.context].after(s.at, s.number); next.at == nil {
			if isOpen(s.number) {
				return fail("where calls go that come at another time depends on what is dialled")
			}
			return nil, nil, nil
		}
		next.prio = 1
		return nil, &next, nil
	case "gotoif":
		condition, yes, no := branches(args)
		if isOpen(condition) {
			return fail("it depends on what is dialled in a way that plans cannot say")
		}
		if args = yes; !isTrue(condition) {
			args = no
		}
		if strings.TrimSpace(args) == "" {
			return nil, &on, nil
		}
	}
	return a.jump(s, on, arguments(args), st)
}

// subroutine is Gosub, GosubIf, Macro and Return.
func (a *asterisk) subroutine(s, on callState, app, args string, st step) (*target, *callState, error) {
	switch app {
	case "macro":
		return a.macro(s, on, arguments(args), st)
	case "return":
		if n := len(s.stack); n > 0 && !s.stack[n-1].macro {
			back := s.stack[n-1].back
			return nil, &back, nil
		}
		return nil, nil, nil
	case "gosubif":
		condition, yes, no := branches(args)
		if args = yes; !isTrue(condition) {
			args = no
		}
		if strings.TrimSpace(args) == "" {
			return nil, &on, nil
		}
	}
	return a.gosub(on, args, st)
}

// execute is ExecIf(condition?Application(arguments)).
func (a *asterisk) execute(s, on callState, args string, st step, depth int) (*target, *callState, error) {
	condition, what, _ := strings.Cut(args, "?")
	if !isTrue(strings.TrimSpace(condition)) {
		return nil, &on, nil
	}
	name, rest, _ := strings.Cut(what, "(")
	inner := step{app: strings.TrimSpace(name), args: strings.TrimSuffix(strings.TrimSpace(rest), ")"), at: st.at}
	if strings.EqualFold(inner.app, "execif") {
		return nil, nil, &lost{st.at, st.String(), "ExecIf in ExecIf is not read"}
	}
	return a.step(s, inner, depth)
}

// serve ends the way at a node that answers or refuses.
func (a *asterisk) serve(s callState, app string, args []string, st step) (*target, *callState, error) {
	n, why := a.service(s, app, args, st)
	if why != "" {
		return nil, nil, &lost{st.at, st.String(), why}
	}
	if n == nil {
		return nil, nil, nil
	}
	if i := slices.IndexFunc(a.nodes, func(o *node) bool { return n.kind == "conference" && o.kind == n.kind && o.name == n.name }); i >= 0 {
		return to(a.nodes[i]), nil, nil // a room is one wherever it is named
	}
	return to(a.make(n, st.at, st.String())), nil, nil
}

// service makes a node of an application that answers or refuses. nil without a reason: the call ends.
func (a *asterisk) service(s callState, app string, args []string, st step) (n *node, why string) {
	refuse := func(name, status, reason string) *node {
		return &node{kind: "reject", name: name, attrs: []attr{{"status", status}, {"reason", quote(reason)}}}
	}
	switch app {
	case "hangup":
		switch argument(args, 0) {
		case "1", "3", "USER_NOT_FOUND", "UNALLOCATED_NUMBER":
			return refuse("no_such_number", "404", "nobody has this number"), ""
		case "17", "BUSY", "USER_BUSY":
			return refuse("busy", "486", "busy"), ""
		case "21", "CALL_REJECTED":
			return refuse("not_wanted", "603", "the call is not wanted"), ""
		case "34", "38", "41", "42", "CONGESTION":
			return refuse("congestion", "503", "no line is free"), ""
		}
		return nil, ""
	case "busy":
		if s.vars.own["DIALSTATUS"] == "BUSY" {
			return nil, ""
		}
		return refuse("busy", "486", "busy"), ""
	case "congestion":
		if status := s.vars.own["DIALSTATUS"]; status == "CONGESTION" || status == "CHANUNAVAIL" {
			return nil, ""
		}
		return refuse("congestion", "503", "no line is free"), ""
	case "echo":
		return &node{kind: "echo", name: "echo"}, ""
	case "musiconhold":
		if class := argument(args, 0); class != "" && class != "default" {
			a.check(st.at, st.String(), "the music of this class is the usual music here")
		}
		return &node{kind: "music", name: "music"}, ""
	case "playtones":
		if tone := argument(args, 0); has([]string{"busy", "congestion", "dial", "ring", "info"}, tone) {
			return &node{kind: "music", name: tone, attrs: []attr{{"play", quote("tone:" + tone)}}}, ""
		}
	case "confbridge", "meetme":
		room := argument(args, 0)
		if room == "" || isOpen(room) || !isName(room) {
			return nil, "the room is chosen during the call"
		}
		for _, extra := range args[min(1, len(args)):] {
			if extra != "" {
				a.check(st.at, st.String(), "profiles, menus and PINs of rooms are not imported")
			}
		}
		return &node{kind: "conference", name: room}, ""
	}
	return nil, "this application has no counterpart"
}

// jump goes to [[context,]extension,]priority.
func (a *asterisk) jump(s, on callState, args []string, st step) (*target, *callState, error) {
	for i := range args {
		args[i] = strings.TrimSpace(args[i])
	}
	fail := func(why string) (*target, *callState, error) { return nil, nil, &lost{st.at, st.String(), why} }
	next := s
	switch len(args) {
	case 1:
	case 2:
		next.number = args[0]
	case 3:
		next.context, next.number = args[0], args[1]
	default:
		return fail("it does not say where to go")
	}
	if len(args) > 1 {
		if next.at = a.target(s, next.context, next.number); next.at == nil {
			return fail(fmt.Sprintf("there is no extension %s in context %s", clip(readable(next.number)), clip(next.context)))
		}
		next.vars = next.vars.with("EXTEN", next.number).with("CONTEXT", next.context)
	}
	label := args[len(args)-1]
	prio, err := strconv.Atoi(label)
	if err != nil {
		known := false
		if prio, known = next.at.labels[label]; !known {
			return fail(fmt.Sprintf("there is no priority %q", clip(label)))
		}
	}
	next.prio = prio
	next.sounds = on.sounds
	return nil, &next, nil
}

// readable writes a number that depends on what is dialled for people.
func readable(number string) string {
	if prepend, skip, ok := dialled(number); ok {
		return fmt.Sprintf("%s${EXTEN:%d}", prepend, skip)
	}
	return number
}

// target finds where a jump leads, that of a whole pattern to the same pattern included.
func (a *asterisk) target(s callState, context, number string) *exten {
	if !isOpen(number) {
		return a.find(context, number)
	}
	if prepend, skip, ok := dialled(number); ok && prepend == "" && skip == 0 {
		for _, x := range a.everything(context) {
			if x.pattern == s.at.pattern {
				return x
			}
		}
	}
	return nil
}

// gosub reads [[context,]extension,]priority[(arguments)].
func (a *asterisk) gosub(on callState, text string, st step) (*target, *callState, error) {
	list := arguments(text)
	last := list[len(list)-1]
	label, given, called := strings.Cut(last, "(")
	list[len(list)-1] = label
	_, next, err := a.jump(on, on, list, st)
	if err != nil {
		return nil, nil, err
	}
	if len(next.stack) > 16 {
		return nil, nil, &lost{st.at, st.String(), "subroutines call each other too deep"}
	}
	next.stack = append(slices.Clone(next.stack), frame{back: on})
	if called {
		for i, value := range arguments(strings.TrimSuffix(given, ")")) {
			next.vars = next.vars.with(fmt.Sprintf("ARG%d", i+1), strings.Trim(value, `"`))
		}
	}
	return nil, next, nil
}

// macro enters the context macro-NAME.
func (a *asterisk) macro(s, on callState, list []string, st step) (*target, *callState, error) {
	next := on
	next.context, next.number, next.prio = "macro-"+argument(list, 0), "s", 1
	if next.at = a.find(next.context, "s"); next.at == nil || len(on.stack) > 16 {
		return nil, nil, &lost{st.at, st.String(), "there is no such macro"}
	}
	next.stack = append(slices.Clone(on.stack), frame{back: on, macro: true})
	next.vars = next.vars.with("MACRO_EXTEN", s.number).with("MACRO_CONTEXT", s.context).with("EXTEN", "s")
	for i, value := range list[1:] {
		next.vars = next.vars.with(fmt.Sprintf("ARG%d", i+1), value)
	}
	return nil, &next, nil
}

// setVariable carries Set(NAME=value) out. A value that is known during a call only makes the variable such a one.
func (a *asterisk) setVariable(s *callState, st step) {
	name, text, _ := strings.Cut(st.args, "=")
	name = strings.TrimLeft(strings.TrimSpace(name), "_")
	value, err := s.vars.expand(text, 0)
	value = strings.Trim(value, `"`)
	function, _, is := strings.Cut(name, "(")
	if !is {
		if err != nil {
			s.vars = s.vars.without(name)
			return
		}
		s.vars = s.vars.with(name, value)
		return
	}
	switch {
	case strings.EqualFold(name, "CALLERID(num)") && err == nil:
		if s.caller = a.e164(value); s.caller == "" {
			a.unmapped(st.at, st.String(), "the number that is shown has to be one of the world's network; --country says how numbers are to be read")
		}
	case has([]string{"TIMEOUT", "CDR", "CHANNEL", "GLOBAL", "HASH", "MASTER_CHANNEL"}, strings.ToUpper(function)) && err == nil && strings.ToUpper(function) != "GLOBAL":
		a.check(st.at, st.String(), "this is left out")
	default:
		a.unmapped(st.at, st.String(), "this has no counterpart: it is left out")
	}
}

// statuses are the outcomes of a Dial, with the ways that they are here.
var statuses = []struct{ status, on string }{{"CONGESTION", "otherwise"}, {"BUSY", "busy"}, {"NOANSWER", "no_answer"}, {"CHANUNAVAIL", "unreachable"}}

// dial rings users, or sends the call out of the house.
func (a *asterisk) dial(s, on callState, st step, args []string, depth int) (*target, error) {
	fail := func(why string) (*target, error) { return nil, &lost{st.at, st.String(), why} }
	on.sounds = nil
	var users []*node
	var hops []hop
	for part := range strings.SplitSeq(argument(args, 0), "&") {
		user, h, why := a.dialled(s, part, depth)
		switch {
		case why != "" && strings.Contains(argument(args, 0), "&"):
			a.unmapped(st.at, part, why)
		case why != "":
			return fail(why)
		case h != nil:
			hops = append(hops, *h)
		case !slices.Contains(users, user):
			users = append(users, user)
		}
	}
	for _, r := range argument(args, 2) {
		if strings.ContainsRune("LMUAGDPS", r) {
			a.unmapped(st.at, st.String(), fmt.Sprintf("option %c of Dial has no counterpart: it is left out", r))
		}
	}
	switch {
	case len(users) == 0 && len(hops) == 0:
		return fail("there is nobody to call")
	case len(users) == 0:
		if len(hops) > 1 {
			a.unmapped(st.at, st.String(), "numbers outside are called one after the other, not at the same time: the first is")
		}
		return a.leave(s, on, st, hops[0], depth)
	case len(hops) > 0:
		a.unmapped(st.at, st.String(), "a ring group rings users: numbers outside are left out")
	}
	timeout := ""
	if seconds, err := strconv.ParseFloat(argument(args, 1), 64); err == nil && seconds >= 1 {
		timeout = quote(strconv.Itoa(min(int(seconds), 600)) + "s")
	} else {
		a.check(st.at, st.String(), "without a time-out a phone rings for a minute here, a group for half of one")
	}
	if len(users) == 1 && a.owner[users[0]] == nil {
		u := users[0]
		a.owner[u] = s.at
		if timeout != "" {
			u.set("timeout", timeout)
		}
		if s.record {
			u.set("record", "true")
		}
		u.what += ", " + clip(st.at.String()+" "+st.String())
		u.ways = a.outcomes(on, depth, true, st)
		return to(u), nil
	}
	ring := &node{kind: "ring", name: cmp.Or(named(s), "group"), members: users}
	if len(users) > 100 {
		a.unmapped(st.at, st.String(), "a ring group has at most 100 members: the rest is left out")
		ring.members = users[:100]
	}
	if timeout != "" {
		ring.set("timeout", timeout)
	}
	if s.record {
		ring.set("record", "true")
	}
	ring.ways = a.outcomes(on, depth, false, st)
	if len(users) == 1 && a.owner[users[0]] == s.at && same(ring.ways, users[0].ways) {
		return to(users[0]), nil
	}
	return to(a.make(ring, st.at, st.String())), nil
}

func same(a, b []*way) bool {
	return slices.EqualFunc(a, b, func(x, y *way) bool { return x.on == y.on && x.to.key() == y.to.key() })
}

// named is what a node is called that begins where the call is.
func named(s callState) string {
	if n := s.number; n != "s" && isName(n) && !isSpecial(n) {
		return n
	}
	return s.context
}

// outcomes follows what comes after a Dial, for each of its outcomes when the dialplan asks for them. A ring group has one way.
func (a *asterisk) outcomes(on callState, depth int, forward bool, st step) (ways []*way) {
	asked := false
	on.vars.asked = &asked
	var all [4]*target
	for i, x := range statuses {
		next := on
		next.vars = on.vars.with("DIALSTATUS", x.status)
		all[i] = a.onward(next, depth)
		if !asked {
			all[1], all[2], all[3] = all[0], all[0], all[0]
			break
		}
	}
	other := all[0]
	if !forward {
		if other = all[2]; all[1].key() != other.key() || all[3].key() != other.key() {
			a.check(st.at, st.String(), "calls go on in different ways when the group is busy and when it does not answer; here all go where nobody answers")
		}
	} else {
		for i := 1; i < 4; i++ {
			if all[i].key() == other.key() {
				continue
			}
			if all[i] == nil {
				all[i] = to(a.hangup(st.at))
			}
			ways = append(ways, &way{statuses[i].on, all[i]})
		}
	}
	if other != nil {
		ways = append(ways, &way{"otherwise", other})
	}
	return ways
}

// dialled reads one target of Dial: a user, or a number over a trunk.
func (a *asterisk) dialled(s callState, text string, depth int) (user *node, h *hop, why string) {
	tech, rest, _ := strings.Cut(strings.TrimSpace(text), "/")
	switch strings.ToUpper(tech) {
	case "PJSIP", "SIP":
	case "LOCAL":
		number, context, _ := strings.Cut(rest, "@")
		context, _, _ = strings.Cut(context, "/")
		context = cmp.Or(context, "default")
		x := a.find(context, number)
		if x == nil || depth > maxCalls {
			return nil, nil, fmt.Sprintf("there is no extension %s in context %s", clip(readable(number)), clip(context))
		}
		next := a.begin(context, x, number)
		t, err := a.run(next, depth+1)
		if err == nil && t != nil && t.node != nil && t.node.kind == "user" {
			return t.node, nil, ""
		}
		if err == nil && t != nil && t.node != nil && t.node.kind == "leaving" && len(t.node.hops) > 0 {
			return nil, &t.node.hops[0], ""
		}
		return nil, nil, "a Local channel can be followed only where it leads to a user or a trunk"
	case "":
		return nil, nil, "it does not say whom to call"
	default:
		return nil, nil, clip(tech) + " channels have no counterpart"
	}
	number, peer, at := strings.Cut(rest, "@")
	if !at {
		peer, number, at = strings.Cut(rest, "/")
		if uri, is := strings.CutPrefix(number, "sip:"); is {
			number, _, _ = strings.Cut(uri, "@")
		}
	} else if before, uri, is := strings.Cut(number, "/sip:"); is { // PJSIP/carrier/sip:number@host
		peer, number = before, uri
	}
	if isOpen(peer) {
		return nil, nil, "whom to call depends on what is dialled"
	}
	e := a.byName[peer]
	switch {
	case e == nil || e.node == nil:
		return nil, nil, fmt.Sprintf("there is no endpoint %q", clip(peer))
	case !e.isTrunk:
		return e.node, nil, ""
	case !at || number == "":
		return nil, nil, "it does not say which number to call over the trunk"
	case !e.node.leads():
		return nil, nil, "this trunk says only where calls come from"
	}
	h = &hop{trunk: e.node, prepend: number, skip: -1, caller: s.caller}
	if isOpen(number) {
		prepend, skip, ok := dialled(number)
		if !ok {
			return nil, nil, "the number depends on what is dialled in a way that plans cannot say"
		}
		h.prepend, h.skip = prepend, skip
	}
	if len(h.prepend) > 30 || strings.Trim(strings.TrimPrefix(h.prepend, "+"), "0123456789*#") != "" {
		return nil, nil, fmt.Sprintf("%q is not how numbers begin", clip(h.prepend))
	}
	return nil, h, ""
}

// leads tells whether calls can leave over a trunk.
func (n *node) leads() bool {
	return slices.ContainsFunc(n.attrs, func(a attr) bool { return a.name == "hosts" || a.name == "register" })
}

// leave makes the node of a call that goes out of the house: with the trunks that are tried after the first.
func (a *asterisk) leave(s, on callState, st step, h hop, depth int) (*target, error) {
	n := &node{kind: "leaving", name: named(s), hops: []hop{h}}
	on.vars = on.vars.with("DIALSTATUS", "CONGESTION")
	next, err := a.run(on, depth+1)
	next = a.orLost(next, err, on)
	if next != nil && next.node != nil && next.node.kind == "leaving" {
		if more := next.node; (more.hops[0].skip < 0) == (h.skip < 0) {
			n.hops = append(n.hops, more.hops...)
			next = more.way("otherwise")
		} else {
			next = a.numbered(more)
		}
	}
	n.lead("otherwise", next)
	return to(a.make(n, st.at, st.String())), nil
}

// sound is what plans call one of Asterisk's recordings.
func (a *asterisk) sound(files []string) string {
	var parts []string
	folder := ""
	for _, file := range files {
		for part := range strings.SplitSeq(file, "&") {
			part = strings.Trim(strings.TrimSpace(part), "/")
			if part == "" {
				continue
			}
			if dir := name(path.Base(path.Dir(part))); dir != "" && dir != "." && !strings.HasPrefix(dir, ".") {
				folder = dir
			}
			for _, kind := range []string{".wav", ".gsm", ".ulaw", ".alaw", ".g722", ".sln", ".mp3"} {
				part = strings.TrimSuffix(part, kind)
			}
			if base := strings.TrimLeft(name(path.Base(part)), "."); base != "" {
				parts = append(parts, base)
			}
		}
	}
	if len(parts) == 0 {
		return ""
	}
	joined := strings.Join(parts, "+")
	if len(joined) > 60 {
		joined = joined[:60]
	}
	return cmp.Or(folder, "asterisk") + "/" + joined
}

// play is Playback, Background and WaitExten.
func (a *asterisk) play(s, on callState, st step, app string, args []string, depth int) (*target, *callState, error) {
	if isOpen(strings.Join(args, "")) {
		return nil, nil, &lost{st.at, st.String(), "what is played depends on what is dialled"}
	}
	on.sounds = slices.Clone(s.sounds)
	if app != "waitexten" && argument(args, 0) != "" {
		on.sounds = append(on.sounds, argument(args, 0))
	}
	if app == "playback" {
		return a.announce(s, on, st)
	}
	// A menu is here: it plays what was gathered, and takes the extensions of its context for keys.
	key := menuKey(s)
	if known := a.menus[key]; known != nil {
		return to(known), nil, nil
	}
	for app == "background" { // on to what is behind it, another one or a WaitExten
		st2, ok := on.at.steps[on.prio]
		if !ok {
			break
		}
		app = strings.ToLower(st2.app)
		if !has([]string{"background", "waitexten", "wait", "noop"}, app) {
			break
		}
		text, err := on.vars.expand(st2.args, 0)
		if err != nil || isOpen(text) {
			break
		}
		list := arguments(text)
		on.prio++
		switch app {
		case "background":
			on.sounds = append(on.sounds, argument(list, 0))
		case "waitexten":
			args = []string{"", argument(list, 0)}
		default:
			app = "background"
		}
	}
	wait, waits := `"1s"`, app == "waitexten"
	if waits {
		wait = ""
		seconds, err := strconv.ParseFloat(cmp.Or(argument(args, 1), argument(args, 0)), 64)
		if err == nil && seconds >= 1 && seconds <= 60 {
			wait = quote(strconv.Itoa(int(seconds)) + "s")
		}
	}
	return a.menu(s, on, st, key, wait, waits, depth)
}

func menuKey(s callState) string {
	return fmt.Sprintf("%s|%s|%d", s.context, s.number, s.prio)
}

// announce is a Playback: the end of a call, part of a menu behind it, or left out.
func (a *asterisk) announce(s, on callState, st step) (*target, *callState, error) {
	next, ok := on.at.steps[on.prio]
	for ok && slices.Contains(without, strings.ToLower(next.app)) {
		on.prio++
		next, ok = on.at.steps[on.prio]
	}
	app := strings.ToLower(next.app)
	switch {
	case ok && has([]string{"playback", "background", "waitexten"}, app):
		return nil, &on, nil
	case (!ok && len(s.stack) == 0 || app == "hangup") && a.sound(on.sounds) != "":
		a.check(st.at, st.String(), "what is played here is repeated until the caller hangs up")
		n := &node{kind: "music", name: path.Base(a.sound(on.sounds)), attrs: []attr{{"play", quote(a.sound(on.sounds))}}}
		return to(a.make(n, st.at, st.String())), nil, nil
	}
	a.unmapped(st.at, st.String(), "an announcement before something else is left out: a menu or music can play it")
	on.sounds = nil
	return nil, &on, nil
}

// menu makes a menu of Background and WaitExten.
func (a *asterisk) menu(s, on callState, st step, key, wait string, waits bool, depth int) (*target, *callState, error) {
	m := &node{kind: "menu", name: named(s), at: st.at, what: clip(st.String())}
	m = a.add(m, "")
	a.menus[key] = m
	sound := a.sound(on.sounds)
	if len(on.sounds) > 1 || strings.Contains(strings.Join(on.sounds, ""), "&") {
		a.check(st.at, strings.Join(on.sounds, "&"), "several recordings are played here: make one of them, "+sound)
	}
	if sound != "" {
		m.set("play", quote(sound))
	}
	if wait != "" {
		m.set("wait", wait)
	}
	on.sounds = nil
	enter := func(number string, x *exten) callState {
		next := on
		next.number, next.at, next.prio, next.from = number, x, 1, x.at
		next.vars = next.vars.with("EXTEN", number)
		return next
	}
	a.keys(s, m, st, enter, depth)
	timeout := on // a menu that does not wait goes on by itself
	if x := a.find(s.context, "t"); x != nil && waits {
		timeout = enter("t", x)
	}
	t := a.onward(timeout, depth)
	retries := false
	if x := a.find(s.context, "i"); x != nil {
		next := enter("i", x)
		if first, ok := x.steps[1]; ok && strings.EqualFold(first.app, "Playback") {
			file, err := next.vars.expand(first.args, 0)
			if wrong := a.sound([]string{argument(arguments(file), 0)}); err == nil && !isOpen(file) && wrong != "" {
				m.set("wrong", quote(wrong))
				next.prio = 2
			}
		}
		if wrong := a.onward(next, depth); wrong != nil && wrong.node == m {
			retries = true
		} else if wrong.key() != t.key() {
			a.check(x.at, "exten => i", "who presses something wrong goes where those go who press nothing")
		}
	}
	if t != nil && t.node == m {
		t, retries = nil, true
	}
	if !retries {
		m.set("retries", "0")
	} else {
		a.check(st.at, st.String(), "callers come back to this menu without end; here they have three tries")
	}
	m.lead("otherwise", t)
	if !slices.ContainsFunc(m.ways, func(w *way) bool { return strings.HasPrefix(w.on, "key ") }) && !m.dials() {
		m.kind, m.attrs, m.ways = "music", nil, nil // nobody is asked for anything
		if sound != "" {
			m.set("play", quote(sound))
		}
		a.unmapped(st.at, st.String(), "no extension of its context can be pressed: it is played without end")
	}
	return to(m), nil, nil
}

func (n *node) dials() bool {
	return slices.ContainsFunc(n.attrs, func(a attr) bool { return a.name == "dial" })
}

// keys takes the extensions of a menu's context.
func (a *asterisk) keys(s callState, m *node, st step, enter func(string, *exten) callState, depth int) {
	for _, x := range a.everything(s.context) {
		number := x.pattern
		_, own := a.contexts[s.context].byName[number]
		switch {
		case isSpecial(number):
		case a.numbers[number] && !own, strings.HasPrefix(number, "_") && !own:
			m.set("dial", "true") // numbers of the house
		case strings.HasPrefix(number, "_"):
			if a.dialsHouse(s.context, x) {
				m.set("dial", "true")
			} else {
				a.unmapped(x.at, "exten => "+number, "a menu takes keys and the extensions of users and groups, not other numbers")
			}
		case strings.Trim(number, "0123456789*#") != "" || len(number) > 16 || len(m.ways) >= 90:
			a.unmapped(x.at, "exten => "+number, "this is no key that can be pressed in a menu")
		default:
			t := a.onward(enter(number, x), depth)
			if t == nil {
				t = to(a.hangup(x.at))
			}
			m.lead("key "+number, t)
		}
	}
}

// dialsHouse tells whether a pattern's numbers are those of the house.
func (a *asterisk) dialsHouse(context string, x *exten) bool {
	for _, number := range numbersOf(x.pattern[1:], 10*mostMatches) {
		if !a.numbers[number] {
			continue
		}
		t, err := a.run(a.begin(context, x, number), 0)
		if err == nil && t != nil && t.node != nil && (t.node.extension == number || t.node.name == number) {
			return true
		}
	}
	return false
}
