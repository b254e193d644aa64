package ng

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// Over HTTP a request is a POST to /ng with cookie and dictionary, or to /ng-plain with a dictionary alone; over WebSocket each message is one, and
// the subprotocol says whether it has a cookie. Paths, media types and subprotocols are rtpengine's.
const (
	ngType         = "application/x-rtpengine-ng"
	jsonType       = "application/json"
	cookieProtocol = "ng.rtpengine.com"
	plainProtocol  = "ng-plain.rtpengine.com"
	pingEvery      = 30 * time.Second
)

func (s *Server) serveHTTP(ctx context.Context, d door) error {
	var conns, sockets sync.WaitGroup
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ping", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "pong\n") })
	for path, plain := range map[string]bool{"/ng": false, "/ng-plain": true} {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) { s.post(w, r, plain) })
	}
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		sockets.Add(1)
		defer sockets.Done()
		s.webSocket(ctx, w, r)
	})
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if why := stranger(r); why != "" {
				s.count.refused.Add(1)
				http.Error(w, why, http.StatusForbidden)
				return
			}
			mux.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: halfTime, ReadTimeout: halfTime, WriteTimeout: 2 * halfTime, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				conns.Add(1)
			case http.StateClosed, http.StateHijacked:
				conns.Done()
			}
		},
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	err := srv.Serve(d)
	_ = srv.Close()
	conns.Wait()
	sockets.Wait() // their connections are not the server's any more
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
		return nil
	}
	return err
}

// stranger says why a request may come from a web page instead of a proxy, "" when it does not: a page that some browser on an allowed host has
// open must not command the engine. A page under its own name, or under one that was made to point here, gives itself away.
func stranger(r *http.Request) string {
	host := (&url.URL{Host: r.Host}).Hostname()
	if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
		return "name this engine by its IP address"
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil || u.Hostname() != host && origin != host {
			return "this is no place for web pages"
		}
	}
	return ""
}

// post answers one request in the answer to a POST.
func (s *Server) post(w http.ResponseWriter, r *http.Request, plain bool) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != ngType && (kind != jsonType || !plain) { // a page could send other types unasked
		http.Error(w, "the content type is "+ngType+", or at /ng-plain also "+jsonType, http.StatusUnsupportedMediaType)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
	if err != nil {
		http.Error(w, "the request is too long, or came too slowly", http.StatusRequestEntityTooLarge)
		return
	}
	from, _ := netip.ParseAddrPort(r.RemoteAddr) // net/http wrote it
	back := &answers{peer: r.RemoteAddr, queue: make(chan []byte, 1), cancel: func() {}}
	timeout := time.NewTimer(halfTime)
	defer timeout.Stop()
	select {
	case s.inbox <- request{back: back, host: hostOf(from), packet: body, plain: plain}:
	case <-r.Context().Done():
		return
	case <-timeout.C:
		http.Error(w, "too many requests wait", http.StatusServiceUnavailable)
		return
	}
	select {
	case answer := <-back.queue:
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write(answer)
	case <-r.Context().Done():
	case <-timeout.C: // it has no cookie, or the first one with it is still being done
		http.Error(w, "no answer", http.StatusBadRequest)
	}
}

// webSocket answers what comes over one WebSocket, until it ends.
func (s *Server) webSocket(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		http.NotFound(w, r)
		return
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols: []string{cookieProtocol, plainProtocol}, InsecureSkipVerify: true, // stranger has looked at the origin
	})
	if err != nil {
		s.count.malformed.Add(1)
		return
	}
	defer conn.CloseNow()
	if conn.Subprotocol() == "" {
		_ = conn.Close(websocket.StatusPolicyViolation, "the subprotocol is "+cookieProtocol+" or "+plainProtocol)
		return
	}
	conn.SetReadLimit(maxMessage)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	back := &answers{peer: r.RemoteAddr, queue: make(chan []byte, maxAnswers), cancel: cancel}
	var others sync.WaitGroup
	defer others.Wait()
	defer cancel()
	others.Go(func() {
		if back.write(ctx, func(answer []byte) error {
			ctx, cancel := context.WithTimeout(ctx, halfTime)
			defer cancel()
			kind := websocket.MessageText
			if !utf8.Valid(answer) {
				kind = websocket.MessageBinary
			}
			return conn.Write(ctx, kind, answer)
		}) != nil && ctx.Err() == nil {
			s.count.faults.Add(1)
		}
	})
	others.Go(func() { s.ping(ctx, conn, cancel) })
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	for {
		_, message, err := conn.Read(ctx)
		if err != nil {
			return
		}
		select {
		case s.inbox <- request{back: back, host: hostOf(from), packet: message, plain: conn.Subprotocol() == plainProtocol}:
		case <-ctx.Done():
			return
		}
	}
}

// ping ends a WebSocket whose peer is gone.
func (s *Server) ping(ctx context.Context, conn *websocket.Conn, end context.CancelFunc) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		wait, cancel := context.WithTimeout(ctx, halfTime)
		err := conn.Ping(wait)
		cancel()
		if err != nil {
			end()
			return
		}
	}
}
