package virtualip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tandem/internal/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

// machine is another one on the segment: a network namespace behind a veth.
type machine struct{ do chan func() }

// segment makes one with this machine at eth0, 192.0.2.1, and another at 192.0.2.2.
func segment(t *testing.T) *machine {
	t.Helper()
	netns.Need(t)
	o := &machine{do: make(chan func())}
	ready, tid := make(chan error), 0
	go func() {
		runtime.LockOSThread() // and never unlocks: the thread dies with the goroutine
		tid = unix.Gettid()
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range o.do {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Skip("no right to a network namespace: ", err)
	}
	netns.Run(t, "ip link add eth0 type veth peer name there")
	t.Cleanup(func() {
		netns.Run(t, "ip link del eth0")
		close(o.do)
	})
	netns.Run(t, fmt.Sprintf("ip link set there netns /proc/%d/task/%d/ns/net", os.Getpid(), tid))
	netns.Run(t, "ip addr add 192.0.2.1/24 dev eth0")
	netns.Run(t, "ip link set eth0 up")
	o.run(t, "ip addr add 192.0.2.2/24 dev there")
	o.run(t, "ip link set there up")
	return o
}

func (o *machine) inside(f func()) {
	done := make(chan struct{})
	o.do <- func() { defer close(done); f() }
	<-done
}

func (o *machine) run(t *testing.T, command string) (out string) {
	t.Helper()
	o.inside(func() { out = netns.Run(t, command) })
	return out
}

// neighbour is what the other machine believes of an address.
func (o *machine) neighbour(t *testing.T, addr string) string {
	t.Helper()
	return o.run(t, "ip neigh show "+addr)
}

func hardware(t *testing.T) string {
	t.Helper()
	in, err := net.InterfaceByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	return in.HardwareAddr.String()
}

// await asks until it is so; packets between namespaces take a moment.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 2000 {
		if is() {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("not so: %s", what)
}

func TestAnAddressMovesFromAnotherMachineToThisOne(t *testing.T) {
	o := segment(t)
	for _, test := range []struct{ text, addr string }{{"192.0.2.10/24", "192.0.2.10"}, {"2001:db8::10/64", "2001:db8::10"}} {
		a := Address{netip.MustParsePrefix(test.text), "eth0"}
		const elsewhere = "02:00:00:00:00:99"
		o.run(t, "ip neigh replace "+test.addr+" lladdr "+elsewhere+" dev there nud stale") // the node that died
		for i := range 2 {
			if had, err := a.Add(); err != nil || had != (i > 0) {
				t.Fatalf("%s: %v, %v", a, had, err)
			}
		}
		if out := netns.Run(t, "ip addr show dev eth0"); !strings.Contains(out, test.text) || strings.Contains(out, "tentative") && a.Prefix.Addr().Is6() && strings.Contains(out, test.addr+"/64 scope global tentative") {
			t.Errorf("the address is not of use:\n%s", out)
		}
		if got := o.neighbour(t, test.addr); !strings.Contains(got, elsewhere) {
			t.Errorf("the other machine has heard of it already: %s", got)
		}
		conn, err := net.ListenPacket("udp", net.JoinHostPort(test.addr, "5060")) // bound before anybody is told
		if err != nil {
			t.Fatal(err)
		}
		await(t, "the other machine knows where "+test.addr+" is", func() bool {
			if err := a.Announce(); err != nil { // more than once, as a node does: the link may not be up yet
				t.Fatal(err)
			}
			return strings.Contains(o.neighbour(t, test.addr), hardware(t))
		})
		_ = conn.Close()
		for range 2 {
			if err := a.Remove(); err != nil {
				t.Fatal(err)
			}
		}
		if out := netns.Run(t, "ip addr show dev eth0"); strings.Contains(out, test.text) {
			t.Errorf("it is still here:\n%s", out)
		}
	}
}

func TestWhoHasAnAddressIsAsked(t *testing.T) {
	o := segment(t)
	a := Address{netip.MustParsePrefix("192.0.2.2/24"), "eth0"}
	var theirs net.HardwareAddr
	o.inside(func() {
		if in, err := net.InterfaceByName("there"); err == nil {
			theirs = in.HardwareAddr
		}
	})
	if by, err := a.Holder(5 * time.Second); err != nil || by.String() != theirs.String() {
		t.Errorf("%v (%v), want %v", by, err, theirs)
	}
	a.Prefix = netip.MustParsePrefix("192.0.2.77/24")
	if by, err := a.Holder(50 * time.Millisecond); err != nil || by != nil {
		t.Errorf("nobody has it, but %v (%v)", by, err)
	}
}

func TestWhatCannotBeIsSaid(t *testing.T) {
	segment(t)
	a := Address{netip.MustParsePrefix("192.0.2.10/24"), "eth7"}
	if _, err := a.Add(); !errors.Is(err, ErrInterface) || !strings.Contains(err.Error(), "192.0.2.10/24@eth7") {
		t.Error(err)
	}
	if err := a.Remove(); err != nil {
		t.Error(err)
	}
	netns.Run(t, "ip link set lo up")
	onLoopback := Address{netip.MustParsePrefix("192.0.2.11/32"), "lo"}
	if _, err := onLoopback.Add(); err != nil {
		t.Error(err)
	}
	if err := onLoopback.Announce(); err != nil { // to nobody
		t.Error(err)
	}
	done := make(chan struct{})
	go func() { // a thread without rights, which dies
		defer close(done)
		runtime.LockOSThread()
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&head, &none[0]); err != nil {
			t.Error(err)
			return
		}
		a.Interface = "eth0"
		_, added := a.Add()
		_, asked := a.Holder(time.Second)
		for _, err := range []error{added, a.Announce(), asked} {
			if !errors.Is(err, ErrRight) {
				t.Errorf("without rights: %v", err)
			}
		}
		t.Log(added)
	}()
	<-done
}
