package events

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

var start = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

func TestAnAnsweredCallBecomesOneRecord(t *testing.T) {
	l := newLog(t, Config{Node: "n1"})
	media := &Media{Caller: Quality{Packets: 500, Lost: 2, Codec: "PCMA"}}
	for _, e := range []Event{
		{Kind: CallStarted, Time: at(0), Call: "c1", Tenant: "acme", From: "1000", To: "1999", Peer: "192.0.2.1:5060"},
		{Kind: CallRouted, Time: at(0), Call: "c1", Reason: "ring.sales"},
		{Kind: CallRouted, Time: at(0), Call: "c1", Reason: "user.1001"},
		{Kind: CallRinging, Time: at(1), Call: "c1", Status: 180},
		{Kind: CallRinging, Time: at(2), Call: "c1", Status: 180},
		{Kind: CallAnswered, Time: at(3), Call: "c1", Status: 200, To: "1001"},
		{Kind: CallAnswered, Time: at(4), Call: "c1", Status: 200, To: "1002"},
		{Kind: RecordingStarted, Time: at(5), Call: "c1", File: "/var/lib/a.wav"},
		{Kind: CallEnded, Time: at(13), Call: "c1", Reason: "caller hung up", Media: media},
		{Kind: RecordingEnded, Time: at(14), Call: "c1", File: "/var/lib/a.wav"},
	} {
		l.Publish(e)
	}
	records := l.CDRs(10)
	if len(records) != 1 {
		t.Fatalf("got %d records, want 1", len(records))
	}
	r := records[0]
	if r.From != "1000" || r.To != "1999" || r.Tenant != "acme" || r.Node != "n1" || r.Peer != "192.0.2.1:5060" || r.Answerer != "1001" {
		t.Errorf("parties: got %+v", r)
	}
	if r.Result != ResultAnswered || r.Status != 200 || r.Reason != "caller hung up" || r.Media != media {
		t.Errorf("outcome: got %+v", r)
	}
	if r.Started != at(0) || r.Ringing != at(1) || r.Answered != at(3) || r.Ended != at(13) || r.Duration != 10*time.Second {
		t.Errorf("times: got %+v", r)
	}
	if want := []string{"ring.sales", "user.1001"}; !slices.Equal(r.Route, want) {
		t.Errorf("route: got %v, want %v", r.Route, want)
	}
	if want := []string{"/var/lib/a.wav"}; !slices.Equal(r.Recordings, want) || l.Stats().Unmatched != 0 {
		t.Errorf("recordings: got %v, want %v, %+v", r.Recordings, want, l.Stats())
	}
}

func TestTheFinalStatusNamesTheResult(t *testing.T) {
	for status, want := range map[int]string{
		487: ResultCancelled, 486: ResultBusy, 600: ResultBusy, 408: ResultNoAnswer, 480: ResultNoAnswer,
		404: ResultNotFound, 604: ResultNotFound, 403: ResultRejected, 488: ResultRejected, 603: ResultRejected,
		500: ResultFailed, 503: ResultFailed, 0: ResultFailed,
	} {
		l := newLog(t, Config{})
		l.Publish(Event{Kind: CallStarted, Call: "c"})
		l.Publish(Event{Kind: CallEnded, Call: "c", Status: status})
		if got := l.CDRs(1)[0].Result; got != want {
			t.Errorf("status %d: got %q, want %q", status, got, want)
		}
	}
}

