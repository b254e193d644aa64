package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"tandem/internal/simnet"
)

// authority is a cluster's authority with as little in it as the port needs.
type authority struct {
	key  *ecdsa.PrivateKey
	root *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{key, root}
}

func (a *authority) certify(key any, node string, epoch uint64) ([]byte, error) {
	return x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		URIs: []*url.URL{{Scheme: "test", Host: node, Path: fmt.Sprint(epoch)}},
	}, a.root, key, a.key)
}

// request is a newcomer's key and certificate request.
func request(t *testing.T) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}

// identity is one node's.
type identity struct {
	*authority
	cert  tls.Certificate
	epoch uint64
}

// member makes the identity of a node with a new key.
func (a *authority) member(t *testing.T, node string, epoch uint64) *identity {
	t.Helper()
	key, _ := request(t)
	der, err := a.certify(key.Public(), node, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return a.with(key, der, epoch)
}

func (a *authority) with(key *ecdsa.PrivateKey, der []byte, epoch uint64) *identity {
	return &identity{a, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, epoch}
}

func (i *identity) TLS() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(i.root)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert, InsecureSkipVerify: true, SessionTicketsDisabled: true,
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &i.cert, nil },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &i.cert, nil },
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
			return err
		},
	}
}

func (i *identity) Peer(c *x509.Certificate) (node string, epoch uint64, err error) {
	if len(c.URIs) != 1 {
		return "", 0, errors.New("no node")
	}
	_, err = fmt.Sscanf(c.URIs[0].Path, "/%d", &epoch)
	return c.URIs[0].Host, epoch, err
}

func (i *identity) Epoch() uint64 { return i.epoch }
func (i *identity) Root() []byte  { return i.root.Raw }

func (i *identity) Certify(req []byte, node string, epoch uint64) ([]byte, error) {
	r, err := x509.ParseCertificateRequest(req)
	if err != nil {
		return nil, err
	}
	return i.certify(r.PublicKey, node, epoch)
}

// hostNetwork is a machine of a simulated network as cluster.Network.
type hostNetwork struct{ *simnet.Host }

func (h hostNetwork) Listen(address string) (net.Listener, error) {
	return h.Host.Listen("tcp", address)
}

func (h hostNetwork) Dial(ctx context.Context, address string) (net.Conn, error) {
	return h.Host.Dial(ctx, "tcp", netip.AddrPort{}, netip.MustParseAddrPort(address))
}

// testKey is the secret of the clusters of these tests.
var testKey = [32]byte{7}
