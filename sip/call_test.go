package sip

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/fakephone"
	"tandem/internal/simnet"
	"tandem/sip/transport"
)

// stage is a server with phones on a simulated network, in fake time.
type stage struct {
	t      *testing.T
	net    *simnet.Network
	srv    *Server
	loc    *Location
	hosts  int
	byHost map[netip.Addr]*simnet.Host
	dirty  bool // tables need not be empty at the end
	cfg    Config
	stop   func() // ends srv

	mu       sync.Mutex
	onInvite func(in *Inbound) // nil: the stage's own way
	relay    Relay             // template of the stage's own way
	results  []Result
	story    []string // what CallEvents were told
	changes  int

	onAnswered func(*Dialog) // on the shard
	dialogs    []*Dialog
	media      *stageMedia
}

const (
	stageServer  = "192.0.2.1"
	stageServer6 = "2001:db8::1"
)

// play runs a test on a stage. At its end, once every transaction has had its time, the server must hold nothing.
func play(t *testing.T, configure func(*Config), fn func(t *testing.T, s *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, configure)
		fn(t, s)
		if t.Failed() || s.dirty {
			return
		}
		time.Sleep(64*timerT1 + 10*time.Second)
		if st := s.srv.Stats(); st.Transactions != 0 || st.Branches != 0 || st.Dialogs != 0 || st.Handlers != 0 {
			t.Errorf("the server still holds %d transactions, %d branches, %d dialogs, %d handlers", st.Transactions, st.Branches, st.Dialogs, st.Handlers)
		}
		if st := s.srv.Stats(); st.Malformed != 0 {
			t.Errorf("%d messages of the phones were malformed", st.Malformed)
		}
	})
}

func newStage(t *testing.T, configure func(*Config)) *stage {
	t.Helper()
	s := &stage{t: t, net: simnet.ForTest(t, 1), loc: NewLocation(), byHost: make(map[netip.Addr]*simnet.Host)}
	h := s.net.Host(stageServer, stageServer6)
	log := newStageLog(t, s.loc)
	digest, err := NewDigest(DigestConfig{Secrets: stageSecrets{}})
	if err != nil {
		t.Fatal(err)
	}
	registrar, err := NewRegistrar(RegistrarConfig{Location: s.loc, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Transport: transport.Config{
			UDP: []string{stageServer + ":5060"}, TCP: []string{stageServer + ":5060"}, Shards: 2, ListenPacket: h.ListenPacket, Listen: h.Listen, Dial: h.Dial,
		},
		Digest: digest, Registrar: registrar, Location: s.loc, Directory: stageDirectory{}, Handler: s, TraceBytes: 1 << 18,
	}
	if configure != nil {
		configure(&cfg)
	}
	s.cfg = cfg
	s.start(nil)
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			for _, m := range s.srv.Trace(80) {
				way := "<-"
				if m.Out {
					way = "->"
				}
				line, _, _ := strings.Cut(m.Text, "\r\n")
				t.Logf("%s %s %-22v %s", m.At.Format("04:05.000"), way, m.Remote, line)
			}
		}
	})
	return s
}

// start runs a server. prepare, which may be nil, is called while it listens and does not run.
func (s *stage) start(prepare func()) {
	s.t.Helper()
	var err error
	if s.srv, err = New(s.cfg); err != nil {
		s.t.Fatal(err)
	}
	if err := s.srv.Listen(); err != nil {
		s.t.Fatal(err)
	}
	if prepare != nil {
		prepare()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.srv.Run(ctx) }()
	s.stop = func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("Run: %v", err)
		}
	}
}

// stageLog applies commands in the order they were proposed, in a goroutine of its own, as the agreed log does.
type stageLog struct {
	loc   *Location
	queue chan func()
}

func newStageLog(t *testing.T, loc *Location) *stageLog {
	l := &stageLog{loc: loc, queue: make(chan func(), 1024)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for fn := range l.queue {
			fn()
		}
	})
	t.Cleanup(func() { close(l.queue); wg.Wait() })
	return l
}

