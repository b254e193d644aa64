package pbx

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"tandem/dialplan"
	"tandem/events"
	"tandem/internal/fakephone"
	"tandem/internal/simnet"
	"tandem/sip"
	"tandem/sip/transport"
)

const officePlan = `
dialplan "acme" {
  format  = 1
  domains = ["acme.example"]
}
user "alice" { extension = "201" }
user "bob"   { extension = "202" }
user "carol" { extension = "203" }
user "dave"  { extension = "204" }

ring "sales" {
  extension = "300"
  members   = [user.alice, user.bob, user.carol]
  timeout   = "20s"
  otherwise { go = ring.boss }
}
ring "boss" {
  extension = "301"
  members   = [user.dave]
  timeout   = "10s"
}
ring "line" {
  extension = "302"
  strategy  = "in_order"
  members   = [user.bob, user.carol, user.dave]
  timeout   = "5s"
}
ring "lottery" {
  extension = "303"
  strategy  = "random"
  members   = [user.bob, user.carol, user.dave]
  timeout   = "5s"
}
`

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const officeServer = "192.0.2.1"

// office is a server with a dialplan and phones on a simulated network, in fake time.
type office struct {
	t      *testing.T
	net    *simnet.Network
	pbx    *PBX
	srv    *sip.Server
	events *events.Log
	plan   *dialplan.Plan
	trunks *sip.Trunks
	places *sip.Location
	hosts  int
	stop   func() // ends the process
	crash  func() // kills it, and starts another one in its place

	prompts string // directory of live's engine
}

// work runs a test in an office. At its end no call, dialog, transaction or handler may be left.
func work(t *testing.T, configure func(*Config), fn func(t *testing.T, o *office)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := openOffice(t, configure)
		fn(t, o)
		if t.Failed() {
			return
		}
		time.Sleep(45 * time.Second)
		if st := o.srv.Stats(); st.Transactions != 0 || st.Branches != 0 || st.Dialogs != 0 || st.Handlers != 0 {
			t.Errorf("the server still holds %d transactions, %d branches, %d dialogs, %d handlers", st.Transactions, st.Branches, st.Dialogs, st.Handlers)
		}
		for who, taken := range o.pbx.taken {
			if taken.now != 0 {
				t.Errorf("%q is in %d calls that are over", who, taken.now)
			}
		}
		if n := o.pbx.Stats().Calls; n != 0 || len(o.pbx.byUser) != 0 {
			t.Errorf("%d calls are left, and users %v", n, o.pbx.byUser)
		}
	})
}

func openOffice(t *testing.T, configure func(*Config)) *office {
	t.Helper()
	plan, faults := dialplan.Compile([]dialplan.Source{{Name: "office.dialplan.hcl", Text: []byte(officePlan)}})
	if plan == nil {
		t.Fatalf("the plan does not compile: %v", faults)
	}
	o := &office{t: t, net: simnet.ForTest(t, 1), plan: plan, places: sip.NewLocation()}
	o.open(configure, o.net.Host(officeServer))
	t.Cleanup(func() { o.stop() })
	return o
}

// open starts the process of an office, on a machine that may have had another one.
func (o *office) open(configure func(*Config), h *simnet.Host) {
	t := o.t
	t.Helper()
	log, err := events.New(events.Config{Node: "test"})
	if err != nil {
		t.Fatal(err)
	}
	o.events = log
	dir := planDirectory{o.plan}
	cfg := Config{Plan: func() *dialplan.Plan { return o.plan }, Directory: dir, Events: log}
	if configure != nil {
		configure(&cfg)
	}
	if o.pbx, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	digest, err := sip.NewDigest(sip.DigestConfig{Secrets: planSecrets{o.plan}})
	if err != nil {
		t.Fatal(err)
	}
	registrar, err := sip.NewRegistrar(sip.RegistrarConfig{Location: o.places, Log: ledger{o.places}})
	if err != nil {
		t.Fatal(err)
	}
	o.trunks = sip.NewTrunks(sip.TrunksConfig{})
	o.trunks.Set(SIPTrunks(o.plan, trunkSecret))
	if o.srv, err = sip.New(sip.Config{
		Transport: transport.Config{
			UDP: []string{officeServer + ":5060"}, TCP: []string{officeServer + ":5060"}, Shards: 2, ListenPacket: h.ListenPacket, Listen: h.Listen, Dial: h.Dial,
		},
		Digest: digest, Registrar: registrar, Location: o.places, Directory: dir, Handler: o.pbx, Events: log, TraceBytes: 1 << 18, Trunks: o.trunks,
	}); err != nil {
		t.Fatal(err)
	}
	o.pbx.Attach(o.srv)
	if err := o.srv.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	calls := make(chan error, 1)
	go func() { done <- o.srv.Run(ctx) }()
	go func() { calls <- o.pbx.Run(ctx) }()
	registering := make(chan error, 1)
	go func() { registering <- o.trunks.Run(ctx) }()
	crashed := false
	o.stop = sync.OnceFunc(func() {
		cancel()
		<-calls
		<-registering
		if err := <-done; err != nil && !crashed {
			t.Errorf("Run: %v", err)
		}
	})
	stop := o.stop
	o.crash = func() {
		crashed = true
		h.Kill()
		stop()
		h.Revive()
		o.open(configure, h)
	}
}

