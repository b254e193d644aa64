// Package certs holds the key with which a node speaks TLS: to phones (SIP over TLS, WSS) and to browsers (HTTPS).
//
// Either an operator gives a certificate and its key as files, or the node makes a self-signed one in its directory and keeps it, so
// that a phone that was told to trust it once goes on trusting it after a restart. A Store hands out one tls.Config
// whose certificate is exchanged under it: connections that stand keep the old one, new handshakes get the new one, nothing restarts.
// Run renews the self-signed certificate in time and picks up given files when they change on disk.
package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config says where the certificate comes from.
type Config struct {
	Dir      string   // the self-signed certificate is kept here; needed when no files are given
	CertFile string   // PEM, leaf first; both files or none
	KeyFile  string   // PEM
	Hosts    []string // DNS names and IP addresses the self-signed certificate is for; localhost when empty
	Log      *slog.Logger

	Every time.Duration // how often Run looks at the files and the expiry; 0 is a minute
}

var (
	errHalf    = errors.New("certs: a certificate file and a key file belong together; only one is given")
	errNeither = errors.New("certs: neither certificate files nor a directory for a self-signed certificate is given")
)

// files are where the operator's certificate lies, "" when there is none.
type files struct{ cert, key string }

// Store owns the current certificate. All methods may be called from any goroutine.
type Store struct {
	c       Config
	current atomic.Pointer[tls.Certificate]

	counters struct{ reloads, failures, renewals, handshakes atomic.Uint64 }

	files atomic.Pointer[files] // Config's at first, then those of Use; written under mu

	mu     sync.Mutex // one reload at a time
	stamps [2]stamp   // the files as of the last reload
}

// stamp tells whether a file has changed since it was read.
type stamp struct {
	modified time.Time
	size     int64
}

// New loads the certificate, and makes one first if that is its task. It starts nothing.
func New(c Config) (*Store, error) {
	if (c.CertFile == "") != (c.KeyFile == "") {
		return nil, errHalf
	}
	if c.CertFile == "" && c.Dir == "" {
		return nil, errNeither
	}
	if len(c.Hosts) == 0 {
		c.Hosts = []string{"localhost", "127.0.0.1", "::1"}
	}
	for _, h := range c.Hosts {
		if err := checkHost(h); err != nil {
			return nil, err
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Every <= 0 {
		c.Every = time.Minute
	}
	s := &Store{c: c}
	s.files.Store(&files{c.CertFile, c.KeyFile})
	if err := s.Reload(); err != nil {
		return nil, err
	}
	return s, nil
}

func checkHost(h string) error {
	if net.ParseIP(h) != nil {
		return nil
	}
	if h == "" || len(h) > 253 || strings.ContainsFunc(h, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == ':' }) {
		return fmt.Errorf("certs: %q is neither a host name nor an IP address", h)
	}
	return nil
}

// given says whether the operator gave files, rather than leaving it to us.
func (s *Store) given() bool { return s.files.Load().cert != "" }

// Use exchanges the files that the certificate is read from, "" for a self-signed one, and reads it again even when the names are the same.
// On an error the former files and the former certificate stay.
func (s *Store) Use(certFile, keyFile string) error {
	former := s.files.Load()
	next := &files{certFile, keyFile}
	switch {
	case (certFile == "") != (keyFile == ""):
		return errHalf
	case certFile == "" && s.c.Dir == "":
		return errNeither
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files.Store(next)
	if err := s.reload(); err != nil {
		s.files.Store(former)
		return err
	}
	return nil
}

// TLS returns a server configuration for TLS 1.2 and later (RFC 8996 forbids the older ones) that always serves the current
// certificate. Callers may change their copy, NextProtos for example.
func (s *Store) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			s.counters.handshakes.Add(1)
			return s.current.Load(), nil
		},
	}
}

// Certificate returns the leaf that is served now.
func (s *Store) Certificate() *x509.Certificate { return s.current.Load().Leaf }

// Reload reads the certificate again and serves it from the next handshake on. When it cannot be used the former one stays.
// A self-signed one that is missing, damaged, near its end or for other hosts is made anew.
func (s *Store) Reload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reload()
}

// reload is Reload with mu held.
func (s *Store) reload() error {
	cert, err := s.load()
	if err != nil {
		s.counters.failures.Add(1)
		return err
	}
	old := s.current.Swap(cert)
	s.counters.reloads.Add(1)
	if old == nil || !slices.Equal(old.Leaf.Raw, cert.Leaf.Raw) {
		s.c.Log.Info("certificate in use", "subject", cert.Leaf.Subject.String(), "hosts", strings.Join(hostsOf(cert.Leaf), " "),
			"until", cert.Leaf.NotAfter.UTC().Format(time.RFC3339), "fingerprint", fingerprint(cert.Leaf))
	}
	return nil
}

func (s *Store) load() (*tls.Certificate, error) {
	if !s.given() {
		return s.loadSelfSigned()
	}
	stamps := s.stampsNow()
	cert, err := s.loadGiven()
	s.stamps = stamps // also after a failure: complain once about one state of the files
	return cert, err
}

func (s *Store) loadGiven() (*tls.Certificate, error) {
	f := s.files.Load()
	cert, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("certs: certificate %s with key %s: %w", f.cert, f.key, err)
	}
	switch now := time.Now(); {
	case now.After(cert.Leaf.NotAfter):
		s.c.Log.Warn("the certificate has expired; phones that check it will refuse it", "file", f.cert, "until", cert.Leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(cert.Leaf.NotBefore):
		s.c.Log.Warn("the certificate is not valid yet; phones that check it will refuse it", "file", f.cert, "from", cert.Leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return &cert, nil
}

// Run looks every Config.Every whether the certificate must be exchanged, and does so. It returns nil when ctx ends.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(s.c.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if !s.stale() {
				continue
			}
			if err := s.Reload(); err != nil {
				s.c.Log.Error("the certificate could not be exchanged, the former one stays", "err", err)
			}
		}
	}
}

// stale says whether Reload would probably bring another certificate.
func (s *Store) stale() bool {
	if !s.given() {
		return renewalDue(s.Certificate())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stampsNow() != s.stamps
}

func (s *Store) stampsNow() (out [2]stamp) {
	f := s.files.Load()
	for i, path := range []string{f.cert, f.key} {
		if st, err := os.Stat(path); err == nil {
			out[i] = stamp{modified: st.ModTime(), size: st.Size()}
		}
	}
	return out
}

// Stats are counters since New and what is true now.
type Stats struct {
	Handshakes uint64 // certificates handed out
	Reloads    uint64
	Failures   uint64 // reloads that failed, the former certificate stayed
	Renewals   uint64 // self-signed certificates made
	SelfSigned bool
	NotAfter   time.Time // when the current certificate ends
}

// Stats may be called from any goroutine.
func (s *Store) Stats() Stats {
	return Stats{
		Handshakes: s.counters.handshakes.Load(), Reloads: s.counters.reloads.Load(), Failures: s.counters.failures.Load(),
		Renewals: s.counters.renewals.Load(), SelfSigned: !s.given(), NotAfter: s.Certificate().NotAfter,
	}
}
