package migrate

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
)

// What stands for the number that was dialled, when a pattern is followed as a whole: these two signs with how many digits are left out
// between them.
const (
	dialledBegin = "\x01"
	dialledEnd   = "\x02"
)

// dialled reads a text as something in front of the number that was dialled, which may be without its first digits.
func dialled(s string) (prepend string, skip int, ok bool) {
	prepend, rest, ok := strings.Cut(s, dialledBegin)
	digits, behind, closed := strings.Cut(rest, dialledEnd)
	skip, err := strconv.Atoi(digits)
	return prepend, skip, ok && closed && behind == "" && err == nil
}

// isOpen tells whether a value depends on what is dialled.
func isOpen(s string) bool { return strings.ContainsAny(s, dialledBegin+dialledEnd) }

// variables are those of a call on its way.
type variables struct {
	own    map[string]string // copied when they change
	global map[string]string
	asked  *bool // set when the outcome of a Dial or Queue was looked at
}

func (v variables) with(name, value string) variables {
	v.own = maps.Clone(v.own)
	if v.own == nil {
		v.own = map[string]string{}
	}
	v.own[name] = value
	return v
}

func (v variables) without(name string) variables {
	v.own = maps.Clone(v.own)
	delete(v.own, name)
	return v
}

func (v variables) get(name string) (string, bool) {
	if (name == "DIALSTATUS" || name == "QUEUESTATUS") && v.asked != nil {
		*v.asked = true
	}
	if value, ok := v.own[name]; ok {
		return value, true
	}
	value, ok := v.global[name]
	return value, ok
}

const mostText = 4096 // of a value that variables make

// expand puts values in the place of ${...} and $[...]. The error says which value is known during a call only.
func (v variables) expand(s string, depth int) (string, error) {
	if depth > 8 {
		return "", errors.New("its expressions are too deep")
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if b.Len() > mostText {
			return "", errors.New("its value is too long")
		}
		if s[i] != '$' || i+1 >= len(s) || s[i+1] != '{' && s[i+1] != '[' {
			b.WriteByte(s[i])
			i++
			continue
		}
		end := closing(s, i+1)
		if end < 0 {
			return "", errors.New("a bracket has no end")
		}
		inner, err := v.expand(s[i+2:end], depth+1)
		if err != nil {
			return "", err
		}
		var value string
		if s[i+1] == '{' {
			value, err = v.value(inner)
		} else {
			value, err = evaluate(inner)
		}
		if err != nil {
			return "", err
		}
		b.WriteString(value)
		i = end + 1
	}
	return b.String(), nil
}

