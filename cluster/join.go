package cluster

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"
)

// seedsFile holds the addresses where a node that has joined finds the others before it has any of their log.
const seedsFile = "seeds.json"

// maxTokenLife bounds how long a join token may be good: what is used up is remembered until then.
const maxTokenLife = 7 * 24 * time.Hour

// joinRequest is what a newcomer asks; joinAnswer is what it is given. Both go as JSON in frames.
type joinRequest struct {
	Node    string `json:"node"`
	Request []byte `json:"request"` // PKCS #10
	// Proof shows that the one who speaks through this very connection holds the token: an HMAC with its secret over keying material of the
	// connection (RFC 8446 §7.5), name and request.
	Proof []byte `json:"proof"`
}

type joinAnswer struct {
	Certificate []byte   `json:"certificate"`
	Root        []byte   `json:"root"`
	Share       []byte   `json:"share"`
	Epoch       uint64   `json:"epoch"`
	Addresses   []string `json:"addresses"`
}

var nodeNames = regexp.MustCompile(`^[A-Za-z0-9._-]{1,63}$`)

// proof binds what is asked to the connection that it is asked through, so that nobody in the middle can ask something else with it.
func proof(state tls.ConnectionState, secret []byte, node string, request []byte) ([]byte, error) {
	material, err := state.ExportKeyingMaterial("EXPORTER-tandem-join", nil, 32)
	if err != nil {
		return nil, err
	}
	material = append(append(material, byte(len(node))), node...)
	return mac(secret, append(material, request...)), nil
}

// NewToken makes a join token that is good for ttl, one newcomer and the cluster of this node.
func (c *Cluster) NewToken(ttl time.Duration) (t Token, err error) {
	if c.port == nil {
		return t, errors.New("cluster: this node has no cluster.listen, so no other node can join it; set it and start the node again")
	}
	if ttl <= 0 || ttl > maxTokenLife {
		return t, fmt.Errorf("cluster: a join token is good for up to %v, not %v", maxTokenLife, ttl)
	}
	if _, err := rand.Read(t.ticket.id[:]); err != nil {
		return t, err
	}
	t.ticket.until = time.Now().Add(ttl).Unix()
	t.secret = c.port.keys.secret(t.ticket)
	t.fingerprint = sha256.Sum256(c.cfg.Identity.Root())
	t.Addresses = c.addresses()
	return t, nil
}

// Of says whether the token is of the cluster with this authority (Identity.Root).
func (t Token) Of(root []byte) bool { return sha256.Sum256(root) == t.fingerprint }

// addresses are where members answer, this node first.
func (c *Cluster) addresses() []string {
	list := []string{c.port.addr()}
	for _, m := range c.Members() {
		if !m.Self && len(list) < 8 {
			list = append(list, m.Address)
		}
	}
	return list
}

// serveJoin answers one newcomer.
func (c *Cluster) serveJoin(conn *tls.Conn, t ticket) {
	conn.SetDeadline(time.Now().Add(callTimeout))
	f, err := readFrame(bufio.NewReader(conn))
	if err != nil || f.typ != frameRequest || len(f.payload) > 64<<10 {
		c.port.counts.refused.Add(1)
		return
	}
	out := frame{typ: frameAnswer, id: f.id}
	if out.payload, err = c.takeIn(conn, t, f.payload); err != nil {
		c.port.counts.refused.Add(1)
		c.log.Warn("a node could not join", "peer", conn.RemoteAddr().String(), "err", err)
		out.typ, out.payload = frameFault, faultOf(err)
	}
	_, _ = conn.Write(out.encode())
}

