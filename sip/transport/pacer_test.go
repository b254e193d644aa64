package transport

import (
	"testing"
	"time"
)

func TestAReaderThatIsLateReadsOn(t *testing.T) {
	var p pacer
	for i, step := range []struct {
		batch int
		want  bool
	}{{32, true}, {32, true}, {32, true}, {32, false}, {32, false}, {31, true}, {32, true}} {
		if got := p.hasTime(step.batch); got != step.want {
			t.Errorf("batch %d, of %d: has time %v, want %v", i, step.batch, got, step.want)
		}
	}
}

func TestAReaderRestsUnderLoadOnly(t *testing.T) {
	for _, tc := range []struct {
		name  string
		batch int
		every time.Duration
		want  time.Duration
	}{
		{"a call now and then", 1, 10 * time.Millisecond, 0},
		{"a busy office", 1, time.Millisecond, 0},
		{"single messages at 10,000/s", 1, 100 * time.Microsecond, restFor},
		{"small batches at 8,000/s", 8, time.Millisecond, restFor},
		{"full batches", 32, time.Millisecond, 0},
	} {
		var p pacer
		now := time.Unix(1, 0)
		var got time.Duration
		for range 200 {
			now = now.Add(tc.every)
			got = p.rest(tc.batch, now)
		}
		if got != tc.want {
			t.Errorf("%s: rests %v, want %v", tc.name, got, tc.want)
		}
		if got := p.rest(1, now.Add(time.Second)); got != 0 {
			t.Errorf("%s: rests %v after a second of silence", tc.name, got)
		}
	}
}
