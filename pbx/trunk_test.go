package pbx

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/fakephone"
)

const trunkPlan = `
dialplan "acme" {
  domains = ["acme.example"]
  country = "44"
}
user "alice" {
  extension = "201"
  display   = "Alice"
  caller    = "+442079460201"
}
user "bob" { extension = "202" }

did "+442079460201" { go = user.alice }
did "+442079460299" { go = menu.main }

menu "main" {
  wait = "2s"
  key "1" { go = user.alice }
  key "2" { go = number.mobile }
}
number "mobile" { dial = "+447700900456" }

trunk "a" {
  register = "sip:acme@203.0.113.1"
  secret   = "a"
  channels = 1
  caller   = "+442079460000"
  ping     = "10s"
  out { rewrite = { "+44" = "0" } }
  in { rewrite = { "44" = "+44" } }
}
trunk "b" {
  hosts  = ["203.0.113.2"]
  caller = "+442079460000"
  ping   = "10s"
  in { from = ["203.0.113.64/26"] }
}
outbound "uk" {
  match = ["+44*"]
  via   = [trunk.a, trunk.b]
  next  = [503, "no_reply 4s"]
}
`

// carrier is a carrier at an address: it lets anybody register who knows the password, and takes calls as it is told.
func (o *office) carrier(addr, user string, behave func(*fakephone.Call), set ...func(*fakephone.Config)) *fakephone.Phone {
	o.t.Helper()
	cfg := fakephone.Config{Host: o.net.Host(addr), Server: netip.MustParseAddrPort(officeServer + ":5060"), User: user, Domain: addr}
	for _, fn := range set {
		fn(&cfg)
	}
	p := fakephone.New(o.t, cfg)
	p.OnInvite(behave)
	return p
}

// trade opens the trunks of trunkPlan, and closes them again.
func (o *office) trade() (done func()) {
	o.t.Helper()
	o.change(trunkPlan)
	return func() { o.change(officePlan) }
}

func TestCallOverATrunkShowsTheCarrierNothingOfThePhone(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		defer o.trade()()
		a := o.carrier("203.0.113.1", "acme", func(c *fakephone.Call) {
			c.Respond(183, description("early"), "X-Secret: carrier")
			time.Sleep(2 * time.Second)
			c.Answer(description("carrier"), "X-Secret: carrier")
		})
		a.Demand("carrier", "SHA-256")
		alice := o.phone("alice", rings)
		time.Sleep(time.Second)
		call := alice.Call("07700900456", description("alice"), "X-Secret: phone", "Subject: deal", "User-Agent: desk", "Supported: 100rel, replaces")
		early := call.AwaitStatus(183)
		expect(t, "early media", strings.Contains(early.Body(), "o=early"), true)
		ok := call.MustAnswer()
		expect(t, "secret of the carrier", ok.Has("X-Secret"), false)
		expect(t, "where the carrier is", strings.Contains(ok.Text, "203.0.113"), false)
		out := a.Calls()[len(a.Calls())-1].Invite
		expect(t, "Request-URI", out.URI(), "sip:07700900456@203.0.113.1")
		expect(t, "From", out.Header("From")[:strings.Index(out.Header("From"), ";")], `"Alice" <sip:02079460201@203.0.113.1>`)
		expect(t, "asserted", out.Header("P-Asserted-Identity"), "<sip:02079460201@203.0.113.1>")
		for _, secret := range []string{"198.51.100", "acme.example", "X-Secret", "deal", "desk", "replaces", call.CallID} {
			if strings.Contains(strings.SplitN(out.Text, "\r\n\r\n", 2)[0], secret) {
				t.Errorf("the carrier sees %q:\n%s", secret, out.Text)
			}
		}
		expect(t, "options", out.Header("Supported"), "100rel")
		expect(t, "re-INVITE", call.Reinvite(description("alice")).Status(), 200)
		expect(t, "re-INVITE of the carrier", a.Calls()[len(a.Calls())-1].Reinvite(description("carrier")).Status(), 200)
		expect(t, "REFER", call.Request("REFER", "", "Refer-To: <sip:x@203.0.113.1>").Final().Status(), 501)
		time.Sleep(3 * time.Second)
		expect(t, "BYE", call.Bye().Status(), 200)
		expect(t, "events", o.kinds(), "started routed ringing answered ended")
		expect(t, "answerer", o.events.CDRs(1)[0].Answerer, "trunk.a")
	})
}

