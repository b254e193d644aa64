package migrate

import (
	"flag"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"tandem/dialplan"
)

var update = flag.Bool("update", false, "write what comes out as what is expected")

// expectFiles compares an import with what was reviewed.
func expectFiles(t *testing.T, name string, r *Result) {
	t.Helper()
	for file, got := range map[string]string{name + ".plan": string(r.Plan), name + ".report": r.Report()} {
		file = "testdata/" + file
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s is no longer what comes out (-update writes it):\n%s", file, got)
		}
	}
}

func TestAnOfficeMovesFromAsterisk(t *testing.T) {
	r, err := Asterisk(os.DirFS("testdata/office"), Options{Country: "44", TimeZone: "Europe/London"})
	if err != nil {
		t.Fatal(err)
	}
	expectFiles(t, "office", r)
	if len(r.Accounts) != 4 || r.Accounts[2] != (Account{"main", "maria", "maria-secret", "201", "Maria Berg"}) {
		t.Errorf("accounts are %+v", r.Accounts)
	}
	if len(r.Secrets) != 1 || r.Secrets[0] != (Secret{"carrier", "carrier-secret"}) {
		t.Errorf("secrets are %+v", r.Secrets)
	}
	for _, text := range []string{string(r.Plan), r.Report()} {
		if strings.Contains(text, "-secret") {
			t.Error("a password is in the plan or the report")
		}
	}
}

