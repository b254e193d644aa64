package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// movedMagic begins raft.db where the log is in files of its own. An older program finds no log in it and stops.
const movedMagic = "tandem: "

const movedText = movedMagic + "the agreed log is in the directory \"log\" beside this file, term and vote are in \"vote\".\n" +
	"This file keeps older versions of tandem, which had the log here, from beginning a new one. Leave it where it is.\n"

// nothing has nothing to close.
type nothing struct{}

// Close does nothing.
func (nothing) Close() error { return nil }

// takeOver makes a directory hold the log in files: an empty one, or one in which an older program has kept it in raft.db. That counts until the one rename that puts
// the text above in its place, so a crash before has it copied again. What is returned stays open until the end: it keeps an older program, which
// may be waiting for its lock, from going on in a file without a name.
func (c *Cluster) takeOver(dir string) (io.Closer, error) {
	path := filepath.Join(dir, oldLogFile)
	there, err := exists(path)
	if err != nil {
		return nil, fmt.Errorf("cluster: look for the log: %w", err)
	}
	if !there {
		return nothing{}, c.foundFiles(dir)
	}
	moved, err := isMoved(path)
	if err != nil {
		return nil, fmt.Errorf("cluster: look for the log: %w", err)
	}
	if moved {
		return nothing{}, nil
	}
	bolt, err := openBolt(path)
	if err != nil {
		return nil, err
	}
	if err := c.copyBolt(bolt, dir); err != nil {
		bolt.Close()
		return nil, fmt.Errorf("cluster: take over the log of an older version, %s: %w; it is as it was", path, err)
	}
	return bolt, nil
}

// foundFiles prepares a directory without a log, or finishes that where it was interrupted.
func (c *Cluster) foundFiles(dir string) error {
	votes := filepath.Join(dir, votesFile)
	there, err := exists(votes)
	if err == nil && !there {
		err = makeVoteFile(votes, nil, c.cfg.NoSync)
	}
	if err == nil {
		err = writeWhole(filepath.Join(dir, oldLogFile), []byte(movedText), c.cfg.NoSync)
	}
	if err != nil {
		return fmt.Errorf("cluster: prepare %s: %w", dir, err)
	}
	return nil
}

func isMoved(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	b := make([]byte, len(movedMagic))
	n, err := io.ReadFull(f, b)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	return string(b[:n]) == movedMagic, nil
}

func openBolt(path string) (*raftboltdb.BoltStore, error) {
	bolt, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{Timeout: lockWait, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType}})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("cluster: %s is %w", path, errInUseDir)
	case err != nil:
		return nil, fmt.Errorf("cluster: open the log %s: %w; if the file is damaged restore a backup", path, err)
	}
	return bolt, nil
}

// copyBolt copies a log to files, reads them again and puts them in force.
func (c *Cluster) copyBolt(bolt *raftboltdb.BoltStore, dir string) error {
	to := filepath.Join(dir, logDir)
	if err := os.RemoveAll(to); err != nil { // of an attempt that was interrupted
		return err
	}
	var values []stableValue
	for _, key := range []string{"CurrentTerm", keyVoteTerm, "LastVoteCand"} {
		value, err := bolt.Get([]byte(key))
		switch {
		case errors.Is(err, raftboltdb.ErrKeyNotFound):
		case err != nil:
			return err
		default:
			values = append(values, stableValue{key, value})
		}
	}
	if err := c.copyEntries(bolt, to); err != nil {
		return err
	}
	if err := makeVoteFile(filepath.Join(dir, votesFile), values, c.cfg.NoSync); err != nil {
		return err
	}
	if err := writeWhole(filepath.Join(dir, oldLogFile), []byte(movedText), c.cfg.NoSync); err != nil {
		return err
	}
	c.log.Info("the log of an older version was taken over; older versions cannot open this data directory any more", "dir", dir)
	return nil
}

// copyEntries copies the entries, and compares what can be read of the copy.
func (c *Cluster) copyEntries(bolt *raftboltdb.BoltStore, to string) error {
	first, err := bolt.FirstIndex()
	if err != nil {
		return err
	}
	last, err := bolt.LastIndex()
	if err != nil {
		return err
	}
	log, err := openSegments(to, c.cfg.NoSync)
	if err != nil {
		return err
	}
	batch, size := []*raft.Log(nil), 0
	for i := first; i <= last && first > 0; i++ {
		l := new(raft.Log)
		switch err := bolt.GetLog(i, l); {
		case errors.Is(err, raft.ErrLogNotFound): // a gap: Raft has a snapshot in place of what is before it
		case err != nil:
			log.Close()
			return err
		default:
			batch, size = append(batch, l), size+len(l.Data)
		}
		if size < 1<<20 && i < last {
			continue
		}
		if err := log.StoreLogs(batch); err != nil {
			log.Close()
			return err
		}
		batch, size = nil, 0
	}
	if err := log.Close(); err != nil {
		return err
	}
	return c.compareEntries(bolt, to, last)
}

func (c *Cluster) compareEntries(bolt *raftboltdb.BoltStore, to string, last uint64) error {
	log, err := openSegments(to, true)
	if err != nil {
		return err
	}
	defer log.Close()
	first, _ := log.FirstIndex()
	if end, _ := log.LastIndex(); end != last {
		return fmt.Errorf("the copy ends with entry %d instead of %d", end, last)
	}
	for i := first; i <= last && first > 0; i++ {
		var was, is raft.Log
		if err := bolt.GetLog(i, &was); err != nil {
			return err
		}
		if err := log.GetLog(i, &is); err != nil {
			return err
		}
		if was.Term != is.Term || was.Type != is.Type || !bytes.Equal(was.Data, is.Data) || !bytes.Equal(was.Extensions, is.Extensions) {
			return fmt.Errorf("entry %d was not copied as it is", i)
		}
	}
	return nil
}
