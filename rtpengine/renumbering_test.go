package rtpengine

import (
	"strings"
	"testing"
)

// audio is the phone's description with other formats than usual.
func (p *phone) audio(formats string, lines ...string) []byte {
	return []byte(strings.Replace(strings.Replace(string(p.sdp(lines...)), "RTP/AVP 0 8 101", "RTP/AVP "+formats, 1), "a=rtpmap:101 telephone-event/8000\r\n", "", 1))
}

// sends gives the other phone a packet of a payload type, and returns the one that it gets.
func (p *phone) sends(other *phone, payload uint8, body string) []byte {
	p.t.Helper()
	p.seq++
	p.raw(p.rtp, p.to, packet(payload, p.seq, uint32(p.seq)*160, p.ssrc, body))
	return other.next(other.rtp)
}

// Each phone numbers Opus and events in its own way. Each sees its own numbers in what it is told, and in the packets that it gets.
func TestPhonesThatNumberTheirCodecsDifferently(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := newSession(t, e)
	offer, err := s.Offer(A, a.audio("96 101 0", "a=rtpmap:96 opus/48000/2", "a=fmtp:96 useinbandfec=1", "a=rtpmap:101 telephone-event/48000"), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	b.dial(offer)
	answer, err := s.Answer(B, b.audio("111 96", "a=rtpmap:111 OPUS/48000/2", "a=fmtp:111 stereo=0", "a=rtpmap:96 telephone-event/48000", "a=fmtp:96 0-15"), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(answer)
	for _, line := range []string{"a=rtpmap:96 OPUS/48000/2\r\n", "a=fmtp:96 stereo=0\r\n", "a=rtpmap:101 telephone-event/48000\r\n", "a=fmtp:101 0-15\r\n"} {
		if !hasLine(answer, line) {
			t.Errorf("no %q in\n%s", line, answer)
		}
	}
	settle(s.shard)
	for _, c := range []struct {
		from, to  *phone
		sent, got uint8
	}{
		{a, b, 96, 111}, {a, b, 101, 96}, // as B said that it takes them
		{b, a, 101, 101}, {b, a, 111, 96}, // as it was offered, or as it numbers Opus itself
		{a, b, 0x80 | 96, 0x80 | 111}, {a, b, 13, 13}, // the marker stays; comfort noise needs no number
	} {
		if got := c.from.sends(c.to, c.sent, "body"); got[1] != c.got || string(got[12:]) != "body" {
			t.Errorf("sent as %d, came as %d %q", c.sent, got[1], got[12:])
		}
	}
	a.raw(a.rtp, a.to, packet(97, 99, 1, a.ssrc, "nobody named it"))
	settle(s.shard)
	a.sends(b, 96, "after")
	if got := calm(s).Stats().Media[0].Sides[A].Drops[DropPayload]; got != 1 {
		t.Errorf("%d dropped", got)
	}

	// B offers again with its numbers, and one that means something else to A.
	offer, err = s.Offer(B, b.audio("111 96 101", "a=rtpmap:111 opus/48000/2", "a=rtpmap:96 telephone-event/48000", "a=rtpmap:101 G7221/32000", "a=fmtp:101 bitrate=48000"), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	if !hasLine(offer, "m=audio "+portOf(a)+" RTP/AVP 96 101 97\r\n") || !hasLine(offer, "a=rtpmap:97 G7221/32000") || !hasLine(offer, "a=fmtp:97 bitrate=48000") {
		t.Errorf("%s", offer)
	}
	answer, err = s.Answer(A, a.audio("97 96", "a=rtpmap:97 G7221/32000", "a=fmtp:97 bitrate=48000", "a=rtpmap:96 opus/48000/2"), loop4, loop4)
	if err != nil || !hasLine(answer, "m=audio "+portOf(b)+" RTP/AVP 101 111\r\n") {
		t.Fatalf("%v\n%s", err, answer)
	}
	settle(s.shard)
	if got := a.sends(b, 97, "x"); got[1] != 101 {
		t.Errorf("came as %d", got[1])
	}
	if got := b.sends(a, 101, "x"); got[1] != 97 {
		t.Errorf("came as %d", got[1])
	}
}

// portOf is our port towards a phone.
func portOf(p *phone) string { return p.to.String()[strings.LastIndexByte(p.to.String(), ':')+1:] }

func TestBlocksOfRedundantAudioAreRenumberedToo(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := newSession(t, e)
	offer, err := s.Offer(A, a.audio("63 111", "a=rtpmap:63 red/48000/2", "a=fmtp:63 111/111", "a=rtpmap:111 opus/48000/2"), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	b.dial(offer)
	answer, err := s.Answer(B, b.audio("97 98", "a=rtpmap:97 red/48000/2", "a=fmtp:97 98/98", "a=rtpmap:98 opus/48000/2"), loop4, loop4)
	if err != nil || !hasLine(answer, "a=fmtp:63 111/111\r\n") {
		t.Fatalf("%v\n%s", err, answer)
	}
	a.dial(answer)
	settle(s.shard)
	got := a.sends(b, 63, "\xef\x00\x00\x02\x6fabnew") // one older block of 111, and 111 itself
	if got[1] != 97 || string(got[12:]) != "\xe2\x00\x00\x02\x62abnew" {
		t.Errorf("%d %x", got[1], got[12:])
	}
	for _, body := range []string{"\xef\x00\x00", "\x55x", "", "\xef\x00\x00\x02"} { // cut short, of a type that nobody named
		a.seq++
		a.raw(a.rtp, a.to, packet(63, a.seq, 1, a.ssrc, body))
	}
	a.sends(b, 111, "after")
	if got := calm(s).Stats().Media[0].Sides[A].Drops[DropPayload]; got != 4 {
		t.Errorf("%d dropped", got)
	}
}

// What refers to others by number follows them; what protects them by their numbers cannot be kept when those differ.
func TestReferencesFollowTheirNumbers(t *testing.T) {
	e := startEngine(t, nil)
	s := newSession(t, e)
	video := func(formats string, lines ...string) []byte {
		return []byte(head + "m=video 4000 RTP/AVPF " + formats + "\r\n" + strings.Join(lines, "\r\n") + "\r\n")
	}
	if _, err := s.Offer(A, video("100", "a=rtpmap:100 VP8/90000"), loop4, loop4); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Answer(B, video("100", "a=rtpmap:100 VP8/90000"), loop4, loop4); err != nil {
		t.Fatal(err)
	}
	out, err := s.Offer(B, video("100 96 97 98 99", "a=rtpmap:100 VP8/90000", "a=rtpmap:96 H264/90000", "a=fmtp:96 packetization-mode=1", "a=rtpmap:97 rtx/90000",
		"a=fmtp:97 rtx-time=3000; apt=96", "a=rtpmap:98 ulpfec/90000", "a=rtpmap:99 VP9/90000", "a=imageattr:96 send *", "a=imageattr:* recv *", "a=rid:h send pt=96,100;max-fps=30"), loop4, loop4)
	if err != nil || !hasLine(out, "a=fmtp:97 rtx-time=3000; apt=96\r\n") || !hasLine(out, "a=rtpmap:98 ulpfec") {
		t.Fatalf("all numbers are free, so all stay: %v\n%s", err, out)
	}
	s.Rollback()
	out, err = s.Offer(A, video("100 96 97 98", "a=rtpmap:100 VP8/90000", "a=rtpmap:96 rtx/90000", "a=fmtp:96 apt=97", "a=rtpmap:97 H264/90000", "a=fmtp:97 packetization-mode=1",
		"a=rtpmap:98 ulpfec/90000", "a=imageattr:97 send *", "a=imageattr:* recv *", "a=rid:h send pt=97,100;max-fps=30", "a=rid:l send pt=98"), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"m=video 2", "a=rtpmap:97 rtx/90000\r\n", "a=fmtp:97 apt=96\r\n", "a=rtpmap:96 H264/90000\r\n", "a=fmtp:96 packetization-mode=1\r\n",
		"a=imageattr:96 send *\r\n", "a=imageattr:* recv *\r\n", "a=rid:h send pt=96,100;max-fps=30\r\n",
	} {
		if !hasLine(out, line) {
			t.Errorf("no %q in\n%s", line, out)
		}
	}
	if strings.Contains(string(out), "ulpfec") || strings.Contains(string(out), "a=rid:l") || !strings.Contains(string(out), " RTP/AVPF 100 97 96\r\n") {
		t.Errorf("%s", out)
	}
}

// An answer may list more than was offered (RFC 3264 §6.1). The offerer is not told: what it did not offer it cannot get.
func TestAnswersThatAddReorderAndRepeatFormats(t *testing.T) {
	e := startEngine(t, nil)
	s := newSession(t, e)
	audio := func(formats string, lines ...string) []byte {
		return []byte(head + "m=audio 4000 RTP/AVP " + formats + "\r\n" + strings.Join(append(lines, ""), "\r\n"))
	}
	for answer, want := range map[string]string{
		"0 8":     "0 8",
		"8 0":     "8 0",
		"8 18 0":  "8 0",
		"8 8 0 x": "8 0",
		"101 8":   "101 8", // 101 without a=rtpmap is what it was offered as
	} {
		if _, err := s.Offer(A, audio("0 8 101", "a=rtpmap:101 telephone-event/8000"), loop4, loop4); err != nil {
			t.Fatal(err)
		}
		out, err := s.Answer(B, audio(answer), loop4, loop4)
		if err != nil || !strings.Contains(string(out), " RTP/AVP "+want+"\r\n") {
			t.Errorf("%s: %v\n%s", answer, err, out)
		}
	}
	if _, err := s.Offer(A, audio("0 8"), loop4, loop4); err != nil {
		t.Fatal(err)
	}
	_, err := s.Answer(B, audio("9 18"), loop4, loop4)
	if want := `rtpengine: refused with 488: 305 tandem "Line 6, m=audio: None of its codecs was offered"`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
