package dialplan

import (
	"fmt"
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
	c.findLoops()
	c.findLongWays()
	if c.failed() {
		return // a refused line may be what made a node look lost
	}
	c.findUnreachable()
	c.findDeadEnds()
}

func (c checker) resolve(n *node) {
	for _, m := range n.members {
		if c.byRef[m.ref] == nil {
			c.unknown(m)
		}
	}
	if n.otherwise != nil {
		if n.next = c.byRef[n.otherwise.ref]; n.next == nil {
			c.unknown(*n.otherwise)
		}
	}
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

// findLoops follows every chain of otherwise once and reports each loop at the go that closes it.
func (c checker) findLoops() {
	const walking, done = 1, 2
	state := map[*node]int{}
	for _, start := range c.nodes {
		var way []*node
		n := start
		for n != nil && state[n] == 0 {
			state[n] = walking
			way = append(way, n)
			n = n.next
		}
		if n != nil && state[n] == walking {
			c.reportLoop(way, n)
		}
		for _, passed := range way {
			state[passed] = done
		}
	}
}

func (c checker) reportLoop(way []*node, back *node) {
	first := 0
	for way[first] != back {
		first++
	}
	var path []string
	for _, n := range way[first:] {
		path = append(path, n.String())
	}
	if len(path) > 8 {
		path = append(append(path[:4:4], "..."), path[len(path)-3:]...)
	}
	path = append(path, back.String())
	last := way[len(way)-1]
	c.wrong(last.otherwise.rng, "calls would go round in a loop: "+strings.Join(path, " -> "), "send them somewhere else")
	last.next = nil
}

// findLongWays bounds how many nodes one call goes through; loops have been cut before.
func (c checker) findLongWays() {
	length := map[*node]int{}
	for _, start := range c.nodes {
		var way []*node
		n := start
		for n != nil && length[n] == 0 {
			way = append(way, n)
			n = n.next
		}
		behind := 0
		if n != nil {
			behind = length[n]
		}
		for i := len(way) - 1; i >= 0; i-- {
			behind++
			length[way[i]] = behind
			if behind == maxHops+1 {
				c.wrong(way[i].otherwise.rng, fmt.Sprintf("calls to %s go through more than %d nodes", way[i].ref, maxHops), "end the chain of otherwise earlier")
			}
		}
	}
}

// findUnreachable warns of nodes without number that no reachable node leads to.
func (c checker) findUnreachable() {
	reached := map[*node]bool{}
	for _, n := range c.nodes {
		if n.kind != "user" && n.extension.shape == 0 {
			continue
		}
		for ; n != nil && !reached[n]; n = n.next {
			reached[n] = true
		}
	}
	for _, n := range c.nodes {
		if !reached[n] {
			c.warn(n.rng, fmt.Sprintf("no call can reach %s", n.ref), "give it an extension, or name it in the otherwise of a node that calls reach")
		}
	}
}

// findDeadEnds warns of ring groups that say nothing about calls nobody answers.
func (c checker) findDeadEnds() {
	for _, n := range c.nodes {
		if n.kind == "ring" && n.otherwise == nil {
			c.warn(n.rng, fmt.Sprintf("%s ends calls that nobody answers", n.ref), "say where they go: otherwise { go = ... }")
		}
	}
}
