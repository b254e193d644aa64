package dialplan

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestEveryMistakeIsToldWithPlaceAndRemedy(t *testing.T) {
	files := glob(t, "testdata/mistakes/*.hcl")
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".hcl"), func(t *testing.T) {
			plan, diags := Compile(readSources(t, file))
			if plan != nil || !Failed(diags) {
				t.Error("the planted mistakes were not found")
			}
			golden(t, strings.TrimSuffix(file, ".hcl")+".golden", render(diags))
		})
	}
}

func TestOddPlansCompileWithWarnings(t *testing.T) {
	for _, file := range glob(t, "testdata/good/*.hcl") {
		plan, diags := Compile(readSources(t, file))
		if plan == nil {
			t.Fatalf("%s does not compile:\n%s", file, render(diags))
		}
		golden(t, strings.TrimSuffix(file, ".hcl")+".golden", render(diags))
	}
}

func TestHugeDeepAndBinaryPlansAreRefusedQuietly(t *testing.T) {
	_, diags := Compile([]Source{{"a.hcl", bytes.Repeat([]byte("#"), MaxBytes/2)}, {"b.hcl", bytes.Repeat([]byte("#"), MaxBytes/2+1)}})
	if len(diags) != 1 || !strings.Contains(diags[0].Summary, "too large") {
		t.Errorf("got %s", render(diags))
	}
	for _, piece := range []string{"[", "{", "(", "!", "-", "a{", "a?", "a?b:", "1+", "a[x]", "a.*.", "\"${", "([{", "(]", "x={", "f(", "[1],", "b \"x\" {\n"} {
		text := "dialplan \"a\" {}\nx = " + strings.Repeat(piece, 60_000/len(piece))
		if plan, diags := Compile([]Source{{"deep.hcl", []byte(text)}}); plan != nil || !Failed(diags) {
			t.Errorf("many times %q passed", piece)
		}
	}
}

func TestManyMistakesAreCutOff(t *testing.T) {
	text := "dialplan \"a\" {}\n" + strings.Repeat("usr \"x\" {}\n", 1000)
	_, diags := Compile([]Source{{"a.hcl", []byte(text)}})
	if len(diags) != maxDiagnostics+1 || diags[maxDiagnostics].Summary != "and 800 more" {
		t.Errorf("got %d diagnostics, the last is %v", len(diags), diags[len(diags)-1])
	}
}

func TestALongChainIsRefused(t *testing.T) {
	var b strings.Builder
	b.WriteString("dialplan \"a\" {}\nuser \"u\" {}\n")
	for i := range 100 {
		next := fmt.Sprintf("ring.r%d", i+1)
		if i == 99 {
			next = "user.u"
		}
		fmt.Fprintf(&b, "ring \"r%d\" {\n  extension = \"%d\"\n  members = [user.u]\n  otherwise { go = %s }\n}\n", i, i, next)
	}
	_, diags := Compile([]Source{{"a.hcl", []byte(b.String())}})
	if len(diags) != 1 || !strings.Contains(diags[0].Summary, "calls to ring.r68 go through more than 32 nodes") {
		t.Errorf("got %s", render(diags))
	}
}

func TestATenantMayBeSpreadOverFiles(t *testing.T) {
	plan := compiled(t,
		Source{"a.hcl", []byte("dialplan \"acme\" { domains = [\"acme.example\"] }\nuser \"alice\" { extension = \"201\" }\n")},
		Source{"b.hcl", []byte("dialplan \"acme\" { timezone = \"Europe/London\" }\nring \"all\" {\n  extension = \"200\"\n  members = [user.alice]\n  otherwise { go = user.alice }\n}\n")},
		Source{"c.hcl", []byte("test \"t\" {\n  call = { from = user.alice, to = \"200\" }\n  given = { \"ring.all\" = 500 }\n  expect = [ring.all, user.alice]\n}\n")},
	)
	want := []Tenant{{
		Name: "acme", Domains: []string{"acme.example"}, TimeZone: "Europe/London", Nodes: 2, Tests: 1, At: Position{"a.hcl", 1, 1},
		Users:    []User{{Name: "alice", Extension: "201", At: Position{"a.hcl", 2, 6}}},
		Services: []Service{{"200", "ring.all"}},
	}}
	if diff := cmp.Diff(want, plan.Tenants()); diff != "" {
		t.Error(diff)
	}
}

func TestNamesThatAreNoIdentifiersCanBeReferredTo(t *testing.T) {
	compiled(t, Source{"a.hcl", []byte(`
dialplan "a" {}
user "0112" {}
user "john.smith" {}
user "+44-20*#" {}
user "1e5" {}
ring "g-1_x" {
  extension = "0"
  members   = [user.0112, user["john.smith"], user["+44-20*#"], user.1e5]
  otherwise { go = user["0112"] }
}
test "t" {
  call   = { from = user["john.smith"], to = "0" }
  given  = { "ring.g-1_x" = 404 }
  expect = [ring.g-1_x, user.0112]
}
test "u" {
  call   = { from = user.1e5, to = "john.smith" }
  expect = [user["john.smith"]]
}
`)})
}

