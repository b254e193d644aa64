package dialplan

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const appPlan = `
dialplan "acme" {}
user "alice" { extension = "201" }
user "bob" { extension = "202" }
ring "vip" {
  members = [user.alice]
  otherwise { go = voicemail.vip }
}
ring "sales" {
  members = [user.bob]
  otherwise { go = voicemail.vip }
}
voicemail "vip" { pin = "4711" }
did "+442079460000" { go = app.crm }
app "crm" {
  url     = "https://crm.example/route"
  timeout = "800ms"
  answer "gold" { go = ring.vip }
  answer "silver" { go = ring.sales }
  otherwise { go = ring.sales }
}
`

func fromOutside(answers map[string]string) Call {
	return Call{Tenant: "acme", Outside: true, Number: "+447700900456", To: "+442079460000", Answers: answers}
}

func TestAppSendsCallsWhereItsAnswerLeads(t *testing.T) {
	plan := compiled(t, Source{"a.hcl", []byte(appPlan)})
	for _, c := range []struct {
		answers map[string]string
		nodes   string
		says    []string
	}{
		{map[string]string{"app.crm": "gold"}, "did.+442079460000 app.crm ring.vip voicemail.vip", []string{
			"app.crm asks https://crm.example/route, for at most 800ms; given: it answers gold (a.hcl:14:28)",
			"when app.crm answers gold: ring.vip rings alice, all at once, for 30s (a.hcl:18:24)",
		}},
		{map[string]string{"app.crm": "timeout"}, "did.+442079460000 app.crm ring.sales voicemail.vip", []string{
			"; given: it comes to timeout (", "when app.crm does not help: ring.sales",
		}},
		{map[string]string{"app.crm": "lead"}, "did.+442079460000 app.crm ring.sales voicemail.vip", []string{"; given: it answers lead, which the plan does not name"}},
		{nil, "did.+442079460000 app.crm ring.sales voicemail.vip", []string{"; assumed: it does not answer"}},
	} {
		r := plan.Route(fromOutside(c.answers), nil)
		if got := strings.Join(r.Nodes(), " "); got != c.nodes {
			t.Errorf("%v: the call goes through %s, want %s", c.answers, got, c.nodes)
		}
		for _, text := range c.says {
			if got := r.Explain(); !strings.Contains(got, text) {
				t.Errorf("%v: %q is not said:\n%s", c.answers, text, got)
			}
		}
	}
}

func TestAppIsAskedOnTheWayOfACall(t *testing.T) {
	plan := compiled(t, Source{"a.hcl", []byte(appPlan)})
	for answer, want := range map[string]string{"gold": "ring.vip", "silver": "ring.sales", "lead": "ring.sales", "": "ring.sales"} {
		w := plan.Begin(fromOutside(nil), nil)
		if s := w.Step(); s == nil || s.Kind != StepApp || s.App.Timeout != 800*time.Millisecond || !slices.Equal(s.App.Answers, []string{"gold", "silver"}) {
			t.Fatalf("the call is at %+v", s)
		}
		if w.DID() != "+442079460000" || w.PlanHash() != plan.Hash() {
			t.Errorf("the call came to %q, by plan %q", w.DID(), w.PlanHash())
		}
		if !w.Answered(answer) || w.Step().Node != want {
			t.Errorf("%q leads to %+v, want %s", answer, w.Step(), want)
		}
	}
	w := plan.Begin(Call{Tenant: "acme", FromUser: "alice", To: "202"}, nil)
	if w.DID() != "" {
		t.Errorf("a call to an extension came to %q", w.DID())
	}
	var none Walk
	if none.Answered("gold") || none.DID() != "" || none.PlanHash() != "" {
		t.Error("no walk goes anywhere")
	}
}

func TestFinishedCallIsReplayedWithWhatItsAppAnswered(t *testing.T) {
	plan := compiled(t, Source{"a.hcl", []byte(appPlan)})
	call := fromOutside(map[string]string{"app.crm": "gold"})
	given := plan.Given(call, nil, []string{"app.crm", "ring.vip", "voicemail.vip"}, 200)
	if given["ring.vip"] == 0 || given["voicemail.vip"] != 200 {
		t.Fatalf("steps ended with %v", given)
	}
	call.Given = given
	if got := strings.Join(plan.Route(call, nil).Nodes(), " "); got != "did.+442079460000 app.crm ring.vip voicemail.vip" {
		t.Errorf("the call goes through %s", got)
	}
}

func TestAppIsComparedInWords(t *testing.T) {
	before := compiled(t, Source{"a.hcl", []byte(appPlan)})
	after := compiled(t, Source{"a.hcl", []byte(strings.NewReplacer("800ms", "1s", `"gold" { go = ring.vip }`, `"gold" { go = voicemail.vip }`, `answer "silver" { go = ring.sales }`, `answer "lead" { go = voicemail.vip }`).Replace(appPlan))})
	var told []string
	for _, d := range Diff(before, after, time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)) {
		told = append(told, d.Text)
	}
	want := []string{
		"app.crm: timeout 1s instead of 800ms", "app.crm: calls for which it answers gold go to voicemail.vip instead of ring.vip",
		"app.crm: calls for which it answers lead go to voicemail.vip instead of ring.sales",
	}
	if got := strings.Join(told, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

func TestRulesCountEveryAnswerOfAnApp(t *testing.T) {
	text := appPlan + "never \"n\" {\n  from = \"did\"\n  to   = user.alice\n}\n"
	if _, diags := Compile([]Source{{"a.hcl", []byte(text)}}); len(diags) != 1 || !strings.Contains(diags[0].Summary, "did.+442079460000 -> app.crm -> ring.vip -> user.alice") {
		t.Errorf("got %s", render(diags))
	}
}

func TestCoverageCountsAnswers(t *testing.T) {
	text := appPlan + `test "gold" {
  call   = { from = "+447700900456", to = "+442079460000" }
  given  = { "app.crm" = "gold" }
  expect = [app.crm, ring.vip]
}
test "too slow" {
  call   = { from = "+447700900456", to = "+442079460000" }
  given  = { "app.crm" = "timeout", "ring.sales" = 408 }
  expect = [app.crm, ring.sales, voicemail.vip]
}
`
	var missed []string
	for _, m := range compiled(t, Source{"a.hcl", []byte(text)}).Coverage().Missed {
		missed = append(missed, m.Text)
	}
	if !slices.Contains(missed, "no test takes answer silver of app.crm") || slices.Contains(missed, "no test takes otherwise of app.crm") || slices.Contains(missed, "no test takes answer gold of app.crm") {
		t.Errorf("missed: %s", strings.Join(missed, "; "))
	}
}

func TestSecretThatCrossesTheNetworkInClearIsWarnedOf(t *testing.T) {
	for address, warns := range map[string]bool{"http://crm.example/": true, "https://crm.example/": false, "http://127.0.0.1:8080/": false, "http://[::1]/": false, "http://localhost/x": false} {
		text := strings.Replace(appPlan, `"https://crm.example/route"`, `"`+address+`"`+"\n  secret = \"crm\"", 1)
		_, diags := Compile([]Source{{"a.hcl", []byte(text)}})
		if warned := len(diags) == 1 && diags[0].Severity == Warning && strings.Contains(diags[0].Summary, "crosses the network in clear"); warned != warns {
			t.Errorf("%s: %s", address, render(diags))
		}
	}
}
