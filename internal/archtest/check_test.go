package archtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// source is one parsed Go file.
type source struct {
	path string // slash-separated, from the root of the repository
	file *ast.File
}

func (s source) dir() string  { return strings.TrimSuffix(path.Dir(s.path), ".") }
func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// checker collects what breaks a rule, one line each: file:line: what.
type checker struct {
	set     *token.FileSet
	sources []source
	faults  []string
}

// check reads all files of the tree and returns every fault, sorted.
func check(tree fs.FS) ([]string, error) {
	c, err := parse(tree)
	if err != nil {
		return nil, err
	}
	for _, s := range c.sources {
		c.imports(s)
		c.inits(s)
		c.panics(s)
	}
	c.sleeps()
	slices.Sort(c.faults)
	return c.faults, nil
}

// parse reads all files of the tree, and finds stray words on the way.
func parse(tree fs.FS) (*checker, error) {
	c := &checker{set: token.NewFileSet()}
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (slices.Contains(skipDirs, name) || slices.Contains(skipDirs, d.Name())):
			return fs.SkipDir
		case !d.Type().IsRegular() || d.Name() == ".git": // a file in a linked worktree
			return nil
		}
		return c.read(tree, name)
	})
	return c, err
}

func (c *checker) read(tree fs.FS, name string) error {
	text, err := fs.ReadFile(tree, name)
	if err != nil {
		return err
	}
	if bytes.IndexByte(text[:min(len(text), 8000)], 0) >= 0 {
		return nil // not text
	}
	c.strays(name, text)
	if path.Ext(name) != ".go" {
		return nil
	}
	file, err := parser.ParseFile(c.set, name, text, parser.SkipObjectResolution|parser.ParseComments)
	if err != nil {
		return err
	}
	c.sources = append(c.sources, source{path: name, file: file})
	return nil
}

func (c *checker) strays(name string, text []byte) {
	lower := bytes.ToLower(text)
	for _, word := range strayWords {
		if !bytes.Contains(lower, []byte(word.needle)) {
			continue
		}
		for _, at := range regexp.MustCompile(word.expr).FindAllIndex(text, -1) {
			line := 1 + bytes.Count(text[:at[1]], []byte("\n"))
			c.faults = append(c.faults, fmt.Sprintf("%s:%d: %q only makes sense on its author's machine", name, line, text[at[0]:at[1]]))
		}
	}
}

func (c *checker) fault(at token.Pos, format string, args ...any) {
	p := c.set.Position(at)
	c.faults = append(c.faults, fmt.Sprintf("%s:%d: %s", p.Filename, p.Line, fmt.Sprintf(format, args...)))
}

// ruleFor finds the rule with the longest dir that holds dir.
func ruleFor(dir string) (best rule, ok bool) {
	for _, r := range rules {
		match := dir == r.dir || (r.dir != "" && within(dir, r.dir))
		if match && (!ok || len(r.dir) > len(best.dir)) {
			best, ok = r, true
		}
	}
	return best, ok
}

// within says whether a path is prefix or lies below it.
func within(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

func withinAny(path string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return p == "*" || within(path, p) })
}

// imports enforces the table.
func (c *checker) imports(s source) {
	r, ok := ruleFor(s.dir())
	if !ok {
		c.fault(s.file.Package, "folder %q has no rule in internal/archtest; which question does it answer that no other folder does?", s.dir())
		return
	}
	for _, spec := range s.file.Imports {
		what, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has checked it
		}
		if !mayImport(r, s, what) {
			c.fault(spec.Pos(), "%s may not import %s", or(s.dir(), "the root package"), what)
		}
		if what == wirePackage && r.dir == "sip" && (spec.Name == nil || spec.Name.Name != wireName) {
			c.fault(spec.Pos(), "%s is imported as %s", wirePackage, wireName)
		}
	}
}

func mayImport(r rule, s source, what string) bool {
	if within(what, module) {
		own := strings.TrimPrefix(strings.TrimPrefix(what, module), "/")
		target, _ := ruleFor(own)
		return target.dir == r.dir || withinAny(own, r.own) || (s.isTest() && withinAny(own, ourTestLibraries))
	}
	first, _, _ := strings.Cut(what, "/")
	if !strings.Contains(first, ".") {
		return true // the standard library
	}
	return withinAny(what, r.outside) || (s.isTest() && withinAny(what, testLibraries))
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func (c *checker) inits(s source) {
	for _, d := range s.file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			c.fault(f.Pos(), "no init(): what a part needs stands in its Config or constructor")
		}
	}
}

