package dialplan

import (
	"fmt"
	"slices"
	"strings"

	"tandem/internal/hcltext"
)

// checker looks at a tenant as a whole: names that lead nowhere, loops, nodes that no call can reach.
type checker struct {
	*diagnostics
	*draft
}

func (c checker) check() {
	for _, n := range c.nodes {
		c.resolve(n)
	}
	for _, v := range c.mentions {
		if c.byRef[v.ref] == nil {
			c.unknown(v)
		}
	}
	c.checkMailboxes()
	c.checkAnswers()
	c.checkPickups()
	c.checkOutbound()
	c.checkLimits()
	c.findLoops()
	c.findLongWays()
	c.checkNevers()
	if c.failed() {
		return // a refused line may be what made a node look lost
	}
	c.findUnreachable()
	c.findDeadEnds()
	c.findEmptyGroups()
	c.warnOfNoHelp()
}

func (c checker) resolve(n *node) {
	for _, m := range n.members {
		if c.byRef[m.ref] == nil {
			c.unknown(m)
		}
	}
	ways := n.ways
	if n.trunk != nil && !n.lent {
		ways = n.trunk.arrives
	}
	for _, w := range ways {
		w.to.eachLeaf(func(v value) {
			to := c.byRef[v.ref]
			if to == nil {
				c.unknown(v)
				return
			}
			w.leaves = append(w.leaves, &leaf{rng: v.rng, node: to})
		})
		w.to.eachCalendar(c.resolveCalendar)
	}
}

func (c checker) resolveCalendar(v value) {
	if known := c.calendar[v.text]; known != nil {
		known.used = true
		return
	}
	detail := fmt.Sprintf("add a block: calendar %q { ... }", v.text)
	suggestion := hcltext.DidYouMean(v.text, names(c.calendar))
	if suggestion != "" {
		detail = ""
	}
	c.wrong(v.rng, fmt.Sprintf("there is no calendar %q%s", v.text, suggestion), detail)
}

// unknown reports a reference that leads nowhere.
func (c checker) unknown(v value) {
	detail := fmt.Sprintf("add a block: %s %q { ... }", v.ref.kind, v.ref.name)
	suggestion := c.suggest(v.ref)
	if suggestion != "" {
		detail = ""
	}
	c.wrong(v.rng, fmt.Sprintf("there is no %s%s", v.ref, suggestion), detail)
}

