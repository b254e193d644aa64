package transport

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/simnet"
)

// clock is a hand-driven time.
type clock struct{ now time.Time }

func newGuard(cfg GuardConfig) (*Guard, *clock) {
	c := &clock{time.Unix(1_000_000, 0)}
	cfg.Now = func() time.Time { return c.now }
	return NewGuard(cfg), c
}

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func allowed(g *Guard, ip string, tries int) (n int) {
	for range tries {
		if g.Allow(addr(ip)) {
			n++
		}
	}
	return n
}

func TestASourceGetsItsRateAndABurst(t *testing.T) {
	g, c := newGuard(GuardConfig{Rate: 10, Burst: 30})
	for _, step := range []struct {
		wait time.Duration
		ip   string
		want int
	}{
		{0, "198.51.100.1", 30},
		{0, "198.51.100.1", 0},
		{0, "198.51.100.2", 30},
		{time.Second, "198.51.100.1", 10},
		{time.Hour, "198.51.100.1", 30},
		{0, "2001:db8::1", 30},
		{0, "2001:db8::2", 0},
		{0, "2001:db8:0:1::2", 30},
		{0, "::ffff:198.51.100.1", 0},
		{0, "127.0.0.1", 100},
		{0, "::1", 100},
	} {
		c.now = c.now.Add(step.wait)
		if got := allowed(g, step.ip, 100); got != step.want {
			t.Errorf("%s after %v: %d of 100 let in, want %d", step.ip, step.wait, got, step.want)
		}
	}
	if got := g.Stats().Limited; got != 9*100-160 {
		t.Errorf("%d counted, want %d", got, 9*100-160)
	}
}

func TestLoopbackCanBeLimitedToo(t *testing.T) {
	g, _ := newGuard(GuardConfig{Rate: 1, Burst: 5, LimitLoopback: true})
	if got := allowed(g, "127.0.0.1", 10); got != 5 {
		t.Errorf("%d let in, want 5", got)
	}
}

func TestTooManyFailedAuthenticationsBanTheSourceForAWhile(t *testing.T) {
	var told []Ban
	g, c := newGuard(GuardConfig{Failures: 3, Window: time.Minute, BanFor: 5 * time.Minute, OnBan: func(b Ban) { told = append(told, b) }})
	bad := addr("127.0.0.1") // loopback is not exempt from this
	g.Failed(bad)
	g.Failed(bad)
	c.now = c.now.Add(time.Minute) // another window
	g.Failed(bad)
	if g.Failed(bad) || !g.Allow(bad) {
		t.Error("banned by failures of two windows")
	}
	if !g.Failed(bad) || g.Allow(bad) {
		t.Error("not banned by three failures in one window")
	}
	if !g.Allow(addr("127.0.0.2")) {
		t.Error("another source is banned with it")
	}
	bans := g.Bans()
	if len(bans) != 1 || bans[0].Source.String() != "127.0.0.1/32" || !bans[0].Until.Equal(c.now.Add(5*time.Minute)) || len(told) != 1 || told[0] != bans[0] {
		t.Errorf("bans %v, told %v", bans, told)
	}
	c.now = c.now.Add(5*time.Minute - 1)
	if g.Allow(bad) {
		t.Error("let in before the ban's end")
	}
	c.now = c.now.Add(1)
	if !g.Allow(bad) || len(g.Bans()) != 0 {
		t.Error("still out after the ban's end")
	}
	if st := g.Stats(); st.Failures != 5 || st.Banned != 1 || st.Refused != 2 || st.Bans != 0 {
		t.Errorf("%+v", st)
	}
}

func TestABanCanBeMadeAndLiftedByHand(t *testing.T) {
	g, _ := newGuard(GuardConfig{})
	g.Ban(addr("2001:db8::1"), time.Hour, "by hand")
	if g.Allow(addr("2001:db8::2")) || len(g.Bans()) != 1 {
		t.Error("an address of the banned /64 is let in")
	}
	if !g.Unban(addr("2001:db8::3")) || g.Unban(addr("2001:db8::3")) || !g.Allow(addr("2001:db8::1")) {
		t.Error("not let in again")
	}
}

