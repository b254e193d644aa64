package cluster

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

const (
	rpcTimeout = 5 * time.Second
	rpcPool    = 3
)

// checkListen refuses an address on which strangers could speak Raft to us: its calls carry no authentication.
func checkListen(cfg Config) error {
	if cfg.Listen == "" || cfg.Stream != nil || cfg.Transport != nil {
		return nil
	}
	host, _, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return fmt.Errorf("cluster: listen address %q: %w; write host:port", cfg.Listen, err)
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.IsLoopback() {
		return fmt.Errorf("cluster: listen address %q: only a loopback address such as 127.0.0.1 is accepted without TLS between the nodes", cfg.Listen)
	}
	return nil
}

func (c *Cluster) openTransport() (raft.Transport, error) {
	logger := newRaftLog(c.log, false)
	switch {
	case c.cfg.Transport != nil:
		return c.cfg.Transport, nil
	case c.cfg.Stream != nil:
		return raft.NewNetworkTransportWithLogger(c.cfg.Stream, rpcPool, rpcTimeout, logger), nil
	case c.cfg.Listen == "":
		_, t := raft.NewInmemTransportWithTimeout(raft.ServerAddress(c.cfg.Node), rpcTimeout)
		return t, nil
	}
	t, err := raft.NewTCPTransportWithLogger(c.cfg.Listen, nil, rpcPool, rpcTimeout, logger)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("cluster: address %s is %w: stop it, or set cluster.listen to another port", c.cfg.Listen, ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("cluster: listen on %s: %w", c.cfg.Listen, err)
	}
	return t, nil
}

func closeTransport(t raft.Transport) {
	if closer, ok := t.(io.Closer); ok {
		closer.Close()
	}
}
