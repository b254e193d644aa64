//go:build interop

package interop

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// browserFiles is where the page and its modules are.
const browserFiles = "testdata/browser"

// browserModules are JsSIP and what it needs: the entry of each package and the
// files of it that a browser can use.
var browserModules = []struct{ name, main, files string }{
	{"jssip", "lib/JsSIP.js", "lib"},
	{"jssip", "", "package.json"},
	{"events", "events.js", "events.js"},
	{"debug", "src/browser.js", "src"},
	{"ms", "index.js", "index.js"},
	{"sdp-transform", "lib/index.js", "lib"},
}

// browserStart is how long a browser may take to open its page on a busy
// machine.
const browserStart = 30 * time.Second

// browser is one headless Chromium with a phone in its only page, made of JsSIP or SIP.js. The page
// takes its commands from a server of the test and tells it what happens.
type browser struct {
	*process
	user     string
	commands chan browserCommand

	mu     sync.Mutex
	events []browserEvent
}

// browserCommand is what the page is to do: message, call, hangup, report, stop.
type browserCommand struct {
	Do   string `json:"do"`
	To   string `json:"to,omitempty"`
	Text string `json:"text,omitempty"`
}

// browserEvent is what the page tells.
type browserEvent struct {
	Type   string `json:"type"`
	Status int    `json:"status"`
	Peer   string `json:"peer"`
	Text   string `json:"text"`
	Sound  string `json:"sound"`  // of a report: samples of 16 bits, in base64
	Frames int    `json:"frames"` // pictures decoded
	Wanted int    `json:"wanted"` // full pictures that were asked for
	Full   int    `json:"full"`   // full pictures sent
	Rate   int    `json:"rate"`   // bit/s that it believes it may send
	Way    string `json:"way"`    // of its candidate in use: host, relay
}

// browserConfig says how one browser differs from the others.
type browserConfig struct {
	user, scheme string  // scheme is ws or wss
	password     string  // the demo's when empty
	page         string  // phone.html, which is JsSIP, when empty; sipjs.html
	tone         float64 // Hz that its microphone hears
	video        bool    // calls are made and taken with a picture
	relayed      bool    // nothing passes its network but what the node's TURN server relays
}

// startBrowser opens a browser whose phone registers at the node over ws or wss.
func startBrowser(t testing.TB, n *node, scheme, user, password string) *browser {
	t.Helper()
	return startBrowserWith(t, n, browserConfig{user: user, scheme: scheme, password: password})
}

func startBrowserWith(t testing.TB, n *node, c browserConfig) *browser {
	t.Helper()
	chromium := peer(t, "chromium", "chromium")
	user, scheme := c.user, c.scheme
	b := &browser{user: user, commands: make(chan browserCommand, 8)}
	at := n.ready.Nodes[0].SIP.WS
	if scheme == "wss" {
		at = n.ready.Nodes[0].SIP.WSS
	}
	account := map[string]any{"url": at, "uri": "sip:" + user + "@" + n.host(), "password": cmp.Or(c.password, password), "video": "no"}
	if c.video {
		account["video"] = "yes"
	}
	if c.relayed {
		account["ice"] = n.iceServers(t, user)
	}
	page := b.serve(t, account) + cmp.Or(c.page, "phone.html")
	dir := t.TempDir()
	writeTone(t, filepath.Join(dir, "tone.wav"), c.tone)
	argv := []string{
		chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir=" + filepath.Join(dir, "profile"),
		"--no-first-run", "--disable-extensions", "--disable-sync", "--disable-component-update", "--disable-background-networking",
		"--disable-default-apps", "--disable-domain-reliability", "--disable-features=OptimizationHints,MediaRouter", "--no-pings",
		"--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--use-file-for-fake-audio-capture=" + filepath.Join(dir, "tone.wav"),
		"--autoplay-policy=no-user-gesture-required", "--allow-loopback-in-peer-connection",
		"--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.*", // nothing but loopback is ever asked
	}
	if scheme == "wss" { // this key and no other
		argv = append(argv, "--ignore-certificate-errors-spki-list="+keyHash(t, at))
	}
	b.process = launch(t, "chromium "+user, dir, []string{"HOME=" + dir}, append(argv, page)...)
	b.patience = 2 * time.Second
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what the page of %s told: %+v", user, b.all(""))
		}
	})
	return b
}

