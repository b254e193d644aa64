package dialplan

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"tandem/internal/hcltext"
)

const (
	parkTimeout = 2 * time.Minute
	mostSlots   = 1000
	pageTimeout = 5 * time.Minute
	pageMembers = 50
	mostPaged   = 99 // and who speaks to them: a room has 100
)

// parkRule and pageRule are the blocks of parking lots and pages.
func parkRule(otherwise *blockRule) *blockRule {
	return &blockRule{
		labels: 1, example: `park "lot" { ... }`, required: []string{"slots"},
		attrs: map[string]attrRule{
			"extension": {shape: shapeText}, "slots": {shape: shapeText}, "timeout": {shape: shapeDuration}, "back": {shape: shapeFlag}, "music": {shape: shapeText},
		},
		blocks: map[string]*blockRule{"otherwise": otherwise},
	}
}

func pageRule(otherwise *blockRule) *blockRule {
	return &blockRule{
		labels: 1, example: `page "all" { ... }`, required: []string{"members"},
		attrs: map[string]attrRule{
			"extension": {shape: shapeText}, "members": {shape: shapeReferences}, "talk": {shape: shapeFlag}, "max_members": {shape: shapeNumber},
			"timeout": {shape: shapeDuration},
		},
		blocks: map[string]*blockRule{"otherwise": otherwise},
	}
}

// park takes a node where calls wait until somebody dials the number of their slot.
func (d *drafter) park(t *draft, n *node, b block) {
	n.timeout = d.duration(b, parkTimeout, 24*time.Hour)
	n.back = true
	if v, set := b.attrs["back"]; set {
		n.back = v.flag
	}
	n.play, n.playing = "music", n.rng
	if v, set := b.attrs["music"]; set {
		if n.play, n.playing = "", v.rng; v.text != "" {
			d.sound(n, v)
		}
	}
	d.slots(t, n, b.attrs["slots"])
	d.otherwise(n, b)
}

// slots takes "701-720": each number of them can be dialled.
func (d *drafter) slots(t *draft, n *node, v value) {
	if v.shape == 0 {
		return
	}
	first, last, _ := strings.Cut(v.text, "-")
	from, err := strconv.ParseUint(first, 10, 32)
	to, fault := strconv.ParseUint(last, 10, 32)
	if err != nil || fault != nil || len(first) != len(last) || to < from {
		d.wrong(v.rng, fmt.Sprintf("%q are no slots", v.text), `write the first and the last number, of as many digits, like "701-720"`)
		return
	}
	if to-from >= mostSlots {
		d.wrong(v.rng, fmt.Sprintf("%s has %d slots", n.ref, to-from+1), fmt.Sprintf("%d are the most", mostSlots))
		return
	}
	known := len(d.list)
	for i := from; i <= to; i++ {
		slot := fmt.Sprintf("%0*d", len(first), i)
		n.slots = append(n.slots, slot)
		if len(d.list) == known { // the first clash says it
			d.claim(t, n, slot, v.rng)
		}
	}
}

// page takes a node that calls many phones at once, which answer by themselves.
func (d *drafter) page(n *node, b block) {
	n.timeout = d.duration(b, pageTimeout, time.Hour)
	n.talk, n.room = b.attrs["talk"].flag, pageMembers
	if v, set := b.attrs["max_members"]; set {
		if v.number < 1 || v.number > mostPaged {
			d.wrong(v.rng, fmt.Sprintf("%d is out of range", v.number), fmt.Sprintf("max_members takes 1 to %d", mostPaged))
		}
		n.room = int(v.number)
	}
	d.people(n, b.attrs["members"], "members")
	d.otherwise(n, b)
}

// parking says what a parking lot does.
func (s Step) parking() string {
	words := s.Node + " lets calls wait in " + s.Slots[0] + " to " + s.Slots[len(s.Slots)-1] + " until somebody dials that"
	if s.Play != "" {
		words += ", plays " + s.Play
	}
	words += ", for at most " + hcltext.Duration(s.Timeout)
	if s.Back {
		words += "; then it rings who has parked the call"
	}
	return words
}

// paging says what a page does.
func (s Step) paging() string {
	words := s.Node + " calls " + list(s.Users) + " at once, whose phones answer by themselves"
	if len(s.Users) == 0 {
		words = s.Node + " calls nobody: all its members want not to be disturbed"
	}
	if s.Talk {
		words += ", and all hear all"
	}
	return words + ", for at most " + hcltext.Duration(s.Timeout)
}
