package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"testing"
)

// Nodes of one cluster must present one identity, also while half of them run a newer Tandem, built by a newer Go: the sum says when that
// is no longer so.
func TestOneSecretIsOneDTLSIdentity(t *testing.T) {
	secret := [32]byte{1, 2, 3}
	a, err := DTLS(secret)
	if err != nil {
		t.Fatal(err)
	}
	b, err := DTLS(secret)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Certificate[0], b.Certificate[0]) {
		t.Error("the same secret gave two certificates")
	}
	sum := sha256.Sum256(a.Certificate[0])
	if got, want := hex.EncodeToString(sum[:]), "f3b21903ecf7871cf97882e1979de6e68ebcf179bf5d9d71017db27faf07b1d6"; got != want {
		t.Errorf("fingerprint is %s, and was %s", got, want)
	}
	leaf, err := x509.ParseCertificate(a.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if public, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || public.Curve != elliptic.P256() || !public.Equal(a.PrivateKey.(*ecdsa.PrivateKey).Public()) {
		t.Errorf("key is %v", leaf.PublicKey)
	}
	if err := leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature); err != nil {
		t.Error(err)
	}
	secret[0]++
	if c, err := DTLS(secret); err != nil || bytes.Equal(a.Certificate[0], c.Certificate[0]) {
		t.Errorf("another secret gave the same certificate, error %v", err)
	}
}