// panics wants every call of panic to stand in a file that may, and every file that may to do so, so that the list stays true.
func (c *checker) panics(s source) {
	if s.isTest() {
		return
	}
	allowed, used := mayPanic[s.path] != "", false
	ast.Inspect(s.file, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && isIdent(call.Fun, "panic") {
			used = true
			if !allowed {
				c.fault(call.Pos(), "panic, and %s is not in the list of files that may, with a reason", s.path)
			}
		}
		return true
	})
	if allowed && !used {
		c.fault(s.file.Package, "%s may panic but does not; take it off the list", s.path)
	}
}

// sleeps finds tests that wait for the real clock. time.Sleep is fine in a synctest bubble, where time is fake; so a test, fuzz or
// benchmark function that reaches a time.Sleep other than through an argument of synctest.Test, or of a function that calls
// synctest.Test itself, is at fault. Calls are followed by name through the test files of the folder.
func (c *checker) sleeps() {
	packages := map[string][]source{}
	for _, s := range c.sources {
		if s.isTest() {
			packages[s.dir()] = append(packages[s.dir()], s)
		}
	}
	for _, files := range packages {
		graph := sleepGraph(files)
		for _, name := range graph.entries {
			if at, by := graph.reach(name, map[string]bool{}); at.IsValid() {
				c.fault(at, "time.Sleep on the real clock in %s; use testing/synctest", by)
			}
		}
	}
}

// callGraph knows what every function of some test files calls outside of synctest.Test.
type callGraph struct {
	bubbles map[string]bool // functions that call synctest.Test
	calls   map[string][]string
	sleeps  map[string]token.Pos
	entries []string // tests, benchmarks, fuzz targets
}

func sleepGraph(files []source) callGraph {
	g := callGraph{bubbles: map[string]bool{}, calls: map[string][]string{}, sleeps: map[string]token.Pos{}}
	var functions []*ast.FuncDecl
	for _, s := range files {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
				functions = append(functions, f)
				g.bubbles[f.Name.Name] = g.bubbles[f.Name.Name] || opensBubble(f)
			}
		}
	}
	for _, f := range functions {
		g.add(f)
	}
	return g
}

func opensBubble(f *ast.FuncDecl) (found bool) {
	ast.Inspect(f.Body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		found = found || (ok && isSynctest(call))
		return true
	})
	return found
}

func isSynctest(call *ast.CallExpr) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	return ok && isIdent(sel.X, "synctest") && sel.Sel.Name == "Test"
}

func (g *callGraph) add(f *ast.FuncDecl) {
	name := f.Name.Name
	if f.Recv != nil {
		name = "." + name
	} else if slices.ContainsFunc([]string{"Test", "Benchmark", "Fuzz", "Example"}, func(p string) bool { return strings.HasPrefix(name, p) }) {
		g.entries = append(g.entries, name)
	}
	ast.Inspect(f.Body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if isSynctest(call) {
			return false // fake time in there
		}
		switch callee := call.Fun.(type) {
		case *ast.Ident:
			g.calls[name] = append(g.calls[name], callee.Name)
			return !g.bubbles[callee.Name]
		case *ast.SelectorExpr:
			if isIdent(callee.X, "time") && callee.Sel.Name == "Sleep" {
				g.sleeps[name] = call.Pos()
			}
			g.calls[name] = append(g.calls[name], "."+callee.Sel.Name)
		}
		return true
	})
}

// reach returns the first sleep that can be reached from a function, and the function it stands in.
func (g *callGraph) reach(name string, seen map[string]bool) (token.Pos, string) {
	if seen[name] {
		return token.NoPos, ""
	}
	seen[name] = true
	if at := g.sleeps[name]; at.IsValid() {
		return at, strings.TrimPrefix(name, ".")
	}
	for _, callee := range g.calls[name] {
		if at, by := g.reach(callee, seen); at.IsValid() {
			return at, by
		}
	}
	return token.NoPos, ""
}

func isIdent(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}
