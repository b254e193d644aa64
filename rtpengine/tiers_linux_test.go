//go:build linux && !portable

package rtpengine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BenchmarkTiers measures what a packet costs the whole machine on each tier: phones in two network namespaces talk through the
// engine, across two veths, and for comparison directly, across one. An iteration is a second of traffic, so -benchtime=10x. It wants a
// machine with nothing else to do, and root in a network namespace of its own: bench/run.sh kernel runs it so.
//
// busy-us/packet is the processor time of phones and relay together, the kernel's for them included: a tier's own cost is what it has more
// than "direct". p50-us and p99-us are the times from one phone to the other.
func BenchmarkTiers(b *testing.B) {
	if os.Getenv(tierVariable) == "" {
		b.Skip("run by bench/run.sh kernel, in a network namespace")
	}
	left, right := newNetwork(b), newNetwork(b)
	b.Run("direct", func(b *testing.B) {
		link(b, left, "10.99.0.1", right, "10.99.0.2")
		drive(b, left, right, "10.99.0.1", "10.99.0.2", nil)
	})
	link(b, nil, "10.99.1.1", left, "10.99.1.2")
	link(b, nil, "10.99.2.1", right, "10.99.2.2")
	b.Run("routed", func(b *testing.B) { // the kernel's own forwarding over the same two links, for comparison
		left.in(func() { command(b, "ip route add 10.99.2.0/24 via 10.99.1.1") })
		right.in(func() { command(b, "ip route add 10.99.1.0/24 via 10.99.2.1") })
		forwarding(b, "1")
		defer forwarding(b, "0")
		drive(b, left, right, "10.99.1.2", "10.99.2.2", nil)
		left.in(func() { command(b, "ip route del 10.99.2.0/24") })
		right.in(func() { command(b, "ip route del 10.99.1.0/24") })
	})
	for _, tier := range []Tier{TierSockets, TierSteered, TierAuto} {
		b.Run(string(tier), func(b *testing.B) {
			e := startEngine(b, func(c *Config) {
				c.Bind, c.Tier, c.PacketRate = []netip.Addr{netip.IPv4Unspecified()}, tier, 0
			})
			settle(e.shards[0])
			drive(b, left, right, "10.99.1.2", "10.99.2.2", e)
			if st := e.Stats(); tier == TierAuto && (len(st.Streams) == 0 || st.Streams[0].Tier != TierKernel || st.Streams[0].Streams < 2*tierCalls*95/100) {
				b.Errorf("%+v, %+v", st.Tier, st.Streams)
			}
		})
	}
}

// tierCalls is how many calls talk at a time.
const tierCalls = 250

// network is a network namespace, by a thread that is in it.
type network struct {
	do   chan func()
	path string
}

func newNetwork(b *testing.B) *network {
	n := &network{do: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocks: the thread ends with the goroutine
		n.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range n.do {
			f()
		}
	}()
	if err := <-ready; err != nil {
		b.Skip("no right to a network namespace: ", err)
	}
	b.Cleanup(func() { close(n.do) })
	return n
}

// in runs f in the network; nil is the process's own.
func (n *network) in(f func()) {
	if n == nil {
		f()
		return
	}
	done := make(chan struct{})
	n.do <- func() { defer close(done); f() }
	<-done
}

func command(b *testing.B, text string) {
	words := strings.Fields(text)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		b.Errorf("%s: %v: %s", text, err, bytes.TrimSpace(out))
	}
}

func forwarding(b *testing.B, to string) {
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte(to), 0o644); err != nil {
		b.Error(err)
	}
}

// link lays a veth between two networks, until the benchmark ends.
func link(b *testing.B, one *network, addr string, other *network, otherAddr string) {
	name := "to" + otherAddr[len(otherAddr)-3:]
	command(b, "ip link add "+name+"-a type veth peer name "+name+"-b")
	for _, end := range []struct {
		in         *network
		name, addr string
	}{{one, name + "-a", addr}, {other, name + "-b", otherAddr}} {
		if end.in != nil {
			command(b, "ip link set "+end.name+" netns "+end.in.path)
		}
		end.in.in(func() {
			command(b, "ip addr add "+end.addr+"/24 dev "+end.name)
			command(b, "ip link set "+end.name+" up")
		})
	}
	b.Cleanup(func() { one.in(func() { command(b, "ip link del "+name+"-a") }) })
}

