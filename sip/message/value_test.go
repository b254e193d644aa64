package message

import (
	"fmt"
	"strings"
	"testing"
)

func TestCutValueSplitsAtCommasThatSeparate(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "",
		"a":                             "a",
		"a,b":                           "a|b",
		" a , b\t,c ":                   "a|b|c",
		`"a,b" <sip:x>, c`:              `"a,b" <sip:x>|c`,
		`"a\",b" <sip:x>, c`:            `"a\",b" <sip:x>|c`,
		`<sip:a,b@c;x="1>, <sip:d>`:     `<sip:a,b@c;x="1>|<sip:d>`,
		`<sip:a>;x="1,2", <sip:d>`:      `<sip:a>;x="1,2"|<sip:d>`,
		`"not closed, really`:           `"not closed, really`,
		"a,,b":                          "a||b",
		`"backslash at the end, \`:      `"backslash at the end, \`,
		"<sip:a;lr>,<sip:b;lr>,<sip:c>": "<sip:a;lr>|<sip:b;lr>|<sip:c>",
	} {
		var got []string
		for rest := in; ; {
			var v string
			v, rest = CutValue(rest)
			if got = append(got, v); rest == "" {
				break
			}
		}
		if s := strings.Join(got, "|"); s != want {
			t.Errorf("%q: got %q, want %q", in, s, want)
		}
	}
}

func TestAddressIsTakenApart(t *testing.T) {
	for in, want := range map[string]Address{
		`sip:a@b`:                           {URI: "sip:a@b"},
		`sip:a@b;tag=1`:                     {URI: "sip:a@b", Params: "tag=1"},
		`<sip:a@b;lr>;tag=1`:                {URI: "sip:a@b;lr", Params: "tag=1"},
		`Alice Adams <sip:a@b>`:             {Display: "Alice Adams", URI: "sip:a@b"},
		`caller<sip:a@b>;tag=1`:             {Display: "caller", URI: "sip:a@b", Params: "tag=1"},
		`"A <sip:x> B" <sip:a@b> ; tag = 1`: {Display: `"A <sip:x> B"`, URI: "sip:a@b", Params: " tag = 1"},
		`"A \" B"<sip:a@b>`:                 {Display: `"A \" B"`, URI: "sip:a@b"},
		` <sip:a@b?Route=x>`:                {URI: "sip:a@b?Route=x"},
		`<tel:+1;x=y>;q=0.5`:                {URI: "tel:+1;x=y", Params: "q=0.5"},
	} {
		got, err := ParseAddress(in)
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", in, got, err, want)
		}
	}
	for _, in := range []string{`"A <sip:a@b>`, `<sip:a@b`, `"A" sip:a@b`, `<sip:a@b> x`, `sip:a@b?x=y`} {
		if a, err := ParseAddress(in); err == nil {
			t.Errorf("%s: got %+v, want an error", in, a)
		}
	}
}

func TestTagIsThatOfTheHeaderAndNotOfWhatLooksLikeIt(t *testing.T) {
	for in, want := range map[string]string{
		`<sip:a@b>;tag=1`:                      "1",
		`<sip:a@b;tag=2>`:                      "",
		`sip:a@b;tag=3`:                        "3",
		`"x;tag=4" <sip:a@b>`:                  "",
		`"<sip:y>;tag=4" <sip:a@b>;tag=5`:      "5",
		`<sip:a@b> ; x=1 ; TAG = 6`:            "6",
		`<sip:a@b>;tag=7;x="<>;tag=8"`:         "7",
		`<sip:a@b>;x=">;tag=9"`:                "",
		`"not closed <sip:a@b>;tag=10`:         "10",
		`<sip:a@b>;stag=11;tagx=12`:            "",
		`<sip:a@b>;tag`:                        "",
		``:                                     "",
		`<sip:a@b>;x="a;tag=13";y="\";tag=14"`: "",
	} {
		if got := Tag(in); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

func TestParamTellsEmptyFromAbsent(t *testing.T) {
	const params = `a=1; B ;c="x;y=\"z\"" ; d = 2`
	for name, want := range map[string]string{"a": "1 true", "A": "1 true", "b": " true", "c": `x;y="z" true`, "d": "2 true", "y": " false", "": " false"} {
		v, ok := Param(params, name)
		if got := fmt.Sprint(v, " ", ok); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestViaIsRead(t *testing.T) {
	for in, want := range map[string]string{
		"SIP/2.0/UDP 192.0.2.1":                                       "UDP 192.0.2.1 0 ''",
		"SIP/2.0/TCP host.example.com:5061;branch=z9hG4bK1":           "TCP host.example.com 5061 'z9hG4bK1'",
		"SIP / 2.0 / UDP  192.0.2.1 : 5070 ; branch = z9hG4bK2 ; x":   "UDP 192.0.2.1 5070 'z9hG4bK2'",
		"sip/2.0/tls [2001:db8::9:1]:6050;branch=z9hG4bK3":            "tls 2001:db8::9:1 6050 'z9hG4bK3'",
		"SIP/2.0/UDP [2001:db8::1];received=[2001:db8::2];branch=b":   "UDP 2001:db8::1 0 'b' received 2001:db8::2",
		"SIP/2.0/UDP [::ffff:192.0.2.10]:19823;received=2001:db8::9":  "UDP ::ffff:192.0.2.10 19823 '' received 2001:db8::9",
		"SIP/2.0/UDP h;rport;branch=b":                                "UDP h 0 'b' rport 0",
		"SIP/2.0/UDP h;branch=b;RPort=1024;received=192.0.2.9":        "UDP h 0 'b' received 192.0.2.9 rport 1024",
		"SIP/2.0/WSS df7jal23ls0d.invalid;branch=z9hG4bK56sdasks;x=y": "WSS df7jal23ls0d.invalid 0 'z9hG4bK56sdasks'",
	} {
		v, err := ParseVia(in)
		got := fmt.Sprintf("%s %s %d '%s'", v.Transport, v.Host, v.Port, v.Branch)
		if v.Received != "" {
			got += " received " + v.Received
		}
		if v.HasRPort {
			got += fmt.Sprint(" rport ", v.RPort)
		}
		if err != nil || got != want {
			t.Errorf("%s\ngot  %s, %v\nwant %s", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "SIP", "SIP/2.0", "SIP/2.0/", "SIP/2.0/UDP", "SIP/2.0/UDP ", "SIP/2.0/UDP [2001:db8::1", "SIP/2.0/UDP 2001:db8::1",
		"SIP/2.0/UDP [nonsense]", "SIP/2.0/UDP [::1]5060", "SIP/2.0/UDP h:", "SIP/2.0/UDP h:x", "SIP/2.0/UDP h:65536", "SIP/2.0/UDP h i", "SIP/2.0/UDP h;rport=0", `SIP/2.0/UDP h;x="y`,
		"SIP/1.0/UDP h", "XIP/2.0/UDP h",
	} {
		if v, err := ParseVia(in); err == nil {
			t.Errorf("%q: got %+v, want an error", in, v)
		}
	}
}

func TestQuoteMakesOneQuotedString(t *testing.T) {
	for in, want := range map[string]string{`a`: `"a"`, `a"b\c`: `"a\"b\\c"`, "a\r\nX: y\x00": `"a??X: y?"`, "": `""`} {
		if got := Quote(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
		if strings.ContainsAny(in, "\r\x00") {
			continue
		}
		if got := unquote(Quote(in)); got != in {
			t.Errorf("%q comes back as %q", in, got)
		}
	}
}
