package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem/auth"
)

func TestAnImportWritesAPlanThatChecksAndAccountsThatCanBeImported(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	said, err := runQuietly(t, "import", "asterisk", "../../internal/migrate/testdata/office", "--out", dir, "--country", "44", "--timezone", "Europe/London")
	if err != nil || !strings.Contains(said, "report.md says which") {
		t.Fatalf("%v: %s", err, said)
	}
	if said, err := runQuietly(t, "dialplan", "check", dir); err != nil {
		t.Errorf("%v: %s", err, said)
	}
	for name, mode := range map[string]os.FileMode{"accounts.csv": 0o600, "secrets/carrier": 0o600, "secrets": 0o700} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, mode %v, expected %v", name, err, info.Mode().Perm(), mode)
		}
	}
	table, err := os.ReadFile(filepath.Join(dir, "accounts.csv"))
	if err != nil {
		t.Fatal(err)
	}
	accounts := 0
	for _, err := range auth.ReadCSV(bytes.NewReader(table)) {
		if err != nil {
			t.Error(err)
		}
		accounts++
	}
	if accounts != 4 {
		t.Errorf("%d accounts", accounts)
	}
	if _, err := runQuietly(t, "import", "asterisk", "../../internal/migrate/testdata/office", "--out", dir); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("a second import over the first: %v", err)
	}
}

// runQuietly runs a command and gives what it says.
func runQuietly(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var b strings.Builder
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&b)
	root.SetErr(&b)
	err := root.ExecuteContext(t.Context())
	return b.String(), err
}
