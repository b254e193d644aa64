package sip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/fakephone"
	"tandem/internal/simnet"
	"tandem/sip/transport"
)

// A troupe is some nodes with one agreed table, in fake time. What they tell each other takes half a millisecond, what is agreed
// on through one of them is known to the others behind a lag.
type troupe struct {
	t      *testing.T
	net    *simnet.Network
	stages []*stage
	lag    time.Duration
	dirty  bool

	mu    sync.Mutex // orders what is proposed
	dead  []bool
	ways  map[[2]int]chan func()
	known []*atomic.Int64 // commands each node has applied
	said  int64           // commands proposed
	logs  []chan func()
}

func node(i int) string { return fmt.Sprintf("n%d", i+1) }

func address(i int) string { return fmt.Sprintf("192.0.2.%d", i+1) }

func at(i int) func(*fakephone.Config) {
	return func(c *fakephone.Config) { c.Server = netip.MustParseAddrPort(address(i) + ":5060") }
}

// playTogether runs a test on some nodes. At its end they must hold nothing.
func playTogether(t *testing.T, nodes int, configure func(i int, c *Config), fn func(t *testing.T, tr *troupe)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		tr := &troupe{t: t, net: simnet.ForTest(t, 1), lag: 20 * time.Millisecond, dead: make([]bool, nodes), ways: make(map[[2]int]chan func())}
		for i := range nodes {
			tr.join(i, nodes, configure)
		}
		tr.introduce()
		fn(t, tr)
		if t.Failed() || tr.dirty {
			return
		}
		time.Sleep(64*timerT1 + 10*time.Second)
		for i, s := range tr.stages {
			if tr.dead[i] {
				continue
			}
			st := s.srv.Stats()
			if st.Transactions != 0 || st.Branches != 0 || st.Dialogs != 0 || st.Handlers != 0 {
				t.Errorf("%s still holds %d transactions, %d branches, %d dialogs, %d handlers", node(i), st.Transactions, st.Branches, st.Dialogs, st.Handlers)
			}
			if st.Malformed != 0 || st.Edge.Malformed != 0 {
				t.Errorf("%s has seen %d malformed messages of phones, %d of nodes", node(i), st.Malformed, st.Edge.Malformed)
			}
		}
	})
}

func (tr *troupe) join(i, nodes int, configure func(i int, c *Config)) {
	s := &stage{t: tr.t, net: tr.net, loc: NewLocation(), byHost: make(map[netip.Addr]*simnet.Host)}
	h := tr.net.Host(address(i))
	tr.logs = append(tr.logs, tr.worker())
	tr.known = append(tr.known, new(atomic.Int64))
	for j := range nodes {
		tr.ways[[2]int{i, j}] = tr.worker()
	}
	digest, err := NewDigest(DigestConfig{Secrets: stageSecrets{}, Key: [32]byte{7}})
	if err != nil {
		tr.t.Fatal(err)
	}
	registrar, err := NewRegistrar(RegistrarConfig{Location: s.loc, Log: troupeLog{tr, i}, Node: node(i), Epoch: uint64(i + 1)})
	if err != nil {
		tr.t.Fatal(err)
	}
	s.cfg = Config{
		Transport: transport.Config{
			UDP: []string{address(i) + ":5060"}, TCP: []string{address(i) + ":5060"}, Shards: 2, ListenPacket: h.ListenPacket, Listen: h.Listen, Dial: h.Dial,
		},
		Digest: digest, Registrar: registrar, Location: s.loc, Directory: stageDirectory{}, Handler: s, TraceBytes: 1 << 18,
		Edge:    &EdgeConfig{Node: node(i), Key: [32]byte{9}, Send: func(to, kind string, payload []byte) error { return tr.deliver(i, to, kind, payload) }},
		CatchUp: func(ctx context.Context) error { return tr.catchUp(ctx, i) },
	}
	if configure != nil {
		configure(i, &s.cfg)
	}
	s.start(nil)
	tr.stages = append(tr.stages, s)
	tr.t.Cleanup(func() {
		s.stop()
		if tr.t.Failed() {
			for _, m := range s.srv.Trace(60) {
				way := "<-"
				if m.Out {
					way = "->"
				}
				line, _, _ := strings.Cut(m.Text, "\r\n")
				tr.t.Logf("%s %s %s %-22v %s", node(i), m.At.Format("04:05.000"), way, m.Remote, line)
			}
		}
	})
}

