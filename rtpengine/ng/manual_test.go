package ng

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"tandem/rtpengine"
)

// fate is what becomes of a flag.
type fate uint8

const (
	obeyed  fate = iota // in the description, or because things are so anyway: no warning
	said                // in the warning and in the log
	refused             // with an error
)

// webSDP is a browser's offer, as short as it may be.
const webSDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=fingerprint:sha-256 " +
	"12:34:56:78:9A:BC:DE:F0:12:34:56:78:9A:BC:DE:F0:12:34:56:78:9A:BC:DE:F0:12:34:56:78:9A:BC:DE:F0\r\na=setup:actpass\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n" +
	"m=audio 9 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=rtcp-mux\r\na=sendrecv\r\na=candidate:1 1 udp 2130706431 127.0.0.1 4000 typ host\r\n"

// TestEachFlagOfTheManualsIsObeyedOrSpokenOf: what Kamailio's and OpenSIPS's modules hand on, and what rtpengine's own parser knows. None may be without
// effect and without a word.
func TestEachFlagOfTheManualsIsObeyedOrSpokenOf(t *testing.T) {
	secret := strings.Replace(phoneSDP(4000, "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"), "RTP/AVP", "RTP/SAVP", 1)
	video := phoneSDP(4000, "a=extmap:1 urn:x", "a=extmap:2 urn:y", "m=video 4002 RTP/AVP 96", "a=rtpmap:96 VP8/90000")
	fax := phoneSDP(4000, "m=image 4002 udptl t38", "a=T38FaxVersion:0")
	for _, c := range []struct {
		say  string
		fate fate
		sdp  string // phoneSDP when empty
		has  string // of the description that comes back, or of the error
		not  string
	}{
		// Transports, in all their forms.
		{say: "RTP/SAVP", has: "RTP/SAVP 0"},
		{say: "SRTP AVPF", has: "RTP/SAVPF 0"},
		{say: "AVPF", has: "RTP/AVPF 0"},
		{say: "RTP AVP", sdp: secret, has: "RTP/AVP 0", not: "a=crypto"},
		{say: "DTLS", has: "UDP/TLS/RTP/SAVP 0"},
		{say: "transport-protocol=UDP/TLS/RTP/SAVPF", has: "a=fingerprint:"},
		{say: "UDP/TLS/RTP/SAVPF ICE=force rtcp-mux-offer", has: "a=ice-ufrag:"},
		{say: "WebRTC", has: "UDP/TLS/RTP/SAVPF 0", not: "a=rtcp:"},
		{say: "webrtc", has: "a=mid:"},
		{say: "transport-protocol=TCP/BFCP", fate: refused, has: "transport-protocol"},
		{say: "transport-protocol=accept"},

		// Keys.
		{say: "RTP/SAVP SDES-off", fate: refused, has: "no way to agree on keys"},
		{say: "RTP/SAVP sdes=off", fate: refused, has: "no way to agree on keys"},
		{say: "SDES=off", sdp: secret, not: "a=crypto", has: "RTP/AVP 0"},
		{say: "RTP/SAVP SDES-only-AES_CM_128_HMAC_SHA1_80 SDES-pad SDES=static", not: "AEAD"},
		{say: "RTP/SAVP SDES=[no-AEAD_AES_128_GCM no-AEAD_AES_256_GCM]", not: "AEAD"},
		{say: "RTP/SAVP SDES-unencrypted_srtp", fate: said},
		{say: "RTP/SAVP SDES-UNAUTHENTICATED_SRTP", fate: said},
		{say: "RTP/SAVP SDES-lifetime", fate: said},
		{say: "RTP/SAVP SDES-nonew", fate: said},
		{say: "RTP/SAVP SDES-order:AES_CM_128_HMAC_SHA1_80;", fate: said},
		{say: "OSRTP-offer", has: "a=crypto"},
		{say: "osrtp=offer-rfc", has: "a=crypto"},
		{say: "OSRTP-accept"},
		{say: "OSRTP-offer-legacy", fate: said},
		{say: "DTLS=off", sdp: webSDP, has: "RTP/AVP 0", not: "fingerprint"},
		{say: "dtls=disabled UDP/TLS/RTP/SAVPF", fate: refused, has: "DTLS=off"},
		{say: "DTLS=passive"},
		{say: "DTLS=active"},
		{say: "DTLS-reverse=passive", fate: said},
		{say: "DTLS-fingerprint=SHA-256"},
		{say: "DTLS-fingerprint=sha-1", fate: said},
		{say: "no-tls-id", sdp: webSDP, not: "tls-id"},
		{say: "recrypt"},
		{say: "pad-crypto"},
		{say: "passthrough=on", fate: said},

		// ICE.
		{say: "ICE=force", has: "a=candidate:"},
		{say: "ice=force", has: "a=candidate:"},
		{say: "ICE=remove RTP/AVP", sdp: webSDP, not: "a=ice"},
		{say: "ICE=default"},
		{say: "ICE=optional"},
		{say: "ICE=force-relay", fate: refused, has: "ICE=force-relay is not available"},
		{say: "ICE=force_relay", fate: refused, has: "ICE=force-relay is not available"},
		{say: "ICE=[force trickle lite-both]", has: "a=candidate:"},
		{say: "ICE=ice2", fate: said},
		{say: "ICE-lite=both"},
		{say: "ICE-lite=off", fate: said},
		{say: "trickle-ICE"},
		{say: "reject-ICE"},
		{say: "rtcp-mux-offer", has: "a=rtcp-mux"},
		{say: "rtcp-mux=[offer require]", has: "a=rtcp-mux"},
		{say: "rtcp-mux-demux", sdp: phoneSDP(4000, "a=rtcp-mux"), not: "a=rtcp-mux"},
		{say: "rtcp-mux-strange", fate: said},
		{say: "bundle-offer", fate: said},

		// Codecs.
		{say: "codec-strip-PCMU", sdp: strings.Replace(phoneSDP(4000), "AVP 0 ", "AVP 0 8 ", 1), not: "AVP 0"},
		{say: "codec-strip=PCMU", sdp: strings.Replace(phoneSDP(4000), "AVP 0 ", "AVP 0 8 ", 1), not: "AVP 0"},
		{say: "codec=[strip=[PCMU]]", sdp: strings.Replace(phoneSDP(4000), "AVP 0 ", "AVP 0 8 ", 1), not: "AVP 0"},
		{say: "transcode=G722", has: "RTP/AVP 0 101 9\r\n"},
		{say: "transcode-G722", has: "RTP/AVP 0 101 9\r\n"},
		{say: "codec-transcode=G722", has: "RTP/AVP 0 101 9\r\n"},
		{say: "codec-transcode-G722", has: "RTP/AVP 0 101 9\r\n"},
		{say: "codec-mask-all", fate: said},
		{say: "codec-set=opus/48000/2/16000", fate: said},
		{say: "codec-accept-G722", fate: said},
		{say: "codec-consume-PCMU", fate: said},
		{say: "always-transcode", fate: said},
		{say: "force-transcoding", fate: said},
		{say: "single-codec", fate: said},
		{say: "reuse-codecs", fate: said},
		{say: "static-codecs", fate: said},
		{say: "allow-no-codec-media", fate: said},
		{say: "allow-asymmetric-codecs"},
		{say: "transcode-telephone-event", has: "RTP/AVP 0 101\r\n"},
		{say: "ptime=30", has: "a=ptime:30"},
		{say: "ptime=30", sdp: phoneSDP(4000, "a=ptime:20"), has: "a=ptime:30", not: "a=ptime:20"},
		{say: "ptime=25", fate: said, has: "a=ptime:25"},
		{say: "ptime=x", fate: said},
		{say: "ptime-reverse=30", not: "a=ptime"},
		{say: "repacketize=30", fate: said},

		// Fax.
		{say: "", sdp: fax, has: "udptl t38"},
		{say: "T38-decode"},
		{say: "T38-decode", sdp: fax, fate: refused, has: "T.38=decode is not available"},
		{say: "T.38=force", fate: refused, has: "T.38=force is not available"},
		{say: "t38=gateway", fate: refused, has: "T.38=gateway is not available"},
		{say: "T38-stop T38-no-ECM T38-no-V.17", sdp: fax, has: "udptl t38"},

		// Addresses and latching.
		{say: "trust-address symmetric strict-source port-latching reset"},
		{say: "asymmetric NAT-wait nat-wait"},
		{say: "sip-source-address"},
		{say: "media-handover", fate: said},
		{say: "pierce-NAT", fate: said},
		{say: "no-port-latching", fate: said},
		{say: "endpoint-learning-off", fate: said},
		{say: "endpoint-learning=immediate"},
		{say: "media-address=192.0.2.9", has: "IN IP4 192.0.2.9"},
		{say: "media-address=nonsense", fate: refused, has: "media-address"},
		{say: "address-family=IP6", has: "IN IP6 ::1"},
		{say: "address-family=IP9", fate: refused, has: "address family"},
		{say: "received-from=192.0.2.1"},
		{say: "direction=internal direction=external"},
		{say: "direction=pub direction=priv", fate: said},
		{say: "from-interface=pub", fate: said},
		{say: "outbound-peer=192.0.2.1", fate: said},
		{say: "TOS=184"},
		{say: "TOS=0", fate: said},

		// The rest of a description.
		{say: "replace-origin replace-session-connection replace-SDP-version replace-zero-address"},
		{say: "replace-username", fate: said},
		{say: "replace-session-name", fate: said},
		{say: "replace-origin-full", fate: said},
		{say: "no-rtcp-attribute", not: "a=rtcp:"},
		{say: "full-rtcp-attribute full-RTCP-attribute"},
		{say: "generate-mid", has: "a=mid:"},
		{say: "loop-protect", has: "a=tandem-ng:"},
		{say: "original-sendrecv provisional new-branch unidirectional"},
		{say: "strip-extmap", sdp: video, not: "a=extmap"},
		{say: "extmap=[strip=[urn:x]]", sdp: video, has: "a=extmap:2 urn:y", not: "urn:x"},
		{say: "extmap=[mask=[all]]", sdp: video, fate: said},
		{say: "sdp-media-remove=[video]", sdp: video, has: "m=video 0 "},
		{say: "sdp-media-remove-video", sdp: video, has: "m=video 0 "},
		{say: "sdp-attr-add-none-tool:x", has: "a=tool:x"},
		{say: "sdp-attr=[audio=[add=[tool:x]]]", has: "a=tool:x"},
		{say: "supports=[load-limit]"},
		{say: "label=caller set-label=x to-label=callee"},

		// What is done to the call.
		{say: "record-call", fate: said}, // there is no place for recordings here
		{say: "record-call=off"},
		{say: "exclude-recording"},
		{say: "recording-file=/x.wav", fate: said},
		{say: "recording-announcement", fate: said},
		{say: "metadata=x", fate: said},
		{say: "block-DTMF"},
		{say: "DTMF-security=tone", fate: said},
		{say: "trigger=123", fate: said},
		{say: "DTMF-log-dest=192.0.2.1:9", fate: said},
		{say: "xmlrpc-callback=192.0.2.1", fate: said},
		{say: "detect-DTMF", fate: said},
		{say: "inject-DTMF", fate: said},
		{say: "generate-RTCP=on", fate: said},
		{say: "generate-RTCP", fate: said},
		{say: "drop-traffic=start"},
		{say: "drop-traffic=maybe", fate: said},
		{say: "media-echo=both", fate: said},
		{say: "audio-player=always", fate: said},
		{say: "delay-buffer=100", fate: said},
		{say: "moh=[file=x]", fate: said},
		{say: "template=x", fate: said},
		{say: "alias-key=off"},
		{say: "alias-key=SDP", fate: said},
		{say: "debug skip-recording-db SIP-message-type=x sip-code=200"},
		{say: "never-heard-of-it", fate: said},
	} {
		sdp := c.sdp
		if sdp == "" {
			sdp = phoneSDP(4000)
		}
		inWorld(t, nil, func(w *world) {
			ask := offer("a", "", sdp, "rtpp-flags", c.say)
			delete(ask, "ICE")
			got := w.ask(ask)
			text := got.text("sdp")
			switch {
			case c.fate == refused && got["result"] != "error", c.fate != refused && got["result"] != "ok":
				t.Errorf("%q: %v", c.say, got)
			case c.fate == refused:
				text = got.text("error-reason")
			case c.fate == said != (got["warning"] != nil):
				t.Errorf("%q: warning %v", c.say, got["warning"])
			}
			if !strings.Contains(text, c.has) || c.not != "" && strings.Contains(text, c.not) {
				t.Errorf("%q: want %q and not %q in\n%s", c.say, c.has, c.not, text)
			}
		})
	}
}

