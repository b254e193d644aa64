package pbx

import (
	"sync"
	"time"

	"tandem/dialplan"
	"tandem/sip"
)

// lines count what calls take of trunks and of the limits of their callers. A node counts what goes through itself. Any goroutine.
type lines struct {
	mu    sync.Mutex
	taken map[lineKey]int       // channels
	spent map[lineKey]*spending // by limit, and by user where it is for each
	full  uint64
	over  uint64
}

type lineKey struct{ tenant, name, user string }

// spending is what has been used up of a limit.
type spending struct {
	calls int // at the moment
	day   string
	talk  time.Duration // on that day
	money int64         // millionths
}

// seize takes a channel of a trunk and a place in each limit, or says why not: dialplan.Full or dialplan.Limited.
func (b *lines) seize(l *line, now time.Time) (outcome int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !l.exempt {
		key := lineKey{tenant: l.trunk.Tenant, name: l.trunk.Name}
		for _, limit := range l.limits {
			if s := b.spent[limitKey(limit, l.user)]; s != nil && s.reached(limit, now) {
				b.over++
				return dialplan.Limited
			}
		}
		if l.trunk.Channels > 0 && b.taken[key] >= l.trunk.Channels {
			b.full++
			return dialplan.Full
		}
	}
	b.take(l)
	return 0
}

// take counts a line; mu is held.
func (b *lines) take(l *line) {
	b.taken[lineKey{tenant: l.trunk.Tenant, name: l.trunk.Name}]++
	for _, limit := range l.limits {
		key := limitKey(limit, l.user)
		if b.spent[key] == nil {
			b.spent[key] = new(spending)
		}
		b.spent[key].calls++
	}
}

// move counts the line of a call that goes on here: it is refused nothing. nil is none.
func (b *lines) move(l *line) {
	if l == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.take(l)
}

func limitKey(l *dialplan.Limit, user string) lineKey {
	if !l.Each {
		user = ""
	}
	return lineKey{l.Tenant, l.Name, user}
}

func (s *spending) reached(l *dialplan.Limit, now time.Time) bool {
	s.turn(l, now)
	return l.Calls > 0 && s.calls >= l.Calls || l.Minutes > 0 && s.talk >= time.Duration(l.Minutes)*time.Minute || l.Money > 0 && s.money >= l.Money
}

// turn begins a new day, when it is one, and says when that began.
func (s *spending) turn(l *dialplan.Limit, now time.Time) (began time.Time) {
	day, began := l.Day(now)
	if s.day != day {
		s.day, s.talk, s.money = day, 0, 0
	}
	return began
}

// release gives back what a call has taken, and counts what it has used up.
func (b *lines) release(l *line, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := lineKey{tenant: l.trunk.Tenant, name: l.trunk.Name}
	if b.taken[key]--; b.taken[key] <= 0 {
		delete(b.taken, key)
	}
	for _, limit := range l.limits {
		key := limitKey(limit, l.user)
		s := b.spent[key]
		if s == nil {
			continue
		}
		began := s.turn(limit, now)
		s.calls--
		var talk time.Duration
		switch {
		case l.spoken.IsZero():
		case l.spoken.Before(began): // what was before midnight is of a day that is over
			talk = now.Sub(began)
		default:
			talk = now.Sub(l.spoken)
		}
		s.talk += talk
		s.money += int64(talk/time.Second) * l.price / 60
		if s.calls == 0 && s.talk == 0 {
			delete(b.spent, key)
		}
	}
}

// channels is how many channels of a trunk are taken.
func (b *lines) channels(tenant, name string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.taken[lineKey{tenant: tenant, name: name}]
}

// refused counts what was refused: calls that found their trunk full, and calls beyond a limit.
func (b *lines) refused() (full, over uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.full, b.over
}

// lineSnapshot is a line as another process can go on with it.
type lineSnapshot struct {
	Tenant string          `json:"tenant"`
	Trunk  string          `json:"trunk"`
	Exempt bool            `json:"exempt,omitempty"`
	Limits []limitSnapshot `json:"limits,omitempty"`
	Price  int64           `json:"price,omitempty"`
	Spoken time.Time       `json:"spoken,omitzero"`
	User   string          `json:"user,omitempty"`
}

type limitSnapshot struct {
	Tenant string `json:"tenant"`
	Name   string `json:"name"`
	Each   bool   `json:"each,omitempty"`
}

// snapshot is nil of nil; Call.mu is held.
func (l *line) snapshot() *lineSnapshot {
	if l == nil {
		return nil
	}
	s := &lineSnapshot{Tenant: l.trunk.Tenant, Trunk: l.trunk.Name, Exempt: l.exempt, Price: l.price, Spoken: l.spoken, User: l.user}
	for _, limit := range l.limits {
		s.Limits = append(s.Limits, limitSnapshot{limit.Tenant, limit.Name, limit.Each})
	}
	return s
}

// lineOf is the line of a call that has come, and its trunk by name; nil of nil. A trunk that the plan has lost keeps its name: the call goes on.
func (p *PBX) lineOf(s *lineSnapshot) (*line, *sip.TrunkName) {
	if s == nil {
		return nil, nil
	}
	l := &line{trunk: p.trunk(s.Tenant, s.Trunk), exempt: s.Exempt, price: s.Price, spoken: s.Spoken, user: s.User}
	if l.trunk == nil {
		l.trunk = &dialplan.Trunk{Tenant: s.Tenant, Name: s.Trunk}
	}
	for _, limit := range s.Limits {
		l.limits = append(l.limits, &dialplan.Limit{Tenant: limit.Tenant, Name: limit.Name, Each: limit.Each})
	}
	return l, &sip.TrunkName{Tenant: s.Tenant, Name: s.Trunk}
}
