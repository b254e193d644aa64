package transport

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// GuardConfig sets the limits of a Guard. Zero values mean the defaults given.
type GuardConfig struct {
	Rate  float64 // messages a second from one source; 0 sets no limit
	Burst float64 // messages at once, default twice the rate
	Slots int     // sources whose rate is remembered, default 65,536; the one silent for longest makes room

	Failures int           // failed authentications of one source within Window that ban it, default 10; negative never bans
	Window   time.Duration // default 1 min
	BanFor   time.Duration // default 5 min
	MaxBans  int           // bans remembered, default 4,096; the one that ends first makes room

	LimitLoopback bool // loopback sources are exempt from the rate, not from bans, unless this is set

	OnBan func(b Ban)      // told of every new ban on the goroutine that caused it; must not block
	Now   func() time.Time // nil is time.Now
}

// A Ban keeps a source out. Source is one IPv4 address or one IPv6 /64, which is what one customer has.
type Ban struct {
	Source netip.Prefix
	Since  time.Time
	Until  time.Time
	Reason string
}

// GuardStats are counters since the start, and gauges of now.
type GuardStats struct {
	Limited  uint64 // messages over the rate
	Refused  uint64 // messages and connections of banned sources
	Failures uint64 // failed authentications
	Banned   uint64 // bans begun
	Evicted  uint64 // sources or bans forgotten to make room
	Bans     int    // bans in force
}

// A Guard decides by source what is let in, before anything is queued or kept. Its memory is fixed: unauthenticated packets,
// whose source may be a lie, can only push each other out of the rate table, never out of the tables of failures and bans.
// All methods may be called from any goroutine.
type Guard struct {
	cfg      GuardConfig
	seed     maphash.Seed
	limits   atomic.Pointer[GuardLimits]
	rates    slotTable
	failures slotTable

	bansInForce atomic.Int64
	bansMu      sync.RWMutex
	bans        map[netip.Prefix]Ban

	limited, refused, failed, banned, evicted atomic.Uint64
}

// NewGuard makes a Guard. Unusable numbers are replaced by defaults.
func NewGuard(cfg GuardConfig) *Guard {
	orDefault(&cfg.Slots, 65_536)
	orDefault(&cfg.MaxBans, 4096)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	g := &Guard{cfg: cfg, seed: maphash.MakeSeed(), bans: make(map[netip.Prefix]Ban)}
	g.SetLimits(GuardLimits{cfg.Rate, cfg.Burst, cfg.Failures, cfg.Window, cfg.BanFor})
	if cfg.Rate > 0 {
		g.rates.init(cfg.Slots)
	}
	g.failures.init(max(cfg.Slots/16, ways))
	return g
}

// GuardLimits are the limits of a Guard that can be exchanged while it runs; they mean what they mean in GuardConfig.
type GuardLimits struct {
	Rate, Burst float64
	Failures    int
	Window      time.Duration
	BanFor      time.Duration
}

// SetLimits exchanges the limits. Bans in force and what was counted stay. A Guard made without a Rate has no table for it and stays
// without.
func (g *Guard) SetLimits(l GuardLimits) {
	if l.Burst < 1 {
		l.Burst = max(2*l.Rate, 1)
	}
	orDefault(&l.Failures, 10)
	orDefault(&l.Window, time.Minute)
	orDefault(&l.BanFor, 5*time.Minute)
	if g.cfg.Rate <= 0 {
		l.Rate = 0
	}
	g.limits.Store(&l)
}

// sourceOf is what counts as one source.
func sourceOf(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return netip.PrefixFrom(ip, 32)
	}
	p, _ := ip.Prefix(64)
	return p
}

// Allow tells whether a message from ip may come in now.
func (g *Guard) Allow(ip netip.Addr) bool { return g.AllowAt(ip, g.cfg.Now()) }

// AllowAt is Allow for callers that know the time.
func (g *Guard) AllowAt(ip netip.Addr, now time.Time) bool {
	if g.Banned(ip, now) {
		g.refused.Add(1)
		return false
	}
	lim := g.limits.Load()
	if lim.Rate <= 0 || !g.cfg.LimitLoopback && ip.Unmap().IsLoopback() {
		return true
	}
	if !g.takeToken(lim, sourceOf(ip), now.UnixNano()) {
		g.limited.Add(1)
		return false
	}
	return true
}

func (g *Guard) takeToken(lim *GuardLimits, src netip.Prefix, now int64) bool {
	s, b := g.rates.lock(g.hash(src), now, &g.evicted)
	defer b.Unlock()
	if s.since == 0 {
		s.since, s.level = now, lim.Burst
	}
	if now > s.since {
		s.level = min(s.level+float64(now-s.since)*lim.Rate/1e9, lim.Burst)
		s.since = now
	}
	if s.level < 1 {
		return false
	}
	s.level--
	return true
}

// Failed counts a failed authentication and tells whether it got the source banned.
func (g *Guard) Failed(ip netip.Addr) (banned bool) {
	g.failed.Add(1)
	lim := g.limits.Load()
	if lim.Failures < 0 {
		return false
	}
	src, now := sourceOf(ip), g.cfg.Now()
	s, b := g.failures.lock(g.hash(src), now.UnixNano(), &g.evicted)
	if s.since == 0 || now.UnixNano()-s.since >= int64(lim.Window) {
		s.since, s.level = now.UnixNano(), 0
	}
	s.level++
	banned = s.level >= float64(lim.Failures)
	if banned {
		s.since, s.level = 0, 0
	}
	b.Unlock()
	if banned {
		g.ban(src, now, lim.BanFor, "too many failed authentications")
	}
	return banned
}

