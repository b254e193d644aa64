//go:build interop

package interop

import (
	"encoding/binary"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem/internal/handover"
)

// takeOver starts a second process of the node that takes the place of the
// first, and waits until that has ended and the second serves.
func (n *node) takeOver(t testing.TB, more ...string) {
	t.Helper()
	old := n.process
	n.process = launch(t, "successor", t.TempDir(), more, append(slices.Clone(n.argv), "--take-over")...)
	n.find(t, 0, startWithin, `took over from the process before`)
	n.find(t, 0, startWithin, `node is ready`)
	if code := old.waitEnd(t, soon); code != 0 {
		t.Errorf("the process before ended with code %d, want 0", code)
	}
}

// rtpWatch sees the packets that leave for the phones' media ports.
type rtpWatch struct {
	mu   sync.Mutex
	last map[uint16]time.Time
	gap  time.Duration
	seen int
	stop func()
}

// watchRTP looks at the loopback interface; it needs the right to.
func watchRTP(t testing.TB) *rtpWatch {
	t.Helper()
	const ipv4 = 0x0008 // ETH_P_IP in network order
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_DGRAM, ipv4)
	if err != nil {
		t.Skipf("no capture of packets: %v", err)
	}
	lo, err := net.InterfaceByName("lo")
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrLinklayer{Protocol: ipv4, Ifindex: lo.Index})
	}
	if err == nil {
		err = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Usec: 100_000})
	}
	if err != nil {
		t.Fatal(err)
	}
	w := &rtpWatch{last: make(map[uint16]time.Time)}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		defer syscall.Close(fd)
		b := make([]byte, 2048)
		for {
			select {
			case <-quit:
				return
			default:
			}
			if size, from, err := syscall.Recvfrom(fd, b, 0); err == nil {
				if l, ok := from.(*syscall.SockaddrLinklayer); ok && l.Pkttype != syscall.PACKET_OUTGOING {
					w.packet(b[:size])
				}
			}
		}
	}()
	w.stop = sync.OnceFunc(func() { close(quit); <-done })
	t.Cleanup(w.stop)
	return w
}

// packet notes one of IPv4 and UDP to an even port of the phones.
func (w *rtpWatch) packet(b []byte) {
	if len(b) < 28 || b[9] != syscall.IPPROTO_UDP {
		return
	}
	udp := b[int(b[0]&15)*4:]
	port := binary.BigEndian.Uint16(udp[2:])
	if port < 16000 || port > 18999 || port%2 != 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if last, ok := w.last[port]; ok {
		w.gap = max(w.gap, now.Sub(last))
	}
	w.last[port] = now
	w.seen++
}

// longest is the longest time in which a phone was sent nothing.
func (w *rtpWatch) longest() (gap time.Duration, phones, packets int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gap, len(w.last), w.seen
}

// goesOn ends the watch of so many phones when two of them have heard a second more of each other: nobody was sent nothing for longer than most.
func (w *rtpWatch) goesOn(t testing.TB, most time.Duration, watched int, alice, bob *phone) {
	t.Helper()
	for _, p := range []*phone{alice, bob} {
		before := p.received(t)
		eventually(t, soon, p.name+" to receive another second of sound", func() bool { return p.received(t) >= before+50 })
	}
	gap, phones, packets := w.longest()
	w.stop()
	t.Logf("the longest time without a packet for a phone: %v (%d packets)", gap, packets)
	if gap > most || phones != watched {
		t.Errorf("%d phones were sent nothing for up to %v", phones, gap)
	}
	hearEachOther(t, alice, bob)
}

// talking is a call between alice and bob that both hear.
func talking(t testing.TB, n *node, transport string) (alice, bob *phone) {
	t.Helper()
	alice = startPhone(t, n, phoneConfig{user: "alice", tone: 440}).registered(t)
	bob = startPhone(t, n, phoneConfig{user: "bob", tone: 1000, transport: transport}).registered(t)
	alice.dial(t, "202")
	alice.talks(t, 1)
	hearEachOther(t, alice, bob)
	return alice, bob
}

