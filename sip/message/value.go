package message

import (
	"errors"
	"strconv"
	"strings"
)

// CutValue splits a comma-separated header value at its first comma outside quotes and angle brackets (RFC 3261 §7.3.1).
func CutValue(s string) (value, rest string) {
	if strings.IndexByte(s, ',') < 0 {
		return trim(s), ""
	}
	quoted, angle := false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"' && !angle:
			quoted = !quoted
		case quoted:
		case c == '<':
			angle = true
		case c == '>':
			angle = false
		case c == ',' && !angle:
			return trim(s[:i]), trim(s[i+1:])
		}
	}
	return trim(s), ""
}

// An Address is a name-addr or addr-spec with its header parameters: From, To, Contact, Route, Record-Route, Path, Refer-To
// (RFC 3261 §20.10, §25.1).
type Address struct {
	Display string // as written, quotes included
	URI     string
	Params  string // header parameters as written, without the first semicolon
}

// ParseAddress splits an address. In an addr-spec without angle brackets, parameters belong to the header (§20.10).
func ParseAddress(v string) (Address, error) {
	v = trim(v)
	i := 0
	if strings.HasPrefix(v, `"`) {
		if i = endOfQuote(v); i < 0 {
			return Address{}, errors.New("a quote is not closed")
		}
	}
	if lt := strings.IndexByte(v[i:], '<'); lt >= 0 {
		lt += i
		gt := strings.IndexByte(v[lt:], '>')
		if gt < 0 {
			return Address{}, errors.New("'<' is not closed")
		}
		gt += lt
		rest := trim(v[gt+1:])
		if rest != "" && rest[0] != ';' {
			return Address{}, errors.New("text behind '>'")
		}
		return Address{Display: trim(v[:lt]), URI: v[lt+1 : gt], Params: strings.TrimPrefix(rest, ";")}, nil
	}
	if i > 0 {
		return Address{}, errors.New("a display name without '<'")
	}
	a := Address{URI: v}
	if semi := strings.IndexByte(v, ';'); semi >= 0 {
		a.URI, a.Params = trim(v[:semi]), v[semi+1:]
	}
	if strings.IndexByte(a.URI, '?') >= 0 {
		return Address{}, errors.New("a URI with '?' needs angle brackets")
	}
	return a, nil
}

