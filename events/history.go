package events

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// maxLine bounds a line of cdr.jsonl; a longer one is not ours.
const maxLine = 1 << 20

// History gives visit the records of the calls that began at from or later, roughly in the order in which they ended, until it returns false:
// those in the files, without the last second, or those of CDRs when no files are written. Lines that cannot be read are passed over and
// counted in damaged. Any goroutine; it reads up to Keep+1 files of RotateBytes.
func (l *Log) History(ctx context.Context, from time.Time, visit func(*CDR) bool) (damaged int, err error) {
	if l.file == nil {
		for _, r := range l.CDRs(l.cfg.CDRs) {
			if !r.Started.Before(from) && !visit(&r) {
				break
			}
		}
		return 0, nil
	}
	files, err := l.file.generations()
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, maxLine)
		for lines.Scan() {
			if err := ctx.Err(); err != nil {
				return damaged, err
			}
			var r CDR
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				damaged++
			} else if !r.Started.Before(from) && !visit(&r) {
				return damaged, nil
			}
		}
		if err := lines.Err(); err != nil {
			return damaged, fmt.Errorf("events: read %s: %w", f.Name(), err)
		}
	}
	return damaged, nil
}

// generations opens the files, the oldest first. One that is renamed meanwhile is not opened twice.
func (c *cdrFile) generations() (list []*os.File, err error) {
	var last fs.FileInfo
	for n := range c.keep + 1 {
		name := c.path
		if n > 0 {
			name = fmt.Sprintf("%s.%d", c.path, n)
		}
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return list, err
		}
		list = append(list, f)
		info, err := f.Stat()
		if err != nil {
			return list, err
		}
		if last != nil && os.SameFile(last, info) {
			list = list[:len(list)-1]
			f.Close()
			continue
		}
		last = info
	}
	slices.Reverse(list)
	return list, nil
}
