//go:build interop

package interop

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
	"testing"
)

// firstSound is how long a caller in a browser may wait for the first sound, in milliseconds: on a machine that does nothing else it is a
// quarter of a second, most of it the browser's own.
const firstSound = 1000

// report is what the page has heard and seen until now.
func (b *browser) report(t testing.TB) browserEvent {
	t.Helper()
	n := len(b.all("report")) + 1
	b.commands <- browserCommand{Do: "report"}
	return b.await(t, "report", n)
}

// recorded is the last second that the page has heard.
func (e browserEvent) recorded(t testing.TB) sound {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(e.Sound)
	if err != nil {
		t.Fatal(err)
	}
	s := sound{rate: sampleRate, samples: make([]int16, len(raw)/2)}
	for i := range s.samples {
		s.samples[i] = int16(binary.LittleEndian.Uint16(raw[2*i:]))
	}
	return s
}

// hears waits until nothing but a tone is heard in the browser.
func (b *browser) hears(t testing.TB, hz float64) {
	t.Helper()
	var heard spectrum
	ok := holds(soon, func() bool {
		heard, _ = analyse(b.report(t).recorded(t))
		return heard.is(hz)
	})
	if !ok {
		t.Errorf("the browser of %s hears %v, want %v Hz", b.user, heard, hz)
	}
}

// sees waits for decoded pictures.
func (b *browser) sees(t testing.TB) {
	t.Helper()
	eventually(t, 2*soon, "pictures in the browser of "+b.user, func() bool { return b.report(t).Frames > 10 })
}

// dial makes the page call somebody.
func (b *browser) dial(to string) { b.commands <- browserCommand{Do: "call", To: to} }

// talks waits until the page's call is answered and says how long the first sound took, in milliseconds.
func (b *browser) talks(t testing.TB) int {
	t.Helper()
	b.await(t, "confirmed", 1)
	return b.await(t, "sound", 1).Status
}

func TestABrowserAndADeskPhoneHearEachOther(t *testing.T) {
	for _, c := range []struct{ name, scheme, page string }{
		{"JsSIP over wss", "wss", "phone.html"},
		{"JsSIP over ws", "ws", "phone.html"},
		{"SIP.js", "ws", "sipjs.html"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := startNode(t)
			web := startBrowserWith(t, n, browserConfig{user: "1002", scheme: c.scheme, page: c.page, tone: 440})
			bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000}).registered(t)
			web.await(t, "registered", 1)

			web.dial("sip:1001@" + n.host())
			bob.talks(t, 1)
			t.Logf("from call() to the first decoded sound: %d ms", web.talks(t))
			web.hears(t, 1000)
			bob.hears(t, 440)
			bob.relayed(t, "audio")
			bob.hangUp(t)
			web.await(t, "ended", 1)
			n.carries(t, 0)
		})
	}
}

// TestABrowserWithNoOtherWayTalksThroughTURN: its candidates are the node's relay alone, over which DTLS and media go to the node's own media port.
func TestABrowserWithNoOtherWayTalksThroughTURN(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	web := startBrowserWith(t, n, browserConfig{user: "1002", scheme: "ws", tone: 440, relayed: true})
	bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000}).registered(t)
	web.await(t, "registered", 1)
	web.dial("sip:1001@" + n.host())
	bob.talks(t, 1)
	web.talks(t)
	web.hears(t, 1000)
	bob.hears(t, 440)
	if way := web.report(t).Way; way != "relay" {
		t.Errorf("the browser's way is %q", way)
	}
	for _, to := range []string{"media", "phone"} {
		eventually(t, soon, "a second of packets through TURN to "+to, func() bool { return n.metric(t, `tandem_turn_packets_total\{to="`+to+`"\}`) >= 50 })
	}
	bob.hangUp(t)
	web.await(t, "ended", 1)
	n.carries(t, 0)

	bob.dial(t, "1002")
	bob.talks(t, 2)
	web.await(t, "sound", 2)
	web.hears(t, 1000)
	bob.hears(t, 440)
	web.commands <- browserCommand{Do: "hangup"}
	bob.ends(t, 2)
	eventually(t, 2*soon, "the relay sockets to be given back", func() bool { return n.metric(t, "tandem_turn_allocations") == 0 })
}

// TestALateOfferReachesABrowser: the caller's INVITE has no description, so the browser offers what it speaks, the caller is offered what a desk phone
// speaks, and its answer comes in the ACK. The caller sends back what it hears.
func TestALateOfferReachesABrowser(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	web := startBrowserWith(t, n, browserConfig{user: "1002", scheme: "ws", tone: 440})
	web.await(t, "registered", 1)
	caller := startSipp(t, n, sippRun{scenario: "call-late", lines: []string{line("1000", "1000", "1002")}, uri: "1002@" + n.host(), echo: true})
	web.talks(t)
	web.hears(t, 440)
	web.commands <- browserCommand{Do: "hangup"}
	succeeds(t, caller)
	n.carries(t, 0)
}

