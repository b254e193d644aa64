//go:build interop

package interop

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pair starts two phones, each with its tone, and waits until both are
// registered.
func pair(t testing.TB, n *node, alice, bob phoneConfig) (*phone, *phone) {
	t.Helper()
	alice.user, alice.tone = "1000", 440
	bob.user, bob.tone = "1001", 1000
	a, b := startPhone(t, n, alice), startPhone(t, n, bob)
	return a.registered(t), b.registered(t)
}

// hearEachOther checks that each side of a call hears the other's tone.
func hearEachOther(t testing.TB, alice, bob *phone) {
	t.Helper()
	alice.hears(t, 1000)
	bob.hears(t, 440)
}

func TestVideoIsRelayed(t *testing.T) {
	for module, codec := range map[string]string{"vp8": "VP8/90000", "avcodec": "H264/90000"} {
		t.Run(codec, func(t *testing.T) {
			t.Parallel()
			if _, err := os.Stat(filepath.Join(baresipModules, module+".so")); err != nil {
				peer(t, "baresip's "+module+".so", "baresip-ffmpeg")
			}
			n := startNode(t)
			alice, bob := pair(t, n, phoneConfig{video: true, pictures: module}, phoneConfig{video: true, pictures: module})
			alice.dial(t, "1001")
			alice.talks(t, 1)
			for _, p := range []*phone{alice, bob} {
				eventually(t, soon, p.name+" to show ten pictures that the other drew", func() bool { return p.pictures(t) >= 10 })
				p.relayed(t, "audio", "video")
			}
			if !has(bob.sent(`^SIP/2.0 200`), codec) {
				t.Errorf("they did not agree on %s", codec)
			}
			hearEachOther(t, alice, bob)
			alice.hangUp(t)
			bob.ends(t, 1)
		})
	}
}

// shown matches the count of decoded pictures in baresip's video report.
var shown = regexp.MustCompile(`vidisp: fakevideo \d+ x \d+ frames=(\d+)`)

// pictures is how many pictures the phone has decoded and shown.
func (p *phone) pictures(t testing.TB) int {
	t.Helper()
	return number(t, shown, p.do(t, "video_debug", ""))
}

// baresip 1.0.0 drops its recorder from the receiving side when a call is held,
// so from then on the packets are counted and not listened to.
func TestHoldStopsTheOtherSideAndResumeBringsItBack(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	alice, bob := pair(t, n, phoneConfig{}, phoneConfig{})
	alice.dial(t, "1001")
	alice.talks(t, 1)
	hearEachOther(t, alice, bob)
	for _, holder := range []*phone{alice, bob} { // the called side may do it too
		held := bob
		if holder == bob {
			held = alice
		}
		answers := len(holder.answers())
		holder.do(t, "hold", "")
		eventually(t, soon, "the hold to reach the other phone", func() bool { return held.wasOffered("sendonly") })
		eventually(t, soon, "the answer to the hold to come back", func() bool { return holder.wasAnswered("recvonly") })
		quiet := holder.received(t)
		never(t, 500*time.Millisecond, "the held side goes on sending", func() bool { return holder.received(t) > quiet+5 })

		holder.do(t, "resume", "")
		eventually(t, soon, "both re-INVITEs to be answered", func() bool { return len(holder.answers()) == answers+2 })
		for _, p := range []*phone{alice, bob} {
			before := p.received(t)
			eventually(t, soon, p.name+" to receive a second of sound", func() bool { return p.received(t) >= before+50 })
			p.relayed(t, "audio")
		}
	}
	alice.hangUp(t)
	bob.ends(t, 1)
}

// The packets received and sent in baresip's audio report.
var (
	counted = regexp.MustCompile(`psent=\d+ rcvd=(\d+)`)
	sending = regexp.MustCompile(`TX: packets=(\d+)`)
)

// received is how many RTP packets of sound the phone's call has received.
func (p *phone) received(t testing.TB) int {
	t.Helper()
	return number(t, counted, p.do(t, "audio_debug", ""))
}

// transmitted is how many RTP packets of sound the phone's call has sent.
func (p *phone) transmitted(t testing.TB) int {
	t.Helper()
	return number(t, sending, p.do(t, "audio_debug", ""))
}