// iceServers are the node's TURN servers with a user's short-lived password, as its own page gets them.
func (n *node) iceServers(t testing.TB, user string) (list []any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.ready.Nodes[0].HTTP+"/phone/account", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(user+"@"+n.ready.Domain, password)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var account struct {
		ICE []any `json:"ice"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&account); err != nil || len(account.ICE) == 0 {
		t.Fatalf("no TURN server is named: %s, %v", resp.Status, err)
	}
	return account.ICE
}

// keyHash is the SHA-256 of the public key that a TLS server shows, as Chromium
// wants it.
func keyHash(t testing.TB, at string) string {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	dialer := &net.Dialer{Timeout: soon}
	conn, err := tls.DialWithDialer(dialer, "tcp", u.Host, &tls.Config{InsecureSkipVerify: true}) // it is the key that is asked for
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sum := sha256.Sum256(conn.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// serve starts the page's server and returns its address.
func (b *browser) serve(t testing.TB, account map[string]any) string {
	t.Helper()
	modules := bundle(t)
	ended := make(chan struct{})
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(browserFiles)))
	mux.HandleFunc("GET /modules.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = w.Write(modules) // a browser that is gone is seen elsewhere
	})
	mux.HandleFunc("GET /account", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(account) })
	mux.HandleFunc("POST /events", func(w http.ResponseWriter, r *http.Request) {
		var e browserEvent
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<18)).Decode(&e); err != nil {
			e = browserEvent{Type: "broken", Text: err.Error()}
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.events = append(b.events, e)
	})
	mux.HandleFunc("GET /commands", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case c := <-b.commands:
				raw, _ := json.Marshal(c) // strings only
				fmt.Fprintf(w, "data: %s\n\n", raw)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			case <-ended:
				return
			}
		}
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: soon}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the page's server: %v", err)
		}
	}()
	t.Cleanup(func() {
		close(ended)
		server.Close()
		<-served
	})
	return "http://" + listener.Addr().String() + "/"
}

// bundle writes the browser's modules.js: each file of the packages as a
// function under its path, and the entry of each package.
func bundle(t testing.TB) []byte {
	t.Helper()
	root := os.DirFS(filepath.Join(browserFiles, "node_modules"))
	if _, err := fs.Stat(root, "jssip"); err != nil {
		const missing = "JsSIP is missing: internal/tools/install-peers.sh browser"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	var text strings.Builder
	mains := map[string]string{}
	text.WriteString("const modules = {\n")
	for _, p := range browserModules {
		if p.main != "" {
			mains[p.name] = path.Join(p.name, p.main)
		}
		err := fs.WalkDir(root, path.Join(p.name, p.files), func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || path.Ext(name) != ".js" && path.Ext(name) != ".json" {
				return err
			}
			code, err := fs.ReadFile(root, name)
			if path.Ext(name) == ".json" {
				code = append([]byte("module.exports = "), code...)
			}
			fmt.Fprintf(&text, "%q: function (module, exports, require) {\n%s\n},\n", name, code)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	entries, err := json.Marshal(mains)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&text, "};\nconst mains = %s;\n", entries)
	return []byte(text.String())
}

// all returns the events of a type so far, of every type for "".
func (b *browser) all(kind string) []browserEvent {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []browserEvent
	for _, e := range b.events {
		if kind == "" || e.Type == kind {
			list = append(list, e)
		}
	}
	return list
}

// await waits until the page has told of a type n times, and returns the n-th.
func (b *browser) await(t testing.TB, kind string, n int) browserEvent {
	t.Helper()
	within := soon
	if len(b.all("")) == 0 {
		within = browserStart
	}
	eventually(t, within, fmt.Sprintf("the browser of %s to tell %s number %d", b.user, kind, n), func() bool {
		return len(b.all(kind)) >= n || len(b.all("broken")) > 0 || b.gone()
	})
	if list := b.all(kind); len(list) >= n {
		return list[n-1]
	}
	t.Fatalf("waited for %s number %d: the browser of %s ended (%v) or its page broke: %+v", kind, n, b.user, b.gone(), b.all("broken"))
	return browserEvent{}
}

// send makes the phone send a text to a user.
func (b *browser) send(to, text string) {
	b.commands <- browserCommand{Do: "message", To: to, Text: text}
}

func TestABrowserAndABaresipWriteToEachOther(t *testing.T) {
	for _, scheme := range []string{"ws", "wss"} {
		t.Run(scheme, func(t *testing.T) {
			n := startNode(t)
			web := startBrowser(t, n, scheme, "1002", password)
			bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000, contact: "1002"}).registered(t)
			if got := web.await(t, "registered", 1).Status; got != 200 {
				t.Errorf("the browser's registration was answered %d", got)
			}
			if out, err := n.cli(t, "registrations", "list", "-o", "json"); err != nil || !strings.Contains(out, `"`+scheme+`"`) {
				t.Errorf("the operator does not see a phone on %s: %v\n%s", scheme, err, out)
			}

			const hello, answer = "Grüße aus dem Browser – 你好", "hello browser"
			web.send("sip:1001@"+n.host(), hello)
			if got := web.await(t, "delivered", 1).Status; got != 200 {
				t.Errorf("the browser's text was answered %d", got)
			}
			texts := bob.got(`^MESSAGE `) // it has answered, so it is there
			if len(texts) != 1 || texts[0].body() != hello || !strings.Contains(texts[0].header("From"), "sip:1002@") {
				t.Errorf("bob got %+v", texts)
			}
			bob.do(t, "message", answer)
			if got := web.await(t, "message", 1); got.Text != answer || !strings.HasPrefix(got.Peer, "sip:1001@") {
				t.Errorf("the browser got %q of %s", got.Text, got.Peer)
			}

			web.commands <- browserCommand{Do: "stop"}
			web.await(t, "unregistered", 1)
			eventually(t, soon, "the operator's list to lose the browser", func() bool { return !n.registered(t, "1002") })
			if broken := web.all("broken"); len(broken) > 0 {
				t.Errorf("the page broke: %+v", broken)
			}
		})
	}
}

func TestABrowserWithAWrongPasswordIsRefused(t *testing.T) {
	n := startNode(t)
	web := startBrowser(t, n, "ws", "1002", "not-it")
	if got := web.await(t, "refused", 1); got.Status != 403 {
		t.Errorf("got %d %s, want 403", got.Status, got.Text)
	}
	if n.registered(t, "1002") {
		t.Error("1002 is registered")
	}
}
