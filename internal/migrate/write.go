package migrate

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"tandem/dialplan"
)

// quote writes a text as plans do.
func quote(s string) string {
	s = clip(s)
	s = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "${", "$(", "%{", "%(").Replace(s)
	return `"` + s + `"`
}

func quotes(list []string) string {
	all := make([]string, len(list))
	for i, s := range list {
		all[i] = quote(s)
	}
	return "[" + strings.Join(all, ", ") + "]"
}

var plainName = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_-]*|[0-9]+)$`)

func (n *node) ref() string {
	if plainName.MatchString(n.name) {
		return n.kind + "." + n.name
	}
	return n.kind + "[" + quote(n.name) + "]"
}

func refs(list []*node) string {
	all := make([]string, len(list))
	for i, n := range list {
		all[i] = n.ref()
	}
	return "[" + strings.Join(all, ", ") + "]"
}

func (t *target) text() string {
	if t.node != nil {
		return t.node.ref()
	}
	inner := func(t *target) string {
		if t.node == nil {
			return "(" + t.text() + ")"
		}
		return t.text()
	}
	return fmt.Sprintf("open(%s) ? %s : %s", quote(t.hours.name), inner(t.yes), inner(t.no))
}

// head is the block that every plan has.
func (m *maker) head() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "dialplan %s {\nformat = 1\n", quote(m.Tenant))
	if len(m.Domains) > 0 {
		fmt.Fprintf(&b, "domains = %s\n", quotes(m.Domains))
	}
	if m.TimeZone != "" {
		fmt.Fprintf(&b, "timezone = %s\n", quote(m.TimeZone))
	}
	if m.Country != "" {
		fmt.Fprintf(&b, "country = %s\n", quote(m.Country))
	}
	b.WriteString("}\n")
	return []byte(b.String())
}

// write is the plan as text, in its canonical layout.
func (m *maker) write() []byte {
	var b strings.Builder
	b.WriteString("# Made by tandem import. Each block says which line it comes from; report.md says what is missing.\n\n")
	b.Write(m.head())
	for _, h := range m.hours {
		if h.used {
			fmt.Fprintf(&b, "\n%scalendar %s {\nopen = %s\n}\n", comment(h.at, h.what), quote(h.name), quotes(h.entries()))
		}
	}
	order := []string{"user", "did", "feature", "menu", "ring"}
	rank := func(n *node) int {
		if i := slices.Index(order, n.kind); i >= 0 {
			return i
		}
		if i := slices.Index([]string{"trunk", "outbound", "emergency"}, n.kind); i >= 0 {
			return 100 + i
		}
		return len(order)
	}
	sorted := slices.Clone(m.nodes)
	slices.SortStableFunc(sorted, func(a, b *node) int { return rank(a) - rank(b) })
	for _, n := range sorted {
		if n.used {
			n.write(&b)
		}
	}
	for _, t := range m.proofs {
		b.WriteString(t)
	}
	return dialplan.Format([]byte(b.String()))
}

func comment(at place, what string) string {
	if at.file == "" {
		return ""
	}
	return "# " + strings.TrimRight(fmt.Sprintf("%s: %s", clip(at.String()), what), " :") + "\n"
}

func (n *node) write(b *strings.Builder) {
	fmt.Fprintf(b, "\n%s%s %s {\n", comment(n.at, n.what), n.kind, quote(n.name))
	if n.extension != "" {
		fmt.Fprintf(b, "extension = %s\n", quote(n.extension))
	}
	switch n.kind {
	case "ring", "page":
		fmt.Fprintf(b, "members = %s\n", refs(n.members))
	case "queue":
		fmt.Fprintf(b, "agents = %s\n", refs(n.members))
	}
	if len(n.match) > 0 {
		var texts []string
		for _, x := range n.match {
			texts = append(texts, x.text)
		}
		fmt.Fprintf(b, "match = %s\n", quotes(texts))
	}
	if len(n.allow) > 0 {
		fmt.Fprintf(b, "allow = %s\n", quotes(n.allow))
	}
	for _, a := range n.attrs {
		fmt.Fprintf(b, "%s = %s\n", a.name, a.value)
	}
	if len(n.via) > 0 {
		fmt.Fprintf(b, "via = %s\n", refs(n.via))
	}
	if n.trunk != nil {
		n.trunk.write(b)
	}
	n.writeWays(b)
	b.WriteString("}\n")
}

func (n *node) writeWays(b *strings.Builder) {
	var forward []string
	for _, w := range n.ways {
		key, isKey := strings.CutPrefix(w.on, "key ")
		switch {
		case isKey:
			fmt.Fprintf(b, "key %s { go = %s }\n", quote(key), w.to.text())
		case w.on == "go":
			fmt.Fprintf(b, "go = %s\n", w.to.text())
		case w.on == "otherwise":
		default:
			forward = append(forward, fmt.Sprintf("%s = %s\n", w.on, w.to.text()))
		}
	}
	if len(forward) > 0 {
		fmt.Fprintf(b, "forward {\n%s}\n", strings.Join(forward, ""))
	}
	if other := n.way("otherwise"); other != nil {
		fmt.Fprintf(b, "otherwise { go = %s }\n", other.text())
	}
}

func (k *trunk) write(b *strings.Builder) {
	if len(k.rewrites) > 0 {
		b.WriteString("out {\nrewrite = {\n")
		for _, from := range slices.Sorted(maps.Keys(k.rewrites)) {
			fmt.Fprintf(b, "%s = %s\n", quote(from), quote(k.rewrites[from]))
		}
		b.WriteString("}\n}\n")
	}
	if len(k.from) == 0 && k.user == "" && k.arrives == nil {
		return
	}
	b.WriteString("in {\n")
	if len(k.from) > 0 {
		fmt.Fprintf(b, "from = %s\n", quotes(k.from))
	}
	if k.user != "" {
		fmt.Fprintf(b, "user = %s\nsecret = %s\n", quote(k.user), quote(k.secret))
	}
	if k.arrives != nil {
		fmt.Fprintf(b, "go = %s\n", k.arrives.text())
	}
	b.WriteString("}\n")
}
