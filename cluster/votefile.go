package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// voteFile keeps what Raft must not forget besides the log: the term, and for whom this node voted in it. The file has two places of 4 KiB that are written in turn, so
// the one before is whole whatever happens to a write; its size never changes, so a full disk is no reason not to vote.
//
//	+-----------------+
//	| "TDMVOTE\x01"   |
//	| turn   8 bytes  |  the larger one counts
//	| length 4 bytes  |
//	| u16 len, key    |
//	| u16 len, value  |
//	| ...             |
//	| crc    4 bytes  |  CRC-32C of all before
//	+-----------------+
//
// Any goroutine.
type voteFile struct {
	file *os.File
	sync func(*os.File) error

	mu     sync.Mutex
	turn   uint64
	good   int // the place that counts
	values []stableValue
	saved  []stableValue // as they are on the disk
}

type stableValue struct {
	key   string
	value []byte
}

const (
	voteMagic = "TDMVOTE\x01"
	votePlace = 4096
	voteHead  = 8 + 8 + 4
)

// keyVoteTerm is written by Raft right before the name of the one it votes for (persistVote), and the vote is told when both are on the disk. So it waits for the name: one
// sync instead of two, and no moment at which the term is that of one vote and the name that of another.
const keyVoteTerm = "LastVoteTerm"

var errVote = errors.New("neither of its two places can be read; restore a backup, or, where other nodes have the log, remove this node's data directory and join again")

// makeVoteFile makes a file with these values in place of any that is there.
func makeVoteFile(path string, values []stableValue, noSync bool) error {
	v := voteFile{turn: 1, values: values}
	place, err := v.encode()
	if err != nil {
		return err
	}
	return writeWhole(path, append(place, place...), noSync)
}

// openVoteFile opens a file that is there.
func openVoteFile(path string, noSync bool) (*voteFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	v := &voteFile{file: f, sync: dataSync}
	if noSync {
		v.sync = func(*os.File) error { return nil }
	}
	if err := v.open(); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

func (v *voteFile) open() error {
	found := false
	for place := range 2 {
		b := make([]byte, votePlace)
		if _, err := v.file.ReadAt(b, int64(place*votePlace)); err != nil {
			continue
		}
		turn, values, ok := decodeVote(b)
		if ok && (!found || turn > v.turn) {
			v.turn, v.values, v.good, found = turn, values, place, true
		}
	}
	if !found {
		return errVote
	}
	return v.save() // what counts may be of a sync that failed; now it is on the disk, or we know that it is not
}

// save writes the values to the place that does not count, which then does.
func (v *voteFile) save() error {
	v.turn++ // whatever became of the attempt before
	b, err := v.encode()
	if err != nil {
		return err
	}
	place := 1 - v.good
	if _, err := v.file.WriteAt(b, int64(place*votePlace)); err != nil {
		return err
	}
	if err := v.sync(v.file); err != nil {
		return err
	}
	v.good, v.saved = place, v.values
	return nil
}

func (v *voteFile) encode() ([]byte, error) {
	b := append(make([]byte, 0, votePlace), voteMagic...)
	b = binary.BigEndian.AppendUint64(b, v.turn)
	b = append(b, 0, 0, 0, 0)
	for _, e := range v.values {
		b = binary.BigEndian.AppendUint16(b, uint16(len(e.key)))
		b = append(b, e.key...)
		b = binary.BigEndian.AppendUint16(b, uint16(len(e.value)))
		b = append(b, e.value...)
	}
	if len(b)+4 > votePlace {
		return nil, fmt.Errorf("cluster: %d bytes are too many for term and vote", len(b))
	}
	binary.BigEndian.PutUint32(b[16:], uint32(len(b)-voteHead))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return b[:votePlace], nil
}

func decodeVote(b []byte) (turn uint64, values []stableValue, ok bool) {
	if len(b) < voteHead+4 || string(b[:len(voteMagic)]) != voteMagic {
		return 0, nil, false
	}
	length := binary.BigEndian.Uint32(b[16:])
	if uint64(length) > uint64(len(b)-voteHead-4) {
		return 0, nil, false
	}
	end := voteHead + int(length)
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return 0, nil, false
	}
	for rest := b[voteHead:end]; len(rest) > 0; {
		var key, value []byte
		if key, rest, ok = cutField(rest); !ok {
			return 0, nil, false
		}
		if value, rest, ok = cutField(rest); !ok {
			return 0, nil, false
		}
		values = append(values, stableValue{string(key), bytes.Clone(value)})
	}
	return binary.BigEndian.Uint64(b[8:]), values, true
}

func cutField(b []byte) (field, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	end := 2 + int(binary.BigEndian.Uint16(b))
	if end > len(b) {
		return nil, nil, false
	}
	return b[2:end], b[end:], true
}

// Set keeps a value, for good when it returns nil; but see keyVoteTerm.
func (v *voteFile) Set(key, value []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	values := []stableValue{{string(key), bytes.Clone(value)}}
	for _, e := range v.values {
		if e.key != string(key) {
			values = append(values, e)
		}
	}
	v.values = values
	if string(key) == keyVoteTerm {
		return nil
	}
	if err := v.save(); err != nil {
		v.values = v.saved // the term of the vote as well
		return fmt.Errorf("cluster: write term and vote: %w", err)
	}
	return nil
}

// Get is nil for what was never set.
func (v *voteFile) Get(key []byte) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, e := range v.values {
		if e.key == string(key) {
			return bytes.Clone(e.value), nil
		}
	}
	return nil, nil
}

// SetUint64 is Set for a number.
func (v *voteFile) SetUint64(key []byte, value uint64) error {
	return v.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// GetUint64 is Get for a number; 0 for what was never set.
func (v *voteFile) GetUint64(key []byte) (uint64, error) {
	b, err := v.Get(key)
	if err != nil || len(b) == 0 {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("cluster: %s is no number", key)
	}
	return binary.BigEndian.Uint64(b), nil
}

// Close closes the file.
func (v *voteFile) Close() error { return v.file.Close() }

// writeWhole puts a file with this content in place of any that is there: all of it or nothing, whatever happens meanwhile.
func writeWhole(path string, content []byte, noSync bool) error {
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(next, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil && !noSync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(next, path); err != nil || noSync {
		return err
	}
	return syncDir(filepath.Dir(path))
}
