//go:build interop

package interop

import (
	"regexp"
	"strings"
	"testing"
)

// withSRTP is a served node whose configuration says srtp, "" for the default.
func withSRTP(t testing.TB, srtp string) *node {
	t.Helper()
	return serveNode(t, serveConfig{srtp: srtp})
}

// TestEncryptedPhonesHearEachOther: each phone has its keys with the node alone; nobody listens to what does not fit them.
func TestEncryptedPhonesHearEachOther(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, policy, alice, bob string
		offered                  string // to bob
	}{
		{"both insist", "", "srtp-mand", "srtp-mand", "RTP/SAVP"},
		{"both can", "", "srtp", "srtp", "RTP/AVP"},
		{"the caller can", "", "srtp", "", "RTP/AVP"},
		{"the caller insists, the callee is offered plain RTP", "off", "srtp-mand", "", "RTP/AVP"},
		{"the callee can", "preferred", "", "srtp", "RTP/AVP"},
		{"the node insists", "required", "srtp", "srtp-mand", "RTP/SAVP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := withSRTP(t, c.policy)
			alice := startPhone(t, n, phoneConfig{user: "alice", tone: 440, srtp: c.alice}).registered(t)
			bob := startPhone(t, n, phoneConfig{user: "bob", tone: 1000, srtp: c.bob}).registered(t)
			alice.dial(t, "bob")
			alice.talks(t, 1)
			bob.talks(t, 1)
			hearEachOther(t, alice, bob)
			alice.relayed(t, "audio")
			bob.relayed(t, "audio")
			for _, m := range bob.got(`^INVITE `) {
				if !strings.Contains(m.text, " "+c.offered+" ") {
					t.Errorf("bob was offered\n%s", m.text)
				}
			}
			if answer := alice.got(`^SIP/2.0 200`); c.alice != "" && !has(answer, "a=crypto:") {
				t.Error("alice was answered without a key")
			}
			if answer := bob.sent(`^SIP/2.0 200`); (c.bob != "") != has(answer, "a=crypto:") {
				t.Errorf("bob's answer: %v", answer)
			}
			bob.hangUp(t)
			alice.ends(t, 1)
		})
	}
}

func has(list []sipMessage, text string) bool {
	for _, m := range list {
		if strings.Contains(m.text, text) {
			return true
		}
	}
	return false
}

func TestEncryptedEchoGivesTheCallerItsOwnTone(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	alice := startPhone(t, n, phoneConfig{user: "1000", tone: 620, srtp: "srtp-mand"}).registered(t)
	alice.dial(t, "*43")
	alice.talks(t, 1)
	alice.hears(t, 620)
	alice.hangUp(t)
}

// A phone that insists on encryption gets no call to one that has none, instead of one that is readable behind the node.
func TestEncryptedCallToAPhoneWithoutIsRefused(t *testing.T) {
	n := startNode(t)
	n.withoutMailboxes(t)
	alice, bob := pair(t, n, phoneConfig{srtp: "srtp-mand"}, phoneConfig{})
	alice.dial(t, "1001")
	if e := alice.ends(t, 1); !strings.Contains(e.Param, "488") {
		t.Errorf("the call ended with %q", e.Param)
	}
	if bob.happened("CALL_ESTABLISHED") > 0 {
		bob.ends(t, 1)
	}
	n.carries(t, 0)
}

// TestKeysOfPhonesPassThrough: the phones have the only keys, by SDES and by DTLS, and hear each other through a node that has none.
func TestKeysOfPhonesPassThrough(t *testing.T) {
	t.Parallel()
	for mode, key := range map[string]string{"srtp-mand": `a=crypto:\S+ \S+ (inline:\S+)`, "dtls_srtp": `a=fingerprint:(\S+ \S+)`} {
		t.Run(mode, func(t *testing.T) {
			n := withSRTP(t, "passthrough")
			alice := startPhone(t, n, phoneConfig{user: "alice", tone: 440, srtp: mode}).registered(t)
			bob := startPhone(t, n, phoneConfig{user: "bob", tone: 1000, srtp: mode}).registered(t)
			alice.dial(t, "bob")
			alice.talks(t, 1)
			bob.talks(t, 1)
			hearEachOther(t, alice, bob)
			alice.relayed(t, "audio")
			bob.relayed(t, "audio")
			for what, keys := range map[string][2][]sipMessage{
				"alice's": {alice.sent(`^INVITE `), bob.got(`^INVITE `)}, "bob's": {bob.sent(`^SIP/2.0 200`), alice.got(`^SIP/2.0 200`)},
			} {
				if mine, theirs := keyIn(keys[0], key), keyIn(keys[1], key); mine == "" || mine != theirs {
					t.Errorf("%s key is %q, the other phone was told %q", what, mine, theirs)
				}
			}
			if out, err := n.cli(t, "call", "record", alice.all("CALL_ESTABLISHED")[0].ID, "start"); err == nil || !strings.Contains(out, "encrypt this call end to end") {
				t.Errorf("to record it: %v, %s", err, out)
			}
			bob.hangUp(t)
			alice.ends(t, 1)
		})
	}
}

// keyIn is the first match in the last message that has one.
func keyIn(list []sipMessage, pattern string) (key string) {
	for _, m := range list {
		if found := regexp.MustCompile(pattern).FindStringSubmatch(m.text); found != nil {
			key = found[1]
		}
	}
	return key
}
