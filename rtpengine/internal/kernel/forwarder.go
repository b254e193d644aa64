//go:build linux

// Package kernel forwards RTP inside the kernel: a packet that is in every respect the next one of a known flow leaves for the
// other phone before any socket hears of it.
//
// A TCX program at the ingress of our interfaces looks the packet's port up in a table, finds the flow, and compares
// interface, addresses, ports, length, RTP header, payload type, source and sequence number with what the flow's owner wrote there. A packet that
// agrees is counted (RFC 3550 A.1 and A.8 included), rewritten and handed to the next hop's neighbour entry. Every other packet
// goes up the stack untouched, to the socket that it would have reached without us. So the program decides nothing that its owner
// has not decided before: it can only do the obvious faster.
//
// Both tables are memory that the program and this process share, so that beginning or ending a flow is a store and its
// counters are loads. A flow's record rests for a second before another flow may have it: no program still looks at it then.
package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// Errors of Start that say why a flow stays with its sockets, in words for operators.
var (
	ErrFull      = errors.New("the kernel's table of flows is full")
	ErrInterface = errors.New("no program on the interface")
	ErrRoute     = errors.New("no route that the kernel path serves")
)

// MaxFlows bounds the flows of a Forwarder. Two octets lead from a port to its flow: the table of ten thousand ports then stays in the
// processor's cache, and waiting for it was most of what the program cost.
const MaxFlows = 1<<16 - 1

// rest is how long a record is left alone after its flow.
const rest = int64(time.Second)

// Config sets a Forwarder up.
type Config struct {
	Low, High uint16       // local ports
	Flows     int          // at the same time, at most MaxFlows
	Rate      int          // packets of a flow a second
	TOS       byte         // of forwarded packets
	Now       func() int64 // a clock that runs as CLOCK_MONOTONIC does; times here are its
	Addrs     []netip.Addr // local addresses, at most one of each family; an unspecified one is all
	Only      []string     // interfaces; none: those that have the addresses
}

// Forwarder is the program with its tables. Its methods may be called from any goroutine.
type Forwarder struct {
	cfg   Config
	table *table
	prog  *ebpf.Program
	net   *watcher

	mu       sync.Mutex
	resting  []resting // ring of free records, in the order in which they were given back
	head     int
	free     int
	attached map[int]*attachment // by interface index
	lo       int                 // the loopback's index
	closed   bool
}

type resting struct {
	number uint32
	since  int64
}

// table is the memory shared with the program. It lives as long as a Running that looks at it.
type table struct {
	maps    [2]*ebpf.Map
	memory  [2][]byte
	ports   []uint32 // two in a word: family*count + port-low -> 1 + index in records; 0: no flow
	records []record
}

// Open loads the program; Refresh puts it on interfaces. The kernel asks for CAP_BPF and CAP_NET_ADMIN, and for Linux 6.6.
func Open(c Config) (_ *Forwarder, err error) {
	f := &Forwarder{cfg: c, attached: make(map[int]*attachment)}
	defer func() {
		if err != nil {
			f.Close()
			err = plain(err)
		}
	}()
	if c.Flows < 1 || c.Flows > MaxFlows {
		return nil, fmt.Errorf("%d flows, want 1 to %d", c.Flows, MaxFlows)
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, err
	}
	if f.net, err = newWatcher(); err != nil {
		return nil, err
	}
	count := int(c.High) - int(c.Low) + 1
	if f.table, err = newTable(2*count, c.Flows); err != nil {
		return nil, err
	}
	f.resting, f.free = make([]resting, c.Flows), c.Flows
	for i := range f.resting {
		f.resting[i] = resting{uint32(i), c.Now() - rest}
	}
	var at unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &at); err != nil {
		return nil, os.NewSyscallError("clock_gettime", err)
	}
	p := plan{
		low: c.Low, count: count, rate: c.Rate, tos: c.TOS, epoch: at.Nano() - c.Now(),
		ports: f.table.maps[0].FD(), flows: f.table.maps[1].FD(),
	}
	f.prog, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "tandem_media", Type: ebpf.SchedCLS, AttachType: ebpf.AttachTCXIngress, License: "Apache-2.0", Instructions: p.program(),
	})
	return f, err
}

// plain says for an operator what the kernel's refusal means.
func plain(err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("the kernel asks for CAP_BPF and CAP_NET_ADMIN: %w", err)
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("this kernel is too old, Linux 6.6 is wanted: %w", err)
	}
	return err
}

