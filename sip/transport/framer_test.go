package transport

import (
	"fmt"
	"strings"
	"testing"
)

// frames feeds a stream to a framer in pieces and writes down what comes out.
func frames(stream string, limit, piece int) []string {
	fr := framer{max: limit}
	var out []string
	for {
		b, kind, err := fr.next()
		switch {
		case err != nil:
			return append(out, "error")
		case kind == frameMessage:
			out = append(out, string(b))
			continue
		case kind == framePing:
			out = append(out, "ping")
			continue
		case stream == "":
			return out
		}
		n := copy(fr.space(), stream[:min(piece, len(stream))])
		fr.grow(n)
		stream = stream[n:]
	}
}

func TestTheFramerFindsTheSameMessagesHoweverTheStreamIsCut(t *testing.T) {
	a, b := request("INVITE", "a", 3000), request("BYE", "b", 0)
	folded := strings.Replace(b, "Content-Length: 0", "L:\r\n  0", 1)
	big := request("MESSAGE", "big", 60_000)
	stream := a + b + "\r\n\r\n" + folded + "\r\n" + big + "\r\n\r\n\r\n" + b
	want := fmt.Sprint([]string{a, b, "ping", folded, big, "ping", b})
	for _, piece := range []int{1, 2, 3, 7, 100, 1460, 1 << 20} {
		if got := fmt.Sprint(frames(stream, 65535, piece)); got != want {
			t.Errorf("in pieces of %d: %.300s", piece, got)
		}
	}
}

func TestALargeMessageLeavesNoLargeBufferBehind(t *testing.T) {
	fr := framer{max: 65535}
	msg := request("MESSAGE", "big", 60_000)
	for len(msg) > 0 {
		n := copy(fr.space(), msg)
		fr.grow(n)
		msg = msg[n:]
	}
	if _, kind, err := fr.next(); kind != frameMessage || err != nil {
		t.Fatal(kind, err)
	}
	fr.space()
	if cap(fr.buf) > 4*frameSpace {
		t.Errorf("%d bytes are kept for an idle connection", cap(fr.buf))
	}
}

func FuzzFramer(f *testing.F) {
	f.Add(request("INVITE", "a", 10)+"\r\n\r\n"+request("BYE", "b", 0), uint8(3))
	f.Add("OPTIONS sip:a SIP/2.0\r\nl : 3\r\n\r\nabc\r\n\r\n\r\n", uint8(1))
	f.Add("OPTIONS sip:a SIP/2.0\r\nContent-Length:\r\n 3\r\nContent-Length: 3\r\n\r\nabc", uint8(7))
	f.Add("\r\r\n\r\n\n", uint8(1))
	f.Fuzz(func(t *testing.T, stream string, piece uint8) {
		const limit = 4096
		whole, cut := frames(stream, limit, 1<<20), frames(stream, limit, int(piece)+1)
		if a, b := fmt.Sprintf("%q", whole), fmt.Sprintf("%q", cut); a != b {
			t.Fatalf("at once %s, in pieces of %d %s", a, int(piece)+1, b)
		}
		for _, m := range whole {
			if len(m) > limit {
				t.Fatalf("a message of %d bytes, %d are allowed", len(m), limit)
			}
		}
	})
}

func FuzzDatagram(f *testing.F) {
	f.Add([]byte(request("INVITE", "a", 10)))
	f.Add([]byte("\x00\x01\x00\x00\x21\x12\xa4\x42transaction!"))
	f.Add([]byte("\r\n\r\n"))
	tr, err := New(Config{Shards: 2, NewHandler: func(s *Shard) Handler { return recordingShard{&recorder{}, s} }})
	if err != nil {
		f.Fatal(err)
	}
	in := newIntake(tr)
	flow := Flow{Remote: addrPort("198.51.100.1:5060")}
	f.Fuzz(func(t *testing.T, b []byte) {
		if reply := in.datagram(b, flow, tr.shards[0].now); len(reply) > len(b)+24 {
			t.Fatalf("%d bytes answered with %d: an amplifier", len(b), len(reply))
		}
		_ = in.answer(string(b), flow, 503)
		in.deliver(func(Flow, []byte) {}, false)
		batch := make([]item, 8)
		for _, s := range tr.shards {
			s.in.take(batch)
		}
	})
}
