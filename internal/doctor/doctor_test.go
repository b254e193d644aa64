package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/configs"
	"tandem/rtpengine"
)

// machine is an examination of a made-up /proc.
func machine(t *testing.T, files map[string]string) *examination {
	t.Helper()
	x := &examination{cfg: configs.Default(), root: t.TempDir(), now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
	for name, text := range files {
		path := filepath.Join(x.root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return x
}

// finds checks what was found: a state and a word of each finding, and a word of the advice where there must be one.
func (x *examination) finds(t *testing.T, want ...Finding) {
	t.Helper()
	if len(x.list) != len(want) {
		t.Fatalf("got %+v, want %+v", x.list, want)
	}
	for i, got := range x.list {
		if got.State != want[i].State || !strings.Contains(got.Found, want[i].Found) || !strings.Contains(got.Advice, want[i].Advice) {
			t.Errorf("got %+v, want %+v", got, want[i])
		}
		if got.State != OK && got.Advice == "" {
			t.Errorf("%+v leaves the reader alone", got)
		}
	}
}

func TestKernelVersion(t *testing.T) {
	for release, want := range map[string]Finding{
		"6.18.44-fc": {State: OK, Found: "6.18.44"},
		"6.6":        {State: OK},
		"6.5.0-1":    {State: Warning, Found: "steered", Advice: "6.6"},
		"5.4.0":      {State: Warning, Found: "socket", Advice: "6.6"},
		"":           {State: Warning, Found: "not Linux", Advice: "6.6"},
		"odd":        {State: Warning, Found: "cannot be read", Advice: "6.6"},
	} {
		x := machine(t, map[string]string{"proc/sys/kernel/osrelease": release})
		x.kernel()
		x.finds(t, want)
	}
}

func TestRights(t *testing.T) {
	for mask, want := range map[string]Finding{
		"000001ffffffffff": {State: OK},
		"0000000000201000": {State: OK}, // CAP_SYS_ADMIN is CAP_BPF, too
		"0000008000000000": {State: Warning, Found: "CAP_NET_ADMIN", Advice: "AmbientCapabilities=CAP_NET_ADMIN,"},
		"0000000000000000": {State: Warning, Found: "CAP_BPF and CAP_NET_ADMIN", Advice: "--cap-add"},
	} {
		x := machine(t, map[string]string{"proc/self/status": "Name:\tx\nCapEff:\t" + mask})
		x.rights()
		want.Advice = strings.TrimSuffix(want.Advice, ",")
		x.finds(t, want)
	}
	x := machine(t, nil)
	x.cfg.Media.Tier = "sockets"
	x.rights()
	x.finds(t, Finding{State: OK})
}

func TestTiersAreTold(t *testing.T) {
	x := machine(t, nil)
	x.tier("media tier", &rtpengine.TierStats{Tier: rtpengine.TierSteered, Kernel: rtpengine.KernelStats{
		On: true, Interfaces: []rtpengine.InterfaceStats{{Name: "eth0"}, {Name: "wg0", Reason: "it has no Ethernet addresses"}},
	}})
	x.tier("media tier", &rtpengine.TierStats{Tier: rtpengine.TierSockets, Reason: "no rights", Kernel: rtpengine.KernelStats{Reason: "none here, either"}})
	x.finds(
		t,
		Finding{State: Warning, Found: "wg0: it has no Ethernet", Advice: "steered"}, Finding{State: OK, Found: "by eth0"}, Finding{State: OK, Found: "steered"},
		Finding{State: Warning, Found: "none here", Advice: "CAP_BPF"}, Finding{State: Warning, Found: "no rights", Advice: "CAP_BPF"},
	)
	x.list, x.cfg.Media.Tier = nil, "sockets"
	x.tier("media tier", &rtpengine.TierStats{Tier: rtpengine.TierSockets, Reason: "it is configured so", Kernel: rtpengine.KernelStats{Reason: "it is configured so"}})
	x.finds(t, Finding{State: OK, Found: "configured"}, Finding{State: OK, Found: "configured"})
}

func TestReversePathFilter(t *testing.T) {
	conf := func(name string) string { return "proc/sys/net/ipv4/conf/" + name + "/rp_filter" }
	for want, files := range map[Finding]map[string]string{
		{State: OK}:                     {conf("all"): "1", conf("eth0"): "0", conf("lo"): "1"},
		{State: OK, Found: "no packet"}: {conf("all"): "2", conf("eth0"): "1", conf("eth1"): "1"},
		{State: Warning, Found: "eth0, eth1", Advice: "rp_filter=2"}:  {conf("all"): "1", conf("eth0"): "0", conf("eth1"): "0"},
		{State: Warning, Found: "on eth1:", Advice: "not symmetric:"}: {conf("all"): "0", conf("eth0"): "0", conf("eth1"): "1"},
	} {
		x := machine(t, files)
		x.reversePath()
		x.finds(t, want)
	}
}

func TestMediaPortsAndTheKernelsOwn(t *testing.T) {
	x := machine(t, map[string]string{"proc/sys/net/ipv4/ip_local_port_range": "32768\t60999", "proc/sys/net/ipv4/ip_local_reserved_ports": ""})
	x.cfg.Limits.Calls = 2500
	x.mediaPorts()
	x.finds(t, Finding{State: OK, Found: "2500 calls"}, Finding{State: OK})

	x.list, x.cfg.Media.Ports, x.cfg.Limits.Calls = nil, configs.PortRange{Min: 30000, Max: 39999}, 2501
	x.mediaPorts()
	x.finds(t, Finding{State: Warning, Found: "2500 calls", Advice: "limits.calls"}, Finding{State: Warning, Found: "32768-39999", Advice: "ip_local_reserved_ports=30000-39999"})

	x = machine(t, map[string]string{"proc/sys/net/ipv4/ip_local_port_range": "32768 60999", "proc/sys/net/ipv4/ip_local_reserved_ports": "80,32768-39999"})
	x.cfg.Media.Ports, x.cfg.Limits.Calls = configs.PortRange{Min: 30000, Max: 39999}, 1
	x.mediaPorts()
	x.finds(t, Finding{State: OK}, Finding{State: OK})
}

func TestSinglePortOfAllPhones(t *testing.T) {
	at := udpAt(t)
	x := machine(t, nil)
	x.cfg.Media.SinglePort, x.cfg.Limits.Calls = int(at.Port()), 100_000
	x.mediaPorts()
	x.finds(t, Finding{State: OK, Found: "sides of calls that cannot"})

	x.list, x.cfg.Media.Address, x.cfg.Media.Ports = nil, []string{"127.0.0.1"}, configs.PortRange{Min: 4, Max: 3}
	x.mediaBinds()
	x.finds(t, Finding{State: Problem, Found: "media.single_port", Advice: "does not start"}, Finding{State: OK})
}

// udpAt holds a port of loopback, with all that are free above it for as long as it takes to find some.
func udpAt(t *testing.T) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestMediaPortsThatOthersHold(t *testing.T) {
	at := udpAt(t)
	for name, c := range map[string]struct {
		running bool
		ports   configs.PortRange
		addr    string
		want    Finding
	}{
		"a few": {false, configs.PortRange{Min: at.Port() - 20, Max: at.Port() + 20}, "127.0.0.1", Finding{State: Warning, Found: "taken on 127.0.0.1", Advice: "ss"}},
		"most":  {false, configs.PortRange{Min: at.Port(), Max: at.Port() + 1}, "127.0.0.1", Finding{State: Problem, Found: "1 are taken", Advice: "media.ports"}},
		"ours":  {true, configs.PortRange{Min: at.Port(), Max: at.Port() + 1}, "127.0.0.1", Finding{State: OK, Found: "node that runs here"}},
		"alien": {false, configs.PortRange{Min: at.Port(), Max: at.Port() + 1}, "192.0.2.1", Finding{State: Problem, Found: "192.0.2.1 cannot be bound", Advice: "media.address"}},
	} {
		t.Run(name, func(t *testing.T) {
			x := machine(t, nil)
			x.cfg.Media.Address, x.cfg.Media.Ports, x.running = []string{c.addr}, c.ports, c.running
			x.mediaBinds()
			x.finds(t, c.want)
		})
	}
}

func TestListeners(t *testing.T) {
	at := udpAt(t)
	x := machine(t, nil)
	try := func(want Finding) {
		t.Helper()
		x.list = nil
		x.listener("sip.udp", "udp", at)
		x.finds(t, want)
	}
	try(Finding{State: Problem, Found: "sip.udp " + at.String() + " is taken by another", Advice: "ss -lntup"})
	x.running = true
	try(Finding{State: OK, Found: "node that runs here"})
	at = netip.MustParseAddrPort("192.0.2.1:5060")
	try(Finding{State: Problem, Found: "no address of this machine", Advice: "0.0.0.0"})
}

func TestAdvertisedAddresses(t *testing.T) {
	for addr, want := range map[string]Finding{
		"203.0.113.10": {State: OK},
		"127.0.0.1":    {State: Problem, Found: "media.advertise 127.0.0.1", Advice: "phones"},
		"10.0.0.1":     {State: Warning, Found: "private", Advice: "public"},
		"fe80::1":      {State: Warning, Found: "one link", Advice: "phones"},
	} {
		x := machine(t, nil)
		x.cfg.Media.Advertise = []string{addr}
		x.advertised(t.Context())
		x.finds(t, want)
	}
	x := machine(t, nil)
	x.cfg.Media.Advertise, x.cfg.SIP.Advertise = []string{"203.0.113.10"}, "::1"
	x.advertised(t.Context())
	x.finds(t, Finding{State: Problem, Found: "sip.advertise ::1", Advice: "phones"})
}

func TestSocketBuffers(t *testing.T) {
	small := map[string]string{"proc/sys/net/core/rmem_max": "212992", "proc/sys/net/core/wmem_max": "16777216", "proc/self/status": "CapEff:\t0"}
	x := machine(t, small)
	x.buffers()
	small["proc/self/status"] = "CapEff:\t1000"
	y := machine(t, small)
	y.buffers()
	x.finds(t, Finding{State: Warning, Found: "8.0 MiB", Advice: "sysctl -w net.core.rmem_max=8388608"})
	y.finds(t, Finding{State: OK})
}

func TestDirectories(t *testing.T) {
	dir := t.TempDir()
	x := machine(t, nil)
	x.cfg.Node.DataDir = filepath.Join(dir, "new", "data")
	x.directories()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	x.cfg.Recording.Dir = file
	x.directory("recordings", x.cfg.RecordingDir())
	x.finds(t, Finding{State: x.list[0].State, Found: dir + "/new/data (will be made)"}, Finding{State: Problem, Found: "file cannot be written", Advice: "choose another"})
	if x.list[0].State == Problem && !strings.Contains(x.list[0].Found, "free") {
		t.Errorf("%+v", x.list[0])
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestCertificate(t *testing.T) {
	x := machine(t, nil)
	x.certificate()
	x.finds(t, Finding{State: Warning, Found: "self-made", Advice: "certs.cert_file"})
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		from, until time.Duration
		want        []Finding
	}{
		"good":   {-day, 90 * day, []Finding{{State: OK, Found: "phone.example is valid until 2026-08-30"}}},
		"late":   {-day, 13 * day, []Finding{{State: Warning, Found: "ends 2026-06-14", Advice: "renew"}}},
		"ended":  {-9 * day, -day, []Finding{{State: Problem, Found: "ended", Advice: "renew"}}},
		"future": {day, 90 * day, []Finding{{State: Problem, Found: "not valid yet", Advice: "clock"}}},
		"other":  {-day, 90 * day, []Finding{{State: OK}, {State: Warning, Found: "not for sip.example", Advice: "add the name"}}},
	} {
		x := machine(t, nil)
		x.cfg.Certs.CertFile, x.cfg.Certs.KeyFile = certificate(t, x.now.Add(c.from), x.now.Add(c.until))
		if name == "other" {
			x.cfg.SIP.Advertise = "sip.example"
		}
		x.certificate()
		x.finds(t, c.want...)
	}
	x = machine(t, nil)
	x.cfg.Certs.CertFile, x.cfg.Certs.KeyFile = "/absent.pem", "/absent.key"
	x.certificate()
	x.finds(t, Finding{State: Problem, Found: "/absent.pem cannot be used", Advice: "PEM"})
}

// certificate writes one for phone.example, and its key.
func certificate(t *testing.T, from, until time.Time) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until, DNSNames: []string{"phone.example"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// This machine, whatever it is, and a configuration that asks for little: something is said of everything, and nothing is wrong.
func TestThisMachineIsExamined(t *testing.T) {
	c := configs.Default()
	c.Node.DataDir = t.TempDir()
	c.SIP.UDP, c.SIP.TCP, c.SIP.TLS = []string{"127.0.0.1:0"}, nil, nil
	c.Web.HTTP, c.Web.HTTPS, c.TURN.UDP, c.TURN.TCP, c.Admin.Listen = nil, nil, nil, nil, ""
	c.Media.Address, c.Media.Ports, c.Media.Tier = []string{"127.0.0.1"}, configs.PortRange{Min: 25000, Max: 25039}, "sockets"
	list := Examine(t.Context(), c)
	seen := make(map[string]bool)
	for _, f := range list {
		seen[f.Check] = true
		if f.State == Problem && f.Check != "data directory" && f.Check != "media ports" { // a full disk and busy ports are no mistake of ours
			t.Errorf("%+v", f)
		}
	}
	for _, check := range []string{"kernel", "rights", "media tier", "rp_filter", "media ports", "libopus", "socket buffers", "listeners", "advertise", "clock", "data directory", "certificate"} {
		if !seen[check] {
			t.Errorf("nothing is said of %s", check)
		}
	}
}

func TestVirtualAddressesNeedRightsAndAnInterface(t *testing.T) {
	const both, none = "CapEff:\t0000000000003000", "CapEff:\t0000000000000000"
	for _, c := range []struct {
		rights, at string
		want       Finding
	}{
		{both, "192.0.2.10/24@lo", Finding{State: OK, Found: "192.0.2.10/24@lo"}},
		{none, "192.0.2.10/24@lo", Finding{State: Problem, Found: "CAP_NET_ADMIN", Advice: "AmbientCapabilities"}},
		{both, "192.0.2.10/24@nowhere0", Finding{State: Problem, Found: "no interface nowhere0", Advice: "ip link"}},
	} {
		x := machine(t, map[string]string{"proc/self/status": c.rights})
		x.cfg.Cluster.VirtualAddresses = []string{c.at}
		x.virtualAddresses()
		x.finds(t, c.want)
	}
	x := machine(t, nil)
	x.virtualAddresses()
	x.finds(t)
	x.cfg.Cluster.VirtualAddresses = []string{"192.0.2.10/24@lo"}
	if !x.listener("sip.udp", "udp", netip.MustParseAddrPort("192.0.2.10:5060")) || x.listener("sip.udp", "udp", netip.MustParseAddrPort("192.0.2.11:5060")) {
		t.Errorf("%+v", x.list)
	}
}
