package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"time"
)

// Errors that callers branch on.
var (
	ErrFlowGone = errors.New("the connection of this flow is gone")
	ErrBusy     = errors.New("the shard's queue is full")
	ErrClosed   = errors.New("the transport is closed")

	// ErrNotConnected is the reason of FlowClosed for a connection that could not be opened: nothing was sent on it.
	ErrNotConnected = errors.New("the connection could not be opened")
	ErrPortTaken    = errors.New("the port is taken")
	ErrNoRoute      = errors.New("no listener can reach this address")
	ErrTooLarge     = errors.New("the message does not fit into a datagram")
	ErrLimit        = errors.New("too many connections")
)

// Config is what a Transport needs. NewHandler is required; every zero value means its default.
type Config struct {
	UDP, TCP, TLS, WS, WSS []string // "host:port"; an empty host is 0.0.0.0, port 0 lets the kernel choose

	// Advertise is the host or IP address the world sees, "" when it is the local one. An IP address counts for the listeners
	// of its family, a name for all.
	Advertise string

	TLSConfig  *tls.Config                 // of the TLS and WSS listeners
	ServerName func(netip.AddrPort) string // whom the certificate at an address has to name; "" or nil is the address
	TLSClient  *tls.Config                 // of connections opened from here; nil verifies the peer against the system's roots

	Shards     int // default GOMAXPROCS
	Queue      int // messages a shard's queue holds, default 4096
	NewHandler func(*Shard) Handler

	Fellows Fellows // the way to flows of other nodes; nil when this one is alone
	Self    uint32  // NodeNumber of this node, 0 when it is alone

	Guard *Guard // drops by source before anything is queued; nil drops nothing

	// Tap sees every message on its shard's goroutine, before it is handled or when it is sent. msg is valid for the call
	// and must not be written to: it may be the message itself.
	Tap func(shard int, out bool, f Flow, msg []byte)

	Limits Limits

	// WebSocketOrigins are the host patterns a browser's Origin must match (path.Match, "*.example.com"). Empty lets all
	// in: requests carry digest credentials, never cookies, so a foreign page gains nothing by being let in.
	WebSocketOrigins []string

	// Networks other than the machine's own, for tests. nil means real sockets.
	ListenPacket func(network, addr string) (net.PacketConn, error)
	Listen       func(network, addr string) (net.Listener, error)
	Dial         func(ctx context.Context, network string, laddr, raddr netip.AddrPort) (net.Conn, error)

	Log *slog.Logger // nil discards
}

// Limits bound what peers can make a Transport keep and wait for. Zero values mean the defaults given.
type Limits struct {
	MessageBytes     int           // whole message, default and most 65535; larger ones are dropped (UDP) or get 513 and an end (streams)
	Connections      int           // stream connections, default 10,000
	PerIP            int           // stream connections of one source address, default 1,024
	ReadTimeout      time.Duration // from a message's first byte to its last on a stream, default 15 s
	FirstMessage     time.Duration // from accepting a connection to its first whole message or keep-alive, default 30 s
	IdleTimeout      time.Duration // without anything from the peer, default 70 min: longer than a registration of one hour
	WriteTimeout     time.Duration // one write, default 10 s
	HandshakeTimeout time.Duration // TCP connect and TLS handshake, default 10 s
	KeepAlive        time.Duration // between keep-alives sent: WebSocket pings, CRLFCRLF on connections opened from here; default 30 s
	WriteQueue       int           // bytes waiting for one slow reader, default 256 KiB; then the connection ends
}

func orDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

func (l *Limits) defaults() error {
	orDefault(&l.MessageBytes, 65535)
	orDefault(&l.Connections, 10_000)
	orDefault(&l.PerIP, 1024)
	orDefault(&l.ReadTimeout, 15*time.Second)
	orDefault(&l.FirstMessage, 30*time.Second)
	orDefault(&l.IdleTimeout, 70*time.Minute)
	orDefault(&l.WriteTimeout, 10*time.Second)
	orDefault(&l.HandshakeTimeout, 10*time.Second)
	orDefault(&l.KeepAlive, 30*time.Second)
	orDefault(&l.WriteQueue, 256<<10)
	switch {
	case l.MessageBytes < 512 || l.MessageBytes > 65535:
		return fmt.Errorf("limit of message bytes is %d, wants 512 to 65535", l.MessageBytes)
	case l.WriteQueue < l.MessageBytes:
		return fmt.Errorf("the write queue of %d bytes does not hold one message of %d", l.WriteQueue, l.MessageBytes)
	case l.Connections < 0 || l.PerIP < 0 || l.ReadTimeout < 0 || l.FirstMessage < 0 || l.IdleTimeout < 0 || l.WriteTimeout < 0 ||
		l.HandshakeTimeout < 0 || l.KeepAlive < 0:
		return errors.New("a limit is negative")
	}
	return nil
}

func (c *Config) defaults() error {
	if c.NewHandler == nil {
		return errors.New("transport: NewHandler is required")
	}
	orDefault(&c.Shards, runtime.GOMAXPROCS(0))
	orDefault(&c.Queue, 4096)
	switch {
	case c.Shards < 1 || c.Shards > 1024:
		return fmt.Errorf("transport: %d shards, wants 1 to 1024", c.Shards)
	case c.Queue < 8:
		return fmt.Errorf("transport: a queue of %d messages, wants at least 8", c.Queue)
	case len(c.TLS)+len(c.WSS) > 0 && c.TLSConfig == nil:
		return errors.New("transport: TLS and WSS listeners need a TLSConfig")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := c.Limits.defaults(); err != nil {
		return fmt.Errorf("transport: %w", err)
	}
	return nil
}
