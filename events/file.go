package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	cdrName = "cdr.jsonl"
	// tailBytes is how much of an existing file is read back at the start.
	tailBytes = 2 << 20
	// writeBytes is about how much is encoded before it is handed to the file; the buffer is kept.
	writeBytes = 64 << 10
	// maxIdle bounds the room that an empty queue of records keeps.
	maxIdle = 8192
)

// cdrFile is cdr.jsonl: one JSON object a line. It belongs to New and then to Run's goroutine. size is the length
// up to which the file is known to be whole lines: a write that fails half way is cut off there again.
type cdrFile struct {
	path  string
	limit int64
	keep  int
	f     diskFile
	size  int64
	torn  bool // there may be bytes behind size that could not be cut off
	bad   bool // the last write failed; said once
	buf   []byte
	idle  []*call // empty: the room of the queue flushed last
	open  func(path string) (diskFile, error)
}

// diskFile is what cdrFile needs of *os.File; tests put a full disk in its place.
type diskFile interface {
	io.WriteCloser
	Truncate(size int64) error
	Sync() error
}

func openDisk(path string) (diskFile, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
}

// openCDRFile opens or creates the file, cuts off a line that a crash left half written, and returns the newest
// records in it.
func openCDRFile(cfg Config) (*cdrFile, []CDR, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("events: make the directory: %w", err)
	}
	c := &cdrFile{path: filepath.Join(cfg.Dir, cdrName), limit: cfg.RotateBytes, keep: cfg.Keep, open: openDisk}
	tail, size, err := readTail(c.path)
	if err != nil {
		return nil, nil, fmt.Errorf("events: read back %s: %w", c.path, err)
	}
	whole := bytes.LastIndexByte(tail, '\n') + 1
	c.size = size - int64(len(tail)-whole)
	if c.f, err = c.open(c.path); err != nil {
		return nil, nil, fmt.Errorf("events: open: %w", err)
	}
	c.torn = c.size != size
	c.mend()
	return c, parseTail(tail[:whole], cfg.CDRs), nil
}

// readTail returns the end of a file and its size; a file that does not exist is empty.
func readTail(path string) ([]byte, int64, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	tail := make([]byte, min(info.Size(), tailBytes))
	if _, err := f.ReadAt(tail, info.Size()-int64(len(tail))); err != nil && err != io.EOF {
		return nil, 0, err
	}
	return tail, info.Size(), nil
}

// parseTail reads the last n lines; lines that are no records are left out.
func parseTail(tail []byte, n int) []CDR {
	var found []CDR
	for len(tail) > 0 && len(found) < n {
		tail = tail[:len(tail)-1] // the line's end
		start := bytes.LastIndexByte(tail, '\n') + 1
		var r CDR
		if json.Unmarshal(tail[start:], &r) == nil && r.Call != "" {
			found = append(found, r)
		}
		tail = tail[:start]
	}
	reverse(found)
	return found
}

// mend cuts off a half written line, so that every line is a whole record.
func (c *cdrFile) mend() {
	if c.torn && c.f != nil && c.f.Truncate(c.size) == nil {
		c.torn = false
	}
}

// write appends whole lines. After an error nothing of b is in the file, and the caller keeps it.
func (c *cdrFile) write(b []byte) error {
	if c.f == nil {
		f, err := c.open(c.path)
		if err != nil {
			return err
		}
		c.f = f
	}
	c.mend()
	if c.torn {
		return errors.New("the file ends in half a line that cannot be cut off")
	}
	if _, err := c.f.Write(b); err != nil {
		c.torn = true
		c.mend()
		return err
	}
	c.size += int64(len(b))
	return nil
}

// rotate renames cdr.jsonl to cdr.jsonl.1, that to .2 and so on; the file after the last kept one goes.
func (c *cdrFile) rotate() error {
	c.f.Sync()
	c.f.Close()
	c.f = nil
	for n := c.keep; n > 0; n-- {
		from := c.path
		if n > 1 {
			from = fmt.Sprintf("%s.%d", c.path, n-1)
		}
		err := os.Rename(from, fmt.Sprintf("%s.%d", c.path, n))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	c.size = 0
	return nil
}

// flush writes all finished records, in Run's goroutine. What the disk refuses goes back to the front of the queue.
func (l *Log) flush() {
	if l.file == nil {
		return
	}
	l.mu.Lock()
	all := l.pending
	l.pending = l.file.idle
	l.mu.Unlock()
	l.file.idle = nil
	for records := all; len(records) > 0; {
		n := l.encode(records)
		if err := l.writeOut(l.file.buf); err != nil {
			l.giveBack(records, err)
			return
		}
		l.wrote(records[:n])
		records = records[n:]
	}
	if cap(all) <= maxIdle {
		clear(all)
		l.file.idle = all[:0]
	}
}

// encode fills the buffer with the lines of the first records and tells how many these are.
func (l *Log) encode(records []*call) (n int) {
	b := l.file.buf[:0]
	for n < len(records) && len(b) < writeBytes {
		r := &records[n].cdr
		n++
		line, err := appendCDR(b, r)
		if err != nil {
			l.cfg.Log.Error("a call record cannot be encoded", "call", r.Call, "err", err)
			continue
		}
		b = append(line, '\n')
	}
	l.file.buf = b
	return n
}

func (l *Log) writeOut(b []byte) error {
	c := l.file
	if c.f != nil && c.size > 0 && c.size+int64(len(b)) > c.limit {
		if err := c.rotate(); err != nil {
			return fmt.Errorf("rotate: %w", err)
		}
		l.count(func(s *Stats) { s.Rotations++ })
	}
	return c.write(b)
}

func (l *Log) wrote(records []*call) {
	if l.file.bad {
		l.file.bad = false
		l.cfg.Log.Info("call records are written again", "file", l.file.path)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Written += uint64(len(records))
	l.stats.FileBytes = l.file.size
	for _, c := range records {
		l.fold.written(c)
	}
}

func (l *Log) giveBack(records []*call, err error) {
	if !l.file.bad {
		l.file.bad = true
		l.cfg.Log.Error("call records cannot be written, they wait in memory; is the disk full?",
			"file", l.file.path, "waiting", len(records), "err", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.WriteErrors++
	all := append(records[:len(records):len(records)], l.pending...)
	for len(all) > l.cfg.MaxPending {
		l.drop(&all[0])
		all = all[1:]
	}
	l.pending = all
}

func (l *Log) count(change func(*Stats)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.stats)
}

// closeFile ends the file. Records that could not be written are lost now, and that is said.
func (l *Log) closeFile() error {
	if l.file == nil {
		return nil
	}
	l.mu.Lock()
	lost := len(l.pending)
	l.stats.Dropped += uint64(lost)
	l.pending = nil
	l.mu.Unlock()
	var err error
	if lost > 0 {
		err = fmt.Errorf("events: %d call records could not be written to %s", lost, l.file.path)
	}
	if l.file.f != nil {
		err = errors.Join(err, l.file.f.Sync(), l.file.f.Close())
	}
	return err
}
