package sip

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// bell is a timer that writes down when it rang.
type bell struct {
	timer
	rung *[]time.Time
	fn   func(now time.Time)
}

func (b *bell) expire(now time.Time) {
	*b.rung = append(*b.rung, now)
	if b.fn != nil {
		b.fn(now)
	}
}

func TestTimersRingInOrderWhateverIsArmedMovedAndStopped(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var (
		h     timers
		rung  []time.Time
		start = time.Unix(1000, 0)
		bells = make([]*bell, 300)
		model = make(map[*bell]time.Time)
	)
	for i := range bells {
		bells[i] = &bell{rung: &rung}
		bells[i].owner = bells[i]
	}
	now := start
	for range 20_000 {
		b := bells[random.IntN(len(bells))]
		switch random.IntN(4) {
		case 0, 1:
			at := now.Add(time.Duration(random.IntN(1000)) * time.Millisecond)
			h.arm(&b.timer, at)
			model[b] = at
		case 2:
			h.stop(&b.timer)
			delete(model, b)
		case 3:
			now = now.Add(time.Duration(random.IntN(20)) * time.Millisecond)
			var want []*bell
			for b, at := range model {
				if !at.After(now) {
					want = append(want, b)
				}
			}
			rung = rung[:0]
			h.due(now)
			if len(rung) != len(want) {
				t.Fatalf("%d timers rang, want %d", len(rung), len(want))
			}
			for _, b := range want {
				if b.pos != 0 {
					t.Fatal("a timer that rang is still armed")
				}
				delete(model, b)
			}
		}
		var next time.Time
		for _, at := range model {
			if next.IsZero() || at.Before(next) {
				next = at
			}
		}
		if !h.next().Equal(next) {
			t.Fatalf("the next timer is at %v, want %v", h.next(), next)
		}
	}
}

func TestTimersRingEarliestFirst(t *testing.T) {
	var h timers
	var order []int
	base := time.Unix(0, 0)
	for _, d := range []int{5, 1, 4, 2, 3, 0} {
		b := &bell{rung: new([]time.Time), fn: func(time.Time) { order = append(order, d) }}
		b.owner = b
		h.arm(&b.timer, base.Add(time.Duration(d)*time.Second))
	}
	h.due(base.Add(time.Minute))
	if !slices.Equal(order, []int{0, 1, 2, 3, 4, 5}) {
		t.Errorf("rang in the order %v", order)
	}
}

func TestTimerMayBeArmedAgainWhileItRings(t *testing.T) {
	var h timers
	var rung []time.Time
	base := time.Unix(0, 0)
	b := &bell{rung: &rung}
	b.owner = b
	b.fn = func(now time.Time) {
		if len(rung) < 3 {
			h.arm(&b.timer, now.Add(time.Second))
		}
	}
	h.arm(&b.timer, base)
	for i := range 10 {
		h.due(base.Add(time.Duration(i) * time.Second))
	}
	expect(t, "times", len(rung), 3)
	expect(t, "armed", len(h.heap), 0)
	h.stop(&b.timer)
}
