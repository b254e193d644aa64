//go:build linux

// Package gauge measures a server from outside: processor time, memory, and how long things took.
package gauge

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// tick is USER_HZ: the unit of utime and stime in /proc/PID/stat, fixed by the kernel's ABI.
const tick = 10 * time.Millisecond

// Process is a server: one process with its threads, and its children (Kamailio's workers).
type Process struct {
	pids []int
}

// NewProcess finds pid and all its descendants. Workers that are forked later are not seen.
func NewProcess(pid int) (*Process, error) {
	children := map[int][]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if fields, err := stat(child); err == nil {
			parent, _ := strconv.Atoi(string(fields[1]))
			children[parent] = append(children[parent], child)
		}
	}
	if _, err := stat(pid); err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	p := &Process{pids: []int{pid}}
	for i := 0; i < len(p.pids); i++ {
		p.pids = append(p.pids, children[p.pids[i]]...)
	}
	return p, nil
}

// CPU is utime+stime of all threads of all processes so far.
func (p *Process) CPU() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range p.pids {
		fields, err := stat(pid)
		if err != nil {
			return 0, fmt.Errorf("process %d has gone: %w", pid, err)
		}
		user, _ := strconv.ParseInt(string(fields[11]), 10, 64)
		system, _ := strconv.ParseInt(string(fields[12]), 10, 64)
		sum += time.Duration(user+system) * tick
	}
	return sum, nil
}

// Memory is the resident bytes of all processes. Pages that several of them share are divided between them (PSS), so that Kamailio's
// shared memory counts once.
func (p *Process) Memory() (int64, error) {
	var sum int64
	for _, pid := range p.pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, err
		}
		_, rest, _ := bytes.Cut(text, []byte("\nPss:"))
		fields := bytes.Fields(rest)
		if len(fields) == 0 {
			return 0, fmt.Errorf("process %d: no Pss in smaps_rollup", pid)
		}
		kilo, _ := strconv.ParseInt(string(fields[0]), 10, 64)
		sum += kilo << 10
	}
	return sum, nil
}

// stat is the fields of /proc/PID/stat after the command name: [0] state, [1] parent, [11] utime, [12] stime.
func stat(pid int) ([][]byte, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	end := bytes.LastIndexByte(text, ')')
	fields := bytes.Fields(text[end+1:])
	if end < 0 || len(fields) < 13 {
		return nil, fmt.Errorf("/proc/%d/stat: unexpected form", pid)
	}
	return fields, nil
}

// Times reads how much processor time a server and this program have used so far. Without a server its time is 0.
func Times(server *Process) (theirs, own time.Duration, err error) {
	if server != nil {
		theirs, err = server.CPU()
	}
	var use unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &use) == nil {
		own = time.Duration(use.Utime.Nano() + use.Stime.Nano())
	}
	return theirs, own, err
}
