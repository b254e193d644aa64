package rtpengine

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestTierIsSaid(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.Tier = TierSockets })
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	defer s.Close()
	a.say("x")
	b.hears("x")
	settle(s.shard)
	if st := e.Stats(); st.Tier.Tier != TierSockets || st.Tier.Reason == "" || st.Shards[0].Steered != 0 {
		t.Errorf("%+v, %d steered", st.Tier, st.Shards[0].Steered)
	}
	if _, err := New(Config{Bind: []netip.Addr{loop4}, Tier: "sokets"}); err == nil || !strings.Contains(err.Error(), "sokets") {
		t.Errorf("got %v", err)
	}
}

func listenAt(t testing.TB, at netip.AddrPort) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
