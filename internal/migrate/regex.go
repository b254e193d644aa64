package migrate

import (
	"fmt"
	"regexp/syntax"
	"strings"
)

// A FreeSWITCH expression becomes patterns as Asterisk writes them: what stands for a number sign by sign.

// shapeOf is one way that an expression can match.
type shapeOf struct {
	pattern string         // of Asterisk, without _; open at its end with . or !
	long    int            // signs so far, -1 = unknown from here on
	groups  map[int][2]int // where $1 and so on begin and end; an end of -1: the end of the number
}

const mostShapes = 200

// shapes reads an expression over the digits that are dialled. false: it is more than sign by sign.
func shapes(expression string) ([]shapeOf, bool) {
	if len(expression) > 500 {
		return nil, false
	}
	re, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return nil, false
	}
	parts := []*syntax.Regexp{re}
	if re.Op == syntax.OpConcat {
		parts = re.Sub
	}
	if len(parts) == 0 || parts[0].Op != syntax.OpBeginText && parts[0].Op != syntax.OpBeginLine {
		return nil, false // without ^ anything may stand before it
	}
	all := []shapeOf{{groups: map[int][2]int{}}}
	closed := false
	for _, part := range parts[1:] {
		if part.Op == syntax.OpEndText || part.Op == syntax.OpEndLine {
			closed = true
			break
		}
		var ok bool
		if all, ok = grow(all, part, 0); !ok {
			return nil, false
		}
	}
	for i := range all {
		if !closed && all[i].long >= 0 {
			all[i].pattern += "!"
		}
		for group, span := range all[i].groups {
			if all[i].long >= 0 && closed && span[1] == all[i].long {
				all[i].groups[group] = [2]int{span[0], -1}
			}
		}
	}
	return all, len(all) > 0
}

// grow puts a part of an expression behind each of the ways so far.
func grow(all []shapeOf, re *syntax.Regexp, depth int) ([]shapeOf, bool) {
	if depth > 20 {
		return nil, false
	}
	for _, s := range all {
		if s.long < 0 {
			return nil, false // something stands behind what may be of any length
		}
	}
	switch re.Op {
	case syntax.OpEmptyMatch:
		return all, true
	case syntax.OpLiteral:
		var b strings.Builder
		for _, r := range re.Rune {
			if r >= 128 || strings.ContainsRune("[]!.", r) {
				return nil, false
			}
			b.WriteString(sign(byte(r)))
		}
		return extendAll(all, b.String(), len(re.Rune)), true
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		class, ok := classText(re)
		return extendAll(all, class, 1), ok
	case syntax.OpCapture:
		begins := make([]int, len(all))
		for i := range all {
			begins[i] = all[i].long
		}
		if allSame(begins) {
			grown, ok := grow(all, re.Sub[0], depth+1)
			for i := range grown {
				end := grown[i].long
				groups := map[int][2]int{re.Cap: {begins[0], end}}
				for k, v := range grown[i].groups {
					groups[k] = v
				}
				grown[i].groups = groups
			}
			return grown, ok
		}
		var out []shapeOf
		for i := range all {
			grown, ok := grow(all[i:i+1], re, depth+1)
			if !ok {
				return nil, false
			}
			out = append(out, grown...)
		}
		return out, len(out) <= mostShapes
	case syntax.OpConcat:
		ok := true
		for _, sub := range re.Sub {
			if all, ok = grow(all, sub, depth+1); !ok {
				return nil, false
			}
		}
		return all, true
	case syntax.OpAlternate:
		var out []shapeOf
		for _, sub := range re.Sub {
			grown, ok := grow(all, sub, depth+1)
			if !ok || len(out)+len(grown) > mostShapes {
				return nil, false
			}
			out = append(out, grown...)
		}
		return out, true
	case syntax.OpQuest:
		grown, ok := grow(all, re.Sub[0], depth+1)
		return append(append([]shapeOf{}, all...), grown...), ok && len(all)+len(grown) <= mostShapes
	case syntax.OpStar, syntax.OpPlus:
		return endless(all, re.Sub[0], re.Op == syntax.OpPlus)
	case syntax.OpRepeat:
		ok := true
		for range re.Min {
			if all, ok = grow(all, re.Sub[0], depth+1); !ok || len(all) > mostShapes || len(all[0].pattern) > 200 {
				return nil, false
			}
		}
		if re.Max == re.Min {
			return all, true
		}
		return endless(all, re.Sub[0], false)
	}
	return nil, false
}

// endless lets any digits follow.
func endless(all []shapeOf, re *syntax.Regexp, some bool) ([]shapeOf, bool) {
	class, ok := classText(re)
	if !ok || class != "X" {
		return nil, false
	}
	out := append([]shapeOf{}, all...)
	for i := range out {
		if some {
			out[i].pattern += "X"
		}
		out[i].pattern += "!"
		out[i].long = -1
	}
	return out, true
}

func extendAll(all []shapeOf, text string, signs int) []shapeOf {
	out := append([]shapeOf{}, all...)
	for i := range out {
		out[i].pattern += text
		out[i].long += signs
	}
	return out
}

func allSame(list []int) bool {
	for _, n := range list {
		if n != list[0] {
			return false
		}
	}
	return true
}

// sign is a sign as patterns write it: those that mean something there stand in a class.
func sign(c byte) string {
	if strings.IndexByte("XxZzNn", c) >= 0 {
		return fmt.Sprintf("[%c%c]", c, c)
	}
	return string(c)
}

// classText is the digits of a class as patterns write them; X also for any sign, as numbers are digits.
func classText(re *syntax.Regexp) (string, bool) {
	switch re.Op {
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return "X", true
	case syntax.OpLiteral:
		if len(re.Rune) == 1 && re.Rune[0] < 128 {
			return sign(byte(re.Rune[0])), true
		}
	case syntax.OpCharClass:
		var b strings.Builder
		for c := '0'; c <= '9'; c++ {
			for i := 0; i+1 < len(re.Rune); i += 2 {
				if c >= re.Rune[i] && c <= re.Rune[i+1] {
					b.WriteRune(c)
				}
			}
		}
		for i := 0; i+1 < len(re.Rune); i += 2 {
			for _, c := range "*#+" {
				if c >= re.Rune[i] && c <= re.Rune[i+1] {
					b.WriteRune(c)
				}
			}
		}
		switch class := b.String(); {
		case strings.HasPrefix(class, "0123456789"):
			return "X", true
		case len(class) > 1:
			return "[" + class + "]", true
		case len(class) == 1:
			return class, true
		}
	}
	return "", false
}

// references writes $1 as what it is of the number.
func (s shapeOf) references(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 >= len(text) || text[i+1] < '0' || text[i+1] > '9' {
			b.WriteByte(text[i])
			continue
		}
		i++
		group := int(text[i] - '0')
		span, known := s.groups[group]
		switch {
		case group == 0:
			b.WriteString("${EXTEN}")
		case !known:
			b.WriteString("${GROUP_" + text[i:i+1] + "}")
		case span[1] < 0:
			fmt.Fprintf(&b, "${EXTEN:%d}", span[0])
		default:
			fmt.Fprintf(&b, "${EXTEN:%d:%d}", span[0], span[1]-span[0])
		}
	}
	return b.String()
}
