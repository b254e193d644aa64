package configs

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"tandem/internal/hcltext"
)

//go:embed tandem.hcl
var sample []byte

// Sample is the annotated tandem.hcl with every key, its default and a sentence.
func Sample() []byte { return append([]byte(nil), sample...) }

// maxFileBytes bounds the file. The sample, with its comments, takes a fifteenth.
const maxFileBytes = 128 << 10

// Load reads the file at path ("" = none: the defaults) and lays the variables of env (as os.Environ gives them) over it.
// The diagnostics are all mistakes in the order of the file; the Config may be used only when Failed says false.
func Load(path string, env []string) (Config, []Diagnostic) {
	if path == "" {
		return Parse("", nil, env)
	}
	src, err := readFile(path)
	if err != nil {
		return Default(), []Diagnostic{{File: path, Summary: "the configuration cannot be read", Detail: reason(err)}}
	}
	return Parse(path, src, env)
}

// Parse is Load for a text that is already in memory; name stands in the diagnostics.
func Parse(name string, src []byte, env []string) (Config, []Diagnostic) {
	c := Default()
	l := &loader{name: name, src: src, schema: schema(&c), places: map[string]place{}}
	l.readText()
	l.readEnvironment(env)
	c.Cluster.TokenEmpty = l.tokenEmpty && c.Cluster.Listen != ""
	if !Failed(l.diags) {
		l.checkWhole(&c)
	}
	return c, sorted(l.diags)
}

// Check finds every mistake of a Config that was put together in a program and not read from a file.
func (c Config) Check() []Diagnostic {
	into := Default()
	l := &loader{schema: schema(&into), places: map[string]place{}}
	from := schema(&c)
	for i, s := range l.schema {
		for j, k := range s.keys {
			name := s.name + "." + k.name
			for _, f := range k.set(from[i].keys[j].get()) {
				l.diags = append(l.diags, Diagnostic{Summary: name + ": " + f.summary, Detail: f.detail})
			}
		}
	}
	if !Failed(l.diags) {
		l.checkWhole(&into)
	}
	return l.diags
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	return src, nil
}

func reason(err error) string {
	var pathError *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such file"
	case errors.Is(err, fs.ErrPermission):
		return "permission denied"
	case errors.As(err, &pathError):
		return pathError.Err.Error()
	}
	return err.Error()
}

// loader fills a Config through its schema and remembers where each value came from.
type loader struct {
	name   string
	src    []byte
	schema []section
	places map[string]place // "sip.udp", and "sip.udp[1]" for items
	diags  []Diagnostic

	tokenEmpty bool // TANDEM_CLUSTER_TOKEN is there and says nothing
}

func (l *loader) wrong(rng hcl.Range, summary, detail string) {
	l.diags = append(l.diags, place{l.name, rng}.diagnostic(l.src, summary, detail))
}

func (l *loader) readText() {
	if len(l.src) > maxFileBytes {
		l.diags = append(l.diags, Diagnostic{File: l.name, Summary: "the file is too large", Detail: fmt.Sprintf("a configuration has at most %d bytes", maxFileBytes)})
		return
	}
	body := hcltext.Parse(l.name, l.src, l.wrong)
	if body == nil {
		return
	}
	for _, a := range body.Attributes {
		l.strayAttribute(a)
	}
	first := map[string]hcl.Range{}
	for _, b := range body.Blocks {
		l.readBlock(b, first)
	}
}

func (l *loader) strayAttribute(a *hclsyntax.Attribute) {
	if s := l.section(a.Name); s != nil {
		l.wrong(a.NameRange, fmt.Sprintf("%s is a block", a.Name), fmt.Sprintf("write %s { ... } without =", a.Name))
		return
	}
	detail := "known blocks: " + strings.Join(l.sectionNames(), ", ")
	if homes := l.sectionsWith(a.Name); homes != nil {
		detail = fmt.Sprintf("put it into its block: %s { %s = ... }", strings.Join(homes, " or "), a.Name)
	}
	l.wrong(a.NameRange, fmt.Sprintf("%q stands outside of every block", a.Name), detail)
}

