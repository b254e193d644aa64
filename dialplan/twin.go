package dialplan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"tandem/internal/hcltext"
)

// The twin of a plan in JSON, for programs: blocks by their kinds and names, in the order of the text. Texts, numbers, true, false, lists and objects are what
// they are in JSON; a node is a text like "ring.sales", a choice by the clock the text of its expression, and cheapest() is {"cheapest": [...]}:
//
//	{"user": {"alice": {"extension": "201", "forward": {"busy": "user.bob"}}}, "menu": {"main": {"key": {"1": {"go": "ring.sales"}}}}}

// JSON gives the plan of a tenant ("" is the only one there is) as JSON. Comments and tables are not in it.
func JSON(sources []Source, tenant string) ([]byte, []Diagnostic) {
	t := openTwin(sources, tenant)
	if t.failed() {
		return nil, t.sorted()
	}
	var b bytes.Buffer
	b.WriteString("{")
	for i, kind := range t.kinds {
		fmt.Fprintf(&b, "%s\n  %s: {", comma(i), word(kind))
		for k, name := range t.names[kind] {
			fmt.Fprintf(&b, "%s\n    %s: %s", comma(k), word(name), indented(t.bodies[ref{kind, name}], "    "))
		}
		b.WriteString("\n  }")
	}
	b.WriteString("\n}\n")
	return b.Bytes(), nil
}

func comma(i int) string { return strings.Repeat(",", min(i, 1)) }

func word(text string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // a text
	return strings.TrimSpace(b.String())
}

func indented(text, indent string) string {
	var b bytes.Buffer
	_ = json.Indent(&b, []byte(text), indent, "  ") // what was written here
	return b.String()
}

// twin is the plan of a tenant as the bodies of its blocks, in JSON without blanks.
type twin struct {
	*diagnostics
	there  bool // the tenant is
	kinds  []string
	names  map[string][]string
	bodies map[ref]string
}

func openTwin(sources []Source, tenant string) *twin {
	e := &editor{diagnostics: newDiagnostics(sources), grammar: language(), sources: sources, blocks: map[ref][]*written{}}
	t := &twin{diagnostics: e.diagnostics, names: map[string][]string{}, bodies: map[ref]string{}}
	if t.there = e.open(tenant); !t.there {
		return t
	}
	for _, file := range e.files {
		r := &reader{diagnostics: e.diagnostics, grammar: e.grammar}
		blocks, _ := r.read(sources[file])
		for _, b := range blocks {
			t.add(b, r.src)
		}
	}
	return t
}

func (t *twin) add(b block, src []byte) {
	at, body := ref{b.kind, b.label}, b.json(src)
	old, twice := t.bodies[at]
	switch {
	case twice && b.kind == "dialplan": // one in each file
		body = "{" + strings.Trim(strings.TrimSuffix(old, "}")[1:]+","+body[1:len(body)-1], ",") + "}"
	case twice:
		t.wrong(b.rng, fmt.Sprintf("there are two blocks %s", at), "give them names of their own")
		return
	default:
		if !contains(t.kinds, b.kind) {
			t.kinds = append(t.kinds, b.kind)
		}
		t.names[b.kind] = append(t.names[b.kind], b.label)
	}
	t.bodies[at] = body
}

// json is the body of a block.
func (b *block) json(src []byte) string {
	var fields []string
	order := names(b.attrs)
	slices.SortStableFunc(order, func(x, y string) int { return b.attrs[x].rng.Start.Byte - b.attrs[y].rng.Start.Byte })
	for _, name := range order {
		fields = append(fields, word(name)+":"+b.attrs[name].json(src))
	}
	labelled := map[string][]string{}
	for _, in := range b.blocks {
		if in.label == "" {
			fields = append(fields, word(in.kind)+":"+in.json(src))
			continue
		}
		labelled[in.kind] = append(labelled[in.kind], word(in.label)+":"+in.json(src))
	}
	for _, kind := range names(labelled) {
		fields = append(fields, word(kind)+":{"+strings.Join(labelled[kind], ",")+"}")
	}
	return "{" + strings.Join(fields, ",") + "}"
}

func (v value) json(src []byte) string {
	var items []string
	for _, i := range v.items {
		items = append(items, i.json(src))
	}
	switch v.shape {
	case shapeNumber:
		return fmt.Sprint(v.number)
	case shapeFlag:
		return fmt.Sprint(v.flag)
	case shapeText:
		return word(v.text)
	case shapeReference:
		return word(v.ref.String())
	case shapeReferences:
		return "[" + strings.Join(items, ",") + "]"
	case shapeVia:
		return `{"cheapest":[` + strings.Join(items, ",") + "]}"
	case shapeCall:
		for _, f := range v.fields {
			items = append(items, word(f.name)+":"+f.value.json(src))
		}
		return "{" + strings.Join(items, ",") + "}"
	}
	return word(string(v.rng.SliceBytes(src))) // a choice
}

