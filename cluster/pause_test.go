package cluster

import (
	"errors"
	"fmt"
	"testing"
)

// While the log is closed another process may have it and write to it. What it wrote is there behind Resume, and nothing is applied twice.
func TestPausedLogBelongsToAnotherProcessAndComesBack(t *testing.T) {
	for _, snapshot := range []bool{false, true} {
		t.Run(fmt.Sprintf("snapshot %v", snapshot), func(t *testing.T) {
			cfg := Config{Dir: t.TempDir(), Bootstrap: true, NoSync: true}
			if snapshot {
				cfg.SnapshotEntries = 4
			}
			n := begin(t, cfg)
			for i := range 10 {
				n.set(t, "a", "k", fmt.Sprint(i))
			}
			if err := n.Pause(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := n.Propose(t.Context(), "a", setCmd("k", "lost")); !errors.Is(err, ErrClosed) {
				t.Errorf("a change of the paused log: %v", err)
			}
			if got := n.a.get("k"); got != "9" {
				t.Errorf("paused: %q", got)
			}
			other := begin(t, cfg)
			other.set(t, "a", "of", "the other")
			other.stop()
			n.Resume()
			if err := n.WaitReady(t.Context()); err != nil {
				t.Fatal(err)
			}
			n.set(t, "a", "k", "10")
			if got, of := n.a.get("k"), n.a.get("of"); got != "10" || of != "the other" {
				t.Errorf("behind it: %q, %q", got, of)
			}
			if changes := n.a.count(); changes != 12 {
				t.Errorf("%d changes were applied, want 12", changes)
			}
		})
	}
}

// The other process may take its time to let go.
func TestResumedLogWaitsUntilItIsFree(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Bootstrap: true, NoSync: true}
	n := begin(t, cfg)
	n.set(t, "a", "k", "1")
	if err := n.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := begin(t, cfg)
	n.Resume()
	other.set(t, "a", "k", "2") // it is still its own
	other.stop()
	if err := n.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := n.a.get("k"); got != "2" {
		t.Errorf("got %q", got)
	}
}

func (m *table) get(key string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rows[key]
}

func (m *table) count() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changes
}
