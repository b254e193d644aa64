package pbx

import (
	"slices"
	"time"
)

// taken is what is known of a user's calls that were not his own idea.
type taken struct {
	now  int       // calls that he has answered and that go on
	last time.Time // when the last one ended
}

// forgetAfter is how long a user without calls is remembered: who has been idle for longer is as idle as all others of that kind.
const forgetAfter = 24 * time.Hour

// takes is told that a user has answered a call. What is answered by a node of the plan counts as well, and nobody asks for it.
func (p *PBX) takes(tenant, user string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := tenant + "\x00" + user
	t := p.taken[key]
	if t == nil {
		t = &taken{}
		p.taken[key] = t
	}
	t.now++
}

// leaves is told that such a call is over. It forgets another user or two whose last call was long ago, so that the table never holds
// more than those of a day.
func (p *PBX) leaves(tenant, user string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.taken[tenant+"\x00"+user]; t != nil {
		t.now--
		t.last = now
	}
	looked := 0
	for key, t := range p.taken {
		if t.now <= 0 && now.Sub(t.last) > forgetAfter {
			delete(p.taken, key)
		}
		if looked++; looked == 2 {
			return
		}
	}
}

// engaged tells whether a user is in a call, his own or one that he has answered.
func (p *PBX) engaged(tenant, user string) bool {
	key := tenant + "\x00" + user
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.taken[key]
	return p.byUser[key] > 0 || t != nil && t.now > 0
}

// idleFirst puts the users first who have answered no call for the longest time; those in a call come last.
func (p *PBX) idleFirst(tenant string, users []string) []string {
	type idle struct {
		user string
		busy bool
		last time.Time
	}
	list := make([]idle, len(users))
	p.mu.Lock()
	for i, user := range users {
		list[i].user = user
		if t := p.taken[tenant+"\x00"+user]; t != nil {
			list[i].busy, list[i].last = t.now > 0, t.last
		}
	}
	p.mu.Unlock()
	slices.SortStableFunc(list, func(a, b idle) int {
		if a.busy != b.busy {
			if a.busy {
				return 1
			}
			return -1
		}
		return a.last.Compare(b.last)
	})
	sorted := make([]string, len(list))
	for i, l := range list {
		sorted[i] = l.user
	}
	return sorted
}
