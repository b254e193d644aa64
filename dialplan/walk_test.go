package dialplan

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// drawPlan writes a valid plan of nodes of every kind that leads on; automatic ways lead to later nodes only, keys anywhere.
func drawPlan(t *rapid.T) (text string, dialled []string) {
	var b strings.Builder
	b.WriteString("dialplan \"a\" {\n  country = \"44\"\n}\ncalendar \"c\" { open = [\"mon-fri 09:00-17:00\", \"2026-11-22\"] }\n")
	n := rapid.IntRange(2, 12).Draw(t, "nodes")
	kinds := make([]string, n)
	name := func(i int) string {
		if kinds[i] == "did" {
			return fmt.Sprintf("did[\"+44207946%04d\"]", i)
		}
		return fmt.Sprintf("%s.n%d", kinds[i], i)
	}
	for i := range kinds {
		kinds[i] = rapid.SampledFrom([]string{"user", "user", "ring", "menu", "feature", "did", "reject", "echo", "number", "number", "app"}).Draw(t, "kind")
	}
	kinds[n-1] = "user"
	later := func(i int) string {
		if rapid.IntRange(0, 9).Draw(t, "leaves") == 0 {
			return rapid.SampledFrom([]string{"trunk.a", "outbound.free"}).Draw(t, "over")
		}
		return name(rapid.IntRange(i+1, n-1).Draw(t, "to"))
	}
	target := func(i int) string {
		if rapid.IntRange(0, 2).Draw(t, "choice") > 0 {
			return later(i)
		}
		return fmt.Sprintf("%sopen(\"c\") ? %s : %s", rapid.SampledFrom([]string{"", "!"}).Draw(t, "not"), later(i), later(i))
	}
	for i, kind := range kinds {
		label := fmt.Sprintf("n%d", i)
		if kind == "did" {
			label = fmt.Sprintf("+44207946%04d", i)
		}
		fmt.Fprintf(&b, "%s %q {\n", kind, label)
		if kind != "did" {
			fmt.Fprintf(&b, "  extension = \"%d\"\n", 100+i)
		}
		dialled = append(dialled, fmt.Sprint(100+i), fmt.Sprintf("0207946%04d", i))
		switch kind {
		case "ring":
			fmt.Fprintf(&b, "  members = [user.n%d]\n", n-1)
		case "number":
			fmt.Fprintf(&b, "  dial = \"+44770090%04d\"\n", i)
		case "feature", "did":
			fmt.Fprintf(&b, "  go = %s\n", target(i))
		case "app":
			fmt.Fprintf(&b, "  url = \"https://app.example/\"\n  answer \"x\" { go = %s }\n  answer \"y\" { go = %s }\n  otherwise { go = %s }\n", target(i), target(i), target(i))
		case "menu":
			b.WriteString("  dial = true\n")
			for key := range rapid.IntRange(0, 3).Draw(t, "keys") {
				fmt.Fprintf(&b, "  key \"%d\" { go = %s }\n", key, name(rapid.IntRange(0, n-1).Draw(t, "key")))
			}
		case "user":
			if rapid.IntRange(0, 3).Draw(t, "dnd") == 0 {
				b.WriteString("  dnd = true\n")
			}
			if rapid.Bool().Draw(t, "staff") {
				fmt.Fprintf(&b, "  groups = [\"staff\"]\n  caller = \"+44207946%04d\"\n", i)
			}
			if i < n-1 && rapid.Bool().Draw(t, "forwards") {
				b.WriteString("  forward {\n")
				for _, on := range []string{"always", "busy", "no_answer", "unreachable"} {
					if rapid.IntRange(0, 3).Draw(t, on) == 0 {
						fmt.Fprintf(&b, "    %s = %s\n", on, target(i))
					}
				}
				b.WriteString("  }\n")
			}
		}
		if (kind == "ring" || kind == "menu" || kind == "user" || kind == "number") && i < n-1 && rapid.Bool().Draw(t, "otherwise") {
			fmt.Fprintf(&b, "  otherwise { go = %s }\n", target(i))
		}
		b.WriteString("}\n")
	}
	drawCarriers(t, &b, n)
	return b.String(), append(dialled, "999", "07700 900999", "0044 20 7946 0999", "0012125550100", "0033123456789", "118500")
}

