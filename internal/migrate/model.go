package migrate

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// node is a block of the plan that is made.
type node struct {
	kind, name string // name: unique among its kind once it is settled
	at         place
	what       string // what stands there, for the comment
	extension  string
	attrs      []attr
	members    []*node // ring, queue, page
	via        []*node // outbound, emergency: trunks
	match      []match // outbound
	open       string  // outbound: what may follow its beginnings, as a pattern
	allow      []string
	ways       []*way
	trunk      *trunk
	id         int
	used       bool
	hops       []hop // outbound that is being made
}

// attr is a line of a block, its value as the plan writes it.
type attr struct{ name, value string }

func (n *node) set(name, value string) { n.attrs = setAttr(n.attrs, name, value) }

// setAttr sets a line of a block, which is there once.
func setAttr(list []attr, name, value string) []attr {
	if i := slices.IndexFunc(list, func(a attr) bool { return a.name == name }); i >= 0 {
		list[i].value = value
		return list
	}
	return append(list, attr{name, value})
}

// way leads from a node to others: "go", "otherwise", "busy", "no_answer", "unreachable", "always", or "key 1".
type way struct {
	on string
	to *target
}

// attr is the value of a line as the plan writes it.
func (n *node) attr(name string) string {
	for _, a := range n.attrs {
		if a.name == name {
			return a.value
		}
	}
	return ""
}

func (n *node) lead(on string, to *target) {
	if to != nil {
		n.ways = append(n.ways, &way{on, to})
	}
}

func (n *node) way(names ...string) *target {
	for _, name := range names {
		for _, w := range n.ways {
			if w.on == name {
				return w.to
			}
		}
	}
	return nil
}

// target is where a call goes: a node, or a choice by the clock. A nil target is the end of the call.
type target struct {
	node    *node
	hours   *hours
	yes, no *target
}

func to(n *node) *target { return &target{node: n} }

func (t *target) key() string {
	switch {
	case t == nil:
		return "end"
	case t.node != nil:
		return fmt.Sprint(t.node.id)
	}
	return fmt.Sprintf("(%p %s %s)", t.hours, t.yes.key(), t.no.key())
}

// eachNode visits the nodes that a target can come to.
func (t *target) eachNode(visit func(*node)) {
	switch {
	case t == nil:
	case t.node != nil:
		visit(t.node)
	default:
		t.yes.eachNode(visit)
		t.no.eachNode(visit)
	}
}

// choose is the choice between two targets, or the one that both are.
func (m *maker) choose(at place, h *hours, yes, no *target) *target {
	if yes.key() == no.key() {
		return yes
	}
	if yes == nil {
		yes = to(m.hangup(at))
	}
	if no == nil {
		no = to(m.hangup(at))
	}
	return &target{hours: h, yes: yes, no: no}
}

// hangup is where calls are ended that a choice or a key leads nowhere.
func (m *maker) hangup(at place) *node {
	return m.make(&node{kind: "reject", name: "hangup", attrs: []attr{{"reason", quote("the call ends here")}}}, place{}, "")
}

// notImported is where calls go that come to something without counterpart. Each such place has its own, and says where it was.
func (m *maker) notImported(at place, what, why string) *target {
	m.unmapped(at, what, why)
	n := &node{kind: "reject", name: "not_imported", attrs: []attr{{"status", "503"}, {"reason", quote("not imported: " + at.String())}}}
	return to(m.make(n, at, what))
}

// make adds a node, or finds the one that says the same at the same place.
func (m *maker) make(n *node, at place, what string) *node {
	n.at, n.what = at, clip(what)
	key := n.key()
	if known := m.byKey[key]; known != nil {
		return known
	}
	return m.add(n, key)
}

func (m *maker) add(n *node, key string) *node {
	if len(m.nodes) >= mostNodes {
		m.full = true
		return m.nodes[0]
	}
	n.id = len(m.nodes)
	m.nodes = append(m.nodes, n)
	if key != "" {
		m.byKey[key] = n
	}
	return n
}

