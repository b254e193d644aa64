//go:build interop

package interop

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// at is one node of the three, as phones and operators see it: its own addresses, the domain of all.
func (c *trio) at(i int) *node {
	n := &node{process: c.process, ip: c.ip, ready: c.ready}
	for range i {
		n.ip = n.ip.Next()
	}
	n.ready.Nodes = c.ready.Nodes[i : i+1]
	return n
}

// TestPhonesOfThreeNodesHearEachOther has a phone at each node: a desk phone over UDP, one over TCP, and a browser. Whoever calls is served by
// the node it is connected to; the others are reached through theirs, and hear the media of the caller's node.
func TestPhonesOfThreeNodesHearEachOther(t *testing.T) {
	c := startTrio(t)
	c.whole(t)
	alice := startPhone(t, c.at(0), phoneConfig{user: "1001", tone: 700}).registered(t)
	bob := startPhone(t, c.at(1), phoneConfig{user: "1002", transport: "tcp", tone: 1000}).registered(t)
	web := startBrowserWith(t, c.at(2), browserConfig{user: "1003", scheme: "ws", page: "phone.html", tone: 440})
	web.await(t, "registered", 1)

	alice.dial(t, "1002")
	bob.talks(t, 1)
	alice.talks(t, 1)
	alice.hears(t, 1000)
	bob.hears(t, 700)
	c.at(0).carries(t, 1)
	c.at(1).carries(t, 0)
	for _, m := range bob.got(`^INVITE `) {
		for _, s := range m.media() {
			if !c.at(0).owns(s.host, s.port) {
				t.Errorf("bob was told to send %s to %s:%d, not to the media ports of the caller's node\n%s", s.kind, s.host, s.port, m.text)
			}
		}
		if strings.Contains(m.text, "invalid") || !strings.Contains(m.text, "@"+c.ready.Nodes[1].SIP.TCP) {
			t.Errorf("bob cannot come back the way he was called:\n%s", m.text)
		}
	}
	answers := len(bob.answers())
	bob.do(t, "hold", "") // inside the call, through the second node back to the first
	eventually(t, soon, "the answer to the hold to come back", func() bool { return bob.wasAnswered("recvonly") })
	bob.do(t, "resume", "")
	eventually(t, soon, "both re-INVITEs to be answered", func() bool { return len(bob.answers()) == answers+2 })
	before := alice.received(t) // baresip's recording ends with the first stream
	eventually(t, soon, "alice to receive a second of sound", func() bool { return alice.received(t) >= before+50 })
	bob.hangUp(t)
	alice.ends(t, 1)
	c.at(0).carries(t, 0)

	alice.dial(t, "1003")
	alice.talks(t, 2)
	web.talks(t)
	web.hears(t, 700)
	alice.hears(t, 440)
	alice.hangUp(t)
	web.await(t, "ended", 1)

	web.dial("sip:1002@" + c.host()) // from the third node to the second
	bob.talks(t, 2)
	web.await(t, "confirmed", 2)
	web.hears(t, 1000)
	bob.hears(t, 440)
	c.at(2).carries(t, 1)
	web.commands <- browserCommand{Do: "hangup"}
	bob.ends(t, 2)

	if sent, carried := c.at(0).metric(t, "tandem_sip_edge_sent_total"), c.at(1).metric(t, "tandem_sip_edge_carried_total"); sent == 0 || carried == 0 {
		t.Errorf("the first node has sent %v messages through others, the second has carried %v", sent, carried)
	}
}

// TestAPhoneAtADeadNodeIsNotWaitedFor kills a node whose phone is ringing and is called again.
func TestAPhoneAtADeadNodeIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	c := startTrio(t)
	c.whole(t)
	c.at(0).withoutMailboxes(t)
	alice := startPhone(t, c.at(0), phoneConfig{user: "1001", tone: 700}).registered(t)
	startPhone(t, c.at(1), phoneConfig{user: "1002", transport: "tcp", answer: "manual", tone: 1000}).registered(t)
	alice.dial(t, "1002")
	alice.await(t, "CALL_RINGING", 1)
	if err := syscall.Kill(c.ready.Nodes[1].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	alice.ends(t, 1)
	if took := time.Since(killed); took > 2*time.Second {
		t.Errorf("the caller of a phone whose node has died waited for %v", took)
	} else {
		t.Logf("the caller was told after %v", took)
	}
}

