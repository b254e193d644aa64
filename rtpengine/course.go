package rtpengine

import (
	"math"
	"time"
)

// course is how one direction of a call has sounded, second by second for the last minute and coarser for all of the call: 0.8 KB whatever its
// length. Housekeeping takes the figures from the counters that shards (or a kernel) keep, so packets pay nothing for it. It begins with the
// first second in which something came.
type course struct {
	at     int64 // of the last second, engine ns
	before struct {
		packets uint64
		lost    int64
	}

	seconds int // taken
	recent  [64]packedMoment
	whole   [32]packedStretch
	used    int     // of whole
	every   uint32  // seconds in each of them; doubles when they are used up
	last    stretch // what will be the next of them

	low     uint16 // seconds in a row that sounded worse than they should, or better while an alarm is on
	alarmed bool
}

// latest is the second that was taken last.
func (c *course) latest() moment { return c.recent[(c.seconds-1)%len(c.recent)].open() }

// moment is one second.
type moment struct {
	packets, lost uint16
	jitter        uint16 // 0.1 ms
	mos           uint8  // times 50, 0 = unknown
}

// stretch is several seconds.
type stretch struct {
	packets, lost uint32
	seconds       uint32
	rated         uint16 // seconds with an opinion, at most as many as fit
	sum           uint32 // of their opinions, times 50
	worst         uint8  // the worst opinion
	jitter        uint16 // the worst, 0.1 ms
	rtt           uint16 // the last, ms
}

func (t *stretch) add(o *stretch) {
	t.packets += o.packets
	t.lost += o.lost
	t.seconds += o.seconds
	t.rated += o.rated
	t.sum += o.sum
	if t.worst == 0 || o.worst != 0 && o.worst < t.worst {
		t.worst = o.worst
	}
	t.jitter, t.rtt = max(t.jitter, o.jitter), o.rtt
}

// Second is one second of a Course.
type Second struct {
	Packets, Lost int
	Jitter        time.Duration
	MOS           float64 // 0 = unknown: nothing came, or the codec is not rated
}

// Stretch is several seconds of a Course.
type Stretch struct {
	Length        time.Duration
	Packets, Lost uint64
	Jitter        time.Duration // the worst
	RTT           time.Duration // the last; 0 = unknown
	MOS, Worst    float64       // mean and worst second; 0 = unknown
}

// Course is how one direction of a call has sounded.
type Course struct {
	Seconds []Second  // up to the last 64, the newest last
	Whole   []Stretch // of all of the call, the newest last
}

// Worst is the worst second there was; 0 = unknown.
func (c *Course) Worst() (mos float64) {
	for _, t := range c.Whole {
		if t.Worst > 0 && (mos == 0 || t.Worst < mos) {
			mos = t.Worst
		}
	}
	return mos
}

// courses are those of all m-lines of a call, by side; nil where nothing has come yet.
type courses [][2]*course

// QualityAlarm says that a side has begun, or ceased, to sound bad.
type QualityAlarm struct {
	Side Side    // who is heard badly
	MOS  float64 // of the last second
	For  time.Duration
	Over bool // it sounds as it should again
}

func saturate16[T int64 | uint64 | time.Duration](v T) uint16 {
	return uint16(min(max(v, 0), math.MaxUint16))
}

// take adds what came since the last time, about a second; false when there was nothing to add.
func (c *course) take(st, listener *StreamStats, by impairment, now int64) bool {
	piece := StreamStats{
		Packets: st.Packets - c.before.packets, Lost: max(0, st.Lost-c.before.lost), Jitter: st.Jitter, RTT: st.RTT,
	}
	c.before.packets, c.before.lost = st.Packets, st.Lost
	c.at = now
	hears := StreamStats{RTT: listener.RTT}
	if listener.reportedAt != 0 && listener.reportedAt.since(now) < 12<<16 {
		hears.reported = int64(math.Round(float64(piece.Packets) * listener.fraction))
		hears.discarded = listener.discarded
	}
	m := moment{
		packets: saturate16(piece.Packets), lost: saturate16(piece.Lost), jitter: saturate16(piece.Jitter / (100 * time.Microsecond)),
		mos: uint8(math.Round(50 * piece.score(&hears, by).MOS)),
	}
	c.recent[c.seconds%len(c.recent)] = m.packed()
	c.seconds++
	s := stretch{packets: uint32(m.packets), lost: uint32(m.lost), seconds: 1, jitter: m.jitter, rtt: saturate16(st.RTT.Milliseconds())}
	if m.mos > 0 {
		s.rated, s.sum, s.worst = 1, uint32(m.mos), m.mos
	}
	c.extend(&s)
	return m.mos > 0
}

// extend adds a second to the course of the whole call. When there is no room for another stretch, each two become one.
func (c *course) extend(s *stretch) {
	if c.last.add(s); c.last.seconds < c.every {
		return
	}
	c.whole[c.used] = c.last.packed()
	c.last = stretch{}
	if c.used++; c.used < len(c.whole) {
		return
	}
	for i := range len(c.whole) / 2 {
		two, other := c.whole[2*i].open(c.every), c.whole[2*i+1].open(c.every)
		two.add(&other)
		c.whole[i] = two.packed()
	}
	c.used, c.every = len(c.whole)/2, 2*c.every
}

