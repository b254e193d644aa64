//go:build interop

package interop

import (
	"strings"
	"testing"
)

func TestACallerWaitsInAQueueForAnAgent(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	n.apply(t, `
user "1000" {}
user "1001" {}
queue "support" {
  extension = "300"
  agents    = [user.1001]
  timeout   = "30s"
  otherwise { go = reject.nobody }
}
reject "nobody" {}
`)
	alice := startPhone(t, n, phoneConfig{user: "1000", tone: 440}).registered(t)
	bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000, answer: "manual"}).registered(t)
	alice.dial(t, "300")
	alice.talks(t, 1)
	bob.await(t, "CALL_INCOMING", 1)
	if out, err := n.cli(t, "queue", "list"); err != nil || !strings.Contains(out, "support@demo") || !strings.Contains(out, "1001 ringing") {
		t.Errorf("queue list: %v\n%s", err, out)
	}
	bob.do(t, "accept", "")
	bob.talks(t, 1)
	alice.hears(t, 1000)
	bob.hears(t, 440)
	alice.relayed(t, "audio")
	bob.relayed(t, "audio")
	alice.hangUp(t)
	bob.ends(t, 1)
}

func TestAMessageThatIsLeftIsHeardByItsOwner(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	alice := startPhone(t, n, phoneConfig{user: "1000", tone: 440}).registered(t)
	alice.dial(t, "1001") // whose phone is off
	alice.talks(t, 1)
	alice.do(t, "sndcode", "#") // no greeting
	eventually(t, soon, "the tone", func() bool { return n.metric(t, "tandem_voicemail_recording") == 1 })
	before := alice.transmitted(t)
	eventually(t, soon, "three seconds to be said", func() bool { return alice.transmitted(t) > before+150 })
	alice.hangUp(t)
	eventually(t, soon, "the message to be in the mailbox", func() bool {
		out, err := n.cli(t, "voicemail", "list", "1001")
		return err == nil && strings.Contains(out, "new")
	})

	bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000}).registered(t)
	bob.dial(t, "*97")
	bob.talks(t, 1)
	eventually(t, soon, "to hear what is in the mailbox", func() bool { return bob.received(t) > 50 })
	bob.do(t, "sndcode", "1")
	eventually(t, 2*soon, "the message, behind what is said of it", func() bool { return loud(bob.recorded(), 440) > 3000 })
	bob.hangUp(t)
}
