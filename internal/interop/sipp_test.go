//go:build interop

package interop

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sippRun is one sipp and the scenario of testdata that it plays.
type sippRun struct {
	scenario  string
	transport string // u1 when empty (UDP, one socket); t1, tn for TCP
	port      int    // its own; 0 takes a free one
	lines     []string
	calls     int    // in all; 1 when 0
	rate      int    // calls a second; 10 when 0
	echo      bool   // it sends back the packets it gets
	uri       string // digest uri without its scheme; sipp does not take the request's
}

// line is one line of sipp's injection file: who calls, with which digest,
// which contact is registered and which number is called.
func line(user, contact, target string) string {
	return fmt.Sprintf("%s;[authentication username=%s password=%s];%s;%s", user, user, password, contact, target)
}

// startSipp starts a scenario against the node.
func startSipp(t testing.TB, n *node, r sippRun) *process {
	t.Helper()
	path := peer(t, "sipp", "sip-tester")
	scenario, err := filepath.Abs(filepath.Join("testdata", r.scenario+".xml"))
	if err != nil {
		t.Fatal(err)
	}
	if r.port == 0 {
		r.port = freePort(t)
	}
	if r.transport == "" {
		r.transport = "u1"
	}
	dir := t.TempDir()
	argv := []string{
		path, "-sf", scenario, "-t", r.transport, "-i", n.phoneIP(), "-p", strconv.Itoa(r.port),
		"-m", strconv.Itoa(max(1, r.calls)), "-r", strconv.Itoa(max(10, r.rate)), "-l", "200",
		"-mp", strconv.Itoa(freePort(t)), "-key", "domain", n.ready.Domain, "-nostdin",
		"-watchdog_interval", "0", "-timeout", "40s", "-timeout_error", "-recv_timeout", "15000", "-trace_err", "-error_file", filepath.Join(dir, "errors.log"),
	}
	if len(r.lines) > 0 {
		table := filepath.Join(dir, "table.csv")
		write(t, table, "SEQUENTIAL\n"+strings.Join(r.lines, "\n")+"\n")
		argv = append(argv, "-inf", table, "-auth_uri", r.uri)
	}
	if r.echo {
		argv = append(argv, "-rtp_echo")
	}
	address := n.sip("udp")
	if strings.HasPrefix(r.transport, "t") {
		address = n.sip("tcp")
	}
	p := launch(t, "sipp "+r.scenario, dir, []string{"TERM=dumb"}, append(argv, address)...)
	t.Cleanup(func() {
		if raw, err := os.ReadFile(filepath.Join(dir, "errors.log")); t.Failed() && err == nil {
			t.Logf("errors of sipp %s:\n%s", r.scenario, tail(raw, 6000))
		}
	})
	return p
}

// playSipp plays a scenario to its end and fails the test unless every call of
// it went as written.
func playSipp(t testing.TB, n *node, r sippRun) {
	t.Helper()
	succeeds(t, startSipp(t, n, r))
}

// succeeds waits until a sipp has ended with all its calls successful.
func succeeds(t testing.TB, p *process) {
	t.Helper()
	if code := p.waitEnd(t, 45*time.Second); code != 0 {
		t.Errorf("%s ended with code %d: not every call went as written", p.name, code)
	}
}

// listensUDP reports whether some program of this machine has the IPv4 UDP port.
func listensUDP(port int) bool { return listens("/proc/net/udp", port) }

// listensTCP reports whether some program of this machine listens on the IPv4
// TCP port.
func listensTCP(port int) bool { return listens("/proc/net/tcp", port) }

func listens(table string, port int) bool {
	raw, err := os.ReadFile(table)
	return err == nil && strings.Contains(string(raw), fmt.Sprintf(":%04X 00000000:0000", port))
}

// bindPort registers user's phone at a free port and returns the port.
func bindPort(t testing.TB, n *node, user string) int {
	t.Helper()
	port := freePort(t)
	contact := net.JoinHostPort(n.phoneIP(), strconv.Itoa(port))
	playSipp(t, n, sippRun{scenario: "register", port: port, uri: n.ready.Domain, lines: []string{line(user, contact, "")}})
	return port
}

func TestSippRegistersAllUsersManyTimes(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"u1", "t1"} {
		t.Run(transport, func(t *testing.T) {
			n := startNode(t)
			port := freePort(t)
			contact := net.JoinHostPort(n.phoneIP(), strconv.Itoa(port))
			var lines []string
			for _, a := range n.ready.Accounts {
				lines = append(lines, line(a.User, contact, ""))
			}
			playSipp(t, n, sippRun{scenario: "register", transport: transport, port: port, uri: n.ready.Domain, lines: lines, calls: 100, rate: 50})
			for _, a := range n.ready.Accounts {
				if !n.registered(t, a.User) {
					t.Errorf("%s is not registered", a.User)
				}
			}
		})
	}
}

// TestSippCallsOverTCP: caller and called have one connection each, on which all
// their calls go.
func TestSippCallsOverTCP(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	port := freePort(t)
	contact := net.JoinHostPort(n.phoneIP(), strconv.Itoa(port))
	playSipp(t, n, sippRun{scenario: "register", transport: "t1", port: port, uri: n.ready.Domain, lines: []string{line("1001", contact, "")}})
	const calls = 200
	called := startSipp(t, n, sippRun{scenario: "answer", transport: "t1", port: port, calls: calls})
	eventually(t, soon, "sipp to listen", func() bool { return listensTCP(port) })
	playSipp(t, n, sippRun{scenario: "call", transport: "t1", uri: "1001@" + n.ready.Domain, lines: []string{line("1000", "-", "1001")}, calls: calls, rate: 50})
	succeeds(t, called)
	n.carries(t, 0)
}

func TestSippCalls(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, caller, called string
		calls                int
	}{
		{"answered and hung up", "call", "answer", 50},
		{"busy", "call-busy", "answer-busy", 5},
		{"never answered", "call-unanswered", "answer-never", 5},
		{"cancelled", "call-cancel", "answer-cancelled", 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := startNode(t)
			n.withoutMailboxes(t)
			port := bindPort(t, n, "1001")
			called := startSipp(t, n, sippRun{scenario: c.called, port: port, calls: c.calls})
			eventually(t, soon, "sipp to listen", func() bool { return listensUDP(port) })
			playSipp(t, n, sippRun{scenario: c.caller, uri: "1001@" + n.ready.Domain, lines: []string{line("1000", "-", "1001")}, calls: c.calls})
			succeeds(t, called)
			n.carries(t, 0)
		})
	}
}