func newTable(ports, flows int) (t *table, err error) {
	t = &table{}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	for i, spec := range []ebpf.MapSpec{
		{Name: "tandem_flow_of", ValueSize: uint32(ports+1) / 2 * 4, MaxEntries: 1},
		{Name: "tandem_flows", ValueSize: uint32(recordBytes), MaxEntries: uint32(flows)},
	} {
		spec.Type, spec.KeySize, spec.Flags = ebpf.Array, 4, unix.BPF_F_MMAPABLE
		if t.maps[i], err = ebpf.NewMap(&spec); err != nil {
			return t, err
		}
		size := int(spec.ValueSize+7) / 8 * 8 * int(spec.MaxEntries) // the kernel rounds each value up
		page := os.Getpagesize()
		if t.memory[i], err = unix.Mmap(t.maps[i].FD(), 0, (size+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
			return t, os.NewSyscallError("mmap", err)
		}
	}
	t.ports = unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(t.memory[0]))), (ports+1)/2)
	t.records = unsafe.Slice((*record)(unsafe.Pointer(unsafe.SliceData(t.memory[1]))), flows)
	runtime.AddCleanup(t, unmap, t.memory)
	return t, nil
}

func unmap(memory [2][]byte) {
	for _, m := range memory {
		if m != nil {
			_ = unix.Munmap(m)
		}
	}
}

// lead has a port lead to a flow; 0: to none. The forwarder's mutex is held, so nobody else writes the word.
func (t *table) lead(port int, flow uint16) {
	word := &t.ports[port/2]
	var halves [4]byte
	binary.NativeEndian.PutUint32(halves[:], atomic.LoadUint32(word))
	binary.NativeEndian.PutUint16(halves[port%2*2:], flow)
	atomic.StoreUint32(word, binary.NativeEndian.Uint32(halves[:]))
}

// leads is the flow that a port leads to.
func (t *table) leads(port int) uint16 {
	var halves [4]byte
	binary.NativeEndian.PutUint32(halves[:], atomic.LoadUint32(&t.ports[port/2]))
	return binary.NativeEndian.Uint16(halves[port%2*2:])
}

// close gives the maps back; the memory stays as long as somebody looks at it.
func (t *table) close() {
	for _, m := range t.maps {
		_ = m.Close() // nil closes well
	}
}

// Flow is one direction of a call: which packets belong to it and what becomes of them.
type Flow struct {
	Local, Remote netip.AddrPort // a packet's destination and source. An unspecified Local is the address that the route to Remote has
	From, To      netip.AddrPort // what they become: source and destination; likewise
	Payloads      [2]uint64      // bit map of the payload types that may pass, all of the same clock
	Clock         uint32         // Hz
	SSRC          uint32
	State
}

// State is where a flow's accounts stand when the kernel takes it over, and when it gives it back.
type State struct {
	Highest, Received uint32 // RFC 3550 A.1, Received modulo 2^32
	Transit, Jitter16 uint32 // A.8, in RTP units; the jitter times 16
	WindowAt          int64  // the second that is counted began then, to a millisecond
	Window            uint32 // packets in it
	Codec             uint32 // below 2^16; static payload type of the last packet that has one, and one; 0: none
}

// Running is a flow in the kernel's hands. Start's caller owns it; Packets, Bytes, Seen and State may be read by anyone, also after Stop.
type Running struct {
	forwarder *Forwarder
	table     *table
	record    *record
	number    uint32
	place     int // in table.ports
}

// Start hands a flow to the kernel. Whoever calls it must hold a socket bound to Local, until after Stop.
func (f *Forwarder) Start(w *Flow) (*Running, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrFull
	}
	back, err := f.net.route(w.Remote.Addr(), w.Local.Addr())
	if err != nil {
		return nil, err
	}
	if why := f.attached[back.index]; why == nil || why.link == nil {
		return nil, ErrInterface
	}
	on, err := f.net.route(w.To.Addr(), w.From.Addr())
	if err != nil {
		return nil, err
	}
	number, ok := f.take()
	if !ok {
		return nil, ErrFull
	}
	r := &Running{forwarder: f, table: f.table, record: &f.table.records[number], number: number, place: f.place(w.Local)}
	r.record.fill(w, &back, &on, f.lo)
	f.table.lead(r.place, uint16(number)+1)
	return r, nil
}

// Stop gives the flow back: packets that come from now on go to the socket.
func (r *Running) Stop() {
	f := r.forwarder
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.table.leads(r.place) == uint16(r.number)+1 {
		r.table.lead(r.place, 0)
	}
	f.resting[(f.head+f.free)%len(f.resting)] = resting{r.number, f.cfg.Now()}
	f.free++
}

