package pbx

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tandem/events"
	"tandem/internal/fakephone"
	"tandem/internal/simnet"
	"tandem/rtpengine"
)

const featurePlan = officePlan + `
echo "test" { extension = "*43" }
music "hold" { extension = "*98" }
music "busy" {
  extension = "*99"
  play      = "tone:busy"
  timeout   = "1s"
}
`

// live runs a test in an office with a media engine on the machine's loopback. Real sockets have no fake time, so what a test
// waits for are messages and events.
func live(t *testing.T, fn func(t *testing.T, o *office)) {
	t.Helper()
	prompts := t.TempDir()
	e, err := rtpengine.New(rtpengine.Config{
		Prompts: prompts,
		Bind:    []netip.Addr{netip.MustParseAddr("127.0.0.1")}, PortMin: 19000, PortMax: 19999, Shards: 1, Transcode: rtpengine.TranscodeConfig{Off: true}, Recording: rtpengine.RecordingConfig{Dir: t.TempDir()},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run of the media engine: %v", err)
		}
	})
	o := openOffice(t, func(c *Config) { c.Media = e })
	o.prompts = prompts
	o.change(featurePlan)
	fn(t, o)
}

// awaitKind waits for an event of a call.
func (o *office) awaitKind(kind events.Kind) {
	o.t.Helper()
	more := o.events.Subscribe(o.t.Context(), 64)
	for len(o.events.Recent(1, func(e events.Event) bool { return e.Kind == kind })) == 0 {
		if _, ok := <-more; !ok {
			o.t.Fatalf("no event %s", kind)
		}
	}
}

// awaitRecord waits for the end of a call.
func (o *office) awaitRecord() events.CDR {
	o.t.Helper()
	ended := o.events.Subscribe(o.t.Context(), 64)
	for {
		if list := o.events.CDRs(1); len(list) > 0 {
			return list[0]
		}
		if _, ok := <-ended; !ok {
			o.t.Fatal("no call has ended")
		}
	}
}

func TestEchoAndMusicAreAnsweredByTheNode(t *testing.T) {
	for _, number := range []string{"*43", "*98"} {
		t.Run(number, func(t *testing.T) {
			live(t, func(t *testing.T, o *office) {
				alice := o.phone("alice", rings)
				call := alice.Call(number, description("alice"))
				ok := call.MustAnswer()
				if !strings.Contains(ok.Body(), "m=audio 19") || !strings.Contains(ok.Body(), "c=IN IP4 127.0.0.1") {
					t.Errorf("description: %s", ok.Body())
				}
				o.awaitKind(events.CallAnswered)
				v, _ := o.pbx.Call(call.CallID)
				expect(t, "bridged", v.Bridged, true)
				expect(t, "state", v.State, Answered)
				expect(t, "re-INVITE", call.Reinvite(description("alice")).Status(), 200)
				expect(t, "BYE", call.Bye().Status(), 200)
				expect(t, "result", o.awaitRecord().Reason, "BYE")
				expect(t, "calls", o.pbx.Stats().Calls, 0)
			})
		})
	}
}

// An echo decodes nothing, so whatever the phone speaks comes back, its picture too.
func TestEchoTakesEveryCodecAndVideo(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		offer := strings.Replace(description("alice"), "RTP/AVP 0", "RTP/AVP 107", 1) + "a=rtpmap:107 speex/16000\r\nm=video 4004 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n"
		body := alice.Call("*43", offer).MustAnswer().Body()
		for _, want := range []string{"RTP/AVP 107", "a=rtpmap:96 VP8/90000"} {
			if !strings.Contains(body, want) || strings.Contains(body, "m=video 0") {
				t.Errorf("there is no %s in\n%s", want, body)
			}
		}
	})
}

func TestToneEndsWithItsTime(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		begin := time.Now()
		call := alice.Call("*99", description("alice"))
		call.MustAnswer()
		expect(t, "ended", call.WaitEnded(time.Minute), true)
		expect(t, "after", time.Since(begin).Round(time.Second), time.Second)
	})
}

func TestOperatorEndsALegOfTheNode(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		call := alice.Call("*43", description("alice"))
		call.MustAnswer()
		o.pbx.Hangup(call.CallID, "maintenance")
		expect(t, "ended", call.WaitEnded(time.Minute), true)
		expect(t, "reason in the record", o.awaitRecord().Reason, "maintenance")
	})
}

func TestOfferTheNodeCannotTakeIsRefusedWithAReason(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		offer := strings.Replace(description("alice"), "RTP/AVP", "UDP/TLS/RTP/SAVPF", 1)
		for _, number := range []string{"*43", "bob"} {
			if number == "bob" {
				o.phone("bob", atOnce)
			}
			m := alice.Call(number, offer).Final()
			expect(t, number, m.Status(), 488)
			expect(t, number+" has a Warning", m.Has("Warning"), true)
		}
		expect(t, "calls", o.pbx.Stats().Calls, 0)
	})
}

