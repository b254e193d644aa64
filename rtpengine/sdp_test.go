package rtpengine

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

const softphone = "v=0\r\no=alice 53655765 2353687637 IN IP4 192.0.2.10\r\ns=call\r\nc=IN IP4 192.0.2.10\r\nb=AS:512\r\nt=0 0\r\n" +
	"a=group:BUNDLE a v\r\na=msid-semantic: WMS x\r\na=tool:phone 1.0\r\na=X-unknown:keep me\r\n" +
	"m=audio 49170 RTP/AVP 0 8 97 101\r\nb=TIAS:64000\r\na=rtpmap:97 iLBC/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n" +
	"a=rtcp:53020\r\na=candidate:1 1 UDP 1 192.0.2.10 49170 typ host\r\na=ice-ufrag:abcd\r\na=ssrc:1 cname:x\r\na=sendrecv\r\na=mid:a\r\n" +
	"m=video 51372 RTP/AVPF 99\r\nc=IN IP4 192.0.2.20\r\na=rtpmap:99 h263-1998/90000\r\na=rtcp-fb:99 nack pli\r\na=mid:v\r\n"

func TestDescriptionIsReadAsItsWriterMeantIt(t *testing.T) {
	d, err := parseSDP([]byte(softphone))
	if err != nil {
		t.Fatal(err)
	}
	audio, video := d.sections[0], d.sections[1]
	if audio.port != 49170 || audio.rtcpPort != 53020 || audio.addr != netip.MustParseAddr("192.0.2.10") || audio.dir != sendrecv {
		t.Errorf("%+v", audio)
	}
	if video.port != 51372 || video.rtcpPort != 51373 || video.addr != netip.MustParseAddr("192.0.2.20") || video.rtcpAddr != video.addr {
		t.Errorf("%+v", video)
	}
	rates := merge("audio", audio.codecs(), video.codecs())
	for pt, want := range map[int]uint32{0: 8000, 8: 8000, 97: 8000, 99: 90000, 13: 8000, 98: 0} {
		if rates[pt] != want {
			t.Errorf("payload type %d: %d Hz, want %d", pt, rates[pt], want)
		}
	}
}

func TestRewrittenDescriptionSaysOnlyWhatIsTrueOfUs(t *testing.T) {
	d, err := parseSDP([]byte(softphone))
	if err != nil {
		t.Fatal(err)
	}
	o := origin{id: 42}
	view := &facing{addr: netip.MustParseAddr("2001:db8::5"), sections: []facingSection{{port: 20000}, {port: 20002, mux: true}}}
	got := string(d.render(view, &o))
	want := "v=0\r\no=alice 42 1 IN IP6 2001:db8::5\r\ns=call\r\nc=IN IP6 2001:db8::5\r\nb=AS:512\r\nt=0 0\r\n" +
		"a=tool:phone 1.0\r\na=X-unknown:keep me\r\n" +
		"m=audio 20000 RTP/AVP 0 8 97 101\r\nb=TIAS:64000\r\na=rtpmap:97 iLBC/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n" +
		"a=rtcp:20001 IN IP6 2001:db8::5\r\na=sendrecv\r\na=mid:a\r\n" +
		"m=video 20002 RTP/AVPF 99\r\nc=IN IP6 2001:db8::5\r\na=rtpmap:99 h263-1998/90000\r\na=rtcp-fb:99 nack pli\r\na=mid:v\r\na=rtcp-mux\r\n"
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if again := string(d.render(view, &o)); again != got {
		t.Errorf("the same content got another version:\n%s", again)
	}
	view.sections[0].port = 0
	if d.render(view, &o); o.version != 2 {
		t.Errorf("version %d after a change", o.version)
	}
}

func TestRejectedSectionTakesItsKeysAway(t *testing.T) {
	d, err := parseSDP([]byte("v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nm=audio 4000 RTP/SAVP 0\nc=IN IP4 192.0.2.1\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:secret\n"))
	if err != nil {
		t.Fatal(err)
	}
	out := string(d.render(&facing{addr: loop4, sections: []facingSection{{bare: true}}}, &origin{}))
	if strings.Contains(out, "secret") || !strings.Contains(out, "m=audio 0 RTP/SAVP 0\r\nc=IN IP4 127.0.0.1\r\n") {
		t.Errorf("%s", out)
	}
}

func TestOldHoldIsSaidWithADirection(t *testing.T) {
	for given, want := range map[string]string{"": "sendonly", "a=recvonly\r\n": "inactive", "a=sendrecv\r\n": "sendonly"} {
		d, err := parseSDP([]byte("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n" + given))
		if err != nil {
			t.Fatal(err)
		}
		out := string(d.render(&facing{addr: loop4, sections: []facingSection{{port: 6000}}}, &origin{}))
		if strings.Contains(out, "0.0.0.0") || strings.Count(out, "a=") != 1 || !strings.Contains(out, "a="+want+"\r\n") {
			t.Errorf("%q: %s", given, out)
		}
	}
}

