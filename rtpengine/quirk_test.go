package rtpengine

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// negotiate does one offer/answer of a session; both sides are on IPv4 loopback.
func negotiate(t *testing.T, s *Session, from Side, offer, answer string) (toAnswerer, toOfferer string) {
	t.Helper()
	there, err := s.Offer(from, []byte(offer), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	back, err := s.Answer(from.Other(), []byte(answer), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	return string(there), string(back)
}

// mlines are the m-lines of a description, with "ours" for a port that is not 0.
func mlines(t *testing.T, sdp string) (out []string) {
	t.Helper()
	for line := range strings.Lines(sdp) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "m="); ok {
			words := strings.Fields(rest)
			if words[1] != "0" {
				words[1] = "ours"
			}
			out = append(out, strings.Join(words, " "))
		}
	}
	return out
}

func wantLines(t *testing.T, sdp string, want ...string) {
	t.Helper()
	if got := mlines(t, sdp); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Each kind of description that cannot be served is told its own reason, and where it stands.
func TestUnusableDescriptionsAreToldTheLineAndTheReason(t *testing.T) {
	for name, c := range map[string]struct {
		sdp    string
		status int
		want   string
	}{
		"no description":       {"hello", 400, `399 tandem "sdp line 1: not of the form x=value"`},
		"nothing":              {"", 400, `399 tandem "sdp line 0: empty"`},
		"no o=":                {"v=0\r\ns=-\r\n", 400, `399 tandem "sdp line 2: no o= line"`},
		"short o=":             {"v=0\r\no=x 1 IN IP4\r\n", 400, `399 tandem "sdp line 2: o= needs six words, before any m-line"`},
		"short m=":             {head + "m=audio 4000\r\n", 400, `399 tandem "sdp line 6: m= needs media, port and proto"`},
		"port":                 {head + "m=audio 70000 RTP/AVP 0\r\n", 400, `399 tandem "sdp line 6: m= has no port number"`},
		"no format":            {head + "m=audio 4000 RTP/AVP\r\n", 488, `305 tandem "Line 6, m=audio: No media format"`},
		"no payload type":      {head + "m=audio 4000 RTP/AVP opus\r\n", 488, `305 tandem "Line 6, m=audio: No RTP payload type among the formats"`},
		"TCP":                  {head + "m=audio 4000 TCP/RTP/AVP 0\r\n", 488, `302 tandem "Line 6, m=audio: Transport TCP/RTP/AVP is not available"`},
		"fax over TCP":         {head + "m=image 4000 TCPTL t38\r\n", 488, `304 tandem "Line 6, m=image: Media type image is not available over TCPTL"`},
		"MSRP":                 {head + "m=message 4000 TCP/MSRP *\r\na=path:msrp://x:1/y;tcp\r\n", 488, `304 tandem "Line 6, m=message: Media type message is not available over TCP/MSRP"`},
		"BFCP over TLS":        {head + "m=application 4000 TCP/TLS/BFCP *\r\n", 488, `302 tandem "Line 6, m=application: Transport TCP/TLS/BFCP is not available"`},
		"data channel":         {head + "m=application 4000 UDP/DTLS/SCTP webrtc-datachannel\r\n", 488, `302 tandem "Line 6, m=application: Transport UDP/DTLS/SCTP is not available"`},
		"multicast":            {head + "m=audio 4000 RTP/AVP 0\r\nc=IN IP4 224.2.1.1/127\r\n", 488, `330 tandem "Line 6, m=audio: Multicast is not available"`},
		"keys":                 {head + "a=tool:x\r\nm=audio 4000 RTP/SAVP 0\r\na=crypto:1 X inline:y\r\n", 488, `302 tandem "Line 7, m=audio: Media encryption (RTP/SAVP) without a usable key: suite X is not known"`},
		"the first of two":     {head + "m=image 0 udptl t38\r\nm=message 4000 TCP/MSRP *\r\nm=audio 4000 RTP/AVP\r\n", 488, `304 tandem "Line 7, m=message: Media type message is not available over TCP/MSRP"`},
		"a foreign word in it": {head + "m=\"x\\ 4000 y\r\xff 0\r\n", 400, `399 tandem "sdp line 6: control character"`},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEngine(t, nil)
			_, err := newSession(t, e).Offer(A, []byte(c.sdp), loop4, loop4)
			var r *RejectError
			if !errors.As(err, &r) || r.Status != c.status || r.Warning != c.want {
				t.Errorf("got  %v\nwant %d %s", err, c.status, c.want)
			}
			if st := e.Stats(); st.Rejected != 1 || st.Ports[0].Used != 0 {
				t.Errorf("%d rejected, %d ports in use", st.Rejected, st.Ports[0].Used)
			}
		})
	}
}

