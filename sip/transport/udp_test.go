package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/simnet"
)

func dialReal(t testing.TB, l ListenerInfo) net.Conn {
	t.Helper()
	c, err := net.Dial(strings.Replace(l.Net.String(), "tls", "tcp", 1), l.Addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// needIPv6 skips a test on machines whose kernel has no IPv6.
func needIPv6(t testing.TB) {
	t.Helper()
	c, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 loopback on this machine: %v", err)
	}
	_ = c.Close()
}

func TestUDPEchoOverRealSocketsOfBothFamilies(t *testing.T) {
	needIPv6(t)
	tr := start(t, Config{UDP: []string{"127.0.0.1:0", "[::1]:0"}, Shards: 3}, &recorder{onMsg: echo})
	for _, l := range tr.Listeners() {
		c := dialReal(t, l)
		msg := request("OPTIONS", "a", 0)
		write(t, c, msg)
		expect(t, c, msg)
	}
}

// sipgo sends to an address that never sent to it from a new ephemeral socket, while Via says 5060.
func TestUDPRequestLeavesFromTheListenersPort(t *testing.T) {
	tr := start(t, Config{UDP: []string{"127.0.0.1:0"}}, &recorder{})
	peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	f, err := tr.FlowTo(UDP, peer.LocalAddr().(*net.UDPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range tr.Shards() {
		if err := s.Post(func() { _ = s.Send(f, []byte(request("OPTIONS", "a", 0))) }); err != nil {
			t.Fatal(err)
		}
		_ = peer.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, from, err := peer.ReadFromUDPAddrPort(make([]byte, 2000))
		if err != nil {
			t.Fatal(err)
		}
		if want := tr.Listeners()[0].Addr; from != want {
			t.Errorf("shard %d sent from %v, want the listener's %v", s.Index(), from, want)
		}
	}
	host, port := tr.SentBy(f)
	if want := tr.Listeners()[0].Addr; host != "127.0.0.1" || port != int(want.Port()) {
		t.Errorf("sent-by is %s:%d, want %v", host, port, want)
	}
}

// sipgo refuses to send requests and responses above 1300 bytes over UDP.
func TestResponsesAbove1300BytesAreSent(t *testing.T) {
	tr := start(t, Config{UDP: []string{"127.0.0.1:0"}}, &recorder{onMsg: echo})
	c := dialReal(t, tr.Listeners()[0])
	for _, size := range []int{1301, 1500, 9000, 60_000} {
		msg := request("OPTIONS", fmt.Sprint(size), size)
		write(t, c, msg)
		expect(t, c, msg)
	}
}

func TestAMessageLargerThanADatagramIsAnErrorOfSend(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		tr := start(t, simConfig(n), &recorder{})
		f, err := tr.FlowTo(UDP, netip.MustParseAddrPort("192.0.2.9:5060"))
		if err != nil {
			t.Fatal(err)
		}
		var got error
		_ = tr.Shards()[0].Post(func() { got = tr.Shards()[0].Send(f, make([]byte, 65508)) })
		synctest.Wait()
		if !errors.Is(got, ErrTooLarge) {
			t.Errorf("got %v, want ErrTooLarge", got)
		}
	})
}

// sipgo keeps an entry for every source address it has seen.
func TestSpoofedSourcesLeaveNoTableEntry(t *testing.T) {
	tr, err := New(Config{NewHandler: func(s *Shard) Handler { return recordingShard{&recorder{}, s} }, Guard: NewGuard(GuardConfig{Rate: 100, Slots: 4096})})
	if err != nil {
		t.Fatal(err)
	}
	in := newIntake(tr)
	flood := func(from int) {
		for i := range 100_000 {
			ip := netip.AddrFrom4([4]byte{11, byte(from), byte(i >> 8), byte(i)})
			f := Flow{Net: UDP, Remote: netip.AddrPortFrom(ip, uint16(i))}
			in.datagram([]byte("\r\n\r\n"), f, time.Unix(1, 0))
			in.datagram([]byte("\x00\x00junk"), f, time.Unix(1, 0))
		}
	}
	flood(0)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 2 {
		flood(i)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 256<<10 {
		t.Errorf("200,000 spoofed sources left %d bytes on the heap", grown)
	}
	runtime.KeepAlive(tr)
}

// sipgo's goroutine a message let BYE overtake ACK in 12-19 % of calls.
func TestBYENeverOvertakesACK(t *testing.T) {
	const calls = 3000
	next := make([]map[string]int, 4) // by shard, touched by its goroutine only
	var wrong int
	r := &recorder{onMsg: func(s *Shard, p Packet) {
		if next[s.Index()] == nil {
			next[s.Index()] = make(map[string]int)
		}
		order := []string{"INVITE", "ACK", "BYE"}
		id := p.Text[strings.Index(p.Text, "Call-ID: ")+9:]
		id = id[:strings.Index(id, "\r")]
		if i := next[s.Index()][id]; !strings.HasPrefix(p.Text, order[i]) {
			wrong++
		}
		next[s.Index()][id]++
	}}
	tr := start(t, Config{UDP: []string{"127.0.0.1:0"}, Shards: 4, Queue: 1 << 16}, r)
	c := dialReal(t, tr.Listeners()[0])
	for i := range calls {
		for _, m := range []string{"INVITE", "ACK", "BYE"} {
			write(t, c, request(m, fmt.Sprint("call", i), 0))
		}
		for r.count() < (i-100)*3 { // the socket buffer is not what is tried here
			runtime.Gosched()
		}
	}
	for deadline := time.Now().Add(10 * time.Second); r.count() < 3*calls; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d messages arrived", r.count(), 3*calls)
		}
	}
	done := make(chan struct{}, 4)
	for _, s := range tr.Shards() {
		_ = s.Post(func() { done <- struct{}{} })
	}
	for range tr.Shards() {
		<-done
	}
	if wrong > 0 {
		t.Errorf("%d messages came out of order", wrong)
	}
}

