package dialplan

import (
	"fmt"
	"slices"
	"strings"
)

// forwards takes where the calls of a user go that his phones do not take.
func (d *drafter) forwards(n *node, b block) {
	forward := false
	for _, inner := range b.blocks {
		if inner.kind != "forward" {
			continue
		}
		if forward {
			d.wrong(inner.rng, fmt.Sprintf("%s has two forward blocks", n.ref), "keep one")
			continue
		}
		forward = true
		for _, on := range []cause{onAlways, onBusy, onNoAnswer, onUnreachable} {
			n.add(on, inner.attrs[on.String()])
		}
	}
	d.otherwise(n, b)
}

// did takes a number that the world outside can dial.
func (d *drafter) did(t *draft, n *node, b block) {
	n.label = b.attrs["label"].text
	n.add(onGo, b.attrs["go"])
	if first, twice := d.byDID[n.name]; twice && first.tenant != t.name {
		d.wrong(n.rng, fmt.Sprintf("%s already belongs to tenant %s", n.name, first.tenant), "it stands at "+first.String()+"; a number has one owner")
		return
	}
	d.byDID[n.name] = place{t.name, n.rng}
}

// isDID refuses what is no number of the world's network.
func (d *drafter) isDID(t *draft, b block) bool {
	if isE164(b.label) {
		return true
	}
	detail := "write it as +44..., with the calling code of the country"
	if number := countryOf(t.country).e164(nil, b.label); t.country != "" && len(number) > 0 {
		detail = fmt.Sprintf("write %q", number)
	}
	d.wrong(b.named, fmt.Sprintf("%q is not a number of the world's telephone network", b.label), detail)
	return false
}

// reject takes a node that refuses calls.
func (d *drafter) reject(n *node, b block) {
	n.status, n.reason = 480, b.attrs["reason"].text
	if n.reason == "" {
		n.reason = "refused by " + n.String()
	}
	v, set := b.attrs["status"]
	if !set {
		return
	}
	n.status = int(v.number)
	if !slices.Contains(refusals(), n.status) {
		d.wrong(v.rng, fmt.Sprintf("%d is not a status to refuse calls with", v.number), "choose from "+strings.Trim(fmt.Sprint(refusals()), "[]")+": 480 is try later, 486 busy, 403 not allowed, 404 no such number, 603 not wanted")
	}
}

// refusals are the statuses that tell a caller something he can understand.
func refusals() []int {
	return []int{403, 404, 410, 480, 484, 486, 488, 500, 503, 600, 603, 604, 606, 607, 608}
}