// TestAnAccountIsGoodOnAllNodesAtOnce makes accounts on one node and registers them on another as soon as the command has come back.
func TestAnAccountIsGoodOnAllNodesAtOnce(t *testing.T) {
	t.Parallel()
	c := startTrio(t)
	lead := c.whole(t)
	made, used := (lead+1)%3, (lead+2)%3
	r := newRegistrant(t, c.ready.Nodes[used].SIP.UDP, c.ready.Domain)
	for i := range 20 {
		user := fmt.Sprintf("new%d", i)
		cmd := exec.Command(program, "account", "add", user, "--password", password, "--api", c.ready.Nodes[made].Admin)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("account add: %v\n%s", err, out)
		}
		if r.register(user) == 0 {
			t.Errorf("%s was refused on %s", user, c.ready.Nodes[used].Name)
		}
	}
	if failed := c.at(used).metric(t, "tandem_sip_auth_failures_total"); failed != 0 {
		t.Errorf("%v registrations counted as wrong passwords", failed)
	}
}

// TestAMinorityServesWhatItKnowsAndSaysWhyItDoesNoMore leaves one node of three.
func TestAMinorityServesWhatItKnowsAndSaysWhyItDoesNoMore(t *testing.T) {
	c := startTrio(t)
	c.whole(t)
	alone := c.at(0)
	alice, bob := startPhone(t, alone, phoneConfig{user: "1001", tone: 700}).registered(t), startPhone(t, alone, phoneConfig{user: "1002", tone: 1000}).registered(t)
	for _, n := range c.ready.Nodes[1:] {
		if err := syscall.Kill(n.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	const why = "1 of 3 voting nodes answer, 2 are needed"
	eventually(t, soon, "/readyz to say why", func() bool {
		resp, err := http.Get(alone.ready.Nodes[0].Admin + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode == 503 && strings.Contains(string(text), why)
	})
	if out, _ := alone.cli(t, "cluster", "status"); !strings.Contains(strings.Join(strings.Fields(out), " "), "1 of 3 voting nodes answer") {
		t.Errorf("cluster status does not say why:\n%s", out)
	}
	if out, err := alone.cli(t, "account", "add", "nobody", "--password", password); err == nil {
		t.Errorf("an account was made that nobody has agreed to:\n%s", out)
	}
	alice.dial(t, "1002") // phones that are known go on calling each other
	bob.talks(t, 1)
	alice.hears(t, 1000)
	bob.hears(t, 700)
	alice.hangUp(t)
	alice.dial(t, "4711") // it cannot know whether somebody has this number
	alice.ends(t, 2)
	if got := alice.got(`^SIP/2.0 503 `); len(got) == 0 {
		t.Error("a number that the node does not know was not refused with 503")
	}
}

// readmeCluster runs in namespaces of its own, where the addresses and the folder of the README belong to nobody else.
const readmeCluster = `
set -eu
ip link set lo up
mount --bind "$1" /tmp
cd /tmp/here
. ./cluster.sh
for i in $(seq 100); do
	if bin/tandem cluster status --data-dir /tmp/tandem/n1 | tr -s ' \n' ' ' | grep -q '3 of 3 voting nodes answer'; then echo three nodes, one service; exit; fi
	sleep 0.1
done
bin/tandem cluster status --data-dir /tmp/tandem/n1
exit 1`

// TestTheREADMEsClusterCommandsDoWhatItSays runs them as they are printed.
func TestTheREADMEsClusterCommandsDoWhatItSays(t *testing.T) {
	if err := exec.Command("unshare", "--net", "--mount", "true").Run(); err != nil {
		t.Skipf("no namespaces can be made here: %v", err)
	}
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## Three nodes, one service")
	blocks := strings.SplitN(section, "```", 3)
	if len(blocks) < 3 {
		t.Fatal("the README prints no commands for a cluster")
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "here", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "tandem"), whole, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "here", "cluster.sh"), blocks[1])
	// With a namespace for processes nothing outlives the shell.
	p := launch(t, "the README's cluster", dir, nil, "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", readmeCluster, "cluster", dir)
	p.find(t, 0, 2*startWithin, `three nodes, one service`)
}