func TestAllMessagesOfACallGoToTheShardOfItsCallID(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		var tr *Transport
		wrong := 0
		cfg := simConfig(n)
		cfg.Shards = 8
		r := &recorder{onMsg: func(s *Shard, p Packet) {
			id := p.Text[strings.Index(p.Text, "Call-ID: ")+9:]
			if tr.Shard(id[:strings.Index(id, "\r")]) != s {
				wrong++
			}
		}}
		tr = start(t, cfg, r)
		udp, tcp := dialSim(t, n.Host("198.51.100.7"), "udp", serverIP+":5060"), dialSim(t, n.Host("198.51.100.8"), "tcp", serverIP+":5060")
		for i := range 50 {
			write(t, udp, request("INVITE", fmt.Sprint(i), 0))
			write(t, tcp, request("ACK", fmt.Sprint(i), 10))
		}
		synctest.Wait()
		if r.count() != 100 || wrong > 0 {
			t.Errorf("%d messages, %d at the wrong shard; want 100 and 0", r.count(), wrong)
		}
	})
}

func TestUDPKeepAlivesAreIgnoredAndCounted(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		r := &recorder{}
		tr := start(t, simConfig(n), r)
		c := dialSim(t, n.Host("198.51.100.7"), "udp", serverIP+":5060")
		for _, s := range []string{"\r\n\r\n", "\r\n", "\x00", "\x00\x00\x00\x00", ""} {
			write(t, c, s)
		}
		write(t, c, "\x16\x03\x01garbage")
		synctest.Wait()
		if st := tr.Stats(); st.KeepAlives != 5 || st.Garbage != 1 || r.count() != 0 {
			t.Errorf("%d keep-alives, %d garbage, %d messages; want 5, 1, 0", st.KeepAlives, st.Garbage, r.count())
		}
	})
}

// RFC 3261 §7.5 and one of RFC 4475's messages; sipgo rejects it.
func TestADatagramWithLeadingCRLFsIsAMessage(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		r := &recorder{}
		start(t, simConfig(n), r)
		msg := "\r\n\r\n" + request("OPTIONS", "a", 0)
		write(t, dialSim(t, n.Host("198.51.100.7"), "udp", sipAddr), msg)
		synctest.Wait()
		if got := r.texts(); len(got) != 1 || got[0] != msg {
			t.Errorf("got %q", got)
		}
	})
}

