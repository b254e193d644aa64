package events

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestHistoryReadsAllFilesAndPassesOverDamage(t *testing.T) {
	dir := t.TempDir()
	l, err := New(Config{Dir: dir, RotateBytes: 8 << 10, Keep: 3})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	from := time.Now()
	for n := range 100 {
		for _, k := range []Kind{CallStarted, CallEnded} {
			l.Publish(Event{Kind: k, Call: fmt.Sprint("call ", n), Tenant: "acme", From: "alice", To: "201"})
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "cdr.jsonl")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	half := len(b) / 2
	older, newer := b[:half], b[half:]
	if err := os.WriteFile(path+".1", slices.Concat(older, []byte("{half a line\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, newer, 0o600); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	damaged, err := l.History(t.Context(), from, func(r *CDR) bool { seen[r.Call] = true; return true })
	if err != nil || len(seen) < 98 || damaged < 1 || damaged > 2 { // the line that was cut in two is damaged as well
		t.Errorf("%d records, %d damaged lines, %v", len(seen), damaged, err)
	}
	if n := 0; true {
		_, err := l.History(t.Context(), from, func(*CDR) bool { n++; return n < 10 })
		if err != nil || n != 10 {
			t.Errorf("it went on to %d: %v", n, err)
		}
		if _, err := l.History(t.Context(), time.Now().Add(time.Hour), func(*CDR) bool { n++; return true }); err != nil || n != 10 {
			t.Errorf("records of the future: %d, %v", n, err)
		}
	}
	ctx, stop = context.WithCancel(t.Context())
	stop()
	if _, err := l.History(ctx, from, func(*CDR) bool { return true }); err == nil {
		t.Error("nobody waits for the answer any more, and it reads on")
	}
}
