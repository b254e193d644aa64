package ng

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"tandem/rtpengine"
)

var loop = netip.MustParseAddr("127.0.0.1")

// running is a server and an engine on real sockets: packets move, and time is the clock's.
type running struct {
	t      *testing.T
	server *Server
	conn   net.Conn
	asked  int
}

func run(t *testing.T, silence time.Duration) *running {
	t.Helper()
	return runWith(t, rtpengine.Config{Silence: silence})
}

func runWith(t *testing.T, c rtpengine.Config) *running {
	t.Helper()
	c.Bind, c.PortMin, c.PortMax = []netip.Addr{loop}, firstPort+400, firstPort+799
	engine, err := rtpengine.New(c)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{t: t}
	if r.server, err = New(Config{Engine: engine, Listen: []string{"127.0.0.1:0", "tcp:127.0.0.1:0", "http:127.0.0.1:0"}}); err != nil {
		t.Fatal(err)
	}
	if err := r.server.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- engine.Run(ctx) }()
	go func() { ended <- r.server.Run(ctx) }()
	if r.conn, err = net.Dial("udp", r.server.Addrs()[0]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.conn.Close()
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	return r
}

func (r *running) ask(d dict) dict {
	r.t.Helper()
	r.asked++
	cookie := []byte(strconv.Itoa(r.asked) + " ")
	if _, err := r.conn.Write(encode(cookie, d, asJSON)); err != nil {
		r.t.Fatal(err)
	}
	_ = r.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	buffer := make([]byte, maxPacket)
	n, err := r.conn.Read(buffer)
	if err != nil {
		r.t.Fatal(err)
	}
	got, _, err := decode(bytes.TrimPrefix(buffer[:n], cookie))
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

// phone sends and hears RTP.
type phone struct {
	t    *testing.T
	conn *net.UDPConn
	to   netip.AddrPort
	seq  uint16
}

func newPhone(t *testing.T) *phone {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loop, 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &phone{t: t, conn: conn}
}

func (p *phone) sdp(extra ...string) string {
	return phoneSDP(p.conn.LocalAddr().(*net.UDPAddr).Port, extra...)
}

func (p *phone) dial(sdp string) {
	p.t.Helper()
	port, err := strconv.Atoi(mediaPort(sdp))
	if err != nil || port == 0 {
		p.t.Fatalf("no media in %q", sdp)
	}
	p.to = netip.AddrPortFrom(loop, uint16(port))
}

func (p *phone) say(word string) {
	p.t.Helper()
	p.seq++
	b := binary.BigEndian.AppendUint16([]byte{0x80, 0}, p.seq)
	b = binary.BigEndian.AppendUint32(b, uint32(p.seq)*160)
	b = binary.BigEndian.AppendUint32(b, 7)
	if _, err := p.conn.WriteToUDPAddrPort(append(b, word...), p.to); err != nil {
		p.t.Fatal(err)
	}
}

// tells says a word until the other phone has heard it: the answer may be in the proxy's hands before the relay has taken it up.
func (p *phone) tells(other *phone, word string) {
	p.t.Helper()
	b := make([]byte, 2048)
	for range 50 {
		p.say(word)
		_ = other.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if n, err := other.conn.Read(b); err == nil && string(b[12:n]) == word {
			return
		}
	}
	p.t.Fatalf("%q was never heard", word)
}

// connect makes a call of two phones.
func (r *running) connect(a, b *phone, extra ...string) {
	r.t.Helper()
	b.dial(r.ask(offer("a", "", a.sdp(extra...))).text("sdp"))
	a.dial(r.ask(answer("a", "b", b.sdp(extra...))).text("sdp"))
}

func TestPhonesHearEachOtherAndAreCounted(t *testing.T) {
	r := run(t, time.Minute)
	a, b := newPhone(t), newPhone(t)
	r.connect(a, b)
	a.tells(b, "hello")
	b.tells(a, "hello yourself")

	totals, _ := r.ask(dict{"command": "query", "call-id": "c1"})["totals"].(dict)
	rtp, _ := totals["RTP"].(dict)
	if n, _ := rtp.number("packets"); n < 2 {
		t.Errorf("totals %v, want the packets of both", totals)
	}
	if got := r.ask(dict{"command": "delete", "call-id": "c1", "from-tag": "a"}); got["result"] != "ok" {
		t.Errorf("delete: %v", got)
	}
	if got := r.ask(dict{"command": "statistics"}); got["result"] != "ok" {
		t.Errorf("statistics: %v", got)
	}
}

func TestACallWhoseMediaFallsSilentIsDeleted(t *testing.T) {
	r := run(t, 50*time.Millisecond)
	a, b := newPhone(t), newPhone(t)
	r.connect(a, b)
	a.tells(b, "hello")
	deadline := time.Now().Add(20 * time.Second)
	for r.ask(dict{"command": "query", "call-id": "c1"})["result"] == "ok" {
		if time.Now().After(deadline) {
			t.Fatal("a silent call lives on")
		}
	}
	if st := r.server.Stats(); st.Silent != 1 || st.Sessions != 0 {
		t.Errorf("%+v", st)
	}
}

func TestACallLivesWhileOneSideTalksOrBothHold(t *testing.T) {
	r := run(t, 50*time.Millisecond)
	a, b := newPhone(t), newPhone(t)
	r.connect(a, b)
	held := dict{}
	for key, value := range offer("h", "", newPhone(t).sdp("a=inactive"), "call-id", "held") {
		held[key] = value
	}
	r.ask(held)
	r.ask(answer("h", "i", newPhone(t).sdp("a=inactive"), "call-id", "held"))
	// Longer than two sweeps: the other side has been silent all the while.
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(2*sweepEvery + sweepEvery/2); time.Now().Before(end); <-tick.C {
		a.say("la la la")
	}
	for _, id := range []string{"c1", "held"} {
		if got := r.ask(dict{"command": "query", "call-id": id}); got["result"] != "ok" {
			t.Errorf("%s: %v", id, got)
		}
	}
}

// A call becomes a fax: what the machines say of T.38 passes as it is, and so do their packets, whatever the flags say of a gateway that is not needed.
func TestAFaxPassesThrough(t *testing.T) {
	r := run(t, 0)
	a, b := newPhone(t), newPhone(t)
	r.connect(a, b)
	const lines = "a=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\na=T38FaxRateManagement:transferredTCF\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n"
	fax := func(p *phone) string {
		head, _, _ := strings.Cut(p.sdp(), "m=audio")
		return head + "m=image " + strconv.Itoa(p.conn.LocalAddr().(*net.UDPAddr).Port) + " udptl t38\r\n" + lines
	}
	there := r.want("ok", offer("a", "b", fax(a), "T.38", list("stop", "no-ECM"), "transport-protocol", "RTP/AVP")).text("sdp")
	back := r.want("ok", answer("a", "b", fax(b))).text("sdp")
	for _, sdp := range []string{there, back} {
		for line := range strings.Lines(" udptl t38\r\n" + lines) {
			if !strings.Contains(sdp, line) {
				t.Errorf("no %q in\n%s", line, sdp)
			}
		}
	}
	udptl := []byte{0, 1, 3, 0xd0, 0xa0, 0, 0}
	for _, c := range []struct {
		from, to *phone
		sdp      string
	}{{a, b, back}, {b, a, there}} {
		c.from.dial(strings.Replace(c.sdp, "m=image", "m=audio", 1))
		heard, buffer := false, make([]byte, 2048)
		for range 50 {
			if _, err := c.from.conn.WriteToUDPAddrPort(udptl, c.from.to); err != nil {
				t.Fatal(err)
			}
			_ = c.to.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if n, err := c.to.conn.Read(buffer); err == nil && bytes.Equal(buffer[:n], udptl) {
				heard = true
				break
			}
		}
		if !heard {
			t.Error("a packet of the fax was never heard")
		}
	}
}
