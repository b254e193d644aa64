package message

import (
	"errors"
	"strings"
)

// An Address is a name-addr or addr-spec with its header parameters: From, To, Contact, Route, Record-Route, Path, Refer-To
// (RFC 3261 §20.10, §25.1).
type Address struct {
	Display string // as written, quotes included
	URI     string
	Params  string // header parameters as written, without the first semicolon
}

// Param is a parameter of the address header, "" when it is absent or has no value; ok tells the two apart.
func (a Address) Param(name string) (value string, ok bool) { return Param(a.Params, name) }

// ParseAddress splits an address. In an addr-spec without angle brackets, parameters belong to the header (§20.10).
func ParseAddress(v string) (Address, error) {
	v = trim(v)
	a, err := scanAddress(v, 0)
	if err != nil {
		return Address{}, err
	}
	return Address{Display: v[:a.displayEnd], URI: v[a.uri:a.uriEnd], Params: v[a.params:]}, nil
}

// addressMarks says where the parts of an address stand. Display begins where the address does, params end where it ends.
type addressMarks struct{ displayEnd, uri, uriEnd, params int }

// scanAddress reads the address that goes from offset at to the end of s, without white space around it.
func scanAddress(s string, at int) (a addressMarks, err error) {
	i := at
	if i < len(s) && s[i] == '"' {
		if i = endOfQuote(s, i); i < 0 {
			return a, errOpenQuote
		}
	}
	if lt := strings.IndexByte(s[i:], '<'); lt >= 0 {
		a.displayEnd, a.uri = backBlank(s, at, i+lt), i+lt+1
		gt := strings.IndexByte(s[a.uri:], '>')
		if gt < 0 {
			return a, errors.New("'<' is not closed")
		}
		a.uriEnd = a.uri + gt
		if a.params = skipBlank(s, a.uriEnd+1); a.params == len(s) {
			return a, nil
		}
		if s[a.params] != ';' {
			return a, errors.New("text behind '>'")
		}
		a.params++
		return a, nil
	}
	if i > at {
		return a, errors.New("a display name without '<'")
	}
	a = addressMarks{displayEnd: at, uri: at, uriEnd: len(s), params: len(s)}
	if semi := strings.IndexByte(s[at:], ';'); semi >= 0 {
		a.uriEnd, a.params = backBlank(s, at, at+semi), at+semi+1
	}
	if strings.IndexByte(s[a.uri:a.uriEnd], '?') >= 0 {
		return a, errors.New("a URI with '?' needs angle brackets")
	}
	return a, nil
}

// checkAddress tells whether the address from offset at to the end of s is well-formed, and where its tag stands. A single
// semicolon at the end is let pass: phones send it.
func checkAddress(s string, at int) (tag span, err error) {
	a, err := scanAddress(s, at)
	if err != nil {
		return tag, err
	}
	if a.displayEnd > at && s[at] != '"' && !tokensOnly(s[at:a.displayEnd]) {
		return tag, errors.New("a display name that is not tokens needs quotes")
	}
	found := false
	for i := a.params; i < len(s); {
		p := nextParam(s, i)
		i = p.next
		switch {
		case p.name == p.nameEnd: // as in ";;a=1"
			return tag, errNoParam
		case p.open: // it would swallow what is written behind it: a tag
			return tag, errOpenQuote
		case !found && equalFold(s[p.name:p.nameEnd], "tag"):
			found, tag = true, spanOf(p.value, p.end)
		}
	}
	_, err = scanURI(s[a.uri:a.uriEnd])
	return tag, err
}

func tokensOnly(s string) bool {
	for i := 0; i < len(s); i++ {
		if alphabet[s[i]]&tokenChar == 0 && !isBlank(s[i]) && s[i] < 0x80 {
			return false
		}
	}
	return true
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
