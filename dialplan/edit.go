package dialplan

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"tandem/internal/hcltext"
)

// Edit is one change to the text of a plan. One of Set, Put and Remove is used.
type Edit struct {
	Set    string            // the block whose values are set, like user.alice or did["+442079460000"]
	Values map[string]string // of Set: attributes, also of blocks inside ("forward.busy", "key.1.go"), as a plan writes them, or as words where a text or list is wanted; "" takes them away
	Put    Source            // blocks, each in place of the one of its name, or new
	Remove string            // a block that is taken away with its comments
}

// Change makes edits to the text of a tenant, all or none ("" is the only tenant there is): what is said twice is refused. All other text stays as it is, to the comment
// and the blank; a file that had the canonical layout has it afterwards. What the text means then is for Compile to say. The result is nil when a diagnostic is an error.
func Change(sources []Source, tenant string, edits []Edit) ([]Source, []Diagnostic) {
	e := &editor{diagnostics: newDiagnostics(sources), grammar: language(), sources: sources, blocks: map[ref][]*written{}, cuts: make([][]cut, len(sources)), touched: map[*hclsyntax.Block]bool{}}
	if e.open(tenant) {
		for _, edit := range edits {
			switch {
			case edit.Set != "":
				e.set(edit.Set, edit.Values)
			case edit.Remove != "":
				e.remove(edit.Remove)
			default:
				e.put(edit.Put)
			}
		}
	}
	if e.failed() {
		return nil, e.sorted()
	}
	return e.result(), nil
}

// editor gathers cuts in the text as it was, and makes them all at the end.
type editor struct {
	*diagnostics
	*grammar
	sources []Source
	blocks  map[ref][]*written // of the tenant
	last    map[string]*written
	files   []int // the sources of the tenant
	home    int   // that of them which new kinds of blocks go to
	cuts    [][]cut
	touched map[*hclsyntax.Block]bool
}

// written is a block as it stands in a source.
type written struct {
	file  int
	block *hclsyntax.Block
}

// cut replaces octets of a source.
type cut struct {
	from, to int
	text     string
}

// refuse is a mistake that has no place in a text.
func (d *diagnostics) refuse(summary, detail string) { d.wrong(hcl.Range{}, summary, detail) }

// open reads the files of a tenant.
func (e *editor) open(tenant string) bool {
	bodies := make([]*hclsyntax.Body, len(e.sources))
	owners, tenants := make([]string, len(e.sources)), []string(nil)
	for i, s := range e.sources {
		if isTable(s.Name) {
			continue
		}
		if bodies[i] = hcltext.Parse(s.Name, s.Text, e.wrong); bodies[i] == nil {
			return false
		}
		for _, b := range bodies[i].Blocks {
			if b.Type == "dialplan" && len(b.Labels) == 1 {
				if owners[i] = b.Labels[0]; !slices.Contains(tenants, b.Labels[0]) {
					tenants = append(tenants, b.Labels[0])
				}
			}
		}
	}
	switch {
	case len(tenants) == 0:
		e.refuse("there is no dialplan to be changed", "apply one first")
		return false
	case tenant == "" && len(tenants) == 1:
		tenant = tenants[0]
	case tenant == "":
		e.refuse("it is not said which tenant is meant", "there are "+strings.Join(tenants, ", "))
		return false
	case !slices.Contains(tenants, tenant):
		e.refuse(fmt.Sprintf("there is no tenant %q%s", tenant, hcltext.DidYouMean(tenant, tenants)), "there are "+strings.Join(tenants, ", "))
		return false
	}
	e.last, e.home = map[string]*written{}, -1
	for i, body := range bodies {
		if body == nil || owners[i] != tenant && (owners[i] != "" || len(tenants) > 1) {
			continue
		}
		e.files = append(e.files, i)
		if e.home < 0 && owners[i] == tenant {
			e.home = i
		}
		for _, b := range body.Blocks {
			w := &written{i, b}
			e.last[b.Type] = w
			if len(b.Labels) == 1 {
				name := ref{b.Type, b.Labels[0]}
				e.blocks[name] = append(e.blocks[name], w)
			}
		}
	}
	return true
}

