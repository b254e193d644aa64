package turn

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pion/turn/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	testSecret = []byte("a secret of more than 16 bytes")
	home       = netip.MustParseAddr("127.0.0.1")
	told       = netip.MustParseAddr("192.0.2.7") // what phones think our address is
)

// engine is a media engine that repeats what it hears, on one port of 127.0.0.1 that phones know as 192.0.2.7.
type engine struct {
	net.PacketConn
	port uint16
}

func (e *engine) Reach(addr netip.Addr) (netip.Addr, bool) { return home, addr == told }
func (e *engine) IsPort(port uint16) bool                  { return port == e.port }

func startEngine(t *testing.T) *engine {
	c := listenUDP(t)
	e := &engine{c, c.LocalAddr().(*net.UDPAddr).AddrPort().Port()}
	go func() {
		b := make([]byte, 2000)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(append([]byte("echo of "), b[:n]...), from)
		}
	}()
	return e
}

func listenUDP(t *testing.T) net.PacketConn {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// start runs a server; change adjusts its configuration.
func start(t *testing.T, e *engine, change func(*Config)) *Server {
	t.Helper()
	c := Config{
		UDP: []string{"127.0.0.1:0"}, TCP: []string{"127.0.0.1:0"}, TLS: []string{"127.0.0.1:0"}, TLSConfig: selfSigned(t),
		Secret: testSecret, Media: e, Address: []netip.Addr{told},
	}
	if change != nil {
		change(&c)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

func selfSigned(t *testing.T) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)},
		&x509.Certificate{}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// dial opens a way to the server: udp, tcp or tls.
func dial(t *testing.T, s *Server, way string) (conn net.PacketConn, server string) {
	t.Helper()
	for _, a := range s.Addrs() {
		if rest, found := strings.CutPrefix(a, way+":"); found {
			server = rest
		}
	}
	if way == "udp" {
		return listenUDP(t), server
	}
	var c net.Conn
	var err error
	if way == "tls" {
		c, err = tls.Dial("tcp", server, &tls.Config{InsecureSkipVerify: true})
	} else {
		c, err = net.Dial("tcp", server)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return turn.NewSTUNConn(c), server
}

// phone asks for an allocation.
func phone(t *testing.T, s *Server, way string, c Credential) (net.PacketConn, error) {
	t.Helper()
	conn, server := dial(t, s, way)
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: server, TURNServerAddr: server, Conn: conn, Username: c.Name, Password: c.Password, Realm: "tandem", RTO: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if err := client.Listen(); err != nil {
		t.Fatal(err)
	}
	relay, err := client.Allocate()
	if err == nil {
		t.Cleanup(func() { _ = relay.Close() })
	}
	return relay, err
}

func mustPhone(t *testing.T, s *Server, way string) net.PacketConn {
	t.Helper()
	relay, err := phone(t, s, way, Mint(testSecret, "demo/1000", time.Now().Add(time.Hour)))
	if err != nil {
		t.Fatalf("allocation over %s: %v", way, err)
	}
	return relay
}

func at(addr netip.Addr, port uint16) net.Addr {
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port))
}

// ask sends until an answer comes: a first packet only asks for the permission, and UDP may lose.
func ask(t *testing.T, relay net.PacketConn, to net.Addr, text string) (string, net.Addr) {
	t.Helper()
	b := make([]byte, 2000)
	for range 10 {
		if _, err := relay.WriteTo([]byte(text), to); err != nil {
			t.Fatal(err)
		}
		_ = relay.SetReadDeadline(time.Now().Add(time.Second))
		if n, from, err := relay.ReadFrom(b); err == nil {
			return string(b[:n]), from
		}
	}
	t.Fatalf("no answer from %s", to)
	return "", nil
}

func TestMediaIsHeardThroughTURNOverUDPAndTCPAndTLS(t *testing.T) {
	e := startEngine(t)
	s := start(t, e, nil)
	for _, way := range []string{"udp", "tcp", "tls"} {
		relay := mustPhone(t, s, way)
		if got := relay.LocalAddr().(*net.UDPAddr).AddrPort(); got.Addr() != told || got.Port() == 0 {
			t.Errorf("%s: the relay address is %s; want %s and a port", way, got, told)
		}
		text, from := ask(t, relay, at(told, e.port), "hello")
		if text != "echo of hello" || from.String() != at(told, e.port).String() {
			t.Errorf("%s: heard %q from %s; want the engine under the address that was told", way, text, from)
		}
	}
	if st := s.Stats(); st.Allocations != 3 || st.Connections != 2 || st.ToMedia < 3 || st.ToPhones < 3 {
		t.Errorf("%+v", st)
	}
}

