//go:build linux

package kernel

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tandem/internal/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

// place is a network namespace behind a veth: a phone's network.
type place struct {
	name string
	do   chan func()
	tid  int
}

// newPlace makes a place that we reach by the interface name-0 as .1, and that is .2.
func newPlace(t testing.TB, name string, net4, net6 string) *place {
	t.Helper()
	netns.Need(t)
	p := &place{name: name, do: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocks: the thread dies with the goroutine
		p.tid = unix.Gettid()
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range p.do {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Skip("no right to a network namespace: ", err)
	}
	ours, theirs := name+"-0", name+"-1"
	netns.Run(t, fmt.Sprintf("ip link add %s type veth peer name %s", ours, theirs))
	t.Cleanup(func() {
		netns.Run(t, "ip link del "+ours)
		close(p.do)
	})
	netns.Run(t, fmt.Sprintf("ip link set %s netns /proc/%d/task/%d/ns/net", theirs, os.Getpid(), p.tid))
	netns.Run(t, fmt.Sprintf("ip addr add %s.1/24 dev %s", net4, ours))
	netns.Run(t, fmt.Sprintf("ip addr add %s::1/64 dev %s nodad", net6, ours))
	netns.Run(t, fmt.Sprintf("ip link set %s up", ours))
	p.run(t, "ip link set lo up")
	p.run(t, fmt.Sprintf("ip addr add %s.2/24 dev %s", net4, theirs))
	p.run(t, fmt.Sprintf("ip addr add %s::2/64 dev %s nodad", net6, theirs))
	p.run(t, fmt.Sprintf("ip link set %s up", theirs))
	p.run(t, fmt.Sprintf("ip route add default via %s.1", net4))
	return p
}

// inside runs f in the place.
func (p *place) inside(f func()) {
	done := make(chan struct{})
	p.do <- func() { defer close(done); f() }
	<-done
}

func (p *place) run(t testing.TB, command string) {
	t.Helper()
	p.inside(func() { netns.Run(t, command) })
}

// listen opens a phone's socket.
func (p *place) listen(t testing.TB, at string) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	p.inside(func() { conn = listen(t, at) })
	return conn
}

func listen(t testing.TB, at string) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(at)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// hear reads one packet that is on its way: a neighbour may have to be found first, on a busy machine. It gives nil when none comes.
func hear(t testing.TB, conn *net.UDPConn) ([]byte, netip.AddrPort) {
	t.Helper()
	return hearFor(t, conn, 10*time.Second)
}

// hearFor waits for so long.
func hearFor(t testing.TB, conn *net.UDPConn, patience time.Duration) ([]byte, netip.AddrPort) {
	t.Helper()
	b := make([]byte, 2000)
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	n, from, err := conn.ReadFromUDPAddrPort(b)
	if err != nil {
		return nil, netip.AddrPort{}
	}
	return b[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}
