package fakephone

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Message is one SIP message a phone has sent or received.
type Message struct {
	Text string // as on the wire
	At   time.Time
	Out  bool           // sent by the phone
	Peer netip.AddrPort // other end
	Net  string         // "udp" or "tcp"

	wire sip.Message // as another implementation reads it; nil when it was sent
	link *link       // it came over
}

// compact are the long names of compact header names (RFC 3261 §7.3.3 and later).
var compact = map[string]string{
	"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length", "c": "content-type", "k": "supported",
	"s": "subject", "o": "event", "x": "session-expires", "r": "refer-to",
}

// Request is the message as sipgo reads it, nil when it is a response.
func (m *Message) Request() *sip.Request { r, _ := m.wire.(*sip.Request); return r }

// Response is the message as sipgo reads it, nil when it is a request.
func (m *Message) Response() *sip.Response { r, _ := m.wire.(*sip.Response); return r }

// StartLine is the first line.
func (m *Message) StartLine() string {
	line, _, _ := strings.Cut(m.Text, "\r\n")
	return line
}

// Method is that of a request, "" for a response.
func (m *Message) Method() string {
	method, _, _ := strings.Cut(m.StartLine(), " ")
	if method == "SIP/2.0" {
		return ""
	}
	return method
}

// URI is the Request-URI.
func (m *Message) URI() string {
	f := strings.Fields(m.StartLine())
	if m.Method() == "" || len(f) != 3 {
		return ""
	}
	return f[1]
}

// Status is that of a response, 0 for a request.
func (m *Message) Status() int {
	if m == nil || m.Method() != "" || len(m.Text) < 12 {
		return 0
	}
	n, _ := strconv.Atoi(m.Text[8:11])
	return n
}

// Body is what stands behind the empty line.
func (m *Message) Body() string {
	_, body, _ := strings.Cut(m.Text, "\r\n\r\n")
	return body
}

// Lines are the header lines as they stand.
func (m *Message) Lines() []string {
	head, _, _ := strings.Cut(m.Text, "\r\n\r\n")
	return strings.Split(head, "\r\n")[1:]
}

// Headers are the values of all lines of a header, long or compact, one for each line.
func (m *Message) Headers(name string) []string {
	var out []string
	for _, line := range m.Lines() {
		n, v, _ := strings.Cut(line, ":")
		n = strings.ToLower(strings.TrimSpace(n))
		if long, ok := compact[n]; ok {
			n = long
		}
		if n == strings.ToLower(name) {
			out = append(out, strings.TrimSpace(v))
		}
	}
	return out
}

// Header is the value of the first line of a header, "" without one.
func (m *Message) Header(name string) string {
	if list := m.Headers(name); len(list) > 0 {
		return list[0]
	}
	return ""
}

// Has tells whether there is such a header.
func (m *Message) Has(name string) bool { return len(m.Headers(name)) > 0 }

// CallID is the value of Call-ID.
func (m *Message) CallID() string { return m.Header("Call-ID") }

// CSeq is the number and method of CSeq.
func (m *Message) CSeq() (n uint32, method string) {
	num, method, _ := strings.Cut(m.Header("CSeq"), " ")
	v, _ := strconv.ParseUint(num, 10, 32)
	return uint32(v), strings.TrimSpace(method)
}

// Param is a parameter of a header value or URI, "" without one.
func Param(value, name string) string {
	if i := strings.LastIndexByte(value, '>'); i >= 0 {
		value = value[i:]
	}
	for _, p := range strings.Split(value, ";")[1:] {
		k, v, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(k), name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// Addr is the URI of a name-addr or addr-spec.
func Addr(value string) string {
	if i := strings.IndexByte(value, '<'); i >= 0 {
		uri, _, _ := strings.Cut(value[i+1:], ">")
		return uri
	}
	uri, _, _ := strings.Cut(value, ";")
	return uri
}

// FromTag is the tag of From.
func (m *Message) FromTag() string { return Param(m.Header("From"), "tag") }

// ToTag is the tag of To, "" outside a dialog.
func (m *Message) ToTag() string { return Param(m.Header("To"), "tag") }

// Branch is the branch parameter of the top Via.
func (m *Message) Branch() string {
	via, _, _ := strings.Cut(m.Header("Via"), ",")
	return Param(via, "branch")
}

// String is for failing tests: the start line, direction and time.
func (m *Message) String() string {
	if m == nil {
		return "no message"
	}
	arrow := "<-"
	if m.Out {
		arrow = "->"
	}
	return fmt.Sprintf("%s %s %s (%s)", m.At.Format("05.000"), arrow, m.StartLine(), m.Header("CSeq"))
}
