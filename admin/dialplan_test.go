package admin

import (
	"errors"
	"strings"
	"testing"

	"tandem/cluster"
)

func planOf(name, text string) PlanFiles { return PlanFiles{[]File{{Name: name, Text: text}}} }

func TestADialplanIsAppliedShownAndListed(t *testing.T) {
	n := newNode(t)
	n.plan(t)
	ctx := t.Context()
	again, err := n.unix.ApplyPlan(ctx, PlanChange{PlanFiles: planOf("acme.dialplan.hcl", testPlan)})
	if err != nil || !again.Unchanged || again.Version.Number != 1 {
		t.Errorf("applied again: %+v, %v", again, err)
	}
	v, err := n.unix.Plan(ctx, 0)
	if err != nil || v.Number != 1 || v.Author != "carol" || v.Note != "first" || len(v.Files) != 1 || v.Files[0].Text != testPlan {
		t.Errorf("shown: %+v, %v", v, err)
	}
	list, err := n.unix.Plans(ctx)
	if err != nil || len(list.Items) != 1 || list.Items[0].Files != nil {
		t.Errorf("listed: %+v, %v", list, err)
	}
	tenants, err := n.unix.Tenants(ctx)
	if err != nil || len(tenants.Items) != 1 || tenants.Items[0].Name != "acme" || tenants.Items[0].Users != 2 {
		t.Errorf("tenants: %+v, %v", tenants, err)
	}
	told := n.Events.Recent(10, nil)
	if len(told) == 0 || told[len(told)-1].Kind != "dialplan.applied" {
		t.Errorf("events: %+v", told)
	}
}

func TestADialplanWithMistakesIsRefusedWithAllOfThem(t *testing.T) {
	n := newNode(t)
	bad := strings.Replace(testPlan, `format  = 1`, `formt = 1`, 1) + `echo "other" { extension = "*43" }` + "\n"
	check, err := n.unix.CheckPlan(t.Context(), planOf("bad.dialplan.hcl", bad))
	if err != nil || check.OK || len(check.Diagnostics) < 2 {
		t.Fatalf("check: %+v, %v", check, err)
	}
	_, err = n.unix.ApplyPlan(t.Context(), PlanChange{PlanFiles: planOf("bad.dialplan.hcl", bad)})
	var p *Problem
	if !errors.As(err, &p) || p.Status != 422 || len(p.Diagnostics) != len(check.Diagnostics) {
		t.Fatalf("apply: %+v", err)
	}
	for _, d := range p.Diagnostics {
		if d.File != "bad.dialplan.hcl" || d.Line == 0 || d.Col == 0 || !strings.HasPrefix(d.Message, "bad.dialplan.hcl:") || d.Severity == "" {
			t.Errorf("diagnostic %+v", d)
		}
	}
	if v, _ := n.unix.Plans(t.Context()); len(v.Items) != 0 {
		t.Error("something was applied")
	}
}

func TestAStaleChangeIsRefusedNamingWhoChangedWhat(t *testing.T) {
	n := newNode(t)
	n.plan(t)
	other := strings.Replace(testPlan, `"202"`, `"203"`, 1)
	if _, err := n.unix.ApplyPlan(t.Context(), PlanChange{PlanFiles: planOf("acme.dialplan.hcl", other), Author: "dave", Note: "bob moved"}); err != nil {
		t.Fatal(err)
	}
	one := int64(1)
	_, err := n.unix.ApplyPlan(t.Context(), PlanChange{PlanFiles: planOf("acme.dialplan.hcl", testPlan), IfVersion: &one})
	var p *Problem
	if !errors.As(err, &p) || p.Status != 409 || p.Current == nil || p.Current.Number != 2 || len(p.Since) != 1 || p.Since[0].Author != "dave" {
		t.Fatalf("got %+v", err)
	}
	for _, word := range []string{"version 1", "version 2", "dave", "bob moved", "acme.dialplan.hcl"} {
		if !strings.Contains(p.Detail, word) {
			t.Errorf("%q does not say %q", p.Detail, word)
		}
	}
}

func TestWithoutALeaderNothingChangesAndTheClientIsToldToComeAgain(t *testing.T) {
	n := newNode(t, func(c *Config) {
		idle, err := cluster.New(cluster.Config{Node: "n1", Machines: map[string]cluster.Machine{"auth": c.Auth, "dialplan": c.Dialplan, "location": c.Location}})
		if err != nil {
			t.Fatal(err)
		}
		c.Cluster = idle
	}, leaderless)
	_, err := n.unix.AddAccount(t.Context(), "acme", "alice", AccountChange{Password: "x"})
	var p *Problem
	if !errors.As(err, &p) || p.Status != 503 || p.RetryAfter == 0 || !strings.Contains(p.Detail, "nothing was changed") {
		t.Errorf("got %+v", err)
	}
}

func TestPlanWithASoundThatIsNotThereIsRefused(t *testing.T) {
	n := newNode(t)
	text := testPlan + "music \"closed\" {\n  extension = \"*98\"\n  play = \"acme/closed\"\n}\n"
	files := PlanFiles{[]File{{Name: "acme.dialplan.hcl", Text: text}}}
	_, err := n.unix.ApplyPlan(t.Context(), PlanChange{PlanFiles: files})
	var p *Problem
	if !errors.As(err, &p) || p.Status != 422 || len(p.Diagnostics) != 1 || p.Diagnostics[0].Line != 10 || !strings.Contains(p.Diagnostics[0].Message, "acme/closed") {
		t.Errorf("got %+v", err)
	}
}