// ChangeJSON makes the plan of a tenant what a JSON document says it is; the tenant is the one that its "dialplan" names. Blocks that say the same stay as they are
// written, with their comments; a tenant that is new gets a file. The mistakes that are told, here and later by Compile, get their place in the document by Locate.
func ChangeJSON(sources []Source, doc Source) (*Twinned, []Diagnostic) {
	d := newDiagnostics([]Source{doc})
	w := &twinReader{diagnostics: d, grammar: language(), doc: doc}
	root, err := parseJSON(doc.Text)
	if err != nil {
		d.wrong(w.at(err.at, err.at+1), err.text, "")
		return nil, d.sorted()
	}
	tenant, texts := w.blocks(root)
	if d.failed() {
		return nil, d.sorted()
	}
	out := &Twinned{doc: doc, root: root}
	was := openTwin(sources, tenant)
	switch {
	case was.there && was.failed():
		return nil, was.sorted()
	case !was.there:
		text := ""
		for i, t := range texts {
			text += strings.Repeat("\n", min(i, 1)) + t.text
		}
		out.Sources = append(slices.Clone(sources), Source{Name: tenant + ".dialplan.hcl", Text: Format([]byte(text))})
		return out, nil
	}
	var edits []Edit
	kept := map[ref]bool{}
	for _, t := range texts {
		kept[t.name] = true
		if !sameBody(bodyOf(t.text), was.bodies[t.name]) {
			edits = append(edits, Edit{Put: Source{Name: doc.Name, Text: []byte(t.text)}})
		}
	}
	for _, kind := range was.kinds {
		for _, name := range was.names[kind] {
			if at := (ref{kind, name}); !kept[at] {
				edits = append(edits, Edit{Remove: at.String()})
			}
		}
	}
	var diags []Diagnostic
	if out.Sources, diags = Change(sources, tenant, edits); Failed(diags) {
		return nil, diags
	}
	return out, nil
}

// sameBody compares two bodies in whatever order their fields are; "" is like none.
func sameBody(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}

// bodyOf is a block as the twin has it, "" when it has mistakes.
func bodyOf(text string) string {
	d := newDiagnostics(nil)
	r := &reader{diagnostics: d, grammar: language()}
	if blocks, _ := r.read(Source{Text: []byte(text)}); len(blocks) == 1 && !d.failed() {
		return blocks[0].json(r.src)
	}
	return ""
}

// Twinned is a plan that was made of a JSON document.
type Twinned struct {
	Sources []Source
	doc     Source
	root    *jsonNode
}

// Locate gives mistakes of Sources the places of the document that they come from.
func (t *Twinned) Locate(diags []Diagnostic) []Diagnostic {
	out := slices.Clone(diags)
	for i, d := range out {
		at := slices.IndexFunc(t.Sources, func(s Source) bool { return s.Name == d.File })
		if at < 0 {
			continue
		}
		node := t.root
		for _, step := range wayTo(t.Sources[at].Text, d.Line, d.Col) {
			next := node.field(step)
			if next == nil {
				break
			}
			node = next
		}
		rng := (&twinReader{doc: t.doc}).at(node.from, node.to)
		out[i].File, out[i].Line, out[i].Col, out[i].Excerpt = t.doc.Name, rng.Start.Line, rng.Start.Column, hcltext.Excerpt(t.doc.Text, rng)
	}
	return out
}

// wayTo names what a place of a text is in: kind, name, perhaps a block inside, and an attribute.
func wayTo(src []byte, line, col int) (way []string) {
	body := hcltext.Parse("", src, func(hcl.Range, string, string) {})
	for body != nil {
		var in *hclsyntax.Body
		for _, a := range body.Attributes {
			if r := a.Range(); before(r.Start, line, col) && !before(r.End, line, col-1) {
				return append(way, a.Name)
			}
		}
		for _, b := range body.Blocks {
			if before(b.TypeRange.Start, line, col) && before(hcl.Pos{Line: line, Column: col}, b.CloseBraceRange.End.Line, b.CloseBraceRange.End.Column) {
				way, in = append(append(way, b.Type), b.Labels...), b.Body
				break
			}
		}
		body = in
	}
	return way
}

