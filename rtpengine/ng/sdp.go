package ng

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
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

// before is a description as the engine may read it.
func (o *options) before(sdp string) []byte {
	anew := o.sourceOnly && o.source.IsValid()
	if !o.rejectMux && !anew && !o.noICE && o.removed == nil && o.extensions == nil {
		return []byte(sdp)
	}
	return []byte(editLines(sdp, func(line string) string {
		switch {
		case strings.HasPrefix(line, "m="):
			return o.without(line)
		case o.rejectMux && isMux(line), o.noICE && isICE(line), o.extensions != nil && o.strips(line):
			return ""
		case anew && strings.HasPrefix(line, "a=rtcp:"):
			return strings.Fields(line)[0] // the port alone: the address is that of RTP
		case anew && strings.HasPrefix(line, "c=") && !strings.Contains(line, " 0.0.0.0"):
			return "c=IN " + familyWord(o.source) + " " + o.source.String()
		}
		return line
	}))
}

// without is an m-line, with port 0 when its kind is removed: it keeps its place, which offer and answer share (RFC 3264 §8), and nothing is agreed on.
func (o *options) without(line string) string {
	words := strings.Split(line, " ")
	if len(words) < 3 || !slices.Contains(o.removed, strings.TrimPrefix(words[0], "m=")) {
		return line
	}
	words[1] = "0"
	return strings.Join(words, " ")
}

func isICE(line string) bool {
	name, _, _ := strings.Cut(line, ":")
	switch name {
	case "a=ice-ufrag", "a=ice-pwd", "a=ice-options", "a=ice-lite", "a=ice-pacing", "a=candidate", "a=remote-candidates", "a=end-of-candidates":
		return true
	}
	return false
}

// strips reports whether a line names a header extension that does not count: "a=extmap:1/recvonly URI attributes".
func (o *options) strips(line string) bool {
	rest, ok := strings.CutPrefix(line, "a=extmap:")
	if !ok {
		return false
	}
	words := strings.Fields(rest)
	return slices.Contains(o.extensions, "all") || len(words) > 1 && slices.Contains(o.extensions, words[1])
}

func isMux(line string) bool { return line == "a=rtcp-mux" || line == "a=rtcp-mux-only" }

// afterOffer is the engine's offer as the other side may see it.
func (o *options) afterOffer(sdp []byte) string {
	p := polish{o: o, offer: true}
	return p.run(string(sdp))
}

// afterAnswer is the engine's answer as the offerer may see it. RFC 3264 §6 wants each m-line with the protocol that was offered, and the engine
// sees to it.
func (o *options) afterAnswer(sdp []byte) string {
	p := polish{o: o}
	return p.run(string(sdp))
}

// polish changes single lines of a description that the engine has written.
type polish struct {
	o       *options
	offer   bool
	out     strings.Builder
	kind    string // of the section: "none" before the first m-line, as rtpengine calls it
	section int    // from 1
	named   bool   // it has a=mid
}

func (p *polish) run(sdp string) string {
	o := p.o
	if !o.address.IsValid() && !o.noRTCP && o.attributes == nil && o.ptime == 0 && (!p.offer || o.proto == "" && !o.mid) {
		return sdp
	}
	p.out.Grow(len(sdp) + 64)
	p.kind = "none"
	for line := range strings.Lines(sdp) {
		line = strings.TrimRight(line, "\r\n")
		if rest, ok := strings.CutPrefix(line, "m="); ok {
			p.close()
			p.kind, _, _ = strings.Cut(rest, " ")
			p.section++
			p.named = false
		}
		p.put(p.edit(line))
	}
	p.close()
	return p.out.String()
}

func (p *polish) put(line string) {
	if line != "" {
		p.out.WriteString(line)
		p.out.WriteString("\r\n")
	}
}

// close ends a section with what is added to it.
func (p *polish) close() {
	if p.offer && p.o.mid && p.section > 0 && !p.named {
		p.put("a=mid:" + strconv.Itoa(p.section))
	}
	if p.o.ptime != 0 && p.kind == "audio" {
		p.put("a=ptime:" + strconv.Itoa(p.o.ptime))
	}
	for _, a := range p.o.attributes {
		if a.kind == p.kind && a.from == "" {
			p.put("a=" + a.to)
		}
	}
}

