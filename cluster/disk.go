package cluster

import (
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// diskStuck is how long one write may take before the disk counts as hung.
	diskStuck = 150 * time.Millisecond
	// diskHung is how long one write may take before phones are better off elsewhere.
	diskHung = 2 * time.Second
	// diskReserve is the free space below which a node should not lead: room for a snapshot and an operator's hands.
	diskReserve = 64 << 20
)

// disk knows how the disk under the log does. It stands between Raft and the log store.
type disk struct {
	raft.LogStore
	begun   atomic.Int64  // Unix ns of the write under way, 0 when there is none
	refused atomic.Bool   // the last write failed
	free    atomic.Uint64 // bytes, 0 when not known
}

// StoreLog stores one entry.
func (d *disk) StoreLog(l *raft.Log) error { return d.StoreLogs([]*raft.Log{l}) }

// StoreLogs stores entries, and the clock runs meanwhile.
func (d *disk) StoreLogs(logs []*raft.Log) error {
	d.begun.Store(time.Now().UnixNano())
	err := d.LogStore.StoreLogs(logs)
	d.begun.Store(0)
	d.refused.Store(err != nil)
	return err
}

// stuck says that a write has been under way for long.
func (d *disk) stuck() bool { return d.writing() > diskStuck }

// hung says that a write has been under way for very long.
func (d *disk) hung() bool { return d.writing() > diskHung }

// writing is how long the write under way has taken.
func (d *disk) writing() time.Duration {
	begun := d.begun.Load()
	if begun == 0 {
		return 0
	}
	return time.Since(time.Unix(0, begun))
}

// failing says that the last write was refused. Raft tries again, so a disk that is well again shows.
func (d *disk) failing() bool { return d.refused.Load() }

// full says that there is hardly any room, or that the last write was refused.
func (d *disk) full() bool {
	free := d.free.Load()
	return d.failing() || free > 0 && free < diskReserve
}
