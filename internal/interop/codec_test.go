//go:build interop

package interop

import "testing"

// Phones that share no codec: baresip's own Opus and G.722 (libopus, spandsp) against ours, and what each hears.
func TestPhonesWithoutACommonCodecHearEachOther(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ alice, bob, transcode string }{
		{"opus", "g711", "auto"},
		{"g711", "opus", "always"},
		{"g722", "g711", "auto"},
		{"g711", "g722", "always"},
		{"opus", "g722", "auto"},
	} {
		t.Run(c.alice+" calls "+c.bob, func(t *testing.T) {
			n := serveNode(t, serveConfig{media: `transcode = "` + c.transcode + `"`})
			alice := startPhone(t, n, phoneConfig{user: "alice", tone: 440, codecs: c.alice}).registered(t)
			bob := startPhone(t, n, phoneConfig{user: "bob", tone: 1000, codecs: c.bob}).registered(t)
			alice.dial(t, "bob")
			alice.talks(t, 1)
			bob.talks(t, 1)
			alice.hears(t, 1000)
			bob.hears(t, 440)
			alice.relayed(t, "audio")
			bob.relayed(t, "audio")
			bob.hangUp(t)
			alice.ends(t, 1)
			n.carries(t, 0)
		})
	}
}

// Phones of G.711 are offered what the other one offers.
func TestOffersOfPhonesAreNotMadeLonger(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	alice, bob := pair(t, n, phoneConfig{}, phoneConfig{})
	alice.dial(t, "1001")
	alice.talks(t, 1)
	hearEachOther(t, alice, bob)
	if offers := bob.got(`^INVITE `); has(offers, "opus") || has(offers, "G722") {
		t.Errorf("bob was offered %v", offers)
	}
	alice.hangUp(t)
	bob.ends(t, 1)
}