func TestTheTableOfOpenCallsIsBounded(t *testing.T) {
	l := newLog(t, Config{MaxOpen: 3, CDRs: 100})
	for i := range 10 {
		l.Publish(Event{Kind: CallStarted, Call: fmt.Sprint("c", i)})
	}
	s := l.Stats()
	if s.OpenCalls != 3 || s.Evicted != 7 {
		t.Fatalf("got %d open and %d evicted, want 3 and 7", s.OpenCalls, s.Evicted)
	}
	for i, r := range l.CDRs(100) {
		if want := fmt.Sprint("c", i); r.Call != want || r.Result != ResultUnfinished {
			t.Errorf("record %d: got %s %s, want %s unfinished", i, r.Call, r.Result, want)
		}
	}
	l.Publish(Event{Kind: CallEnded, Call: "c0", Status: 200}) // too late, its record is written
	l.Publish(Event{Kind: CallEnded, Call: "c9", Status: 486})
	if s := l.Stats(); s.Unmatched != 1 || s.CDRs != 8 {
		t.Errorf("got %d unmatched and %d records, want 1 and 8", s.Unmatched, s.CDRs)
	}
}

func TestACallThatNeverEndsIsClosedByItsAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t, Config{MaxAge: time.Hour})
		stop := running(t, l)
		l.Publish(Event{Kind: CallStarted, Call: "old"})
		time.Sleep(30 * time.Minute)
		l.Publish(Event{Kind: CallStarted, Call: "young"})
		time.Sleep(30*time.Minute + 2*time.Second)
		if s := l.Stats(); s.Expired != 1 || s.OpenCalls != 1 {
			t.Errorf("got %d expired and %d open, want 1 and 1", s.Expired, s.OpenCalls)
		}
		if r := l.CDRs(1)[0]; r.Call != "old" || r.Result != ResultUnfinished {
			t.Errorf("got %s %s", r.Call, r.Result)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if r := l.CDRs(1)[0]; r.Call != "young" || r.Reason != "the node stopped" {
			t.Errorf("got %s %s", r.Call, r.Reason)
		}
	})
}

// TestFoldAgreesWithANaiveModel plays random events of few calls and compares the records with a plain retelling.
func TestFoldAgreesWithANaiveModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	l := newLog(t, Config{CDRs: 50, MaxOpen: 6})
	var open []CDR
	var finished []CDR
	index := func(id string) int {
		return slices.IndexFunc(open, func(r CDR) bool { return r.Call == id })
	}
	for i := range 20_000 {
		id := fmt.Sprint("c", rnd.IntN(9))
		now := at(float64(i))
		switch n := index(id); rnd.IntN(4) {
		case 0:
			if n < 0 {
				if len(open) == 6 {
					open[0].Result, open[0].Ended = ResultUnfinished, now
					finished, open = append(finished, open[0]), open[1:]
				}
				open = append(open, CDR{Call: id, Started: now})
			}
			l.Publish(Event{Kind: CallStarted, Call: id, Time: now})
		case 1:
			if n >= 0 && open[n].Ringing.IsZero() {
				open[n].Ringing = now
			}
			l.Publish(Event{Kind: CallRinging, Call: id, Time: now})
		case 2:
			if n >= 0 && open[n].Answered.IsZero() {
				open[n].Answered = now
			}
			l.Publish(Event{Kind: CallAnswered, Call: id, Time: now})
		case 3:
			if n >= 0 {
				r := open[n]
				r.Ended, r.Result = now, ResultFailed
				if !r.Answered.IsZero() {
					r.Result, r.Duration = ResultAnswered, now.Sub(r.Answered)
				}
				finished = append(finished, r)
				open = slices.Delete(open, n, n+1)
			}
			l.Publish(Event{Kind: CallEnded, Call: id, Time: now})
		}
	}
	got, want := l.CDRs(50), finished[len(finished)-50:]
	for i := range want {
		g := got[i]
		g.Reason = ""
		if fmt.Sprintf("%+v", g) != fmt.Sprintf("%+v", want[i]) {
			t.Fatalf("record %d:\ngot  %+v\nwant %+v", i, g, want[i])
		}
	}
	if s := l.Stats(); s.CDRs != uint64(len(finished)) || s.OpenCalls != len(open) {
		t.Errorf("got %d records and %d open, want %d and %d", s.CDRs, s.OpenCalls, len(finished), len(open))
	}
}