func TestRejectedLineKeepsItsPlaceAndIsUsedAgain(t *testing.T) {
	e := startEngine(t, nil)
	s := newSession(t, e)
	const audio, video = "m=audio 4000 RTP/AVP 0\r\n", "m=video 4002 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n"
	there, back := negotiate(t, s, A, head+audio+video, head+"m=audio 5000 RTP/AVP 0\r\nm=video 0 RTP/AVP 31\r\n")
	wantLines(t, there, "audio ours RTP/AVP 0", "video ours RTP/AVP 96")
	wantLines(t, back, "audio ours RTP/AVP 0", "video 0 RTP/AVP 96") // its formats mean nothing, and are those of the offer

	there, back = negotiate(t, s, B, head+"m=audio 5000 RTP/AVP 0\r\nm=video 0 RTP/AVP 96\r\n", head+audio+"m=video 0 RTP/AVP 96\r\n")
	wantLines(t, there, "audio ours RTP/AVP 0", "video 0 RTP/AVP 96")
	wantLines(t, back, "audio ours RTP/AVP 0", "video 0 RTP/AVP 96")

	// The place becomes another kind of media (RFC 3264 §8.2).
	there, back = negotiate(t, s, A, head+audio+"m=text 4004 RTP/AVP 98\r\na=rtpmap:98 t140/1000\r\n", head+"m=audio 0 RTP/AVP 0\r\nm=text 5004 RTP/AVP 98\r\na=rtpmap:98 t140/1000\r\n")
	wantLines(t, there, "audio ours RTP/AVP 0", "text ours RTP/AVP 98")
	wantLines(t, back, "audio 0 RTP/AVP 0", "text ours RTP/AVP 98")

	// A phone that forgets its second line is not let do so: the other side still sees two.
	there, back = negotiate(t, s, A, head+audio, head+"m=audio 5000 RTP/AVP 0\r\nm=text 0 RTP/AVP 98\r\n")
	wantLines(t, there, "audio ours RTP/AVP 0", "text 0 RTP/AVP 98")
	wantLines(t, back, "audio ours RTP/AVP 0")

	// One that answers with fewer lines than it was offered has rejected the others.
	there, back = negotiate(t, s, B, head+"m=audio 5000 RTP/AVP 0\r\nm=text 5004 RTP/AVP 98\r\na=rtpmap:98 t140/1000\r\n", head+audio)
	wantLines(t, there, "audio ours RTP/AVP 0", "text ours RTP/AVP 98")
	wantLines(t, back, "audio ours RTP/AVP 0", "text 0 RTP/AVP 98")
}

