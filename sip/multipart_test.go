package sip

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"tandem/internal/fakephone"
	"tandem/sip/message"
)

// mixed is a multipart body with boundary "b" of parts that are each headers, an empty line and a body.
func mixed(parts ...string) string {
	var out strings.Builder
	for _, p := range parts {
		out.WriteString("--b\r\n" + p + "\r\n")
	}
	return out.String() + "--b--\r\n"
}

const (
	isup      = "Content-Type: application/ISUP;version=itu-t92+\r\nContent-Disposition: signal;handling=optional\r\n\r\n\x01\x02--b-\xff"
	sdpPart   = "Content-Type: application/sdp\r\n\r\n"
	mixedType = `Content-Type: multipart/mixed; boundary="b"`
)

func TestSessionDescriptionIsFoundInAMultipartBody(t *testing.T) {
	nested := "Content-Type: multipart/alternative;\r\n boundary=c\r\n\r\n--c\r\n\r\nplain\r\n--c\r\n" + sdpPart + "SDP\r\n--c--"
	deep := "--d\r\n" + sdpPart + "SDP\r\n--d--"
	for _, b := range []string{"e", "f", "b"} {
		deep = "--" + b + "\r\nContent-Type: multipart/mixed;boundary=" + map[string]string{"e": "d", "f": "e", "b": "f"}[b] + "\r\n\r\n" + deep + "\r\n--" + b + "--"
	}
	for _, c := range []struct {
		name, kind, body string
		want             string // what comes out when SDP becomes "A LONGER ONE"; "" is no description
		status           int    // of a fault
	}{
		{"alone", "application/sdp", "SDP", "A LONGER ONE", 0},
		{"none", "text/plain", "SDP", "", 0},
		{"empty", "multipart/mixed;boundary=b", "", "", 0},
		{"beside ISUP", "multipart/mixed;boundary=b", mixed(isup, sdpPart+"SDP"), mixed(isup, sdpPart+"A LONGER ONE"), 0},
		{"first of two, compact name, case", `Multipart/Mixed; x=y; boundary="b"`, mixed("C:  Application/SDP ;x\r\n\r\nSDP", isup), mixed("C:  Application/SDP ;x\r\n\r\nA LONGER ONE", isup), 0},
		{"own length", "multipart/mixed;boundary=b", mixed("Content-Length:  3 \r\nContent-Type: application/sdp\r\n\r\nSDP"), mixed("Content-Length:  12 \r\nContent-Type: application/sdp\r\n\r\nA LONGER ONE"), 0},
		{"nested", "multipart/mixed;boundary=b", mixed(isup, nested), mixed(isup, strings.Replace(nested, "SDP", "A LONGER ONE", 1)), 0},
		{"preamble and epilogue", "multipart/mixed;boundary=b", "hello --b\r\n" + mixed(sdpPart+"SDP") + "bye", "hello --b\r\n" + mixed(sdpPart+"A LONGER ONE") + "bye", 0},
		{"bare LF and padding", "multipart/mixed;boundary=b", "--b  \nContent-Type: application/sdp\n\nSDP\n--b--", "--b  \nContent-Type: application/sdp\n\nA LONGER ONE\n--b--", 0},
		{"ISUP alone", "multipart/mixed;boundary=b", mixed(isup), "", 0},
		{"empty part", "multipart/mixed;boundary=b", "--b\r\n--b--", "", 0},
		{"longer boundary is text", "multipart/mixed;boundary=b", mixed("\r\n--bb\r\n", sdpPart+"SDP"), mixed("\r\n--bb\r\n", sdpPart+"A LONGER ONE"), 0},

		{"no boundary", "multipart/mixed", mixed(sdpPart + "SDP"), "", 400},
		{"another boundary", "multipart/mixed;boundary=x", mixed(sdpPart + "SDP"), "", 400},
		{"no end", "multipart/mixed;boundary=b", "--b\r\n" + sdpPart + "SDP", "", 400},
		{"no headers", "multipart/mixed;boundary=b", mixed("SDP"), "", 400},
		{"two descriptions", "multipart/mixed;boundary=b", mixed(sdpPart+"SDP", sdpPart+"SDP"), "", 488},
		{"base64", "multipart/mixed;boundary=b", mixed("Content-Transfer-Encoding: base64\r\n" + sdpPart + "SDP"), "", 488},
		{"signed", "multipart/signed;boundary=b", mixed(sdpPart+"SDP", "Content-Type: application/pkcs7-signature\r\n\r\nx"), "", 488},
		{"17 parts", "multipart/mixed;boundary=b", mixed(strings.Split(strings.Repeat(isup+"|", 16)+sdpPart+"SDP", "|")...), "", 488},
		{"four deep", "multipart/mixed;boundary=b", deep, "", 488},
	} {
		var m message.Message
		if err := m.Parse("INVITE sip:a@b SIP/2.0\r\nContent-Type: " + c.kind + "\r\n\r\n" + c.body); err != nil {
			t.Fatal(err)
		}
		d, err := describe(&m)
		var fault MediaError
		if status := 0; errors.As(err, &fault) || c.status != 0 {
			if fault != nil {
				status, _, _ = fault.SIPStatus()
			}
			expect(t, c.name, status, c.status)
			continue
		}
		if expect(t, c.name+": found", d.found, c.want != ""); !d.found {
			continue
		}
		expect(t, c.name, d.sdp(), "SDP")
		expect(t, c.name, d.with("A LONGER ONE"), c.want)
	}
}

