package ng

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Bounds on a foreign dictionary; a datagram bounds its length. Requests of proxies nest three deep and have some thirty items.
const (
	maxDepth = 8
	maxItems = 1024
)

// dict is a dictionary of the protocol. Its values are string, int64, []any or dict.
type dict map[string]any

// encoding of a dictionary; an answer has that of its request.
type encoding uint8

const (
	bencoded encoding = iota
	asJSON
)

// decode reads the dictionary of a request: nothing may follow it.
func decode(b []byte) (dict, encoding, error) {
	if len(b) > 0 && b[0] == '{' {
		d, err := decodeJSON(b)
		return d, asJSON, err
	}
	r := reader{rest: b}
	value, err := r.value(0)
	if err != nil {
		return nil, bencoded, err
	}
	d, ok := value.(dict)
	switch {
	case !ok:
		return nil, bencoded, errors.New("not a dictionary")
	case len(r.rest) > 0:
		return nil, bencoded, fmt.Errorf("%d bytes after the dictionary", len(r.rest))
	}
	return d, bencoded, nil
}

// reader takes bencoded values from the front of a text.
type reader struct {
	rest  []byte
	items int
}

func (r *reader) value(depth int) (any, error) {
	if r.items++; r.items > maxItems {
		return nil, fmt.Errorf("more than %d items", maxItems)
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	if len(r.rest) == 0 {
		return nil, errors.New("cut off")
	}
	switch r.rest[0] {
	case 'i':
		r.rest = r.rest[1:]
		return r.number('e')
	case 'l':
		return r.list(depth)
	case 'd':
		return r.dict(depth)
	}
	return r.text()
}

const longestNumber = 20 // digits and sign of an int64

// holds reports whether the number at the front has its end.
func (r *reader) holds(end byte) bool {
	return bytes.IndexByte(r.rest[:min(len(r.rest), longestNumber+1)], end) >= 0
}

// number reads digits up to an end byte, which it takes too.
func (r *reader) number(end byte) (int64, error) {
	if !r.holds(end) {
		return 0, errors.New("a number without end")
	}
	i := bytes.IndexByte(r.rest, end)
	n, err := strconv.ParseInt(string(r.rest[:i]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no number", r.rest[:i])
	}
	r.rest = r.rest[i+1:]
	return n, nil
}

func (r *reader) text() (string, error) {
	n, err := r.number(':')
	if err != nil {
		return "", err
	}
	if n < 0 || n > int64(len(r.rest)) {
		return "", fmt.Errorf("a text of %d bytes where %d are left", n, len(r.rest))
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s, nil
}

// ended takes the end of a list or dictionary when it stands here.
func (r *reader) ended() bool {
	if len(r.rest) == 0 || r.rest[0] != 'e' {
		return false
	}
	r.rest = r.rest[1:]
	return true
}

func (r *reader) list(depth int) ([]any, error) {
	r.rest = r.rest[1:]
	list := []any{}
	for !r.ended() {
		item, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	return list, nil
}

func (r *reader) dict(depth int) (dict, error) {
	r.rest = r.rest[1:]
	d := dict{}
	for !r.ended() {
		key, err := r.text()
		if err != nil {
			return nil, fmt.Errorf("key: %w", err)
		}
		if _, twice := d[key]; twice {
			return nil, fmt.Errorf("the key %q stands here twice", key)
		}
		if d[key], err = r.value(depth + 1); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func decodeJSON(b []byte) (dict, error) {
	in := json.NewDecoder(bytes.NewReader(b))
	in.UseNumber()
	var object map[string]any
	if err := in.Decode(&object); err != nil {
		return nil, err
	}
	if in.More() {
		return nil, errors.New("something stands after the object")
	}
	items := 0
	value, err := plain(object, 0, &items)
	if err != nil {
		return nil, err
	}
	d, _ := value.(dict)
	return d, nil
}

// plain turns what encoding/json made into the values of a dict. JSON's true and null, which bencode lacks, become numbers as
// rtpengine reads them: 1 and 0.
func plain(value any, depth int, items *int) (any, error) {
	if *items++; *items > maxItems {
		return nil, fmt.Errorf("more than %d items", maxItems)
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	switch v := value.(type) {
	case string:
		return v, nil
	case json.Number:
		n, err := v.Int64()
		if err != nil {
			return nil, fmt.Errorf("%s is no whole number", v)
		}
		return n, nil
	case bool:
		if v {
			return int64(1), nil
		}
	case []any:
		list := make([]any, 0, len(v))
		for _, item := range v {
			p, err := plain(item, depth+1, items)
			if err != nil {
				return nil, err
			}
			list = append(list, p)
		}
		return list, nil
	case map[string]any:
		d := make(dict, len(v))
		for key, item := range v {
			p, err := plain(item, depth+1, items)
			if err != nil {
				return nil, err
			}
			d[key] = p
		}
		return d, nil
	}
	return int64(0), nil
}

// encode appends an answer. Its values are those of a dict.
func encode(out []byte, d dict, as encoding) []byte {
	if as == asJSON {
		text, err := json.Marshal(d)
		if err != nil { // not with the values of a dict
			text = []byte(`{"result":"error","error-reason":"the answer has no JSON form"}`)
		}
		return append(out, text...)
	}
	return appendValue(out, d)
}

func appendValue(out []byte, value any) []byte {
	switch v := value.(type) {
	case string:
		return appendText(out, v)
	case int64:
		return append(strconv.AppendInt(append(out, 'i'), v, 10), 'e')
	case []any:
		out = append(out, 'l')
		for _, item := range v {
			out = appendValue(out, item)
		}
		return append(out, 'e')
	case dict:
		out = append(out, 'd')
		for _, key := range slices.Sorted(maps.Keys(v)) {
			out = appendValue(appendText(out, key), v[key])
		}
		return append(out, 'e')
	}
	return out
}

func appendText(out []byte, s string) []byte {
	return append(append(strconv.AppendInt(out, int64(len(s)), 10), ':'), s...)
}

// text is the string under a key, "" when there is none.
func (d dict) text(key string) string {
	s, _ := d[key].(string)
	return s
}

// words are the strings under a key: of a list, or a single one, since proxies write both.
func (d dict) words(key string) []string {
	switch v := d[key].(type) {
	case string:
		return []string{v}
	case []any:
		list := make([]string, 0, len(v))
		for _, item := range v {
			if s, ok := item.(string); ok {
				list = append(list, s)
			}
		}
		return list
	}
	return nil
}

// number is the number under a key; some proxies write numbers as texts.
func (d dict) number(key string) (int64, bool) {
	switch v := d[key].(type) {
	case int64:
		return v, true
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		return n, err == nil
	}
	return 0, false
}
