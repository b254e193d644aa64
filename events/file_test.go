package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func textLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func endCall(l *Log, id string) {
	l.Publish(Event{Kind: CallStarted, Call: id, From: "1000", To: "1001"})
	l.Publish(Event{Kind: CallEnded, Call: id, Status: 486})
}

// readCalls returns the ids in a file and fails on any line that is no whole record.
func readCalls(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for line := range strings.Lines(string(b)) {
		var r CDR
		if err := json.Unmarshal([]byte(line), &r); err != nil || !strings.HasSuffix(line, "\n") {
			t.Fatalf("%s: bad line %q: %v", path, line, err)
		}
		ids = append(ids, r.Call)
	}
	return ids
}

func TestRecordsAreWrittenOnceASecondAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l := newLog(t, Config{Dir: dir})
		stop := running(t, l)
		path := filepath.Join(dir, cdrName)
		endCall(l, "a")
		synctest.Wait()
		if got := readCalls(t, path); len(got) != 0 {
			t.Errorf("got %v before the second was over", got)
		}
		time.Sleep(1100 * time.Millisecond)
		if got := readCalls(t, path); fmt.Sprint(got) != "[a]" {
			t.Errorf("after a second: got %v, want [a]", got)
		}
		endCall(l, "b")
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if got := readCalls(t, path); fmt.Sprint(got) != "[a b]" {
			t.Errorf("at the end: got %v, want [a b]", got)
		}
		if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
			t.Errorf("the file has mode %v, want 0600", info.Mode())
		}
	})
}

func TestRecordsAreReadBackAndATornLineIsCutOff(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, cdrName)
	whole := `{"call":"a","result":"busy"}` + "\nnot json\n" + `{"call":"b","result":"busy"}` + "\n"
	if err := os.WriteFile(path, []byte(whole+`{"call":"c","res`), 0o600); err != nil {
		t.Fatal(err)
	}
	l := newLog(t, Config{Dir: dir})
	defer l.closeFile()
	records := l.CDRs(10)
	if len(records) != 2 || records[0].Call != "a" || records[1].Call != "b" {
		t.Errorf("read back %+v, want a and b", records)
	}
	endCall(l, "d")
	l.flush()
	b, _ := os.ReadFile(path)
	if rest, ok := strings.CutPrefix(string(b), whole); !ok || !strings.HasPrefix(rest, `{"call":"d"`) {
		t.Errorf("the file holds %q", b)
	}
}

func TestFilesAreRotatedAndTheOldestGoes(t *testing.T) {
	dir := t.TempDir()
	l := newLog(t, Config{Dir: dir, RotateBytes: 1000, Keep: 2})
	for i := range 30 {
		endCall(l, fmt.Sprintf("c%02d", i))
		l.flush()
	}
	if err := l.closeFile(); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) != 3 {
		t.Fatalf("got files %v, want three", files)
	}
	var ids []string
	for _, name := range []string{".2", ".1", ""} {
		info, err := os.Stat(filepath.Join(dir, cdrName+name))
		if err != nil || info.Size() > 1000 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		ids = append(ids, readCalls(t, filepath.Join(dir, cdrName+name))...)
	}
	for i, id := range ids { // the newest ones, no gap, in order
		if want := fmt.Sprintf("c%02d", 30-len(ids)+i); id != want {
			t.Fatalf("got %v", ids)
		}
	}
	if s := l.Stats(); s.Written != 30 || s.Rotations < 3 || s.WriteErrors != 0 {
		t.Errorf("got %+v", s)
	}
}

// fullDisk takes so many bytes and then says ENOSPC, after writing what still fits.
type fullDisk struct {
	b    []byte
	room int
	cut  bool // truncate works
}

