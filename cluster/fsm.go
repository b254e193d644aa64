package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// entryOverhead is about what the log store spends on an entry besides its data.
const entryOverhead = 64

// fsm is the one state machine that Raft sees; it deals the items out to the named machines. Raft calls Apply,
// Snapshot and Restore from one goroutine; capture and the counters are for any.
type fsm struct {
	mu sync.Mutex // one at a time reaches the machines

	machines map[string]Machine
	names    []string // sorted: snapshots of equal states are equal bytes
	origins  *origins
	node     string                    // this one
	own      *outbox                   // of this node; nil in tests of the fsm alone
	omits    func(machine string) bool // in snapshots, that nodes with an older program must be able to read; nil: none

	items    atomic.Uint64
	skipped  atomic.Uint64
	twice    atomic.Uint64 // items that stood in the log again
	clock    atomic.Int64  // Unix ms, the leader's, of the newest entry
	bytes    atomic.Int64  // of log applied since the start; only grows
	entries  atomic.Int64
	live     atomic.Bool  // the node serves: a failed restore must stop it
	stop     atomic.Bool  // a snapshot under way gives up
	pause    atomic.Int64 // time.Duration: the longest for which Apply has waited for Snapshot
	again    atomic.Bool  // the log is opened behind a Pause: the snapshot in it is older than what the machines have
	applied  atomic.Uint64
	done     atomic.Uint64 // what was applied before the last Pause
	failed   atomic.Pointer[error]
	outdated atomic.Pointer[error]              // the program is too old for the log: the node stops
	halt     atomic.Pointer[context.CancelFunc] // stops the node that serves
	written  atomic.Pointer[fsmSnapshot]        // the newest one that reached the sink
	last     atomic.Pointer[fsmSnapshot]        // the newest one that Raft has accepted
}

func newFSM(machines map[string]Machine) *fsm {
	f := &fsm{machines: maps.Clone(machines), origins: newOrigins()}
	f.machines[originsMachine] = f.origins
	f.names = slices.Sorted(maps.Keys(f.machines))
	return f
}

// Apply executes one entry, each item once however often it stands in the log, and tells the outbox what became of the items of this node. It
// panics, and so stops the node, when the entry cannot be understood: a node that skips what others execute holds another truth from then on.
func (f *fsm) Apply(l *raft.Log) any {
	if done := f.done.Load(); done > 0 && l.Index <= done { // of before a Pause
		return nil
	}
	if f.outdated.Load() != nil {
		return nil // the node is stopping, and must not go on behind what it could not apply
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.outgrown(l.Index)
	e, err := decodeEntry(l.Data)
	if err != nil {
		panic(fmt.Sprintf("cluster: log index %d: %v; this node stops so that its state cannot differ from the others': upgrade it", l.Index, err))
	}
	for _, it := range e.items {
		f.once(l.Index, it)
	}
	f.clock.Store(e.time)
	f.applied.Store(l.Index)
	f.items.Add(uint64(len(e.items)))
	f.bytes.Add(int64(len(l.Data)) + entryOverhead)
	f.entries.Add(1)
	return nil
}

// outgrown is deferred: a program that is told to be too old for the log stops in order.
func (f *fsm) outgrown(index uint64) {
	p := recover()
	old, ok := p.(*tooOld)
	switch {
	case ok:
		f.fail(fmt.Errorf("log index %d: %w", index, old))
	case p != nil:
		panic(p)
	}
}

// fail stops the node. Nothing is applied any more, and no snapshot written.
func (f *fsm) fail(err error) {
	f.outdated.Store(&err)
	if stop := f.halt.Load(); stop != nil {
		(*stop)()
	}
}

func (f *fsm) once(index uint64, it entryItem) {
	if it.origin == "" {
		f.apply(index, it)
		return
	}
	first, known := f.origins.first(it.origin, it.incarnation, it.seq)
	var result any
	if first {
		result = f.apply(index, it)
	} else {
		f.twice.Add(1)
	}
	if it.origin == f.node && f.own != nil {
		f.own.applied(it.incarnation, it.seq, result, !first, known)
	}
}

func (f *fsm) apply(index uint64, it entryItem) any {
	m, ok := f.machines[it.machine]
	if !ok {
		if it.optional {
			f.skipped.Add(1)
			return nil
		}
		panic(fmt.Sprintf("cluster: log index %d is for machine %q, which this program does not have; this node stops so that its state cannot differ from the others': upgrade it", index, it.machine))
	}
	finished := false
	defer func() {
		if !finished {
			p := recover()
			if old, ok := p.(*tooOld); ok {
				panic(old)
			}
			panic(fmt.Sprintf("cluster: machine %q cannot apply log index %d: %v; this node stops so that its state cannot differ from the others'", it.machine, index, p))
		}
	}()
	result := m.Apply(it.cmd)
	finished = true
	return result
}

// Snapshot asks every machine for its writer; Apply waits meanwhile, so machines must be quick here.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.outdated.Load(); err != nil {
		return nil, *err
	}
	sections, _, err := f.capture(func(machine string) bool { return f.omits == nil || !f.omits(machine) })
	if err != nil {
		return nil, err
	}
	return &fsmSnapshot{fsm: f, bytes: f.bytes.Load(), entries: f.entries.Load(), sections: sections}, nil
}

