package rtpengine

import (
	"encoding/binary"
	"testing"
	"time"

	pion "github.com/pion/rtcp"
)

func TestReportsAreWhatAnotherImplementationReads(t *testing.T) {
	p := newReporter()
	var heard quality
	var trip roundTrip
	feed(&heard, 1, 2, 4)
	trip.had = senderReport{0xabcd1234, ticksAt(int64(time.Second))}
	p.count(16000, 160, int64(2*time.Second))
	wall, now := int64(1_700_000_000_250_000_000), int64(3*time.Second)
	read := func(b []byte) (sr *pion.SenderReport, rr *pion.ReceiverReport, bye *pion.Goodbye) {
		t.Helper()
		var compound pion.CompoundPacket
		if err := compound.Unmarshal(b); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		if err := compound.Validate(); err != nil {
			t.Error(err)
		}
		if name, err := compound.CNAME(); err != nil || name != p.cname || len(name) != 16 {
			t.Errorf("CNAME %q, %v", name, err)
		}
		for _, packet := range compound {
			switch packet := packet.(type) {
			case *pion.SenderReport:
				sr = packet
			case *pion.ReceiverReport:
				rr = packet
			case *pion.Goodbye:
				bye = packet
			}
		}
		return sr, rr, bye
	}
	sr, _, _ := read(p.compose(nil, wall, now, 8000, &heard, &trip))
	if sr == nil || sr.SSRC != p.ssrc || sr.PacketCount != 1 || sr.OctetCount != 160 || sr.RTPTime != 16000+8000 || sr.NTPTime != (1_700_000_000+ntpEpoch)<<32|1<<30 {
		t.Fatalf("%+v", sr)
	}
	block := sr.Reports[0]
	if block.SSRC != 5 || block.FractionLost != 64 || block.TotalLost != 1 || block.LastSequenceNumber != 4 || block.LastSenderReport != 0xabcd1234 || block.Delay != 2<<16 {
		t.Errorf("%+v", block)
	}
	read(p.compose(nil, wall, now, 8000, &heard, &trip)) // it spoke in the interval before
	_, rr, _ := read(p.compose(nil, wall, now, 8000, &heard, &trip))
	if rr == nil || rr.SSRC != p.ssrc || len(rr.Reports) != 1 {
		t.Errorf("who has been silent for two intervals sends %+v", rr)
	}
	if _, _, bye := read(p.bye(p.compose(nil, wall, now, 8000, &quality{}, &trip))); bye == nil || bye.Sources[0] != p.ssrc {
		t.Errorf("%+v", bye)
	}
}

// RFC 3550 §6.3.1: five seconds on average, 0.5 to 1.5 times that over 1.21828, the first after half of it.
func TestReportsAreSpreadOverTime(t *testing.T) {
	const least, most = 2052 * time.Millisecond, 6157 * time.Millisecond
	var all time.Duration
	const runs = 2000
	for range runs {
		p := newReporter()
		if p.isDue(1000) {
			t.Fatal("at once")
		}
		if first := time.Duration(p.due - 1000); first < least/2 || first > most/2 {
			t.Fatalf("the first after %v", first)
		}
		due := p.due
		if p.isDue(due-1) || !p.isDue(due) || p.isDue(due) {
			t.Fatal("not once")
		}
		d := time.Duration(p.due - due)
		if d < least || d > most {
			t.Fatalf("the second after %v", d)
		}
		all += d
	}
	if mean := all / runs; mean < 4*time.Second || mean > 4200*time.Millisecond { // 5 s over 1.21828
		t.Errorf("%v on average", mean)
	}
}

func TestEndpointThatOnlyListensReportsAndSaysGoodbye(t *testing.T) {
	e := startEngine(t, nil)
	p, a := startEndpoint(t, e), newPhone(t, loop4)
	answer, err := p.Answer(a.sdp(), loop4)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(answer)
	a.say("x")
	settle(p.shard)
	p.shard.order(func(sh *shard) { p.legs[0].app.due = 1 }) // as if it were time
	b := a.next(a.rtcp)
	if b[1] != rtcpRR || b[0]&0x1f != 1 || binary.BigEndian.Uint32(b[8:]) != a.ssrc {
		t.Errorf("%x", b)
	}
	p.Close()
	b = a.next(a.rtcp)
	if n := len(b); b[n-7] != rtcpBYE || binary.BigEndian.Uint32(b[n-4:]) != binary.BigEndian.Uint32(b[4:]) {
		t.Errorf("%x", b)
	}
}
