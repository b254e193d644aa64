package srtp

// A state is always older than the call it is of: the other node went on after the export. By how much is unknown, so RFC 3711 §3.3.1's
// rule, the index closest to the highest one, would be right for 2^15 packets only, and then give a sender indices that the other node has
// used. But packets come after the state, not before it. So the first packet of each source is taken for the next one with its number, up to
// resumedAhead packets on, and only what is at most overtaken behind for one that was late. Whoever exports does it again before that many
// packets have gone by; that is eleven minutes at a hundred packets a second.
//
// A receiver need not believe its guess: the tag of the packet says whether it is right. It tries the rollover count behind it as well.
const (
	overtaken    = 1 << 12
	resumedAhead = 1<<16 - overtaken
)

// resumption is what an imported context has beside others.
type resumption struct {
	spare []byte // for a second try at a packet, which the first one spoils
}

// ahead is the next index with a sequence number, and whether a packet with that number is rather one from before.
func (w *window) ahead(seq uint16) (index uint64, late bool) {
	step := uint64(seq-uint16(w.highest)-1) + 1
	return w.highest + step, step > resumedAhead
}

// resume is Unprotect of the first packet of a source after an import. src is nil for a source that the state did not know.
func (c *Context) resume(b []byte, body int, src *source, ssrc uint32, seq uint16) ([]byte, error) {
	index, late := uint64(seq), false
	if src != nil {
		index, late = src.rtp.ahead(seq)
	}
	c.resumed.spare = append(c.resumed.spare[:0], b...)
	ok := index <= lastIndex && c.authentic(b, body, ssrc, index)
	if next := index + 1<<16; !ok && !late && next <= lastIndex {
		copy(b, c.resumed.spare)
		index, ok = next, c.authentic(b, body, ssrc, next)
	}
	switch {
	case ok:
	case late:
		return nil, ErrReplay
	default:
		return nil, ErrAuth
	}
	if src == nil {
		src = c.admit(ssrc)
	}
	src.rtp.use(index)
	return b[:len(b)-table[c.suite].tag], nil
}
