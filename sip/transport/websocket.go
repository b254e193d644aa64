package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// subprotocol is what both ends must agree on (RFC 7118 §4).
const subprotocol = "sip"

// ServeWebSocket upgrades a request of the web server to SIP over WebSocket and serves it until it ends (RFC 7118). It is WSS
// when the request came over TLS, else WS. Requests that do not offer the subprotocol "sip", come from an origin that is not
// let in or when there are too many connections, are refused with an HTTP status.
func (t *Transport) ServeWebSocket(w http.ResponseWriter, r *http.Request) {
	n := WS
	if r.TLS != nil {
		n = WSS
	}
	for _, l := range t.bound() {
		if l.web && l.net == n {
			t.serveWebSocket(l, w, r)
			return
		}
	}
	http.Error(w, "SIP is not running yet", http.StatusServiceUnavailable)
}

func (t *Transport) serveWebSocket(l *listener, w http.ResponseWriter, r *http.Request) {
	c, err := t.newWebConn(l, r)
	switch {
	case errors.Is(err, errNotSIP):
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	case errors.Is(err, errGuarded):
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	case err != nil:
		w.Header().Set("Retry-After", "5")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	if release, ok := r.Context().Value(reservation{}).(func()); ok {
		release()
	}
	if err := t.conns.enter(c); err != nil {
		cancel()
		w.Header().Set("Retry-After", "5")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols: []string{subprotocol}, OriginPatterns: t.cfg.WebSocketOrigins, InsecureSkipVerify: len(t.cfg.WebSocketOrigins) == 0,
	})
	if err != nil {
		t.count.handshakeFailed.Add(1)
		c.finish(err)
		return
	}
	t.count.accepted.Add(1)
	err = c.serveWeb(ctx, ws)
	c.end(err)
	_ = ws.CloseNow()
	c.finish(err)
}

var errNotSIP = errors.New(`the WebSocket subprotocol "sip" is required (RFC 7118)`)

func (t *Transport) newWebConn(l *listener, r *http.Request) (*conn, error) {
	if !offersSIP(r) {
		t.count.handshakeFailed.Add(1)
		return nil, errNotSIP
	}
	remote, err := parseRemote(r.RemoteAddr)
	if err != nil {
		return nil, err
	}
	if t.cfg.Guard != nil && !t.cfg.Guard.AllowAt(remote.Addr(), time.Now()) {
		t.count.refusedConns.Add(1)
		return nil, errGuarded
	}
	c := &conn{t: t, flow: Flow{Net: l.net, Listener: l.index, Remote: remote}}
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		c.local, _ = addrPortOf(a)
	}
	return c, nil
}

func offersSIP(r *http.Request) bool {
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(p), subprotocol) {
				return true
			}
		}
	}
	return false
}

// webWire writes WebSocket messages.
type webWire struct {
	ws      *websocket.Conn
	cancel  context.CancelFunc // ends the reader's context, upon which the library closes the connection
	timeout time.Duration
}

// farewell does nothing: the library would wait for the peer's half of the closing handshake, and browsers come back whatever
// the reason.
func (w *webWire) farewell() {}

func (w *webWire) abort() { w.cancel() }

// write sends each SIP message as one WebSocket message (RFC 7118 §5). A text frame that is not UTF-8 would make a browser
// close the connection, so such a message goes as binary.
func (w *webWire) write(buf []byte, ends []int) error {
	ctx, cancel := context.WithTimeout(context.Background(), w.timeout)
	defer cancel()
	start := 0
	for _, end := range ends {
		msg := buf[start:end]
		kind := websocket.MessageText
		if !utf8.Valid(msg) {
			kind = websocket.MessageBinary
		}
		if err := w.ws.Write(ctx, kind, msg); err != nil {
			return err
		}
		start = end
	}
	return nil
}

// serveWeb reads a WebSocket until it ends and says why. It is the connection's goroutine.
func (c *conn) serveWeb(ctx context.Context, ws *websocket.Conn) error {
	lim := c.t.limits()
	ws.SetReadLimit(int64(lim.MessageBytes))
	if !c.connected(&webWire{ws: ws, cancel: c.cancel, timeout: lim.WriteTimeout}) {
		return ErrClosed
	}
	limit := time.AfterFunc(lim.FirstMessage, func() { c.timeOut(errSilent) })
	defer limit.Stop()
	stopPings := c.keepPinging(ws)
	defer stopPings()
	r := refusal{t: c.t}
	var buf bytes.Buffer
	for {
		_, rd, err := ws.Reader(ctx)
		if err != nil {
			return err
		}
		// From its first frame on, a message has ReadTimeout to be complete; then the peer may be silent for IdleTimeout.
		limit.Reset(lim.ReadTimeout)
		buf.Reset()
		if _, err := io.Copy(&buf, rd); err != nil {
			if errors.Is(err, websocket.ErrMessageTooBig) {
				c.t.count.oversized.Add(1)
			}
			return err
		}
		limit.Reset(lim.IdleTimeout)
		if err := c.webMessage(&r, buf.Bytes()); err != nil {
			return err
		}
		if buf.Cap() > keepBuffer {
			buf = bytes.Buffer{}
		}
	}
}

var errSilent = errors.New("no message, or no whole message, came in time")

// timeOut ends a connection that kept us waiting.
func (c *conn) timeOut(why error) {
	if c.end(why) {
		c.t.count.timedOut.Add(1)
	}
}

func (c *conn) webMessage(r *refusal, b []byte) error {
	switch sniff(b) {
	case keepAlive:
		c.t.count.keepAlives.Add(1)
		if bytes.Equal(b, ping) {
			return c.send(pong)
		}
		return nil
	case sipMessage:
		return c.deliver(r, b, time.Now())
	default:
		c.t.count.garbage.Add(1)
		return nil
	}
}

var errNoPong = errors.New("the peer does not answer pings")

// keepPinging sends pings as long as the connection lives and ends it when one is not answered (RFC 6455 §5.5.2). Between
// pings there is a timer and no goroutine.
func (c *conn) keepPinging(ws *websocket.Conn) (stop func()) {
	lim := c.t.limits()
	var timer *time.Timer
	c.mu.Lock()
	defer c.mu.Unlock()
	timer = time.AfterFunc(lim.KeepAlive, func() {
		c.mu.Lock()
		if c.ended {
			c.mu.Unlock()
			return
		}
		c.t.conns.wg.Add(1) // the reading goroutine is still counted, see startWriter
		c.mu.Unlock()
		defer c.t.conns.wg.Done()
		ctx, cancel := context.WithTimeout(context.Background(), lim.WriteTimeout)
		err := ws.Ping(ctx)
		cancel()
		if err != nil {
			c.timeOut(errNoPong)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.ended {
			timer.Reset(lim.KeepAlive)
		}
	})
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		timer.Stop()
	}
}
