//go:build interop

package interop

import (
	"fmt"
	"net"
	"strconv"
	"testing"
)

// TestATrunkHasItsChannelsOnceForAllNodes has three nodes with a phone each, and a carrier with two channels: any two of the phones talk at once, and not the third.
func TestATrunkHasItsChannelsOnceForAllNodes(t *testing.T) {
	c := startTrio(t)
	c.whole(t)
	port := freePort(t)
	launch(t, "sipp as a carrier", t.TempDir(), []string{"TERM=dumb"}, peer(t, "sipp", "sip-tester"), "-sn", "uas", "-i", c.phoneIP(), "-p", strconv.Itoa(port), "-nostdin")
	eventually(t, startWithin, "the carrier to listen", func() bool { return listensUDP(port) })
	c.apply(t, fmt.Sprintf(`
trunk "carrier" {
  hosts    = [%q]
  caller   = "+442079460000"
  channels = 2
  ping     = "0s"
}
outbound "world" {
  match = ["+*"]
  via   = [trunk.carrier]
}
`, net.JoinHostPort(c.phoneIP(), strconv.Itoa(port))))
	var phones []*phone
	for i := range c.ready.Nodes {
		phones = append(phones, startPhone(t, c.at(i), phoneConfig{user: fmt.Sprint(1001 + i), tone: 700}).registered(t))
	}
	const outside = "+442079460999"
	talking := make([]int, len(phones)) // calls so far
	talks := func(i int) {
		t.Helper()
		phones[i].dial(t, outside)
		talking[i]++
		phones[i].talks(t, talking[i])
	}
	talks(0)
	talks(1)
	phones[2].dial(t, outside)
	if e := phones[2].ends(t, 1); phones[2].happened("CALL_ESTABLISHED") != 0 {
		t.Fatalf("a third call was put through over two channels: %+v", e)
	}
	if got := phones[2].got(`^SIP/2.0 503 `); len(got) == 0 {
		t.Error("the third phone was not told 503")
	}
	phones[0].hangUp(t)
	talks(2) // the channel has moved to the third node
	phones[1].hangUp(t)
	phones[2].hangUp(t)
	talks(0)
	phones[0].dial(t, outside) // both may be one node's; a phone has one call at a time on the line
	phones[0].talks(t, talking[0]+1)
}