func (l *loader) readBlock(b *hclsyntax.Block, first map[string]hcl.Range) {
	s := l.section(b.Type)
	if s == nil {
		suggestion, detail := hcltext.DidYouMean(b.Type, l.sectionNames()), ""
		if suggestion == "" {
			detail = "known blocks: " + strings.Join(l.sectionNames(), ", ")
		}
		l.wrong(b.TypeRange, fmt.Sprintf("unknown block %q%s", b.Type, suggestion), detail)
		return
	}
	if at, twice := first[b.Type]; twice {
		l.wrong(b.TypeRange, fmt.Sprintf("a second %s block", b.Type), fmt.Sprintf("the first is in line %d; put all keys into one", at.Start.Line))
		return
	}
	first[b.Type] = b.TypeRange
	if len(b.Labels) > 0 {
		l.wrong(b.LabelRanges[0], fmt.Sprintf("a %s block has no name", b.Type), fmt.Sprintf("write %s { ... }", b.Type))
	}
	for _, inner := range b.Body.Blocks {
		detail := ""
		if s.key(inner.Type) != nil {
			detail = fmt.Sprintf("write %s = ...", inner.Type)
		}
		l.wrong(inner.TypeRange, fmt.Sprintf("%s has no blocks inside", b.Type), detail)
	}
	for _, a := range b.Body.Attributes {
		l.readAttribute(s, a)
	}
}

func (l *loader) readAttribute(s *section, a *hclsyntax.Attribute) {
	k := s.key(a.Name)
	if k == nil {
		suggestion := hcltext.DidYouMean(a.Name, s.keyNames())
		detail := s.known(suggestion)
		if homes := l.sectionsWith(a.Name); suggestion == "" && homes != nil {
			detail = fmt.Sprintf("a key of this name belongs into the %s block", strings.Join(homes, " or "))
		}
		l.wrong(a.NameRange, fmt.Sprintf("%s has no key %q%s", s.name, a.Name, suggestion), detail)
		return
	}
	v, items, ok := l.evaluate(a.Expr, k)
	if !ok {
		return
	}
	name := s.name + "." + k.name
	l.places[name] = place{l.name, a.Expr.Range()}
	for i, rng := range items {
		l.places[itemName(name, i)] = place{l.name, rng}
	}
	for _, f := range k.set(v) {
		rng := a.Expr.Range()
		if f.item >= 0 && f.item < len(items) {
			rng = items[f.item]
		}
		l.wrong(rng, f.summary, f.detail)
	}
}

func itemName(name string, i int) string { return fmt.Sprintf("%s[%d]", name, i) }

// evaluate takes a plain value out of the text; items are the ranges of a list's texts.
func (l *loader) evaluate(expr hclsyntax.Expression, k *key) (v value, items []hcl.Range, ok bool) {
	if tuple, is := expr.(*hclsyntax.TupleConsExpr); is && (k.kind == kindList || k.kind == kindTextOrList) {
		ok = true
		for _, e := range tuple.Exprs {
			plain, fine := l.plain(e)
			if fine && plain.Type() != cty.String {
				l.wrong(e.Range(), fmt.Sprintf("%s takes texts in quotes, this is %s", k.name, typeWords(plain)), "")
				fine = false
			}
			if !fine {
				ok = false
				continue
			}
			v.list = append(v.list, plain.AsString())
			items = append(items, e.Range())
		}
		return v, items, ok
	}
	plain, fine := l.plain(expr)
	if !fine {
		return v, nil, false
	}
	switch {
	case k.kind == kindText && plain.Type() == cty.String:
		v.text = plain.AsString()
	case k.kind == kindFlag && plain.Type() == cty.Bool:
		v.flag = plain.True()
	case k.kind == kindTextOrList && plain.Type() == cty.String:
		v.list, items = []string{plain.AsString()}, []hcl.Range{expr.Range()}
	case k.kind == kindNumber && plain.Type() == cty.Number:
		n, accuracy := plain.AsBigFloat().Int64()
		if accuracy != big.Exact {
			l.wrong(expr.Range(), fmt.Sprintf("%s takes a whole number", k.name), "")
			return v, nil, false
		}
		v.number = n
	default:
		l.wrong(expr.Range(), fmt.Sprintf("%s takes %s, this is %s", k.name, k.kind, typeWords(plain)), insteadOf(k.kind, plain))
		return v, nil, false
	}
	return v, items, true
}

