package sip

import "time"

// delayed are the targets of a group that ring later than the others.
type delayed []delayedTarget

type delayedTarget struct {
	target  Target
	breadth int
	at      time.Time
}

func (l *delayed) add(t Target, breadth int, now time.Time) {
	*l = append(*l, delayedTarget{t, breadth, now.Add(t.Delay)})
}

// next is when the first of them rings; zero when there is none.
func (l delayed) next() (at time.Time) {
	for _, d := range l {
		if at.IsZero() || d.at.Before(at) {
			at = d.at
		}
	}
	return at
}

func (l delayed) due(now time.Time) bool { return len(l) > 0 && !now.Before(l.next()) }

// beginDelayed rings those whose time has come.
func (f *fork) beginDelayed(now time.Time) {
	all := f.delayed
	f.delayed = nil
	f.live++ // one that fails at once must not end the fork
	for _, d := range all {
		if now.Before(d.at) {
			f.delayed = append(f.delayed, d)
			continue
		}
		f.begin(d.target, d.breadth)
	}
	f.live--
}

// hurry rings the next of the delayed when nobody else rings any more.
func (f *fork) hurry() {
	for f.live == 0 && !f.cancelling && len(f.delayed) > 0 {
		f.beginDelayed(f.delayed.next())
	}
}
