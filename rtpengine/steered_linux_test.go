//go:build linux && !portable

package rtpengine

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"tandem/rtpengine/internal/steer"
)

// needSteering skips a test where the kernel lets nobody steer.
func needSteering(t *testing.T) {
	t.Helper()
	program, err := steer.Attach([]netip.Addr{loop4}, 21000, 21003, 1)
	if err != nil {
		t.Skipf("steering is not possible here: %v", err)
	}
	if err := program.Close(); err != nil {
		t.Fatal(err)
	}
}

// steered is startEngine on the steered tier.
func steered(t *testing.T, change func(*Config)) *Engine {
	t.Helper()
	needSteering(t)
	e := startEngine(t, func(c *Config) {
		c.Tier = TierSteered
		if change != nil {
			change(c)
		}
	})
	settle(e.shards[0])
	if got := e.Stats().Tier; got.Tier != TierSteered {
		t.Fatalf("%s serves: %s", got.Tier, got.Reason)
	}
	return e
}

// What other tests of this package say of relaying holds on the steered tier too. They run again in a process and a
// network namespace of their own; those that play and record in real time are left out, for how packets arrive is nothing to them.
func TestAllOnTheSteeredTier(t *testing.T) {
	if onTier != "" {
		t.Skip("this is a run on one tier")
	}
	needSteering(t)
	t.Parallel() // in a network namespace of its own
	runAllOn(t, TierSteered)
}

// runAllOn runs the tests again that have to do with sockets.
func runAllOn(t *testing.T, tier Tier) {
	t.Helper()
	again := exec.Command(os.Args[0], "-test.short="+map[bool]string{true: "true", false: "false"}[testing.Short()], "-test.shuffle=on",
		"-test.skip=Play|Sound|Music|Tone|Digit|Record|Endpoint|Echo|Room|WAV|Resampl|Voice|Closure|AnotherCall|Costs|Opus|Film|Pictures|Loudest|Tick|Stretches")
	again.Env = append(os.Environ(), tierVariable+"="+string(tier))
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	if out, err := again.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// loopbackUp switches on the loopback interface of a new network namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

func TestPacketsOfCallsAreSteered(t *testing.T) {
	for _, addr := range []netip.Addr{loop4, loop6} {
		for _, wild := range []bool{false, true} {
			e := steered(t, func(c *Config) {
				if wild {
					c.Bind = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
				}
			})
			a, b := newPhone(t, addr), newPhone(t, addr)
			s := call(t, e, a, b)
			for range 10 {
				a.say("there")
				b.hears("there")
				b.say("back")
				a.hears("back")
			}
			settle(s.shard)
			if st := e.Stats(); st.Shards[0].Steered != 20 || st.Forwarded != 20 || st.Shards[0].Faults != 0 {
				t.Errorf("%s, wildcard %v: %d of 20 steered, %d forwarded", addr, wild, st.Shards[0].Steered, st.Forwarded)
			}
			s.Close()
		}
	}
}

// Another program may listen on a port of the range, on our address or another: what is sent to it is its own.
func TestPortsOfOthersAreNotTouched(t *testing.T) {
	e := steered(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	defer call(t, e, a, b).Close()
	other := listenAt(t, netip.AddrPortFrom(loop4, freePort(t, e)))
	neighbour := listenAt(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), a.to.Port())) // our port, not our address
	for _, to := range []netip.AddrPort{local(other), local(neighbour)} {
		a.raw(a.rtp, to, []byte("hello"))
	}
	if string(a.next(other)) != "hello" || string(a.next(neighbour)) != "hello" {
		t.Error("another's packet was changed")
	}
	if st := e.Stats(); st.Shards[0].Datagrams != 0 {
		t.Errorf("%d packets of others were taken", st.Shards[0].Datagrams)
	}
}

// After a call its ports are free for any program at once, and a packet that was still queued goes nowhere.
func TestClosedPortIsNotSteeredAnyMore(t *testing.T) {
	e := steered(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	a.say("x")
	b.hears("x")
	sh, k := s.shard, s.lines[0].legs[A].pairs[v4].rtp
	gate := func() (chan struct{}, chan struct{}) {
		reached, open := make(chan struct{}), make(chan struct{})
		sh.order(func(*shard) { close(reached); <-open })
		return reached, open
	}
	first, open := gate()
	<-first
	second, openSecond := gate() // this and the close are obeyed in one go
	s.Close()
	close(open)
	<-second
	a.say("queued while the call ends")
	close(openSecond)
	sh.order(func(sh *shard) {
		if sh.inbox.ports[v4][k.port-sh.inbox.low] != nil {
			t.Error("the port is still known")
		}
	})
	settle(sh)
	next := listenAt(t, a.to)
	a.raw(a.rtp, a.to, []byte("for the next"))
	if string(a.next(next)) != "for the next" {
		t.Error("another's packet was changed")
	}
	settle(sh)
	if got := e.Stats().Drops[DropClosed]; got != 1 {
		t.Errorf("%d packets of a closed port counted, want 1", got)
	}
}

func local(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

// freePort is a port of the range that nobody has.
func freePort(t *testing.T, e *Engine) uint16 {
	t.Helper()
	p, err := e.pools[v4].open(e.now)
	if err != nil {
		t.Fatal(err)
	}
	p.close(e.now())
	return p.port
}

// A flood to one port goes back to that port's own queue; the call goes on there, and others are not disturbed.
func TestFloodedPortLeavesTheCommonQueue(t *testing.T) {
	e := steered(t, func(c *Config) { c.PacketRate = 50 })
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	defer s.Close()
	stranger := listenAt(t, netip.MustParseAddrPort("127.0.0.3:0"))
	for range 60 {
		a.raw(stranger, a.to, packet(0, 1, 1, 1, "flood"))
	}
	a.say("x")
	b.hears("x")
	settle(s.shard) // the totals are added behind the batch
	st := e.Stats().Shards[0]
	if st.Exiled != 1 {
		t.Fatalf("%d ports were exiled, want 1", st.Exiled)
	}
	before := st.Steered
	a.say("y")
	b.hears("y")
	settle(s.shard)
	if st := e.Stats().Shards[0]; st.Steered != before {
		t.Error("the flooded port is still steered")
	}
	b.say("z")
	a.hears("z")
}

// What does not fit is dropped and counted, and the packet after it arrives.
func TestOversizedSteeredPacketIsDropped(t *testing.T) {
	e := steered(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	defer s.Close()
	a.say(strings.Repeat("L", slabBytes))
	a.say("short")
	b.hears("short")
	settle(s.shard)
	if got := e.Stats().Drops[DropOversize]; got != 1 {
		t.Errorf("%d oversized packets counted", got)
	}
}

func TestMmsghdrIsAsTheKernelsIs(t *testing.T) {
	word := unsafe.Sizeof(uintptr(0))
	if got, want := unsafe.Sizeof(mmsghdr{}), (unsafe.Sizeof(unix.Msghdr{})+4+word-1)/word*word; got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
}
