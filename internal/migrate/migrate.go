// Package migrate makes a dialplan of what another telephone system was configured with. It reads Asterisk's and FreeSWITCH's files and writes a
// plan in the language of package dialplan that compiles, tests of that plan made from what the old files say, a list of accounts, and a report.
// What has no counterpart is listed with its place and never guessed: a call that would go there is refused by a node that says so.
package migrate

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"tandem/dialplan"
)

// Bounds of what is read. A larger configuration is refused, not cut.
const (
	mostFiles   = 2000
	mostBytes   = 10 << 20 // all files together
	deepest     = 16       // files that include files
	mostSteps   = 20_000   // of calls that are followed through the old plan, and mostAgain for each of its lines
	mostAgain   = 20
	mostMatches = 1000 // numbers or beginnings that one pattern stands for
	mostNodes   = 20_000
	mostTests   = 3000
)

// Options say what the old files do not.
type Options struct {
	Tenant   string   // "" = main
	Domains  []string // SIP domains of the tenant
	Country  string   // calling code without "+": makes numbers of the world's network of those that are written as they are dialled
	TimeZone string   // "" = UTC
}

// Result is what an import comes to.
type Result struct {
	Plan     []byte    // the text of the plan; it compiles, and its tests pass
	Accounts []Account // sorted by user
	Secrets  []Secret  // of trunks, sorted by name
	Mapped   []Mapped
	Unmapped []Remark // what has no counterpart, or could not be read
	Check    []Remark // what a person should look at before the plan is put in force
	Nodes    int      // of the plan
	Tests    int      // of the plan, all of which pass
}

// Account is a user with a password.
type Account struct{ Tenant, User, Password, Extension, Display string }

// Secret is the password of a trunk, by the name that the plan calls it.
type Secret struct{ Name, Password string }

// Mapped says what became of something.
type Mapped struct {
	At, What, Became string
}

// Remark is a sentence about a place in the old files. At is "file:line", "" when it is about the whole.
type Remark struct {
	At, What, Why string
	place         place
}

// place is a line of a file that is imported.
type place struct {
	file string
	line int
}

func (p place) String() string {
	if p.file == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", p.file, p.line)
}

// maker puts a result together. It is used by one goroutine.
type maker struct {
	Options
	result  Result
	nodes   []*node
	byKey   map[string]*node // nodes that were made of the same words at the same place
	hours   []*hours
	starts  []start
	already map[Remark]bool
	owners  map[string]*node            // how numbers begin that leave the house, as plans write it
	sent    map[*node]map[string]string // what trunks are sent for numbers that begin so
	proofs  []string                    // tests, as text
	proved  map[string]bool             // their names
	times   map[string]time.Time        // at which calendars are as asked
	full    bool
}

func newMaker(o Options) (*maker, error) {
	o.Tenant = cmp.Or(o.Tenant, "main")
	m := &maker{Options: o, byKey: map[string]*node{}, already: map[Remark]bool{}, owners: map[string]*node{}, sent: map[*node]map[string]string{}, proved: map[string]bool{}, times: map[string]time.Time{}}
	// The rules for these words are those of plans, so a plan is asked.
	if _, diags := dialplan.Compile([]dialplan.Source{{Name: "options", Text: m.head()}}); dialplan.Failed(diags) {
		return nil, fmt.Errorf("%s: %s", diags[0].Summary, diags[0].Detail)
	}
	return m, nil
}

func (m *maker) unmapped(at place, what, why string) {
	m.remark(&m.result.Unmapped, Remark{at.String(), clip(what), why, at})
}

func (m *maker) check(at place, what, why string) {
	m.remark(&m.result.Check, Remark{at.String(), clip(what), why, at})
}

func (m *maker) mapped(at place, what, became string) {
	if key := (Remark{at.String(), clip(what), "mapped: " + became, at}); !m.already[key] {
		m.already[key] = true
		m.result.Mapped = append(m.result.Mapped, Mapped{key.At, key.What, became})
	}
}

func (m *maker) remark(list *[]Remark, r Remark) {
	if !m.already[r] {
		m.already[r] = true
		*list = append(*list, r)
	}
}

// clip keeps long and strange texts out of comments and reports.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError, r == '\u2028', r == '\u2029', r == '\ufeff':
			return -1
		case r < ' ' || r >= 0x7f && r < 0xa0:
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if runes := []rune(s); len(runes) > 120 {
		return string(runes[:117]) + "..."
	}
	return s
}

// e164 reads a number as people of the country dial it; "" when it is none.
func (m *maker) e164(number string) string { return dialplan.E164(m.Country, number) }

