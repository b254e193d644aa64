package tandem

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem/configs"
)

// interfaceWithNobody is one that has no other end.
func interfaceWithNobody(t *testing.T) {
	t.Helper()
	needNamespace(t)
	shell(t, "ip link add eth0 type veth peer name nobody")
	t.Cleanup(func() { shell(t, "ip link del eth0") })
	shell(t, "ip link set eth0 up")
}

// here tells which of some addresses stand on the interface.
func here(t *testing.T, addrs ...string) string {
	t.Helper()
	out := shell(t, "ip -4 addr show dev eth0")
	var found []string
	for _, a := range addrs {
		if strings.Contains(out, "inet "+a+" ") {
			found = append(found, a)
		}
	}
	return strings.Join(found, " ")
}

func TestWhatAKilledProcessHasLeftIsTakenAway(t *testing.T) {
	interfaceWithNobody(t)
	const one, two, operators = "192.0.2.10/24", "192.0.2.11/24", "192.0.2.12/24"
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	ctx := t.Context()
	begin := func(shared bool, list ...string) *virtualAddresses {
		t.Helper()
		v := newVirtualAddresses(dir, log)
		for i, a := range list {
			list[i] = a + "@eth0"
		}
		if err := v.start(ctx, parseVirtual(list), shared); err != nil {
			t.Fatal(err)
		}
		return v
	}
	expect := func(what, want string) {
		t.Helper()
		if got := here(t, one, two, operators); got != want {
			t.Errorf("%s: there are %q, want %q", what, got, want)
		}
	}
	shell(t, "ip addr add "+operators+" dev eth0")
	begin(false, one, operators)
	expect("the first", one+" "+operators)
	second := begin(false, two) // the first was killed
	expect("the second", two+" "+operators)
	begin(true, two, one).end() // a successor that fails
	expect("a successor that fails", one+" "+two+" "+operators)
	successor := begin(true, one)
	successor.inherit(parseVirtual([]string{one + "@eth0"}))
	expect("one that does not", one+" "+operators)
	_ = second // has parted without a word
	successor.end()
	expect("nobody", operators)
	if _, err := os.Stat(filepath.Join(dir, "virtual-addresses")); !os.IsNotExist(err) {
		t.Errorf("the file stays: %v", err)
	}
}

func TestANodeBringsItsVirtualAddressAndTakesItAlong(t *testing.T) {
	interfaceWithNobody(t)
	cfg := configs.Default()
	cfg.Node.Name, cfg.Node.DataDir = "a", t.TempDir()
	cfg.SIP.UDP, cfg.SIP.TCP, cfg.SIP.TLS = []string{"192.0.2.10:5060"}, nil, nil
	cfg.Web.HTTP, cfg.Web.HTTPS, cfg.Admin.Listen = nil, nil, ""
	cfg.Media.Address, cfg.Media.Tier = []string{"192.0.2.10"}, "sockets"
	cfg.TURN = configs.TURN{PerUser: 1}
	cfg.Cluster.VirtualAddresses = []string{"192.0.2.10/24@eth0"}
	n, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	select {
	case <-n.WhenReady():
	case err := <-ended:
		t.Fatal(err)
	}
	if got := here(t, "192.0.2.10/24"); got == "" {
		t.Error("the address is not here")
	}
	if l := n.SIP().Transport().Listeners(); len(l) != 1 || l[0].Addr != netip.MustParseAddrPort("192.0.2.10:5060") {
		t.Errorf("it listens on %v", l)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := here(t, "192.0.2.10/24"); got != "" {
		t.Error("the address stays behind")
	}
}
