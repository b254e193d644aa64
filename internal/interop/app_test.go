//go:build interop

package interop

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestTheServerOfTheManualChoosesWhoIsCalled does what docs/app.md tells people to do, with what it shows.
func TestTheServerOfTheManualChoosesWhoIsCalled(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/app.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := func(language string) string {
		_, rest, _ := strings.Cut(string(text), "```"+language+"\n")
		code, _, ok := strings.Cut(rest, "```")
		if !ok {
			t.Fatalf("docs/app.md shows nothing in %s", language)
		}
		return code
	}
	dir, port := t.TempDir(), strconv.Itoa(freePort(t))
	write(t, filepath.Join(dir, "crm.py"), shown("python"))
	launch(t, "crm", dir, []string{"CRM_SECRET=open sesame"}, "python3", "crm.py", port)

	n := startNode(t)
	n.apply(t, strings.NewReplacer("dialplan \"demo\" {}\n", "", "8085", port).Replace(shown("hcl"))) // apply writes that line
	req, err := http.NewRequest(http.MethodPut, n.ready.Nodes[0].Admin+"/api/v1/secrets/demo/crm", strings.NewReader(`{"secret": "open sesame"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("the secret is not set: %s", resp.Status)
	}
	if out, err := n.cli(t, "dialplan", "explain", "--from", "1000", "--to", "300", "--given", "app.crm=gold"); err != nil || !strings.Contains(out, "given: it answers gold") {
		t.Errorf("explain: %v\n%s", err, out)
	}
	alice := startPhone(t, n, phoneConfig{user: "1000", tone: 440}).registered(t)
	bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000}).registered(t)
	alice.dial(t, "300")
	alice.talks(t, 1)
	bob.talks(t, 1)
	alice.hears(t, 1000)
	alice.hangUp(t)
	bob.ends(t, 1)
	if out, err := n.cli(t, "calls", "history", "-o", "json"); err != nil || !strings.Contains(out, `"app.crm":"gold"`) && !strings.Contains(out, `"app.crm": "gold"`) {
		t.Errorf("the record does not say what the server has answered: %v\n%s", err, out)
	}
}
