package dialplan

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// changesOfOffice are edits of testdata/good/office.hcl that an operator might make: what is replaced, and by what.
var changesOfOffice = [][2]string{
	{`busy      = user.bob`, `busy      = user.erin`},
	{`!open("office") ? reject.closed : ring.sales`, `!open("office") ? user.erin : ring.sales`},
	{`["mon-fri 09:00-17:30", "2026-12-24 09:00-12:00"]`, `["mon-thu 08:30-17:30", "fri 09:00-17:30", "2026-12-24 09:00-13:00"]`},
	{`closed   = ["fri 16:00-17:30"]`, `closed   = ["fri 15:00-17:30", "2027-03-01"]`},
	{"  holidays = \"GB\"\n", ""},
	{`"mon-fri 22:00-06:00"`, `"mon-sun 22:00-06:00"`},
	{`delays    = { "user.erin" = "10s" }`, `delays    = { "user.erin" = "15s" }`},
	{"  skip_busy = true\n", ""},
	{`members   = [user.bob, user.alice, user.erin]`, `members   = [user.alice, user.erin]`},
	{"  status = 480\n", "  status = 486\n"},
	{`forward { always = ring.sales }`, `forward { always = user.erin }`},
	{`extension = "205"`, `extension = "206"`},
	{`did "+442079460000"`, `did "+442079460001"`},
	{`open("office") || open("night")`, `open("office")`},
	{`!(open("office") && open("night"))`, `!open("office")`},
	{`"Europe/London"`, `"Europe/Paris"`},
	{`timeout   = "25s"`, `timeout   = "35s"`},
	{"  dnd       = true\n", ""},
	{`country  = "44"`, `country  = "49"`},
}

func TestDifferencesAreToldInWords(t *testing.T) {
	from := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	text := officeText(t)
	before := mustCompile(t, text)
	var b strings.Builder
	for _, c := range changesOfOffice {
		fmt.Fprintf(&b, "# %s\n# -> %s\n", strings.TrimSpace(c[0]), strings.TrimSpace(c[1]))
		for _, d := range Diff(before, mustCompile(t, strings.Replace(text, c[0], c[1], 1)), from) {
			fmt.Fprintf(&b, "%d: %s", d.At.Line, d.Text)
			if d.Numbers != nil {
				fmt.Fprintf(&b, " [%s]", strings.Join(d.Numbers, " "))
			}
			b.WriteByte('\n')
		}
		b.WriteByte('\n')
	}
	golden(t, "testdata/diff.golden", b.String())
}

// changesOfCarriers are edits of the plan with trunks.
var changesOfCarriers = [][2]string{
	{`channels = 30`, `channels = 40`},
	{`rates    = { "+44" = "0.02"`, `rates    = { "+44" = "0.01"`},
	{`  caller   = "+442079460000"`, `  caller   = "+442079460009"`},
	{`dial = "+447700900456"`, `dial = "+447700900457"`},
	{`groups    = ["staff"]`, `groups    = []`},
	{`match = ["+44*", "101", "118*"]`, `match = ["+44*", "101"]`},
	{`match = ["+4490*"]`, `match = ["+4491*"]`},
	{`next  = [408, 500, 503, "no_reply 4s"]`, `next  = [503, "no_reply 6s"]`},
	{`cheapest(trunk.carrier_a, trunk.carrier_b)`, `[trunk.carrier_b]`},
	{`location = "1 Acme Street, London"`, `location = "2 Acme Street, London"`},
	{`calls  = 2`, `calls  = 3`},
}

func TestDifferencesOutsideAreToldInWords(t *testing.T) {
	from := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	before := compiledAll(t, Source{Name: "acme.hcl", Text: []byte(carriers)})
	if d := Diff(before, compiledAll(t, Source{Name: "acme.hcl", Text: []byte("\n\n" + carriers)}), from); d != nil {
		t.Errorf("another layout: %v", d)
	}
	var b strings.Builder
	for _, c := range changesOfCarriers {
		text := strings.Replace(carriers, c[0], c[1], 1)
		if text == carriers {
			t.Fatalf("%s is not in the plan", c[0])
		}
		fmt.Fprintf(&b, "# %s\n# -> %s\n", strings.TrimSpace(c[0]), strings.TrimSpace(c[1]))
		for _, d := range Diff(before, compiledAll(t, Source{Name: "acme.hcl", Text: []byte(text)}), from) {
			fmt.Fprintf(&b, "%d: %s [%s]\n", d.At.Line, d.Text, strings.Join(d.Numbers, " "))
		}
		b.WriteByte('\n')
	}
	golden(t, "testdata/diff_outside.golden", b.String())
}

