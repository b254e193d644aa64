package pbx

import (
	"strings"
	"testing"

	"tandem/internal/fakephone"
)

const guardedPlan = `
dialplan "acme" {
  format  = 1
  domains = ["acme.example"]
}
user "alice" { extension = "201" }
user "bob" {
  extension = "202"
  srtp      = "required"
}
user "carol" {
  extension = "203"
  srtp      = "off"
}
user "dave" { srtp = "passthrough" }
ring "sales" {
  extension = "300"
  members   = [user.carol, user.bob]
}
echo "test" { extension = "*43" }
`

const aKey = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"

// keyed is a description that insists on encryption.
func keyed() string {
	return strings.Replace(description("phone"), "RTP/AVP 0\r\n", "RTP/SAVP 0\r\n"+aKey+"\r\n", 1)
}

// Each phone of a group is offered what its user's policy says. The answer of one that must encrypt is held to that, although another one
// was offered plain RTP after it.
func TestEachUserHasHisOwnMediaEncryption(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(guardedPlan)
		alice := o.phone("alice", rings)
		carol := o.phone("carol", rings)
		bob := o.phone("bob", func(c *fakephone.Call) { c.Answer(strings.Replace(keyed(), "a=crypto:1", "a=crypto:3", 1)) }) // its suite
		call := alice.Call("300", description("alice"))
		ok := call.MustAnswer()
		if sdp := ok.Body(); !strings.Contains(sdp, " RTP/AVP 0\r\n") || strings.Contains(sdp, "a=crypto") {
			t.Errorf("alice, who offered plain RTP, is answered\n%s", sdp)
		}
		if sdp := bob.Requests("INVITE")[0].Body(); !strings.Contains(sdp, " RTP/SAVP 0\r\n") || !strings.Contains(sdp, "a=crypto:1 ") {
			t.Errorf("bob is offered\n%s", sdp)
		}
		if sdp := carol.AwaitRequest("INVITE").Body(); !strings.Contains(sdp, " RTP/AVP 0\r\n") || strings.Contains(sdp, "a=crypto") {
			t.Errorf("carol is offered\n%s", sdp)
		}
		call.Bye()
	})
}

func TestPlainAnswerOfWhoMustEncryptIsNoCall(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(guardedPlan)
		alice := o.phone("alice", rings)
		o.phone("bob", atOnce)
		m := alice.Call("bob", description("alice")).Final()
		expect(t, "status", m.Status(), 488)
		expect(t, "Warning", m.Header("Warning"), `302 tandem "The answer is plain RTP/AVP where media encryption was asked for"`)
	})
}

// To users, and to what Tandem answers itself.
func TestCallerWhoMustEncryptIsRefusedWithTheReason(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(guardedPlan)
		bob := o.phone("bob", rings)
		carol := o.phone("carol", atOnce)
		for _, to := range []string{"carol", "*43"} {
			m := bob.Call(to, description("bob")).Final()
			expect(t, "status", m.Status(), 488)
			expect(t, "Warning", m.Header("Warning"), `302 tandem "Line 6, m=audio: Media encryption is required here (RTP/SAVP)"`)
			call := bob.Call(to, keyed())
			if sdp := call.MustAnswer().Body(); !strings.Contains(sdp, " RTP/SAVP 0\r\n") || !strings.Contains(sdp, "a=crypto:1 AES_CM_128_HMAC_SHA1_80") {
				t.Errorf("bob is answered\n%s", sdp)
			}
			call.Bye()
		}
		expect(t, "INVITEs at carol", len(carol.Requests("INVITE")), 1)
	})
}

func TestKeysPassThroughAndTheCallIsNotRecorded(t *testing.T) {
	live(t, func(t *testing.T, o *office) {
		o.change(guardedPlan)
		alice := o.phone("alice", rings)
		dave := o.phone("dave", func(c *fakephone.Call) { c.Answer(keyed()) })
		call := alice.Call("dave", keyed())
		if sdp := call.MustAnswer().Body(); !strings.Contains(sdp, aKey) {
			t.Errorf("the callee's key is not in\n%s", sdp)
		}
		if sdp := dave.Requests("INVITE")[0].Body(); !strings.Contains(sdp, aKey) {
			t.Errorf("the caller's key is not in\n%s", sdp)
		}
		_, err := o.pbx.Record(t.Context(), o.pbx.Calls()[0].ID)
		if err == nil || !strings.Contains(err.Error(), "the phones encrypt this call end to end") {
			t.Errorf("to record it: %v", err)
		}
		call.Bye()
	})
}
