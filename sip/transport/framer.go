package transport

import (
	"bytes"
	"fmt"
)

// A framer cuts a stream into SIP messages by Content-Length (RFC 3261 §18.3) and keep-alives (RFC 5626 §4.4.1).
//
//	buf:  consumed | CRLF* start-line CRLF (header CRLF)* CRLF | body | next message
//	               at                             scanned
type framer struct {
	max     int // bytes of one message
	buf     []byte
	at      int // first byte not consumed
	scanned int // no end of headers begins before here
	total   int // bytes of the message at at, 0 while its headers are not complete
}

type frameKind uint8

const (
	frameNeed    frameKind = iota // more bytes are needed
	frameMessage                  // a whole message
	framePing                     // CRLFCRLF between messages: to be answered
)

// A frameError says why the end of a message cannot be found; the stream is of no more use. status is what a request is
// answered with.
type frameError struct {
	status int
	text   string
}

func (e *frameError) Error() string { return e.text }

const (
	frameSpace = 2 << 10  // bytes to read at a time
	headMax    = 32 << 10 // bytes of start line and headers
)

// space is room to read into; grow tells how much of it was filled. Bytes handed out by next are invalid from here on.
func (fr *framer) space() []byte {
	if fr.at == len(fr.buf) {
		fr.buf, fr.scanned, fr.at = fr.buf[:0], 0, 0
		if cap(fr.buf) > 4*frameSpace {
			fr.buf = nil // a large message has passed; an idle connection keeps little
		}
	}
	if cap(fr.buf)-len(fr.buf) < frameSpace {
		if fr.at > 0 {
			n := copy(fr.buf, fr.buf[fr.at:])
			fr.buf, fr.scanned, fr.at = fr.buf[:n], max(fr.scanned-fr.at, 0), 0
		}
		if cap(fr.buf)-len(fr.buf) < frameSpace {
			fr.buf = append(make([]byte, 0, 2*cap(fr.buf)+frameSpace), fr.buf...)
		}
	}
	return fr.buf[len(fr.buf):cap(fr.buf)]
}

func (fr *framer) grow(n int) { fr.buf = fr.buf[:len(fr.buf)+n] }

// partial tells whether a message has begun and is not whole. A CR or CRLF is none.
func (fr *framer) partial() bool {
	return len(bytes.TrimLeft(fr.buf[fr.at:], "\r\n")) > 0
}

// head is what there is of the message in progress, for an answer: its headers when they are complete.
func (fr *framer) head() []byte {
	b := fr.buf[fr.at:]
	if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
		return b[:i+4]
	}
	if i := bytes.LastIndex(b, []byte("\r\n")); i >= 0 {
		return append(bytes.Clone(b[:i+2]), "\r\n"...)
	}
	return nil
}

// next gives the next message or keep-alive. An error is for ever.
func (fr *framer) next() ([]byte, frameKind, error) {
	if fr.total == 0 {
		if fr.skipCRLF() {
			return nil, framePing, nil
		}
		if err := fr.measure(); err != nil {
			return nil, frameNeed, err
		}
	}
	if fr.total == 0 || len(fr.buf)-fr.at < fr.total {
		return nil, frameNeed, nil
	}
	b := fr.buf[fr.at : fr.at+fr.total]
	fr.at += fr.total
	fr.scanned, fr.total = fr.at, 0
	return b, frameMessage, nil
}

// skipCRLF takes line ends between messages away; two in a row are a ping. A single one is a pong, or sloppiness that RFC 3261
// §7.5 allows. One at the end of what was read stays: its second half may be on the way.
func (fr *framer) skipCRLF() (isPing bool) {
	for {
		b := fr.buf[fr.at:]
		if bytes.HasPrefix(b, ping) {
			fr.at += len(ping)
			return true
		}
		if len(b) < 3 || !bytes.HasPrefix(b, pong) || (len(b) == 3 && b[2] == '\r') {
			return false
		}
		fr.at += len(pong)
	}
}

// measure finds the length of the message at at, once its headers are complete.
func (fr *framer) measure() error {
	b := fr.buf[fr.at:]
	if len(b) == 0 || b[0] == '\r' {
		if len(b) > 1 && b[1] != '\n' {
			return &frameError{400, "a CR without LF between messages"}
		}
		return nil
	}
	if b[0] <= ' ' || b[0] >= 0x7f {
		return &frameError{400, fmt.Sprintf("no SIP message begins with byte 0x%02x", b[0])}
	}
	from := max(fr.scanned-fr.at-3, 0)
	i := bytes.Index(b[from:], []byte("\r\n\r\n"))
	if i < 0 {
		fr.scanned = len(fr.buf)
		if len(b) > min(headMax, fr.max) {
			return &frameError{513, fmt.Sprintf("headers of more than %d bytes", min(headMax, fr.max))}
		}
		return nil
	}
	head := from + i + 4
	if head > min(headMax, fr.max) {
		return &frameError{513, fmt.Sprintf("headers of more than %d bytes", min(headMax, fr.max))}
	}
	n, err := contentLength(b[:head-2])
	if err != nil {
		return err
	}
	if n > fr.max-head {
		return &frameError{513, fmt.Sprintf("a message of %d bytes, %d are allowed", head+n, fr.max)}
	}
	fr.total = head + n
	return nil
}

// contentLength reads Content-Length from a header section. On a stream it must be there (RFC 3261 §18.3); two that differ
// would let two elements see two different messages.
func contentLength(head []byte) (int, error) {
	length := -1
	_, rest, _ := bytes.Cut(head, []byte("\r\n"))
	for len(rest) > 0 {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		value, ok := lengthValue(line)
		if !ok {
			continue
		}
		if len(bytes.TrimSpace(value)) == 0 && len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') {
			value, rest, _ = bytes.Cut(rest, []byte("\r\n")) // folded, RFC 3261 §7.3.1
		}
		n, ok := decimal(bytes.TrimSpace(value))
		switch {
		case !ok || len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') && !blank(rest):
			return 0, &frameError{400, "Content-Length is not a number"}
		case length >= 0:
			return 0, &frameError{400, "more than one Content-Length"}
		}
		length = n
	}
	if length < 0 {
		return 0, &frameError{400, "no Content-Length on a stream"}
	}
	return length, nil
}

// blank tells whether the first line of rest is nothing but white space.
func blank(rest []byte) bool {
	line, _, _ := bytes.Cut(rest, []byte("\r\n"))
	return len(bytes.TrimSpace(line)) == 0
}

// lengthValue is the value of a line that is Content-Length or its compact form.
func lengthValue(line []byte) ([]byte, bool) {
	name, value, ok := bytes.Cut(line, []byte(":"))
	name = bytes.TrimRight(name, " \t")
	if !ok || !(len(name) == 1 && name[0]|0x20 == 'l') && !bytes.EqualFold(name, []byte("Content-Length")) {
		return nil, false
	}
	return value, true
}

// decimal reads a non-negative number; what does not fit is as large as can be.
func decimal(b []byte) (int, bool) {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+int(c-'0'), 1<<30)
	}
	return n, len(b) > 0
}
