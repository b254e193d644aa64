package admin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tandem/auth"
	"tandem/certs"
	"tandem/cluster"
	"tandem/dialplan"
	"tandem/events"
	"tandem/pbx"
	"tandem/rtpengine"
	"tandem/rtpengine/ng"
	"tandem/sip"
	"tandem/sip/transport"

	"tandem/internal/fakephone"
	"tandem/internal/simnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a whole set of parts, with the log in memory and nothing but the API on the network.
type node struct {
	Config
	server *Server
	net    *simnet.Network
	ready  atomic.Pointer[error]
	unix   *Client
	stop   context.CancelFunc
	ended  chan struct{}
}

const testServer = "192.0.2.1"

const testPlan = `dialplan "acme" {
  format  = 1
  domains = ["acme.example"]
}
user "alice" { extension = "201" }
user "bob" { extension = "202" }
echo "test" { extension = "*43" }
`

// directory joins plan and accounts, as the root package does.
type directory struct {
	plans    *dialplan.Store
	accounts *auth.Store
}

func (d directory) TenantOf(host string) (string, bool) {
	p, _ := d.plans.Current()
	return p.TenantOf(host)
}

func (d directory) HasTenant(name string) bool {
	p, _ := d.plans.Current()
	return p.HasTenant(name)
}

func (d directory) User(tenant, name string) (string, bool) { return d.accounts.User(tenant, name) }

type secrets struct{ accounts *auth.Store }

func (s secrets) HA1(tenant, name string, sha bool) ([64]byte, int, string, bool) {
	alg := auth.MD5
	if sha {
		alg = auth.SHA256
	}
	return s.accounts.HA1(tenant, name, alg)
}

// newNode starts a node; change may alter its configuration before.
func newNode(t *testing.T, change ...func(*Config)) *node {
	t.Helper()
	n := &node{net: simnet.ForTest(t, 1), ended: make(chan struct{})}
	n.Config = Config{Node: "n1", Region: "eu-1", Roles: []string{"signaling", "media"}, Version: "1.2.3", Listen: "127.0.0.1:0", Socket: filepath.Join(t.TempDir(), "admin.sock"), Ready: func() error {
		if err := n.ready.Load(); err != nil {
			return *err
		}
		return nil
	}}
	n.build(t)
	for _, f := range change {
		f(&n.Config)
	}
	var err error
	if n.server, err = New(n.Config); err != nil {
		t.Fatal(err)
	}
	if err := n.server.Listen(); err != nil {
		t.Fatal(err)
	}
	n.run(t)
	if n.Config.Socket != "" {
		n.unix = n.client(t, n.Config.Socket, "")
	}
	return n
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (n *node) build(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	c := &n.Config
	c.Auth = must[*auth.Store](t)(auth.New(auth.Config{KeyFile: filepath.Join(dir, "auth.key")}))
	c.Dialplan = must[*dialplan.Store](t)(dialplan.New(dialplan.Config{}))
	c.Location = sip.NewLocation()
	c.Events = must[*events.Log](t)(events.New(events.Config{Node: "n1"}))
	c.Certs = must[*certs.Store](t)(certs.New(certs.Config{Dir: dir, Hosts: []string{"localhost"}}))
	c.Cluster = must[*cluster.Cluster](t)(cluster.New(cluster.Config{
		Node: "n1", Bootstrap: true, Machines: map[string]cluster.Machine{"auth": c.Auth, "dialplan": c.Dialplan, "location": c.Location},
	}))
	c.Media = must[*rtpengine.Engine](t)(rtpengine.New(rtpengine.Config{Bind: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, PortMin: 18000, PortMax: 18099}))
	c.NG = must[*ng.Server](t)(ng.New(ng.Config{Engine: c.Media, Listen: []string{"127.0.0.1:0"}}))
	dirs := directory{c.Dialplan, c.Auth}
	c.PBX = must[*pbx.PBX](t)(pbx.New(pbx.Config{
		Plan: func() *dialplan.Plan { p, _ := c.Dialplan.Current(); return p }, Directory: dirs, Events: c.Events,
	}))
	c.Registrar = must[*sip.Registrar](t)(sip.NewRegistrar(sip.RegistrarConfig{Location: c.Location, Log: c.Cluster, Node: "n1"}))
	c.Digest = must[*sip.Digest](t)(sip.NewDigest(sip.DigestConfig{Secrets: secrets{c.Auth}, Key: [32]byte{1}}))
	c.Guard = transport.NewGuard(transport.GuardConfig{})
	c.SIP = must[*sip.Server](t)(sip.New(sip.Config{
		Transport: transport.Config{UDP: []string{testServer + ":5060"}, Shards: 1, ListenPacket: n.net.Host(testServer).ListenPacket}, Digest: c.Digest, Registrar: c.Registrar, Location: c.Location,
		Directory: dirs, Handler: c.PBX, Events: c.Events, Guard: c.Guard,
	}))
	c.PBX.Attach(c.SIP)
}

// run starts the parts and stops them at the end of the test.
func (n *node) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	parts := []func(context.Context) error{n.Cluster.Run, n.Events.Run, n.Media.Run, n.SIP.Run, n.server.Run}
	done := make(chan error, len(parts))
	for _, run := range parts {
		go func() { done <- run(ctx) }()
	}
	n.stop = func() {
		cancel()
		for range parts {
			if err := <-done; err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
		close(n.ended)
	}
	t.Cleanup(func() {
		select {
		case <-n.ended:
		default:
			n.stop()
		}
	})
	if n.Version == "leaderless" {
		return
	}
	wait, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	if err := n.Cluster.WaitReady(wait); err != nil {
		t.Fatal(err)
	}
}

func (n *node) client(t *testing.T, target, token string) *Client {
	t.Helper()
	c, err := NewClient(target, token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (n *node) url() string { return "http://" + n.server.Addr() }

// plan puts the test plan in force.
func (n *node) plan(t *testing.T) {
	t.Helper()
	if _, err := n.unix.ApplyPlan(t.Context(), PlanChange{PlanFiles: PlanFiles{[]File{{Name: "acme.dialplan.hcl", Text: testPlan}}}, Author: "carol", Note: "first"}); err != nil {
		t.Fatal(err)
	}
}

// phone is a phone of an account that is made for it.
func (n *node) phone(t *testing.T, user, addr string) *fakephone.Phone {
	t.Helper()
	if _, err := n.unix.AddAccount(t.Context(), "acme", user, AccountChange{Password: "secret of " + user}); err != nil {
		t.Fatal(err)
	}
	p := fakephone.New(t, fakephone.Config{
		Host: n.net.Host(addr), Server: netip.MustParseAddrPort(testServer + ":5060"), User: user, Domain: "acme.example", Password: "secret of " + user,
	})
	p.Register()
	return p
}

// anAnsweredCall is a call from alice to bob.
func (n *node) anAnsweredCall(t *testing.T) (call *fakephone.Call, id string) {
	t.Helper()
	n.plan(t)
	alice, bob := n.phone(t, "alice", "192.0.2.10"), n.phone(t, "bob", "192.0.2.11")
	bob.OnInvite(func(c *fakephone.Call) { c.Ring(); c.Answer(sdp) })
	call = alice.Call("bob", sdp)
	call.MustAnswer()
	<-bob.Calls()[0].Acked()
	list, err := n.unix.Calls(t.Context(), "acme", "alice")
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("calls: %+v, %v", list, err)
	}
	return call, list.Items[0].ID
}

const sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"

// status is that of a Problem, 0 of anything else.
func status(err error) int {
	var p *Problem
	if errors.As(err, &p) {
		return p.Status
	}
	return 0
}

// until waits for something that another goroutine does.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
		runtime.Gosched()
	}
}