// What is not done stands in the node's log, once: neither Kamailio nor OpenSIPS reads the warning of an answer.
func TestWhatIsNotDoneIsInTheLogOnce(t *testing.T) {
	var log strings.Builder
	change := func(_ *rtpengine.Config, c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) }
	inWorld(t, change, func(w *world) {
		for range 3 {
			w.ok(offer("a", "", phoneSDP(4000), "flags", list("pierce-NAT")))
		}
		if got := strings.Count(log.String(), "flag=pierce-NAT"); got != 1 {
			t.Errorf("it is said %d times in\n%s", got, log.String())
		}
		if w.server.Stats().Ignored != 3 {
			t.Errorf("%d counted", w.server.Stats().Ignored)
		}
	})
}

func TestTheLengthOfPacketsIsAskedForOnEachSide(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		there := w.ok(offer("a", "", phoneSDP(4000, "a=ptime:20"), "ptime", int64(30), "ptime reverse", int64(40)))
		back := w.ok(answer("a", "b", phoneSDP(5000, "a=ptime:30"), "ptime", int64(60)))
		if !strings.Contains(there, "a=ptime:30\r\n") || strings.Count(there, "a=ptime") != 1 || !strings.Contains(back, "a=ptime:40\r\n") || strings.Count(back, "a=ptime") != 1 {
			t.Errorf("offered\n%s\nanswered\n%s", there, back)
		}
	})
}

