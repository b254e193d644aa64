package srtp

// windowBits is how far behind the highest index a packet may come (RFC 3711 §3.3.2 asks for at least 64).
const windowBits = 128

// window remembers which of the last indices have been used.
type window struct {
	started bool
	resumed bool // imported, and nothing has come since
	highest uint64
	seen    [windowBits / 64]uint64 // bit n: highest-n
}

// fresh reports whether an index has not been used and is not too old to know.
func (w *window) fresh(index uint64) bool {
	if !w.started || index > w.highest {
		return true
	}
	age := w.highest - index
	return age < windowBits && w.seen[age/64]>>(age%64)&1 == 0
}

// use marks a fresh index.
func (w *window) use(index uint64) {
	if w.started && index <= w.highest {
		age := w.highest - index
		w.seen[age/64] |= 1 << (age % 64)
		return
	}
	switch step := index - w.highest; {
	case !w.started || step >= windowBits:
		w.seen = [windowBits / 64]uint64{}
	case step >= 64:
		w.seen[1], w.seen[0] = w.seen[0]<<(step-64), 0
	default:
		w.seen[1] = w.seen[1]<<step | w.seen[0]>>(64-step)
		w.seen[0] <<= step
	}
	w.started, w.resumed, w.highest = true, false, index
	w.seen[0] |= 1
}

// resume starts a window as if every index up to highest had been used.
func (w *window) resume(highest uint64) {
	*w = window{started: true, resumed: true, highest: highest, seen: [windowBits / 64]uint64{^uint64(0), ^uint64(0)}}
}