func TestDemoPlanCompilesForEveryKindOfDomain(t *testing.T) {
	for _, domain := range []string{"127.0.0.1", "::1", "pbx.example", "LOCALHOST"} {
		plan := compiled(t, Demo(domain))
		if tenant, ok := plan.TenantOf(domain); tenant != "demo" || !ok {
			t.Errorf("%s belongs to %q", domain, tenant)
		}
		if !plan.HasTenant("demo") || plan.HasTenant("Demo") || plan.HasTenant("") {
			t.Error("the one tenant is not demo")
		}
	}
	if got := Demo("127.0.0.1").Text; !bytes.Equal(Format(got), got) {
		t.Errorf("the demo plan is not in canonical layout:\n%s", Format(got))
	}
}

func TestSameSourcesGiveTheSameHash(t *testing.T) {
	a := compiled(t, Demo("a.example"))
	if b := compiled(t, Demo("a.example")); a.Hash() != b.Hash() || len(a.Hash()) != 64 {
		t.Errorf("got %s and %s", a.Hash(), b.Hash())
	}
	if b := compiled(t, Demo("b.example")); a.Hash() == b.Hash() {
		t.Error("other sources, same hash")
	}
}

func FuzzCompile(f *testing.F) {
	for _, pattern := range []string{"testdata/mistakes/*.hcl", "testdata/good/*.hcl", "*.dialplan.hcl"} {
		for _, file := range glob(f, pattern) {
			src, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(src, "1999", "1000")
		}
	}
	f.Fuzz(func(t *testing.T, src []byte, to, from string) {
		plan, diags := Compile([]Source{{"fuzz.hcl", src}})
		if (plan == nil) != Failed(diags) {
			t.Fatalf("plan %v, but diagnostics:\n%s", plan, render(diags))
		}
		for _, d := range diags {
			if d.Summary == "" || strings.ContainsAny(d.Excerpt, "\x00\x1b\r") {
				t.Errorf("unfit for a terminal: %q", d.String())
			}
		}
		for _, tenant := range plan.Tenants() {
			checkRoute(t, plan.Route(Call{Tenant: tenant.Name, FromUser: from, To: to}, nil))
		}
	})
}

func glob(t testing.TB, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: no files, %v", pattern, err)
	}
	return files
}

// readSources reads a test file: one source, or several behind lines like "-- name --".
func readSources(t testing.TB, file string) []Source {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(text, []byte("-- ")) {
		return []Source{{"acme.hcl", text}}
	}
	var sources []Source
	for _, line := range bytes.SplitAfter(text, []byte("\n")) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "-- "); ok {
			sources = append(sources, Source{Name: strings.TrimSuffix(name, " --")})
			continue
		}
		last := &sources[len(sources)-1]
		last.Text = append(last.Text, line...)
	}
	return sources
}

func compiled(t testing.TB, sources ...Source) *Plan {
	t.Helper()
	plan, diags := Compile(sources)
	if plan == nil {
		t.Fatalf("does not compile:\n%s", render(diags))
	}
	return plan
}

func render(diags []Diagnostic) string {
	var b strings.Builder
	for _, d := range diags {
		fmt.Fprintln(&b, d.String())
	}
	return b.String()
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it anew):\n%s", file, diff)
	}
}

func TestPlanListsWhatItPlays(t *testing.T) {
	plan, diags := Compile([]Source{{Name: "acme.hcl", Text: []byte(`dialplan "acme" {}
music "hold" { extension = "*98" }
music "a" {
  extension = "1"
  play      = "acme/welcome"
}
music "b" {
  extension = "2"
  play      = "/srv/sounds/closed now.wav"
}
`)}})
	if plan == nil {
		t.Fatal(diags)
	}
	sounds := plan.Sounds()
	if len(sounds) != 3 || sounds[0].Play != "music" || sounds[1].Play != "acme/welcome" || sounds[2].Node != "music.b" || sounds[2].At != (Position{"acme.hcl", 9, 15}) {
		t.Fatalf("got %+v", sounds)
	}
	got := sounds[1].Missing(errors.New("no such file")).String()
	want := "acme.hcl:5:15: music.a cannot play \"acme/welcome\": no such file\n    5 |   play      = \"acme/welcome\"\n      |               ^^^^^^^^^^^^^^"
	if strings.TrimRight(got, "\n") != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestToneIsThatOfTheCountry(t *testing.T) {
	for country, want := range map[string]string{`""`: "", `"49"`: "tone:busy:de", `"44"`: "tone:busy:uk", `"1"`: "tone:busy:us", `"999"`: "tone:busy"} {
		text := "dialplan \"acme\" {\n  country = " + country + "\n}\nmusic \"a\" {\n  extension = \"1\"\n  play = \"tone:busy\"\n}\nmusic \"b\" {\n  extension = \"2\"\n  play = \"tone:info:jp\"\n}\n"
		plan, diags := Compile([]Source{{Name: "acme.hcl", Text: []byte(text)}})
		if plan == nil {
			if want != "" {
				t.Errorf("%s: %v", country, diags)
			}
			continue
		}
		if got := plan.Route(Call{Tenant: "acme", To: "1"}, nil).Steps[0].Play; got != want {
			t.Errorf("%s: %s, want %s", country, got, want)
		}
		if got := plan.Route(Call{Tenant: "acme", To: "2"}, nil).Steps[0].Play; got != "tone:info:jp" {
			t.Errorf("%s: %s, want that of Japan", country, got)
		}
	}
}
