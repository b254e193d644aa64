package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	logFile = "raft.db"
	// lockWait is how long we wait for another process to let go of the log: a node that is just stopping.
	lockWait = time.Second
	// keepSnapshots: the newest is used, the one before is for a person after a disaster.
	keepSnapshots = 2
)

// Store is where a node keeps its log, its vote and its snapshots.
type Store struct {
	Log       raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore

	// Free tells what the disk has left in bytes, 0 when that is not known; nil is the same.
	Free func() uint64

	path   string
	closer io.Closer
}

// MemoryStore keeps everything in memory. Given to a second Cluster after the first has stopped, it plays the
// disk that survives a restart.
func MemoryStore() *Store {
	s := raft.NewInmemStore()
	return &Store{Log: s, Stable: s, Snapshots: raft.NewInmemSnapshotStore()}
}

func (s *Store) close() {
	if s.closer != nil {
		s.closer.Close()
	}
}

// fileBytes is the size of the log's file. It does not shrink: pages are used again.
func (s *Store) fileBytes() int64 {
	if s.path == "" {
		return 0
	}
	info, err := os.Stat(s.path)
	if err != nil {
		return 0
	}
	return info.Size()
}

func (c *Cluster) openStore() (*Store, error) {
	switch {
	case c.cfg.Store != nil:
		return c.cfg.Store, nil
	case c.cfg.Dir == "":
		return MemoryStore(), nil
	}
	dir := c.cfg.Dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cluster: make the data directory: %w; check data_dir and its owner", err)
	}
	path := filepath.Join(dir, logFile)
	bolt, err := openBolt(path, c.cfg.NoSync)
	if err != nil {
		return nil, err
	}
	if err := syncDir(dir); err != nil {
		bolt.Close()
		return nil, fmt.Errorf("cluster: sync %s: %w", dir, err)
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, keepSnapshots, newRaftLog(c.log, true))
	if err != nil {
		bolt.Close()
		return nil, fmt.Errorf("cluster: open the snapshots in %s: %w", dir, err)
	}
	return &Store{Log: bolt, Stable: bolt, Snapshots: snapshots, Free: func() uint64 { return freeSpace(dir) }, path: path, closer: bolt}, nil
}

func openBolt(path string, noSync bool) (*raftboltdb.BoltStore, error) {
	bolt, err := raftboltdb.New(raftboltdb.Options{
		Path:   path,
		NoSync: noSync,
		BoltOptions: &bbolt.Options{
			Timeout:         lockWait,
			NoFreelistSync:  true, // fewer bytes a commit; the list is rebuilt when the file is opened
			FreelistType:    bbolt.FreelistMapType,
			InitialMmapSize: 64 << 20, // no remap, and so no pause, while the log is small
		},
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("cluster: %s is %w: stop the other tandem that uses this data directory, or set node.data_dir to another one", path, ErrInUse)
	case err != nil:
		return nil, fmt.Errorf("cluster: open the log %s: %w; if the file is damaged restore a backup", path, err)
	}
	return bolt, nil
}

// syncDir makes the names in a directory survive a power loss.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
