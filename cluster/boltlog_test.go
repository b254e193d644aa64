package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

// oldDirectory is what a node of an older version leaves: n items, a snapshot in the middle.
func oldDirectory(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	bolt, err := openBolt(filepath.Join(dir, oldLogFile))
	if err != nil {
		t.Fatal(err)
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	node := begin(t, Config{Store: &Store{Log: bolt, Stable: bolt, Snapshots: snapshots}, Bootstrap: true})
	for i := range n {
		node.set(t, "a", fmt.Sprint(i), "v")
		if i == n/2 {
			if err := node.Snapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := node.stop(); err != nil {
		t.Fatal(err)
	}
	if err := bolt.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestTheLogOfAnOlderVersionIsTakenOver, and however far an attempt has come that was interrupted.
func TestTheLogOfAnOlderVersionIsTakenOver(t *testing.T) {
	dir := oldDirectory(t, 60)
	bolt, err := openBolt(filepath.Join(dir, oldLogFile))
	if err != nil {
		t.Fatal(err)
	}
	term, err := bolt.GetUint64([]byte("CurrentTerm"))
	if err != nil || term == 0 {
		t.Fatalf("term %d, %v", term, err)
	}
	bolt.Close()
	old, err := os.ReadFile(filepath.Join(dir, oldLogFile))
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for attempt, leave := range []func(){
		func() {},
		func() { write(oldLogFile, old) }, // all was copied, nothing was marked
		func() { // half of it was copied
			write(oldLogFile, old)
			os.Remove(filepath.Join(dir, votesFile))
			files, _ := filepath.Glob(filepath.Join(dir, logDir, "*"))
			for _, f := range files {
				os.Truncate(f, 300)
			}
			write(oldLogFile+".new", []byte("tan"))
			write(votesFile+".new", nil)
		},
	} {
		leave()
		n := begin(t, Config{Dir: dir, Bootstrap: true, NoSync: true})
		if rows, changes := n.a.state(); len(rows) != 60 || changes != 60 {
			t.Fatalf("attempt %d: %d rows and %d changes, want 60", attempt, len(rows), changes)
		}
		if got := n.Status().Term; got <= term {
			t.Errorf("attempt %d: term %d behind %d", attempt, got, term)
		}
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
	}
	n := begin(t, Config{Dir: dir, Bootstrap: true, NoSync: true})
	n.set(t, "a", "new", "v")
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	n = begin(t, Config{Dir: dir, Bootstrap: true, NoSync: true})
	if got := n.a.get("new"); got != "v" {
		t.Errorf("behind it: %q", got)
	}
}

// TestAnOlderVersionStopsAtADirectoryOfThisOne, with the place named, and begins no cluster.
func TestAnOlderVersionStopsAtADirectoryOfThisOne(t *testing.T) {
	dir := t.TempDir()
	n := begin(t, Config{Dir: dir, Bootstrap: true, NoSync: true})
	n.set(t, "a", "k", "v")
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, oldLogFile)
	if bolt, err := openBolt(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, %v", bolt, err)
	}
}
