package events

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newLog(t *testing.T, cfg Config) *Log {
	t.Helper()
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// running starts l and returns the function that stops it and reports what Run said. Call it inside a bubble.
func running(t *testing.T, l *Log) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- l.Run(ctx) }()
	return func() error { cancel(); return <-result }
}

func TestRecentReturnsTheNewestInOrderAndTheRingForgetsTheOldest(t *testing.T) {
	l := newLog(t, Config{Node: "n1", Ring: 600})
	for i := range 1000 {
		l.Publish(Event{Kind: RegistrationAdded, AOR: fmt.Sprint("u", i)})
	}
	all := l.Recent(5000, nil)
	if got, want := len(all), 600; got != want {
		t.Fatalf("got %d events, want %d", got, want)
	}
	for i, e := range all {
		if want := uint64(401 + i); e.Seq != want || e.Node != "n1" || e.Time.IsZero() {
			t.Fatalf("event %d: got seq %d node %q time %v, want seq %d", i, e.Seq, e.Node, e.Time, want)
		}
	}
	even := l.Recent(3, func(e Event) bool { return e.Seq%2 == 0 })
	if len(even) != 3 || even[0].Seq != 996 || even[2].Seq != 1000 {
		t.Fatalf("got %v, want 996, 998, 1000", even)
	}
	if got, want := l.Stats().Overwritten, uint64(400); got != want {
		t.Errorf("overwritten: got %d, want %d", got, want)
	}
	if got := l.Recent(0, nil); len(got) != 0 {
		t.Errorf("Recent(0) returned %d events", len(got))
	}
	if got := newLog(t, Config{}).Recent(10, nil); len(got) != 0 {
		t.Errorf("an empty log returned %d events", len(got))
	}
}

func TestASlowSubscriberLosesItsOwnEventsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t, Config{})
		ctx, cancel := context.WithCancel(t.Context())
		slow, quick := l.Subscribe(ctx, 2), l.Subscribe(ctx, 100)
		for range 10 {
			l.Publish(Event{Kind: AuthFailed})
		}
		if got, want := l.Stats().Missed, uint64(8); got != want {
			t.Errorf("missed: got %d, want %d", got, want)
		}
		cancel()
		synctest.Wait()
		count := func(ch <-chan Event) (n int) {
			for e := range ch {
				if n++; e.Seq != uint64(n) {
					t.Errorf("got seq %d, want %d", e.Seq, n)
				}
			}
			return n
		}
		if got := count(slow); got != 2 {
			t.Errorf("slow reader got %d events, want 2", got)
		}
		if got := count(quick); got != 10 {
			t.Errorf("quick reader got %d events, want 10", got)
		}
		l.Publish(Event{Kind: AuthFailed}) // nobody reads any more
		if got := l.Stats().Subscribers; got != 0 {
			t.Errorf("%d subscribers left", got)
		}
	})
}

func TestSubscriptionsEndWithRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t, Config{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ch := l.Subscribe(ctx, 1)
		stop := running(t, l)
		synctest.Wait()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if _, open := <-ch; open {
			t.Error("the stream is still open")
		}
		cancel() // must not close the channel twice
		synctest.Wait()
		l.Publish(Event{Kind: NodeStopped})
		if err := l.Run(t.Context()); err == nil {
			t.Error("a second Run was accepted")
		}
	})
}

func TestManyPublishersKeepOneOrder(t *testing.T) {
	l := newLog(t, Config{Ring: 64, MaxOpen: 100})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ch := l.Subscribe(ctx, 8000)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 500 {
				id := fmt.Sprint(g, "-", i)
				l.Publish(Event{Kind: CallStarted, Call: id})
				l.Publish(Event{Kind: CallEnded, Call: id, Status: 486})
				l.Recent(10, nil)
				l.CDRs(3)
			}
		})
	}
	wg.Wait()
	for want := uint64(1); want <= 4000; want++ {
		if e := <-ch; e.Seq != want {
			t.Fatalf("got seq %d, want %d", e.Seq, want)
		}
	}
	if s := l.Stats(); s.CDRs != 2000 || s.OpenCalls != 0 || s.Missed != 0 {
		t.Errorf("got %+v", s)
	}
}

func TestEventJSONUsesStableNamesAndLeavesOutWhatIsEmpty(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	b, err := json.Marshal(Event{Seq: 7, Time: at, Kind: CallEnded, Call: "c1", Status: 200, Duration: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"seq":7,"time":"2026-11-22T10:00:00Z","kind":"call.ended","call":"c1","status":200,"duration_ns":1000000000}`
	if got := string(b); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	b, err = json.Marshal(CDR{Call: "c1", Result: ResultBusy, Started: at, Ended: at})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "answered") || strings.Contains(string(b), "ringing") {
		t.Errorf("times that never were are in %s", b)
	}
}

func TestNewRefusesNegativeLimits(t *testing.T) {
	if _, err := New(Config{Ring: -1}); err == nil {
		t.Error("a ring of -1 was accepted")
	}
}

func TestPublishDoesNotAllocate(t *testing.T) {
	l := newLog(t, Config{})
	e := Event{Kind: RegistrationAdded, AOR: "sip:a@b", Time: time.Now()}
	if got := testing.AllocsPerRun(1000, func() { l.Publish(e) }); got != 0 {
		t.Errorf("got %v allocations per event, want 0", got)
	}
}

func BenchmarkPublish(b *testing.B) {
	l, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	e := Event{Kind: RegistrationAdded, Tenant: "t", AOR: "sip:alice@example.com"}
	b.ReportAllocs()
	for b.Loop() {
		l.Publish(e)
	}
}

// BenchmarkPublishCall is what one call costs: four events and its record.
func BenchmarkPublishCall(b *testing.B) {
	l, err := New(Config{Dir: b.TempDir(), MaxPending: 4096})
	if err != nil {
		b.Fatal(err)
	}
	defer l.closeFile()
	ids := make([]string, 4096)
	for i := range ids {
		ids[i] = fmt.Sprintf("%08d-call-id@192.0.2.1", i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		id := ids[i%len(ids)]
		l.Publish(Event{Kind: CallStarted, Call: id, Tenant: "t", From: "1000", To: "1001", Peer: "192.0.2.1:5060"})
		l.Publish(Event{Kind: CallRinging, Call: id, Status: 180})
		l.Publish(Event{Kind: CallAnswered, Call: id, Status: 200})
		l.Publish(Event{Kind: CallEnded, Call: id, Reason: "bye"})
	}
}

func BenchmarkPublishParallel(b *testing.B) {
	l, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	e := Event{Kind: RegistrationAdded, Tenant: "t", AOR: "sip:alice@example.com"}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Publish(e)
		}
	})
}
