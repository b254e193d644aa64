package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// section is a [section] of one of Asterisk's files.
type section struct {
	name     string
	at       place
	template bool
	entries  []entry
}

// entry is a line `key = value` of a section.
type entry struct {
	key, value string
	at         place
}

// get is the last value of a key, "" when there is none.
func (s *section) get(key string) string { return s.entry(key).value }

func (s *section) entry(key string) (found entry) {
	for _, e := range s.entries {
		if strings.EqualFold(e.key, key) {
			found = e
		}
	}
	return found
}

// all are the values of a key that may be there several times.
func (s *section) all(key string) (values []entry) {
	for _, e := range s.entries {
		if strings.EqualFold(e.key, key) {
			values = append(values, e)
		}
	}
	return values
}

// conf reads a file in the format of Asterisk's configuration (config.c): sections with templates, ; comments, #include.
type conf struct {
	*folder
	remark   func(at place, what, why string)
	sections []*section
	byName   map[string]*section // the latest of a name
	blocked  bool                // inside ;-- --;
}

// asteriskRoots is where an include may say that its file is.
var asteriskRoots = []string{"/etc/asterisk/", "/usr/local/etc/asterisk/"}

// read adds a file to the sections.
func (c *conf) read(name string, depth int) error {
	text, err := c.folder.read(name)
	if err != nil {
		return err
	}
	c.blocked = false
	line := 0
	for raw := range strings.Lines(string(text)) {
		line++
		if err := c.line(strings.TrimSpace(c.uncomment(raw)), place{name, line}, depth); err != nil {
			return err
		}
	}
	if c.blocked {
		c.remark(place{name, line}, ";--", "this comment has no end")
	}
	return nil
}

// uncomment takes comments off a line: from ; on, unless it is written \;, and between ;-- and --;.
func (c *conf) uncomment(raw string) string {
	var b strings.Builder
	for i := 0; i < len(raw); i++ {
		switch {
		case c.blocked:
			if strings.HasPrefix(raw[i:], "--;") {
				c.blocked = false
				i += 2
			}
		case raw[i] == '\\' && i+1 < len(raw) && raw[i+1] == ';':
			b.WriteByte(';')
			i++
		case strings.HasPrefix(raw[i:], ";--") && !strings.HasPrefix(raw[i:], ";---"):
			c.blocked = true
			i += 2
		case raw[i] == ';':
			return b.String()
		default:
			b.WriteByte(raw[i])
		}
	}
	return b.String()
}

func (c *conf) line(text string, at place, depth int) error {
	switch {
	case text == "":
	case text[0] == '#':
		return c.directive(text, at, depth)
	case text[0] == '[':
		c.open(text, at)
	default:
		c.entry(text, at)
	}
	return nil
}

func (c *conf) directive(text string, at place, depth int) error {
	word, rest, _ := strings.Cut(text, " ")
	if i := strings.IndexByte(text, '\t'); i >= 0 && i < len(word) {
		word, rest = text[:i], text[i+1:]
	}
	file := strings.Trim(strings.TrimSpace(rest), `"<>`)
	if word != "#include" && word != "#tryinclude" {
		c.remark(at, text, "only #include and #tryinclude are read: nothing is run")
		return nil
	}
	if depth >= deepest {
		c.remark(at, text, fmt.Sprintf("files include each other more than %d deep", deepest))
		return nil
	}
	found := c.glob(at.file, file, asteriskRoots...)
	if len(found) == 0 && word == "#include" {
		c.remark(at, text, "there is no such file in the folder")
	}
	for _, name := range found {
		err := c.read(name, depth+1)
		if errors.Is(err, errTooMuch) {
			return err
		}
		if err != nil {
			c.remark(at, text, "it cannot be read: "+reason(err))
		}
	}
	return nil
}

// reason is an error of a file without the path, which may be another one on the machine where the report is read.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// open begins a section: [name], [name](!), [name](template,other), [name](+).
func (c *conf) open(text string, at place) {
	head, rest, ok := strings.Cut(text[1:], "]")
	if !ok {
		c.remark(at, text, "this section has no ]")
		return
	}
	s := &section{name: strings.TrimSpace(head), at: at}
	if list, isList := strings.CutPrefix(strings.TrimSpace(rest), "("); isList {
		list, _, _ = strings.Cut(list, ")")
		for base := range strings.SplitSeq(list, ",") {
			switch base = strings.TrimSpace(base); base {
			case "":
			case "!":
				s.template = true
			case "+":
				if known := c.byName[s.name]; known != nil {
					c.sections = append(c.sections, known) // becomes the current one
					return
				}
				c.remark(at, text, "there is no earlier section of this name")
			default:
				known := c.byName[base]
				if known == nil {
					c.remark(at, text, fmt.Sprintf("there is no template %q before it", base))
					continue
				}
				if len(s.entries)+len(known.entries) > mostMatches {
					c.remark(at, text, "its templates are too long")
					continue
				}
				s.entries = append(s.entries, known.entries...)
			}
		}
	}
	c.sections = append(c.sections, s)
	c.byName[s.name] = s
}

func (c *conf) entry(text string, at place) {
	if len(c.sections) == 0 {
		c.remark(at, text, "this line belongs to no section")
		return
	}
	key, value, ok := strings.Cut(text, "=")
	if !ok {
		c.remark(at, text, "this line has no =")
		return
	}
	s := c.sections[len(c.sections)-1]
	s.entries = append(s.entries, entry{strings.TrimSpace(key), strings.TrimSpace(strings.TrimPrefix(value, ">")), at})
}

// readConf gives the sections of a file that are no templates, each once; nil when there is no such file.
func (m *maker) readConf(f *folder, name string) ([]*section, error) {
	if !f.has(name) {
		return nil, nil
	}
	c := &conf{folder: f, remark: m.unmapped, byName: map[string]*section{}}
	if err := c.read(path.Clean(name), 0); err != nil {
		if errors.Is(err, errTooMuch) {
			return nil, err
		}
		return nil, fmt.Errorf("%s: %s", name, reason(err))
	}
	var out []*section
	seen := map[*section]bool{}
	for _, s := range c.sections {
		if !seen[s] && !s.template {
			out = append(out, s)
		}
		seen[s] = true
	}
	return out, nil
}