func TestEveryKindOfHoldIsAnsweredByItsReverse(t *testing.T) {
	const zero = "c=IN IP4 0.0.0.0\r\n"
	for name, c := range map[string]struct {
		offer, answer   string // after the m-line
		there, back     string // the direction that each is told
		aToB, bToA      bool
		answerIsSession bool
	}{
		"none":                       {"", "", "", "", true, true, false},
		"sendonly":                   {"a=sendonly\r\n", "a=recvonly\r\n", "sendonly", "recvonly", true, false, false},
		"inactive":                   {"a=inactive\r\n", "a=inactive\r\n", "inactive", "inactive", false, false, false},
		"0.0.0.0":                    {zero, "a=recvonly\r\n", "sendonly", "recvonly", true, false, false},
		"0.0.0.0 and inactive":       {zero + "a=inactive\r\n", "a=inactive\r\n", "inactive", "inactive", false, false, false},
		"answered by a careless one": {"a=sendonly\r\n", "a=sendrecv\r\n", "sendonly", "recvonly", true, false, false},
		"answered by a mute one":     {"a=sendonly\r\n", "", "sendonly", "recvonly", true, false, false},
		"answered by sendonly":       {"a=sendonly\r\n", "a=sendonly\r\n", "sendonly", "inactive", false, false, false},
		"both":                       {"a=sendonly\r\n", zero, "sendonly", "inactive", false, false, false},
		"answered for the session":   {"", "a=inactive\r\n", "", "inactive", false, false, true},
		"a blank behind it":          {"a=recvonly \r\n", "a=sendonly\t\r\n", "recvonly", "sendonly", false, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEngine(t, nil)
			s := newSession(t, e)
			answer := head + "m=audio 5000 RTP/AVP 0\r\n" + c.answer
			if c.answerIsSession {
				answer = head + c.answer + "m=audio 5000 RTP/AVP 0\r\n"
			}
			there, back := negotiate(t, s, A, head+"m=audio 4000 RTP/AVP 0\r\n"+c.offer, answer)
			for told, want := range map[string]string{there: c.there, back: c.back} {
				d, err := parseSDP([]byte(told))
				if err != nil {
					t.Fatal(err)
				}
				if want == "" {
					want = "sendrecv"
				}
				if got := d.sections[0].dir.String(); got != want || strings.Contains(told, "0.0.0.0") || strings.Count(told, "=inactive")+strings.Count(told, "=sendonly")+strings.Count(told, "=recvonly") > 1 {
					t.Errorf("told %s, want %s:\n%s", got, want, told)
				}
			}
			settle(s.shard)
			if l := s.lines[0].legs; l[A].open != c.aToB || l[B].open != c.bToA {
				t.Errorf("A may send: %v, B: %v", l[A].open, l[B].open)
			}
		})
	}
}

