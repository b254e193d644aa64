package message

import (
	"slices"
	"strconv"
	"strings"
)

// An Edit says how a message leaves differently from how it came. The zero Edit copies. Lines that no edit names are
// copied byte for byte.
type Edit struct {
	URI  string // new Request-URI, "" keeps the old one
	Top  []byte // whole lines with CRLF, put before the first header (Via, Record-Route)
	Tail []byte // whole lines with CRLF, put behind the last header
	// SetBody replaces the body by Body and Content-Length by its length; Content-Type stays as it is.
	SetBody bool
	Body    string

	lines []lineEdit // the last one for a line counts
	text  []byte     // the values of lines
}

// A lineEdit has no pointers: edits are made for every message that passes.
type lineEdit struct {
	at       int // index of the header line
	drop     bool
	from, to int // its value in Edit.text
}

// Reset makes the edit a copy again and keeps its memory.
func (e *Edit) Reset() {
	*e = Edit{Top: e.Top[:0], Tail: e.Tail[:0], lines: e.lines[:0], text: e.text[:0]}
}

// Drop leaves out the header line at index i.
func (e *Edit) Drop(i int) { e.lines = append(e.lines, lineEdit{at: i, drop: true}) }

// Set gives the header line at index i another value; its name stays as written.
func (e *Edit) Set(i int, value string) {
	from := len(e.text)
	e.text = append(e.text, value...)
	e.setText(i, from)
}

// setText makes what was put behind offset from of e.text the value of line i.
func (e *Edit) setText(i, from int) {
	e.lines = append(e.lines, lineEdit{at: i, from: from, to: len(e.text)})
}

// DropAll leaves out every line of a header.
func (e *Edit) DropAll(m *Message, id ID) {
	for i := m.Index(id); i >= 0; i = m.Next(i) {
		e.Drop(i)
	}
}

// PopValue removes the first value of a header that is still there, and its line when it held no other.
func (e *Edit) PopValue(m *Message, id ID) {
	for i := m.Index(id); i >= 0; i = m.Next(i) {
		value := m.value(i)
		if le := e.find(i); le != nil {
			if le.drop {
				continue
			}
			value = string(e.text[le.from:le.to])
		}
		if _, rest := CutValue(value); rest != "" {
			e.Set(i, rest)
		} else {
			e.Drop(i)
		}
		return
	}
}

// Received amends the top Via with the source of the packet (RFC 3261 §18.2.1, RFC 3581 §4).
func (e *Edit) Received(m *Message, ip string, port int) {
	via, err := m.TopVia()
	if err != nil || (via.Host == ip && !via.HasRPort) {
		return
	}
	i, from := m.Index(ViaID), len(e.text)
	e.text = via.appendTop(e.text, m.value(i), ip, port)
	e.setText(i, from)
}

func (e *Edit) find(i int) *lineEdit {
	for k := len(e.lines) - 1; k >= 0; k-- {
		if e.lines[k].at == i {
			return &e.lines[k]
		}
	}
	return nil
}

// following is the edit that counts for the first edited line behind line i, nil behind the last.
func (e *Edit) following(i int) *lineEdit {
	var next *lineEdit
	for k := range e.lines {
		if le := &e.lines[k]; le.at > i && (next == nil || le.at <= next.at) {
			next = le
		}
	}
	return next
}

// Append writes m, which Validate has found good, as e changes it. A message without Content-Length gets one: it may have come
// in a datagram and leave on a stream (RFC 3261 §16.6 step 9, §20.14).
func (m *Message) Append(dst []byte, e *Edit) []byte {
	body, newLength := m.Body(), e.SetBody || !m.Has(ContentLength)
	if e.SetBody {
		body = e.Body
		if i := m.Index(ContentLength); i >= 0 {
			e.Drop(i)
		}
	}
	dst = slices.Grow(dst, int(m.body)+len(e.URI)+len(e.Top)+len(e.Tail)+len(e.text)+len(body)+maxLength)
	dst = m.appendStart(dst, e.URI)
	dst = append(dst, e.Top...)
	from := m.headersAt()
	for le := e.following(-1); le != nil; le = e.following(le.at) {
		dst = append(dst, m.raw[from:m.lines[le.at].start]...)
		from = m.lineEnd(le.at)
		if !le.drop {
			dst = append(append(dst, m.name(le.at)...), ": "...)
			dst = append(append(dst, e.text[le.from:le.to]...), "\r\n"...)
		}
	}
	dst = append(dst, m.raw[from:m.body-2]...)
	dst = append(dst, e.Tail...)
	if newLength {
		dst = appendLength(dst, len(body))
	}
	dst = append(dst, "\r\n"...)
	return append(dst, body...)
}

// maxLength is room for a Content-Length line, the empty line and the version.
const maxLength = len("Content-Length: 65535\r\n\r\n SIP/2.0")

func appendLength(dst []byte, n int) []byte {
	dst = strconv.AppendInt(append(dst, "Content-Length: "...), int64(n), 10)
	return append(dst, "\r\n"...)
}

// headersAt is the offset of the first header line.
func (m *Message) headersAt() int {
	if len(m.lines) == 0 {
		return int(m.body) - 2
	}
	return int(m.lines[0].start)
}

