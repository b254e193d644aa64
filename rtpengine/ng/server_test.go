package ng

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/simnet"
	"tandem/rtpengine"
)

func TestAPlainCall(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.say("INVITE and 200 OK")
		w.ok(offer("a", "", phoneSDP(4000)))
		w.ok(answer("a", "b", phoneSDP(5000)))
		w.sessions(1)
		w.say("the called party asks")
		w.ask(dict{"command": "query", "call-id": "c1"})
		w.ask(dict{"command": "list"})
		w.say("BYE of the called party")
		w.ask(dict{"command": "delete", "call-id": "c1", "from-tag": "b", "to-tag": "a"})
		w.sessions(0)
		w.ask(dict{"command": "list"})
		w.golden("plain-call")
	})
}

func TestAnInviteInsideTheDialogueFromEitherSide(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.ok(offer("a", "", phoneSDP(4000)))
		w.ok(answer("a", "b", phoneSDP(5000)))
		w.say("the called party holds: the ports stay, the offerer's tag is the called party's")
		w.ok(offer("b", "a", phoneSDP(5000, "a=sendonly")))
		w.ok(answer("b", "a", phoneSDP(4000, "a=recvonly")))
		w.say("the caller moves its media")
		w.ok(offer("a", "b", phoneSDP(4100)))
		w.ok(answer("a", "b", phoneSDP(5000)))
		w.sessions(1)
		w.golden("reinvite")
	})
}

func TestBranchesOfAForkShareASessionUnlessViaBranchTellsThemApart(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.say("two branches, no via-branch: one session, the last answer is heard")
		w.ok(offer("a", "", phoneSDP(4000)))
		w.ok(offer("a", "", phoneSDP(4000)))
		w.ok(answer("a", "b1", phoneSDP(5000)))
		w.ok(answer("a", "b2", phoneSDP(6000)))
		w.sessions(1)
		w.say("BYE of the one that was heard")
		w.ok(dict{"command": "delete", "call-id": "c1", "from-tag": "b2", "to-tag": "a"})
		w.sessions(0)
		w.say("two branches with via-branch: a session each")
		first := w.ok(offer("a", "", phoneSDP(4000), "via-branch", "z9hG4bK.0"))
		again := w.ok(offer("a", "", phoneSDP(4000), "via-branch", "z9hG4bK.0"))
		second := w.ok(offer("a", "", phoneSDP(4000), "via-branch", "z9hG4bK.1"))
		w.sessions(2)
		if mediaPort(first) != mediaPort(again) || mediaPort(first) == mediaPort(second) {
			t.Error("a branch does not keep its port, or shares it")
		}
		w.ok(answer("a", "b2", phoneSDP(6000), "via-branch", "z9hG4bK.1"))
		w.say("the first branch fails and is deleted by its branch; the call goes on")
		w.ok(dict{"command": "delete", "call-id": "c1", "from-tag": "a", "via-branch": "z9hG4bK.0"})
		w.sessions(1)
		w.say("a BYE has a branch of its own")
		w.ok(dict{"command": "delete", "call-id": "c1", "from-tag": "a", "to-tag": "b2", "via-branch": "z9hG4bK.bye"})
		w.sessions(0)
		w.golden("fork")
	})
}

func TestAnAnsweredBranchTakesTheUnansweredOnesWithIt(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.ok(offer("a", "", phoneSDP(4000), "via-branch", "1"))
		w.ok(offer("a", "", phoneSDP(4000), "via-branch", "2"))
		w.ok(answer("a", "b2", phoneSDP(6000), "via-branch", "2"))
		w.ok(dict{"command": "delete", "call-id": "c1", "from-tag": "b2", "to-tag": "a"})
		w.sessions(0)
	})
}