// planDirectory knows the users of a plan.
type planDirectory struct{ plan *dialplan.Plan }

func (d planDirectory) TenantOf(host string) (string, bool) { return d.plan.TenantOf(host) }

func (d planDirectory) HasTenant(name string) bool { return d.plan.HasTenant(name) }

func (d planDirectory) User(tenant, name string) (string, bool) {
	u, ok := d.plan.User(tenant, name)
	return u.Name, ok
}

// planSecrets gives every user of a plan the password "secret".
type planSecrets struct{ plan *dialplan.Plan }

func (s planSecrets) HA1(tenant, name string, sha bool) (ha1 [64]byte, n int, user string, ok bool) {
	user, ok = planDirectory(s).User(tenant, name)
	text := name + ":" + tenant + ":secret"
	if sha {
		sum := sha256.Sum256([]byte(text))
		return ha1, hex.Encode(ha1[:], sum[:]), user, ok
	}
	sum := md5.Sum([]byte(text))
	return ha1, hex.Encode(ha1[:], sum[:]), user, ok
}

// ledger is an agreed log of one voice: what is proposed is applied at once.
type ledger struct{ places *sip.Location }

func (l ledger) ProposeAsync(_ string, cmd []byte, done func(any, error)) error {
	done(l.places.Apply(cmd), nil)
	return nil
}

// phone is a registered phone of a user, behaving as told.
func (o *office) phone(user string, behave func(*fakephone.Call), set ...func(*fakephone.Config)) *fakephone.Phone {
	o.t.Helper()
	o.hosts++
	cfg := fakephone.Config{
		Host: o.net.Host(fmt.Sprintf("198.51.100.%d", o.hosts)), Server: netip.MustParseAddrPort(officeServer + ":5060"), User: user, Domain: "acme.example", Password: "secret",
	}
	for _, fn := range set {
		fn(&cfg)
	}
	p := fakephone.New(o.t, cfg)
	p.OnInvite(behave)
	return p.MustRegister()
}

func description(who string) string {
	return "v=0\r\no=" + who + " 1 1 IN IP4 198.51.100.99\r\ns=-\r\nc=IN IP4 198.51.100.99\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
}

func answers(d time.Duration) func(*fakephone.Call) {
	return func(c *fakephone.Call) {
		c.Ring()
		time.Sleep(d)
		select {
		case <-c.Cancelled():
		default:
			c.Answer(description("callee"))
		}
	}
}

func atOnce(c *fakephone.Call) { c.Answer(description("callee")) }

func rings(c *fakephone.Call) { c.Ring() }

func refuses(status int) func(*fakephone.Call) { return func(c *fakephone.Call) { c.Refuse(status) } }

// kinds are the events of all calls so far, in order.
func (o *office) kinds() string {
	var out []string
	for _, e := range o.events.Recent(1000, nil) {
		if strings.HasPrefix(string(e.Kind), "call.") {
			out = append(out, strings.TrimPrefix(string(e.Kind), "call."))
		}
	}
	return strings.Join(out, " ")
}

func expect[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestConfigNamesWhatIsMissing(t *testing.T) {
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "required") {
		t.Errorf("New of nothing: %v", err)
	}
}

func TestTelephoneNumbersLoseTheirSeparators(t *testing.T) {
	for in, want := range map[string]string{"+44-20-7946.0000;phone-context=x": "+442079460000", "(030)123": "030123", "201": "201"} {
		expect(t, in, telNumber(in), want)
	}
}

func TestCallsBeyondTheLimitOfTheNodeAre503(t *testing.T) {
	work(t, func(c *Config) { c.MaxCalls = 1 }, func(t *testing.T, o *office) {
		alice, bob := o.phone("alice", rings), o.phone("bob", rings)
		call := alice.Call("bob", description("alice"))
		call.AwaitStatus(180)
		expect(t, "second call", bob.Call("alice", description("bob")).Final().Status(), 503)
		expect(t, "limited", o.pbx.Stats().Limited, 1)
		call.Cancel()
		expect(t, "first call", call.Final().Status(), 487)
	})
}