// takeIn uses up the token, certifies the newcomer and tells it what it needs to know.
func (c *Cluster) takeIn(conn *tls.Conn, t ticket, payload []byte) ([]byte, error) {
	var ask joinRequest
	if err := json.Unmarshal(payload, &ask); err != nil || !nodeNames.MatchString(ask.Node) {
		return nil, errors.New("the request to join cannot be read")
	}
	want, err := proof(conn.ConnectionState(), c.port.keys.secret(t), ask.Node, ask.Request)
	if err != nil || !hmac.Equal(want, ask.Proof) {
		return nil, errors.New("the request to join is not proved by its token")
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	result, err := c.Propose(ctx, rosterMachine, enrolment(ask.Node, t, ask.Request, time.Now()))
	if err != nil {
		return nil, err
	}
	epoch, ok := result.(uint64)
	if !ok {
		return nil, fmt.Errorf("%v", result)
	}
	answer := joinAnswer{Root: c.cfg.Identity.Root(), Epoch: epoch, Addresses: c.addresses()}
	if answer.Certificate, err = c.cfg.Identity.Certify(ask.Request, ask.Node, epoch); err != nil {
		return nil, err
	}
	if c.cfg.Share != nil {
		if answer.Share, err = c.cfg.Share(); err != nil {
			return nil, err
		}
	}
	c.log.Info("a node was taken into the cluster", "node", ask.Node, "epoch", epoch, "peer", conn.RemoteAddr().String())
	return json.Marshal(answer)
}

// Admission is what the cluster gives to a node that joins.
type Admission struct {
	Certificate, Root []byte   // DER
	Share             []byte   // Config.Share of a member
	Epoch             uint64   // how often a node of this name has been taken in
	Addresses         []string // of members
}

// Join asks the cluster that made the token to take in a node, at the addresses given or else those in the token, one after the other. request is
// the certificate request of its key (PKCS #10). It opens nothing but connections to these addresses; network nil is TCP.
func Join(ctx context.Context, network Network, t Token, addresses []string, node string, request []byte) (Admission, error) {
	if network == nil {
		network = tcp{}
	}
	if len(addresses) == 0 {
		addresses = t.Addresses
	}
	switch {
	case len(addresses) == 0:
		return Admission{}, errors.New("cluster: nobody to ask: give the address of a member")
	case !nodeNames.MatchString(node):
		return Admission{}, fmt.Errorf("cluster: %q cannot be the name of a node", node)
	case t.ticket.expired(time.Now()):
		return Admission{}, fmt.Errorf("cluster: join: %w", errTokenExpired)
	}
	var errs []error
	for _, address := range addresses {
		a, err := joinAt(ctx, network, t, address, node, request)
		if err == nil {
			return a, nil
		}
		errs = append(errs, fmt.Errorf("cluster: join at %s: %w", address, err))
		var said *remoteError
		if errors.As(err, &said) && said.kind == nil || ctx.Err() != nil {
			break // it was a no, and the others would say the same
		}
	}
	return Admission{}, errors.Join(errs...)
}

func joinAt(ctx context.Context, network Network, t Token, address, node string, request []byte) (a Admission, err error) {
	first, err := knock(knockJoin, t.ticket, t.secret)
	if err != nil {
		return a, err
	}
	dial, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn, err := dialSecure(dial, network, address, first, &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{protoJoin},
		InsecureSkipVerify: true, // the fingerprint in the token says whom to trust
		VerifyConnection:   t.verify,
	})
	if err != nil {
		return a, refusedJoin(err)
	}
	defer conn.NetConn().Close()
	ask := joinRequest{Node: node, Request: request}
	if ask.Proof, err = proof(conn.ConnectionState(), t.secret, node, request); err != nil {
		return a, err
	}
	payload, err := json.Marshal(ask)
	if err != nil {
		return a, err
	}
	text, err := converse(ctx, conn, "join", payload)
	if err != nil {
		return a, err
	}
	var answer joinAnswer
	if err := json.Unmarshal(text, &answer); err != nil {
		return a, fmt.Errorf("the answer cannot be read: %w", err)
	}
	return Admission(answer), nil
}

// refusedJoin says what a closed door means: the port tells strangers nothing.
func refusedJoin(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return errors.New("the node there closes the door without a word: the token is of another cluster, or the clocks of both machines are far apart")
	}
	return err
}

// verify checks that the other end is a node of the cluster that made the token.
func (t Token) verify(state tls.ConnectionState) error {
	chain := state.PeerCertificates
	if len(chain) != 2 || sha256.Sum256(chain[1].Raw) != t.fingerprint {
		return errors.New("the node there is not of the cluster that made the token")
	}
	now := time.Now()
	if now.Before(chain[0].NotBefore) || now.After(chain[0].NotAfter) {
		return errors.New("the certificate of the node there is not valid now; are the clocks of both machines right?")
	}
	return chain[0].CheckSignatureFrom(chain[1])
}

// KeepSeeds notes in a node's directory where it finds the cluster that has taken it in.
func KeepSeeds(dir string, addresses []string) error {
	text, err := json.Marshal(addresses)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cluster: make the data directory: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, seedsFile), text, 0o600); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	return syncDir(dir)
}

// hasJoined says that this directory belongs to a node that another cluster has taken in.
func (c *Cluster) hasJoined() bool {
	_, err := os.Stat(filepath.Join(c.cfg.Dir, seedsFile))
	return c.cfg.Dir != "" && err == nil
}

// seeds are where members may answer while this node has no log: those it was told when it joined, and the configured ones.
func (c *Cluster) seeds() []string {
	var list []string
	if c.cfg.Dir != "" {
		if text, err := os.ReadFile(filepath.Join(c.cfg.Dir, seedsFile)); err == nil {
			_ = json.Unmarshal(text, &list) // a damaged file is as none: the configured ones remain
		}
	}
	list = append(list, c.cfg.Seeds...)
	return slices.DeleteFunc(list, func(a string) bool { return a == c.port.addr() })
}
