package cluster

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func newVoteFile(t *testing.T) (*voteFile, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), votesFile)
	if err := makeVoteFile(path, nil, true); err != nil {
		t.Fatal(err)
	}
	return reopenVotes(t, path), path
}

func reopenVotes(t *testing.T, path string) *voteFile {
	t.Helper()
	v, err := openVoteFile(path, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func votes(v *voteFile) [3]string {
	term, _ := v.GetUint64([]byte("CurrentTerm"))
	voted, _ := v.GetUint64([]byte(keyVoteTerm))
	who, _ := v.Get([]byte("LastVoteCand"))
	return [3]string{string(rune('0' + term)), string(rune('0' + voted)), string(who)}
}

func vote(v *voteFile, term uint64, who string) error {
	return errors.Join(v.SetUint64([]byte("CurrentTerm"), term), v.SetUint64([]byte(keyVoteTerm), term), v.Set([]byte("LastVoteCand"), []byte(who)))
}

// TestAVoteIsWholeOrNotThere has the write of a vote leave anything anywhere.
func TestAVoteIsWholeOrNotThere(t *testing.T) {
	v, path := newVoteFile(t)
	if got := votes(v); got != [3]string{"0", "0", ""} {
		t.Errorf("new: %q", got)
	}
	if err := vote(v, 1, "n1"); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.SetUint64([]byte("CurrentTerm"), 2); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	v.Close()
	for cut := range len(after) {
		torn := append(bytes.Clone(after[:cut]), before[cut:]...)
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		v := reopenVotes(t, path)
		got := votes(v)
		if want := [3]string{"1", "1", "n1"}; got != want && got != [3]string{"2", "1", "n1"} {
			t.Fatalf("torn at %d: %q", cut, got)
		}
		if err := vote(v, 3, "n3"); err != nil {
			t.Fatal(err)
		}
		v.Close()
		v = reopenVotes(t, path)
		if got := votes(v); got != [3]string{"3", "3", "n3"} {
			t.Fatalf("torn at %d and written again: %q", cut, got)
		}
		v.Close()
	}
	if err := os.WriteFile(path, make([]byte, 2*votePlace), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openVoteFile(path, true); !errors.Is(err, errVote) || !strings.Contains(err.Error(), path) {
		t.Errorf("nothing to be read: %v", err)
	}
}

// TestAVoteThatWasRefusedWasNotGiven: neither its name nor its term remains.
func TestAVoteThatWasRefusedWasNotGiven(t *testing.T) {
	v, path := newVoteFile(t)
	if err := vote(v, 1, "n1"); err != nil {
		t.Fatal(err)
	}
	v.sync = func(*os.File) error { return errBroken }
	if err := v.SetUint64([]byte(keyVoteTerm), 2); err != nil {
		t.Fatal(err) // nothing is written for it
	}
	if err := v.Set([]byte("LastVoteCand"), []byte("n2")); !errors.Is(err, errBroken) {
		t.Fatalf("got %v", err)
	}
	if got := votes(v); got != [3]string{"1", "1", "n1"} {
		t.Errorf("refused: %q", got)
	}
	v.sync = func(*os.File) error { return nil }
	if err := vote(v, 2, "n3"); err != nil {
		t.Fatal(err)
	}
	v.Close()
	if got := votes(reopenVotes(t, path)); got != [3]string{"2", "2", "n3"} {
		t.Errorf("later: %q", got)
	}
	if err := v.Set([]byte("k"), make([]byte, votePlace)); err == nil {
		t.Error("it takes more than its place")
	}
}

func FuzzVote(f *testing.F) {
	v := voteFile{turn: 3, values: []stableValue{{"CurrentTerm", make([]byte, 8)}, {"LastVoteCand", []byte("n1")}}}
	b, err := v.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(_ *testing.T, b []byte) { decodeVote(b) })
}
