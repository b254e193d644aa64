package message

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseError says what is wrong with a message. Status is the answer the RFC asks for when the message is a request that
// can be answered at all; Text goes into its reason phrase and Warning.
type ParseError struct {
	Status int
	Text   string
}

func (e *ParseError) Error() string { return fmt.Sprintf("%d %s", e.Status, e.Text) }

func malformed(format string, args ...any) *ParseError {
	return &ParseError{Status: 400, Text: fmt.Sprintf(format, args...)}
}

// Parse indexes text, one message as it came in a datagram or out of a stream's framing. When it returns an error the
// message may still hold what was read before the fault, so that an answer can be built (see Answerable).
// Leading CRLFs are skipped (RFC 3261 §7.5). It checks form, not sense: Validate does the rest.
func (m *Message) Parse(text string) error {
	m.reset()
	for strings.HasPrefix(text, "\r\n") {
		text = text[2:]
	}
	if len(text) > MaxBytes {
		return &ParseError{Status: 513, Text: "message larger than 65535 bytes"}
	}
	m.raw, m.body, m.end = text, uint16(len(text)), uint16(len(text))
	at := strings.Index(text, "\r\n")
	if at < 0 {
		return malformed("no CRLF behind the start line")
	}
	startErr := m.parseStart(text[:at])
	if err := m.parseHeaders(at + 2); err != nil {
		return err
	}
	if startErr != nil {
		return startErr
	}
	return m.parseBody()
}

func (m *Message) reset() {
	lines := m.lines[:0]
	if lines == nil {
		lines = make([]line, 0, usualLines)
	}
	*m = Message{lines: lines}
}

// parseStart reads the Request-Line or Status-Line (RFC 3261 §7.1, §7.2): one space between the parts, none around them.
func (m *Message) parseStart(line string) error {
	if len(line) > 4 && equalFold(line[:4], "SIP/") {
		return m.parseStatusLine(line)
	}
	m.request = true
	sp := strings.IndexByte(line, ' ')
	last := strings.LastIndexByte(line, ' ')
	if sp <= 0 {
		return malformed("start line is neither a request nor a response")
	}
	m.Method = line[:sp]
	if last == sp {
		return malformed("no SIP version in the request line")
	}
	version := line[last+1:]
	m.URI = line[sp+1 : last]
	switch {
	case !isToken(m.Method):
		return malformed("method is not a token")
	case version == "" || m.URI == "" || strings.IndexByte(m.URI, ' ') >= 0 || strings.IndexByte(m.URI, '\t') >= 0:
		return malformed("white space in the request line")
	case !equalFold(version, "SIP/2.0"):
		if len(version) < 4 || !equalFold(version[:4], "SIP/") {
			return malformed("no SIP version in the request line")
		}
		return &ParseError{Status: 505, Text: "version " + version + " is not supported"}
	}
	return nil
}

func (m *Message) parseStatusLine(line string) error {
	sp := strings.IndexByte(line, ' ')
	if sp < 0 || len(line) < sp+4 {
		return malformed("status line too short")
	}
	version := line[:sp]
	code, rest := line[sp+1:], ""
	if i := strings.IndexByte(code, ' '); i >= 0 {
		code, rest = code[:i], code[i+1:]
	}
	n, err := strconv.Atoi(code)
	switch {
	case !equalFold(version, "SIP/2.0"):
		return &ParseError{Status: 505, Text: "version " + version + " is not supported"}
	case err != nil || len(code) != 3 || n < 100 || n > 699:
		return malformed("status code out of range")
	}
	m.Status, m.Reason = n, rest
	if strings.IndexByte(rest, '\n') >= 0 || strings.IndexByte(rest, 0) >= 0 {
		return malformed("a control character in the reason phrase")
	}
	return nil
}

// parseHeaders indexes the lines from offset at to the empty line.
func (m *Message) parseHeaders(at int) error {
	for {
		rest := m.raw[at:]
		n := strings.IndexByte(rest, '\n')
		if n < 0 {
			return malformed("headers do not end with an empty line")
		}
		if n == 0 || rest[n-1] != '\r' {
			return malformed("header line does not end with CRLF")
		}
		if n == 1 {
			m.body = uint16(at + 2)
			return m.checkControls()
		}
		next := at + n + 1
		if next < len(m.raw) && (m.raw[next] == ' ' || m.raw[next] == '\t') {
			m.unfold(next)
			continue
		}
		if err := m.addLine(at, next); err != nil {
			return err
		}
		at = next
	}
}

// unfold joins all folded lines from offset next on, where the first continuation begins: each CRLF becomes two spaces, so
// that no offset moves (RFC 3261 §7.3.1: a fold means a single space). Once for a message, because it copies the text.
func (m *Message) unfold(next int) {
	b := []byte(m.raw)
	for i := next; ; {
		if b[i] == ' ' || b[i] == '\t' {
			b[i-2], b[i-1] = ' ', ' '
		}
		n := strings.IndexByte(m.raw[i:], '\n')
		if n <= 1 || m.raw[i+n-1] != '\r' || i+n+1 == len(b) {
			break // the empty line, or a fault that parseHeaders finds
		}
		i += n + 1
	}
	m.raw = string(b)
}

func (m *Message) addLine(start, next int) error {
	text := m.raw[start : next-2]
	colon := strings.IndexByte(text, ':')
	if colon < 0 {
		return malformed("header line without a name and a colon: %.40q", text)
	}
	name := text[:backBlank(text, 0, colon)]
	id := HeaderID(name)
	if id == Other && !isToken(name) {
		return malformed("header line without a name and a colon: %.40q", text)
	}
	if len(m.lines) >= MaxHeaders {
		return &ParseError{Status: 513, Text: "more than 256 header lines"}
	}
	value := skipBlank(text, colon+1)
	end := backBlank(text, value, len(text))
	switch {
	case id == Other:
	case !m.present.has(id):
		m.present |= 1 << id
		m.first[id] = uint8(len(m.lines))
	case single.has(id) && m.twice == Other:
		m.twice = id
	}
	m.lines = append(m.lines, line{start: uint16(start), value: uint16(start + value), end: uint16(start + end), id: id})
	return nil
}

