//go:build linux

package gauge

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Heap asks a server how many bytes it has in use inside. "" as address means nobody can be asked.
type Heap struct {
	Admin string // Tandem: http://host:port of the admin listener; the collector is run before the heap is read
	RPC   string // Kamailio: host:port of jsonrpcs' UDP socket; used shared memory
}

// Known reports whether there is somebody to ask.
func (h Heap) Known() bool { return h.Admin != "" || h.RPC != "" }

// Bytes is the live heap (Tandem) or the used shared memory (Kamailio).
func (h Heap) Bytes() (int64, error) {
	switch {
	case h.Admin != "":
		return goHeap(h.Admin)
	case h.RPC != "":
		return sharedMemory(h.RPC)
	}
	return 0, fmt.Errorf("no address to ask for the heap")
}

// goHeap runs the server's collector by asking for a heap profile with gc=1, then reads the heap from /metrics, or, when that does not
// carry Go's own figures, from the profile's text.
func goHeap(base string) (int64, error) {
	client := http.Client{Timeout: 20 * time.Second}
	var profiled int64 = -1
	for range 2 { // twice: the first collection only unlinks what sync.Pool and finalizers still hold
		n, err := find(&client, base+"/debug/pprof/heap?gc=1&debug=1", "# HeapAlloc = ")
		if err == nil {
			profiled = n
		}
	}
	n, err := find(&client, base+"/metrics", "go_memstats_heap_alloc_bytes ")
	if err == nil {
		return n, nil
	}
	if profiled >= 0 {
		return profiled, nil
	}
	return 0, err
}

// find is the number behind a line's prefix.
func find(client *http.Client, url, prefix string) (int64, error) {
	answer, err := client.Get(url)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: %s", url, answer.Status)
	}
	lines := bufio.NewScanner(io.LimitReader(answer.Body, 64<<20))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), prefix); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			return int64(value), err
		}
	}
	return 0, fmt.Errorf("%s: no line %q", url, prefix)
}

// sharedMemory asks Kamailio's core.shmmem for real_used: live fragments with the allocator's own overhead, as Go's heap counts its size classes.
func sharedMemory(address string) (int64, error) {
	conn, err := net.DialTimeout("udp", address, time.Second)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write([]byte(`{"jsonrpc":"2.0","method":"core.shmmem","id":1}`)); err != nil {
		return 0, err
	}
	buffer := make([]byte, 65536)
	n, err := conn.Read(buffer)
	if err != nil {
		return 0, fmt.Errorf("core.shmmem at %s: %w", address, err)
	}
	var reply struct {
		Result struct {
			Used int64 `json:"real_used"`
		} `json:"result"`
	}
	if err := json.Unmarshal(buffer[:n], &reply); err != nil {
		return 0, fmt.Errorf("core.shmmem at %s: %w", address, err)
	}
	return reply.Result.Used, nil
}
