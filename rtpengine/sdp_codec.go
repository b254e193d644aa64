package rtpengine

import (
	"strconv"
	"strings"
	"unique"
)

// codec is one RTP format of an m-line: the number that its writer gives it, and what it means (RFC 8866 §6.6, §6.15). It holds no
// piece of the description that it was read from.
type codec struct {
	name     string // as its writer spells it: "opus", "PCMU"; "" when a dynamic number came without a=rtpmap
	clock    uint32 // of its RTP timestamps, Hz; never 0
	channels uint8  // 1 where nothing is said
	payload  uint8  // RTP payload type, 0-127
	fmtp     string // parameters of a=fmtp, several lines joined by "; "
}

// named reports whether the codec goes by a name, whatever its case (RFC 4855 §3).
func (c codec) named(name string) bool { return strings.EqualFold(c.name, name) }

// companion reports whether no stream can consist of the codec alone: events, comfort noise, redundancy, repair.
func (c codec) companion() bool {
	switch strings.ToLower(c.name) {
	case "telephone-event", "tone", "cn", "red", "rtx":
		return true
	}
	return c.repairs()
}

// repairs reports whether the codec's packets hold the payload numbers of others, mixed beyond recognition (RFC 5109 §7.3, RFC 8627).
func (c codec) repairs() bool {
	name := strings.ToLower(c.name)
	return name == "ulpfec" || name == "raptorfec" || strings.HasPrefix(name, "flexfec") || strings.HasSuffix(name, "parityfec")
}

// payloadCN is comfort noise, RFC 3389.
const payloadCN = 13

// staticCodecs are the formats that need no rtpmap, by payload type (RFC 3551 §6).
var staticCodecs = [35]codec{
	0: {name: "PCMU", clock: 8000}, 3: {name: "GSM", clock: 8000}, 4: {name: "G723", clock: 8000}, 5: {name: "DVI4", clock: 8000},
	6: {name: "DVI4", clock: 16000}, 7: {name: "LPC", clock: 8000}, 8: {name: "PCMA", clock: 8000}, 9: {name: "G722", clock: 8000},
	10: {name: "L16", clock: 44100, channels: 2}, 11: {name: "L16", clock: 44100}, 12: {name: "QCELP", clock: 8000}, 13: {name: "CN", clock: 8000},
	14: {name: "MPA", clock: 90000}, 15: {name: "G728", clock: 8000}, 16: {name: "DVI4", clock: 11025}, 17: {name: "DVI4", clock: 22050},
	18: {name: "G729", clock: 8000}, 25: {name: "CelB", clock: 90000}, 26: {name: "JPEG", clock: 90000}, 28: {name: "nv", clock: 90000},
	31: {name: "H261", clock: 90000}, 32: {name: "MPV", clock: 90000}, 33: {name: "MP2T", clock: 90000}, 34: {name: "H263", clock: 90000},
}

// codecs lists what the section's formats mean, in their writer's order, each number once. What is no payload type is left out.
func (s *section) codecs() []codec {
	list := make([]codec, 0, min(len(s.formats), 128))
	var at [128]uint8 // place in list, and one
	for _, format := range s.formats {
		if pt, ok := payloadType(format); ok && at[pt] == 0 {
			list = append(list, standardCodec(pt))
			at[pt] = uint8(len(list))
		}
	}
	var mapped [128]bool // of several rtpmap lines for one number the first counts
	for _, line := range s.lines {
		pt, value, what := formatLine(line)
		if what == noFormatLine || at[pt] == 0 {
			continue
		}
		switch c := &list[at[pt]-1]; {
		case what == rtpmapLine && !mapped[pt]:
			c.readMap(value)
			mapped[pt] = true
		case what == fmtpLine && c.fmtp == "":
			c.fmtp = intern(value)
		case what == fmtpLine && len(c.fmtp)+len(value) <= maxFmtp:
			c.fmtp += "; " + value
		}
	}
	return list
}

// maxFmtp bounds the parameters that several a=fmtp lines of one format make together.
const maxFmtp = 4096

// standardCodec is what a payload type means without an rtpmap.
func standardCodec(pt uint8) codec {
	c := codec{clock: 8000}
	if int(pt) < len(staticCodecs) && staticCodecs[pt].clock != 0 {
		c = staticCodecs[pt]
	}
	c.payload, c.channels = pt, max(c.channels, 1)
	return c
}

// readMap takes "iLBC/8000" or "opus/48000/2".
func (c *codec) readMap(value string) {
	words := strings.Split(value, "/")
	c.name, c.channels = intern(strings.TrimSpace(words[0])), 1
	if len(words) > 1 {
		if n, err := strconv.ParseUint(strings.TrimSpace(words[1]), 10, 32); err == nil && n > 0 {
			c.clock = uint32(n)
		}
	}
	if len(words) > 2 {
		if n, err := strconv.ParseUint(strings.TrimSpace(words[2]), 10, 8); err == nil && n > 0 {
			c.channels = uint8(n)
		}
	}
}

// Lines that say something of one format.
type formatLineKind uint8

const (
	noFormatLine formatLineKind = iota
	rtpmapLine
	fmtpLine
)

// formatLine takes "a=rtpmap:97 iLBC/8000" and "a=fmtp:97 mode=20" apart, with any white space between.
func formatLine(line string) (pt uint8, value string, what formatLineKind) {
	rest, ok := strings.CutPrefix(line, "a=rtpmap:")
	if what = rtpmapLine; !ok {
		if rest, ok = strings.CutPrefix(line, "a=fmtp:"); !ok {
			return 0, "", noFormatLine
		}
		what = fmtpLine
	}
	rest = strings.TrimLeft(rest, " \t")
	end := strings.IndexAny(rest, " \t")
	if end < 0 {
		return 0, "", noFormatLine
	}
	if pt, ok = payloadType(rest[:end]); !ok {
		return 0, "", noFormatLine
	}
	return pt, strings.TrimSpace(rest[end:]), what
}

// payloadType reads a format that is an RTP payload type.
func payloadType(format string) (uint8, bool) {
	pt, err := strconv.ParseUint(format, 10, 7)
	return uint8(pt), err == nil
}

// intern gives equal text the same memory, and none of its origin's: the same few names and parameters stand in every call.
func intern(s string) string { return unique.Make(s).Value() }