// drive has calls talk for b.N seconds and reports what that cost. All phones of a network share a socket: to the engine they are calls from one
// address, each by a port of its own, and sending and hearing them costs next to nothing.
func drive(b *testing.B, left, right *network, leftAddr, rightAddr string, e *Engine) {
	var sides [2]*crowd
	left.in(func() { sides[A] = newCrowd(b, leftAddr) })
	right.in(func() { sides[B] = newCrowd(b, rightAddr) })
	for i := range tierCalls {
		p, q := sides[A].join(b, i), sides[B].join(b, i)
		p.to, q.to = q.addr(), p.addr()
		if e != nil {
			defer call(b, e, p, q).Close()
		}
	}
	var listeners sync.WaitGroup
	for _, c := range sides {
		c.prepare()
		listeners.Go(c.listen)
	}
	began := time.Now()
	slot := 0
	speak := func(seconds int) {
		for range slotsPerFrame * 50 * seconds {
			for _, c := range sides {
				c.say(b, slot%slotsPerFrame)
			}
			slot++
			<-time.After(time.Until(began.Add(time.Duration(slot) * 20 * time.Millisecond / slotsPerFrame)))
		}
	}
	speak(5) // until everybody is latched and handed over
	for _, c := range sides {
		c.counting.Store(true)
	}
	before, at := busy(b), time.Now()
	b.ResetTimer()
	speak(b.N)
	took := time.Since(at)
	used := busy(b) - before
	var delays []time.Duration
	<-time.After(300 * time.Millisecond)
	for _, c := range sides {
		c.over.Store(true)
	}
	listeners.Wait()
	for _, c := range sides {
		delays = append(delays, c.delays...)
	}
	slices.Sort(delays)
	total := b.N * 50 * 2 * tierCalls
	if len(delays) < total*99/100 {
		b.Fatalf("%d of %d packets arrived", len(delays), total)
	}
	b.ReportMetric(float64(used.Nanoseconds())/1000/float64(total), "busy-us/packet")
	b.ReportMetric(float64(delays[len(delays)/2].Nanoseconds())/1000, "p50-us")
	b.ReportMetric(float64(delays[len(delays)*99/100].Nanoseconds())/1000, "p99-us")
	b.ReportMetric(float64(total)/took.Seconds(), "packets/s")
	b.ReportMetric(0, "ns/op")
}

// slotsPerFrame spreads the calls over 20 ms.
const slotsPerFrame = 20

// crowd is all phones of a network, behind one socket.
type crowd struct {
	conn     *net.UDPConn
	fd       int
	phones   []*phone
	packets  [][]byte
	out      []mmsghdr
	counting atomic.Bool
	over     atomic.Bool
	delays   []time.Duration // listen's, until it has returned
}

func newCrowd(b *testing.B, addr string) *crowd {
	c := &crowd{conn: listenAt(b, netip.AddrPortFrom(netip.MustParseAddr(addr), 0))}
	file, err := c.conn.File() // blocking from here on
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { file.Close() })
	c.fd = int(file.Fd())
	_ = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	_ = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	_ = unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 300_000})
	return c
}

func (c *crowd) join(b *testing.B, i int) *phone {
	p := &phone{t: b, rtp: c.conn, rtcp: c.conn, ssrc: uint32(i+1) << 8}
	c.phones = append(c.phones, p)
	return p
}

// prepare makes each phone's packet.
func (c *crowd) prepare() {
	c.out = make([]mmsghdr, len(c.phones))
	for i, p := range c.phones {
		b := packet(0, 0, 0, p.ssrc, strings.Repeat("x", 160))
		c.packets = append(c.packets, b)
		var to rawAddr
		to.set(p.to)
		name, iov := &to, &unix.Iovec{Base: &b[0]}
		iov.SetLen(len(b))
		c.out[i].hdr.Name, c.out[i].hdr.Namelen, c.out[i].hdr.Iov = &name.bytes[0], name.len, iov
		c.out[i].hdr.SetIovlen(1)
	}
}

// say sends the packets of a slot, a few at a time, each with its own time.
func (c *crowd) say(b *testing.B, slot int) {
	const few = 13
	for at, end := slot*len(c.out)/slotsPerFrame, (slot+1)*len(c.out)/slotsPerFrame; at < end; at += few {
		n := min(few, end-at)
		now := uint64(time.Now().UnixNano())
		for i, p := range c.phones[at : at+n] {
			packet := c.packets[at+i]
			p.seq++
			binary.BigEndian.PutUint16(packet[2:], p.seq)
			binary.BigEndian.PutUint32(packet[4:], uint32(p.seq)*160)
			binary.BigEndian.PutUint64(packet[12:], now)
		}
		if _, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&c.out[at])), uintptr(n), 0, 0, 0); errno != 0 {
			b.Fatal(errno)
		}
	}
}

// listen notes how long packets were under way, by the kernel's time stamps, until nothing comes any more.
func (c *crowd) listen() {
	const batch, control = 64, 64
	var in [batch]mmsghdr
	var data [batch][64]byte
	var oob [batch][control]byte
	for i := range in {
		iov := &unix.Iovec{Base: &data[i][0]}
		iov.SetLen(len(data[i]))
		in[i].hdr.Iov, in[i].hdr.Control = iov, &oob[i][0]
		in[i].hdr.SetIovlen(1)
	}
	for {
		for i := range in {
			in[i].hdr.SetControllen(control)
		}
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&in)), batch, unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EAGAIN {
			if c.over.Load() {
				return
			}
			<-time.After(5 * time.Millisecond) // the kernel has noted when they came
			continue
		}
		if errno != 0 || !c.counting.Load() {
			continue
		}
		for i := range int(n) {
			at := oob[i][unix.CmsgLen(0):]
			came := int64(binary.NativeEndian.Uint64(at))*int64(time.Second) + int64(binary.NativeEndian.Uint64(at[8:]))
			c.delays = append(c.delays, time.Duration(came-int64(binary.BigEndian.Uint64(data[i][12:]))))
		}
	}
}

// busy is the processor time of this process so far. Phones, relay and, over veths, the kernel's work for them are all in it.
func busy(b *testing.B) time.Duration {
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
