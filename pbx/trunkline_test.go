package pbx

import (
	"testing"
	"time"

	"tandem/dialplan"
)

func TestAMinuteIsOfTheDayOfTheTenantInWhichItWasTalked(t *testing.T) {
	tokyo, err := time.LoadLocation("Asia/Tokyo")
	if err != nil {
		t.Fatal(err)
	}
	limit := &dialplan.Limit{Tenant: "acme", Name: "staff", Each: true, Minutes: 10, Zone: tokyo}
	b := lines{taken: map[lineKey]int{}, spent: map[lineKey]*spending{}}
	at := func(hour, minute int) time.Time { return time.Date(2026, 3, 2, hour, minute, 0, 0, time.UTC) } // midnight of Tokyo is at 15:00
	call := func(from, to time.Time) (outcome int) {
		t.Helper()
		l := &line{trunk: &dialplan.Trunk{Tenant: "acme", Name: "a"}, limits: []*dialplan.Limit{limit}, user: "alice"}
		if outcome = b.seize(l, from); outcome == 0 {
			l.spoken = from
			b.release(l, to)
		}
		return outcome
	}
	expect(t, "first call", call(at(13, 0), at(13, 11)), 0)
	expect(t, "call beyond the limit", call(at(14, 59), at(15, 0)), dialplan.Limited)
	expect(t, "call on the next day", call(at(15, 0), at(15, 4)), 0)
	expect(t, "call when the day is another one by UTC alone", call(at(24, 0), at(24, 5)), 0)
	expect(t, "minutes of the day", b.spent[limitKey(limit, "alice")].talk, 9*time.Minute)
	expect(t, "call over midnight", call(at(38, 0), at(39, 7)), 0)
	expect(t, "minutes of the day behind it", b.spent[limitKey(limit, "alice")].talk, 7*time.Minute)
}
