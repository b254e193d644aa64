package cluster

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// at is when the entries of these tests are written.
var at = time.UnixMilli(0x81)

func TestEntryLayoutIsStable(t *testing.T) {
	got := hex.EncodeToString(encodeEntry(at, []logItem{
		{"n1", 5, 1, "a", []byte{1, 2}}, {"n1", 5, 2, "bc", nil}, {"n2", 6, 300, "a", []byte{3}},
	}))
	//       ver time     names  a     bc       origins  n1 5         n2 6         items  a cmd
	want := "02" + "8101" + "02" + "0161" + "026263" + "02" + "026e31" + "05" + "026e32" + "06" + "03" + "000001" + "00" + "020102" +
		// bc                  a cmd
		"000002" + "01" + "00" + "0001ac02" + "00" + "0103"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestEntriesOfTheFirstVersionAreStillRead(t *testing.T) {
	e, err := decodeEntry([]byte{1, 1, 1, 'a', 1, 0, 0, 2, 7, 8})
	if err != nil || len(e.items) != 1 || e.items[0].machine != "a" || e.items[0].origin != "" || !bytes.Equal(e.items[0].cmd, []byte{7, 8}) {
		t.Errorf("got %+v, %v", e, err)
	}
}

func TestEntriesComeBackAsTheyWere(t *testing.T) {
	items := []logItem{{"n1", 1, 7, "location", []byte("x")}, {"n2", 3, 1 << 40, "auth", nil}, {"n1", 1, 8, "location", bytes.Repeat([]byte("y"), 70_000)}}
	e, err := decodeEntry(encodeEntry(at, items))
	if err != nil || e.time != at.UnixMilli() {
		t.Fatal(e.time, err)
	}
	for i, it := range e.items {
		want := items[i]
		if it.machine != want.machine || !bytes.Equal(it.cmd, want.cmd) || it.optional || it.origin != want.origin || it.incarnation != want.incarnation || it.seq != want.seq {
			t.Errorf("item %d differs", i)
		}
	}
}

func TestDamagedEntriesAreRefused(t *testing.T) {
	good := encodeEntry(at, []logItem{{machine: "a", cmd: []byte("hello")}, {machine: "b", cmd: []byte("you")}})
	for n := range good {
		if _, err := decodeEntry(good[:n]); !errors.Is(err, errEntry) {
			t.Errorf("cut at %d: got %v", n, err)
		}
	}
	if _, err := decodeEntry(append(good, 0)); !errors.Is(err, errEntry) {
		t.Errorf("one byte too many: got %v", err)
	}
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(encodeEntry(at, []logItem{{machine: "a", cmd: []byte("hello")}, {machine: "b"}}))
	f.Add([]byte{1, 0, 0})
	f.Add([]byte{1, 255, 255, 255, 255, 15})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEntry(b)
		if err != nil {
			return
		}
		var items []logItem
		for _, it := range e.items {
			items = append(items, it.logItem)
		}
		again, err := decodeEntry(encodeEntry(at, items))
		if err != nil || len(again.items) != len(e.items) {
			t.Fatalf("second time: %v", err)
		}
	})
}

// panics returns the text with which f panics.
func panics(t *testing.T, f func()) (text string) {
	t.Helper()
	defer func() { text = fmt.Sprint(recover()) }()
	f()
	t.Error("no panic")
	return ""
}

func TestANodeStopsRatherThanSkipWhatItMustKnow(t *testing.T) {
	f := newFSM(map[string]Machine{"a": newTable()})
	for name, test := range map[string]struct {
		data []byte
		want []string
	}{
		"entry version": {[]byte{9, 0, 0}, []string{"log index 7", "version 9", "upgrade"}},
		"damaged":       {[]byte{1, 1}, []string{"log index 7", "damaged"}},
		"unknown flags": {[]byte{1, 1, 1, 'a', 1, 2, 0, 1, 1}, []string{"log index 7", "flags 0x2"}},
		"machine":       {encodeEntry(at, []logItem{{machine: "zz"}}), []string{"log index 7", `"zz"`, "upgrade"}},
		"command":       {encodeEntry(at, []logItem{{machine: "a", cmd: []byte{77}}}), []string{"log index 7", `"a"`, "kind 77 is not known"}},
	} {
		text := panics(t, func() { f.Apply(&raft.Log{Index: 7, Data: test.data}) })
		for _, want := range test.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q does not say %q", name, text, want)
			}
		}
	}
}

func TestOptionalItemsOfUnknownMachinesAreSkippedAndCounted(t *testing.T) {
	a := newTable()
	f := newFSM(map[string]Machine{"a": a})
	data := []byte{1, 2, 1, 'z', 1, 'a', 2, flagOptional, 0, 1, 9, 0, 1, 3, 1, 1, 'k'}
	f.Apply(&raft.Log{Index: 1, Data: data})
	if _, changes := a.state(); changes != 1 || f.skipped.Load() != 1 {
		t.Errorf("%d changes, %d skipped", changes, f.skipped.Load())
	}
}

func TestAnItemThatStandsInTheLogTwiceIsAppliedOnce(t *testing.T) {
	a := newTable()
	f := newFSM(map[string]Machine{"a": a})
	apply := func(incarnation uint64, seqs ...uint64) {
		var items []logItem
		for _, seq := range seqs {
			items = append(items, logItem{"n1", incarnation, seq, "a", setCmd(fmt.Sprint(seq), "v")})
		}
		f.Apply(&raft.Log{Data: encodeEntry(at, items)})
	}
	apply(5, 1, 2, 3)
	apply(5, 2, 3, 4) // sent again to the next leader
	apply(6, 1)       // the node has started anew
	apply(5, 5)       // what an earlier start sent, from a leader that was slow
	if _, changes := a.state(); changes != 5 || f.twice.Load() != 3 {
		t.Errorf("%d changes and %d repetitions, want 5 and 3", changes, f.twice.Load())
	}
	var snapshot bytes.Buffer
	write, _ := f.origins.Snapshot()
	if err := write(&snapshot); err != nil {
		t.Fatal(err)
	}
	other := newOrigins()
	if err := other.Restore(&snapshot); err != nil || other.of("n1") != (origin{6, 1}) {
		t.Errorf("restored %+v, %v", other.of("n1"), err)
	}
}