func TestCallsBeyondTheLimitOfAUserAre486(t *testing.T) {
	work(t, func(c *Config) { c.CallsPerUser = 2 }, func(t *testing.T, o *office) {
		alice, bob := o.phone("alice", rings), o.phone("bob", rings)
		var calls []*fakephone.Call
		for range 2 {
			call := alice.Call("bob", description("alice"))
			call.AwaitStatus(180)
			calls = append(calls, call)
		}
		expect(t, "third call", alice.Call("bob", description("alice")).Final().Status(), 486)
		other := bob.Call("alice", description("bob"))
		other.AwaitStatus(180)
		for _, c := range append(calls, other) {
			c.Cancel()
			expect(t, "cancelled", c.Final().Status(), 487)
		}
		again := alice.Call("bob", description("alice"))
		again.AwaitStatus(180)
		again.Cancel()
		again.Final()
	})
}

func TestWhatIsDialledDecides(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		for _, c := range []struct {
			uri    string
			status int
		}{
			{"sip:999@acme.example", 404},
			{"sip:carol@acme.example", 480},
			{"sip:203@acme.example", 480},
			{"tel:203", 480},
			{"tel:+2-0-3", 404},
			{"sip:x@elsewhere.example", 403},
			{"sip:c%61rol@acme.example", 480},
		} {
			expect(t, c.uri, alice.Call(c.uri, description("alice")).Final().Status(), c.status)
		}
		expect(t, "MESSAGE to carol", alice.Do("MESSAGE", "sip:203@acme.example", nil, "").Status(), 480)
		expect(t, "MESSAGE to nobody", alice.Do("MESSAGE", "sip:zoe@acme.example", nil, "").Status(), 404)
		expect(t, "MESSAGE elsewhere", alice.Do("MESSAGE", "sip:zoe@elsewhere.example", nil, "").Status(), 403)
	})
}

func TestDrainWaitsForTheLastCall(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		o.phone("bob", answers(time.Second))
		call := alice.Call("bob", description("alice"))
		call.MustAnswer()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		expect(t, "Drain during the call", o.pbx.Drain(ctx), context.DeadlineExceeded)
		call.Bye()
		time.Sleep(time.Second)
		expect(t, "Drain behind it", o.pbx.Drain(t.Context()), nil)
	})
}

func TestPanicOfThePlanEndsOneCall(t *testing.T) {
	var once sync.Once
	work(t, func(c *Config) {
		plan := c.Plan
		c.Plan = func() *dialplan.Plan {
			fail := false
			once.Do(func() { fail = true })
			if fail {
				panic("a fault of the plan")
			}
			return plan()
		}
	}, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		o.phone("bob", answers(time.Second))
		expect(t, "faulty call", alice.Call("bob", description("alice")).Final().Status(), 500)
		expect(t, "calls", o.pbx.Stats().Calls, 0)
		call := alice.Call("bob", description("alice"))
		call.MustAnswer()
		call.Bye()
		expect(t, "panics", o.srv.Stats().Panics, 1)
	})
}

func TestCallsAreListedOldestFirst(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		alice, bob := o.phone("alice", answers(time.Second)), o.phone("bob", answers(time.Second))
		first := alice.Call("bob", description("alice"))
		first.MustAnswer()
		second := bob.Call("301", description("bob")) // dave has no phone
		second.Final()
		third := bob.Call("alice", description("bob"))
		third.AwaitStatus(180)
		views := o.pbx.Calls()
		var got []string
		for _, v := range views {
			got = append(got, fmt.Sprintf("%s>%s %s %s", v.From, v.To, v.State, v.Node))
		}
		if want := []string{"alice>bob answered user.bob", "bob>alice ringing user.alice"}; !slices.Equal(got, want) {
			t.Errorf("calls %q, want %q", got, want)
		}
		v, ok := o.pbx.Call(third.CallID)
		expect(t, "found by Call-ID", ok && v.ID == views[1].ID, true)
		_, ok = o.pbx.Call("nothing")
		expect(t, "found nothing", ok, false)
		third.MustAnswer()
		first.Bye()
		third.Bye()
	})
}

// change puts another plan in force.
func (o *office) change(text string) {
	o.t.Helper()
	plan, faults := dialplan.Compile([]dialplan.Source{{Name: "office.dialplan.hcl", Text: []byte(text)}})
	if plan == nil {
		o.t.Fatalf("the plan does not compile: %v", faults)
	}
	o.plan = plan
	o.trunks.Set(SIPTrunks(plan, trunkSecret))
}

// trunkSecret gives every trunk the password "carrier".
func trunkSecret(string, string) string { return "carrier" }