func TestSTUNBindingRequestIsAnsweredOnTheSIPPort(t *testing.T) {
	for _, tc := range []struct{ server, phone string }{{serverIP, "198.51.100.7"}, {"2001:db8::1", "2001:db8::7"}} {
		bubble(t, func(t *testing.T, n *simnet.Network) {
			h := n.Host(tc.server)
			addr := net.JoinHostPort(tc.server, "5060")
			start(t, Config{UDP: []string{addr}, ListenPacket: h.ListenPacket}, &recorder{})
			c := dialSim(t, n.Host(tc.phone), "udp", addr)
			req := append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42}, "transaction!"...)
			write(t, c, string(req))
			b := make([]byte, 100)
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			k, err := c.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			b = b[:k]
			local, _ := addrPortOf(c.LocalAddr())
			ip := b[28:]
			for i := range ip {
				ip[i] ^= req[4+i]
			}
			addrGot, _ := netip.AddrFromSlice(ip)
			port := binary.BigEndian.Uint16(b[26:]) ^ 0x2112
			if b[0] != 1 || b[1] != 1 || string(b[8:20]) != "transaction!" || netip.AddrPortFrom(addrGot, port) != local {
				t.Errorf("got %v:%d in % x, want %v", addrGot, port, b, local)
			}
		})
	}
}

func TestOverloadShedsNewRequestsFirstAndLetsCallsEnd(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		block := make(chan struct{})
		r := &recorder{onMsg: func(_ *Shard, p Packet) {
			if strings.Contains(p.Text, "Call-ID: block") {
				<-block
			}
		}}
		cfg := simConfig(n)
		cfg.Shards, cfg.Queue = 1, 8
		tr := start(t, cfg, r)
		c := dialSim(t, n.Host("198.51.100.7"), "udp", serverIP+":5060")
		write(t, c, request("OPTIONS", "block", 0))
		synctest.Wait()
		for i := range 6 { // three quarters
			write(t, c, request("INVITE", fmt.Sprint("fits", i), 0))
		}
		synctest.Wait()
		write(t, c, request("INVITE", "new", 0))
		write(t, c, request("REGISTER", "new", 0))
		write(t, c, request("ACK", "fits0", 0))
		write(t, c, strings.Replace(request("UPDATE", "fits0", 0), "To: <sip:bob@example.com>", "To: <sip:bob@example.com>;tag=2", 1))
		synctest.Wait()
		for i := range 8 { // what the reserve holds
			write(t, c, request("BYE", fmt.Sprint("fits", i), 0))
		}
		write(t, c, request("BYE", "dropped", 0))
		synctest.Wait()
		for _, method := range []string{"INVITE", "REGISTER"} {
			b := make([]byte, 2000)
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			k, err := c.Read(b)
			got := string(b[:k])
			if err != nil || !strings.HasPrefix(got, "SIP/2.0 503 ") || !strings.Contains(got, "Retry-After: 5\r\n") || !strings.Contains(got, "CSeq: 1 "+method) ||
				!strings.Contains(got, ";received=198.51.100.7;rport=") {
				t.Errorf("%s: got %q, %v; want a 503 with Retry-After", method, got, err)
			}
		}
		st := tr.Stats()
		if st.Shed != 2 || st.ShedLate != 0 || st.Reserved != 8 || st.Dropped != 1 || st.Queued[0] != 16 {
			t.Errorf("shed %d, late %d, reserved %d, dropped %d, queued %d; want 2, 0, 8, 1, 16", st.Shed, st.ShedLate, st.Reserved, st.Dropped, st.Queued[0])
		}
		close(block)
		synctest.Wait()
		if r.count() != 17 {
			t.Errorf("%d messages handled, want 17", r.count())
		}
	})
}

