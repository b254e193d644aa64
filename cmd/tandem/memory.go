package main

import (
	"bufio"
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"tandem"
)

// tuneCollector lets the heap of a node grow to five times what is live before it is collected, unless the environment says
// otherwise (GOGC). What lives is small; with Go's default, collections during 3,000 calls a second took p99 of INVITE to 180
// from 3 to 17 ms on two cores.
func tuneCollector() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}

// memoryShare is how much of the machine the heap may take before it is collected whatever it costs. The rest is for what Go's limit does
// not see (socket buffers, the page cache of the log) and for others.
const memoryShare = 0.75

// limitMemory sets the memory at which the collector works harder instead of letting the heap grow: asked bytes, or a share of what
// there is when asked is 0. GOMEMLIMIT goes before both.
func limitMemory(log *slog.Logger, asked int) {
	limit, source := int64(asked), "limits.memory_bytes"
	if os.Getenv("GOMEMLIMIT") != "" {
		log.Info("memory limit", "bytes", debug.SetMemoryLimit(-1), "by", "GOMEMLIMIT")
		return
	}
	if limit == 0 {
		var bytes uint64
		if bytes, source = machineMemory(os.DirFS("/")); bytes == 0 {
			log.Info("no memory limit: nothing tells how much memory there is; limits.memory_bytes sets one")
			return
		}
		limit = int64(float64(bytes) * memoryShare)
	}
	debug.SetMemoryLimit(limit)
	log.Info("memory limit", "bytes", limit, "by", source)
}

// machineMemory is the memory this process may use, 0 when unknown, and what says so: the machine's, or less when a control group
// or one above it bounds it.
func machineMemory(root fs.FS) (bytes uint64, source string) {
	bytes, source = memTotal(root), "MemTotal"
	less := func(n uint64, file string) {
		if n > 0 && (bytes == 0 || n < bytes) {
			bytes, source = n, "/"+file
		}
	}
	text, _ := fs.ReadFile(root, "proc/self/cgroup")
	for line := range strings.Lines(string(text)) {
		// hierarchy:controllers:path (cgroups(7)); version 2 is hierarchy 0 without controllers
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(part) != 3:
		case part[0] == "0" && part[1] == "":
			groupLimits(root, "sys/fs/cgroup", part[2], "memory.max", less)
			groupLimits(root, "sys/fs/cgroup/unified", part[2], "memory.max", less)
		case strings.Contains(","+part[1]+",", ",memory,"):
			groupLimits(root, "sys/fs/cgroup/memory", part[2], "memory.limit_in_bytes", less)
		}
	}
	return bytes, source
}

// groupLimits tells the limits of a control group and of those above it. Inside a container the path may be that of the host, which is not
// there; then the root of what is mounted is the container's own group.
func groupLimits(root fs.FS, mount, group, file string, tell func(uint64, string)) {
	for group = path.Clean("/" + group); ; group = path.Dir(group) {
		name := path.Join(mount, group, file)
		if text, err := fs.ReadFile(root, name); err == nil {
			n, _ := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64) // "max" is no number and no limit
			tell(n, name)
		}
		if group == "/" {
			return
		}
	}
}

func memTotal(root fs.FS) uint64 {
	text, _ := fs.ReadFile(root, "proc/meminfo")
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		if f := strings.Fields(s.Text()); len(f) == 3 && f[0] == "MemTotal:" && f[2] == "kB" {
			n, _ := strconv.ParseUint(f[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

const (
	calmLook    = 15 * time.Second
	calmLooks   = 4         // so many looks in a row without much to do are calm
	calmRate    = 10        // SIP requests a second that are not much
	calmPackets = 1000      // RTP packets a second that are not much
	worthwhile  = 128 << 20 // bytes that are worth giving back
)

// A calm watches for the quiet behind a load. Go collects an idle program every two minutes, and in between keeps as many pages as its last
// goals asked for; with GOGC at 400 that is five times what lived under the load, and what lives on after it (registrations, calls) is
// counted five times still. debug.FreeOSMemory collects and returns all pages that hold nothing. For a gigabyte
// it took 0.2 s of one processor and held no other goroutine up for longer than 2 ms: fine when there is nothing else to do, so it is called
// once in each quiet time, and only when it brings something.
type calm struct {
	requests, packets uint64
	quiet             int // looks in a row
}

// look takes counters since the start and what the heap holds, used or not, beside what was alive last, and tells whether to give
// memory back now.
func (c *calm) look(requests, packets, heap, live uint64) bool {
	seconds := uint64(calmLook / time.Second)
	busy := requests-c.requests > calmRate*seconds || packets-c.packets > calmPackets*seconds
	c.requests, c.packets = requests, packets
	if busy {
		c.quiet = 0
		return false
	}
	c.quiet++
	return c.quiet == calmLooks && heap > 2*live && heap-live > worthwhile
}

// restBehindLoad gives memory back in quiet times, until ctx ends.
func restBehindLoad(ctx context.Context, n *tandem.Node, log *slog.Logger) {
	tick := time.NewTicker(calmLook)
	defer tick.Stop()
	var c calm
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		requests, packets := n.Activity()
		if before, live := heapSize(); c.look(requests, packets, before, live) {
			debug.FreeOSMemory()
			after, _ := heapSize()
			log.Info("memory given back behind a load", "bytes", int64(before)-int64(after))
		}
	}
}

// heapSize is what the heap holds of the machine's memory and what of it was alive at the last collection.
func heapSize() (held, live uint64) {
	s := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(s)
	return s[0].Value.Uint64() + s[1].Value.Uint64() + s[2].Value.Uint64(), s[3].Value.Uint64()
}
