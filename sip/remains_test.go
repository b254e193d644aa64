package sip

import (
	"testing"
	"time"
)

func TestRemainsGoWhenTheirTimeIsOverAndTheOldestWhenThereIsNoRoom(t *testing.T) {
	a := newAfterlife(time.Second)
	start := time.Unix(1000, 0)
	kept := &remains{last: []byte("200")}
	for key := range uint64(4) {
		a.put(key, kept, start.Add(time.Duration(key)*time.Millisecond), 3)
	}
	if _, ok := a.get(0); ok || a.len() != 3 {
		t.Errorf("the oldest is still there: %v, %d kept", ok, a.len())
	}
	if r, ok := a.get(3); !ok || r != kept {
		t.Errorf("the newest is %v, %v", r, ok)
	}
	if want := start.Add(time.Second + time.Millisecond + afterlifeSlack); !a.next().Equal(want) {
		t.Errorf("wants to be woken at %v, want %v", a.next(), want)
	}
	a.due(start.Add(time.Second + 2*time.Millisecond))
	if _, ok := a.get(3); !ok || a.len() != 1 {
		t.Errorf("behind the end of two %d are kept, want 1", a.len())
	}
	a.due(start.Add(time.Minute))
	if a.len() != 0 || !a.next().IsZero() {
		t.Errorf("%d are kept for ever, next %v", a.len(), a.next())
	}
}

func TestMemoryOfRemainsIsGivenBack(t *testing.T) {
	a := newAfterlife(time.Second)
	start := time.Unix(1000, 0)
	for key := range uint64(10 * shrinkAbove) {
		a.put(key, nil, start, 100*shrinkAbove)
	}
	a.due(start.Add(time.Minute))
	if a.queue != nil || a.head != 0 || a.len() != 0 {
		t.Errorf("a queue of %d and %d entries are left", cap(a.queue), a.len())
	}
}
