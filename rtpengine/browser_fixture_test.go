package rtpengine

import (
	"context"
	"crypto"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/srtp/v3"
	"github.com/pion/stun/v3"
)

// webPhone is a browser's transport made of pion's parts: one socket, a full ICE agent that leads, DTLS, SRTP, two m-lines.
type webPhone struct {
	t          testing.TB
	conn       *net.UDPConn
	identity   identity
	ufrag, pwd string
	active     bool // answers with a=setup:active
	profiles   []dtls.SRTPProtectionProfile
	in, out    *srtp.Context
	finished   func() // ends the handshake before, if there was one
	remote     *description
	to         netip.AddrPort
	stun, dtls chan []byte
	media      chan []byte
	ended      chan struct{}
	lose       func([]byte) bool // what DTLS does not get, once; the reader's after the first check
	seq        map[uint32]uint16
}

func newWebPhone(t testing.TB, at netip.Addr) *webPhone {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
	if err != nil {
		t.Fatal(err)
	}
	w := &webPhone{
		t: t, conn: conn, active: true, seq: map[uint32]uint16{},
		profiles: []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80},
		stun:     make(chan []byte, 64), dtls: make(chan []byte, 64), media: make(chan []byte, 1024), ended: make(chan struct{}),
	}
	w.restart()
	if w.identity, err = newIdentity(nil); err != nil {
		t.Fatal(err)
	}
	go w.read()
	t.Cleanup(func() {
		conn.Close()
		<-w.ended
	})
	return w
}

// restart chooses new ICE credentials.
func (w *webPhone) restart() {
	g := newGeneration("")
	w.ufrag, w.pwd = g.ufrag, g.password
}

func (w *webPhone) read() {
	defer close(w.ended)
	for {
		b := make([]byte, 2048)
		n, err := w.conn.Read(b)
		if err != nil {
			return
		}
		to := w.media
		switch b = b[:n]; {
		case looksSTUN(b):
			to = w.stun
		case looksDTLS(b):
			to = w.dtls
			if w.lose != nil && w.lose(b) {
				w.lose = nil
				continue
			}
		}
		select {
		case to <- b:
		default:
		}
	}
}

