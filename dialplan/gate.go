package dialplan

import "fmt"

// gate takes the PIN that a caller must press before a conference lets him in, and what he is asked with.
func (d *drafter) gate(n *node, b block) {
	v, set := b.attrs["pin"]
	if set {
		n.pin = d.pin(v)
	}
	if v, asks := b.attrs["prompt"]; asks {
		if !set {
			d.wrong(v.rng, fmt.Sprintf("%s asks for no PIN", n.ref), `its prompt would never be heard: add pin = "..." of 4 to 12 digits, or leave it out`)
		}
		said := node{ref: n.ref}
		d.sound(&said, v)
		n.wrong, n.wronging = v.text, v.rng
	}
}
