//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/pion/srtp/v3"

	"tandem/bench/internal/gauge"
	"tandem/bench/internal/wire"
)

const (
	packetTime   = 20 * time.Millisecond // one G.711 packet each
	packetBytes  = 172                   // RTP header and 160 samples
	samplesApart = 160
	catchUp      = 8 // late ticks sent at once before looking at what has arrived
)

// Report is what one relay showed.
type Report struct {
	Calls         int
	Window        float64 // measured seconds
	CPU           float64 // the relay's CPU-seconds inside the window
	Sent          int     // packets sent inside the window
	Lost          int     // of them, never arrived
	DriverDropped int     // dropped at the driver's own sockets for want of room: not the relay's fault
	Repeated      int     // arrived twice or out of order
	Misdelivered  int     // arrived at a phone of another stream
	Latency       gauge.Latency
	Lag           gauge.Latency // how late the driver was in sending
	DriverCPU     float64
	SetUpRate     float64 // of setup: calls a second that were offered, answered and deleted
	BytesPerCall  int64   // growth of the relay's resident memory
	HeapPerCall   int64   // and of its live heap, where it can be asked
	KernelPerCall int64   // and of the kernel's slabs: sockets, files
	FilesPerCall  float64
}

// CPUPerMillion is the relay's CPU-seconds per million packets forwarded.
func (r *Report) CPUPerMillion() float64 {
	if r.Sent == r.Lost {
		return 0
	}
	return r.CPU * 1e6 / float64(r.Sent-r.Lost)
}

// stream is one direction of one call: 50 packets a second from a socket of ours to the relay.
type stream struct {
	from     *wire.Socket
	own      netip.Addr // under which it sends, when phones have addresses of their own; else the socket's
	arrives  *wire.Socket
	to       wire.Addr
	packet   [packetBytes]byte
	sequence uint32
	sent     int
	got      int
	last     uint32
	seal     *srtp.Context // of a caller that speaks SRTP
	unseal   *srtp.Context // of what a caller gets
}

// streams is all directions of all calls. Stream 2 sets: 0..calls-1 from callers, calls..2*calls-1 from callees.
//
// Streams are sent in ticks, an equal number in each; those of one tick share a socket, so that one sendmmsg carries them. Only phones whose
// packets are transcoded have a socket each.
type streams struct {
	loop    *wire.Loop
	plan    *plan
	load    load
	sockets []*wire.Socket
	list    []stream
	ticks   int // in one packet time

	warm, window time.Duration

	begin, open, shut, end int64 // end is 0 until the last packet has left
	tick                   int   // next
	counting               bool
	report                 Report
	latency, lag           *gauge.Samples
	cpu, own               [2]time.Duration
	server                 *gauge.Process
	problem                error
	scratch                [2 * packetBytes]byte
	spoken                 *spoken // of a load that is transcoded, else nil
}

func newStreams(l *wire.Loop, p *plan, what load, apart bool, warm, window time.Duration) (*streams, error) {
	total := 2 * what.calls
	expected := int(window/packetTime+2) * total
	s := &streams{
		loop: l, plan: p, load: what, warm: warm, window: window, list: make([]stream, total), ticks: int(packetTime / p.tick),
		latency: gauge.NewSamples(expected), lag: gauge.NewSamples(int(window/p.tick) + 2),
	}
	if what.opus {
		var err error
		if s.spoken, err = newSpoken(); err != nil {
			return nil, err
		}
	}
	at := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if apart {
		at = netip.IPv4Unspecified()
		p.apart++
	}
	sockets := p.sockets
	if s.spoken != nil {
		sockets = total
	}
	for i := range sockets {
		if s.spoken != nil && apart {
			at = addressOf(p.apart, i)
		}
		socket, err := l.Open(netip.AddrPortFrom(at, 0), true, s.receive)
		if err != nil {
			s.close()
			return nil, err
		}
		s.sockets = append(s.sockets, socket)
	}
	for i := range s.list {
		st := &s.list[i]
		st.from = s.socketOf(i)
		st.arrives = s.socketOf((i + what.calls) % total)
		if s.spoken != nil {
			s.spoken.heardAt[st.arrives] = i
		} else if apart {
			st.own = addressOf(p.apart, i)
		}
		st.packet[0] = 0x80
		binary.BigEndian.PutUint32(st.packet[8:], uint32(i)+0x10000) // SSRC
		for j := 28; j < packetBytes; j++ {
			st.packet[j] = 0xff // silence in PCMU
		}
	}
	return s, nil
}