func TestNothingButMediaIsReachedThroughTURN(t *testing.T) {
	e := startEngine(t)
	s := start(t, e, nil)
	other := listenUDP(t) // a service of this host that is not media
	relay := mustPhone(t, s, "udp")

	if _, err := relay.WriteTo([]byte("hello"), at(netip.MustParseAddr("198.51.100.1"), 53)); err == nil {
		t.Error("a stranger was permitted as a peer")
	}
	if st := s.Stats(); st.Forbidden == 0 {
		t.Error("the forbidden peer was not counted")
	}
	if _, err := relay.WriteTo([]byte("hello"), at(told, other.LocalAddr().(*net.UDPAddr).AddrPort().Port())); err != nil {
		t.Fatal(err)
	}
	ask(t, relay, at(told, e.port), "hello") // what came before it has been relayed or dropped
	if st := s.Stats(); st.Strayed == 0 {
		t.Error("the packet for a port that is not media's was not counted as strayed")
	}
	_ = other.SetReadDeadline(time.Now())
	if n, _, err := other.ReadFrom(make([]byte, 100)); err == nil {
		t.Errorf("another service heard %d bytes", n)
	}
}

func TestStrangersCannotSpeakThroughAnAllocation(t *testing.T) {
	e := startEngine(t)
	s := start(t, e, nil)
	relay := mustPhone(t, s, "udp")
	ask(t, relay, at(told, e.port), "hello")
	before := s.Stats().Strayed

	stranger := listenUDP(t) // on the media engine's host even, but no media port
	port := relay.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	if _, err := stranger.WriteTo([]byte("boo"), at(home, port)); err != nil {
		t.Fatal(err)
	}
	if text, _ := ask(t, relay, at(told, e.port), "again"); !strings.HasPrefix(text, "echo of ") {
		t.Errorf("heard %q", text)
	}
	if got := s.Stats().Strayed; got != before+1 {
		t.Errorf("%d packets strayed after the stranger's; want %d", got, before+1)
	}
}

func TestOnlyGoodCredentialsAllocate(t *testing.T) {
	e := startEngine(t)
	gone := map[string]bool{"demo/gone": true}
	s := start(t, e, func(c *Config) { c.Known = func(user string) bool { return !gone[user] } })
	hour := time.Now().Add(time.Hour)
	for name, c := range map[string]Credential{
		"of another secret":        Mint([]byte("quite another secret"), "demo/1000", hour),
		"expired":                  Mint(testSecret, "demo/1000", time.Now().Add(-time.Second)),
		"of a removed user":        Mint(testSecret, "demo/gone", hour),
		"without a time":           {Name: "demo/1000", Password: password(testSecret, "demo/1000")},
		"with a time made longer":  {Name: "9" + Mint(testSecret, "demo/1000", hour).Name, Password: Mint(testSecret, "demo/1000", hour).Password},
		"of a user without a name": Mint(testSecret, "", hour),
	} {
		if _, err := phone(t, s, "udp", c); err == nil {
			t.Errorf("a credential %s was taken", name)
		}
	}
	if st := s.Stats(); st.Allocated != 0 || st.Denied < 6 {
		t.Errorf("%+v", st)
	}
}

func TestAUserHasSoManyAllocationsAndNoMore(t *testing.T) {
	e := startEngine(t)
	s := start(t, e, func(c *Config) { c.PerUser, c.Allocations = 2, 3 })
	hour := time.Now().Add(time.Hour)
	alice, bob := Mint(testSecret, "demo/alice", hour), Mint(testSecret, "demo/bob", hour)
	again := Mint(testSecret, "demo/alice", hour.Add(time.Minute)) // another name of the same user
	for i, step := range []struct {
		c    Credential
		good bool
	}{{alice, true}, {again, true}, {alice, false}, {bob, true}, {bob, false}} {
		if _, err := phone(t, s, "udp", step.c); (err == nil) != step.good {
			t.Errorf("allocation %d of %s: %v", i, step.c.Name, err)
		}
	}
	if st := s.Stats(); st.Allocations != 3 || st.Quota != 2 {
		t.Errorf("%+v", st)
	}
}

