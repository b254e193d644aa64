package sip_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"tandem/sip/message"
)

var update = flag.Bool("update", false, "write docs/conformance.md instead of comparing with it")

const conformancePage = "../docs/conformance.md"

// TestTortureMessagesGetTheReactionTheRFCAsksFor sends each message of RFC 4475 and RFC 5118 to a server, watches what comes
// of it, and keeps docs/conformance.md current.
func TestTortureMessagesGetTheReactionTheRFCAsksFor(t *testing.T) {
	texts := tortureMessages(t)
	got := make(map[string]string)
	for i := range tortureCases {
		c := &tortureCases[i]
		text, ok := texts[c.name]
		if !ok {
			if *update {
				t.Fatalf("%s is not in the data: the page would claim what nobody has seen", c.name)
			}
			t.Logf("not tried, not in the data: %s", c.name)
			got[c.name] = c.want
			continue
		}
		delete(texts, c.name)
		t.Run(c.name, func(t *testing.T) {
			got[c.name] = c.want
			reaction := tortureReaction(t, text, tortureOverTCP(text))
			got[c.name] = reaction.text
			if reaction.text != c.want {
				t.Errorf("got  %s\nwant %s", reaction.text, c.want)
			}
			for _, part := range c.says {
				if !strings.Contains(reaction.reply, part) {
					t.Errorf("the answer does not say %q: %q", part, reaction.reply)
				}
			}
		})
	}
	for name := range texts {
		t.Errorf("%s has no line in tortureCases", name)
	}
	if t.Failed() {
		return
	}
	page := conformanceTable(got)
	if *update {
		if err := os.WriteFile(conformancePage, page, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	old, err := os.ReadFile(conformancePage)
	if err != nil || !bytes.Equal(old, page) {
		t.Errorf("%s is not what this run found (%v); run: go test ./sip -run Torture -update", conformancePage, err)
	}
}

// TestTortureMessagesOverAStreamGetTheSameReaction sends them over TCP. Where a message ends is decided before anything else
// there, so those that are wrong about their length end the connection.
func TestTortureMessagesOverAStreamGetTheSameReaction(t *testing.T) {
	texts := tortureMessages(t)
	other := map[string]string{
		"rfc4475/clerr":   "dropped",                                   // the stream waits for the rest of the body
		"rfc4475/dblreq":  "401 Unauthorized, and the connection ends", // for what is left behind the INVITE
		"rfc4475/ncl":     "400 Bad Request",                           // and the connection ends
		"rfc4475/mcl01":   "400 Bad Request",
		"rfc4475/inv2543": "400 Bad Request", // no Content-Length, RFC 3261 §18.3
	}
	for i := range tortureCases {
		c := &tortureCases[i]
		text, ok := texts[c.name]
		if !ok || strings.HasPrefix(c.name, "rfc5118/") {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			want := c.want
			if w, ok := other[c.name]; ok {
				want = w
			}
			if got := tortureReaction(t, text, true).text; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// tortureMessages reads the messages by name, "rfc4475/wsinv". They are not part of this project: they lie beside it, or where
// TANDEM_TORTURE_DIR says, or in the sources of sipgo.
func tortureMessages(t *testing.T) map[string]string {
	t.Helper()
	dirs := []string{os.Getenv("TANDEM_TORTURE_DIR"), "../../shared/rfc-torture"}
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		texts := make(map[string]string)
		for _, rfc := range []string{"rfc4475", "rfc5118"} {
			readTorture(t, texts, os.DirFS(dir), rfc, rfc)
		}
		if len(texts) > 0 {
			return texts
		}
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/emiago/sipgo").Output()
	texts := make(map[string]string)
	if dir := strings.TrimSpace(string(out)); err == nil && dir != "" {
		readTorture(t, texts, os.DirFS(dir), "sip/testdata/torture", "rfc4475")
	}
	if len(texts) == 0 {
		t.Skip("the messages of RFC 4475 and RFC 5118 are neither in ../shared/rfc-torture nor in $TANDEM_TORTURE_DIR nor in the sources of sipgo")
	}
	return texts
}

// readTorture reads the files *.dat below a folder.
func readTorture(t *testing.T, texts map[string]string, root fs.FS, folder, rfc string) {
	t.Helper()
	err := fs.WalkDir(root, folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".dat" || filepath.Base(path) == "test.dat" { // test.dat is in no RFC
			return err
		}
		b, err := fs.ReadFile(root, path)
		text := string(b)
		if !strings.Contains(text, "\r\n\r\n") {
			text += "\r\n" // a few files lack the empty line behind their headers
		}
		texts[rfc+"/"+strings.TrimSuffix(filepath.Base(path), ".dat")] = text
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// tortureOverTCP tells whether a message says that it came over a stream.
func tortureOverTCP(text string) bool {
	var m message.Message
	_ = m.Parse(text)
	via, _ := m.TopVia()
	return strings.EqualFold(via.Transport, "TCP") || strings.EqualFold(via.Transport, "TLS")
}

// tortured is what came of a message.
type tortured struct {
	text  string // for the table
	reply string // final response, whole
}

// tortureReaction sends a message to a new server as its phone would: when it is challenged, once more with credentials.
func tortureReaction(t *testing.T, text string, tcp bool) (r tortured) {
	synctest.Test(t, func(t *testing.T) {
		rig := newTortureRig(t, text, tcp)
		rig.run()
		rig.torment(text)
		if challenge := rig.final(); tortureStatus(challenge) == 401 || tortureStatus(challenge) == 407 {
			r = tortured{tortureLine(challenge), challenge}
			switch {
			case rig.hungUp():
				r.text += ", and the connection ends"
			case !strings.Contains(text, "\r\nAuthorization:"):
				rig.forget()
				rig.torment(rig.answerChallenge(text, challenge))
				r = rig.reaction(text)
			}
		} else {
			r = rig.reaction(text)
		}
		if st := rig.server.Stats(); st.Panics != 0 {
			t.Errorf("%d panics", st.Panics)
		}
	})
	return r
}

func tortureStatus(response string) int {
	var m message.Message
	_ = m.Parse(response)
	return m.Status
}

// tortureLine is "400 Bad Request: the Warning text".
func tortureLine(response string) string {
	var m message.Message
	if err := m.Parse(response); err != nil {
		return "an answer that does not parse: " + err.Error()
	}
	line := fmt.Sprintf("%d %s", m.Status, m.Reason)
	if w := m.Get(message.Warning); w != "" {
		_, why, _ := strings.Cut(w, `"`)
		line += ": " + strings.ReplaceAll(strings.TrimSuffix(why, `"`), `\`, "")
	}
	if u := m.Get(message.Unsupported); u != "" {
		line += ": " + u
	}
	return line
}

func conformanceTable(got map[string]string) []byte {
	var b bytes.Buffer
	b.WriteString(conformanceHead)
	ok, total := 0, 0
	for _, part := range []struct{ rfc, title string }{
		{"rfc4475", "RFC 4475: SIP torture test messages"}, {"rfc5118", "RFC 5118: SIP torture test messages for IPv6"},
	} {
		fmt.Fprintf(&b, "\n## %s\n\n| message | what is odd about it | what the RFC wishes | reaction here | |\n|---|---|---|---|---|\n", part.title)
		for _, c := range tortureCases {
			name, found := strings.CutPrefix(c.name, part.rfc+"/")
			if !found {
				continue
			}
			total++
			verdict := "ok"
			if c.deviation != "" {
				verdict = "deviation: " + c.deviation
			} else {
				ok++
				if c.note != "" {
					verdict = "ok: " + c.note
				}
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", name, tableCell(c.odd), tableCell(c.wish), tableCell(got[c.name]), tableCell(verdict))
		}
	}
	fmt.Fprintf(&b, "\nOf %d messages %d get what the RFC wishes; deviations: %d.\n", total, ok, total-ok)
	return b.Bytes()
}

func tableCell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

const conformanceHead = `# Conformance: the torture messages

Written by ` + "`go test ./sip -run Torture -update`" + `; a test fails when it is not current. Every message goes through a whole server
over a network in memory: transport, parser, authentication, routing. The server counts every domain in the messages as its own, and the sender has
an account: when it is challenged, it sends the message once more with credentials. "relayed" means that the message arrived at the callee
with every header it must keep, to the letter, and the same body; the callee answers 486. Over TCP the reactions are the same but for
messages that are wrong about their length, which end the connection (also a test).
`

// tortureServerAddr and friends are the machines of the rig.
var (
	tortureServer4 = netip.MustParseAddr("192.0.2.200")
	tortureServer6 = netip.MustParseAddr("2001:db8::10")
	tortureRoute   = netip.MustParseAddr("127.0.0.1") // mpart01 has a Route through it
	torturePhone4  = netip.MustParseAddr("192.0.2.66")
	torturePhone6  = netip.MustParseAddr("2001:db8::66")
	tortureCallee  = netip.MustParseAddr("192.0.2.201")
)

// TestWhatTheRFCTableNamesIsThere keeps docs/rfc.md from naming tests and files that have gone.
func TestWhatTheRFCTableNamesIsThere(t *testing.T) {
	page, err := os.ReadFile("../docs/rfc.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, folder := range []string{".", "../rtpengine", "../pbx", "../admin"} {
		err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			for _, m := range declared.FindAllStringSubmatch(string(b), -1) {
				tests[m[1]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(string(page), -1) {
		name := m[1]
		switch {
		case strings.HasPrefix(name, "Test"):
			if !tests[name] {
				t.Errorf("there is no %s", name)
			}
		case strings.Contains(name, "/") || name == "certs":
			if _, err := os.Stat(filepath.Join("..", name)); err != nil {
				t.Error(err)
			}
		}
	}
}
