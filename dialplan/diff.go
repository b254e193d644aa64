package dialplan

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"tandem/internal/hcltext"
)

// Difference is one thing that calls meet by one plan and not by the other.
type Difference struct {
	Tenant  string
	At      Position // where the later plan says so; for what is gone, where the former one did
	Text    string   // for people: "calls to 300 go to ring.sales instead of user.bob, mon-fri 17:00-17:30"
	Numbers []string // the dialled numbers whose calls can come here by either plan, sorted; nil: the difference is not about calls
}

// Diff says in which way calls go differently by the later of two plans: what can be dialled, where it leads and when, what happens there. What
// is only written differently is no difference. Choices by the clock are compared over the year that begins at from. Differences come in the
// order of tenants, and there of settings, users, numbers, trunks, numbers outside, and nodes. Either plan may be nil.
func Diff(before, after *Plan, from time.Time) []Difference {
	var all []Difference
	names := map[string]bool{}
	for _, p := range []*Plan{before, after} {
		for _, t := range p.Tenants() {
			names[t.Name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		was, is := before.tenant(name), after.tenant(name)
		switch {
		case was == nil:
			all = append(all, Difference{Tenant: name, At: is.public.At, Text: fmt.Sprintf("tenant %s is new, with %d numbers", name, len(is.numbers))})
		case is == nil:
			all = append(all, Difference{Tenant: name, At: was.public.At, Text: fmt.Sprintf("tenant %s is gone, with its %d numbers", name, len(was.numbers))})
		default:
			d := &differ{was: was, is: is, from: from, choices: map[[2]target][]choiceDiffers{}}
			d.settings()
			d.users()
			d.numbers()
			d.trunks()
			d.patterns()
			d.nodes()
			all = append(all, d.found...)
		}
	}
	return all
}

// maxDifferences bounds what is said of one tenant.
const maxDifferences = 1000

// differ compares one tenant.
type differ struct {
	was, is *tenant
	from    time.Time
	found   []Difference
	choices map[[2]target][]choiceDiffers
	ways    [2][][]target // of was and is: for each vertex those that lead to it at once
}

func (d *differ) say(at Position, numbers []string, format string, args ...any) {
	switch len(d.found) {
	case maxDifferences:
		at, numbers, format, args = Position{}, nil, "there are more differences than these %d", []any{maxDifferences}
	case maxDifferences + 1:
		return
	}
	d.found = append(d.found, Difference{Tenant: d.is.public.Name, At: at, Text: fmt.Sprintf(format, args...), Numbers: numbers})
}

func (d *differ) settings() {
	was, is := d.was.public, d.is.public
	was.Domains, is.Domains = slices.Sorted(slices.Values(was.Domains)), slices.Sorted(slices.Values(is.Domains))
	if c := changes(was, is, "Name", "Users", "Services", "Nodes", "Tests", "At"); c != "" {
		d.say(is.At, nil, "tenant %s: %s", is.Name, c)
	}
}

func (d *differ) users() {
	was := map[string]User{}
	for _, u := range d.was.public.Users {
		was[u.Name] = u
	}
	for _, u := range d.is.public.Users {
		o, there := was[u.Name]
		if delete(was, u.Name); !there {
			d.say(u.At, nil, "user.%s is named by the plan now", u.Name)
			continue
		}
		if c := changes(o, u, "Name", "At"); c != "" {
			d.say(u.At, nil, "user.%s: %s", u.Name, c)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		d.say(was[name].At, nil, "user.%s is named by the plan no more; its account, if there is one, remains", name)
	}
}

// numbers compares what can be dialled and where that leads.
func (d *differ) numbers() {
	all := maps.Clone(d.was.numbers)
	maps.Copy(all, d.is.numbers)
	for _, number := range slices.Sorted(maps.Keys(all)) {
		i, was := d.was.numbers[number]
		k, is := d.is.numbers[number]
		switch {
		case !was:
			d.say(d.is.found[k].At, []string{number}, "%s can be dialled: %s", number, d.is.outcomes(d.is.entries[k]))
		case !is:
			d.say(d.was.found[i].At, []string{number}, "%s can be dialled no more; it was %s", number, d.was.outcomes(d.was.entries[i]))
		default:
			d.way(d.is.found[k].At, []string{number}, "calls to "+number, d.was.entries[i], d.is.entries[k])
		}
	}
}

// way compares where a way leads, at all times.
func (d *differ) way(at Position, numbers []string, what string, was, is target) {
	for _, c := range d.compare(was, is) {
		d.say(at, numbers, "%s %s instead of %s%s", what, goTo(c.is), goneTo(c.was), c.when)
	}
}

func goTo(node string) string {
	if node == "" {
		return "end"
	}
	return "go to " + node
}

func goneTo(node string) string {
	if node == "" {
		return "ending"
	}
	return node
}

// nodes compares what happens at nodes that both plans have, and where calls go from there.
func (d *differ) nodes() {
	was := map[string]*vertex{}
	for i := range d.was.vertices {
		was[d.was.vertices[i].name] = &d.was.vertices[i]
	}
	for i := range d.is.vertices {
		if len(d.found) > maxDifferences {
			return
		}
		v := &d.is.vertices[i]
		o := was[v.name]
		if o == nil {
			continue // the ways that lead to it tell
		}
		first := len(d.found)
		if c := changes(o.step, v.step, "Node", "At", "Queue", "App"); c != "" {
			d.say(v.at, nil, "%s: %s", v.name, c)
		}
		if o.step.Queue != nil && v.step.Queue != nil {
			if c := changes(*o.step.Queue, *v.step.Queue); c != "" {
				d.say(v.at, nil, "%s: %s", v.name, c)
			}
		}
		if o.step.App != nil && v.step.App != nil {
			if c := changes(*o.step.App, *v.step.App, "Answers"); c != "" { // the ways tell of those
				d.say(v.at, nil, "%s: %s", v.name, c)
			}
		}
		if c := changes(d.was.leaving(o), d.is.leaving(v)); c != "" {
			d.say(v.at, nil, "%s: %s", v.name, c)
		}
		if o.dnd != v.dnd {
			d.say(v.at, nil, "%s: do not disturb is %s", v.name, map[bool]string{true: "on", false: "off"}[v.dnd])
		}
		d.exits(o, v)
		if len(d.found) == first {
			continue
		}
		numbers := d.reaching(v.name)
		if numbers == nil {
			d.found = d.found[:first] // no call comes here by either plan
		}
		for k := first; k < len(d.found); k++ {
			d.found[k].Numbers = numbers
		}
	}
}

// exits compares the ways out of a node: each cause and key that either plan names, and all others together.
func (d *differ) exits(o, v *vertex) {
	type on struct {
		cause cause
		key   string
	}
	var all []on
	for _, e := range slices.Concat(o.exits, v.exits) {
		if c := (on{e.on, e.key}); e.on != onVia && !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b on) int { return cmp.Or(cmp.Compare(a.cause, b.cause), cmp.Compare(a.key, b.key)) })
	for _, c := range all {
		was, is, at := nowhere, nowhere, v.at
		if e := o.taken(c.cause, c.key); e != nil {
			was = e.to
		}
		if e := v.taken(c.cause, c.key); e != nil {
			is, at = e.to, e.at
		}
		d.way(at, nil, v.onWords(c.cause, c.key), was, is)
	}
}

// taken is the way that a cause takes, or that a caller takes by a key, or an app by an answer.
func (v *vertex) taken(on cause, key string) *exit {
	if on != onKey && on != onAnswer {
		return v.exit(on)
	}
	if i := slices.IndexFunc(v.exits, func(e exit) bool { return e.on == on && e.key == key }); i >= 0 {
		return &v.exits[i]
	}
	return v.exit(onOther)
}

func (v *vertex) onWords(on cause, key string) string {
	switch on {
	case onGo:
		return v.name + ": calls"
	case onAlways:
		return v.name + ": all calls"
	case onBusy:
		return v.name + ": calls that find it busy"
	case onNoAnswer:
		return v.name + ": calls that are not answered"
	case onUnreachable:
		return v.name + ": calls that do not reach it"
	case onKey:
		return v.name + ": callers who press " + key
	case onAnswer:
		return v.name + ": calls for which it answers " + key
	}
	return v.name + ": calls that fail otherwise"
}

// reaching lists the numbers whose calls can come to a node by either plan; nil: none.
func (d *differ) reaching(name string) []string {
	numbers := map[string]bool{}
	for i, t := range [2]*tenant{d.was, d.is} {
		end := slices.IndexFunc(t.vertices, func(v vertex) bool { return v.name == name })
		if d.ways[i] == nil {
			d.ways[i] = t.leadingTo()
		}
		marked := map[target]bool{target(end): true}
		for next := []target{target(end)}; len(next) > 0 && end >= 0; next = next[1:] {
			for _, from := range d.ways[i][next[0]] {
				if !marked[from] {
					marked[from], next = true, append(next, from)
				}
			}
		}
		for number, k := range t.numbers {
			t.eachOutcome(t.entries[k], func(v target) {
				if v >= 0 && marked[v] {
					numbers[number] = true
				}
			})
		}
		for _, m := range t.matches {
			if marked[m.to] {
				numbers[m.pattern] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(numbers))
}

// leadingTo lists for each vertex those that have a way to it.
func (t *tenant) leadingTo() [][]target {
	ways := make([][]target, len(t.vertices))
	for i := range t.vertices {
		for _, e := range t.vertices[i].exits {
			t.eachOutcome(e.to, func(v target) {
				if v >= 0 {
					ways[v] = append(ways[v], target(i))
				}
			})
		}
	}
	return ways
}

// eachOutcome visits what can come of a target.
func (t *tenant) eachOutcome(to target, visit func(target)) {
	if to >= nowhere {
		visit(to)
		return
	}
	d := &t.decisions[to.decision()]
	t.eachOutcome(d.yes, visit)
	t.eachOutcome(d.no, visit)
}

// outcomes names what can come of a target: "menu.main or voicemail.night".
func (t *tenant) outcomes(to target) string {
	var names []string
	t.eachOutcome(to, func(v target) {
		if name := cmp.Or(t.nameOf(v), "nothing"); !slices.Contains(names, name) {
			names = append(names, name)
		}
	})
	return strings.Join(names, " or ")
}

func (t *tenant) nameOf(v target) string {
	if v < 0 {
		return ""
	}
	return t.vertices[v].name
}

// changes names the fields of two structs that differ, but for some: "timeout 30s instead of 20s, record yes instead of no".
func changes[T any](was, is T, but ...string) string {
	var out []string
	a, b := reflect.ValueOf(was), reflect.ValueOf(is)
	for i := range a.NumField() {
		name := a.Type().Field(i).Name
		if x, y := a.Field(i).Interface(), b.Field(i).Interface(); !slices.Contains(but, name) && !reflect.DeepEqual(x, y) && fieldWords(x) != fieldWords(y) {
			out = append(out, fmt.Sprintf("%s %s instead of %s", fieldName(name), fieldWords(y), fieldWords(x)))
		}
	}
	return strings.Join(out, ", ")
}

// fieldName writes MaxMembers as "max members".
func fieldName(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) && !unicode.IsUpper(rune(name[i-1])) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func fieldWords(v any) string {
	switch v := v.(type) {
	case bool:
		return map[bool]string{true: "yes", false: "no"}[v]
	case time.Duration:
		return hcltext.Duration(v)
	case []string:
		return cmp.Or(strings.Join(v, ", "), "nothing")
	case []time.Duration:
		words := make([]string, len(v))
		for i, d := range v {
			words[i] = hcltext.Duration(d)
		}
		return cmp.Or(strings.Join(words, ", "), "nothing")
	}
	return cmp.Or(fmt.Sprint(v), "nothing")
}
