package pbx

import (
	"strings"
	"testing"
	"time"

	"tandem/internal/fakephone"
	"tandem/internal/simnet"
)

// describes is a phone's description with audio under numbers of its own.
func describes(formats string, lines ...string) string {
	return strings.Replace(description("phone"), "RTP/AVP 0\r\n", "RTP/AVP "+formats+"\r\n"+strings.Join(append(lines, ""), "\r\n"), 1)
}

func wants(t *testing.T, who, body string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(body, part) {
			t.Errorf("%s: no %q in\n%s", who, part, body)
		}
	}
	if strings.Contains(body, "198.51.100.99") {
		t.Errorf("%s sees the other phone's address in\n%s", who, body)
	}
}

// An INVITE without an offer: the callee's 200 carries it, the caller's ACK the answer, and each sees the other's codecs under its own numbers.
// The same in the middle of the call, from either side.
func TestLateOfferGoesTheWholeWay(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		bob := o.phone("bob", func(c *fakephone.Call) {
			c.Answer(describes("96 0 101", "a=rtpmap:96 opus/48000/2", "a=rtpmap:101 telephone-event/8000"))
		})
		o.net.SetLink(simnet.Link{Delay: time.Millisecond}) // the ACK is settled before the answer is there
		call := alice.Call("bob", "")
		call.SetACK(describes("111 97", "a=rtpmap:111 opus/48000/2", "a=rtpmap:97 telephone-event/8000"), false)
		ok := call.MustAnswer()
		wants(t, "offer in the 200", ok.Body(), "m=audio 19", " RTP/AVP 96 0 101\r\n", "a=rtpmap:96 opus/48000/2")
		expect(t, "body of the INVITE", bob.Requests("INVITE")[0].Body(), "")
		ack := bob.Await("ACK", func(m *fakephone.Message) bool { return m.Method() == "ACK" })
		wants(t, "answer in the ACK", ack.Body(), "m=audio 19", " RTP/AVP 96 101\r\n", "a=rtpmap:96 opus/48000/2", "a=rtpmap:101 telephone-event/8000")

		bob.OnRequest(func(m *fakephone.Message) bool {
			if m.Method() != "INVITE" {
				return false
			}
			c := bob.Calls()[0]
			c.Invite = m
			if m.Body() == "" {
				c.Respond(200, describes("96 0 101", "a=rtpmap:96 opus/48000/2", "a=rtpmap:101 telephone-event/8000"))
			} else {
				c.Respond(200, describes("96", "a=rtpmap:96 opus/48000/2", "a=recvonly"))
			}
			return true
		})
		// A re-INVITE with an offer, under alice's numbers.
		m := call.Reinvite(describes("111 97", "a=rtpmap:111 opus/48000/2", "a=rtpmap:97 telephone-event/8000", "a=sendonly"))
		wants(t, "answer", m.Body(), " RTP/AVP 111\r\n", "a=recvonly\r\n")
		wants(t, "offer", bob.Requests("INVITE")[1].Body(), " RTP/AVP 96 101\r\n", "a=sendonly\r\n")

		// And one without.
		call.SetACK(describes("111", "a=rtpmap:111 opus/48000/2"), false)
		m = call.Reinvite("")
		wants(t, "offer in the 200", m.Body(), " RTP/AVP 96 0 101\r\n") // as alice was told before
		ack = bob.Await("ACK", func(m *fakephone.Message) bool {
			n, _ := m.CSeq()
			k, _ := ok.CSeq()
			return m.Method() == "ACK" && n == k+2
		})
		wants(t, "answer in the ACK", ack.Body(), " RTP/AVP 96\r\n")
		call.Bye()
	})
}

func TestLateAnswerThatTakesNothingUpEndsTheCall(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		alice, bob := o.phone("alice", rings), o.phone("bob", atOnce)
		o.net.SetLink(simnet.Link{Delay: time.Millisecond})
		call := alice.Call("bob", "")
		call.SetACK(describes("9"), false)
		call.MustAnswer()
		expect(t, "ended at alice", call.WaitEnded(time.Minute), true)
		expect(t, "ended at bob", bob.Calls()[0].WaitEnded(time.Minute), true)
		expect(t, "reason", alice.Requests("BYE")[0].Header("Reason"), `SIP;cause=200;text="session description refused"`)
	})
}

// The caller is told which line of its offer, or of the callee's answer, was wrong.
func TestUnusableMediaIsToldWithItsLine(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		alice := o.phone("alice", rings)
		o.phone("bob", func(c *fakephone.Call) { c.Answer(describes("9")) })
		for offer, want := range map[string]string{
			strings.Replace(description("alice"), "m=audio 4000 RTP/AVP 0", "m=message 4000 TCP/MSRP *", 1): `304 tandem "Line 6, m=message: Media type message is not available over TCP/MSRP"`,
			describes("8"):            `305 tandem "Line 6, m=audio: None of its codecs was offered"`,
			"v=0\r\nm=audio \"\\\r\n": `399 tandem "sdp line 2: m= needs media, port and proto"`,
		} {
			m := alice.Call("bob", offer).Final()
			expect(t, "Warning", m.Header("Warning"), want)
		}
	})
}