// number returns the number that a report shows, 0 when it shows none.
func number(t testing.TB, pattern *regexp.Regexp, report string) int {
	t.Helper()
	found := pattern.FindStringSubmatch(report)
	if found == nil {
		return 0
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// wasOffered reports whether an INVITE brought the phone an m-line with that
// direction.
func (p *phone) wasOffered(direction string) bool {
	return anyDirection(p.got(`^INVITE `), direction)
}

// wasAnswered reports whether a 200 brought the phone an m-line with that
// direction.
func (p *phone) wasAnswered(direction string) bool {
	return anyDirection(p.answers(), direction)
}

// answers returns the 200s with an SDP that the phone received.
func (p *phone) answers() []sipMessage {
	var list []sipMessage
	for _, m := range p.got(`^SIP/2.0 200`) {
		if strings.HasSuffix(m.header("CSeq"), "INVITE") && len(m.media()) > 0 {
			list = append(list, m)
		}
	}
	return list
}

func anyDirection(list []sipMessage, direction string) bool {
	for _, m := range list {
		for _, s := range m.media() {
			if s.direction == direction {
				return true
			}
		}
	}
	return false
}

func TestDigitsPassAsTelephoneEvents(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	alice, bob := pair(t, n, phoneConfig{}, phoneConfig{})
	alice.dial(t, "1001")
	alice.talks(t, 1)
	hearEachOther(t, alice, bob)
	for i, digit := range []string{"5", "#", "9"} {
		alice.do(t, "sndcode", digit)
		if got := bob.await(t, "CALL_DTMF_START", i+1).Param; got != digit {
			t.Errorf("digit %d: bob got %q, want %q", i, got, digit)
		}
		bob.await(t, "CALL_DTMF_END", i+1)
	}
	alice.hangUp(t)
	bob.ends(t, 1)
}

func TestRingGroupForksAndTheOthersAreCancelled(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	alice := startPhone(t, n, phoneConfig{user: "1000", tone: 440, answer: "manual"}).registered(t)
	bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000, answer: "manual"}).registered(t)
	carol := startPhone(t, n, phoneConfig{user: "1002", tone: 1600, answer: "manual", transport: "tcp"}).registered(t)

	alice.dial(t, "1999")
	bob.await(t, "CALL_INCOMING", 1)
	carol.await(t, "CALL_INCOMING", 1)
	alice.await(t, "CALL_RINGING", 1)
	bob.do(t, "accept", "")
	alice.talks(t, 1)
	carol.ends(t, 1)
	if len(carol.got(`^CANCEL `)) == 0 {
		t.Errorf("carol's ringing ended without a CANCEL")
	}
	if carol.happened("CALL_ESTABLISHED") != 0 {
		t.Errorf("carol talks too")
	}
	hearEachOther(t, alice, bob)
	alice.hangUp(t)
	bob.ends(t, 1)
	n.carries(t, 0)
}

func TestCallerWhoGivesUpStopsTheRinging(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	alice, bob := pair(t, n, phoneConfig{}, phoneConfig{answer: "manual"})
	alice.dial(t, "1001")
	bob.await(t, "CALL_INCOMING", 1)
	alice.await(t, "CALL_RINGING", 1)
	alice.hangUp(t)
	bob.ends(t, 1)
	if len(bob.got(`^CANCEL `)) == 0 {
		t.Errorf("bob's ringing ended without a CANCEL")
	}
	eventually(t, soon, "a 487 for the caller", func() bool { return len(alice.got(`^SIP/2.0 487`)) > 0 })
	n.carries(t, 0)
}

func TestRejectedCallTellsTheCallerWhy(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	n.withoutMailboxes(t)
	alice, bob := pair(t, n, phoneConfig{}, phoneConfig{answer: "manual"})
	alice.dial(t, "1001")
	bob.await(t, "CALL_INCOMING", 1)
	bob.do(t, "hangup", "")
	if got := alice.ends(t, 1).Param; !strings.HasPrefix(got, "486") {
		t.Errorf("the caller was told %q, want 486", got)
	}
}

func TestNumberNobodyHasIsNotFound(t *testing.T) {
	n := startNode(t)
	alice := startPhone(t, n, phoneConfig{user: "1000", tone: 440}).registered(t)
	alice.dial(t, "7777")
	if got := alice.ends(t, 1).Param; !strings.HasPrefix(got, "404") {
		t.Errorf("the caller was told %q, want 404", got)
	}
}

func TestUserWithoutAPhoneIsUnavailable(t *testing.T) {
	n := startNode(t)
	n.withoutMailboxes(t)
	alice := startPhone(t, n, phoneConfig{user: "1000", tone: 440}).registered(t)
	alice.dial(t, "1003")
	if got := alice.ends(t, 1).Param; !strings.HasPrefix(got, "480") {
		t.Errorf("the caller was told %q, want 480", got)
	}
}

