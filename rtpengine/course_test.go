package rtpengine

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"
)

// pattern feeds a stream of which f names the lost packets.
func pattern(n int, lost func(i int) bool) *quality {
	q := &quality{}
	for i := range n {
		if !lost(i) {
			feed(q, 100+i)
		}
	}
	return q
}

// What RFC 3611 §4.7.2 says a burst is: losses with fewer than 16 packets between them. The figures are worked out by hand.
func TestLossesThatComeTogetherAreABurst(t *testing.T) {
	const n = 5000
	alone := pattern(n, func(i int) bool { return i > 100 && i%100 == 0 })
	if b := alone.losses.bursts(alone.packetTime()); b.Count != 1 || math.Abs(b.GapDensity-1) > 0.05 {
		t.Errorf("losses alone: %+v", b) // appendix A.2 takes the first loss of all for the beginning of one
	}
	// every 500 packets ten of which every second is lost
	together := pattern(n, func(i int) bool { return i > 100 && i%500 < 10 && i%2 == 0 })
	b := together.losses.bursts(together.packetTime())
	if b.Count != 9 || b.BurstDensity < 40 || b.BurstDensity > 100 || b.BurstLength < 100*time.Millisecond || b.BurstLength > 300*time.Millisecond {
		t.Errorf("losses together: %+v", b)
	}
	if b.GapLength < 9*time.Second || b.GapLength > 10500*time.Millisecond || b.GapDensity != 0 {
		t.Errorf("between them: %+v", b)
	}
	hole := pattern(n, func(i int) bool { return i >= 1000 && i < 1200 }) // wider than the window
	if b := hole.losses.bursts(hole.packetTime()); b.Count != 1 || hole.lost.Load() != 200 || hole.losses.c33.Load() != 199 || b.BurstDensity != 100 {
		t.Errorf("a hole: %+v, %d lost", b, hole.losses.c33.Load())
	}
}

// Packets that were overtaken are not lost, and one that comes twice does not hide one that does not come.
func TestOrderIsNoLossAndADuplicateIsCounted(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	q := &quality{}
	const n = 20000
	lost, twice := 0, uint32(0)
	var late []int
	for i := range n {
		switch random.IntN(20) {
		case 0:
			late = append(late, 100+i)
		case 1:
			if i > 0 && i < n-200 {
				lost++
				continue
			}
			feed(q, 100+i)
		case 2:
			feed(q, 100+i, 100+i)
			twice++
		default:
			feed(q, 100+i)
		}
		if len(late) > 0 && i-late[0]+100 > 40 {
			feed(q, late[0])
			late = late[1:]
		}
	}
	feed(q, late...)
	var flush []int
	for i := range 64 {
		flush = append(flush, 100+n+i)
	}
	feed(q, flush...)
	p := &q.losses
	counted := p.c13.Load() + p.c14.Load() + p.c23.Load() + p.c33.Load()
	if int(counted) != lost || q.duplicates.Load() != twice {
		t.Errorf("%d of %d lost, %d of %d twice", counted, lost, q.duplicates.Load(), twice)
	}
}

func TestCourseKeepsTheLastMinuteAndAllOfTheCallCoarser(t *testing.T) {
	c := &course{every: 1}
	st := StreamStats{Codec: "PCMU"}
	for second := range 3 * 3600 {
		st.Packets += 50
		if second == 5000 { // one bad second
			st.Packets -= 20
			st.Lost += 20
		}
		st.RTT = time.Duration(second) * time.Millisecond / 100
		c.take(&st, &StreamStats{}, g711Concealed(), int64(second)*int64(time.Second))
	}
	got := c.shown()
	if len(got.Seconds) != 64 || len(got.Whole) > 32 || len(got.Whole) < 16 {
		t.Fatalf("%d seconds, %d stretches", len(got.Seconds), len(got.Whole))
	}
	var length time.Duration
	var packets, lost uint64
	for i, s := range got.Whole {
		length, packets, lost = length+s.Length, packets+s.Packets, lost+s.Lost
		if i < len(got.Whole)-1 && s.Length != got.Whole[0].Length {
			t.Errorf("stretch %d is %v long, the first %v", i, s.Length, got.Whole[0].Length)
		}
	}
	if length != 3*time.Hour || packets != st.Packets || lost != 20 {
		t.Errorf("%v, %d packets, %d lost", length, packets, lost)
	}
	if last := got.Seconds[63]; last.Packets != 50 || last.MOS < 4.3 {
		t.Errorf("%+v", last)
	}
	if worst := got.Worst(); worst < 1 || worst > 2.2 {
		t.Errorf("the worst second: %.2f", worst)
	}
	if last := got.Whole[len(got.Whole)-1]; last.RTT != 107*time.Millisecond {
		t.Errorf("%+v", last)
	}
	if size := unsafe.Sizeof(course{}); size > 896 {
		t.Errorf("a course has %d bytes", size)
	}
}

