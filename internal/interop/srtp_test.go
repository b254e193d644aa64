//go:build interop

package interop

import (
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
