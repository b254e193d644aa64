package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

func TestADirectoryFilledFromABackupIsANode(t *testing.T) {
	old := aNode(t)
	expect(t, 0, "version 1", "", "dialplan", "apply", write(t, "acme.dialplan.hcl", plan))
	expect(t, 0, "alice@acme is there", "", "account", "add", "alice", "--password", "x", "--extension", "201")
	file, fresh := filepath.Join(t.TempDir(), "tandem.backup"), filepath.Join(t.TempDir(), "fresh")
	var said struct {
		Bytes    int64
		Format   int
		Key      string
		Machines []string
	}
	r := expect(t, 0, "", "", "backup", file, "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &said); err != nil || said.Bytes == 0 || said.Format != 1 || len(said.Key) != 16 || len(said.Machines) < 4 {
		t.Errorf("%v: %s", err, r.out)
	}
	expect(t, 1, "!no such file", "", "backup", filepath.Join(t.TempDir(), "nowhere", "x"))
	expect(t, 2, "!is for --live", "", "restore", file, "--registrations")
	expect(t, 2, "!not for --live", "", "restore", file, "--live", "--key-file", "x")
	expect(t, 0, "holds what was agreed on", "", "restore", file, "--data-dir", fresh, "--key-file", filepath.Join(old, "auth.key"))
	aNodeIn(t, fresh)
	expect(t, 0, "alice", "", "account", "list")
	if r := expect(t, 0, "", "", "dialplan", "show"); r.out != plan {
		t.Errorf("dialplan show: %q", r.out)
	}
	expect(t, 0, "bob@acme is there", "", "account", "add", "bob", "--password", "x")
	if r := expect(t, 0, "", "", "restore", file, "--live", "--registrations", "-o", "json"); !strings.Contains(r.out, `"location"`) {
		t.Errorf("restore: %s", r.out)
	}
	if r := expect(t, 0, "alice", "", "account", "list"); strings.Contains(r.out, "bob") {
		t.Errorf("bob was made since, and is there: %s", r.out)
	}
}