// worker runs what it is given, in order.
func (tr *troupe) worker() chan func() {
	ch := make(chan func(), 4096)
	var wg sync.WaitGroup
	wg.Go(func() {
		for fn := range ch {
			fn()
		}
	})
	tr.t.Cleanup(func() { close(ch); wg.Wait() })
	return ch
}

// introduce tells each node of the others.
func (tr *troupe) introduce() {
	for i, s := range tr.stages {
		var list []Fellow
		for j := range tr.stages {
			if j != i {
				list = append(list, Fellow{node(j), tr.dead[j]})
			}
		}
		s.srv.SetFellows(list)
	}
}

// deliver carries a message from one node to another.
func (tr *troupe) deliver(from int, to, kind string, payload []byte) error {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for j, s := range tr.stages {
		if node(j) != to {
			continue
		}
		if tr.dead[j] || tr.dead[from] {
			return errors.New("no connection to the node")
		}
		payload = append([]byte(nil), payload...)
		due := time.Now().Add(500 * time.Microsecond)
		tr.ways[[2]int{from, j}] <- func() {
			time.Sleep(time.Until(due))
			s.srv.FromFellow(node(from), kind, payload)
		}
		return nil
	}
	return errors.New("no such node")
}

// kill takes a node off the network. The others find out a moment later.
func (tr *troupe) kill(i int) {
	tr.mu.Lock()
	tr.dead[i] = true
	tr.mu.Unlock()
	tr.net.Cut([]string{address(i)}, tr.everybody())
	time.Sleep(100 * time.Millisecond)
	tr.introduce()
}

func (tr *troupe) everybody() (list []string) {
	for _, s := range tr.stages {
		for ip := range s.byHost {
			list = append(list, ip.String())
		}
	}
	return list
}

type troupeLog struct {
	tr *troupe
	at int
}

func (l troupeLog) ProposeAsync(_ string, cmd []byte, done func(any, error)) error {
	tr := l.tr
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.said++
	for i, s := range tr.stages {
		due := time.Now()
		if i != l.at {
			due = due.Add(tr.lag)
		}
		tr.logs[i] <- func() {
			time.Sleep(time.Until(due))
			result := s.loc.Apply(cmd)
			tr.known[i].Add(1)
			if i == l.at {
				done(result, nil)
			}
		}
	}
	return nil
}

