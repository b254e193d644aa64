package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Lives of the certificates between nodes. A node makes itself a new one in time, since every member holds the authority's key.
const (
	authorityLifetime  = 20 * 365 * 24 * time.Hour
	membershipLifetime = 90 * 24 * time.Hour
	membershipRenew    = 30 * 24 * time.Hour
	membershipBackdate = 24 * time.Hour // the clock of a machine that has just been set up may be off
)

const (
	membershipFile = "cluster.pem"
	sealedType     = "TANDEM SEALED KEY"
)

// ErrNotMember means that a directory holds no membership: the node has neither begun nor joined a cluster of several nodes.
var ErrNotMember = errors.New("certs: this node is not yet a member of a cluster")

// Membership is how a node proves to the other nodes of its cluster who it is: a certificate of the cluster's own authority that
// names cluster, node and epoch in a URI (tandem://CLUSTER/NODE/EPOCH). Each member holds the key of the authority, sealed on its disk,
// so that any of them can take in another. All methods may be called from any goroutine.
type Membership struct {
	path string
	seal cipher.AEAD
	log  *slog.Logger

	root      *x509.Certificate
	roots     *x509.CertPool
	authority *ecdsa.PrivateKey
	node      string
	epoch     uint64
	current   atomic.Pointer[tls.Certificate]
	renewals  atomic.Uint64
}

// FoundCluster makes the authority of a new cluster in dir and the membership of its first node. key seals the authority's key.
func FoundCluster(dir, node string, key [32]byte, log *slog.Logger) (*Membership, error) {
	authority, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Tandem cluster", Organization: []string{"Tandem"}},
		NotBefore: now.Add(-membershipBackdate), NotAfter: now.Add(authorityLifetime),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
	}
	root, err := x509.CreateCertificate(rand.Reader, template, template, authority.Public(), authority)
	if err != nil {
		return nil, err
	}
	w, err := NewMembershipWish(node)
	if err != nil {
		return nil, err
	}
	m := &Membership{log: log}
	if m.root, err = x509.ParseCertificate(root); err != nil {
		return nil, err
	}
	m.authority = authority
	cert, err := m.Certify(w.Request, node, 1)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(authority)
	if err != nil {
		return nil, err
	}
	if err := w.Keep(dir, cert, root, secret, key); err != nil {
		return nil, err
	}
	return OpenMembership(dir, key, log)
}

// MembershipWish is the key of a node that asks to be taken in, with its certificate request.
type MembershipWish struct {
	Request []byte // PKCS #10, DER
	key     *ecdsa.PrivateKey
}

// NewMembershipWish makes a key and the request for its certificate.
func NewMembershipWish(node string) (*MembershipWish, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: node}}, key)
	return &MembershipWish{request, key}, err
}

// Keep writes what the cluster answered into dir, with the authority's key (PKCS #8) sealed by key: the node is a member from then on.
func (w *MembershipWish) Keep(dir string, cert, root, authority []byte, key [32]byte) error {
	seal, err := newSeal(key)
	if err != nil {
		return err
	}
	return keepMembership(filepath.Join(dir, membershipFile), cert, root, w.key, authority, seal)
}

func keepMembership(path string, cert, root []byte, key *ecdsa.PrivateKey, authority []byte, seal cipher.AEAD) error {
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	nonce := make([]byte, seal.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return err
	}
	var out bytes.Buffer
	for _, b := range []pem.Block{
		{Type: "CERTIFICATE", Bytes: cert},
		{Type: "PRIVATE KEY", Bytes: secret},
		{Type: "CERTIFICATE", Bytes: root},
		{Type: sealedType, Bytes: seal.Seal(nonce, nonce, authority, root)},
	} {
		if err := pem.Encode(&out, &b); err != nil {
			return err
		}
	}
	if err := keep(path, out.Bytes()); err != nil {
		return fmt.Errorf("certs: keep the membership of the cluster: %w", err)
	}
	return nil
}

// OpenMembership reads the membership in dir; the error wraps ErrNotMember where there is none.
func OpenMembership(dir string, key [32]byte, log *slog.Logger) (*Membership, error) {
	path := filepath.Join(dir, membershipFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: there is no %s", ErrNotMember, path)
	}
	if err != nil {
		return nil, fmt.Errorf("certs: membership: %w", err)
	}
	seal, err := newSeal(key)
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	m := &Membership{path: path, seal: seal, log: log, roots: x509.NewCertPool()}
	if err := m.parse(text); err != nil {
		return nil, fmt.Errorf("certs: %s: %w", path, err)
	}
	return m, nil
}

func (m *Membership) parse(text []byte) error {
	cert, err := tls.X509KeyPair(text, text)
	if err != nil {
		return err
	}
	if len(cert.Certificate) != 2 {
		return errors.New("it must hold the certificate of the node and that of the authority")
	}
	if m.root, err = x509.ParseCertificate(cert.Certificate[1]); err != nil {
		return err
	}
	m.roots.AddCert(m.root)
	cert.Certificate = cert.Certificate[:1] // the others have the root
	if m.authority, err = m.unseal(text); err != nil {
		return err
	}
	if m.node, m.epoch, err = m.Peer(cert.Leaf); err != nil {
		return err
	}
	m.current.Store(&cert)
	return nil
}

