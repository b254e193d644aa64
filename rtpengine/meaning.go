package rtpengine

import (
	"strconv"
	"strings"
	"unique"
)

// meaning identifies a codec whatever number it goes under: equal meanings are one codec to both sides. It is comparable, eight bytes, and
// shared by all calls.
type meaning = unique.Handle[string]

// significant are the parameters without which two formats of one name are two codecs, and what they are when not said.
var significant = map[string][]struct{ name, absent string }{
	"h264":          {{"packetization-mode", "0"}, {"profile-level-id", "4200"}}, // RFC 6184 §8.1; the level may differ
	"h264-svc":      {{"packetization-mode", "0"}, {"profile-level-id", "4200"}},
	"h265":          {{"profile-id", "1"}}, // RFC 7798 §7.1
	"vp9":           {{"profile-id", "0"}}, // RFC 9628 §6
	"av1":           {{"profile", "0"}},
	"amr":           {{"octet-align", "0"}, {"crc", "0"}, {"robust-sorting", "0"}, {"interleaving", ""}}, // RFC 4867 §8.1
	"amr-wb":        {{"octet-align", "0"}, {"crc", "0"}, {"robust-sorting", "0"}, {"interleaving", ""}},
	"g7221":         {{"bitrate", ""}}, // RFC 5577 §5
	"mpeg4-generic": {{"mode", ""}, {"config", ""}},
	"mp4a-latm":     {{"config", ""}},
}

// meanings are those of a section's codecs. Codecs that refer to others by number, as redundancy and retransmission do, mean what those mean.
func meanings(list []codec) []meaning {
	out := make([]meaning, len(list))
	of := func(pt uint8) string {
		for i := range list {
			if list[i].payload == pt {
				if out[i] != (meaning{}) {
					return out[i].Value()
				}
				break
			}
		}
		return "?" + strconv.Itoa(int(pt))
	}
	for _, name := range [...]string{"", "red", "rtx"} { // a retransmission may be one of a redundancy
		for i, c := range list {
			refers := ""
			if c.named("red") || c.named("rtx") {
				refers = strings.ToLower(c.name)
			}
			if refers != name {
				continue
			}
			text := c.plainMeaning()
			for _, pt := range c.refers() {
				text += "," + of(pt)
				if len(text) > maxFmtp {
					break
				}
			}
			out[i] = unique.Make(text)
		}
	}
	return out
}

func (c codec) plainMeaning() string {
	name := strings.ToLower(c.name)
	if name == "" { // only its number says what it is
		return "?" + strconv.Itoa(int(c.payload))
	}
	channels := c.channels
	if name == "opus" { // RFC 7587 §7: always 2; some forget it
		channels = 2
	}
	text := name + "/" + strconv.FormatUint(uint64(c.clock), 10) + "/" + strconv.Itoa(int(channels))
	for _, p := range significant[name] {
		value := strings.ToLower(c.parameter(p.name))
		if value == "" {
			value = p.absent
		}
		if p.name == "profile-level-id" && len(value) > 4 {
			value = value[:4]
		}
		text += ";" + value
	}
	return text
}

// parameter is a value of the codec's fmtp, "" when it is absent.
func (c codec) parameter(name string) string {
	for field := range strings.SplitSeq(c.fmtp, ";") {
		key, value, _ := strings.Cut(field, "=")
		if strings.EqualFold(strings.TrimSpace(key), name) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// maxRefers bounds the numbers that one format may refer to. RFC 2198 asks for a few.
const maxRefers = 32

// refers are the numbers that the codec's parameters name: what redundancy consists of (RFC 2198 §5: "111/111") and what is
// retransmitted (RFC 4588 §8.1: "apt=96").
func (c codec) refers() []uint8 {
	var text string
	switch {
	case c.named("red"):
		text, _, _ = strings.Cut(c.fmtp, ";")
	case c.named("rtx"):
		text = c.parameter("apt")
	}
	var out []uint8
	for word := range strings.SplitSeq(text, "/") {
		if pt, ok := payloadType(strings.TrimSpace(word)); ok && len(out) < maxRefers {
			out = append(out, pt)
		}
	}
	return out
}