func TestRestartWithTakeOverCutsNoCall(t *testing.T) {
	n := serveNode(t, serveConfig{})
	alice, bob := talking(t, n, "udp")
	watch := watchRTP(t)
	n.takeOver(t)
	for _, p := range []*phone{alice, bob} {
		before := p.received(t)
		eventually(t, soon, p.name+" to receive another second of sound", func() bool { return p.received(t) >= before+50 })
	}
	gap, phones, packets := watch.longest()
	watch.stop()
	t.Logf("the longest time without a packet for a phone: %v (%d packets)", gap, packets)
	if gap > 400*time.Millisecond || phones != 2 {
		t.Errorf("%d phones were sent nothing for up to %v", phones, gap)
	}
	hearEachOther(t, alice, bob)
	n.carries(t, 1)
	if got := n.metric(t, "tandem_calls_arrived_total"); got != 1 {
		t.Errorf("%v calls have arrived, want 1", got)
	}

	for _, holder := range []*phone{alice, bob} {
		answers := len(holder.answers())
		holder.do(t, "hold", "")
		eventually(t, soon, "the answer to the hold to come back", func() bool { return holder.wasAnswered("recvonly") })
		holder.do(t, "resume", "")
		eventually(t, soon, "both re-INVITEs to be answered", func() bool { return len(holder.answers()) >= answers+2 })
	}
	before := alice.received(t)
	eventually(t, soon, "sound behind the hold", func() bool { return alice.received(t) >= before+50 })

	n.takeOver(t) // once more, and the other phone hangs up
	if out, err := n.cli(t, "call", "check", callID(t, n)); err != nil || strings.Count(out, "there (") != 2 {
		t.Errorf("call check: %v\n%s", err, out)
	}
	bob.hangUp(t)
	alice.ends(t, 1)
	n.carries(t, 0)
	oneRecord(t, n, alice.user)

	alice.dial(t, "202") // the registrations are there, and calls go on as ever
	alice.talks(t, 2)
	alice.hangUp(t)
}

// callID is the id of the one call there is.
func callID(t testing.TB, n *node) string {
	t.Helper()
	out, err := n.cli(t, "calls", "list", "-o", "json")
	var page struct {
		Items []struct{ ID string }
	}
	if err != nil || json.Unmarshal([]byte(out), &page) != nil && json.Unmarshal([]byte(out), &page.Items) != nil || len(page.Items) != 1 {
		t.Fatalf("calls list: %v\n%s", err, out)
	}
	return page.Items[0].ID
}

// oneRecord waits for the record of the only call there was, in the file that
// accounting reads.
func oneRecord(t testing.TB, n *node, from string) {
	t.Helper()
	file := filepath.Join(n.ready.Nodes[0].DataDir, "events", "cdr.jsonl")
	eventually(t, soon, "the record", func() bool { b, _ := os.ReadFile(file); return len(b) > 0 })
	b, _ := os.ReadFile(file)
	var r struct {
		From, Result      string
		Started, Answered time.Time
		Ended             time.Time
		Duration          time.Duration `json:"duration_ns"`
		Route             []string
	}
	if strings.Count(string(b), "\n") != 1 || json.Unmarshal(b, &r) != nil {
		t.Fatalf("want one record:\n%s", b)
	}
	if r.From != from || r.Result != "answered" || r.Started.IsZero() || r.Duration < 2*time.Second || (r.Duration-r.Ended.Sub(r.Answered)).Abs() > time.Millisecond {
		t.Errorf("the record is %s", b)
	}
}

func TestTakeOverWithEncryptedMedia(t *testing.T) {
	t.Parallel()
	n := serveNode(t, serveConfig{})
	alice := startPhone(t, n, phoneConfig{user: "alice", tone: 440, srtp: "srtp-mand"}).registered(t)
	bob := startPhone(t, n, phoneConfig{user: "bob", tone: 1000, srtp: "srtp-mand"}).registered(t)
	alice.dial(t, "202")
	alice.talks(t, 1)
	hearEachOther(t, alice, bob)
	n.takeOver(t)
	for _, p := range []*phone{alice, bob} {
		before := p.received(t)
		eventually(t, soon, p.name+" to receive another second of sound", func() bool { return p.received(t) >= before+50 })
	}
	hearEachOther(t, alice, bob)
	alice.hangUp(t)
	bob.ends(t, 1)
	n.carries(t, 0)
}

