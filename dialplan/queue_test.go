package dialplan

import (
	"strings"
	"testing"
	"time"
)

const queuePlan = `
dialplan "acme" {}
user "alice" { groups = ["vip"] }
user "bob" { dnd = true }
user "carol" {}
queue "support" {
  extension = "300"
  agents    = [user.alice, ring.second]
  strategy  = "round_robin"
  priority  = { "vip" = 2, "+44" = 1, "+4420" = 3 }
  key "1" { go = user.carol }
  otherwise { go = reject.later }
}
ring "second" {
  members = [user.bob, user.carol, user.alice]
  otherwise { go = reject.later }
}
reject "later" {}
agent "out" {
  extension = "*46"
  does      = "log_out"
  queues    = [queue.support]
}
`

func TestQueueKnowsItsAgentsAndWhoGoesFirst(t *testing.T) {
	plan := compiled(t, Source{"a.hcl", []byte(queuePlan)})
	s, ok := plan.Queue("acme", "support")
	if got := strings.Join(s.Users, " "); !ok || got != "alice carol" {
		t.Errorf("agents %q: bob does not want to be disturbed, and alice is one agent", got)
	}
	for _, c := range []struct {
		groups []string
		number string
		want   int
	}{
		{nil, "", 0},
		{[]string{"staff", "vip"}, "", 2},
		{nil, "+447700900456", 1},
		{[]string{"vip"}, "+442079460000", 3},
		{[]string{"+44"}, "44", 1},
	} {
		if got := s.Queue.PriorityOf(c.groups, c.number); got != c.want {
			t.Errorf("%v %s: %d, want %d", c.groups, c.number, got, c.want)
		}
	}
	if _, ok := plan.Queue("acme", "sales"); ok || plan.Queues("nobody") != nil {
		t.Error("there are queues that are not in the plan")
	}
}

func TestQueueIsExplained(t *testing.T) {
	plan := compiled(t, Source{"a.hcl", []byte(queuePlan)})
	r := plan.Route(Call{Tenant: "acme", FromUser: "alice", To: "300", Keys: []string{"9", "1"}}, nil)
	if got := r.Explain(); !strings.Contains(got, "2. queue.support lets callers wait for alice, carol, in turn, each for 15s, plays music, for at most 30m (a.hcl:6:7)") || !strings.Contains(got, "when queue.support fails otherwise: ") {
		t.Errorf("got\n%s", got)
	}
	r = plan.Route(Call{Tenant: "acme", FromUser: "alice", To: "300", Keys: []string{"1"}}, nil)
	if got := r.Explain(); !strings.Contains(got, "when key 1 is pressed in queue.support: ring user.carol for 1m") {
		t.Errorf("got\n%s", got)
	}
	r = plan.Route(Call{Tenant: "acme", FromUser: "alice", To: "*46", Given: map[string]int{}}, nil)
	if got := r.Explain(); !strings.Contains(got, "agent.out logs the caller out of queue.support") {
		t.Errorf("got\n%s", got)
	}
}

func TestQueueIsComparedInWords(t *testing.T) {
	before := compiled(t, Source{"a.hcl", []byte(queuePlan)})
	after := compiled(t, Source{"a.hcl", []byte(strings.NewReplacer(`"round_robin"`, `"ring_all"`, "user.alice, ring", "ring", `"1" { go = user.carol }`, `"1" { go = user.alice }`).Replace(queuePlan))})
	var told []string
	for _, d := range Diff(before, after, time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)) {
		told = append(told, d.Text)
	}
	want := []string{
		"queue.support: users carol, alice instead of alice, carol", "queue.support: strategy ring_all instead of round_robin",
		"queue.support: callers who press 1 go to user.alice instead of user.carol",
	}
	if got := strings.Join(told, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s", got)
	}
}

func TestNoOutsiderReachesAnAgentWhomARuleProtects(t *testing.T) {
	text := queuePlan + "did \"+442079460000\" { go = queue.support }\nnever \"n\" {\n  from = \"did\"\n  to   = user.bob\n}\n"
	if _, diags := Compile([]Source{{"a.hcl", []byte(text)}}); len(diags) != 1 || !strings.Contains(diags[0].Summary, "did.+442079460000 -> queue.support -> user.bob") {
		t.Errorf("got %s", render(diags))
	}
}
