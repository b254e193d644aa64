package simnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T, h *Host, addr string) *PacketConn {
	t.Helper()
	pc, err := h.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return pc.(*PacketConn)
}

func send(t *testing.T, from *PacketConn, to, text string) {
	t.Helper()
	if _, err := from.WriteToUDPAddrPort([]byte(text), netip.MustParseAddrPort(to)); err != nil {
		t.Fatal(err)
	}
}

// drain reads what comes within d: "text from address" each.
func drain(c *PacketConn, d time.Duration) (texts []string, from []netip.AddrPort) {
	_ = c.SetReadDeadline(time.Now().Add(d))
	b := make([]byte, 2000)
	for {
		n, addr, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return texts, from
		}
		texts, from = append(texts, string(b[:n])), append(from, addr)
	}
}

// numbered sends 1000 numbered datagrams, a millisecond apart, over a link and gives what arrives.
func numbered(t *testing.T, seed uint64, l Link) (got []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := ForTest(t, seed)
		n.SetLink(l)
		a, b := listen(t, n.Host("10.0.0.1"), "10.0.0.1:1"), listen(t, n.Host("10.0.0.2"), "10.0.0.2:1")
		go func() {
			for i := range 1000 {
				send(t, a, "10.0.0.2:1", fmt.Sprintf("%04d", i))
				time.Sleep(time.Millisecond)
			}
		}()
		got, _ = drain(b, 10*time.Second)
	})
	return got
}

func inversions(list []string) (n int) {
	for i := 1; i < len(list); i++ {
		if list[i] < list[i-1] {
			n++
		}
	}
	return n
}

func TestAPerfectWireLosesNothingAndKeepsTheOrder(t *testing.T) {
	for _, l := range []Link{{}, {Delay: 20 * time.Millisecond}, {Delay: 20 * time.Millisecond, Jitter: 30 * time.Millisecond}} {
		if got := numbered(t, 1, l); len(got) != 1000 || inversions(got) != 0 {
			t.Errorf("%+v: %d arrived, %d out of order", l, len(got), inversions(got))
		}
	}
}

func TestLossDuplicationAndReorderingAreAsAskedFor(t *testing.T) {
	if got := numbered(t, 1, Link{Loss: 0.1}); len(got) < 870 || len(got) > 930 {
		t.Errorf("loss of 10 %%: %d of 1000 arrived", len(got))
	}
	if got := numbered(t, 1, Link{Duplicate: 0.1}); len(got) < 1070 || len(got) > 1130 {
		t.Errorf("duplication of 10 %%: %d arrived of 1000", len(got))
	}
	if got := numbered(t, 1, Link{Reorder: 0.1, Delay: 10 * time.Millisecond}); len(got) != 1000 || inversions(got) < 70 || inversions(got) > 130 {
		t.Errorf("reordering of 10 %%: %d arrived, %d out of order", len(got), inversions(got))
	}
}

func TestTheSameSeedDoesTheSame(t *testing.T) {
	l := Link{Loss: 0.1, Duplicate: 0.1, Reorder: 0.1, Delay: 10 * time.Millisecond, Jitter: 5 * time.Millisecond}
	one, again, other := fmt.Sprint(numbered(t, 7, l)), fmt.Sprint(numbered(t, 7, l)), fmt.Sprint(numbered(t, 8, l))
	if one != again {
		t.Error("the same seed gave something else")
	}
	if one == other {
		t.Error("another seed gave the same")
	}
}

func TestACutHoldsStreamsBackAndLosesDatagramsUntilHealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := ForTest(t, 1)
		n.SetLink(Link{Delay: 10 * time.Millisecond})
		a, b := n.Host("10.0.0.1"), n.Host("10.0.0.2")
		ua, ub := listen(t, a, "10.0.0.1:1"), listen(t, b, "10.0.0.2:1")
		ca, cb := connect(t, a, b)
		n.Cut([]string{"10.0.0.1"}, []string{"10.0.0.2"})
		send(t, ua, "10.0.0.2:1", "lost")
		_, _ = ca.Write([]byte("one "))
		_, _ = ca.Write([]byte("two "))
		if got, _ := drain(ub, time.Second); len(got) != 0 {
			t.Errorf("got %q over a cut", got)
		}
		_ = cb.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := cb.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read over a cut: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := a.Dial(ctx, "tcp", netip.AddrPort{}, netip.MustParseAddrPort("10.0.0.2:9")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("dial over a cut: %v", err)
		}
		n.Heal()
		_, _ = ca.Write([]byte("three"))
		_ = ca.(*Conn).CloseWrite()
		_ = cb.SetReadDeadline(time.Time{})
		if got, err := io.ReadAll(cb); string(got) != "one two three" || err != nil {
			t.Errorf("got %q, %v after healing", got, err)
		}
	})
}