// checkControls refuses what other elements may take for the end of a line or of a string: a CR that ends no line, a NUL that
// does not stand escaped in a quoted string (RFC 3261 §25.1 quoted-pair).
func (m *Message) checkControls() error {
	head := m.raw[:m.body]
	if strings.Count(head, "\r") != len(m.lines)+2 { // the start line, the headers, the empty line
		return malformed("a CR that ends no line")
	}
	if strings.IndexByte(head, 0) < 0 {
		return nil
	}
	for i := range m.lines {
		if bareNUL(m.value(i)) {
			return malformed("NUL byte in %s", m.name(i))
		}
	}
	return nil // in the start line each part says what it may hold
}

func bareNUL(s string) bool {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == 0:
			return true
		}
	}
	return false
}

// parseBody cuts the body at Content-Length. Without one it goes to the end of the datagram (RFC 3261 §18.3).
func (m *Message) parseBody() error {
	if !m.Has(ContentLength) {
		return nil
	}
	n, ok := ParseUint(m.Get(ContentLength))
	switch {
	case !ok:
		return malformed("Content-Length is not a number")
	case int64(m.body)+int64(n) > int64(len(m.raw)):
		return malformed("Content-Length says %d, the message has %d bytes behind the headers", n, len(m.raw)-int(m.body))
	}
	m.end = m.body + uint16(n)
	return nil
}

// Validate checks what every element must be able to rely on: the mandatory headers are there once and well-formed, the
// CSeq names the method, numbers are in range (RFC 3261 §8.1.1, §8.2, §16.3). It never allocates for a good message, and
// remembers the top Via, CSeq and tags, so that it is not for several goroutines at once.
func (m *Message) Validate() error {
	if m.twice != Other {
		return malformed("more than one %s", m.twice)
	}
	for _, id := range [...]ID{ViaID, From, To, CallID, CSeq} {
		if m.Get(id) == "" {
			return malformed("no %s", id)
		}
	}
	if err := m.validateVia(); err != nil {
		return malformed("Via: %v", err)
	}
	if !all(m.CallID(), callIDChar) {
		return malformed("Call-ID is not word[@word]")
	}
	cseq, method, ok := ParseCSeq(m.Get(CSeq))
	if !ok {
		return malformed("CSeq is not a 32-bit number and a method")
	}
	var err error
	if m.fromTag, err = m.validateParty(From); err != nil {
		return malformed("From: %v", err)
	}
	if m.toTag, err = m.validateParty(To); err != nil {
		return malformed("To: %v", err)
	}
	if m.request {
		if err := m.validateRequest(method); err != nil {
			return err
		}
	}
	m.Method, m.cseq, m.valid = method, cseq, true
	return nil
}

func (m *Message) validateVia() (err error) {
	l := m.lines[m.first[ViaID]]
	at, text := int(l.value), m.raw[:l.end]
	text = text[:backBlank(text, at, endOfValue(text, at))]
	if m.via, err = scanVia(text, at); err == nil && m.via.gap {
		err = errNoParam
	}
	return err
}

func (m *Message) validateParty(id ID) (tag span, err error) {
	l := m.lines[m.first[id]]
	return checkAddress(m.raw[:l.end], int(l.value))
}

func (m *Message) validateRequest(method string) error {
	if method != m.Method {
		return malformed("CSeq names the method %.20q, the request line %.20q", method, m.Method)
	}
	if m.Has(MaxForwards) {
		if n, ok := ParseUint(m.Get(MaxForwards)); !ok || n > 255 {
			return malformed("Max-Forwards is not a number from 0 to 255")
		}
	}
	if err := checkRequestURI(m.URI); err != nil {
		return malformed("Request-URI: %v", err)
	}
	if m.Has(Expires) {
		if _, ok := ParseUint(m.Get(Expires)); !ok && m.Method == "REGISTER" {
			return malformed("Expires is not a number of seconds")
		}
	}
	for _, id := range [...]ID{Contact, Route, RecordRoute} {
		if !m.Has(id) {
			continue
		}
		if err := m.checkAddresses(id); err != nil {
			return malformed("%s: %v", id, err)
		}
	}
	return nil
}

// checkAddresses checks every value of a header that lists addresses; Contact may also be a star.
func (m *Message) checkAddresses(id ID) (err error) {
	m.Values(id, func(v string) bool {
		if v != "*" || id != Contact {
			_, err = checkAddress(v, 0)
		}
		return err == nil
	})
	return err
}

// Answerable tells whether a faulty request can be answered: a Via that says where to, a CSeq by which the answer is known,
// and nothing in what an answer copies that could be taken for a line's end. What else it lacks is left out of the answer.
// ACK never is answered (RFC 3261 §17.1.1.3).
func (m *Message) Answerable() bool {
	if !m.request || m.Method == "ACK" || m.Method == "" || m.Get(CSeq) == "" {
		return false
	}
	for i := range m.lines {
		switch m.lines[i].id {
		case ViaID, From, To, CallID, CSeq:
			if v := m.value(i); strings.IndexByte(v, '\r') >= 0 || strings.IndexByte(v, 0) >= 0 {
				return false
			}
		}
	}
	via, _ := m.TopVia()
	return via.Host != ""
}
