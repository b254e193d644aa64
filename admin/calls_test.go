package admin

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tandem/events"
)

func TestACallIsListedTracedAndHungUp(t *testing.T) {
	n := newNode(t)
	call, id := n.anAnsweredCall(t)
	ctx := t.Context()
	v, err := n.unix.Call(ctx, id)
	if err != nil || v.From != "alice" || v.To != "bob" || v.Answerer != "bob" {
		t.Fatalf("call: %+v, %v", v, err)
	}
	if byCallID, err := n.unix.Call(ctx, v.CallID); err != nil || byCallID.ID != id {
		t.Errorf("by Call-ID: %+v, %v", byCallID, err)
	}
	if l, err := n.unix.Conferences(ctx); err != nil || len(l.Items) != 0 {
		t.Errorf("conferences: %+v, %v", l, err)
	}
	for _, do := range []func(context.Context, string) error{n.unix.Mute, n.unix.Unmute, n.unix.Kick} { // it is in no conference
		if err := do(ctx, id); status(err) != 409 {
			t.Errorf("a call outside of a conference: %v, want 409", err)
		}
	}
	if err := n.unix.Hangup(ctx, id); err != nil {
		t.Fatal(err)
	}
	if !call.WaitEnded(10 * time.Second) {
		t.Error("the caller was not told")
	}
	until(t, "the call is over", func() bool { return n.PBX.Stats().Calls == 0 })
	cdrs, err := n.unix.CDRs(ctx, 10)
	if err != nil || len(cdrs.Items) != 1 || cdrs.Items[0].Call != id || cdrs.Items[0].Result != "answered" {
		t.Fatalf("records: %+v, %v", cdrs, err)
	}
	for _, name := range []string{id, v.CallID} { // after its end: by its record, and by Call-ID
		tr, err := n.unix.Trace(ctx, name)
		if err != nil || tr.CallID != v.CallID {
			t.Fatalf("trace of %s: %+v, %v", name, tr, err)
		}
		if tr.CDR == nil && name == id {
			t.Error("the trace of a finished call has no record")
		}
		text := ""
		for _, m := range tr.Messages {
			text += m.Text
		}
		if !strings.HasPrefix(text, "INVITE sip:bob@acme.example SIP/2.0\r\n") || !strings.Contains(text, "BYE ") {
			t.Errorf("trace: %s", text)
		}
		if strings.Contains(text, `response="`) && !strings.Contains(text, `response="***"`) {
			t.Error("a digest response is shown")
		}
	}
	if _, err := n.unix.Call(ctx, id); status(err) != 404 {
		t.Errorf("a call that is over: %v, want 404", err)
	}
	list, err := n.unix.Messages(ctx, "bob", time.Time{}, 100)
	if err != nil || len(list.Items) == 0 {
		t.Errorf("messages: %d, %v", len(list.Items), err)
	}
	if list, err = n.unix.Messages(ctx, "bob", time.Now().Add(time.Hour), 100); err != nil || len(list.Items) != 0 {
		t.Errorf("messages of the future: %d, %v", len(list.Items), err)
	}
}

func TestCallsOfThePastAreSentThroughAnotherPlan(t *testing.T) {
	n := newNode(t)
	call, id := n.anAnsweredCall(t)
	call.Bye()
	until(t, "the call is over", func() bool { return n.PBX.Stats().Calls == 0 })
	ask := func(text string) PlanReplayed {
		t.Helper()
		r, err := n.unix.ReplayCalls(t.Context(), PlanReplay{PlanComparison: PlanComparison{Files: []File{{Name: "acme.dialplan.hcl", Text: text}}}, Days: 1})
		if err != nil || r.Calls != 1 {
			t.Fatalf("replayed: %+v, %v", r, err)
		}
		return r
	}
	if r := ask(testPlan + "\necho \"more\" { extension = \"*44\" }\n"); r.Elsewhere != 0 || len(r.Moved) != 0 {
		t.Errorf("a plan that adds a number moves %+v", r)
	}
	r := ask(strings.Replace(testPlan, "user \"bob\"", "echo \"other\" { extension = \"bob\" }\nuser \"robert\"", 1))
	if r.Elsewhere != 1 || len(r.Moved) != 1 || r.Moved[0].Last.Call != id || fmt.Sprint(r.Moved[0].Was, r.Moved[0].Is) != "[user.bob] [echo.other]" {
		t.Errorf("a plan that takes bob away: %+v", r)
	}
	if r, err := n.unix.ReplayCalls(t.Context(), PlanReplay{PlanComparison: PlanComparison{Version: 1}}); err != nil || r.Calls != 0 {
		t.Errorf("no days: %+v, %v", r, err)
	}
	for name, q := range map[string]PlanComparison{"none": {}, "two": {Version: 1, Files: []File{{Name: "a", Text: ""}}}, "mistakes": {Files: []File{{Name: "a", Text: "user {"}}}} {
		if _, err := n.unix.DiffPlans(t.Context(), q); status(err) != 422 {
			t.Errorf("%s: %v, want 422", name, err)
		}
	}
	for _, q := range []PlanComparison{{Version: 7}, {Before: 7, Version: 1}} {
		if _, err := n.unix.DiffPlans(t.Context(), q); status(err) != 404 {
			t.Errorf("%+v: %v, want 404", q, err)
		}
	}
}