// TestBehindACutTCPWaitsForItsNextAttempt: 0.2, 0.6, 1.4, 3.0 s after what was lost, and 1, 3, 7 s after the first packet of a connection.
func TestBehindACutTCPWaitsForItsNextAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := ForTest(t, 1)
		n.SetBackoff()
		a, b := n.Host("10.0.0.1"), n.Host("10.0.0.2")
		ca, cb := connect(t, a, b)
		n.Cut([]string{"10.0.0.1"}, []string{"10.0.0.2"})
		began := time.Now()
		if _, err := ca.Write([]byte("lost")); err != nil {
			t.Fatal(err)
		}
		dialled := make(chan time.Duration, 1)
		go func() {
			_, _ = a.Dial(t.Context(), "tcp", netip.AddrPort{}, netip.MustParseAddrPort("10.0.0.2:9"))
			dialled <- time.Since(began)
		}()
		time.Sleep(700 * time.Millisecond)
		n.Heal()
		if _, err := ca.Write([]byte(", and behind it")); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 100)
		count, err := cb.Read(got)
		if took := time.Since(began); err != nil || string(got[:count]) != "lost, and behind it" || took != 1400*time.Millisecond {
			t.Errorf("%q after %v, %v", got[:count], took, err)
		}
		if took := <-dialled; took != time.Second {
			t.Errorf("the attempt to connect ended after %v", took)
		}
	})
}

// connect makes a stream from a to b.
func connect(t *testing.T, a, b *Host) (ca, cb net.Conn) {
	t.Helper()
	l, err := b.Listen("tcp", net.JoinHostPort(b.Addr().String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	if ca, err = a.Dial(t.Context(), "tcp", netip.AddrPort{}, netip.MustParseAddrPort(l.Addr().String())); err != nil {
		t.Fatal(err)
	}
	if cb, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return ca, cb
}

func TestAStreamCarriesMoreThanItsWindowBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := ForTest(t, 1)
		n.SetLink(Link{Delay: 10 * time.Millisecond, Loss: 0.5})
		ca, cb := connect(t, n.Host("10.0.0.1"), n.Host("10.0.0.2"))
		data := bytes.Repeat([]byte("0123456789abcdef"), 50_000)
		for _, way := range [][2]net.Conn{{ca, cb}, {cb, ca}} {
			go func() {
				_, _ = way[0].Write(data)
				_ = way[0].(*Conn).CloseWrite()
			}()
			if got, err := io.ReadAll(way[1]); !bytes.Equal(got, data) || err != nil {
				t.Errorf("%d bytes of %d, %v", len(got), len(data), err)
			}
		}
	})
}

func TestAWriterBlocksWhenNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := ForTest(t, 1)
		ca, cb := connect(t, n.Host("10.0.0.1"), n.Host("10.0.0.2"))
		_ = ca.SetWriteDeadline(time.Now().Add(time.Minute))
		k, err := ca.Write(make([]byte, 100_000))
		if k != streamWindow || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("wrote %d, %v", k, err)
		}
		_ = ca.SetWriteDeadline(time.Time{})
		done := make(chan error)
		go func() { _, err := ca.Write([]byte("x")); done <- err }()
		synctest.Wait()
		_ = cb.Close()
		if err := <-done; !errors.Is(err, syscall.EPIPE) {
			t.Errorf("writing to a peer that has gone: %v", err)
		}
		if _, err := ca.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("reading from a peer that left bytes unread: %v", err)
		}
	})
}

func TestNobodyListening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := ForTest(t, 1)
		a, b := n.Host("10.0.0.1"), n.Host("10.0.0.2")
		if _, err := a.Dial(t.Context(), "tcp", netip.AddrPort{}, netip.MustParseAddrPort("10.0.0.2:1")); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial: %v", err)
		}
		listen(t, b, "10.0.0.2:1")
		if _, err := b.ListenPacket("udp", "10.0.0.2:1"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("listen twice: %v", err)
		}
		if _, err := b.ListenPacket("udp", "10.0.0.3:1"); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("listen elsewhere: %v", err)
		}
	})
}