func (tr *troupe) catchUp(ctx context.Context, i int) error {
	tr.mu.Lock()
	said := tr.said
	tr.mu.Unlock()
	for tr.known[i].Load() < said {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// phone makes a phone that has registered at a node. Hosts are counted by the first stage.
func (tr *troupe) phone(i int, user string, set ...func(*fakephone.Config)) *fakephone.Phone {
	tr.t.Helper()
	return tr.stages[0].phone(user, append([]func(*fakephone.Config){at(i)}, set...)...).MustRegister()
}

func (tr *troupe) settle() { time.Sleep(2*tr.lag + time.Millisecond) }

// behindNAT puts a phone behind a NAT that lets in nobody but those it has sent to.
func (tr *troupe) behindNAT(public, private string) func(*fakephone.Config) {
	nat := tr.net.NAT(public, simnet.NATConfig{Kind: simnet.Symmetric})
	return func(c *fakephone.Config) { c.Host = nat.Host(private) }
}

func TestPhonesOfAnotherNodeAreCalledThroughIt(t *testing.T) {
	for name, set := range map[string]func(tr *troupe) func(*fakephone.Config){
		"over TCP":              func(*troupe) func(*fakephone.Config) { return overTCP },
		"over UDP":              func(*troupe) func(*fakephone.Config) { return func(*fakephone.Config) {} },
		"over UDP behind a NAT": func(tr *troupe) func(*fakephone.Config) { return tr.behindNAT("203.0.113.7", "10.0.0.7") },
	} {
		t.Run(name, func(t *testing.T) {
			playTogether(t, 2, nil, func(t *testing.T, tr *troupe) {
				alice, bob := tr.phone(0, "alice"), tr.phone(1, "bob", set(tr))
				bob.OnInvite(answerAfter(time.Second))
				tr.settle()
				call := alice.Call("bob", sdpOf("alice"))
				ok := call.MustAnswer()
				inv := only(t, "INVITE", bob.Requests("INVITE"))
				expect(t, "hops that bob sees", len(inv.Headers("Via")), 2)
				expect(t, "Max-Forwards", inv.Header("Max-Forwards"), "69")
				if routes := strings.Join(inv.Headers("Record-Route"), ", "); !strings.Contains(routes, "@"+address(1)+":5060") || strings.Contains(routes, "invalid") {
					t.Errorf("bob is to come back by %s", routes)
				}
				expect(t, "digests asked of bob", len(bob.Responses(407, "INVITE")), 0)
				expect(t, "the answer's body", ok.Body(), sdpOf("bob"))
				theirs := bob.Calls()[0]
				expect(t, "re-INVITE", call.Reinvite(sdpOf("alice")).Status(), 200)
				expect(t, "re-INVITE of bob", theirs.Reinvite(sdpOf("bob")).Status(), 200)
				expect(t, "INFO", call.Request("INFO", "").Final().Status(), 200)
				expect(t, "INFO of bob", theirs.Request("INFO", "").Final().Status(), 200)
				for _, m := range append(bob.Requests("INFO"), alice.Requests("INFO")...) {
					expect(t, "Route left over", m.Header("Route"), "")
				}
				expect(t, "calls of the first node", tr.stages[0].srv.Stats().Dialogs, 1)
				expect(t, "calls of the second node", tr.stages[1].srv.Stats().Dialogs, 0)
				expect(t, "BYE of bob", theirs.Bye().Status(), 200)
				expect(t, "BYEs at alice", len(alice.Requests("BYE")), 1)
				expect(t, "story", tr.stages[0].told(), "ringing 180 bob, answered bob, ended BYE false")
				expect(t, "story of the second node", tr.stages[1].told(), "")

				again := alice.Call("bob", sdpOf("alice"))
				again.MustAnswer()
				expect(t, "BYE", again.Bye().Status(), 200)
				expect(t, "BYEs at bob", len(bob.Requests("BYE")), 1)
				st := tr.stages[0].srv.Stats().Edge
				expect(t, "undelivered", st.Undelivered, 0)
				expect(t, "carried for the first node", tr.stages[1].srv.Stats().Edge.Carried, st.Sent)
				expect(t, "heard through the second", st.Heard, tr.stages[1].srv.Stats().Edge.Strayed)
			})
		})
	}
}

func TestACallOverThreeNodesRingsEverywhereAndIsTakenOnce(t *testing.T) {
	playTogether(t, 3, nil, func(t *testing.T, tr *troupe) {
		alice := tr.phone(0, "alice")
		here, there, yonder := tr.phone(0, "bob"), tr.phone(1, "bob", overTCP), tr.phone(2, "bob", overTCP)
		rings := func(c *fakephone.Call) { c.Ring() }
		here.OnInvite(rings)
		there.OnInvite(answerAfter(2 * time.Second))
		yonder.OnInvite(rings)
		tr.settle()
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		time.Sleep(time.Second)
		expect(t, "CANCELs at the first node", len(here.Requests("CANCEL")), 1)
		expect(t, "CANCELs at the third", len(yonder.Requests("CANCEL")), 1)
		expect(t, "ACKs to the 487 at the third", len(yonder.Requests("ACK")), 1)
		expect(t, "BYE", call.Bye().Status(), 200)

		there.OnInvite(rings)
		call = alice.Call("bob", sdpOf("alice"))
		call.AwaitStatus(180)
		call.Cancel()
		expect(t, "given up", call.Final().Status(), 487)
		time.Sleep(time.Second)
		expect(t, "CANCELs at the second", len(there.Requests("CANCEL")), 1)

		yonder.OnInvite(refuseWith(603))
		expect(t, "declined at the third", alice.Call("bob", sdpOf("alice")).Final().Status(), 603)
	})
}

func TestOtherRequestsReachPhonesOfOtherNodes(t *testing.T) {
	playTogether(t, 2, nil, func(t *testing.T, tr *troupe) {
		alice, bob := tr.phone(0, "alice", overTCP), tr.phone(1, "bob", overTCP)
		tr.settle()
		for _, method := range []string{"MESSAGE", "OPTIONS"} {
			expect(t, method, alice.Do(method, "sip:bob@example.com", nil, "").Status(), 200)
			expect(t, method+" at bob", len(bob.Requests(method)), 1)
		}
		bob.OnRequest(func(m *fakephone.Message) bool {
			if m.Method() != "SUBSCRIBE" {
				return false
			}
			bob.Reply(m, 200, "Contact: <"+bob.Contact()+">", "Expires: 600")
			return true
		})
		ok := alice.Do("SUBSCRIBE", "sip:bob@example.com", []string{"Event: presence", "Contact: <" + alice.Contact() + ">"}, "")
		expect(t, "SUBSCRIBE", ok.Status(), 200)
		sub := only(t, "SUBSCRIBE", bob.Requests("SUBSCRIBE"))
		routes := sub.Headers("Record-Route")
		expect(t, "Record-Routes", len(routes), 2)
		expect(t, "NOTIFY", notify(bob, alice, sub, ok, routes).Status(), 200)
		got := only(t, "NOTIFY", alice.Requests("NOTIFY"))
		expect(t, "Routes left", len(got.Headers("Route")), 0)
		refresh := func() *fakephone.Message {
			return alice.Start("SUBSCRIBE", fakephone.Addr(ok.Header("Contact")), []string{
				"From: " + ok.Header("From"), "To: " + ok.Header("To"), "Call-ID: " + ok.CallID(), "CSeq: 90 SUBSCRIBE", "Event: presence", "Expires: 600",
				"Route: " + routes[1], "Route: " + routes[0],
			}, "").Final()
		}
		expect(t, "refresh", refresh().Status(), 200)
		expect(t, "SUBSCRIBEs at bob", len(bob.Requests("SUBSCRIBE")), 2)

		bob.Disconnect()
		time.Sleep(time.Second)
		expect(t, "refresh when bob's connection is gone", refresh().Status(), 430)
		forged := strings.Replace(routes[0], "sip:AQ", "sip:AR", 1)
		m := alice.Start("SUBSCRIBE", fakephone.Addr(ok.Header("Contact")), []string{
			"From: " + ok.Header("From"), "To: " + ok.Header("To"), "Call-ID: " + ok.CallID(), "CSeq: 91 SUBSCRIBE", "Route: " + routes[1], "Route: " + forged,
		}, "").Final()
		expect(t, "a forged token", m.Status(), 481)
	})
}

func TestAPhoneIsFoundAsSoonAsItHasRegisteredAnywhere(t *testing.T) {
	playTogether(t, 2, nil, func(t *testing.T, tr *troupe) {
		alice := tr.phone(0, "alice")
		tr.settle()
		tr.lag = 150 * time.Millisecond
		bob := tr.phone(1, "bob", overTCP)
		bob.OnInvite(answerAfter(time.Second))
		tr.stages[0].onInvite = func(in *Inbound) { // as pbx does it
			in.Go(func() func() {
				err := tr.stages[0].srv.CatchUp()
				return func() {
					if err != nil {
						in.Refuse(503, "lags")
						return
					}
					tr.stages[0].ring(in, tr.stages[0].template())
				}
			})
		}
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		call.Bye()

		tr.lag = time.Hour // a node that cannot catch up does not say that there is nobody
		tr.phone(1, "carol", overTCP)
		began := time.Now()
		expect(t, "carol", alice.Call("carol", sdpOf("alice")).Final().Status(), 503)
		if took := time.Since(began); took > 2*catchUpTime {
			t.Errorf("the refusal took %v", took)
		}
		tr.dirty = true
	})
}

func TestPhonesOfADeadNodeAreGivenUpAtOnce(t *testing.T) {
	playTogether(t, 3, nil, func(t *testing.T, tr *troupe) {
		alice := tr.phone(0, "alice")
		bob := tr.phone(1, "bob", overTCP)
		bob.OnInvite(func(c *fakephone.Call) { c.Ring() })
		tr.settle()
		call := alice.Call("bob", sdpOf("alice"))
		call.AwaitStatus(180)
		began := time.Now()
		tr.kill(1)
		expect(t, "ringing when the node died", call.Final().Status(), 480)
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("the refusal took %v", took)
		}
		tr.net.Cut([]string{bob.Addr().Addr().String()}, []string{address(0), address(2)})
		began = time.Now()
		expect(t, "called after the node has died", alice.Do("MESSAGE", "sip:bob@example.com", nil, "").Status(), 480)
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("the refusal took %v", took)
		}

		second := tr.phone(2, "bob", overTCP)
		second.OnInvite(answerAfter(time.Second))
		tr.settle()
		call = alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		expect(t, "BYE", call.Bye().Status(), 200)
	})
}

