package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem/certs"
)

// logText collects what a node logs.
type logText struct {
	mu      sync.Mutex
	text    bytes.Buffer
	written chan struct{} // has a token when something was written since it was taken
}

func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.written <- struct{}{}:
	default:
	}
	return l.text.Write(b)
}

// take gives what was logged since the last call, once it says what is waited for.
func (l *logText) take(t *testing.T, says string) string {
	t.Helper()
	tooLong := time.After(30 * time.Second)
	for {
		l.mu.Lock()
		text := l.text.String()
		found := strings.Contains(text, says)
		if found {
			l.text.Reset()
		}
		l.mu.Unlock()
		if found {
			return text
		}
		select {
		case <-l.written:
		case <-tooLong:
			t.Fatalf("the node does not say %q but:\n%s", says, text)
		}
	}
}

// served is `tandem serve` with a file of the test's.
type served struct {
	file string
	log  logText
	done chan error
}

func serve(t *testing.T, text string) *served {
	t.Helper()
	n := &served{file: filepath.Join(t.TempDir(), "tandem.hcl"), log: logText{written: make(chan struct{}, 1)}, done: make(chan error, 1)}
	n.write(t, text)
	root := newRoot()
	root.SetArgs([]string{"serve", "--config", n.file})
	root.SetErr(&n.log)
	root.SetOut(io.Discard)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { n.done <- root.ExecuteContext(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-n.done; err != nil {
			t.Error(err)
		}
	})
	n.log.take(t, "node is ready")
	return n
}

func (n *served) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(n.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// hangup writes the file anew, sends SIGHUP and gives what the node says until it says something.
func (n *served) hangup(t *testing.T, text, says string) string {
	t.Helper()
	n.write(t, text)
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	return n.log.take(t, says)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func page(t *testing.T, url string) string {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// certificate is the name in what a TLS listener shows.
func certificate(t *testing.T, addr string) string {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].DNSNames[0]
}

func TestSIGHUPTakesOverWhatARunningNodeCanOrNothing(t *testing.T) {
	dir := t.TempDir()
	sips, admin := freeAddress(t), freeAddress(t)
	config := func(udp, limits, level, certs string) string {
		return fmt.Sprintf(`node {
  data_dir = %q
  region   = "eu-1"
}
sip {
  udp = [%q]
  tcp = []
  tls = [%q]
}
media { address = "127.0.0.1" }
admin { listen = %q }
web {
  http  = []
  https = []
}
turn {
  udp = []
  tcp = []
}
dialplan { files = [] }
certs {
  hosts = ["self.example"]
  %s
}
limits {
  %s
}
log { level = %q }
`, filepath.Join(dir, "data"), udp, sips, admin, certs, limits, level)
	}
	n := serve(t, config("127.0.0.1:0", "calls = 100", "info", ""))
	limit := func() string {
		return regexp.MustCompile(`(?m)^tandem_media_sessions_limit (.*)$`).FindStringSubmatch(page(t, "http://"+admin+"/metrics"))[1]
	}
	if got := limit(); got != "100" {
		t.Fatalf("limit of sessions: %s", got)
	}
	if got := certificate(t, sips); got != "self.example" {
		t.Fatalf("certificate of %s", got)
	}

	// A new certificate, a new limit, more to read; and an address that must wait.
	if _, err := certs.New(certs.Config{Dir: filepath.Join(dir, "given"), Hosts: []string{"given.example"}}); err != nil { // makes the files
		t.Fatal(err)
	}
	pem := filepath.Join(dir, "given", "self-signed.pem")
	given := fmt.Sprintf("cert_file = %q\n  key_file = %q", pem, pem)
	good := config("127.0.0.2:0", "calls = 7", "debug", given)
	said := n.hangup(t, good, "read again")
	if !strings.Contains(said, "sip.udp changed: takes effect with the next start") || strings.Count(said, "next start") != 1 {
		t.Errorf("what waits for the next start is said like this:\n%s", said)
	}
	if want := `applied="certs.cert_file certs.key_file limits.calls log.level"`; !strings.Contains(said, want) {
		t.Errorf("there is no %s in:\n%s", want, said)
	}
	if got := limit(); got != "7" {
		t.Errorf("limit of sessions: %s, want 7", got)
	}
	if got := certificate(t, sips); got != "given.example" {
		t.Errorf("certificate of %s, want given.example", got)
	}

	// One mistake, and nothing of the file counts.
	said = n.hangup(t, config("127.0.0.1:0", "calls = 9\n  cals_per_user = 3", "info", ""), "goes on with the old one")
	if !strings.Contains(said, n.file+":27:3: limits has no key") {
		t.Errorf("the mistake is not named with its place:\n%s", said)
	}
	// The text is fine, the certificate is not there.
	said = n.hangup(t, config("127.0.0.1:0", "calls = 9", "info", strings.ReplaceAll(given, "self-signed", "lost")), "goes on with the old one")
	if !strings.Contains(said, "lost.pem") {
		t.Errorf("the file that is missing is not named:\n%s", said)
	}
	if l, c := limit(), certificate(t, sips); l != "7" || c != "given.example" {
		t.Errorf("half a configuration was applied: limit %s, certificate %s", l, c)
	}
	if said := n.hangup(t, good, "read again"); !strings.Contains(said, "sip.udp changed") || !strings.Contains(said, `applied=""`) {
		t.Errorf("the same file once more:\n%s", said)
	}
	if got := page(t, "http://"+admin+"/metrics"); !strings.Contains(got, `tandem_node_info{node="n1",region="eu-1",roles="signaling,media"} 1`) {
		t.Error("the metrics do not name the region")
	}
	expect(t, 0, "eu-1", "", "status", "--data-dir", filepath.Join(dir, "data"))
}

func TestANodeWithoutTheRoleMediaHasNoMediaEngine(t *testing.T) {
	admin := freeAddress(t)
	n := serve(t, fmt.Sprintf(`node {
  data_dir = %q
  roles    = ["signaling", "edge"]
}
sip {
  udp = ["127.0.0.1:0"]
  tcp = []
  tls = []
}
admin { listen = %q }
web {
  http  = []
  https = []
}
turn {
  udp = []
  tcp = []
}
dialplan { files = [] }
`, filepath.Join(t.TempDir(), "data"), admin))
	if text := page(t, "http://"+admin+"/metrics"); strings.Contains(text, "tandem_media_") || !strings.Contains(text, `roles="signaling,edge"`) {
		t.Error("there is a media engine, or the roles are not shown")
	}
	said := n.hangup(t, strings.ReplaceAll(readText(t, n.file), `, "edge"`, ""), "read again")
	if !strings.Contains(said, "node.roles changed: takes effect with the next start") {
		t.Errorf("got:\n%s", said)
	}
}

func readText(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
