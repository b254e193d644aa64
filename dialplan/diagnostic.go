package dialplan

import (
	"fmt"
	"sort"

	"github.com/hashicorp/hcl/v2"

	"tandem/internal/hcltext"
)

// Diagnostic is one mistake, said to the person who can mend it; its File is the name of a Source.
type Diagnostic = hcltext.Diagnostic

// A diagnostic that is an Error keeps its plan from being used, a Warning does not.
const (
	Error   = hcltext.Error
	Warning = hcltext.Warning
)

// Failed reports whether any of the diagnostics is an error.
func Failed(diags []Diagnostic) bool { return hcltext.Failed(diags) }

// maxDiagnostics bounds what one compilation reports; a person mends the first ones and asks again.
const maxDiagnostics = 200

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

func (d *diagnostics) add(severity hcltext.Severity, rng hcl.Range, summary, detail string) {
	if len(d.list) >= maxDiagnostics {
		d.dropped++
		return
	}
	d.list = append(d.list, Diagnostic{
		Severity: severity, File: rng.Filename, Line: rng.Start.Line, Col: rng.Start.Column,
		Summary: summary, Detail: detail, Excerpt: hcltext.Excerpt(d.sources[rng.Filename], rng),
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
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Col < b.Col
	})
	if d.dropped > 0 {
		d.list = append(d.list, Diagnostic{Summary: fmt.Sprintf("and %d more", d.dropped), Detail: "mend these first"})
		d.dropped = 0
	}
	return d.list
}
