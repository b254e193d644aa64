package pbx

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tandem/dialplan"
	"tandem/events"
	"tandem/internal/fakephone"
	"tandem/pbx/mailbox"
)

const voicemailPlan = `
dialplan "acme" { domains = ["acme.example"] }
user "alice" {
  extension = "201"
  timeout   = "1s"
  voicemail = true
}
user "bob" { extension = "202" }
voicemail "own" {
  extension = "*97"
  listen    = true
}
voicemail "sales" {
  extension    = "600"
  pin          = "471147"
  greeting     = "tandem/message"
  max_messages = 1
  otherwise { go = reject.full }
}
reject "full" { status = 603 }
`

// withMailboxes runs a test in an office that keeps messages.
func withMailboxes(t *testing.T, fn func(t *testing.T, o *office, messages *mailbox.Store)) {
	t.Helper()
	live(t, func(t *testing.T, o *office) {
		index := mailbox.NewIndex()
		index.OnChange(o.pbx.MailboxChanged)
		messages, err := mailbox.New(mailbox.Config{
			Index: index, Dir: t.TempDir(), Node: "n1", Measure: o.pbx.cfg.Media.SoundLength, Left: o.pbx.LeftMessage,
			Propose: func(_ context.Context, cmd []byte) (any, error) { return index.Apply(cmd), nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- messages.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			<-done
		})
		o.pbx.cfg.Messages = messages
		o.hurry()
		o.change(voicemailPlan)
		fn(t, o, messages)
	})
}

// hurry makes every prompt of the program so short that nobody waits for it.
func (o *office) hurry() {
	o.t.Helper()
	list, err := os.ReadDir("../rtpengine/prompts/sounds")
	if err != nil || os.Mkdir(filepath.Join(o.prompts, "tandem"), 0o700) != nil {
		o.t.Fatalf("prompts: %v", err)
	}
	short := []byte("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x07\x00\x01\x00\x40\x1f\x00\x00\x40\x1f\x00\x00\x01\x00\x08\x00data\xa0\x00\x00\x00")
	for _, f := range list {
		if err := os.WriteFile(filepath.Join(o.prompts, "tandem", f.Name()), append(short, bytes.Repeat([]byte{0xff}, 160)...), 0o600); err != nil {
			o.t.Fatal(err)
		}
	}
}

// speaksTo leaves a message that lasts a little longer than it must.
func speaksTo(t *testing.T, o *office, p *fakephone.Phone, number string) *fakephone.Call {
	t.Helper()
	mouth := newEarpiece(t)
	stop := make(chan struct{})
	call := p.Call(number, mouth.sdp())
	body := string(call.MustAnswer().Body())
	mouth.talk(t, body, 0x10, stop)
	t.Cleanup(func() { close(stop) })
	pause(firstPause + 200*time.Millisecond)
	press(call, "#") // enough of the greeting
	pause(mailbox.MinLength + 1200*time.Millisecond)
	return call
}

// pause waits for the media, whose sockets and clock are real.
func pause(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
}

func TestAMessageIsLeftAndHeard(t *testing.T) {
	withMailboxes(t, func(t *testing.T, o *office, messages *mailbox.Store) {
		bob := o.phone("bob", rings)
		call := speaksTo(t, o, bob, "alice") // who has no phone at the moment
		call.Bye()
		o.until(func() bool { return o.tally(events.VoicemailLeft) == 1 })
		m := messages.Messages("acme", "alice")
		if len(m) != 1 || m[0].From != "bob" || m[0].Length < mailbox.MinLength || m[0].Length > 6*time.Second {
			t.Fatalf("messages: %+v", m)
		}
		alice := o.phone("alice", rings)
		ear := newEarpiece(t)
		call = alice.Call("*97", ear.sdp())
		stop := make(chan struct{})
		defer close(stop)
		ear.talk(t, string(call.MustAnswer().Body()), 0xff, stop)
		pause(firstPause + 200*time.Millisecond)
		press(call, "1")
		o.until(func() bool { return o.tally(events.VoicemailRead) == 1 }) // behind the words that introduce it
		ear.forget()
		for begin := time.Now(); ear.hears() < 150 && time.Since(begin) < 5*time.Second; {
			pause(100 * time.Millisecond)
		}
		if ear.hears() < 150 {
			t.Errorf("alice hears %d loud samples a packet of a message that is all loud", ear.hears())
		}
		press(call, "7")
		_, heard := messages.Count("acme", "alice")
		expect(t, "heard, and not deleted yet", heard, 1)
		call.Bye()
		for begin := time.Now(); len(messages.Messages("acme", "alice")) > 0; pause(20 * time.Millisecond) {
			if time.Since(begin) > 5*time.Second {
				t.Fatal("the message is still there")
			}
		}
	})
}

func TestAFullMailboxSendsCallersOnAndItsPINIsAskedForElsewhere(t *testing.T) {
	withMailboxes(t, func(t *testing.T, o *office, messages *mailbox.Store) {
		bob := o.phone("bob", rings)
		call := speaksTo(t, o, bob, "600")
		press(call, "#")
		expect(t, "the node ends the call of who has pressed #", call.WaitEnded(time.Minute), true)
		o.until(func() bool { return o.tally(events.VoicemailLeft) == 1 })
		expect(t, "the next caller", bob.Call("600", description("bob")).Final().Status(), 603)
		expect(t, "counted", messages.Stats().RefusedFull, 1)

		call = bob.Call("*97", newEarpiece(t).sdp())
		call.MustAnswer()
		pause(firstPause + 200*time.Millisecond)
		press(call, "600#1234#")
		pause(100 * time.Millisecond)
		expect(t, "refused", o.pbx.Stats().PINsRefused, 1)
		press(call, "600#471147#1")
		o.until(func() bool { return o.tally(events.VoicemailRead) == 1 })
		call.Bye()
		for _, e := range o.events.Recent(1000, func(e events.Event) bool { return e.Kind == events.CallDigit }) {
			if e.Detail["digit"] == "4" {
				t.Errorf("the world is told of the PIN: %+v", e)
			}
		}
	})
}

// Who hangs up without a word leaves nothing.
func TestSilenceIsNoMessage(t *testing.T) {
	withMailboxes(t, func(t *testing.T, o *office, messages *mailbox.Store) {
		bob := o.phone("bob", rings)
		call := bob.Call("600", newEarpiece(t).sdp())
		call.MustAnswer()
		pause(firstPause + 200*time.Millisecond)
		press(call, "#")
		pause(600 * time.Millisecond)
		call.Bye()
		o.awaitRecord()
		for begin := time.Now(); messages.Stats().Short == 0; pause(20 * time.Millisecond) {
			if time.Since(begin) > 5*time.Second {
				t.Fatalf("nothing was dropped: %+v", messages.Stats())
			}
		}
		expect(t, "messages", len(messages.Messages("acme", "sales")), 0)
	})
}

func TestPINsAreNotFoundByTrying(t *testing.T) {
	var p pins
	plan, _ := dialplan.Compile([]dialplan.Source{{Name: "acme.hcl", Text: []byte(voicemailPlan)}})
	box, _ := plan.Mailbox("acme", "600")
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for range pinFailuresMost {
		expect(t, "wrong PIN", p.open("acme", box, "0000", at), false)
	}
	expect(t, "right PIN behind too many wrong ones", p.open("acme", box, "471147", at), false)
	expect(t, "right PIN later", p.open("acme", box, "471147", at.Add(pinFailuresTime+time.Second)), true)
	own, _ := plan.Mailbox("acme", "alice")
	expect(t, "no PIN", p.open("acme", own, "", at), false)
}

func TestTimesAndNumbersInWords(t *testing.T) {
	now := time.Date(2026, 11, 22, 14, 30, 0, 0, time.UTC) // a Sunday
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{now.Add(-time.Hour), "today at 13 30"},
		{now.Add(-14*time.Hour - 25*time.Minute), "today at 0 oh 5"},
		{now.Add(-24 * time.Hour), "yesterday at 14 30"},
		{now.Add(-3 * 24 * time.Hour), "thursday at 14 30"},
		{now.Add(-300*24*time.Hour - 30*time.Minute), "january 20 6 at 14 oclock"},
	} {
		got := ""
		for _, name := range spokenTime(c.at, now) {
			got += " " + name[len("tandem/"):]
		}
		expect(t, c.at.String(), got, " "+c.want)
	}
	expect(t, "a number of the world", len(spokenDigits("+442079460000")), 13)
	expect(t, "a name", len(spokenDigits("alice")), 0)
	expect(t, "many", len(spokenNumber(123)), 3)
}
