//go:build interop

package interop

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// engine is a node that is a media engine and nothing else.
type engine struct {
	*node
	ng string // where it is commanded
}

// startEngine starts a media engine that a proxy on its own address may command.
func startEngine(t testing.TB, ip netip.Addr, proxy string) *engine {
	t.Helper()
	e := &engine{node: &node{ip: ip}, ng: net.JoinHostPort(ip.String(), strconv.Itoa(freePort(t)))}
	admin, dir := net.JoinHostPort(ip.String(), strconv.Itoa(freePort(t))), t.TempDir()
	file := filepath.Join(dir, "tandem.hcl")
	write(t, file, fmt.Sprintf(`node {
  data_dir = %q
  roles    = ["media"]
}
sip { udp = [%q] } # Kamailio's: without the role signaling the node leaves it alone
media {
  address  = %q
  ports    = "%d-%d"
  ng       = [%q]
  ng_allow = ["127.0.0.0/8"]
}
turn {
  udp = []
  tcp = []
}
admin { listen = %q }
dialplan { files = [] }
log { level = "debug" }
`, filepath.Join(dir, "data"), proxy, ip, mediaFirst, mediaLast, e.ng, admin))
	e.argv = []string{program, "serve", "--config", file}
	e.ready = ready{Domain: ip.String(), Nodes: []demoNode{{Name: "n1", Admin: "http://" + admin}}}
	e.serve(t)
	return e
}

// serve starts the engine, after a crash too.
func (e *engine) serve(t testing.TB) {
	t.Helper()
	e.process = launch(t, "tandem "+e.ng, t.TempDir(), nil, e.argv...)
	e.find(t, 0, startWithin, `node is ready`)
}

// prompt is the tone that Kamailio has the engine play, in Hz.
const prompt = 700

// startMediaBehindKamailio starts media engines and a Kamailio whose rtpengine module commands them. The phones of the returned node, the first engine, speak
// SIP with Kamailio.
func startMediaBehindKamailio(t testing.TB, others ...netip.Addr) (n *node, kamailio *process, engines []*engine) {
	t.Helper()
	command := peer(t, "kamailio", "kamailio")
	modules := "/usr/lib/x86_64-linux-gnu/kamailio/modules"
	if found, _ := filepath.Glob("/usr/lib/*/kamailio/modules/rtpengine.so"); len(found) > 0 {
		modules = filepath.Dir(found[0])
	}
	if _, err := os.Stat(filepath.Join(modules, "websocket.so")); err != nil {
		peer(t, "websocket.so of kamailio", "kamailio-websocket-modules")
	}
	ip := loopback()
	at := func() string { return net.JoinHostPort(ip.String(), strconv.Itoa(freePort(t))) }
	sip, ws := at(), at()
	var commanded []string
	for _, host := range append([]netip.Addr{ip}, others...) {
		e := startEngine(t, host, sip)
		engines = append(engines, e)
		commanded = append(commanded, "udp:"+e.ng)
	}

	text, err := os.ReadFile(filepath.Join("testdata", "kamailio-ng.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeTone(t, filepath.Join(dir, "prompt.wav"), prompt)
	cfg := filepath.Join(dir, "kamailio.cfg")
	write(t, cfg, strings.NewReplacer("SIP_ADDRESS", sip, "WS_ADDRESS", ws, "NG_ADDRESSES", strings.Join(commanded, " "),
		"SOUND", filepath.Join(dir, "prompt.wav"), "MODULES", modules).Replace(string(text)))
	kamailio = launch(t, "kamailio", dir, nil, command, "-DD", "-f", cfg, "-m", "64", "-M", "8", "-Y", dir, "-P", filepath.Join(dir, "kamailio.pid"))
	_, port, _ := net.SplitHostPort(sip)
	eventually(t, startWithin, "kamailio to listen", func() bool {
		p, _ := strconv.Atoi(port)
		return listensUDP(p) || kamailio.gone()
	})
	n = engines[0].node
	n.ready.Nodes[0].SIP.UDP, n.ready.Nodes[0].SIP.WS = sip, "ws://"+ws
	return n, kamailio, engines
}

// complaints fails the test when Kamailio has written an error, or an engine has refused a request.
func complaints(t testing.TB, kamailio *process, engines []*engine) {
	t.Helper()
	if text := string(kamailio.text(0)); strings.Contains(text, "ERROR") {
		t.Error("kamailio has errors to tell")
	}
	for _, e := range engines {
		if got := e.metric(t, "tandem_ng_errors_total"); got != 0 {
			t.Errorf("%v NG requests failed", got)
		}
	}
}

// TestPhonesBehindKamailioHearEachOtherThroughTandem: Kamailio's rtpengine module takes the engine for rtpengine.
func TestPhonesBehindKamailioHearEachOtherThroughTandem(t *testing.T) {
	t.Parallel()
	n, kamailio, engines := startMediaBehindKamailio(t)
	alice := startPhone(t, n, phoneConfig{user: "1000", tone: 440}).registered(t)
	bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000}).registered(t)

	alice.dial(t, "1001")
	alice.talks(t, 1)
	bob.talks(t, 1)
	alice.hears(t, 1000)
	bob.hears(t, 440)
	alice.relayed(t, "audio")
	bob.relayed(t, "audio")
	if got := n.metric(t, "tandem_ng_sessions"); got != 1 {
		t.Errorf("%v sessions during one call", got)
	}

	bob.do(t, "hold", "") // an INVITE inside the dialogue, from the other side
	eventually(t, soon, "the hold to reach alice", func() bool { return alice.wasOffered("sendonly") })
	eventually(t, soon, "the answer to the hold to come back", func() bool { return bob.wasAnswered("recvonly") })
	quiet := bob.received(t)
	never(t, 500*time.Millisecond, "the held side goes on sending", func() bool { return bob.received(t) > quiet+5 })
	answers := len(bob.answers())
	bob.do(t, "resume", "")
	eventually(t, soon, "the resumption to be answered", func() bool { return len(bob.answers()) > answers })
	for _, p := range []*phone{alice, bob} { // baresip's recording ends with the first stream: from here on packets are counted
		before := p.received(t)
		eventually(t, soon, p.name+" to receive a second of sound", func() bool { return p.received(t) >= before+50 })
		p.relayed(t, "audio")
	}
	if got := n.metric(t, `tandem_ng_requests_total\{command="offer"\}`); got != 3 {
		t.Errorf("%v offers, want those of the call, the hold and the resumption", got)
	}

	bob.hangUp(t)
	alice.ends(t, 1)
	n.empty(t)
	complaints(t, kamailio, engines)
	n.signal(t, syscall.SIGTERM)
	if code := n.waitEnd(t, soon); code != 0 {
		t.Errorf("the node ended with code %d", code)
	}
}

