//go:build interop

package interop

import (
	"slices"
	"testing"
)

// BenchmarkFirstSoundInABrowser tells how long somebody who calls a phone from a browser waits for the first decoded sound, from JsSIP's call() on, in
// milliseconds: through Tandem, and through Kamailio and Tandem's media engine.
func BenchmarkFirstSoundInABrowser(b *testing.B) {
	for _, c := range []struct {
		name  string
		start func(testing.TB) *node
	}{
		{"tandem", func(t testing.TB) *node { return startNode(t) }},
		{"kamailio and tandem", func(t testing.TB) *node {
			n, _, _ := startMediaBehindKamailio(t)
			return n
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			n := c.start(b)
			web := startBrowserWith(b, n, browserConfig{user: "1002", scheme: "ws", tone: 440})
			bob := startPhone(b, n, phoneConfig{user: "1001", tone: 1000}).registered(b)
			web.await(b, "registered", 1)
			var waits []int
			for i := 1; b.Loop(); i++ {
				web.dial("sip:1001@" + n.host())
				waits = append(waits, web.await(b, "sound", i).Status)
				bob.hangUp(b)
				web.await(b, "ended", i)
			}
			slices.Sort(waits)
			b.ReportMetric(0, "ns/op") // the call's end is in it
			b.ReportMetric(float64(waits[len(waits)/2]), "ms-median")
			b.ReportMetric(float64(waits[len(waits)-1]), "ms-worst")
		})
	}
}
