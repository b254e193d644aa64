package dialplan

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

const (
	menuWait    = 5 * time.Second
	menuRetries = 2
	mostKeys    = 100 // of one menu
)

// menu takes a node that asks its caller for keys.
func (d *drafter) menu(n *node, b block) {
	n.timeout = d.span(b, "wait", menuWait, time.Minute)
	n.playing = n.rng
	if v, set := b.attrs["play"]; set {
		d.sound(n, v)
	}
	if v, set := b.attrs["wrong"]; set {
		said := node{ref: n.ref}
		d.sound(&said, v)
		n.wrong, n.wronging = v.text, v.rng
	}
	n.retries = menuRetries
	if v, set := b.attrs["retries"]; set {
		if v.number < 0 || v.number > 10 {
			d.wrong(v.rng, fmt.Sprintf("%d is out of range", v.number), "retries takes 0 to 10")
		}
		n.retries = int(v.number)
	}
	n.dial = b.attrs["dial"].flag
	d.keys(n, b)
	d.otherwise(n, b)
}

func (d *drafter) keys(n *node, b block) {
	first := map[string]value{}
	for _, inner := range b.blocks {
		if inner.kind != "key" {
			continue
		}
		key := value{text: inner.label, rng: inner.named}
		if strings.Trim(key.text, "0123456789*#") != "" || key.text == "" || len(key.text) > 16 {
			d.wrong(key.rng, fmt.Sprintf("%q cannot be pressed", key.text), `keys are digits, "*" and "#", one or several`)
			continue
		}
		if old, twice := first[key.text]; twice {
			d.wrong(key.rng, fmt.Sprintf("key %q of %s is there twice", key.text, n.ref), "the first is at "+at(old.rng))
			continue
		}
		first[key.text] = key
		if goes := inner.attrs["go"]; goes.shape != 0 {
			n.ways = append(n.ways, &way{on: onKey, key: key.text, to: goes})
		}
	}
	switch {
	case len(first) > mostKeys:
		d.wrong(n.rng, fmt.Sprintf("%s has %d keys", n.ref, len(first)), fmt.Sprintf("%d are the most", mostKeys))
	case len(first) == 0 && !n.dial && n.kind == "menu":
		d.wrong(n.rng, fmt.Sprintf("%s has no keys", n.ref), `add key "1" { go = ... }, or dial = true`)
	}
}

// Keyed tells what the keys are that the caller of a menu or queue has pressed so far: complete when they lead somewhere, more when further ones could.
func (w *Walk) Keyed(keys string) (complete, more bool) {
	v := w.menu()
	if v == nil {
		return false, false
	}
	for i := range v.exits {
		if e := &v.exits[i]; e.on == onKey && strings.HasPrefix(e.key, keys) {
			complete = complete || e.key == keys
			more = more || e.key != keys
		}
	}
	if v.step.Dial {
		i := sort.SearchStrings(w.t.dialable, keys)
		for ; i < len(w.t.dialable) && strings.HasPrefix(w.t.dialable[i], keys); i++ {
			if w.t.dialable[i] != keys {
				return complete, true
			}
			complete = true
		}
	}
	return complete, more
}

// menu is the vertex where the call is, when that takes keys.
func (w *Walk) menu() *vertex {
	if w.t == nil || w.own != nil || w.here < 0 {
		return nil
	}
	v := &w.t.vertices[w.here]
	if v.step.Kind != StepMenu && v.step.Kind != StepQueue {
		return nil
	}
	return v
}

// Press goes where the keys lead that the caller of a menu or queue has pressed. false: they lead nowhere, and the call is where it was.
func (w *Walk) Press(keys string) bool {
	v := w.menu()
	if v == nil {
		return false
	}
	i := slices.IndexFunc(v.exits, func(e exit) bool { return e.on == onKey && e.key == keys })
	if i >= 0 {
		why := ""
		if w.log != nil {
			why = fmt.Sprintf("when key %s is pressed in %s: ", keys, v.name)
		}
		w.leave(v, &v.exits[i], why)
		return w.Step() != nil
	}
	if _, ok := slices.BinarySearch(w.t.dialable, keys); !ok || !v.step.Dial {
		return false
	}
	var why *reason
	if w.log != nil {
		why = &reason{v.at, fmt.Sprintf("when %s is dialled in %s: ", keys, v.name)}
	}
	w.enter(w.t.entries[w.t.numbers[keys]], why)
	return w.Step() != nil
}

// pressAll presses keys until they lead somewhere, they are used up, or the menu has no more patience. It gives back those that are left, and tells whether the call has gone on.
func (w *Walk) pressAll(keys []string, retries int) (left []string, moved bool) {
	for tries := 0; len(keys) > 0; tries++ {
		pressed := keys[0]
		keys = keys[1:]
		if w.Press(pressed) {
			return keys, true
		}
		w.log.note(Trace{Node: w.Step().Node, At: w.Step().At, Text: fmt.Sprintf("%s knows no %s", w.Step().Node, pressed)}, "")
		if tries == retries {
			w.Next(404)
			return keys, true
		}
	}
	return nil, false
}

// asks says what a menu does.
func (s Step) asks() string {
	words := s.Node + " asks for a key"
	if s.Dial {
		words += " or an extension"
	}
	if s.Play != "" {
		words += ", playing " + s.Play
	}
	return words
}
