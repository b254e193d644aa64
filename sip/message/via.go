package message

import (
	"errors"
	"strconv"
	"strings"
)

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
}

// BranchMagic begins every branch of an RFC 3261 element (§8.1.1.7).
const BranchMagic = "z9hG4bK"

// ParseVia reads one Via value. What could be read before a fault is returned with the error.
func ParseVia(v string) (Via, error) {
	if len(v) > MaxBytes {
		return Via{}, errors.New("longer than a message")
	}
	end := backBlank(v, 0, len(v))
	marks, err := scanVia(v[:end], 0)
	return marks.of(v), err
}

// viaMarks says where the parts of a Via value stand: what a message keeps of its top Via.
type viaMarks struct {
	transport, host, branch, received, params span
	port, rport                               uint16
	hasRPort                                  bool
	gap                                       bool // two semicolons without a parameter between them
}

func (v *viaMarks) of(s string) Via {
	return Via{
		Transport: v.transport.of(s), Host: v.host.of(s), Port: int(v.port), Branch: v.branch.of(s), Received: v.received.of(s),
		HasRPort: v.hasRPort, RPort: int(v.rport), params: v.params.of(s),
	}
}

var errNoSentBy = errors.New("no transport and sent-by")

// scanVia reads the Via value that goes from offset at to the end of s.
func scanVia(s string, at int) (v viaMarks, err error) {
	const usual = "SIP/2.0/"
	current := true
	if strings.HasPrefix(s[at:], usual) {
		at += len(usual)
	} else if at, current, err = scanProtocol(s, at); err != nil {
		return v, err
	}
	at = skipBlank(s, at)
	end := skip(s, at, tokenChar)
	if end == at || end == len(s) || !isBlank(s[end]) {
		return v, errNoSentBy
	}
	v.transport = spanOf(at, end)
	at, end = skipBlank(s, end), len(s)
	if semi := strings.IndexByte(s[at:], ';'); semi >= 0 {
		end = at + semi
		v.params = spanOf(end+1, len(s))
	}
	if v.host, v.port, err = viaHost(s[:end], at); err != nil {
		return v, err
	}
	if err = v.scanParams(s); err == nil && !current {
		err = errors.New("version is not 2.0")
	}
	return v, err
}

// scanProtocol reads "SIP / 2.0 /" in all its spellings. Another version is an error only once the rest has been read.
func scanProtocol(s string, at int) (next int, current bool, err error) {
	name, rest, ok := strings.Cut(s[at:], "/")
	if !ok || !equalFold(trim(name), "SIP") {
		return at, false, errors.New("protocol is not SIP")
	}
	version, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return at, false, errNoSentBy
	}
	return len(s) - len(rest), trim(version) == "2.0", nil
}

func viaHost(s string, at int) (host span, port uint16, err error) {
	from, to, n, err := scanHostPort(s, at)
	return spanOf(from, to), uint16(n), err
}

func (v *viaMarks) scanParams(s string) error {
	if v.params.to == 0 {
		return nil
	}
	for at := int(v.params.from); at < len(s); {
		p := nextParam(s, at)
		at = p.next
		if p.open {
			return errOpenQuote
		}
		name := s[p.name:p.nameEnd]
		switch {
		case name == "":
			v.gap = true
		case equalFold(name, "branch"):
			v.branch = spanOf(p.value, p.end)
		case equalFold(name, "received"):
			v.received = unbracketed(s, p.value, p.end)
		case equalFold(name, "rport"):
			v.hasRPort = true
			if p.value == p.end {
				continue
			}
			n, ok := ParseUint(s[p.value:p.end])
			if !ok || n == 0 || n > 65535 {
				return errors.New("rport is not a port")
			}
			v.rport = uint16(n)
		}
	}
	return nil
}

// unbracketed leaves out the brackets that some put around an IPv6 address in received.
func unbracketed(s string, from, to int) span {
	for from < to && (s[from] == '[' || s[from] == ']') {
		from++
	}
	for from < to && (s[to-1] == '[' || s[to-1] == ']') {
		to--
	}
	return spanOf(from, to)
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
	dst = append(dst, value[:backBlank(value, 0, semi)]...)
	for at := 0; at < len(v.params); {
		p := nextParam(v.params, at)
		at = p.next
		switch name := v.params[p.name:p.nameEnd]; {
		case p.name == p.end: // nothing between two semicolons
		case equalFold(name, "received"), equalFold(name, "rport"):
		default:
			dst = append(append(dst, ';'), v.params[p.name:p.end]...)
		}
	}
	dst = append(append(dst, ";received="...), ip...)
	if v.HasRPort {
		dst = strconv.AppendInt(append(dst, ";rport="...), int64(port), 10)
	}
	return dst
}

// appendTop is appendReceived for a whole line whose first value is v.
func (v *Via) appendTop(dst []byte, line, ip string, port int) []byte {
	value, rest := CutValue(line)
	dst = v.appendReceived(dst, value, ip, port)
	if rest != "" {
		dst = append(append(dst, ", "...), rest...)
	}
	return dst
}

// scanHostPort reads host[:port], which goes from offset at to the end of s, white space allowed around the colon and behind,
// IPv6 in brackets. With a port that is none the host is returned all the same.
func scanHostPort(s string, at int) (from, to, port int, err error) {
	from = at
	if at < len(s) && s[at] == '[' {
		from++
		n := strings.IndexByte(s[from:], ']')
		if n < 0 {
			return 0, 0, 0, errors.New("'[' is not closed")
		}
		to = from + n
		if !validIPv6(s[from:to]) {
			return 0, 0, 0, errors.New("no IPv6 address in the brackets")
		}
		if at = skipBlank(s, to+1); s[at:] == ":" {
			at++ // an address says where it ends, a port may be missing
		}
	} else {
		to = skip(s, from, hostChar)
		at = skipBlank(s, to)
		if to == from || to-from > 255 || at < len(s) && s[at] != ':' {
			return 0, 0, 0, errors.New("no valid host")
		}
	}
	if at == len(s) {
		return from, to, 0, nil
	}
	if s[at] != ':' {
		return 0, 0, 0, errors.New("text behind ']'")
	}
	n, ok := ParseUint(trim(s[at+1:]))
	if !ok || n == 0 || n > 65535 {
		return from, to, 0, errors.New("port is not a number from 1 to 65535")
	}
	return from, to, int(n), nil
}

func validIPv6(h string) bool {
	for i := 0; i < len(h); i++ {
		if c := h[i]; !isHex(c) && c != ':' && c != '.' && c != '%' {
			return false
		}
	}
	return strings.IndexByte(h, ':') >= 0 && len(h) <= 64
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