// plain accepts literals only: the file has no variables, functions, templates or operators.
func (l *loader) plain(expr hclsyntax.Expression) (cty.Value, bool) {
	const only = "values are plain texts, numbers, true, false and lists"
	switch e := expr.(type) {
	case *hclsyntax.LiteralValueExpr:
		if !e.Val.IsNull() && e.Val.IsKnown() {
			return e.Val, true
		}
		l.wrong(expr.Range(), "null is not a value here", "remove the line to get the default")
		return cty.NilVal, false
	case *hclsyntax.TemplateExpr:
		if e.IsStringLiteral() {
			v, diags := e.Value(nil)
			return v, !diags.HasErrors()
		}
		l.wrong(expr.Range(), "templates are not part of this language", `write the text itself; "$${" stands for "${"`)
		return cty.NilVal, false
	case *hclsyntax.UnaryOpExpr:
		if lit, is := e.Val.(*hclsyntax.LiteralValueExpr); is && e.Op == hclsyntax.OpNegate && lit.Val.Type() == cty.Number {
			return lit.Val.Negate(), true
		}
	case *hclsyntax.TupleConsExpr:
		return cty.EmptyTupleVal, true
	case *hclsyntax.ScopeTraversalExpr:
		word := strings.TrimSpace(string(expr.Range().SliceBytes(l.src)))
		l.wrong(expr.Range(), fmt.Sprintf("%s is not a value", word), fmt.Sprintf("put a text into quotes: %q", word))
		return cty.NilVal, false
	case *hclsyntax.FunctionCallExpr:
		l.wrong(expr.Range(), "functions are not part of this language", only)
		return cty.NilVal, false
	}
	l.wrong(expr.Range(), "this is not a plain value", only)
	return cty.NilVal, false
}

func typeWords(v cty.Value) string {
	switch t := v.Type(); {
	case t == cty.String:
		return "a text"
	case t == cty.Number:
		return "a number"
	case t == cty.Bool:
		return "true or false"
	case t.IsTupleType():
		return "a list"
	}
	return "something else"
}

// insteadOf shows the value in the type that was wanted, when that is easy to say.
func insteadOf(want kind, v cty.Value) string {
	if v.Type() != cty.String {
		return ""
	}
	s := v.AsString()
	switch want {
	case kindList:
		return fmt.Sprintf("write [%q]", s)
	case kindNumber:
		if _, err := strconv.ParseInt(s, 10, 64); err == nil {
			return "write " + s + " without quotes"
		}
	case kindFlag:
		if s == "true" || s == "false" {
			return "write " + s + " without quotes"
		}
	}
	return ""
}

func (l *loader) section(name string) *section {
	for i := range l.schema {
		if l.schema[i].name == name {
			return &l.schema[i]
		}
	}
	return nil
}

func (l *loader) sectionNames() (names []string) {
	for _, s := range l.schema {
		names = append(names, s.name)
	}
	return names
}

// sectionsWith lists the sections that have a key of this name.
func (l *loader) sectionsWith(name string) (homes []string) {
	for _, s := range l.schema {
		if s.key(name) != nil {
			homes = append(homes, s.name)
		}
	}
	return homes
}

func (s *section) key(name string) *key {
	for i := range s.keys {
		if s.keys[i].name == name {
			return &s.keys[i]
		}
	}
	return nil
}

// known lists the keys for somebody whose word resembles none of them.
func (s *section) known(suggestion string) string {
	if suggestion != "" {
		return ""
	}
	return "known keys: " + strings.Join(s.keyNames(), ", ")
}

func (s *section) keyNames() (names []string) {
	for _, k := range s.keys {
		names = append(names, k.name)
	}
	return names
}