func TestRegistrationsAreListedAndRemoved(t *testing.T) {
	n := newNode(t)
	n.plan(t)
	n.phone(t, "alice", "192.0.2.10")
	ctx := t.Context()
	for _, aor := range []string{"", "alice", "alice@acme", "sip:alice@acme.example"} {
		l, err := n.unix.Registrations(ctx, aor, 0)
		if err != nil || len(l.Items) != 1 || l.Items[0].User != "alice" || l.Items[0].Transport != "udp" || !strings.HasPrefix(l.Items[0].Remote, "192.0.2.10:") {
			t.Errorf("registrations of %q: %+v, %v", aor, l, err)
		}
	}
	if err := n.unix.RemoveRegistration(ctx, "alice@acme.example", "sip:other@192.0.2.9"); status(err) != 404 {
		t.Errorf("another contact: %v, want 404", err)
	}
	if err := n.unix.RemoveRegistration(ctx, "alice@acme.example", ""); err != nil {
		t.Error(err)
	}
	if l, err := n.unix.Registrations(ctx, "alice", 0); err != nil || len(l.Items) != 0 {
		t.Errorf("after removal: %+v, %v", l, err)
	}
}

func TestAnAccountThatIsShutOutLosesItsPhones(t *testing.T) {
	n := newNode(t)
	n.plan(t)
	n.phone(t, "alice", "192.0.2.10")
	off := true
	if _, err := n.unix.SetAccount(t.Context(), "acme", "alice", AccountChange{Disabled: &off}); err != nil {
		t.Fatal(err)
	}
	if l, err := n.unix.Registrations(t.Context(), "alice@acme", 0); err != nil || len(l.Items) != 0 {
		t.Errorf("registrations: %+v, %v", l, err)
	}
}

func TestABanIsListedAndLifted(t *testing.T) {
	n := newNode(t)
	for source, listed := range map[string]string{"203.0.113.7": "203.0.113.7", "2001:db8:1:2::7": "2001:db8:1:2::/64"} {
		n.Guard.Ban(netip.MustParseAddr(source), time.Minute, "guessing passwords")
		l, err := n.unix.Bans(t.Context())
		if err != nil || len(l.Items) != 1 || l.Items[0].Source != listed || l.Items[0].Reason != "guessing passwords" {
			t.Fatalf("bans: %+v, %v", l, err)
		}
		if err := n.unix.RemoveBan(t.Context(), l.Items[0].Source); err != nil {
			t.Error(err)
		}
		if l, _ := n.unix.Bans(t.Context()); len(l.Items) != 0 {
			t.Errorf("after lifting: %+v", l)
		}
	}
}

