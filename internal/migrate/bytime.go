package migrate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// byTime is GotoIfTime(times,weekdays,days,months[,timezone]?yes:no).
func (a *asterisk) byTime(s callState, st step, on callState, depth int) (*target, *callState, error) {
	args, err := s.vars.expand(st.args, 0)
	if err != nil {
		return nil, nil, &lost{st.at, st.String(), err.Error()}
	}
	when, branches, ok := strings.Cut(args, "?")
	yes, no, _ := strings.Cut(branches, ":")
	h, why := readTimes(arguments(when))
	if !ok || why != "" {
		return nil, nil, &lost{st.at, st.String(), why}
	}
	h.at, h.what = st.at, clip(st.String())
	branch := func(where string) *target {
		if strings.TrimSpace(where) == "" {
			return a.onward(on, depth)
		}
		_, next, err := a.jump(s, on, arguments(where), st)
		if err != nil {
			return a.orLost(nil, err, s)
		}
		return a.onward(*next, depth)
	}
	yesTo, noTo := branch(yes), branch(no)
	return a.choose(st.at, a.calendar(h), yesTo, noTo), nil, nil
}

var (
	dayNames   = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
	monthNames = []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
)

// readTimes reads the times of GotoIfTime. why says what plans cannot say.
func readTimes(args []string) (h *hours, why string) {
	h = &hours{}
	get := func(i int) string {
		v := strings.ToLower(argument(args, i))
		if v == "" {
			return "*"
		}
		return v
	}
	if len(args) > 5 || get(4) != "*" {
		return nil, "a time zone of its own is not imported: a calendar has timezone = \"...\""
	}
	if strings.Contains(get(0), "&") {
		return nil, "several times of a day are not imported: write a calendar"
	}
	if h.all = get(0) == "*"; !h.all {
		first, last, ok := strings.Cut(get(0), "-")
		from, okFrom := minute(first)
		to, okTo := minute(last)
		if !ok || !okFrom || !okTo {
			return nil, fmt.Sprintf("%q is no time of day", clip(get(0)))
		}
		if to%15 != 0 { // 16:59 means until 17:00: Asterisk counts the last minute, too
			to = (to + 1) % (24 * 60)
		}
		if from == to {
			return nil, "its times have no length"
		}
		h.from, h.to = from, to
	}
	days, okDays := span(get(1), dayNames, 0, 6)
	dates, okDates := span(get(2), nil, 1, 31)
	months, okMonths := span(get(3), monthNames, 1, 12)
	if !okDays || !okDates || !okMonths {
		return nil, "its days or months are not understood"
	}
	for _, d := range days {
		h.weeks[d] = true
	}
	if get(2) == "*" && get(3) == "*" {
		return h, ""
	}
	if get(1) != "*" {
		return nil, "weekdays and dates at once are not imported: write a calendar"
	}
	for _, month := range months {
		for _, date := range dates {
			if date <= []int{31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}[month-1] {
				h.dates = append(h.dates, fmt.Sprintf("%02d-%02d", month, date))
			}
		}
	}
	if len(h.dates) == 0 {
		return nil, "there is no such date"
	}
	return h, ""
}

func minute(s string) (int, bool) {
	hour, min, ok := strings.Cut(strings.TrimSpace(s), ":")
	h, errH := strconv.Atoi(hour)
	m, errM := strconv.Atoi(min)
	return h*60 + m, ok && errH == nil && errM == nil && h >= 0 && h < 24 && m >= 0 && m < 60
}

// span reads "*", "mon-fri", "sat&sun", "1-7".
func span(s string, names []string, first, last int) (all []int, ok bool) {
	value := func(word string) (int, bool) {
		word = strings.TrimSpace(word)
		if names != nil && len(word) >= 3 {
			i := slices.Index(names, word[:3])
			return i + first, i >= 0
		}
		n, err := strconv.Atoi(word)
		return n, err == nil && n >= first && n <= last
	}
	if s == "*" {
		for i := first; i <= last; i++ {
			all = append(all, i)
		}
		return all, true
	}
	for part := range strings.SplitSeq(s, "&") {
		from, to, isRange := strings.Cut(part, "-")
		a, okA := value(from)
		b := a
		okB := okA
		if isRange {
			b, okB = value(to)
		}
		if !okA || !okB {
			return nil, false
		}
		for i := a; ; i++ {
			if i > last {
				i = first
			}
			if !slices.Contains(all, i) {
				all = append(all, i)
			}
			if i == b {
				break
			}
		}
	}
	slices.Sort(all)
	return all, true
}
