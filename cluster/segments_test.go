package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func mustOpen(t testing.TB, dir string) *segments {
	t.Helper()
	s, err := openSegments(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func lastOf(s raft.LogStore) uint64 {
	last, _ := s.LastIndex()
	return last
}

func firstOf(s raft.LogStore) uint64 {
	first, _ := s.FirstIndex()
	return first
}

// faulty refuses writes and syncs when told to; what a refused sync was for may or may not be there later.
type faulty struct{ write, sync error }

func (f *faulty) under(s *segments) {
	write, sync := s.write, s.sync
	s.write = func(file *os.File, b []byte, at int64) (int, error) {
		if f.write != nil {
			n, _ := write(file, b[:len(b)/2], at)
			return n, f.write
		}
		return write(file, b, at)
	}
	s.sync = func(file *os.File) error {
		if f.sync != nil {
			return f.sync
		}
		return sync(file)
	}
}

var (
	errFull   = errors.New("no space left on device")
	errBroken = errors.New("input/output error")
)

// TestTheLogInFilesIsTheOneInMemory plays random histories against Raft's own store.
func TestTheLogInFilesIsTheOneInMemory(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { playLog(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func playLog(t *testing.T, rnd *rand.Rand) {
	dir := t.TempDir()
	var log *segments
	faults := &faulty{}
	open := func() {
		if log != nil {
			log.Close()
		}
		log = mustOpen(t, dir)
		log.most = 200 + uint32(rnd.IntN(2000))
		faults.under(log)
	}
	open()
	model := raft.NewInmemStore()
	term := uint64(1)
	batch := func(from uint64) (list []*raft.Log) {
		for i := range uint64(1 + rnd.IntN(5)) {
			l := &raft.Log{Index: from + i, Term: term, Type: raft.LogType(rnd.IntN(4)), Data: bytes.Repeat([]byte{byte(rnd.Uint32())}, rnd.IntN(200))}
			if rnd.IntN(3) == 0 {
				l.AppendedAt, l.Extensions = time.Unix(0, rnd.Int64()), []byte("ext")
			}
			list = append(list, l)
		}
		return list
	}
	both := func(what string, do func(raft.LogStore) error) {
		t.Helper()
		if err := do(log); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if err := do(model); err != nil {
			t.Fatal(err)
		}
	}
	for range 150 {
		first, last := firstOf(model), lastOf(model)
		switch rnd.IntN(10) {
		default:
			list := batch(last + 1)
			both("store", func(s raft.LogStore) error { return s.StoreLogs(list) })
		case 0: // a disk that refuses
			*faults = [...]faulty{{write: errFull}, {sync: errBroken}}[rnd.IntN(2)]
			if err := log.StoreLogs(batch(last + 1)); !errors.Is(err, errFull) && !errors.Is(err, errBroken) {
				t.Fatalf("refused: %v", err)
			}
			*faults = faulty{}
		case 1: // another leader
			if last == first {
				continue
			}
			term++
			from := first + 1 + uint64(rnd.IntN(int(last-first)))
			list := batch(from)
			both("cut", func(s raft.LogStore) error { return s.DeleteRange(from, last) })
			both("replace", func(s raft.LogStore) error { return s.StoreLogs(list) })
		case 2: // behind a snapshot
			if last == 0 {
				continue
			}
			to := first + uint64(rnd.IntN(int(last-first)+1))
			both("delete the front", func(s raft.LogStore) error { return s.DeleteRange(first, to) })
		case 3: // a snapshot of another node
			if rnd.IntN(4) > 0 || last == 0 {
				continue
			}
			list := batch(last + 2 + uint64(rnd.IntN(100)))
			both("leave a gap", func(s raft.LogStore) error { return s.StoreLogs(list) })
			if err := model.DeleteRange(first, list[0].Index-1); err != nil {
				t.Fatal(err)
			}
		case 4:
			open()
			if end := lastOf(log); end > last { // of a batch that was refused
				if err := log.DeleteRange(max(last+1, firstOf(log)), end); err != nil {
					t.Fatal(err)
				}
			}
			if back := firstOf(log); back > 0 && back < first { // their file was still there
				if err := log.DeleteRange(back, first-1); err != nil {
					t.Fatal(err)
				}
			}
		}
		sameLog(t, log, model)
	}
}

func sameLog(t *testing.T, log, model raft.LogStore) {
	t.Helper()
	first, last := firstOf(model), lastOf(model)
	if last == 0 || first > last {
		first, last = 0, 0
	}
	if f, l := firstOf(log), lastOf(log); f != first || l != last {
		t.Fatalf("entries %d to %d, want %d to %d", f, l, first, last)
	}
	for i := first; i <= last && i > 0; i++ {
		var is, want raft.Log
		if err := log.GetLog(i, &is); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		if err := model.GetLog(i, &want); err != nil {
			t.Fatalf("the model's entry %d: %v", i, err)
		}
		if is.Index != i || is.Term != want.Term || is.Type != want.Type || !is.AppendedAt.Equal(want.AppendedAt) || !bytes.Equal(is.Data, want.Data) || !bytes.Equal(is.Extensions, want.Extensions) {
			t.Fatalf("entry %d is %+v, want %+v", i, is, want)
		}
	}
	var l raft.Log
	for _, i := range []uint64{first - 1, last + 1} {
		if err := log.GetLog(i, &l); !errors.Is(err, raft.ErrLogNotFound) {
			t.Fatalf("entry %d of %d to %d: %v", i, first, last, err)
		}
	}
}

// threeBatches is a file with entries 1 to 6 in batches of two, and where each batch begins, the end behind them.
func threeBatches(t testing.TB, dir string) (path string, content []byte, at []int) {
	t.Helper()
	s := mustOpen(t, dir)
	for i := uint64(1); i < 7; i += 2 {
		at = append(at, max(int(s.bytes()), segmentHead))
		if err := s.StoreLogs(entries(i, i, i+1)); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	at = append(at, int(s.bytes()))
	path = s.path(s.seq)
	content, err := os.ReadFile(path)
	if err != nil || len(content) != at[3] {
		t.Fatalf("%d bytes, want %d, %v", len(content), at[3], err)
	}
	return path, content, at
}

// TestAnInterruptedWriteIsNoEntry has every write of the last batch end everywhere, and leave anything.
func TestAnInterruptedWriteIsNoEntry(t *testing.T) {
	dir := t.TempDir()
	path, whole, at := threeBatches(t, dir)
	try := func(what string, content []byte) {
		t.Helper()
		if bytes.HasPrefix(content, whole) {
			return // what was to be damaged is zero anyway
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openSegments(dir, true)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := terms(t, s); got != " 1:1 2:1 3:3 4:3" {
			t.Fatalf("%s: the log holds%s", what, got)
		}
		if err := s.StoreLogs(entries(9, 5)); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		s.Close()
		if s, err = openSegments(dir, true); err != nil {
			t.Fatalf("%s, again: %v", what, err)
		}
		if got := terms(t, s); got != " 1:1 2:1 3:3 4:3 5:9" {
			t.Fatalf("%s, again: the log holds%s", what, got)
		}
		s.Close()
		os.Remove(s.path(s.seq))
	}
	for cut := at[2]; cut < at[3]; cut++ {
		try(fmt.Sprint("cut at ", cut), whole[:cut])
		try(fmt.Sprint("zeroes from ", cut), append(bytes.Clone(whole[:cut]), make([]byte, at[3]-cut+5000)...))
		flipped := bytes.Clone(whole)
		flipped[cut] ^= 1 << (cut % 8)
		try(fmt.Sprint("a bit at ", cut), flipped)
		hole := bytes.Clone(whole) // pages reach the disk in any order
		clear(hole[at[2] : cut+1])
		try(fmt.Sprint("a hole to ", cut), hole)
	}
}

// TestDamageIsToldWhereItIs flips every bit-carrying byte before the last batch.
func TestDamageIsToldWhereItIs(t *testing.T) {
	dir := t.TempDir()
	path, whole, at := threeBatches(t, dir)
	for i := range at[2] {
		hurt := bytes.Clone(whole)
		hurt[i] ^= 1 << (i % 8)
		if err := os.WriteFile(path, hurt, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openSegments(dir, true)
		if !errors.Is(err, ErrLogDamaged) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "restore a backup") {
			t.Fatalf("byte %d: %v", i, err)
		}
		if s != nil {
			t.Fatal("it is opened all the same")
		}
		if i >= at[1] && !strings.Contains(err.Error(), fmt.Sprintf("at byte %d, where entry 3", at[1])) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, dir)
	hurt := bytes.Clone(whole)
	hurt[at[1]+20]++
	if err := os.WriteFile(path, hurt, 0o600); err != nil { // while it is open
		t.Fatal(err)
	}
	if err := s.GetLog(3, new(raft.Log)); !errors.Is(err, ErrLogDamaged) {
		t.Errorf("reading it: %v", err)
	}
}

func TestAMissingFileOfTheLogIsNoShorterLog(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	s.most = 1 // a file for each batch
	for i := range uint64(4) {
		if err := s.StoreLogs(entries(1, i+1)); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	if err := os.Remove(s.path(2)); err != nil {
		t.Fatal(err)
	}
	if _, err := openSegments(dir, true); !errors.Is(err, ErrLogDamaged) || !strings.Contains(err.Error(), "entries 2 to 2") {
		t.Errorf("got %v", err)
	}
	if err := os.Remove(s.path(1)); err != nil {
		t.Fatal(err)
	}
	if got := terms(t, mustOpen(t, dir)); got != " 3:1 4:1" { // the front may go
		t.Errorf("the log holds%s", got)
	}
}

// TestAFailedSyncIsNeverASuccess: the file it was for is not written to again, and what it was for does not come back once something stands in its place.
func TestAFailedSyncIsNeverASuccess(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	faults := &faulty{}
	faults.under(s)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.StoreLogs(entries(1, 1, 2)))
	spent := s.tail().path
	faults.sync = errBroken
	if err := s.StoreLogs(entries(1, 3)); !errors.Is(err, errBroken) || !strings.Contains(err.Error(), spent) {
		t.Fatalf("got %v", err)
	}
	if err := s.StoreLogs(entries(1, 3)); !errors.Is(err, errBroken) {
		t.Fatalf("got %v", err)
	}
	if got := terms(t, s); got != " 1:1 2:1" {
		t.Errorf("the log holds%s", got)
	}
	before, err := os.ReadFile(spent)
	must(err)
	faults.sync = nil
	must(s.StoreLogs(entries(2, 3)))
	must(s.StoreLogs(entries(2, 4)))
	if after, err := os.ReadFile(spent); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file was written to again, %v", err)
	}
	s.Close()
	s = mustOpen(t, dir)
	if got := terms(t, s); got != " 1:1 2:1 3:2 4:2" {
		t.Errorf("the log holds%s", got)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"+segmentExt))
	if len(files) != 2 {
		t.Errorf("attempts that failed have left files: %v", files)
	}
}

// TestAStartWritesTheLastBatchOnceMore, since a process may have ended behind a sync that failed, and says so when the disk refuses.
func TestAStartWritesTheLastBatchOnceMore(t *testing.T) {
	dir := t.TempDir()
	_, _, at := threeBatches(t, dir)
	s := &segments{dir: dir, most: segmentBytes, write: (*os.File).WriteAt}
	wrote, synced := 0, false
	s.write = func(_ *os.File, b []byte, offset int64) (int, error) {
		if int(offset) != at[2] {
			t.Errorf("it writes at %d", offset)
		}
		wrote = len(b)
		return len(b), nil
	}
	s.sync = func(*os.File) error { synced = true; return errBroken }
	if err := s.open(); !errors.Is(err, errBroken) || !synced || wrote != at[3]-at[2] {
		t.Errorf("wrote %d, synced %v: %v", wrote, synced, err)
	}
	s.Close()
}

func FuzzSegment(f *testing.F) {
	_, whole, at := threeBatches(f, f.TempDir())
	f.Add(whole)
	f.Add(whole[:at[2]+20])
	f.Add(append(bytes.Clone(whole[:at[1]]), whole[at[2]:]...))
	f.Fuzz(func(t *testing.T, content []byte) {
		s := &segment{path: "x"}
		if !s.readHead(content) {
			return
		}
		s.scan(content)
		for i, from := range s.at {
			to := s.end
			if i+1 < len(s.at) {
				to = s.at[i+1]
			}
			var l raft.Log
			if _, size, err := readRecord(content[from:to], s.sum, from, &l); err != nil || size != int(to-from) || l.Index != s.base+uint64(i) {
				t.Fatalf("entry %d at %d to %d: %d bytes, %v", l.Index, from, to, size, err)
			}
		}
		if s.batch > s.end || int(s.end) > len(content) {
			t.Fatalf("the last batch begins at %d and ends at %d of %d", s.batch, s.end, len(content))
		}
	})
}
