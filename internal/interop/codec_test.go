//go:build interop

package interop

import "testing"

// Phones that share no codec: baresip's own Opus and G.722 (libopus, spandsp) against ours, and what each hears.
func TestPhonesWithoutACommonCodecHearEachOther(t *testing.T) {
	for _, c := range []struct{ alice, bob string }{
		{"opus", "g711"},
		{"g711", "opus"},
		{"g722", "g711"},
		{"g711", "g722"},
		{"opus", "g722"},
	} {
		t.Run(c.alice+" calls "+c.bob, func(t *testing.T) {
			n := startNode(t)
			alice := startPhone(t, n, phoneConfig{user: "1000", tone: 440, codecs: c.alice}).registered(t)
			bob := startPhone(t, n, phoneConfig{user: "1001", tone: 1000, codecs: c.bob}).registered(t)
			alice.dial(t, "1001")
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
