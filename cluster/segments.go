package cluster

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/raft"
)

const (
	// segmentBytes is the size at which a segment is full: the front of the log goes by whole files.
	segmentBytes = 8 << 20
	segmentExt   = ".log"
	// keptBuffer is the largest buffer that is kept for the next batch.
	keptBuffer = 1 << 20
)

// segments is Raft's log in files that are only appended to. What a batch costs is its own bytes and one sync. Where a write or a sync has failed, and behind
// each start, the next batch begins a new file, and the entries of a newer file stand in place of all older ones from its first index on. So what
// was acknowledged is never written over, a cut of the end comes into force with what replaces it, and a sync that failed is never taken for
// one that did not (DESIGN.md).
//
// StoreLogs and cuts of the end: from one goroutine. Everything else, deletions at the front among it: from any.
type segments struct {
	dir   string
	most  uint32 // size at which a file is full
	write func(f *os.File, b []byte, offset int64) (int, error)
	sync  func(*os.File) error
	names func(dir string) error // syncs the names in a directory

	spent bool   // the next batch begins a new file
	seq   uint64 // of the newest file
	buf   []byte

	mu       sync.RWMutex
	list     []*segment // in the order of their entries, without gaps; none is empty
	first    uint64     // the entries before it are deleted, though their file may still be there
	replaced []*segment // what was cut off: the files go when the cut is in force
}

// openSegments opens the log in a directory, which it makes where there is none. What an interrupted write has left at the end is no part of it. The error wraps
// ErrLogDamaged when something is missing that was acknowledged.
func openSegments(dir string, noSync bool) (*segments, error) {
	s := &segments{dir: dir, most: segmentBytes, write: (*os.File).WriteAt, sync: dataSync, names: syncDir, spent: true}
	if noSync {
		s.sync, s.names = func(*os.File) error { return nil }, func(string) error { return nil }
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cluster: make the log's directory: %w", err)
	}
	if err := s.open(); err != nil {
		s.Close()
		return nil, fmt.Errorf("cluster: open the log: %w", err)
	}
	return s, nil
}

func (s *segments) open() error {
	files, err := s.files()
	if err != nil {
		return err
	}
	var useless []*segment
	for _, seq := range files {
		s.seq = seq
		g, err := openSegment(s.path(seq))
		switch {
		case err != nil:
			return err
		case len(g.at) == 0: // begun, and nothing in it was ever acknowledged
			useless = append(useless, g)
			continue
		}
		out, err := s.join(g)
		if err != nil {
			g.file.Close()
			return err
		}
		useless = append(useless, out...)
	}
	s.discard(useless)
	if len(s.list) == 0 {
		return nil
	}
	newest := s.list[len(s.list)-1]
	if newest.torn && newest.more {
		return newest.damaged(newest.end, newest.last()+1)
	}
	return s.settle(newest)
}

// settle writes the last batch once more, as it is. A process that met a failing sync may have ended behind it: such a sync leaves pages in memory
// that look as if they had reached the disk, and no later one writes them.
func (s *segments) settle(g *segment) error {
	batch := make([]byte, g.end-g.batch)
	if _, err := g.file.ReadAt(batch, int64(g.batch)); err != nil {
		return err
	}
	if _, err := s.write(g.file, batch, int64(g.batch)); err != nil {
		return err
	}
	return s.sync(g.file)
}

// files are the numbers of the files, in their order.
func (s *segments) files() (list []uint64, err error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), segmentExt)
		if seq, err := strconv.ParseUint(name, 10, 64); ok && err == nil && s.path(seq) == filepath.Join(s.dir, e.Name()) {
			list = append(list, seq)
		}
	}
	slices.Sort(list)
	return list, nil
}

func (s *segments) path(seq uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%010d%s", seq, segmentExt))
}

