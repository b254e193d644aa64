package dialplan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"tandem/internal/hcltext"
)

// neverDraft is a never block: no call may come from one place to another.
type neverDraft struct {
	name     string
	rng      hcl.Range
	from, to []value // kinds of nodes (texts) and nodes
}

func (d *drafter) never(t *draft, b block) {
	for _, first := range t.nevers {
		if first.name == b.label {
			d.wrong(b.named, fmt.Sprintf("a never %q is already there", b.label), "the first is at "+at(first.rng))
			return
		}
	}
	n := &neverDraft{name: b.label, rng: b.named, from: d.places(t, b.attrs["from"]), to: d.places(t, b.attrs["to"])}
	if t.nevers = append(t.nevers, n); len(t.nevers) == mostNevers+1 {
		d.wrong(b.named, fmt.Sprintf("tenant %s has more than %d never blocks", t.name, mostNevers), "join some of them: from and to take lists")
	}
}

// places takes kinds of nodes, and nodes.
func (d *drafter) places(t *draft, v value) (all []value) {
	items := v.items
	if v.shape != shapeReferences && v.shape != 0 {
		items = []value{v}
	}
	for _, v := range items {
		switch {
		case v.shape == shapeReference:
			t.mentions = append(t.mentions, v)
			all = append(all, v)
		case v.shape == shapeText && contains(nodeKinds(), v.text):
			all = append(all, v)
		case v.shape == shapeText:
			d.wrong(v.rng, fmt.Sprintf("%q is not a kind of node%s", v.text, hcltext.DidYouMean(v.text, nodeKinds())), "choose from "+strings.Join(nodeKinds(), ", "))
		default:
			d.wrong(v.rng, "this is no place that calls come to", `write a kind of node in quotes, like "did", or a node, like ring.sales`)
		}
	}
	if v.shape != 0 && len(items) == 0 {
		d.wrong(v.rng, "this list names no place", `write a kind of node in quotes, like "did", or a node, like ring.sales`)
	}
	return all
}

// is tells whether the node is one of the places.
func (n *node) is(places []value) bool {
	for _, v := range places {
		if v.ref == n.ref || v.shape == shapeText && v.text == n.kind {
			return true
		}
	}
	return false
}

// hop is how a search came to a node: from which one, and where the plan says so.
type hop struct {
	from *node
	at   hcl.Range
	far  int
}

// checkNevers looks for a way that must not be, over whatever callers press and calendars say, and tells the shortest.
func (c checker) checkNevers() {
	for _, rule := range c.nevers {
		search := search{checker: c, rule: rule, came: map[*node]hop{}}
		for _, n := range c.nodes {
			if n.is(rule.from) {
				search.from(n, true)
			}
		}
		for i := 0; i < len(search.queue) && search.found == nil; i++ {
			search.from(search.queue[i], false)
		}
		if search.found != nil {
			search.report()
		}
	}
}

// search goes all ways at once, the shortest first.
type search struct {
	checker
	rule  *neverDraft
	came  map[*node]hop
	queue []*node
	found *node

	dialled bool // what callers of menus can dial is there
}

// from goes on from a node; first: a call begins there.
func (s *search) from(n *node, first bool) {
	ways := n.ways
	if n.trunk != nil && first && !n.lent { // what arrives at a trunk from outside is another thing than what leaves over it
		ways = n.trunk.arrives
	}
	for _, w := range ways {
		for _, l := range w.leaves {
			s.reach(n, l.node, l.rng)
		}
	}
	if n.kind == "menu" && n.dial && !s.dialled {
		s.dialled = true
		for _, to := range s.nodes {
			if to.isDialable() {
				s.reach(n, to, n.rng)
			}
		}
	}
	members := n.members
	if n.kind != "ring" { // a ring group stands for its members
		for _, m := range n.members {
			if group := s.byRef[m.ref]; group != nil && group.kind == "ring" {
				members = slices.Concat(members, group.members)
			}
		}
	}
	for _, m := range members { // they are rung here, and their own ways do not count
		if to := s.byRef[m.ref]; to != nil && to.kind == "user" && to.is(s.rule.to) && s.found == nil {
			s.came[to] = hop{n, m.rng, s.came[n].far + 1}
			s.found = to
		}
	}
}

// reach notes that calls come from a node to another one.
func (s *search) reach(n, to *node, at hcl.Range) {
	if _, seen := s.came[to]; seen || s.found != nil {
		return
	}
	s.came[to] = hop{n, at, s.came[n].far + 1}
	s.queue = append(s.queue, to)
	if to.is(s.rule.to) {
		s.found = to
	}
}

// isDialable tells whether callers of a menu can dial the node.
func (n *node) isDialable() bool {
	return n.extension.shape != 0 && (n.kind == "user" || n.kind == "ring") && strings.Trim(n.extension.text, "0123456789") == ""
}

// report tells the way that was found.
func (s *search) report() {
	path, places := []string{s.found.String()}, []string(nil)
	for n, step := s.found, s.came[s.found]; ; n, step = step.from, s.came[step.from] {
		path = append(path, step.from.String())
		places = append(places, fmt.Sprintf("%s sends calls to %s at %s", step.from.ref, n.ref, at(step.at)))
		if step.far == 1 {
			break
		}
	}
	slices.Reverse(path)
	slices.Reverse(places)
	s.wrong(s.rule.rng, fmt.Sprintf("what must never happen, %q, can: %s", s.rule.name, strings.Join(path, " -> ")), strings.Join(places, "; "))
}
