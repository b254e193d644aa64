package pbx

import (
	"strconv"
	"time"

	"tandem/events"
	"tandem/rtpengine"
)

// CallMedia is how a call sounds and looks, each direction by itself.
type CallMedia struct {
	ID         string      `json:"id"`
	Directions []Direction `json:"directions" nullable:"false"`
}

// Direction is what one side sends of one medium: as the node received it, and as the other side says it hears it.
type Direction struct {
	Kind       string        `json:"kind" doc:"audio, video ..."`
	From       string        `json:"from" enum:"caller,callee"`
	Codec      string        `json:"codec,omitempty"`
	Packets    uint64        `json:"packets"`
	Lost       int64         `json:"lost" doc:"Before they came here (RFC 3550)."`
	Duplicates uint32        `json:"duplicates,omitempty"`
	Jitter     time.Duration `json:"jitter_ns" doc:"Now (RFC 3550)."`
	RTT        time.Duration `json:"rtt_ns,omitempty" doc:"From here to this side and back; 0 is unknown."`
	R          float64       `json:"r_factor,omitempty" doc:"Of the whole call, as the other side hears it (ITU-T G.107); 0 is unknown."`
	MOS        float64       `json:"mos,omitempty" doc:"The same as an opinion, 1 to 4.5."`
	MOSNow     float64       `json:"mos_now,omitempty" doc:"Of the last second."`
	MOSWorst   float64       `json:"mos_worst,omitempty" doc:"Of the worst second of the call."`
	Bursts     Bursts        `json:"bursts" doc:"How losses are spread (RFC 3611)."`
	// Heard is what this side's phone says of the other direction.
	Heard   *rtpengine.VoIPMetrics       `json:"heard,omitempty" doc:"What this side's phone says of how it hears the other (RFC 3611 VoIP metrics)."`
	Counted *rtpengine.StatisticsSummary `json:"counted,omitempty" doc:"What this side's phone counted of the other's packets (RFC 3611 statistics summary)."`
	Seconds []Moment                     `json:"seconds,omitempty" doc:"The last seconds, the newest last."`
	Course  []Moment                     `json:"course,omitempty" doc:"All of the call in up to 32 pieces, the newest last."`
}

// Bursts tell how losses are spread.
type Bursts struct {
	Count        uint32        `json:"count"`
	BurstDensity float64       `json:"burst_density" doc:"Percent lost within bursts."`
	GapDensity   float64       `json:"gap_density" doc:"Percent lost between them."`
	BurstLength  time.Duration `json:"burst_ns" doc:"Mean."`
	GapLength    time.Duration `json:"gap_ns" doc:"Mean."`
}

// Moment is a second, or a piece of the call.
type Moment struct {
	Length   time.Duration `json:"length_ns"`
	Packets  uint64        `json:"packets"`
	Lost     uint64        `json:"lost"`
	Jitter   time.Duration `json:"jitter_ns" doc:"The worst."`
	RTT      time.Duration `json:"rtt_ns,omitempty"`
	MOS      float64       `json:"mos,omitempty" doc:"Mean; 0 is unknown."`
	MOSWorst float64       `json:"mos_worst,omitempty" doc:"The worst second."`
}

// Media tells how a call of now sounds, by its id or Call-ID. Errors: ErrNoCall, ErrNoMedia.
func (p *PBX) Media(id string) (CallMedia, error) {
	c := p.find(id)
	if c == nil {
		return CallMedia{}, ErrNoCall
	}
	c.mu.Lock()
	l, m := c.leg, c.media
	c.mu.Unlock()
	out := CallMedia{ID: c.id, Directions: []Direction{}}
	switch {
	case l != nil:
		out.add(l.media.Quality())
	case m == nil:
		return out, ErrNoMedia
	default:
		m.mu.Lock()
		s := m.session
		m.mu.Unlock()
		if s == nil {
			return out, ErrNoMedia
		}
		out.add(s.Quality())
	}
	return out, nil
}

func (m *CallMedia) add(lines []rtpengine.LineQuality) {
	for i := range lines {
		l := &lines[i]
		for side, who := range [...]string{rtpengine.A: "caller", rtpengine.B: "callee"} {
			if st := &l.Sides[side]; st.Port != 0 {
				m.Directions = append(m.Directions, direction(l.Kind, who, st, l.Course[side]))
			}
		}
	}
}

func direction(kind, who string, st *rtpengine.StreamStats, course *rtpengine.Course) Direction {
	b := st.Bursts
	d := Direction{
		Kind: kind, From: who, Codec: st.Codec, Packets: st.Packets, Lost: st.Lost, Duplicates: st.Duplicates, Jitter: st.Jitter, RTT: st.RTT,
		R: st.Score.R, MOS: st.Score.MOS, Bursts: Bursts{b.Count, b.BurstDensity, b.GapDensity, b.BurstLength, b.GapLength},
		Heard: st.Extended, Counted: st.Summary,
	}
	if course == nil {
		return d
	}
	for _, s := range course.Seconds {
		d.Seconds = append(d.Seconds, Moment{Length: time.Second, Packets: uint64(s.Packets), Lost: uint64(s.Lost), Jitter: s.Jitter, MOS: s.MOS})
		d.MOSNow = s.MOS
	}
	for _, s := range course.Whole {
		d.Course = append(d.Course, Moment{s.Length, s.Packets, s.Lost, s.Jitter, s.RTT, s.MOS, s.Worst})
	}
	d.MOSWorst = course.Worst()
	return d
}

// sounds is told that a side of the call sounds bad, or no longer does.
func (c *Call) sounds(a rtpengine.QualityAlarm) {
	kind := events.CallQualityLow
	if a.Over {
		kind = events.CallQualityRestored
	}
	c.publish(events.Event{Kind: kind, Duration: a.For, Detail: map[string]string{"from": whose(a.Side), "mos": strconv.FormatFloat(a.MOS, 'f', 2, 64)}})
}

func whose(side rtpengine.Side) string {
	if side == rtpengine.A {
		return "caller"
	}
	return "callee"
}

// quality sums what came from each side over all m-lines.
func quality(lines []rtpengine.LineQuality) *events.Media {
	var out events.Media
	for i := range lines {
		m := &lines[i]
		for i, q := range [...]*events.Quality{rtpengine.A: &out.Caller, rtpengine.B: &out.Callee} {
			s := &m.Sides[i]
			q.Packets += s.Packets
			q.Bytes += s.Bytes
			q.Lost += uint64(max(s.Lost, 0))
			q.Dropped += s.Drops.Total()
			q.Jitter = max(q.Jitter, s.Jitter)
			q.RTT = max(q.RTT, s.RTT)
			if m.Kind == "audio" && q.Codec == "" {
				q.Codec, q.R, q.MOS = s.Codec, s.Score.R, s.Score.MOS
				q.Bursts, q.BurstDensity = s.Bursts.Count, s.Bursts.BurstDensity
				if s.Extended != nil {
					q.Discarded = s.Extended.Discarded
				}
				if c := m.Course[i]; c != nil {
					q.MOSWorst = c.Worst()
				}
			}
		}
	}
	return &out
}
