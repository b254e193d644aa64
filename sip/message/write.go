package message

import "strconv"

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
}

type lineEdit struct {
	at    int // index in Headers
	drop  bool
	value string
}

// Reset makes the edit a copy again and keeps its memory.
func (e *Edit) Reset() {
	*e = Edit{Top: e.Top[:0], Tail: e.Tail[:0], lines: e.lines[:0]}
}

// Drop leaves out the header line at index i.
func (e *Edit) Drop(i int) { e.lines = append(e.lines, lineEdit{at: i, drop: true}) }

// Set gives the header line at index i another value; its name stays as written.
func (e *Edit) Set(i int, value string) { e.lines = append(e.lines, lineEdit{at: i, value: value}) }

// DropAll leaves out every line of a header.
func (e *Edit) DropAll(m *Message, id ID) {
	for i := m.Index(id); i >= 0 && i < len(m.headers); i++ {
		if m.headers[i].ID == id {
			e.Drop(i)
		}
	}
}

// PopValue removes the first value of a header that is still there, and its line when it held no other.
func (e *Edit) PopValue(m *Message, id ID) {
	i := m.Index(id)
	if i < 0 {
		return
	}
	for {
		le := e.find(i)
		value := m.headers[i].Value
		if le != nil {
			value = le.value
		}
		if le == nil || !le.drop {
			if _, rest := CutValue(value); rest != "" {
				e.Set(i, rest)
			} else {
				e.Drop(i)
			}
			return
		}
		if i = m.following(i); i < 0 {
			return
		}
	}
}

// Received amends the top Via with the source of the packet (RFC 3261 §18.2.1, RFC 3581 §4).
func (e *Edit) Received(m *Message, ip string, port int) {
	i := m.Index(ViaID)
	if i < 0 {
		return
	}
	value, rest := CutValue(m.headers[i].Value)
	via, err := m.TopVia()
	if err != nil || (via.Host == ip && !via.HasRPort) {
		return
	}
	var room [256]byte
	b := via.appendReceived(room[:0], value, ip, port)
	if rest != "" {
		b = append(append(b, ", "...), rest...)
	}
	e.Set(i, string(b))
}

func (e *Edit) find(i int) *lineEdit {
	for k := len(e.lines) - 1; k >= 0; k-- {
		if e.lines[k].at == i {
			return &e.lines[k]
		}
	}
	return nil
}

// Append writes m as e changes it. A message without Content-Length gets one: it may have come in a datagram and leave on a
// stream (RFC 3261 §16.6 step 9, §20.14).
func (m *Message) Append(dst []byte, e *Edit) []byte {
	dst = m.appendStart(dst, e.URI)
	dst = append(dst, e.Top...)
	newLength := e.SetBody || !m.Has(ContentLength)
	from, to := 0, 0 // the run of untouched bytes not copied yet
	for i := range m.headers {
		h := &m.headers[i]
		le := e.find(i)
		length := newLength && h.ID == ContentLength
		if le == nil && !length {
			if to != int(h.start) {
				dst = append(dst, m.raw[from:to]...)
				from = int(h.start)
			}
			to = int(h.end)
			continue
		}
		dst = append(dst, m.raw[from:to]...)
		from, to = int(h.end), int(h.end)
		if le != nil && !le.drop && !length {
			dst = AppendHeader(dst, h.Name, le.value)
		}
	}
	dst = append(dst, m.raw[from:to]...)
	dst = append(dst, e.Tail...)
	body := m.Body()
	if e.SetBody {
		body = e.Body
	}
	if newLength {
		dst = strconv.AppendInt(append(dst, "Content-Length: "...), int64(len(body)), 10)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, "\r\n"...)
	return append(dst, body...)
}

func (m *Message) appendStart(dst []byte, uri string) []byte {
	if !m.request {
		dst = append(append(dst, m.Version...), ' ')
		dst = strconv.AppendInt(dst, int64(m.Status), 10)
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
	dst = strconv.AppendInt(append(dst, "SIP/2.0 "...), int64(r.Status), 10)
	dst = append(append(append(dst, ' '), reason...), "\r\n"...)
	top := true
	for i := range m.headers {
		h := &m.headers[i]
		switch h.ID {
		case ViaID:
			dst = m.appendVia(dst, h, r, top)
			top = false
		case To:
			dst = append(append(dst, "To: "...), h.Value...)
			if r.ToTag != "" && Tag(h.Value) == "" {
				dst = append(append(dst, ";tag="...), r.ToTag...)
			}
			dst = append(dst, "\r\n"...)
		case From:
			dst = AppendHeader(dst, "From", h.Value)
		case CallID:
			dst = AppendHeader(dst, "Call-ID", h.Value)
		case CSeq:
			dst = AppendHeader(dst, "CSeq", h.Value)
		case Timestamp:
			if r.Status == 100 {
				dst = AppendHeader(dst, "Timestamp", h.Value)
			}
		case RecordRoute:
			if r.RecordRoute {
				dst = AppendHeader(dst, "Record-Route", h.Value)
			}
		}
	}
	dst = append(dst, r.Extra...)
	if r.Body != "" {
		dst = AppendHeader(dst, "Content-Type", r.ContentType)
	}
	dst = strconv.AppendInt(append(dst, "Content-Length: "...), int64(len(r.Body)), 10)
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, r.Body...)
}

func (m *Message) appendVia(dst []byte, h *Header, r *Response, top bool) []byte {
	dst = append(dst, "Via: "...)
	if !top || r.Port == 0 {
		return append(append(dst, h.Value...), "\r\n"...)
	}
	value, rest := CutValue(h.Value)
	via, err := m.TopVia()
	if err != nil {
		return append(append(dst, h.Value...), "\r\n"...)
	}
	dst = via.appendReceived(dst, value, r.IP, r.Port)
	if rest != "" {
		dst = append(append(dst, ", "...), rest...)
	}
	return append(dst, "\r\n"...)
}

// ReasonPhrase is the phrase RFC 3261 §21 and later RFCs give a status code.
func ReasonPhrase(status int) string {
	if p, ok := phrases[status]; ok {
		return p
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

var phrases = map[int]string{
	100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued", 183: "Session Progress", 199: "Early Dialog Terminated",
	200: "OK", 202: "Accepted", 204: "No Notification",
	300: "Multiple Choices", 301: "Moved Permanently", 302: "Moved Temporarily", 305: "Use Proxy", 380: "Alternative Service",
	400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
	406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout", 410: "Gone", 412: "Conditional Request Failed",
	413: "Request Entity Too Large", 414: "Request-URI Too Long", 415: "Unsupported Media Type", 416: "Unsupported URI Scheme",
	420: "Bad Extension", 421: "Extension Required", 422: "Session Interval Too Small", 423: "Interval Too Brief",
	430: "Flow Failed", 439: "First Hop Lacks Outbound Support", 440: "Max-Breadth Exceeded", 480: "Temporarily Unavailable",
	481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops", 484: "Address Incomplete", 485: "Ambiguous",
	486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here", 489: "Bad Event", 491: "Request Pending",
	493: "Undecipherable", 494: "Security Agreement Required",
	500: "Server Internal Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Server Time-out",
	505: "Version Not Supported", 513: "Message Too Large", 580: "Precondition Failure",
	600: "Busy Everywhere", 603: "Decline", 604: "Does Not Exist Anywhere", 606: "Not Acceptable",
}
