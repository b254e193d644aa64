//go:build linux && !portable

package rtpengine

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// batching is steered where there is a right to raw sockets.
func batching(t *testing.T, change func(*Config)) *Engine {
	t.Helper()
	e := steered(t, change)
	if reason := e.Stats().Tier.Reason; reason != "" {
		t.Skip(reason)
	}
	return e
}

// acquainted is a call in which both phones have spoken: from then on its packets leave in batches.
func acquainted(t *testing.T, e *Engine, a, b *phone) *Session {
	t.Helper()
	s := call(t, e, a, b)
	a.say("hello")
	b.hears("hello")
	b.say("hello")
	a.hears("hello")
	settle(s.shard)
	return s
}

func TestPacketsLeaveInBatchesAsTheirPortsSocketsWouldSendThem(t *testing.T) {
	for _, bind := range []netip.Addr{loop4, netip.IPv4Unspecified()} {
		e := batching(t, func(c *Config) { c.Bind = []netip.Addr{bind} })
		a, b := newPhone(t, loop4), newPhone(t, loop4)
		defer acquainted(t, e, a, b).Close()
		before := e.Stats().Shards[0]
		for n := range 40 { // odd and even lengths: a wrong checksum would not arrive
			word := strings.Repeat("w", n*13)
			a.say(word)
			got := make([]byte, 2048)
			size, from, err := b.rtp.ReadFromUDPAddrPort(got)
			if err != nil || string(got[12:size]) != word || from != b.to {
				t.Fatalf("%d bytes from %s, want %d from %s: %v", size-12, from, len(word), b.to, err)
			}
		}
		settle(e.shards[0])
		if st := e.Stats().Shards[0]; st.Batched-before.Batched != 40 || st.Unbatched != 0 {
			t.Errorf("bound to %s: %d of 40 left in batches, %d were refused", bind, st.Batched-before.Batched, st.Unbatched)
		}
	}
}

// A host with several addresses answers from the one that the phone sends to: a NAT would let no other in.
func TestThePeerHearsTheAddressItSendsTo(t *testing.T) {
	e := batching(t, func(c *Config) { c.Bind = []netip.Addr{netip.IPv4Unspecified()} })
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := acquainted(t, e, a, b)
	defer s.Close()
	other := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), b.to.Port())
	b.raw(b.rtp, other, packet(0, 100, 1, b.ssrc, "by another way"))
	a.hears("by another way")
	settle(s.shard)
	a.say("and back")
	got := make([]byte, 2048)
	if _, from, err := b.rtp.ReadFromUDPAddrPort(got); err != nil || from != other {
		t.Fatalf("from %s, want %s: %v", from, other, err)
	}
}

// What does not fit the raw socket leaves by its port's own, and nothing overtakes it.
func TestLongPacketsKeepTheirPlace(t *testing.T) {
	e := batching(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := acquainted(t, e, a, b)
	defer s.Close()
	reached, open := make(chan struct{}), make(chan struct{})
	s.shard.order(func(*shard) { close(reached); <-open })
	<-reached
	words := []string{"1", strings.Repeat("long", 400), "2", strings.Repeat("l", rawLongest-12), strings.Repeat("l", rawLongest-11), "3"}
	for _, word := range words {
		a.say(word)
	}
	close(open)
	for _, word := range words {
		b.hears(word)
	}
}

// A raw socket that fails costs no packet, and is counted.
func TestBrokenRawSocketLosesNothing(t *testing.T) {
	e := batching(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := acquainted(t, e, a, b)
	defer s.Close()
	s.shard.order(func(s *shard) {
		unix.Close(s.outbox.fd)
		s.outbox.fd = 1 << 30
	})
	settle(s.shard)
	for range 5 {
		a.say("still")
		b.hears("still")
	}
	settle(s.shard)
	if st := e.Stats(); st.Shards[0].Unbatched != 5 || st.Drops[DropSend] != 0 {
		t.Errorf("%d refused, drops %v", st.Shards[0].Unbatched, st.Drops)
	}
}

func TestChecksumIsRFC1071(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		b := make([]byte, r.IntN(600))
		for i := range b {
			b[i] = byte(r.Uint32()) | byte(r.IntN(2)*0xff)
		}
		want, even := uint32(0), append(b, make([]byte, len(b)%2)...)
		for i := 0; i < len(even); i += 2 {
			want += uint32(binary.BigEndian.Uint16(even[i:]))
			want = want>>16 + want&0xffff
		}
		if got := fold(add(b)); got%0xffff != uint64(want)%0xffff {
			t.Fatalf("seed %d: %d bytes: %x, want %x", seed, len(b), got, want)
		}
	}
}
