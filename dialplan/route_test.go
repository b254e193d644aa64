package dialplan

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const acme = `
dialplan "acme" {
  domains    = ["acme.example", "10.0.0.1"]
  hold_music = "acme/wait"
}
user "alice" {
  hold_music = "music"
  extension = "201"
  display   = "Alice"
  groups    = ["staff"]
}
user "bob" { extension = "202" }
user "carol" {}
ring "sales" {
  extension = "200"
  strategy  = "in_order"
  members   = [user.alice, user.bob]
  timeout   = "15s"
  otherwise { go = ring.all }
}
ring "all" {
  strategy = "random"
  members  = [user.alice, user.bob, user.carol]
  otherwise { go = music.busy }
}
music "busy" { play = "tone:busy" }
echo "test" {
  extension = "*43"
  timeout   = "1m"
}
conference "sales" {
  extension   = "8000"
  max_members = 20
  record      = true
  otherwise { go = music.busy }
}
conference "quiet" {
  extension = "8001"
  music     = ""
  announce  = false
  timeout   = "2h"
}
`

// accounts is a Directory for tests: name or extension -> user.
type accounts map[string]string

func (a accounts) User(_, name string) (string, bool) {
	user, ok := a[name]
	return user, ok
}

func TestRouteFollowsThePlan(t *testing.T) {
	plan := compiled(t, Source{"acme.hcl", []byte(acme)})
	directory := accounts{"dave": "dave", "204": "dave", "alice-2": "alice", "200": "mallory"}
	var b strings.Builder
	for _, c := range []Call{
		{To: "201"},
		{To: "alice"},
		{To: "carol"},
		{To: "200"},
		{To: "200", Given: map[string]int{}},
		{To: "200", Given: map[string]int{"ring.sales": 408}},
		{To: "200", Given: map[string]int{"ring.sales": 408, "ring.all": 200, "music.busy": 500}},
		{To: "200", Given: map[string]int{"ring.sales": 408, "ring.all": 480, "music.busy": 500}},
		{To: "*43"},
		{To: "8000"},
		{To: "8000", Given: map[string]int{"conference.sales": 486}},
		{To: "8001"},
		{To: "204"},
		{To: "alice-2"},
		{To: "999"},
		{To: ""},
		{To: "201", Tenant: "nobody"},
	} {
		if c.Tenant == "" {
			c.Tenant = "acme"
		}
		r := plan.Route(c, directory)
		checkRoute(t, r)
		fmt.Fprintf(&b, "dial %q", c.To)
		if c.Given != nil {
			fmt.Fprintf(&b, " given %v", c.Given)
		}
		fmt.Fprintf(&b, "\n%s\n", r.Explain())
	}
	golden(t, "testdata/routes.golden", b.String())
}

