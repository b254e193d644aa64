package dialplan

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
)

const mostLimits = 100 // of a tenant

// limitDraft is a limits block.
type limitDraft struct {
	Limit
	rng    hcl.Range
	groups []string
	to     []value
}

// limits takes what callers may do at most.
func (d *drafter) limits(t *draft, b block) {
	if !isNodeName(b.label) {
		d.wrong(b.named, fmt.Sprintf("%q cannot be the name of limits", b.label), "use 1 to 64 letters, digits or one of . _ + * # -")
		return
	}
	for _, first := range t.limits {
		if first.Name == b.label {
			d.wrong(b.named, fmt.Sprintf("limits %q are already there", b.label), "the first are at "+at(first.rng)+"; give these another name")
			return
		}
	}
	l := &limitDraft{rng: b.named, groups: d.groups(b.attrs["groups"])}
	l.Limit = Limit{Tenant: t.name, Name: b.label, Each: b.attrs["each"].flag, At: position(b.named)}
	for _, count := range []struct {
		name string
		most int64
		into *int
	}{{"calls", mostAtATime, &l.Calls}, {"minutes", mostMinutes, &l.Minutes}} {
		v, set := b.attrs[count.name]
		if !set {
			continue
		}
		if v.number < 1 || v.number > count.most {
			d.wrong(v.rng, fmt.Sprintf("%d is out of range", v.number), fmt.Sprintf("%s takes 1 to %d", count.name, count.most))
		}
		*count.into = int(v.number)
	}
	if v, set := b.attrs["money"]; set {
		var ok bool
		if l.Money, ok = money(v.text, mostMoney); !ok || l.Money == 0 {
			d.wrong(v.rng, fmt.Sprintf("%q is not an amount of money", v.text), `write it with a point and without a currency, like "20.00"`)
		}
	}
	if b.attrs["calls"].shape == 0 && b.attrs["minutes"].shape == 0 && b.attrs["money"].shape == 0 && !b.broken {
		d.wrong(b.named, fmt.Sprintf("limits %q limit nothing", b.label), "add calls (at a time), minutes or money (a day)")
	}
	for _, v := range b.attrs["to"].items {
		if v.ref.kind != "outbound" {
			d.wrong(v.rng, fmt.Sprintf("%s is not an outbound node", v.ref), "limits are about calls that leave the house")
			continue
		}
		l.to = append(l.to, v)
		t.mentions = append(t.mentions, v)
	}
	if t.limits = append(t.limits, l); len(t.limits) == mostLimits+1 {
		d.wrong(b.named, fmt.Sprintf("tenant %s has more than %d limits", t.name, mostLimits), "join some of them")
	}
}

// checkLimits finds groups that nobody is in, and money that is counted by nothing.
func (c checker) checkLimits() {
	for _, l := range c.limits {
		for _, v := range l.to {
			if to := c.byRef[v.ref]; to != nil && l.Money > 0 {
				c.needPrices(l, to)
			}
		}
		for _, n := range c.nodes {
			if len(l.to) == 0 && l.Money > 0 && n.kind == "outbound" {
				c.needPrices(l, n)
			}
		}
	}
	members := map[string]bool{}
	for _, n := range c.nodes {
		for _, group := range n.groups {
			members[group] = true
		}
	}
	for _, n := range c.nodes {
		if n.out != nil {
			c.findEmptyGroups(n.String(), n.out.allowing, members)
		}
	}
}

func (c checker) needPrices(l *limitDraft, n *node) {
	for _, v := range n.via() {
		if to := c.byRef[v.ref]; to != nil && to.trunk != nil && to.trunk.rates == nil {
			c.wrong(l.rng, fmt.Sprintf("limits %q count money, and %s of %s has no rates", l.Name, to.ref, n.ref), fmt.Sprintf(`add rates to %s, or say which calls count: to = [...]`, to.ref))
			return
		}
	}
}

func (c checker) findEmptyGroups(who string, list value, members map[string]bool) {
	for _, v := range list.items {
		if !members[v.text] {
			c.warn(v.rng, fmt.Sprintf("nobody is in group %q", v.text), fmt.Sprintf("%s lets nobody in by it: add it to the groups of users", who))
		}
	}
}

// limiter tells which limits count for whom: users who are in the same groups of limits are of one class.
type limiter struct {
	class  []int32 // of users, by their index
	limits []*limitDraft
	counts [][]bool // of each class: which of limits count
}

// newLimiter sorts users into classes; class 0 is of callers who are no users of the plan.
func newLimiter(limits []*limitDraft, users []User) *limiter {
	l := &limiter{class: make([]int32, len(users)), limits: limits, counts: [][]bool{make([]bool, len(limits))}}
	for i, limit := range limits {
		l.counts[0][i] = len(limit.groups) == 0
	}
	for i, u := range users {
		counts := make([]bool, len(limits))
		for j, limit := range limits {
			counts[j] = len(limit.groups) == 0 || slices.ContainsFunc(limit.groups, func(g string) bool { return contains(u.Groups, g) })
		}
		class := slices.IndexFunc(l.counts, func(c []bool) bool { return slices.Equal(c, counts) })
		if class < 0 {
			class = len(l.counts)
			l.counts = append(l.counts, counts)
		}
		l.class[i] = int32(class)
	}
	return l
}

// of lists the limits of calls by an outbound node, for each class.
func (l *limiter) of(n *node) [][]*Limit {
	if len(l.limits) == 0 {
		return nil
	}
	all := make([][]*Limit, len(l.counts))
	for class, counts := range l.counts {
		for i, limit := range l.limits {
			if counts[i] && (len(limit.to) == 0 || slices.ContainsFunc(limit.to, func(v value) bool { return v.ref == n.ref })) {
				all[class] = append(all[class], &limit.Limit)
			}
		}
	}
	return all
}