func TestAnAllocationEndsWithItsConnection(t *testing.T) {
	e := startEngine(t)
	s := start(t, e, nil)
	conn, server := dial(t, s, "tcp")
	cred := Mint(testSecret, "demo/1000", time.Now().Add(time.Hour))
	client, err := turn.NewClient(&turn.ClientConfig{TURNServerAddr: server, Conn: conn, Username: cred.Name, Password: cred.Password, Realm: "tandem"})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Listen(); err != nil {
		t.Fatal(err)
	}
	relay, err := client.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	client.Close()
	defer relay.Close() // ends its timers
	eventually(t, "the allocation and its connection are gone", func() bool {
		st := s.Stats()
		return st.Allocations == 0 && st.Connections == 0
	})
}

func TestConnectionsAreBounded(t *testing.T) {
	e := startEngine(t)
	s := start(t, e, func(c *Config) { c.ConnectionsPerIP = 2 })
	dial(t, s, "tcp")
	dial(t, s, "tcp")
	eventually(t, "two are in", func() bool { return s.Stats().Connections == 2 })
	_, server := dial(t, s, "tcp")
	eventually(t, "the third is refused", func() bool { return s.Stats().Refused == 1 })
	c, err := net.Dial("tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection beyond the limit says something")
	}
}

func TestAFailedHandshakeLeavesNothing(t *testing.T) {
	e := startEngine(t)
	s := start(t, e, nil)
	var server string
	for _, a := range s.Addrs() {
		if rest, found := strings.CutPrefix(a, "tls:"); found {
			server = rest
		}
	}
	c, err := net.Dial("tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(bytes.Repeat([]byte("this is no TLS "), 10)); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	for err == nil {
		_, err = c.Read(make([]byte, 100))
	}
	eventually(t, "the connection is out of the books", func() bool { return s.Stats().Connections == 0 })
}

func TestAnAllocationHasItsBitRate(t *testing.T) {
	e := startEngine(t)
	s := start(t, e, func(c *Config) { c.BitRate = 8000 }) // 1000 bytes a second, and a second's worth at once
	r := &relay{PacketConn: listenUDP(t), s: s, began: time.Now()}
	for range 20 {
		if _, err := r.WriteTo(make([]byte, 100), at(told, e.port)); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.Stats(); st.ToMedia+st.Limited != 20 || st.Limited < 5 {
		t.Errorf("%d of 20 packets passed and %d were dropped", st.ToMedia, st.Limited)
	}
}

func TestConfigurationsThatCannotWorkAreRefused(t *testing.T) {
	good := Config{UDP: []string{"127.0.0.1:0"}, Secret: testSecret, Media: &engine{}, Address: []netip.Addr{told}}
	want := map[string]func(*Config){
		"no address to listen on":              func(c *Config) { c.UDP = nil },
		"TLS listeners want a TLSConfig":       func(c *Config) { c.TLS = []string{"127.0.0.1:0"} },
		"the secret has fewer than 16 bytes":   func(c *Config) { c.Secret = []byte("short") },
		"no media to relay to":                 func(c *Config) { c.Address = nil },
		"a negative limit":                     func(c *Config) { c.PerUser = -1 },
		"media is not received at 203.0.113.1": func(c *Config) { c.Address = []netip.Addr{netip.MustParseAddr("203.0.113.1")} },
	}
	for text, change := range want {
		c := good
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v; want %q", err, text)
		}
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
}

func TestATakenPortIsSaid(t *testing.T) {
	e := startEngine(t)
	taken := e.LocalAddr().String()
	s, err := New(Config{UDP: []string{taken}, Secret: testSecret, Media: e, Address: []netip.Addr{told}})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Listen()
	if err == nil || !strings.Contains(err.Error(), "TURN address "+taken) || !strings.Contains(err.Error(), "turn.udp") {
		t.Errorf("%v", err)
	}
}

// The figures of an openssl HMAC: printf 1893456000:demo/1000 | openssl dgst -sha1 -hmac 'a secret of more than 16 bytes' -binary | base64
func TestCredentialsAreThoseOfTURNREST(t *testing.T) {
	expires := time.Unix(1893456000, 0)
	want := Credential{Name: "1893456000:demo/1000", Password: "ST2zso0r9LeCwsap4UEvU/Iahnc=", Expires: expires}
	if diff := cmp.Diff(want, Mint(testSecret, "demo/1000", expires)); diff != "" {
		t.Error(diff)
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	end := time.After(10 * time.Second)
	for !done() {
		select {
		case <-look.C:
		case <-end:
			t.Fatalf("never: %s", what)
		}
	}
}
