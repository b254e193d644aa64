package rtpengine

import (
	"net/netip"
	"testing"
)

func TestLatchLearnsOnlyFromPlausibleSources(t *testing.T) {
	sdp := netip.MustParseAddrPort("198.51.100.7:4000")
	from := netip.MustParseAddr("203.0.113.9")
	for _, c := range []struct {
		src  string
		want rank
	}{
		{"198.51.100.7:4000", signalled},
		{"198.51.100.7:4002", sameHost},
		{"203.0.113.9:4000", nearby},
		{"203.0.113.10:4000", foreign},
		{"[::1]:4000", foreign},
	} {
		var l latch
		l.arm(pack(sdp), from)
		if got := l.judge(netip.MustParseAddrPort(c.src)); got != c.want {
			t.Errorf("%s: got %d, want %d", c.src, got, c.want)
		}
	}
	var nowhere latch
	nowhere.arm(address{}, netip.Addr{})
	if nowhere.judge(netip.AddrPort{}) == sameHost || nowhere.judge(sdp) != foreign {
		t.Error("a latch that knows nobody accepts somebody")
	}
}

func offerPacket(l *latch, src string, ssrc uint32) bool {
	ap := netip.MustParseAddrPort(src)
	r := l.judge(ap)
	if r == foreign {
		return false
	}
	if !l.locked {
		l.advance(ap, r, ssrc)
	}
	return l.locked && l.source == pack(ap)
}

func TestLatchNeedsThreeInARow(t *testing.T) {
	var l latch
	l.arm(pack(netip.MustParseAddrPort("198.51.100.7:4000")), netip.MustParseAddr("203.0.113.9"))
	const nat, other = "203.0.113.9:60000", "203.0.113.9:61000"
	for i, c := range []struct {
		src  string
		ssrc uint32
		want bool
	}{
		{nat, 1, false},
		{nat, 1, false},
		{other, 1, false}, // another port breaks the row
		{nat, 1, false},
		{nat, 2, false}, // another source breaks it too
		{nat, 2, false},
		{nat, 2, true},
		{other, 2, false},
		{"198.51.100.7:4000", 2, false}, // locked: even the signalled address is a stranger now
		{nat, 3, true},                  // the peer may change its SSRC
	} {
		if got := offerPacket(&l, c.src, c.ssrc); got != c.want {
			t.Fatalf("packet %d: got %v, want %v", i, got, c.want)
		}
	}
}

func TestWorseSourceDoesNotDisturbABetterOne(t *testing.T) {
	var l latch
	l.arm(pack(netip.MustParseAddrPort("198.51.100.7:4000")), netip.MustParseAddr("203.0.113.9"))
	const right, wrong = "198.51.100.7:4000", "198.51.100.7:5000"
	for range 2 {
		offerPacket(&l, right, 1)
		for range 5 {
			if offerPacket(&l, wrong, 1) {
				t.Fatal("the neighbour locked")
			}
		}
	}
	if !offerPacket(&l, right, 1) {
		t.Fatal("three in a row of its own did not lock the right one")
	}
}

func TestBetterSourceThatFellSilentGivesWay(t *testing.T) {
	var l latch
	l.arm(pack(netip.MustParseAddrPort("198.51.100.7:4000")), netip.MustParseAddr("203.0.113.9"))
	offerPacket(&l, "198.51.100.7:4000", 1)
	for i := range 2 * patience {
		if offerPacket(&l, "203.0.113.9:60000", 1) {
			if i < patience-1 {
				t.Errorf("gave way after %d packets", i)
			}
			return
		}
	}
	t.Error("never gave way")
}

func TestLockSurvivesARefreshButNotAMove(t *testing.T) {
	var l latch
	sdp, from := netip.MustParseAddrPort("192.168.1.2:4000"), netip.MustParseAddr("203.0.113.9")
	l.arm(pack(sdp), from)
	for range 3 {
		offerPacket(&l, "203.0.113.9:60000", 1)
	}
	l.arm(pack(sdp), from)
	l.arm(pack(sdp), from)
	if got := l.judge(netip.MustParseAddrPort("203.0.113.9:60000")); l.locked || got != signalled {
		t.Errorf("after a refresh: locked %v, rank %d", l.locked, got)
	}
	l.arm(pack(netip.MustParseAddrPort("192.168.1.2:4002")), from)
	if got := l.judge(netip.MustParseAddrPort("203.0.113.9:60000")); got != nearby {
		t.Errorf("after a move: rank %d", got)
	}
}

func TestMediaPrecedesTheLatchOnlyToPlausiblePlaces(t *testing.T) {
	for _, c := range []struct {
		addr, from string
		want       bool
	}{
		{"198.51.100.7", "198.51.100.7", true},
		{"198.51.100.7", "203.0.113.9", true},  // media server beside its proxy
		{"192.168.1.2", "203.0.113.9", false},  // behind NAT
		{"100.64.1.2", "203.0.113.9", false},   // behind the carrier's
		{"192.168.1.2", "10.0.0.1", true},      // one site
		{"198.51.100.7", "10.0.0.1", true},     // a trunk inside, media outside
		{"127.0.0.1", "10.0.0.1", false},       // our own services
		{"169.254.1.1", "10.0.0.1", false},     //
		{"2001:db8::1", "203.0.113.9", false},  // another family says nothing
		{"2001:db8::1", "2001:db8::9", true},   //
		{"fd00::1", "2001:db8::9", false},      //
		{"0.0.0.0", "0.0.0.0", false},          //
		{"224.0.0.1", "198.51.100.7", false},   //
		{"127.0.0.2", "127.0.0.1", true},       //
		{"fe80::1", "2001:db8::9", false},      //
		{"255.255.255.255", "10.0.0.1", false}, // broadcast
	} {
		if got := mayPrecede(netip.MustParseAddr(c.addr), netip.MustParseAddr(c.from)); got != c.want {
			t.Errorf("%s signalled from %s: got %v", c.addr, c.from, got)
		}
	}
}