// flowOfBob is one of several connections of the same phone, to different nodes (RFC 5626 §4.2).
func (tr *troupe) flowOfBob(i int) *fakephone.Phone {
	p := tr.stages[0].phone("bob", at(i), overTCP)
	const instance = `;+sip.instance="<urn:uuid:00000000-0000-1000-8000-000a95a0e128>"`
	p.MustRegister(fmt.Sprintf("Contact: <sip:bob@198.51.100.200;transport=tcp>%s;reg-id=%d", instance, i), "Supported: outbound, path")
	p.OnInvite(answerAfter(time.Second))
	return p
}

func TestAPhoneWithSeveralFlowsRingsOnceOverTheOneThatIsLeft(t *testing.T) {
	playTogether(t, 3, nil, func(t *testing.T, tr *troupe) {
		alice := tr.phone(0, "alice")
		one, two := tr.flowOfBob(1), tr.flowOfBob(2)
		tr.settle()
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		expect(t, "times bob has rung", len(one.Calls())+len(two.Calls()), 1)
		call.Bye()

		first, other := two, one // the later one is tried first
		if len(one.Calls()) == 1 {
			first, other = one, two
		}
		first.Disconnect()
		time.Sleep(time.Second)
		call = alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		expect(t, "times the other flow has rung", len(other.Calls()), 1)
		call.Bye()
	})
}

