//go:build interop

package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	// password is every demo account's.
	password = "Demo-5ecret"
	// startWithin is how long a node may take from start to ready.
	startWithin = 20 * time.Second
	// soon is how long one step of signalling may take on a busy machine.
	soon = 10 * time.Second
)

// mediaFirst and mediaLast are the node's media ports. No phone of these tests
// uses one of them, so a port tells whose it is. All nodes of the machine share
// ::1, so two runs of the tests take other ones. A call takes four, and keeps
// them for some seconds more.
var (
	mediaFirst = 20000 + 1200*(os.Getpid()%10)
	mediaLast  = mediaFirst + 1199
)

// node is a running Tandem node of a test.
type node struct {
	*process
	ip    netip.Addr
	argv  []string
	ready ready
}

// ready is the line that the demo prints when it serves.
type ready struct {
	Nodes    []demoNode `json:"nodes"`
	Domain   string     `json:"domain"`
	Accounts []struct {
		User      string `json:"user"`
		Extension string `json:"extension"`
		Password  string `json:"password"`
	} `json:"accounts"`
}

// demoNode is where one node of the demo is reached.
type demoNode struct {
	Name    string `json:"name"`
	PID     int    `json:"pid"`
	DataDir string `json:"data_dir"`
	SIP     struct {
		UDP string `json:"udp"`
		TCP string `json:"tcp"`
		TLS string `json:"tls"`
		WS  string `json:"ws"`
		WSS string `json:"wss"`
	} `json:"sip"`
	HTTP  string `json:"http"`
	Admin string `json:"admin"`
}

// lastAddress numbers the loopback addresses handed out.
var lastAddress atomic.Uint32

// loopback returns an address of 127/8 that no other test of this run uses.
// The second byte comes from the process id, so that two runs on one machine
// do not meet.
func loopback() netip.Addr {
	n := lastAddress.Add(1)
	return netip.AddrFrom4([4]byte{127, byte(32 + os.Getpid()%200), byte(n >> 8), byte(n)})
}

// freePort returns a port p such that p to p+3 are free for UDP and TCP on every
// address: some phones bind the wildcard, and most take the neighbours too.
func freePort(t testing.TB) int {
	t.Helper()
	for range 200 {
		if p := 10000 + int(nextPort.Add(4)+uint32(os.Getpid()*16))%5000&^3; portsFree(p) {
			return p
		}
	}
	t.Fatal("no four free ports between 10000 and 15000")
	return 0
}

var nextPort atomic.Uint32

func portsFree(first int) bool {
	for _, port := range []int{first, first + 1, first + 2, first + 3} {
		udp, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
		if err != nil {
			return false
		}
		udp.Close()
		tcp, err := net.ListenTCP("tcp", &net.TCPAddr{Port: port})
		if err != nil {
			return false
		}
		tcp.Close()
	}
	return true
}

// startNode starts a demo node on a loopback address of its own and waits
// until it serves.
func startNode(t testing.TB) *node {
	t.Helper()
	return startNodeAt(t, loopback())
}

// startNodeAt is startNode on a given address.
func startNodeAt(t testing.TB, ip netip.Addr) *node {
	t.Helper()
	n := &node{ip: ip, argv: []string{
		program, "demo", "--dir", t.TempDir(), "--listen", ip.String(),
		"--sip-port", strconv.Itoa(freePort(t)), "--http-port", strconv.Itoa(freePort(t)),
		"--media-ports", fmt.Sprintf("%d-%d", mediaFirst, mediaLast), "--password", password, "-o", "json",
	}}
	n.start(t)
	return n
}

// start runs the node's command and waits for its line.
func (n *node) start(t testing.TB) {
	t.Helper()
	n.process = launch(t, "tandem", t.TempDir(), nil, n.argv...)
	line := n.find(t, 0, startWithin, `(?m)^\{"nodes".*\}\r?$`)[0]
	n.ready = ready{}
	if err := json.Unmarshal([]byte(line), &n.ready); err != nil {
		t.Fatalf("the ready line is no JSON: %v\n%s", err, line)
	}
	if len(n.ready.Nodes) != 1 || len(n.ready.Accounts) < 4 {
		t.Fatalf("want one node and four accounts, got %s", line)
	}
}

// crash kills the node as a power cut would, and start brings it back.
func (n *node) crash(t testing.TB) {
	t.Helper()
	n.signal(t, syscall.SIGKILL)
	n.waitEnd(t, soon)
}

// sip returns the node's SIP address for a transport (udp, tcp, tls).
func (n *node) sip(transport string) string {
	addresses := n.ready.Nodes[0].SIP
	return map[string]string{"udp": addresses.UDP, "tcp": addresses.TCP, "tls": addresses.TLS}[transport]
}

// metric reads a counter or gauge of the node, by its name without labels.
func (n *node) metric(t testing.TB, name string) float64 {
	t.Helper()
	resp, err := http.Get(n.ready.Nodes[0].Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("the node has no metric %s", name)
	}
	value, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return value
}

// cli runs an operator's command against the node and returns what it printed.
func (n *node) cli(t testing.TB, args ...string) (out string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	args = append(args, "--api", n.ready.Nodes[0].Admin)
	raw, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	return string(raw), err
}

// apply gives the node a plan for the demo's tenant.
func (n *node) apply(t testing.TB, plan string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "test.dialplan.hcl")
	write(t, file, fmt.Sprintf("dialplan \"demo\" { domains = [%q] }\n%s", n.ready.Domain, plan))
	if out, err := n.cli(t, "dialplan", "apply", file); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// withoutMailboxes gives the node a plan by which a call that nobody takes ends, as it does not in the demo.
func (n *node) withoutMailboxes(t testing.TB) {
	t.Helper()
	n.apply(t, "user \"1000\" {}\nuser \"1001\" {}\nuser \"1003\" {}\n")
}

// registered reports whether the operator's list has a binding of the user.
func (n *node) registered(t testing.TB, user string) bool {
	t.Helper()
	out, err := n.cli(t, "registrations", "list", "-o", "json")
	if err != nil {
		t.Fatalf("registrations list: %v\n%s", err, out)
	}
	return regexp.MustCompile(`"user"\s*:\s*"` + user + `"`).MatchString(out)
}

// carries waits until the operator's list shows n calls.
func (n *node) carries(t testing.TB, calls int) {
	t.Helper()
	var out string
	var err error
	ok := looks(200*time.Millisecond, soon, func() bool {
		out, err = n.cli(t, "calls", "list", "-o", "json")
		return err == nil && items(out) == calls
	})
	if !ok {
		t.Errorf("waited %v in vain for `tandem calls list` to show %d calls: %v\n%s", soon, calls, err, out)
	}
}

// items is how many entries a list of the operator's commands has, as a JSON
// array or as an object that holds it; -1 when it is neither.
func items(out string) int {
	var list []json.RawMessage
	if json.Unmarshal([]byte(out), &list) == nil {
		return len(list)
	}
	var page struct {
		Items *[]json.RawMessage `json:"items"`
	}
	if json.Unmarshal([]byte(out), &page) == nil && page.Items != nil {
		return len(*page.Items)
	}
	return -1
}

// owns reports whether host and port are the node's media.
func (n *node) owns(host string, port int) bool {
	return host == n.ip.String() && port >= mediaFirst && port <= mediaLast
}