// address reads user.alice, test.nobody answers and did["+442079460000"].
func address(text string) (r ref, ok bool) {
	text = strings.TrimSpace(text)
	if kind, name, is := strings.Cut(text, `["`); is && !strings.Contains(kind, ".") && strings.HasSuffix(name, `"]`) {
		return ref{kind, strings.TrimSuffix(name, `"]`)}, kind != ""
	}
	kind, name, is := strings.Cut(text, ".")
	return ref{kind, name}, is && kind != "" && name != ""
}

// find gives the block of an address that no other edit has touched, or says why there is none.
func (e *editor) find(text string) *written {
	name, ok := address(text)
	if !ok {
		e.refuse(fmt.Sprintf("%q is not the name of a block", text), `write it like user.alice or did["+442079460000"]`)
		return nil
	}
	found := e.blocks[name]
	switch {
	case len(found) == 0:
		known := make([]string, 0, len(e.blocks))
		for r := range e.blocks {
			known = append(known, r.String())
		}
		suggestion := ""
		if best := hcltext.Closest(name.String(), known); best != "" {
			suggestion = fmt.Sprintf(" (did you mean %s?)", best)
		}
		e.refuse(fmt.Sprintf("there is no block %s%s", name, suggestion), "")
	case len(found) > 1:
		e.wrong(found[1].block.TypeRange, fmt.Sprintf("there are %d blocks %s", len(found), name), "the first is at "+at(found[0].block.TypeRange))
	default:
		return e.touch(found[0], name)
	}
	return nil
}

func (e *editor) touch(w *written, name ref) *written {
	if e.touched[w.block] {
		e.refuse(fmt.Sprintf("%s is changed twice", name), "put all of it into one change")
		return nil
	}
	e.touched[w.block] = true
	return w
}

func (e *editor) cut(file, from, to int, text string) {
	e.cuts[file] = append(e.cuts[file], cut{from, to, text})
}

// remove takes a block away, the comments that stand right above it, and one of two blank lines that would meet.
func (e *editor) remove(name string) {
	w := e.find(name)
	if w == nil {
		return
	}
	src := e.sources[w.file].Text
	from, to := lead(src, w.block.TypeRange.Start.Byte), lineEnd(src, w.block.CloseBraceRange.End.Byte)
	if blankBefore(src, from) && blankAt(src, to) && to < len(src) {
		to = lineEnd(src, to)
	}
	e.cut(w.file, from, to, "")
}

// put replaces blocks by those of a text, and adds those that are new behind the last of their kind.
func (e *editor) put(s Source) {
	e.diagnostics.sources[s.Name], e.order[s.Name] = s.Text, len(e.order)
	body := hcltext.Parse(s.Name, s.Text, e.wrong)
	if body == nil {
		return
	}
	for _, a := range inOrder(body.Attributes) {
		e.wrong(a.NameRange, fmt.Sprintf("%q cannot stand outside of a block", a.Name), "a plan consists of blocks")
	}
	if len(body.Blocks) == 0 && len(body.Attributes) == 0 {
		e.refuse("there is no block to be put into the plan", "")
	}
	for _, b := range body.Blocks {
		if len(b.Labels) != 1 {
			e.wrong(b.TypeRange, fmt.Sprintf("this %s has no name", b.Type), "write it with one, like user \"alice\" { ... }")
			continue
		}
		begin := b.TypeRange.Start.Byte
		above := lead(s.Text, begin)
		text := string(Format(s.Text[above:lineEnd(s.Text, b.CloseBraceRange.End.Byte)]))
		name := ref{b.Type, b.Labels[0]}
		if len(e.blocks[name]) > 0 {
			e.replace(name, text, above < begin)
			continue
		}
		e.add(b.Type, text)
	}
}

