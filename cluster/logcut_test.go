package cluster

import (
	"errors"
	"fmt"
	"testing"

	"github.com/hashicorp/raft"

	"tandem/internal/simdisk"
)

// terms tells what a log holds: index and term of each entry.
func terms(t *testing.T, s raft.LogStore) (text string) {
	t.Helper()
	first, err := s.FirstIndex()
	if err != nil {
		t.Fatal(err)
	}
	last, err := s.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	for i := first; i <= last && i > 0; i++ {
		var l raft.Log
		if err := s.GetLog(i, &l); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		text += fmt.Sprintf(" %d:%d", i, l.Term)
	}
	return text
}

func entries(term uint64, indexes ...uint64) (list []*raft.Log) {
	for _, i := range indexes {
		list = append(list, &raft.Log{Index: i, Term: term})
	}
	return list
}

// TestALogThatCannotBeReplacedStaysAsItWas has a disk refuse what a new leader sends in place of entries that were never agreed on.
func TestALogThatCannotBeReplacedStaysAsItWas(t *testing.T) {
	disk := simdisk.New(raft.NewInmemStore(), 1)
	log := &logCut{LogStore: disk}
	expect := func(want string) {
		t.Helper()
		if got := terms(t, log); got != want {
			t.Errorf("the log holds%s, want%s", got, want)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	replace := func(term uint64, indexes ...uint64) error { // as Raft does it
		last, _ := log.LastIndex()
		must(log.DeleteRange(indexes[0], last))
		return log.StoreLogs(entries(term, indexes...))
	}
	must(log.StoreLogs(entries(1, 1, 2, 3, 4, 5)))
	full := errors.New("no space left on device")
	disk.Fail(full)
	if err := replace(2, 3, 4); !errors.Is(err, full) {
		t.Fatalf("got %v", err)
	}
	expect(" 1:1 2:1 3:1 4:1 5:1")
	if err := replace(3, 2); !errors.Is(err, full) { // another leader, from further back
		t.Fatalf("got %v", err)
	}
	expect(" 1:1 2:1 3:1 4:1 5:1")
	if got, _ := disk.LastIndex(); got != 1 {
		t.Errorf("the disk ends at %d", got)
	}
	disk.Fail(nil)
	must(log.StoreLogs(entries(1, 6))) // the first one leads again: everything was there for it
	expect(" 1:1 2:1 3:1 4:1 5:1 6:1")
	must(replace(4, 4))
	expect(" 1:1 2:1 3:1 4:4")
	disk.Fail(full)
	if replace(5, 4) == nil {
		t.Fatal("a full disk takes something")
	}
	disk.Fail(nil)
	must(log.StoreLogs(entries(5, 3, 4, 5)))
	expect(" 1:1 2:1 3:5 4:5 5:5")
	must(log.DeleteRange(1, 2)) // behind a snapshot
	expect(" 3:5 4:5 5:5")
	must(replace(6, 3))
	expect(" 3:6")
}