func TestACallGivenUpBehindKamailioLeavesNoSession(t *testing.T) {
	n, _, _ := startMediaBehindKamailio(t)
	alice := startPhone(t, n, phoneConfig{user: "1000", tone: 440}).registered(t)
	bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000, answer: "manual"}).registered(t)

	alice.dial(t, "1001")
	bob.await(t, "CALL_INCOMING", 1)
	alice.hangUp(t)
	bob.ends(t, 1)
	n.empty(t)

	alice.dial(t, "1001")
	bob.await(t, "CALL_INCOMING", 2)
	bob.hangUp(t) // 486
	alice.ends(t, 2)
	n.empty(t)
}

// TestPhonesWithAndWithoutKeysHearEachOtherThroughKamailio: the operator's flags say that one is spoken to by SDES, one by DTLS and one by plain RTP, whoever
// calls whom.
func TestPhonesWithAndWithoutKeysHearEachOtherThroughKamailio(t *testing.T) {
	t.Parallel()
	n, kamailio, engines := startMediaBehindKamailio(t)
	plain := startPhone(t, n, phoneConfig{user: "1001", tone: 1000}).registered(t)
	sdes := startPhone(t, n, phoneConfig{user: "2000", tone: 440, srtp: "srtp-mand"}).registered(t)
	dtls := startPhone(t, n, phoneConfig{user: "3000", tone: 1600, srtp: "dtls_srtp"}).registered(t)
	tone, calls := map[*phone]float64{plain: 1000, sdes: 440, dtls: 1600}, map[*phone]int{}
	for _, c := range [][2]*phone{{sdes, plain}, {plain, sdes}, {dtls, plain}, {plain, dtls}, {sdes, dtls}, {dtls, sdes}} {
		caller, callee := c[0], c[1]
		calls[caller]++
		calls[callee]++
		caller.dial(t, callee.user)
		caller.talks(t, calls[caller])
		callee.talks(t, calls[callee])
		caller.hears(t, tone[callee])
		callee.hears(t, tone[caller])
		caller.relayed(t, "audio")
		callee.relayed(t, "audio")
		callee.hangUp(t)
		caller.ends(t, calls[caller])
	}
	n.empty(t)
	if offers := sdes.got(`^INVITE `); !has(offers, " RTP/SAVP ") || !has(offers, "AES_CM_128_HMAC_SHA1_80") || has(offers, "AEAD") || has(offers, "fingerprint") {
		t.Errorf("2000 was offered %+v", offers)
	}
	if offers := dtls.got(`^INVITE `); !has(offers, " UDP/TLS/RTP/SAVP ") || !has(offers, "a=fingerprint") || has(offers, "a=crypto") {
		t.Errorf("3000 was offered %+v", offers)
	}
	for _, word := range []string{"a=crypto", "a=fingerprint", "SAVP"} {
		if has(plain.got(`^INVITE `), word) || has(plain.got(`^SIP/2.0 200`), word) {
			t.Errorf("1001 was told of %s", word)
		}
	}
	complaints(t, kamailio, engines)
}

