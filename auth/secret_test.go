package auth

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSecretsOutliveSnapshotsAndAreNowhereInPlain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	store, err := New(Config{KeyFile: file})
	if err != nil {
		t.Fatal(err)
	}
	s := NewSecrets(store)
	cmd, err := s.SetCommand("acme", "carrier_a", "hunter2 & more", time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(cmd, []byte("hunter2")) {
		t.Error("the command shows the secret")
	}
	if r := s.Apply(cmd); r != nil {
		t.Fatal(r)
	}
	write, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "hunter2") {
		t.Error("the snapshot shows the secret")
	}
	again := NewSecrets(store)
	if err := again.Restore(&b); err != nil {
		t.Fatal(err)
	}
	if got := again.Get("acme", "carrier_a"); got != "hunter2 & more" {
		t.Errorf("restored %q", got)
	}
	if got := again.Get("other", "carrier_a"); got != "" {
		t.Errorf("another tenant has %q", got)
	}
	if err := again.Restore(strings.NewReader("rubbish")); err == nil || len(again.List()) != 1 {
		t.Errorf("rubbish: %v, and %d secrets are left", err, len(again.List()))
	}
	if r, ok := again.Apply(again.RemoveCommand("acme", "nothing")).(error); !ok || !errors.Is(r, ErrNotFound) {
		t.Errorf("removing nothing: %v", r)
	}
	if r := again.Apply(again.RemoveCommand("acme", "carrier_a")); r != nil || again.Get("acme", "carrier_a") != "" {
		t.Errorf("removed: %v, %q is left", r, again.Get("acme", "carrier_a"))
	}
	if err := again.Restore(strings.NewReader("")); err != nil {
		t.Errorf("a snapshot of before there were secrets: %v", err)
	}
	for _, bad := range [][3]string{{"", "a", "b"}, {"acme", "", "b"}, {"acme", "a", ""}, {"acme", "a", "line\r\nbreak"}, {"acme", "a", strings.Repeat("x", MaxSecret+1)}} {
		if _, err := s.SetCommand(bad[0], bad[1], bad[2], time.Unix(1, 0)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
