//go:build linux

package kernel

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"tandem/internal/netns"
)

// clock is a Config.Now.
func clock() func() int64 {
	began := time.Now()
	return func() int64 { return int64(time.Since(began)) }
}

// open makes a forwarder for all addresses and ports 20000-20999.
func open(t testing.TB, change func(*Config)) *Forwarder {
	t.Helper()
	netns.Need(t)
	c := Config{
		Low: 20000, High: 20999, Flows: 16, Rate: 5000, TOS: 46 << 2, Now: clock(),
		Addrs: []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()},
	}
	if change != nil {
		change(&c)
	}
	f, err := Open(c)
	if err != nil {
		t.Skip("no program can be loaded here: ", err)
	}
	t.Cleanup(f.Close)
	if _, err := f.Refresh(); err != nil {
		t.Fatal(err)
	}
	return f
}

func at(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

const source = 0xdeadbeef

// flow is one of G.711 whose last packet was number 999.
func flow(local, remote, from, to string) *Flow {
	return &Flow{
		Local: at(local), Remote: at(remote), From: at(from), To: at(to),
		Payloads: [2]uint64{1<<0 | 1<<8, 1 << (101 - 64)}, Clock: 8000, SSRC: source, State: State{Highest: 999, Received: 10},
	}
}

func start(t testing.TB, f *Forwarder, w *Flow) *Running {
	t.Helper()
	r, err := f.Start(w)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// rtp writes a packet of 20 ms of G.711.
func rtp(payload byte, seq uint16) []byte {
	b := make([]byte, rtpBytes+160)
	b[0], b[1] = 2<<6, payload
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[4:], uint32(seq)*160)
	binary.BigEndian.PutUint32(b[8:], source)
	return b
}

// frame puts Ethernet, IP and UDP around a payload, with correct checksums.
func frame(from, to netip.AddrPort, payload []byte) []byte {
	b := make([]byte, ethernet, 2000)
	length := udpBytes + len(payload)
	if from.Addr().Is4() {
		binary.BigEndian.PutUint16(b[12:], 0x0800)
		ip := make([]byte, 20)
		ip[0], ip[6], ip[8], ip[9] = 0x45, 0x40, 64, 17
		binary.BigEndian.PutUint16(ip[2:], uint16(20+length))
		copy(ip[12:], from.Addr().AsSlice())
		copy(ip[16:], to.Addr().AsSlice())
		b = append(b, ip...)
	} else {
		binary.BigEndian.PutUint16(b[12:], 0x86dd)
		ip := make([]byte, 40)
		ip[0], ip[1], ip[6], ip[7] = 0x60, 0x05, 17, 64
		binary.BigEndian.PutUint16(ip[4:], uint16(length))
		copy(ip[8:], from.Addr().AsSlice())
		copy(ip[24:], to.Addr().AsSlice())
		b = append(b, ip...)
	}
	b = binary.BigEndian.AppendUint16(b, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(length))
	b = append(b, 0, 0)
	b = append(b, payload...)
	seal(b)
	return b
}

// seal writes the checksums of a frame.
func seal(b []byte) {
	f := familyOf(b)
	if f == &ipv4 {
		binary.BigEndian.PutUint16(b[ethernet+10:], 0)
		binary.BigEndian.PutUint16(b[ethernet+10:], ^sum(0, b[ethernet:f.udp()]))
	}
	binary.BigEndian.PutUint16(b[f.udp()+6:], 0)
	binary.BigEndian.PutUint16(b[f.udp()+6:], ^udpSum(b))
}

func familyOf(b []byte) *family {
	if binary.BigEndian.Uint16(b[12:]) == 0x0800 {
		return &ipv4
	}
	return &ipv6
}

// udpSum is over pseudo header, header and data, by the book (RFC 768, RFC 8200 §8.1); 0xffff when the checksum in b is right.
func udpSum(b []byte) uint16 {
	f := familyOf(b)
	udp := b[f.udp():]
	pseudo := append([]byte{0, 17}, udp[4:6]...)
	pseudo = append(pseudo, b[f.source:f.source+2*f.addr]...)
	return sum(uint32(sum(0, pseudo)), udp)
}

func sum(n uint32, b []byte) uint16 {
	for i := range b {
		if i%2 == 0 {
			n += uint32(b[i]) << 8
		} else {
			n += uint32(b[i])
		}
	}
	for n>>16 != 0 {
		n = n&0xffff + n>>16
	}
	return uint16(n)
}

// redirect is what bpf_redirect_neigh answers.
const redirect = 7

// test runs the program over a frame that came by the loopback.
func test(t testing.TB, f *Forwarder, b []byte) (verdict int32, out []byte) {
	t.Helper()
	ret, out, err := f.prog.Test(b)
	if err != nil {
		t.Fatal(err)
	}
	return int32(ret), out
}

var ways = []struct {
	name                    string
	local, remote, from, to string
}{
	{"IPv4", "127.0.0.1:20000", "127.0.0.2:5000", "127.0.0.3:20002", "127.0.0.4:6000"},
	{"IPv6", "[::1]:20000", "[::1]:5000", "[::1]:20002", "[::1]:6000"},
}

func TestPacketOfAFlowIsRewrittenAndCounted(t *testing.T) {
	for _, way := range ways {
		for name, change := range map[string]func([]byte) []byte{
			"plain":     func(b []byte) []byte { return b },
			"marker":    func(b []byte) []byte { b[1] |= 0x80; return b },
			"event":     func(b []byte) []byte { b[1] = 101; return b },
			"csrc":      func(b []byte) []byte { b[0] |= 15; return b },
			"extension": func(b []byte) []byte { b[0] |= 0x10; copy(b[12:], []byte{0xbe, 0xde, 0, 37}); return b },
			"padding":   func(b []byte) []byte { b[0] |= 0x20; b[len(b)-1] = 160; return b },
			"odd":       func(b []byte) []byte { return b[:len(b)-1] },
			"empty":     func(b []byte) []byte { return b[:rtpBytes] },
			"all": func(b []byte) []byte {
				b[0] |= 0x33
				copy(b[12+12:], []byte{0xbe, 0xde, 0, 30})
				b[len(b)-1] = 24
				return b
			},
		} {
			f := open(t, nil)
			r := start(t, f, flow(way.local, way.remote, way.from, way.to))
			payload := change(rtp(0, 1000))
			verdict, got := test(t, f, frame(at(way.remote), at(way.local), payload))
			want := frame(at(way.from), at(way.to), payload)
			if fam := familyOf(want); fam == &ipv4 {
				want[ethernet+1], want[fam.life] = 46<<2, 63
			} else {
				want[ethernet], want[ethernet+1], want[fam.life] = 0x60|46>>2, 46<<6&0xf0, 63
			}
			seal(want)
			if verdict != redirect || !bytes.Equal(got, want) {
				t.Errorf("%s, %s: verdict %d\n got %x\nwant %x", way.name, name, verdict, got, want)
			}
			if r.Packets() != 1 || r.Bytes() != uint64(len(payload)) || r.Seen() == 0 {
				t.Errorf("%s, %s: %d packets, %d octets", way.name, name, r.Packets(), r.Bytes())
			}
			if st := r.State(); st.Highest != 1000 || st.Received != 11 || st.Window != 1 {
				t.Errorf("%s, %s: %+v", way.name, name, st)
			}
		}
	}
}

// A UDP checksum of 0 says that there is none (RFC 768), and it stays so.
func TestPacketWithoutChecksumStaysWithout(t *testing.T) {
	f := open(t, nil)
	way := ways[0]
	start(t, f, flow(way.local, way.remote, way.from, way.to))
	b := frame(at(way.remote), at(way.local), rtp(0, 1000))
	copy(b[ipv4.udp()+6:], []byte{0, 0})
	verdict, got := test(t, f, b)
	if verdict != redirect || !bytes.Equal(got[ipv4.udp()+6:][:2], []byte{0, 0}) {
		t.Errorf("verdict %d, %x", verdict, got)
	}
}

// What is not the flow's next packet in every respect goes up the stack as it came, and is not counted here.
func TestEverythingElseIsLeftAlone(t *testing.T) {
	ip := func(f func([]byte)) func([]byte) []byte {
		return func(b []byte) []byte { f(b[ethernet:]); return b }
	}
	media := func(f func([]byte)) func([]byte) []byte {
		return func(b []byte) []byte { f(b[familyOf(b).rtp():]); return b }
	}
	both := map[string]func([]byte) []byte{
		"other port":        func(b []byte) []byte { b[familyOf(b).udp()+3]++; return b },
		"port out of range": func(b []byte) []byte { b[familyOf(b).udp()+2] = 1; return b },
		"other source port": func(b []byte) []byte { b[familyOf(b).udp()+1]++; return b },
		"other source":      func(b []byte) []byte { b[familyOf(b).source+familyOf(b).addr-1]++; return b },
		"other destination": func(b []byte) []byte { b[familyOf(b).destination+familyOf(b).addr-1]++; return b },
		"other protocol":    func(b []byte) []byte { b[familyOf(b).protocol] = 6; return b },
		"last hop":          func(b []byte) []byte { b[familyOf(b).life] = 1; return b },
		"no hop":            func(b []byte) []byte { b[familyOf(b).life] = 0; return b },
		"UDP length":        func(b []byte) []byte { b[familyOf(b).udp()+5]--; return b },
		"cut off":           func(b []byte) []byte { return b[:len(b)-1] },
		"to another host":   func(b []byte) []byte { b[0] = 2; return b },
		"ARP":               func(b []byte) []byte { b[12], b[13] = 8, 6; return b },
		"STUN":              media(func(b []byte) { b[0] = 0 }),
		"DTLS":              media(func(b []byte) { b[0] = 22 }),
		"version":           media(func(b []byte) { b[0] = 0xc0 }),
		"RTCP":              media(func(b []byte) { b[1] = 200 }),
		"RTCP 192":          media(func(b []byte) { b[1] = 192 }),
		"RTCP 223":          media(func(b []byte) { b[1] = 223 }),
		"payload type":      media(func(b []byte) { b[1] = 18 }),
		"high payload type": media(func(b []byte) { b[1] = 100 }),
		"other SSRC":        media(func(b []byte) { b[11]++ }),
		"jump":              media(func(b []byte) { binary.BigEndian.PutUint16(b[2:], 999+3000) }),
		"long ago":          media(func(b []byte) { binary.BigEndian.PutUint16(b[2:], 999-101) }),
		"extension beyond":  media(func(b []byte) { b[0] |= 0x10; copy(b[12:], []byte{0, 0, 0, 40}) }),
		"long extension":    media(func(b []byte) { b[0] |= 0x10; copy(b[12:], []byte{0, 0, 255, 255}) }),
		"no padding":        media(func(b []byte) { b[0] |= 0x20; b[len(b)-1] = 0 }),
		"padding beyond":    media(func(b []byte) { b[0] |= 0x20; b[len(b)-1] = 161 }),
	}
	only := map[string]map[string]func([]byte) []byte{
		"IPv4": {
			"options":        ip(func(b []byte) { b[0] = 0x46 }),
			"version":        ip(func(b []byte) { b[0] = 0x55 }),
			"first fragment": ip(func(b []byte) { b[6] = 0x20 }),
			"later fragment": ip(func(b []byte) { b[7] = 1 }),
			"length":         ip(func(b []byte) { b[3]++ }),
			"tiny":           ip(func(b []byte) { b[2], b[3] = 0, 39 }),
		},
		"IPv6": {
			"version":     ip(func(b []byte) { b[0] = 0x50 }),
			"next header": ip(func(b []byte) { b[6] = 44 }), // a fragment
			"length":      ip(func(b []byte) { b[5]++ }),
			"jumbo":       ip(func(b []byte) { b[4], b[5] = 0, 0 }),
			"no checksum": func(b []byte) []byte { copy(b[ipv6.udp()+6:], []byte{0, 0}); return b },
		},
	}
	for _, way := range ways {
		f := open(t, nil)
		r := start(t, f, flow(way.local, way.remote, way.from, way.to))
		state := r.State()
		try := func(name string, change func([]byte) []byte) {
			b := change(frame(at(way.remote), at(way.local), rtp(0, 1000)))
			verdict, got := test(t, f, b)
			if verdict != verdictNext || !bytes.Equal(got, b) || r.Packets() != 0 || r.State() != state {
				t.Errorf("%s, %s: verdict %d, %d packets, %+v\n got %x\n was %x", way.name, name, verdict, r.Packets(), r.State(), got, b)
			}
		}
		for name, change := range both {
			try(name, change)
		}
		for name, change := range only[way.name] {
			try(name, change)
		}
		r.Stop()
		try("stopped", func(b []byte) []byte { return b })
	}
}

func TestLongPacketIsLeftToTheStackThatCanCutIt(t *testing.T) {
	f := open(t, nil)
	netns.Run(t, "ip link set lo mtu 1300") // IPv6 would end below 1280
	defer netns.Run(t, "ip link set lo mtu 65536")
	if changed, err := f.Refresh(); !changed || err != nil {
		t.Fatal(changed, err)
	}
	way := ways[0]
	start(t, f, flow(way.local, way.remote, way.from, way.to))
	for n, want := range map[int]int32{1300: redirect, 1301: verdictNext} {
		payload := append(rtp(0, 1000), make([]byte, 1200)...)[:n-28]
		if verdict, _ := test(t, f, frame(at(way.remote), at(way.local), payload)); verdict != want {
			t.Errorf("%d octets: verdict %d, want %d", n, verdict, want)
		}
	}
}

// The program counts as quality.packet does, RFC 3550 A.1 and A.8.
func TestSequenceAndJitterAreFollowed(t *testing.T) {
	f := open(t, nil)
	way := ways[0]
	w := flow(way.local, way.remote, way.from, way.to)
	w.Highest, w.Transit, w.Jitter16 = 65533, 1<<31+5, 16*80
	r := start(t, f, w)
	want := w.State
	want.Received, want.Highest, want.Codec = 15, 65536+3, 8+1
	for _, seq := range []uint16{65534, 65535, 1, 0, 3} { // over the wrap, one late, one lost
		if verdict, _ := test(t, f, frame(at(way.remote), at(way.local), rtp(8, seq))); verdict != redirect {
			t.Fatalf("%d: verdict %d", seq, verdict)
		}
		transit := uint32(uint64(r.Seen())/1000*8000/1_000_000) - uint32(seq)*160
		d := int32(transit - want.Transit)
		if d < 0 {
			d = -d
		}
		want.Transit = transit
		want.Jitter16 += uint32(d) - (want.Jitter16+8)>>4
	}
	got := r.State()
	want.WindowAt, want.Window = got.WindowAt, 5
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	test(t, f, frame(at(way.remote), at(way.local), rtp(101, 2))) // a format without a number of its own
	if got := r.State(); got.Received != 16 || got.Codec != 8+1 {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestPacketsBeyondTheRateComeUp(t *testing.T) {
	f := open(t, func(c *Config) { c.Rate = 3 })
	way := ways[1]
	w := flow(way.local, way.remote, way.from, way.to)
	w.WindowAt, w.Window = f.cfg.Now(), 1
	r := start(t, f, w)
	for i, want := range []int32{redirect, redirect, verdictNext, verdictNext} {
		if verdict, _ := test(t, f, frame(at(way.remote), at(way.local), rtp(0, uint16(1000+i)))); verdict != want {
			t.Errorf("packet %d: verdict %d, want %d", i, verdict, want)
		}
	}
	if st := r.State(); r.Packets() != 2 || st.Window != 3 {
		t.Errorf("%d packets, %+v", r.Packets(), st)
	}
}

func TestFlowsAreBoundedAndRecordsRest(t *testing.T) {
	var now int64
	f := open(t, func(c *Config) { c.Flows, c.Now = 2, func() int64 { return now } })
	var running []*Running
	for i := range 2 {
		w := flow("127.0.0.1:20000", "127.0.0.1:5000", "127.0.0.1:20100", "127.0.0.1:6000")
		w.Local = netip.AddrPortFrom(w.Local.Addr(), uint16(20000+2*i))
		running = append(running, start(t, f, w))
	}
	third := flow("127.0.0.1:20010", "127.0.0.1:5000", "127.0.0.1:20100", "127.0.0.1:6000")
	if _, err := f.Start(third); err != ErrFull {
		t.Errorf("got %v, want %v", err, ErrFull)
	}
	running[0].Stop()
	if _, err := f.Start(third); err != ErrFull {
		t.Errorf("a record was used again at once: %v", err)
	}
	now += rest
	start(t, f, third)
}
