//go:build interop

package interop

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// openSIPS finds the program and its modules: in the built source tree that TANDEM_OPENSIPS names, or installed. Debian 12 has no package of it, so a
// machine without it is no failure, in CI neither.
func openSIPS(t testing.TB) (command, modules string) {
	t.Helper()
	if tree := os.Getenv("TANDEM_OPENSIPS"); tree != "" {
		return filepath.Join(tree, "opensips"), filepath.Join(tree, "modules")
	}
	command, err := exec.LookPath("opensips")
	found, _ := filepath.Glob("/usr/lib*/*/opensips/modules/rtpengine.so")
	if err != nil || len(found) == 0 {
		t.Skip("OpenSIPS and its module rtpengine are missing: set TANDEM_OPENSIPS to its source tree, built with make all modules=modules/rtpengine")
	}
	return command, filepath.Dir(found[0])
}

// TestOpenSIPSCommandsTheEngine: what manual_test.go of rtpengine/ng replays, with the module itself: SDES to plain RTP, a hold, sounds, keys, a recording, figures, and
// an engine that dies.
func TestOpenSIPSCommandsTheEngine(t *testing.T) {
	t.Parallel()
	command, modules := openSIPS(t)
	ip, dir := loopback(), t.TempDir()
	port := freePort(t)
	sip := net.JoinHostPort(ip.String(), strconv.Itoa(port))
	engines := []*engine{startEngine(t, ip, sip), startEngine(t, loopback(), sip)}
	text, err := os.ReadFile(filepath.Join("testdata", "opensips-ng.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	writeTone(t, filepath.Join(dir, "prompt.wav"), prompt)
	cfg := filepath.Join(dir, "opensips.cfg")
	write(t, cfg, strings.NewReplacer("SIP_ADDRESS", sip, "NG_ADDRESSES", "udp:"+engines[0].ng+" udp:"+engines[1].ng,
		"SOUND", filepath.Join(dir, "prompt.wav"), "MODULES", modules).Replace(string(text)))
	proxy := launch(t, "opensips", dir, nil, command, "-F", "-f", cfg, "-m", "64", "-M", "8", "-w", dir)
	eventually(t, startWithin, "opensips to listen", func() bool { return listensUDP(port) || proxy.gone() })
	n := engines[0].node
	n.ready.Nodes[0].SIP.UDP = sip

	alice := startPhone(t, n, phoneConfig{user: "2000", tone: 440, srtp: "srtp-mand"}).registered(t)
	bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000}).registered(t)
	alice.dial(t, "1001")
	alice.talks(t, 1)
	bob.talks(t, 1)
	hearEachOther(t, alice, bob)
	if has(bob.got(`^INVITE `), "a=crypto") {
		t.Error("bob was told a key")
	}
	alice.press(t, "3")
	alice.press(t, "1")
	alice.hears(t, prompt)
	bob.hears(t, 440)
	alice.press(t, "2")
	alice.hears(t, 1000)
	alice.press(t, "5")
	if got := bob.await(t, "CALL_DTMF_START", 1).Param; got != "5" {
		t.Errorf("bob got the digit %q", got)
	}
	bob.await(t, "CALL_DTMF_END", 1)
	alice.press(t, "4")
	for _, key := range []string{"6", "7"} {
		alice.press(t, key)
	}
	bob.hears(t, 440)
	answer := alice.press(t, "0")
	if stat := answer.header("X-Statistics"); !regexp.MustCompile(`^RTP: \d{4,} bytes, [1-9]\d* packets, `).MatchString(stat) {
		t.Errorf("statistics: %q", stat)
	}
	if quality := answer.header("X-Quality"); !regexp.MustCompile(`^4[0-9]$`).MatchString(quality) {
		t.Errorf("quality: %q", quality)
	}
	answers := len(bob.answers())
	bob.do(t, "hold", "")
	eventually(t, soon, "the hold to reach alice", func() bool { return alice.wasOffered("sendonly") })
	eventually(t, soon, "the hold to be answered", func() bool { return len(bob.answers()) > answers })
	bob.do(t, "resume", "")
	eventually(t, soon, "the resumption to be answered", func() bool { return len(bob.answers()) > answers+1 })
	bob.hangUp(t)
	alice.ends(t, 1)
	for _, e := range engines {
		e.empty(t)
		if got := e.metric(t, "tandem_ng_errors_total"); got != 0 {
			t.Errorf("%v NG requests failed", got)
		}
	}

	bob.dial(t, "2000")
	bob.talks(t, 2)
	which := 0
	if engines[1].metric(t, "tandem_ng_sessions") == 1 {
		which = 1
	}
	engines[which].crash(t)
	alice.hangUp(t)
	bob.ends(t, 2)
	bob.dial(t, "2000")
	bob.talks(t, 3)
	alice.talks(t, 3)
	hearEachOther(t, alice, bob)
	if got := engines[1-which].metric(t, "tandem_ng_sessions"); got != 1 {
		t.Errorf("the engine that lives has %v sessions", got)
	}
	alice.hangUp(t)
	bob.ends(t, 3)
}