// before tells whether a place is at or before another.
func before(p hcl.Pos, line, col int) bool {
	return p.Line < line || p.Line == line && p.Column <= col
}

// twinReader writes blocks as plans have them of what a document says.
type twinReader struct {
	*diagnostics
	*grammar
	doc Source
}

type twinBlock struct {
	name ref
	text string
}

func (w *twinReader) at(from, to int) hcl.Range {
	pos := func(n int) hcl.Pos {
		n = min(n, len(w.doc.Text))
		begin := bytes.LastIndexByte(w.doc.Text[:n], '\n') + 1
		return hcl.Pos{Line: 1 + bytes.Count(w.doc.Text[:n], []byte("\n")), Column: 1 + len([]rune(string(w.doc.Text[begin:n]))), Byte: n}
	}
	return hcl.Range{Filename: w.doc.Name, Start: pos(from), End: pos(to)}
}

func (w *twinReader) mistake(n *jsonNode, summary, detail string) {
	w.wrong(w.at(n.from, n.to), summary, detail)
}

// blocks reads the document.
func (w *twinReader) blocks(root *jsonNode) (tenant string, out []twinBlock) {
	if !w.object(root, "a plan") {
		return "", nil
	}
	for _, kind := range root.fields {
		rule := w.rules[kind.name]
		if rule == nil {
			w.wrong(w.at(kind.from, kind.to), fmt.Sprintf("a plan has no block %q%s", kind.name, hcltext.DidYouMean(kind.name, names(w.rules))), "known: "+topChoice(w.rules))
			continue
		}
		if !w.object(kind.value, kind.name) {
			continue
		}
		for _, named := range kind.value.fields {
			if kind.name == "dialplan" {
				if tenant != "" {
					w.wrong(w.at(named.from, named.to), "a document is the plan of one tenant", "")
				}
				tenant = named.name
			}
			if w.object(named.value, "a "+kind.name) {
				out = append(out, twinBlock{ref{kind.name, named.name}, w.block(kind.name, named.name, rule, named.value, "")})
			}
		}
	}
	if tenant == "" && !w.failed() {
		w.mistake(root, "it is not said whose plan this is", `write "dialplan": {"acme": {}}`)
	}
	return tenant, out
}

func (w *twinReader) object(n *jsonNode, what string) bool {
	if n.kind != '{' {
		w.mistake(n, what+" is an object in { }", "")
	}
	return n.kind == '{'
}

func (w *twinReader) block(kind, label string, rule *blockRule, body *jsonNode, indent string) string {
	head := indent + kind
	if rule.labels == 1 {
		head += " " + quote(label)
	}
	var b, inner strings.Builder
	for _, f := range body.fields {
		if in := rule.blocks[f.name]; in != nil {
			if !w.object(f.value, f.name) {
				continue
			}
			if in.labels == 0 {
				inner.WriteString(w.block(f.name, "", in, f.value, indent+"  "))
				continue
			}
			for _, one := range f.value.fields {
				if w.object(one.value, f.name) {
					inner.WriteString(w.block(f.name, one.name, in, one.value, indent+"  "))
				}
			}
			continue
		}
		attr, known := rule.attrs[f.name]
		if !known {
			w.wrong(w.at(f.from, f.to), fmt.Sprintf("%s has no attribute %q%s", kind, f.name, hcltext.DidYouMean(f.name, names(rule.attrs))), "known: "+rule.choice())
			continue
		}
		fmt.Fprintf(&b, "%s  %s = %s\n", indent, f.name, w.value(f.value, attr.shape))
	}
	if b.Len()+inner.Len() == 0 {
		return head + " {}\n"
	}
	return head + " {\n" + b.String() + inner.String() + indent + "}\n"
}

