package dialplan

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func compiledAll(t testing.TB, sources ...Source) *Plan {
	t.Helper()
	plan, diags := Compile(sources)
	if plan == nil {
		t.Fatalf("does not compile:\n%s", render(diags))
	}
	return plan
}

const carriers = `
dialplan "acme" {
  country  = "44"
  timezone = "Europe/London"
}

user "alice" {
  extension = "201"
  display   = "Alice"
  groups    = ["staff"]
  caller    = "+442079460201"
  forward { no_answer = number.alice_mobile }
}
user "bob" {
  extension = "202"
  groups    = ["staff", "intl"]
}
user "guest" { extension = "203" }

did "+442079460201" { go = user.alice }

number "alice_mobile" {
  dial = "+447700900456"
  otherwise { go = reject.later }
}

reject "later" {}
reject "premium" { status = 403 }

trunk "carrier_a" {
  register = "sip:acme@sbc.carrier-a.example"
  secret   = "carrier_a"
  channels = 30
  caller   = "+442079460000"
  rates    = { "+44" = "0.02", "+447" = "0.03", "+1" = "0.01" }
  out { rewrite = { "+44" = "0", "+" = "00" } }
  in {
    rewrite = { "44" = "+44" }
    go = reject.later
  }
}

trunk "carrier_b" {
  hosts     = ["198.51.100.7:5080", "sbc.carrier-b.example"]
  transport = "tls"
  srtp      = "required"
  codecs    = ["PCMA"]
  caller    = "+442079460001"
  caller_id = "pass"
  rates     = { "+" = "0.015", "+44" = "0.025" }
}

outbound "uk" {
  match = ["+44*", "101", "118*"]
  allow = ["staff"]
  via   = [trunk.carrier_a, trunk.carrier_b]
  next  = [408, 500, 503, "no_reply 4s"]
}

outbound "intl" {
  match = ["+*"]
  allow = ["intl"]
  via   = cheapest(trunk.carrier_a, trunk.carrier_b)
  otherwise { go = reject.later }
}

outbound "premium" {
  match = ["+4490*"]
  go    = reject.premium
}

emergency "uk" {
  numbers  = ["999", "112"]
  via      = [trunk.carrier_b, trunk.carrier_a]
  location = "1 Acme Street, London"
  notify   = ["security@acme.example"]
}

limits "staff" {
  groups = ["staff"]
  to     = [outbound.uk]
  each   = true
  calls  = 2
}
limits "abroad" {
  to    = [outbound.intl]
  money = "50"
}

test "carrier A answers 503: carrier B carries it" {
  call    = { from = user.bob, to = "07700 900456" }
  given   = { "trunk.carrier_a" = 503 }
  expect  = [outbound.uk, trunk.carrier_a, trunk.carrier_b]
  dialled = "+447700900456"
  caller  = "+442079460001"
}
test "help" {
  call    = { from = user.guest, to = "999" }
  given   = { "trunk.carrier_b" = "down" }
  expect  = [emergency.uk, trunk.carrier_b, trunk.carrier_a]
  dialled = "999"
}
test "help in Europe" {
  call   = { from = user.alice, to = "112" }
  expect = [emergency.uk, trunk.carrier_b]
}
test "in" {
  call   = { from = "+447700900456", to = "442079460201", over = trunk.carrier_a }
  expect = [user.alice]
}
`

func TestCallsLeaveTheHouseByTheLongestPrefix(t *testing.T) {
	plan := compiledAll(t, Source{"acme.hcl", []byte(carriers)})
	var b strings.Builder
	for _, c := range []Call{
		{FromUser: "alice", To: "020 7946 0999"},
		{FromUser: "alice", To: "101"},
		{FromUser: "alice", To: "118500"},
		{FromUser: "alice", To: "1017"},
		{FromUser: "guest", To: "02079460999"},
		{FromUser: "carol", To: "02079460999"},
		{FromUser: "alice", To: "0044 90 1234567"},
		{FromUser: "bob", To: "0012125550100"},
		{FromUser: "bob", To: "0012125550100", Given: map[string]int{"trunk.carrier_a": Full, "trunk.carrier_b": Limited}},
		{FromUser: "bob", To: "+33123456789", Given: map[string]int{"trunk.carrier_b": 486}},
		{FromUser: "bob", To: "+447700900456", Given: map[string]int{"trunk.carrier_a": NoReply, "trunk.carrier_b": 486}},
		{FromUser: "bob", To: "+447700900456", Private: true},
		{FromUser: "guest", To: "999", Private: true},
		{FromUser: "bob", To: "201", Given: map[string]int{"user.alice": 408, "trunk.carrier_a": 486}},
		{Outside: true, Number: "+12125550100", To: "+442079460201", Given: map[string]int{"user.alice": 408, "trunk.carrier_a": 503}},
		{Outside: true, Number: "+12125550100", To: "+447700900456"},
		{Outside: true, Trunk: "carrier_a", To: "442079460201"},
		{Outside: true, Trunk: "carrier_a", To: "442079460999"},
		{Outside: true, Trunk: "carrier_b", To: "+442079460999"},
		{Outside: true, Trunk: "carrier_x", To: "+442079460201"},
	} {
		c.Tenant = "acme"
		r := plan.Route(c, nil)
		checkRoute(t, r)
		fmt.Fprintf(&b, "%s dials %q", c.FromUser+c.Number, c.To)
		if c.Given != nil {
			fmt.Fprintf(&b, " given %v", c.Given)
		}
		fmt.Fprintf(&b, "\n%s\n", r.Explain())
	}
	golden(t, "testdata/outbound.golden", b.String())
}

