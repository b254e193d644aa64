package rtpengine

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	_ "crypto/sha256" // links the hashes of fingerprints
	_ "crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"strings"
	"time"
)

// fingerprint names a certificate by its hash (RFC 8122 §5). As an attribute: "sha-256 4A:AD:B9:...".
type fingerprint struct {
	hash crypto.Hash
	sum  string
}

// The hashes that are taken, the strongest last. RFC 8122 §5 forbids MD2 and MD5; SHA-1 can be forged by now.
var printHashes = []struct {
	name string
	hash crypto.Hash
}{{"sha-256", crypto.SHA256}, {"sha-384", crypto.SHA384}, {"sha-512", crypto.SHA512}}

// parseFingerprint reads an attribute's value; false for what cannot be used.
func parseFingerprint(value string) (f fingerprint, ok bool) {
	name, text, _ := strings.Cut(value, " ")
	for _, p := range printHashes {
		if strings.EqualFold(name, p.name) {
			sum, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(text), ":", ""))
			return fingerprint{p.hash, string(sum)}, err == nil && len(sum) == p.hash.Size()
		}
	}
	return f, false
}

func fingerprintOf(h crypto.Hash, certificate []byte) fingerprint {
	sum := h.New()
	sum.Write(certificate)
	return fingerprint{h, string(sum.Sum(nil))}
}

// fits reports whether it is the certificate's.
func (f fingerprint) fits(certificate []byte) bool { return fingerprintOf(f.hash, certificate) == f }

// String is the attribute's value.
func (f fingerprint) String() string {
	var out strings.Builder
	for _, p := range printHashes {
		if p.hash == f.hash {
			out.WriteString(p.name)
		}
	}
	for i := range len(f.sum) {
		out.WriteByte(" :"[min(i, 1)])
		out.WriteString(strings.ToUpper(hex.EncodeToString([]byte{f.sum[i]})))
	}
	return out.String()
}

// strongest keeps the fingerprints of the best hash among them: RFC 8122 §5 wants that one compared.
func strongest(list []fingerprint) (out []fingerprint) {
	for _, f := range list {
		switch {
		case len(out) == 0 || f.hash == out[0].hash:
			out = append(out, f)
		case f.hash.Size() > out[0].hash.Size():
			out = append(out[:0], f)
		}
	}
	return out
}

// selfMade makes a certificate for DTLS: who trusts it does so by its fingerprint. ECDSA on P-256 is what all browsers know (RFC 8827 §6.5).
func selfMade() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "tandem"},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.AddDate(10, 0, 0), // nobody looks; it lives as long as the process
	}
	raw, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, nil
}
