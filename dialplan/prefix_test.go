package dialplan

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTheLongestOfManyPrefixesIsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		drawn := rapid.SliceOfDistinct(rapid.StringMatching(`[0-4]{0,6}x?`), rapid.ID[string]).Draw(t, "prefixes")
		var list []prefix
		for i, text := range drawn {
			digits, exact := strings.CutSuffix(text, "x")
			list = append(list, prefix{digits, exact, int32(i)})
		}
		found := newPrefixes(append([]prefix(nil), list...))
		for range 20 {
			number := rapid.StringMatching(`[0-5]{0,8}`).Draw(t, "number")
			want, longest := int32(-1), -1
			for _, p := range list {
				long := 2 * len(p.digits)
				if p.exact {
					long++
				}
				if strings.HasPrefix(number, p.digits) && (!p.exact || p.digits == number) && long > longest {
					want, longest = p.value, long
				}
			}
			if got := found.longest([]byte(number)); got != want {
				t.Fatalf("%s begins with %d, want %d, of %v", number, got, want, drawn)
			}
		}
	})
}

func TestMoneyIsReadAndWritten(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "0.0125": 12_500, "2000": 2_000_000_000, "1.000001": 1_000_001, "007.50": 7_500_000} {
		if got, ok := money(text, mostPrice); !ok || got != want {
			t.Errorf("%q is %d, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", ".5", "1.", "-1", "1,5", "2000.000001", "0.0000001", "1e3", "9999999999999", "1.2.3", " 1"} {
		if got, ok := money(text, mostPrice); ok {
			t.Errorf("%q is %d", text, got)
		}
	}
	for m, want := range map[int64]string{0: "0", 12_500: "0.0125", 2_000_000: "2", 1_000_001: "1.000001"} {
		if got := amount(m); got != want {
			t.Errorf("%d is written %q", m, got)
		}
	}
}

func TestNumbersAreRewrittenByTheirLongestBeginning(t *testing.T) {
	rules := rewriting{{"+4420", "020"}, {"+44", "0"}, {"+", "00"}}
	for number, want := range map[string]string{"+442079460999": "0207946 0999", "+447700900456": "07700900456", "+33123456789": "0033123456789", "101": "101", "": ""} {
		want = strings.ReplaceAll(want, " ", "")
		if got := string(write(rules, nil, number)); got != want {
			t.Errorf("%s becomes %s, want %s", number, got, want)
		}
	}
	if got := string(write(rewriting{{"", "+"}}, nil, []byte("442079460999"))); got != "+442079460999" {
		t.Errorf("got %s", got)
	}
}

func TestTablesAreReadWithTheirPlaces(t *testing.T) {
	table := Source{"/etc/rates/carrier_a.csv", []byte("# prefix, price\n+44,0.02\n\n  447 , 0.03 , mobiles\r\n+1,x\n+44,0.05\nabc,1\n")}
	text := "dialplan \"acme\" {}\ntrunk \"a\" {\n  hosts = [\"192.0.2.1\"]\n  rates = \"carrier_a.csv\"\n}\n"
	_, diags := Compile([]Source{{"acme.hcl", []byte(text)}, table})
	var got []string
	for _, d := range diags {
		got = append(got, fmt.Sprintf("%s:%d:%d %s", d.File, d.Line, d.Col, d.Summary))
	}
	want := strings.Join([]string{
		`/etc/rates/carrier_a.csv:5:4 "x" is not the price of a minute`,
		`/etc/rates/carrier_a.csv:6:1 "+44" has two prices`,
		`/etc/rates/carrier_a.csv:7:1 "abc" is not how numbers begin`,
	}, "\n")
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}