func (l *stageLog) ProposeAsync(_ string, cmd []byte, done func(any, error)) error {
	l.queue <- func() { done(l.loc.Apply(cmd), nil) }
	return nil
}

// stageDirectory knows alice, bob, carol, dave, erin and frank of example.com, whose extensions are 201 to 206.
type stageDirectory struct{}

var stageUsers = []string{"alice", "bob", "carol", "dave", "erin", "frank"}

func (stageDirectory) User(tenant, name string) (string, bool) {
	for i, u := range stageUsers {
		if tenant == "example" && (name == u || name == fmt.Sprint(201+i)) {
			return u, true
		}
	}
	return "", false
}

func (stageDirectory) TenantOf(host string) (string, bool) {
	if host == "example.com" || host == stageServer {
		return "example", true
	}
	return "", false
}

func (stageDirectory) HasTenant(name string) bool { return name == "example" }

// stageSecrets gives every user the password "secret of <user>".
type stageSecrets struct{}

func (stageSecrets) HA1(tenant, name string, sha bool) (ha1 [64]byte, n int, user string, ok bool) {
	user, ok = stageDirectory{}.User(tenant, name)
	text := name + ":" + tenant + ":secret of " + user
	if !ok {
		text = "nobody:knows:this"
	}
	if sha {
		sum := sha256.Sum256([]byte(text))
		return ha1, hex.Encode(ha1[:], sum[:]), user, ok
	}
	sum := md5.Sum([]byte(text))
	return ha1, hex.Encode(ha1[:], sum[:]), user, ok
}

// ServeInvite rings the phones of whoever was dialled, or does what the test says.
func (s *stage) ServeInvite(in *Inbound) {
	s.mu.Lock()
	fn := s.onInvite
	s.mu.Unlock()
	if fn != nil {
		fn(in)
		return
	}
	s.ring(in, s.template())
}

func (s *stage) template() Relay {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.relay
	r.Events = s
	if s.media != nil {
		r.Media = s.media
	}
	return r
}

// ring relays to the phones of the user dialled and passes the best answer on.
func (s *stage) ring(in *Inbound, r Relay) {
	if r.Groups == nil {
		user, ok := stageDirectory{}.User(in.Tenant, in.URI.UserDecoded())
		if !ok {
			in.Refuse(404, "no such user")
			return
		}
		r.Groups = s.srv.Targets(in.Tenant, user, in.At)
	}
	in.Start(r, func(result Result) {
		s.mu.Lock()
		s.results = append(s.results, result)
		s.mu.Unlock()
		if !result.Answered && !result.Cancelled {
			in.RefuseBest(result.Status, "")
		}
	})
}

// ServeRequest relays to the phones of a user.
func (s *stage) ServeRequest(in *Inbound) { s.ring(in, Relay{}) }

// Ringing, Answered, Changed and Ended make stage a CallEvents.
func (s *stage) Ringing(status int, t Target) { s.tell("ringing %d %s", status, t.User) }

func (s *stage) Answered(d *Dialog, t Target) {
	s.mu.Lock()
	s.dialogs = append(s.dialogs, d)
	s.mu.Unlock()
	s.tell("answered %s", t.User)
	if s.onAnswered != nil {
		s.onAnswered(d)
	}
}

func (s *stage) lastDialog() *Dialog {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dialogs[len(s.dialogs)-1]
}

func (s *stage) Changed() {
	s.mu.Lock()
	s.changes++
	s.mu.Unlock()
}

func (s *stage) Ended(reason string, byCaller bool) { s.tell("ended %s %v", reason, byCaller) }

func (s *stage) tell(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.story = append(s.story, fmt.Sprintf(format, args...))
}

func (s *stage) told() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.story, ", ")
}

func (s *stage) result(i int) Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i >= len(s.results) {
		s.t.Fatalf("only %d relays have ended", len(s.results))
	}
	return s.results[i]
}