// Ban keeps a source out for d.
func (g *Guard) Ban(ip netip.Addr, d time.Duration, reason string) {
	g.ban(sourceOf(ip), g.cfg.Now(), d, reason)
}

func (g *Guard) ban(src netip.Prefix, now time.Time, d time.Duration, reason string) {
	b := Ban{Source: src, Since: now, Until: now.Add(d), Reason: reason}
	g.bansMu.Lock()
	if _, known := g.bans[src]; !known && len(g.bans) >= g.cfg.MaxBans {
		g.forgetOne(now)
	}
	g.bans[src] = b
	g.bansInForce.Store(int64(len(g.bans)))
	g.bansMu.Unlock()
	g.banned.Add(1)
	if g.cfg.OnBan != nil {
		g.cfg.OnBan(b)
	}
}

// forgetOne removes the bans that are over, or else the one that ends first.
func (g *Guard) forgetOne(now time.Time) {
	var first Ban
	for src, b := range g.bans {
		if !now.Before(b.Until) {
			delete(g.bans, src)
		} else if first.Until.IsZero() || b.Until.Before(first.Until) {
			first = b
		}
	}
	if len(g.bans) >= g.cfg.MaxBans {
		delete(g.bans, first.Source)
		g.evicted.Add(1)
	}
}

// Unban lets a source in again and tells whether it was banned.
func (g *Guard) Unban(ip netip.Addr) bool {
	src := sourceOf(ip)
	g.bansMu.Lock()
	defer g.bansMu.Unlock()
	b, ok := g.bans[src]
	delete(g.bans, src)
	g.bansInForce.Store(int64(len(g.bans)))
	return ok && g.cfg.Now().Before(b.Until)
}

// Banned tells whether a source is banned at an instant.
func (g *Guard) Banned(ip netip.Addr, now time.Time) bool {
	return g.bansInForce.Load() > 0 && g.isBanned(sourceOf(ip), now)
}

// Bans are the bans in force, the one that ends first at the head.
func (g *Guard) Bans() []Ban {
	now := g.cfg.Now()
	g.bansMu.RLock()
	list := make([]Ban, 0, len(g.bans))
	for _, b := range g.bans {
		if now.Before(b.Until) {
			list = append(list, b)
		}
	}
	g.bansMu.RUnlock()
	slices.SortFunc(list, func(a, b Ban) int {
		if c := a.Until.Compare(b.Until); c != 0 {
			return c
		}
		return a.Source.Addr().Compare(b.Source.Addr())
	})
	return list
}

func (g *Guard) isBanned(src netip.Prefix, now time.Time) bool {
	g.bansMu.RLock()
	b, ok := g.bans[src]
	g.bansMu.RUnlock()
	if !ok {
		return false
	}
	if now.Before(b.Until) {
		return true
	}
	g.bansMu.Lock()
	if b, ok := g.bans[src]; ok && !now.Before(b.Until) {
		delete(g.bans, src)
		g.bansInForce.Store(int64(len(g.bans)))
	}
	g.bansMu.Unlock()
	return false
}

// Stats of the guard.
func (g *Guard) Stats() GuardStats {
	return GuardStats{
		Limited: g.limited.Load(), Refused: g.refused.Load(), Failures: g.failed.Load(), Banned: g.banned.Load(),
		Evicted: g.evicted.Load(), Bans: len(g.Bans()),
	}
}

func (g *Guard) hash(src netip.Prefix) uint64 {
	b := src.Addr().As16()
	return maphash.Bytes(g.seed, b[:])
}

const (
	ways  = 8 // slots one source may be in
	locks = 256
)

// A slotTable is a fixed number of slots, found by a keyed hash: nobody can choose sources that fall into one row.
type slotTable struct {
	mask  uint64
	rows  []slotRow
	locks [locks]sync.Mutex
}

type slotRow [ways]slot

// A slot remembers one source by its hash.
type slot struct {
	key   uint64
	seen  int64 // unix nanoseconds; 0 is an empty slot
	since int64 // tokens: last refill; failures: first of the window; 0 is new
	level float64
}

func (t *slotTable) init(slots int) {
	rows := 1
	for rows*ways < slots {
		rows *= 2
	}
	t.rows, t.mask = make([]slotRow, rows), uint64(rows-1)
}

// lock finds or makes the slot of a key. The caller unlocks.
func (t *slotTable) lock(key uint64, now int64, evicted *atomic.Uint64) (*slot, *sync.Mutex) {
	row := key & t.mask
	mu := &t.locks[row%locks]
	mu.Lock()
	oldest := &t.rows[row][0]
	for i := range t.rows[row] {
		s := &t.rows[row][i]
		if s.key == key && s.seen != 0 {
			s.seen = now
			return s, mu
		}
		if s.seen < oldest.seen {
			oldest = s
		}
	}
	if oldest.seen != 0 {
		evicted.Add(1)
	}
	*oldest = slot{key: key, seen: now}
	return oldest, mu
}