// value writes a value where some shape is wanted. What does not fit is written as it is: Compile says it.
func (w *twinReader) value(n *jsonNode, want shape) string {
	switch n.kind {
	case '"':
		return w.text(n, want)
	case '[':
		item := want
		switch want {
		case shapeReferences, shapeVia:
			item = shapeReference
		case shapeTexts, shapeCauses:
			item = shapeText
		}
		var items []string
		for _, i := range n.items {
			items = append(items, w.value(i, item))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case '{':
		if want == shapeVia && len(n.fields) == 1 && n.fields[0].name == "cheapest" {
			list := w.value(n.fields[0].value, shapeReferences)
			return "cheapest(" + strings.Trim(list, "[]") + ")"
		}
		var items []string
		for _, f := range n.fields {
			item := shapeText
			if want == shapeCall && (f.name == "from" || f.name == "over") {
				item = shapePlaces
			}
			items = append(items, quote(f.name)+" = "+w.value(f.value, item))
		}
		return "{ " + strings.Join(items, ", ") + " }"
	case 'n':
		w.mistake(n, "null is not a value here", "leave it out")
	}
	return string(w.doc.Text[n.from:n.to])
}

func (w *twinReader) text(n *jsonNode, want shape) string {
	kind, name, dotted := strings.Cut(n.text, ".")
	node := dotted && contains(w.kinds, kind) && isLabel(name)
	switch {
	case node && (want == shapeReference || want == shapeTarget || want == shapePlaces || want == shapeReferences || want == shapeVia):
		if hclsyntax.ValidIdentifier(name) || strings.Trim(name, "0123456789") == "" {
			return kind + "." + name
		}
		return kind + "[" + quote(name) + "]"
	case want == shapeTarget:
		if text, ok := plainExpression(n.text); ok {
			return text
		}
		w.mistake(n, fmt.Sprintf("%q is neither a node nor a choice", n.text), shapeTarget.String())
	}
	return quote(n.text)
}

// isLabel keeps expressions from being taken for names.
func isLabel(name string) bool {
	return name != "" && !strings.ContainsAny(name, "?:()[]\"' ")
}

// jsonNode is a value of a document, with its place.
type jsonNode struct {
	kind     byte // { [ " 0 t n
	from, to int
	text     string
	fields   []jsonField
	items    []*jsonNode
}

type jsonField struct {
	name     string
	from, to int
	value    *jsonNode
}

func (n *jsonNode) field(name string) *jsonNode {
	for _, f := range n.fields {
		if f.name == name {
			return f.value
		}
	}
	return nil
}

type jsonError struct {
	at   int
	text string
}

// maxJSONDepth is more than a plan has.
const maxJSONDepth = 16

func parseJSON(text []byte) (*jsonNode, *jsonError) {
	p := &jsonParser{text: text, d: json.NewDecoder(bytes.NewReader(text))}
	p.d.UseNumber()
	n, err := p.value(0)
	if err == nil {
		if _, end := p.d.Token(); !errors.Is(end, io.EOF) {
			err = &jsonError{int(p.d.InputOffset()), "something stands behind the document"}
		}
	}
	return n, err
}

type jsonParser struct {
	text []byte
	d    *json.Decoder
}

// token gives the next token and where it stands.
func (p *jsonParser) token() (t json.Token, from, to int, err *jsonError) {
	from = int(p.d.InputOffset())
	for from < len(p.text) && strings.IndexByte(" \t\r\n,:", p.text[from]) >= 0 {
		from++
	}
	t, failed := p.d.Token()
	if failed != nil {
		var syntax *json.SyntaxError
		if errors.As(failed, &syntax) {
			from = max(int(syntax.Offset)-1, 0)
		}
		for from < len(p.text) && strings.IndexByte(" \t\r\n", p.text[from]) >= 0 {
			from++
		}
		return nil, from, from, &jsonError{from, "this is no JSON: " + strings.TrimPrefix(failed.Error(), "json: ")}
	}
	return t, from, int(p.d.InputOffset()), nil
}

func (p *jsonParser) value(depth int) (*jsonNode, *jsonError) {
	t, from, to, err := p.token()
	if err != nil {
		return nil, err
	}
	n := &jsonNode{from: from, to: to}
	switch t := t.(type) {
	case json.Delim:
		if n.kind = byte(t); depth == maxJSONDepth {
			return nil, &jsonError{from, "the document is nested too deep"}
		}
		return n, p.inside(n, depth)
	case string:
		n.kind, n.text = '"', t
	case json.Number:
		n.kind, n.text = '0', t.String()
	case bool:
		n.kind = 't'
	default:
		n.kind = 'n'
	}
	return n, nil
}

// inside reads up to the end of an object or list.
func (p *jsonParser) inside(n *jsonNode, depth int) *jsonError {
	seen := map[string]bool{}
	for p.d.More() {
		var f jsonField
		if n.kind == '{' {
			key, from, to, err := p.token()
			if err != nil {
				return err
			}
			f.name, _ = key.(string)
			if f.from, f.to = from, to; seen[f.name] {
				return &jsonError{from, fmt.Sprintf("%q stands here twice", f.name)}
			}
			seen[f.name] = true
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		if f.value = v; n.kind == '{' {
			n.fields = append(n.fields, f)
		} else {
			n.items = append(n.items, v)
		}
	}
	_, _, to, err := p.token()
	n.to = to
	return err
}
