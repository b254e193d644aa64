package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/simnet"
)

const sipAddr = serverIP + ":5060"

func TestMessagesInOneSegmentAndInManyAreTheSame(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		r := &recorder{onMsg: echo}
		start(t, simConfig(n), r)
		c := dialSim(t, n.Host("198.51.100.7"), "tcp", sipAddr)
		a, b := request("INVITE", "a", 500), request("INVITE", "b", 0)
		write(t, c, a+"\r\n"+b)
		synctest.Wait()
		for i := range a {
			write(t, c, a[i:i+1])
		}
		synctest.Wait()
		if r.count() != 3 || r.packet(t, 2).Text != a {
			t.Fatalf("%d messages, the last %q", r.count(), r.texts())
		}
	})
}

// sipgo never closes a connection that sends half a message and falls silent.
func TestHalfAMessageThenSilenceIsClosed(t *testing.T) {
	msg := request("INVITE", "a", 100)
	for name, sent := range map[string]string{"headers": msg[:80], "body": msg[:len(msg)-1], "trickled": msg[:200]} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *simnet.Network) {
				tr := start(t, simConfig(n), &recorder{})
				c := dialSim(t, n.Host("198.51.100.7"), "tcp", sipAddr)
				begun := time.Now()
				var writing sync.WaitGroup
				defer writing.Wait()
				writing.Go(func() {
					if name != "trickled" {
						_, _ = c.Write([]byte(sent))
						return
					}
					for i := range sent { // a byte a second never lets the peer be silent
						if _, err := c.Write([]byte(sent[i : i+1])); err != nil {
							return
						}
						time.Sleep(time.Second)
					}
				})
				readUntilEnd(t, c, time.Minute)
				synctest.Wait()
				if took := time.Since(begun); took != 15*time.Second {
					t.Errorf("closed after %v, want the read time-out of 15s", took)
				}
				if got := tr.Stats().TimedOut; got != 1 {
					t.Errorf("%d time-outs counted, want 1", got)
				}
			})
		})
	}
}

func TestAConnectionThatSaysNothingIsClosedSoonAndAnIdleOneLate(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		r := &recorder{}
		start(t, simConfig(n), r)
		h := n.Host("198.51.100.7")
		silent, idle := dialSim(t, h, "tcp", sipAddr), dialSim(t, h, "tcp", sipAddr)
		write(t, idle, request("REGISTER", "a", 0))
		begun := time.Now()
		readUntilEnd(t, silent, time.Minute)
		if took := time.Since(begun); took != 30*time.Second {
			t.Errorf("the silent connection was closed after %v, want 30s", took)
		}
		readUntilEnd(t, idle, 2*time.Hour)
		if took := time.Since(begun); took != 70*time.Minute {
			t.Errorf("the idle connection was closed after %v, want 70m", took)
		}
		synctest.Wait()
		if got := r.closedFlows(); len(got) != 2 || got[1] != r.packet(t, 0).Flow {
			t.Errorf("closed flows %v, want two, the last that of the message", got)
		}
	})
}

func TestCRLFKeepAliveOnAStreamIsAnswered(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		r := &recorder{}
		tr := start(t, simConfig(n), r)
		c := dialSim(t, n.Host("198.51.100.7"), "tcp", sipAddr)
		for range 100 { // keeps the connection open well over the idle limit
			write(t, c, "\r\n\r\n")
			expect(t, c, "\r\n")
			time.Sleep(2 * time.Minute)
		}
		for _, s := range []string{"\r", "\n", "\r", "\n"} {
			write(t, c, s)
			synctest.Wait()
		}
		expect(t, c, "\r\n")
		write(t, c, "\r\n"+request("OPTIONS", "a", 0))
		synctest.Wait()
		if got := tr.Stats().KeepAlives; got != 101 || r.count() != 1 {
			t.Errorf("%d keep-alives and %d messages, want 101 and 1", got, r.count())
		}
	})
}

