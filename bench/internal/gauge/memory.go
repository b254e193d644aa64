//go:build linux

package gauge

import (
	"fmt"
	"os"
	"strings"
)

// Slab is the bytes of the kernel's small objects on the whole machine: sockets, files, inodes. 0 when it cannot be read.
func Slab() int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kilo int64
		if n, _ := fmt.Sscanf(line, "Slab: %d kB", &kilo); n == 1 {
			return kilo << 10
		}
	}
	return 0
}

// Files is how many descriptors are open in all processes.
func (p *Process) Files() (n int64) {
	for _, pid := range p.pids {
		if open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err == nil {
			n += int64(len(open))
		}
	}
	return n
}
