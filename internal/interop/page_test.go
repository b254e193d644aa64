//go:build interop

package interop

import (
	"bytes"
	"fmt"
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

// signIn opens the page with the link that `tandem demo` prints.
func signIn(t testing.TB, n *node, user string) *page {
	t.Helper()
	w := openPage(t, fmt.Sprintf("%s/#%s:%s", n.ready.Nodes[0].HTTP, user, password))
	w.await(t, user+" to be signed in", `document.getElementById('line').dataset.state === 'on'`)
	return w
}

// hears waits until the page's meter of the other side has moved: Chromium beeps, and its own decoder hears it.
func (w *page) hears(t testing.TB) {
	t.Helper()
	w.await(t, "a sound", `document.getElementById('frame').dataset.view === 'talk' && document.getElementById('level-in').value > 0.3`)
	w.await(t, "figures of the call", `/jitter/.test(document.getElementById('quality').textContent)`)
}

func TestThePhonePageCallsInOneClick(t *testing.T) {
	n := startNode(t)
	w := signIn(t, n, "1000")
	w.ask(t, `[...document.querySelectorAll('#services button')].find((b) => b.textContent.startsWith('*43')).click()`)
	w.hears(t)
	w.press(t, "#hangup")
	w.await(t, "the call to be over", `document.getElementById('frame').dataset.view === 'phone'`)
	w.await(t, "the call among the recent ones", `document.querySelector('#recent button').textContent.startsWith('*43')`)
}

func TestTwoPhonePagesSeeAndHearEachOther(t *testing.T) { // not beside others: two browsers with video take both processors
	n := startNode(t)
	caller, callee := signIn(t, n, "1000"), signIn(t, n, "1001")
	caller.ask(t, `document.getElementById('number').value = '1001'`)
	caller.press(t, "#video")
	callee.await(t, "1001 to ring", `document.getElementById('frame').dataset.view === 'ringing' && document.getElementById('caller').textContent.includes('1000')`)
	callee.press(t, "#answer-video")
	for _, w := range []*page{caller, callee} {
		w.hears(t)
		w.await(t, "the other's picture", `(() => { const v = document.getElementById('theirs'); return v.videoWidth > 0 && v.getVideoPlaybackQuality().totalVideoFrames > 10; })()`)
	}
	caller.press(t, "#hold")
	callee.await(t, "to be held", `document.getElementById('progress').textContent.includes('they hold you')`)
	eventually(t, browserStart, "the call to be resumed", func() bool { // while the first change is under way the button jumps back, and is pressed again
		caller.ask(t, `(() => { const b = document.getElementById('hold'); if (b.getAttribute('aria-pressed') === 'true') b.click(); })()`)
		return callee.ask(t, `!document.getElementById('progress').textContent.includes('they hold you')`) == "true"
	})
	callee.hears(t)
	callee.press(t, "#hangup")
	caller.await(t, "the call to be over", `document.getElementById('frame').dataset.view === 'phone'`)
}

func TestThePhonePageSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	wrong := openPage(t, fmt.Sprintf("%s/#1000:%s", n.ready.Nodes[0].HTTP, "another"))
	wrong.await(t, "the wrong password to be said", `document.getElementById('notice').textContent.includes('password is another')`)
	w := signIn(t, n, "1001")
	w.ask(t, `document.getElementById('number').value = '4711'`)
	w.press(t, "#call")
	w.await(t, "the unknown number to be said", `document.getElementById('notice').textContent.includes('Nobody has that number')`)
}