func TestTheOfferInA200AndTheAnswerInTheAck(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.ok(offer("b", "a", phoneSDP(5000))) // the 200 OK: Kamailio exchanges the tags
		w.ok(answer("b", "a", phoneSDP(4000)))
		w.sessions(1)
		w.ok(offer("a", "b", phoneSDP(4000)))
		w.ok(answer("a", "b", phoneSDP(5000)))
		w.sessions(1)
	})
}

func TestWrongRequestsAreToldWhatIsWrong(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		for _, d := range []dict{
			{},
			{"command": "ofer"},
			{"command": "offer"},
			{"command": "offer", "call-id": "c1"},
			{"command": "offer", "call-id": "c1", "from-tag": "a"},
			{"command": "offer", "call-id": strings.Repeat("c", 2000), "from-tag": "a", "sdp": phoneSDP(4000)},
			{"command": "answer", "call-id": "c1", "from-tag": "a", "sdp": phoneSDP(4000)},
			answer("a", "b", phoneSDP(5000)),
			offer("a", "", "this is no description"),
			offer("a", "", strings.Replace(phoneSDP(4000), "RTP/AVP", "TCP/RTP/AVP", 1)),
			offer("a", "", phoneSDP(4000), "transport-protocol", "UDP/TLS/RTP/SAVPF", "DTLS", "off"),
			offer("a", "", phoneSDP(4000), "transport-protocol", "RTP/SAVP", "SDES", list("off")),
			offer("a", "", phoneSDP(4000), "rtpp-flags", "codec=[strip=[PCMA]"),
			offer("a", "", phoneSDP(4000), "address-family", "IPX"),
			offer("a", "", phoneSDP(4000), "media-address", "0.0.0.0"),
			offer("a", "", phoneSDP(4000), "received-from", list("IP4", "nowhere")),
			{"command": "query", "call-id": "c1"},
			{"command": "list", "limit": int64(0)},
			{"command": "start recording", "call-id": "c1"},
			{"command": "play media", "call-id": "c1", "from-tag": "a"},
			{"command": "block media", "call-id": "c1"},
			{"command": "delete", "call-id": "c1", "flags": list("fatal")},
		} {
			w.refused(d)
		}
		w.say("deleting what nobody knows is no error")
		w.ok(dict{"command": "delete", "call-id": "c1", "from-tag": "a"})
		w.say("an answer without the offer of the other side")
		w.ok(offer("a", "", phoneSDP(4000)))
		w.refused(answer("x", "y", phoneSDP(5000)))
		w.sessions(1)
		w.golden("errors")
		if st := w.server.Stats(); st.Errors != 23 || st.Commands[commandIndex("other")] != 2 {
			t.Errorf("%d errors, %d other commands", st.Errors, st.Commands[commandIndex("other")])
		}
	})
}

func TestWhatAProxyMayAskOfADescription(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		mux := phoneSDP(4000, "a=rtcp:4001", "a=rtcp-mux", "a=rtcp-fb:* nack")
		avpf := strings.Replace(mux, "RTP/AVP", "RTP/AVPF", 1)
		w.say("rtcp-mux-demux: the called party is not asked, the caller has it")
		w.ok(offer("a", "", mux, "rtcp-mux", list("demux")))
		w.ok(answer("a", "b", phoneSDP(5000)))
		w.say("rtcp-mux-reject: the caller does not have it")
		w.ok(offer("a", "b", mux, "rtcp-mux", list("reject")))
		w.ok(answer("a", "b", phoneSDP(5000)))
		w.say("transport-protocol: RTP/AVPF for the caller, RTP/AVP for the called party")
		w.ok(offer("a", "b", avpf, "transport-protocol", "RTP/AVP"))
		w.ok(answer("a", "b", phoneSDP(5000)))
		w.say("media-address and no a=rtcp line")
		w.ok(offer("a", "b", mux, "media-address", "203.0.113.10", "flags", list("no-rtcp-attribute")))
		w.say("another family")
		w.ok(offer("a", "b", mux, "address-family", "IP6"))
		w.say("a call that comes round again passes as it is")
		out := w.ok(offer("l", "", phoneSDP(4000), "call-id", "c2", "flags", list("loop-protect")))
		if back := w.ok(offer("l", "", out, "call-id", "c2", "flags", list("loop-protect"))); back != out {
			t.Errorf("a description that has been here before was changed:\n%s", back)
		}
		w.say("unknown flags and keys are passed over")
		before := w.server.Stats().Ignored
		w.ok(offer("a", "b", mux, "flags", list("trust-address", "media-handover"), "ptime", int64(30), "record call", "yes"))
		if got := w.server.Stats().Ignored - before; got != 1 {
			t.Errorf("%d counted as ignored, want 1", got)
		}
		w.golden("wishes")
	})
}