// closing finds the bracket that ends the one at i.
func closing(s string, i int) int {
	depth := 0
	for ; i < len(s); i++ {
		switch s[i] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// value is that of NAME, NAME:skip, NAME:skip:length, FUNCTION(...).
func (v variables) value(text string) (string, error) {
	expr, cut := text, ""
	if !strings.Contains(text, "(") {
		expr, cut, _ = strings.Cut(text, ":")
	} else if i := strings.LastIndexByte(text, ')'); i >= 0 && strings.HasPrefix(text[i+1:], ":") {
		expr, cut = text[:i+1], text[i+2:]
	}
	value, known := v.get(expr)
	if function, arg, is := strings.Cut(expr, "("); is && !known {
		arg = strings.TrimSuffix(arg, ")")
		switch strings.ToUpper(function) {
		case "GLOBAL":
			value, known = v.get(arg)
		case "LEN":
			if known = !isOpen(arg); known {
				value = strconv.Itoa(len(arg))
			}
		case "PJSIP_DIAL_CONTACTS":
			value, known = "PJSIP/"+arg, true
		}
	}
	if !known {
		expr = strings.NewReplacer(dialledBegin, "${EXTEN:", dialledEnd, "}").Replace(expr)
		return "", fmt.Errorf("the value of ${%s} is known during a call only", clip(expr))
	}
	if cut == "" {
		return value, nil
	}
	return part(value, cut)
}

// part takes digits off a value: "1", "-4", "0:3".
func part(value, cut string) (string, error) {
	first, second, bounded := strings.Cut(cut, ":")
	skip, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		return "", fmt.Errorf("%q is no number of digits", clip(first))
	}
	if isOpen(value) {
		prepend, already, ok := dialled(value)
		if !ok || prepend != "" || skip < 0 || bounded || already+skip > 64 {
			return "", errors.New("its number depends on what is dialled in a way that plans cannot say")
		}
		return dialledBegin + strconv.Itoa(already+skip) + dialledEnd, nil
	}
	if skip < 0 {
		skip = max(0, len(value)+skip)
	}
	value = value[min(skip, len(value)):]
	if bounded {
		n, err := strconv.Atoi(strings.TrimSpace(second))
		if err != nil {
			return "", fmt.Errorf("%q is no number of digits", clip(second))
		}
		if n < 0 {
			n = max(0, len(value)+n)
		}
		value = value[:min(n, len(value))]
	}
	return value, nil
}

// isTrue is what Asterisk takes for true.
func isTrue(s string) bool { return s != "" && strings.Trim(s, "0") != "" }

// evaluate works an expression out: | & = != < > <= >= + - * / % ! and brackets.
func evaluate(s string) (string, error) {
	if isOpen(s) {
		return "", errors.New("it depends on what is dialled in a way that plans cannot say")
	}
	e := &expression{words: words(s)}
	value, err := e.level(0)
	if err == nil && len(e.words) > 0 {
		err = fmt.Errorf("the expression %q is not understood", clip(s))
	}
	return value, err
}

type expression struct {
	words []string
	depth int
}

// operators from the weakest to the strongest.
var operators = [][]string{{"|", "||"}, {"&", "&&"}, {"=", "==", "!=", "<", ">", "<=", ">="}, {"+", "-"}, {"*", "/", "%"}}

func (e *expression) level(n int) (string, error) {
	if n == len(operators) {
		return e.single()
	}
	left, err := e.level(n + 1)
	for err == nil && len(e.words) > 0 && has(operators[n], e.words[0]) {
		op := e.words[0]
		e.words = e.words[1:]
		var right string
		if right, err = e.level(n + 1); err == nil {
			left, err = apply(op, left, right)
		}
	}
	return left, err
}

func has(list []string, word string) bool {
	for _, w := range list {
		if w == word {
			return true
		}
	}
	return false
}

func (e *expression) single() (string, error) {
	if e.depth++; e.depth > 200 || len(e.words) == 0 {
		return "", errors.New("an expression is not understood")
	}
	word := e.words[0]
	e.words = e.words[1:]
	switch word {
	case "!":
		value, err := e.single()
		return truth(!isTrue(value)), err
	case "(":
		value, err := e.level(0)
		if err == nil && (len(e.words) == 0 || e.words[0] != ")") {
			err = errors.New("a bracket has no end")
		}
		if err == nil {
			e.words = e.words[1:]
		}
		return value, err
	}
	for _, level := range operators {
		if has(level, word) { // nothing stands before an operator: an empty value
			e.words = append([]string{word}, e.words...)
			return "", nil
		}
	}
	if len(word) >= 2 && word[0] == '"' {
		return word[1 : len(word)-1], nil
	}
	return word, nil
}

func truth(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func apply(op, left, right string) (string, error) {
	switch op {
	case "|", "||":
		return truth(isTrue(left) || isTrue(right)), nil
	case "&", "&&":
		return truth(isTrue(left) && isTrue(right)), nil
	}
	a, errA := strconv.ParseInt(left, 10, 64)
	b, errB := strconv.ParseInt(right, 10, 64)
	compared := strings.Compare(left, right)
	if errA == nil && errB == nil {
		compared = int(max(-1, min(1, a-b)))
	}
	switch op {
	case "=", "==":
		return truth(compared == 0), nil
	case "!=":
		return truth(compared != 0), nil
	case "<":
		return truth(compared < 0), nil
	case ">":
		return truth(compared > 0), nil
	case "<=":
		return truth(compared <= 0), nil
	case ">=":
		return truth(compared >= 0), nil
	}
	if errA != nil || errB != nil {
		return "", errors.New("an expression counts with what is no number")
	}
	switch {
	case op == "+":
		a += b
	case op == "-":
		a -= b
	case op == "*":
		a *= b
	case b == 0:
		return "", errors.New("an expression divides by 0")
	case op == "/":
		a /= b
	default:
		a %= b
	}
	return strconv.FormatInt(a, 10), nil
}

// words cuts an expression into values, which may be in quotes, and operators.
func words(s string) (all []string) {
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == ' ' || c == '\t':
			i++
		case c == '"':
			end := strings.IndexByte(s[i+1:], '"')
			if end < 0 {
				return append(all, s[i:]+`"`)
			}
			all = append(all, s[i:i+end+2])
			i += end + 2
		case strings.IndexByte("()|&=<>!+*/%", c) >= 0 || c == '-' && !isNumber(all):
			n := 1
			if i+1 < len(s) && (s[i+1] == '=' && strings.IndexByte("=!<>", c) >= 0 || s[i+1] == c && (c == '|' || c == '&')) {
				n = 2
			}
			all = append(all, s[i:i+n])
			i += n
		default:
			begin := i
			for i++; i < len(s) && strings.IndexByte(" \t\"()|&=<>!", s[i]) < 0; {
				i++
			}
			all = append(all, s[begin:i])
		}
	}
	return all
}

// isNumber tells whether a dash that follows would belong to a number: it does where no value stands before it.
func isNumber(before []string) bool {
	if len(before) == 0 {
		return true
	}
	for _, level := range operators {
		if has(level, before[len(before)-1]) {
			return true
		}
	}
	return false
}

// arguments cuts the arguments of an application at its commas, but for those in brackets and quotes.
func arguments(s string) (all []string) {
	depth, quoted, begin := 0, false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case strings.IndexByte("([{", c) >= 0:
			depth++
		case strings.IndexByte(")]}", c) >= 0:
			depth--
		case c == ',' && depth <= 0:
			all = append(all, strings.TrimSpace(s[begin:i]))
			begin = i + 1
		}
	}
	return append(all, strings.TrimSpace(s[min(begin, len(s)):]))
}

// argument is one of arguments, "" when there are fewer.
func argument(all []string, i int) string {
	if i < len(all) {
		return all[i]
	}
	return ""
}
