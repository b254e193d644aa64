package certs

import (
	"bytes"
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
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A self-signed certificate lives lifetime and is renewed when less than renewBefore is left. Browsers and iOS refuse
// server certificates of more than 825 days, even trusted ones.
const (
	lifetime    = 397 * 24 * time.Hour
	renewBefore = 30 * 24 * time.Hour
	backdate    = time.Hour // phones' clocks are often behind
)

// selfSignedFile holds certificate and key together, so that no crash can leave a pair that does not match.
const selfSignedFile = "self-signed.pem"

// loadSelfSigned reads the kept certificate if it still serves, and makes a new one otherwise.
func (s *Store) loadSelfSigned() (*tls.Certificate, error) {
	path := filepath.Join(s.c.Dir, selfSignedFile)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.makeSelfSigned(path)
	case err != nil:
		return nil, fmt.Errorf("certs: self-signed certificate: %w", err)
	}
	cert, err := tls.X509KeyPair(text, text)
	if err != nil {
		s.c.Log.Warn("the self-signed certificate is damaged, a new one is made; phones must be told to trust it", "file", path, "err", err)
		return s.makeSelfSigned(path)
	}
	if renewalDue(cert.Leaf) || !covers(cert.Leaf, s.c.Hosts) {
		return s.makeSelfSigned(path)
	}
	return &cert, nil
}

func renewalDue(leaf *x509.Certificate) bool {
	return time.Now().After(leaf.NotAfter.Add(-renewBefore))
}

// covers says whether the certificate is for every one of hosts.
func covers(leaf *x509.Certificate, hosts []string) bool {
	have := hostsOf(leaf)
	return !slices.ContainsFunc(hosts, func(h string) bool { return !slices.Contains(have, canonical(h)) })
}

func hostsOf(leaf *x509.Certificate) []string {
	var out []string
	for _, name := range leaf.DNSNames {
		out = append(out, canonical(name))
	}
	for _, ip := range leaf.IPAddresses {
		out = append(out, ip.String())
	}
	return out
}

func canonical(host string) string {
	if ip := net.ParseIP(host); ip != nil {
		return ip.String()
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func (s *Store) makeSelfSigned(path string) (*tls.Certificate, error) {
	text, err := selfSigned(s.c.Hosts, time.Now())
	if err != nil {
		return nil, fmt.Errorf("certs: make a self-signed certificate: %w", err)
	}
	cert, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fmt.Errorf("certs: make a self-signed certificate: %w", err)
	}
	if err := keep(path, text); err != nil {
		return nil, fmt.Errorf("certs: keep the self-signed certificate: %w", err)
	}
	s.counters.renewals.Add(1)
	return &cert, nil
}

// selfSigned returns an ECDSA P-256 certificate and its key in PEM.
func selfSigned(hosts []string, now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: commonName(hosts[0]), Organization: []string{"Tandem, self-signed"}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(lifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, canonical(h))
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = errors.Join(
		pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.Encode(&out, &pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	)
	return out.Bytes(), err
}

// commonName keeps the subject within X.520's 64 characters; peers look at the alternative names anyway.
func commonName(host string) string { return host[:min(len(host), 64)] }

// keep writes text to path with mode 0600, whole or not at all.
func keep(path string, text []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// fingerprint is the SHA-256 of the certificate, as browsers and openssl show it.
func fingerprint(leaf *x509.Certificate) string {
	sum := sha256.Sum256(leaf.Raw)
	digits := strings.ToUpper(hex.EncodeToString(sum[:]))
	var out strings.Builder
	for i := 0; i < len(digits); i += 2 {
		if i > 0 {
			out.WriteByte(':')
		}
		out.WriteString(digits[i : i+2])
	}
	return out.String()
}
