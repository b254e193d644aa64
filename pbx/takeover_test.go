package pbx

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"testing"
	"time"

	"tandem/events"
	"tandem/sip"
)

// moveAway hands the calls of an office over as far as a test says, and takes them back.
func moveAway(t *testing.T, o *office, send func([]byte) error) (*Departure, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	o.pbx.Prepare()
	if err := o.srv.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	return o.pbx.Depart(ctx, send)
}

func TestCallsThatNobodyTakesGoOnWithTheirMediaAndOneRecord(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		o.phone("bob", atOnce)
		call := alice.Call("bob", description("alice"))
		call.MustAnswer()
		o.awaitKind(events.CallAnswered)
		if _, err := o.pbx.Record(t.Context(), call.CallID); err != nil {
			t.Fatal(err)
		}
		music := alice.Call("*98", description("alice"))
		music.MustAnswer()
		broken := errors.New("the other process is gone")
		var sent []byte
		d, err := moveAway(t, o, func(b []byte) error { sent = b; return broken })
		expect(t, "error", err, broken)
		expect(t, "calls on their way", d.Calls(), 1)
		expect(t, "music ended", music.WaitEnded(5*time.Second), true)
		s, err := readCall(sent)
		expect(t, "readable", err, nil)
		expect(t, "recorded", s.Recorded, true)
		expect(t, "has media", len(s.Media) > 0, true)
		expect(t, "record", s.CDR.Answerer, "bob")
		expect(t, "open records", o.events.Stats().OpenCalls, 0)
		d.Return()
		if err := o.srv.Thaw(t.Context()); err != nil {
			t.Fatal(err)
		}
		v, ok := o.pbx.Call(call.CallID)
		expect(t, "there", ok && v.State == Answered, true)
		expect(t, "recording again", v.Recording != "", true)
		expect(t, "sessions", o.pbx.cfg.Media.Stats().Sessions, 1)
		expect(t, "hold", call.Reinvite(description("alice")).Status(), 200)
		expect(t, "BYE", call.Bye().Status(), 200)
		o.awaitKind(events.CallEnded)
		records := 0
		for _, r := range o.events.CDRs(10) {
			if r.CallID == call.CallID {
				records++
				expect(t, "recordings", len(r.Recordings), 2)
			}
		}
		expect(t, "records", records, 1)
	})
}

func TestCallWithoutItsMediaIsEndedByWhoTakesIt(t *testing.T) {
	work(t, nil, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		o.phone("bob", atOnce)
		call := alice.Call("bob", description("alice"))
		call.MustAnswer()
		time.Sleep(time.Second)
		var sent []byte
		d, err := moveAway(t, o, func(b []byte) error { sent = b; return nil })
		if err != nil {
			t.Fatal(err)
		}
		s, err := readCall(sent)
		if err != nil {
			t.Fatal(err)
		}
		s.Media = []byte("damaged")
		b, _ := json.Marshal(s)
		other, err := New(Config{Plan: o.pbx.cfg.Plan, Directory: o.pbx.cfg.Directory, Events: o.pbx.cfg.Events})
		if err != nil {
			t.Fatal(err)
		}
		other.Attach(nowhere{o.srv})
		a, err := other.Import(t.Context(), b, FromProcess)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, "lost", a.lost, true)
		_, err = other.Import(t.Context(), []byte(`{"v":1}`), FromProcess)
		expect(t, "nothing", errors.Is(err, ErrSnapshot), true)
		d.Return()
		if err := o.srv.Thaw(t.Context()); err != nil {
			t.Fatal(err)
		}
		call.Bye()
	})
}

// nowhere takes dialogs and has none.
type nowhere struct{ *sip.Server }

func (nowhere) Import(context.Context, sip.Arrival) (*sip.Dialog, error) { return nil, nil }

func FuzzReadCall(f *testing.F) {
	b, err := json.Marshal(callSnapshot{
		Version: 1, ID: "a-1", CallID: "x", Peer: netip.MustParseAddrPort("192.0.2.1:5060"), Answered: time.Unix(1795000000, 0), Dialog: []byte{1}, CDR: events.CDR{Call: "a-1"},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := readCall(b); err == nil && (s.ID == "" || s.CDR.Call != s.ID) {
			t.Errorf("read %+v", s)
		}
	})
}
