package configs

import (
	"fmt"
	"sort"

	"github.com/hashicorp/hcl/v2"

	"tandem/internal/hcltext"
)

// Diagnostic is one mistake, said to the person who can mend it; its File is a path, or "environment variable X".
type Diagnostic = hcltext.Diagnostic

// A diagnostic that is an Error keeps its configuration from being used, a Warning does not.
const (
	Error   = hcltext.Error
	Warning = hcltext.Warning
)

// Failed reports whether any of the diagnostics is an error.
func Failed(diags []Diagnostic) bool { return hcltext.Failed(diags) }

// place is where a value was set: a range of the file, or an environment variable.
type place struct {
	file string
	rng  hcl.Range // zero for the environment
}

func (p place) String() string {
	if p.rng.Start.Line == 0 {
		return p.file
	}
	return fmt.Sprintf("line %d", p.rng.Start.Line)
}

func (p place) diagnostic(src []byte, summary, detail string) Diagnostic {
	return Diagnostic{
		File: p.file, Line: p.rng.Start.Line, Col: p.rng.Start.Column,
		Summary: summary, Detail: detail, Excerpt: hcltext.Excerpt(src, p.rng),
	}
}

func sorted(diags []Diagnostic) []Diagnostic {
	sort.SliceStable(diags, func(i, j int) bool {
		a, b := diags[i], diags[j]
		if (a.Line == 0) != (b.Line == 0) {
			return a.Line != 0
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Col < b.Col
	})
	return diags
}