func (m *Membership) unseal(text []byte) (*ecdsa.PrivateKey, error) {
	for {
		var b *pem.Block
		if b, text = pem.Decode(text); b == nil {
			return nil, errors.New("the key of the authority is missing")
		}
		if b.Type != sealedType {
			continue
		}
		n := m.seal.NonceSize()
		if len(b.Bytes) < n {
			return nil, errors.New("the key of the authority is damaged")
		}
		secret, err := m.seal.Open(nil, b.Bytes[:n], b.Bytes[n:], m.root.Raw)
		if err != nil {
			return nil, errors.New("the key of the authority was sealed with another account key; put auth.key_file back as it was")
		}
		key, err := x509.ParsePKCS8PrivateKey(secret)
		if err != nil {
			return nil, err
		}
		ec, ok := key.(*ecdsa.PrivateKey)
		if !ok || !ec.PublicKey.Equal(m.root.PublicKey) {
			return nil, errors.New("the key of the authority does not belong to its certificate")
		}
		return ec, nil
	}
}

func newSeal(key [32]byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// Node is the name this membership is for, Epoch how often that name has been taken in.
func (m *Membership) Node() string { return m.node }

// Epoch counts how often the node has been taken into the cluster; a returning node with an old one is refused.
func (m *Membership) Epoch() uint64 { return m.epoch }

// Root is the authority's certificate, DER.
func (m *Membership) Root() []byte { return m.root.Raw }

// AuthorityKey is the authority's key, PKCS #8: for a node that is being taken in, over its encrypted connection.
func (m *Membership) AuthorityKey() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(m.authority) }

// clusterID names the cluster: two clusters never have the same authority.
func clusterID(root *x509.Certificate) string {
	sum := sha256.Sum256(root.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:8])
}

// Certify makes the certificate of a node from its request: name and epoch are what the cluster has agreed on, nothing of the request but the
// public key counts.
func (m *Membership) Certify(request []byte, node string, epoch uint64) ([]byte, error) {
	r, err := x509.ParseCertificateRequest(request)
	if err != nil {
		return nil, fmt.Errorf("certs: certificate request: %w", err)
	}
	if err := r.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certs: certificate request: %w", err)
	}
	return m.certify(r.PublicKey, node, epoch)
}

func (m *Membership) certify(key crypto.PublicKey, node string, epoch uint64) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: commonName(node), Organization: []string{"Tandem"}},
		NotBefore: now.Add(-membershipBackdate), NotAfter: now.Add(membershipLifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{{Scheme: "tandem", Host: clusterID(m.root), Path: "/" + node + "/" + strconv.FormatUint(epoch, 10)}},
	}
	return x509.CreateCertificate(rand.Reader, template, m.root, key, m.authority)
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

// Peer says for which node of this cluster a certificate is; it has been verified against the authority before.
func (m *Membership) Peer(cert *x509.Certificate) (node string, epoch uint64, err error) {
	for _, u := range cert.URIs {
		if u.Scheme != "tandem" || u.Host != clusterID(m.root) {
			continue
		}
		name, number, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		if epoch, err = strconv.ParseUint(number, 10, 64); ok && err == nil && name != "" {
			return name, epoch, nil
		}
	}
	return "", 0, errors.New("certs: this is no certificate of a node of this cluster")
}

// TLS is the configuration of both ends of a connection between nodes: TLS 1.3, and each end shows a certificate of the cluster's authority.
// It keeps no sessions: every connection is checked anew.
func (m *Membership) TLS() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return m.current.Load(), nil },
		GetClientCertificate:   func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return m.current.Load(), nil },
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, // there are no host names; VerifyConnection checks the chain and who it is
		SessionTicketsDisabled: true,
		VerifyConnection:       m.verify,
	}
}

func (m *Membership) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("certs: the other node shows no certificate")
	}
	cert := state.PeerCertificates[0]
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: m.roots, KeyUsages: []x509.ExtKeyUsage{use}}); err != nil {
			return fmt.Errorf("certs: certificate of the other node: %w", err)
		}
	}
	_, _, err := m.Peer(cert)
	return err
}

// NotAfter is when the present certificate ends.
func (m *Membership) NotAfter() time.Time { return m.current.Load().Leaf.NotAfter }

// Renewals counts the certificates that this node has made itself since the start.
func (m *Membership) Renewals() uint64 { return m.renewals.Load() }

// Run makes a new certificate with a new key long before the present one ends, until ctx ends. Connections that stand keep the old one.
func (m *Membership) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if time.Until(m.NotAfter()) < membershipRenew {
			if err := m.renew(); err != nil {
				m.log.Error("the certificate between the nodes cannot be renewed", "until", m.NotAfter(), "err", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (m *Membership) renew() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	cert, err := m.certify(key.Public(), m.node, m.epoch)
	if err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(cert)
	if err != nil {
		return err
	}
	secret, err := m.AuthorityKey()
	if err != nil {
		return err
	}
	if err := keepMembership(m.path, cert, m.root.Raw, key, secret, m.seal); err != nil {
		return err
	}
	m.current.Store(&tls.Certificate{Certificate: [][]byte{cert}, PrivateKey: key, Leaf: leaf})
	m.renewals.Add(1)
	m.log.Info("the certificate between the nodes was renewed", "node", m.node, "until", leaf.NotAfter)
	return nil
}
