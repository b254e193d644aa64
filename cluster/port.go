package cluster

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// Identity is how this node proves to the others who it is. Package certs has one.
type Identity interface {
	// TLS is the configuration of both ends of a connection: each shows a certificate of the cluster, TLS 1.3 and no older.
	TLS() *tls.Config
	// Peer says which node of the cluster a certificate is for, and how often that name had been taken in when it was made.
	Peer(*x509.Certificate) (node string, epoch uint64, err error)
	// Epoch is that of this node's own certificate.
	Epoch() uint64
	// Certify makes a certificate for another node's key, from its request (PKCS #10).
	Certify(request []byte, node string, epoch uint64) ([]byte, error)
	// Root is the certificate that all others descend from, DER.
	Root() []byte
}

// Network opens connections between nodes; nil in Config is TCP.
type Network interface {
	Listen(address string) (net.Listener, error)
	Dial(ctx context.Context, address string) (net.Conn, error)
}

// The protocols on the cluster port, chosen by ALPN (RFC 7301).
const (
	protoRaft = "tandem-raft/1"
	protoCall = "tandem-call/1"
	protoPing = "tandem-ping/1"
	protoJoin = "tandem-join/1"
)

const (
	// handshakeTimeout bounds knock and TLS together.
	handshakeTimeout = 5 * time.Second
	// connectWait bounds the connection under it, one round trip. TCP asks a node that does not answer again after one, three and seven seconds; another attempt
	// finds it sooner when it is back.
	connectWait = time.Second
	// Connections that have not proved who they are, and all together; more are closed at once.
	maxStrangers = 64
	maxConns     = 2048
)

// peer is who is at the other end of a connection.
type peer struct {
	node  string
	epoch uint64
}

// portCounts are what became of connections to the port.
type portCounts struct {
	accepted  atomic.Uint64 // proved to be a member, or held a good token
	strangers atomic.Uint64 // knew no secret of the cluster: closed without an answer
	refused   atomic.Uint64 // knew one, but the handshake failed
	fenced    atomic.Uint64 // of a node that was removed, or replaced under its name
	turned    atomic.Uint64 // too many at once
}

// port is the one listener for the other nodes. Nobody gets a byte in answer who does not know a secret of the cluster (knock.go), nobody is
// served but nodes with a certificate of the cluster; a newcomer with a token may ask for one, and for nothing else.
type port struct {
	identity Identity
	keys     knockKeys
	network  Network
	log      *slog.Logger
	admits   func(peer) error // nil: known and not removed
	serve    map[string]func(conn *tls.Conn, from peer)
	join     func(conn *tls.Conn, t ticket)
	rafts    *raftStream
	counts   portCounts

	pending chan struct{} // one for each stranger
	wg      sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener
	address  string // for the others
	conns    map[net.Conn]bool
	closed   bool
}

func newPort(cfg Config) *port {
	p := &port{
		identity: cfg.Identity, keys: newKnockKeys(cfg.Key), network: cfg.Network, log: cfg.Log,
		address: cmp.Or(cfg.Advertise, cfg.Listen), pending: make(chan struct{}, maxStrangers), conns: map[net.Conn]bool{},
	}
	if p.network == nil {
		p.network = tcp{}
	}
	p.rafts = &raftStream{port: p, conns: make(chan net.Conn), closed: make(chan struct{}), out: map[*raftDial]bool{}}
	p.serve = map[string]func(*tls.Conn, peer){protoRaft: p.rafts.hand}
	return p
}