// A caller who insists on encryption gets no call that is readable behind the node.
func TestPlainAnswerToAnEncryptedOfferMakesNoCall(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		bob := o.phone("bob", atOnce)
		offer := strings.Replace(description("alice"), "RTP/AVP", "RTP/SAVP", 1) +
			"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw\r\n"
		m := alice.Call("bob", offer).Final()
		expect(t, "INVITE", m.Status(), 488)
		if !strings.Contains(m.Header("Warning"), "where media encryption was asked for") {
			t.Errorf("Warning: %s", m.Header("Warning"))
		}
		if body := bob.Requests("INVITE")[0].Body(); !strings.Contains(body, " RTP/SAVP 0\r\n") || strings.Contains(body, "MTIzNDU2") {
			t.Errorf("bob was offered %s", body)
		}
		expect(t, "ended at bob", bob.Calls()[0].WaitEnded(time.Minute), true)
		expect(t, "calls", o.pbx.Stats().Calls, 0)
		m = alice.Call("*43", offer).Final()
		expect(t, "echo", m.Status(), 200)
		expect(t, "keys of the node", strings.Contains(m.Body(), "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"), true)
	})
}

func TestUnusableAnswerToAnOfferOfTheNodeEndsTheCall(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		o.net.SetLink(simnet.Link{Delay: time.Millisecond}) // the ACK is settled before the answer is there
		call := alice.Call("*43", "")
		call.SetACK("this is no description\r\n", false)
		call.MustAnswer()
		expect(t, "ended", call.WaitEnded(time.Minute), true)
		expect(t, "reason", alice.Requests("BYE")[0].Header("Reason"), `SIP;cause=200;text="session description refused"`)
	})
}

func TestMediaOfRelayedCallsIsAnchored(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		bob := o.phone("bob", atOnce)
		call := alice.Call("bob", description("alice"))
		ok := call.MustAnswer()
		for who, body := range map[string]string{"bob": bob.Requests("INVITE")[0].Body(), "alice": ok.Body()} {
			if !strings.Contains(body, "m=audio 19") || strings.Contains(body, "198.51.100.99") {
				t.Errorf("%s is told %s", who, body)
			}
		}
		call.Bye()
		if o.awaitRecord().Media == nil {
			t.Error("the record says nothing about the media")
		}
		o.net.SetLink(simnet.Link{Delay: time.Millisecond}) // the ACK is settled before the answer is there
		late := alice.Call("bob", "")
		late.SetACK(description("alice"), false)
		late.MustAnswer()
		ack := bob.Await("ACK", func(m *fakephone.Message) bool { return m.Method() == "ACK" && m.CallID() == late.CallID })
		if !strings.Contains(ack.Body(), "m=audio 19") {
			t.Errorf("bob's ACK says %s", ack.Body())
		}
		late.Bye()
	})
}

func TestCallOfAPhoneThatVanishedIsEnded(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		bob := o.phone("bob", atOnce)
		call := alice.Call("bob", description("alice"))
		call.MustAnswer()
		o.awaitKind(events.CallAnswered)
		o.pbx.find(call.CallID).media.silence(rtpengine.B, 61*time.Second)
		expect(t, "ended on the caller's side", call.WaitEnded(time.Minute), true)
		expect(t, "ended on the callee's side", bob.Calls()[0].WaitEnded(time.Minute), true)
		expect(t, "reason", o.awaitRecord().Reason, "no media from the callee for 1m1s")
		expect(t, "silent", o.pbx.Stats().Silent, 1)
	})
}

func TestRefusedHoldKeepsTheMediaOfBefore(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		bob := o.phone("bob", atOnce)
		call := alice.Call("bob", description("alice"))
		call.MustAnswer()
		bob.OnRequest(func(m *fakephone.Message) bool {
			if m.Method() == "INVITE" {
				bob.Reply(m, 488)
			}
			return m.Method() == "INVITE"
		})
		expect(t, "re-INVITE that bob refuses", call.Reinvite(description("alice")).Status(), 488)
		broken := strings.Replace(description("alice"), "RTP/AVP", "UDP/TLS/RTP/SAVPF", 1)
		expect(t, "re-INVITE that the engine refuses", call.Reinvite(broken).Status(), 488)
		bob.OnRequest(nil)
		expect(t, "re-INVITE", call.Reinvite(description("alice")).Status(), 200)
		expect(t, "BYE", call.Bye().Status(), 200)
	})
}
