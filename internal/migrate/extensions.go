package migrate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// asteriskContext is a context of extensions.conf.
type asteriskContext struct {
	name     string
	at       place
	extens   []*exten
	byName   map[string]*exten
	includes []string
	ordered  bool // extensions count in their order, as FreeSWITCH has it, and there may be several of a name
}

// exten is an extension, or a pattern for several.
type exten struct {
	pattern string // as written, with its _
	at      place
	steps   map[int]step // by priority
	labels  map[string]int
	last    int // priority of the line before, for n
	visited bool
	allow   string // group whose users may dial it
	named   string // of FreeSWITCH
}

// title is what reports call an extension.
func (x *exten) title() string {
	if x.named != "" {
		return "extension " + x.named
	}
	return "exten => " + x.pattern
}

// step is one priority.
type step struct {
	app, args string
	shown     string // as it was written, when that was otherwise
	at        place
}

func (s step) String() string {
	if s.shown != "" {
		return s.shown
	}
	return fmt.Sprintf("%s(%s)", s.app, s.args)
}

// readExtensions makes contexts of the sections of extensions.conf.
func (m *maker) readExtensions(sections []*section) (contexts map[string]*asteriskContext, order []*asteriskContext, globals map[string]string) {
	contexts, globals = map[string]*asteriskContext{}, map[string]string{}
	for _, s := range sections {
		switch s.name {
		case "general":
			continue
		case "globals":
			for _, e := range s.entries {
				globals[e.key] = e.value
			}
			continue
		}
		c := contexts[s.name]
		if c == nil {
			c = &asteriskContext{name: s.name, at: s.at, byName: map[string]*exten{}}
			contexts[s.name] = c
			order = append(order, c)
		}
		var current *exten
		for _, e := range s.entries {
			switch strings.ToLower(e.key) {
			case "exten":
				pattern, rest, ok := strings.Cut(e.value, ",")
				if pattern = strings.TrimSpace(pattern); !ok || pattern == "" {
					m.unmapped(e.at, e.key+" => "+e.value, "this line has no priority")
					continue
				}
				current = c.exten(pattern, e.at)
				m.priority(current, rest, e)
			case "same":
				if current == nil {
					m.unmapped(e.at, "same => "+e.value, "no extension stands before it")
					continue
				}
				m.priority(current, e.value, e)
			case "include":
				name, when, timed := strings.Cut(e.value, ",")
				if timed || strings.Contains(name, "|") {
					m.unmapped(e.at, "include => "+e.value, "what is included at some times only ("+when+") is left out: write it as a choice, open(\"calendar\") ? ... : ...")
					continue
				}
				c.includes = append(c.includes, strings.TrimSpace(name))
			case "ignorepat": // a dial tone that goes on behind a first digit: phones have their own
			default:
				m.unmapped(e.at, e.key+" => "+e.value, "this kind of line has no counterpart")
			}
		}
	}
	return contexts, order, globals
}

// exten finds an extension or begins it. Dashes and blanks in patterns are for people.
func (c *asteriskContext) exten(pattern string, at place) *exten {
	if strings.HasPrefix(pattern, "_") {
		pattern = plainPattern(pattern)
	}
	x := c.byName[pattern]
	if x == nil {
		x = &exten{pattern: pattern, at: at, steps: map[int]step{}, labels: map[string]int{}}
		c.byName[pattern] = x
		c.extens = append(c.extens, x)
	}
	return x
}

