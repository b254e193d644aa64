package dialplan

import (
	"fmt"
	"slices"
	"strings"
)

const mostRewrites = 100 // of one trunk in one direction

// rewriting is how a trunk writes numbers: by how they begin, the longest first.
type rewriting []rewrite

type rewrite struct{ from, to string }

// rewriting takes how numbers begin and what is put there.
func (d *drafter) rewriting(v value) (all rewriting) {
	if len(v.fields) > mostRewrites {
		d.wrong(v.rng, fmt.Sprintf("there are %d ways to rewrite numbers", len(v.fields)), fmt.Sprintf("%d are the most", mostRewrites))
		return nil
	}
	for _, f := range v.fields {
		switch {
		case f.value.shape != shapeText:
			d.wrong(f.value.rng, "what is put in front of numbers is a text in quotes", `like { "+44" = "0" }`)
		case f.name != "" && !isBeginning(f.name):
			d.wrong(f.rng, fmt.Sprintf("no number begins with %q", f.name), `numbers begin with "+" and digits, or with digits`)
		case f.value.text != "" && !isBeginning(f.value.text):
			d.wrong(f.value.rng, fmt.Sprintf("no number begins with %q", f.value.text), `write "+", digits, * or #, or "" to put nothing there`)
		case slices.ContainsFunc(all, func(r rewrite) bool { return r.from == f.name }):
			d.wrong(f.rng, fmt.Sprintf("%q is rewritten twice", f.name), "keep one")
		default:
			all = append(all, rewrite{f.name, f.value.text})
		}
	}
	slices.SortFunc(all, func(a, b rewrite) int { return len(b.from) - len(a.from) })
	return all
}

func isBeginning(s string) bool {
	digits := strings.TrimPrefix(s, "+")
	return s != "" && len(s) <= 2*mostDigits && strings.Trim(digits, "0123456789*#") == ""
}

// write appends the number as the trunk writes it.
func write[number string | []byte](r rewriting, dst []byte, n number) []byte {
	for i := range r {
		if w := &r[i]; len(n) >= len(w.from) && string(n[:len(w.from)]) == w.from {
			return append(append(dst, w.to...), n[len(w.from):]...)
		}
	}
	return append(dst, n...)
}