// An offerer whose ICE is rejected is answered by plain RTP.
func TestICEIsRejectedTowardsTheOfferer(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		ice := []string{"a=ice-ufrag:abcd", "a=ice-pwd:abcdefghijklmnopqrstuvwx", "a=candidate:1 1 udp 2130706431 127.0.0.1 4000 typ host"}
		w.ok(offer("a", "", phoneSDP(4000, ice...), "flags", list("reject-ICE")))
		if back := w.ok(answer("a", "b", phoneSDP(5000))); strings.Contains(back, "a=ice") || strings.Contains(back, "a=candidate") {
			t.Error(back)
		}
		w.ok(dict{"command": "delete", "call-id": "c1"})
		w.ok(offer("a", "", phoneSDP(4000, ice...)))
		if back := w.ok(answer("a", "b", phoneSDP(5000))); !strings.Contains(back, "a=ice-ufrag") {
			t.Error(back)
		}
	})
}

// Who begins the handshake is the proxy's choice where the offerer leaves it open.
func TestTheHandshakeIsBegunByWhomTheProxySays(t *testing.T) {
	for _, c := range []struct{ dtls, setup, want string }{
		{"", "actpass", "active"}, {"passive", "actpass", "passive"}, {"active", "actpass", "active"}, {"passive", "passive", "active"}, {"active", "active", "passive"},
	} {
		inWorld(t, nil, func(w *world) {
			ask := offer("a", "", strings.Replace(webSDP, "setup:actpass", "setup:"+c.setup, 1), "ICE", "remove", "transport-protocol", "RTP/AVP")
			if c.dtls != "" {
				ask["DTLS"] = c.dtls
			}
			w.ok(ask)
			if back := w.ok(answer("a", "b", phoneSDP(5000))); !strings.Contains(back, "a=setup:"+c.want) {
				t.Errorf("%+v:\n%s", c, back)
			}
		})
	}
}