func TestMediaOfMultipartBodiesIsAnchored(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.media = &stageMedia{}
		alice, bob := s.registered("alice"), s.registered("bob")
		offer, answer := mixed(isup, sdpPart+sdpOf("alice")), mixed(sdpPart+sdpOf("bob"), isup)
		relayed := func(body, verb string) string { return strings.Replace(body, "s=-", "s=relayed "+verb, 1) }
		bob.OnInvite(func(c *fakephone.Call) { c.Answer(answer, mixedType) })
		call := alice.Call("bob", offer, mixedType)
		ok := call.MustAnswer()
		invite := bob.Requests("INVITE")[0]
		expect(t, "offer at bob", invite.Body(), relayed(offer, "offer"))
		expect(t, "its length", invite.Header("Content-Length"), strconv.Itoa(len(invite.Body())))
		expect(t, "answer at alice", ok.Body(), relayed(answer, "answer"))
		expect(t, "re-INVITE", call.Reinvite(offer, mixedType).Status(), 200)
		expect(t, "offer of the re-INVITE", bob.Requests("INVITE")[1].Body(), relayed(offer, "offer"))
		call.Bye()
	})
}

func TestBodyThatHidesItsDescriptionIsRefused(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		s.media = &stageMedia{}
		alice, bob := s.registered("alice"), s.registered("bob")
		broken := strings.TrimSuffix(mixed(sdpPart+sdpOf("alice")), "--b--\r\n")
		m := alice.Call("bob", broken, mixedType).Final()
		expect(t, "INVITE", m.Status(), 400)
		expect(t, "Warning", m.Has("Warning"), true)
		expect(t, "INVITEs at bob", len(bob.Requests("INVITE")), 0)

		bob.OnInvite(func(c *fakephone.Call) { c.Answer(sdpOf("bob")) })
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		expect(t, "re-INVITE", call.Reinvite(broken, mixedType).Status(), 400)
		expect(t, "INVITEs at bob", len(bob.Requests("INVITE")), 1)
		call.Bye()
	})
}

func TestAnswerThatHidesItsDescriptionMakesNoCall(t *testing.T) {
	broken := mixed(sdpPart+sdpOf("bob"), sdpPart+sdpOf("bob"))
	t.Run("in the 2xx", func(t *testing.T) {
		play(t, nil, func(t *testing.T, s *stage) {
			s.media = &stageMedia{}
			alice, bob := s.registered("alice"), s.registered("bob")
			bob.OnInvite(func(c *fakephone.Call) { c.Answer(broken, mixedType) })
			m := alice.Call("bob", sdpOf("alice")).Final()
			expect(t, "INVITE", m.Status(), 488) // and no call that would be over at once
			expect(t, "Warning", m.Has("Warning"), true)
			expect(t, "ended at bob", bob.Calls()[0].WaitEnded(time.Second), true)
			expect(t, "reason", only(t, "BYE", bob.Requests("BYE")).Header("Reason"), `SIP;cause=488;text="session description refused"`)
			expect(t, "dialogs", s.srv.Stats().Dialogs, 0)
			expect(t, "media closed", s.media.closes(), 1)
		})
	})
	t.Run("in the ACK", func(t *testing.T) {
		play(t, nil, func(t *testing.T, s *stage) {
			s.media = &stageMedia{}
			alice, bob := s.registered("alice"), s.registered("bob")
			bob.OnInvite(func(c *fakephone.Call) { c.Answer(sdpOf("bob")) })
			s.net.SetLink(linkDelay(time.Millisecond)) // the ACK is settled before the answer is there
			call := alice.Call("bob", "")
			call.SetACK("", true)
			ok := call.MustAnswer()
			ack := fmt.Sprintf("ACK %s SIP/2.0\r\nVia: SIP/2.0/UDP %v;branch=z9hG4bKack\r\nFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %s\r\n%s\r\nContent-Length: %d\r\n\r\n%s",
				fakephone.Addr(ok.Header("Contact")), alice.Addr(), ok.Header("From"), ok.Header("To"), ok.CallID(), strings.Replace(ok.Header("CSeq"), "INVITE", "ACK", 1), mixedType, len(broken), broken)
			alice.Send(ack)
			time.Sleep(time.Second)
			expect(t, "body at bob", only(t, "ACK", bob.Requests("ACK")).Body(), "")
			expect(t, "ended", call.WaitEnded(time.Second), true)
		})
	})
}

func TestNodeAnswersAnOfferInAMultipartBody(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		l, _ := s.answering()
		call := s.registered("alice").Call("echo", mixed(isup, sdpPart+sdpOf("alice")), mixedType)
		call.MustAnswer()
		expect(t, "re-INVITE", call.Reinvite(mixed(sdpPart+sdpOf("alice")), mixedType).Status(), 200)
		expect(t, "broken re-INVITE", call.Reinvite("--b", mixedType).Status(), 400)
		call.Bye()
		expect(t, "story", l.told(), "reoffer v=0, ended BYE")
	})
}

func FuzzMultipart(f *testing.F) {
	f.Add("boundary=b", mixed(isup, sdpPart+"SDP"))
	f.Add(`boundary="b"`, "--b\r\nContent-Type: multipart/mixed;boundary=b\r\nContent-Length: 3\r\n\r\n--b\r\n--b--")
	f.Fuzz(func(t *testing.T, params, body string) {
		var m message.Message
		if m.Parse("INVITE sip:a@b SIP/2.0\r\nContent-Type: multipart/mixed;"+params+"\r\n\r\n"+body) != nil {
			return
		}
		d, err := describe(&m)
		if err != nil || !d.found {
			return
		}
		if d.length.to == d.length.from {
			expect(t, "the same again", d.with(d.sdp()), m.Body())
		}
		if again := d.with("v=0"); !strings.HasSuffix(again, m.Body()[d.to:]) {
			t.Errorf("%q became %q", m.Body(), again)
		}
	})
}