// join puts a newer segment behind those that are there and gives those that have nothing to say any more.
func (s *segments) join(g *segment) (out []*segment, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.list); n > 0 && !g.fresh {
		if before := s.list[n-1]; g.base > before.last()+1 {
			if before.torn {
				return nil, before.damaged(before.end, before.last()+1)
			}
			return nil, fmt.Errorf("%w: the file with entries %d to %d is missing in %s; restore a backup, or, where other nodes have the log, remove this node's data directory and join again",
				ErrLogDamaged, before.last()+1, g.base-1, s.dir)
		}
	}
	keep := 0
	if !g.fresh {
		keep = sort.Search(len(s.list), func(i int) bool { return s.list[i].base >= g.base })
	}
	out = append(s.replaced, s.list[keep:]...)
	s.list, s.replaced = append(s.list[:keep:keep], g), nil
	if keep == 0 {
		s.first = g.base
	} else {
		s.list[keep-1].cut(g.base)
	}
	return out, nil
}

// discard removes files whose entries do not count. One that cannot be removed does no harm, and the next start tries again.
func (s *segments) discard(out []*segment) {
	for _, g := range out {
		g.file.Close()
		os.Remove(g.path)
	}
}

// Close closes the files.
func (s *segments) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range append(s.replaced, s.list...) {
		g.file.Close()
	}
	return nil
}

// bytes is what the log takes on the disk.
func (s *segments) bytes() (n int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, g := range s.list {
		n += int64(g.end)
	}
	return n
}

// FirstIndex is 0 when there is no entry.
func (s *segments) FirstIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.list) == 0 {
		return 0, nil
	}
	return s.first, nil
}

// LastIndex is 0 when there is no entry.
func (s *segments) LastIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if n := len(s.list); n > 0 {
		return s.list[n-1].last(), nil
	}
	return 0, nil
}

// tail is the segment with the newest entries, nil when there are none.
func (s *segments) tail() *segment {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.list) == 0 {
		return nil
	}
	return s.list[len(s.list)-1]
}

// GetLog reads an entry; raft.ErrLogNotFound where there is none.
func (s *segments) GetLog(index uint64, into *raft.Log) error {
	g, from, to := s.find(index)
	if g == nil {
		return raft.ErrLogNotFound
	}
	err := g.read(index, from, to, into)
	if errors.Is(err, fs.ErrClosed) { // deleted meanwhile
		return raft.ErrLogNotFound
	}
	return err
}

func (s *segments) find(index uint64) (g *segment, from, to uint32) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i := sort.Search(len(s.list), func(i int) bool { return s.list[i].base > index }) - 1
	if i < 0 || index < s.first || index > s.list[i].last() {
		return nil, 0, 0
	}
	g = s.list[i]
	n := index - g.base
	from, to = g.at[n], g.end
	if n+1 < uint64(len(g.at)) {
		to = g.at[n+1]
	}
	return g, from, to
}

// StoreLog stores one entry.
func (s *segments) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs stores entries behind the last one, all or none, and returns when the disk has them. Behind a gap, which Raft leaves where it has taken a snapshot from
// another node, the log begins anew.
func (s *segments) StoreLogs(logs []*raft.Log) error {
	last, _ := s.LastIndex()
	fresh, begin, size := last == 0, 0, 0
	for i, l := range logs {
		if l.Index <= last {
			return fmt.Errorf("cluster: entry %d cannot be stored behind entry %d", l.Index, last)
		}
		if l.Index != last+1 {
			fresh, begin, size = true, i, 0
		}
		last = l.Index
		if size += recordHead + recordFixed + len(l.Extensions) + len(l.Data); size > recordMost {
			return fmt.Errorf("cluster: entries of %d bytes are more than the log can take at once", size)
		}
	}
	if len(logs) == 0 {
		return nil
	}
	logs = logs[begin:]
	if g := s.tail(); g != nil && !fresh && !s.spent && g.end < s.most {
		return s.append(g, logs)
	}
	return s.begin(logs, fresh)
}

