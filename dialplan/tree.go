package dialplan

import (
	"fmt"
	"math/big"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"tandem/internal/hcltext"
)

// block is a checked block: it has only known attributes of the right shapes.
type block struct {
	kind   string
	label  string
	rng    hcl.Range // of the type
	named  hcl.Range // of the label
	attrs  map[string]value
	blocks []block
	broken bool // something in it was refused and is missing here
}

// value is a plain value with its place.
type value struct {
	shape  shape // shapeText, shapeNumber, shapeFlag, shapeReference; shapeReferences for every list; shapeCall for every object; shapeTarget for a choice; shapeVia for cheapest()
	text   string
	number int64
	flag   bool
	ref    ref
	items  []value
	fields []field
	choice *choice
	rng    hcl.Range
}

type field struct {
	name  string
	rng   hcl.Range
	value value
}

// ref names a node.
type ref struct{ kind, name string }

func (r ref) String() string { return r.kind + "." + r.name }

// reader turns one source into checked blocks.
type reader struct {
	*diagnostics
	*grammar
	src []byte
}

// read gives the blocks of a source; whole is false when the text could not be parsed to its end.
func (r *reader) read(s Source) (blocks []block, whole bool) {
	r.src = s.Text
	body := hcltext.Parse(s.Name, s.Text, r.wrong)
	if body == nil {
		return nil, false
	}
	for _, a := range inOrder(body.Attributes) {
		detail := "a plan consists of blocks: " + topChoice(r.rules)
		if rule := r.rules[a.Name]; rule != nil {
			detail = fmt.Sprintf("write %s without =", rule.example)
		}
		r.wrong(a.NameRange, fmt.Sprintf("%q cannot stand outside of a block", a.Name), detail)
	}
	for _, b := range body.Blocks {
		if checked, ok := r.readBlock(b, r.rules, "a plan"); ok {
			blocks = append(blocks, checked)
		}
	}
	return blocks, true
}

// inOrder lists attributes as they stand in the text; HCL keeps them in a map.
func inOrder(attributes hclsyntax.Attributes) []*hclsyntax.Attribute {
	all := make([]*hclsyntax.Attribute, 0, len(attributes))
	for _, a := range attributes {
		all = append(all, a)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].NameRange.Start.Byte < all[j].NameRange.Start.Byte })
	return all
}

func (r *reader) readBlock(b *hclsyntax.Block, rules map[string]*blockRule, where string) (block, bool) {
	rule := rules[b.Type]
	if rule == nil {
		suggestion, detail := hcltext.DidYouMean(b.Type, names(rules)), ""
		if suggestion == "" && len(rules) > 0 {
			detail = "known: " + topChoice(rules)
		}
		r.wrong(b.TypeRange, fmt.Sprintf("%s has no block %q%s", where, b.Type, suggestion), detail)
		return block{}, false
	}
	read := block{kind: b.Type, rng: b.TypeRange, named: b.TypeRange, attrs: map[string]value{}}
	if !r.readLabels(b, rule, &read) {
		return block{}, false
	}
	for _, a := range inOrder(b.Body.Attributes) {
		v, fine := r.readAttribute(a, rule, b.Type)
		if fine {
			read.attrs[a.Name] = v
		}
		read.broken = read.broken || !fine
	}
	for _, inner := range b.Body.Blocks {
		if attr, is := rule.attrs[inner.Type]; is {
			r.wrong(inner.TypeRange, fmt.Sprintf("%s is not a block", inner.Type), fmt.Sprintf("write %s = ..., %s", inner.Type, attr.shape))
			continue
		}
		if checked, fine := r.readBlock(inner, rule.blocks, b.Type); fine {
			read.blocks = append(read.blocks, checked)
		}
	}
	for _, name := range rule.required {
		if _, set := b.Body.Attributes[name]; !set {
			r.wrong(b.TypeRange, fmt.Sprintf("%s needs %s", nameOf(b), name), fmt.Sprintf("add %s = ..., %s", name, rule.attrs[name].shape))
			read.broken = true
		}
	}
	return read, true
}

func nameOf(b *hclsyntax.Block) string {
	if len(b.Labels) == 0 {
		return b.Type
	}
	return fmt.Sprintf("%s %q", b.Type, b.Labels[0])
}

func (r *reader) readLabels(b *hclsyntax.Block, rule *blockRule, read *block) bool {
	switch {
	case len(b.Labels) == rule.labels:
	case len(b.Labels) < rule.labels:
		r.wrong(b.TypeRange, fmt.Sprintf("this %s has no name", b.Type), "write "+rule.example)
		return false
	default:
		r.wrong(b.LabelRanges[rule.labels], fmt.Sprintf("%s has too many names", b.Type), "write "+rule.example)
		return false
	}
	if rule.labels == 1 {
		read.label, read.named = b.Labels[0], b.LabelRanges[0]
	}
	return true
}