// finish makes the text and proves it.
func (m *maker) finish() (*Result, error) {
	m.settle()
	m.prove()
	r := &m.result
	if r.Plan = m.write(); len(r.Plan) > dialplan.MaxBytes {
		return nil, fmt.Errorf("the plan would be larger than %d MiB", dialplan.MaxBytes>>20)
	}
	plan, diags := dialplan.Compile([]dialplan.Source{{Name: "imported.dialplan.hcl", Text: r.Plan}})
	if plan == nil {
		return nil, fmt.Errorf("the plan that was made does not compile, which is a fault of this program: %s\n%s", diags[0].String(), r.Plan)
	}
	for _, d := range diags {
		if strings.Contains(d.Summary, "ends calls ") { // so they did before
			continue
		}
		m.check(place{}, fmt.Sprintf("line %d of the plan: %s", d.Line, d.Summary), d.Detail)
	}
	for _, t := range plan.Tenants() {
		r.Nodes, r.Tests = r.Nodes+t.Nodes, r.Tests+t.Tests
	}
	for _, s := range plan.Sounds() {
		if strings.Contains(s.Play, "/") {
			m.check(place{}, s.Play, "this prompt is named by the plan: put its recording where prompts are looked for (docs/media.md)")
		}
	}
	for _, list := range [][]Remark{r.Unmapped, r.Check} {
		slices.SortStableFunc(list, func(a, b Remark) int {
			if (a.At == "") != (b.At == "") { // what is about the whole comes last
				return strings.Compare(b.At, a.At)
			}
			return cmp.Or(strings.Compare(a.place.file, b.place.file), a.place.line-b.place.line)
		})
	}
	slices.SortFunc(r.Accounts, func(a, b Account) int { return strings.Compare(a.User, b.User) })
	slices.SortFunc(r.Secrets, func(a, b Secret) int { return strings.Compare(a.Name, b.Name) })
	return r, nil
}

// secret keeps the password of a trunk under a name.
func (m *maker) secret(name, password string) {
	if !slices.ContainsFunc(m.result.Secrets, func(s Secret) bool { return s.Name == name }) {
		m.result.Secrets = append(m.result.Secrets, Secret{name, password})
	}
}

// Report is the result in words, as Markdown. It contains no passwords.
func (r *Result) Report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Import\n\nThe plan has %d nodes and %d tests, all of which pass. %d accounts and %d secrets of trunks were found.\n", r.Nodes, r.Tests, len(r.Accounts), len(r.Secrets))
	remarks := func(title, none string, list []Remark) {
		fmt.Fprintf(&b, "\n## %s\n\n", title)
		if len(list) == 0 {
			b.WriteString(none + "\n")
		}
		for _, x := range list {
			b.WriteString("- ")
			if x.At != "" {
				b.WriteString(x.At + ": ")
			}
			fmt.Fprintf(&b, "`%s`: %s\n", strings.ReplaceAll(x.What, "`", "'"), x.Why)
		}
	}
	remarks("Not imported", "Everything that was found has its counterpart.", r.Unmapped)
	remarks("To be checked", "Nothing.", r.Check)
	b.WriteString("\n## Imported\n\n")
	for _, x := range r.Mapped {
		fmt.Fprintf(&b, "- %s: `%s`: %s\n", x.At, strings.ReplaceAll(x.What, "`", "'"), x.Became)
	}
	return b.String()
}

// folder reads files and counts what it has read.
type folder struct {
	fsys  fs.FS
	files int
	bytes int
}

// errTooMuch is what a folder says that holds more than one import may read.
var errTooMuch = fmt.Errorf("the configuration is too large: %d files and %d MiB are the most", mostFiles, mostBytes>>20)

func (f *folder) read(name string) ([]byte, error) {
	file, err := f.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", name)
	}
	if f.files++; f.files > mostFiles || info.Size() > int64(mostBytes-f.bytes) {
		return nil, errTooMuch
	}
	text, err := fs.ReadFile(f.fsys, name)
	f.bytes += len(text)
	if f.bytes > mostBytes {
		return nil, errTooMuch
	}
	return text, err
}

// glob finds the files that an include means: a path in the folder, below it, or one that is written as it was on the old machine (root).
func (f *folder) glob(from, pattern string, roots ...string) []string {
	for _, root := range roots {
		if rest, ok := strings.CutPrefix(pattern, root); ok {
			pattern = rest
			break
		}
	}
	for _, p := range []string{pattern, path.Join(path.Dir(from), pattern)} {
		p = path.Clean(p)
		if !fs.ValidPath(p) {
			continue
		}
		if found, err := fs.Glob(f.fsys, p); err == nil && len(found) > 0 {
			return found
		}
	}
	return nil
}

// has tells whether the folder has a file.
func (f *folder) has(name string) bool {
	info, err := fs.Stat(f.fsys, name)
	return err == nil && !info.IsDir()
}

var errNothing = errors.New("nothing to import")
