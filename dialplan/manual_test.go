package dialplan

import (
	"os"
	"strings"
	"testing"
)

func TestEveryExampleOfTheManualCompilesAndItsTestsPass(t *testing.T) {
	text, err := os.ReadFile("../docs/dialplan.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := 0
	shown := map[string]bool{}
	for i, part := range strings.Split(string(text), "```hcl\n")[1:] {
		example, _, _ := strings.Cut(part, "```")
		plan, diags := Compile([]Source{{"example.hcl", []byte(example)}})
		if plan == nil || len(diags) > 0 {
			t.Errorf("example %d:\n%s\n%s", i+1, example, render(diags))
			continue
		}
		if plan.Tenants()[0].Tests == 0 {
			t.Errorf("example %d has no test:\n%s", i+1, example)
		}
		if formatted := string(Format([]byte(example))); formatted != example {
			t.Errorf("example %d is not in canonical layout:\n%s", i+1, formatted)
		}
		for _, v := range plan.tenants[0].vertices {
			kind, _, _ := strings.Cut(v.name, ".")
			shown[kind] = true
		}
		examples++
	}
	for _, kind := range language().kinds {
		if !shown[kind] {
			t.Errorf("the manual has no example of %s", kind)
		}
	}
	if examples < 5 {
		t.Errorf("only %d examples were found", examples)
	}
}