func TestNATsMapAndFilterByTheirKind(t *testing.T) {
	for _, tc := range []struct {
		kind      NATKind
		samePort  bool   // towards both servers
		reachable string // who of: peer (sent to), sibling (its other port), stranger
	}{
		{FullCone, true, "peer sibling stranger"}, {RestrictedCone, true, "peer sibling"}, {PortRestricted, true, "peer"}, {Symmetric, false, "peer"},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := ForTest(t, 1)
			phone := listen(t, n.NAT("203.0.113.9", NATConfig{Kind: tc.kind}).Host("192.168.0.2"), "192.168.0.2:5060")
			first := n.Host("10.0.0.1")
			peer, sibling := listen(t, first, "10.0.0.1:1"), listen(t, first, "10.0.0.1:2")
			second := listen(t, n.Host("10.0.0.2"), "10.0.0.2:1")
			stranger := listen(t, n.Host("10.0.0.3"), "10.0.0.3:1")
			send(t, phone, "10.0.0.1:1", "hello")
			send(t, phone, "10.0.0.2:1", "hello")
			_, from := drain(peer, time.Second)
			_, from2 := drain(second, time.Second)
			if len(from) != 1 || len(from2) != 1 || from[0].Addr() != netip.MustParseAddr("203.0.113.9") || (from[0] == from2[0]) != tc.samePort {
				t.Fatalf("kind %d: seen as %v and %v", tc.kind, from, from2)
			}
			to := from[0].String()
			send(t, peer, to, "peer")
			send(t, sibling, to, "sibling")
			send(t, stranger, to, "stranger")
			send(t, stranger, "192.168.0.2:5060", "into the private network")
			if got, _ := drain(phone, time.Second); strings.Join(got, " ") != tc.reachable {
				t.Errorf("kind %d: reached by %q, want %q", tc.kind, got, tc.reachable)
			}
		})
	}
}

func TestAMappingIsForgottenWhenIdleOrRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := ForTest(t, 1)
		nat := n.NAT("203.0.113.9", NATConfig{Timeout: 30 * time.Second})
		phone, server := listen(t, nat.Host("192.168.0.2"), "192.168.0.2:5060"), listen(t, n.Host("10.0.0.1"), "10.0.0.1:1")
		seen := func() netip.AddrPort {
			send(t, phone, "10.0.0.1:1", "hello")
			_, from := drain(server, time.Second)
			return from[0]
		}
		first := seen()
		time.Sleep(20 * time.Second)
		if got := seen(); got != first {
			t.Errorf("another port %v after 20 s", got)
		}
		time.Sleep(31 * time.Second)
		send(t, server, first.String(), "too late")
		if got, _ := drain(phone, time.Second); len(got) != 0 {
			t.Errorf("got %q through an old mapping", got)
		}
		second := seen()
		nat.Restart()
		if third := seen(); second == first || third == second {
			t.Errorf("ports %v, %v, %v", first, second, third)
		}
	})
}

func TestAStreamThroughANATIsSeenFromOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := ForTest(t, 1)
		ca, cb := connect(t, n.NAT("203.0.113.9", NATConfig{}).Host("192.168.0.2"), n.Host("10.0.0.1"))
		if !strings.HasPrefix(cb.RemoteAddr().String(), "203.0.113.9:") || !strings.HasPrefix(ca.LocalAddr().String(), "192.168.0.2:") {
			t.Errorf("%v seen as %v", ca.LocalAddr(), cb.RemoteAddr())
		}
	})
}

func TestAFilterPicksWhatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := ForTest(t, 1)
		a, b := listen(t, n.Host("10.0.0.1"), "10.0.0.1:1"), listen(t, n.Host("10.0.0.2"), "10.0.0.2:1")
		n.SetFilter(func(d Datagram) bool { return string(d.Payload) != "ACK" })
		for _, s := range []string{"INVITE", "ACK", "BYE"} {
			send(t, a, "10.0.0.2:1", s)
		}
		if got, _ := drain(b, time.Second); strings.Join(got, " ") != "INVITE BYE" {
			t.Errorf("got %q", got)
		}
		if st := n.Stats(); st.Sent != 3 || st.Filtered != 1 || st.Delivered != 2 {
			t.Errorf("%+v", st)
		}
	})
}
