package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"tandem/internal/simnet"
)

const wsAddr = serverIP + ":8080"

// wsConfig is a server with WS and WSS listeners.
func wsConfig(t testing.TB, n *simnet.Network) (Config, *tls.Config) {
	t.Helper()
	server, client := testTLS(t)
	cfg := simConfig(n)
	cfg.WS, cfg.WSS, cfg.TLSConfig = []string{wsAddr}, []string{serverIP + ":8443"}, server
	return cfg, client
}

// wsDial opens a WebSocket as a browser does.
func wsDial(t testing.TB, h *simnet.Host, url string, opts *websocket.DialOptions) (*websocket.Conn, error) {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		return h.Dial(ctx, network, netip.AddrPort{}, netip.MustParseAddrPort(addr))
	}}
	if opts.HTTPClient != nil {
		tr.TLSClientConfig = opts.HTTPClient.Transport.(*http.Transport).TLSClientConfig
	}
	opts.HTTPClient = &http.Client{Transport: tr}
	ws, _, err := websocket.Dial(t.Context(), url, opts)
	if err == nil {
		ws.SetReadLimit(1 << 20)
		t.Cleanup(func() { _ = ws.CloseNow() })
	}
	return ws, err
}

func sipOptions() *websocket.DialOptions {
	return &websocket.DialOptions{Subprotocols: []string{"sip"}}
}

// rawWS is a WebSocket client that writes frames by hand.
type rawWS struct {
	t testing.TB
	c net.Conn
	r *bufio.Reader
}

func dialRawWS(t testing.TB, h *simnet.Host) *rawWS {
	t.Helper()
	c := dialSim(t, h, "tcp", wsAddr)
	write(t, c, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\n\r\n")
	w := &rawWS{t, c, bufio.NewReader(c)}
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Protocol") != "sip" {
		t.Fatalf("upgrade: %+v, %v", resp, err)
	}
	return w
}

// frame sends one masked frame; first is its first byte.
func (w *rawWS) frame(first byte, payload string) {
	w.t.Helper()
	b := []byte{first}
	switch {
	case len(payload) < 126:
		b = append(b, 0x80|byte(len(payload)))
	default:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(len(payload)))
	}
	b = append(b, 1, 2, 3, 4)
	for i := range len(payload) {
		b = append(b, payload[i]^[]byte{1, 2, 3, 4}[i%4])
	}
	write(w.t, w.c, string(b))
}

func (w *rawWS) read() (first byte, payload string) {
	w.t.Helper()
	_ = w.c.SetReadDeadline(time.Now().Add(5 * time.Second))
	head := make([]byte, 2)
	if _, err := io.ReadFull(w.r, head); err != nil {
		w.t.Fatal(err)
	}
	n := int(head[1])
	if n == 126 {
		long := make([]byte, 2)
		_, _ = io.ReadFull(w.r, long)
		n = int(binary.BigEndian.Uint16(long))
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(w.r, body); err != nil {
		w.t.Fatal(err)
	}
	return head[0], string(body)
}

const (
	frameText   = 0x81
	frameBinary = 0x82
	frameClose  = 0x88
	wsPing      = 0x89
	wsPong      = 0x8A
)

// sipgo never answers a ping, and one with a payload breaks its framing.
func TestWebSocketPingWithPayloadIsAnsweredWithPong(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		cfg, _ := wsConfig(t, n)
		r := &recorder{onMsg: echo}
		start(t, cfg, r)
		w := dialRawWS(t, n.Host("198.51.100.7"))
		w.frame(wsPing, "are you there")
		if first, payload := w.read(); first != wsPong || payload != "are you there" {
			t.Errorf("got %#x %q, want a pong", first, payload)
		}
		msg := request("OPTIONS", "a", 0)
		w.frame(frameText, msg)
		if first, payload := w.read(); first != frameText || payload != msg {
			t.Errorf("got %#x %q", first, payload)
		}
	})
}

// sipgo loses such a message.
func TestMessageSplitInTwoWebSocketFramesIsReassembled(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		cfg, _ := wsConfig(t, n)
		r := &recorder{}
		start(t, cfg, r)
		w := dialRawWS(t, n.Host("198.51.100.7"))
		msg := request("OPTIONS", "a", 300)
		w.frame(0x01, msg[:100])
		synctest.Wait()
		w.frame(wsPing, "between the parts")
		w.frame(0x80, msg[100:])
		synctest.Wait()
		if got := r.texts(); len(got) != 1 || got[0] != msg {
			t.Errorf("got %q", got)
		}
		if f := r.packet(t, 0).Flow; f.Net != WS {
			t.Errorf("flow %v", f)
		}
	})
}

