package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"

	"tandem"
	"tandem/admin"
	"tandem/configs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (-update writes it):\n%s", path, got)
	}
}

// result is what a command did.
type result struct {
	out, err string
	code     int
}

// tandemCLI runs one command as main does. stdin is what is typed.
func tandemCLI(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	var out, notes bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&notes)
	err := root.ExecuteContext(t.Context())
	r := result{out: out.String()}
	if err != nil {
		r.code = exitCode(err)
		if text := err.Error(); text != "" {
			fmt.Fprintln(&notes, "tandem: "+text)
		}
	}
	r.err = notes.String()
	return r
}

// aNode runs a node on ports of its own and gives its data directory.
func aNode(t *testing.T) string { return aNodeIn(t, t.TempDir()) }

func aNodeIn(t *testing.T, dir string) string {
	t.Helper()
	cfg := configs.Default()
	cfg.Node.DataDir = dir
	local := []string{"127.0.0.1:0"}
	cfg.SIP.UDP, cfg.SIP.TCP, cfg.SIP.TLS = local, nil, nil
	cfg.Web.HTTP, cfg.Web.HTTPS = local, nil
	cfg.Media.Address = []string{"127.0.0.1"}
	cfg.TURN.UDP, cfg.TURN.TCP = local, nil
	cfg.Admin.Listen = local[0]
	cfg.Dialplan.Files = nil
	n, err := tandem.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
	select {
	case <-n.WhenReady():
	case err := <-done:
		t.Fatalf("the node did not start: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("the node did not start")
	}
	t.Setenv("TANDEM_API", "")
	t.Setenv("TANDEM_TOKEN", "")
	t.Setenv("TANDEM_NODE_DATA_DIR", cfg.Node.DataDir)
	return cfg.Node.DataDir
}

const plan = `dialplan "acme" {
  format  = 1
  domains = ["acme.example"]
}
user "alice" { extension = "201" }
echo "test" { extension = "*43" }
`

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// expect runs a command that must end with a code and say something, on standard output or, with "!" before it, beside it.
func expect(t *testing.T, code int, says, stdin string, args ...string) result {
	t.Helper()
	r := tandemCLI(t, stdin, args...)
	where := r.out
	if beside, ok := strings.CutPrefix(says, "!"); ok {
		says, where = beside, r.err
	}
	if r.code != code || !strings.Contains(where, says) {
		t.Errorf("tandem %s: exit %d, want %d with %q\n%s%s", strings.Join(args, " "), r.code, code, says, r.out, r.err)
	}
	return r
}

func TestAnOperatorsDay(t *testing.T) {
	aNode(t)
	file := write(t, "acme.dialplan.hcl", plan)
	expect(t, 1, "!there is no", "", "dialplan", "show", "--data-dir", t.TempDir())
	expect(t, 0, "version 1 is in force", "", "dialplan", "apply", file, "--note", "the first")
	expect(t, 0, "nothing to do", "", "dialplan", "apply", file)
	expect(t, 0, "the first", "", "dialplan", "history")
	expect(t, 0, "1. 201 is the extension of user.alice ("+file+":5:28)\n2. ring user.alice for 1m ("+file+":5:6)\n", "", "dialplan", "explain", "--from", "alice", "--to", "201")
	expect(t, 0, "answer 404", "", "dialplan", "explain", "--from", "+442079460000", "--to", "201", "--at", "2026-11-23 10:00", "--given", "user.alice=408")
	expect(t, 1, "!has no user \"zoe\"", "", "dialplan", "explain", "--from", "zoe", "--to", "201")
	expect(t, 1, "!not a time", "", "dialplan", "explain", "--from", "alice", "--to", "201", "--at", "noon")
	expect(t, 1, "!there is no tenant", "", "dialplan", "explain", "--from", "alice", "--to", "201", "--tenant", "b")
	if r := expect(t, 0, `"given": 408`, "", "dialplan", "explain", "--from", "alice", "--to", "201", "--given", "user.alice=408", "-o", "json"); !strings.Contains(r.out, `ring user.alice for 1m; given: it answers 408"`) {
		t.Errorf("explained: %s", r.out)
	}
	expect(t, 1, "!no_reply, down, full and limited are for trunks", "", "dialplan", "explain", "--from", "alice", "--to", "201", "--given", "user.alice=no_reply")
	expect(t, 2, "!say which call", "", "dialplan", "explain")
	expect(t, 2, "!write it like", "", "dialplan", "explain", "--from", "alice", "--to", "201", "--given", "user.alice")
	if r := expect(t, 0, "", "", "dialplan", "show"); r.out != plan {
		t.Errorf("dialplan show: %q", r.out)
	}
	other := write(t, "acme.dialplan.hcl", strings.Replace(plan, "201", "301", 1))
	expect(t, 1, "!version 1 was applied", "", "dialplan", "apply", other, "--if-version", "0")
	expect(t, 0, "201 can be dialled no more; it was user.alice ("+file+":5:28)\n    met by calls to 201\n301 can be dialled: user.alice ("+other+":5:28)\n", "", "dialplan", "diff", other)
	expect(t, 0, "!0 difference(s) between version 1 and these files", "", "dialplan", "diff", write(t, "acme.dialplan.hcl", plan+"\n\n# the same\n"))
	expect(t, 1, "!acme.dialplan.hcl:1:", "", "dialplan", "diff", write(t, "acme.dialplan.hcl", `dialplan "acme" {`))
	expect(t, 0, "version 2", "", "dialplan", "apply", other, "--if-version", "1")
	expect(t, 0, "201 can be dialled: user.alice", "", "dialplan", "diff", "1")
	expect(t, 0, "301 can be dialled: user.alice", "", "dialplan", "diff", "1", "2")
	expect(t, 1, "!there is no version 9", "", "dialplan", "diff", "9")
	expect(t, 2, "!two versions", "", "dialplan", "diff", "1", "2", "3")
	expect(t, 0, "!0 of 0 call(s) since", "", "dialplan", "replay", "--days", "30", "1")
	expect(t, 0, "version 3", "", "dialplan", "rollback", "1")
	expect(t, 1, "!acme.dialplan.hcl:1:", "", "dialplan", "apply", write(t, "acme.dialplan.hcl", `dialplan "acme" {`))

	expect(t, 0, "account alice@acme is there", "", "account", "add", "alice", "--password", "x", "--extension", "201")
	expect(t, 0, "account bob@acme is there", "secret\n", "account", "add", "bob@acme.example", "--display", "Bob")
	expect(t, 1, "!is there already", "", "account", "add", "bob", "--password", "x")
	expect(t, 2, "!a password is needed", "", "account", "add", "carol")
	expect(t, 0, "changed", "", "account", "set", "bob", "--disable")
	expect(t, 2, "!nothing to change", "", "account", "set", "bob")
	var accounts []struct {
		User     string
		Disabled bool
	}
	if err := json.Unmarshal([]byte(expect(t, 0, "", "", "account", "list", "-o", "json").out), &accounts); err != nil || len(accounts) != 2 || !accounts[1].Disabled {
		t.Errorf("account list: %+v, %v", accounts, err)
	}
	expect(t, 0, "removed", "", "account", "remove", "201")
	expect(t, 1, "!there is no account", "", "account", "remove", "alice")

	for _, args := range [][]string{{"calls"}, {"calls", "list"}, {"calls", "history"}, {"registrations"}, {"registrations", "list"}, {"bans"}, {"bans", "list"}, {"conference"}, {"conference", "list"}, {"token", "list"}} {
		if r := expect(t, 0, "[]", "", append(args, "-o", "json")...); strings.TrimSpace(r.out) != "[]" {
			t.Errorf("%v: %q", args, r.out)
		}
		expect(t, 0, "┌", "", args...)
	}
	expect(t, 0, "leader", "", "nodes")
	expect(t, 0, "this node leads", "", "status")
	expect(t, 0, "Media tier", "", "status")
	expect(t, 0, "applied", "", "cluster", "status", "-o", "table")
	expect(t, 1, "!no call nonsense", "", "call", "hangup", "nonsense")
	for _, verb := range []string{"mute", "unmute", "kick"} {
		expect(t, 1, "!no call nonsense", "", "conference", verb, "nonsense")
	}
	expect(t, 1, "!no recent message", "", "call", "trace", "nonsense")
	secret := strings.TrimSpace(expect(t, 0, "tandem_", "", "token", "create", "robot", "--ttl", "1h").out)
	expect(t, 0, "robot", "", "token", "list", "--token", secret)
	expect(t, 1, "!no token", "", "token", "revoke", "nonsense")
}

func TestAnImportOfManyAccounts(t *testing.T) {
	aNode(t)
	var b strings.Builder
	b.WriteString("tenant,user,password,extension\n")
	for i := range 2300 {
		fmt.Fprintf(&b, "acme,u%d,p%d,%d\n", i, i, 10000+i)
	}
	file := write(t, "a.csv", b.String())
	expect(t, 0, "2300 new, 0 changed", "", "account", "import", file)
	expect(t, 0, "0 new, 2300 changed", b.String(), "account", "import", "-")
	bad := write(t, "b.csv", "tenant,user,password\nacme,x y,p\nacme,good,p\nacme,good,p\n")
	r := expect(t, 1, "!nothing was imported", "", "account", "import", bad)
	for _, place := range []string{bad + ":2:6: ", bad + ":4:6: "} {
		if !strings.Contains(r.err, place) {
			t.Errorf("%q is not named in %s", place, r.err)
		}
	}
	expect(t, 1, "1 new", "", "account", "import", bad, "--skip-bad")
	taken := write(t, "c.csv", "tenant,user,password,extension\nacme,new,p,10007\n")
	expect(t, 1, "!10007", "", "account", "import", taken)
	expect(t, 1, "!no such file", "", "account", "import", "nonsense.csv")
}

func TestAWatchEndsWithItsContextAndNoError(t *testing.T) {
	dir := aNode(t)
	ctx, cancel := context.WithCancel(t.Context())
	root := newRoot()
	reader, writer := io.Pipe()
	root.SetArgs([]string{"nodes", "watch", "-o", "json", "--data-dir", dir})
	root.SetOut(writer)
	root.SetErr(io.Discard)
	done := make(chan error, 1)
	go func() { done <- root.ExecuteContext(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	_ = reader.Close()
}

func TestDialplansAreCheckedAndFormattedWithoutANode(t *testing.T) {
	good := write(t, "good.dialplan.hcl", plan)
	expect(t, 0, "the dialplan is fine: 1 file(s), 1 tenant(s)", "", "dialplan", "check", good)
	expect(t, 0, "the dialplan is fine", "", "dialplan", "check", filepath.Dir(good))
	expect(t, 0, "no test reaches user.alice", "", "dialplan", "test", "--cover", good)
	bad := write(t, "bad.dialplan.hcl", strings.Replace(plan, "format ", "formt ", 1))
	expect(t, 1, "!"+bad+":2:3: ", "", "dialplan", "check", bad)
	if r := expect(t, 1, `"ok": false`, "", "dialplan", "check", bad, "-o", "json"); !strings.Contains(r.out, `"line": 2`) {
		t.Errorf("json: %s", r.out)
	}
	expect(t, 1, "!no such file", "", "dialplan", "check", "nonsense.hcl")

	ugly := write(t, "ugly.dialplan.hcl", "dialplan \"acme\" {\nformat=1\n}")
	expect(t, 1, ugly, "", "dialplan", "fmt", "--check", ugly)
	expect(t, 0, ugly, "", "dialplan", "fmt", ugly)
	text, err := os.ReadFile(ugly)
	if err != nil || string(text) != "dialplan \"acme\" {\n  format = 1\n}\n" {
		t.Errorf("formatted: %q, %v", text, err)
	}
	if r := expect(t, 0, "", "", "dialplan", "fmt", ugly); r.out != "" {
		t.Errorf("formatted twice: %q", r.out)
	}
	expect(t, 0, "  format = 1\n", "a {\nformat=1\n}", "dialplan", "fmt", "-")
}

// Help and errors are words for people: the golden files show every change of them.
func TestHelp(t *testing.T) {
	var b strings.Builder
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		fmt.Fprintf(&b, "%s\n  %s\n", c.UseLine(), c.Short)
		b.WriteString(c.LocalNonPersistentFlags().FlagUsages())
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	for _, c := range apiCommands() {
		root := &cobra.Command{Use: "tandem"}
		root.AddCommand(c)
		walk(c)
	}
	golden(t, "help.golden", b.String())
}

func TestErrors(t *testing.T) {
	t.Setenv("TANDEM_API", "")
	t.Setenv("TANDEM_NODE_DATA_DIR", "/nowhere")
	var b strings.Builder
	for _, line := range []string{
		"account", "account nonsense", "account add", "account list --nonsense", "account list", "account list -o xml", "account list --api nonsense",
		"calls list --api http://127.0.0.1:1", "calls --data-dir /elsewhere", "call trace", "dialplan show x", "dialplan check", "dialplan rollback 0", "token create a --ttl x", "token create a --ttl -1h",
		"account add alice --enable --disable", "account add alice --password x --password-stdin", "account set a b", "sip", "registrations nonsense",
	} {
		r := tandemCLI(t, "", strings.Fields(line)...)
		fmt.Fprintf(&b, "$ tandem %s\n%s%s(exit %d)\n\n", line, r.out, r.err, r.code)
	}
	golden(t, "errors.golden", b.String())
}

func TestTheTargetIsTheMostSpecialThingThatIsSaid(t *testing.T) {
	env := map[string]string{}
	get := func(name string) string { return env[name] }
	f := apiFlags{}
	for _, step := range []struct {
		change func()
		want   string
	}{
		{func() {}, "/var/lib/tandem/admin.sock"},
		{func() { env["TANDEM_NODE_DATA_DIR"] = "/data" }, "/data/admin.sock"},
		{func() { env["TANDEM_API"] = "http://env:9090" }, "http://env:9090"},
		{func() { f.dataDir = "/dir" }, "/dir/admin.sock"},
		{func() { f.api = "http://flag:9090" }, "http://flag:9090"},
	} {
		step.change()
		if got := f.target(get); got != step.want {
			t.Errorf("got %s, want %s", got, step.want)
		}
	}
}

func TestABusyNodeIsWorthAnotherTry(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		says string
	}{
		{&admin.Problem{Status: 503, Detail: "the cluster has no leader"}, exitRetry, "the cluster has no leader"},
		{unfinished(&admin.Problem{Status: 503, Detail: "busy"}, 500, 1000), exitRetry, "500 of 1000"},
		{&admin.Problem{Status: 404, Detail: "no such thing"}, exitFailed, "no such thing"},
		{context.Canceled, exitFailed, "interrupted"},
		{unfinished(context.Canceled, 500, 1000), exitFailed, "interrupted: 500 of 1000"},
	} {
		if err := failure(c.err); exitCode(err) != c.code || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: exit %d, %q; want %d, %q", c.err, exitCode(err), err, c.code, c.says)
		}
	}
}

func TestTheBarShowsHowFarItIs(t *testing.T) {
	for unit, want := range map[string]string{
		"":     "[#########.....................]  30 %  30000 of 100000  10000/s  7s left ",
		" KiB": "[#########.....................]  30 %  30000 of 100000 KiB  10000 KiB/s  7s left ",
	} {
		if got := bar(30_000, 100_000, unit, 3*time.Second); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func TestCheckNamesASoundThatIsMissing(t *testing.T) {
	dir := t.TempDir()
	config := write(t, "tandem.hcl", fmt.Sprintf("node { data_dir = %q }\ndialplan { files = [%q] }\n", dir, filepath.Join(dir, "acme.dialplan.hcl")))
	expect(t, 0, "the configuration is fine", "", "check", "--config", config)
	text := plan + "music \"closed\" {\n  extension = \"*98\"\n  play      = \"acme/closed\"\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "acme.dialplan.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, 78, "!acme.dialplan.hcl:9:15: music.closed cannot play \"acme/closed\"", "", "check", "--config", config)
}

// The dialplan says which tones there are, and the media engine makes them: they must not come to differ.
func TestEveryToneThatADialplanMayNameCanBePlayed(t *testing.T) {
	dir := t.TempDir()
	text, n := "dialplan \"acme\" {}\n", 0
	for _, kind := range []string{"dial", "ring", "busy", "congestion", "info"} {
		for _, country := range []string{"", ":uk", ":de", ":us", ":fr", ":it", ":es", ":nl", ":at", ":ch", ":au", ":jp"} {
			n++
			text += fmt.Sprintf("music \"n%d\" {\n  extension = \"%d\"\n  play = \"tone:%s%s\"\n}\n", n, n, kind, country)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "tones.dialplan.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	config := write(t, "tandem.hcl", fmt.Sprintf("node { data_dir = %q }\ndialplan { files = [%q] }\n", dir, dir))
	expect(t, 0, "the configuration is fine", "", "check", "--config", config)
}
