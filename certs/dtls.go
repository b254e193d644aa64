package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"
)

// DTLS is the certificate with which media are encrypted to browsers (RFC 5763): who trusts it does so by the fingerprint in the session
// description, so nobody signs it. It is made of a secret, octet by octet the same wherever and whenever: all nodes that share the
// secret present one identity, a call that another node takes over keeps its association, and there is no second file to keep or to copy.
// ECDSA on P-256 is what all browsers know (RFC 8827 §6.5).
func DTLS(secret [32]byte) (tls.Certificate, error) {
	key, err := keyOf(secret)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certs: make the DTLS key: %w", err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tandem"},
		// Nobody looks, since the fingerprint stands in each description; but they must not depend on a clock.
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2049, 12, 31, 0, 0, 0, 0, time.UTC),
	}
	raw, err := x509.CreateCertificate(nil, &template, &template, &key.PublicKey, key) // without a source of randomness: RFC 6979
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certs: make the DTLS certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, nil
}

// keyOf makes a private key of a secret.
func keyOf(secret [32]byte) (key *ecdsa.PrivateKey, err error) {
	for try := range byte(8) { // all but one in 2^32 numbers of 256 bits are keys
		scalar := sha256.Sum256(append([]byte{try}, secret[:]...))
		if key, err = ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar[:]); err == nil {
			return key, nil
		}
	}
	return nil, err
}