// phone makes a phone of a user on a host of its own.
func (s *stage) phone(user string, set ...func(*fakephone.Config)) *fakephone.Phone {
	s.hosts++
	cfg := fakephone.Config{
		Host: s.net.Host(fmt.Sprintf("198.51.%d.%d", 100+s.hosts/250, s.hosts%250)), Server: netip.MustParseAddrPort(stageServer + ":5060"), User: user, Domain: "example.com",
		Password: "secret of " + user,
	}
	s.byHost[cfg.Host.Addr()] = cfg.Host
	for _, fn := range set {
		fn(&cfg)
	}
	return fakephone.New(s.t, cfg)
}

// registered makes a phone that has registered.
func (s *stage) registered(user string, set ...func(*fakephone.Config)) *fakephone.Phone {
	s.t.Helper()
	return s.phone(user, set...).MustRegister()
}

func overTCP(c *fakephone.Config) { c.Net = "tcp" }

// pair are a caller and a callee that answers after ringing for a second.
func (s *stage) pair(set ...func(*fakephone.Config)) (alice, bob *fakephone.Phone) {
	alice, bob = s.registered("alice", set...), s.registered("bob", set...)
	bob.OnInvite(answerAfter(time.Second))
	return alice, bob
}

func answerAfter(d time.Duration) func(*fakephone.Call) {
	return func(c *fakephone.Call) {
		c.Ring()
		time.Sleep(d)
		select {
		case <-c.Cancelled():
		default:
			c.Answer(sdpOf("bob"))
		}
	}
}

func refuseWith(status int, headers ...string) func(*fakephone.Call) {
	return func(c *fakephone.Call) { c.Refuse(status, headers...) }
}

func sdpOf(who string) string {
	return "v=0\r\no=" + who + " 1 1 IN IP4 198.51.100.99\r\ns=-\r\nc=IN IP4 198.51.100.99\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=sendrecv\r\n"
}

// expect compares and tells both.
func expect[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// only is the one message of a list.
func only(t *testing.T, what string, list []*fakephone.Message) *fakephone.Message {
	t.Helper()
	if len(list) != 1 {
		t.Fatalf("%s: got %d messages, want 1: %v", what, len(list), list)
	}
	return list[0]
}

func TestCallIsSetUpAndTakenDown(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		call := alice.Call("bob", sdpOf("alice"))
		ok := call.MustAnswer()
		time.Sleep(3 * time.Second)
		expect(t, "dialogs during the call", s.srv.Stats().Dialogs, 1)
		expect(t, "BYE", call.Bye().Status(), 200)
		expect(t, "ACKs at the callee", len(bob.Requests("ACK")), 1)
		expect(t, "BYEs at the callee", len(bob.Requests("BYE")), 1)
		expect(t, "the answer's body", ok.Body(), sdpOf("bob"))
		expect(t, "story", s.told(), "ringing 180 bob, answered bob, ended BYE true")
		for _, status := range []int{100, 180, 200} {
			only(t, fmt.Sprint("responses ", status), alice.Responses(status, "INVITE"))
		}
	})
}

// stageMedia is a Media that marks what passes and writes down what it was asked for.
type stageMedia struct {
	mu     sync.Mutex
	calls  []string
	refuse error // answer to the next Offer
	closed int
	terms  map[string]uint8
}

func (m *stageMedia) note(verb string, fromCaller bool, sdp string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	side := "callee"
	if fromCaller {
		side = "caller"
	}
	m.calls = append(m.calls, verb+" of "+side)
	if err := m.refuse; err != nil {
		m.refuse = nil
		return "", err
	}
	return strings.Replace(sdp, "s=-", "s=relayed "+verb, 1), nil
}

func (m *stageMedia) Offer(fromCaller bool, sdp string, _, _ transport.Flow, terms uint8) (string, error) {
	if terms == stageRefuses {
		return "", errors.New("no words for this kind of phone")
	}
	return m.note(on("offer", terms), fromCaller, sdp)
}

