//go:build interop

package interop

import (
	"math"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestTwoBaresipsHearEachOther(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"udp", "tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			n := startNode(t)
			alice := startPhone(t, n, phoneConfig{user: "1000", transport: transport, tone: 440})
			bob := startPhone(t, n, phoneConfig{user: "1001", transport: transport, tone: 1000})
			alice.registered(t)
			bob.registered(t)

			alice.dial(t, "1001")
			alice.talks(t, 1)
			bob.talks(t, 1)
			alice.hears(t, 1000)
			bob.hears(t, 440)
			alice.relayed(t, "audio")
			bob.relayed(t, "audio")
			for _, m := range bob.got(`^INVITE `) { // RFC 3261 §18.1.1: only what is larger may leave UDP
				if !strings.EqualFold(m.over, transport) && m.size() <= 1300 {
					t.Errorf("an INVITE of %d bytes came over %s to a phone that registered over %s\n%s", m.size(), m.over, transport, m.text)
				}
			}

			bob.hangUp(t)
			alice.ends(t, 1)
			n.carries(t, 0)
		})
	}
}

func TestPhonesOfDifferentTransportsHearEachOther(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	alice := startPhone(t, n, phoneConfig{user: "1000", transport: "udp", tone: 440}).registered(t)
	bob := startPhone(t, n, phoneConfig{user: "1001", transport: "tcp", tone: 1000}).registered(t)

	bob.dial(t, "1000")
	alice.talks(t, 1)
	alice.hears(t, 1000)
	bob.hears(t, 440)
	alice.hangUp(t)
	bob.ends(t, 1)

	alice.dial(t, "1001")
	bob.talks(t, 2)
	bob.hears(t, 440)
	bob.hangUp(t)
	alice.ends(t, 2)
}

// needsIPv6 skips a test where there is no ::1.
func needsIPv6(t testing.TB) {
	t.Helper()
	probe, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6 loopback address: %v", err)
	}
	probe.Close()
}

func TestPhonesHearEachOtherOverIPv6(t *testing.T) {
	needsIPv6(t)
	for _, transport := range []string{"udp", "tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			n := startNodeAt(t, netip.IPv6Loopback())
			alice, bob := pair(t, n, phoneConfig{transport: transport}, phoneConfig{transport: transport})
			alice.dial(t, "1001")
			alice.talks(t, 1)
			hearEachOther(t, alice, bob)
			alice.relayed(t, "audio")
			bob.relayed(t, "audio")
			bob.hangUp(t)
			alice.ends(t, 1)
		})
	}
}

// TestAPhoneOnIPv4AndOneOnIPv6HearEachOther: the node is where the two address
// families meet, for signalling and for media; neither phone has the other's.
func TestAPhoneOnIPv4AndOneOnIPv6HearEachOther(t *testing.T) {
	needsIPv6(t)
	for _, transport := range []string{"udp", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			n := serveNode(t, serveConfig{ipv6: true})
			alice := startPhone(t, n, phoneConfig{user: "alice", transport: transport, tone: 440}).registered(t)
			bob := startPhone(t, n.over6(), phoneConfig{user: "bob", transport: transport, tone: 1000}).registered(t)
			for i, call := range []struct{ caller, called *phone }{{alice, bob}, {bob, alice}} {
				call.caller.dial(t, call.called.user)
				call.caller.talks(t, i+1)
				call.called.talks(t, i+1)
				hearEachOther(t, alice, bob)
				alice.relayed(t, "audio") // to the node's IPv4 media address alone
				bob.relayed(t, "audio")   // and to ::1 alone
				call.called.hangUp(t)
				call.caller.ends(t, i+1)
			}
		})
	}
}

func TestEchoGivesTheCallerItsOwnTone(t *testing.T) {
	n := startNode(t)
	alice := startPhone(t, n, phoneConfig{user: "1000", tone: 620}).registered(t)
	alice.dial(t, "*43")
	alice.talks(t, 1)
	alice.hears(t, 620)
	alice.relayed(t, "audio")
	alice.hangUp(t)
	n.carries(t, 0)
}

func TestMusicIsHeard(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	alice := startPhone(t, n, phoneConfig{user: "1000", tone: 620}).registered(t)
	alice.dial(t, "*98")
	alice.talks(t, 1)
	var heard spectrum
	eventually(t, soon, "sound that is not the caller's own", func() bool {
		var ok bool
		heard, ok = analyse(alice.recorded())
		return ok && heard.level > 200 && math.Abs(heard.peak-620) > 8
	})
	alice.hangUp(t)
}