func TestBrokenDescriptionsAreRefused(t *testing.T) {
	const head = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n"
	for name, text := range map[string]string{
		"empty":              "",
		"only line ends":     "\r\n\r\n",
		"no version":         "o=- 1 1 IN IP4 192.0.2.1\r\n",
		"version 1":          "v=1\r\n",
		"version twice":      head + "v=0\r\n",
		"no origin":          "v=0\r\ns=-\r\n",
		"short origin":       "v=0\r\no=- 1 1\r\n",
		"origin in media":    head + "m=audio 1 RTP/AVP 0\r\no=- 1 1 IN IP4 192.0.2.1\r\n",
		"not type=value":     head + "hello\r\n",
		"no port":            head + "m=audio x RTP/AVP 0\r\n",
		"port out of range":  head + "m=audio 65536 RTP/AVP 0\r\n",
		"short media":        head + "m=audio\r\n",
		"NUL":                head + "a=x\x00\r\n",
		"stray return":       head + "a=x\ry\r\n",
		"too many m-lines":   head + strings.Repeat("m=audio 1 RTP/AVP 0\r\n", maxSections+1),
		"too many lines":     head + strings.Repeat("a=x\r\n", maxSDPLines),
		"too long":           head + "a=" + strings.Repeat("x", maxSDPBytes),
		"binary":             "\x89PNG\r\n\x1a\n",
		"capital type":       head + "M=audio 1 RTP/AVP 0\r\n",
		"space before equal": head + "a =x\r\n",
	} {
		if _, err := parseSDP([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestMediaThatCannotBeServedIsRefusedWithTheReason(t *testing.T) {
	for mline, want := range map[string]int{
		"m=audio 9 RTP/AVP 0":                           0,
		"m=audio 9 RTP/AVPF 0":                          0,
		"m=text 9 RTP/AVP 98":                           0,
		"m=audio 9 RTP/SAVP 0":                          302,
		"m=video 9 UDP/TLS/RTP/SAVPF 96":                302,
		"m=application 9 UDP/DTLS/SCTP x":               302,
		"m=application 9 UDP/BFCP *":                    0,
		"m=application 9 TCP/BFCP *":                    302,
		"m=application 9 RTP/AVP 100":                   0,
		"m=image 9 udptl t38":                           0,
		"m=image 9 UDPTL t38":                           0,
		"m=image 9 TCP t38":                             304,
		"m=audio 9 RTP/AVP x y":                         305,
		"m=audio 9 TCP/RTP/AVP 0":                       302,
		"m=audio 9 RTP/AVP":                             305,
		"m=message 9 TCP/MSRP *":                        304,
		"m=audio 9 RTP/AVP 0\r\nc=IN IP4 224.2.1.1/127": 330,
	} {
		d, err := parseSDP([]byte("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\n" + mline + "\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := d.sections[0].refusal(); got != want {
			t.Errorf("%s: got %d, want %d", mline, got, want)
		}
	}
}

func TestDirectionsReverse(t *testing.T) {
	for d, want := range map[direction]direction{sendrecv: sendrecv, inactive: inactive, sendonly: recvonly, recvonly: sendonly} {
		if got := d.reverse(); got != want {
			t.Errorf("%s: got %s", d, got)
		}
	}
}

// What we write must be understood by ourselves as what we meant, whatever a stranger wrote.
func FuzzSDP(f *testing.F) {
	f.Add([]byte(softphone))
	f.Add([]byte("v=0\no=- 1 1 IN IP4 1.2.3.4\nm=audio 0 RTP/AVP\nc=IN IP6 ::1\na=rtcp:1 IN IP4 0.0.0.0\n"))
	f.Add([]byte("v=0\r\no=- 1 1 IN IP4 host.example\r\nc=IN IP4 host.example\r\nm=video 5/2 RTP/AVPF 96\r\ni=x\r\na=inactive\r\nk=clear:x\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := parseSDP(body)
		if err != nil {
			return
		}
		view := &facing{addr: loop4}
		for i := range d.sections {
			if n := len(d.sections[i].codecs()); n > 128 {
				t.Fatalf("%d payload types", n)
			}
			d.sections[i].refusal()
			view.sections = append(view.sections, facingSection{port: uint16(2 * i), mux: i%3 == 0, bare: i%5 == 4})
		}
		out := d.render(view, &origin{id: 1})
		back, err := parseSDP(out)
		if err != nil {
			t.Fatalf("%v in our own\n%q", err, out)
		}
		if len(back.sections) != len(d.sections) {
			t.Fatalf("%d m-lines became %d", len(d.sections), len(back.sections))
		}
		for i, s := range back.sections {
			if s.port != uint16(2*i) || s.addr != loop4 || s.kind != d.sections[i].kind || !slices.Equal(s.formats, d.sections[i].formats) {
				t.Fatalf("section %d: %+v of\n%q", i, s, out)
			}
			if s.port != 0 && !view.sections[i].bare && s.mux != view.sections[i].mux {
				t.Fatalf("section %d: mux %v", i, s.mux)
			}
		}
	})
}

func FuzzRTP(f *testing.F) {
	f.Add(packet(0, 1, 2, 3, "body"))
	f.Add([]byte("\xb1\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, ok := parseRTP(b); ok && (h.body < 12 || h.body > len(b) || b[0]>>6 != 2) {
			t.Fatalf("%+v of %x", h, b)
		}
	})
}

func FuzzRTCP(f *testing.F) {
	f.Add(receiverReport(1))
	f.Add(append(receiverReport(1), 0x81, rtcpPSFB, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, ok := parseRTCP(b); ok && (len(b) < 8 || !looksRTCP(b)) {
			t.Fatalf("accepted %x", b)
		}
		wantsKeyframe(b)
	})
}