// endOfQuote is the offset behind the quoted string that v begins with, -1 when it is not closed.
func endOfQuote(v string) int {
	for i := 1; i < len(v); i++ {
		switch v[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

func checkAddress(v string) error {
	a, err := ParseAddress(v)
	if err != nil {
		return err
	}
	if a.Display != "" && a.Display[0] != '"' && !tokensOnly(a.Display) {
		return errors.New("a display name that is not tokens needs quotes")
	}
	if err := checkParams(a.Params); err != nil {
		return err
	}
	return checkURI(a.URI)
}

var (
	errNoParam   = errors.New("a semicolon without a parameter")
	errOpenQuote = errors.New("a quote is not closed")
)

// closed tells whether every quote in s is. What is written behind an open one would be swallowed by it: a tag, a received.
func closed(s string) bool {
	i := strings.IndexByte(s, '"')
	for i >= 0 && i < len(s) {
		n := endOfQuote(s[i:])
		if n < 0 {
			return false
		}
		i += n
		next := strings.IndexByte(s[i:], '"')
		if next < 0 {
			break
		}
		i += next
	}
	return true
}

// checkParams refuses parameters without a name, as in ";;a=1". A single semicolon at the end is let pass: phones send it.
func checkParams(params string) error {
	for rest := params; rest != ""; {
		var p string
		p, rest = cutParam(rest)
		if p = trim(p); p == "" || p[0] == '=' {
			return errNoParam
		}
		if !closed(p) {
			return errOpenQuote
		}
	}
	return nil
}

func tokensOnly(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != ' ' && s[i] != '\t' && !tokenByte[s[i]] && s[i] < 0x80 {
			return false
		}
	}
	return true
}

// Param is a parameter of the address header, "" when it is absent or has no value; ok tells the two apart.
func (a Address) Param(name string) (value string, ok bool) { return Param(a.Params, name) }

// Param finds a parameter in "a=1;b;c=\"x;y\"", names without regard to case, quotes removed.
func Param(params, name string) (value string, ok bool) {
	for params != "" {
		var p string
		p, params = cutParam(params)
		k, v, _ := strings.Cut(p, "=")
		if equalFold(trim(k), name) {
			return unquote(trim(v)), true
		}
	}
	return "", false
}

// cutParam splits at the first semicolon outside quotes.
func cutParam(s string) (param, rest string) {
	if strings.IndexByte(s, '"') < 0 {
		if semi := strings.IndexByte(s, ';'); semi >= 0 {
			return s[:semi], s[semi+1:]
		}
		return s, ""
	}
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == ';' && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	s = s[1 : len(s)-1]
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		out = append(out, s[i])
	}
	return string(out)
}

// Tag is the tag parameter of a From or To value. It does not need the value to be well-formed.
func Tag(v string) string {
	if a, err := ParseAddress(v); err == nil {
		tag, _ := Param(a.Params, "tag")
		return tag
	}
	if gt := strings.LastIndexByte(v, '>'); gt >= 0 {
		v = v[gt+1:]
	}
	semi := strings.IndexByte(v, ';')
	if semi < 0 {
		return ""
	}
	tag, _ := Param(v[semi+1:], "tag")
	return tag
}

// A Via is one Via value (RFC 3261 §20.42, RFC 3581).
type Via struct {
	Transport string // as written: "UDP", "TCP", "TLS", "WS", "WSS" ...
	Host      string // IPv6 without brackets
	Port      int    // 0 when absent
	Branch    string
	Received  string
	HasRPort  bool // rport stands there, with or without a value
	RPort     int
	params    string
	gap       bool // two semicolons without a parameter between them
}

// ParseVia reads one Via value.
func ParseVia(v string) (Via, error) {
	var via Via
	proto, rest, ok := cutSlash(v)
	if !ok || !strings.EqualFold(proto, "SIP") {
		return via, errors.New("protocol is not SIP")
	}
	version, rest, ok := cutSlash(rest)
	if !ok {
		return via, errors.New("no transport and sent-by")
	}
	sp := indexBlank(rest)
	if sp <= 0 || !isToken(rest[:sp]) {
		return via, errors.New("no transport and sent-by")
	}
	via.Transport = rest[:sp]
	sentBy := trim(rest[sp:])
	if semi := strings.IndexByte(sentBy, ';'); semi >= 0 {
		sentBy, via.params = trim(sentBy[:semi]), sentBy[semi+1:]
	}
	var err error
	if via.Host, via.Port, err = splitHostPort(sentBy); err != nil {
		return via, err
	}
	if err = via.readParams(); err == nil && version != "2.0" {
		err = errors.New("version is not 2.0")
	}
	return via, err
}

func indexBlank(s string) int {
	for i := 0; i < len(s); i++ {
		if s[i] == ' ' || s[i] == '\t' {
			return i
		}
	}
	return -1
}

func cutSlash(s string) (before, after string, ok bool) {
	before, after, ok = strings.Cut(s, "/")
	return trim(before), trim(after), ok
}

func (v *Via) readParams() error {
	for rest := v.params; rest != ""; {
		var p string
		p, rest = cutParam(rest)
		k, val, has := strings.Cut(p, "=")
		k, val = trim(k), trim(val)
		if !closed(p) {
			return errOpenQuote
		}
		switch {
		case k == "":
			v.gap = true
		case equalFold(k, "branch"):
			v.Branch = val
		case equalFold(k, "received"):
			v.Received = strings.Trim(val, "[]")
		case equalFold(k, "rport"):
			v.HasRPort = true
			if has && val != "" {
				n, ok := ParseUint(val)
				if !ok || n == 0 || n > 65535 {
					return errors.New("rport is not a port")
				}
				v.RPort = int(n)
			}
		}
	}
	return nil
}

// BranchMagic begins every branch of an RFC 3261 element (§8.1.1.7).
const BranchMagic = "z9hG4bK"

// splitHostPort reads host[:port] with white space allowed around the colon and IPv6 in brackets.
func splitHostPort(s string) (host string, port int, err error) {
	rest := ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", 0, errors.New("'[' is not closed")
		}
		host, rest = s[1:end], trim(s[end+1:])
		if !validIPv6(host) {
			return "", 0, errors.New("no IPv6 address in the brackets")
		}
		if rest != "" && rest[0] != ':' {
			return "", 0, errors.New("text behind ']'")
		}
		rest = strings.TrimPrefix(rest, ":")
		if rest == "" {
			return host, 0, nil
		}
	} else {
		var has bool
		host, rest, has = strings.Cut(s, ":")
		host = trim(host)
		if !validHost(host) {
			return "", 0, errors.New("no valid host")
		}
		if !has {
			return host, 0, nil
		}
	}
	n, ok := ParseUint(trim(rest))
	if !ok || n == 0 || n > 65535 {
		return host, 0, errors.New("port is not a number from 1 to 65535")
	}
	return host, int(n), nil
}

