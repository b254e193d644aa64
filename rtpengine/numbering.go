package rtpengine

// numbering remembers what the payload types of one side of an m-line have meant, whoever of us said so: a number must not change its
// meaning in a session (RFC 3264 §8.3.2). It grows only, to 128 entries.
type numbering []numbered

type numbered struct {
	means   meaning
	payload uint8
}

// set notes a number. A side that gives one of its numbers a new meaning, though it must not, is taken at its word.
func (n *numbering) set(payload uint8, m meaning) {
	for i := range *n {
		if (*n)[i].payload == payload {
			(*n)[i].means = m
			return
		}
	}
	*n = append(*n, numbered{m, payload})
}

// hear notes what a side itself said. Types that need no rtpmap mean the same everywhere and are not kept.
func (n *numbering) hear(list []codec, means []meaning) {
	for i, c := range list {
		if !c.standard() {
			n.set(c.payload, means[i])
		}
	}
}

// standard reports whether the number means by itself what its writer says it does.
func (c codec) standard() bool {
	s := standardCodec(c.payload)
	return s.name != "" && c.named(s.name) && c.clock == s.clock && c.channels == s.channels
}

// meaning is what a number means.
func (n *numbering) meaning(payload uint8) (meaning, bool) {
	for _, e := range *n {
		if e.payload == payload {
			return e.means, true
		}
	}
	return meaning{}, false
}

// tell gives the codecs at the chosen places numbers that the side with this numbering understands: the one that the side knows a codec
// under, else the writer's, else a free one. What finds no number is not told.
func (n *numbering) tell(list []codec, means []meaning, chosen []int) *retelling {
	var used [128]bool
	number := make([]uint8, len(list))
	for i := range number {
		number[i] = untold
	}
	for _, choice := range [...]func(c codec, m meaning) uint8{
		n.same,
		func(_ codec, m meaning) uint8 { return n.known(m, &used) },
		n.fresh,
		func(codec, meaning) uint8 { return n.free(&used) },
	} {
		for _, i := range chosen {
			if number[i] != untold {
				continue
			}
			if pt := choice(list[i], means[i]); pt != untold && !used[pt] {
				number[i], used[pt] = pt, true
				if !list[i].standard() || pt != list[i].payload {
					n.set(pt, means[i])
				}
			}
		}
	}
	return retell(list, chosen, number)
}

// same is the writer's number when it means the same to the side.
func (n *numbering) same(c codec, m meaning) uint8 {
	if known, ok := n.meaning(c.payload); ok && known == m || !ok && c.standard() {
		return c.payload
	}
	return untold
}

// known is a number under which the side knows the codec.
func (n *numbering) known(m meaning, used *[128]bool) uint8 {
	for _, e := range *n {
		if e.means == m && !used[e.payload] {
			return e.payload
		}
	}
	return untold
}

// fresh is the writer's number when it means nothing to the side yet.
func (n *numbering) fresh(c codec, _ meaning) uint8 {
	if _, ok := n.meaning(c.payload); ok {
		return untold
	}
	return c.payload
}

// free is a number that has never meant anything to the side: of the dynamic ones, then of the unassigned ones that are no RTCP packet type
// (RFC 3551 §3, RFC 5761 §4).
func (n *numbering) free(used *[128]bool) uint8 {
	for _, r := range [...][2]uint8{{96, 127}, {35, 63}} {
		for pt := r[0]; pt <= r[1]; pt++ {
			if _, taken := n.meaning(pt); !taken && !used[pt] {
				return pt
			}
		}
	}
	return untold
}
