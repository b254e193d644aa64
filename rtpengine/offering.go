package rtpengine

import (
	"cmp"
	"slices"

	audio "tandem/rtpengine/codec"
)

// offered are the formats of an offer of our own: what can be played and mixed here, in the order of Config.Codecs, G.711 first where it says nothing,
// since that costs least; and telephone-event in the clocks of those (RFC 7587 §7.1).
func (e *Engine) offered() (list []codec) {
	policy := &e.cfg.Codecs
	only := policy.of("audio")
	kinds := slices.DeleteFunc([]audio.Kind{audio.PCMU, audio.PCMA, audio.G722, audio.Opus}, func(k audio.Kind) bool {
		c := asCodec(k)
		return !e.codecs.Encodes(k) || !e.codecs.Decodes(k) || c.rank(policy.Block) >= 0 || len(only) > 0 && c.rank(only) < 0
	})
	if len(only) > 0 {
		slices.SortStableFunc(kinds, func(a, b audio.Kind) int { return cmp.Compare(asCodec(a).rank(only), asCodec(b).rank(only)) })
	}
	if len(kinds) == 0 { // a node whose phones speak something else to each other: G.711 is what any phone has
		kinds = []audio.Kind{audio.PCMU, audio.PCMA}
	}
	var clocks []uint32
	for _, k := range kinds {
		c := asCodec(k)
		if c.payload = 111; k == audio.Opus {
			c.fmtp = "useinbandfec=1"
		} else {
			c.payload = uint8(k.Payload())
		}
		list = append(list, c)
		if !slices.Contains(clocks, c.clock) {
			clocks = append(clocks, c.clock)
		}
	}
	for _, clock := range clocks {
		c := codec{name: audio.Event.String(), clock: clock, channels: 1, payload: 101, fmtp: "0-15"}
		if clock != sampleRate {
			c.payload = 110
		}
		if c.rank(policy.Block) < 0 {
			list = append(list, c)
		}
	}
	return list
}