// News of candidates comes as an INFO (RFC 8840): the call stays as it is.
func TestNewsOfCandidatesChangesNoCall(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.ok(offer("a", "", webSDP, "transport-protocol", "RTP/AVP"))
		w.ok(answer("a", "b", phoneSDP(5000)))
		const news = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:2 1 udp 1 127.0.0.1 4001 typ host\r\n"
		if got := w.ask(offer("a", "b", news, "flags", list("fragment"))); got["result"] != "ok" || got["sdp"] != nil {
			t.Errorf("%v", got)
		}
		if got := w.ask(offer("a", "b", news, "flags", list("fragment"), "call-id", "another")); got["result"] != "error" {
			t.Errorf("%v", got)
		}
		w.sessions(1)
	})
}

func TestACallThatTheProxyExcludesIsNotRecorded(t *testing.T) {
	change := func(ec *rtpengine.Config, _ *Config) { ec.Recording.Dir = t.TempDir() }
	inWorld(t, change, func(w *world) {
		w.ok(offer("a", "", phoneSDP(4000), "record-call", "on"))
		w.ok(answer("a", "b", phoneSDP(5000)))
		if files := w.ask(dict{"command": "start recording", "call-id": "c1"})["recording-files"]; files == nil {
			t.Fatal("it could not be recorded before either")
		}
		w.ok(offer("a", "b", phoneSDP(4000), "record-call", "off"))
		if got := w.ask(dict{"command": "stop recording", "call-id": "c1"})["warning"]; got == nil {
			t.Error("record-call=off left it running")
		}
		w.ok(answer("a", "b", phoneSDP(5000), "flags", list("exclude-recording")))
		if reason := w.refused(dict{"command": "start recording", "call-id": "c1"}); !strings.Contains(reason, "excluded") {
			t.Error(reason)
		}
		if got := w.ask(offer("a", "b", phoneSDP(4000), "record-call", "on"))["warning"]; got == nil {
			t.Error("nobody says that it is not recorded")
		}
	})
}

