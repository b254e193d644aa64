package dialplan

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// AnyVersion as the expected version of a command means: whatever the current one is.
const AnyVersion = -1

const (
	keptVersions = 100      // versions in the history
	keptBytes    = 64 << 20 // their text altogether; the current version is always kept
)

// Config sets up a Store.
type Config struct {
	Log *slog.Logger // nil = silent
}

// Store keeps the versions of the dialplan. It is a machine of the replicated log: Apply, Snapshot and Restore are called
// by one goroutine, the log's; everything else may be called from any goroutine.
type Store struct {
	log     *slog.Logger
	current atomic.Pointer[active]

	mu      sync.RWMutex
	history []*stored // oldest first
	hooks   []func(*Plan, Version)

	applied, refused, conflicts, unchanged atomic.Uint64
}

// active is what is in force, switched as one.
type active struct {
	plan    *Plan
	version Version
}

// Version is one applied state of the dialplan.
type Version struct {
	Number  uint64    `json:"number"` // from 1, without gaps; 0 = there is no plan
	Hash    string    `json:"hash"`
	Author  string    `json:"author"`
	Note    string    `json:"note"`
	Time    time.Time `json:"time"`
	Bytes   int       `json:"bytes"`
	Sources []Source  `json:"sources,omitempty"` // nil in History; read only
}

// stored is a version with the identity of the command that made it.
type stored struct {
	Version
	command [32]byte
}

// Result is what Apply says about a command.
type Result struct {
	Version     Version      `json:"version"`             // the one in force afterwards, without sources
	Unchanged   bool         `json:"unchanged,omitempty"` // this text was already in force, or this very command already applied
	Diagnostics []Diagnostic `json:"diagnostics,omitempty"`
	Err         error        `json:"-"` // nil, *RefusedError or *ConflictError
}

// RefusedError: the plan has mistakes, nothing was changed.
type RefusedError struct{ Diagnostics []Diagnostic }

func (e *RefusedError) Error() string {
	for _, d := range e.Diagnostics {
		if d.Severity == Error {
			return "the dialplan has mistakes: " + d.Error()
		}
	}
	return "the dialplan has mistakes"
}

// ConflictError: somebody else was faster, nothing was changed.
type ConflictError struct {
	Expected int64   // the version the author began with; 0 = none
	Current  Version // the version in force, without sources
}

func (e *ConflictError) Error() string {
	if e.Current.Number == 0 {
		return fmt.Sprintf("version %d was expected, but there is no dialplan yet", e.Expected)
	}
	began := fmt.Sprintf("your change is based on version %d", e.Expected)
	if e.Expected == 0 {
		began = "you expected that there is no dialplan yet"
	}
	by, note := "", ""
	if e.Current.Author != "" {
		by = " by " + e.Current.Author
	}
	if e.Current.Note != "" {
		note = fmt.Sprintf(" (%q)", e.Current.Note)
	}
	return fmt.Sprintf("%s, but version %d was applied%s at %s%s: look at the difference and apply again",
		began, e.Current.Number, by, e.Current.Time.UTC().Format("2006-01-02 15:04:05 MST"), note)
}

// ErrNoVersion is returned for a version that never was or is no longer kept.
var ErrNoVersion = errors.New("there is no such version of the dialplan")

// New makes an empty store.
func New(c Config) (*Store, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{log: c.Log}
	s.current.Store(&active{})
	return s, nil
}

// Current is the plan in force and its version (without sources); nil and version 0 before the first one. A nil *Plan may
// be used like an empty one.
func (s *Store) Current() (*Plan, Version) {
	a := s.current.Load()
	return a.plan, a.version
}

// Plan is Current without the version, for the path of a call.
func (s *Store) Plan() *Plan { return s.current.Load().plan }

// History lists the kept versions without their sources, the newest first.
func (s *Store) History() []Version {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]Version, 0, len(s.history))
	for i := len(s.history) - 1; i >= 0; i-- {
		all = append(all, s.history[i].bare())
	}
	return all
}

// Show gives a version with its sources; number 0 is the current one.
func (s *Store) Show(number uint64) (Version, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if number == 0 && len(s.history) > 0 {
		return s.history[len(s.history)-1].Version, nil
	}
	for _, v := range s.history {
		if v.Number == number {
			return v.Version, nil
		}
	}
	return Version{}, fmt.Errorf("version %d: %w", number, ErrNoVersion)
}

// OnChange calls hook after each switch with the new plan (nil when an empty state was restored), from the log's
// goroutine: it must not block. When there is a plan already, hook is called with it at once. Call OnChange before the
// log runs, else the two may overlap.
func (s *Store) OnChange(hook func(*Plan, Version)) {
	s.mu.Lock()
	s.hooks = append(s.hooks, hook)
	a := s.current.Load()
	s.mu.Unlock()
	if a.plan != nil {
		hook(a.plan, a.version)
	}
}

