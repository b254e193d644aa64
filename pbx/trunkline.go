package pbx

import (
	"context"
	"sync"
	"time"

	"tandem/dialplan"
)

// Quota divides what a trunk and the limits of callers allow among the nodes of a cluster. *cluster.Shares satisfies it; a node alone needs none.
type Quota interface {
	// Take takes n of a pool into use, which has limit of it for all nodes together, if this node may at this moment. Return gives it back.
	Take(pool string, limit, n int64) bool
	// Use takes n into use in any case; until is the end of the day of which it is, zero when it comes back with Return.
	Use(pool string, limit int64, until time.Time, n int64)
	Return(pool string, n int64)
	// Free is how much more this node may use without asking; less than nothing when it uses more than it may.
	Free(pool string, limit int64, until time.Time) int64
	// Borrow waits until n are free here, because others have given them back, or ctx ends.
	Borrow(ctx context.Context, pool string, limit int64, until time.Time, n int64) bool
	// GiveBack gives back what is not used.
	GiveBack(ctx context.Context)
}

const (
	// borrowTime is how long a call waits for other nodes to give back what they do not use. Behind it what it asks for is taken.
	borrowTime = 150 * time.Millisecond
	// tallyEvery is how often what calls use up as they go on is counted.
	tallyEvery = time.Second
	// doubtTime is how long nobody must hear this node for it to end calls of a share that others may have by then. They get it after twice as long.
	doubtTime = 5 * time.Second
)

// lines count what calls take of trunks and of the limits of their callers. Any goroutine.
type lines struct {
	quota  Quota
	shared bool // with other nodes

	mu     sync.Mutex
	taken  map[trunkKey]int // channels
	meters map[string]*meter
	full   uint64
	over   uint64
}

type trunkKey struct{ tenant, name string }

// claim is what a call needs of a pool.
type claim struct {
	pool    string
	limit   int64
	until   time.Time // of a day: something must be left, and is used up later
	outcome int       // when there is nothing
}

// meter runs while calls talk that count for a limit by days.
type meter struct {
	limit *dialplan.Limit
	user  string
	calls int64
	price int64 // of a minute of all of them
	last  time.Time
	rest  int64 // of a millionth, in sixty thousandths
}

func newLines(q Quota) *lines {
	b := &lines{quota: q, shared: q != nil, taken: make(map[trunkKey]int), meters: make(map[string]*meter)}
	if q == nil {
		b.quota = &ownQuota{pools: make(map[string]ownPool)}
	}
	return b
}

// claims are what a call needs: first what the day must have left, then what it takes for as long as it goes on.
func (l *line) claims(now time.Time) (days, places []claim) {
	for _, limit := range l.limits {
		name := limitName(limit, l.user)
		if limit.Calls > 0 {
			places = append(places, claim{pool: "calls " + name, limit: int64(limit.Calls), outcome: dialplan.Limited})
		}
		if limit.Minutes == 0 && limit.Money == 0 {
			continue
		}
		day, end := dayOf(limit, now)
		if limit.Minutes > 0 {
			days = append(days, claim{"minutes " + day + " " + name, int64(limit.Minutes) * int64(time.Minute), end, dialplan.Limited})
		}
		if limit.Money > 0 {
			days = append(days, claim{"money " + day + " " + name, limit.Money, end, dialplan.Limited})
		}
	}
	if l.trunk.Channels > 0 {
		places = append(places, claim{pool: "channels " + l.trunk.Tenant + " " + l.trunk.Name, limit: int64(l.trunk.Channels), outcome: dialplan.Full})
	}
	return days, places
}

func limitName(l *dialplan.Limit, user string) string {
	if !l.Each {
		user = ""
	}
	return l.Tenant + " " + l.Name + " " + user
}

// dayOf names the day of a moment, and says when it ends.
func dayOf(l *dialplan.Limit, now time.Time) (name string, end time.Time) {
	name, began := l.Day(now)
	_, end = l.Day(began.Add(25*time.Hour + 30*time.Minute)) // the longest has 25 hours, the one behind it at least 23
	return name, end
}

// seize takes a channel of a trunk and a place in each limit, or says why not: dialplan.Full or dialplan.Limited. lack is what was missing, if others may
// have it to spare.
func (b *lines) seize(l *line, now time.Time) (outcome int, lack *claim) {
	b.tally(now)
	days, places := l.claims(now)
	if !l.exempt {
		for i := range days {
			if b.quota.Free(days[i].pool, days[i].limit, days[i].until) <= 0 {
				return b.missing(&days[i])
			}
		}
	}
	for i, p := range places {
		if l.exempt {
			b.quota.Use(p.pool, p.limit, time.Time{}, 1)
		} else if !b.quota.Take(p.pool, p.limit, 1) {
			for _, taken := range places[:i] {
				b.quota.Return(taken.pool, 1)
			}
			return b.missing(&places[i])
		}
	}
	l.places = places
	b.mu.Lock()
	b.taken[l.key()]++
	b.mu.Unlock()
	return 0, nil
}

func (b *lines) missing(c *claim) (outcome int, lack *claim) {
	if b.shared {
		lack = c
	}
	return c.outcome, lack
}