func TestStepsCarryEverythingACallNeeds(t *testing.T) {
	plan := compiled(t, Source{"acme.hcl", []byte(acme)})
	got := plan.Route(Call{Tenant: "acme", To: "200"}, nil).Steps
	want := []Step{
		{Kind: StepRing, Node: "ring.sales", Users: []string{"alice", "bob"}, Strategy: InOrder, Timeout: 15 * time.Second, At: Position{"acme.hcl", 14, 6}},
		{Kind: StepRing, Node: "ring.all", Users: []string{"alice", "bob", "carol"}, Strategy: Random, Timeout: 30 * time.Second, At: Position{"acme.hcl", 21, 6}},
		{Kind: StepMusic, Node: "music.busy", Play: "tone:busy", Timeout: 30 * time.Second, At: Position{"acme.hcl", 26, 7}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPlanKnowsItsUsers(t *testing.T) {
	plan := compiled(t, Source{"acme.hcl", []byte(acme)})
	for _, name := range []string{"alice", "201"} {
		u, ok := plan.User("acme", name)
		if !ok || u.Name != "alice" || u.Extension != "201" || u.Display != "Alice" || len(u.Groups) != 1 {
			t.Errorf("%s: got %+v, %v", name, u, ok)
		}
	}
	for _, c := range [][2]string{{"acme", "200"}, {"acme", "dave"}, {"other", "alice"}} {
		if u, ok := plan.User(c[0], c[1]); ok {
			t.Errorf("%v: got %+v", c, u)
		}
	}
	for user, want := range map[string]string{"alice": "music", "201": "music", "bob": "acme/wait", "dave": "acme/wait"} {
		if got := plan.HoldMusic("acme", user); got != want {
			t.Errorf("whom %s holds hears %q, want %q", user, got, want)
		}
	}
	if got := plan.HoldMusic("other", "alice"); got != "" {
		t.Errorf("another tenant's: %q", got)
	}
	var played []string
	for _, s := range plan.Sounds() {
		played = append(played, s.Play)
	}
	if got := strings.Join(played, " "); got != "acme/wait music tone:busy music" {
		t.Errorf("sounds: %s", got)
	}
}

func TestDomainsFindTheirTenant(t *testing.T) {
	lone := compiled(t, Source{"acme.hcl", []byte(acme)})
	two := compiled(t, Source{"acme.hcl", []byte(acme)}, Source{"b.hcl", []byte(`dialplan "b" { domains = ["b.example", "2001:DB8::1"] }`)})
	for _, c := range []struct{ host, lone, two string }{
		{"acme.example", "acme", "acme"},
		{"ACME.Example", "acme", "acme"},
		{"acme.example.", "acme", "acme"},
		{"acme.example:5060", "acme", "acme"},
		{"10.0.0.1", "acme", "acme"},
		{"10.0.0.1:5060", "acme", "acme"},
		{"10.0.0.2", "acme", ""},
		{"[2001:db8::1]:5060", "acme", "b"},
		{"[2001:db8::1]", "acme", "b"},
		{"2001:db8::1", "acme", "b"},
		{"2001:db8:0::1", "acme", "b"},
		{"2001:db8::2", "acme", ""},
		{"localhost", "acme", ""},
		{"b.example", "", "b"},
		{"other.example", "", ""},
		{"", "", ""},
		{"[", "", ""},
		{".", "", ""},
		{strings.Repeat("a", 300), "", ""},
	} {
		if got, ok := lone.TenantOf(c.host); got != c.lone || ok != (c.lone != "") {
			t.Errorf("lone tenant: %q belongs to %q, want %q", c.host, got, c.lone)
		}
		if got, ok := two.TenantOf(c.host); got != c.two || ok != (c.two != "") {
			t.Errorf("two tenants: %q belongs to %q, want %q", c.host, got, c.two)
		}
	}
}

func TestTenantsDoNotSeeEachOther(t *testing.T) {
	plan := compiled(t, Source{"acme.hcl", []byte(acme)}, Source{"b.hcl", []byte("dialplan \"b\" {}\nuser \"alice\" { extension = \"999\" }")})
	if got := plan.Route(Call{Tenant: "b", To: "201"}, nil); got.Steps[0].Kind != StepReject || got.Steps[0].Status != 404 {
		t.Errorf("got %+v", got.Steps)
	}
	if got := plan.Route(Call{Tenant: "b", To: "999"}, nil).Nodes(); len(got) != 1 || got[0] != "user.alice" {
		t.Errorf("got %v", got)
	}
}

func TestNilPlanIsAnEmptyOne(t *testing.T) {
	var plan *Plan
	if plan.Hash() != "" || plan.Tenants() != nil {
		t.Error("a nil plan has content")
	}
	if _, ok := plan.TenantOf("127.0.0.1"); ok {
		t.Error("a nil plan has a tenant")
	}
	if _, ok := plan.User("a", "b"); ok {
		t.Error("a nil plan has a user")
	}
	if r := plan.Route(Call{Tenant: "a", To: "b"}, nil); r.Steps[0].Kind != StepReject {
		t.Errorf("got %+v", r)
	}
	if r := plan.Route(Call{Tenant: "a", To: "b"}, accounts{"b": "b"}); r.Steps[0].Kind != StepRing {
		t.Errorf("got %+v", r)
	}
}

func TestRouteNeverPanicsAndItsTraceTellsTheSteps(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	for range 100 {
		text, dialled := randomPlan(random)
		plan := compiled(t, Source{"random.hcl", []byte(text)})
		for range 30 {
			to := fmt.Sprint(random.IntN(60))
			if random.IntN(4) == 0 && len(dialled) > 0 {
				to = dialled[random.IntN(len(dialled))]
			}
			c := Call{Tenant: "a", To: to}
			whole := plan.Route(c, nil)
			checkRoute(t, whole)
			c.Given = map[string]int{}
			for _, node := range whole.Nodes() {
				if random.IntN(2) == 0 {
					c.Given[node] = 200 + random.IntN(400)
				}
			}
			cut := plan.Route(c, nil)
			checkRoute(t, cut)
			checkCut(t, whole, cut, c.Given)
		}
	}
}

// checkCut: the route under given is the beginning of the whole one, up to the first node that does not fail.
func checkCut(t *testing.T, whole, cut Route, given map[string]int) {
	t.Helper()
	var want []string
	for _, node := range whole.Nodes() {
		want = append(want, node)
		if given[node] < 300 {
			break
		}
	}
	if diff := cmp.Diff(want, append([]string(nil), cut.Nodes()...)); diff != "" {
		t.Errorf("given %v: %s", given, diff)
	}
}

// checkRoute holds for every route: steps, and a trace that says how the number was found and then, in their order, tells of the steps.
func checkRoute(t interface {
	Helper()
	Fatalf(string, ...any)
}, r Route,
) {
	t.Helper()
	if len(r.Steps) == 0 || len(r.Steps) > maxWay || len(r.Trace) < len(r.Steps)+1 {
		t.Fatalf("%d steps, %d lines of trace: %+v", len(r.Steps), len(r.Trace), r)
	}
	line := 0
	for i, s := range r.Steps {
		for line++; line < len(r.Trace) && (r.Trace[line].Node != s.Node || r.Trace[line].Text == ""); line++ {
		}
		if line == len(r.Trace) || s.Kind == 0 {
			t.Fatalf("step %d is not in the trace: %+v, %+v", i, s, r.Trace)
		}
		if s.Kind != StepRing && len(s.Users) > 0 || (s.Kind == StepReject) != (s.Status != 0) || s.Kind != StepReject && s.Kind != StepApp && s.Timeout <= 0 || (s.Kind == StepApp) != (s.App != nil) {
			t.Fatalf("incomplete step: %+v", s)
		}
	}
}

// randomPlan writes a valid plan; nodes lead only to later ones.
func randomPlan(random *rand.Rand) (text string, dialled []string) {
	var b strings.Builder
	b.WriteString("dialplan \"a\" {}\n")
	users, rings := 1+random.IntN(5), random.IntN(10)
	for i := range users {
		fmt.Fprintf(&b, "user \"u%d\" { extension = \"%d\" }\n", i, i)
		dialled = append(dialled, fmt.Sprintf("u%d", i))
	}
	for i := range rings {
		fmt.Fprintf(&b, "ring \"r%d\" {\n  strategy = \"%s\"\n  members = [user.u%d]\n", i, []string{"all", "in_order", "random"}[random.IntN(3)], random.IntN(users))
		if random.IntN(3) > 0 {
			fmt.Fprintf(&b, "  extension = \"%d\"\n", 20+i)
		}
		if random.IntN(4) > 0 {
			target := fmt.Sprintf("user.u%d", random.IntN(users))
			if i+1 < rings && random.IntN(4) > 0 {
				target = fmt.Sprintf("ring.r%d", i+1+random.IntN(rings-i-1))
			}
			fmt.Fprintf(&b, "  otherwise { go = %s }\n", target)
		}
		b.WriteString("}\n")
	}
	b.WriteString("echo \"e\" { extension = \"50\" }\nmusic \"m\" { extension = \"51\" }\n")
	return b.String(), dialled
}

func TestRouteDoesNotAllocateForWhatThePlanNames(t *testing.T) {
	plan := compiled(t, Source{"acme.hcl", []byte(acme)})
	directory := accounts{"204": "dave"}
	for _, c := range []struct {
		to    string
		limit float64
	}{{"201", 0}, {"200", 0}, {"999", 0}, {"204", 2}} {
		got := testing.AllocsPerRun(100, func() {
			walk := plan.Begin(Call{Tenant: "acme", FromUser: "bob", To: c.to}, directory)
			for walk.Next(408) {
			}
		})
		if got > c.limit {
			t.Errorf("dialling %s allocates %v times, at most %v are expected", c.to, got, c.limit)
		}
	}
	if got := testing.AllocsPerRun(100, func() { plan.TenantOf("ACME.example:5060") }); got > 0 {
		t.Errorf("TenantOf allocates %v times", got)
	}
}

func BenchmarkRoute(b *testing.B) {
	var text strings.Builder
	text.WriteString("dialplan \"a\" {}\n")
	for i := range 10_000 {
		fmt.Fprintf(&text, "user \"u%d\" { extension = \"%d\" }\n", i, i)
	}
	text.WriteString("ring \"all\" {\n  extension = \"*1\"\n  members = [user.u1, user.u2]\n  otherwise { go = user.u3 }\n}\n")
	plan := compiled(b, Source{"big.hcl", []byte(text.String())})
	for _, to := range []string{"7777", "*1", "nobody", "account"} {
		b.Run(to, func(b *testing.B) {
			b.ReportAllocs()
			directory := accounts{"account": "account"}
			for b.Loop() {
				walk := plan.Begin(Call{Tenant: "a", FromUser: "u1", To: to}, directory)
				if walk.Step() == nil {
					b.Fatal("no step")
				}
			}
		})
	}
}

func BenchmarkTenantOf(b *testing.B) {
	store, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	store.current.Store(&active{plan: compiled(b, Source{"a.hcl", []byte("dialplan \"a\" { domains = [\"acme.example\"] }\n")})})
	for _, host := range []string{"acme.example", "Acme.Example.", "192.0.2.17"} {
		b.Run(host, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := store.Plan().TenantOf(host); !ok {
					b.Fatal("not found")
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	var text strings.Builder
	text.WriteString("dialplan \"a\" {}\n")
	for i := range 5000 {
		fmt.Fprintf(&text, "user \"u%d\" { extension = \"%d\" }\n", i, i)
	}
	sources := []Source{{"big.hcl", []byte(text.String())}}
	for b.Loop() {
		if plan, _ := Compile(sources); plan == nil {
			b.Fatal("does not compile")
		}
	}
}