func TestTheCarrierLearnsEverythingOfACall(t *testing.T) {
	plan := compiledAll(t, Source{"acme.hcl", []byte(carriers)})
	trunks := plan.Trunks()
	want := []*Trunk{
		{
			Tenant: "acme", Name: "carrier_a", Register: "sip:acme@sbc.carrier-a.example", Expires: 10 * time.Minute, Hosts: []string{"sbc.carrier-a.example"},
			User: "acme", Secret: "carrier_a", Ping: 30 * time.Second, Channels: 30, At: Position{"acme.hcl", 30, 7},
		},
		{
			Tenant: "acme", Name: "carrier_b", Expires: 10 * time.Minute, Hosts: []string{"198.51.100.7:5080", "sbc.carrier-b.example"}, Transport: "tls",
			SRTP: "required", Codecs: []string{"PCMA"}, Ping: 30 * time.Second, At: Position{"acme.hcl", 43, 7},
		},
	}
	if diff := cmp.Diff(want, trunks); diff != "" {
		t.Error(diff)
	}
	w := plan.Begin(Call{Tenant: "acme", FromUser: "alice", To: "07700 900456"}, nil)
	got := w.Step()
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	staff := &Limit{Tenant: "acme", Name: "staff", Each: true, Calls: 2, Zone: london, At: Position{"acme.hcl", 79, 8}}
	if diff := cmp.Diff(&Step{
		Kind: StepTrunk, Node: "trunk.carrier_a", Timeout: 3 * time.Minute, At: Position{"acme.hcl", 56, 12},
		Out: &Out{
			Trunk: trunks[0], Number: "07700900456", E164: "+447700900456", Caller: "02079460201", Display: "Alice", Asserted: "02079460201",
			NoReply: 4 * time.Second, Limits: []*Limit{staff}, Price: 30_000,
		},
	}, got, cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })); diff != "" {
		t.Error(diff)
	}
	if !w.Next(Full) || w.Step().Out.Trunk != trunks[1] || got.Out.Trunk != trunks[0] {
		t.Errorf("after a full trunk: %+v", w.Step())
	}
	if w.Next(503) || w.Step() != nil {
		t.Errorf("after the last trunk: %+v", w.Step())
	}
	w = plan.Begin(Call{Tenant: "acme", FromUser: "guest", To: "999", Private: true}, nil)
	if o := w.Step().Out; o.Emergency == nil || o.Emergency.Location != "1 Acme Street, London" || o.Limits != nil || o.Number != "999" || o.Caller != "+442079460001" {
		t.Errorf("a call for help: %+v", o)
	}
	if !w.Next(486) || w.Next(404) {
		t.Error("whatever a trunk answers, help is sought over the next")
	}
	if w.Tenant() != "acme" {
		t.Errorf("the call is that of %q", w.Tenant())
	}
	for outcome, want := range map[int]int{NoReply: 408, Down: 503, Full: 503, Limited: 403, 486: 486} {
		if got := StatusOf(outcome); got != want {
			t.Errorf("%d is told as %d, want %d", outcome, got, want)
		}
	}
}

func TestTenantsShareATrunk(t *testing.T) {
	plan := compiledAll(t,
		Source{"host.hcl", []byte("dialplan \"host\" { domains = [\"host.example\"] }\nuser \"desk\" {}\ntrunk \"pstn\" {\n  hosts = [\"198.51.100.7\"]\n  channels = 10\n  shared = [\"acme\"]\n  in {\n    rewrite = { \"\" = \"+\", \"+\" = \"+\" }\n    go = user.desk\n  }\n}\n")},
		Source{"acme.hcl", []byte(`dialplan "acme" {
  domains = ["acme.example"]
  country = "44"
}
user "alice" { caller = "+442079460201" }
did "+442079460201" { go = user.alice }
outbound "all" {
  match = ["+*"]
  via   = [trunk.pstn]
}
emergency "uk" {
  numbers = ["999"]
  via     = [trunk.pstn]
  location = "here"
}
test "help" {
  call   = { from = user.alice, to = "999" }
  expect = [emergency.uk, trunk.pstn]
}
test "in" {
  call   = { from = "+447700900456", to = "+442079460201", over = trunk.pstn }
  expect = [user.alice]
}
`)},
		Source{"other.hcl", []byte("dialplan \"other\" { domains = [\"other.example\"] }\nuser \"bob\" {}\ndid \"+442079460301\" { go = user.bob }\n")},
	)
	if got := plan.Trunks(); len(got) != 1 || got[0].Tenant != "host" || len(got[0].Shared) != 1 {
		t.Errorf("trunks: %+v", got)
	}
	w := plan.Begin(Call{Tenant: "acme", FromUser: "alice", To: "020 7946 0999"}, nil)
	if o := w.Step().Out; o == nil || o.Trunk.Tenant != "host" || o.Caller != "+442079460201" {
		t.Errorf("out: %+v", w.Step())
	}
	for to, want := range map[string]string{"+442079460201": "acme user.alice", "+442079460999": "host user.desk", "+442079460301": "host user.desk"} {
		w := plan.Begin(Call{Tenant: "host", Outside: true, Trunk: "pstn", To: to}, nil)
		if got := w.Tenant() + " " + w.Step().Node; got != want {
			t.Errorf("%s comes to %s, want %s", to, got, want)
		}
	}
	if w := plan.Begin(Call{Tenant: "acme", Outside: true, Trunk: "pstn", To: "+442079460201"}, nil); w.Step().Kind != StepReject {
		t.Errorf("a trunk that is not of the tenant: %+v", w.Step())
	}
}
