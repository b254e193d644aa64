package message

import (
	"errors"
	"strconv"
	"strings"
)

// A URI is a sip, sips or other URI taken apart (RFC 3261 §19.1). The parts of a sip URI are as written, escapes included;
// UserDecoded and AOR undo them.
type URI struct {
	Scheme   string // lower case
	User     string
	Password string
	Host     string // lower case; IPv6 without brackets
	Port     int    // 0 when absent
	Params   string // without the first semicolon
	Headers  string // without the question mark
	Opaque   string // what stands behind the colon of another scheme (tel, urn ...)
}

// ParseURI reads a URI. For schemes other than sip and sips only Scheme and Opaque are filled.
func ParseURI(s string) (URI, error) {
	m, err := scanURI(s)
	if err != nil {
		return URI{}, err
	}
	u := URI{Scheme: asciiLower(s[:m.scheme])}
	if !m.sip {
		u.Opaque = s[m.scheme+1:]
		return u, nil
	}
	if m.at >= 0 {
		u.User, u.Password, _ = strings.Cut(s[m.scheme+1:m.at], ":")
	}
	u.Host, u.Port = asciiLower(s[m.host:m.hostEnd]), m.port
	if m.question >= 0 {
		s, u.Headers = s[:m.question], s[m.question+1:]
	}
	if m.semi >= 0 {
		u.Params = s[m.semi+1:]
	}
	return u, nil
}

// uriMarks says where the parts of a URI are divided: the colon behind the scheme and, of a sip URI, the '@' behind the userinfo,
// the first ';' of the parameters, the '?' before the headers, each -1 when absent.
type uriMarks struct {
	scheme             int
	sip                bool // or sips
	at, semi, question int
	host, hostEnd      int // without brackets
	port               int
}

// scanURI checks a URI and goes over it once. A user part may hold ';' and '?' (RFC 3261 §25.1), a host, its parameters and
// headers may not hold '@' unescaped.
func scanURI(s string) (m uriMarks, err error) {
	m = uriMarks{scheme: skip(s, 0, schemeChar), at: -1, semi: -1, question: -1}
	if m.scheme == 0 || m.scheme == len(s) || s[m.scheme] != ':' || lower(s[0]) < 'a' || lower(s[0]) > 'z' {
		return m, errors.New("no URI scheme")
	}
	for i := m.scheme + 1; i < len(s); i++ {
		if alphabet[s[i]]&uriMark == 0 {
			continue
		}
		switch s[i] {
		case '@':
			m.at, m.semi, m.question = i, -1, -1
		case ';':
			if m.semi < 0 && m.question < 0 {
				m.semi = i
			}
		case '?':
			if m.question < 0 {
				m.question = i
			}
		case '%':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return m, errors.New("'%' without two hexadecimal digits")
			}
		default:
			return m, errors.New("a character that must be escaped")
		}
	}
	if m.sip = equalFold(s[:m.scheme], "sip") || equalFold(s[:m.scheme], "sips"); m.sip {
		return m, m.scanHost(s)
	}
	if m.scheme+1 == len(s) {
		return m, errors.New("nothing behind the scheme")
	}
	return m, nil
}

func (m *uriMarks) scanHost(s string) (err error) {
	at, end := m.scheme+1, len(s)
	switch {
	case m.at == at, m.at > at && s[at] == ':':
		return errors.New("nothing before '@'")
	case m.at > at:
		at = m.at + 1
	}
	if m.semi >= 0 {
		end = m.semi
	} else if m.question >= 0 {
		end = m.question
	}
	m.host, m.hostEnd, m.port, err = scanHostPort(s[:end], at)
	return err
}

// checkRequestURI checks a Request-URI, which must not bring headers of its own: they would become part of the request at the
// next element (RFC 3261 §19.1.1 table 1, RFC 4475 §3.1.2.11).
func checkRequestURI(s string) error {
	m, err := scanURI(s)
	if err == nil && m.sip && m.question >= 0 && m.question+1 < len(s) {
		err = errors.New("a Request-URI cannot bring headers")
	}
	return err
}

// RequestURI is a URI as it may stand in a request line: without headers and without a method parameter (RFC 3261 §19.1.1
// table 1, §16.6 step 2). Headers in a contact would else become headers of the request at the next element (§19.1.5).
func RequestURI(s string) string {
	if strings.IndexByte(s, '?') < 0 && !strings.Contains(asciiLower(s), ";method") {
		return s
	}
	u, err := ParseURI(s)
	if err != nil || u.Opaque != "" {
		return s
	}
	u.Headers = ""
	kept := make([]string, 0, 4)
	for p := range strings.SplitSeq(u.Params, ";") {
		if k, _, _ := strings.Cut(p, "="); p != "" && !equalFold(k, "method") {
			kept = append(kept, p)
		}
	}
	u.Params = strings.Join(kept, ";")
	return u.String()
}

func asciiLower(s string) string {
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			return strings.ToLower(s)
		}
	}
	return s
}

