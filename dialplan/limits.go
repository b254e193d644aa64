package dialplan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// mostLimits bounds limits of a tenant, mostNevers its never blocks: each search goes through the whole plan.
const (
	mostLimits = 100
	mostNevers = 100
)

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

// checkLimits finds money that is counted by nothing, and tells limits whose days they count.
func (c checker) checkLimits() {
	for _, l := range c.limits {
		l.Zone = c.zone // which may stand behind the limits
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
}

// findEmptyGroups warns of groups that let somebody in and that nobody is in.
func (c checker) findEmptyGroups() {
	members := map[string]bool{}
	for _, n := range c.nodes {
		for _, group := range n.groups {
			members[group] = true
		}
	}
	for _, n := range c.nodes {
		allowing := n.pickers
		if n.out != nil {
			allowing = n.out.allowing
		}
		for _, v := range allowing.items {
			if !members[v.text] {
				c.warn(v.rng, fmt.Sprintf("nobody is in group %q", v.text), fmt.Sprintf("%s lets nobody in by it: add it to the groups of users", n.ref))
			}
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

// limitsOf lists the limits that calls by a node count for.
func (d *draft) limitsOf(n *node) (all []*limitDraft) {
	for _, l := range d.limits {
		if len(l.to) == 0 || slices.ContainsFunc(l.to, func(v value) bool { return v.ref == n.ref }) {
			all = append(all, l)
		}
	}
	return all
}

// words says what the limit is.
func (l *Limit) words() string {
	var parts []string
	if l.Calls > 0 {
		parts = append(parts, fmt.Sprintf("%d calls at a time", l.Calls))
	}
	if l.Minutes > 0 {
		parts = append(parts, fmt.Sprintf("%d minutes a day", l.Minutes))
	}
	if l.Money > 0 {
		parts = append(parts, amount(l.Money)+" a day")
	}
	if l.Each {
		parts = append(parts, "for each user")
	}
	return strings.Join(parts, ", ")
}

// words says what the limit of a plan is; of two plans it may be the day alone that differs.
func (l *limitDraft) words() string {
	words := l.Limit.words()
	if l.daily() {
		words += " by the clock of " + l.Zone.String()
	}
	if len(l.groups) > 0 {
		words += ", of " + list(l.groups)
	}
	return l.Name + " (" + words + ")"
}

// daily tells whether the limit counts by days.
func (l *Limit) daily() bool { return l.Minutes > 0 || l.Money > 0 }

// within says of a call which limit it counts for.
func (l *Limit) within() string {
	if l.daily() {
		return "within limits." + l.Name + " (" + l.words() + " by the clock of " + l.Zone.String() + ")"
	}
	return "within limits." + l.Name + " (" + l.words() + ")"
}

// Day is that of a moment, and when it began: most have 24 hours, two a year 23 and 25 where clocks are changed.
func (l *Limit) Day(now time.Time) (name string, began time.Time) {
	now = now.In(l.Zone)
	name = now.Format(time.DateOnly)
	year, month, day := now.Date()
	began = time.Date(year, month, day, 0, 0, 0, 0, l.Zone)
	switch from, to := began.ZoneBounds(); {
	case began.Format(time.DateOnly) != name: // there is no midnight: clocks go from 23:59 to 1:00
		began = to
	case !from.IsZero(): // there may be two
		_, after := began.Zone()
		_, before := from.Add(-1).Zone()
		if first := began.Add(time.Duration(after-before) * time.Second); first.Before(from) && first.Before(began) && first.Format(time.DateOnly) == name {
			began = first
		}
	}
	return name, began
}

// counts tells whether the limit counts for a caller in these groups.
func (l *limitDraft) counts(groups []string) bool {
	return len(l.groups) == 0 || common(l.groups, groups)
}

// common tells whether two lists have a word in common.
func common(a, b []string) bool {
	return slices.ContainsFunc(a, func(word string) bool { return contains(b, word) })
}

// limit gives a departure its limits.
func (d *departure) limit(limits []*limitDraft) {
	d.limits = limits
	for _, l := range limits {
		d.everyLimit = append(d.everyLimit, &l.Limit)
	}
}

// limitsFor are the limits of a departure that count for a caller in these groups.
func (d *departure) limitsFor(groups []string) (all []*Limit) {
	applying := 0
	for _, l := range d.limits {
		if l.counts(groups) {
			applying++
		}
	}
	if applying == len(d.limits) {
		return d.everyLimit
	}
	all = make([]*Limit, 0, applying)
	for _, l := range d.limits {
		if l.counts(groups) {
			all = append(all, &l.Limit)
		}
	}
	return all
}
