package ng

import (
	"net/netip"
	"strings"
)

// The engine has read and written the description; what is here changes single lines of it, as the proxy asks.

// lines calls for each line of a description without its end, and keeps those that are not "".
func editLines(sdp string, edit func(line string) string) string {
	var out strings.Builder
	out.Grow(len(sdp) + 64)
	for line := range strings.Lines(sdp) {
		if line = edit(strings.TrimRight(line, "\r\n")); line != "" {
			out.WriteString(line)
			out.WriteString("\r\n")
		}
	}
	return out.String()
}

// beforeOffer is the offer as the engine may read it.
func (o *options) beforeOffer(sdp string) []byte {
	if !o.rejectMux {
		return []byte(sdp)
	}
	return []byte(editLines(sdp, func(line string) string {
		if isMux(line) {
			return ""
		}
		return line
	}))
}

func isMux(line string) bool { return line == "a=rtcp-mux" || line == "a=rtcp-mux-only" }

// afterOffer is the engine's offer as the other side may see it.
func (o *options) afterOffer(sdp []byte) string {
	if !o.demux && o.proto == "" && !o.address.IsValid() && !o.noRTCP {
		return string(sdp)
	}
	return editLines(string(sdp), func(line string) string {
		switch {
		case o.demux && isMux(line):
			return ""
		case o.proto != "" && strings.HasPrefix(line, "m="):
			return withProto(line, o.proto)
		case o.proto == "RTP/AVP" && strings.HasPrefix(line, "a=rtcp-fb:"):
			return "" // RFC 4585 §4.2: only with RTP/AVPF
		}
		return o.either(line)
	})
}

// afterAnswer is the engine's answer as the offerer may see it: RFC 3264 §6 wants each m-line with the protocol that was offered, which protos
// names when the other side was shown another one.
func (o *options) afterAnswer(sdp []byte, protos []string) string {
	if protos == nil && !o.address.IsValid() && !o.noRTCP {
		return string(sdp)
	}
	section := 0
	return editLines(string(sdp), func(line string) string {
		if strings.HasPrefix(line, "m=") {
			section++
			if section <= len(protos) {
				return withProto(line, protos[section-1])
			}
		}
		return o.either(line)
	})
}

// either is what is done to offers and answers.
func (o *options) either(line string) string {
	switch {
	case strings.HasPrefix(line, "a=rtcp:"):
		if o.noRTCP {
			return ""
		}
		return o.moved(line)
	case strings.HasPrefix(line, "c="), strings.HasPrefix(line, "o="):
		return o.moved(line)
	}
	return line
}

// moved puts media-address into a line that ends with "IN IP4 192.0.2.1".
func (o *options) moved(line string) string {
	words := strings.Split(line, " ")
	n := len(words)
	if !o.address.IsValid() || n < 3 {
		return line
	}
	words[n-1], words[n-2] = o.address.String(), familyWord(o.address)
	return strings.Join(words, " ")
}

func familyWord(addr netip.Addr) string {
	if addr.Is4() {
		return "IP4"
	}
	return "IP6"
}

// withProto exchanges the protocol of an m-line of plain RTP: "m=audio 20000 RTP/AVP 0".
func withProto(line, proto string) string {
	words := strings.Split(line, " ")
	if len(words) > 2 && (words[2] == "RTP/AVP" || words[2] == "RTP/AVPF") {
		words[2] = proto
	}
	return strings.Join(words, " ")
}

// protosOf are the protocols of a description's m-lines.
func protosOf(sdp string) (protos []string) {
	for line := range strings.Lines(sdp) {
		if rest, ok := strings.CutPrefix(line, "m="); ok {
			words := append(strings.Fields(rest), "", "", "")
			protos = append(protos, words[2])
		}
	}
	return protos
}

// placeOf is the first address of a description, invalid when it names none.
func placeOf(sdp string) netip.Addr {
	for line := range strings.Lines(sdp) {
		if rest, ok := strings.CutPrefix(line, "c="); ok {
			words := strings.Fields(rest)
			if len(words) < 3 {
				break
			}
			addr, _ := netip.ParseAddr(words[2])
			return addr.Unmap()
		}
	}
	return netip.Addr{}
}

// carries reports whether a description has a line.
func carries(sdp, line string) bool {
	for l := range strings.Lines(sdp) {
		if strings.TrimRight(l, "\r\n") == line {
			return true
		}
	}
	return false
}

// markSDP adds an attribute to the session part of a description.
func markSDP(sdp, mark string) string {
	if head, media, ok := strings.Cut(sdp, "\r\nm="); ok {
		return head + "\r\n" + mark + "\r\nm=" + media
	}
	return sdp + mark + "\r\n"
}