func (m *stageMedia) Answer(fromCaller bool, sdp string, _, _ transport.Flow, terms uint8) (string, error) {
	return m.note(on("answer", terms), fromCaller, sdp)
}

// stageRefuses are terms on which nothing is offered.
const stageRefuses = 255

func on(verb string, terms uint8) string {
	if terms > 0 {
		verb += fmt.Sprintf(" on terms %d", terms)
	}
	return verb
}

func (m *stageMedia) Terms(_, user string) uint8 { return m.terms[user] }

func (m *stageMedia) Rollback() { _, _ = m.note("rollback", true, "") }

func (m *stageMedia) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed++
}

func (m *stageMedia) told() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.calls, ", ")
}

func (m *stageMedia) closes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}

func TestInviteReachesTheCalleeAsItWasSent(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		body := "v=0\r\nthis is no real description, but it is mine: \x01\xff\r\n"
		call := alice.Call("bob", body, "k: timer, 100rel", "X-Odd  :   spaces   kept", "Subject: a, b; c", "Privacy: none")
		call.MustAnswer()
		got := bob.Requests("INVITE")[0]
		sent := alice.Sent("INVITE")
		branch := got.Branch()
		if !strings.HasPrefix(branch, "z9hG4bK") {
			t.Errorf("branch %q", branch)
		}
		want := "INVITE " + bob.Contact() + " SIP/2.0\r\n" +
			"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=" + branch + ";rport\r\n" +
			"Record-Route: <sip:192.0.2.1:5060;lr>\r\n" +
			strings.TrimPrefix(sent[len(sent)-1].Text, "INVITE sip:bob@example.com SIP/2.0\r\n")
		want = strings.Replace(want, ";rport\r\nMax-Forwards: 70", ";rport=5060;received=198.51.100.1\r\nMax-Forwards: 69", 1)
		want = strings.Replace(want, "\r\n\r\n", "\r\nP-Asserted-Identity: <sip:alice@example.com>\r\nSession-Expires: 1800\r\n\r\n", 1)
		if i := strings.Index(want, "Proxy-Authorization:"); i >= 0 {
			_, rest, _ := strings.Cut(want[i:], "\r\n")
			want = want[:i] + rest
		}
		if got.Text != want && strings.Replace(got.Text, ";received=198.51.100.1;rport=5060", ";rport=5060;received=198.51.100.1", 1) != want {
			t.Errorf("bob got\n%s\nwant\n%s", got.Text, want)
		}
		expect(t, "Proxy-Authorization at bob", got.Has("Proxy-Authorization"), false)
		wire := got.Request()
		expect(t, "Max-Forwards as sipgo reads it", wire.MaxForwards().Val(), 69)
		expect(t, "Record-Route as sipgo reads it", wire.RecordRoute().Address.Host, stageServer)
		expect(t, "Request-URI as sipgo reads it", wire.Recipient.String(), bob.Contact())
		ok := call.MustAnswer()
		expect(t, "Vias at the caller", len(ok.Headers("Via")), 1)
		expect(t, "Contact as sipgo reads it", ok.Response().Contact().Address.String(), bob.Contact())
		if via := ok.Header("Via"); !strings.Contains(via, "rport=5060") || !strings.Contains(via, "received=198.51.100.1") {
			t.Errorf("Via at the caller: %s", via)
		}
		call.Bye()
	})
}

func TestCallerBehindANATIsAnsweredWhereItIs(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		nat := s.net.NAT("203.0.113.7", simnet.NATConfig{Kind: simnet.PortRestricted})
		inside := func(host string) func(*fakephone.Config) {
			return func(c *fakephone.Config) { c.Host = nat.Host(host) }
		}
		alice, bob := s.registered("alice", inside("10.0.0.2")), s.registered("bob", inside("10.0.0.3"))
		bob.OnInvite(answerAfter(time.Second))
		call := alice.Call("bob", sdpOf("alice"))
		ok := call.MustAnswer()
		if via := ok.Header("Via"); !strings.Contains(via, "received=203.0.113.7") {
			t.Errorf("Via: %s", via)
		}
		expect(t, "BYE of the callee", bob.Calls()[0].Bye().Status(), 200)
		expect(t, "ended", call.WaitEnded(time.Second), true)
	})
}