func (m *Message) appendStart(dst []byte, uri string) []byte {
	if !m.request {
		dst = strconv.AppendInt(append(dst, "SIP/2.0 "...), int64(m.Status), 10)
		dst = append(append(dst, ' '), m.Reason...)
		return append(dst, "\r\n"...)
	}
	if uri == "" {
		uri = m.URI
	}
	dst = append(append(dst, m.Method...), ' ')
	return append(append(dst, uri...), " SIP/2.0\r\n"...)
}

// AppendHeader writes one header line.
func AppendHeader(dst []byte, name, value string) []byte {
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), "\r\n"...)
}

// A Response says what an answer to a request holds besides what it must copy (RFC 3261 §8.2.6.2).
type Response struct {
	Status int
	Reason string // "" takes the RFC's phrase
	ToTag  string // put on To when that has none; "" adds nothing (100)
	// Source of the request, for received and rport of the top Via; Port 0 leaves the Via alone.
	IP   string
	Port int
	// RecordRoute copies Record-Route and Contact may be set in Extra: dialog-creating answers (§12.1.1).
	RecordRoute bool
	Extra       []byte // whole lines with CRLF
	ContentType string
	Body        string
}

// AppendResponse writes the answer r to the request m. Lines the request lacks are left out, so that it also serves
// requests that do not validate.
func (m *Message) AppendResponse(dst []byte, r *Response) []byte {
	reason := r.Reason
	if reason == "" {
		reason = ReasonPhrase(r.Status)
	}
	dst = slices.Grow(dst, int(m.body)+len(r.Extra)+len(r.Body)+answerRoom)
	dst = strconv.AppendInt(append(dst, "SIP/2.0 "...), int64(r.Status), 10)
	dst = append(append(append(dst, ' '), reason...), "\r\n"...)
	for i := range m.lines {
		switch id := m.lines[i].id; id {
		case ViaID:
			dst = m.appendVia(dst, i, r)
		case To:
			to := m.value(i)
			if r.ToTag != "" && m.ToTag() == "" {
				to = strings.TrimSuffix(to, ";") // one at the end is let pass, two are none
				dst = append(append(append(dst, "To: "...), to...), ";tag="...)
				dst = append(dst, r.ToTag...)
			} else {
				dst = append(append(dst, "To: "...), to...)
			}
			dst = append(dst, "\r\n"...)
		case Timestamp:
			if r.Status == 100 {
				dst = AppendHeader(dst, "Timestamp", m.value(i))
			}
		case RecordRoute:
			if r.RecordRoute {
				dst = AppendHeader(dst, "Record-Route", m.value(i))
			}
		case From, CallID, CSeq:
			dst = AppendHeader(dst, headerNames[id], m.value(i))
		}
	}
	dst = append(dst, r.Extra...)
	if r.Body != "" {
		dst = AppendHeader(dst, "Content-Type", r.ContentType)
	}
	dst = appendLength(dst, len(r.Body))
	return append(append(dst, "\r\n"...), r.Body...)
}

// answerRoom is for what an answer has and its request had not: the reason phrase, received, rport, a tag, Content-Type.
const answerRoom = 256

func (m *Message) appendVia(dst []byte, i int, r *Response) []byte {
	dst = append(dst, "Via: "...)
	if i == m.Index(ViaID) && r.Port != 0 {
		if via, err := m.TopVia(); err == nil {
			return append(via.appendTop(dst, m.value(i), r.IP, r.Port), "\r\n"...)
		}
	}
	return append(append(dst, m.value(i)...), "\r\n"...)
}

// ReasonPhrase is the phrase RFC 3261 §21 and later RFCs give a status code.
func ReasonPhrase(status int) string {
	if 0 <= status && status < len(phrases) && phrases[status] != "" {
		return phrases[status]
	}
	switch status / 100 {
	case 1:
		return "Session Progress"
	case 2:
		return "OK"
	case 3:
		return "Redirect"
	case 4:
		return "Bad Request"
	case 5:
		return "Server Internal Error"
	}
	return "Global Failure"
}

// phrases by status: the holes cost less than a lookup in a map would on every answer.
var phrases = [...]string{
	100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued", 183: "Session Progress", 199: "Early Dialog Terminated",
	200: "OK", 202: "Accepted", 204: "No Notification",
	300: "Multiple Choices", 301: "Moved Permanently", 302: "Moved Temporarily", 305: "Use Proxy", 380: "Alternative Service",
	400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
	406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout", 410: "Gone", 412: "Conditional Request Failed",
	413: "Request Entity Too Large", 414: "Request-URI Too Long", 415: "Unsupported Media Type", 416: "Unsupported URI Scheme",
	420: "Bad Extension", 421: "Extension Required", 422: "Session Interval Too Small", 423: "Interval Too Brief",
	430: "Flow Failed", 439: "First Hop Lacks Outbound Support", 440: "Max-Breadth Exceeded", 469: "Bad Info Package", 480: "Temporarily Unavailable",
	481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops", 484: "Address Incomplete", 485: "Ambiguous",
	486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here", 489: "Bad Event", 491: "Request Pending",
	493: "Undecipherable", 494: "Security Agreement Required",
	500: "Server Internal Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Server Time-out",
	505: "Version Not Supported", 513: "Message Too Large", 580: "Precondition Failure",
	600: "Busy Everywhere", 603: "Decline", 604: "Does Not Exist Anywhere", 606: "Not Acceptable",
}
