package sip

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/sip/transport"
)

func TestTraceShowsTheMessagesOfOneCallInOrder(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, bob := s.pair()
		other := bob.Call("zoe", sdpOf("bob"))
		other.Final()
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		call.Bye()
		var got []string
		for _, m := range s.srv.Trace(0, call.CallID) {
			if strings.Contains(m.Text, other.CallID) {
				t.Error("a message of another call is in the trace")
			}
			line, _, _ := strings.Cut(m.Text, " sip:")
			line, _, _ = strings.Cut(line, "\r\n")
			way := "<"
			if m.Out {
				way = ">"
			}
			got = append(got, way+" "+line)
		}
		want := "< INVITE, > SIP/2.0 407 Proxy Authentication Required, < ACK, < INVITE, > SIP/2.0 100 Trying, > INVITE, < SIP/2.0 180 Ringing, > SIP/2.0 180 Ringing, " +
			"< SIP/2.0 200 OK, > SIP/2.0 200 OK, < ACK, > ACK, < BYE, > BYE, < SIP/2.0 200 OK, > SIP/2.0 200 OK"
		expect(t, "ladder", strings.Join(got, ", "), want)
		expect(t, "newest two", len(s.srv.Trace(2, call.CallID)), 2)
	})
}

func TestTraceMasksSecrets(t *testing.T) {
	play(t, nil, func(t *testing.T, s *stage) {
		alice, _ := s.pair()
		call := alice.Call("bob", sdpOf("alice"))
		call.MustAnswer()
		call.Bye()
		for _, m := range s.srv.Trace(0) {
			if i := strings.Index(m.Text, `response="`); i >= 0 && !strings.HasPrefix(m.Text[i:], `response="***"`) {
				t.Errorf("a digest response is in the trace: %s", m.Text)
			}
		}
	})
	for in, want := range map[string]string{
		"Authorization: Bearer abc.def": "Authorization: Bearer ***",
		"a=crypto:1 AES inline:abcd+/=": "a=crypto:1 AES inline:***",
		"<sip:bob:hunter2@example.com>": "<sip:bob:***@example.com>",
		"<sip:bob@example.com:5060>":    "<sip:bob@example.com:5060>",
		`nonce="n", response="r"`:       `nonce="***", response="***"`,
	} {
		expect(t, in, Mask(in), want)
	}
}

func TestTraceRingForgetsTheOldestFirst(t *testing.T) {
	r := &traceRing{buf: make([]byte, 1000)}
	f := transport.Flow{Net: transport.TCP, Conn: 7, Remote: netip.MustParseAddrPort("192.0.2.7:5060")}
	for i := range 100 {
		r.add(time.Unix(int64(i), 0), i%2 == 0, f, fmt.Appendf(nil, "message %d %s", i, strings.Repeat("x", i%50)))
	}
	last := 99
	var texts []string
	r.scan(func(rec traceRecord) { texts = append(texts, rec.text()) })
	if len(texts) < 5 {
		t.Fatalf("only %d records are left", len(texts))
	}
	for i := len(texts) - 1; i >= 0; i-- {
		if !strings.HasPrefix(texts[i], fmt.Sprintf("message %d ", last)) {
			t.Fatalf("record %d is %q, want message %d", i, texts[i], last)
		}
		last--
	}
	r.add(time.Unix(200, 0), true, f, make([]byte, 2000))
	n := 0
	r.scan(func(traceRecord) { n++ })
	expect(t, "records after one that is too large", n, len(texts))
}

// TestTraceRingKeepsTheNewestWhateverTheirLengths compares rings of several sizes with a list that holds everything.
func TestTraceRingKeepsTheNewestWhateverTheirLengths(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	type entry struct {
		at   time.Time
		out  bool
		flow transport.Flow
		text string
	}
	peers := []string{"192.0.2.7:5060", "[2001:db8::7]:5061", "[2001:db8::8]:1"}
	for _, size := range []int{traceHeader, 100, 1000, 1017, 10_000} {
		r := &traceRing{buf: make([]byte, size)}
		var all []entry
		for i := range 3000 {
			e := entry{
				at: time.Unix(int64(i), int64(i)), out: rnd.IntN(2) == 0, text: strings.Repeat(string(rune('a'+i%26)), rnd.IntN(1+rnd.IntN(size))),
				flow: transport.Flow{
					Net: transport.Net(rnd.IntN(5)), Listener: uint16(rnd.Uint32()), Conn: rnd.Uint64(),
					Remote: netip.MustParseAddrPort(peers[rnd.IntN(len(peers))]),
				},
			}
			r.add(e.at, e.out, e.flow, []byte(e.text))
			length := traceHeader + len(e.text)
			if e.flow.Remote.Addr().Is6() {
				length += 16
			}
			if length <= size {
				all = append(all, e)
			}
			var got []entry
			used := 0
			r.scan(func(rec traceRecord) {
				got = append(got, entry{rec.time(), rec.out(), rec.flow(), rec.text()})
				used += len(rec)
			})
			if want := all[len(all)-len(got):]; !slices.Equal(got, want) {
				t.Fatalf("size %d, message %d: got %v, want %v", size, i, got, want)
			}
			if length <= size && len(got) == 0 || used > size {
				t.Fatalf("size %d, message %d: %d records of %d bytes are left", size, i, len(got), used)
			}
		}
	}
}

// BenchmarkTraceAdd is what each message costs, in a ring that the caches hold and in one as large as a node's.
func BenchmarkTraceAdd(b *testing.B) {
	for _, size := range []int{64 << 10, 16 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			r := &traceRing{buf: make([]byte, size)}
			f := transport.Flow{Net: transport.UDP, Remote: netip.MustParseAddrPort("192.0.2.7:5060")}
			msg := make([]byte, 777)
			now := time.Now()
			b.ReportAllocs()
			for b.Loop() {
				r.add(now, true, f, msg)
			}
		})
	}
}