// What acts on a call in progress says what it cannot do, too.
func TestWhatAnInterventionLacksIsSaid(t *testing.T) {
	change := func(ec *rtpengine.Config, _ *Config) { ec.Recording.Dir = t.TempDir() }
	inWorld(t, change, func(w *world) {
		w.ok(offer("a", "", phoneSDP(4000)))
		w.ok(answer("a", "b", phoneSDP(5000)))
		for _, c := range []struct {
			command string
			more    []any
			want    string // of the warning; "" for none
		}{
			{"play media", []any{"from-tag", "a", "file", "tone:busy:de", "repeat-times", int64(2), "flags", list("block-egress")}, ""},
			{"play media", []any{"from-tag", "a", "file", "tone:busy:de", "codec", dict{"set": list("opus")}}, "not available here: codec"},
			{"stop media", []any{"from-tag", "a"}, ""},
			{"stop media", []any{"from-tag", "a", "moh", "x"}, "not available here: moh; nothing was playing"},
			{"play DTMF", []any{"from-tag", "a", "code", "5"}, ""},
			{"play DTMF", []any{"from-tag", "a", "code", "5", "duration", int64(500), "volume", int64(8)}, "not available here: duration, volume"},
			{"block DTMF", []any{"DTMF-security", "drop"}, ""},
			{"block DTMF", []any{"trigger", "123"}, "not available here: trigger"},
			{"unblock DTMF", nil, ""},
			{"start recording", []any{"recording-file", "/x.wav", "metadata", "x"}, "not available here: metadata, recording-file"},
			{"stop recording", nil, ""},
		} {
			ask := opensips(c.command, c.more...)
			if got := w.ask(ask); got["result"] != "ok" || got.text("warning") != c.want {
				t.Errorf("%v\ngot  %v\nwant %q", ask, got, c.want)
			}
		}
		w.ok(opensips("start recording"))
		if reason := w.refused(opensips("stop recording", "flags", list("discard-recording"))); !strings.Contains(reason, "its file stays") {
			t.Error(reason)
		}
		if got := w.ask(opensips("stop recording")); got["warning"] == nil {
			t.Error("the recording went on")
		}
	})
}

