package sip

import (
	"strconv"
	"strings"

	"tandem/sip/message"
)

// A description is the session description of a message, and where in its body it stands: the whole body, or one part of a
// multipart body, beside an ISUP message, a resource list, a location (RFC 5621).
type description struct {
	body     string
	from, to int
	length   span // digits of the part's own Content-Length, empty without one
	found    bool
}

type span struct{ from, to int }

// Bounds of a multipart body that is looked into; what goes beyond them is refused.
const (
	maxParts = 16 // at all depths together
	maxDepth = 3  // multiparts within each other
)

// bodyFault is a body whose session description cannot be found or replaced: its media would go past the media engine
// (MediaError).
type bodyFault struct {
	status int
	why    string
}

func (e bodyFault) Error() string { return e.why }

func (e bodyFault) SIPStatus() (status, code int, warning string) { return e.status, 399, e.why }

func malformedBody(why string) error { return bodyFault{400, "multipart body: " + why} }

// describe finds the session description of a message. Multipart bodies are looked into where offers and answers travel; elsewhere
// they are nobody's business here.
func describe(m *message.Message) (d description, err error) {
	d.body = m.Body()
	if d.body == "" {
		return d, nil
	}
	kind, params, _ := strings.Cut(m.Get(message.ContentType), ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	if kind == "application/sdp" {
		d.to, d.found = len(d.body), true
		return d, nil
	}
	switch m.Method {
	case "INVITE", "UPDATE", "PRACK", "ACK":
	default:
		return d, nil
	}
	if subtype, ok := strings.CutPrefix(kind, "multipart/"); ok {
		if v := m.Get(message.ContentEncoding); v != "" && !strings.EqualFold(v, "identity") {
			return d, bodyFault{488, "a session description may stand in the encoded multipart body, where it cannot be reached"}
		}
		w := partWalk{d: &d}
		err = w.walk(subtype, params, span{0, len(d.body)}, 1)
	}
	return d, err
}

// sdp is the session description, "" when there is none.
func (d *description) sdp() string { return d.body[d.from:d.to] }

// with is the body with another session description in its place.
func (d *description) with(sdp string) string {
	before := d.body[:d.from]
	if d.length.to > d.length.from {
		before = d.body[:d.length.from] + strconv.Itoa(len(sdp)) + d.body[d.length.to:d.from]
	}
	return before + sdp + d.body[d.to:]
}

// partWalk goes through the parts of a multipart body (RFC 2046 §5.1).
type partWalk struct {
	d     *description
	parts int
}

func (w *partWalk) walk(subtype, params string, in span, depth int) error {
	boundary, ok := message.Param(params, "boundary")
	switch {
	case !ok || boundary == "" || len(boundary) > 70:
		return malformedBody("no boundary")
	case depth > maxDepth:
		return bodyFault{488, "multipart bodies within each other more than 3 deep"}
	}
	had := w.d.found
	at, last, ok := w.delimiter(boundary, in.from, in.to)
	if !ok {
		return malformedBody("its boundary is not in it")
	}
	for !last {
		if w.parts++; w.parts > maxParts {
			return bodyFault{488, "more than 16 parts in a multipart body"}
		}
		begin := at.to
		if at, last, ok = w.delimiter(boundary, begin, in.to); !ok {
			return malformedBody("the last boundary is missing")
		}
		if err := w.part(span{begin, max(at.from, begin)}, depth); err != nil {
			return err
		}
	}
	if w.d.found && !had && (subtype == "signed" || subtype == "encrypted") {
		return bodyFault{488, "a signed session description cannot be changed"}
	}
	return nil
}

// delimiter finds the next line that is "--boundary". at reaches from the CRLF before it, which belongs to it, to the end of its
// line; last tells the closing one.
func (w *partWalk) delimiter(boundary string, from, to int) (at span, last, ok bool) {
	body, mark := w.d.body, "--"+boundary
	for start := from; start <= to; {
		i := strings.Index(body[start:to], mark)
		if i < 0 {
			return at, false, false
		}
		i += start
		start = i + len(mark)
		lineStart := i == 0 || body[i-1] == '\n' // the first delimiter may open the body, one part may end where the next begins
		rest, _, _ := strings.Cut(body[start:to], "\n")
		text := strings.TrimRight(rest, " \t\r")
		if !lineStart || text != "" && text != "--" {
			continue // the text of a part, or a longer boundary
		}
		at = span{i, min(start+len(rest)+1, to)}
		if i > from && body[i-1] == '\n' {
			if at.from--; at.from > from && body[at.from-1] == '\r' {
				at.from--
			}
		}
		return at, text == "--", true
	}
	return at, false, false
}

// part looks at what one part is.
func (w *partWalk) part(in span, depth int) error {
	h, at, err := w.headers(in)
	if err != nil {
		return err
	}
	if subtype, ok := strings.CutPrefix(h.kind, "multipart/"); ok {
		if h.encoding != "" {
			return bodyFault{488, "a multipart body within another is encoded as " + h.encoding}
		}
		return w.walk(subtype, h.params, span{at, in.to}, depth+1)
	}
	if h.kind != "application/sdp" {
		return nil
	}
	switch {
	case h.encoding != "":
		return bodyFault{488, "the session description is encoded as " + h.encoding}
	case w.d.found:
		return bodyFault{488, "more than one session description"}
	}
	w.d.from, w.d.to, w.d.length, w.d.found = at, in.to, h.length, true
	return nil
}

// partHeaders are the headers of a part that matter here.
type partHeaders struct {
	kind, params string // of Content-Type
	encoding     string // "" when the part stands as it is
	length       span
}

// headers reads the headers of a part; at is where its body begins.
func (w *partWalk) headers(in span) (h partHeaders, at int, err error) {
	h.kind = "text/plain"
	for at = in.from; at < in.to; { // a part may have no empty line and no body
		start := at
		line, next := w.line(at, in.to)
		if at = next; line == "" {
			return h, at, nil
		}
		for at < in.to && (w.d.body[at] == ' ' || w.d.body[at] == '\t') { // folded
			var more string
			more, at = w.line(at, in.to)
			line += more
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || line[0] == ' ' || line[0] == '\t' {
			return h, at, malformedBody("a part with a line that is no header")
		}
		h.read(strings.ToLower(strings.TrimSpace(name)), value, start+len(name)+1)
	}
	return h, at, nil
}

func (w *partWalk) line(from, to int) (line string, next int) {
	line, _, _ = strings.Cut(w.d.body[from:to], "\n")
	return strings.TrimSuffix(line, "\r"), min(from+len(line)+1, to)
}

// read takes one header whose value begins at offset at.
func (h *partHeaders) read(name, value string, at int) {
	word := strings.ToLower(strings.TrimSpace(value))
	switch name {
	case "content-type", "c":
		h.kind, h.params, _ = strings.Cut(value, ";")
		h.kind = strings.ToLower(strings.TrimSpace(h.kind))
	case "content-transfer-encoding", "content-encoding", "e":
		if word != "binary" && word != "8bit" && word != "7bit" && word != "identity" {
			h.encoding = word
		}
	case "content-length", "l":
		h.length.from = at + len(value) - len(strings.TrimLeft(value, " \t"))
		h.length.to = h.length.from + len(word)
	}
}

func hasSDP(m *message.Message) bool {
	d, err := describe(m)
	return err == nil && d.found
}

// SDP is the session description of the request, "" without one, whether or not it stands in a multipart body. An error is a
// MediaError.
func (in *Inbound) SDP() (string, error) {
	d, err := describe(in.Msg)
	return d.sdp(), err
}
