package migrate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// somebody is a number outside that calls come from in tests: one that is kept for fiction.
const somebody = "+447700900456"

// The tests that come with a plan are made from what the old files say, by a short walk of their own; the plan's evaluator has to come to the
// same.

// proof is a call as it should go.
type proof struct {
	at          place
	to, dialled string
	from        string // a node, or a number in quotes
	keys        []string
	given       string
	path        []string
	when        map[*hours]bool
}

// prove makes the tests.
func (m *maker) prove() {
	m.rewrite()
	for _, s := range m.starts {
		var path []string
		from := quote(somebody)
		number := s.number
		if s.node == nil || s.node.kind != "did" {
			from = m.callerFor(s)
			if s.node != nil {
				path = []string{s.node.ref()}
			}
		}
		if from == "" {
			continue
		}
		m.proveWays(proof{at: s.at, to: number, from: from, path: path, when: map[*hours]bool{}}, s.to)
	}
	for _, n := range m.nodes {
		if n.kind == "outbound" && n.used {
			m.proveOutbound(n)
		}
	}
}

// callerFor is a user who may dial a number: not the one whom it rings, when there is another.
func (m *maker) callerFor(s start) string {
	var first *node
	for _, n := range m.nodes {
		if n.kind != "user" {
			continue
		}
		if first = n; s.to == nil || s.to.node != n {
			break
		}
	}
	if first == nil {
		return ""
	}
	return first.ref()
}

// proveWays makes the tests of where a call goes, by each side of its choices.
func (m *maker) proveWays(p proof, t *target) {
	m.eachEnd(p, t, 8, func(p proof, n *node) {
		m.proof(p)
		for _, w := range n.ways {
			if key, is := strings.CutPrefix(w.on, "key "); is && (n.kind == "menu" || n.kind == "queue") && len(p.keys) < 1 {
				pressed := p
				pressed.keys = []string{key}
				m.eachEnd(pressed, w.to, 2, func(p proof, _ *node) { m.proof(p) })
			}
		}
		other := n.way("no_answer", "otherwise")
		if other == nil || !has([]string{"user", "ring", "conference", "menu", "queue"}, n.kind) || n.way("always") != nil {
			return
		}
		failed := p
		failed.given = fmt.Sprintf("{ %s = 408 }", quote(n.kind+"."+n.name))
		m.eachEnd(failed, other, 2, func(p proof, _ *node) { m.proof(p) })
	})
}

// eachEnd goes on to the nodes where something is done.
func (m *maker) eachEnd(p proof, t *target, most int, visit func(proof, *node)) {
	var walk func(p proof, t *target)
	walk = func(p proof, t *target) {
		if most <= 0 || t == nil || len(m.proofs) >= mostTests {
			return
		}
		if t.node == nil {
			for _, side := range []bool{true, false} {
				if known, is := p.when[t.hours]; is && known != side {
					continue
				}
				q := p
				q.when = maps.Clone(p.when)
				q.when[t.hours] = side
				if side {
					walk(q, t.yes)
				} else {
					walk(q, t.no)
				}
			}
			return
		}
		n := t.node
		p.path = append(slices.Clone(p.path), n.ref())
		switch {
		case n.kind == "did", n.kind == "feature", n.kind == "outbound" && len(n.via) == 0:
			walk(p, n.way("go"))
			return
		case n.kind == "number":
			for _, o := range m.nodes {
				for _, f := range o.match {
					if quote(f.text) == n.attr("dial") {
						p.path = append(p.path, o.ref(), o.via[0].ref())
					}
				}
			}
		case n.kind == "emergency" || n.kind == "outbound":
			p.path = append(p.path, n.via[0].ref())
		}
		most--
		visit(p, n)
	}
	walk(p, t)
}