func (d *fullDisk) Write(p []byte) (int, error) {
	n := min(len(p), d.room)
	d.b, d.room = append(d.b, p[:n]...), d.room-n
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func (d *fullDisk) Truncate(size int64) error {
	if !d.cut {
		return syscall.EIO
	}
	d.room += len(d.b) - int(size)
	d.b = d.b[:size]
	return nil
}
func (d *fullDisk) Sync() error  { return nil }
func (d *fullDisk) Close() error { return nil }

func TestAFullDiskKeepsRecordsInMemoryUntilThereIsRoom(t *testing.T) {
	for _, cut := range []bool{true, false} {
		t.Run(fmt.Sprint("truncate works: ", cut), func(t *testing.T) {
			var log bytes.Buffer
			l := newLog(t, Config{Dir: t.TempDir(), MaxPending: 5, Log: textLog(&log)})
			l.file.f.Close()
			disk := &fullDisk{room: 200, cut: cut}
			l.file.f = disk
			for i := range 4 {
				endCall(l, fmt.Sprint("c", i))
				l.flush()
			}
			if s := l.Stats(); s.Written != 1 || s.WriteErrors != 3 || s.Pending != 3 || s.Dropped != 0 {
				t.Fatalf("while full: got %+v", s)
			}
			for i := range 4 { // 7 wait, 5 may
				endCall(l, fmt.Sprint("d", i))
			}
			l.flush()
			if s := l.Stats(); s.Pending != 5 || s.Dropped != 2 {
				t.Fatalf("overfull: got %+v", s)
			}
			disk.room, disk.cut = 1<<20, true
			l.flush()
			if s := l.Stats(); s.Written != 6 || s.Pending != 0 {
				t.Fatalf("with room again: got %+v", s)
			}
			var ids []string
			for line := range bytes.Lines(disk.b) {
				var r CDR
				if err := json.Unmarshal(line, &r); err != nil {
					t.Fatalf("torn line %q", line)
				}
				ids = append(ids, r.Call)
			}
			if got, want := fmt.Sprint(ids), "[c0 c3 d0 d1 d2 d3]"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if got := strings.Count(log.String(), "cannot be written"); got != 1 {
				t.Errorf("the operator was told %d times, want once:\n%s", got, &log)
			}
		})
	}
}

func TestRecordsThatCannotBeWrittenAtTheEndAreSaid(t *testing.T) {
	l := newLog(t, Config{Dir: t.TempDir()})
	l.file.f.Close()
	l.file.f = &fullDisk{cut: true}
	endCall(l, "a")
	l.flush()
	if err := l.closeFile(); err == nil || !strings.Contains(err.Error(), "1 call records could not be written") {
		t.Errorf("got %v", err)
	}
}

func TestADirectoryThatCannotBeMadeIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Dir: filepath.Join(file, "sub")}); err == nil {
		t.Error("New took a directory below a file")
	}
}

func FuzzParseTail(f *testing.F) {
	f.Add([]byte("{\"call\":\"a\"}\n{}\nx\n\n"), 2)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		whole := b[:bytes.LastIndexByte(b, '\n')+1]
		if got := parseTail(whole, n); len(got) > max(n, 0) {
			t.Errorf("got %d records, want at most %d", len(got), n)
		}
	})
}

// BenchmarkSecond is one second of 3,000 answered calls, 1,000 of them open at any time: their events and their lines.
func BenchmarkSecond(b *testing.B) {
	l, err := New(Config{Dir: b.TempDir(), Node: "node1"})
	if err != nil {
		b.Fatal(err)
	}
	defer l.closeFile()
	const calls, open = 3000, 1000
	var ids [calls + open]string
	for i := range ids {
		ids[i] = fmt.Sprintf("k1-%08d", i)
	}
	b.ReportAllocs()
	for b.Loop() {
		for i := range calls + open {
			if i < calls {
				id := ids[i]
				l.Publish(Event{Kind: CallStarted, Call: id, Tenant: "acme", CallID: "a84b4c76e66710@192.0.2.1", From: "1000", To: "1001", Peer: "192.0.2.1:5060"})
				l.Publish(Event{Kind: CallRouted, Call: id, Tenant: "acme", Reason: "user.bob"})
				l.Publish(Event{Kind: CallRinging, Call: id, Tenant: "acme", Status: 180})
				l.Publish(Event{Kind: CallAnswered, Call: id, Tenant: "acme", Status: 200, To: "bob"})
			}
			if i >= open {
				l.Publish(Event{Kind: CallEnded, Call: ids[i-open], Tenant: "acme", Status: 200, Reason: "the caller hung up"})
			}
		}
		l.flush()
	}
}

func BenchmarkFlush(b *testing.B) {
	l, err := New(Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer l.closeFile()
	b.ReportAllocs()
	for b.Loop() { // one second of 3,000 calls
		for i := range 3000 {
			endCall(l, fmt.Sprint("call-", i))
		}
		l.flush()
	}
}
