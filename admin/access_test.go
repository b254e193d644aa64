package admin

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/sip/transport"
)

// fetch makes one request and gives status and body.
func fetch(t *testing.T, method, url string, change ...func(*http.Request)) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(r)
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

func withHeader(name, value string) func(*http.Request) {
	return func(r *http.Request) {
		if name == "Host" {
			r.Host = value
		}
		r.Header.Set(name, value)
	}
}

func TestTheSocketIsForItsOwnerOnlyAndGoesAwayAtTheEnd(t *testing.T) {
	n := newNode(t)
	info, err := os.Stat(n.Socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v; want mode 0600", info.Mode(), err)
	}
	n.stop()
	if _, err := os.Stat(n.Socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestASocketLeftBehindIsReplacedAndOneInUseIsNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	if _, err := listenSocket(path); !errors.Is(err, transport.ErrPortTaken) || !strings.Contains(err.Error(), "node.data_dir") {
		t.Errorf("a socket in use: %v, want ErrPortTaken and what to do", err)
	}
	_ = old.Close()
	l, err := listenSocket(path)
	if err != nil {
		t.Fatalf("a socket left behind: %v", err)
	}
	_ = l.Close()
	_ = os.Remove(path)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenSocket(path); err == nil {
		t.Error("a file of another kind was replaced")
	}
}

func TestASocketMayLieDeepDown(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep", 30))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	n := newNode(t, func(c *Config) { c.Socket = filepath.Join(dir, "admin.sock") })
	if _, err := n.unix.Version(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestATakenPortIsNamedWithWhatToDo(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &Server{cfg: Config{Listen: l.Addr().String(), Socket: filepath.Join(t.TempDir(), "s")}}
	err = s.Listen()
	if !errors.Is(err, transport.ErrPortTaken) || !strings.Contains(err.Error(), "admin.listen") || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(s.cfg.Socket); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the socket stayed although the port is taken")
	}
}

func TestALoopbackListenerNeedsNoTokenButKeepsForeignPagesOut(t *testing.T) {
	n := newNode(t)
	at := n.url() + "/api/v1/version"
	if code, body, _ := fetch(t, "GET", at); code != 200 {
		t.Errorf("without a token: %d %s", code, body)
	}
	if code, body, _ := fetch(t, "GET", at, withHeader("Host", "evil.example")); code != 403 {
		t.Errorf("by a foreign name: %d %s, want 403", code, body)
	}
	if code, body, _ := fetch(t, "DELETE", n.url()+"/api/v1/calls/x", withHeader("Origin", "https://evil.example")); code != 403 {
		t.Errorf("from a foreign page: %d %s, want 403", code, body)
	}
	if code, body, head := fetch(t, "GET", at, withHeader("Authorization", "Bearer nonsense")); code != 401 || head.Get("WWW-Authenticate") == "" || head.Get("Content-Type") != problemType {
		t.Errorf("with a wrong token: %d %s %v, want 401", code, body, head)
	}
}

func TestAnOpenListenerNeedsAToken(t *testing.T) {
	n := newNode(t, func(c *Config) { c.Listen = "0.0.0.0:0" })
	n.plan(t)
	_, port, _ := net.SplitHostPort(n.server.Addr())
	base := "http://127.0.0.1:" + port
	for _, path := range []string{"/api/v1/version", "/metrics", "/openapi.json", "/debug/pprof/"} {
		if code, _, _ := fetch(t, "GET", base+path); code != 401 {
			t.Errorf("%s without a token: %d, want 401", path, code)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, _, _ := fetch(t, "GET", base+path); code != 200 {
			t.Errorf("%s without a token: %d, want 200", path, code)
		}
	}
	token, err := n.unix.CreateToken(t.Context(), "robot", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c := n.client(t, base, token.Secret)
	v, err := c.ApplyPlan(t.Context(), PlanChange{PlanFiles: PlanFiles{[]File{{"p", strings.Replace(testPlan, "202", "203", 1)}}}, Author: "somebody else"})
	if err != nil || v.Version.Author != "robot" {
		t.Errorf("a change with a token is attributed to %q, %v; want robot", v.Version.Author, err)
	}
	list, err := c.Tokens(t.Context())
	if err != nil || len(list.Items) != 1 || list.Items[0].Secret != "" {
		t.Errorf("tokens: %+v, %v", list, err)
	}
	if err := c.RevokeToken(t.Context(), token.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Version(t.Context()); status(err) != 401 {
		t.Errorf("with a revoked token: %v, want 401", err)
	}
	if err := n.unix.RevokeToken(t.Context(), token.ID); status(err) != 404 {
		t.Errorf("revoked twice: %v, want 404", err)
	}
}

func TestProfilesAreOnTheTCPListenerOnly(t *testing.T) {
	n := newNode(t)
	if code, body, _ := fetch(t, "GET", n.url()+"/debug/pprof/heap?gc=1&debug=1"); code != 200 || !strings.Contains(body, "# HeapAlloc = ") {
		t.Errorf("heap profile: %d", code)
	}
	var dial net.Dialer
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dial.DialContext(ctx, "unix", n.Socket)
	}}}
	resp, err := c.Get("http://localhost/debug/pprof/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 404 {
		t.Errorf("profiles on the socket: %d, want 404", resp.StatusCode)
	}
}

func TestConnectionsOverTheLimitAreTurnedAway(t *testing.T) {
	n := newNode(t, func(c *Config) { c.Connections = 1; c.Socket = "" })
	first, err := net.Dial("tcp", n.server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	until(t, "the first connection is there", func() bool { return n.server.Stats().Conns == 1 })
	second, err := net.Dial("tcp", n.server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Error("the second connection was not closed")
	}
	if st := n.server.Stats(); st.Turned != 1 {
		t.Errorf("turned away: %d, want 1", st.Turned)
	}
}

func TestWhatIsNotThereIsSaid(t *testing.T) {
	n := newNode(t)
	for _, c := range []struct {
		method, path string
		code         int
		says         string
	}{
		{"GET", "/api/v1/nonsense", 404, "/openapi.json"},
		{"PUT", "/api/v1/calls", 405, "only GET"},
		{"GET", "/api/v1/calls?nonsense=1", 422, "nonsense"},
		{"GET", "/api/v1/calls?limit=0", 422, "limit"},
		{"GET", "/api/v1/calls/x", 404, "tandem calls list"},
		{"GET", "/api/v1/calls/x/trace", 404, "call x"},
		{"DELETE", "/api/v1/calls/x", 404, "call x"},
		{"DELETE", "/api/v1/bans/192.0.2.7", 404, "not banned"},
		{"DELETE", "/api/v1/bans/x", 422, "not an IP address"},
		{"GET", "/api/v1/dialplan", 404, "tandem dialplan apply"},
		{"GET", "/api/v1/dialplan/versions/7", 404, "no version 7"},
		{"GET", "/api/v1/registrations?aor=alice", 422, "user@domain"},
		{"DELETE", "/api/v1/registrations/alice@acme", 404, "no such registration"},
		{"GET", "/api/v1/accounts/acme/alice", 404, "no account alice"},
	} {
		code, body, head := fetch(t, c.method, n.url()+c.path)
		if code != c.code || !strings.Contains(body, c.says) || head.Get("Content-Type") != problemType {
			t.Errorf("%s %s: %d %s %s; want %d with %q", c.method, c.path, code, head.Get("Content-Type"), body, c.code, c.says)
		}
	}
}

func TestABodyThatIsTooLargeIsRefused(t *testing.T) {
	n := newNode(t)
	_, err := n.unix.AddAccount(t.Context(), "acme", "alice", AccountChange{Password: strings.Repeat("x", maxBody)})
	if status(err) != 413 {
		t.Errorf("got %v, want 413", err)
	}
	if _, err := n.unix.AddAccount(t.Context(), "acme", "alice", AccountChange{Password: strings.Repeat("x", 1000)}); status(err) != 422 {
		t.Errorf("got %v, want 422", err)
	}
}

func TestReadinessSaysWhy(t *testing.T) {
	n := newNode(t)
	if code, body, _ := fetch(t, "GET", n.url()+"/readyz"); code != 200 || body != "ready\n" {
		t.Errorf("ready: %d %q", code, body)
	}
	why := errors.New("draining")
	n.ready.Store(&why)
	if code, body, _ := fetch(t, "GET", n.url()+"/readyz"); code != 503 || body != "draining\n" {
		t.Errorf("draining: %d %q", code, body)
	}
	if st, err := n.unix.Status(t.Context()); err != nil || st.Ready || st.Reason != "draining" {
		t.Errorf("status: %+v, %v", st, err)
	}
	want := `{"ready":false,"reason":"draining","node":"n1","region":"eu-1","roles":["signaling","media"]}` + "\n"
	if code, body, _ := fetch(t, "GET", n.url()+"/readyz", func(r *http.Request) { r.Header.Set("Accept", "application/json") }); code != 503 || body != want {
		t.Errorf("draining, as JSON: %d %q", code, body)
	}
	if code, _, _ := fetch(t, "GET", n.url()+"/healthz"); code != 200 {
		t.Errorf("healthz: %d", code)
	}
}

func TestNobodyThereIsSaid(t *testing.T) {
	for target, says := range map[string]string{
		filepath.Join(t.TempDir(), "admin.sock"): "no node runs here",
		"http://127.0.0.1:1":                     "no node answers at http://127.0.0.1:1",
	} {
		c, err := NewClient(target, "")
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Version(t.Context())
		var away *UnreachableError
		if !errors.As(err, &away) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", target, err, says)
		}
	}
	if _, err := NewClient("nonsense", ""); err == nil {
		t.Error("nonsense was taken for a target")
	}
}
