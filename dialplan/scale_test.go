package dialplan

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// manyPrefixes are n prefixes of numbers abroad, none twice.
func manyPrefixes(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("+%d*", 1_000_000+i*7919%9_000_000)
	}
	return all
}

// carrierPlan is a plan of about a thousand nodes with prefixes and prices in tables.
func carrierPlan(prefixes int) []Source {
	var b, match, first, second strings.Builder
	b.WriteString("dialplan \"acme\" { country = \"44\" }\n")
	for i := range 900 {
		fmt.Fprintf(&b, "user \"u%d\" {\n  extension = \"%d\"\n  groups = [\"g%d\"]\n}\n", i, 1000+i, i%10)
	}
	for i := range 100 {
		fmt.Fprintf(&b, "ring \"r%d\" {\n  extension = \"%d\"\n  members = [user.u%d]\n  otherwise { go = user.u1 }\n}\n", i, 3000+i, i)
	}
	for i, p := range manyPrefixes(prefixes) {
		fmt.Fprintln(&match, p)
		fmt.Fprintf(&first, "%s,0.%02d\n", p, i%100)
		fmt.Fprintf(&second, "%s,0.%02d\n", p, i%37)
	}
	b.WriteString(`
trunk "a" {
  hosts = ["192.0.2.1"]
  rates = "a.csv"
  out { rewrite = { "+" = "00", "+44" = "0" } }
}
trunk "b" {
  hosts = ["192.0.2.2"]
  rates = "b.csv"
}
outbound "cheap" {
  match = ["match.csv"]
  allow = ["g1"]
  via   = cheapest(trunk.a, trunk.b)
}
emergency "uk" {
  numbers  = ["999"]
  via      = [trunk.a]
  location = "here"
}
test "help" {
  call   = { from = user.u1, to = "999" }
  expect = [emergency.uk, trunk.a]
}
`)
	return []Source{{"acme.hcl", []byte(b.String())}, {"match.csv", []byte(match.String())}, {"a.csv", []byte(first.String())}, {"b.csv", []byte(second.String())}}
}

func TestCallsThatLeaveTheHouseAllocateTwiceATrunk(t *testing.T) {
	plan := compiledAll(t, carrierPlan(1000)...)
	c := Call{Tenant: "acme", FromUser: "u1", To: "00" + strings.Trim(manyPrefixes(1000)[500], "+*") + "1234"}
	if got := testing.AllocsPerRun(100, func() {
		w := plan.Begin(c, nil)
		if s := w.Step(); s == nil || s.Kind != StepTrunk {
			t.Fatalf("%+v", s)
		}
	}); got > 2 {
		t.Errorf("%v times", got)
	}
}

func BenchmarkLeaveHouse(b *testing.B) {
	plan := compiledAll(b, carrierPlan(100_000)...)
	prefixes := manyPrefixes(100_000)
	numbers := make([]string, 1024)
	for i := range numbers {
		numbers[i] = "00" + strings.Trim(prefixes[i*97], "+*") + "1234"
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		w := plan.Begin(Call{Tenant: "acme", FromUser: "u1", To: numbers[i%len(numbers)]}, nil)
		if s := w.Step(); s == nil || s.Kind != StepTrunk {
			b.Fatalf("%+v", s)
		}
		i++
	}
}

// longPlan is a plan of at least so many lines, of every kind of block, with a test for every tenth node.
func longPlan(lines int) string {
	var b strings.Builder
	b.WriteString("dialplan \"acme\" {\n  country = \"44\"\n}\ncalendar \"office\" { open = [\"mon-fri 09:00-17:30\"] }\n")
	b.WriteString("trunk \"a\" {\n  hosts = [\"192.0.2.1\"]\n}\nemergency \"uk\" {\n  numbers = [\"999\"]\n  via = [trunk.a]\n  location = \"here\"\n}\n")
	b.WriteString("test \"help\" {\n  call = { from = user.u0, to = \"999\" }\n  expect = [emergency.uk, trunk.a]\n}\n")
	for i := range lines/35 + 1 { // each time 35
		fmt.Fprintf(&b, `user "u%[1]d" {
  extension = "%[2]d"
  display   = "User %[1]d"
  groups    = ["staff", "team%[1]d"]
  timeout   = "20s"
  otherwise { go = reject.r%[1]d }
}
ring "g%[1]d" {
  extension = "*%[2]d"
  members   = [user.u%[1]d]
  strategy  = "in_order"
  otherwise { go = user.u%[1]d }
}
reject "r%[1]d" {
  reason = "nobody is here"
  status = 480
}
did "+44%[2]d" {
  go = open("office") ? menu.m%[1]d : user.u%[1]d
}
menu "m%[1]d" {
  play = "acme/welcome"
  key "1" { go = ring.g%[1]d }
  otherwise { go = reject.r%[1]d }
}
outbound "o%[1]d" {
  match = ["+33%[2]d*", "+34%[2]d*"]
  via   = [trunk.a]
}
test "t%[1]d" {
  at     = "2026-11-23 10:00"
  call   = { from = "+447700900456", to = "+44%[2]d" }
  keys   = ["1"]
  expect = [menu.m%[1]d, ring.g%[1]d]
}
`, i, 1_000_000+i)
	}
	return b.String()
}

func BenchmarkCompileLongPlan(b *testing.B) {
	benchmarkCompile(b, []Source{{"long.hcl", []byte(longPlan(65_000))}})
}

func BenchmarkCompileManyPrefixes(b *testing.B) {
	b.Run("in tables", func(b *testing.B) { benchmarkCompile(b, carrierPlan(100_000)) })
	b.Run("in the plan", func(b *testing.B) {
		sources := carrierPlan(100_000)
		list := "[\n\"" + strings.Join(manyPrefixes(100_000), "\",\n\"") + "\",\n]"
		sources[0].Text = []byte(strings.Replace(string(sources[0].Text), `["match.csv"]`, list, 1))
		benchmarkCompile(b, sources)
	})
}

func benchmarkCompile(b *testing.B, sources []Source) {
	var memory runtime.MemStats
	for b.Loop() {
		if plan, diags := Compile(sources); plan == nil {
			b.Fatal(render(diags))
		}
	}
	runtime.ReadMemStats(&memory)
	b.ReportMetric(float64(strings.Count(string(sources[0].Text), "\n")), "lines")
	b.ReportMetric(float64(len(sources[0].Text)), "bytes-of-text")
	b.ReportMetric(float64(memory.HeapSys)/(1<<20), "MB-heap")
}
