package rtpengine

import (
	"testing"
	"unsafe"
)

// pipe is a session with both phones, driven by hand: what a shard does for each packet, without the
// kernel's part of waiting.
func pipe(t testing.TB) (sh *relay, from *leg, k *socket, raw rawAddr, b []byte, far *phone) {
	e := startEngine(t, nil)
	a, c := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, c)
	t.Cleanup(s.Close)
	for range lockAfter {
		a.say("lock")
		c.hears("lock")
	}
	settle(s.shard) // and from here on it is idle: the test may act as the shard
	from = s.lines[0].legs[A]
	raw.set(a.addr())
	b = packet(0, a.seq, 0, a.ssrc, string(make([]byte, 160)))
	sh = &relay{rate: 1 << 30}
	return sh, from, from.sockets[v4][rtp], raw, b, c
}

func TestPacketPathDoesNotAllocate(t *testing.T) {
	r, _, k, raw, b, _ := pipe(t)
	if n := testing.AllocsPerRun(200, func() {
		b[3]++
		r.now += 20_000_000
		r.receive(k, raw.source(), &raw, b)
	}); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

func BenchmarkRelayOnePacket(b *testing.B) {
	r, _, k, raw, pkt, _ := pipe(b)
	b.ReportAllocs()
	for b.Loop() {
		pkt[3]++
		r.receive(k, raw.source(), &raw, pkt)
	}
}

func BenchmarkRelayDecisionsOnly(b *testing.B) {
	r, from, k, raw, pkt, _ := pipe(b)
	from.out.to[rtp].clear()
	b.ReportAllocs()
	for b.Loop() {
		pkt[3]++
		r.receive(k, raw.source(), &raw, pkt)
	}
}

func TestLegStaysSmall(t *testing.T) {
	if n := unsafe.Sizeof(leg{}); n > 760 { // with the allocator's header 768, a size class; the next is 896
		t.Errorf("a leg has %d bytes; a call has four with video", n)
	}
}