// suggest looks for the name under the same kind first, then for the same name under another kind.
func (c checker) suggest(r ref) string {
	var same []string
	for _, n := range c.nodes {
		if n.kind == r.kind {
			same = append(same, n.name)
		}
	}
	best := ref{r.kind, hcltext.Closest(r.name, same)}
	if best.name == "" {
		for _, kind := range nodeKinds() {
			if c.byRef[ref{kind, r.name}] != nil {
				best = ref{kind, r.name}
				break
			}
		}
	}
	if best.name == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// findLoops goes every way and reports each loop at the word that closes it.
func (c checker) findLoops() {
	const done = -1
	var way []*node
	depth := map[*node]int{} // place in way, from 1
	var walk func(n *node)
	walk = func(n *node) {
		if depth[n] == done {
			return
		}
		way = append(way, n)
		depth[n] = len(way)
		for _, l := range n.leads(false) {
			if i := depth[l.node]; i > 0 {
				c.reportLoop(way[i-1:], l)
				continue
			}
			walk(l.node)
		}
		way = way[:len(way)-1]
		depth[n] = done
	}
	for _, n := range c.nodes {
		walk(n)
	}
}

// leads are the nodes that calls go on to by themselves; with keys also those that their callers choose.
func (n *node) leads(keys bool) (all []*leaf) {
	for _, w := range n.ways {
		if w.on == onKey && !keys {
			continue
		}
		for _, l := range w.leaves {
			if !l.cut {
				all = append(all, l)
			}
		}
	}
	return all
}

func (c checker) reportLoop(way []*node, closes *leaf) {
	var path []string
	for _, n := range way {
		path = append(path, n.String())
	}
	if len(path) > 8 {
		path = append(append(path[:4:4], "..."), path[len(path)-3:]...)
	}
	path = append(path, closes.node.String())
	c.wrong(closes.rng, "calls would go round in a loop: "+strings.Join(path, " -> "), "send them somewhere else")
	closes.cut = true
}

// findLongWays bounds how many nodes one call goes through; loops have been cut before.
func (c checker) findLongWays() {
	lengths := map[*node]int{}
	var length func(n *node) int
	length = func(n *node) int {
		if known := lengths[n]; known > 0 {
			return known
		}
		longest, by := 0, (*leaf)(nil)
		for _, l := range n.leads(false) {
			if behind := length(l.node); behind > longest {
				longest, by = behind, l
			}
		}
		lengths[n] = longest + 1
		if longest == maxHops {
			c.wrong(by.rng, fmt.Sprintf("calls to %s go through more than %d nodes", n.ref, maxHops), "end the chain earlier")
		}
		return longest + 1
	}
	for _, n := range c.nodes {
		length(n)
	}
}

// findUnreachable warns of nodes without number that no reachable node leads to, and of calendars that nobody asks.
func (c checker) findUnreachable() {
	reached, lends := map[*node]bool{}, map[*node]bool{}
	var walk func(n *node)
	walk = func(n *node) {
		if reached[n] {
			return
		}
		reached[n] = true
		for _, l := range n.leads(true) {
			walk(l.node)
		}
		for _, m := range n.members { // a ring group that lends its members to a queue is there for something
			lends[c.byRef[m.ref]] = n.kind != "ring" || lends[c.byRef[m.ref]]
		}
	}
	numbered := slices.ContainsFunc(c.nodes, func(n *node) bool { return n.kind == "did" })
	for _, n := range c.nodes {
		if n.kind == "user" || n.kind == "did" || n.extension.shape != 0 || len(n.slots) > 0 || n.kind == "emergency" || n.out != nil && len(n.out.patterns) > 0 {
			walk(n)
		}
		if n.trunk != nil && !n.lent {
			reached[n] = reached[n] || n.trunk.isKnown() || numbered
			for _, w := range n.trunk.arrives {
				for _, l := range w.leaves {
					walk(l.node)
				}
			}
		}
	}
	for _, n := range c.nodes {
		if !reached[n] && !n.lent && !lends[n] {
			c.warn(n.rng, fmt.Sprintf("no call can reach %s", n.ref), n.remedyOfLost())
		}
	}
	for _, known := range c.calendars {
		if !known.used {
			c.warn(known.rng, fmt.Sprintf("nothing asks calendar %q", known.name), fmt.Sprintf("write open(%q) ? ... : ... where calls depend on it", known.name))
		}
	}
}

// remedyOfLost says what could lead calls to a node.
func (n *node) remedyOfLost() string {
	switch n.kind {
	case "trunk":
		return "name it in the via of an outbound node, or say where its calls go: in { go = ... }"
	case "outbound":
		return `say which numbers it is for, match = ["+44*"], or name it in the otherwise of another outbound node`
	}
	return "give it an extension, or name it in the otherwise of a node that calls reach"
}

// findDeadEnds warns of ring groups that say nothing about calls nobody answers.
func (c checker) findDeadEnds() {
	for _, n := range c.nodes {
		if n.kind == "menu" && !slices.ContainsFunc(n.ways, func(w *way) bool { return w.on == onOther }) {
			c.warn(n.rng, fmt.Sprintf("%s ends calls whose callers press nothing", n.ref), "say where they go: otherwise { go = ... }")
		}
		if (n.kind == "ring" || n.kind == "queue") && !slices.ContainsFunc(n.ways, func(w *way) bool { return w.on == onOther }) {
			c.warn(n.rng, fmt.Sprintf("%s ends calls that nobody answers", n.ref), "say where they go: otherwise { go = ... }")
		}
	}
}
