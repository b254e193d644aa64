package rtpengine

import (
	"slices"
	"strings"
	"testing"
)

func TestCodecsAreReadHoweverPhonesWriteThem(t *testing.T) {
	for text, want := range map[string][]codec{
		"m=audio 9 RTP/AVP 0 8 18\r\n": { // static types without rtpmap
			{name: "PCMU", clock: 8000, channels: 1}, {name: "PCMA", clock: 8000, channels: 1, payload: 8}, {name: "G729", clock: 8000, channels: 1, payload: 18},
		},
		"m=audio 9 RTP/AVP 97 97 x 200\r\na=rtpmap:97 opus/48000/2\r\na=fmtp:97 useinbandfec=1\r\na=fmtp:97 stereo=1\r\na=rtpmap:97 late/1\r\n": {
			{name: "opus", clock: 48000, channels: 2, payload: 97, fmtp: "useinbandfec=1; stereo=1"},
		},
		"m=audio 9 RTP/AVP\t101 9\r\na=rtpmap:101\ttelephone-event/16000 \r\na=fmtp: 101  0-15\t\r\na=rtpmap:9 g722/8000/1\r\n": { // tabs, spaces, lower case
			{name: "telephone-event", clock: 16000, channels: 1, payload: 101, fmtp: "0-15"}, {name: "g722", clock: 8000, channels: 1, payload: 9},
		},
		"m=video 9 RTP/AVP 96 34\r\na=rtpmap:96 H264/x/y\r\na=fmtp:96\r\na=rtpmap:96x VP8/90000\r\n": { // what is broken leaves the rest
			{name: "H264", clock: 8000, channels: 1, payload: 96}, {name: "H263", clock: 90000, channels: 1, payload: 34},
		},
		"m=audio 9 RTP/AVP 100\r\n": {{clock: 8000, channels: 1, payload: 100}}, // a dynamic number that nobody explains
	} {
		d, err := parseSDP([]byte(head + text))
		if err != nil {
			t.Fatal(err)
		}
		if got := d.sections[0].codecs(); !slices.Equal(got, want) {
			t.Errorf("%q:\ngot  %v\nwant %v", text, got, want)
		}
	}
}

func TestParametersOfACodecAreBounded(t *testing.T) {
	d, err := parseSDP([]byte("v=0\no=- 1 1 IN IP4 192.0.2.1\nm=audio 9 RTP/AVP 96\n" + strings.Repeat("a=fmtp:96 "+strings.Repeat("x", 100)+"\n", 500)))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(d.sections[0].codecs()[0].fmtp); n < 4000 || n > maxFmtp+2 {
		t.Errorf("%d octets", n)
	}
}