func TestARepeatedCookieGetsTheFirstAnswerForHalfAMinute(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		first := "5_1 " + string(encode(nil, offer("a", "", phoneSDP(4000)), bencoded))
		got := w.raw(first)
		if !strings.HasPrefix(got, "5_1 d") {
			t.Fatalf("got %q", got)
		}
		w.raw("5_2 d7:call-id2:c17:command6:delete8:from-tag1:ae")
		w.sessions(0)
		if again := w.raw(first); again != got {
			t.Errorf("the second answer differs:\n%s\n%s", got, again)
		}
		w.sessions(0) // it was not carried out again
		if n := w.server.Stats().Repeated; n != 1 {
			t.Errorf("%d repeated", n)
		}
		time.Sleep(2 * rememberFor)
		if w.raw(first) == got {
			t.Error("still remembered after a minute")
		}
		w.sessions(1)
	})
}

func TestTheWireIsRtpengines(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		for sent, want := range map[string]string{
			"1_1 d7:command4:pinge":                         "1_1 d6:result4:ponge",
			`1_2 {"command":"ping"}`:                        `1_2 {"result":"pong"}`,
			"1_3 d7:command4:list5:limiti5ee":               "1_3 d5:callsle6:result2:oke",
			`1_4 {"command":"delete","call-id":"x"}`:        `1_4 {"result":"ok","warning":"Call-ID not found or tags didn't match"}`,
			"1_5 d7:command":                                "1_5 d12:error-reason35:the message cannot be read: cut off6:result5:errore",
			"1_6 le":                                        "1_6 d12:error-reason44:the message cannot be read: not a dictionary6:result5:errore",
			`1_7 {"command":`:                               `1_7 {"error-reason":"the message cannot be read: unexpected EOF","result":"error"}`,
			"nothing-but-a-cookie":                          "",
			" d7:command4:pinge":                            "",
			strings.Repeat("c", 256) + " d7:command4:pinge": "",
		} {
			if got := w.raw(sent); got != want {
				t.Errorf("%q: got %q, want %q", sent, got, want)
			}
		}
		if n := w.server.Stats().Malformed; n != 6 {
			t.Errorf("%d malformed, want 6", n)
		}
	})
}

func TestStrangersAreNotHeard(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		stranger := newProxy(t, w.net.Host("192.0.2.66"), "192.0.2.66")
		if got := stranger.raw("1 d7:command4:pinge"); got != "" {
			t.Errorf("a stranger was answered %q", got)
		}
		if w.raw("1 d7:command4:pinge") == "" {
			t.Error("the proxy was not answered")
		}
		if n := w.server.Stats().Refused; n != 1 {
			t.Errorf("%d refused", n)
		}
	})
}