func TestAStreamWhoseMessageHasNoFindableEndGetsAnAnswerAndIsClosed(t *testing.T) {
	msg := request("INVITE", "a", 0)
	for _, tc := range []struct{ name, sent, want string }{
		{"no Content-Length", strings.Replace(msg, "Content-Length: 0\r\n", "", 1), "SIP/2.0 400 "},
		{"two Content-Lengths", strings.Replace(msg, "Content-Length: 0\r\n", "Content-Length: 0\r\nl: 5\r\n", 1), "SIP/2.0 400 "},
		{"negative", strings.Replace(msg, "Length: 0", "Length: -1", 1), "SIP/2.0 400 "},
		{"not a number", strings.Replace(msg, "Length: 0", "Length: 0x10", 1), "SIP/2.0 400 "},
		{"too large", strings.Replace(msg, "Length: 0", "Length: 99999999999999999999", 1), "SIP/2.0 513 "},
		{"headers without end", strings.Replace(msg, "\r\n\r\n", "\r\nX: "+strings.Repeat("y", 40<<10), 1), "SIP/2.0 513 "},
		{"TLS hello", "\x16\x03\x01\x02\x00\x01", ""},
		{"HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *simnet.Network) {
				r := &recorder{}
				tr := start(t, simConfig(n), r)
				c := dialSim(t, n.Host("198.51.100.7"), "tcp", sipAddr)
				write(t, c, tc.sent)
				if got := readUntilEnd(t, c, 10*time.Second); !strings.HasPrefix(got, tc.want) || (tc.want == "") != (got == "") {
					t.Errorf("got %q, want %q", got, tc.want)
				}
				_ = c.Close()
				synctest.Wait()
				if tr.Stats().Framing != 1 || r.count() != 0 || len(r.closedFlows()) != 1 {
					t.Errorf("%+v, %d messages", tr.Stats(), r.count())
				}
			})
		})
	}
}

// In sipgo a peer that does not read blocks the writer for ever, and with it a transaction.
func TestAPeerThatDoesNotReadIsClosed(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		r := &recorder{}
		tr := start(t, simConfig(n), r)
		c := dialSim(t, n.Host("198.51.100.7"), "tcp", sipAddr)
		write(t, c, request("INVITE", "a", 0))
		synctest.Wait()
		f := r.packet(t, 0).Flow
		s := tr.Shards()[0]
		var errs []error
		_ = s.Post(func() {
			for range 100 {
				errs = append(errs, s.Send(f, make([]byte, 10_000)))
			}
		})
		synctest.Wait()
		if tr.Stats().SlowReaders != 1 || !errors.Is(errs[99], ErrFlowGone) || errs[10] != nil || tr.Alive(f) {
			t.Errorf("slow readers %d, last error %v, alive %v", tr.Stats().SlowReaders, errs[99], tr.Alive(f))
		}
		if got := r.closedFlows(); len(got) != 1 || got[0] != f {
			t.Errorf("closed flows %v, want %v", got, f)
		}
	})
}

func TestAWriteThatHangsIsClosed(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		r := &recorder{}
		tr := start(t, simConfig(n), r)
		c := dialSim(t, n.Host("198.51.100.7"), "tcp", sipAddr)
		write(t, c, request("INVITE", "a", 0))
		synctest.Wait()
		f := r.packet(t, 0).Flow
		_ = tr.Shards()[0].Post(func() { _ = tr.Shards()[0].Send(f, make([]byte, 100_000)) })
		time.Sleep(9 * time.Second)
		if !tr.Alive(f) {
			t.Error("closed before the write time-out")
		}
		time.Sleep(2 * time.Second)
		if tr.Alive(f) {
			t.Error("still open after the write time-out")
		}
	})
}

