package migrate

import (
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestAHouseMovesFromFreeSWITCH(t *testing.T) {
	r, err := FreeSWITCH(os.DirFS("testdata/house"), Options{Country: "1", TimeZone: "America/New_York"})
	if err != nil {
		t.Fatal(err)
	}
	expectFiles(t, "house", r)
	if len(r.Accounts) != 3 || r.Accounts[1] != (Account{"main", "1001", "house-secret-1001", "", "Otto"}) {
		t.Errorf("accounts are %+v", r.Accounts)
	}
	for _, text := range []string{string(r.Plan), r.Report()} {
		if strings.Contains(text, "-secret") {
			t.Error("a password is in the plan or the report")
		}
	}
}

func TestExpressionsBecomePatterns(t *testing.T) {
	for expression, want := range map[string]map[string]string{
		`^1000$`:                     {"1000": "$1"},
		`^(10[01]\d)$`:               {"10[01]X": "${EXTEN:0}"},
		`^9(\d+)$`:                   {"9X!": "${EXTEN:1}"},
		`^9(\d{2})$`:                 {"9XX": "${EXTEN:1}"},
		`^(\d{2})9$`:                 {"XX9": "${EXTEN:0:2}"},
		`^1?(5\d)$`:                  {"5X": "${EXTEN:0}", "15X": "${EXTEN:1}"},
		`^(?:a|b1)$`:                 {"a": "$1", "b1": "$1"},
		`^0(\d{2,})`:                 {"0XX!": "${EXTEN:1}"},
		`^(\d{3})`:                   {"XXX!": "${EXTEN:0:3}"},
		`\d+`:                        nil,
		`^(\d+)-(\d+)$`:              nil,
		`^(((((((((((a{9}){9}){9})`:  nil,
		`^(a|b|c)(a|b|c)(a|b)(\w+)$`: nil,
	} {
		got, ok := shapes(expression)
		if ok != (want != nil) {
			t.Errorf("%s: %v", expression, ok)
			continue
		}
		patterns := map[string]string{}
		for _, s := range got {
			patterns[s.pattern] = strings.ReplaceAll(s.references("$1"), "${GROUP_1}", "$1")
		}
		if want != nil {
			if diff := cmp.Diff(want, patterns); diff != "" {
				t.Errorf("%s: %s", expression, diff)
			}
		}
	}
}

// FuzzFreeSWITCH: whatever the files say, there is a plan that compiles and whose tests pass, or an error about the files.
func FuzzFreeSWITCH(f *testing.F) {
	house := os.DirFS("testdata/house")
	for _, name := range []string{"dialplan/default.xml", "dialplan/public.xml", "ivr_menus/front.xml", "sip_profiles/external/line.xml"} {
		text, err := fs.ReadFile(house, name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(`<X-PRE-PROCESS cmd="include" data="x.xml"/><context name="default"><extension><condition field="destination_number" expression="^(\d)$"><action application="bridge" data="user/a,user/b|loopback/$1"/></condition></extension></context>`)
	f.Add(`<context name="default"><extension><condition field="destination_number" expression="^(5\d)$"><action application="valet_park" data="x auto in 51 52"/></condition></extension><extension><condition field="destination_number" expression="^7$"><action application="conference_set_auto_outcall" data="user/a"/><action application="conference" data="p"/></condition></extension></context><fifo name="f"><member>user/a</member></fifo><queue name="q"/><tier agent="g" queue="q"/><agent name="g" contact="user/a"/>`)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 20_000 {
			return
		}
		for _, country := range []string{"", "1"} {
			_, err := FreeSWITCH(fstest.MapFS{
				"vars.xml":              {Data: []byte(`<X-PRE-PROCESS cmd="set" data="domain=x.example"/>`)},
				"directory/default.xml": {Data: []byte(`<group name="sales"><user id="a"><param name="password" value="p"/></user><user id="1001"/></group>`)},
				"dialplan/x.xml":        {Data: []byte(text)},
				"sip_profiles/x.xml":    {Data: []byte(`<gateway name="line"><param name="proxy" value="192.0.2.1"/><param name="register" value="false"/></gateway>`)},
			}, Options{Country: country})
			if err != nil && strings.Contains(err.Error(), "fault of this program") {
				t.Fatal(err)
			}
		}
	})
}