func TestADeskPhoneCallsABrowser(t *testing.T) {
	for _, page := range []string{"phone.html", "sipjs.html"} {
		t.Run(page, func(t *testing.T) {
			n := startNode(t)
			web := startBrowserWith(t, n, browserConfig{user: "1002", scheme: "ws", page: page, tone: 440})
			bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000}).registered(t)
			web.await(t, "registered", 1)
			bob.dial(t, "1002")
			bob.talks(t, 1)
			web.talks(t)
			web.hears(t, 1000)
			bob.hears(t, 440)
			web.commands <- browserCommand{Do: "hangup"}
			bob.ends(t, 1)
			n.carries(t, 0)
		})
	}
}

// TestABrowserHearsItselfSoon measures what a person waits for: from the click to the first sound.
func TestABrowserHearsItselfSoon(t *testing.T) {
	n := startNode(t)
	web := startBrowserWith(t, n, browserConfig{user: "1002", scheme: "ws", tone: 620})
	web.await(t, "registered", 1)
	var took []int
	for i := range 5 {
		web.dial("sip:*43@" + n.host())
		web.await(t, "confirmed", i+1)
		took = append(took, web.await(t, "sound", i+1).Status)
		web.hears(t, 620)
		web.commands <- browserCommand{Do: "hangup"}
		web.await(t, "ended", i+1)
	}
	t.Logf("from call() to the first decoded sound, in ms: %v", took)
	slices.Sort(took)
	if median := took[len(took)/2]; median > firstSound {
		t.Errorf("it took %d ms, want at most %d", median, firstSound)
	}
}

func TestTwoBrowsersSeeAndHearEachOther(t *testing.T) {
	for _, page := range []string{"phone.html", "sipjs.html"} {
		t.Run(page, func(t *testing.T) {
			n := startNode(t)
			alice := startBrowserWith(t, n, browserConfig{user: "1000", scheme: "ws", tone: 440, video: true})
			bob := startBrowserWith(t, n, browserConfig{user: "1001", scheme: "ws", page: page, tone: 1000, video: true})
			alice.await(t, "registered", 1)
			bob.await(t, "registered", 1)
			alice.dial("sip:1001@" + n.host())
			alice.talks(t)
			bob.talks(t)
			alice.hears(t, 1000)
			bob.hears(t, 440)
			alice.sees(t)
			bob.sees(t)
			bob.commands <- browserCommand{Do: "hangup"}
			alice.await(t, "ended", 1)
			n.carries(t, 0)
		})
	}
}

// TestABrowserAndADeskPhoneOfOneUserRingTogether: each is offered what it speaks.
func TestABrowserAndADeskPhoneOfOneUserRingTogether(t *testing.T) {
	n := startNode(t)
	web := startBrowserWith(t, n, browserConfig{user: "1002", scheme: "ws", tone: 440})
	desk := startPhone(t, n, phoneConfig{user: "1002", tone: 700, answer: "manual"}).registered(t)
	bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000}).registered(t)
	web.await(t, "registered", 1)
	bob.dial(t, "1002")
	bob.talks(t, 1)
	web.talks(t)
	web.hears(t, 1000)
	bob.hears(t, 440)
	if len(desk.got(`^INVITE `)) == 0 || has(desk.got(`^INVITE `), "UDP/TLS") {
		t.Errorf("the desk phone was offered %+v", desk.got(`^INVITE `))
	}
	bob.hangUp(t)
	web.await(t, "ended", 1)
}

// TestPhonesWithDTLSHearEachOther: DTLS-SRTP without ICE, with RTCP on a port of its own, towards a phone of each kind.
func TestPhonesWithDTLSHearEachOther(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, alice, bob, extra string }{
		{"DTLS to plain", "dtls_srtp", "", ""},
		{"DTLS to SDES", "dtls_srtp", "srtp", ""},
		{"DTLS and ICE to plain", "dtls_srtp", "", ";medianat=ice"},
		{"ICE to plain", "", "", ";medianat=ice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := startNode(t)
			alice := startPhone(t, n, phoneConfig{user: "1000", tone: 440, srtp: c.alice, extra: c.extra}).registered(t)
			bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000, srtp: c.bob}).registered(t)
			alice.dial(t, "1001")
			alice.talks(t, 1)
			bob.talks(t, 1)
			hearEachOther(t, alice, bob)
			bob.hangUp(t)
			alice.ends(t, 1)
			alice.dial(t, "*43")
			alice.talks(t, 2)
			alice.hears(t, 440)
			alice.hangUp(t)
			n.carries(t, 0)
		})
	}
}
