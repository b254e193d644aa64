package cluster

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// diskStuck is how long one write may take before the disk counts as hung.
	diskStuck = 150 * time.Millisecond
	// diskReserve is the free space below which a node should not lead: room for a snapshot and an operator's hands.
	diskReserve = 64 << 20
	// diskRefused is how long a refused write is remembered.
	diskRefused = 5 * time.Second
)

// disk knows how the disk under the log does. It stands between Raft and the log store.
type disk struct {
	raft.LogStore
	begun   atomic.Int64  // Unix ns of the write under way, 0 when there is none
	refused atomic.Int64  // Unix ns of the last write that failed
	free    atomic.Uint64 // bytes, 0 when not known
}

// StoreLog stores one entry.
func (d *disk) StoreLog(l *raft.Log) error { return d.StoreLogs([]*raft.Log{l}) }

// StoreLogs stores entries, and the clock runs meanwhile.
func (d *disk) StoreLogs(logs []*raft.Log) error {
	d.begun.Store(time.Now().UnixNano())
	err := d.LogStore.StoreLogs(logs)
	d.begun.Store(0)
	if err != nil {
		d.refused.Store(time.Now().UnixNano())
	}
	return err
}

// stuck says that a write has been under way for long.
func (d *disk) stuck() bool {
	begun := d.begun.Load()
	return begun != 0 && time.Since(time.Unix(0, begun)) > diskStuck
}

// full says that there is hardly any room, or that a write was refused just now.
func (d *disk) full() bool {
	if free := d.free.Load(); free > 0 && free < diskReserve {
		return true
	}
	refused := d.refused.Load()
	return refused != 0 && time.Since(time.Unix(0, refused)) < diskRefused
}