// replace puts a text, which ends its line, in the place of a block. The comments above the old one stay unless the new one has its own.
func (e *editor) replace(name ref, text string, commented bool) {
	w := e.find(name.String())
	if w == nil {
		return
	}
	src := e.sources[w.file].Text
	from := w.block.TypeRange.Start.Byte
	if commented {
		from = lead(src, from)
	}
	e.cut(w.file, from, lineEnd(src, w.block.CloseBraceRange.End.Byte), text)
}

// add puts a text behind the last block of a kind, with a blank line between them unless both are of one line.
func (e *editor) add(kind, text string) {
	w := e.last[kind]
	if w == nil {
		src := e.sources[e.home].Text
		gap := "\n"
		if len(src) > 0 && src[len(src)-1] != '\n' {
			gap = "\n\n"
		}
		e.cut(e.home, len(src), len(src), gap+text)
		return
	}
	src, end := e.sources[w.file].Text, w.block.CloseBraceRange.End.Byte
	at, gap := lineEnd(src, end), ""
	if at == len(src) && (at == 0 || src[at-1] != '\n') {
		gap = "\n"
	}
	long := strings.Count(text, "\n") > 1
	if !oneLine(w.block) || long {
		gap += "\n"
	}
	if long && at < len(src) && !blankAt(src, at) {
		text += "\n"
	}
	e.cut(w.file, at, at, gap+text)
}

// set changes values of a block, each by itself.
func (e *editor) set(name string, values map[string]string) {
	w := e.find(name)
	if w == nil {
		return
	}
	rule := e.rules[w.block.Type]
	if rule == nil {
		e.refuse(fmt.Sprintf("%s is no block of this version", w.block.Type), "")
		return
	}
	if len(values) == 0 {
		e.refuse(fmt.Sprintf("it is not said what is to change of %s", name), "")
		return
	}
	own, inner := []assignment(nil), map[ref][]assignment{}
	for _, path := range names(values) {
		in, a, ok := e.assignment(w.block.Type, rule, path, strings.TrimSpace(values[path]))
		switch {
		case !ok:
		case in == ref{}:
			own = append(own, a)
		default:
			inner[in] = append(inner[in], a)
		}
	}
	e.assign(w.file, w.block, own, e.setInner(w, inner))
}

// setInner changes the blocks inside one, and gives the text of those that are new.
func (e *editor) setInner(w *written, inner map[ref][]assignment) (fresh string) {
	for _, b := range w.block.Body.Blocks {
		at := ref{b.Type, strings.Join(b.Labels, " ")}
		list, is := inner[at]
		if !is {
			continue
		}
		delete(inner, at)
		if slices.ContainsFunc(list, func(a assignment) bool { return a.name == "" }) {
			src := e.sources[w.file].Text
			e.cut(w.file, lead(src, b.TypeRange.Start.Byte), lineEnd(src, b.CloseBraceRange.End.Byte), "")
			continue
		}
		e.assign(w.file, b, list, "")
	}
	order := make([]ref, 0, len(inner))
	for at := range inner {
		order = append(order, at)
	}
	sort.Slice(order, func(i, j int) bool { return order[i].String() < order[j].String() })
	for _, at := range order {
		fresh += freshBlock(at, inner[at])
	}
	return fresh
}

// freshBlock is the text of a new block inside another one; "" when all its values are taken away.
func freshBlock(at ref, list []assignment) string {
	list = slices.DeleteFunc(list, func(a assignment) bool { return a.text == "" })
	if len(list) == 0 {
		return ""
	}
	head := "  " + at.kind
	if at.name != "" {
		head += " " + quote(at.name)
	}
	if len(list) == 1 {
		return fmt.Sprintf("%s { %s = %s }\n", head, list[0].name, list[0].text)
	}
	text := head + " {\n"
	for _, a := range list {
		text += fmt.Sprintf("    %s = %s\n", a.name, a.text)
	}
	return text + "  }\n"
}

// assignment is a value to be written, as a plan writes it; text "" takes it away, and with the name "" the whole block.
type assignment struct{ name, text string }

