//go:build interop

package interop

import (
	"testing"
	"time"
)

// pollEvery is how often a condition that nothing announces is looked at.
const pollEvery = 20 * time.Millisecond

// holds reports whether cond became true within the given time.
func holds(within time.Duration, cond func() bool) bool {
	return looks(pollEvery, within, cond)
}

// looks is holds for conditions that are dear to look at.
func looks(every, within time.Duration, cond func() bool) bool {
	deadline := time.After(within)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if cond() {
			return true
		}
		select {
		case <-deadline:
			return cond()
		case <-tick.C:
		}
	}
}

// eventually fails the test when cond is not true within the given time; what
// says what was waited for.
func eventually(t testing.TB, within time.Duration, what string, cond func() bool) {
	t.Helper()
	if !holds(within, cond) {
		t.Fatalf("waited %v in vain for: %s", within, what)
	}
}

// never fails the test when cond becomes true within the given time.
func never(t testing.TB, within time.Duration, what string, cond func() bool) {
	t.Helper()
	if holds(within, cond) {
		t.Fatalf("happened, and must not: %s", what)
	}
}