func (r *reader) readAttribute(a *hclsyntax.Attribute, rule *blockRule, where string) (value, bool) {
	attr, known := rule.attrs[a.Name]
	if !known {
		suggestion, detail := hcltext.DidYouMean(a.Name, names(rule.attrs)), ""
		switch {
		case rule.blocks[a.Name] != nil:
			detail = "write it as a block: " + rule.blocks[a.Name].example
		case suggestion == "":
			detail = "known: " + rule.choice()
		}
		r.wrong(a.NameRange, fmt.Sprintf("%s has no attribute %q%s", where, a.Name, suggestion), detail)
		return value{}, false
	}
	v, ok := r.readValue(a.Expr)
	if !ok {
		return v, false
	}
	return v, r.fits(a.Name, attr.shape, v)
}

// fits checks a value against the shape an attribute asks for.
func (r *reader) fits(name string, want shape, v value) bool {
	switch want {
	case shapeTexts, shapeReferences:
		if v.shape != shapeReferences {
			break
		}
		item := shapeText
		if want == shapeReferences {
			item = shapeReference
		}
		ok := true
		for _, i := range v.items {
			ok = r.fits("every item of "+name, item, i) && ok
		}
		return ok
	case shapeDuration:
		if v.shape == shapeText {
			return true
		}
	case shapeStatuses, shapeDelays, shapeRewriting, shapePriorities:
		if v.shape == shapeCall {
			return true
		}
	case shapeRates:
		if v.shape == shapeCall || v.shape == shapeText {
			return true
		}
	case shapeCauses:
		if v.shape == shapeReferences {
			return true
		}
	case shapeVia:
		if v.shape == shapeVia {
			return true
		}
		if v.shape == shapeReferences {
			return r.fits(name, shapeReferences, v)
		}
	case shapePlaces:
		if v.shape == shapeReferences || v.shape == shapeText || v.shape == shapeReference {
			return true
		}
	case shapeTarget:
		if v.shape == shapeReference || v.shape == shapeTarget {
			return true
		}
	default:
		if v.shape == want {
			return true
		}
	}
	r.wrong(v.rng, fmt.Sprintf("%s takes %s, this is %s", name, want, v.words()), v.instead(want, r.src))
	return false
}

func (v value) words() string {
	switch v.shape {
	case shapeText:
		return "a text"
	case shapeNumber:
		return "a number"
	case shapeFlag:
		return "true or false"
	case shapeReference:
		return "the node " + v.ref.String()
	case shapeReferences:
		return "a list"
	case shapeTarget:
		return "a choice of nodes"
	case shapeVia:
		return "the cheapest of some trunks"
	}
	return "an object in { }"
}

// instead shows the value in the wanted shape, when that is easy to say.
func (v value) instead(want shape, src []byte) string {
	written := string(v.rng.SliceBytes(src))
	switch {
	case (want == shapeText || want == shapeDuration) && v.shape == shapeNumber:
		if want == shapeDuration {
			return fmt.Sprintf("write \"%ss\"", written)
		}
		return fmt.Sprintf("write %q: numbers to dial are texts", written)
	case want == shapeText && v.shape == shapeReference:
		return fmt.Sprintf("write %q if the text is meant", written)
	case (want == shapeTexts && v.shape == shapeText) || ((want == shapeReferences || want == shapeVia) && v.shape == shapeReference):
		return fmt.Sprintf("write [%s]", written)
	case (want == shapeReference || want == shapeTarget) && v.shape == shapeText:
		kind, name, dotted := strings.Cut(v.text, ".")
		if dotted && contains(nodeKinds(), kind) {
			return fmt.Sprintf("write %s without quotes", ref{kind, name})
		}
		if isNodeName(v.text) {
			return fmt.Sprintf("a user is written user.%s, without quotes", v.text)
		}
	case want == shapeNumber && v.shape == shapeText, want == shapeFlag && v.shape == shapeText:
		return "write it without quotes"
	}
	return ""
}

// readValue accepts literals, lists, objects and node names, and says of everything else why it cannot stand here.
func (r *reader) readValue(expr hclsyntax.Expression) (value, bool) {
	v := value{rng: expr.Range()}
	switch e := expr.(type) {
	case *hclsyntax.LiteralValueExpr:
		return r.readLiteral(v, e.Val, false)
	case *hclsyntax.UnaryOpExpr:
		if lit, is := e.Val.(*hclsyntax.LiteralValueExpr); is && e.Op == hclsyntax.OpNegate && !lit.Val.IsNull() && lit.Val.Type() == cty.Number {
			return r.readLiteral(v, lit.Val, true)
		}
	case *hclsyntax.TemplateExpr:
		if text, diags := e.Value(nil); e.IsStringLiteral() && !diags.HasErrors() {
			v.shape, v.text = shapeText, text.AsString()
			return v, true
		}
	case *hclsyntax.TupleConsExpr:
		return r.readList(v, e)
	case *hclsyntax.ObjectConsExpr:
		return r.readObject(v, e)
	case *hclsyntax.ScopeTraversalExpr:
		return r.readReference(v, e.Traversal)
	case *hclsyntax.ConditionalExpr:
		return r.readChoice(v, e)
	case *hclsyntax.ParenthesesExpr:
		return r.readValue(e.Expression)
	case *hclsyntax.FunctionCallExpr:
		if e.Name == "open" {
			r.wrong(v.rng, "open() is a condition and no value", `write open("office") ? ring.sales : user.bob`)
			return v, false
		}
		if e.Name == "cheapest" {
			return r.readCheapest(v, e)
		}
		r.wrong(e.NameRange, fmt.Sprintf("there is no function %q%s", e.Name, hcltext.DidYouMean(e.Name, functions())), "")
		return v, false
	case *hclsyntax.ForExpr:
		r.wrong(v.rng, "loops are not part of this language", "list the values")
		return v, false
	}
	r.wrong(v.rng, "this is not a plain value", "values are texts, numbers, true, false, lists and nodes like user.alice")
	return v, false
}