func (w *webPhone) addr() netip.AddrPort { return w.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// sdp is what a browser says: audio and video in one bundle, addresses that only its checks will show.
func (w *webPhone) sdp(setup string, lines ...string) []byte {
	transport := fmt.Sprintf("a=ice-ufrag:%s\r\na=ice-pwd:%s\r\na=ice-options:trickle\r\na=fingerprint:%s\r\na=setup:%s\r\n"+
		"a=candidate:1 1 udp 2113937151 0a1b2c3d-0000-4000-8000-000000000000.local 50000 typ host\r\na=rtcp-mux\r\n",
		w.ufrag, w.pwd, w.identity.fingerprint, setup)
	text := "v=0\r\no=- 7 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=msid-semantic: WMS theirs\r\n" +
		"m=audio 9 UDP/TLS/RTP/SAVPF 111 0 8\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n" + transport +
		"a=mid:0\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=sendrecv\r\na=msid:theirs audio\r\na=rtpmap:111 opus/48000/2\r\na=ssrc:111 cname:theirs\r\n" +
		"m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n" + transport +
		"a=mid:1\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=sendrecv\r\na=msid:theirs video\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 transport-cc\r\n"
	return []byte(text + strings.Join(lines, ""))
}

// audioOnly takes the video out of a browser's description.
func audioOnly(sdp []byte) []byte {
	text := strings.Replace(string(sdp), "BUNDLE 0 1", "BUNDLE 0", 1)
	return []byte(text[:strings.Index(text, "m=video")])
}

// hear takes the description that the phone was given.
func (w *webPhone) hear(sdp []byte) {
	w.t.Helper()
	d, err := parseSDP(sdp)
	if err != nil {
		w.t.Fatalf("%v in\n%s", err, sdp)
	}
	w.remote = d
	s := &d.sections[0]
	if !strings.Contains(string(sdp), "a=ice-lite\r\n") || s.proto != "UDP/TLS/RTP/SAVPF" || !s.mux || s.wiring.ufrag == "" || len(s.wiring.prints) == 0 {
		w.t.Fatalf("this is not for a browser:\n%s", sdp)
	}
	for _, line := range s.lines {
		if value, ok := strings.CutPrefix(line, "a=candidate:"); ok {
			words := strings.Fields(value)
			if at, err := netip.ParseAddrPort(net.JoinHostPort(words[4], words[5])); err == nil && at.Addr().Is4() == w.addr().Addr().Is4() {
				w.to = at
			}
		}
	}
	if !w.to.IsValid() {
		w.t.Fatalf("no candidate for %s in\n%s", w.addr(), sdp)
	}
}

// binding makes a connectivity check.
func (w *webPhone) binding(password string, more ...stun.Setter) *stun.Message {
	w.t.Helper()
	setters := append([]stun.Setter{
		stun.TransactionID, stun.BindingRequest,
		stun.NewUsername(w.remote.sections[0].wiring.ufrag + ":" + w.ufrag),
		stun.RawAttribute{Type: stun.AttrPriority, Value: []byte{0x6e, 0x7f, 0xff, 0xff}},
	}, more...)
	m, err := stun.Build(append(setters, stun.NewShortTermIntegrity(password), stun.Fingerprint)...)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

var (
	leads     = stun.RawAttribute{Type: stun.AttrICEControlling, Value: make([]byte, 8)}
	nominates = stun.RawAttribute{Type: stun.AttrUseCandidate}
)

// check sends one check with nomination and wants its answer.
func (w *webPhone) check() {
	w.t.Helper()
	password := w.remote.sections[0].wiring.pwd
	m := w.binding(password, leads, nominates)
	w.send(m.Raw)
	answer := w.answer()
	var from stun.XORMappedAddress
	if answer.Type != stun.BindingSuccess || answer.TransactionID != m.TransactionID || stun.NewShortTermIntegrity(password).Check(answer) != nil ||
		stun.Fingerprint.Check(answer) != nil || from.GetFrom(answer) != nil || from.Port != int(w.addr().Port()) {
		w.t.Fatalf("answered %v (%v)", answer, from)
	}
}

// answer waits for a STUN message.
func (w *webPhone) answer() *stun.Message {
	w.t.Helper()
	select {
	case b := <-w.stun:
		m := new(stun.Message)
		if err := stun.Decode(b, m); err != nil {
			w.t.Fatal(err)
		}
		return m
	case <-time.After(5 * time.Second):
		w.t.Fatal("no answer to a check")
		return nil
	}
}

func (w *webPhone) send(b []byte) {
	w.t.Helper()
	if _, err := w.conn.WriteToUDPAddrPort(b, w.to); err != nil {
		w.t.Fatal(err)
	}
}

// webPipe is the socket's DTLS half.
type webPipe struct {
	*net.UDPConn
	w    *webPhone
	to   net.Addr
	over chan struct{}
}

func (p webPipe) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case in := <-p.w.dtls:
		return copy(b, in), p.to, nil
	case <-p.w.ended:
		return 0, nil, net.ErrClosed
	case <-p.over:
		return 0, nil, net.ErrClosed
	}
}

func (p webPipe) Close() error { return nil }

// Deadlines would be those of all handshakes of the phone.
func (p webPipe) SetDeadline(time.Time) error      { return nil }
func (p webPipe) SetReadDeadline(time.Time) error  { return nil }
func (p webPipe) SetWriteDeadline(time.Time) error { return nil }