func TestNoDifferenceWhereCallsGoTheSameWay(t *testing.T) {
	text := officeText(t)
	before := mustCompile(t, text)
	same := strings.ReplaceAll(text, "\n", "\n\n") + "\n# a comment\n"
	if d := Diff(before, mustCompile(t, same), time.Now()); d != nil {
		t.Errorf("another layout: %v", d)
	}
	same = strings.Replace(text, `!(open("office") && open("night"))`, `!open("office") || !open("night")`, 1)
	if same == text {
		t.Fatal("nothing was replaced")
	}
	if d := Diff(before, mustCompile(t, same), time.Now()); d != nil {
		t.Errorf("the same condition in other words: %v", d)
	}
	if Diff(before, before, time.Now()) != nil || Diff(nil, nil, time.Now()) != nil {
		t.Error("a plan differs from itself")
	}
	if d := Diff(nil, before, time.Now()); len(d) != 1 || !strings.Contains(d[0].Text, "tenant acme is new") {
		t.Error(d)
	}
	if d := Diff(before, nil, time.Now()); len(d) != 1 || !strings.Contains(d[0].Text, "tenant acme is gone") {
		t.Error(d)
	}
}

// Where Diff finds nothing about a number, no call to it goes another way; where it finds something, some call does.
func TestDifferencesAreThoseOfCalls(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	from := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	text := officeText(t)
	for range 40 {
		plans := [2]*Plan{}
		for i := range plans {
			edited := text
			for _, c := range changesOfOffice {
				if random.IntN(6) == 0 {
					edited = strings.Replace(edited, c[0], c[1], 1)
				}
			}
			plans[i] = mustCompile(t, edited)
		}
		told := map[string]bool{}
		for _, d := range Diff(plans[0], plans[1], from) {
			for _, n := range d.Numbers {
				told[n] = true
			}
		}
		for range 200 {
			call := randomCall(random, from)
			one, two := stepsOf(plans[0].Route(call, nil)), stepsOf(plans[1].Route(call, nil))
			if number := e164Of(plans[0], plans[1], call.To); one != two && !told[call.To] && !told[number] {
				t.Fatalf("seed %d: nothing is told of a call to %s at %s, given %v:\n%s\n%s", seed, call.To, call.At, call.Given, one, two)
			}
		}
	}
}

func e164Of(one, two *Plan, number string) string {
	for _, p := range []*Plan{one, two} {
		var buffer [mostDigits + 1]byte
		if e := string(p.tenants[0].country.e164(buffer[:0], number)); e != "" {
			return e
		}
	}
	return number
}

func randomCall(random *rand.Rand, from time.Time) Call {
	to := []string{"200", "201", "202", "203", "204", "205", "206", "*55", "*56", "+442079460000", "+442079460001", "alice", "erin"}
	c := Call{Tenant: "acme", To: to[random.IntN(len(to))], FromUser: "erin", At: from.Add(time.Duration(random.Int64N(int64(365 * 24 * time.Hour)))), Given: map[string]int{}}
	if strings.HasPrefix(c.To, "+") {
		c.FromUser, c.Outside = "", true
	}
	for _, node := range []string{"user.alice", "user.bob", "user.carol", "user.dave", "user.erin", "ring.sales"} {
		c.Given[node] = []int{408, 480, 486, 500, 200}[random.IntN(5)]
	}
	return c
}

// stepsOf is a route without places in the text.
func stepsOf(r Route) string {
	steps := slices.Clone(r.Steps)
	for i := range steps {
		steps[i].At = Position{}
	}
	return fmt.Sprintf("%+v", steps)
}

func officeText(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("testdata/good/office.hcl")
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(string(b), "\ntest ") // tests of the plan would fail by what is changed
	return text
}

func mustCompile(t *testing.T, text string) *Plan {
	t.Helper()
	p, diags := Compile([]Source{{Name: "office.hcl", Text: []byte(text)}})
	if Failed(diags) {
		t.Fatal(diags)
	}
	return p
}
