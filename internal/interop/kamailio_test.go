//go:build interop

package interop

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startMediaBehindKamailio starts a node that is a media engine and nothing else, and a Kamailio whose rtpengine module commands it. The phones
// of the returned node speak SIP with Kamailio.
func startMediaBehindKamailio(t testing.TB) (n *node, kamailio *process) {
	t.Helper()
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin")
	command := peer(t, "kamailio", "kamailio")
	found, _ := filepath.Glob("/usr/lib/*/kamailio/modules/rtpengine.so")
	if len(found) == 0 {
		t.Skip("kamailio has no module rtpengine")
	}
	n = &node{ip: loopback()}
	address := func() string { return net.JoinHostPort(n.ip.String(), strconv.Itoa(freePort(t))) }
	sip, ng, admin := address(), address(), address()

	dir := t.TempDir()
	file := filepath.Join(dir, "tandem.hcl")
	write(t, file, fmt.Sprintf(`node {
  data_dir = %q
  roles    = ["media"]
}
sip { udp = [%q] } # Kamailio's: without the role signaling the node leaves it alone
media {
  address  = %q
  ports    = "%d-%d"
  ng       = [%q]
  ng_allow = [%q]
}
admin { listen = %q }
dialplan { files = [] }
log { level = "debug" }
`, filepath.Join(dir, "data"), sip, n.ip, mediaFirst, mediaLast, ng, n.ip, admin))
	n.process = launch(t, "tandem", dir, nil, program, "serve", "--config", file)
	n.find(t, 0, startWithin, `node is ready`)

	text, err := os.ReadFile(filepath.Join("testdata", "kamailio-ng.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := filepath.Join(dir, "kamailio.cfg")
	write(t, cfg, strings.NewReplacer("SIP_ADDRESS", sip, "NG_ADDRESS", ng, "MODULES", filepath.Dir(found[0])).Replace(string(text)))
	path, err := exec.LookPath(command)
	if err != nil {
		t.Fatal(err)
	}
	kamailio = launch(t, "kamailio", dir, nil, path, "-DD", "-f", cfg, "-m", "64", "-M", "8", "-Y", dir, "-P", filepath.Join(dir, "kamailio.pid"))
	_, port, _ := net.SplitHostPort(sip)
	eventually(t, startWithin, "kamailio to listen", func() bool {
		p, _ := strconv.Atoi(port)
		return listensUDP(p) || kamailio.gone()
	})

	n.ready = ready{Domain: n.ip.String(), Nodes: []demoNode{{Name: "n1", Admin: "http://" + admin}}}
	n.ready.Nodes[0].SIP.UDP = sip
	return n, kamailio
}

// TestPhonesBehindKamailioHearEachOtherThroughTandem: Kamailio's rtpengine module takes the engine for rtpengine.
func TestPhonesBehindKamailioHearEachOtherThroughTandem(t *testing.T) {
	n, kamailio := startMediaBehindKamailio(t)
	alice := startPhone(t, n, phoneConfig{user: "1000", tone: 440}).registered(t)
	bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000}).registered(t)

	alice.dial(t, "1001")
	alice.talks(t, 1)
	bob.talks(t, 1)
	alice.hears(t, 1000)
	bob.hears(t, 440)
	alice.relayed(t, "audio")
	bob.relayed(t, "audio")
	if got := n.metric(t, "tandem_ng_sessions"); got != 1 {
		t.Errorf("%v sessions during one call", got)
	}

	bob.do(t, "hold", "") // an INVITE inside the dialogue, from the other side
	eventually(t, soon, "the hold to reach alice", func() bool { return alice.wasOffered("sendonly") })
	eventually(t, soon, "the answer to the hold to come back", func() bool { return bob.wasAnswered("recvonly") })
	quiet := bob.received(t)
	never(t, 500*time.Millisecond, "the held side goes on sending", func() bool { return bob.received(t) > quiet+5 })
	answers := len(bob.answers())
	bob.do(t, "resume", "")
	eventually(t, soon, "the resumption to be answered", func() bool { return len(bob.answers()) > answers })
	for _, p := range []*phone{alice, bob} { // baresip's recording ends with the first stream: from here on packets are counted
		before := p.received(t)
		eventually(t, soon, p.name+" to receive a second of sound", func() bool { return p.received(t) >= before+50 })
		p.relayed(t, "audio")
	}
	if got := n.metric(t, `tandem_ng_requests_total\{command="offer"\}`); got != 3 {
		t.Errorf("%v offers, want those of the call, the hold and the resumption", got)
	}

	bob.hangUp(t)
	alice.ends(t, 1)
	n.empty(t)
	if text := string(kamailio.text(0)); strings.Contains(text, "ERROR") {
		t.Error("kamailio has errors to tell")
	}
	if got := n.metric(t, "tandem_ng_errors_total"); got != 0 {
		t.Errorf("%v NG requests failed", got)
	}
	n.signal(t, syscall.SIGTERM)
	if code := n.waitEnd(t, soon); code != 0 {
		t.Errorf("the node ended with code %d", code)
	}
}

func TestACallGivenUpBehindKamailioLeavesNoSession(t *testing.T) {
	n, _ := startMediaBehindKamailio(t)
	alice := startPhone(t, n, phoneConfig{user: "1000", tone: 440}).registered(t)
	bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000, answer: "manual"}).registered(t)

	alice.dial(t, "1001")
	bob.await(t, "CALL_INCOMING", 1)
	alice.hangUp(t)
	bob.ends(t, 1)
	n.empty(t)

	alice.dial(t, "1001")
	bob.await(t, "CALL_INCOMING", 2)
	bob.hangUp(t) // 486
	alice.ends(t, 2)
	n.empty(t)
}

// empty waits until the node has no session any more.
func (n *node) empty(t testing.TB) {
	t.Helper()
	ok := looks(100*time.Millisecond, soon, func() bool { return n.metric(t, "tandem_ng_sessions") == 0 })
	if !ok {
		t.Error("a session is left")
	}
}
