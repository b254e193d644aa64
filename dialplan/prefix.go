package dialplan

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// prefixes finds the longest of very many prefixes that a number begins with: a tree with a node for each digit, laid out level by level in
// one piece of memory. The children of a node lie side by side, so that a node of 16 bytes knows all ten.
type prefixes struct {
	nodes []prefixNode
}

type prefixNode struct {
	children int32  // index of the first
	has      uint16 // bit d: there is one for digit d; they lie in the order of their digits
	begins   int32  // value of numbers that begin with the digits on the way here, -1 = none
	equals   int32  // value of the number that has just these digits, -1 = none
}

// prefix is digits with a value from 0 on.
type prefix struct {
	digits string
	exact  bool // nothing may follow
	value  int32
}

// newPrefixes makes the tree. No two prefixes are equal; list is put into order.
func newPrefixes(list []prefix) prefixes {
	if len(list) == 0 {
		return prefixes{}
	}
	slices.SortFunc(list, func(a, b prefix) int { return strings.Compare(a.digits, b.digits) })
	type part struct {
		node int32
		list []prefix
	}
	p := prefixes{nodes: []prefixNode{{begins: -1, equals: -1}}}
	level := []part{{0, list}}
	for depth := 0; len(level) > 0; depth++ {
		var below []part
		for _, at := range level {
			rest := at.list
			for ; len(rest) > 0 && len(rest[0].digits) == depth; rest = rest[1:] {
				if rest[0].exact {
					p.nodes[at.node].equals = rest[0].value
				} else {
					p.nodes[at.node].begins = rest[0].value
				}
			}
			p.nodes[at.node].children = int32(len(p.nodes))
			for len(rest) > 0 {
				digit, end := rest[0].digits[depth], 1
				for end < len(rest) && rest[end].digits[depth] == digit {
					end++
				}
				p.nodes[at.node].has |= 1 << (digit - '0')
				below = append(below, part{int32(len(p.nodes)), rest[:end]})
				p.nodes = append(p.nodes, prefixNode{begins: -1, equals: -1})
				rest = rest[end:]
			}
		}
		level = below
	}
	return p
}

// longest is the value of the longest prefix of digits, -1 when there is none. What is no digit ends the search.
func (p *prefixes) longest(digits []byte) int32 {
	if len(p.nodes) == 0 {
		return -1
	}
	n := &p.nodes[0]
	best := n.begins
	for _, d := range digits {
		d -= '0'
		if d > 9 || n.has&(1<<d) == 0 {
			return best
		}
		n = &p.nodes[int(n.children)+bits.OnesCount16(n.has&(1<<d-1))]
		if n.begins >= 0 {
			best = n.begins
		}
	}
	if n.equals >= 0 {
		return n.equals
	}
	return best
}

// pattern is one entry of match: numbers that an outbound node carries.
type pattern struct {
	text   string
	digits string
	plus   bool // digits are those of an E.164 number, else as they are dialled
	exact  bool
	rng    hcl.Range
}

// pattern reads "+447*", "+447700900456" and "118*".
func (d *drafter) pattern(t *draft, text string, rng hcl.Range) (pattern, bool) {
	p := pattern{text: text, rng: rng}
	digits, starred := strings.CutSuffix(text, "*")
	p.digits, p.plus = strings.CutPrefix(digits, "+")
	p.exact = !starred
	country := countryOf(t.country)
	switch {
	case strings.Trim(p.digits, "0123456789") != "" || text == "" || p.digits == "" && !p.plus:
		d.wrong(rng, fmt.Sprintf("%q is not how numbers begin", text), `write "+447*" for all that begin with +447, "+447700900456" for one number, "118*" for numbers that only your country knows`)
	case p.plus && len(p.digits) > mostDigits:
		d.wrong(rng, fmt.Sprintf("%q is longer than any number", text), fmt.Sprintf("numbers have at most %d digits", mostDigits))
	case p.plus && p.exact && len(p.digits) < fewestDigits:
		d.wrong(rng, fmt.Sprintf("%q is shorter than any number", text), fmt.Sprintf("write %q for all numbers that begin so", text+"*"))
	case p.plus && strings.HasPrefix(p.digits, "0"):
		d.wrong(rng, fmt.Sprintf("%q begins with 0 behind the +", text), `write the calling code of the country, like "+44*"`)
	case !p.plus && t.country != "" && strings.HasPrefix(p.digits, country.abroad):
		d.wrong(rng, fmt.Sprintf("%q would never match: what begins with %s is read as a number abroad", text, country.abroad), fmt.Sprintf("write %q", "+"+text[len(country.abroad):]))
	case !p.plus && t.country != "" && country.trunk != "" && strings.HasPrefix(p.digits, country.trunk):
		d.wrong(rng, fmt.Sprintf("%q would never match: what begins with %s is read as a number of the country", text, country.trunk),
			fmt.Sprintf("write %q", "+"+country.code+text[len(country.trunk):]))
	default:
		return p, true
	}
	return p, false
}