func TestAnOpenPortIsRefused(t *testing.T) {
	engine, err := rtpengine.New(rtpengine.Config{Bind: []netip.Addr{netip.MustParseAddr("127.0.0.1")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"0.0.0.0:2223", "[::]:2223", "203.0.113.1:2223"} {
		if _, err := New(Config{Engine: engine, Listen: []string{addr}}); err == nil || !strings.Contains(err.Error(), "media.ng_allow") {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if _, err := New(Config{Engine: engine, Listen: []string{"127.0.0.1:2223", "[::1]:2223", "[::ffff:127.0.0.1]:2223"}}); err != nil {
		t.Error(err)
	}
}

func TestDeleteWithADelay(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.ok(offer("a", "", phoneSDP(4000)))
		w.ok(dict{"command": "delete", "call-id": "c1", "from-tag": "a", "delete-delay": int64(20)})
		time.Sleep(18 * time.Second)
		w.sessions(1)
		w.ok(answer("a", "b", phoneSDP(5000))) // whoever speaks of it wants it
		time.Sleep(5 * time.Second)
		w.sessions(1)
		w.ok(dict{"command": "delete", "call-id": "c1", "from-tag": "a", "to-tag": "b", "delete-delay": int64(20)})
		time.Sleep(22 * time.Second)
		w.sessions(0)
	})
}

func TestNobodyAnswersOrDeletes(t *testing.T) {
	inWorld(t, func(_ *rtpengine.Config, c *Config) { c.MaxCallTime = time.Hour }, func(w *world) {
		w.ok(offer("a", "", phoneSDP(4000)))
		w.ok(offer("x", "", phoneSDP(4000), "call-id", "c2"))
		w.ok(answer("x", "y", phoneSDP(5000), "call-id", "c2"))
		time.Sleep(offerTime - 5*time.Second)
		w.sessions(2)
		time.Sleep(10 * time.Second)
		w.sessions(1)
		time.Sleep(time.Hour)
		w.sessions(0)
		if st := w.server.Stats(); st.Expired != 2 || st.Calls != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestAFullEngineSaysSo(t *testing.T) {
	full := func(ec *rtpengine.Config, _ *Config) { ec.MaxSessions = 1 }
	inWorld(t, full, func(w *world) {
		w.ok(offer("a", "", phoneSDP(4000)))
		if reason := w.refused(offer("a", "", phoneSDP(4000), "call-id", "c2")); reason != tooMany {
			t.Errorf("reason %q", reason)
		}
		got := w.ask(offer("a", "", phoneSDP(4000), "call-id", "c2", "supports", list("load limit")))
		if got["result"] != "load limit" || w.server.Stats().Limited != 2 {
			t.Errorf("%v", got)
		}
	})
	few := func(ec *rtpengine.Config, _ *Config) { ec.PortMax = ec.PortMin + 3 }
	inWorld(t, few, func(w *world) {
		w.ok(offer("a", "", phoneSDP(4000)))
		if reason := w.refused(offer("a", "", phoneSDP(4000), "call-id", "c2")); reason != noPorts {
			t.Errorf("reason %q", reason)
		}
		w.sessions(1) // what could not be served is not kept
	})
}

func TestADrainedNodeTakesNoNewCallsAndWaitsForThoseItHas(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.ok(offer("a", "", phoneSDP(4000)))
		drained := make(chan error, 1)
		go func() { drained <- w.server.Drain(context.Background()) }()
		time.Sleep(time.Second)
		w.refused(offer("a", "", phoneSDP(4000), "call-id", "c2"))
		w.ok(answer("a", "b", phoneSDP(5000)))
		if len(drained) > 0 {
			t.Fatal("drained with a call in progress")
		}
		w.ok(dict{"command": "delete", "call-id": "c1", "from-tag": "a"})
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

func TestLossyControlIsAsGoodAsAny(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.net.SetLink(simnet.Link{Loss: 0.4, Duplicate: 0.3, Delay: time.Millisecond})
		said := "9_1 " + string(encode(nil, offer("a", "", phoneSDP(4000)), bencoded))
		for w.raw(said) == "" { // a proxy asks again with the same cookie
		}
		synctest.Wait()
		w.sessions(1)
	})
}

func mediaPort(sdp string) string {
	_, rest, _ := strings.Cut(sdp, "m=audio ")
	port, _, _ := strings.Cut(rest, " ")
	return port
}
