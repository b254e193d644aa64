package cluster

import (
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// A follower whose log differs from the leader's cuts its own before it appends. Raft (v1.7.3, appendEntries: "TODO: leaving r.getLastLog() in the
// wrong state if there was a truncation above") goes on as if it had not cut when the appending fails: then it takes nothing from any leader any more,
// for the entry it compares with is gone, or it panics. A full disk must not do that to a node. So the cut is made with the appending, and
// what was cut stays readable until that has succeeded, as if nothing had happened.
//
// logCut is what was cut and not yet replaced: consecutive entries behind those in the store. What it holds was never agreed on, so nothing is lost with it
// when the process ends.
type logCut struct {
	raft.LogStore
	kept atomic.Pointer[[]*raft.Log]
}

// DeleteRange cuts at the front at once, and at the end when something is stored in place of it.
func (s *logCut) DeleteRange(first, last uint64) error {
	end, err := s.LastIndex()
	if err != nil || last >= end {
		return err
	}
	return s.LogStore.DeleteRange(first, last)
}

// StoreLogs stores consecutive entries in place of all from the first of them on.
func (s *logCut) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	if err := s.cut(logs[0].Index); err != nil {
		return err
	}
	kept := s.kept.Load()
	if kept == nil {
		return s.LogStore.StoreLogs(logs)
	}
	var whole []*raft.Log
	for _, l := range *kept {
		if l.Index < logs[0].Index {
			whole = append(whole, l)
		}
	}
	if err := s.LogStore.StoreLogs(append(whole, logs...)); err != nil {
		return err
	}
	s.kept.Store(nil)
	return nil
}

// cut takes what stands at an index and behind it out of the store, and keeps it.
func (s *logCut) cut(from uint64) error {
	end, err := s.LogStore.LastIndex()
	if err != nil || end < from {
		return err
	}
	var out []*raft.Log
	for i := from; i <= end; i++ {
		l := new(raft.Log)
		if err := s.LogStore.GetLog(i, l); err != nil {
			return err
		}
		out = append(out, l)
	}
	if kept := s.kept.Load(); kept != nil {
		out = append(out, *kept...)
	}
	if err := s.LogStore.DeleteRange(from, end); err != nil {
		return err
	}
	s.kept.Store(&out)
	return nil
}

// StoreLog stores one entry.
func (s *logCut) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// GetLog reads an entry.
func (s *logCut) GetLog(index uint64, into *raft.Log) error {
	if kept := s.kept.Load(); kept != nil {
		if first := (*kept)[0].Index; index >= first && index-first < uint64(len(*kept)) {
			*into = *(*kept)[index-first]
			return nil
		}
	}
	return s.LogStore.GetLog(index, into)
}

// FirstIndex is 0 when there is none.
func (s *logCut) FirstIndex() (uint64, error) {
	first, err := s.LogStore.FirstIndex()
	if kept := s.kept.Load(); kept != nil && first == 0 && err == nil {
		return (*kept)[0].Index, nil
	}
	return first, err
}

// LastIndex is 0 when there is none.
func (s *logCut) LastIndex() (uint64, error) {
	if kept := s.kept.Load(); kept != nil {
		return (*kept)[len(*kept)-1].Index, nil
	}
	return s.LogStore.LastIndex()
}