// baresip answers every new challenge of a wrong password at once, ten times in
// a millisecond; a 403 stops it before its whole office is banned.
func TestWrongPasswordIsRefusedAndTheRightOneOfTheSameAddressIsNot(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	mallory := startPhone(t, n, phoneConfig{user: "1000", tone: 440, password: "not-it"})
	eventually(t, soon, "the 403 to the registration", func() bool { return len(mallory.got(`^SIP/2.0 403`)) > 0 })
	never(t, 500*time.Millisecond, "a wrong password is accepted", func() bool { return len(mallory.got(`^SIP/2.0 200`)) > 0 })
	if n.registered(t, "1000") {
		t.Errorf("1000 is registered")
	}
	tries := float64(len(mallory.got(`^SIP/2.0 403`)))
	for name, want := range map[string]float64{"tandem_sip_auth_failures_total": tries, "tandem_guard_failures_total": tries, "tandem_guard_banned_total": 0} {
		if got := n.metric(t, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}

	alice := startPhone(t, n, phoneConfig{user: "1000", tone: 440}).registered(t)
	alice.dial(t, "*43")
	alice.talks(t, 1)
	alice.hears(t, 440)
	alice.hangUp(t)
}

// A phone whose battery is empty says no BYE: the other one must not be left in
// a call with nobody.
func TestSilenceEndsTheCallOfAPhoneThatDied(t *testing.T) {
	t.Parallel()
	n := serveNode(t, serveConfig{more: "limits { media_silence = \"2s\" }\n"})
	alice := startPhone(t, n, phoneConfig{user: "alice", tone: 440}).registered(t)
	bob := startPhone(t, n, phoneConfig{user: "bob", tone: 1000}).registered(t)
	alice.dial(t, "bob")
	alice.talks(t, 1)
	bob.talks(t, 1)
	hearEachOther(t, alice, bob)
	never(t, 3*time.Second, "a call that is not silent is ended", func() bool { return alice.happened("CALL_CLOSED") > 0 })

	bob.signal(t, syscall.SIGKILL)
	bob.waitEnd(t, soon)
	alice.ends(t, 1)
	if len(alice.got(`^BYE `)) == 0 {
		t.Errorf("alice's call ended without a BYE")
	}
	n.carries(t, 0)
	if got := n.metric(t, "tandem_media_silences_total"); got == 0 {
		t.Error("the silence was not counted")
	}
}

func TestKilledNodeKeepsItsRegistrations(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	alice, bob := pair(t, n, phoneConfig{}, phoneConfig{})
	n.crash(t)
	n.start(t)
	for _, user := range []string{"1000", "1001"} {
		if !n.registered(t, user) {
			t.Errorf("the registration of %s is gone", user)
		}
	}
	registers := len(bob.sent(`^REGISTER `))
	alice.dial(t, "1001")
	alice.talks(t, 1)
	hearEachOther(t, alice, bob)
	if got := len(bob.sent(`^REGISTER `)); got != registers {
		t.Errorf("bob registered again: the call proves nothing")
	}
	alice.hangUp(t)
	bob.ends(t, 1)
}

func TestSIGTERMLetsTheCallEndAndTakesNoNewOne(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	alice, bob := pair(t, n, phoneConfig{}, phoneConfig{})
	carol := startPhone(t, n, phoneConfig{user: "1002", tone: 1600}).registered(t)
	alice.dial(t, "1001")
	alice.talks(t, 1)
	hearEachOther(t, alice, bob)

	n.signal(t, syscall.SIGTERM)
	carol.dial(t, "*43")
	if got := carol.ends(t, 1).Param; !strings.HasPrefix(got, "503") {
		t.Errorf("the new call was told %q, want 503", got)
	}
	hearEachOther(t, alice, bob)
	if n.gone() {
		t.Fatalf("the node did not wait for its call")
	}
	alice.hangUp(t)
	bob.ends(t, 1)
	if code := n.waitEnd(t, 20*time.Second); code != 0 {
		t.Errorf("the drained node ended with code %d, want 0", code)
	}
}

func TestSecondSIGTERMStopsNow(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	alice, _ := pair(t, n, phoneConfig{}, phoneConfig{})
	alice.dial(t, "1001")
	alice.talks(t, 1)
	n.signal(t, syscall.SIGTERM)
	never(t, time.Second, "the node ends under its call", n.gone)
	n.signal(t, syscall.SIGTERM)
	n.waitEnd(t, 5*time.Second)
}

func TestOperatorEndsACallOnBothSides(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	alice, bob := pair(t, n, phoneConfig{}, phoneConfig{})
	alice.dial(t, "1001")
	alice.talks(t, 1)
	bob.talks(t, 1)
	n.carries(t, 1)
	call := alice.all("CALL_ESTABLISHED")[0].ID
	out, err := n.cli(t, "call", "trace", call)
	if err != nil || !strings.Contains(out, "INVITE") {
		t.Errorf("call trace %s: %v\n%s", call, err, out)
	}
	if strings.Contains(out, "response=\"") && !strings.Contains(out, "***") {
		t.Errorf("the trace shows a digest response\n%s", out)
	}
	if out, err := n.cli(t, "call", "hangup", call); err != nil {
		t.Fatalf("call hangup %s: %v\n%s", call, err, out)
	}
	alice.ends(t, 1)
	bob.ends(t, 1)
	n.carries(t, 0)
}
