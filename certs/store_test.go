package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func newStore(t *testing.T, c Config) *Store {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// handshake runs one TLS handshake against s over loopback TCP and returns what the client saw.
func handshake(t *testing.T, s *Store, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", s.TLS())
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if c, err := l.Accept(); err == nil {
			_ = c.(*tls.Conn).Handshake()
			_ = c.Close()
		}
	}()
	defer func() {
		_ = l.Close()
		<-served
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	peer := tls.Client(c, client)
	err = peer.Handshake()
	return peer.ConnectionState(), err
}

func TestSelfSignedCertificateServesEveryHostItWasMadeFor(t *testing.T) {
	s := newStore(t, Config{Dir: t.TempDir(), Hosts: []string{"pbx.example", "127.0.0.1", "::1"}})
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	for _, host := range []string{"pbx.example", "127.0.0.1", "::1"} {
		state, err := handshake(t, s, &tls.Config{RootCAs: roots, ServerName: host})
		if err != nil {
			t.Errorf("handshake for %s: %v", host, err)
		}
		if state.Version != tls.VersionTLS13 {
			t.Errorf("version for %s: got %x, want TLS 1.3", host, state.Version)
		}
	}
	if _, err := handshake(t, s, &tls.Config{RootCAs: roots, ServerName: "other.example"}); err == nil {
		t.Error("a handshake for a host that is not in the certificate succeeded")
	}
	if got := s.Stats().Handshakes; got != 4 {
		t.Errorf("handshakes: got %d, want 4", got)
	}
}

func TestSelfSignedKeyIsP256AndOnlyItsOwnerCanReadIt(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, Config{Dir: dir})
	if key, ok := s.Certificate().PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("public key: got %T, want ECDSA P-256", s.Certificate().PublicKey)
	}
	st, err := os.Stat(filepath.Join(dir, selfSignedFile))
	if err != nil {
		t.Fatal(err)
	}
	if got := st.Mode().Perm(); got != 0o600 {
		t.Errorf("mode: got %v, want 0600", got)
	}
}

func TestSelfSignedCertificateIsKeptOverARestart(t *testing.T) {
	c := Config{Dir: t.TempDir(), Hosts: []string{"PBX.example.", "192.0.2.1"}}
	first, second := newStore(t, c), newStore(t, c)
	if !first.Certificate().Equal(second.Certificate()) {
		t.Error("the second start made another certificate")
	}
}

func TestSelfSignedCertificateIsMadeAnewWhenAHostIsAdded(t *testing.T) {
	dir := t.TempDir()
	first := newStore(t, Config{Dir: dir, Hosts: []string{"192.0.2.1"}})
	second := newStore(t, Config{Dir: dir, Hosts: []string{"192.0.2.1", "192.0.2.2"}})
	if first.Certificate().Equal(second.Certificate()) {
		t.Error("the certificate does not cover the new address")
	}
}

func TestDamagedSelfSignedCertificateIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, selfSignedFile), []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := newStore(t, Config{Dir: dir}).Stats().Renewals; got != 1 {
		t.Errorf("renewals: got %d, want 1", got)
	}
}

func TestTLSBefore12IsRefused(t *testing.T) {
	s := newStore(t, Config{Dir: t.TempDir()})
	old := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	if _, err := handshake(t, s, old); err == nil {
		t.Error("a TLS 1.1 client got through")
	}
	if _, err := handshake(t, s, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}); err != nil {
		t.Errorf("a TLS 1.2 client was refused: %v", err)
	}
}

func TestRunRenewsTheSelfSignedCertificateInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, Config{Dir: t.TempDir(), Every: time.Hour})
		first := s.Certificate()
		stop := run(t, s)
		time.Sleep(lifetime - renewBefore - time.Hour)
		synctest.Wait()
		if !s.Certificate().Equal(first) {
			t.Error("renewed long before it was due")
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if s.Certificate().Equal(first) {
			t.Error("not renewed when less than the margin was left")
		}
		if until := s.Certificate().NotAfter; until.Before(time.Now().Add(lifetime - 24*time.Hour)) {
			t.Errorf("the new certificate ends %v", until)
		}
		stop()
	})
}

// run starts s and returns what stops it and waits.
func run(t *testing.T, s *Store) func() {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// give writes a certificate for host as an operator would and returns the configuration that names it.
func give(t *testing.T, dir, host string) Config {
	t.Helper()
	text, err := selfSigned([]string{host}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := Config{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"), Every: time.Minute}
	for _, path := range []string{c.CertFile, c.KeyFile} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestGivenFilesAreServedAndExchangedWhenTheyChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := newStore(t, give(t, dir, "old.example"))
		config := s.TLS() // as a listener would hold it
		stop := run(t, s)
		give(t, dir, "renewed.example")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		cert, err := config.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := cert.Leaf.DNSNames[0], "renewed.example"; got != want {
			t.Errorf("served: got %s, want %s", got, want)
		}
		stop()
	})
}

func TestBrokenNewFilesLeaveTheFormerCertificateInUseAndAreSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, give(t, t.TempDir(), "good.example"))
		if err := os.WriteFile(s.c.CertFile, []byte("half a file"), 0o600); err != nil {
			t.Fatal(err)
		}
		stop := run(t, s)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got, want := s.Certificate().DNSNames[0], "good.example"; got != want {
			t.Errorf("served: got %s, want %s", got, want)
		}
		if got := s.Stats().Failures; got != 1 {
			t.Errorf("failures: got %d, want 1", got)
		}
		stop()
	})
}

func TestBadConfigurationIsSaidClearly(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.pem")
	for name, test := range map[string]struct {
		config Config
		want   string
	}{
		"nothing":       {Config{}, "neither certificate files nor a directory"},
		"key missing":   {Config{CertFile: missing}, "belong together"},
		"files missing": {Config{CertFile: missing, KeyFile: missing}, "missing.pem"},
		"bad host":      {Config{Dir: t.TempDir(), Hosts: []string{"a b"}}, `"a b" is neither`},
		"port in host":  {Config{Dir: t.TempDir(), Hosts: []string{"pbx.example:5061"}}, "neither a host name"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(test.config)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestOtherFilesAreUsedWhileHandshakesGoOnOrNotAtAll(t *testing.T) {
	s := newStore(t, Config{Dir: t.TempDir(), Hosts: []string{"self.example"}})
	served := func() string {
		cert, err := s.TLS().GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return cert.Leaf.DNSNames[0]
	}
	given := give(t, t.TempDir(), "given.example")
	for _, step := range []struct{ cert, key, want, says string }{
		{given.CertFile, given.KeyFile, "given.example", ""},
		{given.CertFile, "", "given.example", "belong together"},
		{given.CertFile + ".missing", given.KeyFile, "given.example", "missing"},
		{"", "", "self.example", ""},
	} {
		err := s.Use(step.cert, step.key)
		if (err == nil) != (step.says == "") || err != nil && !strings.Contains(err.Error(), step.says) {
			t.Errorf("Use(%q, %q): %v, want %q", step.cert, step.key, err, step.says)
		}
		if got := served(); got != step.want {
			t.Errorf("after Use(%q, %q) the certificate is for %s, want %s", step.cert, step.key, got, step.want)
		}
	}
}
