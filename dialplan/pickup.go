package dialplan

import (
	"fmt"
	"slices"
)

// pickupRule is the block of a code by which users answer calls that ring at others.
func pickupRule(otherwise *blockRule) *blockRule {
	return &blockRule{
		labels: 1, example: `pickup "calls" { extension = "*8" }`, required: []string{"extension"},
		attrs:  map[string]attrRule{"extension": {shape: shapeText}, "allow": {shape: shapeTexts}},
		blocks: map[string]*blockRule{"otherwise": otherwise},
	}
}

// pickup takes a node by which a user answers a call that rings at somebody else.
func (d *drafter) pickup(n *node, b block) {
	n.pickers = b.attrs["allow"]
	n.picks = d.groups(n.pickers)
	d.otherwise(n, b)
}

// A pickupCode is what picks up the calls of one user: the node's code with the extension behind it.
type pickupCode struct {
	number string
	user   *node
}

// pickupCodes are those of a node.
func (t *draft) pickupCodes(n *node) (all []pickupCode) {
	if n.kind != "pickup" || n.extension.shape == 0 {
		return nil
	}
	for _, u := range t.nodes {
		if u.kind == "user" && u.extension.shape != 0 {
			all = append(all, pickupCode{n.extension.text + u.extension.text, u})
		}
	}
	return all
}

// checkPickups finds numbers that would pick up the calls of somebody and belong to something else.
func (c checker) checkPickups() {
	codes := map[string]*node{}
	for _, n := range c.nodes {
		for _, code := range c.pickupCodes(n) {
			other := c.byNumber[code.number]
			if other == nil {
				other = codes[code.number]
			}
			if codes[code.number] = n; other == nil || other.extension.text == n.extension.text { // that two have one code is said elsewhere
				continue
			}
			c.wrong(n.extension.rng, fmt.Sprintf("%q would pick up calls of %s, and is already a number of %s", code.number, code.user.ref, other.ref), "it stands at "+at(other.rng)+"; choose another code")
			break // more of the same kind would say no more
		}
	}
}

// picking says what a pickup does.
func (s Step) picking() string {
	words := s.Node + " answers a call that rings at somebody else: at whoever is in a ring group or a group with the caller"
	if len(s.Groups) > 0 {
		words += ", for users of " + list(s.Groups) + " at anybody"
	}
	return words
}

// MayPickUp tells whether a user may answer a call that rings at another by a StepPickup: both are members of one ring group or of one group, or he
// is in a group to which the step allows all calls. Any goroutine.
func (p *Plan) MayPickUp(tenantName, user, other string, step *Step) bool {
	t := p.tenant(tenantName)
	if t == nil {
		return false
	}
	i, known := t.users[user]
	if !known {
		return false
	}
	groups := t.public.Users[i].Groups
	if common(step.Groups, groups) {
		return true
	}
	j, known := t.users[other]
	return known && (common(groups, t.public.Users[j].Groups) || common(t.rungWith[user], t.rungWith[other]))
}

// Pickup is the first code by which users of a tenant answer the calls of others; false when there is none. Any goroutine.
func (p *Plan) Pickup(tenantName string) (Step, bool) {
	if t := p.tenant(tenantName); t != nil {
		for i := range t.vertices {
			if t.vertices[i].step.Kind == StepPickup {
				return t.vertices[i].step, true
			}
		}
	}
	return Step{}, false
}

// ringGroupsOf are the ring groups that users are members of, by the names of both.
func ringGroupsOf(d *draft) map[string][]string {
	if !slices.ContainsFunc(d.nodes, func(n *node) bool { return n.kind == "pickup" }) {
		return nil
	}
	of := map[string][]string{}
	for _, n := range d.nodes {
		if n.kind == "ring" {
			for _, m := range n.members {
				of[m.ref.name] = append(of[m.ref.name], n.name)
			}
		}
	}
	return of
}
