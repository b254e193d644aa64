package ng

import (
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"tandem/rtpengine"
)

// plainKeys are random in every run.
func withoutKeys(sdp string) string {
	return editLines(sdp, func(line string) string {
		if rest, ok := strings.CutPrefix(line, "a=crypto:"); ok {
			words := strings.Fields(rest)
			return "a=crypto:" + words[0] + " " + words[1]
		}
		return line
	})
}

func TestTheFlagsOfAProxyInEachOfTheirForms(t *testing.T) {
	for _, c := range []struct{ ask, want dict }{
		{
			dict{"media address": "192.0.2.1", "record_call": "on", "flags": list("trust address", "SDES-no-AES_CM_128_HMAC_SHA1_32", "replace-origin", "RTP/SAVPF", "codec-strip-PCMA", "transcode-opus")},
			dict{
				"media-address": "192.0.2.1", "record-call": "on", "flags": list("trust-address"), "SDES": list("no-AES_CM_128_HMAC_SHA1_32"), "replace": list("origin"),
				"transport-protocol": "RTP/SAVPF", "codec": list("strip-PCMA", "transcode-opus"),
			},
		},
		{
			dict{"rtpp-flags": "replace-origin strict-source label=callee OSRTP-accept transport-protocol=RTP/AVP address-family=IP4"},
			dict{"flags": list("strict-source"), "replace": list("origin"), "label": "callee", "OSRTP": list("accept"), "transport-protocol": "RTP/AVP", "address-family": "IP4"},
		},
		{
			dict{"rtpp-flags": "OSRTP=[accept] codec=[transcode=[PCMA PCMU] accept=[AMR-WB AMR] strip=[EVS]]", "flags": list("codec-strip-all")},
			dict{"flags": list(), "OSRTP": list("accept"), "codec": dict{"transcode": list("PCMA", "PCMU"), "accept": list("AMR-WB", "AMR"), "strip": list("EVS"), "": list("strip-all")}},
		},
		{
			dict{"codec": dict{"strip": list("EVS")}, "rtpp-flags": "codec=x"},
			dict{"codec": dict{"strip": list("EVS"), "": list("x")}},
		},
	} {
		got, err := normal(c.ask)
		if got["flags"] == nil && c.want["flags"] != nil || err != nil {
			t.Errorf("%v: %v", c.ask, err)
		}
		if len(got.words("flags")) == 0 && len(c.want.words("flags")) == 0 {
			delete(got, "flags")
			delete(c.want, "flags")
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v:\ngot  %v\nwant %v", c.ask, got, c.want)
		}
	}
	for _, text := range []string{"a=[b", "a]", "[a]", strings.Repeat("a=[", 20), strings.Repeat("x", maxFlags+1), "a=[b=[c]"} {
		if got, err := normal(dict{"rtpp-flags": text}); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

func TestHowTheOtherSideIsOfferedMediaIsTheProxysChoice(t *testing.T) {
	secret := strings.Replace(phoneSDP(4000, "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"), "RTP/AVP", "RTP/SAVP", 1)
	for _, c := range []struct {
		name  string
		sdp   string
		flags []any
		has   []string
		not   []string
	}{
		{"SRTP for a plain caller", phoneSDP(4000), list("RTP/SAVP"), []string{"RTP/SAVP 0", "a=crypto:1 AEAD_AES_128_GCM", "AES_CM_128_HMAC_SHA1_80"}, nil},
		{"with feedback and one suite", phoneSDP(4000), list("RTP/SAVPF", "SDES-only-AES_CM_128_HMAC_SHA1_80"), []string{"RTP/SAVPF 0", "a=crypto:3 AES_CM_128_HMAC_SHA1_80"}, []string{"GCM", "SHA1_32"}},
		{"without one suite", phoneSDP(4000), list("RTP/SAVP", "SDES-no-AEAD_AES_128_GCM"), []string{"AEAD_AES_256_GCM"}, []string{"AEAD_AES_128_GCM"}},
		{"plain RTP for a caller with SRTP", secret, list("RTP/AVP"), []string{"RTP/AVP 0"}, []string{"crypto", "SAVP"}},
		{"as the caller says", secret, nil, []string{"RTP/SAVP 0", "a=crypto:"}, nil},
		{"opportunistic", phoneSDP(4000), list("RTP/AVP", "OSRTP-offer"), []string{"RTP/AVP 0", "a=crypto:"}, nil},
		{"no keys at all", phoneSDP(4000), list("SDES-off", "OSRTP-offer"), []string{"RTP/AVP 0"}, []string{"crypto"}},
		{"rtcp-mux for who did not ask", phoneSDP(4000), list("rtcp-mux-offer"), []string{"a=rtcp-mux"}, nil},
		{"rtcp-mux withheld", phoneSDP(4000, "a=rtcp-mux"), list("rtcp-mux-demux"), nil, []string{"a=rtcp-mux"}},
		{"media ids", phoneSDP(4000), list("generate-mid"), []string{"a=mid:1"}, nil},
		{"the media ids that are there", phoneSDP(4000, "a=mid:audio"), list("generate-mid"), []string{"a=mid:audio"}, []string{"a=mid:1"}},
		{
			"attributes", phoneSDP(4000, "a=ptime:20", "a=maxptime:40"), list("sdp-attr-add-none-tool..of--mine", "sdp-attr-substitute-audio-ptime:20>ptime:30", "sdp-attr-remove-audio-maxptime"),
			[]string{"t=0 0\r\na=tool of=mine\r\nm=", "a=ptime:30"},
			[]string{"ptime:20", "maxptime"},
		},
	} {
		inWorld(t, nil, func(w *world) {
			got := w.ask(offer("a", "", c.sdp, "flags", c.flags))
			if got["result"] != "ok" || got["warning"] != nil {
				t.Fatalf("%s: %v", c.name, got)
			}
			sdp := withoutKeys(got.text("sdp"))
			for _, has := range c.has {
				if !strings.Contains(sdp, has) {
					t.Errorf("%s: no %q in\n%s", c.name, has, sdp)
				}
			}
			for _, not := range c.not {
				if strings.Contains(sdp, not) {
					t.Errorf("%s: %q in\n%s", c.name, not, sdp)
				}
			}
		})
	}
}

func TestAttributesAreChangedByDictionaryToo(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		got := w.ok(offer("a", "", phoneSDP(4000, "a=sendrecv"), "sdp-attr", dict{
			"none": dict{"add": list("tool:x", "two\r\na=lines")}, "audio": dict{"substitute": []any{list("sendrecv", "sendonly")}, "remove": list("rtpmap:101")},
		}))
		if !strings.Contains(got, "a=tool:x\r\n") || !strings.Contains(got, "a=sendonly") || strings.Contains(got, "rtpmap:101") || strings.Contains(got, "two") {
			t.Error(got)
		}
	})
}

