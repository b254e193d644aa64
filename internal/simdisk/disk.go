// Package simdisk is the disk under a node's log in tests in fake time: it may be slow, hang, be full, or refuse now and then.
package simdisk

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

var errFlaky = errors.New("input/output error")

// A Disk stands before a log store. Any goroutine.
type Disk struct {
	raft.LogStore
	Delay atomic.Int64 // time.Duration of each write

	mu    sync.Mutex
	err   error
	share float64 // of writes that fail
	rnd   *rand.Rand
}

// New puts a disk without faults before a log store; seed decides which writes of a flaky one fail.
func New(log raft.LogStore, seed uint64) *Disk {
	return &Disk{LogStore: log, rnd: rand.New(rand.NewPCG(seed, 7))}
}

// StoreLog stores one entry.
func (d *Disk) StoreLog(l *raft.Log) error { return d.StoreLogs([]*raft.Log{l}) }

// StoreLogs takes its time and stores entries, all or none.
func (d *Disk) StoreLogs(logs []*raft.Log) error {
	time.Sleep(time.Duration(d.Delay.Load()))
	if err := d.fault(); err != nil {
		return err
	}
	return d.LogStore.StoreLogs(logs)
}

func (d *Disk) fault() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return d.err
	}
	if d.share > 0 && d.rnd.Float64() < d.share {
		return errFlaky
	}
	return nil
}

// Fail has every write fail with err, until it is nil.
func (d *Disk) Fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

// Flaky has a share of the writes fail, 0 to 1.
func (d *Disk) Flaky(share float64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.share = share
}
