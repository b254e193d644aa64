package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

func TestTheWorkedSessionIsAsThePageSays(t *testing.T) { playPage(t, "../../docs/session.md") }

func TestBackupAndRestoreAreAsThePageSays(t *testing.T) { playPage(t, "../../docs/backup.md") }

// playPage finds that a page is what really happens: its files are written, its commands run in their order, and what they say is what it says they
// say.
func playPage(t *testing.T, page string) {
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	aNode(t)
	t.Chdir(t.TempDir())
	ran := 0
	text := block.ReplaceAllStringFunc(string(b), func(found string) string {
		part := block.FindStringSubmatch(found)
		if name, language, body := part[1], part[2], part[3]; language == "console" {
			said, n := runConsole(t, body)
			ran += n
			return "```console\n" + said + "```\n"
		} else if name != "" {
			if err := os.WriteFile(name, []byte(body), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return found
	})
	if ran < 10 {
		t.Errorf("%d commands were run", ran)
	}
	want, got := strings.Split(string(b), "\n"), strings.Split(text, "\n")
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) || !sameLine(want[i], got[i]) {
			t.Fatalf("%s:%d is no longer what happens; the page would be:\n%s", page, i+1, text)
		}
	}
}

// block is a part of the page: a file with its name in front, or commands.
var block = regexp.MustCompile("(?s)(?:`([a-z.]+)`:\n\n)?```(hcl|console)\n(.*?)```\n")

// word is a command's argument, in quotes when there are spaces in it.
var word = regexp.MustCompile(`"[^"]*"|\S+`)

// runConsole runs the commands of a block and gives it as it should be, with how many there were.
func runConsole(t *testing.T, body string) (said string, n int) {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(body) {
		command, is := strings.CutPrefix(line, "$ tandem ")
		if other, shell := strings.CutPrefix(line, "$ "); shell && !is {
			b.WriteString(line)
			said, err := exec.CommandContext(t.Context(), "sh", "-c", other).CombinedOutput()
			if b.Write(said); err != nil {
				t.Errorf("%s: %v: %s", other, err, said)
			}
		}
		if !is {
			continue
		}
		n++
		args := word.FindAllString(strings.TrimSpace(command), -1)
		for i := range args {
			args[i] = strings.Trim(args[i], `"`)
		}
		b.WriteString(line)
		root := newRoot()
		root.SetArgs(args)
		root.SetOut(&b)
		root.SetErr(&b)
		if err := root.ExecuteContext(t.Context()); err != nil && err.Error() != "" {
			fmt.Fprintln(&b, "tandem: "+err.Error())
		}
	}
	return b.String(), n
}

// sameLine compares a line of the page with what happened; "..." in it stands for anything.
func sameLine(page, happened string) bool {
	if page == happened {
		return true
	}
	pattern := strings.ReplaceAll(regexp.QuoteMeta(page), `\.\.\.`, ".*")
	return regexp.MustCompile("^" + pattern + "$").MatchString(happened)
}
