package sip

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
)

// A snapshot is
//
//	"TLOC" version(1) { AOR, records }* empty AOR
//
// where AOR and records stand behind their uvarint lengths and the records are as in the table, local bytes zeroed. AORs are sorted by slot, then by name.
const locationMagic = "TLOC\x01"

// locationSnapshot is the table as it was at one index of the log. Taking one copies nothing: a shard's slice headers are
// copied when the writer comes to it, or before the first change to it, whichever is earlier (records are never changed in
// place but for their local bytes). So a snapshot of a million bindings stops the log for microseconds.
//
// One snapshot is lazy at a time. Taking the next completes the one before, should its writer never have run.
type locationSnapshot struct {
	pieces  [locationShards][]locationItem // each under its shard's lock
	written atomic.Bool
}

type locationItem struct {
	aor string
	all []byte
}

// copyFor saves the shard for s unless it has it already. The shard is locked.
func (sh *locationShard) copyFor(s *locationSnapshot) {
	if s == nil || sh.copied == s {
		return
	}
	items := make([]locationItem, 0, len(sh.aors))
	for aor, all := range sh.aors {
		items = append(items, locationItem{aor, all})
	}
	s.pieces[sh.index] = items
	sh.copied = s
}

// Snapshot takes the table as it is; write may run in any goroutine while the log goes on. The log's goroutine.
func (l *Location) Snapshot() (write func(io.Writer) error, err error) {
	l.completeSnapshot()
	s := new(locationSnapshot)
	l.snap = s
	return func(w io.Writer) error { return l.writeSnapshot(w, s) }, nil
}

func (l *Location) completeSnapshot() {
	for i := range l.shards {
		sh := &l.shards[i]
		sh.mu.Lock()
		sh.copyFor(l.snap)
		sh.mu.Unlock()
	}
}

func (l *Location) writeSnapshot(w io.Writer, s *locationSnapshot) error {
	if s.written.Swap(true) {
		return errors.New("location snapshot: written already")
	}
	out := bufio.NewWriterSize(w, 64<<10)
	out.WriteString(locationMagic)
	var buf []byte
	for i := range l.shards {
		items := l.shards[i].takePiece(s)
		slices.SortFunc(items, func(a, b locationItem) int { return strings.Compare(a.aor, b.aor) }) // equal tables are equal bytes
		for _, item := range items {
			buf = appendText(buf[:0], item.aor)
			buf = binary.AppendUvarint(buf, uint64(len(item.all)))
			buf = appendCommitted(buf, item.all)
			if _, err := out.Write(buf); err != nil {
				return fmt.Errorf("location snapshot: %w", err)
			}
		}
	}
	out.WriteByte(0)
	return out.Flush()
}

// takePiece gives the shard as it was when s was taken, and lets go of it. A shard that a later snapshot has passed was
// completed for s before.
func (sh *locationShard) takePiece(s *locationSnapshot) []locationItem {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if s.pieces[sh.index] == nil {
		sh.copyFor(s)
	}
	items := s.pieces[sh.index]
	s.pieces[sh.index] = nil
	return items
}

// appendCommitted copies records without what is this node's alone. It does not read those bytes: they may be changing.
func appendCommitted(dst, all []byte) []byte {
	var zero [recLocal]byte
	for len(all) > 0 {
		r, rest := cutRecord(all)
		dst = binary.AppendUvarint(dst, uint64(len(r)))
		dst = append(append(dst, zero[:]...), r[recLocal:]...)
		all = rest
	}
	return dst
}

// Restore replaces the table by a snapshot. When the snapshot cannot be read the table stays as it is. The log's goroutine.
func (l *Location) Restore(r io.Reader) error {
	fresh := NewLocation()
	in := bufio.NewReaderSize(r, 64<<10)
	magic := make([]byte, len(locationMagic))
	if _, err := io.ReadFull(in, magic); err != nil {
		return fmt.Errorf("location snapshot: %w", err)
	}
	if string(magic) != locationMagic {
		return errors.New("location snapshot: not one, or of a version this node does not know")
	}
	for {
		aor, all, err := readItem(in)
		if err != nil {
			return fmt.Errorf("location snapshot: %w", err)
		}
		if len(aor) == 0 {
			break
		}
		sh := l.shard(aor)
		if !fresh.shards[sh.index].restore(aor, all) {
			return fmt.Errorf("location snapshot: %q twice", aor)
		}
	}
	l.replace(fresh)
	return nil
}

func (sh *locationShard) restore(aor, all []byte) bool {
	if _, there := sh.aors[string(aor)]; there {
		return false
	}
	sh.aors[string(aor)] = all
	for len(all) > 0 {
		var r bindingRecord
		r, all = cutRecord(all)
		sh.bindings++
		sh.due = min(sh.due, r.until())
	}
	return true
}

func (l *Location) replace(fresh *Location) {
	for i := range l.shards {
		sh, from := &l.shards[i], &fresh.shards[i]
		sh.mu.Lock()
		sh.copyFor(l.snap)
		sh.aors, sh.bindings, sh.due = from.aors, from.bindings, from.due
		sh.mu.Unlock()
	}
}

// Bounds of what a snapshot may hold of one user.
const (
	maxAOR     = 1 << 10
	maxRecords = 1 << 20
)

// readItem reads one AOR and its records and checks them. An empty AOR is the end.
func readItem(in *bufio.Reader) (aor, all []byte, err error) {
	if aor, err = readText(in, maxAOR); err != nil || len(aor) == 0 {
		return aor, nil, err
	}
	if bytes.IndexByte(aor, 0) < 0 {
		return nil, nil, errors.New("an AOR without tenant")
	}
	if all, err = readText(in, maxRecords); err != nil {
		return nil, nil, err
	}
	if len(all) == 0 {
		return nil, nil, errors.New("an AOR without bindings")
	}
	for rest := all; len(rest) > 0; {
		var r []byte
		var ok bool
		if r, rest, ok = cutText(rest); !ok {
			return nil, nil, errRecord
		}
		if err := bindingRecord(r).check(); err != nil {
			return nil, nil, err
		}
	}
	return aor, all, nil
}

func readText(in *bufio.Reader, most uint64) ([]byte, error) {
	n, err := binary.ReadUvarint(in)
	if err != nil {
		return nil, noEOF(err)
	}
	if n > most {
		return nil, fmt.Errorf("%d bytes where at most %d can be", n, most)
	}
	b := make([]byte, n)
	_, err = io.ReadFull(in, b)
	return b, noEOF(err)
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
