package hcltext

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
)

const (
	maxDepth     = 32   // brackets inside brackets
	maxOperators = 1000 // operators and brackets of one expression
)

// bracket is one that is still open.
type bracket struct {
	char      byte
	pos       int // of the bracket
	line      int
	lineStart int
	operators int
}

// scanner looks over a text before the HCL parser does. The parser follows brackets and operators by recursion, 9 kB of
// stack each, so a few hundred kilobytes of "[" would end the program; the scanner refuses such texts, and also texts
// whose strings and brackets it could understand otherwise than the parser: templates, heredocs, unbalanced brackets.
type scanner struct {
	src       []byte
	pos       int
	line      int
	lineStart int
	open      []bracket
}

// scan returns the first hazard in src and its place; summary is "" when there is none.
func scan(name string, src []byte) (rng hcl.Range, summary, detail string) {
	s := &scanner{src: src, line: 1, open: []bracket{{}}}
	at := func(from int) hcl.Range { return s.rangeFrom(name, from) }
	if i := firstStrange(src); i >= 0 {
		s.line += bytes.Count(src[:i], []byte("\n"))
		s.lineStart = bytes.LastIndexByte(src[:i], '\n') + 1
		s.pos = i + 1
		return at(i), "this is not a text file", fmt.Sprintf("it has the byte 0x%02x here; plain UTF-8 is expected", src[i])
	}
	for s.pos < len(src) {
		from := s.pos
		c := src[from]
		s.pos++
		top := &s.open[len(s.open)-1]
		switch c {
		case '\n':
			s.line++
			s.lineStart = s.pos
			if top.char != '(' && top.char != '[' {
				top.operators = 0
			}
		case ',':
			top.operators = 0
		case '#':
			s.skipLine()
		case '/':
			switch comment, closed := s.skipComment(); {
			case !comment:
				top.operators++
			case !closed:
				return at(from), "this comment has no end", "add */ behind it"
			}
		case '"':
			if summary, detail := s.skipText(); summary != "" {
				return at(from), summary, detail
			}
		case '<':
			if s.peek() == '<' {
				s.pos++
				return at(from), "heredocs are not part of this language", "write the text between quotes"
			}
			top.operators++
		case '(', '[', '{':
			top.operators++
			s.open = append(s.open, bracket{char: c, pos: from, line: s.line, lineStart: s.lineStart})
			if len(s.open) > maxDepth {
				return at(from), "brackets are nested too deeply", fmt.Sprintf("%d levels are the most", maxDepth-1)
			}
		case ')', ']', '}':
			if top.char != partner(c) {
				if top.char == 0 {
					return at(from), fmt.Sprintf("this %c closes nothing", c), "remove it, or open the bracket before"
				}
				return at(from), fmt.Sprintf("%c cannot close the %c of line %d", c, top.char, top.line),
					fmt.Sprintf("close that one first, with %c", partner(top.char))
			}
			s.open = s.open[:len(s.open)-1]
		case '=', '+', '-', '*', '%', '?', '!', '&', '|', '>', ':':
			top.operators++
		}
		if top = &s.open[len(s.open)-1]; top.operators > maxOperators {
			return at(from), "this expression is too long", fmt.Sprintf("%d operators are the most", maxOperators)
		}
	}
	if last := s.open[len(s.open)-1]; last.char != 0 {
		s.pos, s.line, s.lineStart = last.pos+1, last.line, last.lineStart
		return at(last.pos), fmt.Sprintf("this %c is never closed", last.char), fmt.Sprintf("add %c", partner(last.char))
	}
	return hcl.Range{}, "", ""
}

// firstStrange is the index of the first byte that cannot be in a text file, -1 when there is none.
func firstStrange(src []byte) int {
	for i := 0; i < len(src); {
		c := src[i]
		if c < utf8.RuneSelf {
			if c < ' ' && c != '\n' && c != '\r' && c != '\t' || c == 0x7f {
				return i
			}
			i++
			continue
		}
		r, size := utf8.DecodeRune(src[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

func partner(c byte) byte {
	const pairs = "()[]{}"
	if i := strings.IndexByte(pairs, c); i >= 0 {
		return pairs[i^1]
	}
	return 0
}

func (s *scanner) peek() byte {
	if s.pos < len(s.src) {
		return s.src[s.pos]
	}
	return 0
}

func (s *scanner) skipLine() {
	for s.pos < len(s.src) && s.src[s.pos] != '\n' {
		s.pos++
	}
}

// skipComment is called behind a slash and says whether that began a comment, and whether the comment ends.
func (s *scanner) skipComment() (comment, closed bool) {
	switch s.peek() {
	case '/':
		s.skipLine()
		return true, true
	case '*':
		end := bytes.Index(s.src[s.pos+1:], []byte("*/"))
		if end < 0 {
			return true, false
		}
		inside := s.src[s.pos : s.pos+1+end]
		if n := bytes.Count(inside, []byte("\n")); n > 0 {
			s.line += n
			s.lineStart = s.pos + bytes.LastIndexByte(inside, '\n') + 1
		}
		s.pos += 1 + end + 2
		return true, true
	}
	return false, false
}

// skipText is called behind an opening quote and goes behind the closing one.
func (s *scanner) skipText() (summary, detail string) {
	for s.pos < len(s.src) {
		c := s.src[s.pos]
		s.pos++
		switch c {
		case '"':
			return "", ""
		case '\\':
			if s.peek() != '\n' && s.pos < len(s.src) {
				s.pos++
			}
		case '\n':
			s.pos--
			return "this text has no closing quote", `texts end on the line they begin on; "\n" stands for a new line`
		case '$', '%':
			marks := 1
			for s.peek() == c {
				s.pos++
				marks++
			}
			if s.peek() == '{' && marks != 2 {
				return "templates are not part of this language", fmt.Sprintf(`write the text itself; "%[1]c%[1]c{" stands for "%[1]c{"`, c)
			}
		}
	}
	return "this text has no closing quote", `add " at its end`
}

// rangeFrom covers the bytes from one index to the current one, on the line the scanner is in.
func (s *scanner) rangeFrom(name string, from int) hcl.Range {
	column := 1 + utf8.RuneCount(s.src[min(s.lineStart, from):from])
	return hcl.Range{
		Filename: name,
		Start:    hcl.Pos{Line: s.line, Column: column, Byte: from},
		End:      hcl.Pos{Line: s.line, Column: column + s.pos - from, Byte: s.pos},
	}
}