// proveOutbound tests one number of each node that calls leave the house by.
func (m *maker) proveOutbound(n *node) {
	from := ""
	for _, u := range m.nodes {
		if u.kind == "user" && (len(n.allow) == 0 || slices.ContainsFunc(u.attrs, func(a attr) bool {
			return a.name == "groups" && slices.ContainsFunc(n.allow, func(g string) bool { return strings.Contains(a.value, quote(g)) })
		})) {
			from = u.ref()
			break
		}
	}
	for _, f := range n.match {
		if from == "" || !m.isOnly(n, f) {
			continue
		}
		p := proof{at: n.at, to: f.example, from: from, path: []string{n.ref()}, when: map[*hours]bool{}}
		if len(n.via) == 0 {
			m.proveWays(p, n.way("go"))
			return
		}
		if p.dialled = f.sent; m.sent[n.via[0]] == nil {
			p.dialled = ""
		}
		p.path = append(p.path, n.via[0].ref())
		m.proof(p)
		return
	}
}

// isOnly tells whether an example is a number of just this beginning.
func (m *maker) isOnly(n *node, f match) bool {
	if f.example == "" || slices.ContainsFunc(m.nodes, func(o *node) bool {
		return o.used && (o.extension == f.example || o.kind == "user" && o.name == f.example || o.kind == "did" && o.name == m.e164(f.example) ||
			o.kind == "emergency" && slices.ContainsFunc(o.attrs, func(a attr) bool { return a.name == "numbers" && strings.Contains(a.value, `"`+f.example+`"`) }))
	}) {
		return false
	}
	full := m.e164(f.example)
	longest := func(plus bool) (best string) {
		for text, owner := range m.owners {
			digits, starred := strings.CutSuffix(text, "*")
			number := f.example
			if strings.HasPrefix(text, "+") {
				number = full
			}
			if !owner.used || strings.HasPrefix(text, "+") != plus || number == "" || starred && !strings.HasPrefix(number, digits) || !starred && number != digits {
				continue
			}
			if len(text) > len(best) {
				best = text
			}
		}
		return best
	}
	best := longest(false)
	if best == "" {
		best = longest(true)
	}
	return best == f.text
}

// proof writes a test, unless there is no time at which it could be.
func (m *maker) proof(p proof) {
	at, when := "", ""
	if len(p.when) > 0 {
		t, ok := m.whenever(p.when)
		if !ok {
			return
		}
		when = t.Format("2006-01-02 15:04")
		at = fmt.Sprintf("at = %s\n", quote(when))
	}
	title := fmt.Sprintf("%s: %s calls %s", p.at, strings.Trim(p.from, `"`), p.to)
	if when != "" {
		title += " at " + when
	}
	if len(p.keys) > 0 {
		title += ", pressing " + strings.Join(p.keys, " ")
	}
	if p.given != "" {
		title += ", nobody answers"
	}
	name := clip(title)
	for i := 2; m.proved[name]; i++ {
		name = fmt.Sprintf("%s (%d)", clip(title), i)
	}
	m.proved[name] = true
	var b strings.Builder
	fmt.Fprintf(&b, "\ntest %s {\n%scall = { from = %s, to = %s }\n", quote(name), at, p.from, quote(p.to))
	if p.given != "" {
		fmt.Fprintf(&b, "given = %s\n", p.given)
	}
	if len(p.keys) > 0 {
		fmt.Fprintf(&b, "keys = %s\n", quotes(p.keys))
	}
	fmt.Fprintf(&b, "expect = [%s]\n", strings.Join(p.path, ", "))
	if p.dialled != "" {
		fmt.Fprintf(&b, "dialled = %s\n", quote(p.dialled))
	}
	b.WriteString("}\n")
	m.proofs = append(m.proofs, b.String())
}

// whenever finds a time at which calendars are open and closed as asked. What they are changes at the ends of their hours only.
func (m *maker) whenever(when map[*hours]bool) (time.Time, bool) {
	key := ""
	minutes := []int{0}
	for _, h := range m.hours {
		if open, asked := when[h]; asked {
			key += fmt.Sprint(h.name, open, " ")
			minutes = append(minutes, h.from, h.to)
		}
	}
	if known, is := m.times[key]; is {
		return known, !known.IsZero()
	}
	m.times[key] = time.Time{}
	for i := range 370 {
		for _, minute := range minutes {
			t := time.Date(2026, 11, 23+i, minute/60, minute%60, 0, 0, time.UTC)
			fits := true
			for h, open := range when {
				fits = fits && h.open(t) == open
			}
			if fits {
				m.times[key] = t
				return t, true
			}
		}
	}
	return time.Time{}, false
}