// TestABrowserAndADeskPhoneHearEachOtherThroughKamailio: JsSIP over Kamailio's WebSocket, DTLS and ICE there, plain RTP here.
func TestABrowserAndADeskPhoneHearEachOtherThroughKamailio(t *testing.T) {
	t.Parallel()
	n, kamailio, engines := startMediaBehindKamailio(t)
	web := startBrowserWith(t, n, browserConfig{user: "1002", scheme: "ws", tone: 440})
	bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000}).registered(t)
	web.await(t, "registered", 1)

	web.dial("sip:1001@" + n.host())
	bob.talks(t, 1)
	web.talks(t)
	web.hears(t, 1000)
	bob.hears(t, 440)
	bob.relayed(t, "audio")
	if has(bob.got(`^INVITE `), "a=ice") || has(bob.got(`^INVITE `), "fingerprint") {
		t.Error("the desk phone was offered what it does not speak")
	}
	bob.hangUp(t)
	web.await(t, "ended", 1)
	n.empty(t)

	bob.dial(t, "1002")
	bob.talks(t, 2)
	web.await(t, "confirmed", 2)
	web.await(t, "sound", 2)
	web.hears(t, 1000)
	bob.hears(t, 440)
	web.commands <- browserCommand{Do: "hangup"}
	bob.ends(t, 2)
	n.empty(t)
	complaints(t, kamailio, engines)
}