func TestAFlowThatIsGoneIsForgottenAndTheNextOneTried(t *testing.T) {
	playTogether(t, 3, nil, func(t *testing.T, tr *troupe) {
		alice := tr.phone(0, "alice")
		one, two := tr.flowOfBob(1), tr.flowOfBob(2)
		tr.settle()
		expect(t, "bindings", len(tr.stages[0].loc.Lookup("example", "bob", time.Now())), 2)
		two.Disconnect() // nobody has told the first node, which has never used it
		time.Sleep(time.Second)
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		expect(t, "times the other flow has rung", len(one.Calls()), 1)
		expect(t, "flows tried next", tr.stages[0].srv.Stats().NextFlows, 1)
		call.Bye()
		tr.settle()
		for i, s := range tr.stages {
			expect(t, "bindings left at "+node(i), len(s.loc.Lookup("example", "bob", time.Now())), 1)
		}
	})
}

func TestACallGoesOnWhenAPhoneComesBackOverAnotherConnectionOrNode(t *testing.T) {
	for name, to := range map[string]int{"another connection": 1, "another node": 2, "the node where the call runs": 0} {
		t.Run(name, func(t *testing.T) {
			playTogether(t, 3, nil, func(t *testing.T, tr *troupe) {
				alice, bob := tr.phone(0, "alice", overTCP), tr.phone(1, "bob", overTCP)
				bob.OnInvite(answerAfter(time.Second))
				tr.settle()
				call := alice.Call("bob", sdpOf("alice"))
				call.MustAnswer()
				theirs := bob.Calls()[0]
				time.Sleep(time.Second)
				bob.Roam(netip.MustParseAddrPort(address(to) + ":5060"))
				bob.MustRegister()
				tr.settle()
				expect(t, "hold by alice", call.Reinvite(sdpOf("alice")).Status(), 200)
				expect(t, "hold by bob", theirs.Reinvite(sdpOf("bob")).Status(), 200)
				alice.Roam(netip.MustParseAddrPort(address(2) + ":5060"))
				alice.MustRegister()
				tr.settle()
				expect(t, "hold by bob when alice has moved", theirs.Reinvite(sdpOf("bob")).Status(), 200)
				expect(t, "INFO of alice", call.Request("INFO", "").Final().Status(), 200)
				expect(t, "BYE", call.Bye().Status(), 200)
				expect(t, "BYEs at bob", len(bob.Requests("BYE")), 1)
			})
		})
	}
}

