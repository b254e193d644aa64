package archtest

import (
	"bufio"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// requirement is a line of a require block in go.mod.
var requirement = regexp.MustCompile(`^\s*(?:require\s+)?([\w.~-]+\.[\w./~-]+)\s+(v\S+)`)

// row is a line of the table in docs/dependencies.md: | `module` | `version` | ...
var row = regexp.MustCompile("^\\| `([^`]+)` \\| `(v[^`]+)` \\|")

// pairs reads module -> version from the lines of a file that match expr.
func pairs(t *testing.T, text string, expr *regexp.Regexp) map[string]string {
	t.Helper()
	out := map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if m := expr.FindStringSubmatch(lines.Text()); m != nil {
			out[m[1]] = m[2]
		}
	}
	return out
}

// undocumented compares what the Go files import with what go.mod pins and docs/dependencies.md explains.
func undocumented(imported []string, pinned, explained map[string]string) (faults []string) {
	used := map[string]bool{}
	for _, path := range imported {
		module := ""
		for m := range pinned {
			if within(path, m) && len(m) > len(module) {
				module = m
			}
		}
		if module != "" {
			used[module] = true
		}
	}
	for module := range used {
		if explained[module] == "" {
			faults = append(faults, module+" "+pinned[module]+" is imported, but docs/dependencies.md does not say why")
		}
	}
	for module, version := range explained {
		if pinned[module] != version {
			faults = append(faults, "docs/dependencies.md says "+module+" "+version+", go.mod says "+strconv.Quote(pinned[module]))
		}
	}
	slices.Sort(faults)
	return faults
}

func TestEveryDependencyIsExplainedWithItsVersion(t *testing.T) {
	root := os.DirFS("../..")
	c, err := parse(root)
	if err != nil {
		t.Fatal(err)
	}
	var imported []string
	for _, s := range c.sources {
		for _, spec := range s.file.Imports {
			if path, err := strconv.Unquote(spec.Path.Value); err == nil {
				imported = append(imported, path)
			}
		}
	}
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	pinned := pairs(t, read("../../go.mod"), requirement)
	explained := pairs(t, read("../../docs/dependencies.md"), row)
	for _, f := range undocumented(imported, pinned, explained) {
		t.Error(f)
	}
}

func TestADependencyWithoutAReasonIsSeen(t *testing.T) {
	pinned := pairs(t, "require (\n\texample.com/a v1.0.0\n\texample.com/a/v2 v2.1.0 // indirect\n)\nrequire example.com/b v0.1.0\n", requirement)
	explained := pairs(t, "| module | pin | why |\n|---|---|---|\n| `example.com/b` | `v0.2.0` | x |\n", row)
	got := undocumented([]string{"fmt", "example.com/a/v2/deep"}, pinned, explained)
	want := []string{
		`docs/dependencies.md says example.com/b v0.2.0, go.mod says "v0.1.0"`,
		"example.com/a/v2 v2.1.0 is imported, but docs/dependencies.md does not say why",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := parse(fstest.MapFS{"x.go": {Data: []byte("package")}}); err == nil {
		t.Error("a file that does not parse was passed over")
	}
}