// edit is a line as it may leave, "" when it may not.
func (p *polish) edit(line string) string {
	o := p.o
	switch {
	case p.offer && o.proto != "" && strings.HasPrefix(line, "m="):
		return withFeedback(line, strings.HasSuffix(o.proto, "F"))
	case p.offer && o.proto != "" && !strings.HasSuffix(o.proto, "F") && strings.HasPrefix(line, "a=rtcp-fb:"):
		return "" // RFC 4585 §4.2: only with RTP/AVPF
	case strings.HasPrefix(line, "a=rtcp:"):
		if o.noRTCP {
			return ""
		}
		line = o.moved(line)
	case strings.HasPrefix(line, "c="), strings.HasPrefix(line, "o="):
		return o.moved(line)
	case strings.HasPrefix(line, "a=mid:"):
		p.named = true
	case o.ptime != 0 && p.kind == "audio" && strings.HasPrefix(line, "a=ptime:"):
		return ""
	}
	if value, ok := strings.CutPrefix(line, "a="); ok {
		for _, a := range o.attributes {
			if a.kind == p.kind && a.from != "" && a.means(value) {
				if a.to == "" {
					return ""
				}
				return "a=" + a.to
			}
		}
	}
	return line
}

// attribute is one change that sdp-attr asks for: from is exchanged for to. Without from it is added, without to removed.
type attribute struct {
	kind     string // of the m-line, "none" for the session part
	from, to string
}

// means reports whether an attribute is the one named: as a whole, or by its beginning up to a colon or space.
func (a *attribute) means(value string) bool {
	rest, ok := strings.CutPrefix(value, a.from)
	return ok && (rest == "" || rest[0] == ':' || rest[0] == ' ')
}

// maxAttributes bounds the changes of one request.
const maxAttributes = 64

// attributesOf reads sdp-attr: a dictionary of kinds with lists to add, remove and substitute, or flags like "add-audio-ptime:20" in which two dashes
// stand for an equals sign and two dots for a space.
func attributesOf(value any, lacks func(string)) (list []attribute) {
	add := func(op, kind, from, to string) {
		if kind == "global" {
			kind = "none"
		}
		plain := !strings.ContainsAny(from+to, "\r\n\x00") // more than one line is no attribute
		switch {
		case plain && op == "add" && from != "":
			list = append(list, attribute{kind: kind, to: from})
		case plain && op == "remove" && from != "":
			list = append(list, attribute{kind: kind, from: from})
		case plain && (op == "substitute" || op == "subst") && from != "" && to != "":
			list = append(list, attribute{kind, from, to})
		default:
			lacks("sdp-attr-" + op + "-" + kind)
		}
	}
	d, _ := value.(dict)
	for _, word := range (dict{"": value}).words("") {
		attributeFlag(word, add)
	}
	for _, word := range d.words("") {
		attributeFlag(word, add)
	}
	for _, kind := range slices.Sorted(maps.Keys(d)) {
		ops, _ := d[kind].(dict)
		for _, op := range slices.Sorted(maps.Keys(ops)) {
			items, _ := ops[op].([]any)
			if pair := ops.words(op); op == "substitute" && len(pair) == 2 {
				add(op, kind, pair[0], pair[1])
				continue
			}
			for _, item := range items {
				pair := (dict{"": item}).words("")
				pair = append(pair, "", "")
				add(op, kind, pair[0], pair[1])
			}
		}
	}
	return list[:min(len(list), maxAttributes)]
}

// attributeFlag reads "substitute-none-sendrecv>sendonly".
func attributeFlag(word string, add func(op, kind, from, to string)) {
	op, rest, _ := strings.Cut(word, "-")
	kind, value, _ := strings.Cut(rest, "-")
	value = strings.NewReplacer("--", "=", "..", " ").Replace(value)
	from, to := value, ""
	if op == "substitute" || op == "subst" || op == "substitude" { // the manual's own spelling is among them
		op = "substitute"
		from, to, _ = strings.Cut(value, ">")
	}
	add(op, kind, from, to)
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

// withFeedback gives the profile of an m-line the feedback of RFC 4585, or takes it away: "m=audio 20000 RTP/AVP 0".
func withFeedback(line string, feedback bool) string {
	words := strings.Split(line, " ")
	if len(words) > 2 && strings.HasPrefix(words[2], "RTP/") {
		words[2] = strings.TrimSuffix(words[2], "F")
		if feedback {
			words[2] += "F"
		}
	}
	return strings.Join(words, " ")
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

// speaksOf reports whether a description has an m-line of a kind that is not rejected.
func speaksOf(sdp, kind string) bool {
	for line := range strings.Lines(sdp) {
		if rest, ok := strings.CutPrefix(line, "m="+kind+" "); ok && !strings.HasPrefix(rest, "0 ") {
			return true
		}
	}
	return false
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