// A shard that is slow and not full answers what it could only answer too late: the phone would ask again and again.
func TestNewRequestsAreShedWhenWhatWaitsIsOld(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *simnet.Network) {
				block := make(chan struct{})
				r := &recorder{onMsg: func(_ *Shard, p Packet) {
					if strings.Contains(p.Text, "Call-ID: block") {
						<-block
					}
				}}
				cfg := simConfig(n)
				cfg.Shards = 1
				tr := start(t, cfg, r)
				c := dialSim(t, n.Host("198.51.100.7"), network, serverIP+":5060")
				write(t, c, request("OPTIONS", "block", 0))
				synctest.Wait()
				write(t, c, request("INVITE", "first", 0))
				time.Sleep(tooLate)
				write(t, c, request("INVITE", "intime", 0))
				synctest.Wait()
				time.Sleep(time.Millisecond)
				write(t, c, request("INVITE", "late", 0))
				write(t, c, request("BYE", "first", 0))
				synctest.Wait()
				st := tr.Stats()
				if st.Shed != 1 || st.ShedLate != 1 || st.Queued[0] != 3 {
					t.Errorf("shed %d, late %d, queued %d; want 1, 1, 3", st.Shed, st.ShedLate, st.Queued[0])
				}
				b := make([]byte, 2000)
				_ = c.SetReadDeadline(time.Now().Add(time.Second))
				k, err := c.Read(b)
				if got := string(b[:k]); err != nil || !strings.HasPrefix(got, "SIP/2.0 503 ") || !strings.Contains(got, "Call-ID: late\r\n") || !strings.Contains(got, retryAfter) {
					t.Errorf("got %q, %v; want a 503 for the late one", got, err)
				}
				close(block)
				synctest.Wait()
				write(t, c, request("INVITE", "again", 0))
				synctest.Wait()
				if r.count() != 5 || tr.Stats().Shed != 1 {
					t.Errorf("%d messages handled, %d shed; want 5 and 1: once the shard has caught up everything is let in", r.count(), tr.Stats().Shed)
				}
			})
		})
	}
}

// faultyConn gives errors as some systems do when an ICMP message has come in.
type faultyConn struct {
	net.PacketConn
	errs []error
}

func (c *faultyConn) ReadFrom(b []byte) (int, net.Addr, error) {
	if len(c.errs) > 0 {
		err := c.errs[0]
		c.errs = c.errs[1:]
		return 0, nil, &net.OpError{Op: "read", Net: "udp", Err: err}
	}
	return c.PacketConn.ReadFrom(b)
}

// sipgo's UDP listener ends on a read error.
func TestAReadErrorDoesNotEndTheUDPListener(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		cfg := simConfig(n)
		listen := cfg.ListenPacket
		cfg.ListenPacket = func(network, addr string) (net.PacketConn, error) {
			pc, err := listen(network, addr)
			return &faultyConn{pc, []error{syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENOBUFS}}, err
		}
		r := &recorder{}
		tr := start(t, cfg, r)
		write(t, dialSim(t, n.Host("198.51.100.7"), "udp", serverIP+":5060"), request("OPTIONS", "a", 0))
		synctest.Wait()
		if r.count() != 1 || tr.Stats().ReadErrors != 3 {
			t.Errorf("%d messages, %d read errors; want 1, 3", r.count(), tr.Stats().ReadErrors)
		}
	})
}

