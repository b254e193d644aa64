package rtpengine

import (
	"slices"
	"strconv"
	"strings"
)

// told is a format as both sides know it: its writer's number, and the reader's.
type told struct{ from, to uint8 }

// untold is no payload type.
const untold = 0xff

// retelling is how the formats of one section are told to the other side. Nil tells them as they are.
type retelling struct {
	formats []told
	to      [128]uint8 // by the writer's number
	refers  [128]refer
}

// refer says how a format's parameters name others.
type refer uint8

const (
	refersNot  refer = iota
	refersList       // "111/111", RFC 2198
	refersApt        // "apt=96", RFC 4588
)

// retell makes the retelling from the reader's number of each codec.
func retell(list []codec, order []int, number []uint8) *retelling {
	r := &retelling{formats: make([]told, 0, len(list))}
	var listed [128]bool
	moved := false
	for i := range r.to {
		r.to[i] = untold
	}
	for i, c := range list {
		r.to[c.payload], listed[c.payload] = number[i], true
		moved = moved || number[i] != untold && number[i] != c.payload
		switch {
		case c.named("red"):
			r.refers[c.payload] = refersList
		case c.named("rtx"):
			r.refers[c.payload] = refersApt
		}
	}
	for again := true; again; { // what refers to something untold cannot be told either
		again = false
		for _, c := range list {
			lost := slices.ContainsFunc(c.refers(), func(pt uint8) bool { return r.to[pt] == untold && (listed[pt] || moved) })
			if r.to[c.payload] != untold && (lost || moved && c.repairs()) {
				r.to[c.payload], again = untold, true
			}
		}
	}
	for _, i := range order {
		if pt := list[i].payload; r.to[pt] != untold {
			r.formats = append(r.formats, told{pt, r.to[pt]})
		}
	}
	return r
}

// plain reports whether the retelling changes nothing of what stands in a section.
func (r *retelling) plain(s *section, list []codec) bool {
	if len(r.formats) != len(list) || len(list) != len(s.formats) {
		return false
	}
	for i, t := range r.formats {
		if t.from != t.to || t.from != list[i].payload {
			return false
		}
	}
	return true
}

// answerTo says how an answer's codecs are told to the offerer: under the numbers of its offer, and only what it offered (RFC 3264 §6.1). shown
// is how the offer was told to the answerer; nil: as it was.
func answerTo(offer []codec, shown []told, answer []codec, answered []meaning) *retelling {
	number, order := make([]uint8, len(answer)), make([]int, len(answer))
	offered := meanings(offer)
	var taken [128]bool // numbers of the offer
	find := func(fits func(at int) bool) int {
		for at, c := range offer {
			if !taken[c.payload] && toOf(shown, c.payload) != untold && fits(at) {
				return at
			}
		}
		return -1
	}
	for i, c := range answer {
		order[i], number[i] = i, untold
		same := func(at int) bool { return toOf(shown, offer[at].payload) == c.payload }
		at := find(func(at int) bool { return same(at) && offered[at] == answered[i] })
		if at < 0 {
			at = find(func(at int) bool { return offered[at] == answered[i] })
		}
		if at < 0 { // of the same number and name, but with other parameters; or without a=rtpmap
			at = find(func(at int) bool { return same(at) && (c.name == "" || c.named(offer[at].name)) })
		}
		if at >= 0 {
			number[i] = offer[at].payload
			taken[number[i]] = true
		}
	}
	return retell(answer, order, number)
}

// toOf is the reader's number of a format, or untold. A nil list tells all as they are.
func toOf(list []told, from uint8) uint8 {
	if list == nil {
		return from
	}
	for _, t := range list {
		if t.from == from {
			return t.to
		}
	}
	return untold
}

// words are the formats as an m-line has them.
func (r *retelling) words() string {
	var out []byte
	for i, t := range r.formats {
		if i > 0 {
			out = append(out, ' ')
		}
		out = strconv.AppendUint(out, uint64(t.to), 10)
	}
	return string(out)
}

// line gives a line of the section under the reader's numbers, "" when it speaks of what is not told.
func (r *retelling) line(line string) string {
	name, value, ok := strings.Cut(line, ":")
	if !ok {
		return line
	}
	switch name {
	case "a=rtpmap", "a=fmtp", "a=rtcp-fb", "a=imageattr", "a=framesize", "a=depend":
	case "a=rid":
		return r.restriction(line)
	default:
		return line
	}
	value = strings.TrimLeft(value, " \t")
	end := strings.IndexAny(value, " \t")
	if end < 0 {
		end = len(value)
	}
	if value[:end] == "*" {
		return line
	}
	pt, ok := payloadType(value[:end])
	if !ok || r.to[pt] == untold {
		return ""
	}
	rest := value[end:]
	if name == "a=fmtp" {
		rest = r.parameters(r.refers[pt], rest)
	}
	return name + ":" + strconv.Itoa(int(r.to[pt])) + rest
}

// parameters gives those of a format that refers to others. What is untold does not come here, see retell.
func (r *retelling) parameters(how refer, text string) string {
	switch how {
	case refersList:
		list, rest, more := strings.Cut(text, ";")
		words := strings.Split(strings.TrimSpace(list), "/")
		for i, w := range words {
			words[i] = r.number(w)
		}
		text = " " + strings.Join(words, "/")
		if more {
			text += ";" + rest
		}
	case refersApt:
		fields := strings.Split(text, ";")
		for i, f := range fields {
			if key, value, ok := strings.Cut(f, "="); ok && strings.EqualFold(strings.TrimSpace(key), "apt") {
				fields[i] = key + "=" + r.number(value)
			}
		}
		text = strings.Join(fields, ";")
	}
	return text
}

// number gives a reference under the reader's number; what is none stays.
func (r *retelling) number(word string) string {
	if pt, ok := payloadType(strings.TrimSpace(word)); ok && r.to[pt] != untold {
		return strconv.Itoa(int(r.to[pt]))
	}
	return word
}

// restriction gives "a=rid:hi send pt=96,97;max-width=1280" (RFC 8851 §4), "" when it allows nothing that is told.
func (r *retelling) restriction(line string) string {
	head, rest, ok := strings.Cut(line, "pt=")
	if !ok {
		return line
	}
	list, tail, more := strings.Cut(rest, ";")
	var kept []string
	for word := range strings.SplitSeq(list, ",") {
		if pt, ok := payloadType(strings.TrimSpace(word)); ok && r.to[pt] != untold {
			kept = append(kept, strconv.Itoa(int(r.to[pt])))
		}
	}
	if kept == nil {
		return ""
	}
	line = head + "pt=" + strings.Join(kept, ",")
	if more {
		line += ";" + tail
	}
	return line
}