// Unescape undoes %HH (RFC 3261 §19.1.2). A malformed escape is kept as it stands.
func Unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			n, _ := strconv.ParseUint(s[i+1:i+3], 16, 8)
			out = append(out, byte(n))
			i += 2
			continue
		}
		out = append(out, s[i])
	}
	return string(out)
}

// Escape is the inverse of Unescape for a user part (RFC 3261 §25.1).
func Escape(s string) string {
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'a' <= lower(c) && lower(c) <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-_.!~*'()&=+$,/", c) >= 0 {
			out = append(out, c)
		} else {
			out = append(out, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(out)
}

// normalEscapes undoes the escapes that mean the same as their character; an escaped reserved character does not
// (RFC 3261 §19.1.4).
func normalEscapes(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' || i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
			out = append(out, s[i])
			continue
		}
		n, _ := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if c := byte(n); strings.IndexByte(";/?:@&=+$,%", c) >= 0 {
			out = append(out, '%', lower(s[i+1]), lower(s[i+2]))
		} else {
			out = append(out, c)
		}
		i += 2
	}
	return string(out)
}

// UserDecoded is the user part with escapes undone. When it is a telephone number, the parameters behind its semicolon are
// left out (RFC 3261 §19.1.6); in any other user part a semicolon is a letter like others (RFC 4475 §3.1.1.9).
func (u URI) UserDecoded() string {
	if number, _, ok := strings.Cut(u.User, ";"); ok && isNumber(number) {
		return Unescape(number)
	}
	return Unescape(u.User)
}

// isNumber tells a telephone number, global or local, with visual separators (RFC 3966 §3).
func isNumber(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(isHex(c) || c == '*' || c == '#' || c == '-' || c == '.' || c == '(' || c == ')' || c == '+' && i == 0) {
			return false
		}
	}
	return s != ""
}

// Param is a URI parameter; ok tells an empty one from an absent one.
func (u URI) Param(name string) (value string, ok bool) { return Param(u.Params, name) }

// Transport is the lower-case transport a sip URI asks for: its transport parameter, tls for sips, else "".
func (u URI) Transport() string {
	if t, ok := Param(u.Params, "transport"); ok {
		return asciiLower(t)
	}
	if u.Scheme == "sips" {
		return "tls"
	}
	return ""
}

// String writes the URI again.
func (u URI) String() string { return string(u.Append(nil)) }

// Append writes the URI to dst.
func (u URI) Append(dst []byte) []byte {
	dst = append(append(dst, u.Scheme...), ':')
	if u.Opaque != "" {
		return append(dst, u.Opaque...)
	}
	if u.User != "" {
		dst = append(dst, u.User...)
		if u.Password != "" {
			dst = append(append(dst, ':'), u.Password...)
		}
		dst = append(dst, '@')
	}
	dst = appendHostPort(dst, u.Host, u.Port)
	if u.Params != "" {
		dst = append(append(dst, ';'), u.Params...)
	}
	if u.Headers != "" {
		dst = append(append(dst, '?'), u.Headers...)
	}
	return dst
}

// SameURI compares two URIs as the registrar must (RFC 3261 §19.1.4): scheme, user and password to the letter after
// unescaping, host without case, ports equal (an absent one equals only an absent one), the parameters user, ttl, method,
// maddr and transport equal, other parameters equal where both have them, headers equal.
func SameURI(a, b string) bool {
	if a == b {
		return true
	}
	ua, errA := ParseURI(a)
	ub, errB := ParseURI(b)
	if errA != nil || errB != nil || ua.Scheme != ub.Scheme || ua.Port != ub.Port || ua.Host != ub.Host {
		return false
	}
	if normalEscapes(ua.User) != normalEscapes(ub.User) || normalEscapes(ua.Password) != normalEscapes(ub.Password) || !strings.EqualFold(ua.Opaque, ub.Opaque) {
		return false
	}
	return sameParams(ua.Params, ub.Params) && sameParams(ub.Params, ua.Params) && sameHeaders(ua.Headers, ub.Headers)
}

func sameParams(a, b string) bool {
	for at := 0; at < len(a); {
		p := nextParam(a, at)
		at = p.next
		k := a[p.name:p.nameEnd]
		v, _ := Param(a, k) // of two with one name the first counts
		other, ok := Param(b, k)
		switch {
		case ok && !strings.EqualFold(normalEscapes(v), normalEscapes(other)):
			return false
		case !ok && (equalFold(k, "user") || equalFold(k, "ttl") || equalFold(k, "method") || equalFold(k, "maddr") || equalFold(k, "transport")):
			return false
		}
	}
	return true
}

func sameHeaders(a, b string) bool {
	if a == b {
		return true
	}
	as, bs := strings.Split(a, "&"), strings.Split(b, "&")
	if len(as) != len(bs) {
		return false
	}
	left := make(map[string]int, len(as))
	for _, h := range as {
		left[strings.ToLower(normalEscapes(h))]++
	}
	for _, h := range bs {
		key := strings.ToLower(normalEscapes(h))
		if left[key]--; left[key] < 0 {
			return false
		}
	}
	return true
}
