package events

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Config says where events go. The zero value is a log in memory.
type Config struct {
	// Dir receives cdr.jsonl and its older generations; "" writes no file.
	Dir string
	// Node is put into events that name none.
	Node string
	// Ring is how many events Recent can reach back (default 8192).
	Ring int
	// CDRs is how many finished calls CDRs can reach back (default 4096).
	CDRs int
	// MaxOpen bounds the calls that have begun and not ended (default 65,536). When it is reached the oldest is
	// closed with result "unfinished".
	MaxOpen int
	// MaxAge closes a call that never ends with result "unfinished" (default 24 h).
	MaxAge time.Duration
	// MaxPending bounds the records that wait for the disk (default 65,536); the oldest are dropped, counted.
	MaxPending int
	// RotateBytes ends a file (default 64 MiB); Keep older ones stay (default 4).
	RotateBytes int64
	Keep        int
	// Log gets a line when the disk refuses records and when it takes them again; nil discards.
	Log *slog.Logger
}

// Log is the event log. All methods may be called from any goroutine, also before and after Run.
type Log struct {
	cfg     Config
	file    *cdrFile // nil without Dir
	running atomic.Bool

	mu      sync.Mutex
	seq     uint64
	ring    []Event // event seq stands at (seq-1) % len
	next    int     // seq % len: where the next one goes
	subs    []*subscriber
	fold    fold
	cdrs    cdrRing
	pending []*call // for the file, oldest first
	stats   Stats
}

// RaiseMaxOpen raises Config.MaxOpen while the log runs. It is never lowered: calls that are open would lose their records. Any
// goroutine.
func (l *Log) RaiseMaxOpen(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cfg.MaxOpen = max(n, l.cfg.MaxOpen)
}

// Stats counts since the start of the process; the lower fields are levels.
type Stats struct {
	Published   uint64 `json:"published"`
	Overwritten uint64 `json:"overwritten"`  // events that have left the ring
	Missed      uint64 `json:"missed"`       // events lost by slow subscribers
	CDRs        uint64 `json:"cdrs"`         // records made
	Evicted     uint64 `json:"evicted"`      // calls closed as unfinished because too many were open
	Expired     uint64 `json:"expired"`      // calls closed as unfinished because of their age
	Unmatched   uint64 `json:"unmatched"`    // call.* events of a call that is not open
	Dropped     uint64 `json:"dropped"`      // records never written: too many waited for the disk
	Written     uint64 `json:"written"`      // records written
	WriteErrors uint64 `json:"write_errors"` // failed writes, rotations included; the records were kept
	Rotations   uint64 `json:"rotations"`

	OpenCalls   int   `json:"open_calls"`
	Pending     int   `json:"pending"` // records that wait for the disk
	Subscribers int   `json:"subscribers"`
	FileBytes   int64 `json:"file_bytes"`
}

// New checks the configuration and, when there is a directory, reads back the newest records. It starts nothing.
func New(cfg Config) (*Log, error) {
	if cfg.Ring < 0 || cfg.CDRs < 0 || cfg.MaxOpen < 0 || cfg.MaxPending < 0 || cfg.Keep < 0 || cfg.RotateBytes < 0 || cfg.MaxAge < 0 {
		return nil, errors.New("events: limits must not be negative")
	}
	cfg.setDefaults()
	l := &Log{cfg: cfg, ring: make([]Event, cfg.Ring)}
	l.fold.calls = make(map[string]*call)
	l.cdrs.slots = make([]*call, 0, min(cfg.CDRs, 64))
	l.cdrs.max = cfg.CDRs
	if cfg.Dir == "" {
		return l, nil
	}
	file, old, err := openCDRFile(cfg)
	if err != nil {
		return nil, err
	}
	l.file = file
	for _, r := range old {
		l.cdrs.add(&call{cdr: r, kept: true})
	}
	return l, nil
}

func (c *Config) setDefaults() {
	defaultTo(&c.Ring, 8192)
	defaultTo(&c.CDRs, 4096)
	defaultTo(&c.MaxOpen, 1<<16)
	defaultTo(&c.MaxAge, 24*time.Hour)
	defaultTo(&c.MaxPending, 1<<16)
	defaultTo(&c.RotateBytes, 64<<20)
	defaultTo(&c.Keep, 4)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

func defaultTo[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Publish records one event. It never blocks on a reader or a disk.
func (l *Log) Publish(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if e.Node == "" {
		e.Node = l.cfg.Node
	}
	l.mu.Lock()
	l.seq++
	e.Seq = l.seq
	l.ring[l.next] = e
	for _, s := range l.subs {
		s.offer(&l.ring[l.next])
	}
	if l.next++; l.next == len(l.ring) {
		l.next = 0
	}
	if len(e.Kind) > 5 && e.Kind[:5] == "call." || e.Kind == RecordingStarted || e.Kind == AppAnswered || e.Kind == AppFailed {
		l.foldCall(&e)
	}
	l.mu.Unlock()
}

// Recent returns the newest events for which match says yes (nil: all), at most max of them, oldest first. match
// runs without a lock and may be slow.
func (l *Log) Recent(max int, match func(Event) bool) []Event {
	var found []Event
	var chunk [256]Event
	for next := uint64(0); len(found) < max; {
		n := l.copyBack(chunk[:], &next)
		if n == 0 {
			break
		}
		for i := 0; i < n && len(found) < max; i++ {
			if match == nil || match(chunk[i]) {
				found = append(found, chunk[i])
			}
		}
	}
	reverse(found)
	return found
}

// copyBack copies events into chunk, newest first, beginning below *next (0: at the newest), and moves *next. It
// returns 0 when the ring holds nothing older.
func (l *Log) copyBack(chunk []Event, next *uint64) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	seq := l.seq
	if *next > 0 {
		seq = *next - 1
	}
	n := 0
	for n < len(chunk) && seq > 0 && seq+uint64(len(l.ring)) > l.seq {
		chunk[n] = l.ring[(seq-1)%uint64(len(l.ring))]
		n++
		*next = seq
		seq--
	}
	return n
}

func reverse[T any](s []T) {
	for i, j := 0, len(s)-1; i < j; i, j = i+1, j-1 {
		s[i], s[j] = s[j], s[i]
	}
}

// Stats returns counters and levels.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Published = l.seq
	if n := uint64(len(l.ring)); l.seq > n {
		s.Overwritten = l.seq - n
	}
	s.OpenCalls, s.Pending, s.Subscribers = len(l.fold.calls), len(l.pending), len(l.subs)
	return s
}

// Run writes finished records once a second and closes calls that never end, until ctx ends; then it ends all
// subscriptions, closes the calls that are still open as unfinished, writes what is left and returns. Stop it last:
// what other parts say while they stop belongs into the records. Publish may
// still be called afterwards, but nothing is written any more.
func (l *Log) Run(ctx context.Context) error {
	if !l.running.CompareAndSwap(false, true) {
		return errors.New("events: Run was called twice")
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			l.expire(now)
			l.flush()
		case <-ctx.Done():
			l.endSubscriptions()
			l.abandonAll(time.Now())
			l.flush()
			return l.closeFile()
		}
	}
}