func silent(*fakephone.Call) {}

func TestCallFallsFromTrunkToTrunk(t *testing.T) {
	for _, c := range []struct {
		name   string
		first  func(*fakephone.Call)
		status int // 0: the second carries it
		takes  time.Duration
	}{
		{"503", refuses(503), 0, 0},
		{"nothing comes", silent, 0, 4 * time.Second},
		{"only 100 comes", func(c *fakephone.Call) { c.Respond(100, "") }, 0, 4 * time.Second},
		{"busy is an answer", refuses(486), 486, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			work(t, nil, func(t *testing.T, o *office) {
				defer o.trade()()
				a := o.carrier("203.0.113.1", "acme", c.first)
				b := o.carrier("203.0.113.2", "x", atOnce)
				alice := o.phone("alice", rings)
				time.Sleep(time.Second)
				began := time.Now()
				call := alice.Call("07700900456", description("alice"))
				if c.status != 0 {
					expect(t, "status", call.Final().Status(), c.status)
					expect(t, "calls of b", len(b.Calls()), 0)
					return
				}
				call.MustAnswer()
				expect(t, "took", time.Since(began).Round(time.Second), c.takes)
				expect(t, "calls of a", len(a.Calls()), 1)
				expect(t, "number at b", b.Calls()[0].Invite.URI(), "sip:+447700900456@203.0.113.2")
				if a.Calls()[0].CallID == b.Calls()[0].CallID {
					t.Error("both trunks know the call by one Call-ID")
				}
				b.Calls()[0].Bye()
				expect(t, "ended", call.WaitEnded(time.Second), true)
				expect(t, "route", fmt.Sprint(o.events.CDRs(1)[0].Route), "[trunk.a trunk.b]")
			})
		})
	}
}

func TestCallsBeyondTheChannelsOfATrunkTakeTheNext(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		defer o.trade()()
		a := o.carrier("203.0.113.1", "acme", atOnce)
		b := o.carrier("203.0.113.2", "x", atOnce)
		alice, bob := o.phone("alice", rings), o.phone("bob", rings)
		time.Sleep(time.Second)
		first := alice.Call("07700900456", description("alice"))
		first.MustAnswer()
		second := bob.Call("07700900457", description("bob"))
		second.MustAnswer()
		expect(t, "calls", fmt.Sprint(len(a.Calls()), len(b.Calls())), "1 1")
		first.Bye()
		third := alice.Call("07700900458", description("alice"))
		third.MustAnswer()
		expect(t, "calls once a channel is free", fmt.Sprint(len(a.Calls()), len(b.Calls())), "2 1")
		second.Bye()
		third.Bye()
	})
}

func TestTrunkThatDoesNotAnswerOptionsIsSkippedAtOnce(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		defer o.trade()()
		a := o.carrier("203.0.113.1", "acme", atOnce)
		o.carrier("203.0.113.2", "x", atOnce)
		alice := o.phone("alice", rings)
		time.Sleep(time.Second)
		expect(t, "up", o.trunks.List()[0].Up, true)
		var dead atomic.Bool
		dead.Store(true)
		a.OnRequest(func(*fakephone.Message) bool { return dead.Load() })
		time.Sleep(30 * time.Second)
		expect(t, "up without answers", o.trunks.List()[0].Up, false)
		before, began := len(a.Requests("INVITE")), time.Now()
		call := alice.Call("07700900456", description("alice"))
		call.MustAnswer()
		expect(t, "took", time.Since(began) < time.Second, true)
		expect(t, "INVITEs to the dead trunk", len(a.Requests("INVITE"))-before, 0)
		call.Bye()
		dead.Store(false)
		time.Sleep(30 * time.Second)
		expect(t, "up again", o.trunks.List()[0].Up, true)
	})
}