// capture asks the machines that are wanted for their writers, all at the same place in the log, and says at which.
func (f *fsm) capture(wanted func(machine string) bool) (sections []section, index uint64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	sections, err = f.sections(wanted)
	return sections, f.applied.Load(), err
}

// sections is capture for those who hold mu: a machine that is applying.
func (f *fsm) sections(wanted func(machine string) bool) (sections []section, err error) {
	began := time.Now()
	for _, name := range f.names {
		if !wanted(name) {
			continue
		}
		write, err := f.machines[name].Snapshot()
		if err != nil {
			return nil, fmt.Errorf("machine %q: %w", name, err)
		}
		sections = append(sections, section{name, write})
	}
	f.pause.Store(max(f.pause.Load(), int64(time.Since(began))))
	return sections, nil
}

// Restore replaces the state of all machines named in the stream. A machine that the stream does not name is
// newer than the snapshot, so nothing was applied to it before that index.
func (f *fsm) Restore(source io.ReadCloser) error {
	defer source.Close()
	if f.again.Load() {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	err := readSections(source, func(name string, r io.Reader) error {
		m, ok := f.machines[name]
		if !ok {
			return fmt.Errorf("the snapshot holds machine %q, which this program does not have: upgrade it", name)
		}
		return m.Restore(r)
	})
	if err == nil {
		if f.own != nil {
			o := f.origins.of(f.node)
			f.own.restored(o.Incarnation, o.Seq)
		}
		f.last.Store(&fsmSnapshot{fsm: f, bytes: f.bytes.Load(), entries: f.entries.Load()})
		return nil
	}
	if errors.Is(err, ErrTooOld) && f.live.Load() {
		f.fail(err)
		return err
	}
	if f.live.Load() {
		panic(fmt.Sprintf("cluster: the leader's snapshot cannot be restored: %v; this node stops because its state is half replaced", err))
	}
	f.failed.Store(&err)
	return err
}

// sinceSnapshot is the log that a start would have to replay now.
func (f *fsm) sinceSnapshot() (bytes, entries int64) {
	bytes, entries = f.bytes.Load(), f.entries.Load()
	if last := f.last.Load(); last != nil {
		bytes, entries = bytes-last.bytes, entries-last.entries
	}
	return bytes, entries
}

// restoreError is the reason why a snapshot was refused; Raft itself only says that none could be loaded.
func (f *fsm) restoreError() error {
	if p := f.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// fsmSnapshot writes the sections into Raft's sink, in Raft's snapshot goroutine.
type fsmSnapshot struct {
	fsm      *fsm
	sections []section
	bytes    int64 // fsm.bytes and fsm.entries when it was taken
	entries  int64
	size     int64 // in bytes
	time     time.Time
	took     time.Duration
}

func (s *fsmSnapshot) Persist(sink raft.SnapshotSink) error {
	n, err := writeSections(&stoppable{sink, &s.fsm.stop}, s.sections)
	if err != nil {
		return err
	}
	s.size = n
	s.fsm.written.Store(s)
	return nil
}

func (s *fsmSnapshot) Release() { s.sections = nil }

// stoppable makes a long write end when the node stops.
type stoppable struct {
	w    io.Writer
	stop *atomic.Bool
}

func (s *stoppable) Write(p []byte) (int, error) {
	if s.stop.Load() {
		return 0, ErrClosed
	}
	return s.w.Write(p)
}
