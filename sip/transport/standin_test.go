package transport

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/simnet"
)

// ofAnother lets a server bind the address of another machine, as it can once that has come to its own.
func ofAnother(cfg *Config, h *simnet.Host) {
	packet, stream := cfg.ListenPacket, cfg.Listen
	at := func(addr string) bool {
		ap, err := netip.ParseAddrPort(addr)
		return err == nil && ap.Addr() == h.Addr()
	}
	cfg.ListenPacket = func(network, addr string) (net.PacketConn, error) {
		if at(addr) {
			return h.ListenPacket(network, addr)
		}
		return packet(network, addr)
	}
	cfg.Listen = func(network, addr string) (net.Listener, error) {
		if at(addr) {
			return h.Listen(network, addr)
		}
		return stream(network, addr)
	}
}

func standIn(t *testing.T, tr *Transport, f Foreign) *StandIn {
	t.Helper()
	s, err := tr.StandIn(f)
	if err != nil {
		t.Fatal(err)
	}
	s.Serve()
	return s
}

func TestWhatAnotherNodesPhonesSendIsAnsweredFromItsAddress(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		const dead = "192.0.2.2:5070"
		cfg, r := simConfig(n), &recorder{onMsg: echo}
		ofAnother(&cfg, n.Host("192.0.2.2"))
		tr := start(t, cfg, r)
		synctest.Wait()
		if tr.IsLocal("192.0.2.2", 5070) || tr.IsLocal("old.example.com", 0) {
			t.Error("the address is ours before it is")
		}
		udp := standIn(t, tr, Foreign{Net: UDP, Addr: netip.MustParseAddrPort(dead), Advertise: "old.example.com"})
		tcp := standIn(t, tr, Foreign{Net: TCP, Addr: netip.MustParseAddrPort(dead)})
		phone := n.Host("198.51.100.7")
		msg := request("BYE", "of-a-call-of-the-other", 0)
		datagrams := dialSim(t, phone, "udp", dead) // hears that address alone
		write(t, datagrams, msg)
		expect(t, datagrams, msg)
		stream := dialSim(t, phone, "tcp", dead)
		write(t, stream, msg)
		expect(t, stream, msg)
		f := r.packet(t, 0).Flow
		if host, port := tr.SentBy(f); host != "old.example.com" || port != 5070 {
			t.Errorf("Via has %s:%d", host, port)
		}
		if !tr.IsLocal("192.0.2.2", 5070) || !tr.IsLocal("OLD.example.com", 5070) || !tr.IsLocal("old.example.com", 0) || tr.IsLocal("old.example.com", 5060) {
			t.Error("the other node's names are not ours")
		}
		if again := tr.FlowAt(tr.PlaceOf(f)); again != f || !tr.Alive(f) {
			t.Errorf("%v became %v", f, again)
		}
		own, err := tr.FlowTo(UDP, netip.MustParseAddrPort("198.51.100.9:5060"))
		if host, _ := tr.SentBy(own); err != nil || host != serverIP {
			t.Errorf("what is begun here leaves as %q (%v)", host, err)
		}

		for range 2 {
			if err := errors.Join(udp.End(t.Context()), tcp.End(t.Context())); err != nil {
				t.Fatal(err)
			}
		}
		readUntilEnd(t, stream, time.Second)
		if tr.IsLocal("192.0.2.2", 5070) || tr.Alive(f) || len(tr.Listeners()) != 2 {
			t.Errorf("something stayed behind: %v", tr.Listeners())
		}
		write(t, datagrams, msg)
		time.Sleep(time.Second)
		if r.count() != 2 {
			t.Error("somebody listens still")
		}
		standIn(t, tr, Foreign{Net: UDP, Addr: netip.MustParseAddrPort(dead)})
		write(t, datagrams, msg)
		expect(t, datagrams, msg)
		if got := r.packet(t, 2).Flow; got != f {
			t.Errorf("the second time it is %v, was %v", got, f)
		}
		if c := dialSim(t, phone, "udp", sipAddr); c != nil { // ours was here all the time
			write(t, c, msg)
			expect(t, c, msg)
		}
	})
}

func TestStandInSaysWhyItCannot(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		cfg := simConfig(n)
		h := n.Host("192.0.2.2")
		ofAnother(&cfg, h)
		cfg.NewHandler = func(s *Shard) Handler { return recordingShard{&recorder{}, s} }
		tr, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		f := Foreign{Net: UDP, Addr: netip.MustParseAddrPort("192.0.2.2:5060")}
		if _, err := tr.StandIn(f); !errors.Is(err, ErrNotRunning) {
			t.Error(err)
		}
		if err := tr.Close(); err != nil {
			t.Fatal(err)
		}
		tr = start(t, cfg, &recorder{})
		synctest.Wait()
		alive, err := h.ListenPacket("udp", "192.0.2.2:5060")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tr.StandIn(f); !errors.Is(err, ErrPortTaken) {
			t.Errorf("of a node that lives: %v", err)
		}
		_ = alive.Close()
		if s := standIn(t, tr, Foreign{Net: UDP, Addr: netip.MustParseAddrPort(sipAddr)}); s.End(t.Context()) != nil || len(tr.Listeners()) != 2 {
			t.Error("our own address")
		}
		standIn(t, tr, f)
	})
}

// On the kernel's sockets: a listener at all addresses hears those of another node, too, and what is closed is free.
func TestStandInOnKernelSockets(t *testing.T) {
	r := &recorder{onMsg: echo}
	tr := start(t, Config{UDP: []string{"127.0.0.1:0", "0.0.0.0:0"}, Shards: 2}, r)
	wild := tr.Listeners()[1].Addr.Port()
	s, err := tr.StandIn(Foreign{Net: UDP, Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), wild)})
	if err != nil || s.l != nil {
		t.Fatalf("%v, %v", s, err)
	}
	free, err := net.ListenPacket("udp4", "127.0.0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	at, _ := addrPortOf(free.LocalAddr())
	_ = free.Close()
	msg := request("OPTIONS", "x", 0)
	for range 20 {
		s := standIn(t, tr, Foreign{Net: UDP, Addr: at})
		c, err := net.Dial("udp4", at.String())
		if err != nil {
			t.Fatal(err)
		}
		write(t, c, msg)
		expect(t, c, msg)
		_ = c.Close()
		if err := s.End(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
