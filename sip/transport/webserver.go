package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

func parseRemote(s string) (netip.AddrPort, error) {
	ap, err := netip.ParseAddrPort(s)
	return unmap(ap), err
}

// serveHTTP is the goroutine of one WS or WSS listener: an HTTP server whose every path is the upgrade.
func (t *Transport) serveHTTP(l *listener) error {
	gate := &gatedListener{Listener: l.stream, t: t}
	srv := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.serveWebSocket(l, w, r) }),
		ReadHeaderTimeout: t.limits().HandshakeTimeout,
		IdleTimeout:       t.limits().HandshakeTimeout,
		MaxHeaderBytes:    16 << 10,
		ConnState:         gate.state,
		ConnContext:       withReservation,
		ErrorLog:          slog.NewLogLogger(t.cfg.Log.Handler(), slog.LevelDebug),
	}
	srv.SetKeepAlivesEnabled(false)
	var ln net.Listener = gate
	if l.net == WSS {
		cfg := t.cfg.TLSConfig.Clone()
		cfg.NextProtos = []string{"http/1.1"} // RFC 6455 is an HTTP/1.1 upgrade
		ln = tls.NewListener(gate, cfg)
	}
	err := srv.Serve(ln)
	_ = srv.Close()
	gate.wg.Wait()
	if t.stopping() || l.gone() || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// A gatedListener refuses connections over the limits before the HTTP server spends a goroutine on them, and counts those that
// are not upgraded yet.
type gatedListener struct {
	net.Listener
	t  *Transport
	wg sync.WaitGroup
}

func (g *gatedListener) Accept() (net.Conn, error) {
	var pause backOff
	for {
		nc, err := g.Listener.Accept()
		if err != nil {
			if g.t.stopping() || errors.Is(err, net.ErrClosed) || !pause.wait(g.t.quit) {
				return nil, err
			}
			g.t.count.acceptErrors.Add(1)
			continue
		}
		pause = 0
		remote, ok := addrPortOf(nc.RemoteAddr())
		if !ok || g.t.cfg.Guard != nil && !g.t.cfg.Guard.AllowAt(remote.Addr(), time.Now()) || !g.t.conns.reserve(remote.Addr()) {
			g.t.count.refusedConns.Add(1)
			_ = nc.Close()
			continue
		}
		g.wg.Add(1)
		return &gatedConn{Conn: nc, release: sync.OnceFunc(func() { g.t.conns.release(remote.Addr()) })}, nil
	}
}

// state gives a reservation back when the connection closes; an upgrade has done so before it took a place of its own.
func (g *gatedListener) state(nc net.Conn, s http.ConnState) {
	if s != http.StateHijacked && s != http.StateClosed {
		return
	}
	if c := gatedOf(nc); c != nil {
		c.release()
	}
	g.wg.Done()
}

func gatedOf(nc net.Conn) *gatedConn {
	if tc, ok := nc.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	c, _ := nc.(*gatedConn)
	return c
}

// reservation is the context key under which a request finds the release of its connection's place.
type reservation struct{}

func withReservation(ctx context.Context, nc net.Conn) context.Context {
	if c := gatedOf(nc); c != nil {
		return context.WithValue(ctx, reservation{}, c.release)
	}
	return ctx
}

type gatedConn struct {
	net.Conn
	release func()
}
