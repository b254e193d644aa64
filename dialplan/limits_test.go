package dialplan

import (
	"strings"
	"testing"
	"time"
)

func TestDaysOfLimitsAreThoseOfTheTenant(t *testing.T) {
	for zone, odd := range map[string]map[string]time.Duration{
		"UTC":            {},
		"Europe/London":  {"2026-03-29": 23, "2026-10-25": 25},
		"Africa/Cairo":   {"2026-04-24": 23, "2026-10-29": 25}, // there is no midnight in April
		"America/Havana": {"2026-03-08": 23, "2026-11-01": 25}, // there are two midnights in November
		"Asia/Kathmandu": {},
	} {
		clock, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		l := Limit{Zone: clock}
		_, began := l.Day(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC))
		for range 365 {
			name, _ := l.Day(began)
			hours := odd[name]
			if hours == 0 {
				hours = 24
			}
			end := began.Add(hours * time.Hour)
			for at := began; at.Before(end); at = at.Add(29 * time.Minute) {
				if got, from := l.Day(at); got != name || !from.Equal(began) {
					t.Fatalf("%s at %v: day %s from %v, want %s from %v", zone, at, got, from, name, began)
				}
			}
			if got, from := l.Day(end.Add(-1)); got != name || !from.Equal(began) {
				t.Fatalf("%s: the last moment of %s is of %s from %v", zone, name, got, from)
			}
			if got, from := l.Day(end); got == name || !from.Equal(end) {
				t.Fatalf("%s: %s does not end at %v: that is of %s from %v", zone, name, end, got, from)
			}
			began = end
		}
	}
}

func TestALimitSaysByWhoseClockItsDaysAre(t *testing.T) {
	plan, diags := Compile([]Source{{"acme.hcl", []byte(`
user "alice" {}
trunk "a" {
  hosts = ["192.0.2.7"]
}
outbound "all" {
  match = ["+*"]
  via   = [trunk.a]
}
limits "all" {
  minutes = 60
  calls   = 2
}
dialplan "acme" {
  timezone = "Asia/Tokyo"
}
`)}})
	if Failed(diags) {
		t.Fatal(diags)
	}
	w := plan.Begin(Call{Tenant: "acme", FromUser: "alice", To: "+447700900456"}, nil)
	if l := w.Step().Out.Limits; len(l) != 1 || l[0].Zone.String() != "Asia/Tokyo" {
		t.Errorf("limits %+v", l)
	}
	want := "within limits.all (2 calls at a time, 60 minutes a day by the clock of Asia/Tokyo)"
	if got := w.Step().words(); !strings.Contains(got, want) {
		t.Errorf("got %q, want it to say %q", got, want)
	}
}
