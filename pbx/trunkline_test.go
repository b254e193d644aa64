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
	b := newLines(nil)
	at := func(hour, minute int) time.Time { return time.Date(2026, 3, 2, hour, minute, 0, 0, time.UTC) } // midnight of Tokyo is at 15:00
	call := func(from, to time.Time) (outcome int) {
		t.Helper()
		l := &line{trunk: &dialplan.Trunk{Tenant: "acme", Name: "a"}, limits: []*dialplan.Limit{limit}, user: "alice"}
		if outcome, _ = b.seize(l, from); outcome == 0 {
			l.spoken = from
			b.speaks(l, from)
			b.release(l, to)
		}
		return outcome
	}
	used := func(now time.Time) time.Duration {
		day, end := dayOf(limit, now)
		return 10*time.Minute - time.Duration(b.quota.Free("minutes "+day+" acme staff alice", int64(10*time.Minute), end))
	}
	expect(t, "first call", call(at(13, 0), at(13, 11)), 0)
	expect(t, "call beyond the limit", call(at(14, 59), at(15, 0)), dialplan.Limited)
	expect(t, "call on the next day", call(at(15, 0), at(15, 4)), 0)
	expect(t, "call when the day is another one by UTC alone", call(at(24, 0), at(24, 5)), 0)
	expect(t, "minutes of the day", used(at(24, 5)), 9*time.Minute)
	expect(t, "call over midnight", call(at(38, 0), at(39, 7)), 0)
	expect(t, "minutes of the day behind it", used(at(39, 7)), 7*time.Minute)
}

func TestACallThatGoesOnUsesUpWhatTheDayHas(t *testing.T) {
	limit := &dialplan.Limit{Tenant: "acme", Name: "staff", Money: 1_000_000, Zone: time.UTC}
	b := newLines(nil)
	began := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	l := func() *line {
		return &line{trunk: &dialplan.Trunk{Tenant: "acme", Name: "a"}, limits: []*dialplan.Limit{limit}, price: 100_000}
	}
	first := l()
	b.seize(first, began)
	first.spoken = began
	b.speaks(first, began)
	outcome, _ := b.seize(l(), began.Add(9*time.Minute))
	expect(t, "a second call beside one of nine minutes at ten cents", outcome, 0)
	outcome, _ = b.seize(l(), began.Add(10*time.Minute))
	expect(t, "beside one of ten minutes", outcome, dialplan.Limited)

	// The process is replaced: what its calls have used of the day goes with them.
	b = newLines(nil)
	b.adopt(first.snapshot().line(), began.Add(10*time.Minute))
	outcome, _ = b.seize(l(), began.Add(10*time.Minute))
	expect(t, "behind a move of the call", outcome, dialplan.Limited)
}