// assignment finds what a path means: groups, forward.busy, key.1.go; key.1 and otherwise are short for what they need.
func (e *editor) assignment(kind string, rule *blockRule, path, value string) (in ref, a assignment, ok bool) {
	first, rest, _ := strings.Cut(path, ".")
	inner := rule.blocks[first]
	if inner == nil {
		a, ok = e.attribute(kind, rule, path, value)
		return ref{}, a, ok
	}
	in.kind = first
	if inner.labels == 1 {
		if in.name, rest, _ = strings.Cut(rest, "."); in.name == "" {
			e.refuse(fmt.Sprintf("%s of %s has no name", first, kind), "write it with one, like "+first+".1")
			return in, a, false
		}
	}
	switch {
	case rest == "" && value == "":
		return in, assignment{}, true
	case rest == "" && len(inner.required) == 1:
		rest = inner.required[0]
	case rest == "":
		e.refuse(fmt.Sprintf("%s of %s is a block", path, kind), fmt.Sprintf("set what is in it, like %s.%s", path, names(inner.attrs)[0]))
		return in, a, false
	}
	a, ok = e.attribute(first, inner, rest, value)
	return in, a, ok
}

func (e *editor) attribute(kind string, rule *blockRule, name, value string) (assignment, bool) {
	attr, known := rule.attrs[name]
	if !known {
		e.refuse(fmt.Sprintf("%s has no attribute %q%s", kind, name, hcltext.DidYouMean(name, names(rule.attrs))), "known: "+rule.choice())
		return assignment{}, false
	}
	if value == "" {
		return assignment{name: name}, true
	}
	text, ok := plainExpression(attr.shape.written(value))
	if !ok {
		e.refuse(fmt.Sprintf("%s of %s cannot be %s", name, kind, value), "it takes "+attr.shape.String())
		return assignment{}, false
	}
	return assignment{name, text}, true
}

// written is a value as a plan writes it: what is plainly a text or a list need not be in quotes or brackets.
func (s shape) written(value string) string {
	begins := func(marks string) bool { return strings.ContainsRune(marks, rune(value[0])) }
	switch s {
	case shapeText, shapeDuration:
		if !begins(`"`) {
			return quote(value)
		}
	case shapeTexts:
		if !begins("[") {
			parts := strings.Split(value, ",")
			for i, p := range parts {
				if p = strings.TrimSpace(p); !strings.HasPrefix(p, `"`) {
					p = quote(p)
				}
				parts[i] = p
			}
			return "[" + strings.Join(parts, ", ") + "]"
		}
	case shapeReferences, shapeVia, shapeCauses:
		if !begins("[") && !strings.HasPrefix(value, "cheapest(") {
			return "[" + value + "]"
		}
	case shapeRates:
		if !begins(`"{`) {
			return quote(value)
		}
	case shapePlaces:
		if !begins(`"[`) && !strings.Contains(value, ".") {
			return quote(value)
		}
	}
	return value
}

func quote(text string) string {
	return string(hclwrite.TokensForValue(cty.StringVal(text)).Bytes())
}

// plainExpression is what a text says when it is one value and nothing else.
func plainExpression(text string) (string, bool) {
	src := []byte("x = " + text + "\n")
	body := hcltext.Parse("", src, func(hcl.Range, string, string) {})
	if body == nil || len(body.Blocks) > 0 || len(body.Attributes) != 1 || body.Attributes["x"] == nil {
		return "", false
	}
	return strings.TrimSpace(string(body.Attributes["x"].Expr.Range().SliceBytes(src))), true
}

