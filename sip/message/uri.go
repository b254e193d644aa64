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
	var u URI
	colon := strings.IndexByte(s, ':')
	if colon <= 0 || !validScheme(s[:colon]) {
		return u, errors.New("no URI scheme")
	}
	u.Scheme = asciiLower(s[:colon])
	rest := s[colon+1:]
	if err := checkURIBytes(rest); err != nil {
		return u, err
	}
	if u.Scheme != "sip" && u.Scheme != "sips" {
		u.Opaque = rest
		if rest == "" {
			return u, errors.New("nothing behind the scheme")
		}
		return u, nil
	}
	if at := userinfoEnd(rest); at >= 0 {
		u.User, u.Password, _ = strings.Cut(rest[:at], ":")
		rest = rest[at+1:]
		if u.User == "" {
			return u, errors.New("nothing before '@'")
		}
	}
	if q := strings.IndexByte(rest, '?'); q >= 0 {
		rest, u.Headers = rest[:q], rest[q+1:]
	}
	if semi := strings.IndexByte(rest, ';'); semi >= 0 {
		rest, u.Params = rest[:semi], rest[semi+1:]
	}
	var err error
	u.Host, u.Port, err = splitHostPort(rest)
	u.Host = asciiLower(u.Host)
	return u, err
}

// userinfoEnd is the offset of the '@' behind the userinfo, -1 without one. A user part may hold ';' and '?' (§25.1), a
// host, its parameters and headers may not hold '@' unescaped.
func userinfoEnd(s string) int { return strings.LastIndexByte(s, '@') }

func validScheme(s string) bool {
	for i := 0; i < len(s); i++ {
		c := lower(s[i])
		if !('a' <= c && c <= 'z' || i > 0 && ('0' <= c && c <= '9' || c == '+' || c == '-' || c == '.')) {
			return false
		}
	}
	return s != ""
}

func checkURIBytes(s string) error {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c <= ' ' || c == 0x7f || c == '<' || c == '>' || c == '"':
			return errors.New("a character that must be escaped")
		case c == '%' && (i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2])):
			return errors.New("'%' without two hexadecimal digits")
		}
	}
	return nil
}

// checkURI tells whether s parses, without the cost of keeping the parts.
func checkURI(s string) error {
	_, err := ParseURI(s)
	return err
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= lower(c) && lower(c) <= 'f'
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

// UserDecoded is the user part with escapes undone and without the parameters that telephone-subscribers carry behind a
// semicolon (RFC 3261 §19.1.6).
func (u URI) UserDecoded() string {
	user, _, _ := strings.Cut(u.User, ";")
	return Unescape(user)
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
	if Unescape(ua.User) != Unescape(ub.User) || Unescape(ua.Password) != Unescape(ub.Password) || !strings.EqualFold(ua.Opaque, ub.Opaque) {
		return false
	}
	return sameParams(ua.Params, ub.Params) && sameParams(ub.Params, ua.Params) && sameHeaders(ua.Headers, ub.Headers)
}

func sameParams(a, b string) bool {
	for rest := a; rest != ""; {
		var p string
		p, rest = cutParam(rest)
		k, v, _ := strings.Cut(p, "=")
		other, ok := Param(b, k)
		switch {
		case ok && !strings.EqualFold(Unescape(v), Unescape(other)):
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
		left[strings.ToLower(Unescape(h))]++
	}
	for _, h := range bs {
		key := strings.ToLower(Unescape(h))
		if left[key]--; left[key] < 0 {
			return false
		}
	}
	return true
}
