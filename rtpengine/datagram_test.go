package rtpengine

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"tandem/rtpengine/srtp"
)

// fax describes the phone for T.38 in its first m-line.
func (p *phone) fax(lines ...string) []byte {
	text, _, _ := strings.Cut(string(p.sdp()), "m=")
	return []byte(text + fmt.Sprintf("m=image %d udptl t38\r\na=T38FaxVersion:0\r\na=T38FaxRateManagement:transferredTCF\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n", p.addr().Port()) +
		strings.Join(append(lines, ""), "\r\n"))
}

func (p *phone) sendsDatagram(other *phone, text string) {
	p.t.Helper()
	p.raw(p.rtp, p.to, []byte(text))
	if got := string(other.next(other.rtp)); got != text {
		p.t.Fatalf("%q came as %q", text, got)
	}
}

// dropsOne waits until one packet of side A was dropped for a reason. Nothing else tells that a packet came which goes no further.
func dropsOne(t *testing.T, s *Session, why Drop) {
	t.Helper()
	for range 20000 {
		settle(s.shard)
		switch s.Stats().Media[0].Sides[A].Drops[why] {
		case 0:
			runtime.Gosched()
		case 1:
			return
		}
	}
	t.Fatalf("%v, want one %s", s.Stats().Media[0].Sides[A].Drops.ByReason(), why)
}

// A fax machine answers as a phone, hears the other's tone, changes to T.38, sends its page and goes back to audio.
func TestFaxChangesFromAudioToT38AndBack(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.Silence = time.Hour })
	a, b := newPhone(t, loop4), newPhone(t, loop6)
	s := call(t, e, a, b)
	defer s.Close()
	a.say("tone")
	b.hears("tone")
	b.say("tone")
	a.hears("tone")
	before := a.to

	offer, err := s.Offer(B, b.fax("a=T38FaxMaxDatagram:400"), loop6, loop4)
	if err != nil || !hasLine(offer, "m=image ") || !hasLine(offer, "a=T38FaxMaxDatagram:400") || !hasLine(offer, "c=IN IP4 127.0.0.1") {
		t.Fatalf("%v\n%s", err, offer)
	}
	a.dial(offer)
	answer, err := s.Answer(A, a.fax(), loop4, loop6)
	if err != nil || !hasLine(answer, "m=image ") || !hasLine(answer, "c=IN IP6 ::1") || hasLine(answer, "a=rtcp") {
		t.Fatalf("%v\n%s", err, answer)
	}
	b.dial(answer)
	settle(s.shard)
	if a.to != before {
		t.Errorf("our port moved from %v to %v", before, a.to)
	}
	b.sendsDatagram(a, "\x00\x00\x01\x02")
	a.sendsDatagram(b, "\x00")
	for i := range 20 {
		a.sendsDatagram(b, fmt.Sprintf("\x00%c page", i))
	}
	a.raw(a.rtp, a.to, make([]byte, datagramBytes+1))
	a.raw(a.rtcp, a.toRTCP, []byte("not a port of this"))
	dropsOne(t, s, DropOversize)
	dropsOne(t, s, DropMalformed)
	a.sendsDatagram(b, "end")
	if got := s.Stats().Media[0].Kind; got != "image" {
		t.Errorf("kind %s", got)
	}
	stranger := newPhone(t, loop4)
	stranger.raw(stranger.rtp, a.to, []byte("junk"))
	window := func(n uint32) {
		s.shard.order(func(sh *shard) { s.lines[0].legs[A].windowAt, s.lines[0].legs[A].window = sh.now, n })
		settle(s.shard)
	}
	window(datagramRate)
	a.raw(a.rtp, a.to, []byte("one too many in this second"))
	dropsOne(t, s, DropSource)
	dropsOne(t, s, DropFlood)
	window(0)
	a.sendsDatagram(b, "next second")

	s.Block(A, BlockMedia)
	settle(s.shard)
	a.raw(a.rtp, a.to, []byte("blocked"))
	dropsOne(t, s, DropBlocked)
	s.Block(A, 0)
	settle(s.shard)
	a.sendsDatagram(b, "free again")

	offer, err = s.Offer(B, b.sdp(), loop6, loop4)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(offer)
	answer, err = s.Answer(A, a.sdp(), loop4, loop6)
	if err != nil {
		t.Fatal(err)
	}
	b.dial(answer)
	settle(s.shard)
	a.say("voice")
	b.hears("voice")
	b.say("voice")
	a.hears("voice")
}

// Who receives a page says nothing for minutes, and is not silent for it.
func TestReceiverOfAFaxIsNotSilent(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.Silence = time.Hour })
	var quiet []Side
	s, err := e.NewSession(SessionConfig{OnSilence: func(side Side, _ time.Duration) { quiet = append(quiet, side) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	offer, err := s.Offer(A, a.fax(), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	b.dial(offer)
	answer, err := s.Answer(B, b.fax(), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(answer)
	settle(s.shard)
	a.sendsDatagram(b, "page")
	settle(s.shard)
	legs := s.lines[0].legs
	if got, want := legs[B].tally.lastSeen.Load(), legs[A].tally.lastSeen.Load(); got != want {
		t.Errorf("B was last seen at %d, A at %d", got, want)
	}
	e.sweep(e.now() + int64(2*time.Hour))
	if len(quiet) != 2 {
		t.Errorf("two that both say nothing are silent: %v", quiet)
	}
}

func TestT38IsNoAnswerToAudio(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := newSession(t, e)
	if _, err := s.Offer(A, a.sdp(), loop4, loop4); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Answer(B, b.fax(), loop4, loop4); err == nil || !strings.Contains(err.Error(), "m=image: It answers m=audio over RTP/AVP") {
		t.Errorf("got %v", err)
	}
}

func TestT38IsRefusedWhereEncryptionWasInsistedOn(t *testing.T) {
	s := newSecureSession(t, SRTPMirror)
	a, b := newSecure(t, "RTP/SAVP", srtp.AES128GCM), newSecure(t, "RTP/SAVP", srtp.AES128GCM)
	agree(t, s, A, a, b, true, true)
	_, err := s.Offer(B, b.phone.fax(), loop4, loop4)
	if want := `302 tandem "Line 6, m=image: Media was encrypted here, and udptl cannot be"`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	talk(t, a, b)
}