func TestAlarmNeedsSecondsInARowAndIsTakenBackTheSameWay(t *testing.T) {
	c := &course{every: 1}
	st := StreamStats{Codec: "PCMU"}
	second := func(lost int64) bool {
		st.Packets += uint64(50 - lost)
		st.Lost += lost
		return c.take(&st, &StreamStats{}, g711Concealed(), 0) && c.judge(3.1, 3*time.Second)
	}
	var news []int
	for i, lost := range []int64{0, 25, 25, 0, 25, 25, 25, 25, 0, 0, 25, 0, 0, 0, 0} {
		if second(lost) {
			news = append(news, i)
		}
	}
	if len(news) != 2 || news[0] != 6 || news[1] != 13 {
		t.Errorf("news at %v", news)
	}
}

// The listener reports a loss for the five seconds since its last report; none of the seconds is to blame for all of it.
func TestReportedLossIsSpreadOverItsInterval(t *testing.T) {
	c := &course{every: 1, at: 0}
	st := StreamStats{Codec: "PCMU", Packets: 50}
	hears := StreamStats{fraction: 0.1, reportedAt: ticksAt(int64(10 * time.Second))}
	c.take(&st, &hears, g711Concealed(), int64(11*time.Second))
	want := g711Concealed().rate(10, 60*time.Millisecond).MOS
	if got := c.shown().Seconds[0].MOS; math.Abs(got-want) > 0.02 {
		t.Errorf("MOS %.2f, want %.2f", got, want)
	}
	st.Packets += 50
	c.take(&st, &hears, g711Concealed(), int64(30*time.Second)) // a report so old says nothing any more
	if got := c.shown().Seconds[1].MOS; got < 4.3 {
		t.Errorf("MOS %.2f", got)
	}
}

func TestLiveCallHasACourse(t *testing.T) {
	e := startEngine(t, func(c *Config) { c.AlarmMOS, c.AlarmAfter = 4.5, time.Second }) // nothing is as good as that
	a, b := newPhone(t, loop4), newPhone(t, loop4)
	told := make(chan QualityAlarm, 4)
	s, err := e.NewSession(SessionConfig{ID: "x", OnQuality: func(q QualityAlarm) { told <- q }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	renew(t, s, a, b)
	for range 5 {
		a.say(string(make([]byte, 160)))
		b.hears(string(make([]byte, 160)))
	}
	calm(s)
	select {
	case q := <-told:
		if q.Side != A || q.Over || q.MOS < 4 {
			t.Errorf("%+v", q)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no alarm")
	}
	sides := s.Quality()
	if c := sides[0].Course[A]; c == nil || c.Whole[0].Packets != 5 || sides[0].Course[B] != nil || e.Stats().Alarms == 0 {
		t.Errorf("%+v", sides)
	}
}

// Blocks as RFC 3611 §4 draws them.
func xrPacket(from uint32, blocks ...[]byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0x80, rtcpXR, 0, 1}, from)
	for _, block := range blocks {
		b = append(b, block...)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)/4-1))
	return b
}

