package migrate

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// element is a piece of FreeSWITCH's configuration, with includes in their places and $${variables} filled in.
type element struct {
	name     string
	attrs    map[string]string
	children []*element
	text     string // between its tags
	at       place
}

func (e *element) attr(name string) string { return e.attrs[name] }

// each visits all elements of a name below e, not those inside of each other.
func (e *element) each(name string, visit func(*element)) {
	for _, c := range e.children {
		if c.name == name {
			visit(c)
			continue
		}
		c.each(name, visit)
	}
}

// params are <param name= value=> (or <variable>) of an element's own lists.
func (e *element) params(kind string) map[string]*element {
	all := map[string]*element{}
	var walk func(*element)
	walk = func(e *element) {
		for _, c := range e.children {
			switch c.name {
			case kind:
				all[c.attr("name")] = c
			case "params", "variables":
				walk(c)
			}
		}
	}
	walk(e)
	return all
}

func value(all map[string]*element, name string) string {
	if e := all[name]; e != nil {
		return e.attr("value")
	}
	return ""
}

// tree reads FreeSWITCH's XML.
type tree struct {
	*folder
	remark   func(at place, what, why string)
	vars     map[string]string
	elements int
}

const mostElements = 200_000

// freeswitchRoots is where an include may say that its file is.
var freeswitchRoots = []string{"$${conf_dir}/", "/etc/freeswitch/", "/usr/local/freeswitch/conf/", "/opt/freeswitch/conf/"}

// read adds what a file contains to an element.
func (t *tree) read(name string, into *element, depth int) error {
	text, err := t.folder.read(name)
	if err != nil {
		return err
	}
	d := xml.NewDecoder(bytes.NewReader(text))
	d.Strict = false
	d.Entity = xml.HTMLEntity
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	open := []*element{into}
	for {
		line, _ := d.InputPos()
		token, err := d.RawToken()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			t.remark(place{name, line}, "XML", "the file cannot be read from here on: "+clip(err.Error()))
			return nil
		}
		switch x := token.(type) {
		case xml.StartElement:
			if t.elements++; t.elements > mostElements || len(open) > 100 {
				return errTooMuch
			}
			line, _ = d.InputPos()
			e := &element{name: x.Name.Local, attrs: map[string]string{}, at: place{name, line}}
			for _, a := range x.Attr {
				e.attrs[a.Name.Local] = t.fill(a.Value)
			}
			parent := open[len(open)-1]
			switch strings.ToLower(e.name) {
			case "x-pre-process":
				if err := t.directive(e, parent, depth); err != nil {
					return err
				}
				open = append(open, &element{})
			case "include", "document":
				open = append(open, parent)
			default:
				parent.children = append(parent.children, e)
				open = append(open, e)
			}
		case xml.CharData:
			if e := open[len(open)-1]; len(e.text)+len(x) <= mostText {
				e.text += t.fill(string(x))
			}
		case xml.EndElement:
			if len(open) > 1 {
				open = open[:len(open)-1]
			}
		}
	}
}

// fill puts values in the place of $${name}.
func (t *tree) fill(s string) string {
	for range 100 {
		begin := strings.Index(s, "$${")
		if begin < 0 {
			return s
		}
		name, rest, ok := strings.Cut(s[begin+3:], "}")
		if !ok {
			return s
		}
		s = s[:begin] + t.vars[name] + rest
		if len(s) > mostText {
			return s[:mostText]
		}
	}
	return s
}

// directive is <X-PRE-PROCESS cmd= data=>.
func (t *tree) directive(e, parent *element, depth int) error {
	data := e.attr("data")
	what := fmt.Sprintf("X-PRE-PROCESS %s %s", e.attr("cmd"), data)
	switch strings.ToLower(e.attr("cmd")) {
	case "set":
		name, value, _ := strings.Cut(data, "=")
		if len(t.vars) < 10_000 {
			t.vars[strings.TrimSpace(name)] = value
		}
	case "include":
		if depth >= deepest {
			t.remark(e.at, what, fmt.Sprintf("files include each other more than %d deep", deepest))
			return nil
		}
		found := t.glob(path.Join(path.Dir(e.at.file), "x"), path.Join(path.Dir(e.at.file), data))
		if len(found) == 0 {
			found = t.glob(e.at.file, data, freeswitchRoots...)
		}
		if len(found) == 0 && !strings.Contains(data, "*") {
			t.remark(e.at, what, "there is no such file in the folder")
		}
		for _, name := range found {
			err := t.read(name, parent, depth+1)
			if errors.Is(err, errTooMuch) {
				return err
			}
			if err != nil {
				t.remark(e.at, what, "it cannot be read: "+reason(err))
			}
		}
	default:
		t.remark(e.at, what, "only set and include are read: nothing is run, nobody is asked")
	}
	return nil
}
