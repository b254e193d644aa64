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

// Peek looks at the start line, Call-ID and To of a packet. It never fails: what it cannot find stays empty. For a message
// that Parse takes, it finds the same Call-ID, folded lines included.
func Peek(p []byte) Peeked {
	var k Peeked
	for len(p) > 0 && (p[0] == '\r' || p[0] == '\n') {
		p = p[1:]
	}
	line, rest := cutLine(p)
	if len(line) < 4 || !foldPrefix(line, "SIP/") {
		k.Request = true
		k.Method, _, _ = bytes.Cut(line, []byte(" "))
	}
	var inCallID, inTo, sawTo bool
	for len(rest) > 0 {
		line, rest = cutLine(rest)
		if len(line) <= 1 {
			return k
		}
		value := line
		if !isBlank(line[0]) { // a folded line goes on with the header before it
			if sawTo && k.CallID != nil {
				return k // of each the first counts, so that nothing can change any more
			}
			inCallID, inTo = false, false
			switch line[0] {
			case 'C', 'c', 'I', 'i':
				value, inCallID = peekValue(line, "call-id", 'i')
			case 'T', 't':
				if value, inTo = peekValue(line, "to", 't'); inTo {
					inTo, sawTo = !sawTo, true
				}
			}
		}
		switch {
		case inCallID && k.CallID == nil:
			if v := peekTrim(value); len(v) > 0 {
				k.CallID = v
			}
		case inTo:
			k.InCall = k.InCall || hasTag(value)
		}
	}
	return k
}

func cutLine(p []byte) (line, rest []byte) {
	if n := bytes.IndexByte(p, '\n'); n >= 0 {
		return p[:n], p[n+1:]
	}
	return p, nil
}

// peekValue is the value of the line when it is the header name, or its compact form.
func peekValue(line []byte, name string, compact byte) ([]byte, bool) {
	i := 0
	switch {
	case len(line) > len(name) && foldPrefix(line, name):
		i = len(name)
	case lower(line[0]) == compact:
		i = 1
	default:
		return nil, false
	}
	for i < len(line) && (line[i] == ' ' || line[i] == '\t') {
		i++
	}
	if i == len(line) || line[i] != ':' {
		return nil, false
	}
	return line[i+1:], true
}

// foldPrefix tells whether p begins with the ASCII text s, whatever its case. p is not shorter than s.
func foldPrefix(p []byte, s string) bool {
	for i := 0; i < len(s); i++ {
		if lower(p[i]) != lower(s[i]) {
			return false
		}
	}
	return true
}

// hasTag looks for a tag parameter behind the last '>' of a To value, or behind its first semicolon. White space may stand
// before the name and before the equals sign.
func hasTag(v []byte) bool {
	if gt := bytes.LastIndexByte(v, '>'); gt >= 0 {
		v = v[gt+1:]
	}
	for {
		semi := bytes.IndexByte(v, ';')
		if semi < 0 {
			// The semicolon may have stood on the line before: "tag=x" alone.
			return tagAt(v)
		}
		v = v[semi+1:]
		if tagAt(v) {
			return true
		}
	}
}

func tagAt(v []byte) bool {
	v = peekTrim(v)
	if len(v) < 4 || !foldPrefix(v, "tag") {
		return false
	}
	v = peekTrim(v[3:])
	return len(v) > 0 && v[0] == '='
}

// peekTrim leaves out white space and the CR of the line's end.
func peekTrim(v []byte) []byte {
	for len(v) > 0 && isBlank(v[0]) {
		v = v[1:]
	}
	for len(v) > 0 && (isBlank(v[len(v)-1]) || v[len(v)-1] == '\r') {
		v = v[:len(v)-1]
	}
	return v
}
