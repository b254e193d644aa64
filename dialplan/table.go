package dialplan

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"tandem/internal/hcltext"
)

// isTable tells a table from a plan by the name of its source. A table has a line for each prefix and its fields behind commas; lines that
// are empty or begin with # say nothing.
func isTable(source string) bool { return strings.HasSuffix(source, ".csv") }

// row is a line of a table: its first two fields, the second may be empty.
type row struct {
	prefix, price   string
	rng, priceRange hcl.Range
}

// table finds the table that a plan names: a source of this name, in whatever folder. "" when there is none.
func (d *drafter) table(v value) (source string) {
	var found []string
	for _, name := range d.tables {
		if name == v.text || strings.HasSuffix(name, "/"+v.text) {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 1:
		return found[0]
	case 0:
		base := make([]string, len(d.tables))
		for i, name := range d.tables {
			base[i] = name[strings.LastIndexByte(name, '/')+1:]
		}
		d.wrong(v.rng, fmt.Sprintf("there is no table %q%s", v.text, hcltext.DidYouMean(v.text, base)), "give the file together with the plan; its name ends in .csv")
	default:
		d.wrong(v.rng, fmt.Sprintf("%q could be %s", v.text, strings.Join(found, " or ")), "write more of the path")
	}
	return ""
}

// rows cuts a table into its fields.
func (d *drafter) rows(source string) (all []row) {
	text := d.sources[source]
	for line, begin := 1, 0; begin < len(text); line++ {
		end := begin + bytes.IndexByte(text[begin:], '\n')
		if end < begin {
			end = len(text)
		}
		if r, ok := readRow(source, line, begin, string(text[begin:end])); ok {
			all = append(all, r)
		}
		begin = end + 1
	}
	return all
}

func readRow(source string, line, begin int, text string) (row, bool) {
	if text = strings.TrimRight(text, " \t\r"); text == "" || text[0] == '#' {
		return row{}, false
	}
	first, rest, _ := strings.Cut(text, ",")
	second, _, _ := strings.Cut(rest, ",")
	place := func(field string, from int) (string, hcl.Range) {
		trimmed := strings.TrimLeft(field, " \t")
		from += len(field) - len(trimmed)
		trimmed = strings.TrimRight(trimmed, " \t")
		return trimmed, hcl.Range{
			Filename: source, Start: hcl.Pos{Line: line, Column: from + 1, Byte: begin + from},
			End: hcl.Pos{Line: line, Column: from + len(trimmed) + 1, Byte: begin + from + len(trimmed)},
		}
	}
	var r row
	r.prefix, r.rng = place(first, 0)
	r.price, r.priceRange = place(second, min(len(first)+1, len(text)))
	return r, true
}

// unread warns of tables that no node reads.
func (d *drafter) unread() {
	for _, name := range d.tables {
		if !d.read[name] {
			d.warn(hcl.Range{Filename: name}, "nothing reads this table", `name it where prefixes or prices are: match = ["uk.csv"], rates = "carrier_a.csv"`)
		}
	}
}

func tablesOf(sources []Source) (all []string) {
	for _, s := range sources {
		if isTable(s.Name) {
			all = append(all, s.Name)
		}
	}
	slices.Sort(all)
	return all
}
