package hcltext

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
)

// mistakes parses a text and returns what is said about it, as a terminal shows it.
func mistakes(t *testing.T, src string) (said []string) {
	t.Helper()
	body := Parse("a.hcl", []byte(src), func(rng hcl.Range, summary, detail string) {
		d := Diagnostic{File: rng.Filename, Line: rng.Start.Line, Col: rng.Start.Column, Summary: summary, Detail: detail, Excerpt: Excerpt([]byte(src), rng)}
		said = append(said, d.String())
	})
	if (body == nil) != (len(said) > 0) {
		t.Errorf("%q: body %v, and this was said: %q", src, body, said)
	}
	return said
}

func TestAMistakeIsToldWithItsPlace(t *testing.T) {
	for _, c := range []struct{ name, src, want string }{
		{"nothing wrong", "a = 1\n", ""},
		{"hazard", "a = 1\nb = [1, \"é\", 2)\n", "a.hcl:2:15: ) cannot close the [ of line 2: close that one first, with ]\n    2 | b = [1, \"é\", 2)\n      |               ^"},
		{"syntax", "a = 1\n\tb c = 2\n", "a.hcl:2:6: invalid block definition: The equals sign \"=\" indicates an argument definition, and must not be used when defining a block\n    2 |  b c = 2\n      |      ^"},
		{"template", "a = \"${b}\"\n", "a.hcl:1:5: templates are not part of this language: write the text itself; \"$${\" stands for \"${\"\n    1 | a = \"${b}\"\n      |     ^^"},
		{"no text", "a = \"\x1b[2J\"\n", "a.hcl:1:6: this is not a text file: it has the byte 0x1b here; plain UTF-8 is expected\n    1 | a = \"·[2J\"\n      |      ^"},
		{"nested without end", strings.Repeat("[", 100_000), "brackets are nested too deeply"},
	} {
		t.Run(c.name, func(t *testing.T) {
			said := strings.Join(mistakes(t, c.src), "\n")
			if len(c.src) > 1000 { // the excerpt of a long line is cut
				if !strings.Contains(said, c.want) || len(said) > 400 {
					t.Errorf("got %.500q", said)
				}
				return
			}
			if diff := cmp.Diff(c.want, said); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestAMistakeKeepsItsWordsAsJSON(t *testing.T) {
	for severity, want := range map[Severity]string{
		Error:   `{"severity":"error","file":"a.hcl","line":2,"col":3,"summary":"it is wrong"}`,
		Warning: `{"severity":"warning","file":"a.hcl","line":2,"col":3,"summary":"it is wrong"}`,
	} {
		d := Diagnostic{Severity: severity, File: "a.hcl", Line: 2, Col: 3, Summary: "it is wrong"}
		if got, err := json.Marshal(d); err != nil || string(got) != want {
			t.Errorf("got %s %v, want %s", got, err, want)
		}
		if failed := Failed([]Diagnostic{{Severity: Warning}, d}); failed != (severity == Error) {
			t.Errorf("a list with an %s has failed: %v", severity, failed)
		}
	}
}

func TestTheWordThatWasMeantIsFound(t *testing.T) {
	known := []string{"udp", "tcp", "tls", "register_default", "register_min"}
	for word, want := range map[string]string{"upd": "udp", "tpc": "tcp", "registr_min": "register_min", "websocket": "", "": ""} {
		if got := Closest(word, known); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
	if got, want := DidYouMean("upd", known), ` (did you mean "udp"?)`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDurationsAreWrittenAsPeopleDo(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Hour: "1h", 5 * time.Minute: "5m", 65 * time.Minute: "1h5m", 3*time.Minute + 5*time.Second: "3m5s", 500 * time.Millisecond: "500ms", 10 * time.Second: "10s", 0: "0s",
	} {
		if got := Duration(d); got != want {
			t.Errorf("%v: got %q, want %q", time.Duration(d), got, want)
		}
	}
}