func voipBlock(ssrc uint32) []byte {
	b := binary.BigEndian.AppendUint32([]byte{xrVoIP, 0, 0, 8}, ssrc)
	b = append(b, 13, 26, 128, 3, 0, 200, 0x13, 0x88) // loss 5 %, discarded 10 %, bursts of 200 ms half lost, gaps of 5 s
	b = append(b, 0, 70, 0, 90, 0xee, 0xb0, 30, 16)   // round trip 70 ms, end system 90 ms, signal -18, noise -80, RERL 30
	return append(b, 82, 127, 41, 39, 0x30, 0, 0, 40, 0, 80, 0, 200)
}

func TestExtendedReportsAreRead(t *testing.T) {
	l := &leg{app: newApp()}
	l.quality.rate.Store(8000)
	summary := binary.BigEndian.AppendUint32([]byte{xrStatistics, 0xe8, 0, 9}, l.app.ssrc)
	for _, v := range []uint32{100<<16 | 350, 7, 2, 8, 800, 80, 16, 60<<24 | 64<<16 | 62<<8 | 1} {
		summary = binary.BigEndian.AppendUint32(summary, v)
	}
	reference := []byte{xrReferenceTime, 0, 0, 2, 0, 0, 0x12, 0x34, 0x56, 0x78, 0, 0}
	l.follow(int64(time.Second), xrPacket(5, []byte{99, 1, 0, 1, 1, 2, 3, 4}, voipBlock(l.app.ssrc), voipBlock(77), summary, reference))
	m := l.trip.extended.Load().metrics()
	if m == nil || math.Abs(m.Lost-5.08) > 0.01 || math.Abs(m.Discarded-10.16) > 0.01 || m.BurstDensity != 50 || m.BurstDuration != 200*time.Millisecond ||
		m.GapDuration != 5*time.Second || m.RoundTrip != 70*time.Millisecond || m.EndSystem != 90*time.Millisecond || m.SignalLevel != -18 ||
		m.NoiseLevel != -80 || m.EchoReturnLoss != 30 || m.R != 82 || m.MOSListening != 4.1 || m.MOSConversational != 3.9 || m.JitterBuffer != 40*time.Millisecond {
		t.Errorf("%+v", m)
	}
	s := l.trip.extended.Load().summary(8000)
	if s == nil || s.Lost != 7 || s.Duplicates != 2 || s.JitterMin != time.Millisecond || s.JitterMax != 100*time.Millisecond || s.JitterMean != 10*time.Millisecond ||
		s.FirstSequence != 100 || s.NextSequence != 350 || s.HopsMax != 64 {
		t.Errorf("%+v", s)
	}
	r := &relay{now: int64(3 * time.Second)}
	b := l.app.words[:l.app.compose(r, l)]
	if _, ok := parseRTCP(b); !ok {
		t.Fatalf("%x", b)
	}
	answer := b[len(b)-24:] // DLRR: what the reference time was, and how long ago it came
	if answer[1] != rtcpXR || answer[8] != xrDLRR || binary.BigEndian.Uint32(answer[12:]) != 5 || binary.BigEndian.Uint32(answer[16:]) != 0x12345678 ||
		binary.BigEndian.Uint32(answer[20:]) != 2<<16 {
		t.Errorf("%x", answer)
	}
	if n := l.app.compose(r, l); n != len(b)-24 {
		t.Error("answered twice")
	}
}

func FuzzFollow(f *testing.F) {
	f.Add(xrPacket(5, voipBlock(9)))
	f.Add(reportOn(1, 2, 3, 4, 5))
	f.Add([]byte{0x80, rtcpXR, 0, 2, 0, 0, 0, 1, xrDLRR, 0, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, ok := parseRTCP(b); !ok {
			return
		}
		l := &leg{app: newApp(), out: &leg{}}
		l.app.ssrc = 9
		before := string(b)
		l.follow(1, b)
		l.trip.extended.Load().metrics()
		l.trip.extended.Load().summary(8000)
		if string(b) != before {
			t.Error("the packet was changed")
		}
	})
}
