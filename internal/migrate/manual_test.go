package migrate

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

// The examples of the two pages are imported: what comes out is what they say.
func TestTheExamplesOfThePagesComeOutAsTheySay(t *testing.T) {
	file := regexp.MustCompile("(?s)`([a-z./]+)`:\n\n```(?:ini|xml)\n(.*?)```")
	for page, read := range map[string]func(fs.FS, Options) (*Result, error){"../../docs/from-asterisk.md": Asterisk, "../../docs/from-freeswitch.md": FreeSWITCH} {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		files := fstest.MapFS{}
		for _, found := range file.FindAllStringSubmatch(text, -1) {
			files[found[1]] = &fstest.MapFile{Data: []byte(found[2])}
		}
		r, err := read(files, Options{})
		if err != nil {
			t.Fatalf("%s: %v", page, err)
		}
		_, report, _ := strings.Cut(r.Report(), "## Not imported\n\n")
		report, _, _ = strings.Cut(report, "\n\n")
		head := "becomes\n\n```hcl\n"
		before, _, ok := strings.Cut(text, head)
		want := before + head + string(r.Plan) + "```\n\nand the report says of it\n\n```\n" + report + "\n```\n"
		if *update {
			if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if !ok || text != want {
			t.Errorf("%s is no longer what comes out (-update writes it)", page)
		}
	}
}