func TestTheGuardsMemoryIsBounded(t *testing.T) {
	g, c := newGuard(GuardConfig{Rate: 10, Burst: 10, Slots: 256, MaxBans: 10, Failures: 2})
	for i := range 100_000 {
		ip := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		g.Allow(ip)
	}
	for i := range 100 {
		c.now = c.now.Add(time.Second)
		g.Ban(netip.AddrFrom4([4]byte{11, 0, 0, byte(i)}), time.Hour, "")
	}
	if got := len(g.rates.rows) * ways; got != 256 {
		t.Errorf("%d slots, want 256", got)
	}
	if bans := g.Bans(); len(bans) != 10 || bans[0].Source.String() != "11.0.0.90/32" {
		t.Errorf("%d bans, the first %v; want the last ten", len(bans), bans[0])
	}
	// A flood of spoofed sources does not make a guesser's failures forgotten.
	guesser := addr("198.51.100.1")
	g.Failed(guesser)
	for i := range 100_000 {
		g.Allow(netip.AddrFrom4([4]byte{12, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if !g.Failed(guesser) {
		t.Error("the first failure was forgotten")
	}
}

func TestAllowDoesNotAllocate(t *testing.T) {
	g := NewGuard(GuardConfig{Rate: 1e9})
	g.Ban(addr("192.0.2.77"), time.Hour, "")
	ip, now := addr("198.51.100.1"), time.Now()
	if n := testing.AllocsPerRun(1000, func() { g.AllowAt(ip, now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestABannedSourceIsNotHeardOnAnyTransport(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		cfg, _ := wsConfig(t, n)
		cfg.Guard = NewGuard(GuardConfig{})
		r := &recorder{}
		tr := start(t, cfg, r)
		h := n.Host("198.51.100.7")
		udp, before := dialSim(t, h, "udp", sipAddr), dialSim(t, h, "tcp", sipAddr)
		write(t, before, request("REGISTER", "before", 0))
		synctest.Wait()
		cfg.Guard.Ban(addr("198.51.100.7"), time.Hour, "test")
		write(t, udp, request("REGISTER", "a", 0))
		write(t, before, request("REGISTER", "b", 0))
		readUntilEnd(t, before, time.Second)
		readUntilEnd(t, dialSim(t, h, "tcp", sipAddr), time.Second)
		readUntilEnd(t, dialSim(t, h, "tcp", wsAddr), time.Second)
		synctest.Wait()
		if r.count() != 1 || tr.Stats().RefusedConns != 2 || tr.Stats().Connections != 0 {
			t.Errorf("%d messages, %d connections refused, %d open; want 1, 2, 0", r.count(), tr.Stats().RefusedConns, tr.Stats().Connections)
		}
	})
}

func TestAStreamThatSendsTooFastIsSlowedDownAndADatagramDropped(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		cfg := simConfig(n)
		cfg.Guard = NewGuard(GuardConfig{Rate: 10, Burst: 20})
		r := &recorder{}
		start(t, cfg, r)
		c := dialSim(t, n.Host("198.51.100.7"), "tcp", sipAddr)
		for i := range 100 {
			write(t, c, request("OPTIONS", fmt.Sprint(i), 0))
		}
		time.Sleep(time.Second)
		if got := r.count(); got < 25 || got > 31 {
			t.Errorf("%d messages after a second, want about 30", got)
		}
		time.Sleep(8 * time.Second)
		if got := r.count(); got != 100 {
			t.Errorf("%d messages after nine seconds, want all 100", got)
		}
		u := dialSim(t, n.Host("198.51.100.8"), "udp", sipAddr)
		for i := range 100 {
			write(t, u, request("OPTIONS", fmt.Sprint(i), 0))
		}
		synctest.Wait()
		if got := r.count(); got != 120 {
			t.Errorf("%d messages, want 20 datagrams more", got)
		}
	})
}

func BenchmarkGuardAllow(b *testing.B) {
	g := NewGuard(GuardConfig{Rate: 1e9})
	var ips []netip.Addr
	for i := range 1000 {
		ips = append(ips, addr(fmt.Sprintf("198.51.%d.%d", i/250, i%250)))
	}
	now := time.Now()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		g.AllowAt(ips[i%len(ips)], now)
	}
}

func TestNewLimitsCountForWhatComesNext(t *testing.T) {
	g, c := newGuard(GuardConfig{Rate: 10, Burst: 30, Failures: 3})
	if got := allowed(g, "198.51.100.1", 100); got != 30 {
		t.Fatalf("%d let in, want 30", got)
	}
	g.Failed(addr("198.51.100.9"))
	g.SetLimits(GuardLimits{Rate: 2, Failures: 2, BanFor: time.Hour})
	c.now = c.now.Add(10 * time.Second)
	if got := allowed(g, "198.51.100.1", 100); got != 4 {
		t.Errorf("%d let in after a long rest, want the new burst of 4", got)
	}
	if !g.Failed(addr("198.51.100.9")) {
		t.Error("the second failure did not ban although two are enough now")
	}
	if bans := g.Bans(); len(bans) != 1 || bans[0].Until.Sub(c.now) != time.Hour {
		t.Errorf("bans: %v, want one of an hour", bans)
	}
}
