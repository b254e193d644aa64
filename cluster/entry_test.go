package cluster

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

func TestEntryLayoutIsStable(t *testing.T) {
	got := hex.EncodeToString(encodeEntry([]item{{machine: "a", cmd: []byte{1, 2}}, {machine: "bc"}, {machine: "a", cmd: []byte{3}}}))
	//       ver names  a     bc      items  a cmd          bc       a cmd
	want := "01" + "02" + "0161" + "026263" + "03" + "0000020102" + "000100" + "00000103"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestEntriesComeBackAsTheyWere(t *testing.T) {
	items := []item{{machine: "location", cmd: []byte("x")}, {machine: "auth"}, {machine: "location", cmd: bytes.Repeat([]byte("y"), 70_000)}}
	e, err := decodeEntry(encodeEntry(items))
	if err != nil {
		t.Fatal(err)
	}
	for i, it := range e.items {
		if it.machine != items[i].machine || !bytes.Equal(it.cmd, items[i].cmd) || it.optional {
			t.Errorf("item %d differs", i)
		}
	}
}

func TestDamagedEntriesAreRefused(t *testing.T) {
	good := encodeEntry([]item{{machine: "a", cmd: []byte("hello")}, {machine: "b", cmd: []byte("you")}})
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
	f.Add(encodeEntry([]item{{machine: "a", cmd: []byte("hello")}, {machine: "b"}}))
	f.Add([]byte{1, 0, 0})
	f.Add([]byte{1, 255, 255, 255, 255, 15})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEntry(b)
		if err != nil {
			return
		}
		var items []item
		for _, it := range e.items {
			items = append(items, item{machine: it.machine, cmd: it.cmd})
		}
		again, err := decodeEntry(encodeEntry(items))
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
		"machine":       {encodeEntry([]item{{machine: "zz"}}), []string{"log index 7", `"zz"`, "upgrade"}},
		"command":       {encodeEntry([]item{{machine: "a", cmd: []byte{77}}}), []string{"log index 7", `"a"`, "kind 77 is not known"}},
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
	f := newFSM(map[string]Machine{"a": newTable()})
	data := []byte{1, 2, 1, 'z', 1, 'a', 2, flagOptional, 0, 1, 9, 0, 1, 3, 1, 1, 'k'}
	results := f.Apply(&raft.Log{Index: 1, Data: data}).([]any)
	if results[0] != nil || results[1] != uint64(1) || f.skipped.Load() != 1 {
		t.Errorf("got %v, %d skipped", results, f.skipped.Load())
	}
}
