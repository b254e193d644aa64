package tandem

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

// An act is one operation of a client on something agreed: what was asked, what was answered, and when.
type act[S comparable] struct {
	what       string
	begin, end time.Time
	unknown    bool // no answer, or one that leaves it open: it may have been done at any time after begin, or never
	// do is what becomes of a state, and whether the answer that was given fits to that.
	do func(S) (S, bool)
}

// linearisable tells whether there is one order of all acts that explains every answer and agrees with the order in time of those that
// did not overlap (Herlihy and Wing 1990; the search is that of Wing and Gong, with Lowe's memory of what was tried).
func linearisable[S comparable](start S, acts []act[S]) bool {
	acts = slices.Clone(acts)
	slices.SortFunc(acts, func(a, b act[S]) int { return a.begin.Compare(b.begin) })
	known := 0
	for _, a := range acts {
		if !a.unknown {
			known++
		}
	}
	done := make([]byte, (len(acts)+7)/8)
	tried := map[string]bool{}
	var search func(state S, left int) bool
	search = func(state S, left int) bool {
		if left == 0 {
			return true
		}
		key := fmt.Sprintf("%s %v", done, state)
		if tried[key] {
			return false
		}
		tried[key] = true
		before := int64(math.MaxInt64) // whatever is next began before any other that is left has ended
		for i, a := range acts {
			bit := byte(1) << (i % 8)
			if done[i/8]&bit != 0 {
				continue
			}
			if a.begin.UnixNano() > before {
				break
			}
			cost := 1
			if a.unknown {
				cost = 0
			} else {
				before = min(before, a.end.UnixNano())
			}
			next, fits := a.do(state)
			if !fits {
				continue
			}
			done[i/8] |= bit
			if search(next, left-cost) {
				return true
			}
			done[i/8] &^= bit
		}
		return false
	}
	return search(start, known)
}

// TestTheSearchForAnOrderFindsWhatNoOrderExplains proves that a history that passes means something.
func TestTheSearchForAnOrderFindsWhatNoOrderExplains(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	add := func(begin, end, answer int) act[int] { // a counter: each answer is its value behind the act
		return act[int]{fmt.Sprint("add ", answer), at(begin), at(end), answer == 0, func(s int) (int, bool) { return s + 1, cmp.Or(answer, s+1) == s+1 }}
	}
	for what, test := range map[string]struct {
		acts []act[int]
		want bool
	}{
		"one behind the other":             {[]act[int]{add(1, 2, 1), add(3, 4, 2)}, true},
		"the later one comes first":        {[]act[int]{add(1, 2, 2), add(3, 4, 1)}, false},
		"at once, in any order":            {[]act[int]{add(1, 4, 2), add(2, 3, 1)}, true},
		"the same answer twice":            {[]act[int]{add(1, 4, 1), add(2, 3, 1)}, false},
		"one without an answer was made":   {[]act[int]{add(1, 2, 0), add(3, 4, 2)}, true},
		"one without an answer was lost":   {[]act[int]{add(1, 2, 0), add(3, 4, 1)}, true},
		"one without an answer comes late": {[]act[int]{add(1, 2, 0), add(3, 4, 1), add(5, 6, 3)}, true},
		"one that nobody asked for":        {[]act[int]{add(1, 2, 1), add(3, 4, 3)}, false},
	} {
		if got := linearisable(0, test.acts); got != test.want {
			t.Errorf("%s: got %v", what, got)
		}
	}
}
