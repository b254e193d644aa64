package dialplan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // for machines that have no zones of their own

	"github.com/hashicorp/hcl/v2"

	"tandem/internal/hcltext"
)

const (
	minutesOfDay  = 24 * 60
	minutesOfWeek = 7 * minutesOfDay
)

// calendar says when it is open: a bit for each minute of the week that begins on Monday, in its zone's clock, and days that are
// otherwise than their weekday.
type calendar struct {
	name string
	at   Position
	zone *time.Location
	week [(minutesOfWeek + 63) / 64]uint64
	days map[day]*dayHours

	holidays map[day]string // names; closed unless days says otherwise. Shared by the calendars of a country
}

// day is a date as year*10000 + month*100 + day; year 0 is every year.
type day int32

func dayOf(t time.Time) day {
	y, m, d := t.Date()
	return day(y*10_000 + int(m)*100 + d)
}

func (d day) everyYear() day { return d % 10_000 }

// dayHours are the minutes in which a certain day is open. What says nothing about opening follows its weekday.
type dayHours struct {
	opens  bool // hours of its own
	open   []span
	closed []span
}

// span is a part of a day in minutes, to is exclusive.
type span struct{ from, to int }

func within(spans []span, minute int) bool {
	return slices.ContainsFunc(spans, func(s span) bool { return s.from <= minute && minute < s.to })
}

// state tells whether the calendar is open at t, with the reason when it is not the weekday's: a date or the name of a holiday.
func (c *calendar) state(t time.Time) (open bool, why string) {
	t = t.In(c.zone)
	minute := t.Hour()*60 + t.Minute()
	date := dayOf(t)
	for _, d := range [2]day{date, date.everyYear()} { // a date of one year counts before one of every year
		hours := c.days[d]
		switch {
		case hours == nil:
		case within(hours.closed, minute):
			return false, "closed on this day"
		case hours.opens, within(hours.open, minute):
			return within(hours.open, minute), "this day has hours of its own"
		}
	}
	if name := c.holidays[date]; name != "" {
		return false, name
	}
	of := (int(t.Weekday())+6)%7*minutesOfDay + minute
	return c.week[of/64]&(1<<(of%64)) != 0, ""
}

func (c *calendar) setWeek(from, to int, open bool) {
	for m := from; m < to; m++ {
		of := m % minutesOfWeek
		if open {
			c.week[of/64] |= 1 << (of % 64)
		} else {
			c.week[of/64] &^= 1 << (of % 64)
		}
	}
}

func (c *calendar) hours(d day) *dayHours {
	if c.days[d] == nil {
		c.days[d] = &dayHours{}
	}
	return c.days[d]
}

// calendarDraft is a calendar block.
type calendarDraft struct {
	calendar
	rng  hcl.Range
	used bool
}

func (d *drafter) addCalendar(t *draft, b block) {
	if !isNodeName(b.label) {
		d.wrong(b.named, fmt.Sprintf("%q cannot be the name of a calendar", b.label), "use 1 to 64 letters, digits or one of . _ + * # -")
		return
	}
	if first := t.calendar[b.label]; first != nil {
		d.wrong(b.named, fmt.Sprintf("a calendar %q is already there", b.label), "the first is at "+at(first.rng)+"; give this one another name")
		return
	}
	c := &calendarDraft{rng: b.named}
	c.name, c.at, c.zone, c.days = b.label, position(b.named), t.zone, map[day]*dayHours{}
	t.calendar[b.label] = c
	t.calendars = append(t.calendars, c)
	if zone, set := b.attrs["timezone"]; set {
		c.zone = d.zone(zone)
	}
	if len(b.attrs["open"].items) == 0 && !b.broken {
		d.warn(b.named, fmt.Sprintf("calendar %q is never open", b.label), `say when it is: open = ["mon-fri 09:00-17:30"]`)
	}
	if v, set := b.attrs["holidays"]; set {
		d.holidays(c, v)
	}
	var dates []period
	for _, v := range b.attrs["open"].items {
		if p, ok := d.period(v); ok {
			p.open = true
			dates = append(dates, p)
		}
	}
	for _, v := range b.attrs["closed"].items {
		if p, ok := d.period(v); ok {
			dates = append(dates, p)
		}
	}
	for _, p := range dates {
		c.take(p)
	}
}

func (d *drafter) zone(v value) *time.Location {
	if isZone(v.text) {
		if zone, err := time.LoadLocation(v.text); err == nil {
			return zone
		}
	}
	d.wrong(v.rng, fmt.Sprintf("there is no time zone %q%s", v.text, suggestZone(v.text)), `write a name like "Europe/London"`)
	return time.UTC
}

// period is one entry of open or closed: days of the week, or dates, with hours.
type period struct {
	open  bool
	week  [7]bool // Monday first
	dates []day   // none: week counts
	spans []span  // beyond the end of the day they go on in the next one
}

const longestPeriod = 3700 // dates of one entry

