// Package message turns SIP bytes into something one can ask questions of, and questions answered into bytes again
// (RFC 3261 §7, §20, §25).
//
// A Message is an index over the text as it arrived: where each header line begins, which header it is, where the body
// starts. Nothing is decoded before somebody asks for it, and what nobody touches leaves the proxy byte for byte as it
// came, compact names, odd spacing and unknown headers included (RFC 3261 §16.6 step 1). The text is a Go string, so every
// field handed out is a substring that stays valid for ever; whoever keeps one for longer than a call should clone it,
// or the whole message stays in memory with it.
package message

import (
	"strings"
)

// Limits of one message. They are properties of the index (offsets are 16 bits wide) and of sanity, not of the RFC.
const (
	MaxBytes   = 65535 // start line, headers and body together
	MaxHeaders = 256   // header lines
)

// A Message is one SIP request or response. The zero value is ready for Parse; a Message may be parsed into again, which
// reuses its index. A Message that is not being parsed into may be read from any goroutine.
//
// Messages are kept by the thousand, so the index is offsets into the text: 8 bytes a line, nothing for the collector to follow.
type Message struct {
	raw   string // the whole message, folded lines unfolded in place
	lines []line

	Method string // of a request, or of a response's CSeq once Validate has read it
	URI    string // Request-URI as written
	Status int    // of a response, 100..699
	Reason string

	body uint16 // offset of the body in raw
	end  uint16 // offset behind the body: raw may hold more than Content-Length says (datagrams, RFC 3261 §18.3)

	present idSet         // the known headers that are there
	first   [numIDs]uint8 // index of the first line of each header in present; the others mean nothing
	twice   ID            // a header that may stand once only and stands more often
	request bool

	// What Validate read on its way, when valid is set.
	valid          bool
	via            viaMarks
	fromTag, toTag span // quotes included
	cseq           uint32
}

// A line is where a header line stands in the text. It ends where the next begins.
type line struct {
	start      uint16
	value, end uint16 // the value without white space around it
	id         ID
}

// usualLines is the room of a fresh index: phones send 10 to 20 lines.
const usualLines = 24

// A Header is one header line. Name and Value are substrings of the message; Value has no white space around it.
type Header struct {
	ID    ID
	Name  string
	Value string
}

// IsRequest tells a request from a response.
func (m *Message) IsRequest() bool { return m.request }

// Raw is the text of the message as it was parsed, without bytes behind the body.
func (m *Message) Raw() string { return m.raw[:m.end] }

// Body is the message body, empty when there is none.
func (m *Message) Body() string { return m.raw[m.body:m.end] }

// Len is the number of header lines.
func (m *Message) Len() int { return len(m.lines) }

// Header is the header line at index i, in the order they stand.
func (m *Message) Header(i int) Header {
	return Header{ID: m.lines[i].id, Name: m.name(i), Value: m.value(i)}
}

func (m *Message) value(i int) string {
	l := &m.lines[i]
	return m.raw[l.value:l.end]
}

func (m *Message) name(i int) string {
	start := int(m.lines[i].start)
	return m.raw[start:skip(m.raw, start, tokenChar)]
}

// lineEnd is the offset behind the CRLF of a line.
func (m *Message) lineEnd(i int) int {
	if i+1 < len(m.lines) {
		return int(m.lines[i+1].start)
	}
	return int(m.body) - len("\r\n")
}

// Get is the value of the first line of a header, "" when it is absent. Has tells an empty header from an absent one.
func (m *Message) Get(id ID) string {
	if !m.present.has(id) {
		return ""
	}
	return m.value(int(m.first[id]))
}

// Has tells whether a header is there at all.
func (m *Message) Has(id ID) bool { return m.present.has(id) }

// Index is the position of the first line of a header, -1 when it is absent.
func (m *Message) Index(id ID) int {
	if !m.present.has(id) {
		return -1
	}
	return int(m.first[id])
}

// Next is the position of the next line of the same header, -1 behind the last.
func (m *Message) Next(i int) int {
	for id := m.lines[i].id; i+1 < len(m.lines); {
		if i++; m.lines[i].id == id {
			return i
		}
	}
	return -1
}

// Count is the number of lines of a header.
func (m *Message) Count(id ID) int {
	n := 0
	for i := m.Index(id); i >= 0; i = m.Next(i) {
		n++
	}
	return n
}

// Lookup finds a header by its name, which need not be one that has an ID. The compact name is not tried.
func (m *Message) Lookup(name string) (value string, ok bool) {
	for i := range m.lines {
		if strings.EqualFold(m.name(i), name) {
			return m.value(i), true
		}
	}
	return "", false
}

// Values calls yield for every value of a header, over all its lines and the commas within them (RFC 3261 §7.3.1).
// It stops when yield says false. Authentication headers are not lists: read them by line.
func (m *Message) Values(id ID, yield func(value string) bool) {
	for i := m.Index(id); i >= 0; i = m.Next(i) {
		for rest := m.value(i); rest != ""; {
			var v string
			if v, rest = CutValue(rest); v != "" && !yield(v) {
				return
			}
		}
	}
}

// List collects Values into a slice.
func (m *Message) List(id ID) []string {
	var out []string
	m.Values(id, func(v string) bool { out = append(out, v); return true })
	return out
}

// HasToken tells whether a comma-separated list of tokens (Require, Supported, Allow) names one, whatever its case.
func (m *Message) HasToken(id ID, token string) bool {
	found := false
	m.Values(id, func(v string) bool { found = equalFold(v, token); return !found })
	return found
}

// CallID is the value of Call-ID.
func (m *Message) CallID() string { return m.Get(CallID) }

// FromTag is the tag of From, "" when there is none (RFC 2543 peers).
func (m *Message) FromTag() string {
	if m.valid {
		return unquote(m.fromTag.of(m.raw))
	}
	return Tag(m.Get(From))
}

// ToTag is the tag of To, "" outside a dialog.
func (m *Message) ToTag() string {
	if m.valid {
		return unquote(m.toTag.of(m.raw))
	}
	return Tag(m.Get(To))
}

// CSeq is the sequence number and method of CSeq; ok is false when it does not parse (RFC 3261 §20.16).
func (m *Message) CSeq() (number uint32, method string, ok bool) {
	if m.valid {
		return m.cseq, m.Method, true
	}
	return ParseCSeq(m.Get(CSeq))
}

// TopVia is the first Via value. What could be read before a fault is returned with the error.
func (m *Message) TopVia() (Via, error) {
	if m.valid {
		return m.via.of(m.raw), nil
	}
	v, _ := CutValue(m.Get(ViaID))
	return ParseVia(v)
}
