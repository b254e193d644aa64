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
	m.raw, m.body, m.end = text, len(text), len(text)
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
	*m = Message{headers: m.headers[:0]}
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
	m.URI, m.Version = line[sp+1:last], line[last+1:]
	switch {
	case !isToken(m.Method):
		return malformed("method is not a token")
	case m.Version == "" || m.URI == "" || strings.IndexByte(m.URI, ' ') >= 0 || strings.IndexByte(m.URI, '\t') >= 0:
		return malformed("white space in the request line")
	case !equalFold(m.Version, "SIP/2.0"):
		if len(m.Version) < 4 || !equalFold(m.Version[:4], "SIP/") {
			return malformed("no SIP version in the request line")
		}
		return &ParseError{Status: 505, Text: "version " + m.Version + " is not supported"}
	}
	return nil
}

func (m *Message) parseStatusLine(line string) error {
	sp := strings.IndexByte(line, ' ')
	if sp < 0 || len(line) < sp+4 {
		return malformed("status line too short")
	}
	m.Version = line[:sp]
	code, rest := line[sp+1:], ""
	if i := strings.IndexByte(code, ' '); i >= 0 {
		code, rest = code[:i], code[i+1:]
	}
	n, err := strconv.Atoi(code)
	switch {
	case !equalFold(m.Version, "SIP/2.0"):
		return &ParseError{Status: 505, Text: "version " + m.Version + " is not supported"}
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
			m.body, m.end = len(m.raw), len(m.raw)
			return malformed("headers do not end with an empty line")
		}
		if n == 0 || rest[n-1] != '\r' {
			return malformed("header line does not end with CRLF")
		}
		if n == 1 {
			m.body = at + 2
			return m.checkControls()
		}
		next := at + n + 1
		if next < len(m.raw) && (m.raw[next] == ' ' || m.raw[next] == '\t') {
			m.unfold(next)
			continue
		}
		if err := m.addHeader(at, next); err != nil {
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

func (m *Message) addHeader(start, next int) error {
	line := m.raw[start : next-2]
	end := 0
	for end < len(line) && tokenByte[line[end]] {
		end++
	}
	colon := end
	for colon < len(line) && (line[colon] == ' ' || line[colon] == '\t') {
		colon++
	}
	if colon == len(line) || line[colon] != ':' || end == 0 {
		return malformed("header line without a name and a colon: %.40q", line)
	}
	name := line[:end]
	if len(m.headers) >= MaxHeaders {
		return &ParseError{Status: 513, Text: "more than 256 header lines"}
	}
	h := Header{ID: HeaderID(name), Name: name, Value: trim(line[colon+1:]), start: uint16(start), end: uint16(next)}
	m.headers = append(m.headers, h)
	switch {
	case h.ID == Other:
	case m.first[h.ID] == 0:
		m.first[h.ID] = int16(len(m.headers))
	case single[h.ID] && m.twice == Other:
		m.twice = h.ID
	}
	return nil
}

// checkControls refuses what other elements may take for the end of a line or of a string: a CR that ends no line, a NUL that
// does not stand escaped in a quoted string (RFC 3261 §25.1 quoted-pair).
func (m *Message) checkControls() error {
	head := m.raw[:m.body]
	if strings.Count(head, "\r") != len(m.headers)+2 { // the start line, the headers, the empty line
		return malformed("a CR that ends no line")
	}
	if strings.IndexByte(head, 0) < 0 {
		return nil
	}
	for i := range m.headers {
		if bareNUL(m.headers[i].Value) {
			return malformed("NUL byte in %s", m.headers[i].Name)
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
		return malformed("Content-Length says %d, the message has %d bytes behind the headers", n, len(m.raw)-m.body)
	}
	m.end = m.body + int(n)
	return nil
}

// Validate checks what every element must be able to rely on: the mandatory headers are there once and well-formed, the
// CSeq names the method, numbers are in range (RFC 3261 §8.1.1, §8.2, §16.3). It never allocates for a good message, and
// remembers the top Via, so that it is not for several goroutines at once.
func (m *Message) Validate() error {
	if m.twice != Other {
		return malformed("more than one %s", m.twice)
	}
	for _, id := range [...]ID{ViaID, From, To, CallID, CSeq} {
		if m.Get(id) == "" {
			return malformed("no %s", id)
		}
	}
	via, err := m.TopVia()
	if err == nil && via.gap {
		err = errNoParam
	}
	if err != nil {
		return malformed("Via: %v", err)
	}
	m.via, m.viaRead = via, true
	if !validCallID(m.CallID()) {
		return malformed("Call-ID is not word[@word]")
	}
	_, method, ok := m.CSeq()
	if !ok {
		return malformed("CSeq is not a 32-bit number and a method")
	}
	for _, id := range [...]ID{From, To} {
		if err := checkAddress(m.Get(id)); err != nil {
			return malformed("%s: %v", id, err)
		}
	}
	if !m.request {
		m.Method = method
		return nil
	}
	return m.validateRequest(method)
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
			err = checkAddress(v)
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
	for i := range m.headers {
		switch h := &m.headers[i]; h.ID {
		case ViaID, From, To, CallID, CSeq:
			if strings.IndexByte(h.Value, '\r') >= 0 || strings.IndexByte(h.Value, 0) >= 0 {
				return false
			}
		}
	}
	via, _ := m.TopVia()
	return via.Host != ""
}

func validCallID(s string) bool {
	for i := 0; i < len(s); i++ {
		if !callIDByte[s[i]] {
			return false
		}
	}
	return s != ""
}

// ParseCSeq reads "4711 INVITE".
func ParseCSeq(v string) (number uint32, method string, ok bool) {
	i := indexBlank(v)
	if i <= 0 {
		return 0, "", false
	}
	n, ok := ParseUint(v[:i])
	method = trim(v[i:])
	return n, method, ok && isToken(method)
}

// ParseUint reads a decimal number below 2^32; anything else, signs included, is not ok.
func ParseUint(s string) (uint32, bool) {
	if s == "" || len(s) > 20 {
		return 0, false
	}
	var n uint64
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = n*10 + uint64(c-'0'); n > 1<<32-1 {
			return 0, false
		}
	}
	return uint32(n), true
}

// isToken follows RFC 3261 §25.1.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if !tokenByte[s[i]] {
			return false
		}
	}
	return s != ""
}

// callIDByte is generous: a Call-ID is only ever compared. What would end a value or a line may not stand in it.
var callIDByte = func() (t [256]bool) {
	for c := range t {
		t[c] = c > ' ' && c != 0x7f && c != ',' && c != ';'
	}
	return t
}()

var tokenByte = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = true, true
	}
	for _, c := range "-.!%*_+`'~" {
		t[c] = true
	}
	return t
}()

func trim(s string) string {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	return trimRight(s)
}

func trimRight(s string) string {
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// String is the long name of a header.
func (id ID) String() string {
	if id == ViaID {
		return "Via"
	}
	for n := 2; n < len(headerNames); n++ {
		for _, h := range headerNames[n] {
			if h.id == id {
				return h.name
			}
		}
	}
	return "header"
}