// A connection cannot move. The phone opens another one, and the call follows.
func TestCallOfAPhoneOnTCPFollowsItsNewConnectionBehindATakeOver(t *testing.T) {
	n := serveNode(t, serveConfig{})
	alice, bob := talking(t, n, "tcp")
	n.takeOver(t)
	hearEachOther(t, alice, bob)
	answers := len(bob.answers())
	bob.do(t, "hold", "") // baresip 1.0 opens another connection when it has something to say
	eventually(t, soon, "the answer to the hold to come back", func() bool { return len(bob.answers()) > answers })
	alice.hangUp(t)
	bob.ends(t, 1)
	n.carries(t, 0)
}

// Whatever becomes of the new process before it has taken the calls, the old
// one goes on with them.
func TestTakeOverThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	n := serveNode(t, serveConfig{})
	alice, bob := talking(t, n, "udp")
	socket := filepath.Join(n.ready.Nodes[0].DataDir, "admin.sock")
	file := n.argv[len(n.argv)-1]
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]struct{ from, to, says string }{
		"a mistake in its file": {"ports ", "porst ", "porst"},
		"another name":          {`"n1"`, `"n2"`, "called"},
	} {
		bad := filepath.Join(t.TempDir(), "bad.hcl")
		write(t, bad, strings.Replace(string(text), change.from, change.to, 1))
		p := launch(t, "failing", t.TempDir(), nil, program, "serve", "--config", bad, "--take-over")
		if code := p.waitEnd(t, startWithin); code == 0 || !strings.Contains(string(p.text(0)), change.says) {
			t.Errorf("%s: it ended with %d and says\n%s", what, code, p.text(0))
		}
	}
	ready := func() {
		eventually(t, soon, "the node to be ready again", func() bool {
			out, err := n.cli(t, "calls", "list", "-o", "json")
			return err == nil && items(out) == 1 && n.serves(t)
		})
	}
	ready()
	for _, last := range []byte{'L', 'C', 'E'} { // what it hears before it dies
		dieBehind(t, socket, last)
		ready()
		for _, p := range []*phone{alice, bob} {
			before := p.received(t)
			eventually(t, soon, p.name+" to receive another second of sound", func() bool { return p.received(t) >= before+50 })
		}
	}
	hearEachOther(t, alice, bob)
	alice.do(t, "hold", "")
	eventually(t, soon, "the answer to a hold", func() bool { return alice.wasAnswered("recvonly") })
	bob.hangUp(t)
	alice.ends(t, 1)
	n.carries(t, 0)
	oneRecord(t, n, alice.user)
	startPhone(t, n, phoneConfig{user: "alice", tone: 440}).registered(t) // the log is open again
}

// dieBehind is a successor that ends once it has heard something.
func dieBehind(t testing.TB, socket string, last byte) {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	uc := c.(*net.UnixConn)
	if _, err := uc.Write([]byte("POST /take-over HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: tandem-take-over\r\nContent-Length: 0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	for head := ""; !strings.HasSuffix(head, "\r\n\r\n"); {
		one := make([]byte, 1)
		if _, err := uc.Read(one); err != nil {
			t.Fatalf("%v behind %q", err, head)
		}
		head += string(one)
	}
	conn, err := handover.New(uc)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Within(startWithin)
	if err := conn.Send('H', []byte(`{"version":1,"node":"n1","program":"test"}`), nil); err != nil {
		t.Fatal(err)
	}
	for {
		kind, payload, f, err := conn.Receive()
		if err != nil {
			t.Fatalf("waiting for %q: %v", last, err)
		}
		if f != nil {
			f.Close()
		}
		switch kind {
		case last:
			return
		case 'L':
			if err := conn.Send('Y', nil, nil); err != nil {
				t.Fatal(err)
			}
		case 'R':
			t.Fatalf("refused: %s", payload)
		}
	}
}

// serves reports whether /readyz says so.
func (n *node) serves(t testing.TB) bool {
	t.Helper()
	out, err := n.cli(t, "status")
	return err == nil && !strings.Contains(out, "handing over")
}