// sipgo with a local address set sends a request over the TCP connection accepted last, whoever that is.
func TestTCPRequestNeverGoesToAnotherPeersConnection(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		r := &recorder{}
		tr := start(t, simConfig(n), r)
		h := n.Host("198.51.100.7")
		var conns []net.Conn
		for i := range 20 {
			c := dialSim(t, h, "tcp", sipAddr)
			write(t, c, request("REGISTER", fmt.Sprint(i), 0))
			synctest.Wait()
			conns = append(conns, c)
		}
		for i, c := range conns {
			remote, _ := addrPortOf(c.LocalAddr())
			f, err := tr.FlowTo(TCP, remote)
			if err != nil || f != r.packet(t, i).Flow {
				t.Fatalf("flow to %v is %v, %v; want the connection it came over", remote, f, err)
			}
			_ = tr.Shards()[0].Post(func() { _ = tr.Shards()[0].Send(f, fmt.Appendf(nil, "to %d", i)) })
			expect(t, c, fmt.Sprintf("to %d", i))
		}
		// A port that nobody connected from is another peer: it refuses, and nobody else gets the message.
		other := netip.MustParseAddrPort("198.51.100.7:9")
		f, err := tr.FlowTo(TCP, other)
		if err != nil {
			t.Fatal(err)
		}
		_ = tr.Shards()[0].Post(func() { _ = tr.Shards()[0].Send(f, []byte("secret")) })
		synctest.Wait()
		if got := r.closedFlows(); len(got) != 1 || got[0] != f {
			t.Errorf("closed flows %v, want %v", got, f)
		}
		// Neither does a flow whose parts do not belong together.
		mixed := r.packet(t, 0).Flow
		mixed.Remote = r.packet(t, 1).Flow.Remote
		if tr.Alive(mixed) {
			t.Error("a flow with another connection's number is alive")
		}
	})
}

func TestWhatIsSentWhileConnectingWaitsForTheConnection(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		n.SetLink(simnet.Link{Delay: 100 * time.Millisecond})
		r := &recorder{}
		tr := start(t, simConfig(n), r)
		l, err := n.Host("198.51.100.9").Listen("tcp", "198.51.100.9:5060")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		f, err := tr.FlowTo(TCP, netip.MustParseAddrPort("198.51.100.9:5060"))
		if err != nil {
			t.Fatal(err)
		}
		again, _ := tr.FlowTo(TCP, netip.MustParseAddrPort("198.51.100.9:5060"))
		if again != f || !tr.Alive(f) {
			t.Errorf("a second flow %v beside %v, or not alive", again, f)
		}
		_ = tr.Shards()[0].Post(func() {
			_ = tr.Shards()[0].Send(f, []byte("one"))
			_ = tr.Shards()[0].Send(f, []byte("two"))
		})
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		expect(t, c, "onetwo")
		if host, port := tr.SentBy(f); host != serverIP || port != 5060 {
			t.Errorf("sent-by %s:%d", host, port)
		}
		write(t, c, "\r\n"+request("OPTIONS", "a", 0)) // a pong, and a request of the peer on our connection
		time.Sleep(time.Second)
		if got := r.packet(t, 0).Flow; got != f {
			t.Errorf("the peer's request came on %v, want %v", got, f)
		}
		// RFC 5626: who opened the connection keeps it alive.
		time.Sleep(30 * time.Second)
		expect(t, c, "\r\n\r\n")
	})
}

func TestADialThatFailsIsToldToEveryShard(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		cfg := simConfig(n)
		told := make([]int, 4) // by shard; read behind synctest.Wait
		cfg.Shards = 4
		cfg.NewHandler = func(s *Shard) Handler { return closeCounter{told: &told[s.Index()]} }
		tr := startWith(t, cfg)
		n.Host("198.51.100.9")
		refused, _ := tr.FlowTo(TCP, netip.MustParseAddrPort("198.51.100.9:5060"))
		synctest.Wait()
		if tr.Alive(refused) || fmt.Sprint(told) != "[1 1 1 1]" {
			t.Errorf("alive %v, told %v", tr.Alive(refused), told)
		}
		n.Cut([]string{serverIP}, []string{"198.51.100.9"})
		_, _ = tr.FlowTo(TCP, netip.MustParseAddrPort("198.51.100.9:5060"))
		time.Sleep(11 * time.Second) // the handshake time-out
		synctest.Wait()
		if fmt.Sprint(told) != "[2 2 2 2]" || tr.Stats().DialFailed != 2 || tr.Stats().Connections != 0 {
			t.Errorf("told %v, %d failed, %d left", told, tr.Stats().DialFailed, tr.Stats().Connections)
		}
	})
}

type closeCounter struct{ told *int }

func (c closeCounter) Receive(Packet)         {}
func (c closeCounter) FlowClosed(Flow, error) { *c.told++ }
func (c closeCounter) Wake(time.Time)         {}

