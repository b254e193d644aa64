package rtpengine

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// tierVariable says which tier startEngine uses, steered or auto: set in the processes that TestAllOnTheSteeredTier and
// TestAllOnTheKernelTier start.
const tierVariable = "TANDEM_TEST_TIER"

var onTier = Tier(os.Getenv(tierVariable))

func TestMain(m *testing.M) {
	if onTier != "" {
		if err := loopbackUp(); err != nil {
			fmt.Fprintln(os.Stderr, "loopback:", err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m)
}

var (
	loop4 = netip.MustParseAddr("127.0.0.1")
	loop6 = netip.IPv6Loopback()
)

// startEngine runs an engine on loopback for the length of the test.
func startEngine(t testing.TB, change func(*Config)) *Engine {
	t.Helper()
	c := Config{Bind: []netip.Addr{loop4, loop6}, PortMin: 21000, PortMax: 28999, PacketRate: 1 << 30}
	if c.Tier = TierSockets; onTier != "" {
		c.Tier = onTier
	}
	c.Transcode.Off = true
	if change != nil {
		change(&c)
	}
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range e.coders.all {
		c.now = func() int64 { return 0 } // a machine that is busy with tests may keep packets waiting; none is late
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return e
}

// settle waits until the shard has obeyed all orders given so far. With a kernel tier it then has handed over every leg that it could.
func settle(sh *shard) {
	lookAround(sh)
	for range 2 { // the engine's totals are added after the orders of a wake-up
		done := make(chan struct{})
		if sh.order(func(*shard) { close(done) }) {
			<-done
		}
	}
}

// calm waits until the counters show every packet that somebody has received.
func calm(s *Session) *Session {
	settle(s.shard)
	return s
}

// phone is a pair of sockets that speaks RTP, no SIP.
type phone struct {
	t         testing.TB
	rtp, rtcp *net.UDPConn
	ssrc      uint32
	seq       uint16
	to        netip.AddrPort // our engine's RTP address as the SDP said
	toRTCP    netip.AddrPort
}

func newPhone(t testing.TB, addr netip.Addr) *phone {
	t.Helper()
	p := &phone{t: t, ssrc: 0x1000 + uint32(time.Now().UnixNano()&0xffff)}
	for _, c := range []**net.UDPConn{&p.rtp, &p.rtcp} {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		*c = conn
	}
	return p
}

func (p *phone) addr() netip.AddrPort { return p.rtp.LocalAddr().(*net.UDPAddr).AddrPort() }

// sdp describes the phone; lines are added to its only m-line.
func (p *phone) sdp(lines ...string) []byte {
	a := p.addr()
	rtcpPort := p.rtcp.LocalAddr().(*net.UDPAddr).Port
	at := family(a.Addr()) + " " + a.Addr().String()
	text := fmt.Sprintf("v=0\r\no=phone 1 1 IN %s\r\ns=-\r\nc=IN %s\r\nt=0 0\r\nm=audio %d RTP/AVP 0 8 101\r\na=rtcp:%d\r\na=rtpmap:101 telephone-event/8000\r\n",
		at, at, a.Port(), rtcpPort)
	for _, line := range lines {
		text += line + "\r\n"
	}
	return []byte(text)
}

// dial learns where to send from the description that the phone was given.
func (p *phone) dial(sdp []byte) {
	p.t.Helper()
	d, err := parseSDP(sdp)
	if err != nil {
		p.t.Fatalf("%v in\n%s", err, sdp)
	}
	s := d.sections[0]
	if s.port == 0 || !s.addr.IsValid() {
		p.t.Fatalf("no media in\n%s", sdp)
	}
	p.to = netip.AddrPortFrom(s.addr, s.port)
	p.toRTCP = netip.AddrPortFrom(s.rtcpAddr, s.rtcpPort)
}

func packet(payload uint8, seq uint16, stamp, ssrc uint32, body string) []byte {
	b := []byte{0x80, payload}
	b = binary.BigEndian.AppendUint16(b, seq)
	b = binary.BigEndian.AppendUint32(b, stamp)
	b = binary.BigEndian.AppendUint32(b, ssrc)
	return append(b, body...)
}

func (p *phone) say(body string) {
	p.t.Helper()
	p.seq++
	p.raw(p.rtp, p.to, packet(0, p.seq, uint32(p.seq)*160, p.ssrc, body))
}

func (p *phone) raw(from *net.UDPConn, to netip.AddrPort, b []byte) {
	p.t.Helper()
	if _, err := from.WriteToUDPAddrPort(b, to); err != nil {
		p.t.Fatal(err)
	}
}

// hears reads the next packet's payload.
func (p *phone) hears(want string) []byte {
	p.t.Helper()
	b := p.next(p.rtp)
	if got := string(b[12:]); got != want {
		p.t.Fatalf("heard %q, want %q", got, want)
	}
	return b
}

func (p *phone) next(c *net.UDPConn) []byte {
	p.t.Helper()
	b := make([]byte, 2048)
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, err := c.Read(b)
	if err != nil {
		p.t.Fatalf("nothing heard: %v", err)
	}
	return b[:n]
}

// hasNothing checks that no packet waits in the socket.
func (p *phone) hasNothing(c *net.UDPConn) {
	p.t.Helper()
	if b := unread(p.t, c); b != nil {
		p.t.Fatalf("heard %q, want nothing", b)
	}
}

// unread is the next packet in a socket, nil when there is none now. A read with a short deadline will not do: on a busy machine the
// deadline is over before the socket is looked at.
func unread(t testing.TB, c *net.UDPConn) []byte {
	t.Helper()
	b := make([]byte, 2048)
	n := -1
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Time{})
	if err := raw.Read(func(fd uintptr) bool { n, _ = syscall.Read(int(fd), b); return true }); err != nil {
		t.Fatal(err)
	}
	if n < 0 {
		return nil
	}
	return b[:n]
}

// call connects two phones through a new session.
func call(t testing.TB, e *Engine, a, b *phone, extra ...string) *Session {
	t.Helper()
	s, err := e.NewSession(SessionConfig{ID: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	renew(t, s, a, b, extra...)
	return s
}

// renew does one offer/answer from a to b.
func renew(t testing.TB, s *Session, a, b *phone, extra ...string) {
	t.Helper()
	from, to := a.addr().Addr(), b.addr().Addr()
	offer, err := s.Offer(A, a.sdp(extra...), from, to)
	if err != nil {
		t.Fatal(err)
	}
	b.dial(offer)
	answer, err := s.Answer(B, b.sdp(extra...), to, from)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(answer)
	settle(s.shard)
}

func hasLine(sdp []byte, prefix string) bool {
	return strings.Contains("\r\n"+string(sdp), "\r\n"+prefix)
}
