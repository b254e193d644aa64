package dialplan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// diffDays is how far the clock's choices are compared.
const diffDays = 366

// choiceDiffers is where calls go by one plan and by another, and when that is so.
type choiceDiffers struct {
	was, is string // nodes; "" = the call ends
	when    string // "" = at all times, else ", mon-fri 17:00-17:30"
}

// compare says when two targets lead to nodes of different names. There are few pairs in a plan, and many ways that share them.
func (d *differ) compare(was, is target) []choiceDiffers {
	pair := [2]target{was, is}
	if known, ok := d.choices[pair]; ok {
		return known
	}
	var out []choiceDiffers
	if was >= nowhere && is >= nowhere {
		if a, b := d.was.nameOf(was), d.is.nameOf(is); a != b {
			out = []choiceDiffers{{was: a, is: b}}
		}
	} else {
		out = d.compareByClock(was, is)
	}
	d.choices[pair] = out
	return out
}

func (d *differ) compareByClock(was, is target) []choiceDiffers {
	zone := d.is.zone()
	first := dateOf(d.from.In(zone), 0)
	var moments []time.Time
	d.was.eachDecision(was, func(c *decision) { moments = d.was.calendars[c.calendar].turns(moments, d.from) })
	d.is.eachDecision(is, func(c *decision) { moments = d.is.calendars[c.calendar].turns(moments, d.from) })
	for n := range diffDays {
		moments = append(moments, dateOf(first, n))
	}
	slices.SortFunc(moments, time.Time.Compare)
	moments = slices.CompactFunc(moments, time.Time.Equal)

	whens := map[[2]string]*hoursOfYear{}
	var order [][2]string
	end := dateOf(first, diffDays)
	for i, at := range moments {
		next := end
		if i+1 < len(moments) {
			next = moments[i+1]
		}
		if at.Before(first) || !at.Before(end) {
			continue
		}
		names := [2]string{d.was.nameOf(d.was.at(was, at)), d.is.nameOf(d.is.at(is, at))}
		if names[0] == names[1] {
			continue
		}
		p := whens[names]
		if p == nil {
			p = &hoursOfYear{first: first}
			whens[names], order = p, append(order, names)
		}
		p.add(at.In(zone), next.In(zone))
	}
	var out []choiceDiffers
	for _, names := range order {
		out = append(out, choiceDiffers{was: names[0], is: names[1], when: whens[names].words()})
	}
	return out
}

// zone is that of the tenant; Compile has seen that it exists.
func (t *tenant) zone() *time.Location {
	if zone, err := time.LoadLocation(t.public.TimeZone); err == nil {
		return zone
	}
	return time.UTC
}

// at is the outcome of a target at some time.
func (t *tenant) at(to target, at time.Time) target {
	w := Walk{t: t, at: at}
	var why *reason
	return w.decide(to, &why)
}

// dateOf is the beginning of the day n days later.
func dateOf(t time.Time, n int) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day()+n, 0, 0, 0, 0, t.Location())
}

// turns appends the moments of the year after from at which the calendar may open or close.
func (c *calendar) turns(list []time.Time, from time.Time) []time.Time {
	var week [7][]int
	for m := range minutesOfWeek {
		if m%minutesOfDay == 0 || c.openIn(m) != c.openIn(m-1) {
			week[m/minutesOfDay] = append(week[m/minutesOfDay], m%minutesOfDay)
		}
	}
	first := dateOf(from.In(c.zone), -1)
	for n := range diffDays + 2 {
		date := dateOf(first, n)
		minutes := slices.Clone(week[(int(date.Weekday())+6)%7])
		for _, on := range [2]day{dayOf(date), dayOf(date).everyYear()} {
			if hours := c.days[on]; hours != nil {
				for _, s := range slices.Concat(hours.open, hours.closed) {
					minutes = append(minutes, s.from, s.to)
				}
			}
		}
		for _, m := range minutes {
			list = append(list, time.Date(date.Year(), date.Month(), date.Day(), 0, m, 0, 0, c.zone))
		}
	}
	return list
}

func (c *calendar) openIn(minute int) bool { return c.week[minute/64]&(1<<(minute%64)) != 0 }

// hoursOfYear gathers hours of days in a year, and says them as a week with exceptions.
type hoursOfYear struct {
	first time.Time
	days  [diffDays][]span
}

// add takes hours that end on the day on which they begin, or at its end.
func (p *hoursOfYear) add(from, to time.Time) {
	n := int(dateOf(from, 0).Sub(p.first).Hours()+12) / 24 // some days have 23 or 25 hours
	s := span{from.Hour()*60 + from.Minute(), to.Hour()*60 + to.Minute()}
	if s.to == 0 {
		s.to = minutesOfDay
	}
	if last := len(p.days[n]) - 1; last >= 0 && p.days[n][last].to == s.from {
		p.days[n][last].to = s.to
		return
	}
	p.days[n] = append(p.days[n], s)
}

const allDay = "all day"

func hoursWords(spans []span) string {
	var words []string
	for _, s := range spans {
		if s == (span{0, minutesOfDay}) {
			return allDay
		}
		words = append(words, fmt.Sprintf("%02d:%02d-%02d:%02d", s.from/60, s.from%60, s.to/60, s.to%60))
	}
	return strings.Join(words, " and ")
}

// words tells the hours that most days of each weekday have, and then the dates that are otherwise, the first six of them.
func (p *hoursOfYear) words() string {
	var usual [7]string
	for w := range usual {
		votes := map[string]int{}
		for n := w; n < diffDays; n += 7 {
			votes[hoursWords(p.days[n])]++
		}
		for _, hours := range slices.Sorted(maps.Keys(votes)) {
			if votes[hours] > votes[usual[w]] {
				usual[w] = hours
			}
		}
	}
	begin := (int(p.first.Weekday()) + 6) % 7 // of usual[0]; Monday is 0
	var parts []string
	for w := 0; w < 7; {
		hours := usual[(w-begin+7)%7]
		last := w
		for last+1 < 7 && usual[(last+1-begin+7)%7] == hours {
			last++
		}
		switch names := weekdays(); {
		case hours == "":
		case w == 0 && last == 6 && hours == allDay:
			parts = append(parts, "on all days")
		case w == 0 && last == 6:
			parts = append(parts, "on all days "+hours)
		case w == last:
			parts = append(parts, names[w]+" "+hours)
		default:
			parts = append(parts, names[w]+"-"+names[last]+" "+hours)
		}
		w = last + 1
	}
	const most = 6
	others := 0
	for n := range p.days {
		hours := hoursWords(p.days[n])
		if hours == usual[n%7] {
			continue
		}
		if others++; others > most {
			continue
		}
		date := dateOf(p.first, n).Format("2006-01-02")
		if hours == "" {
			parts = append(parts, "not on "+date)
		} else {
			parts = append(parts, date+" "+hours)
		}
	}
	if others > most {
		parts = append(parts, fmt.Sprintf("and %d more dates of the year", others-most))
	}
	if len(parts) == 1 && parts[0] == "on all days" {
		return ""
	}
	return ", " + strings.Join(parts, ", ")
}
