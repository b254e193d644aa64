//go:build interop

package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// linphone is one linphonec with sound files in place of a sound card.
type linphone struct {
	*process
	user string
	node *node
	dir  string
}

// startLinphone starts a linphonec that registers at the node as user and
// plays tone. settings are more lines of the section sip of its configuration.
func startLinphone(t testing.TB, n *node, user string, tone float64, settings ...string) *linphone {
	t.Helper()
	path := peer(t, "linphonec", "linphone-cli")
	l := &linphone{user: user, node: n, dir: t.TempDir()}
	for _, dir := range []string{".local/share/linphone", ".config/linphone"} { // it does not make them itself
		if err := os.MkdirAll(filepath.Join(l.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	writeTone(t, filepath.Join(l.dir, "tone.wav"), tone)
	config := filepath.Join(l.dir, "linphonerc")
	write(t, config, fmt.Sprintf(`[sip]
sip_port=%d
sip_tcp_port=0
sip_tls_port=0
use_ipv6=0
register_only_when_network_is_up=0
guess_hostname=0
default_proxy=-1
%s
[rtp]
audio_rtp_port=%d
[sound]
echocancellation=0
[video]
enabled=0
capture=0
display=0
`, freePort(t), strings.Join(settings, "\n"), freePort(t)))
	l.process = launch(t, "linphonec "+user, l.dir, []string{"HOME=" + l.dir}, path, "-c", config)
	l.find(t, 0, soon, `linphonec>`)
	l.say(t, "soundcard use files")
	l.find(t, 0, soon, `Using wav files`)
	l.say(t, "play "+filepath.Join(l.dir, "tone.wav"))
	l.say(t, "record "+filepath.Join(l.dir, "heard.wav"))
	l.say(t, fmt.Sprintf("register sip:%s@%s sip:%s %s", user, n.ready.Domain, n.sip("udp"), password))
	eventually(t, soon, l.name+" to be registered", func() bool {
		from := l.mark()
		l.say(t, "status register")
		return holds(300*time.Millisecond, func() bool { return strings.Contains(string(l.text(from)), "registered, identity=") })
	})
	return l
}

// hears waits until half a second of what linphonec records is the tone alone.
func (l *linphone) hears(t testing.TB, hz float64) {
	t.Helper()
	hears(t, l.name, hz, func() sound { return readSound(filepath.Join(l.dir, "heard.wav")) })
}

func TestLinphoneCallsBaresip(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000}).registered(t)
	lin := startLinphone(t, n, "1002", 620)
	lin.say(t, "call 1001")
	lin.find(t, 0, soon, `Call \d+ with .*1001.* connected`)
	bob.talks(t, 1)
	bob.hears(t, 620)
	lin.hears(t, 1000)
	bob.relayed(t, "audio")
	lin.say(t, "terminate")
	bob.ends(t, 1)
	lin.find(t, 0, soon, `Call \d+ with .*1001.* ended`)
}

// linphone's own SRTP (libsrtp), which insists on it, against baresip's and against the echo.
func TestEncryptedLinphone(t *testing.T) {
	t.Parallel()
	encrypted := []string{"media_encryption=srtp", "media_encryption_mandatory=1"}
	t.Run("calls baresip", func(t *testing.T) {
		n := startNode(t)
		bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000, srtp: "srtp-mand"}).registered(t)
		lin := startLinphone(t, n, "1002", 620, encrypted...)
		lin.say(t, "call 1001")
		bob.talks(t, 1)
		bob.hears(t, 620)
		lin.hears(t, 1000)
		bob.relayed(t, "audio")
		if offers := bob.got(`^INVITE `); !has(offers, " RTP/SAVP ") {
			t.Errorf("bob was offered %v", offers)
		}
		lin.say(t, "terminate")
		bob.ends(t, 1)
	})
	t.Run("is called by baresip", func(t *testing.T) {
		n := startNode(t)
		bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000, srtp: "srtp-mand"}).registered(t)
		lin := startLinphone(t, n, "1002", 620, encrypted...)
		bob.dial(t, "1002")
		lin.find(t, 0, soon, `(?i)call from|Receiving new incoming call`)
		lin.say(t, "answer")
		bob.talks(t, 1)
		bob.hears(t, 620)
		lin.hears(t, 1000)
		bob.relayed(t, "audio")
		bob.hangUp(t)
		lin.find(t, 0, soon, `Call \d+ with .* ended`)
	})
	t.Run("hears itself", func(t *testing.T) {
		n := startNode(t)
		lin := startLinphone(t, n, "1002", 620, encrypted...)
		lin.say(t, "codec disable all") // it would speak Opus, and record that at 48 kHz under a header of 8
		lin.say(t, "codec enable 3")
		lin.find(t, 0, soon, `PCMU \(8000\) enabled`)
		lin.say(t, "call *43")
		lin.find(t, 0, soon, `Call \d+ with .* connected`)
		lin.hears(t, 620)
		lin.say(t, "terminate")
		lin.find(t, 0, soon, `Call \d+ with .* ended`)
	})
}

// baresip 1.0.0 stops recording when a call is held (see the other test of hold),
// so its packets are counted; linphonec's ears go on.
func TestLinphoneHoldsBaresipAndComesBack(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000}).registered(t)
	lin := startLinphone(t, n, "1002", 620)
	lin.say(t, "call 1001")
	bob.talks(t, 1)
	bob.hears(t, 620)
	lin.hears(t, 1000)

	lin.say(t, "pause")
	eventually(t, soon, "the hold to reach bob", func() bool { return bob.wasOffered("sendonly") })
	lin.find(t, 0, soon, `is now paused`)
	quiet := bob.transmitted(t)
	if quiet == 0 {
		t.Error("bob has sent nothing: his silence proves nothing")
	}
	never(t, 500*time.Millisecond, "the held side goes on sending", func() bool { return bob.transmitted(t) > quiet+5 })

	from := lin.mark()
	lin.say(t, "resume")
	lin.find(t, from, soon, `Media streams established`)
	before := bob.received(t)
	eventually(t, soon, "bob to receive a second of sound", func() bool { return bob.received(t) >= before+50 })
	lin.hears(t, 1000)
	bob.relayed(t, "audio")
	lin.say(t, "terminate")
	bob.ends(t, 1)
}

func TestBaresipCallsLinphone(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000}).registered(t)
	lin := startLinphone(t, n, "1002", 620)
	bob.dial(t, "1002")
	lin.find(t, 0, soon, `(?i)call from|Receiving new incoming call`)
	bob.await(t, "CALL_RINGING", 1)
	lin.say(t, "answer")
	bob.talks(t, 1)
	bob.hears(t, 620)
	lin.hears(t, 1000)
	bob.relayed(t, "audio")
	bob.hangUp(t)
	lin.find(t, 0, soon, `Call \d+ with .* ended`)
}
