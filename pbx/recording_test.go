package pbx

import (
	"errors"
	"os"
	"strings"
	"testing"

	"tandem/events"
	"tandem/rtpengine"
)

const recordedPlan = `
dialplan "acme" {
  format  = 1
  domains = ["acme.example"]
}
user "alice" { extension = "201" }
user "bob"   { extension = "202" }
user "carol" {
  extension = "203"
  record    = true
}
ring "sales" {
  extension = "300"
  members   = [user.bob]
  record    = true
}
echo "test" { extension = "*43" }
`

// recordings are the files of all recordings that began, in order.
func (o *office) recordings(kind events.Kind) (files []string) {
	for _, e := range o.events.Recent(1000, func(e events.Event) bool { return e.Kind == kind }) {
		files = append(files, e.File)
	}
	return files
}

func (o *office) count(kind events.Kind) int { return len(o.recordings(kind)) }

// until looks after each event whether something has come true.
func (o *office) until(done func() bool) {
	o.t.Helper()
	more := o.events.Subscribe(o.t.Context(), 64)
	for !done() {
		if _, ok := <-more; !ok {
			o.t.Fatal("never")
		}
	}
}

func TestCallIsRecordedWhenThePlanWantsIt(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(recordedPlan)
		alice, carol := o.phone("alice", atOnce), o.phone("carol", atOnce)
		o.phone("bob", atOnce)
		for i, c := range []struct {
			name   string
			call   func() func()
			record bool
		}{
			{"to bob", func() func() { c := alice.Call("bob", description("alice")); c.MustAnswer(); return func() { c.Bye() } }, false},
			{"to carol", func() func() {
				c := alice.Call("carol", description("alice"))
				c.MustAnswer()
				return func() { c.Bye() }
			}, true},
			{"from carol", func() func() { c := carol.Call("bob", description("carol")); c.MustAnswer(); return func() { c.Bye() } }, true},
			{"from carol to an echo", func() func() { c := carol.Call("*43", description("carol")); c.MustAnswer(); return func() { c.Bye() } }, true},
			{"to sales", func() func() { c := alice.Call("300", description("alice")); c.MustAnswer(); return func() { c.Bye() } }, true},
		} {
			before := len(o.recordings(events.RecordingStarted))
			hangUp := c.call()
			o.until(func() bool { return o.count(events.CallAnswered) > i })
			hangUp()
			o.until(func() bool { return len(o.events.CDRs(100)) > i })
			started := o.recordings(events.RecordingStarted)[before:]
			cdr := o.events.CDRs(1)[0]
			if got := len(started) == 1 && len(cdr.Recordings) == 1 && cdr.Recordings[0] == started[0]; got != c.record || len(started) > 1 {
				t.Errorf("%s: started %v, record %v", c.name, started, cdr.Recordings)
			}
		}
		o.until(func() bool { return o.count(events.RecordingEnded) == 4 })
		for _, file := range o.recordings(events.RecordingEnded) {
			if b, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(b), "RIFF") {
				t.Errorf("%s: %v", file, err)
			}
		}
	})
}

func TestOperatorStartsAndStopsARecording(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		alice := o.phone("alice", atOnce)
		o.phone("bob", rings)
		ringing := alice.Call("bob", description("alice"))
		ringing.AwaitStatus(180)
		if _, err := o.pbx.Record(t.Context(), ringing.CallID); !errors.Is(err, ErrNotAnswered) {
			t.Errorf("while it rings: %v", err)
		}
		ringing.Cancel()
		if _, err := o.pbx.Record(t.Context(), "nothing"); !errors.Is(err, ErrNoCall) || !errors.Is(o.pbx.StopRecording("nothing"), ErrNoCall) {
			t.Errorf("no call: %v", err)
		}
		call := alice.Call("*43", description("alice"))
		call.MustAnswer()
		o.awaitKind(events.CallAnswered)
		if err := o.pbx.StopRecording(call.CallID); !errors.Is(err, ErrNotRecording) {
			t.Errorf("before it began: %v", err)
		}
		file, err := o.pbx.Record(t.Context(), call.CallID)
		if err != nil {
			t.Fatal(err)
		}
		v, _ := o.pbx.Call(call.CallID)
		expect(t, "recording", v.Recording, file)
		if _, err := o.pbx.Record(t.Context(), call.CallID); !errors.Is(err, rtpengine.ErrRecording) {
			t.Errorf("twice: %v", err)
		}
		if err := o.pbx.StopRecording(call.CallID); err != nil {
			t.Error(err)
		}
		o.awaitKind(events.RecordingEnded)
		v, _ = o.pbx.Call(call.CallID)
		expect(t, "recording when it is over", v.Recording, "")
		call.Bye()
	})
}
