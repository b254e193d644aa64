package dialplan

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestRoutesFollowTheOfficeClock(t *testing.T) {
	plan := compiled(t, readSources(t, "testdata/good/office.hcl")...)
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) time.Time {
		at, err := time.ParseInLocation("2006-01-02 15:04", s, london)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	var b strings.Builder
	for _, c := range []Call{
		{Outside: true, To: "020 7946 0000", At: at("2026-11-23 10:00")},
		{Outside: true, To: "00442079460000", At: at("2026-11-23 18:00")},
		{Outside: true, To: "+442079460000", At: at("2026-11-23 23:00")},
		{Outside: true, To: "201", At: at("2026-11-23 10:00")},
		{To: "02079460000", At: at("2026-12-25 10:00")},
		{To: "201", At: at("2026-11-23 10:00"), Given: map[string]int{"user.alice": 486}},
		{To: "201", At: at("2026-11-23 10:00"), Given: map[string]int{"user.alice": 408, "ring.sales": 486}},
		{To: "201", At: at("2026-11-23 18:00"), Given: map[string]int{"user.alice": 408}},
		{To: "201", At: at("2026-11-23 10:00"), Given: map[string]int{"user.alice": 480}},
		{To: "202"},
		{To: "203", At: at("2026-11-23 10:00"), Given: map[string]int{}},
		{To: "*55", At: at("2026-11-23 10:00"), Given: map[string]int{}},
		{To: "*55", At: at("2026-11-23 20:00"), Given: map[string]int{}},
		{To: "*56", At: at("2026-11-23 20:00"), Given: map[string]int{}},
	} {
		c.Tenant = "acme"
		r := plan.Route(c, nil)
		checkRoute(t, r)
		fmt.Fprintf(&b, "dial %q at %s", c.To, c.At.Format("Monday 2006-01-02 15:04"))
		if c.Outside {
			b.WriteString(" from outside")
		}
		if c.Given != nil {
			fmt.Fprintf(&b, " given %v", c.Given)
		}
		fmt.Fprintf(&b, ": %s\n%s\n", strings.Join(r.Nodes(), ", "), r.Explain())
	}
	golden(t, "testdata/office.golden", b.String())
}

// times asks the calendar "c" of a plan about times, written with their zone.
func times(t *testing.T, body string, want map[string]bool) {
	t.Helper()
	plan := compiled(t, Source{"a.hcl", []byte("dialplan \"a\" { timezone = \"Europe/Berlin\" }\ncalendar \"c\" {\n" + body + "\n}\nuser \"u\" {}\nreject \"n\" {}\nfeature \"f\" {\n  extension = \"1\"\n  go = open(\"c\") ? user.u : reject.n\n}\n")})
	for text, open := range want {
		at, err := time.Parse("2006-01-02 15:04 -0700", text)
		if err != nil {
			t.Fatal(err)
		}
		w := plan.Begin(Call{Tenant: "a", To: "1", At: at}, nil)
		if got := w.Step().Kind == StepRing; got != open {
			t.Errorf("%s: open is %v, want %v", text, got, open)
		}
	}
}

func TestCalendarKnowsWeekdaysAndNights(t *testing.T) {
	times(t, `open = ["mon-fri 09:00-12:00,13:00-17:30", "fri-sun 22:00-02:00"]
closed = ["wed 16:00-17:30"]`, map[string]bool{
		"2026-11-23 08:59 +0100": false, "2026-11-23 09:00 +0100": true, "2026-11-23 12:00 +0100": false, "2026-11-23 17:29 +0100": true,
		"2026-11-23 17:30 +0100": false, "2026-11-25 15:59 +0100": true, "2026-11-25 16:00 +0100": false, "2026-11-28 10:00 +0100": false,
		"2026-11-27 23:00 +0100": true, "2026-11-28 01:59 +0100": true, "2026-11-28 02:00 +0100": false,
		"2026-11-30 01:00 +0100": true, // Sunday's night reaches into Monday
		"2026-11-23 08:30 +0000": true, // 09:30 in Berlin
	})
}

