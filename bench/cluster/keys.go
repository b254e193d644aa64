//go:build linux

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/srtp/v3"
)

const (
	suite    = "AES_CM_128_HMAC_SHA1_80"
	keyBytes = 16 + 14 // master key and salt
)

func encode(key []byte) string { return base64.StdEncoding.EncodeToString(key) }

// key is the phone's own: the same in every run, of no use to anybody.
func (t *talker) key() []byte {
	sum := sha256.Sum256(binary.BigEndian.AppendUint32(nil, t.number))
	return sum[:keyBytes]
}

// cryptoLine is the tag and the key of the suite in a description.
func cryptoLine(sdp []byte) (tag string, key []byte) {
	for line := range strings.Lines(string(sdp)) {
		words := strings.Fields(line)
		if len(words) < 3 || !strings.HasPrefix(words[0], "a=crypto:") || words[1] != suite {
			continue
		}
		text, _, _ := strings.Cut(strings.TrimPrefix(words[2], "inline:"), "|")
		key, _ = base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
		return strings.TrimPrefix(words[0], "a=crypto:"), key
	}
	return "", nil
}

// keys takes the other side's key from its description (RFC 4568). The talker is locked.
func (t *talker) keys(sdp []byte) (err error) {
	_, theirs := cryptoLine(sdp)
	if len(theirs) != keyBytes {
		return fmt.Errorf("no key of %s in %q", suite, sdp)
	}
	ours := t.key()
	if t.seal, err = srtp.CreateContext(ours[:16], ours[16:], srtp.ProtectionProfileAes128CmHmacSha1_80); err != nil {
		return err
	}
	t.unseal, err = srtp.CreateContext(theirs[:16], theirs[16:], srtp.ProtectionProfileAes128CmHmacSha1_80)
	return err
}

// certificate is one for all phones.
var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, _ := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func fingerprint() string {
	var parts []string
	for _, b := range sha256.Sum256(certificate().Certificate[0]) {
		parts = append(parts, fmt.Sprintf("%02X", b))
	}
	return strings.Join(parts, ":")
}

// A handshake is a DTLS association for SRTP (RFC 5764) over a talker's socket.
type handshake struct {
	t      *talker
	peer   net.Addr
	client bool
	in     chan []byte
	ended  chan struct{}
	once   sync.Once
}

const handshakeTime = 10 * time.Second

func newHandshake(t *talker, peer netip.AddrPort, client bool) *handshake {
	return &handshake{t: t, peer: net.UDPAddrFromAddrPort(peer), client: client, in: make(chan []byte, 32), ended: make(chan struct{})}
}

func (s *handshake) close() { s.once.Do(func() { close(s.ended) }) }

// take gives the handshake a datagram; what it has no room for is sent again.
func (s *handshake) take(b []byte, _ netip.AddrPort) {
	select {
	case s.in <- append([]byte(nil), b...):
	default:
	}
}

// run shakes hands and gives the talker its keys. The connection stays open: a last flight that was lost is asked for again.
func (s *handshake) run(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	err := s.shake(ctx)
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	if err != nil {
		s.t.failed = fmt.Errorf("DTLS: %w", err)
	}
}

func (s *handshake) shake(ctx context.Context) error {
	shared := []dtls.Option{
		dtls.WithCertificates(certificate()), dtls.WithSRTPProtectionProfiles(dtls.SRTP_AES128_CM_HMAC_SHA1_80), dtls.WithInsecureSkipVerify(true), dtls.WithFlightInterval(100 * time.Millisecond),
	}
	var conn *dtls.Conn
	var err error
	if s.client {
		var options []dtls.ClientOption
		for _, o := range shared {
			options = append(options, o)
		}
		conn, err = dtls.ClientWithOptions(s, s.peer, options...)
	} else {
		options := []dtls.ServerOption{dtls.WithClientAuth(dtls.RequireAnyClientCert), dtls.WithInsecureSkipVerifyHello(true)}
		for _, o := range shared {
			options = append(options, o)
		}
		conn, err = dtls.ServerWithOptions(s, s.peer, options...)
	}
	if err != nil {
		return err
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	state, ok := conn.ConnectionState()
	if !ok {
		return errors.New("the handshake left no state")
	}
	exported, err := state.ExportKeyingMaterial("EXTRACTOR-dtls_srtp", nil, 2*keyBytes)
	if err != nil {
		return err
	}
	client, server := append(exported[:16:16], exported[32:46]...), append(exported[16:32:32], exported[46:]...)
	ours, theirs := server, client
	if s.client {
		ours, theirs = client, server
	}
	seal, err := srtp.CreateContext(ours[:16], ours[16:], srtp.ProtectionProfileAes128CmHmacSha1_80)
	if err != nil {
		return err
	}
	unseal, err := srtp.CreateContext(theirs[:16], theirs[16:], srtp.ProtectionProfileAes128CmHmacSha1_80)
	if err != nil {
		return err
	}
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	s.t.seal, s.t.unseal = seal, unseal
	return nil
}

// ReadFrom and the rest make the handshake a net.PacketConn of its own datagrams.
func (s *handshake) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case in := <-s.in:
		return copy(b, in), s.peer, nil
	case <-s.ended:
		return 0, nil, net.ErrClosed
	}
}

// WriteTo sends to the other side.
func (s *handshake) WriteTo(b []byte, to net.Addr) (int, error) { return s.t.conn.WriteTo(b, to) }

// Close ends reading.
func (s *handshake) Close() error { s.close(); return nil }

// LocalAddr is the talker's.
func (s *handshake) LocalAddr() net.Addr { return s.t.conn.LocalAddr() }

// SetDeadline does nothing: the handshake's time is bounded by its context.
func (s *handshake) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (s *handshake) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (s *handshake) SetWriteDeadline(time.Time) error { return nil }
