package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func restoreInto(b []byte, machines map[string]Machine) error {
	return newFSM(machines).Restore(io.NopCloser(bytes.NewReader(b)))
}

func TestSnapshotsCarryAllMachinesInOneStream(t *testing.T) {
	a, b := newTable(), newTable()
	for i := range 20_000 { // several chunks
		a.Apply(setCmd(fmt.Sprint("key", i), strings.Repeat("v", i%50)))
	}
	stream, err := sections(map[string]Machine{"a": a, "b": b})
	if err != nil {
		t.Fatal(err)
	}
	a2, b2 := newTable(), newTable()
	b2.Apply(setCmd("old", "must go"))
	if err := restoreInto(stream, map[string]Machine{"a": a2, "b": b2}); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a.rows, a2.rows) || a.changes != a2.changes || len(b2.rows) != 0 {
		t.Errorf("restored %d and %d rows, want %d and 0", len(a2.rows), len(b2.rows), len(a.rows))
	}
}

func TestEqualStatesGiveEqualStreams(t *testing.T) {
	write := func(w io.Writer) error { _, err := w.Write([]byte("same")); return err }
	one := fixed{write}
	first, _ := sections(map[string]Machine{"x": one, "m": one, "a": one})
	for range 10 {
		if again, _ := sections(map[string]Machine{"a": one, "m": one, "x": one}); !bytes.Equal(first, again) {
			t.Fatal("the order of sections is not fixed")
		}
	}
}

// fixed is a machine that only writes.
type fixed struct{ write func(io.Writer) error }

func (f fixed) Apply([]byte) any                         { return nil }
func (f fixed) Snapshot() (func(io.Writer) error, error) { return f.write, nil }
func (f fixed) Restore(r io.Reader) error                { _, err := io.Copy(io.Discard, r); return err }

func TestASnapshotCutAnywhereIsRefused(t *testing.T) {
	a, b := newTable(), newTable()
	a.Apply(setCmd("k", "v"))
	stream, err := sections(map[string]Machine{"a": a, "b": b})
	if err != nil {
		t.Fatal(err)
	}
	for n := range stream {
		if err := restoreInto(stream[:n], map[string]Machine{"a": newTable(), "b": newTable()}); !errors.Is(err, errSnapshot) {
			t.Errorf("cut at %d of %d: got %v", n, len(stream), err)
		}
	}
}

func TestAFlippedBitIsFound(t *testing.T) {
	m := fixed{func(w io.Writer) error { _, err := w.Write(bytes.Repeat([]byte("state"), 100)); return err }}
	stream, err := sections(map[string]Machine{"a": m})
	if err != nil {
		t.Fatal(err)
	}
	for n := range stream {
		bad := bytes.Clone(stream)
		bad[n] ^= 1 << rand.IntN(8)
		if err := restoreInto(bad, map[string]Machine{"a": m}); err == nil {
			t.Errorf("byte %d of %d was changed and nobody saw it", n, len(stream))
		}
	}
}

func TestASnapshotWithAMachineWeDoNotHaveIsRefused(t *testing.T) {
	stream, _ := sections(map[string]Machine{"a": newTable(), "new": newTable()})
	err := restoreInto(stream, map[string]Machine{"a": newTable()})
	if err == nil || !strings.Contains(err.Error(), `"new"`) || !strings.Contains(err.Error(), "upgrade") {
		t.Errorf("got %v", err)
	}
}

func TestAMachineThatTheSnapshotDoesNotKnowStaysEmpty(t *testing.T) {
	a := newTable()
	a.Apply(setCmd("k", "v"))
	stream, _ := sections(map[string]Machine{"a": a})
	a2, fresh := newTable(), newTable()
	if err := restoreInto(stream, map[string]Machine{"a": a2, "fresh": fresh}); err != nil {
		t.Fatal(err)
	}
	if len(a2.rows) != 1 || len(fresh.rows) != 0 {
		t.Errorf("got %v and %v", a2.rows, fresh.rows)
	}
}

func TestAMachineMayLeaveBytesUnread(t *testing.T) {
	big := fixed{func(w io.Writer) error { _, err := w.Write(make([]byte, 200_000)); return err }}
	a := newTable()
	a.Apply(setCmd("k", "v"))
	stream, _ := sections(map[string]Machine{"1": big, "2": a})
	a2 := newTable()
	if err := restoreInto(stream, map[string]Machine{"1": lazy{}, "2": a2}); err != nil || a2.changes != 1 {
		t.Errorf("got %v, %d changes", err, a2.changes)
	}
}

// lazy reads one byte only.
type lazy struct{ fixed }

func (lazy) Restore(r io.Reader) error { _, err := r.Read(make([]byte, 1)); return err }

func TestAFailingMachineFailsTheSnapshot(t *testing.T) {
	full := errors.New("disk full")
	_, err := sections(map[string]Machine{"a": fixed{func(io.Writer) error { return full }}})
	if !errors.Is(err, full) || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("got %v", err)
	}
	if _, err := writeSections(failing{}, []section{{"a", func(w io.Writer) error {
		_, err := w.Write(make([]byte, 1<<20))
		return err
	}}}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a failing sink: got %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func FuzzReadSections(f *testing.F) {
	a := newTable()
	a.Apply(setCmd("k", "v"))
	stream, _ := sections(map[string]Machine{"a": a, "b": newTable()})
	f.Add(stream)
	f.Add([]byte(snapshotMagic + "\x00\x00"))
	f.Add([]byte(snapshotMagic + "\x01a\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		readSections(bytes.NewReader(b), func(_ string, r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		})
	})
}