func TestPhoneWithoutRPortIsAnsweredAtItsViaPort(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice := s.registered("alice", func(c *fakephone.Config) { c.NoRPort = true })
		bob := s.registered("bob")
		bob.OnInvite(answerAfter(time.Second))
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		via := bob.Requests("INVITE")[0].Headers("Via")[1]
		if strings.Contains(via, "rport") {
			t.Errorf("Via at bob: %s", via)
		}
		call.Bye()
	})
}

func TestOneShardKeepsTheOrderOfACall(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.registered("alice", overTCP), s.registered("bob", overTCP)
		bob.OnInvite(func(c *fakephone.Call) { c.Ring(); c.Answer(sdpOf("bob")) })
		for range 50 {
			call := alice.Call("bob", sdpOf("alice"))
			call.MustAnswer()
			call.Bye()
		}
		last := make(map[string]int)
		for _, m := range alice.Messages() {
			if _, method := m.CSeq(); m.Out || method != "INVITE" || m.Status() == 407 {
				continue
			}
			if m.Status() < last[m.CallID()] {
				t.Errorf("%d behind %d in %s", m.Status(), last[m.CallID()], m.CallID())
			}
			last[m.CallID()] = m.Status()
		}
		acked := make(map[string]bool)
		for _, m := range bob.Messages() {
			switch m.Method() {
			case "ACK":
				acked[m.CallID()] = true
			case "BYE":
				if !acked[m.CallID()] {
					t.Errorf("BYE before ACK in %s", m.CallID())
				}
			}
		}
	})
}

func TestHeldCallsAndTablesAreGoneAfterwards(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		bob.OnInvite(func(c *fakephone.Call) { c.Answer(sdpOf("bob")) })
		var calls []*fakephone.Call
		for range 100 {
			call := alice.Call("bob", sdpOf("alice"))
			call.MustAnswer()
			calls = append(calls, call)
		}
		time.Sleep(40 * time.Second)
		st := s.srv.Stats()
		expect(t, "dialogs", st.Dialogs, 100)
		expect(t, "transactions", st.Transactions, 0)
		expect(t, "branches", st.Branches, 0)
		for _, c := range calls {
			c.Bye()
		}
		expect(t, "dialogs", s.srv.Stats().Dialogs, 0)
	})
}

func TestPhonesOfBothAddressFamiliesTalkToEachOther(t *testing.T) {
	play(t, func(c *Config) { c.Transport.UDP = append(c.Transport.UDP, "["+stageServer6+"]:5062") }, func(t *testing.T, s *stage) {
		six := func(c *fakephone.Config) {
			c.Host, c.Server = s.net.Host("2001:db8:1::2"), netip.MustParseAddrPort("["+stageServer6+"]:5062")
		}
		alice, bob := s.registered("alice"), s.registered("bob", six)
		bob.OnInvite(answerAfter(time.Second))
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		invite := bob.Requests("INVITE")[0]
		if via := invite.Header("Via"); !strings.HasPrefix(via, "SIP/2.0/UDP ["+stageServer6+"]:5062;") {
			t.Errorf("Via: %s", via)
		}
		expect(t, "Record-Route", strings.Join(invite.Headers("Record-Route"), ", "), "<sip:["+stageServer6+"]:5062;lr>, <sip:"+stageServer+":5060;lr>")
		expect(t, "re-INVITE", call.Reinvite(sdpOf("alice")).Status(), 200)
		expect(t, "BYE of the callee", bob.Calls()[0].Bye().Status(), 200)
		expect(t, "ended", call.WaitEnded(time.Second), true)
	})
}
