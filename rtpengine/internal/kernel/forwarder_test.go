//go:build linux

package kernel

import (
	"bytes"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tandem/internal/netns"
)

// phones are two networks, and a flow from the first to the second.
func phones(t *testing.T) (a, b *place) {
	t.Helper()
	return newPlace(t, "phone-a", "10.201.1", "fd01"), newPlace(t, "phone-b", "10.201.2", "fd02")
}

var crossings = []struct{ name, local, remote, from, to string }{
	{"IPv4", "10.201.1.1:20000", "10.201.1.2:5000", "10.201.2.1:20002", "10.201.2.2:6000"},
	{"IPv6", "[fd01::1]:20000", "[fd01::2]:5000", "[fd02::1]:20002", "[fd02::2]:6000"},
}

func TestPacketsCrossFromNetworkToNetwork(t *testing.T) {
	t.Run("checksum left to the card", func(t *testing.T) { cross(t, func(*place) {}) })
	t.Run("checksum written by the sender", func(t *testing.T) { // and checked by the receiver
		cross(t, func(a *place) { a.inside(func() { offload(t, "phone-a-1", unix.ETHTOOL_STXCSUM, 0) }) })
	})
	t.Run("GRO", func(t *testing.T) {
		cross(t, func(*place) {
			offload(t, "phone-a-0", unix.ETHTOOL_SGRO, 1)
			offload(t, "phone-b-0", unix.ETHTOOL_SGRO, 1)
		})
	})
}

func cross(t *testing.T, with func(a *place)) {
	a, b := phones(t)
	with(a)
	f := open(t, nil)
	for _, c := range crossings {
		port, speaker, listener := listen(t, c.local), a.listen(t, c.remote), b.listen(t, c.to)
		r := start(t, f, flow(c.local, c.remote, c.from, c.to))
		for seq := uint16(1000); seq < 1010; seq++ {
			say(t, speaker, c.local, rtp(0, seq))
			if got, from := hear(t, listener); !bytes.Equal(got, rtp(0, seq)) || from != at(c.from) {
				t.Fatalf("%s: heard %d octets from %s", c.name, len(got), from)
			}
		}
		if r.Packets() != 10 {
			t.Errorf("%s: %d packets counted", c.name, r.Packets())
		}
		say(t, speaker, c.local, rtp(18, 1010))
		if got, _ := hear(t, port); !bytes.Equal(got, rtp(18, 1010)) {
			t.Errorf("%s: the socket got %d octets of a packet that is its own", c.name, len(got))
		}
		r.Stop()
		say(t, speaker, c.local, rtp(0, 1010))
		if got, _ := hear(t, port); got == nil {
			t.Errorf("%s: nothing comes to the socket after the flow", c.name)
		}
	}
}

// A forger in the second network uses the first one's address: the packet comes by the wrong interface.
func TestForgedSourceFromAnotherInterfaceIsNotForwarded(t *testing.T) {
	a, b := phones(t)
	f := open(t, nil)
	c := crossings[0]
	listener := b.listen(t, c.to)
	r := start(t, f, flow(c.local, c.remote, c.from, c.to))
	b.run(t, "ip addr add 10.201.1.2/32 dev lo")
	forger := b.listen(t, c.remote)
	say(t, forger, c.local, rtp(0, 1000))
	if got, _ := hearFor(t, listener, 300*time.Millisecond); got != nil || r.Packets() != 0 {
		t.Errorf("%d octets, %d packets", len(got), r.Packets())
	}
	say(t, a.listen(t, c.remote), c.local, rtp(0, 1000))
	if got, _ := hear(t, listener); got == nil {
		t.Error("the phone itself is not heard")
	}
}

func TestGatewayIsTheNextHop(t *testing.T) {
	a, b := phones(t)
	b.run(t, "ip addr add 192.0.2.9/32 dev lo")
	netns.Run(t, "ip route add 192.0.2.9/32 via 10.201.2.2")
	f := open(t, nil)
	c := crossings[0]
	listener := b.listen(t, "192.0.2.9:6000")
	w := flow(c.local, c.remote, "0.0.0.0:20002", "192.0.2.9:6000")
	w.Local = netip.AddrPortFrom(netip.IPv4Unspecified(), 20000)
	start(t, f, w)
	say(t, a.listen(t, c.remote), c.local, rtp(0, 1000))
	if got, from := hear(t, listener); got == nil || from != at(c.from) {
		t.Errorf("%d octets from %s", len(got), from)
	}
}

func TestInterfacesAreFollowed(t *testing.T) {
	netns.Need(t)
	f := open(t, func(c *Config) { c.Addrs = []netip.Addr{netip.MustParseAddr("10.201.1.1")} })
	want := func(names ...string) {
		t.Helper()
		if _, err := f.Refresh(); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, in := range f.Interfaces() {
			got = append(got, strings.TrimSuffix(in.Name+" "+in.Reason, " "))
		}
		if strings.Join(got, ", ") != strings.Join(names, ", ") {
			t.Errorf("got %q, want %q", got, names)
		}
	}
	want("lo")
	if changed, err := f.Refresh(); changed || err != nil {
		t.Errorf("nothing has changed: %v, %v", changed, err)
	}
	w := flow("10.201.1.1:20000", "10.201.1.2:5000", "10.201.1.1:20002", "10.201.1.2:6000")
	if _, err := f.Start(w); err != ErrRoute {
		t.Errorf("got %v, want %v", err, ErrRoute)
	}
	newPlace(t, "phone-a", "10.201.1", "fd01")
	newPlace(t, "phone-b", "10.201.2", "fd02")
	if _, err := f.Start(w); err != ErrInterface {
		t.Errorf("got %v, want %v", err, ErrInterface)
	}
	want("lo", "phone-a-0")
	start(t, f, w)
	if exec.Command("ip", "tuntap", "add", "tun-1", "mode", "tun").Run() == nil { // not every machine has them
		netns.Run(t, "ip addr add 10.201.1.1/32 dev tun-1")
		netns.Run(t, "ip link set tun-1 up")
		want("lo", "phone-a-0", "tun-1 it has no Ethernet addresses")
		netns.Run(t, "ip link del tun-1")
	}
	netns.Run(t, "ip addr del 10.201.1.1/24 dev phone-a-0")
	want("lo")
}

func TestOnlyNamedInterfacesServe(t *testing.T) {
	phones(t)
	f := open(t, func(c *Config) { c.Only = []string{"phone-b-0", "absent"} })
	if list := f.Interfaces(); len(list) != 1 || list[0] != (Interface{Name: "phone-b-0"}) {
		t.Errorf("%+v", list)
	}
}

func TestClosedForwarderStartsNothing(t *testing.T) {
	f := open(t, nil)
	w := flow(ways[0].local, ways[0].remote, ways[0].from, ways[0].to)
	r := start(t, f, w)
	f.Close()
	f.Close()
	r.Stop()
	if _, err := f.Start(w); err == nil || r.Packets() != 0 {
		t.Error(err, r.Packets())
	}
	if changed, err := f.Refresh(); changed || err != nil {
		t.Error(changed, err)
	}
}

func say(t *testing.T, from *net.UDPConn, to string, b []byte) {
	t.Helper()
	if _, err := from.WriteToUDPAddrPort(b, at(to)); err != nil {
		t.Fatal(err)
	}
}