// A Call-ID is a word of RFC 3261 §25.1: it may hold nearly anything.
func TestAStrangeCallIDFindsItsWay(t *testing.T) {
	n := newNode(t)
	for _, id := range []string{"a/b", "a%2Fb", "x@192.0.2.1", "a?b#c", "a//b", `{"<>"}`} {
		_, err := n.unix.Call(t.Context(), id)
		if status(err) != 404 || !strings.Contains(err.Error(), "no call "+id+" now") {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func FuzzHeader(f *testing.F) {
	f.Add("INVITE sip:a@b SIP/2.0\r\ni: x\r\n\r\n")
	f.Add("SIP/2.0 200 OK\r\nCall-ID : y \r\n\r\nCall-ID: z")
	f.Fuzz(func(t *testing.T, text string) {
		if got := header(text, "Call-ID", "i"); !strings.Contains(text, got) || strings.Contains(got, "\r\n") {
			t.Errorf("%q", got)
		}
		concerns(text, "a")
	})
}

// subscribed waits until somebody follows the events.
func (n *node) subscribed(t *testing.T, readers int) {
	t.Helper()
	until(t, "there is a reader", func() bool { return n.Events.Stats().Subscribers == readers })
}

func TestEventsAreFollowedByKind(t *testing.T) {
	n := newNode(t)
	got := make(chan events.Event, 8)
	ended := make(chan error, 1)
	go func() {
		ended <- n.unix.Follow(t.Context(), []string{"call.", "node.draining"}, func(e events.Event, _ int) bool {
			got <- e
			return e.Kind != "node.draining"
		})
	}()
	n.subscribed(t, 1)
	for _, kind := range []events.Kind{"call.started", "registration.added", "call.ended", "node.draining"} {
		n.Events.Publish(events.Event{Kind: kind, From: "alice"})
	}
	for _, want := range []events.Kind{"call.started", "call.ended", "node.draining"} {
		if e := <-got; e.Kind != want || e.From != "alice" {
			t.Errorf("got %+v, want %s", e, want)
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	n.subscribed(t, 0)
}

func TestAReaderGoesOnWhereItStopped(t *testing.T) {
	n := newNode(t)
	for i := range 3 {
		n.Events.Publish(events.Event{Kind: "call.started", Call: fmt.Sprint(i)})
	}
	seen := n.Events.Recent(3, nil)
	text := n.stream(t, "?kind=call", withHeader("Last-Event-ID", fmt.Sprint(seen[0].Seq)), `"call":"2"`)
	if strings.Contains(text, `"call":"0"`) || !strings.Contains(text, `"call":"1"`) {
		t.Errorf("resumed with %s", text)
	}
	text = n.stream(t, "", withHeader("Last-Event-ID", "999999"), "retry:") // from before a restart
	if !strings.Contains(text, "retry: 2000") {
		t.Errorf("got %s", text)
	}
}

func TestAStreamShowsSignsOfLife(t *testing.T) {
	n := newNode(t, func(c *Config) { c.Heartbeat = time.Millisecond })
	n.stream(t, "", nil, "\n: \n")
}

func TestAStreamSaysWhatItsReaderLost(t *testing.T) {
	var got []string
	w := recorder{write: func(b string) { got = append(got, b) }}
	st := &stream{w: w, control: newController(w), match: kinds("")}
	st.event(events.Event{Seq: 4, Kind: "a"})
	st.event(events.Event{Seq: 4, Kind: "a"})
	st.event(events.Event{Seq: 9, Kind: "b"})
	all := strings.Join(got, "")
	if strings.Count(all, "id: 4\n") != 1 || !strings.Contains(all, "event: gap\ndata: {\"lost\":4}\n\nid: 9\n") {
		t.Errorf("got %s", all)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	n := newNode(t, func(c *Config) { c.Streams = 1 })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.unix.Follow(ctx, nil, func(events.Event, int) bool { return true }) }()
	n.subscribed(t, 1)
	err := n.unix.Follow(t.Context(), nil, func(events.Event, int) bool { return true })
	if status(err) != 503 {
		t.Errorf("second stream: %v, want 503", err)
	}
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Errorf("first stream: %v", err)
	}
}

func TestANodeThatStopsEndsItsStreams(t *testing.T) {
	n := newNode(t)
	ended := make(chan error, 1)
	go func() {
		ended <- n.unix.Follow(context.Background(), nil, func(events.Event, int) bool { return true })
	}()
	n.subscribed(t, 1)
	n.stop()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "the node ended the event stream") {
		t.Errorf("got %v, want an end in order", err)
	}
}

func TestACallIsRecordedByTheAPIOrSaysWhyNot(t *testing.T) {
	n := newNode(t)
	_, id := n.anAnsweredCall(t) // whose media do not pass the node
	for call, want := range map[string]int{"nothing": 404, id: 409} {
		if _, err := n.unix.Record(t.Context(), call); status(err) != want {
			t.Errorf("record %s: %v, want %d", call, err, want)
		}
		if err := n.unix.StopRecording(t.Context(), call); status(err) != want {
			t.Errorf("stop %s: %v, want %d", call, err, want)
		}
	}
}