func TestWhatIsNotDoneIsSaidAndCounted(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		got := w.ask(offer("a", "", phoneSDP(4000), "flags", list("media-handover", "codec-set-opus", "trust-address", "symmetric"),
			"ICE", "ice2", "DTLS-reverse", "passive", "direction", list("pub", "priv"), "TOS", int64(0), "media-echo", "forward", "replace", list("origin", "username")))
		const want = "not available here: DTLS-reverse, ICE=ice2, TOS, codec-set-opus, interface priv, interface pub, media-echo=forward, media-handover, replace-username"
		if got["result"] != "ok" || got["warning"] != want {
			t.Errorf("%v\n%v, want\n%v", got["result"], got["warning"], want)
		}
		if st := w.server.Stats(); st.Ignored != 9 {
			t.Errorf("%d counted", st.Ignored)
		}
		got = w.ask(answer("a", "b", phoneSDP(5000), "flags", list("trust-address", "pad-crypto"), "ICE", "remove", "sip-message-type", "sip reply", "TOS", int64(184)))
		if got["result"] != "ok" || got["warning"] != nil {
			t.Errorf("%v", got)
		}
	})
}

func TestTheSourceOfTheSignallingTakesThePlaceOfADescription(t *testing.T) {
	o := &options{sourceOnly: true, source: loop}
	got := string(o.before("v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\na=rtcp:4001 IN IP4 10.0.0.1\r\n"))
	if want := "v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\na=rtcp:4001\r\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestAPhoneThatSendsFromAnotherPortIsStillSentToWhereItSays(t *testing.T) {
	r := runWith(t, rtpengine.Config{})
	a, b, other := newPhone(t), newPhone(t), newPhone(t)
	b.dial(r.want("ok", offer("a", "", a.sdp(), "flags", list("asymmetric"))).text("sdp"))
	other.dial(r.want("ok", answer("a", "b", b.sdp())).text("sdp"))
	for range 3 {
		other.tells(b, "from elsewhere")
	}
	b.tells(a, "to where a listens")
}

// FuzzFlags: whatever a proxy writes, reading it ends, and what is read is in one form.
func FuzzFlags(f *testing.F) {
	for _, seed := range []string{"replace-origin codec=[strip=[PCMA] x]", "a=b=c [", "sdp-attr-substitute-none-a>b SDES-only-x RTP/SAVP", "]]", "direction=a direction=b"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, text, flag string) {
		d, err := normal(dict{"rtpp-flags": text, "flags": list(flag)})
		if err != nil {
			return
		}
		o, wrong := (&Server{log: slog.New(slog.DiscardHandler), told: map[string]bool{}}).options(d)
		if wrong != "" {
			return
		}
		out := o.afterOffer([]byte(phoneSDP(4000)))
		if strings.Contains(strings.ReplaceAll(out, "\r\n", ""), "\n") {
			t.Errorf("a line was broken in two: %q", out)
		}
	})
}
