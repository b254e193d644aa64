package message

import "bytes"

// A Peeked is what the transport reads from a packet before anything is parsed: enough to pick the shard that owns the
// call and to decide what may be shed when there is too much to do. The slices point into the packet.
type Peeked struct {
	Method  []byte // nil for a response
	CallID  []byte // nil when there is none: such a packet cannot be answered sensibly, any shard will do
	InCall  bool   // a To tag: inside a dialog
	Request bool
}

// Peek looks at the start line, Call-ID and To of a packet. It never fails: what it cannot find stays empty.
func Peek(p []byte) Peeked {
	var k Peeked
	p = bytes.TrimLeft(p, "\r\n")
	line, rest, _ := bytes.Cut(p, []byte("\n"))
	if !bytes.HasPrefix(line, []byte("SIP/")) {
		k.Request = true
		k.Method, _, _ = bytes.Cut(line, []byte(" "))
	}
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		if len(line) <= 1 {
			return k
		}
		switch line[0] {
		case 'C', 'c', 'I', 'i':
			if v, ok := peekValue(line, "call-id", 'i'); ok && k.CallID == nil {
				k.CallID = v
			}
		case 'T', 't':
			if v, ok := peekValue(line, "to", 't'); ok {
				k.InCall = bytes.Contains(v, []byte(";tag=")) || bytes.Contains(bytes.ToLower(v), []byte("tag="))
			}
		}
	}
	return k
}

// peekValue is the value of the line when it is the header name, or its compact form.
func peekValue(line []byte, name string, compact byte) ([]byte, bool) {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return nil, false
	}
	got := bytes.TrimRight(line[:colon], " \t")
	if !(len(got) == 1 && lower(got[0]) == compact) && !(len(got) == len(name) && bytes.EqualFold(got, []byte(name))) {
		return nil, false
	}
	return bytes.TrimSpace(line[colon+1:]), true
}
