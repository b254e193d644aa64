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

// A proxy chooses what of an offer counts, and what the other side is told of it.
func TestAProxyChoosesCodecs(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		sdp := "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 0 9 101\r\na=rtpmap:101 telephone-event/8000\r\n"
		for i, c := range []struct {
			flags         []any
			want, warning string
		}{
			{[]any{"codec-strip-PCMU"}, " RTP/AVP 8 9 101\r\n", ""},
			{[]any{"codec-strip-all", "codec-except-G722"}, " RTP/AVP 9 101\r\n", ""},
			{[]any{"codec-offer-G722/8000", "codec-offer-PCMU", "codec-offer-telephone-event"}, " RTP/AVP 9 0 101\r\n", ""},
			{[]any{"codec-mask-PCMA", "codec-mask-G722"}, " RTP/AVP 0 101\r\n", ""},
			{[]any{"codec-strip-telephone-event"}, " RTP/AVP 8 0 9\r\n", ""},
			{[]any{"codec-strip-all"}, " RTP/AVP 8 0 9 101\r\n", "codec-strip-all without codec-except or codec-offer"},
			{[]any{"codec-set-opus/48000", "codec-strip-b@d"}, " RTP/AVP 8 0 9 101\r\n", "codec b@d, codec-set-opus/48000"},
		} {
			got := w.ask(dict{"command": "offer", "call-id": string(rune('a' + i)), "from-tag": "t", "sdp": sdp, "flags": c.flags})
			if !strings.Contains(got.text("sdp"), c.want) || !strings.Contains(got.text("warning"), c.warning) {
				t.Errorf("%v: got %v", c.flags, got)
			}
		}
		got := w.ask(dict{"command": "offer", "call-id": "none", "from-tag": "t", "sdp": strings.Replace(sdp, " 8 0 9 101", " 8", 1), "flags": []any{"codec-mask-PCMA"}})
		if got.text("result") != "error" {
			t.Errorf("nothing is left: %v", got)
		}
		w.ask(dict{"command": "delete", "call-id": "none", "from-tag": "t"})
		got = w.ask(dict{"command": "offer", "call-id": "made", "from-tag": "t", "sdp": strings.Replace(sdp, " 8 0 9 101", " 8", 1), "flags": []any{"codec-mask-PCMA", "codec-transcode-PCMU"}})
		if !strings.Contains(got.text("sdp"), " RTP/AVP 0\r\n") {
			t.Errorf("masked and made: %v", got)
		}
	})
}

// How the other side speaks is what the proxy says, else what the offer says.
func TestAProxyBridgesBrowsers(t *testing.T) {
	head := "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n"
	plain := head + "m=audio 4000 RTP/AVP 8\r\n"
	web := head + "m=audio 4000 UDP/TLS/RTP/SAVPF 8\r\na=mid:0\r\na=rtcp-mux\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\n" +
		"a=fingerprint:sha-256 " + strings.Repeat("AB:", 31) + "AB\r\n"
	inWorld(t, nil, func(w *world) {
		for i, c := range []struct {
			sdp   string
			wish  dict
			want  []string
			never []string
		}{
			{plain, dict{"transport-protocol": "UDP/TLS/RTP/SAVPF", "ICE": "force"}, []string{" UDP/TLS/RTP/SAVPF 8", "a=ice-ufrag:", "a=fingerprint:sha-256 ", "a=setup:actpass", "a=rtcp-mux", "a=candidate:"}, nil},
			{plain, dict{"flags": []any{"UDP/TLS/RTP/SAVP"}}, []string{" UDP/TLS/RTP/SAVP 8", "a=fingerprint:"}, []string{"a=ice-", "a=candidate"}},
			{plain, dict{"ICE": "force"}, []string{" RTP/AVP 8", "a=ice-ufrag:", "a=candidate:"}, []string{"a=fingerprint"}},
			{web, dict{"transport-protocol": "RTP/AVP", "ICE": "remove"}, []string{" RTP/AVP 8"}, []string{"a=ice-", "a=fingerprint", "a=crypto", "a=setup"}},
			{web, dict{"transport-protocol": "RTP/SAVP"}, []string{" RTP/SAVP 8", "a=crypto:"}, []string{"a=ice-", "a=fingerprint"}},
			{web, dict{"transport-protocol": "RTP/AVP", "OSRTP": []any{"offer"}}, []string{" RTP/AVP 8", "a=crypto:"}, []string{"a=fingerprint"}},
			{web, dict{}, []string{" UDP/TLS/RTP/SAVPF 8", "a=ice-ufrag:"}, []string{"abcdefghijkl"}},
			{web, dict{"DTLS": "off", "ICE": "remove"}, []string{" RTP/AVP 8"}, []string{"a=fingerprint"}},
			{web, dict{"ICE": "remove"}, []string{" UDP/TLS/RTP/SAVP 8", "a=fingerprint:"}, []string{"a=ice-"}},
		} {
			ask := dict{"command": "offer", "call-id": string(rune('a' + i)), "from-tag": "t", "sdp": c.sdp}
			for key, value := range c.wish {
				ask[key] = value
			}
			got := w.ask(ask)
			for _, want := range c.want {
				if !strings.Contains(got.text("sdp"), want) {
					t.Errorf("%v: %q is missing in %v", c.wish, want, got)
				}
			}
			for _, never := range c.never {
				if strings.Contains(got.text("sdp"), never) {
					t.Errorf("%v: %q in %v", c.wish, never, got)
				}
			}
		}
		for call, proto := range map[string]string{"a": "RTP/SAVPF", "b": "RTP/AVP"} { // never a silent downgrade
			answer := dict{"command": "answer", "call-id": call, "from-tag": "t", "to-tag": "u", "sdp": strings.Replace(plain, "RTP/AVP", proto, 1)}
			if got := w.ask(answer); got.text("result") != "error" {
				t.Errorf("an answer without DTLS to an offer of it: %v", got)
			}
		}
		got := w.ask(dict{"command": "answer", "call-id": "c", "from-tag": "t", "to-tag": "u", "sdp": plain})
		if got.text("result") != "ok" {
			t.Errorf("an answer without ICE: %v", got)
		}
		got = w.ask(dict{"command": "answer", "call-id": "g", "from-tag": "t", "to-tag": "u", "sdp": strings.Replace(web, "actpass", "active", 1)})
		if sdp := got.text("sdp"); !strings.Contains(sdp, " UDP/TLS/RTP/SAVPF 8") || !strings.Contains(sdp, "a=ice-ufrag:") || strings.Contains(sdp, "abcdefghijkl") {
			t.Errorf("between browsers: %v", got)
		}
		got = w.ask(dict{"command": "offer", "call-id": "no", "from-tag": "t", "sdp": plain, "transport-protocol": "UDP/TLS/RTP/SAVPF", "DTLS": "off"})
		if got.text("result") != "error" {
			t.Errorf("%v", got)
		}
	})
}
