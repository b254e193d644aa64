//go:build linux

// Package phone is thousands of telephones on one thread: they register, call and answer as RFC 3261 asks, and note every packet that
// comes late, twice or in the wrong order. It writes messages byte by byte from templates and reads only the headers it needs, because
// it shares the machine with the server that is being measured.
package phone

import "bytes"

// message is a received SIP message: views into the packet, valid until the handler returns.
type message struct {
	method []byte // of a request, nil in a response
	status int    // of a response, 0 in a request

	from, to, callID []byte
	cseq             uint32
	cseqMethod       []byte
	contact          []byte
	challenges       [4][]byte // WWW-Authenticate and Proxy-Authenticate values, in order
	challengeCount   int
	routes           [8][]byte // Record-Route header values, in order; a value may hold several routes
	routeCount       int
	body             []byte
	copied           []byte // head of the message, for what a response copies line by line
}

// parse reads packet into m and reports whether it is a SIP message whose headers it could find.
func (m *message) parse(packet []byte) bool {
	*m = message{}
	end := bytes.Index(packet, []byte("\r\n\r\n"))
	if end < 0 {
		return false
	}
	m.body = packet[end+4:]
	head := packet[:end+2]
	line, rest := cutLine(head)
	if !m.startLine(line) {
		return false
	}
	m.copied = rest
	for len(rest) > 0 {
		line, rest = cutLine(rest)
		if colon := bytes.IndexByte(line, ':'); colon > 0 {
			m.header(bytes.TrimRight(line[:colon], " \t"), trim(line[colon+1:]))
		}
	}
	return m.callID != nil && m.cseqMethod != nil
}

func (m *message) startLine(line []byte) bool {
	if rest, ok := bytes.CutPrefix(line, []byte("SIP/2.0 ")); ok {
		if len(rest) < 3 {
			return false
		}
		m.status = int(number(rest[:3]))
		return m.status >= 100
	}
	space := bytes.IndexByte(line, ' ')
	if space <= 0 || !bytes.HasSuffix(line, []byte(" SIP/2.0")) {
		return false
	}
	m.method = line[:space]
	return true
}

// header notes one header line. The first letter and the length decide most lines without a comparison.
func (m *message) header(name, value []byte) {
	if len(name) == 0 {
		return
	}
	switch name[0] | 0x20 {
	case 'f':
		if is(name, "from") || is(name, "f") {
			m.from = value
		}
	case 't':
		if is(name, "to") || is(name, "t") {
			m.to = value
		}
	case 'i':
		if is(name, "i") {
			m.callID = value
		}
	case 'm':
		if is(name, "m") {
			m.contact = value
		}
	case 'c':
		switch {
		case is(name, "call-id"):
			m.callID = value
		case is(name, "cseq"):
			space := bytes.IndexByte(value, ' ')
			if space > 0 {
				m.cseq, m.cseqMethod = number(value[:space]), trim(value[space:])
			}
		case is(name, "contact"):
			m.contact = value
		}
	case 'r':
		if is(name, "record-route") && m.routeCount < len(m.routes) {
			m.routes[m.routeCount] = value
			m.routeCount++
		}
	case 'w', 'p':
		if (is(name, "www-authenticate") || is(name, "proxy-authenticate")) && m.challengeCount < len(m.challenges) {
			m.challenges[m.challengeCount] = value
			m.challengeCount++
		}
	}
}

// appendDialogHeaders writes the headers that a response copies from its request (RFC 3261 §8.2.6.2, §12.1.1), with tag added to To.
func (m *message) appendDialogHeaders(out []byte, tag []byte) []byte {
	for rest := m.copied; len(rest) > 0; {
		var line []byte
		line, rest = cutLine(rest)
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 {
			continue
		}
		name := bytes.TrimRight(line[:colon], " \t")
		switch {
		case is(name, "via"), is(name, "v"), is(name, "record-route"), is(name, "from"), is(name, "f"),
			is(name, "call-id"), is(name, "i"), is(name, "cseq"):
			out = append(append(out, line...), "\r\n"...)
		case is(name, "to"), is(name, "t"):
			out = append(out, line...)
			if !bytes.Contains(line, []byte(";tag=")) {
				out = append(append(out, ";tag="...), tag...)
			}
			out = append(out, "\r\n"...)
		}
	}
	return out
}

// cutLine cuts at the first CRLF.
func cutLine(b []byte) (line, rest []byte) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return b, nil
	}
	return bytes.TrimSuffix(b[:i], []byte{'\r'}), b[i+1:]
}

// is compares a header name without regard to case; want is lower case.
func is(name []byte, want string) bool {
	if len(name) != len(want) {
		return false
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != want[i] {
			return false
		}
	}
	return true
}

func trim(b []byte) []byte { return bytes.Trim(b, " \t") }

func number(b []byte) (n uint32) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return n
		}
		n = n*10 + uint32(c-'0')
	}
	return n
}

// angle is what stands between < and >, or the whole value without its parameters.
func angle(value []byte) []byte {
	if open := bytes.IndexByte(value, '<'); open >= 0 {
		if end := bytes.IndexByte(value[open:], '>'); end > 0 {
			return value[open+1 : open+end]
		}
	}
	uri, _, _ := bytes.Cut(value, []byte{';'})
	return trim(uri)
}

// tagOf is the tag parameter of a From or To value, nil without one.
func tagOf(value []byte) []byte {
	_, rest, ok := bytes.Cut(value, []byte(";tag="))
	if !ok {
		return nil
	}
	if end := bytes.IndexAny(rest, "; \t"); end >= 0 {
		rest = rest[:end]
	}
	return rest
}
