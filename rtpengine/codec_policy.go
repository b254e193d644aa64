package rtpengine

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// CodecPolicy says which codecs a side is offered. Codecs are named as RFC 4855 names them, in any case, and with a clock where only one
// is meant: "PCMA", "L16/16000". What accompanies a codec (events, comfort noise, redundancy, repair) goes with it unless it is
// blocked. The zero value offers what the other side offered.
type CodecPolicy struct {
	Only  []string // only these, in this order; a kind of media, audio or video, of which none is named stays as it comes
	Block []string // never these
}

// Check says what is wrong with the names.
func (p *CodecPolicy) Check() error {
	for _, name := range slices.Concat(p.Only, p.Block) {
		if !codecPattern(name) {
			return fmt.Errorf("rtpengine: %q is no name of a codec, like \"PCMA\" or \"L16/16000\"", name)
		}
	}
	for _, name := range p.Only {
		if (codec{name: name}).companion() {
			return fmt.Errorf("rtpengine: %s goes with the codec that it accompanies; it cannot be chosen, only blocked", name)
		}
	}
	return nil
}

// of gives the names that choose among a kind of media, in their order.
func (p *CodecPolicy) of(kind string) (names []string) {
	if kind != "audio" && kind != "video" {
		return nil
	}
	for _, name := range p.Only {
		if base, _, _ := strings.Cut(name, "/"); isVideo(base) == (kind == "video") {
			names = append(names, name)
		}
	}
	return names
}

// isVideo reports whether a codec's name is one of video.
func isVideo(name string) bool {
	name = strings.ToLower(name)
	for _, prefix := range [...]string{"h26", "vp8", "vp9", "av1", "mp4v", "mpv", "jpeg", "jpeg2000", "celb", "nv", "theora", "raw", "vc1", "dirac"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// codecPattern reports whether a text may name codecs: a token, and a clock perhaps.
func codecPattern(text string) bool {
	name, clock, has := strings.Cut(text, "/")
	if has {
		if n, err := strconv.ParseUint(clock, 10, 32); err != nil || n == 0 {
			return false
		}
	}
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && !strings.ContainsRune("-+._", r)
	})
}

// matches reports whether a name of a policy means the codec.
func (c codec) matches(pattern string) bool {
	name, clock, has := strings.Cut(pattern, "/")
	return c.named(name) && (!has || clock == strconv.FormatUint(uint64(c.clock), 10))
}

// rank is the place of a codec in a list, or -1.
func (c codec) rank(list []string) int { return slices.IndexFunc(list, c.matches) }

// choose gives the places in list of the codecs that may be offered, in the order to offer them. None of an m-line that the policy leaves
// only companions of.
func (p *CodecPolicy) choose(kind string, list []codec) []int {
	wanted := p.of(kind)
	chosen := make([]int, 0, len(list))
	mains, had := 0, 0
	for i, c := range list {
		main := !c.companion()
		if main {
			had++
		}
		if c.rank(p.Block) >= 0 || main && len(wanted) > 0 && c.rank(wanted) < 0 {
			continue
		}
		if main {
			mains++
		}
		chosen = append(chosen, i)
	}
	if mains == 0 && had > 0 {
		return nil
	}
	if len(wanted) > 0 {
		place := func(i int) int {
			if list[i].companion() {
				return len(wanted)
			}
			return list[i].rank(wanted)
		}
		slices.SortStableFunc(chosen, func(i, j int) int { return cmp.Compare(place(i), place(j)) })
	}
	return chosen
}
