package rtpengine

import (
	"encoding/binary"
	"math"
	"runtime"
	"testing"
	"time"
)

// The lower limits of the categories of speech quality, ITU-T G.109 table 1, and the default of G.107 (R = 93.2, MOS = 4.41).
func TestRatingsBecomeThePublishedOpinions(t *testing.T) {
	for r, mos := range map[float64]float64{93.2: 4.41, 90: 4.34, 80: 4.03, 70: 3.60, 60: 3.10, 50: 2.58, 0: 1, -20: 1, 100: 4.5} {
		if got := scoreOf(r).MOS; math.Abs(got-mos) > 0.011 {
			t.Errorf("R %.1f: MOS %.2f, want %.2f", r, got, mos)
		}
	}
}

// ITU-T G.113 Appendix I lists measured impairments of G.711 with concealment under random loss; the formula of G.107 with its Bpl comes
// near them. Without concealment, 1 % is 25 in the older table and 17.9 by Bpl = 4.3, which G.113 gives now.
func TestLossImpairsG711AsPublished(t *testing.T) {
	for loss, ie := range map[float64]float64{0: 0, 1: 5, 2: 7, 3: 10, 5: 15, 7: 20, 10: 25, 15: 35, 20: 45} {
		if got := 93.2 - g711Concealed().rate(loss, 0).R; math.Abs(got-ie) > 3 {
			t.Errorf("%.0f %% loss: impairment %.1f, published %.0f", loss, got, ie)
		}
	}
	for loss, r := range map[float64]float64{1: 75.3, 2: 63.0, 5: 42.1} {
		if got := g711Plain().rate(loss, 0).R; math.Abs(got-r) > 0.11 {
			t.Errorf("%.0f %% loss without concealment: R %.1f, want %.1f", loss, got, r)
		}
	}
}

// G.107 (7-27): nothing up to 100 ms; the other values are the formula's, worked out by hand.
func TestDelayImpairsAsTheFormulaSays(t *testing.T) {
	for ms, idd := range map[int]float64{0: 0, 100: 0, 200: 3.03, 400: 24.13} {
		if got := delayImpairment(time.Duration(ms) * time.Millisecond); math.Abs(got-idd) > 0.1 {
			t.Errorf("%d ms: %.2f, want %.2f", ms, got, idd)
		}
	}
	last := 0.0
	for ms := 100; ms < 2000; ms += 10 {
		got := delayImpairment(time.Duration(ms) * time.Millisecond)
		if got < last {
			t.Fatalf("%d ms is better than less", ms)
		}
		last = got
	}
}

func TestWhatIsRatedIsTheWorseOfWhatWeAndTheListenerMiss(t *testing.T) {
	from := StreamStats{Packets: 950, Lost: 50, Codec: "PCMA", RTT: 40 * time.Millisecond}
	listener := StreamStats{RTT: 60 * time.Millisecond}
	want := g711Concealed().rate(5, 110*time.Millisecond)
	if got := from.score(&listener, g711Concealed()); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	listener.reported = 100
	if got, want := from.score(&listener, g711Concealed()), g711Concealed().rate(10, 110*time.Millisecond); got != want {
		t.Errorf("more is lost behind us: got %+v, want %+v", got, want)
	}
	if got := from.score(&listener, impairment{}); got != (Score{}) {
		t.Errorf("an unknown codec is rated %+v", got)
	}
}

// A sender report goes by, and the receiver's answer names it: RFC 3550 §6.4.1, figure 2, where the round trip is 6.125 s.
func TestRoundTripIsThatOfTheRFCsFigure(t *testing.T) {
	var trip roundTrip
	second := func(s float64) int64 { return int64(s * float64(time.Second)) }
	trip.note(0xb705_2000, second(100))
	for range 3 {
		trip.note(1, second(101)) // later ones do not hide it
	}
	if d, ok := trip.measure(0xb705_2000, 0x0005_4000, second(111.375)); !ok || d != 6125<<16/1000 {
		t.Errorf("got %v, %v", d, ok)
	}
	if _, ok := trip.measure(0, 0, second(112)); ok {
		t.Error("a receiver that has heard no report measures something")
	}
	if _, ok := trip.measure(0xb705_2000, 0x0100_0000, second(112)); ok {
		t.Error("a receiver that had it for longer than we know of it is believed")
	}
}

// reportOn is a receiver report of one block.
func reportOn(from, ssrc uint32, lost, lsr, dlsr uint32) []byte {
	b := []byte{0x81, rtcpRR, 0, 7}
	for _, v := range []uint32{from, ssrc, lost, 0, 0, lsr, dlsr} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

func TestRelayedReportsTellRoundTripAndLoss(t *testing.T) {
	e := startEngine(t, nil)
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	s := call(t, e, a, b)
	for range 10 {
		a.say(string(make([]byte, 160)))
		b.hears(string(make([]byte, 160)))
	}
	b.say("x")
	a.hears("x")
	sr := binary.BigEndian.AppendUint32([]byte{0x80, rtcpSR, 0, 6}, a.ssrc)
	for _, v := range []uint32{0x1111aaaa, 0xbbbb2222, 1600, 10, 1600} {
		sr = binary.BigEndian.AppendUint32(sr, v)
	}
	a.raw(a.rtcp, a.toRTCP, sr)
	b.next(b.rtcp)
	b.raw(b.rtcp, b.toRTCP, reportOn(b.ssrc, a.ssrc, 2, 0xaaaabbbb, 0))
	a.next(a.rtcp)
	b.raw(b.rtcp, b.toRTCP, reportOn(b.ssrc, 0xbad, 9, 0xaaaabbbb, 0)) // of a stream that nobody sends
	a.next(a.rtcp)
	st := calm(s).Stats().Media[0].Sides
	if rtt := st[B].RTT; rtt <= 0 || rtt > time.Second || st[A].RTT != 0 || st[B].reported != 2 {
		t.Errorf("round trips %v and %v, %d missed", st[A].RTT, rtt, st[B].reported)
	}
	if got := st[A]; got.Codec != "PCMU" || math.Abs(got.Score.R-g711Concealed().rate(20, 0).R) > 1 || st[B].Score.MOS < 4.3 {
		t.Errorf("caller %+v, callee %+v", got.Score, st[B].Score)
	}
}

func TestEndpointMeasuresTheRoundTripOfItsOwnReports(t *testing.T) {
	e := startEngine(t, nil)
	p, a := startEndpoint(t, e), newPhone(t, loop4)
	p.Echo()
	answer, err := p.Answer(a.sdp(), loop4)
	if err != nil {
		t.Fatal(err)
	}
	a.dial(answer)
	a.say("x")
	echoed := a.hears("x")
	ours := binary.BigEndian.Uint32(echoed[8:])
	reported := make(chan []byte, 1)
	if !p.shard.order(func(sh *shard) { // as if five seconds were over
		g := p.legs[0]
		n := g.app.compose(&sh.relay, g)
		reported <- append([]byte(nil), g.app.words[:n]...)
	}) {
		t.Fatal("the shard has ended")
	}
	sr := <-reported
	a.raw(a.rtcp, a.toRTCP, reportOn(a.ssrc, ours, 0, binary.BigEndian.Uint32(sr[10:]), 0))
	for range 20000 { // a report is answered by nothing that could be waited for
		settle(p.shard)
		if rtt := p.Stats().Media[0].Sides[A].RTT; rtt > 0 && rtt < time.Second {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("%+v", p.Stats().Media[0].Sides[A])
}