// assign writes values of a block: in the place of those that are there, else behind its attributes. fresh are further lines for its end.
func (e *editor) assign(file int, b *hclsyntax.Block, list []assignment, fresh string) {
	src, added := e.sources[file].Text, ""
	indent := strings.Repeat(" ", b.TypeRange.Start.Column+1)
	for _, a := range list {
		old := b.Body.Attributes[a.name]
		switch {
		case old == nil && a.text != "":
			added += fmt.Sprintf("%s%s = %s\n", indent, a.name, a.text)
		case old == nil:
		case a.text != "":
			e.cut(file, old.Expr.Range().Start.Byte, old.Expr.Range().End.Byte, a.text)
		case oneLine(b):
			e.cut(file, b.OpenBraceRange.End.Byte, b.CloseBraceRange.Start.Byte, "")
		default:
			e.cut(file, lead(src, old.NameRange.Start.Byte), lineEnd(src, old.Expr.Range().End.Byte), "")
		}
	}
	if added+fresh == "" {
		return
	}
	end := b.CloseBraceRange.Start.Byte
	if oneLine(b) {
		inner := strings.TrimSpace(string(src[b.OpenBraceRange.End.Byte:end]))
		if inner != "" && !slices.ContainsFunc(list, func(a assignment) bool { return b.Body.Attributes[a.name] != nil }) {
			added = indent + inner + "\n" + added
		} else if inner != "" {
			added = indent + e.changed(file, b) + added
		}
		e.cut(file, b.OpenBraceRange.End.Byte, end, "\n"+added+fresh)
		return
	}
	end = lineStart(src, end)
	at := lineEnd(src, b.OpenBraceRange.End.Byte)
	for _, a := range b.Body.Attributes {
		at = max(at, lineEnd(src, a.Expr.Range().End.Byte))
	}
	if added != "" {
		e.cut(file, at, at, added)
	}
	if fresh != "" {
		e.cut(file, end, end, fresh)
	}
}

// changed takes back the cuts inside a block of one line, and gives its line as they would make it; "" when it is taken away.
func (e *editor) changed(file int, b *hclsyntax.Block) string {
	from, to := b.OpenBraceRange.End.Byte, b.CloseBraceRange.Start.Byte
	var inside []cut
	e.cuts[file] = slices.DeleteFunc(e.cuts[file], func(c cut) bool {
		in := c.from >= from && c.to <= to
		if in {
			inside = append(inside, cut{c.from - from, c.to - from, c.text})
		}
		return in
	})
	if text := strings.TrimSpace(string(spliced(e.sources[file].Text[from:to], inside))); text != "" {
		return text + "\n"
	}
	return ""
}

// result makes the cuts.
func (e *editor) result() []Source {
	out := make([]Source, 0, len(e.sources))
	for i, s := range e.sources {
		if len(e.cuts[i]) == 0 {
			out = append(out, s)
			continue
		}
		canonical := bytes.Equal(Format(s.Text), s.Text)
		text := spliced(s.Text, e.cuts[i])
		if canonical {
			text = Format(text)
		}
		if len(bytes.TrimSpace(text)) > 0 {
			out = append(out, Source{Name: s.Name, Text: text})
		}
	}
	return out
}

// spliced makes cuts that do not overlap; of those at one place the first comes first.
func spliced(src []byte, cuts []cut) []byte {
	sort.SliceStable(cuts, func(i, j int) bool { return cuts[i].from < cuts[j].from })
	var out []byte
	at := 0
	for _, c := range cuts {
		out = append(append(out, src[at:c.from]...), c.text...)
		at = c.to
	}
	return append(out, src[at:]...)
}

func oneLine(b *hclsyntax.Block) bool {
	return b.OpenBraceRange.Start.Line == b.CloseBraceRange.Start.Line
}

func lineStart(src []byte, at int) int { return bytes.LastIndexByte(src[:at], '\n') + 1 }

// lineEnd is behind the line feed of a line.
func lineEnd(src []byte, at int) int {
	if n := bytes.IndexByte(src[at:], '\n'); n >= 0 {
		return at + n + 1
	}
	return len(src)
}

// lead is where the comments begin that stand right above a line, or the line itself.
func lead(src []byte, at int) int {
	from := lineStart(src, at)
	for from > 0 {
		above := lineStart(src, from-1)
		if line := bytes.TrimSpace(src[above:from]); !bytes.HasPrefix(line, []byte("#")) && !bytes.HasPrefix(line, []byte("//")) {
			break
		}
		from = above
	}
	return from
}

func blankAt(src []byte, at int) bool { return len(bytes.TrimSpace(src[at:lineEnd(src, at)])) == 0 }

func blankBefore(src []byte, at int) bool {
	return at == 0 || blankAt(src, lineStart(src, at-1))
}