// period reads "mon-fri 09:00-17:30", "sat,sun", "2026-12-24 09:00-12:00", "2026-12-24..2027-01-01", "12-25".
func (d *drafter) period(v value) (p period, ok bool) {
	words := strings.Fields(v.text)
	if len(words) == 0 || len(words) > 2 {
		d.wrong(v.rng, fmt.Sprintf("%q is not a time of opening", v.text), `write "mon-fri 09:00-17:30", "2026-12-24 09:00-12:00" or "12-25"`)
		return p, false
	}
	hours := words[len(words)-1]
	if !strings.Contains(hours, ":") {
		hours = ""
	} else {
		words = words[:len(words)-1]
	}
	if why := p.readHours(hours); why != "" {
		d.wrong(v.rng, why, `hours are written like "09:00-12:30,14:00-18:00"`)
		return p, false
	}
	switch {
	case len(words) == 0:
		p.week = [7]bool{true, true, true, true, true, true, true}
	case len(words) > 1:
		d.wrong(v.rng, fmt.Sprintf("%q is not a time of day", words[1]), `hours are written like "09:00-17:30"`)
		return p, false
	case words[0][0] >= '0' && words[0][0] <= '9':
		if why := p.readDates(words[0]); why != "" {
			d.wrong(v.rng, why, `dates are written like "2026-12-24", "2026-12-24..2027-01-01", or "12-25" for every year`)
			return p, false
		}
	default:
		if bad := p.readWeekdays(words[0]); bad != "" {
			d.wrong(v.rng, fmt.Sprintf("%q is not a day of the week%s", bad, hcltext.DidYouMean(bad, weekdays())), "write "+strings.Join(weekdays(), ", ")+`, or a range like "mon-fri"`)
			return p, false
		}
	}
	return p, true
}

func weekdays() []string { return []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"} }

func (p *period) readWeekdays(word string) (bad string) {
	for part := range strings.SplitSeq(strings.ToLower(word), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, to := slices.Index(weekdays(), first), slices.Index(weekdays(), last)
		if from < 0 {
			return first
		}
		if to < 0 {
			return last
		}
		for i := from; ; i = (i + 1) % 7 {
			p.week[i] = true
			if i == to {
				break
			}
		}
	}
	return ""
}

func (p *period) readHours(word string) (why string) {
	if word == "" {
		p.spans = []span{{0, minutesOfDay}}
		return ""
	}
	for part := range strings.SplitSeq(word, ",") {
		first, last, isRange := strings.Cut(part, "-")
		from, okFrom := minuteOf(first)
		to, okTo := minuteOf(last)
		switch {
		case !isRange || !okFrom || !okTo || from == minutesOfDay:
			return fmt.Sprintf("%q is not a time of day", part)
		case from == to:
			return fmt.Sprintf("%q has no length", part)
		case to < from: // over midnight
			to += minutesOfDay
		}
		p.spans = append(p.spans, span{from, to})
	}
	return ""
}

func minuteOf(s string) (int, bool) {
	h, m, ok := strings.Cut(s, ":")
	hour, errH := strconv.ParseUint(h, 10, 8)
	minute, errM := strconv.ParseUint(m, 10, 8)
	return int(hour*60 + minute), ok && errH == nil && errM == nil && len(m) == 2 && minute < 60 && (hour < 24 || hour == 24 && minute == 0)
}

func (p *period) readDates(word string) (why string) {
	if t, err := time.Parse("2006-01-02", "2000-"+word); err == nil {
		p.dates = []day{dayOf(t).everyYear()}
		return ""
	}
	first, last, isRange := strings.Cut(word, "..")
	if !isRange {
		last = first
	}
	for _, d := range []string{first, last} {
		if _, err := time.Parse("2006-01-02", d); err != nil {
			return fmt.Sprintf("there is no date %q", d)
		}
	}
	from, _ := time.Parse("2006-01-02", first)
	to, _ := time.Parse("2006-01-02", last)
	if to.Before(from) {
		return fmt.Sprintf("%q ends before it begins", word)
	}
	if to.Sub(from) > longestPeriod*24*time.Hour {
		return fmt.Sprintf("%q is longer than ten years", word)
	}
	for t := from; !t.After(to); t = t.AddDate(0, 0, 1) {
		p.dates = append(p.dates, dayOf(t))
	}
	return ""
}

// take enters a period; what is closed comes last and counts before what is open.
func (c *calendar) take(p period) {
	for _, s := range p.spans {
		if len(p.dates) == 0 {
			for i, on := range p.week {
				if on {
					c.setWeek(i*minutesOfDay+s.from, i*minutesOfDay+s.to, p.open)
				}
			}
			continue
		}
		for _, d := range p.dates {
			c.hours(d).take(span{s.from, min(s.to, minutesOfDay)}, p.open)
			if s.to > minutesOfDay {
				c.hours(d.next()).takeRest(span{0, s.to - minutesOfDay}, p.open)
			}
		}
	}
}

func (h *dayHours) take(s span, open bool) {
	if open {
		h.opens, h.open = true, append(h.open, s)
	} else {
		h.closed = append(h.closed, s)
	}
}

// takeRest is take for what has begun the day before: being open until 02:00 gives a day no hours of its own.
func (h *dayHours) takeRest(s span, open bool) {
	if open {
		h.open = append(h.open, s)
	} else {
		h.closed = append(h.closed, s)
	}
}

func (d day) next() day {
	year := int(d / 10_000)
	if year == 0 {
		return dayOf(time.Date(2000, time.Month(d/100%100), int(d%100)+1, 0, 0, 0, 0, time.UTC)).everyYear()
	}
	return dayOf(time.Date(year, time.Month(d/100%100), int(d%100)+1, 0, 0, 0, 0, time.UTC))
}