func (n *node) key() string {
	var b strings.Builder
	fmt.Fprint(&b, n.kind, "|", n.at, "|", n.attrs)
	if has([]string{"conference", "feature", "did", "number"}, n.kind) {
		fmt.Fprint(&b, "|", n.name)
	}
	for _, o := range n.members {
		fmt.Fprint(&b, "|m", o.id)
	}
	for _, h := range n.hops {
		fmt.Fprintf(&b, "|%d %q %d %q", h.trunk.id, h.prepend, h.skip, h.caller)
	}
	for _, w := range n.ways {
		fmt.Fprint(&b, "|", w.on, " ", w.to.key())
	}
	return b.String()
}

// trunk is what only a trunk's block says.
type trunk struct {
	rewrites map[string]string // how numbers begin that calls leave with, and what the trunk is sent instead
	from     []string
	user     string
	secret   string
	arrives  *target
}

// hop is one try of a call that leaves the house: over which trunk, and how the number that was dialled is written there.
type hop struct {
	trunk   *node
	prepend string
	skip    int // digits left out at the beginning
	caller  string
}

// match is how numbers begin that an outbound node is for.
type match struct {
	text    string // as plans write it
	from    string // the same without its *
	was     string // how they begin as people dial them
	example string // a number that it is for, as it is dialled; "" = none is known
	sent    string // what the first trunk is told to dial then
}

// start is where calls come in: what a user or the world dials.
type start struct {
	number string
	to     *target
	node   *node // that is in the way first: a did, a feature; nil = the target itself
	at     place
}

// hours are a calendar.
type hours struct {
	name  string
	at    place
	what  string
	weeks [7]bool // Sunday first
	from  int     // minute of the day
	to    int     // the first one behind it; not above from: over midnight
	all   bool    // the whole day
	dates []string
	used  bool
}

// open tells whether a time is within the hours, which is said again here so that tests do not only repeat what the plan says.
func (h *hours) open(t time.Time) bool {
	minute := t.Hour()*60 + t.Minute()
	on := func(t time.Time) bool {
		if len(h.dates) > 0 {
			return slices.Contains(h.dates, t.Format("01-02")) || slices.Contains(h.dates, t.Format("2006-01-02"))
		}
		return h.weeks[t.Weekday()]
	}
	switch {
	case h.all:
		return on(t)
	case h.from < h.to:
		return on(t) && minute >= h.from && minute < h.to
	case minute >= h.from:
		return on(t)
	}
	return minute < h.to && on(t.AddDate(0, 0, -1))
}

// entries are the hours as a plan writes them.
func (h *hours) entries() (all []string) {
	clock := ""
	if !h.all {
		clock = fmt.Sprintf("%02d:%02d-%02d:%02d", h.from/60, h.from%60, h.to/60, h.to%60)
	}
	if len(h.dates) > 0 {
		for _, d := range h.dates {
			all = append(all, strings.TrimSpace(d+" "+clock))
		}
		return all
	}
	names := [...]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
	var days []string
	for i := 1; i <= 7; {
		if !h.weeks[i%7] {
			i++
			continue
		}
		last := i
		for last < 7 && h.weeks[(last+1)%7] {
			last++
		}
		if last > i {
			days = append(days, names[i%7]+"-"+names[last%7])
		} else {
			days = append(days, names[i%7])
		}
		i = last + 1
	}
	if len(days) == 1 && days[0] == "mon-sun" && clock != "" {
		return []string{clock}
	}
	return []string{strings.TrimSpace(strings.Join(days, ",") + " " + clock)}
}

// calendar adds hours, or finds those that are the same.
func (m *maker) calendar(h *hours) *hours {
	for _, known := range m.hours {
		if slices.Equal(known.entries(), h.entries()) {
			return known
		}
	}
	m.hours = append(m.hours, h)
	h.name = "hours"
	if n := len(m.hours); n > 1 {
		h.name = fmt.Sprintf("hours_%d", n)
	}
	return h
}

// name makes a name of a plan of any text.
func name(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 128 && (r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("._+*#-", r)) {
			return r
		}
		return '_'
	}, strings.TrimSpace(s))
	if len(s) > 48 {
		s = s[:48]
	}
	return s
}

// isName is the rule for names and extensions in plans.
func isName(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(nameLetters, r) })
}

const nameLetters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._+*#-"
