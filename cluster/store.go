package cluster

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
)

// A node's directory. raft.db was the whole log in older versions; now it says where that has gone, so that an older program stops at it and does not begin a
// cluster of its own (boltlog.go).
const (
	oldLogFile = "raft.db"
	lockFile   = "lock"
	votesFile  = "vote"
	logDir     = "log"
)

const (
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

	bytes  func() int64
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

// fileBytes is what the log takes on the disk.
func (s *Store) fileBytes() int64 {
	if s.bytes == nil {
		return 0
	}
	return s.bytes()
}

func (c *Cluster) openStore() (*Store, error) {
	switch {
	case c.cfg.Store != nil:
		return c.cfg.Store, nil
	case c.cfg.Dir == "":
		return MemoryStore(), nil
	}
	return c.openFiles(c.cfg.Dir)
}

// closers are closed in the opposite order.
type closers []io.Closer

// Close closes all.
func (list closers) Close() error {
	for i := len(list) - 1; i >= 0; i-- {
		list[i].Close()
	}
	return nil
}

// openFiles opens the log in a directory, which is made and locked.
func (c *Cluster) openFiles(dir string) (s *Store, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cluster: make the data directory: %w; check data_dir and its owner", err)
	}
	var open closers
	defer func() {
		if err != nil {
			open.Close()
		}
	}()
	lock, err := lockDir(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, fmt.Errorf("cluster: %s is %w", dir, err)
	}
	open = append(open, lock)
	old, err := c.takeOver(dir)
	if err != nil {
		return nil, err
	}
	open = append(open, old)
	votes, err := openVoteFile(filepath.Join(dir, votesFile), c.cfg.NoSync)
	if err != nil {
		return nil, fmt.Errorf("cluster: open term and vote: %w", err)
	}
	open = append(open, votes)
	log, err := openSegments(filepath.Join(dir, logDir), c.cfg.NoSync)
	if err != nil {
		return nil, err
	}
	open = append(open, log)
	if err := syncDir(dir); err != nil {
		return nil, fmt.Errorf("cluster: sync %s: %w", dir, err)
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, keepSnapshots, newRaftLog(c.log, true))
	if err != nil {
		return nil, fmt.Errorf("cluster: open the snapshots in %s: %w", dir, err)
	}
	return &Store{Log: log, Stable: votes, Snapshots: snapshots, Free: func() uint64 { return freeSpace(dir) }, bytes: log.bytes, closer: open}, nil
}

// lockDir locks a directory for this process.
func lockDir(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(lockWait); ; time.Sleep(lockWait / 20) {
		err := lockFileOf(f)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, errLocked) {
			f.Close()
			return nil, fmt.Errorf("not to be locked: %w", err)
		}
		if time.Now().After(end) {
			f.Close()
			return nil, errInUseDir
		}
	}
}

var (
	errLocked   = errors.New("locked by another process")
	errInUseDir = fmt.Errorf("%w: stop the other tandem that uses this data directory, or set node.data_dir to another one", ErrInUse)
)

// exists says whether there is a file of that name that is not empty.
func exists(path string) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.Size() > 0, err
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
