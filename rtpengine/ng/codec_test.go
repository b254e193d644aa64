package ng

import (
	"strings"
	"testing"
)

// The proxy says what may be transcoded, as it does for rtpengine: by flags or by a dictionary. Without a word nothing is.
func TestAProxyAsksForTranscoding(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		sdp := "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n"
		for i, c := range []struct {
			wish dict
			want string
		}{
			{dict{}, " RTP/AVP 8\r\n"},
			{dict{"codec": dict{"transcode": []any{"PCMU", "G722/8000/1"}}}, " RTP/AVP 8 0 9\r\n"},
			{dict{"flags": []any{"codec-transcode-PCMU"}}, " RTP/AVP 8 0\r\n"},
			{dict{"flags": []any{"transcode-G722", "transcode-G729"}}, " RTP/AVP 8 9\r\n"},
		} {
			ask := dict{"command": "offer", "call-id": string(rune('a' + i)), "from-tag": "t", "sdp": sdp}
			for key, value := range c.wish {
				ask[key] = value
			}
			if got := w.ask(ask).text("sdp"); !strings.Contains(got, c.want) {
				t.Errorf("%v: got %q", c.wish, got)
			}
		}
	})
}
