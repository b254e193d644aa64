package cluster

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
)

// written is what this process has had written to disks.
func written(b *testing.B) (n int64) {
	b.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		b.Skip(err)
	}
	at := bytes.Index(text, []byte("\nwrite_bytes: "))
	if _, err := fmt.Sscanf(string(text[at+1:]), "write_bytes: %d", &n); err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkStoreLogs stores entries of 1 kB, one at a time, behind 20,000 others: what a commit writes and takes, beside the tree of older versions.
// TMPDIR must be on a real disk.
func BenchmarkStoreLogs(b *testing.B) {
	stores := map[string]func(dir string) (raft.LogStore, error){
		"files": func(dir string) (raft.LogStore, error) { return openSegments(dir, false) },
		"tree":  func(dir string) (raft.LogStore, error) { return openBolt(filepath.Join(dir, oldLogFile)) },
	}
	for name, open := range stores {
		b.Run(name, func(b *testing.B) {
			s, err := open(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			entry, index := bytes.Repeat([]byte("x"), 1000), uint64(0)
			store := func(n int) {
				list := make([]*raft.Log, n)
				for i := range list {
					index++
					list[i] = &raft.Log{Index: index, Term: 1, Data: entry}
				}
				if err := s.StoreLogs(list); err != nil {
					b.Fatal(err)
				}
			}
			for range 20 {
				store(1000)
			}
			before, from := written(b), index
			for b.Loop() {
				store(1)
			}
			b.ReportMetric(float64(written(b)-before)/float64(index-from), "disk-B/op")
		})
	}
}