// adopt counts a call that has come from another process or node.
func (b *lines) adopt(l *line, now time.Time) {
	_, l.places = l.claims(now)
	for _, p := range l.places {
		b.quota.Use(p.pool, p.limit, time.Time{}, 1)
	}
	b.mu.Lock()
	b.taken[l.key()]++
	b.mu.Unlock()
	if l.spoken.IsZero() {
		return
	}
	if b.shared { // what it has used up until now is counted already
		b.speaks(l, now)
	} else {
		b.speaks(l, l.spoken)
	}
}

func (l *line) key() trunkKey { return trunkKey{l.trunk.Tenant, l.trunk.Name} }

// count counts a call that was refused.
func (b *lines) count(outcome int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch outcome {
	case dialplan.Full:
		b.full++
	case dialplan.Limited:
		b.over++
	}
}

// speaks begins to count what a call uses up, from a moment on that is now, or before that for a call that has come from elsewhere.
func (b *lines) speaks(l *line, now time.Time) {
	b.tally(now)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, limit := range l.limits {
		if limit.Minutes == 0 && limit.Money == 0 {
			continue
		}
		name := limitName(limit, l.user)
		m := b.meters[name]
		if m == nil {
			m = &meter{last: now}
			b.meters[name] = m
		}
		m.limit, m.user = limit, l.user
		if now.Before(m.last) { // the others are counted up to then
			past := &meter{limit: limit, calls: 1, price: l.price, last: now}
			past.read(b.quota, name, m.last)
		}
		m.calls++
		m.price += l.price
	}
}

// drop stops to count what a call uses up.
func (b *lines) drop(l *line) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hush(l)
}

// hush takes a call from the meters of its limits; mu is held.
func (b *lines) hush(l *line) {
	if l.spoken.IsZero() {
		return
	}
	l.spoken = time.Time{}
	for _, limit := range l.limits {
		name := limitName(limit, l.user)
		if m := b.meters[name]; m != nil {
			m.price -= l.price
			if m.calls--; m.calls <= 0 {
				delete(b.meters, name)
			}
		}
	}
}

// release gives back what a call has taken, and counts what it has used up.
func (b *lines) release(l *line, now time.Time) {
	b.tally(now)
	for _, p := range l.places {
		b.quota.Return(p.pool, 1)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	key := l.key()
	if b.taken[key]--; b.taken[key] <= 0 {
		delete(b.taken, key)
	}
	b.hush(l)
}

// tally counts what the calls that talk have used up since the last time.
func (b *lines) tally(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, m := range b.meters {
		m.read(b.quota, name, now)
	}
}

// read counts up to now; what was before midnight is of a day that is over.
func (m *meter) read(q Quota, name string, now time.Time) {
	from, l := m.last, m.limit
	if !now.After(from) {
		return
	}
	day, end := dayOf(l, now)
	if _, began := l.Day(now); from.Before(began) {
		from = began
	}
	m.last = now
	talk := now.Sub(from)
	if l.Minutes > 0 {
		q.Use("minutes "+day+" "+name, int64(l.Minutes)*int64(time.Minute), end, int64(talk)*m.calls)
	}
	if l.Money > 0 {
		m.rest += m.price * talk.Milliseconds()
		q.Use("money "+day+" "+name, l.Money, end, m.rest/60_000)
		m.rest %= 60_000
	}
}

// beyond tells of which pools more is used here than may be, now that nobody hears this node, and by how much.
func (b *lines) beyond(l *line, excess map[string]int64) (any bool) {
	for _, p := range l.places {
		if _, known := excess[p.pool]; !known {
			excess[p.pool] = -b.quota.Free(p.pool, p.limit, time.Time{})
		}
		any = any || excess[p.pool] > 0
	}
	if any {
		for _, p := range l.places {
			excess[p.pool]--
		}
	}
	return any
}

// channels is how many channels of a trunk are taken here.
func (b *lines) channels(tenant, name string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.taken[trunkKey{tenant, name}]
}

// refused counts what was refused: calls that found their trunk full, and calls beyond a limit.
func (b *lines) refused() (full, over uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.full, b.over
}

// ownQuota is that of a node alone: all of it is its own.
type ownQuota struct {
	mu    sync.Mutex
	pools map[string]ownPool
	swept time.Time
}

type ownPool struct {
	used  int64
	until time.Time
}

func (q *ownQuota) Take(pool string, limit, n int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	p := q.pools[pool]
	if p.used+n > limit {
		return false
	}
	p.used += n
	q.pools[pool] = p
	return true
}

func (q *ownQuota) Use(pool string, _ int64, until time.Time, n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sweep()
	p := q.pools[pool]
	p.used, p.until = p.used+n, until
	q.pools[pool] = p
}

func (q *ownQuota) Return(pool string, n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	p := q.pools[pool]
	if p.used -= n; p.used <= 0 {
		delete(q.pools, pool)
		return
	}
	q.pools[pool] = p
}

func (q *ownQuota) Free(pool string, limit int64, _ time.Time) int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return limit - q.pools[pool].used
}

func (*ownQuota) Borrow(context.Context, string, int64, time.Time, int64) bool { return false }

func (*ownQuota) GiveBack(context.Context) {}

// sweep forgets days that are over, now and then.
func (q *ownQuota) sweep() {
	now := time.Now()
	if now.Sub(q.swept) < time.Hour {
		return
	}
	q.swept = now
	for name, p := range q.pools {
		if !p.until.IsZero() && now.After(p.until) {
			delete(q.pools, name)
		}
	}
}