func (r *reader) readLiteral(v value, literal cty.Value, negative bool) (value, bool) {
	switch {
	case literal.IsNull():
		r.wrong(v.rng, "null is not a value here", "remove the line")
		return v, false
	case literal.Type() == cty.Bool:
		v.shape, v.flag = shapeFlag, literal.True()
		return v, true
	}
	n, accuracy := literal.AsBigFloat().Int64()
	if accuracy != big.Exact {
		r.wrong(v.rng, "this is not a whole number", "")
		return v, false
	}
	v.shape, v.number = shapeNumber, n
	if negative {
		v.number = -n
	}
	return v, true
}

func (r *reader) readList(v value, e *hclsyntax.TupleConsExpr) (value, bool) {
	v.shape = shapeReferences
	ok := true
	for _, item := range e.Exprs {
		i, fine := r.readValue(item)
		ok = ok && fine
		v.items = append(v.items, i)
	}
	return v, ok
}

func (r *reader) readObject(v value, e *hclsyntax.ObjectConsExpr) (value, bool) {
	v.shape = shapeCall
	ok := true
	for _, item := range e.Items {
		f := field{rng: item.KeyExpr.Range()}
		f.name = strings.TrimSpace(string(f.rng.SliceBytes(r.src)))
		if key, is := item.KeyExpr.(*hclsyntax.ObjectConsKeyExpr); is {
			if text, quoted := key.Wrapped.(*hclsyntax.TemplateExpr); quoted && text.IsStringLiteral() {
				if literal, diags := text.Value(nil); !diags.HasErrors() {
					f.name = literal.AsString()
				}
			}
		}
		var fine bool
		f.value, fine = r.readValue(item.ValueExpr)
		ok = ok && fine
		v.fields = append(v.fields, f)
	}
	return v, ok
}

// readCheapest reads cheapest(trunk.carrier_a, trunk.carrier_b).
func (r *reader) readCheapest(v value, e *hclsyntax.FunctionCallExpr) (value, bool) {
	v.shape = shapeVia
	ok := true
	for _, arg := range e.Args {
		i, fine := r.readValue(arg)
		ok = ok && fine && r.fits("cheapest()", shapeReference, i)
		v.items = append(v.items, i)
	}
	return v, ok
}

// readReference reads user.alice, user.1000 and user["john.smith"].
func (r *reader) readReference(v value, t hcl.Traversal) (value, bool) {
	written := string(v.rng.SliceBytes(r.src))
	if len(t) == 1 {
		r.wrong(v.rng, fmt.Sprintf("%s is not a value", written), fmt.Sprintf("put a text into quotes: %q; a node is written like user.%s", written, written))
		return v, false
	}
	kind, name, ok := t.RootName(), "", len(t) == 2
	switch step := t[1].(type) {
	case hcl.TraverseAttr:
		name = step.Name
	case hcl.TraverseIndex:
		if step.Key.Type() == cty.String && !step.Key.IsNull() && step.Key.IsKnown() {
			name = step.Key.AsString()
		} else {
			// user.0112 is a number to HCL; its digits are taken as they are written.
			name = strings.Trim(string(step.SrcRange.SliceBytes(r.src)), ".[] \t")
		}
	default:
		ok = false
	}
	if !ok || name == "" {
		r.wrong(v.rng, fmt.Sprintf("%s is not the name of a node", written), `a node is written like ring.sales or user["john.smith"]`)
		return v, false
	}
	if !contains(r.kinds, kind) {
		r.wrong(v.rng, fmt.Sprintf("%s is not the name of a node%s", written, r.suggestNode(kind, name)), "calls can go to "+strings.Join(r.kinds, ", "))
		return v, false
	}
	v.shape, v.ref = shapeReference, ref{kind, name}
	return v, true
}

func (r *reader) suggestNode(kind, name string) string {
	if best := hcltext.Closest(kind, r.kinds); best != "" {
		return fmt.Sprintf(" (did you mean %s?)", ref{best, name})
	}
	return ""
}