// leaderless marks a node whose cluster is never ready.
func leaderless(c *Config) { c.Version = "leaderless" }

// stream reads the event stream until it holds what is waited for.
func (n *node) stream(t *testing.T, query string, change func(*http.Request), wanted string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url()+"/api/v1/events"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Errorf("Content-Type %q", kind)
	}
	text := ""
	for b := make([]byte, 4096); !strings.Contains(text, wanted); {
		n, err := resp.Body.Read(b)
		if text += string(b[:n]); err != nil {
			t.Fatalf("%v after %s", err, text)
		}
	}
	return text
}

// recorder is a writer of a response that does not end.
type recorder struct{ write func(string) }

func (r recorder) Header() http.Header { return http.Header{} }

func (r recorder) Write(b []byte) (int, error) {
	r.write(string(b))
	return len(b), nil
}

func (r recorder) WriteHeader(int) {}
func (r recorder) Flush()          {}

func newController(w http.ResponseWriter) *http.ResponseController {
	return http.NewResponseController(w)
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func record(t *testing.T, h http.Handler) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	return w
}

func TestMediaEnginesAreListedAndDrained(t *testing.T) {
	n := newNode(t, func(c *Config) {
		c.Engines = must[*ng.Engines](t)(ng.NewEngines(ng.EnginesConfig{Addrs: []string{"192.0.2.7:2223"}}))
	})
	ctx := t.Context()
	for _, on := range []bool{true, false} {
		if err := n.unix.DrainMediaEngine(ctx, "192.0.2.7:2223", on); err != nil {
			t.Fatal(err)
		}
		l, err := n.unix.MediaEngines(ctx)
		if err != nil || len(l.Items) != 1 || l.Items[0].Drained != on || l.Items[0].Up {
			t.Errorf("%+v, %v", l, err)
		}
	}
	if err := n.unix.DrainMediaEngine(ctx, "192.0.2.8:2223", true); err == nil || !strings.Contains(err.Error(), "there is no media engine 192.0.2.8:2223") {
		t.Errorf("got %v", err)
	}
}
