package rtpengine

import "strings"

// width is how many m-lines a side knows of, and what they are: an offer to it may have no fewer (RFC 3264 §8).
func (s *Session) width(side Side) (int, []said) {
	x := s.latest
	if x != nil && !x.answered {
		x = s.before
	}
	switch {
	case x == nil:
		return 0, nil
	case x.from == side:
		return len(x.said[side].lines), x.said[side].lines
	}
	return x.width, x.said[x.from].lines
}

// tellOffer decides how the chosen codecs of an m-line are told to the other side.
func (l *line) tellOffer(from Side, heard *said, s *section, chosen []int, view *facingSection) []told {
	means := meanings(heard.codecs)
	l.numbers[from].hear(heard.codecs, means)
	r := l.numbers[from.Other()].tell(heard.codecs, means, chosen)
	if r.plain(s, heard.codecs) {
		return nil
	}
	view.formats = r
	return r.formats
}

// tellAnswer decides which lines of an answer stand, and how their formats and directions are told to the offerer. A line that accepts what was not
// offered is none that accepts. When an answer takes up nothing because of that, there is no call in it.
func (s *Session) tellAnswer(x *exchange, deal *bargain, d *description, st *statement, view *facing) (back [][]told, err error) {
	offered := x.said[x.from]
	coded := make([]coding, len(d.sections))
	back = make([][]told, len(d.sections))
	left, why := 0, error(nil)
	for i := range d.sections {
		l, to := &st.lines[i], &offered.lines[i]
		l.active = l.active && to.active
		if !l.active {
			continue
		}
		view.sections[i].answers = to
		view.sections[i].deny = ^to.dir.reverse() & sendrecv
		l.dir &^= view.sections[i].deny // RFC 3264 §6.1
		problem := ""
		switch {
		case !strings.EqualFold(l.kind, to.kind) || l.datagrams != to.datagrams:
			problem = "It answers m=" + to.kind + " over " + to.proto
		case !l.datagrams && !deal.opaque:
			back[i] = s.lines[i].tellBack(x, i, l, &d.sections[i], &view.sections[i])
			if coded[i], problem = s.bridge(x, i, l, back[i], &view.sections[i]); problem == "" && back[i] != nil && len(back[i]) == 0 && !coded[i].both {
				problem = "None of its codecs was offered"
			} else if problem == "" && len(coded[i].lent) == 0 {
				coded[i] = s.remake(x, i, l, back[i], &view.sections[i])
			}
			coded[i].keys = x.remaking.keys
		}
		if problem == "" {
			left++
			continue
		}
		l.active = false
		if why == nil {
			why = reject(488, 305, d.sections[i].where()+problem)
		}
	}
	if left == 0 && why != nil {
		s.engine.rejected.Add(1)
		return nil, why
	}
	x.coded = coded
	return back, nil
}

// tellBack is tellOffer for an answer.
func (l *line) tellBack(x *exchange, i int, heard *said, s *section, view *facingSection) []told {
	means := meanings(heard.codecs)
	l.numbers[x.from.Other()].hear(heard.codecs, means)
	r := answerTo(x.said[x.from].lines[i].codecs, x.shown[i], heard.codecs, means)
	if x.shown[i] == nil && r.plain(s, heard.codecs) {
		return nil
	}
	view.formats = r
	return r.formats
}

// rejected is the section that says no to an offered m-line: its formats are not looked at, but must be there (RFC 3264 §6).
func rejected(l *said) section {
	s, _ := parseMediaLine(l.mline)
	return s
}

// passages are those of an m-line of an answered exchange, by the side that sends.
func (x *exchange) passages(i int, kind string, lines *[2]said) (way [2]passage) {
	var shown, back []told
	if i < len(x.shown) && i < len(x.back) {
		shown, back = x.shown[i], x.back[i]
	}
	way[x.from], way[x.from.Other()] = passages(kind, lines[x.from].codecs, lines[x.from.Other()].codecs, shown, back)
	return way
}
