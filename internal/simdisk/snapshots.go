package simdisk

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// Snapshots keeps the newest snapshot that was written to its end, as files do: one that the death of its node has cut short never was.
// (raft.InmemSnapshotStore shows a snapshot from its first byte on.) Any goroutine.
type Snapshots struct {
	mu   sync.Mutex
	last int
	meta *raft.SnapshotMeta
	text []byte
}

type sink struct {
	bytes.Buffer
	store *Snapshots
	meta  raft.SnapshotMeta
	over  bool
}

// Create begins a snapshot.
func (s *Snapshots) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, at uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	return &sink{store: s, meta: raft.SnapshotMeta{Version: version, ID: fmt.Sprint(s.last), Index: index, Term: term, Configuration: c, ConfigurationIndex: at}}, nil
}

// ID names it.
func (s *sink) ID() string { return s.meta.ID }

// Cancel gives it up.
func (s *sink) Cancel() error { s.over = true; return nil }

// Close makes it the newest.
func (s *sink) Close() error {
	if s.over {
		return nil
	}
	s.over = true
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.meta.Size = int64(s.Len())
	s.store.meta, s.store.text = &s.meta, s.Bytes()
	return nil
}

// List gives the newest, if there is one.
func (s *Snapshots) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meta == nil {
		return nil, nil
	}
	return []*raft.SnapshotMeta{s.meta}, nil
}

// Open reads it.
func (s *Snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meta == nil || s.meta.ID != id {
		return nil, nil, fmt.Errorf("there is no snapshot %s", id)
	}
	return s.meta, io.NopCloser(bytes.NewReader(s.text)), nil
}