// append stores a batch in the file that is being filled.
func (s *segments) append(g *segment, logs []*raft.Log) error {
	b, at := s.encode(logs, g.sum, g.end)
	if err := s.put(g.file, b, g.end); err != nil {
		s.spent = true
		return fmt.Errorf("cluster: write to the log %s: %w", g.path, err)
	}
	s.mu.Lock()
	g.at, g.end = append(g.at, at...), g.end+uint32(len(b))
	s.mu.Unlock()
	return nil
}

// begin stores a batch in a new file. Its head is on the disk before anything follows, so that a head that cannot be read later tells of damage.
func (s *segments) begin(logs []*raft.Log, fresh bool) error {
	var random [8]byte
	rand.Read(random[:])
	salt := binary.BigEndian.Uint64(random[:])
	s.seq++
	g := &segment{path: s.path(s.seq), base: logs[0].Index, fresh: fresh, sum: saltSum(salt), end: segmentHead}
	f, err := os.OpenFile(g.path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("cluster: begin a file of the log: %w", err)
	}
	g.file = f
	b, at := s.encode(logs, g.sum, g.end)
	err = s.put(f, appendHead(nil, g.base, salt, fresh), 0)
	if err == nil {
		err = s.put(f, b, g.end)
	}
	if err == nil {
		err = s.names(s.dir)
	}
	if err != nil {
		s.discard([]*segment{g})
		return fmt.Errorf("cluster: begin a file of the log: %w", err)
	}
	g.at, g.end = at, g.end+uint32(len(b))
	out, err := s.join(g)
	if err != nil {
		return err
	}
	s.spent = false
	s.discard(out)
	return nil
}

// put writes, and returns when the disk has it.
func (s *segments) put(f *os.File, b []byte, offset uint32) error {
	if _, err := s.write(f, b, int64(offset)); err != nil {
		return err
	}
	return s.sync(f)
}

// encode gives a batch as it will stand at a place of its file, and where its entries begin there. The bytes are good until the next call.
func (s *segments) encode(logs []*raft.Log, sum, offset uint32) (b []byte, at []uint32) {
	b, at = s.buf[:0], make([]uint32, 0, len(logs))
	for i, l := range logs {
		var flags byte
		if i == 0 {
			flags |= batchFirst
		}
		if i == len(logs)-1 {
			flags |= batchLast
		}
		at = append(at, offset+uint32(len(b)))
		b = appendRecord(b, l, flags, sum, offset+uint32(len(b)))
	}
	if s.buf = b; cap(b) > keptBuffer {
		s.buf = nil
	}
	return b, at
}

// DeleteRange deletes at the front or at the end. At the front whole files go, so after a restart some entries may be there again; at the end
// the deletion is in force on the disk with what is stored next.
func (s *segments) DeleteRange(first, last uint64) error {
	s.mu.Lock()
	n := len(s.list)
	if n == 0 || last < s.first || first > s.list[n-1].last() || first > last {
		s.mu.Unlock()
		return nil
	}
	var out []*segment
	switch end := s.list[n-1].last(); {
	case first <= s.first && last >= end:
		slices.Reverse(s.replaced) // the newest first, so that what is left never has a gap
		out = append(s.replaced, s.list...)
		s.list, s.replaced, s.spent = nil, nil, true
	case first <= s.first:
		keep := sort.Search(n-1, func(i int) bool { return s.list[i].last() > last })
		out, s.list, s.first = s.list[:keep:keep], s.list[keep:], last+1
	case last >= end:
		keep := sort.Search(n, func(i int) bool { return s.list[i].base >= first })
		s.replaced = append(s.list[keep:n:n], s.replaced...)
		s.list = s.list[:keep:keep]
		s.list[keep-1].cut(first)
		s.spent = true
	default:
		s.mu.Unlock()
		return fmt.Errorf("cluster: entries %d to %d are neither the front nor the end of the log", first, last)
	}
	s.mu.Unlock()
	for _, g := range out {
		s.discard([]*segment{g})
		if err := s.names(s.dir); err != nil { // one after the other, so that a power loss leaves no gap
			return fmt.Errorf("cluster: delete the front of the log: %w", err)
		}
	}
	return nil
}
