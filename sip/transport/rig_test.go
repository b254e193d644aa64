package transport

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"tandem/internal/simnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a Handler that writes down what it is told, over all shards.
type recorder struct {
	mu      sync.Mutex
	packets []Packet
	closed  []Flow
	errs    []error
	wakes   []time.Time
	onMsg   func(s *Shard, p Packet) // on the shard's goroutine
}

type recordingShard struct {
	*recorder
	s *Shard
}

func (r recordingShard) Receive(p Packet) {
	r.mu.Lock()
	r.packets = append(r.packets, p)
	r.mu.Unlock()
	if r.onMsg != nil {
		r.onMsg(r.s, p)
	}
}

func (r recordingShard) FlowClosed(f Flow, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.s.Index() == 0 { // every shard is told; once is enough here
		r.closed = append(r.closed, f)
		r.errs = append(r.errs, err)
	}
}

func (r recordingShard) Wake(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wakes = append(r.wakes, now)
}

func (r *recorder) woken() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]time.Time(nil), r.wakes...)
}

func (r *recorder) texts() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []string
	for _, p := range r.packets {
		list = append(list, p.Text)
	}
	return list
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.packets)
}

func (r *recorder) closedFlows() []Flow {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Flow(nil), r.closed...)
}

func (r *recorder) packet(t testing.TB, i int) Packet {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if i >= len(r.packets) {
		t.Fatalf("got %d messages, want at least %d", len(r.packets), i+1)
	}
	return r.packets[i]
}

// echo answers every message with itself.
func echo(s *Shard, p Packet) { _ = s.Send(p.Flow, []byte(p.Text)) }

// start runs a transport until the test's end.
func start(t testing.TB, cfg Config, r *recorder) *Transport {
	t.Helper()
	cfg.NewHandler = func(s *Shard) Handler { return recordingShard{r, s} }
	return startWith(t, cfg)
}

func startWith(t testing.TB, cfg Config) *Transport {
	t.Helper()
	tr, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tr.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return tr
}

const serverIP = "192.0.2.1"

// simConfig is a server on a simulated network.
func simConfig(n *simnet.Network) Config {
	h := n.Host(serverIP)
	return Config{
		UDP: []string{serverIP + ":5060"}, TCP: []string{serverIP + ":5060"}, Shards: 2,
		ListenPacket: h.ListenPacket, Listen: h.Listen, Dial: h.Dial,
	}
}

// bubble runs a test in fake time on a simulated network.
func bubble(t *testing.T, fn func(t *testing.T, n *simnet.Network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { fn(t, simnet.ForTest(t, 1)) })
}

func dialSim(t testing.TB, h *simnet.Host, network, addr string) net.Conn {
	t.Helper()
	c, err := h.Dial(t.Context(), network, netip.AddrPort{}, netip.MustParseAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// request is a SIP request with a body of n bytes.
func request(method, callID string, n int) string {
	return fmt.Sprintf("%s sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7:5062;rport;branch=z9hG4bK%s\r\nMax-Forwards: 70\r\n"+
		"From: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: %s\r\nCSeq: 1 %s\r\nContent-Length: %d\r\n\r\n%s",
		method, callID, callID, method, n, strings.Repeat("x", n))
}

func write(t testing.TB, c net.Conn, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
}

// readUntilEnd reads until the peer closes, which it must do within d.
func readUntilEnd(t testing.TB, c net.Conn, d time.Duration) string {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(d))
	var all bytes.Buffer
	b := make([]byte, 4096)
	for {
		n, err := c.Read(b)
		all.Write(b[:n])
		if err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				t.Fatalf("the connection is still open after %v; read %q", d, all.String())
			}
			return all.String()
		}
	}
}

// expect reads exactly want.
func expect(t testing.TB, c net.Conn, want string) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	got := make([]byte, 0, len(want))
	b := make([]byte, 64<<10)
	for len(got) < len(want) {
		n, err := c.Read(b)
		got = append(got, b[:n]...)
		if err != nil {
			t.Fatalf("read %q, then %v; want %q", got, err, want)
		}
	}
	if string(got) != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}