func TestConnectionsAreLimitedInTotalAndPerSource(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		cfg := simConfig(n)
		cfg.Limits = Limits{Connections: 5, PerIP: 3}
		tr := start(t, cfg, &recorder{onMsg: echo})
		open := func(ip string, k int) (ok int) {
			h := n.Host(ip)
			for i := range k {
				c := dialSim(t, h, "tcp", sipAddr)
				_, _ = c.Write([]byte(request("OPTIONS", fmt.Sprint(i), 0)))
				_ = c.SetReadDeadline(time.Now().Add(time.Second))
				if _, err := c.Read(make([]byte, 10)); err == nil {
					ok++
				}
			}
			return ok
		}
		if a, b := open("198.51.100.1", 4), open("198.51.100.2", 4); a != 3 || b != 2 {
			t.Errorf("%d and %d connections let in, want 3 of one source and 5 in all", a, b)
		}
		if st := tr.Stats(); st.RefusedConns != 3 || st.Connections != 5 {
			t.Errorf("%d refused, %d open; want 3, 5", st.RefusedConns, st.Connections)
		}
	})
}

func TestStreamsWaitWhenTheShardIsBusyAndLoseNothing(t *testing.T) {
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
		h := n.Host("198.51.100.7")
		write(t, dialSim(t, h, "tcp", sipAddr), request("ACK", "block", 0))
		synctest.Wait()
		for i := range 5 {
			c := dialSim(t, h, "tcp", sipAddr)
			for j := range 10 {
				write(t, c, request("BYE", fmt.Sprint(i, "-", j), 0))
			}
		}
		synctest.Wait()
		if st := tr.Stats(); st.Queued[0] != 16 { // with the reserve: what is not new may use it
			t.Errorf("%d queued, want 16", st.Queued[0])
		}
		close(block)
		synctest.Wait()
		if r.count() != 51 || tr.Stats().BackPressure == 0 {
			t.Errorf("%d messages handled, want 51; %d waited", r.count(), tr.Stats().BackPressure)
		}
	})
}

// Bindings keep flows over a restart; none of them may name a connection of the new process.
func TestAFlowFromBeforeARestartIsGone(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		h := n.Host(serverIP)
		phone := n.Host("198.51.100.7")
		seen := make(map[uint64]bool)
		for range 3 {
			r := &recorder{}
			tr, err := New(Config{TCP: []string{sipAddr}, Listen: h.Listen, NewHandler: func(s *Shard) Handler { return recordingShard{r, s} }})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- tr.Run(ctx) }()
			synctest.Wait()
			for i := range 10 {
				write(t, dialSim(t, phone, "tcp", sipAddr), request("REGISTER", fmt.Sprint(i), 0))
			}
			time.Sleep(time.Millisecond)
			for i := range 10 {
				id := r.packet(t, i).Flow.Conn
				if id == 0 || seen[id] {
					t.Errorf("connection number %d is zero or was there before", id)
				}
				seen[id] = true
			}
			cancel()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestWhatIsQueuedIsWrittenBeforeTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		h := n.Host(serverIP)
		r := &recorder{}
		tr, err := New(Config{TCP: []string{sipAddr}, Listen: h.Listen, Shards: 1, NewHandler: func(s *Shard) Handler { return recordingShard{r, s} }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- tr.Run(ctx) }()
		synctest.Wait()
		c := dialSim(t, n.Host("198.51.100.7"), "tcp", sipAddr)
		write(t, c, request("INVITE", "a", 0))
		synctest.Wait()
		s, f := tr.Shards()[0], r.packet(t, 0).Flow
		_ = s.Post(func() { cancel(); _ = s.Send(f, []byte("the end")) })
		if got := readUntilEnd(t, c, time.Minute); got != "the end" {
			t.Errorf("got %q", got)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.Post(func() {}); !errors.Is(err, ErrClosed) {
			t.Errorf("Post after the end: %v, want ErrClosed", err)
		}
	})
}

// testTLS is a self-signed certificate for 127.0.0.1 and the pool that trusts it.
func testTLS(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().AddDate(100, 0, 0), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(serverIP), net.ParseIP("198.51.100.9")},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: pool, ServerName: serverIP}
}

