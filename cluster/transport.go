package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/hashicorp/raft"
)

const (
	rpcTimeout = 5 * time.Second
	rpcPool    = 3
)

// checkListen refuses a port on which this node could not tell friends from strangers.
func checkListen(cfg Config) error {
	if cfg.Listen == "" {
		return nil
	}
	if _, err := netip.ParseAddrPort(cfg.Listen); err != nil {
		return fmt.Errorf("cluster: listen address %q: %w; write IP:port", cfg.Listen, err)
	}
	if cfg.Identity == nil || cfg.Key == [32]byte{} {
		return errors.New("cluster: a port for other nodes needs an identity and the cluster's key")
	}
	address := cfg.Advertise
	if address == "" {
		address = cfg.Listen
	}
	if ip, err := netip.ParseAddrPort(address); err != nil || ip.Addr().IsUnspecified() {
		return fmt.Errorf("cluster: the other nodes cannot reach %q; set cluster.advertise to the address at which they do", address)
	}
	return nil
}

// openTransport opens the port and the way for Raft through it. A node alone opens nothing.
func (c *Cluster) openTransport() (raft.Transport, error) {
	if c.cfg.alone() {
		_, t := raft.NewInmemTransportWithTimeout(raft.ServerAddress(c.cfg.Node), rpcTimeout)
		return t, nil
	}
	if err := c.port.open(c.cfg.Listen); err != nil {
		return nil, err
	}
	t := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: c.port.rafts, MaxPool: rpcPool, Timeout: rpcTimeout, Logger: newRaftLog(c.log, false),
		// No pipeline: in v1.7.3 a leader that learns of a newer term while its pipeline is full never leaves it (DESIGN.md).
		MaxRPCsInFlight: 1,
	})
	return &ballot{t, c.yields}, nil
}

func (c *Cluster) closeTransport(t raft.Transport) {
	if n, ok := t.(*ballot); ok {
		n.CloseStreams()
		n.Close()
		c.port.close()
	}
}