func TestDescriptionsAsPhonesWriteThem(t *testing.T) {
	e := startEngine(t, nil)
	for name, c := range map[string]struct {
		sdp   string
		lines []string
	}{
		"LF, no s=, no t=":      {"v=0\no=- 1 1 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\na=tool:x\nm=audio 4000 RTP/AVP 0\n", []string{"s=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\na=tool:x\r\nm=audio 2"}},
		"nothing but m=":        {"v=0\no=- 1 1 IN IP4 127.0.0.1\nm=audio 4000 RTP/AVP 0\nc=IN IP4 127.0.0.1\n", []string{"s=-\r\nt=0 0\r\nm=audio 2", "c=IN IP4 127.0.0.1\r\n"}},
		"an empty name":         {"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n", []string{"s=-\r\n"}},
		"times and zones":       {"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=a b\r\nb=CT:64\r\nc=IN IP4 127.0.0.1\r\nt=1 2\r\nr=1 1 0\r\nz=0 0\r\nm=audio 4000 RTP/AVP 0\r\n", []string{"s=a b\r\nb=CT:64\r\n", "t=1 2\r\nr=1 1 0\r\nz=0 0\r\nm="}},
		"a name of three words": {"v=0\r\no=The Old Phone 1 1 IN IP4 127.0.0.1\r\ns=-\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 127.0.0.1\r\n", []string{"o=- "}},
		"no name":               {"v=0\r\no= 1 1 IN IP4 127.0.0.1\r\ns=-\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 127.0.0.1\r\n", []string{"o=- "}},
		"a name beyond ASCII":   {"v=0\r\no=J\u00f6rg 1 1 IN IP4 127.0.0.1\r\ns=-\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 127.0.0.1\r\n", []string{"o=J\u00f6rg "}},
		"an endless name":       {"v=0\r\no=" + strings.Repeat("x", 500) + " 1 1 IN IP4 127.0.0.1\r\ns=-\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 127.0.0.1\r\n", []string{"o=- "}},
		"several ports":         {head + "m=audio 4000/2 RTP/AVP 0\r\n", []string{"m=audio 2"}},
		"blanks and tabs":       {head + "m=audio  4000\tRTP/AVP  0 101 \r\na=rtpmap:101\ttelephone-event/8000 \r\na=ptime:20 \r\n", []string{" RTP/AVP 0 101\r\n", "a=rtpmap:101\ttelephone-event/8000\r\n", "a=ptime:20\r\n"}},
		"a scope":               {"v=0\r\no=- 1 1 IN IP6 fe80::1%eth0\r\ns=-\r\nc=IN IP6 fe80::1%eth0\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n", []string{"c=IN IP4 127.0.0.1\r\n"}},
		"what is passed":        {head + "b=AS:100\r\nm=audio 4000 RTP/AVP 0\r\ni=words\r\nb=TIAS:64000\r\nb=RR:800\r\na=ptime:30\r\na=maxptime:60\r\na=label:1\r\na=content:main\r\na=rtcp-rsize\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=extmap-allow-mixed\r\na=mid:x\r\na=X-own:y\r\n", []string{"b=AS:100\r\n", "i=words\r\nb=TIAS:64000\r\n", "b=TIAS:64000\r\n", "b=RR:800\r\n", "a=ptime:30\r\n", "a=maxptime:60\r\n", "a=label:1\r\n", "a=content:main\r\n", "a=rtcp-rsize\r\n", "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n", "a=extmap-allow-mixed\r\n", "a=X-own:y\r\n"}},
		"text with redundancy":  {head + "m=text 4000 RTP/AVP 98 99\r\na=rtpmap:98 t140/1000\r\na=rtpmap:99 red/1000\r\na=fmtp:99 98/98/98\r\n", []string{" RTP/AVP 98 99\r\n", "a=fmtp:99 98/98/98\r\n"}},
		"floor control":         {head + "m=application 4000 UDP/BFCP *\r\na=floorctrl:c-only\r\na=confid:1\r\na=floorid:1 mstrm:3\r\n", []string{"m=application 2", " UDP/BFCP *\r\n", "a=floorid:1 mstrm:3\r\n"}},
		"camera control":        {head + "m=application 4000 RTP/AVP 100\r\na=rtpmap:100 H224/4800\r\n", []string{"m=application 2", "a=rtpmap:100 H224/4800\r\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := newSession(t, e).Offer(A, []byte(c.sdp), loop4, loop4)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range c.lines {
				if !strings.Contains(string(out), line) {
					t.Errorf("no %q in\n%s", line, out)
				}
			}
			if strings.Contains(string(out), " \r\n") || strings.Contains(string(out), "%") {
				t.Errorf("%q", out)
			}
		})
	}
}

