package events

import (
	"testing"
	"time"
)

func TestCallThatIsHandedOverHasOneRecord(t *testing.T) {
	old, err := New(Config{Node: "old"})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	old.Publish(Event{Kind: CallStarted, Call: "c1", CallID: "x", From: "alice", To: "201", Time: began})
	old.Publish(Event{Kind: CallRouted, Call: "c1", Reason: "user.bob"})
	old.Publish(Event{Kind: CallAnswered, Call: "c1", To: "bob", Status: 200, Time: began.Add(3 * time.Second)})
	r, ok := old.Release("c1")
	if !ok || r.Answerer != "bob" || len(r.Route) != 1 {
		t.Fatalf("released %v: %+v", ok, r)
	}
	if _, again := old.Release("c1"); again {
		t.Error("released twice")
	}
	next, err := New(Config{Node: "new"})
	if err != nil {
		t.Fatal(err)
	}
	next.Adopt(r)
	next.Adopt(CDR{Call: "c1"}) // a second one changes nothing
	next.Publish(Event{Kind: CallEnded, Call: "c1", Status: 200, Reason: "BYE", Time: began.Add(63 * time.Second)})
	if n := len(old.CDRs(10)); n != 0 || old.Stats().OpenCalls != 0 {
		t.Errorf("the first log has %d records and %d open calls", n, old.Stats().OpenCalls)
	}
	got := next.CDRs(10)
	if len(got) != 1 {
		t.Fatalf("%d records", len(got))
	}
	if c := got[0]; c.Result != ResultAnswered || c.Duration != time.Minute || !c.Started.Equal(began) || c.Route[0] != "user.bob" || c.From != "alice" {
		t.Errorf("record: %+v", c)
	}
}
