package transport

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/simnet"
)

func TestAShardIsWokenAtTheInstantItAskedForLast(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		r := &recorder{}
		tr := start(t, simConfig(n), r)
		s, begun := tr.Shards()[0], time.Now()
		for _, in := range []time.Duration{32 * time.Second, 500 * time.Millisecond, 4 * time.Second, 100 * time.Second} {
			_ = s.Post(func() { s.SetWake(begun.Add(in)) })
			synctest.Wait()
		}
		time.Sleep(99 * time.Second)
		synctest.Wait()
		if len(r.woken()) != 0 {
			t.Fatalf("woken at %v", r.woken())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(r.woken()) != 1 || !r.woken()[0].Equal(begun.Add(100*time.Second)) {
			t.Fatalf("woken at %v, want once after 100 s", r.woken())
		}
		_ = s.Post(func() { s.SetWake(begun) }) // has been
		synctest.Wait()
		_ = s.Post(func() { s.SetWake(begun.Add(200 * time.Second)) })
		_ = s.Post(func() { s.SetWake(time.Time{}) })
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(r.woken()) != 2 {
			t.Errorf("woken at %v, want at once for an instant that has been and never for none", r.woken())
		}
	})
}

func TestPostIsRefusedWhenTooManyWait(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		cfg := simConfig(n)
		cfg.Queue = 10
		tr := start(t, cfg, &recorder{})
		s, block := tr.Shards()[0], make(chan struct{})
		_ = s.Post(func() { <-block })
		synctest.Wait()
		var order []int
		for i := range 10 {
			if err := s.Post(func() { order = append(order, i) }); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Post(func() {}); !errors.Is(err, ErrBusy) || tr.Stats().Busy != 1 {
			t.Errorf("got %v, want ErrBusy", err)
		}
		close(block)
		synctest.Wait()
		for i, k := range order {
			if i != k {
				t.Fatalf("run in order %v", order)
			}
		}
		if len(order) != 10 {
			t.Errorf("%d were run, want 10", len(order))
		}
	})
}

func TestTheTapSeesWhatComesAndGoes(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		cfg := simConfig(n)
		var seen []string
		cfg.Shards = 1
		cfg.Tap = func(_ int, out bool, f Flow, msg []byte) {
			dir := "in "
			if out {
				dir = "out "
			}
			seen = append(seen, dir+f.String()+" "+string(msg[:7]))
		}
		start(t, cfg, &recorder{onMsg: echo})
		c := dialSim(t, n.Host("198.51.100.7"), "udp", sipAddr)
		msg := request("OPTIONS", "a", 0)
		write(t, c, msg)
		expect(t, c, msg)
		synctest.Wait()
		if len(seen) != 2 || seen[0] != "in udp 198.51.100.7:32769 OPTIONS" || seen[1] != "out udp 198.51.100.7:32769 OPTIONS" {
			t.Errorf("%q", seen)
		}
	})
}

func TestSendingOnAUDPFlowAllocatesNothing(t *testing.T) {
	tr, err := New(Config{UDP: []string{"127.0.0.1:0"}, Shards: 1, NewHandler: func(s *Shard) Handler { return recordingShard{&recorder{}, s} }})
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Listen(); err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	f, err := tr.FlowTo(UDP, tr.Listeners()[0].Addr)
	if err != nil {
		t.Fatal(err)
	}
	s, msg := tr.Shards()[0], []byte(request("OPTIONS", "a", 500))
	if n := testing.AllocsPerRun(1000, func() { _ = s.Send(f, msg); s.flush() }); n != 0 {
		t.Errorf("%v allocations a message", n)
	}
	if n := testing.AllocsPerRun(1000, func() { tr.SentBy(f); tr.IsLocal("127.0.0.1", 5060) }); n != 0 {
		t.Errorf("%v allocations for SentBy and IsLocal", n)
	}
}

func TestNetsHaveTheirNames(t *testing.T) {
	for n, via := range map[Net]string{UDP: "UDP", TCP: "TCP", TLS: "TLS", WS: "WS", WSS: "WSS"} {
		if got, ok := ParseNet(via); !ok || got != n || n.Via() != via || n.Reliable() != (n != UDP) || n.Secure() != (n == TLS || n == WSS) {
			t.Errorf("%v", n)
		}
	}
	if _, ok := ParseNet("sctp"); ok {
		t.Error("sctp is known")
	}
}