// sipgo drops binary frames.
func TestBinaryWebSocketMessageIsAcceptedAndNonUTF8IsSentAsBinary(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		cfg, _ := wsConfig(t, n)
		start(t, cfg, &recorder{onMsg: echo})
		w := dialRawWS(t, n.Host("198.51.100.7"))
		msg := request("OPTIONS", "a", 0)
		w.frame(frameBinary, msg)
		if first, payload := w.read(); first != frameText || payload != msg {
			t.Errorf("got %#x %q", first, payload)
		}
		msg = strings.Replace(request("MESSAGE", "a", 1), "\r\n\r\nx", "\r\n\r\n\xff", 1)
		w.frame(frameBinary, msg)
		if first, payload := w.read(); first != frameBinary || payload != msg {
			t.Errorf("got %#x %q", first, payload)
		}
	})
}

// sipgo closes the connection.
func Test60KBWebSocketMessagePasses(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		cfg, client := wsConfig(t, n)
		r := &recorder{onMsg: echo}
		tr := start(t, cfg, r)
		h := n.Host("198.51.100.7")
		for _, url := range []string{"ws://" + wsAddr + "/ws", "wss://" + serverIP + ":8443/"} {
			opts := sipOptions()
			opts.HTTPClient = &http.Client{Transport: &http.Transport{TLSClientConfig: client}}
			ws, err := wsDial(t, h, url, opts)
			if err != nil {
				t.Fatal(err)
			}
			msg := request("OPTIONS", "a", 60_000)
			if err := ws.Write(t.Context(), websocket.MessageText, []byte(msg)); err != nil {
				t.Fatal(err)
			}
			if _, got, err := ws.Read(t.Context()); err != nil || string(got) != msg {
				t.Errorf("%s: got %d bytes, %v", url, len(got), err)
			}
			_ = ws.Write(t.Context(), websocket.MessageText, []byte(request("OPTIONS", "a", 70_000)))
			if _, _, err := ws.Read(t.Context()); err == nil {
				t.Errorf("%s: 70 KB: still open, want it closed", url)
			}
		}
		synctest.Wait()
		if got := tr.Stats().Oversized; got != 2 {
			t.Errorf("%d oversized messages counted, want 2", got)
		}
		if a, b := r.packet(t, 0).Flow.Net, r.packet(t, 1).Flow.Net; a != WS || b != WSS {
			t.Errorf("transports %v and %v", a, b)
		}
	})
}

func TestWebSocketCRLFKeepAliveIsAnswered(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		cfg, _ := wsConfig(t, n)
		r := &recorder{}
		start(t, cfg, r)
		w := dialRawWS(t, n.Host("198.51.100.7"))
		w.frame(frameText, "\r\n\r\n")
		if first, payload := w.read(); first != frameText || payload != "\r\n" || r.count() != 0 {
			t.Errorf("got %#x %q, %d messages", first, payload, r.count())
		}
	})
}

func TestWebSocketWithoutTheSubprotocolOrFromAForeignOriginIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		cfg, _ := wsConfig(t, n)
		cfg.WebSocketOrigins = []string{"*.example.com"}
		tr := start(t, cfg, &recorder{})
		h := n.Host("198.51.100.7")
		for _, tc := range []struct {
			protocols []string
			origin    string
			ok        bool
		}{
			{[]string{"sip"}, "", true},
			{[]string{"xmpp", "sip"}, "https://phone.example.com", true},
			{[]string{"sip"}, "http://" + wsAddr, true},
			{nil, "", false},
			{[]string{"xmpp"}, "", false},
			{[]string{"sip"}, "https://evil.example", false},
		} {
			opts := &websocket.DialOptions{Subprotocols: tc.protocols, HTTPHeader: http.Header{}}
			if tc.origin != "" {
				opts.HTTPHeader.Set("Origin", tc.origin)
			}
			ws, err := wsDial(t, h, "ws://"+wsAddr+"/ws", opts)
			if (err == nil) != tc.ok {
				t.Errorf("protocols %v, origin %q: %v, want ok %v", tc.protocols, tc.origin, err, tc.ok)
			}
			if err == nil {
				_ = ws.CloseNow()
			}
		}
		synctest.Wait()
		if st := tr.Stats(); st.HandshakeFailed != 3 || st.Connections != 0 {
			t.Errorf("%d failed handshakes, %d connections; want 3, 0", st.HandshakeFailed, st.Connections)
		}
	})
}