func TestATakenPortIsNamedInTheError(t *testing.T) {
	h := func(s *Shard) Handler { return recordingShard{&recorder{}, s} }
	first, err := New(Config{UDP: []string{"127.0.0.1:0"}, TCP: []string{"127.0.0.1:0"}, NewHandler: h})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Listen(); err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	for _, l := range first.Listeners() {
		cfg := Config{NewHandler: h}
		if l.Net == UDP {
			cfg.UDP = []string{l.Addr.String()}
		} else {
			cfg.TCP = []string{l.Addr.String()}
		}
		second, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		err = second.Listen()
		want := fmt.Sprintf("listen on %s %s: the port is taken by another program; stop it, or give another address in sip.%s of the configuration", l.Net, l.Addr, l.Net)
		if !errors.Is(err, ErrPortTaken) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestDatagramsToUnreachableAddressesAreCountedAndHoldNothingUp(t *testing.T) {
	tr := start(t, Config{UDP: []string{"127.0.0.1:0"}, Shards: 1}, &recorder{})
	peer := dialReal(t, tr.Listeners()[0])
	local, _ := addrPortOf(peer.LocalAddr())
	s := tr.Shards()[0]
	_ = s.Post(func() {
		good, _ := tr.FlowTo(UDP, local)
		bad := good
		bad.Remote = netip.AddrPortFrom(local.Addr(), 0) // EINVAL
		_ = s.Send(good, []byte("one"))
		_ = s.Send(bad, []byte("lost"))
		_ = s.Send(good, []byte("two"))
		other := good
		other.Remote = netip.MustParseAddrPort("[::1]:5060")
		if err := s.Send(other, []byte("three")); !errors.Is(err, ErrNoRoute) {
			t.Errorf("IPv6 over an IPv4 listener: got %v, want ErrNoRoute", err)
		}
	})
	expect(t, peer, "one")
	expect(t, peer, "two")
	flushed := make(chan struct{})
	_ = s.Post(func() { close(flushed) })
	<-flushed
	if got := tr.Stats().SendErrors; got != 2 {
		t.Errorf("%d send errors, want 2", got)
	}
}

func BenchmarkUDPEchoThroughAShard(b *testing.B) {
	tr := startWith(b, Config{
		UDP: []string{"127.0.0.1:0"}, Shards: 1, NewHandler: func(s *Shard) Handler { return benchHandler{s: s, buf: make([]byte, 0, 2048)} },
	})
	c := dialReal(b, tr.Listeners()[0])
	msg, got := []byte(request("OPTIONS", "a", 0)), make([]byte, 2048)
	b.ReportAllocs()
	const window = 32
	for i := 0; i < b.N; i += window {
		for range window {
			_, _ = c.Write(msg)
		}
		for range window {
			if _, err := c.Read(got); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// benchHandler echoes and keeps nothing.
type benchHandler struct {
	s   *Shard
	buf []byte
}

func (h benchHandler) Receive(p Packet) { _ = h.s.Send(p.Flow, append(h.buf[:0], p.Text...)) }

func (h benchHandler) FlowClosed(Flow, error) {}
func (h benchHandler) Wake(time.Time)         {}

// A second address of the machine, as a virtual address is: the answer must come from it, not from the one the routing table
// prefers.
func TestAnAnswerComesFromTheAddressThatWasAskedOnAWildcardListener(t *testing.T) {
	r := &recorder{onMsg: echo}
	tr := start(t, Config{UDP: []string{"0.0.0.0:0"}, Shards: 2}, r)
	port := tr.Listeners()[0].Addr.Port()
	for i, server := range []string{"127.0.0.1", "127.0.0.77", "127.0.0.78"} {
		c, err := net.Dial("udp", net.JoinHostPort(server, strconv.Itoa(int(port)))) // connected: hears this address only
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		stun := string(append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42}, "transaction!"...))
		write(t, c, stun)
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, err := c.Read(make([]byte, 100)); n != 32 {
			t.Fatalf("%s: STUN: %d bytes, %v", server, n, err)
		}
		msg := request("OPTIONS", server, 0)
		write(t, c, msg)
		expect(t, c, msg)
		f := r.packet(t, i).Flow
		if host, p := tr.SentBy(f); host != server || p != int(port) || tr.Local(f) != netip.AddrPortFrom(netip.MustParseAddr(server), port) {
			t.Errorf("sent-by %s:%d and local %v, want %s", host, p, tr.Local(f), server)
		}
		if (f.Listener == 0) != (server == "127.0.0.1") || !tr.Alive(f) {
			t.Errorf("%s: flow %+v", server, f)
		}
	}
}

func TestWildcardListenersOfBothFamiliesShareAPort(t *testing.T) {
	needIPv6(t)
	probe, err := net.ListenPacket("udp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(probe.LocalAddr().(*net.UDPAddr).Port)
	_ = probe.Close()
	tr := start(t, Config{UDP: []string{"0.0.0.0:" + port, "[::]:" + port}, TCP: []string{"0.0.0.0:0"}}, &recorder{onMsg: echo})
	for i, host := range []string{"127.0.0.1", "::1"} {
		c, err := net.Dial("udp", net.JoinHostPort(host, port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		msg := request("OPTIONS", host, 0)
		write(t, c, msg)
		expect(t, c, msg)
		local, _ := addrPortOf(c.LocalAddr())
		f, err := tr.FlowTo(UDP, local)
		if err != nil || f.index() != i {
			t.Errorf("flow to %v is %+v, %v", local, f, err)
		}
		if got, _ := tr.SentBy(f); got != host {
			t.Errorf("sent-by %s, want %s", got, host)
		}
	}
}