// Apply carries out a command and returns a *Result. It compiles the plan again on every node, so that what is in force
// was checked here. A command that cannot be decoded means that this program is too old for the log: it panics.
func (s *Store) Apply(cmd []byte) any {
	c, err := decodeCommand(cmd)
	if err != nil {
		panic(fmt.Sprintf("dialplan: cannot go on: %v", err))
	}
	return s.apply(c)
}

func (s *Store) apply(c command) *Result {
	was := s.newest()
	r := &Result{Version: was.bare()}
	switch {
	case s.knows(c.id):
		r.Unchanged = true // proposed twice because the first outcome was unknown
		s.unchanged.Add(1)
		return r
	case c.ifVersion != AnyVersion && c.ifVersion != int64(was.Number):
		r.Err = &ConflictError{Expected: c.ifVersion, Current: was.bare()}
		s.conflicts.Add(1)
		return r
	}
	plan, diags := Compile(c.sources)
	r.Diagnostics = diags
	if plan == nil {
		r.Err = &RefusedError{diags}
		s.refused.Add(1)
		return r
	}
	if plan.Hash() == was.Hash {
		r.Unchanged = true
		s.unchanged.Add(1)
		return r
	}
	v := &stored{command: c.id, Version: Version{
		Number: was.Number + 1, Hash: plan.Hash(), Author: c.author, Note: c.note, Time: c.time, Sources: c.sources, Bytes: size(c.sources),
	}}
	r.Version = v.bare()
	s.applied.Add(1)
	s.log.Info("dialplan applied", "version", v.Number, "author", v.Author, "note", v.Note, "hash", v.Hash[:12])
	s.switchTo(plan, v, false)
	return r
}

// knows reports whether this very command made one of the kept versions.
func (s *Store) knows(command [32]byte) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, v := range s.history {
		if v.command == command {
			return true
		}
	}
	return false
}

func (s *Store) newest() *stored {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.history) == 0 {
		return &stored{}
	}
	return s.history[len(s.history)-1]
}

// switchTo puts a plan in force and tells the hooks. restored: the history is already in place.
func (s *Store) switchTo(plan *Plan, v *stored, restored bool) {
	s.mu.Lock()
	if !restored {
		s.history = bounded(append(s.history[:len(s.history):len(s.history)], v))
	}
	s.current.Store(&active{plan, v.bare()})
	hooks := s.hooks
	s.mu.Unlock()
	for _, hook := range hooks {
		hook(plan, v.bare())
	}
}

// bounded forgets the oldest versions.
func bounded(history []*stored) []*stored {
	first, bytes := len(history), 0
	for first > 0 && len(history)-first < keptVersions {
		bytes += history[first-1].Bytes
		if bytes > keptBytes && first < len(history) {
			break
		}
		first--
	}
	return append([]*stored(nil), history[first:]...)
}

func (v *stored) bare() Version {
	bare := v.Version
	bare.Sources = nil
	return bare
}

func size(sources []Source) (n int) {
	for _, s := range sources {
		n += len(s.Text)
	}
	return n
}

// Snapshot freezes the state and returns the function that writes it, which may run beside further Applies.
func (s *Store) Snapshot() (func(io.Writer) error, error) {
	s.mu.RLock()
	history := s.history // never written in place
	s.mu.RUnlock()
	return func(w io.Writer) error { return writeSnapshot(w, history) }, nil
}

// Restore replaces the state by a snapshot. On an error nothing is changed.
func (s *Store) Restore(r io.Reader) error {
	history, err := readSnapshot(r)
	if err != nil {
		return fmt.Errorf("restore dialplan: %w", err)
	}
	if len(history) == 0 {
		s.mu.Lock()
		s.history = nil
		s.mu.Unlock()
		s.switchTo(nil, &stored{}, true)
		return nil
	}
	newest := history[len(history)-1]
	plan, diags := Compile(newest.Sources)
	if plan == nil {
		return fmt.Errorf("restore dialplan version %d: %w", newest.Number, &RefusedError{diags})
	}
	s.mu.Lock()
	s.history = history
	s.mu.Unlock()
	s.switchTo(plan, newest, true)
	return nil
}

// Stats counts what happened since the start.
type Stats struct {
	Applied, Refused, Conflicts, Unchanged uint64 // commands, by outcome
	Version                                uint64 // in force
	Versions                               int    // kept
	Tenants, Nodes                         int    // of the plan in force
	Warnings                               int    // of the plan in force
}

// Stats may be called from any goroutine.
func (s *Store) Stats() Stats {
	plan, v := s.Current()
	st := Stats{
		Applied: s.applied.Load(), Refused: s.refused.Load(), Conflicts: s.conflicts.Load(), Unchanged: s.unchanged.Load(),
		Version: v.Number,
	}
	if plan != nil {
		st.Tenants, st.Warnings = len(plan.tenants), plan.warnings
		for i := range plan.tenants {
			st.Nodes += plan.tenants[i].public.Nodes
		}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	st.Versions = len(s.history)
	return st
}
