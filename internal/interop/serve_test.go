//go:build interop

package interop

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// plan is an operator's dialplan with a name for everything.
const plan = `dialplan "acme" {
  format  = 1
  domains = ["acme.test"]
}
user "alice" { extension = "201" }
user "bob"   { extension = "202" }
ring "sales" {
  extension = "300"
  strategy  = "all"
  members   = [user.bob]
  timeout   = "20s"
  otherwise { go = echo.test }
}
echo "test" { extension = "*43" }
test "sales rings bob" {
  at     = "2026-11-23 10:00"
  call   = { from = user.alice, to = "300" }
  expect = [ring.sales]
}
`

// serveConfig says how one served node differs from the others.
type serveConfig struct {
	ipv6  bool   // it listens on ::1 too; see over6
	srtp  string // media.srtp, "" for its default
	media string // more of its media block
	more  string // more blocks of its configuration
}

// serveNode starts a node as an operator does: a configuration file, a
// dialplan, accounts from a CSV file.
func serveNode(t testing.TB, c serveConfig) *node {
	t.Helper()
	ip, dir := loopback(), t.TempDir()
	n := &node{ip: ip}
	at := func(port int) string { return net.JoinHostPort(ip.String(), strconv.Itoa(port)) }
	sip, web, admin := freePort(t), freePort(t), freePort(t)
	write(t, filepath.Join(dir, "acme.dialplan.hcl"), plan)
	listeners := func(port int) string {
		if c.ipv6 {
			return fmt.Sprintf("[%q, %q]", at(port), net.JoinHostPort("::1", strconv.Itoa(port)))
		}
		return fmt.Sprintf("[%q]", at(port))
	}
	media := fmt.Sprintf("[%q]", ip)
	policy := ""
	if c.srtp != "" {
		policy = fmt.Sprintf("srtp = %q", c.srtp)
	}
	policy += "\n  " + c.media
	if c.ipv6 {
		media = fmt.Sprintf("[%q, %q]", ip, "::1")
	}
	write(t, filepath.Join(dir, "tandem.hcl"), fmt.Sprintf(`node {
  name     = "n1"
  data_dir = %q
}
sip {
  udp = %s
  tcp = %s
  tls = %s
}
media {
  address = %s
  ports   = "%d-%d"
  %s
}
admin { listen = %q }
web {
  http  = [%q]
  https = [%q]
}
turn {
  udp = []
  tcp = []
}
dialplan { files = [%q] }
%s`, filepath.Join(dir, "data"), listeners(sip), listeners(sip), listeners(sip+1), media, mediaFirst, mediaLast, policy, at(admin), at(web), at(web+1), dir, c.more))
	n.argv = []string{program, "serve", "--config", filepath.Join(dir, "tandem.hcl")}
	n.process = launch(t, "tandem", dir, nil, n.argv...)
	n.ready.Domain = "acme.test"
	n.ready.Nodes = append(n.ready.Nodes, demoNode{Name: "n1", DataDir: filepath.Join(dir, "data"), Admin: "http://" + at(admin)})
	n.ready.Nodes[0].SIP.UDP, n.ready.Nodes[0].SIP.TCP, n.ready.Nodes[0].SIP.TLS = at(sip), at(sip), at(sip+1)
	eventually(t, startWithin, "the node to be ready", func() bool {
		resp, err := http.Get(n.ready.Nodes[0].Admin + "/readyz")
		if err != nil {
			return n.gone()
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	if n.gone() {
		t.Fatal("the node ended at once")
	}
	accounts := filepath.Join(dir, "accounts.csv")
	write(t, accounts, fmt.Sprintf("tenant,user,password,extension,display\nacme,alice,%s,201,Alice\nacme,bob,%s,202,Bob\n", password, password))
	if out, err := n.cli(t, "account", "import", accounts); err != nil {
		t.Fatalf("account import: %v\n%s", err, out)
	}
	return n
}

// over6 is the node as a phone sees it that comes over IPv6.
func (n *node) over6() *node {
	six := *n
	six.ip = netip.IPv6Loopback()
	six.ready.Nodes = slices.Clone(n.ready.Nodes)
	at := &six.ready.Nodes[0].SIP
	for _, address := range []*string{&at.UDP, &at.TCP, &at.TLS} {
		_, port, _ := net.SplitHostPort(*address) // serveNode wrote it
		*address = net.JoinHostPort("::1", port)
	}
	return &six
}

func TestServedNodeConnectsNamesAndExtensions(t *testing.T) {
	t.Parallel()
	n := serveNode(t, serveConfig{})
	alice := startPhone(t, n, phoneConfig{user: "alice", tone: 440}).registered(t)
	bob := startPhone(t, n, phoneConfig{user: "202", tone: 1000}).registered(t) // the extension is a digest name too
	for i, number := range []string{"202", "bob", "300"} {
		alice.dial(t, number)
		alice.talks(t, i+1)
		bob.talks(t, i+1)
		hearEachOther(t, alice, bob)
		alice.hangUp(t)
		bob.ends(t, i+1)
	}
	bob.dial(t, "alice")
	alice.talks(t, 4)
	hearEachOther(t, alice, bob)
	bob.hangUp(t)
	alice.ends(t, 4)
	if !n.registered(t, "alice") || !n.registered(t, "bob") {
		t.Error("alice or bob is not listed as registered")
	}
}

func TestWrongConfigurationIsRefusedWithItsPlace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tandem.hcl")
	write(t, file, "sip {\n  upd = [\"127.0.0.1:5060\"]\n}\n")
	for _, verb := range []string{"check", "serve"} {
		p := launch(t, "tandem "+verb, filepath.Dir(file), []string{"HOME=" + filepath.Dir(file)}, program, verb, "--config", file)
		if code := p.waitEnd(t, soon); code != 78 {
			t.Errorf("%s ended with code %d, want 78", verb, code)
		}
		if out := string(p.text(0)); !strings.Contains(out, "tandem.hcl:2:3") || !strings.Contains(out, "udp") {
			t.Errorf("%s does not name line, column and the right word:\n%s", verb, out)
		}
	}
}

func TestTakenPortIsNamed(t *testing.T) {
	n := serveNode(t, serveConfig{})
	config := n.argv[len(n.argv)-1]
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "tandem.hcl")
	write(t, other, strings.ReplaceAll(string(text), n.ready.Nodes[0].DataDir, t.TempDir()))
	p := launch(t, "second tandem", filepath.Dir(other), nil, program, "serve", "--config", other)
	if code := p.waitEnd(t, soon); code != 75 {
		t.Errorf("the second node ended with code %d, want 75", code)
	}
	if out := string(p.text(0)); !strings.Contains(out, n.ip.String()) {
		t.Errorf("the message does not name the address:\n%s", out)
	}
}
