//go:build interop

package interop

import (
	"fmt"
	"testing"
)

// TestPhonesHearEachOtherByOnePort: plain RTP and SRTP, each with RTCP, of calls one after the other and at once. Of a host that the node does not
// know yet the first call may take the way round by ports of its own.
func TestPhonesHearEachOtherByOnePort(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, keys string }{{"plain", ""}, {"SRTP", "srtp-mand"}} {
		t.Run(c.name, func(t *testing.T) {
			single := freePort(t)
			n := serveNode(t, serveConfig{media: fmt.Sprintf("single_port = %d", single)})
			alice := startPhone(t, n, phoneConfig{user: "alice", tone: 440, srtp: c.keys}).registered(t)
			bob := startPhone(t, n, phoneConfig{user: "bob", tone: 1000, srtp: c.keys}).registered(t)
			for call := 1; call <= 3; call++ {
				alice.dial(t, "bob")
				alice.talks(t, call)
				bob.talks(t, call)
				hearEachOther(t, alice, bob)
				for _, p := range []*phone{alice, bob} {
					told := 0
					for _, m := range p.got(`^INVITE |^SIP/2.0 200`) {
						for _, s := range m.media() {
							if told = s.port; s.port != single && !n.owns(s.host, s.port) {
								t.Errorf("%s was told port %d", p.name, s.port)
							}
						}
					}
					if call > 1 && told != single {
						t.Errorf("call %d: %s was told port %d, not %d", call, p.name, told, single)
					}
				}
				bob.hangUp(t)
				alice.ends(t, call)
			}
			n.carries(t, 0)
			if got := n.metric(t, `tandem_media_single_port_unowned_total\{reason="overrun"\}`); got != 0 {
				t.Errorf("%v datagrams were not read in time", got)
			}
			if got := n.metric(t, `tandem_media_single_port_unowned_total\{reason="ambiguous"\}`); got > 0 {
				t.Errorf("%v datagrams are ambiguous", got)
			}
			if got := n.metric(t, "tandem_media_single_port_admitted_total"); got < 5 {
				t.Errorf("%v sides were told the port", got)
			}
		})
	}
}