func (s *streams) close() {
	for _, socket := range s.sockets {
		socket.Close()
	}
}

// addressOf is the address of a phone that has one of its own, another one in each measurement: a relay may remember those of the last.
func addressOf(measurement, phone int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, byte(1 + measurement%254), byte((phone + 1) >> 8), byte(phone + 1)})
}

// socketOf is the socket that sends stream i: its own, or by its tick, of the caller's or callee's half.
func (s *streams) socketOf(i int) *wire.Socket {
	if s.spoken != nil {
		return s.sockets[i]
	}
	half := len(s.sockets) / 2
	n := s.tickOf(i) % half
	if i >= s.load.calls {
		n += half
	}
	return s.sockets[n]
}

func (s *streams) tickOf(i int) int { return i * s.ticks / len(s.list) }

// caller and callee are the addresses of a call's phones, for SDP.
func (s *streams) caller(call int) netip.AddrPort { return s.list[call].addr() }
func (s *streams) callee(call int) netip.AddrPort { return s.list[call+s.load.calls].addr() }

func (st *stream) addr() netip.AddrPort {
	if st.own.IsValid() {
		return netip.AddrPortFrom(st.own, st.from.Addr.Port())
	}
	return st.from.Addr
}

func (st *stream) send(packet []byte) {
	if st.own.IsValid() {
		st.from.SendFrom(st.own, packet, &st.to)
		return
	}
	st.from.Send(packet, &st.to)
}

// towards sets where a call's phones send: the relay's address in the SDP they got.
func (s *streams) towards(call int, caller bool, sdp []byte) error {
	to, err := mediaAddress(sdp)
	if err != nil {
		return fmt.Errorf("call %d: %w", call, err)
	}
	if !caller {
		call += s.load.calls
	}
	s.list[call].to = wire.AddrFrom(to)
	return nil
}

// mediaAddress is the first address of c= and the first port of m= in a body.
func mediaAddress(sdp []byte) (netip.AddrPort, error) {
	var address netip.Addr
	var port int
	for line := range strings.Lines(string(sdp)) {
		line = strings.TrimRight(line, "\r\n")
		if rest, ok := strings.CutPrefix(line, "c=IN IP4 "); ok {
			address, _ = netip.ParseAddr(rest)
		}
		if rest, ok := strings.CutPrefix(line, "m=audio "); ok && port == 0 {
			_, _ = fmt.Sscan(rest, &port)
		}
	}
	if !address.IsValid() || port <= 0 || port > 65535 {
		return netip.AddrPort{}, fmt.Errorf("no address and port in the SDP %q", sdp)
	}
	return netip.AddrPortFrom(address, uint16(port)), nil
}

// play sends for the warm-up and the window, waits for the last packets, and reports.
func (s *streams) play(server *gauge.Process) (*Report, error) {
	s.server = server
	s.begin = wire.Now()
	s.open = s.begin + int64(s.warm)
	s.shut = s.open + int64(s.window)
	dropped := s.drops()
	s.loop.Run(s.step)
	r := &s.report
	r.Calls, r.Window = s.load.calls, s.window.Seconds()
	r.CPU, r.DriverCPU = (s.cpu[1] - s.cpu[0]).Seconds(), (s.own[1] - s.own[0]).Seconds()
	r.DriverDropped = s.drops() - dropped
	for i := range s.list {
		r.Sent += s.list[i].sent
		lost := s.list[i].sent - s.list[i].got
		if s.spoken != nil { // the window is the receiver's there: what was under way at its ends is not lost
			lost = max(lost-2, 0)
		}
		r.Lost += lost
	}
	r.Latency, r.Lag = s.latency.Latency(), s.lag.Latency()
	if s.problem != nil {
		r.CPU = 0
	}
	return r, s.problem
}

func (s *streams) step(now int64) (next int64, done bool) {
	if s.end != 0 {
		return s.end, now >= s.end
	}
	for range catchUp {
		due := s.begin + int64(s.tick)*int64(s.plan.tick)
		if due > now {
			return due, false
		}
		if due >= s.shut { // no more packets; the relay's time ends with the last one
			s.counting = false
			s.sample(1)
			s.end = now + int64(time.Second)
			return s.end, false
		}
		if due >= s.open && !s.counting {
			s.counting = true
			s.sample(0)
		}
		if s.counting {
			s.lag.Add(now - due)
		}
		s.send(s.tick % s.ticks)
		s.tick++
	}
	return now, false
}

