package migrate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// settle makes the nodes fit for a plan: those that nothing leads to are left out, loops are cut, names made unique.
func (m *maker) settle() {
	m.findUsed()
	m.cutLoops()
	m.findUsed()
	m.giveNames()
}

// findUsed marks what calls can reach.
func (m *maker) findUsed() {
	for _, n := range m.nodes {
		n.used = false
	}
	for _, s := range m.starts {
		m.use(s.node)
		s.to.eachNode(m.use)
	}
	for _, n := range m.nodes {
		if n.kind == "user" || n.kind == "trunk" || n.kind == "outbound" && len(n.match) > 0 {
			m.use(n)
		}
		if n.trunk != nil {
			n.trunk.arrives.eachNode(m.use)
		}
	}
}

func (m *maker) use(n *node) {
	if n == nil || n.used {
		return
	}
	n.used = true
	for _, o := range n.members {
		m.use(o)
	}
	for _, o := range n.via {
		m.use(o)
	}
	for _, w := range n.ways {
		w.to.eachNode(m.use)
	}
}

// longestChain is below what plans allow, because a number's outbound node and trunk come on top.
const longestChain = 24

// cutLoops ends calls where they would go round, or on for too long. Only callers with keys may come back.
func (m *maker) cutLoops() {
	state := map[*node]int{} // 1: on the way, 2: done
	length := map[*node]int{}
	var walk func(n *node)
	var clean func(n *node, t *target) *target
	clean = func(n *node, t *target) *target {
		switch {
		case t == nil:
			return nil
		case t.node == nil:
			return m.choose(n.at, t.hours, clean(n, t.yes), clean(n, t.no))
		case state[t.node] == 1:
			m.unmapped(n.at, n.what, fmt.Sprintf("calls would go round from %s to %s: they end there", n.kind, t.node.kind))
			return nil
		}
		walk(t.node)
		if length[t.node] >= longestChain {
			m.unmapped(n.at, n.what, fmt.Sprintf("calls would go through more than %d nodes: they end there", longestChain))
			return nil
		}
		length[n] = max(length[n], length[t.node]+1)
		return t
	}
	walk = func(n *node) {
		if state[n] != 0 {
			return
		}
		state[n], length[n] = 1, 1
		for _, w := range n.ways {
			if strings.HasPrefix(w.on, "key ") {
				continue
			}
			w.to = clean(n, w.to)
		}
		n.ways = slices.DeleteFunc(n.ways, func(w *way) bool { return w.to == nil })
		state[n] = 2
		if (n.kind == "did" || n.kind == "feature" || n.kind == "outbound" && len(n.via) == 0) && len(n.ways) == 0 {
			n.lead("go", to(m.hangup(n.at)))
		}
	}
	for i := 0; i < len(m.nodes); i++ { // those of hangup are added meanwhile
		if m.nodes[i].used {
			walk(m.nodes[i])
		}
	}
}

func (m *maker) giveNames() {
	taken := map[string]bool{}
	for _, pass := range []bool{true, false} { // users and trunks are known by their names elsewhere
		for _, n := range m.nodes {
			if fixed := n.kind == "user" || n.kind == "trunk" || n.kind == "did"; fixed != pass || !n.used {
				continue
			}
			wish := name(cmp.Or(n.name, n.extension, n.kind))
			n.name = wish
			for i := 2; taken[n.kind+"."+n.name]; i++ {
				n.name = fmt.Sprintf("%s_%d", wish, i)
			}
			taken[n.kind+"."+n.name] = true
		}
	}
	for _, n := range m.nodes {
		for _, w := range n.ways {
			w.to.eachHours(func(h *hours) { h.used = h.used || n.used })
		}
		if n.trunk != nil {
			n.trunk.arrives.eachHours(func(h *hours) { h.used = true })
		}
	}
}

func (t *target) eachHours(visit func(*hours)) {
	if t != nil && t.hours != nil {
		visit(t.hours)
		t.yes.eachHours(visit)
		t.no.eachHours(visit)
	}
}