func TestCalendarFollowsTheClocksThatAreSet(t *testing.T) {
	// On 29 March 2026 clocks go from 02:00 to 03:00 at 01:00 UTC, on 25 October from 03:00 to 02:00.
	times(t, `open = ["sun 02:00-03:00", "09:00-10:00"]`, map[string]bool{
		"2026-03-29 00:59 +0000": false, "2026-03-29 01:00 +0000": false, // 02:00 to 03:00 does not exist
		"2026-10-25 00:00 +0000": true, "2026-10-25 00:59 +0000": true, "2026-10-25 01:30 +0000": true, "2026-10-25 02:00 +0000": false, // and here twice
		"2026-03-28 08:00 +0000": true, "2026-03-29 07:00 +0000": true, "2026-03-29 08:00 +0000": false,
	})
	times(t, `timezone = "America/New_York"
open = ["09:00-10:00"]`, map[string]bool{"2026-11-23 14:30 +0000": true, "2026-07-23 13:30 +0000": true, "2026-07-23 14:30 +0000": false})
}

func TestCalendarKnowsDatesAndHolidays(t *testing.T) {
	times(t, `open = ["mon-fri 09:00-17:00", "2026-12-24 09:00-12:00", "2026-12-31 20:00-02:00", "2026-12-26 10:00-11:00"]
closed = ["2026-11-24", "2026-08-01..2026-08-31", "07-14", "2026-12-24 10:00-10:30"]
holidays = "DE-BY"`, map[string]bool{
		"2026-11-24 10:00 +0100": false, "2026-11-25 10:00 +0100": true, "2027-11-24 10:00 +0100": true,
		"2026-08-12 10:00 +0200": false, "2026-09-01 10:00 +0200": true, "2026-07-14 10:00 +0200": false, "2027-07-14 10:00 +0200": false,
		"2026-12-24 09:30 +0100": true, "2026-12-24 10:15 +0100": false, "2026-12-24 12:00 +0100": false,
		"2026-12-31 21:00 +0100": true, "2026-12-31 10:00 +0100": false, "2027-01-01 01:59 +0100": true, "2027-01-01 10:00 +0100": false,
		"2026-12-25 10:00 +0100": false, "2026-12-26 10:30 +0100": true, // a holiday with hours of its own
		"2026-04-06 10:00 +0200": false, // Easter Monday
		"2027-03-29 10:00 +0200": false,
		"2026-01-06 10:00 +0100": false, // Epiphany, in Bavaria
	})
	times(t, `open = ["mon-fri 09:00-17:00"]
holidays = "DE"`, map[string]bool{"2026-01-06 10:00 +0100": true})
	times(t, `open = ["mon-fri 09:00-17:00"]
holidays = "GB"`, map[string]bool{
		"2026-12-28 10:00 +0100": false, // Boxing Day is a Saturday, kept on Monday
		"2026-05-04 10:00 +0200": false, // the first Monday of May
	})
}

func TestNumbersBecomeThoseOfTheWorld(t *testing.T) {
	for _, c := range []struct{ country, dialled, want string }{
		{"44", "020 7946 0000", "+442079460000"},
		{"44", "(020) 7946-0000", "+442079460000"},
		{"44", "00442079460000", "+442079460000"},
		{"44", "+442079460000", "+442079460000"},
		{"44", "0014155550100", "+14155550100"},
		{"44", "201", ""},
		{"44", "4711234", ""},
		{"44", "*97", ""},
		{"44", "alice", ""},
		{"44", "+", ""},
		{"44", "++442079460000", ""},
		{"44", "+0442079460000", ""},
		{"44", "000442079460000", ""},
		{"44", "+4420794600001234", ""},
		{"44", strings.Repeat("0", 300), ""},
		{"1", "4155550100", "+14155550100"},
		{"1", "14155550100", "+14155550100"},
		{"1", "011442079460000", "+442079460000"},
		{"39", "0612345678", "+390612345678"},
		{"34", "912345678", "+34912345678"},
		{"7", "84951234567", "+74951234567"},
		{"36", "0612345678", "+3612345678"},
		{"49", "030 123456", "+4930123456"},
		{"", "030123456", ""},
		{"", "+4930123456", "+4930123456"},
	} {
		if got := string(countryOf(c.country).e164(nil, c.dialled)); got != c.want {
			t.Errorf("%s in %s: %q, want %q", c.dialled, c.country, got, c.want)
		}
	}
}