// send sends one packet of each stream of a tick.
func (s *streams) send(tick int) {
	total := len(s.list)
	first := (tick*total + s.ticks - 1) / s.ticks
	now := time.Now().UnixNano()
	for i := first; i < total && s.tickOf(i) == tick; i++ {
		st := &s.list[i]
		st.sequence++
		if s.spoken != nil {
			if s.counting {
				st.sent++
			}
			st.send(s.spoken.packet(s.scratch[:0], i, i < s.load.calls, st.sequence, uint32(i)+0x10000))
			continue
		}
		binary.BigEndian.PutUint16(st.packet[2:], uint16(st.sequence))
		binary.BigEndian.PutUint32(st.packet[4:], st.sequence*samplesApart)
		binary.BigEndian.PutUint64(st.packet[12:], uint64(now))
		flag := uint32(0)
		if s.counting {
			flag = 1 << 31
			st.sent++
		}
		binary.BigEndian.PutUint32(st.packet[20:], uint32(i)|flag)
		binary.BigEndian.PutUint32(st.packet[24:], st.sequence)
		if st.seal == nil {
			st.send(st.packet[:])
			continue
		}
		sealed, err := st.seal.EncryptRTP(s.scratch[:0], st.packet[:], nil)
		if err != nil {
			s.problem = err
			continue
		}
		st.send(sealed)
	}
	s.loop.Flush()
}

// receive takes what the relay forwarded.
func (s *streams) receive(socket *wire.Socket, packet []byte, _ *wire.Addr, stamp int64) {
	if s.spoken != nil {
		s.hear(socket, packet)
		return
	}
	if len(packet) < packetBytes || packet[0] != 0x80 || packet[1]&0x7f != 0 {
		return // RTCP
	}
	if i := int(binary.BigEndian.Uint32(packet[8:])) - 0x10000; i >= 0 && i < len(s.list) && s.list[i].unseal != nil {
		plain, err := s.list[i].unseal.DecryptRTP(s.scratch[:0], packet, nil)
		if err != nil {
			s.report.Misdelivered++
			return
		}
		packet = plain
	}
	if len(packet) != packetBytes {
		s.report.Misdelivered++
		return
	}
	id := binary.BigEndian.Uint32(packet[20:])
	i := int(id &^ (1 << 31))
	if i >= len(s.list) || s.list[i].arrives != socket {
		s.report.Misdelivered++
		return
	}
	st := &s.list[i]
	sequence := binary.BigEndian.Uint32(packet[24:])
	if sequence <= st.last {
		s.report.Repeated++
		return
	}
	st.last = sequence
	if id>>31 == 1 {
		st.got++
		s.latency.Add(stamp - int64(binary.BigEndian.Uint64(packet[12:])))
	}
}

// hear takes what the relay has transcoded.
func (s *streams) hear(socket *wire.Socket, packet []byte) {
	i := s.spoken.heardAt[socket]
	switch {
	case isRTCP(packet):
	case !s.spoken.heard(i >= s.load.calls, packet):
		s.report.Misdelivered++
	case s.counting:
		s.list[i].got++
	}
}

// isRTCP tells by the second byte (RFC 5761 §4).
func isRTCP(packet []byte) bool { return len(packet) > 1 && packet[1] >= 192 && packet[1] <= 223 }

func (s *streams) sample(i int) {
	var err error
	if s.cpu[i], s.own[i], err = gauge.Times(s.server); err != nil && s.problem == nil {
		s.problem = err
	}
}

// drops is how many datagrams the kernel dropped at our sockets, from /proc/net/udp.
func (s *streams) drops() (n int) {
	text, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		return 0
	}
	ours := map[string]bool{}
	for _, socket := range s.sockets {
		at := socket.Addr.Addr().As4()
		ours[fmt.Sprintf("%02X%02X%02X%02X:%04X", at[3], at[2], at[1], at[0], socket.Addr.Port())] = true
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) >= 13 && ours[fields[1]] {
			var d int
			_, _ = fmt.Sscan(fields[12], &d)
			n += d
		}
	}
	return n
}