func TestTLSBothWays(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		server, client := testTLS(t)
		cfg := simConfig(n)
		cfg.TLS, cfg.TLSConfig = []string{serverIP + ":5061"}, server
		cfg.TLSClient = &tls.Config{RootCAs: client.RootCAs}
		r := &recorder{onMsg: echo}
		tr := start(t, cfg, r)
		peer := n.Host("198.51.100.9")
		c := tls.Client(dialSim(t, peer, "tcp", serverIP+":5061"), client)
		msg := request("OPTIONS", "a", 5000)
		write(t, c, msg)
		expect(t, c, msg)
		if f := r.packet(t, 0).Flow; f.Net != TLS || !f.Net.Secure() {
			t.Errorf("flow %v", f)
		}
		_ = c.Close()

		l, err := peer.Listen("tcp", "198.51.100.9:5061")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		f, err := tr.FlowTo(TLS, netip.MustParseAddrPort("198.51.100.9:5061"))
		if err != nil {
			t.Fatal(err)
		}
		_ = tr.Shards()[0].Post(func() { _ = tr.Shards()[0].Send(f, []byte("hello")) })
		nc, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		in := tls.Server(nc, server)
		defer in.Close()
		expect(t, in, "hello")
		time.Sleep(5 * time.Minute) // read time-outs for keep-alives do not harm the TLS stream
		expect(t, in, strings.Repeat("\r\n\r\n", 10))
		write(t, in, msg)
		expect(t, in, msg)
	})
}

func TestATLSHandshakeThatStallsIsClosed(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		server, _ := testTLS(t)
		cfg := simConfig(n)
		cfg.TLS, cfg.TLSConfig = []string{serverIP + ":5061"}, server
		tr := start(t, cfg, &recorder{})
		c := dialSim(t, n.Host("198.51.100.9"), "tcp", serverIP+":5061")
		begun := time.Now()
		readUntilEnd(t, c, time.Minute)
		synctest.Wait()
		if took := time.Since(begun); took != 10*time.Second || tr.Stats().HandshakeFailed != 1 {
			t.Errorf("closed after %v, %d failed handshakes; want 10s, 1", took, tr.Stats().HandshakeFailed)
		}
	})
}

func TestAStalledHandshakeDoesNotHoldUpTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		server, _ := testTLS(t)
		h := n.Host(serverIP)
		tr, err := New(Config{TLS: []string{serverIP + ":5061"}, TLSConfig: server, Listen: h.Listen, NewHandler: func(s *Shard) Handler { return recordingShard{&recorder{}, s} }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- tr.Run(ctx) }()
		synctest.Wait()
		dialSim(t, n.Host("198.51.100.9"), "tcp", serverIP+":5061")
		synctest.Wait()
		begun := time.Now()
		cancel()
		if err := <-done; err != nil || time.Since(begun) > time.Second {
			t.Errorf("ended after %v with %v", time.Since(begun), err)
		}
	})
}

func TestTheEndOfATLSConnectionIsSaid(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		server, client := testTLS(t)
		cfg := simConfig(n)
		cfg.TLS, cfg.TLSConfig = []string{serverIP + ":5061"}, server
		start(t, cfg, &recorder{})
		c := tls.Client(dialSim(t, n.Host("198.51.100.9"), "tcp", serverIP+":5061"), client)
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("got %v, want EOF: close_notify was sent", err)
		}
	})
}

func TestACertificateThatIsNotTrustedEndsTheDial(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		server, _ := testTLS(t)
		r := &recorder{}
		tr := start(t, simConfig(n), r)
		l, err := n.Host("198.51.100.9").Listen("tcp", "198.51.100.9:5061")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			nc, err := l.Accept()
			if err == nil {
				_ = tls.Server(nc, server).Handshake()
				_ = nc.Close()
			}
		}()
		_, _ = tr.FlowTo(TLS, netip.MustParseAddrPort("198.51.100.9:5061"))
		synctest.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		var unknown x509.UnknownAuthorityError
		if len(r.errs) != 1 || !errors.As(r.errs[0], &unknown) {
			t.Errorf("got %v, want an unknown authority", r.errs)
		}
	})
}

func TestTCPOverRealSockets(t *testing.T) {
	needIPv6(t)
	tr := start(t, Config{TCP: []string{"127.0.0.1:0", "[::1]:0"}}, &recorder{onMsg: echo})
	for _, l := range tr.Listeners() {
		c := dialReal(t, l)
		msg := request("OPTIONS", "a", 60_000)
		write(t, c, msg)
		expect(t, c, msg)
	}
}