func (f *Forwarder) place(local netip.AddrPort) int {
	at := int(local.Port()) - int(f.cfg.Low)
	if local.Addr().Is6() {
		at += int(f.cfg.High) - int(f.cfg.Low) + 1
	}
	return at
}

// take finds a record that has rested. The mutex is held.
func (f *Forwarder) take() (uint32, bool) {
	first := f.resting[f.head]
	if f.free == 0 || f.cfg.Now()-first.since < rest {
		return 0, false
	}
	f.head = (f.head + 1) % len(f.resting)
	f.free--
	return first.number, true
}

// fill writes what the program goes by, and where the counters begin.
func (r *record) fill(w *Flow, back, on *route, lo int) {
	local, from := w.Local.Addr(), w.From.Addr()
	if local.IsUnspecified() {
		local = back.source
	}
	if from.IsUnspecified() {
		from = on.source
	}
	*r = record{
		remotePort: netPort(w.Remote.Port()), fromPort: netPort(w.From.Port()), toPort: netPort(w.To.Port()),
		longest: uint16(min(on.mtu, 65535)), ingress: uint32(back.index), egress: uint32(on.index),
		payloads: w.Payloads, clock: w.Clock,
		windowAt: uint32(w.WindowAt / int64(time.Millisecond)), window: uint16(min(w.Window, math.MaxUint16)), highest: w.Highest, received: w.Received,
		transit: w.Transit, jitter16: w.Jitter16, codec: uint16(w.Codec),
	}
	ends := [...]netip.Addr{local, w.Remote.Addr(), from, w.To.Addr()}
	before, after := append(ends[1].AsSlice(), ends[0].AsSlice()...), append(ends[2].AsSlice(), ends[3].AsSlice()...)
	r.addrChange = change(before, after)
	if local.Is4() {
		for i, to := range [...]*[4]byte{&r.ends4.local, &r.ends4.remote, &r.ends4.from, &r.ends4.to} {
			*to = ends[i].As4()
		}
	} else {
		for i, to := range [...]*[16]byte{&r.ends6.local, &r.ends6.remote, &r.ends6.from, &r.ends6.to} {
			*to = ends[i].As16()
		}
	}
	r.ssrc = [4]byte{byte(w.SSRC >> 24), byte(w.SSRC >> 16), byte(w.SSRC >> 8), byte(w.SSRC)}
	localPort := netPort(w.Local.Port())
	r.portChange = change(append(r.remotePort[:], localPort[:]...), append(r.fromPort[:], r.toPort[:]...))
	if on.index != lo {
		r.nextHopFamily = unix.AF_INET
		if on.hop.Is6() {
			r.nextHopFamily = unix.AF_INET6
		}
		copy(r.nextHop[:], on.hop.AsSlice())
	}
}

// Packets is how many RTP packets the kernel has forwarded.
func (r *Running) Packets() uint64 {
	defer runtime.KeepAlive(r) // and with it the table
	return atomic.LoadUint64(&r.record.packets)
}

// Bytes are theirs, with RTP header.
func (r *Running) Bytes() uint64 {
	defer runtime.KeepAlive(r) // and with it the table
	return atomic.LoadUint64(&r.record.bytes)
}

// Seen is when the last one came, on Config.Now's clock; 0: none has.
func (r *Running) Seen() int64 {
	defer runtime.KeepAlive(r)
	return atomic.LoadInt64(&r.record.seen)
}

// State is where the accounts stand. A packet that is being forwarded meanwhile may be in one of its numbers and not in another.
func (r *Running) State() State {
	defer runtime.KeepAlive(r)
	window, codec := r.record.halves()
	now := r.forwarder.cfg.Now() / int64(time.Millisecond)
	ago := int32(uint32(now) - atomic.LoadUint32(&r.record.windowAt))
	return State{
		Highest: atomic.LoadUint32(&r.record.highest), Received: r.record.received + uint32(atomic.LoadUint64(&r.record.packets)),
		Transit: atomic.LoadUint32(&r.record.transit), Jitter16: atomic.LoadUint32(&r.record.jitter16),
		WindowAt: (now - int64(ago)) * int64(time.Millisecond), Window: uint32(window), Codec: uint32(codec),
	}
}

// Close takes the program from all interfaces; every packet goes to its socket then.
func (f *Forwarder) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.closed = true
	for index := range f.attached {
		f.detach(index)
	}
	if f.prog != nil {
		f.prog.Close()
	}
	if f.table != nil {
		f.table.close()
	}
	if f.net != nil {
		f.net.close()
	}
}
