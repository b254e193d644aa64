package ng

import (
	"errors"
	"fmt"
)

// framer finds the end of a message in a stream, in which messages follow each other with nothing or white space between them: where the dictionary
// ends, the message ends. It goes on where it stopped, so that whoever sends his bytes one by one costs no more than others.
type framer struct {
	pos    int // up to here the message has been looked at
	inside bool
	json   bool
	depth  int
	quoted bool // in a text of JSON, and the character before escapes the next
	escape bool
}

// end gives the length of the first message in b, 0 when it has not come as a whole. b begins with the message and only grows between calls; after
// an end the framer is as new.
func (f *framer) end(b []byte) (n int, err error) {
	if !f.inside {
		if done, err := f.cookie(b); !done {
			return 0, err
		}
	}
	if f.json {
		n = f.object(b)
	} else {
		n, err = f.dictionary(b)
	}
	if n > 0 || err != nil {
		*f = framer{}
	}
	return n, err
}

// cookie passes the cookie and looks at what follows.
func (f *framer) cookie(b []byte) (done bool, err error) {
	for ; f.pos < len(b); f.pos++ {
		if b[f.pos] == ' ' {
			break
		}
		if f.pos == maxCookie {
			return false, errors.New("no cookie")
		}
	}
	if f.pos+1 >= len(b) {
		return false, nil
	}
	f.pos++
	f.inside, f.json = true, b[f.pos] == '{'
	if !f.json && b[f.pos] != 'd' {
		return false, errors.New("no dictionary")
	}
	return true, nil
}

// object passes a JSON object.
func (f *framer) object(b []byte) (n int) {
	for f.pos < len(b) {
		c := b[f.pos]
		f.pos++
		switch {
		case f.escape:
			f.escape = false
		case f.quoted && c == '\\':
			f.escape = true
		case c == '"':
			f.quoted = !f.quoted
		case f.quoted:
		case c == '{' || c == '[':
			f.depth++
		case c == '}' || c == ']':
			if f.depth--; f.depth <= 0 {
				return f.pos
			}
		}
	}
	return 0
}

// dictionary passes a bencoded one.
func (f *framer) dictionary(b []byte) (n int, err error) {
	for f.pos < len(b) {
		switch c := b[f.pos]; {
		case c == 'd' || c == 'l':
			if f.depth++; f.depth > maxDepth+1 {
				return 0, fmt.Errorf("nested deeper than %d", maxDepth)
			}
			f.pos++
		case c == 'e':
			f.pos++
			if f.depth--; f.depth == 0 {
				return f.pos, nil
			}
		default:
			end := byte(':')
			r := reader{rest: b[f.pos:]}
			if c == 'i' {
				r.rest, end = r.rest[1:], 'e'
			}
			if !r.holds(end) {
				if len(r.rest) > longestNumber {
					return 0, errors.New("a number without end")
				}
				return 0, nil
			}
			number, err := r.number(end)
			if err != nil {
				return 0, err
			}
			if end == ':' {
				if number < 0 || number > maxMessage {
					return 0, fmt.Errorf("a text of %d bytes", number)
				}
				if int64(len(r.rest)) < number {
					return 0, nil
				}
				r.rest = r.rest[number:]
			}
			f.pos = len(b) - len(r.rest)
		}
	}
	return 0, nil
}
