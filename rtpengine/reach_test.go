package rtpengine

import (
	"net/netip"
	"testing"
)

// What a relay in front of the engine may reach: the ports of calls, and the one that browsers share, which lies outside of them.
func TestMediaIsReachedAtItsPortsAndNoOthers(t *testing.T) {
	for _, c := range []struct {
		ice  uint16
		port uint16
		want bool
	}{
		{0, 20999, false},
		{0, 21000, true},
		{0, 21999, true},
		{0, 22000, false},
		{3479, 21000, true},
		{3479, 3478, false},
		{3479, 3479, true},
		{3479, 3480, true},
		{3479, 3481, false}, // two shards
	} {
		e, err := New(Config{Bind: []netip.Addr{loop4}, PortMin: 21000, PortMax: 21999, Shards: 2, ICEPort: c.ice})
		if err != nil {
			t.Fatal(err)
		}
		if got := e.IsPort(c.port); got != c.want {
			t.Errorf("ICE port %d: port %d is media's: %v", c.ice, c.port, got)
		}
	}
}

func TestMediaIsReachedAtItsAddressAndTheAdvertisedOne(t *testing.T) {
	told, stranger := netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("203.0.113.11")
	for _, bind := range []netip.Addr{loop4, netip.IPv4Unspecified()} {
		e, err := New(Config{Bind: []netip.Addr{bind}, Advertise: func(netip.Addr) netip.Addr { return told }})
		if err != nil {
			t.Fatal(err)
		}
		for _, addr := range []netip.Addr{told, loop4} {
			if local, ours := e.Reach(addr); !ours || !local.IsValid() || local.IsUnspecified() {
				t.Errorf("bound to %s: %s is reached at %s, %v", bind, addr, local, ours)
			}
		}
		for _, addr := range []netip.Addr{stranger, netip.MustParseAddr("2001:db8::1")} {
			if _, ours := e.Reach(addr); ours {
				t.Errorf("bound to %s: %s is taken for ours", bind, addr)
			}
		}
	}
}