func TestCallerIsToldWhichTrunkIsDown(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		defer o.trade()()
		alice := o.phone("alice", rings)
		time.Sleep(time.Minute) // nobody is at either address
		m := alice.Call("07700900456", description("alice")).Final()
		expect(t, "status", m.Status(), 503)
		expect(t, "Warning", m.Header("Warning"), `399 tandem "trunk.b is down"`)
		expect(t, "record", o.awaitRecord().Reason, "trunk.b is down")
	})
}

// A carrier that answers no OPTIONS can be called all the same, when the plan says so.
func TestTrunkThatIsNotToBePingedIsUp(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		o.change(strings.ReplaceAll(trunkPlan, `"10s"`, `"0s"`))
		defer o.change(officePlan)
		a := o.carrier("203.0.113.1", "acme", atOnce)
		a.OnRequest(func(m *fakephone.Message) bool { return m.Method() == "OPTIONS" })
		alice := o.phone("alice", rings)
		time.Sleep(5 * time.Minute)
		expect(t, "OPTIONS", len(a.Requests("OPTIONS")), 0)
		call := alice.Call("07700900456", description("alice"))
		call.MustAnswer()
		expect(t, "calls", len(a.Calls()), 1)
		call.Bye()
	})
}

func TestCallerWhoGivesUpCancelsTheTrunk(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		defer o.trade()()
		a := o.carrier("203.0.113.1", "acme", rings)
		alice := o.phone("alice", rings)
		time.Sleep(time.Second)
		call := alice.Call("07700900456", description("alice"))
		call.AwaitStatus(180)
		call.Cancel()
		expect(t, "caller", call.Final().Status(), 487)
		<-a.Calls()[0].Cancelled()
	})
}

func TestRegistrationIsRenewedAndCallsComeInByIt(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		defer o.trade()()
		a := o.carrier("203.0.113.1", "acme", atOnce)
		a.Demand("carrier", "MD5")
		alice := o.phone("alice", atOnce)
		time.Sleep(time.Second)
		reg := o.trunks.List()[0].Registration
		expect(t, "state", reg.State, "registered")
		n := len(a.Requests("REGISTER"))
		time.Sleep(110 * time.Second)
		if again := len(a.Requests("REGISTER")); again != n+2 {
			t.Errorf("%d REGISTERs in 110 seconds of a registration for 120, want one challenge and one answer", again-n)
		}
		contact := fakephone.Addr(a.Requests("REGISTER")[0].Header("Contact"))
		call := a.Call(contact, description("carrier"), "X-Secret: carrier")
		expect(t, "account as number", call.Final().Status(), 404)
		call = a.Call("sip:442079460201@"+officeServer, description("carrier"), "P-Asserted-Identity: <sip:+33123456789@x.example>")
		call.MustAnswer()
		in := alice.Calls()[0].Invite
		expect(t, "From", in.Header("From")[:strings.Index(in.Header("From"), ";")], "<sip:+33123456789@acme.example>")
		expect(t, "carrier seen by the phone", strings.Contains(in.Text, "203.0.113.1"), false)
		alice.Calls()[0].Bye()
		expect(t, "ended", call.WaitEnded(time.Second), true)
	})
}

func TestOnlyTrunksCallFromOutside(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		defer o.trade()()
		alice := o.phone("alice", atOnce)
		stranger := o.carrier("203.0.113.20", "x", atOnce)
		expect(t, "stranger", stranger.Call("sip:+442079460201@"+officeServer, description("x")).Final().Status(), 403)
		masked := o.carrier("203.0.113.70", "x", atOnce)
		call := masked.Call("sip:+442079460201@"+officeServer, description("x"))
		call.MustAnswer()
		call.Bye()
		expect(t, "extension", masked.Call("sip:201@"+officeServer, description("x")).Final().Status(), 404)
		expect(t, "outside and out again", masked.Call("sip:+447700900456@"+officeServer, description("x")).Final().Status(), 404)
		hidden := masked.Call("sip:+442079460201@"+officeServer, description("x"), "Privacy: id", "P-Asserted-Identity: <tel:+33123456789>")
		hidden.MustAnswer()
		in := alice.Calls()[1].Invite
		expect(t, "From", in.Header("From")[:strings.Index(in.Header("From"), ";")], anonymous)
		expect(t, "asserted", in.Has("P-Asserted-Identity"), false)
		hidden.Bye()
	})
}
