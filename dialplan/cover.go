package dialplan

import (
	"cmp"
	"fmt"
	"slices"
)

// Coverage is how much of a plan its tests go through.
type Coverage struct {
	Nodes, NodesReached int         // all nodes, and those that a test's call goes to
	Ways, WaysTaken     int         // ways from node to node, each side of a choice by itself, and those that a test's call takes
	Missed              []Uncovered // in the order of tenants and their sources
}

// Uncovered is a node or a way that no test goes to.
type Uncovered struct {
	At   Position
	Text string
}

// Coverage says what the tests of the plan go through.
func (p *Plan) Coverage() Coverage {
	var c Coverage
	if p == nil {
		return c
	}
	for i := range p.tenants {
		c.add(&p.tenants[i], p.covered)
	}
	return c
}

func (c *Coverage) add(t *tenant, done *coverage) {
	first := len(c.Missed)
	miss := func(at Position, text string) { c.Missed = append(c.Missed, Uncovered{at, text}) }
	for i := range t.vertices {
		v := &t.vertices[i]
		c.Nodes++
		if done.nodes[v] {
			c.NodesReached++
		} else {
			miss(v.at, "no test reaches "+v.name)
		}
		for j := range v.exits {
			e := &v.exits[j]
			c.Ways++
			if done.exits[e] {
				c.WaysTaken++
			} else if done.nodes[v] {
				miss(e.at, fmt.Sprintf("no test takes %s of %s", e.words(), v.name))
			}
			t.eachDecision(e.to, func(d *decision) {
				for _, open := range []bool{true, false} {
					c.Ways++
					if done.choices[choiceTaken{d, open}] {
						c.WaysTaken++
					} else if done.exits[e] {
						miss(e.at, fmt.Sprintf("no test takes %s of %s while calendar %s is %s", e.words(), v.name, t.calendars[d.calendar].name, openWord(open)))
					}
				}
			})
		}
	}
	slices.SortStableFunc(c.Missed[first:], func(a, b Uncovered) int {
		return cmp.Or(cmp.Compare(a.At.File, b.At.File), cmp.Compare(a.At.Line, b.At.Line), cmp.Compare(a.At.Col, b.At.Col))
	})
}

// eachDecision visits the decisions behind a target.
func (t *tenant) eachDecision(to target, visit func(*decision)) {
	if to < nowhere {
		d := &t.decisions[to.decision()]
		visit(d)
		t.eachDecision(d.yes, visit)
		t.eachDecision(d.no, visit)
	}
}

// words names a way as the plan writes it.
func (e *exit) words() string {
	if e.key != "" {
		return e.on.String() + " " + e.key
	}
	return e.on.String()
}

func openWord(open bool) string {
	if open {
		return "open"
	}
	return "closed"
}

// coverage is what calls of tests have been through.
type coverage struct {
	nodes   map[*vertex]bool
	exits   map[*exit]bool
	choices map[choiceTaken]bool
}

type choiceTaken struct {
	decision *decision
	open     bool
}

func newCoverage() *coverage {
	return &coverage{map[*vertex]bool{}, map[*exit]bool{}, map[choiceTaken]bool{}}
}

func (c *coverage) reached(v *vertex) {
	if c != nil {
		c.nodes[v] = true
	}
}

func (c *coverage) took(e *exit) {
	if c != nil {
		c.exits[e] = true
	}
}

func (c *coverage) chose(d *decision, open bool) {
	if c != nil {
		c.choices[choiceTaken{d, open}] = true
	}
}