func TestConfigurationsThatCannotWorkAreRefused(t *testing.T) {
	h := func(s *Shard) Handler { return recordingShard{&recorder{}, s} }
	for name, cfg := range map[string]Config{
		"no handler":  {},
		"TLS":         {NewHandler: h, TLS: []string{"127.0.0.1:0"}},
		"shards":      {NewHandler: h, Shards: -1},
		"queue":       {NewHandler: h, Queue: 3},
		"message":     {NewHandler: h, Limits: Limits{MessageBytes: 70000}},
		"write queue": {NewHandler: h, Limits: Limits{WriteQueue: 1000}},
		"negative":    {NewHandler: h, Limits: Limits{IdleTimeout: -1}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAnAddressTheMachineDoesNotHaveIsNamed(t *testing.T) {
	tr, err := New(Config{UDP: []string{"127.0.0.1:0", "192.0.2.250:5060"}, NewHandler: func(s *Shard) Handler { return recordingShard{&recorder{}, s} }})
	if err != nil {
		t.Fatal(err)
	}
	want := "listen on udp 192.0.2.250:5060: this machine has no such address; correct sip.udp in the configuration: listen udp4 192.0.2.250:5060: bind: cannot assign requested address"
	if err := tr.Listen(); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	_ = tr.Close()
}

func TestFlowToTakesTheListenerThatReachesTheAddress(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		h := n.Host("127.0.0.1", serverIP, "2001:db8::1")
		tr := start(t, Config{UDP: []string{"127.0.0.1:5060", serverIP + ":5061", "[2001:db8::1]:5062"}, ListenPacket: h.ListenPacket}, &recorder{})
		for to, want := range map[string]uint16{"127.0.0.9:1": 0, "198.51.100.1:1": 1, "[2001:db8::9]:1": 2, "[::ffff:198.51.100.1]:1": 1} {
			f, err := tr.FlowTo(UDP, netip.MustParseAddrPort(to))
			if err != nil || f.Listener != want || f.Remote.Addr().Is4In6() {
				t.Errorf("%s: %+v, %v; want listener %d", to, f, err, want)
			}
			if _, port := tr.SentBy(f); port != 5060+int(want) || !tr.Alive(f) {
				t.Errorf("%s: sent-by port %d", to, port)
			}
		}
		for _, to := range []string{"198.51.100.1:0", "0.0.0.0:0"} {
			if _, err := tr.FlowTo(UDP, netip.MustParseAddrPort(to)); !errors.Is(err, ErrNoRoute) {
				t.Errorf("%s: %v, want ErrNoRoute", to, err)
			}
		}
	})
}

func TestWhatIsLocal(t *testing.T) {
	needIPv6(t)
	h := func(s *Shard) Handler { return recordingShard{&recorder{}, s} }
	listening := func(cfg Config) *Transport {
		t.Helper()
		cfg.NewHandler = h
		tr, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := tr.Listen(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tr.Close() })
		return tr
	}
	concrete := listening(Config{UDP: []string{"127.0.0.1:0", "[::1]:0"}})
	wild := listening(Config{UDP: []string{"0.0.0.0:0"}})
	name := listening(Config{UDP: []string{"127.0.0.1:0"}, Advertise: "sip.example.com"})
	ip := listening(Config{UDP: []string{"127.0.0.1:0", "[::1]:0"}, Advertise: "203.0.113.10"})
	port := func(tr *Transport, i int) int { return int(tr.Listeners()[i].Addr.Port()) }
	for i, tc := range []struct {
		tr   *Transport
		host string
		port int
		want bool
	}{
		{concrete, "127.0.0.1", port(concrete, 0), true},
		{concrete, "127.0.0.1", 1, false},
		{concrete, "127.0.0.1", 0, true},
		{concrete, "[::1]", port(concrete, 1), true},
		{concrete, "::1", 0, true},
		{concrete, "::2", 0, false},
		{concrete, "127.0.0.2", port(concrete, 0), false},
		{concrete, "", 0, false},
		{concrete, "example.com", 5060, false},
		{wild, "127.0.0.1", port(wild, 0), true},
		{wild, "127.0.0.53", port(wild, 0), true},
		{wild, "127.0.0.1", 1, false},
		{wild, "203.0.113.1", port(wild, 0), false},
		{wild, "::1", port(wild, 0), false},
		{wild, "127.0.0.1", 0, true},
		{name, "SIP.example.com", port(name, 0), true},
		{name, "sip.example.com", 0, true},
		{name, "sip.example.com", 1, false},
		{name, "127.0.0.1", port(name, 0), true},
		{ip, "203.0.113.10", port(ip, 0), true},
		{ip, "203.0.113.10", 0, true},
		{ip, "203.0.113.10", 1, false},
	} {
		if got := tc.tr.IsLocal(tc.host, tc.port); got != tc.want {
			t.Errorf("%d: IsLocal(%q, %d) is %v, want %v", i, tc.host, tc.port, got, tc.want)
		}
	}
	for _, tc := range []struct {
		tr   *Transport
		l    uint16
		to   string
		want string
	}{
		{concrete, 0, "127.0.0.1:1", "127.0.0.1"},
		{concrete, 1, "[::1]:1", "::1"},
		{wild, 0, "127.0.0.1:1", "127.0.0.1"},
		{name, 0, "127.0.0.1:1", "sip.example.com"},
		{ip, 0, "127.0.0.1:1", "203.0.113.10"},
		{ip, 1, "[::1]:1", "::1"},
	} {
		if host, _ := tc.tr.SentBy(Flow{Listener: tc.l, Remote: netip.MustParseAddrPort(tc.to)}); host != tc.want {
			t.Errorf("sent-by towards %s is %s, want %s", tc.to, host, tc.want)
		}
	}
	if host, _ := wild.SentBy(Flow{Remote: netip.MustParseAddrPort("198.51.100.1:1")}); host == "0.0.0.0" || host == "" {
		t.Errorf("a wildcard listener stands in Via as %q", host)
	}
}