// imported is the plan of small files.
func imported(t *testing.T, pjsip, extensions string, o Options) *Result {
	t.Helper()
	r, err := Asterisk(fstest.MapFS{"pjsip.conf": {Data: []byte(pjsip)}, "extensions.conf": {Data: []byte(extensions)}}, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const twoPhones = `
[p](!)
type=endpoint
context=in
[alice](p)
[bob](p)
[out]
type=endpoint
context=from-out
aors=out
[out]
type=identify
endpoint=out
match=192.0.2.1
[out]
type=aor
contact=sip:192.0.2.1
`

// route is where a call of alice goes by an imported plan.
func route(t *testing.T, r *Result, to string, given map[string]int) string {
	t.Helper()
	plan, diags := dialplan.Compile([]dialplan.Source{{Name: "p", Text: r.Plan}})
	if plan == nil {
		t.Fatal(diags)
	}
	return strings.Join(plan.Route(dialplan.Call{Tenant: "main", FromUser: "alice", To: to, Given: given}, nil).Nodes(), " ")
}

func TestOutcomesOfADialGoWhereTheyWent(t *testing.T) {
	r := imported(t, twoPhones, `
[in]
exten => 1,1,Dial(PJSIP/bob,10)
 same => n,Goto(${DIALSTATUS},1)
exten => BUSY,1,Echo()
exten => NOANSWER,1,MusicOnHold()
exten => CHANUNAVAIL,1,Hangup(1)
exten => CONGESTION,1,Hangup()
`, Options{})
	for status, want := range map[int]string{486: "user.bob echo.echo", 408: "user.bob music.music", 480: "user.bob reject.no_such_number", 500: "user.bob"} {
		if got := route(t, r, "1", map[string]int{"user.bob": status}); got != want {
			t.Errorf("%d leads to %s, expected %s", status, got, want)
		}
	}
}

func TestANarrowerPatternComesFirst(t *testing.T) {
	r := imported(t, twoPhones, `
[in]
exten => _X.,1,Hangup()
exten => _9.,1,Dial(PJSIP/${EXTEN:1}@out)
exten => _90.,1,Hangup(21)
exten => 95,1,Dial(PJSIP/bob)
`, Options{})
	for number, want := range map[string]string{"95": "user.bob", "955": "outbound.in trunk.out", "905": "outbound.90 reject.not_wanted", "805": "outbound.outbound reject.hangup"} {
		if got := route(t, r, number, map[string]int{}); got != want {
			t.Errorf("%s leads to %s, expected %s", number, got, want)
		}
	}
}

func TestWhatCannotBeMappedIsSaidWithItsPlace(t *testing.T) {
	for name, test := range map[string]struct{ line, want string }{
		"an application":            {"exten => 1,1,AGI(x.py)", "extensions.conf:2: `AGI(x.py)`: this application has no counterpart"},
		"a variable of the call":    {`exten => 1,1,GotoIf($["${CALLERID(num)}" = "1"]?2:3)`, "extensions.conf:2: `GotoIf($[\"${CALLERID(num)}\" = \"1\"]?2:3)`: the value of ${CALLERID(num)} is known during a call only"},
		"a place that is not there": {"exten => 1,1,Goto(nowhere,s,1)", "extensions.conf:2: `Goto(nowhere,s,1)`: there is no extension s in context nowhere"},
		"an unknown endpoint":       {"exten => 1,1,Dial(PJSIP/carol)", "extensions.conf:2: `Dial(PJSIP/carol)`: there is no endpoint \"carol\""},
		"another technology":        {"exten => 1,1,Dial(DAHDI/1)", "extensions.conf:2: `Dial(DAHDI/1)`: DAHDI channels have no counterpart"},
		"a loop":                    {"exten => 1,1,Goto(1,1)", "extensions.conf:2: `Goto(1,1)`: calls go round in a loop here"},
		"a timed include":           {"include => day,9:00-17:00,mon-fri,*,*", "extensions.conf:2: `include => day,9:00-17:00,mon-fri,*,*`: what is included at some times only"},
		"a priority":                {"exten => 1,x,Echo()", "extensions.conf:2: `exten => 1,x,Echo()`: \"x\" is no priority"},
		"a command":                 {"#exec /bin/ls", "extensions.conf:2: `#exec /bin/ls`: only #include and #tryinclude are read"},
		"a missing file":            {`#include "more.conf"`, "extensions.conf:2: `#include \"more.conf\"`: there is no such file in the folder"},
	} {
		t.Run(name, func(t *testing.T) {
			r := imported(t, twoPhones, "[in]\n"+test.line+"\n", Options{})
			if report := r.Report(); !strings.Contains(report, test.want) {
				t.Errorf("the report does not say %s:\n%s", test.want, report)
			}
		})
	}
}

func TestTooMuchIsRefused(t *testing.T) {
	huge := fstest.MapFS{"extensions.conf": {Data: make([]byte, mostBytes+1)}}
	if _, err := Asterisk(huge, Options{}); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("%d bytes: %v", mostBytes+1, err)
	}
	if _, err := Asterisk(fstest.MapFS{}, Options{}); err == nil || !strings.Contains(err.Error(), "neither a pjsip.conf") {
		t.Errorf("an empty folder: %v", err)
	}
	circle := fstest.MapFS{"extensions.conf": {Data: []byte("#include \"extensions.conf\"\n")}}
	if r, err := Asterisk(circle, Options{}); err != nil || !strings.Contains(r.Report(), "include each other") {
		t.Errorf("a file that includes itself: %v", err)
	}
	if _, err := Asterisk(circle, Options{Country: "x"}); err == nil || !strings.Contains(err.Error(), "calling code") {
		t.Errorf("a country that is none: %v", err)
	}
}

// FuzzAsterisk: whatever the files say, there is a plan that compiles and whose tests pass, or an error about the files.
func FuzzAsterisk(f *testing.F) {
	for _, name := range []string{"extensions.conf", "pjsip.conf"} {
		text, err := fs.ReadFile(os.DirFS("testdata/office"), name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(twoPhones, string(text))
		f.Add(string(text), "[staff]\nexten => _3X,1,Dial(PJSIP/${EXTEN})\n")
	}
	f.Add(twoPhones, "[in]\nexten => s,1,Background(x)\nsame => n,WaitExten(3)\nexten => 1,1,Goto(s,1)\nexten => t,1,Goto(s,1)\nexten => i,1,Goto(s,1)\n[from-out]\nexten => +441632960000,1,Goto(in,s,1)\n")
	f.Add(twoPhones, "[in]\nexten => _9.,1,GotoIfTime(9:00-17:00,mon-fri,*,*?1,1)\nexten => 1,1,Dial(PJSIP/alice&PJSIP/bob,5)\nsame => n,Goto(2,1)\nexten => 2,1,Dial(PJSIP/bob,5)\nsame => n,Goto(1,1)\nexten => 911,1,Dial(PJSIP/911@out)\n")
	f.Fuzz(func(t *testing.T, pjsip, extensions string) {
		if len(pjsip)+len(extensions) > 20_000 {
			return
		}
		for _, country := range []string{"", "44"} {
			_, err := Asterisk(fstest.MapFS{"pjsip.conf": {Data: []byte(pjsip)}, "extensions.conf": {Data: []byte(extensions)}}, Options{Country: country})
			if err != nil && strings.Contains(err.Error(), "fault of this program") {
				t.Fatal(err)
			}
		}
	})
}