// press sends Kamailio an INFO inside a phone's call, as a phone does when somebody presses a key, and returns the answer.
func (p *phone) press(t testing.TB, key string) (answer sipMessage) {
	t.Helper()
	invite := p.sent(`^INVITE `)[0]
	var callee string
	for _, m := range p.got(`^SIP/2.0 200`) {
		if m.header("Call-ID") == invite.header("Call-ID") {
			callee = m.header("To")
		}
	}
	conn, err := net.Dial("udp", p.node.sip("udp"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := "Signal=" + key + "\r\nDuration=160\r\n"
	fmt.Fprintf(conn, "INFO sip:%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%d;rport\r\nFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d INFO\r\nMax-Forwards: 70\r\n"+
		"Content-Type: application/dtmf-relay\r\nContent-Length: %d\r\n\r\n%s", p.node.sip("udp"), conn.LocalAddr(), p.tokens.Add(1), invite.header("From"), callee,
		invite.header("Call-ID"), p.tokens.Add(1), len(body), body)
	if err := conn.SetReadDeadline(time.Now().Add(soon)); err != nil {
		t.Fatal(err)
	}
	packet := make([]byte, 4096)
	size, err := conn.Read(packet)
	if err != nil {
		t.Fatalf("the key %s: %v", key, err)
	}
	answer.text = strings.ReplaceAll(string(packet[:size]), "\r\n", "\n")
	if !strings.HasPrefix(answer.text, "SIP/2.0 200") {
		t.Errorf("the key %s was answered\n%s", key, answer.text)
	}
	return answer
}

// TestKamailioPlaysRecordsAndPressesKeysInACall: what its script does to a call in progress, heard by the phones.
func TestKamailioPlaysRecordsAndPressesKeysInACall(t *testing.T) {
	t.Parallel()
	n, kamailio, engines := startMediaBehindKamailio(t)
	alice := startPhone(t, n, phoneConfig{user: "1000", tone: 440}).registered(t)
	bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000}).registered(t)
	alice.dial(t, "1001")
	alice.talks(t, 1)
	bob.talks(t, 1)
	hearEachOther(t, alice, bob)

	alice.press(t, "3")
	var found []string
	eventually(t, soon, "the recording", func() bool {
		found, _ = filepath.Glob(filepath.Join(filepath.Dir(n.argv[len(n.argv)-1]), "data", "recordings", "*.wav"))
		return len(found) > 0
	})
	hasBoth(t, found[0], 440, 1000)

	alice.press(t, "1")
	alice.hears(t, prompt) // and not bob
	bob.hears(t, 440)
	alice.press(t, "2")
	alice.hears(t, 1000)

	alice.press(t, "5")
	if got := bob.await(t, "CALL_DTMF_START", 1).Param; got != "5" {
		t.Errorf("bob got the digit %q", got)
	}
	bob.await(t, "CALL_DTMF_END", 1)

	alice.press(t, "4")
	size := len(channel(t, found[0], false).samples)
	alice.press(t, "6") // nothing of alice is heard
	quiet := 0
	eventually(t, soon, "bob to hear nothing of alice", func() bool {
		before := quiet
		quiet = bob.received(t)
		return quiet > 0 && quiet == before
	})
	alice.hears(t, 1000)
	alice.press(t, "7")
	bob.hears(t, 440)
	alice.press(t, "8")
	eventually(t, soon, "bob to hear silence", func() bool {
		heard, ok := analyse(bob.recorded())
		return ok && heard.level < 50
	})
	alice.press(t, "9")
	bob.hears(t, 440)
	if got := len(channel(t, found[0], false).samples); got > size+2*sampleRate { // its last second and a half is written when it ends
		t.Errorf("the recording went on for %d samples after its end", got-size)
	}

	answer := alice.press(t, "0")
	if stat := answer.header("X-Statistics"); !regexp.MustCompile(`^RTP: \d{4,} bytes, [1-9]\d* packets, \d+ errors; RTCP:`).MatchString(stat) {
		t.Errorf("statistics: %q", stat)
	}
	if quality := answer.header("X-Quality"); !regexp.MustCompile(`^MOS 4\.[0-9] of [1-9]\d* with 0 % lost$`).MatchString(quality) {
		t.Errorf("quality: %q", quality)
	}
	bob.hangUp(t)
	alice.ends(t, 1)
	n.empty(t)
	complaints(t, kamailio, engines)
}

// TestCallsGoToTheEngineThatLives: two engines in one set. The first is killed, calls go to the other; it comes back and takes calls again.
func TestCallsGoToTheEngineThatLives(t *testing.T) {
	t.Parallel()
	n, _, engines := startMediaBehindKamailio(t, loopback())
	alice := startPhone(t, n, phoneConfig{user: "1000", tone: 440}).registered(t)
	bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000}).registered(t)
	calls := 0
	call := func() {
		t.Helper()
		calls++
		alice.dial(t, "1001")
		alice.talks(t, calls)
		bob.talks(t, calls)
		hearEachOther(t, alice, bob)
	}
	end := func() {
		t.Helper()
		bob.hangUp(t)
		alice.ends(t, calls)
	}
	carrier := func() (which int) {
		which = -1
		for i, e := range engines {
			if !e.gone() && e.metric(t, "tandem_ng_sessions") == 1 {
				which = i
			}
		}
		return which
	}

	call()
	first := carrier()
	if first < 0 {
		t.Fatal("no engine has the call")
	}
	engines[first].crash(t)
	end() // the delete finds nobody; the phones part all the same
	for range 2 {
		call()
		if got := carrier(); got != 1-first {
			t.Fatalf("engine %d carries the call, want the other", got)
		}
		end()
		engines[1-first].empty(t)
	}
	engines[first].serve(t)
	eventually(t, 3*soon, "the engine that came back to carry a call", func() bool {
		call()
		back := carrier() == first
		end()
		return back
	})
}

// empty waits until the node has no session any more.
func (n *node) empty(t testing.TB) {
	t.Helper()
	ok := looks(100*time.Millisecond, soon, func() bool { return n.metric(t, "tandem_ng_sessions") == 0 })
	if !ok {
		t.Error("a session is left")
	}
}
