package pbx

import (
	"strings"
	"testing"
	"time"

	"tandem/events"
	"tandem/internal/fakephone"
	"tandem/rtpengine"
)

func TestDigitsOfINFOAreReadAsPhonesWriteThem(t *testing.T) {
	for _, c := range []struct {
		kind, body string
		key        byte
		held       time.Duration
	}{
		{"application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", '5', 160 * time.Millisecond},
		{"application/dtmf-relay", "signal= *\nduration= 250", '*', 250 * time.Millisecond},
		{"application/dtmf-relay", "Signal=11", '#', 0},
		{"application/dtmf-relay", "Signal=hf\r\n", '!', 0},
		{"application/dtmf-relay", "Signal=b\r\nDuration=x", 'B', 0},
		{"application/dtmf", "7", '7', 0},
		{"application/dtmf", " #\r\n", '#', 0},
		{"application/dtmf", "13", 'B', 0},
		{"application/dtmf-relay", "Duration=100", 0, 0},
		{"application/dtmf-relay", "Signal=55", 0, 0},
		{"text/plain", "5", 0, 0},
		{"application/dtmf", "", 0, 0},
	} {
		if key, held, ok := digitOf(c.kind, c.body); ok != (c.key != 0) || ok && (key != c.key || held != c.held) {
			t.Errorf("%s %q: %c for %v, %v", c.kind, c.body, key, held, ok)
		}
	}
}

func FuzzDigitOfINFO(f *testing.F) {
	f.Add("Signal=5\r\nDuration=160\r\n")
	f.Add("16")
	f.Fuzz(func(t *testing.T, body string) {
		for _, kind := range []string{"application/dtmf-relay", "application/dtmf"} {
			if key, held, ok := digitOf(kind, body); ok {
				if _, known := rtpengine.ParseDigit(key); !known || held < 0 {
					t.Errorf("%q: %q for %v", body, key, held)
				}
			}
		}
	})
}

func TestDigitsPressedInACallOfTheNodeAreTold(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		call := alice.Call("*98", description("alice"))
		call.MustAnswer()
		expect(t, "digit", call.Request("INFO", "Signal=#\r\nDuration=200\r\n", "Content-Type: application/dtmf-relay").Final().Status(), 200)
		expect(t, "nothing", call.Request("INFO", "").Final().Status(), 200)
		m := call.Request("INFO", "<x/>", "Content-Type: application/weather+xml").Final()
		expect(t, "something else", m.Status(), 415)
		expect(t, "what is taken", m.Header("Accept"), "application/dtmf-relay, application/dtmf, application/media_control+xml")
		expect(t, "a package", call.Request("INFO", "x", "Info-Package: weather", "Content-Type: text/plain").Final().Status(), 469)
		o.awaitKind(events.CallDigit)
		told := o.events.Recent(1, func(e events.Event) bool { return e.Kind == events.CallDigit })[0]
		expect(t, "digit in the event", told.Detail["digit"]+" "+told.Detail["via"], "# info")
		expect(t, "held", told.Duration, 200*time.Millisecond)
		expect(t, "counted", o.pbx.Stats().InfoDigits, 1)
		call.Bye()
	})
}

// An INFO between phones is theirs. Where the other does not know it, the digit goes in the media instead.
func TestINFOTheOtherPhoneDoesNotKnowBecomesADigitInTheMedia(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		alice, bob := o.phone("alice", rings), o.phone("bob", atOnce)
		status := 200
		bob.OnRequest(func(m *fakephone.Message) bool {
			if m.Method() == "INFO" {
				bob.Reply(m, status)
			}
			return m.Method() == "INFO"
		})
		call := alice.Call("bob", description("alice"))
		call.MustAnswer()
		press := func(body string) int {
			return call.Request("INFO", body, "Content-Type: application/dtmf-relay").Final().Status()
		}
		expect(t, "known", press("Signal=1"), 200)
		expect(t, "converted", o.pbx.Stats().InfoConverted, 0)
		status = 415
		expect(t, "not known", press("Signal=2"), 200)
		expect(t, "converted", o.pbx.Stats().InfoConverted, 1)
		expect(t, "no digit", press("Signal=nothing"), 415)
		status = 481
		expect(t, "the dialog is gone", press("Signal=3"), 481)
		expect(t, "INFOs that bob got", len(bob.Requests("INFO")), 4)
		call.Bye()
	})
}

func TestOperatorDialsIntoACall(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		o.phone("bob", atOnce)
		call := alice.Call("bob", description("alice"))
		call.MustAnswer()
		o.awaitKind(events.CallAnswered)
		for digits, want := range map[string]error{"123#": nil, "12x": rtpengine.ErrDigits, "": rtpengine.ErrDigits, strings.Repeat("1", 65): rtpengine.ErrDigits} {
			if err := o.pbx.SendDigits(call.CallID, digits, false); err != want {
				t.Errorf("%q: %v, want %v", digits, err, want)
			}
		}
		expect(t, "no call", o.pbx.SendDigits("nothing", "1", false), ErrNoCall)
		call.Bye()
		music := alice.Call("*98", description("alice"))
		music.MustAnswer()
		expect(t, "music", o.pbx.SendDigits(music.CallID, "1", false), nil)
		music.Bye()
	})
}
