package dialplan

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"tandem/internal/hcltext"
)

// cause is why a call leaves a node for another one.
type cause uint8

const (
	onGo          cause = iota // always: nothing is done at the node itself
	onAlways                   // the user forwards every call
	onBusy                     // 486, 600, 603
	onNoAnswer                 // 408
	onUnreachable              // 480: no phone is registered, or it does not want
	onKey                      // a caller in a menu has pressed it
	onAnswer                   // an app has chosen it
	onVia                      // calls leave over a trunk
	onOther                    // anything that has no way of its own
)

func (c cause) String() string {
	switch c {
	case onGo:
		return "go"
	case onAlways:
		return "always"
	case onBusy:
		return "busy"
	case onNoAnswer:
		return "no_answer"
	case onUnreachable:
		return "unreachable"
	case onKey:
		return "key"
	case onAnswer:
		return "answer"
	case onVia:
		return "via"
	}
	return "otherwise"
}

// causeOf is the cause that a final SIP status is.
func causeOf(status int) cause {
	switch status {
	case 486, 600, 603:
		return onBusy
	case 408:
		return onNoAnswer
	case 480:
		return onUnreachable
	}
	return onOther
}

// way leads from one node to others.
type way struct {
	on     cause
	key    string // of onKey and onAnswer
	to     value
	leaves []*leaf // the nodes that to can come to
}

// leaf is one node that a way can come to.
type leaf struct {
	rng  hcl.Range
	node *node
	cut  bool // it closes a loop: reported, and ignored from then on
}

func (n *node) add(on cause, to value) {
	if to.shape != 0 {
		n.ways = append(n.ways, &way{on: on, to: to})
	}
}

// choice is `condition ? yes : no`.
type choice struct {
	when    condition
	yes, no value
}

// condition is open("office"), or such joined by !, && and ||.
type condition struct {
	op       conditionOp
	calendar value // of isOpen
	parts    []condition
}

type conditionOp uint8

const (
	isOpen conditionOp = iota
	isNot
	isBoth
	isEither
)

func (r *reader) readChoice(v value, e *hclsyntax.ConditionalExpr) (value, bool) {
	c := &choice{}
	var fine [3]bool
	c.when, fine[0] = r.readCondition(e.Condition)
	c.yes, fine[1] = r.readBranch(e.TrueResult)
	c.no, fine[2] = r.readBranch(e.FalseResult)
	v.shape, v.choice = shapeTarget, c
	return v, fine[0] && fine[1] && fine[2]
}

func (r *reader) readBranch(e hclsyntax.Expression) (value, bool) {
	v, ok := r.readValue(e)
	return v, ok && r.fits("each side of a choice", shapeTarget, v)
}

func (r *reader) readCondition(expr hclsyntax.Expression) (condition, bool) {
	switch e := expr.(type) {
	case *hclsyntax.ParenthesesExpr:
		return r.readCondition(e.Expression)
	case *hclsyntax.UnaryOpExpr:
		if e.Op == hclsyntax.OpLogicalNot {
			part, ok := r.readCondition(e.Val)
			return condition{op: isNot, parts: []condition{part}}, ok
		}
	case *hclsyntax.BinaryOpExpr:
		op := map[*hclsyntax.Operation]conditionOp{hclsyntax.OpLogicalAnd: isBoth, hclsyntax.OpLogicalOr: isEither}[e.Op]
		if op != 0 {
			left, fine := r.readCondition(e.LHS)
			right, ok := r.readCondition(e.RHS)
			return condition{op: op, parts: []condition{left, right}}, fine && ok
		}
	case *hclsyntax.FunctionCallExpr:
		return r.readOpen(e)
	}
	r.wrong(expr.Range(), "this is not a condition", `conditions are open("name of a calendar"), joined by !, && and ||`)
	return condition{}, false
}

func (r *reader) readOpen(e *hclsyntax.FunctionCallExpr) (condition, bool) {
	if e.Name != "open" {
		r.wrong(e.NameRange, fmt.Sprintf("there is no condition %q%s", e.Name, hcltext.DidYouMean(e.Name, []string{"open"})), `write open("name of a calendar")`)
		return condition{}, false
	}
	if len(e.Args) == 1 {
		if v, ok := r.readValue(e.Args[0]); !ok || v.shape == shapeText {
			return condition{op: isOpen, calendar: v}, ok
		}
	}
	r.wrong(e.Range(), "open() takes the name of one calendar", `write open("office")`)
	return condition{}, false
}

// eachLeaf visits the nodes that a target can come to.
func (v value) eachLeaf(visit func(value)) {
	if v.choice == nil {
		visit(v)
		return
	}
	v.choice.yes.eachLeaf(visit)
	v.choice.no.eachLeaf(visit)
}

// eachCalendar visits the calendars that a target asks.
func (v value) eachCalendar(visit func(value)) {
	if v.choice == nil {
		return
	}
	v.choice.when.eachCalendar(visit)
	v.choice.yes.eachCalendar(visit)
	v.choice.no.eachCalendar(visit)
}

func (c condition) eachCalendar(visit func(value)) {
	if c.op == isOpen {
		visit(c.calendar)
	}
	for _, part := range c.parts {
		part.eachCalendar(visit)
	}
}