func TestWebSocketPeerThatDoesNotAnswerPingsIsClosed(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		cfg, _ := wsConfig(t, n)
		r := &recorder{onMsg: echo}
		tr := start(t, cfg, r)
		h := n.Host("198.51.100.7")
		dead, live := dialRawWS(t, h), dialRawWS(t, h)
		dead.frame(frameText, request("REGISTER", "dead", 0))
		live.frame(frameText, request("REGISTER", "live", 0))
		dead.read()
		live.read()
		synctest.Wait()
		if r.count() != 2 {
			t.Fatalf("%d messages", r.count())
		}
		time.Sleep(30 * time.Second)
		for range 3 {
			first, payload := live.read()
			if first != wsPing {
				t.Fatalf("got %#x, want a ping", first)
			}
			live.frame(wsPong, payload)
			time.Sleep(30 * time.Second)
		}
		synctest.Wait()
		var alive []string
		for i := range 2 {
			if p := r.packet(t, i); tr.Alive(p.Flow) {
				alive = append(alive, p.Text[strings.Index(p.Text, "Call-ID: ")+9:][:4])
			}
		}
		if strings.Join(alive, " ") != "live" || len(r.closedFlows()) != 1 {
			t.Errorf("alive %v, closed %v", alive, r.closedFlows())
		}
	})
}

func TestWebSocketThatSendsHalfAMessageOrNothingIsClosed(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		cfg, _ := wsConfig(t, n)
		tr := start(t, cfg, &recorder{})
		h := n.Host("198.51.100.7")
		half, none, http := dialRawWS(t, h), dialRawWS(t, h), dialSim(t, h, "tcp", wsAddr)
		half.frame(0x01, "OPTIONS sip:")
		time.Sleep(9 * time.Second)
		if got := tr.Stats().Connections; got != 3 {
			t.Errorf("%d connections, want 3", got)
		}
		write(t, http, "GET")
		time.Sleep(2 * time.Second)
		readUntilEnd(t, http, time.Second)
		time.Sleep(5 * time.Second)
		readUntilEnd(t, half.c, time.Second)
		time.Sleep(15 * time.Second)
		readUntilEnd(t, none.c, time.Second)
		synctest.Wait()
		if st := tr.Stats(); st.Connections != 0 || st.TimedOut != 2 {
			t.Errorf("%d connections, %d time-outs; want 0, 2", st.Connections, st.TimedOut)
		}
	})
}

func TestWebSocketsCountTowardsTheLimitOfTheirSourceOnce(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		cfg, _ := wsConfig(t, n)
		cfg.Limits.PerIP = 2
		tr := start(t, cfg, &recorder{})
		h := n.Host("198.51.100.7")
		ok := 0
		for range 4 {
			if _, err := wsDial(t, h, "ws://"+wsAddr+"/ws", sipOptions()); err == nil {
				ok++
			}
		}
		if ok != 2 || tr.Stats().Connections != 2 {
			t.Errorf("%d let in, %d counted; want 2, 2", ok, tr.Stats().Connections)
		}
	})
}

func TestTheWebServersWebSocketsAreServedAndEndWithTheTransport(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		h := n.Host(serverIP)
		r := &recorder{onMsg: echo}
		tr := start(t, Config{UDP: []string{serverIP + ":5070"}, ListenPacket: h.ListenPacket, Advertise: "sip.example.com"}, r)
		l, err := h.Listen("tcp", wsAddr)
		if err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		mux.HandleFunc("/ws", tr.ServeWebSocket)
		srv := &http.Server{Handler: mux}
		go func() { _ = srv.Serve(l) }()
		t.Cleanup(func() { _ = srv.Close() })
		ws, err := wsDial(t, n.Host("198.51.100.7"), "ws://"+wsAddr+"/ws", sipOptions())
		if err != nil {
			t.Fatal(err)
		}
		msg := request("OPTIONS", "a", 0)
		_ = ws.Write(t.Context(), websocket.MessageText, []byte(msg))
		if _, got, err := ws.Read(t.Context()); err != nil || string(got) != msg {
			t.Fatalf("got %q, %v", got, err)
		}
		f := r.packet(t, 0).Flow
		host, port := tr.SentBy(f)
		if host != "sip.example.com" || port != 5070 || !tr.IsLocal(host, port) {
			t.Errorf("sent-by %s:%d, local %v", host, port, tr.IsLocal(host, port))
		}
		if got := tr.Local(f); got != netip.MustParseAddrPort(wsAddr) {
			t.Errorf("our end is %v, want %s", got, wsAddr)
		}
		if again, err := tr.FlowTo(WS, f.Remote); err != nil || again != f {
			t.Errorf("flow to the browser: %v, %v", again, err)
		}
		if _, err := tr.FlowTo(WS, netip.MustParseAddrPort("198.51.100.7:1")); err == nil {
			t.Error("a flow to a browser that is not connected")
		}
	})
}