func TestACallAnsweredByItsNodeGoesOnFromAnother(t *testing.T) {
	playTogether(t, 2, nil, func(t *testing.T, tr *troupe) {
		alice := tr.phone(0, "alice", overTCP)
		tr.stages[0].onInvite = func(in *Inbound) {
			if _, err := in.Answer(Answer{SDP: sdpOf("the node"), Events: quietLeg{}}); err != nil {
				t.Error(err)
			}
		}
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		time.Sleep(time.Second)
		alice.Roam(netip.MustParseAddrPort(address(1) + ":5060"))
		alice.MustRegister()
		tr.settle()
		expect(t, "re-INVITE", call.Reinvite(sdpOf("alice")).Status(), 200)
		expect(t, "BYE", call.Bye().Status(), 200)
	})
}

type quietLeg struct{}

func (quietLeg) Reoffer(string) (string, error) { return sdpOf("the node"), nil }
func (quietLeg) Answered(string)                {}
func (quietLeg) Ended(string, bool)             {}

// lateSecrets knows alice from a moment on.
type lateSecrets struct {
	stageSecrets
	from time.Time
}

func (l lateSecrets) HA1(tenant, name string, sha bool) (ha1 [64]byte, n int, user string, ok bool) {
	if name == "alice" && time.Now().Before(l.from) {
		ha1, n, _, _ = l.stageSecrets.HA1(tenant, "nobody", sha)
		return ha1, n, "", false
	}
	return l.stageSecrets.HA1(tenant, name, sha)
}

func TestAnAccountMadeElsewhereAMomentAgoIsNotRefused(t *testing.T) {
	guard := transport.NewGuard(transport.GuardConfig{Failures: 1, Window: time.Minute, BanFor: time.Minute})
	playTogether(t, 1, func(_ int, c *Config) {
		digest, err := NewDigest(DigestConfig{Secrets: lateSecrets{from: time.Now().Add(100 * time.Millisecond)}})
		if err != nil {
			t.Fatal(err)
		}
		c.Digest, c.Guard = digest, guard
		c.CatchUp = func(context.Context) error { time.Sleep(100 * time.Millisecond); return nil }
	}, func(t *testing.T, tr *troupe) {
		alice := tr.phone(0, "alice")
		st := tr.stages[0].srv.Stats()
		expect(t, "failures", st.AuthFailed, 0)
		expect(t, "looked at again", st.Lagged, 1)
		mallory := tr.stages[0].phone("bob", func(c *fakephone.Config) { c.Password = "guess" })
		expect(t, "a wrong password", mallory.Register().Status(), 403)
		expect(t, "failures", tr.stages[0].srv.Stats().AuthFailed, 1)
		_ = alice
	})
}

