package rtpengine

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// rooms are those of an engine, spread over its mixers.
type rooms struct {
	limit  int
	mixers []*mixer

	mu   sync.Mutex
	open int

	opened, refused, full, lost atomic.Uint64
}

func newRooms(c *Config, e *Engine) *rooms {
	r := &rooms{limit: c.MaxRooms}
	for range max(1, runtime.GOMAXPROCS(0)/2) {
		r.mixers = append(r.mixers, &mixer{engine: e, beat: make(chan struct{}, 1)})
	}
	return r
}

// add gives a room to the mixer that has the fewest.
func (r *rooms) add(room *Room) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open >= r.limit {
		r.refused.Add(1)
		return ErrRooms
	}
	r.open++
	r.opened.Add(1)
	room.mixer = r.mixers[0]
	for _, m := range r.mixers[1:] {
		if m.count() < room.mixer.count() {
			room.mixer = m
		}
	}
	room.mixer.add(room)
	return nil
}

func (r *rooms) remove(room *Room) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open--
	room.mixer.remove(room)
}

// mixer is a worker with a clock of its own: every 20 ms it has each of its rooms make the next sound, and then the shards send it.
type mixer struct {
	engine *Engine
	beat   chan struct{} // wakes it with its first room; buffered by one

	mu    sync.Mutex
	rooms []*Room

	turn    []*Room // of this tick; the worker's
	ticks   atomic.Uint64
	skipped atomic.Uint64
	busy    atomic.Int64 // ns
}

func (m *mixer) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.rooms)
}

func (m *mixer) add(r *Room) {
	m.mu.Lock()
	m.rooms = append(m.rooms, r)
	m.mu.Unlock()
	select {
	case m.beat <- struct{}{}:
	default:
	}
}

func (m *mixer) remove(r *Room) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.Index(m.rooms, r); i >= 0 {
		m.rooms = slices.Delete(m.rooms, i, i+1)
	}
}

// run mixes until ctx ends.
func (m *mixer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.beat:
			m.runWhileOpen(ctx)
		}
	}
}

func (m *mixer) runWhileOpen(ctx context.Context) {
	ticker := time.NewTicker(frameTime)
	defer ticker.Stop()
	began, given := m.engine.now(), int64(0)
	for m.count() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		due := (m.engine.now() - began) / int64(frameTime)
		if due > given {
			m.tick(int(due - given))
			given = due
		}
	}
}

// tick makes up for packet times that were missed: the last few are given late, and those before them are silent.
func (m *mixer) tick(n int) {
	at := m.engine.now()
	skipped := max(0, n-catchUp)
	m.mu.Lock()
	m.turn = append(m.turn[:0], m.rooms...)
	m.mu.Unlock()
	for i := range n - skipped {
		before := 0
		if i == 0 {
			before = skipped
		}
		for _, r := range m.turn {
			r.tick(before)
		}
	}
	clear(m.turn)
	for _, s := range m.engine.shards {
		if s.gauges.inRooms.Load() > 0 {
			s.order((*shard).deliver)
		}
	}
	m.ticks.Add(uint64(n - skipped))
	m.skipped.Add(uint64(skipped))
	m.busy.Add(m.engine.now() - at)
}

// MixerStats are those of all rooms.
type MixerStats struct {
	Rooms, MaxRooms int
	Members         int
	Opened          uint64
	Refused         uint64        // rooms over Config.MaxRooms
	Full            uint64        // members over RoomConfig.MaxMembers
	Ticks           uint64        // packet times mixed, by all workers
	Skipped         uint64        // packet times left out because a worker was late
	Busy            time.Duration // time that all workers have spent mixing
	Lost            uint64        // packets and frames that found no room between mixer and shard, of members that have left
}

func (r *rooms) stats(shards []*shard) MixerStats {
	st := MixerStats{MaxRooms: r.limit, Opened: r.opened.Load(), Refused: r.refused.Load(), Full: r.full.Load(), Lost: r.lost.Load()}
	for _, m := range r.mixers {
		st.Rooms += m.count()
		st.Ticks += m.ticks.Load()
		st.Skipped += m.skipped.Load()
		st.Busy += time.Duration(m.busy.Load())
	}
	for _, s := range shards {
		st.Members += int(s.gauges.inRooms.Load())
	}
	return st
}