// open begins to listen and to serve.
func (p *port) open(address string) error {
	l, err := p.network.Listen(address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("cluster: address %s is %w: stop it, or set cluster.listen to another port", address, ErrInUse)
	}
	if err != nil {
		return fmt.Errorf("cluster: listen on %s: %w", address, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listener = l
	if p.address == address {
		p.address = l.Addr().String() // a free port was asked for, perhaps
	}
	p.wg.Go(func() { p.run(l) })
	return nil
}

// addr is where the others reach this node.
func (p *port) addr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.address
}

// run accepts connections until close.
func (p *port) run(l net.Listener) {
	for {
		conn, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of file descriptors, most likely
			p.log.Warn("the cluster port cannot accept a connection", "err", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		select {
		case p.pending <- struct{}{}:
		default:
			p.counts.turned.Add(1)
			conn.Close()
			continue
		}
		if !p.track(conn) {
			<-p.pending
			conn.Close()
			continue
		}
		p.wg.Go(func() {
			defer p.forget(conn)
			p.welcome(conn)
		})
	}
}

// track remembers a connection, so that close ends it.
func (p *port) track(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.conns) >= maxConns {
		p.counts.turned.Add(1)
		return false
	}
	p.conns[conn] = true
	return true
}

func (p *port) forget(conn net.Conn) {
	conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
}

// close ends the listener and every connection, and waits.
func (p *port) close() {
	p.listener.Close()
	p.rafts.Close()
	p.mu.Lock()
	p.closed = true
	for conn := range p.conns {
		conn.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// welcome finds out who comes and serves them until they go.
func (p *port) welcome(conn net.Conn) {
	secure, from, t, err := p.handshake(conn)
	<-p.pending
	if err != nil {
		return
	}
	p.counts.accepted.Add(1)
	if proto := secure.ConnectionState().NegotiatedProtocol; proto == protoJoin {
		p.join(secure, t)
	} else {
		p.serve[proto](secure, from)
	}
}

func (p *port) handshake(conn net.Conn) (secure *tls.Conn, from peer, t ticket, err error) {
	conn.SetDeadline(time.Now().Add(handshakeTimeout))
	newcomer, t, err := p.keys.readKnock(conn, time.Now())
	if err != nil {
		p.counts.strangers.Add(1)
		p.log.Debug("a stranger on the cluster port", "peer", conn.RemoteAddr().String(), "err", err)
		return nil, from, t, err
	}
	cfg := p.identity.TLS()
	if newcomer {
		cfg.ClientAuth, cfg.VerifyConnection, cfg.NextProtos = tls.NoClientCert, nil, []string{protoJoin}
		cfg.GetCertificate = p.withRoot(cfg.GetCertificate)
	} else {
		cfg.NextProtos = []string{protoRaft, protoCall, protoPing}
	}
	secure = tls.Server(conn, cfg)
	if err = secure.Handshake(); err == nil && secure.ConnectionState().NegotiatedProtocol == "" {
		err = errors.New("no protocol was chosen")
	}
	if err != nil {
		p.counts.refused.Add(1)
		p.log.Warn("a connection to the cluster port was refused", "peer", conn.RemoteAddr().String(), "err", err)
		return nil, from, t, err
	}
	if !newcomer {
		if from, err = p.peerOf(secure); err != nil {
			p.log.Debug("a node was refused", "peer", conn.RemoteAddr().String(), "err", err)
			return nil, from, t, err
		}
	}
	conn.SetDeadline(time.Time{})
	return secure, from, t, nil
}

// withRoot shows the root as well: a newcomer knows it by its fingerprint only.
func (p *port) withRoot(get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := get(h)
		if err != nil {
			return nil, err
		}
		chain := *cert
		chain.Certificate = [][]byte{cert.Certificate[0], p.identity.Root()}
		return &chain, nil
	}
}

// peerOf says who is at the other end, and refuses a node that the cluster has removed.
func (p *port) peerOf(conn *tls.Conn) (from peer, err error) {
	from.node, from.epoch, err = p.identity.Peer(conn.ConnectionState().PeerCertificates[0])
	if err == nil && p.admits != nil {
		err = p.admits(from)
	}
	if err != nil {
		p.counts.fenced.Add(1)
	}
	return from, err
}

// dial opens a connection to a node; name is who must answer there, "" when that is not known yet.
func (p *port) dial(ctx context.Context, name, address, proto string) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	first, err := knock(knockMember, ticket{}, p.keys.member)
	if err != nil {
		return nil, err
	}
	cfg := p.identity.TLS()
	cfg.NextProtos = []string{proto}
	conn, err := dialSecure(ctx, p.network, address, first, cfg)
	if err != nil {
		return nil, err
	}
	from, err := p.peerOf(conn)
	if err == nil && name != "" && from.node != name {
		err = fmt.Errorf("cluster: at %s answers node %s instead of %s", address, from.node, name)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// dialSecure connects, knocks and does the handshake.
func dialSecure(ctx context.Context, network Network, address string, first []byte, cfg *tls.Config) (*tls.Conn, error) {
	connecting, cancel := context.WithTimeout(ctx, connectWait)
	conn, err := network.Dial(connecting, address)
	cancel()
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	if _, err := conn.Write(first); err != nil {
		conn.Close()
		return nil, err
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("cluster: %s: %w", address, err)
	}
	conn.SetDeadline(time.Time{})
	return secure, nil
}

// tcp is the network that there is.
type tcp struct{}

func (tcp) Listen(address string) (net.Listener, error) { return net.Listen("tcp", address) }

func (tcp) Dial(ctx context.Context, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// raftStream gives Raft the connections that are for it (raft.StreamLayer).
type raftStream struct {
	port   *port
	name   func(address string) string // of the node at an address, "" when it is not known
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once

	mu  sync.Mutex
	out map[*raftDial]bool // what Raft has dialled and not closed
}

// raftDial is a connection that Raft has dialled.
type raftDial struct {
	net.Conn
	stream *raftStream
	node   string
	began  time.Time
}

// Close closes the connection.
func (c *raftDial) Close() error {
	c.stream.mu.Lock()
	delete(c.stream.out, c)
	c.stream.mu.Unlock()
	return c.Conn.Close()
}

// renew closes the connections to a node that are older than a time, and Raft dials others.
func (s *raftStream) renew(node string, before time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.out {
		if c.node == node && c.began.Before(before) {
			c.Conn.(*tls.Conn).NetConn().Close()
		}
	}
}

// hand gives a connection to Raft and waits until Raft has closed it.
func (s *raftStream) hand(conn *tls.Conn, _ peer) {
	c := &raftConn{Conn: conn, ended: make(chan struct{})}
	select {
	case s.conns <- c:
		<-c.ended
	case <-s.closed:
	}
}

// raftConn tells when Raft has done with it.
type raftConn struct {
	net.Conn
	once  sync.Once
	ended chan struct{}
}

// Close closes the connection.
func (c *raftConn) Close() error {
	c.once.Do(func() { close(c.ended) })
	return c.Conn.Close()
}

// Accept waits for a connection.
func (s *raftStream) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (s *raftStream) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// Addr is where the others reach this node.
func (s *raftStream) Addr() net.Addr { return clusterAddr(s.port.addr()) }

// Dial connects to the node at an address.
func (s *raftStream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	node, began := s.name(string(address)), time.Now()
	conn, err := s.port.dial(ctx, node, string(address), protoRaft)
	if err != nil {
		return nil, err
	}
	c := &raftDial{conn, s, node, began}
	s.mu.Lock()
	s.out[c] = true
	s.mu.Unlock()
	return c, nil
}

// clusterAddr is a node's address as the others write it.
type clusterAddr string

// Network is tcp.
func (clusterAddr) Network() string { return "tcp" }

func (a clusterAddr) String() string { return string(a) }