func TestNobodyOutsideIsServedAsANode(t *testing.T) {
	playTogether(t, 2, nil, func(t *testing.T, tr *troupe) {
		alice, bob := tr.phone(0, "alice"), tr.phone(1, "bob", overTCP)
		bob.OnInvite(answerAfter(time.Second))
		tr.settle()
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		routes := bob.Requests("INVITE")[0].Headers("Record-Route")
		mallory := tr.stages[0].phone("mallory", at(1))
		with := []string{"Route: " + routes[0]}
		expect(t, "a new call by the token of another", mallory.Start("INVITE", bob.Contact(), with, sdpOf("m")).Final().Status() >= 400, true)
		m := mallory.Start("BYE", bob.Contact(), append(with, "From: <sip:mallory@example.com>;tag=1", "To: <sip:bob@example.com>;tag=2", "Call-ID: made-up", "CSeq: 1 BYE"), "").Final()
		expect(t, "a BYE of no call", m.Status(), 481)
		expect(t, "requests of mallory at bob", len(bob.Requests("BYE"))+len(bob.Requests("INVITE")), 1)
		expect(t, "BYE", call.Bye().Status(), 200)

		before := tr.stages[1].srv.Stats().Edge
		for _, bad := range [][]byte{nil, {1}, make([]byte, 12), append(make([]byte, 11), 255), []byte(strings.Repeat("\xff", 64))} {
			for _, kind := range []string{EdgeSend, EdgeHeard, EdgeGone, "edge.other"} {
				tr.stages[1].srv.FromFellow("n1", kind, bad)
			}
		}
		expect(t, "malformed", tr.stages[1].srv.Stats().Edge.Malformed-before.Malformed, 20)
		tr.dirty = true
	})
}

func TestACallThatIsTakenOverReachesAPhoneOfAThirdNode(t *testing.T) {
	for name, taker := range map[string]int{"by another node": 2, "by the node that holds the phone's connection": 1} {
		t.Run(name, func(t *testing.T) {
			playTogether(t, 3, nil, func(t *testing.T, tr *troupe) {
				tr.dirty = true // alice, whose node is gone, answers nothing
				alice, bob := tr.phone(0, "alice"), tr.phone(1, "bob", overTCP)
				bob.OnInvite(answerAfter(time.Second))
				tr.settle()
				alice.Call("bob", sdpOf("alice")).MustAnswer()
				time.Sleep(time.Second)
				first := tr.stages[0]
				snapshot, err := first.dialogs[0].Export(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				tr.kill(0)
				d, err := tr.stages[taker].srv.Import(t.Context(), Arrival{Snapshot: snapshot})
				if err != nil {
					t.Fatal(err)
				}
				d.Hangup("enough")
				bye := bob.AwaitRequest("BYE")
				expect(t, "Request-URI", bye.URI(), bob.Contact())
			})
		})
	}
}

func TestEachExpiredBindingIsSweptByOneNode(t *testing.T) {
	playTogether(t, 3, nil, func(t *testing.T, tr *troupe) {
		now := time.Now()
		for i := range tr.stages {
			for _, user := range []string{"alice", "bob"} {
				tr.phone(i, user).Register("Expires: 60")
			}
		}
		tr.settle()
		tr.kill(2)
		sweep := func(at time.Time) (swept [3]int) {
			for i, s := range tr.stages[:2] {
				swept[i] = s.loc.Sweep(troupeLog{tr, i}, at, i == 0)
			}
			tr.settle()
			return swept
		}
		bindings := func() int { return tr.stages[1].loc.Stats().Bindings }
		expect(t, "bindings", bindings(), 6)
		expect(t, "swept in time", sweep(now.Add(30*time.Second)), [3]int{})
		expect(t, "swept when what the phones were told is over", sweep(now.Add(2*time.Minute)), [3]int{2, 2})
		expect(t, "bindings left", bindings(), 2)
		expect(t, "swept when the leases of the dead node's phones are over", sweep(now.Add(25*time.Hour)), [3]int{2, 0})
		expect(t, "bindings left", bindings(), 0)
		tr.dirty = true
	})
}
