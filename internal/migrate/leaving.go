package migrate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tandem/dialplan"
)

// outbound makes the node of calls that leave the house: begin are the ways their numbers begin as they are dialled, open what is left of the
// pattern. nil: it could not be, and that was reported.
func (m *maker) outbound(at place, what string, begin []string, open string, exact bool, leaving *node) *node {
	n := &node{kind: "outbound", name: cmp.Or(name(strings.Trim(leaving.name, dialledBegin+dialledEnd)), "out"), at: at}
	for _, h := range leaving.hops {
		if slices.Contains(n.via, h.trunk) {
			m.unmapped(at, what, fmt.Sprintf("trunk.%s is tried twice: once is enough", h.trunk.name))
			continue
		}
		n.via = append(n.via, h.trunk)
	}
	if caller := leaving.hops[0].caller; caller != "" {
		n.set("caller", quote(caller))
	}
	n.ways = leaving.ways
	n = m.make(n, at, what)
	if !m.matches(at, what, n, begin, open, exact, leaving.hops) {
		return nil
	}
	m.mapped(at, what, "outbound over "+n.via[0].ref())
	if len(n.via) > 1 {
		m.check(at, what, "the next trunk is tried for 408, 500, 502, 503, 504 and no reply in 6 s; busy is busy")
	}
	return n
}

// matches gives an outbound node its numbers. false: none is left.
func (m *maker) matches(at place, what string, n *node, begin []string, open string, exact bool, hops []hop) bool {
	taken := ""
	n.open = open
	for _, b := range begin {
		forms, why := m.forms(b, exact)
		if why != "" {
			m.unmapped(at, what, fmt.Sprintf("%s: %s", b, why))
		}
		for _, f := range forms {
			if owner := m.owners[f.text]; owner != nil {
				if owner != n && owner.open != open {
					taken = fmt.Sprintf("%s begins as %s at %s does, and a beginning has one owner: numbers are not told apart by their length", f.text, owner.what, owner.at)
				}
				continue
			}
			if !m.send(at, what, f, hops) {
				continue
			}
			m.owners[f.text] = n
			f.example = f.was
			if !exact {
				f.example = m.example(f, open)
			}
			if len(hops) > 0 && f.example != "" {
				f.sent = hops[0].write(f.was) + f.example[len(f.was):]
			}
			n.match = append(n.match, f)
		}
	}
	if taken != "" {
		m.unmapped(at, what, taken)
	}
	return len(n.match) > 0
}

// write is how a hop writes a number that begins so.
func (h *hop) write(was string) string {
	if h.skip < 0 {
		return h.prepend
	}
	return h.prepend + was[min(h.skip, len(was)):]
}

// send remembers what trunks are sent for numbers that begin so. false: a trunk is sent something else for the same already.
func (m *maker) send(at place, what string, f match, hops []hop) bool {
	for _, h := range hops {
		if known, is := m.sent[h.trunk][f.from]; is && known != h.write(f.was) {
			m.unmapped(at, what, fmt.Sprintf("trunk.%s is sent %s for %s elsewhere, and %s here: a trunk writes numbers one way", h.trunk.name, known, f.from, h.write(f.was)))
			return false
		}
	}
	for _, h := range hops {
		if m.sent[h.trunk] == nil {
			m.sent[h.trunk] = map[string]string{}
		}
		m.sent[h.trunk][f.from] = h.write(f.was)
	}
	return true
}

// forms are the ways that plans write how a number begins that people dial: with + where the country reads it as a number of the world's network.
func (m *maker) forms(b string, exact bool) (all []match, why string) {
	star := "*"
	if exact {
		star = ""
	}
	form := func(from, was string) {
		digits := strings.TrimPrefix(from, "+")
		plus := from != digits
		switch {
		case digits == "" && !plus, strings.Trim(digits, "0123456789") != "":
			why = "only numbers of digits leave the house"
		case plus && strings.HasPrefix(digits, "0"), plus && exact && len(digits) < 5, plus && len(digits) > 15, len(digits) > 30:
			why = "no number of the world's network begins so"
		default:
			all = append(all, match{text: from + star, from: from, was: was})
		}
	}
	abroad, trunk := dialplan.Dialling(m.Country)
	switch {
	case strings.HasPrefix(b, "+") || m.Country == "":
		form(b, b)
	case strings.HasPrefix(b, abroad):
		form("+"+b[len(abroad):], b)
	case trunk != "" && strings.HasPrefix(b, trunk):
		form("+"+m.Country+b[len(trunk):], b)
		if strings.HasPrefix(abroad, b) && !exact {
			form("+", abroad)
		}
	default:
		form(b, b)
	}
	return all, why
}

// example is a number that begins so, which nothing else is for; "" when none is found.
func (m *maker) example(f match, open string) string {
	for _, filler := range []byte("5274136890") {
		behind := strings.TrimPrefix(f.from, "+")
		number := f.was + example(open, filler)
		if strings.HasSuffix(open, ".") || strings.HasSuffix(open, "!") {
			number += strings.Repeat(string(filler), max(0, 8-len(behind)))
		}
		if strings.HasPrefix(f.from, "+") {
			if full := m.e164(number); full == "" || !strings.HasPrefix(full, f.from) {
				continue
			}
		}
		if len(number) <= 30 {
			return number
		}
	}
	return ""
}

// rewrite gives trunks what they write of numbers: as few lines as say the same.
func (m *maker) rewrite() {
	for _, n := range m.nodes {
		var froms []string
		for from := range m.sent[n] {
			froms = append(froms, from)
		}
		slices.SortFunc(froms, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) })
		for _, from := range froms {
			want, is := m.sent[n][from], from
			for end := len(from); end > 0; end-- {
				if short, ok := n.trunk.rewrites[from[:end]]; ok {
					is = short + from[end:]
					break
				}
			}
			if is != want {
				n.trunk.rewrites[from] = want
			}
		}
		if n.trunk != nil && len(n.trunk.rewrites) > 100 {
			m.unmapped(n.at, n.what, "calls over this trunk write numbers in more than 100 ways: none is imported, they are sent as they are")
			n.trunk.rewrites = nil
			delete(m.sent, n)
		}
	}
}
