package dialplan

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestPlantedMistakesAreFound plants one mistake into each of many good plans. It has to be the only thing that is found, in its line, and the
// golden file is what people would read.
func TestPlantedMistakesAreFound(t *testing.T) {
	text, err := os.ReadFile("testdata/planted.txt")
	if err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	plans := strings.Split(string(text), "== ")[1:]
	for _, planted := range plans {
		name, plan, _ := strings.Cut(planted, " ==\n")
		sources := []Source{{Name: "acme.hcl"}}
		file, line := "", 0
		for row := range strings.Lines(plan) {
			if next, ok := strings.CutPrefix(strings.TrimSpace(row), "-- "); ok {
				sources = append(sources, Source{Name: strings.TrimSuffix(next, " --")})
				continue
			}
			last := &sources[len(sources)-1]
			last.Text = append(last.Text, row...)
			if strings.Contains(row, "# here") {
				file, line = last.Name, bytes.Count(last.Text, []byte("\n"))
			}
		}
		compiled, diags := Compile(sources)
		fmt.Fprintf(&told, "== %s ==\n%s\n", name, render(diags))
		var errors []Diagnostic
		for _, d := range diags {
			if d.Severity == Error {
				errors = append(errors, d)
			}
		}
		if compiled != nil || len(errors) != 1 || errors[0].File != file || errors[0].Line != line || errors[0].Detail == "" && !strings.Contains(errors[0].Summary, "did you mean") {
			t.Errorf("%s: want one mistake with a remedy in %s:%d, got\n%s", name, file, line, render(errors))
		}
		good := bytes.Count([]byte(plan), []byte("# here"))
		if good != 1 {
			t.Errorf("%s: %d places are marked", name, good)
		}
	}
	if len(plans) < 40 {
		t.Errorf("%d mistakes are planted, want 40", len(plans))
	}
	golden(t, "testdata/planted.golden", told.String())
}
