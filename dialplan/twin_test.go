package dialplan

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// goodPlans are all plans that the package knows to be right: those of testdata/good, and the examples of the manual.
func goodPlans(t *testing.T) map[string][]Source {
	all := map[string][]Source{}
	for _, file := range glob(t, "testdata/good/*.hcl") {
		all[filepath.Base(file)] = readSources(t, file)
	}
	manual, err := os.ReadFile("../docs/dialplan.md")
	if err != nil {
		t.Fatal(err)
	}
	for i, example := range regexp.MustCompile("(?s)```hcl\n(.*?)```").FindAllSubmatch(manual, -1) {
		name := "example " + string(rune('a'+i))
		all[name] = []Source{{Name: name, Text: example[1]}}
	}
	all["edited"] = []Source{{Name: "edited", Text: []byte(editedPlan)}}
	return all
}

func TestTheTwinOfAPlanSaysTheSame(t *testing.T) {
	plans := goodPlans(t)
	if len(plans) < 15 {
		t.Errorf("%d plans", len(plans))
	}
	for name, sources := range plans {
		plan, _ := Compile(sources)
		if plan == nil {
			continue // it needs a table
		}
		for _, tenant := range plan.Tenants() {
			twin, diags := JSON(sources, tenant.Name)
			if twin == nil {
				t.Errorf("%s: %s", name, render(diags))
				continue
			}
			// Put back, it changes no octet.
			same, diags := ChangeJSON(sources, Source{Name: "twin.json", Text: twin})
			if same == nil || Hash(same.Sources) != plan.Hash() {
				t.Errorf("%s: put back, the plan is another: %s", name, render(diags))
			}
			if len(plan.Tenants()) > 1 {
				continue
			}
			// By itself, it is the same plan.
			alone, diags := ChangeJSON(nil, Source{Name: "twin.json", Text: twin})
			if alone == nil {
				t.Errorf("%s: %s", name, render(diags))
				continue
			}
			again, diags := Compile(alone.Sources)
			if again == nil {
				t.Errorf("%s: %s\n%s", name, alone.Sources[0].Text, render(diags))
				continue
			}
			for _, d := range Diff(plan, again, time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)) {
				t.Errorf("%s: %s", name, d.Text)
			}
			if third, _ := JSON(alone.Sources, ""); !bytes.Equal(third, twin) {
				t.Errorf("%s: the twin of the twin is\n%s\nand not\n%s", name, third, twin)
			}
		}
	}
}

func TestTheTwinOfAPlanForPeople(t *testing.T) {
	twin, diags := JSON([]Source{{Name: "edited", Text: []byte(editedPlan)}}, "")
	if twin == nil {
		t.Fatal(render(diags))
	}
	golden(t, "testdata/twin.golden", string(twin))
}

func TestMistakesInJSONHaveTheirPlaceThere(t *testing.T) {
	before := []Source{{Name: "acme.hcl", Text: []byte(editedPlan)}}
	good, _ := JSON(before, "")
	for _, c := range []struct{ from, to, want string }{
		{`"extension": "201"`, `"extension": 201`, "extension takes a text in quotes, this is a number"},
		{`"go": "ring.sales"`, `"go": "ring.sale"`, "there is no ring.sale (did you mean ring.sales?)"},
		{`"go": "ring.sales"`, `"go": "nobody at all"`, "neither a node nor a choice"},
		{`"dnd": true`, `"dndd": true`, `user has no attribute "dndd" (did you mean "dnd"?)`},
		{`"busy": "user.bob"`, `"busy": "user.bobby"`, "there is no user.bobby"},
		{`"dnd": true`, `"dnd": null`, "null is not a value here"},
		{`"members": [`, `"members": [[], `, "every item of members takes a node"},
		{`"menu": {`, `"meny": {`, `a plan has no block "meny" (did you mean "menu"?)`},
		{`"dnd": true`, `"dnd": true, "dnd": false`, `"dnd" stands here twice`},
		{`"dnd": true`, `"dnd": true,`, "this is no JSON"},
		{`"forward": {`, `"forward": 5, "otherwise2": {`, "forward is an object"},
	} {
		text := strings.Replace(string(good), c.from, c.to, 1)
		made, diags := ChangeJSON(before, Source{Name: "plan.json", Text: []byte(text)})
		if made != nil {
			_, diags = Compile(made.Sources)
			diags = made.Locate(diags)
		}
		at := strings.Index(text, c.to)
		line := 1 + strings.Count(text[:at], "\n")
		found := false
		for _, d := range diags {
			found = found || d.File == "plan.json" && d.Line >= line && d.Line <= line+1 && d.Excerpt != "" && strings.Contains(d.Error(), c.want)
		}
		if !found {
			t.Errorf("%s: want %q in line %d, got %s", c.to, c.want, line, render(diags))
		}
	}
	for text, want := range map[string]string{"": "this is no JSON", "[]": "a plan is an object", "{}": "it is not said whose plan", "{} {}": "something stands behind", strings.Repeat("[", 1000): "nested too deep"} {
		if made, diags := ChangeJSON(before, Source{Name: "plan.json", Text: []byte(text)}); made != nil || !strings.Contains(render(diags), want) {
			t.Errorf("%q: want %q, got %s", text, want, render(diags))
		}
	}
}

func TestAJSONPlanKeepsTheCommentsOfWhatItDoesNotChange(t *testing.T) {
	before := []Source{{Name: "acme.hcl", Text: []byte(editedPlan)}}
	twin, _ := JSON(before, "")
	made, diags := ChangeJSON(before, Source{Name: "plan.json", Text: bytes.Replace(twin, []byte(`"203"`), []byte(`"204"`), 1)})
	if made == nil {
		t.Fatal(render(diags))
	}
	text := string(made.Sources[0].Text)
	for _, kept := range []string{"# and of the warehouse", "# on the second floor", "# she is here at eight", "# most want this", `extension = "204"`} {
		if !strings.Contains(text, kept) {
			t.Errorf("%s is gone:\n%s", kept, text)
		}
	}
}
