package dialplan

import (
	"bytes"
	"os"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

func TestFormatGivesTheCanonicalLayout(t *testing.T) {
	in := "\n\n# hello\r\ndialplan   \"acme\"   {\r\nformat=1\r\n      domains = [ \"acme.example\" ]   \r\n}\n\tuser \"alice\" {extension=\"201\"}\n\n\n"
	want := "# hello\ndialplan \"acme\" {\n  format  = 1\n  domains = [\"acme.example\"]\n}\nuser \"alice\" { extension = \"201\" }\n"
	if got := string(Format([]byte(in))); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := Format(nil); len(got) != 0 {
		t.Errorf("nothing became %q", got)
	}
}

func TestFormatLeavesBrokenTextAlone(t *testing.T) {
	for _, in := range []string{"user \"a\" {", "x = = 1\n", "\x00", "  a b c \n", "x = \"${y}\"\n"} {
		if got := string(Format([]byte(in))); got != in {
			t.Errorf("%q became %q", in, got)
		}
	}
}

func TestPlansOfWindowsEditorsCompile(t *testing.T) {
	text := bytes.ReplaceAll([]byte(acme), []byte("\n"), []byte("\r\n"))
	compiled(t, Source{"crlf.hcl", text})
	compiled(t, Source{"bom.hcl", append([]byte("\xef\xbb\xbf"), text...)})
}

func FuzzFormat(f *testing.F) {
	for _, pattern := range []string{"testdata/mistakes/*.hcl", "testdata/good/*.hcl", "*.dialplan.hcl"} {
		for _, file := range glob(f, pattern) {
			src, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(src)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		once := Format(src)
		if twice := Format(once); !bytes.Equal(once, twice) {
			t.Errorf("formatted again it changes:\n%q\n%q", once, twice)
		}
		_, before := hclsyntax.ParseConfig(src, "", hcl.InitialPos)
		if _, after := hclsyntax.ParseConfig(once, "", hcl.InitialPos); before.HasErrors() != after.HasErrors() {
			t.Errorf("before %v, after %v:\n%q", before, after, once)
		}
	})
}