// judge follows whether a direction sounds bad for long; true when that is news.
func (c *course) judge(limit float64, after time.Duration) bool {
	mos := float64(c.latest().mos) / 50
	if limit == 0 || (mos < limit) == c.alarmed {
		c.low = 0
		return false
	}
	if c.low++; time.Duration(c.low)*time.Second < after {
		return false
	}
	c.low, c.alarmed = 0, !c.alarmed
	return true
}

func (c *course) shown() *Course {
	if c == nil {
		return nil
	}
	out := &Course{}
	opinion := func(v float64) float64 { return math.Round(v*2) / 100 }
	for i := max(0, c.seconds-len(c.recent)); i < c.seconds; i++ {
		m := c.recent[i%len(c.recent)].open()
		out.Seconds = append(out.Seconds, Second{int(m.packets), int(m.lost), time.Duration(m.jitter) * 100 * time.Microsecond, opinion(float64(m.mos))})
	}
	for _, t := range c.shownWhole() {
		s := Stretch{
			Length: time.Duration(t.seconds) * time.Second, Packets: uint64(t.packets), Lost: uint64(t.lost), Worst: opinion(float64(t.worst)),
			Jitter: time.Duration(t.jitter) * 100 * time.Microsecond, RTT: time.Duration(t.rtt) * time.Millisecond,
		}
		if t.rated > 0 {
			s.MOS = opinion(float64(t.sum) / float64(t.rated))
		}
		out.Whole = append(out.Whole, s)
	}
	return out
}

// shownWhole are the stretches of all of the call, with the one that has not ended.
func (c *course) shownWhole() []stretch {
	list := make([]stretch, 0, len(c.whole))
	for _, t := range c.whole[:c.used] {
		list = append(list, t.open(c.every))
	}
	if c.last.seconds > 0 {
		list = append(list, c.last)
	}
	return list
}

// sampleEvery is a second, less what housekeeping may be early.
const sampleEvery = int64(time.Second - 20*time.Millisecond)

// heard brings the course of one direction up to date and tells an alarm; at least a second has passed since the last time, or nothing is done.
func (e *Engine) heard(list *courses, i int, side Side, g, listener *leg, by impairment, now int64) (a QualityAlarm, news bool) {
	for len(*list) <= i {
		*list = append(*list, [2]*course{})
	}
	c := (*list)[i][side]
	if c == nil {
		if g.counts().packets == 0 {
			return a, false
		}
		c = &course{every: 1, at: now - sampleEvery}
		(*list)[i][side] = c
	}
	if now-c.at < sampleEvery {
		return a, false
	}
	st, hears := g.stats(now), StreamStats{}
	if listener != nil {
		hears = listener.stats(now)
	}
	if !c.take(&st, &hears, by, now) || !c.judge(e.cfg.AlarmMOS, e.cfg.AlarmAfter) {
		return a, false
	}
	mos := float64(c.latest().mos) / 50
	return QualityAlarm{Side: side, MOS: mos, For: e.cfg.AlarmAfter, Over: !c.alarmed}, true
}

// sample brings the courses of a call up to date; mu is held.
func (s *Session) sample(now int64) (alarms []QualityAlarm) {
	if s.closed {
		return nil
	}
	for i, l := range s.lines {
		for side, g := range l.legs {
			if g == nil {
				continue
			}
			if a, news := s.engine.heard(&s.courses, i, Side(side), g, l.legs[Side(side).Other()], s.impairment(i, Side(side)), now); news {
				alarms = append(alarms, a)
			}
		}
	}
	return alarms
}

func (p *Endpoint) sample(now int64) (alarms []QualityAlarm) {
	if p.closed {
		return nil
	}
	for i, g := range p.legs {
		if g == nil {
			continue
		}
		if a, news := p.engine.heard(&p.courses, i, A, g, nil, p.lastCodec(i).impairment().unconcealed(), now); news {
			alarms = append(alarms, a)
		}
	}
	return alarms
}

// tellQuality calls back, with no lock held.
func (e *Engine) tellQuality(c *SessionConfig, alarms []QualityAlarm) {
	for _, a := range alarms {
		if !a.Over {
			e.alarms.Add(1)
		}
		if c.OnQuality != nil {
			c.OnQuality(a)
		}
	}
}

// of gives the course of one direction; nil when nothing came yet.
func (c courses) of(i int, side Side) *Course {
	if i >= len(c) {
		return nil
	}
	return c[i][side].shown()
}

// LineQuality is how one m-line sounds, or looks: what came from each side, and its course.
type LineQuality struct {
	MediaStats
	Course [2]*Course // by Side; nil when nothing came from there yet
}

// Quality is Stats with the course of each direction. Any time, also after Close.
func (s *Session) Quality() []LineQuality {
	st := s.Stats()
	s.mu.Lock()
	defer s.mu.Unlock()
	return withCourses(st.Media, s.courses)
}

// Quality is Stats with the course of what the phone sent, side A.
func (p *Endpoint) Quality() []LineQuality {
	st := p.Stats()
	p.mu.Lock()
	defer p.mu.Unlock()
	return withCourses(st.Media, p.courses)
}

func withCourses(media []MediaStats, c courses) []LineQuality {
	out := make([]LineQuality, len(media))
	for i := range media {
		out[i] = LineQuality{media[i], [2]*Course{c.of(i, A), c.of(i, B)}}
	}
	return out
}