// drawCarriers writes how calls leave the house: three trunks, and outbound nodes for them.
func drawCarriers(t *rapid.T, b *strings.Builder, n int) {
	for i, name := range []string{"a", "b", "c"} {
		fmt.Fprintf(b, "trunk %q {\n  hosts = [\"192.0.2.%d\"]\n  caller_id = %q\n", name, i+1, rapid.SampledFrom(callerIDs()).Draw(t, "caller_id"))
		fmt.Fprintf(b, "  rates = { \"+44\" = \"0.0%d\", \"+1\" = \"0.0%d\" }\n", rapid.IntRange(1, 9).Draw(t, "price"), rapid.IntRange(1, 9).Draw(t, "price"))
		if rapid.Bool().Draw(t, "rewrites") {
			b.WriteString("  out { rewrite = { \"+44\" = \"0\", \"+\" = \"00\" } }\n  caller = \"+442079460000\"\n")
		}
		if rapid.Bool().Draw(t, "arrives") {
			fmt.Fprintf(b, "  in {\n    rewrite = { \"44\" = \"+44\" }\n    go = user.n%d\n  }\n", n-1)
		}
		b.WriteString("}\n")
	}
	for i, match := range []string{`["+447*", "118*"]`, `["+44*", "+*"]`, ""} {
		name := []string{"mobile", "all", "free"}[i]
		fmt.Fprintf(b, "outbound %q {\n", name)
		if match != "" {
			fmt.Fprintf(b, "  match = %s\n", match)
			if rapid.IntRange(0, 3).Draw(t, "allow") == 0 {
				b.WriteString("  allow = [\"staff\"]\n")
			}
		}
		trunks := rapid.Permutation([]string{"trunk.a", "trunk.b", "trunk.c"}).Draw(t, "trunks")[:rapid.IntRange(1, 3).Draw(t, "via")]
		via := "[" + strings.Join(trunks, ", ") + "]"
		if rapid.Bool().Draw(t, "cheapest") {
			via = "cheapest(" + strings.Join(trunks, ", ") + ")"
		}
		fmt.Fprintf(b, "  via = %s\n  next = %s\n", via, rapid.SampledFrom([]string{"[]", "[503]", `[486, 503, "no_reply 4s"]`}).Draw(t, "next"))
		if to := rapid.SampledFrom([]string{"", fmt.Sprintf("user.n%d", n-1), "outbound.free"}).Draw(t, "otherwise"); to != "" && name != "free" {
			fmt.Fprintf(b, "  otherwise { go = %s }\n", to)
		}
		b.WriteString("}\n")
	}
	fmt.Fprintf(b, "emergency \"e\" {\n  numbers = [\"999\"]\n  via = [trunk.b, trunk.a]\n}\ntest \"t\" {\n  call = { from = user.n%d, to = \"999\" }\n  expect = [emergency.e, trunk.b]\n}\n", n-1)
}

// told is a step as those see it who carry it out.
func told(s *Step) string {
	if s.Out == nil {
		return s.Kind.String() + " " + s.Node
	}
	return fmt.Sprintf("%s %s dials %s (%s), shows %s, asserts %s, %d", s.Kind, s.Node, s.Out.Number, s.Out.E164, s.Out.Caller, s.Out.Asserted, s.Out.Price)
}