var hostByte = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = true, true
	}
	t['-'], t['.'], t['_'] = true, true, true
	return t
}()

func validHost(h string) bool {
	for i := 0; i < len(h); i++ {
		if !hostByte[h[i]] {
			return false
		}
	}
	return h != "" && len(h) <= 255
}

func validIPv6(h string) bool {
	colons := false
	for i := 0; i < len(h); i++ {
		c := h[i]
		colons = colons || c == ':'
		if !('0' <= c && c <= '9' || 'a' <= lower(c) && lower(c) <= 'f' || c == ':' || c == '.' || c == '%') {
			return false
		}
	}
	return colons && len(h) <= 64
}

// Quote makes a quoted-string of s (RFC 3261 §25.1); bytes that may not stand in one become '?'.
func Quote(s string) string {
	b := make([]byte, 0, len(s)+2)
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c == 0x7f:
			b = append(b, '?')
		default:
			b = append(b, c)
		}
	}
	return string(append(b, '"'))
}

// appendHostPort writes host[:port], IPv6 in brackets.
func appendHostPort(dst []byte, host string, port int) []byte {
	if strings.IndexByte(host, ':') >= 0 {
		dst = append(append(append(dst, '['), host...), ']')
	} else {
		dst = append(dst, host...)
	}
	if port > 0 {
		dst = strconv.AppendInt(append(dst, ':'), int64(port), 10)
	}
	return dst
}

// appendReceived writes the value of v with what the receiver of a request must add to it: received when the source differs
// from sent-by or rport was asked for, and the port in rport (RFC 3261 §18.2.1, RFC 3581 §4).
func (v *Via) appendReceived(dst []byte, value, ip string, port int) []byte {
	if v.Host == ip && !v.HasRPort {
		return append(dst, value...)
	}
	semi := strings.IndexByte(value, ';')
	if semi < 0 {
		semi = len(value)
	}
	dst = append(dst, trim(value[:semi])...)
	for rest := v.params; rest != ""; {
		var p string
		p, rest = cutParam(rest)
		k, _, _ := strings.Cut(p, "=")
		k = trim(k)
		if equalFold(k, "received") || equalFold(k, "rport") || trim(p) == "" {
			continue
		}
		dst = append(append(dst, ';'), trim(p)...)
	}
	dst = append(dst, ";received="...)
	dst = append(dst, ip...)
	if v.HasRPort {
		dst = strconv.AppendInt(append(dst, ";rport="...), int64(port), 10)
	}
	return dst
}
