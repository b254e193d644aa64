package dialplan

import (
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
)

// Severity tells mistakes that keep a plan from being used from odd things that do not.
type Severity uint8

const (
	Error   Severity = iota // the plan cannot be used
	Warning                 // it can, but probably does not say what was meant
)

func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// MarshalText writes the severity as a word.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// maxDiagnostics bounds what one compilation reports; a person mends the first ones and asks again.
const maxDiagnostics = 200

// Diagnostic is one mistake, said to the person who can mend it.
type Diagnostic struct {
	Severity  Severity `json:"severity"`
	File      string   `json:"file,omitempty"`    // name of the Source
	Line      int      `json:"line,omitempty"`    // from 1; 0 when the mistake has no place
	Col       int      `json:"col,omitempty"`     // from 1, in characters
	Summary   string   `json:"summary"`           // what is wrong, one clause
	Detail    string   `json:"detail,omitempty"`  // what to do instead
	Excerpt   string   `json:"excerpt,omitempty"` // the line with the place marked below it
	startByte int
}

// Error is "file:line:col: summary: detail".
func (d Diagnostic) Error() string {
	var b strings.Builder
	b.WriteString(d.File)
	if d.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", d.Line, d.Col)
	}
	if d.File != "" {
		b.WriteString(": ")
	}
	if d.Severity == Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(d.Summary)
	if d.Detail != "" {
		b.WriteString(": ")
		b.WriteString(d.Detail)
	}
	return b.String()
}

// String is Error with the excerpt below it, as a terminal shows it.
func (d Diagnostic) String() string {
	if d.Excerpt == "" {
		return d.Error()
	}
	return d.Error() + "\n" + d.Excerpt
}

// Failed reports whether any of the diagnostics is an error.
func Failed(diags []Diagnostic) bool {
	for _, d := range diags {
		if d.Severity == Error {
			return true
		}
	}
	return false
}

// diagnostics gathers mistakes while their sources are at hand for excerpts.
type diagnostics struct {
	sources map[string][]byte
	order   map[string]int
	list    []Diagnostic
	dropped int
}

func newDiagnostics(sources []Source) *diagnostics {
	d := &diagnostics{sources: map[string][]byte{}, order: map[string]int{}}
	for i, s := range sources {
		if _, twice := d.order[s.Name]; !twice {
			d.sources[s.Name], d.order[s.Name] = s.Text, i
		}
	}
	return d
}

func (d *diagnostics) wrong(rng hcl.Range, summary, detail string) {
	d.add(Error, rng, summary, detail)
}

func (d *diagnostics) warn(rng hcl.Range, summary, detail string) {
	d.add(Warning, rng, summary, detail)
}

func (d *diagnostics) add(severity Severity, rng hcl.Range, summary, detail string) {
	if len(d.list) >= maxDiagnostics {
		d.dropped++
		return
	}
	d.list = append(d.list, Diagnostic{
		Severity: severity, File: rng.Filename, Line: rng.Start.Line, Col: rng.Start.Column,
		Summary: summary, Detail: detail, Excerpt: excerpt(d.sources[rng.Filename], rng), startByte: rng.Start.Byte,
	})
}

func (d *diagnostics) failed() bool { return Failed(d.list) || d.dropped > 0 }

// sorted gives the diagnostics in the order of the sources.
func (d *diagnostics) sorted() []Diagnostic {
	sort.SliceStable(d.list, func(i, j int) bool {
		a, b := d.list[i], d.list[j]
		if d.order[a.File] != d.order[b.File] {
			return d.order[a.File] < d.order[b.File]
		}
		return a.startByte < b.startByte
	})
	if d.dropped > 0 {
		d.list = append(d.list, Diagnostic{Summary: fmt.Sprintf("and %d more", d.dropped), Detail: "mend these first"})
		d.dropped = 0
	}
	return d.list
}

// excerpt shows the line of rng with a mark below it, shortened around the mark when the line is long.
func excerpt(src []byte, rng hcl.Range) string {
	const widest = 120
	if rng.Start.Line == 0 || rng.Start.Byte > len(src) {
		return ""
	}
	begin, end := rng.Start.Byte, rng.Start.Byte
	for begin > 0 && src[begin-1] != '\n' && (rng.Start.Byte-begin < widest*3/4 || !utf8.RuneStart(src[begin])) {
		begin--
	}
	for end < len(src) && src[end] != '\n' && src[end] != '\r' && (end-begin < widest || !utf8.RuneStart(src[end])) {
		end++
	}
	before := printable(src[begin:rng.Start.Byte])
	line := before + printable(src[rng.Start.Byte:end])
	marked := min(max(rng.End.Byte, rng.Start.Byte+1), max(end, rng.Start.Byte+1), len(src))
	width := max(1, utf8.RuneCountInString(printable(src[rng.Start.Byte:max(marked, rng.Start.Byte)])))
	label := fmt.Sprintf("%5d", rng.Start.Line)
	return fmt.Sprintf("%s | %s\n%s | %s%s", label, line,
		strings.Repeat(" ", len(label)), strings.Repeat(" ", utf8.RuneCountInString(before)), strings.Repeat("^", width))
}

// printable replaces what a terminal must not be sent; a tab becomes one blank.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\r' || r == '\n':
			return ' '
		case r < ' ' || r == 0x7f || r == utf8.RuneError || r >= 0x80 && r < 0xa0:
			return '·'
		}
		return r
	}, string(b))
}