func TestTheExplainedWayIsTheOneThatCallsGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, dialled := drawPlan(t)
		plan, diags := Compile([]Source{{"random.hcl", []byte(text)}})
		if plan == nil {
			t.Fatalf("%s\n%s", text, render(diags))
		}
		for range 50 {
			c := Call{
				Tenant: "a", FromUser: rapid.SampledFrom([]string{"n0", "n1", ""}).Draw(t, "from"), Private: rapid.IntRange(0, 4).Draw(t, "private") == 0,
				Number: rapid.SampledFrom([]string{"", "442079460999", "+12125550100"}).Draw(t, "number"),
				Trunk:  rapid.SampledFrom([]string{"", "a", "b", "x"}).Draw(t, "trunk"), To: rapid.SampledFrom(dialled).Draw(t, "dialled"), Outside: rapid.IntRange(0, 4).Draw(t, "outside") == 0,
				At: time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 7*24*60).Draw(t, "minute")) * time.Minute),
			}
			// A call goes its way, and everybody it meets behaves as drawn, each node always in the same way.
			given, answers := map[string]int{}, map[string]string{}
			var keys, went []string
			w := plan.Begin(c, nil)
			for s := w.Step(); s != nil; s = w.Step() {
				went = append(went, told(s))
				if s.Kind == StepReject || len(went) > 100 {
					break
				}
				if s.Kind == StepApp {
					if answers[s.Node] == "" {
						answers[s.Node] = rapid.SampledFrom([]string{"x", "y", "z", AppTimeout}).Draw(t, s.Node)
					}
					w.Answered(answers[s.Node])
					continue
				}
				if s.Kind == StepMenu && len(keys) < 5 && rapid.Bool().Draw(t, "presses") {
					key := fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "key"))
					if complete, _ := w.Keyed(key); complete {
						keys = append(keys, key)
						w.Press(key)
						continue
					}
				}
				status, known := given[s.Node]
				if !known {
					status = rapid.SampledFrom([]int{200, 408, 480, 486, 503}).Draw(t, s.Node)
					if s.Out != nil {
						status = rapid.SampledFrom([]int{200, 408, 486, 503, 503, NoReply, Down, Full, Limited}).Draw(t, s.Node)
					}
					if s.Kind == StepMenu && len(keys) > 0 {
						status = 200 // Route takes keys first: what a menu comes to besides can only be its last word
					}
					given[s.Node] = status
				}
				if s.Kind == StepMenu {
					if status >= 300 { // as above
						status = 200
						given[s.Node] = 200
					}
				}
				if status >= 200 && status < 300 || !w.Next(status) {
					break
				}
			}
			c.Given, c.Answers, c.Keys = given, answers, keys
			r := plan.Route(c, nil)
			checkRoute(t, r)
			var explained []string
			for i := range r.Steps {
				explained = append(explained, told(&r.Steps[i]))
			}
			if diff := cmp.Diff(went, explained); diff != "" {
				t.Fatalf("dial %s given %v, keys %v (-went +explained): %s\n%s\n%s", c.To, given, keys, diff, r.Explain(), text)
			}
			if diff := cmp.Diff(r.Trace, plan.Route(c, nil).Trace); diff != "" {
				t.Fatalf("told otherwise the second time: %s", diff)
			}
		}
	})
}

func TestMenusTakeTheirKeys(t *testing.T) {
	plan := compiled(t, Source{"a.hcl", []byte(`dialplan "a" {}
user "u" { extension = "201" }
user "v" { extension = "2011" }
menu "m" {
  extension = "0"
  dial      = true
  key "1" { go = user.u }
  key "12" { go = user.v }
  key "2" { go = user.v }
  otherwise { go = user.u }
}
`)})
	for _, c := range []struct {
		keys           string
		complete, more bool
		to             string
	}{
		{"1", true, true, "user.u"},
		{"12", true, false, "user.v"},
		{"13", false, false, ""},
		{"2", true, true, "user.v"},
		{"20", false, true, ""},
		{"201", true, true, "user.u"},
		{"2011", true, false, "user.v"},
		{"u", false, false, ""},
		{"0", false, false, ""},
		{"9", false, false, ""},
	} {
		w := plan.Begin(Call{Tenant: "a", To: "0"}, nil)
		complete, more := w.Keyed(c.keys)
		to := ""
		if w.Press(c.keys) {
			to = w.Step().Node
		}
		if complete != c.complete || more != c.more || to != c.to {
			t.Errorf("%s: %v, %v, %q; want %v, %v, %q", c.keys, complete, more, to, c.complete, c.more, c.to)
		}
	}
	w := plan.Begin(Call{Tenant: "a", To: "201"}, nil)
	if complete, more := w.Keyed("1"); complete || more || w.Press("1") {
		t.Error("a phone that rings takes keys")
	}
}
