package rtpengine

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

const manyCodecs = "m=audio 4000 RTP/AVP 8 0 9 96 97 101 102 13 63\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:97 L16/16000\r\n" +
	"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=rtpmap:102 TELEPHONE-EVENT/48000\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 96/96\r\n" +
	"m=video 4002 RTP/AVPF 100 101 102\r\na=rtpmap:100 VP8/90000\r\na=rtpmap:101 H264/90000\r\na=rtpmap:102 rtx/90000\r\na=fmtp:102 apt=100\r\na=rtcp-fb:100 nack\r\na=rtcp-fb:* ccm fir\r\n"

func TestOtherPhoneIsOfferedTheCodecsOfThePolicy(t *testing.T) {
	for name, c := range map[string]struct {
		policy       CodecPolicy
		audio, video string
		gone         []string
	}{
		"everything":      {CodecPolicy{}, "8 0 9 96 97 101 102 13 63", "100 101 102", nil},
		"an order":        {CodecPolicy{Only: []string{"OPUS", "pcmu"}}, "96 0 101 102 13 63", "100 101 102", []string{"a=rtpmap:97"}},
		"with a clock":    {CodecPolicy{Only: []string{"L16/16000", "opus/8000"}}, "97 101 102 13", "100 101 102", []string{"a=rtpmap:96", "a=fmtp:63"}},
		"other clocks":    {CodecPolicy{Only: []string{"L16/44100", "PCMA"}}, "8 101 102 13", "100 101 102", nil},
		"video too":       {CodecPolicy{Only: []string{"PCMA", "H264"}}, "8 101 102 13", "101", []string{"a=rtcp-fb:100", "apt=100"}},
		"blocked":         {CodecPolicy{Block: []string{"opus", "telephone-event/48000", "cn", "rtx"}}, "8 0 9 97 101", "100 101", []string{"a=rtpmap:102"}},
		"only and not it": {CodecPolicy{Only: []string{"PCMA", "PCMU"}, Block: []string{"pcma"}}, "0 101 102 13", "100 101 102", nil},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEngine(t, func(cfg *Config) { cfg.Codecs = c.policy })
			out, err := newSession(t, e).Offer(A, []byte(head+manyCodecs), loop4, loop4)
			if err != nil {
				t.Fatal(err)
			}
			d, err := parseSDP(out)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(d.sections[0].formats, " "); got != c.audio {
				t.Errorf("audio %s, want %s", got, c.audio)
			}
			if got := strings.Join(d.sections[1].formats, " "); got != c.video {
				t.Errorf("video %s, want %s", got, c.video)
			}
			for _, line := range c.gone {
				if strings.Contains(string(out), line) {
					t.Errorf("%s is left in\n%s", line, out)
				}
			}
			if !hasLine(out, "a=rtcp-fb:* ccm fir") {
				t.Errorf("%s", out)
			}
		})
	}
}

func TestMediaWithoutAnAllowedCodecIsRejectedAndTheRestGoesOn(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.Codecs.Only = []string{"PCMA", "VP9"} })
	s := newSession(t, e)
	out, err := s.Offer(A, []byte(head+manyCodecs), loop4, loop4)
	if err != nil || !hasLine(out, "m=video 0 RTP/AVPF 100 101 102\r\n") || !hasLine(out, "m=audio 2") {
		t.Errorf("%v\n%s", err, out)
	}
	_, err = s.Offer(A, []byte(head+"m=audio 0 RTP/AVP 8\r\nm=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"), loop4, loop4)
	var r *RejectError
	if want := `305 tandem "Line 7, m=audio: None of its codecs is allowed here"`; !errors.As(err, &r) || r.Status != 488 || r.Warning != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if got := e.Stats().Rejected; got != 1 {
		t.Errorf("%d rejected", got)
	}
}

func TestCodecPolicyIsCheckedAtTheStart(t *testing.T) {
	for _, p := range []CodecPolicy{{Only: []string{""}}, {Only: []string{"a b"}}, {Block: []string{"opus/0"}}, {Only: []string{"telephone-event"}}, {Only: []string{"x/y"}}} {
		if _, err := New(Config{Bind: []netip.Addr{loop4}, Codecs: p}); err == nil {
			t.Errorf("%v: accepted", p)
		}
	}
}
