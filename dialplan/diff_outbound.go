package dialplan

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// leaving is how calls leave the house at a node, in words that can be compared.
type leaving struct {
	Via          []string
	Cheapest     bool
	Next         []int
	NoReply      time.Duration
	Timeout      time.Duration
	Caller       string
	CallerPolicy callerID
	Limits       []string
	Dials        string
	Allow        string
	AllowedUsers []string
	Location     string
	Notify       []string
}

func (t *tenant) leaving(v *vertex) (l leaving) {
	l.Dials = v.dials
	if e := v.entrance; e != nil {
		l.Allow = e.words
		for _, u := range t.public.Users {
			if common(e.groups, u.Groups) {
				l.AllowedUsers = append(l.AllowedUsers, u.Name)
			}
		}
	}
	d := v.departs
	if d == nil {
		return l
	}
	l.Cheapest, l.Next, l.NoReply, l.Timeout, l.Caller, l.CallerPolicy = d.cheapest, d.next, d.noReply, d.timeout, d.caller, d.callerID
	for _, via := range d.via {
		l.Via = append(l.Via, t.nameOf(via.to))
	}
	for _, limit := range d.limits {
		l.Limits = append(l.Limits, limit.words())
	}
	if e := d.emergency; e != nil {
		l.Location, l.Notify = e.Location, e.Notify
	}
	return l
}

// carrier is a trunk, in words that can be compared.
type carrier struct {
	Trunk
	In, Out      rewriting
	Caller       string
	CallerPolicy callerID
}

// trunks compares the carriers that both plans know, wherever their calls come from.
func (d *differ) trunks() {
	all := maps.Clone(d.was.lines)
	if all == nil {
		all = map[string]*line{}
	}
	maps.Copy(all, d.is.lines)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		was, is := d.was.lines[name], d.is.lines[name]
		switch {
		case was == nil:
			d.say(is.trunk.At, nil, "trunk.%s is new", name)
			continue
		case is == nil:
			d.say(was.trunk.At, nil, "trunk.%s is gone", name)
			continue
		}
		of := func(l *line) carrier { return carrier{*l.trunk, l.in, l.out, l.caller, l.callerID} }
		c := changes(of(was), of(is), "Trunk")
		if t := changes(*was.trunk, *is.trunk, "At", "Tenant", "Name"); t != "" {
			c = strings.Trim(t+", "+c, ", ")
		}
		if c != "" {
			d.say(is.trunk.At, nil, "trunk.%s: %s", name, c)
		}
		if !reflect.DeepEqual(was.rates.nodes, is.rates.nodes) {
			d.say(is.trunk.At, nil, "trunk.%s: its costs are others", name)
		}
		d.way(is.trunk.At, nil, "trunk."+name+": calls from it to numbers that nobody has", was.arrives, is.arrives)
	}
}

// patterns compares who carries which numbers outside.
func (d *differ) patterns() {
	was, is := d.was.owners(), d.is.owners()
	all := maps.Clone(was)
	maps.Copy(all, is)
	for _, p := range slices.Sorted(maps.Keys(all)) {
		before, after := d.was.carries(was, p), d.is.carries(is, p)
		if before != after {
			d.say(all[p].at, []string{p}, "calls to %s %s instead of %s", p, goTo(after), goneTo(before))
		}
	}
}

func (t *tenant) owners() map[string]*owned {
	all := make(map[string]*owned, len(t.matches))
	for i := range t.matches {
		all[t.matches[i].pattern] = &t.matches[i]
	}
	return all
}

// carries names the node that carries the numbers of a pattern of one of two plans: the one that says so, or the one with the longest prefix
// that is shorter.
func (t *tenant) carries(owners map[string]*owned, pattern string) string {
	if o := owners[pattern]; o != nil {
		return t.nameOf(o.to)
	}
	digits, abroad := strings.CutPrefix(strings.TrimSuffix(pattern, "*"), "+")
	tree := &t.local
	if abroad {
		tree = &t.abroad
	}
	if i := tree.longest([]byte(digits)); i >= 0 {
		return t.nameOf(t.matches[i].to)
	}
	return ""
}