// opensips is what its module sends besides call-id, tags and sdp: modules/rtpengine/rtpengine.c, rtpe_function_call_prepare.
func opensips(command string, more ...any) dict {
	d := dict{"command": command, "call-id": "c1", "received-from": list("IP4", "127.0.0.1")}
	for i := 0; i+1 < len(more); i += 2 {
		d[more[i].(string)] = more[i+1]
	}
	return d
}

// TestACallOfOpenSIPS: it writes its flags into other places than Kamailio, deletes by call-id alone, plays to whom it names, and says nothing of "load limit".
func TestACallOfOpenSIPS(t *testing.T) {
	full := func(ec *rtpengine.Config, _ *Config) { ec.MaxSessions, ec.Recording.Dir = 1, t.TempDir() }
	inWorld(t, full, func(w *world) {
		there := w.ok(opensips("offer", "from-tag", "a", "sdp", phoneSDP(4000), "flags", list("trust-address", "SDES-no-AEAD_AES_256_GCM", "transcode-G722"),
			"replace", list("origin", "SDP version", "zero address"), "transport-protocol", "RTP/SAVP", "rtcp-mux", list("demux"), "ICE", "remove",
			"address family", "IP4", "delete-delay", int64(0)))
		if !strings.Contains(there, "RTP/SAVP 0 101 9") || strings.Contains(there, "256_GCM") {
			t.Error(there)
		}
		secret := strings.Replace(phoneSDP(5000, "a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"), "RTP/AVP", "RTP/SAVP", 1)
		w.ok(opensips("answer", "from-tag", "a", "to-tag", "b", "flags", list("trust-address"), "sdp", secret))

		reason := w.refused(opensips("offer", "call-id", "c2", "from-tag", "x", "sdp", phoneSDP(4000)))
		if !slices.Contains([]string{"Parallel session limit reached", "Ran out of ports", "CPU usage limit exceeded", "Load limit exceeded", "Bandwidth limit exceeded"}, reason) {
			t.Errorf("%q is no word by which OpenSIPS asks another engine", reason)
		}

		// rtp_relay acts without a message: nobody's address, the tags that it was given.
		nobody := opensips("offer", "from-tag", "a", "to-tag", "b", "sdp", phoneSDP(4000), "received-from", []any{})
		w.ok(nobody)
		w.ok(opensips("answer", "from-tag", "a", "to-tag", "b", "received-from", []any{}, "sdp", secret))

		w.ok(opensips("play media", "from-tag", "b", "flags", list("directional"), "file", "tone:busy:de"))
		w.ok(opensips("stop media", "from-tag", "b", "flags", list("directional")))
		if reason := w.refused(opensips("play media", "file", "tone:busy:de")); !strings.Contains(reason, "all") {
			t.Error(reason)
		}
		w.ok(opensips("play media", "flags", list("all"), "file", "tone:busy:de"))
		w.ok(opensips("stop media", "flags", list("all")))
		w.ok(opensips("block DTMF", "flags", list("directional"), "from-tag", "a"))
		w.ok(opensips("unblock DTMF"))
		w.ok(opensips("block media"))
		w.ok(opensips("unblock media"))
		w.ok(opensips("play DTMF", "from-tag", "a", "to-tag", "b", "code", "5"))
		w.ok(opensips("start recording", "from-tag", "a", "to-tag", "b"))
		w.refused(opensips("pause recording", "from-tag", "a", "to-tag", "b"))
		w.ok(opensips("stop recording", "from-tag", "a", "to-tag", "b"))
		for _, command := range []string{"start forwarding", "stop forwarding", "subscribe request", "subscribe answer", "unsubscribe"} {
			if reason := w.refused(opensips(command, "from-tag", "a")); reason != command+" is not available in Tandem" {
				t.Errorf("%s: %s", command, reason)
			}
		}
		if got := w.ask(opensips("query", "from-tag", "a", "to-tag", "b")); got["SSRC"] == nil || got["tags"] == nil {
			t.Errorf("%v", got)
		}
		if w.ask(dict{"command": "ping"})["result"] != "pong" {
			t.Error("no pong")
		}
		w.ok(opensips("delete"))
		w.sessions(0)
	})
}