// plainPattern leaves dashes out that do not stand in a class of digits.
func plainPattern(p string) string {
	var b strings.Builder
	class := false
	for _, r := range p {
		class = class && r != ']' || r == '['
		if r == '-' && !class || r == ' ' {
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// priority reads `1,Dial(...)`, `n(label),Dial(...)`, `hint,PJSIP/alice`.
func (m *maker) priority(x *exten, text string, e entry) {
	line := e.key + " => " + e.value
	number, rest, ok := strings.Cut(text, ",")
	number, rest = strings.TrimSpace(number), strings.TrimSpace(rest)
	if strings.EqualFold(number, "hint") {
		return // who is watched is known by the user's name: nothing needs to be said
	}
	label := ""
	if i := strings.IndexByte(number, '('); i >= 0 && strings.HasSuffix(number, ")") {
		label, number = number[i+1:len(number)-1], strings.TrimSpace(number[:i])
	}
	at, plus := 0, 0
	switch base, more, added := strings.Cut(number, "+"); {
	case added:
		plus, _ = strconv.Atoi(more)
		number = base
	}
	switch {
	case number == "n":
		at = x.last + 1 + plus
	case number == "s":
		at = x.last + plus
	default:
		var err error
		if at, err = strconv.Atoi(number); err != nil {
			m.unmapped(e.at, line, fmt.Sprintf("%q is no priority", clip(number)))
			return
		}
	}
	if !ok || rest == "" || at < 1 || at > mostSteps {
		m.unmapped(e.at, line, "this line says nothing to do")
		return
	}
	s := step{app: rest, at: e.at}
	if i := strings.IndexByte(rest, '('); i >= 0 {
		s.app = strings.TrimSpace(rest[:i])
		s.args = rest[i+1:]
		if j := strings.LastIndexByte(s.args, ')'); j >= 0 {
			s.args = s.args[:j]
		}
	} else if app, args, old := strings.Cut(rest, ","); old {
		s.app, s.args = strings.TrimSpace(app), args // Application,arguments: as it was written long ago
	}
	if _, twice := x.steps[at]; twice {
		m.unmapped(e.at, line, fmt.Sprintf("priority %d of %s is there already: the first counts", at, x.pattern))
		return
	}
	x.steps[at], x.last = s, at
	if label != "" {
		x.labels[label] = at
	}
}

// find looks an extension up as Asterisk does: first in the context itself, an equal one before patterns, then in those that are included.
func (a *asterisk) find(context, number string) *exten {
	return a.findIn(context, number, map[string]bool{})
}

func (a *asterisk) findIn(context, number string, seen map[string]bool) *exten {
	c := a.contexts[context]
	if c == nil || seen[context] || len(seen) > mostMatches {
		return nil
	}
	seen[context] = true
	if c.ordered {
		return c.after(nil, number)
	}
	if x := c.byName[number]; x != nil && !strings.HasPrefix(number, "_") {
		return x
	}
	var best *exten
	for _, x := range c.extens {
		if p, is := strings.CutPrefix(x.pattern, "_"); is && matches(p, number) && (best == nil || narrower(p, best.pattern[1:])) {
			best = x
		}
	}
	if best != nil {
		return best
	}
	for _, included := range c.includes {
		if x := a.findIn(included, number, seen); x != nil {
			return x
		}
	}
	return nil
}

// after finds the next extension that a number is one of, in the order they are written; behind nil is the first. A number that depends on
// what is dialled is one of its own pattern's only.
func (c *asteriskContext) after(x *exten, number string) *exten {
	i := 0
	if x != nil {
		i = slices.Index(c.extens, x) + 1
	}
	for _, next := range c.extens[i:] {
		p, is := strings.CutPrefix(next.pattern, "_")
		switch {
		case isOpen(number):
			if x != nil && next.pattern == x.pattern {
				return next
			}
		case is && matches(p, number), next.pattern == number:
			return next
		}
	}
	return nil
}

// classOf reads the first sign of a pattern: what it stands for, and what follows it. rest "" with any true: anything may follow.
func classOf(p string) (signs, rest string, any, ok bool) {
	switch p[0] {
	case 'X', 'x':
		return "0123456789", p[1:], false, true
	case 'Z', 'z':
		return "123456789", p[1:], false, true
	case 'N', 'n':
		return "23456789", p[1:], false, true
	case '.', '!':
		return "", "", true, true
	case '[':
		end := strings.IndexByte(p, ']')
		if end < 2 {
			return "", "", false, false
		}
		var b strings.Builder
		for body := p[1:end]; body != ""; {
			if len(body) >= 3 && body[1] == '-' && body[0] <= body[2] {
				for c := int(body[0]); c <= int(body[2]); c++ {
					b.WriteByte(byte(c))
				}
				body = body[3:]
				continue
			}
			b.WriteByte(body[0])
			body = body[1:]
		}
		return b.String(), p[end+1:], false, true
	}
	return p[:1], p[1:], false, true
}

// matches tells whether a number is one of a pattern (without its _).
func matches(p, number string) bool {
	for p != "" {
		signs, rest, any, ok := classOf(p)
		switch {
		case !ok:
			return false
		case any:
			return p[0] == '!' || number != ""
		case number == "" || strings.IndexByte(signs, number[0]) < 0:
			return false
		}
		p, number = rest, number[1:]
	}
	return number == ""
}

// narrower tells which of two patterns Asterisk takes first: sign by sign the one that stands for less.
func narrower(p, q string) bool {
	for p != "" && q != "" {
		a, restP, anyP, okP := classOf(p)
		b, restQ, anyQ, okQ := classOf(q)
		if !okP || !okQ {
			return okP
		}
		if anyP || anyQ {
			return !anyP
		}
		if len(a) != len(b) {
			return len(a) < len(b)
		}
		if a != b {
			return a < b
		}
		p, q = restP, restQ
	}
	return q == "" && p != ""
}

// numbersOf lists the numbers that a pattern of a fixed length stands for; nil when there are too many, or any may follow.
func numbersOf(p string, most int) []string {
	all := []string{""}
	for p != "" {
		signs, rest, any, ok := classOf(p)
		if any || !ok || len(all)*len(signs) > most {
			return nil
		}
		next := make([]string, 0, len(all)*len(signs))
		for _, begin := range all {
			for i := range len(signs) {
				next = append(next, begin+signs[i:i+1])
			}
		}
		all, p = next, rest
	}
	return all
}

// beginnings lists how the numbers of a pattern begin, up to the last sign that does not stand for any digit, and at least the first least signs; open is
// what is left of the pattern behind them. cut: there were too many, and only the first signs are looked at.
func beginnings(p string, least int) (all []string, open string, cut, ok bool) {
	var ends []int // behind which signs a beginning could end, the longest first
	rest := p
	for i := 0; rest != ""; i++ {
		signs, behind, any, fine := classOf(rest)
		if !fine {
			return nil, "", false, false
		}
		if any {
			break
		}
		if len(signs) < 10 || i < max(least, 1) {
			ends = slices.Insert(ends, 0, len(p)-len(behind))
		}
		rest = behind
	}
	for i, end := range ends {
		most := mostMatches
		if i > 0 {
			most = mostMatches / 10
		}
		if all = numbersOf(p[:end], most); all != nil && (i == 0 || len(all[0]) >= least) {
			return all, p[end:], i > 0, true
		}
	}
	return nil, "", false, false
}

// example makes a number of what a pattern leaves open.
func example(open string, filler byte) string {
	var b strings.Builder
	for open != "" {
		signs, rest, any, ok := classOf(open)
		if !ok {
			break
		}
		if any {
			if open[0] == '.' {
				b.WriteByte(filler)
			}
			break
		}
		if strings.IndexByte(signs, filler) >= 0 {
			b.WriteByte(filler)
		} else {
			b.WriteByte(signs[0])
		}
		open = rest
	}
	return b.String()
}

// everything lists the extensions that are reached from a context, in the order in which Asterisk looks for them, each pattern once.
func (a *asterisk) everything(context string) (all []*exten) {
	var walk func(name string)
	seen, known := map[string]bool{}, map[string]bool{}
	walk = func(name string) {
		c := a.contexts[name]
		if c == nil || seen[name] {
			return
		}
		seen[name] = true
		extens := slices.Clone(c.extens)
		slices.SortStableFunc(extens, func(x, y *exten) int {
			if c.ordered {
				return 0
			}
			p, isP := strings.CutPrefix(x.pattern, "_")
			q, isQ := strings.CutPrefix(y.pattern, "_")
			switch {
			case isP && isQ && p != q && narrower(p, q), !isP && isQ:
				return -1
			case isP && isQ && p != q && narrower(q, p), isP && !isQ:
				return 1
			}
			return 0
		})
		for _, x := range extens {
			if !known[x.pattern] {
				known[x.pattern] = true
				all = append(all, x)
			}
		}
		for _, included := range c.includes {
			walk(included)
		}
	}
	walk(context)
	return all
}

// contextsOf are a context and all that it includes.
func (a *asterisk) contextsOf(context string) (all []string) {
	if a.contexts[context] == nil || slices.Contains(all, context) {
		return nil
	}
	all = []string{context}
	for i := 0; i < len(all); i++ {
		for _, included := range a.contexts[all[i]].includes {
			if a.contexts[included] != nil && !slices.Contains(all, included) {
				all = append(all, included)
			}
		}
	}
	return all
}

// isSpecial is the name of an extension that is not dialled: s-BUSY and its like are where a Dial goes on.
func isSpecial(name string) bool {
	return strings.HasPrefix(name, "s-") || strings.HasPrefix(name, "_s-") || slices.Contains([]string{"s", "i", "t", "h", "o", "a", "e", "T", "fax", "_s.", "talk", "start", "failed"}, name)
}