// A host name is never looked up: who is at the other end shows when it speaks from where its signalling came.
func TestPhoneThatNamesItsHostIsFoundByItsPackets(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := newSession(t, e)
	offer, err := s.Offer(A, []byte(strings.Replace(string(a.sdp()), "c=IN IP4 127.0.0.1", "c=IN IP4 phone.example", 1)), loop4, loop4)
	if err != nil || strings.Contains(string(offer), "phone.example") {
		t.Fatalf("%v\n%s", err, offer)
	}
	b.dial(offer)
	answer, err := s.Answer(B, b.sdp(), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(answer)
	settle(s.shard)
	for range lockAfter {
		a.say("here")
	}
	b.hears("here") // the one that made it the peer
	b.say("found")
	a.hears("found")
}

func TestRTCPPortsAreReadAndWrittenAsTheyAre(t *testing.T) {
	e := startEngine(t, nil)
	s := newSession(t, e)
	there, back := negotiate(t, s, A, head+"m=audio 4000 RTP/AVP 0\r\na=rtcp:4777 IN IP4 127.0.0.3\r\na=rtcp-mux\r\n", head+"m=audio 5000 RTP/AVP 0\r\na=rtcp:5001\r\na=rtcp-mux\r\n")
	for told, add := range map[string]int{there: 1, back: 0} { // an offer names the port without mux, an answer that takes mux the one port
		d, err := parseSDP([]byte(told))
		if err != nil {
			t.Fatal(err)
		}
		if got := d.sections[0]; int(got.rtcpPort) != int(got.port)+add || got.rtcpAddr != loop4 || !got.mux {
			t.Errorf("%s", told)
		}
	}
	settle(s.shard)
	if got := s.latest.said[A].lines[0].addr[rtcp]; got != pack(netip.MustParseAddrPort("127.0.0.3:4777")) {
		t.Errorf("%v", got)
	}
}

func TestAnswerAddsNoExtensionAndNoReducedReports(t *testing.T) {
	e := startEngine(t, nil)
	s := newSession(t, e)
	const video = "m=video 4000 RTP/AVPF 96\r\na=rtpmap:96 VP8/90000\r\n"
	there, back := negotiate(t, s, A,
		head+video+"a=extmap:1 urn:a\r\na=extmap:2/sendonly urn:b\r\na=extmap:4097 urn:c\r\na=extmap:5 urn:ietf:params:rtp-hdrext:encrypt urn:d\r\n",
		head+video+"a=extmap:1/recvonly urn:a\r\na=extmap:3 urn:b\r\na=extmap:6 urn:c\r\na=extmap:7 urn:e\r\na=rtcp-rsize\r\n")
	for _, line := range []string{"a=extmap:1 urn:a", "a=extmap:2/sendonly urn:b", "a=extmap:4097 urn:c"} {
		if !hasLine([]byte(there), line+"\r\n") {
			t.Errorf("no %s in\n%s", line, there)
		}
	}
	if strings.Contains(there, "encrypt") || strings.Contains(back, "urn:b") || strings.Contains(back, "urn:e") || strings.Contains(back, "rsize") ||
		!hasLine([]byte(back), "a=extmap:1/recvonly urn:a\r\n") || !hasLine([]byte(back), "a=extmap:6 urn:c\r\n") {
		t.Errorf("%s%s", there, back)
	}
}

// A phone that changes its description and not its version is told apart from one that repeats itself: the version that the other side
// sees is ours.
func TestVersionThatDoesNotGrowIsNotPassedOn(t *testing.T) {
	e := startEngine(t, nil)
	s := newSession(t, e)
	version := func(offer string) string {
		there, _ := negotiate(t, s, A, head+offer, head+"m=audio 5000 RTP/AVP 0\r\n")
		return strings.Fields(there)[3]
	}
	first, same, other := version("m=audio 4000 RTP/AVP 0\r\n"), version("m=audio 4000 RTP/AVP 0\r\n"), version("m=audio 4000 RTP/AVP 0\r\na=sendonly\r\n")
	if first != same || first == other {
		t.Errorf("%s %s %s", first, same, other)
	}
}

// With addresses of one family alone, the alternative of a phone that offers both is taken (RFC 6947).
func TestAlternativeAddressIsTakenWhenWeLackTheFirst(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.Bind = []netip.Addr{loop4} })
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := newSession(t, e)
	_, media, _ := strings.Cut(string(a.sdp()), "t=0 0\r\n")
	offer, err := s.Offer(A, []byte("v=0\r\no=- 1 1 IN IP6 2001:db8::1\r\ns=-\r\nc=IN IP6 2001:db8::1\r\nt=0 0\r\n"+media+
		"a=altc:1 IP6 2001:db8::1 4000\r\na=altc:2 IP4 127.0.0.1 "+strings.TrimPrefix(a.addr().String(), "127.0.0.1:")+"\r\na=altc:3 IP4 x y\r\n"), loop4, loop4)
	if err != nil || strings.Contains(string(offer), "altc") {
		t.Fatalf("%v\n%s", err, offer)
	}
	b.dial(offer)
	answer, err := s.Answer(B, b.sdp(), loop4, loop4)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(answer)
	settle(s.shard)
	b.say("at the second address")
	a.hears("at the second address")
}
