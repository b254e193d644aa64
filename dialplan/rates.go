package dialplan

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

const (
	millionths   = 1_000_000
	mostPrice    = 2000 // a minute
	mostMoney    = 1_000_000_000
	mostMinutes  = 10_000_000
	mostAtATime  = 100_000
	fewestPlaces = 6 // behind the point that money can have
)

// rates are what a minute costs over a trunk, by how the number begins.
type rates struct {
	prices []prefix // values are millionths
	rng    hcl.Range
	tree   *prefixes // of prices, once it is made: tenants share it as they share the trunk
}

func (r *rates) finished() prefixes {
	if r.tree == nil {
		tree := newPrefixes(r.prices)
		r.tree = &tree
	}
	return *r.tree
}

// rates takes the prices of a trunk, from a table or as they stand in the plan.
func (d *drafter) rates(v value) *rates {
	r := &rates{rng: v.rng}
	seen := map[string]hcl.Range{}
	if v.shape == shapeText {
		source := d.table(v)
		if known := d.rated[source]; known != nil || source == "" {
			return cmp.Or(known, r)
		}
		d.read[source], d.rated[source] = true, r
		for _, row := range d.rows(source) {
			d.price(r, seen, row.prefix, row.rng, row.price, row.priceRange)
		}
		return r
	}
	for _, f := range v.fields {
		if f.value.shape != shapeText {
			d.wrong(f.value.rng, "a price is a text in quotes", `like { "+44" = "0.01" }`)
			continue
		}
		d.price(r, seen, f.name, f.rng, f.value.text, f.value.rng)
	}
	return r
}

func (d *drafter) price(r *rates, seen map[string]hcl.Range, begins string, rng hcl.Range, price string, priceRange hcl.Range) {
	digits := strings.TrimSuffix(strings.TrimPrefix(begins, "+"), "*")
	if strings.Trim(digits, "0123456789") != "" || begins == "" || len(digits) > mostDigits {
		d.wrong(rng, fmt.Sprintf("%q is not how numbers begin", begins), `write the calling code and what follows, like "+447"`)
		return
	}
	if first, twice := seen[digits]; twice {
		d.wrong(rng, fmt.Sprintf("%q has two prices", begins), "the first is at "+at(first))
		return
	}
	seen[digits] = rng
	amount, ok := money(price, mostPrice)
	if !ok {
		d.wrong(priceRange, fmt.Sprintf("%q is not the price of a minute", price), fmt.Sprintf(`write it with a point, like "0.0125"; %d is the most`, mostPrice))
		return
	}
	r.prices = append(r.prices, prefix{digits: digits, value: int32(amount)})
}

// money reads "12.50" as millionths.
func money(text string, most int64) (amount int64, ok bool) {
	whole, places, _ := strings.Cut(text, ".")
	if whole == "" || len(whole) > 12 || len(places) > fewestPlaces || strings.Trim(whole+places, "0123456789") != "" || strings.HasSuffix(text, ".") {
		return 0, false
	}
	amount, err := strconv.ParseInt(whole+places+strings.Repeat("0", fewestPlaces-len(places)), 10, 64)
	return amount, err == nil && amount <= most*millionths
}

// amount writes millionths as people do.
func amount(m int64) string {
	s := strings.TrimRight(fmt.Sprintf("%d.%06d", m/millionths, m%millionths), "0")
	return strings.TrimSuffix(s, ".")
}