// secure does the DTLS handshake in the part that the descriptions give it, and makes the SRTP contexts.
func (w *webPhone) secure() error {
	w.t.Helper()
	shared := []dtls.Option{
		dtls.WithCertificates(w.identity.certificate), dtls.WithSRTPProtectionProfiles(w.profiles...), dtls.WithInsecureSkipVerify(true),
		dtls.WithFlightInterval(50 * time.Millisecond),
	}
	if w.finished != nil { // a browser's is over when it is told another certificate
		w.finished()
	}
	pipe := webPipe{w.conn, w, net.UDPAddrFromAddrPort(w.to), make(chan struct{})}
	w.finished = sync.OnceFunc(func() { close(pipe.over) })
	client := w.remote.sections[0].wiring.setup != "active" && w.active
	var conn *dtls.Conn
	var err error
	if client {
		var options []dtls.ClientOption
		for _, o := range shared {
			options = append(options, o)
		}
		conn, err = dtls.ClientWithOptions(pipe, pipe.to, options...)
	} else {
		options := []dtls.ServerOption{dtls.WithClientAuth(dtls.RequireAnyClientCert)}
		for _, o := range shared {
			options = append(options, o)
		}
		conn, err = dtls.ServerWithOptions(pipe, pipe.to, options...)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		w.finished()
		conn.Close()
	})
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	state, _ := conn.ConnectionState()
	if want := w.remote.sections[0].wiring.prints[0]; fingerprintOf(crypto.SHA256, state.PeerCertificates[0]) != want {
		w.t.Errorf("the engine's certificate does not fit its own fingerprint")
	}
	profile, _ := conn.SelectedSRTPProtectionProfile()
	c := &srtp.Config{Profile: srtp.ProtectionProfile(profile)}
	if err := c.ExtractSessionKeysFromDTLS(&state, client); err != nil {
		w.t.Fatal(err)
	}
	if w.in, err = srtp.CreateContext(c.Keys.RemoteMasterKey, c.Keys.RemoteMasterSalt, c.Profile); err != nil {
		w.t.Fatal(err)
	}
	if w.out, err = srtp.CreateContext(c.Keys.LocalMasterKey, c.Keys.LocalMasterSalt, c.Profile); err != nil {
		w.t.Fatal(err)
	}
	return nil
}

// connect does what a browser does between the answer and its first packet, and waits until the engine has its keys too.
func (w *webPhone) connect(s *Session) {
	w.t.Helper()
	w.connectTo(s.engine, s.shard)
}

func (w *webPhone) connectTo(e *Engine, sh *shard) {
	w.t.Helper()
	h := &e.handshakes
	before := h.succeeded()
	w.check()
	if err := w.secure(); err != nil {
		w.t.Fatal(err)
	}
	for h.succeeded() == before {
		runtime.Gosched()
	}
	settle(sh)
}

func (h *handshakes) succeeded() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.done
}

// say sends RTP under a source; mid is written into the header extension unless it is "".
func (w *webPhone) say(payload uint8, ssrc uint32, mid, body string) {
	w.t.Helper()
	w.send(w.sealed(payload, ssrc, mid, body))
}

func (w *webPhone) sealed(payload uint8, ssrc uint32, mid, body string) []byte {
	w.t.Helper()
	w.seq[ssrc]++
	b := packet(payload, w.seq[ssrc], uint32(w.seq[ssrc])*160, ssrc, "")
	if mid != "" {
		b[0] |= 0x10
		b = append(b, 0xBE, 0xDE, 0, 1, 4<<4|byte(len(mid)-1))
		b = append(b, mid...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	out, err := w.out.EncryptRTP(nil, append(b, body...), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// hears reads the next RTP packet and wants its body.
func (w *webPhone) hears(want string) []byte {
	w.t.Helper()
	for {
		select {
		case b := <-w.media:
			if looksRTCP(b) {
				continue
			}
			out, err := w.in.DecryptRTP(nil, b, nil)
			if err != nil {
				w.t.Fatalf("what came is not for this phone: %v", err)
			}
			h, _ := parseRTP(out)
			if got := string(out[h.body:]); got != want {
				w.t.Fatalf("heard %q, want %q", got, want)
			}
			return out
		case <-time.After(5 * time.Second):
			w.t.Fatalf("nothing heard, want %q", want)
		}
	}
}

// hearsNothing wants no media within what any packet needs on loopback.
func (w *webPhone) hearsNothing() {
	w.t.Helper()
	select {
	case b := <-w.media:
		w.t.Fatalf("heard %x", b)
	case <-time.After(50 * time.Millisecond):
	}
}

// report sends RTCP.
func (w *webPhone) report(b []byte) {
	w.t.Helper()
	out, err := w.out.EncryptRTCP(nil, b, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.send(out)
}

func emptyReport(sender uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{0x80, rtcpRR, 0, 1}, sender)
}
