package tandem

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"tandem/configs"
	"tandem/internal/netns"
	"tandem/sip/transport"
)

// interfaceWithNobody is one that has no other end.
func interfaceWithNobody(t *testing.T) {
	t.Helper()
	netns.Need(t)
	netns.Run(t, "ip link add eth0 type veth peer name nobody")
	t.Cleanup(func() { netns.Run(t, "ip link del eth0") })
	netns.Run(t, "ip link set eth0 up")
}

// here tells which of some addresses stand on the interface.
func here(t *testing.T, addrs ...string) string {
	t.Helper()
	out := netns.Run(t, "ip -4 addr show dev eth0")
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
		if err := errors.Join(v.begin(shared), v.start(ctx, parseVirtual(list))); err != nil {
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
	netns.Run(t, "ip addr add "+operators+" dev eth0")
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

// isolatedNode runs a node of little more than signalling and media at an address until the test's end, or until it is stopped.
func isolatedNode(t *testing.T, addr string, virtual ...string) (n *Node, stop func()) {
	t.Helper()
	cfg := configs.Default()
	cfg.Node.Name, cfg.Node.DataDir = "a", t.TempDir()
	cfg.SIP.UDP, cfg.SIP.TCP, cfg.SIP.TLS = []string{addr + ":5060"}, nil, nil
	cfg.Web.HTTP, cfg.Web.HTTPS, cfg.Admin.Listen = nil, nil, ""
	cfg.Media.Address, cfg.Media.Tier = []string{addr}, "sockets"
	cfg.TURN = configs.TURN{PerUser: 1}
	cfg.Cluster.VirtualAddresses = virtual
	n, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-n.WhenReady():
	case err := <-ended:
		t.Fatal(err)
	}
	return n, stop
}

func TestANodeBringsItsVirtualAddressAndTakesItAlong(t *testing.T) {
	interfaceWithNobody(t)
	n, stop := isolatedNode(t, "192.0.2.10", "192.0.2.10/24@eth0")
	if got := here(t, "192.0.2.10/24"); got == "" {
		t.Error("the address is not here")
	}
	if l := n.SIP().Transport().Listeners(); len(l) != 1 || l[0].Addr != netip.MustParseAddrPort("192.0.2.10:5060") {
		t.Errorf("it listens on %v", l)
	}
	stop()
	if got := here(t, "192.0.2.10/24"); got != "" {
		t.Error("the address stays behind")
	}
}

func TestTheVirtualAddressOfADeadNodeComesAndGoesBack(t *testing.T) {
	interfaceWithNobody(t)
	netns.Run(t, "ip addr add 192.0.2.1/24 dev eth0")
	n, stop := isolatedNode(t, "192.0.2.1")
	adopt := func(addr string, more ...whereabouts) error {
		_, err := n.adopt(t.Context(), departed{Name: "b", Calls: [][]byte{[]byte("no call")}, Addresses: append([]whereabouts{{
			SIP: []place{{transport.UDP, addr + ":5060"}, {transport.TCP, addr + ":5060"}}, Media: []string{addr}, Web: []webAt{{Addr: addr + ":8080"}},
			Virtual: []string{"192.0.2.10/24@eth0"},
		}}, more...)})
		return err
	}
	for _, cannot := range []whereabouts{{SIP: []place{{transport.UDP, "203.0.113.9:5060"}}}, {Media: []string{"203.0.113.9"}}, {Virtual: []string{"203.0.113.9/24@gone0"}}} {
		if err := adopt("192.0.2.10", cannot); err == nil || here(t, "192.0.2.10/24") != "" || len(n.SIP().Transport().Listeners()) != 1 {
			t.Errorf("what cannot be had as a whole: %v, and it listens on %v", err, n.SIP().Transport().Listeners())
		} else {
			t.Log(err)
		}
	}
	dead := netip.MustParseAddr("192.0.2.10")
	for _, addr := range []string{"192.0.2.10", "0.0.0.0"} { // its own, or all of its machine
		if err := adopt(addr); err != nil {
			t.Fatal(err)
		}
		if here(t, "192.0.2.10/24") == "" {
			t.Error("the address is not here")
		}
		if !n.SIP().Transport().IsLocal("192.0.2.10", 5060) || len(n.SIP().Transport().Listeners()) != 3 {
			t.Errorf("it listens on %v", n.SIP().Transport().Listeners())
		}
		if _, ours := n.media.Reach(dead); addr == "192.0.2.10" && !ours {
			t.Error("media at the address are not ours")
		}
		if err := n.giveBack("b"); err != nil {
			t.Error(err)
		}
		if here(t, "192.0.2.10/24") != "" || n.SIP().Transport().IsLocal("192.0.2.10", 5060) {
			t.Error("the address was not given back")
		}
	}
	if err := adopt("192.0.2.10"); err != nil {
		t.Fatal(err)
	}
	stop()
	if here(t, "192.0.2.10/24") != "" {
		t.Error("the address of the dead node stays behind")
	}
}
