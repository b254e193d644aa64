//go:build interop

package interop

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The page is committed as it is served, so that go build needs no Node. That is honest only as long as it is what its sources give.
func TestThePhonePageIsWhatItsSourcesGive(t *testing.T) {
	t.Parallel()
	node := peer(t, "node", "nodejs")
	page, built := filepath.FromSlash("../../admin/phone/page"), t.TempDir()
	if _, err := os.Stat(filepath.Join(page, "node_modules")); err != nil {
		t.Fatal("the page's modules are missing: run internal/tools/install-peers.sh browser")
	}
	if out, err := exec.Command(node, filepath.Join(page, "build.mjs"), built).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	served := filepath.FromSlash("../../admin/phone/dist")
	names, err := os.ReadDir(built)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadDir(served)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != len(kept) {
		t.Errorf("%d files are built and %d are kept: run make ui", len(names), len(kept))
	}
	for _, f := range names {
		want, err := os.ReadFile(filepath.Join(built, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(served, f.Name())); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what its sources give (%v): run make ui", f.Name(), err)
		}
	}
}
