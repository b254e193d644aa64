package rtpengine

import (
	"net/netip"
	"time"
)

// Stats are an engine's counters and gauges. Counters cover all sessions since New, also closed ones.
type Stats struct {
	Sessions, MaxSessions int    // sessions and endpoints
	Playing               int    // endpoints that play a sound
	Silences              uint64 // OnSilence reports
	Alarms                uint64 // OnQuality reports of bad quality
	Rejected              uint64 // descriptions refused with RejectError
	Refused               uint64 // sessions refused with ErrBusy

	Packets, Bytes uint64 // accepted RTP, bytes with RTP header
	RTCP           uint64 // accepted RTCP
	Forwarded      uint64 // datagrams sent
	Drops          Drops

	Digits [3]uint64 // told to OnDigit, by DigitVia; those of an INFO are signalling's
	Untold uint64    // digits and wishes for pictures lost because too much was to be told

	Feedback FeedbackStats

	Sounds SoundStats

	Recordings RecordingStats
	Mixer      MixerStats
	Coders     CoderStats

	Tier    TierStats
	Streams []StreamCount // directions of relayed calls by tier, counted about once a second; none without a kernel tier
	WebRTC  WebRTCStats
	Single  SinglePortStats
	Ports   []PortStats
	Shards  []ShardStats
}

// PortStats are those of the pairs of one local address.
type PortStats struct {
	Addr       netip.Addr
	Used, Free int    // pairs; free ones may still rest
	Skipped    uint64 // pairs found taken by another program
	Exhausted  uint64 // times a session got ErrNoPorts
}

// ShardStats are those of one relay goroutine.
type ShardStats struct {
	Sockets, Playing   int
	Load               uint64 // datagrams per second
	Datagrams, Wakeups uint64
	Naps, Orders       uint64
	Waits              uint64 // times signalling found the mailbox full
	ForgottenSources   uint64 // SRTP sources that made room for newer ones under the same key
	SkippedTicks       uint64 // packets that players left out because they were late
	Faults             uint64 // sockets the kernel would not watch or steer
	Steered            uint64 // datagrams that came by the inbox
	Batched            uint64 // datagrams that left in batches, by the raw socket
	Unbatched          uint64 // datagrams that the raw socket would not take; their ports' sockets sent them
	Overruns           uint64 // datagrams that the kernel dropped before a full inbox
	Exiled             uint64 // ports that were flooded and went back to their own socket
}

// Stats may be called at any time.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	st := Stats{Sessions: len(e.members), MaxSessions: int(e.maxSessions.Load())}
	e.mu.Unlock()
	st.Playing = int(e.playing.Load())
	st.Alarms = e.alarms.Load()
	st.Silences, st.Rejected, st.Refused = e.silences.Load(), e.rejected.Load(), e.refused.Load()
	for i := range st.Digits {
		st.Digits[i] = e.digits[i].Load()
	}
	st.Sounds, st.Recordings, st.Coders = e.sounds.stats(), e.recorder.stats(), e.coders.stats()
	st.Mixer = e.rooms.stats(e.shards)
	st.Tier, st.Streams = *e.tier.Load(), e.streams()
	if b := e.bypasser.Load(); b != nil {
		st.Tier.Kernel.Interfaces = b.stats()
	}
	st.WebRTC = e.webRTC()
	st.Single = e.singleStats()
	for _, p := range e.pools {
		if p != nil {
			st.Ports = append(st.Ports, p.stats())
		}
	}
	for _, s := range e.shards {
		st.Packets += s.packets.Load()
		st.Bytes += s.bytes.Load()
		st.RTCP += s.rtcp.Load()
		st.Forwarded += s.forwarded.Load()
		st.Untold += s.untold.Load()
		st.Feedback.add(&s.totals.feedback)
		for i, n := range loadDrops(&s.drops) {
			st.Drops[i] += n
		}
		st.Shards = append(st.Shards, ShardStats{
			Sockets: int(s.sockets.Load()), Playing: int(s.gauges.playing.Load()), Load: s.load.Load(),
			Datagrams: s.received.Load(), Wakeups: s.wakeups.Load(), Naps: s.naps.Load(), Orders: s.orders.Load(),
			Waits: s.waited(), SkippedTicks: s.lateTicks.Load(), ForgottenSources: s.forgotten.Load(), Faults: s.faults.Load(),
			Steered: s.steered.Load(), Batched: s.batched.Load(), Unbatched: s.unbatched.Load(), Overruns: s.overruns.Load(), Exiled: s.exiled.Load(),
		})
	}
	return st
}

// SessionStats are a session's counters, by m-line and side.
type SessionStats struct {
	ID    string
	Media []MediaStats
}

// MediaStats are those of one m-line.
type MediaStats struct {
	Kind  string
	Sides [2]StreamStats // by Side: what came from that side
}

// StreamStats tell of what one side of one m-line sent us.
type StreamStats struct {
	Packets, Bytes uint64 // accepted RTP, bytes with RTP header
	RTCP           uint64 // accepted RTCP
	Forwarded      uint64 // datagrams sent on to the other side
	Lost           int64  // RFC 3550 A.3 over all sources; duplicates count against it
	Jitter         time.Duration
	SSRC           uint32         // of the last source
	Port           uint16         // our RTP port towards this side
	Peer           netip.AddrPort // where its media comes from; invalid until latched
	Quiet          time.Duration  // since the last accepted packet, or since the answer
	Drops          Drops
	Codec          string        // of the last packet that was neither a key press nor comfort noise: "PCMU", "opus"; "" = unknown
	RTT            time.Duration // from us to this side and back, from its RTCP; 0 = unknown
	Score          Score         // how the other side hears this one

	Tier   Tier   // that serves it
	Detour string // why that is not TierKernel

	OwnPorts string // why Port is not Config.SinglePort; "" when it is, or there is none

	Duplicates uint32
	Bursts     Bursts             // how the losses of this side's packets are spread
	Extended   *VoIPMetrics       // how this side says it hears the other; nil when it does not say
	Summary    *StatisticsSummary // what this side counted of the other's packets; nil when it does not say

	reported   int64   // packets that this side says it misses of the other's
	discarded  float64 // percent of them that it says it throws away
	fraction   float64 // share of them that it missed between its last two reports
	reportedAt ticks   // of the last; 0 = none came
}

// Stats may be called at any time, also after Close.
func (s *Session) Stats() SessionStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := SessionStats{ID: s.cfg.ID}
	now := s.engine.now()
	for i, l := range s.lines {
		m := MediaStats{Kind: l.kind}
		for side, g := range l.legs {
			if g != nil {
				m.Sides[side] = g.stats(now)
				m.Sides[side].Codec = s.lastCodec(i, Side(side)).telling()
				s.engine.tell(&m.Sides[side], g)
			}
		}
		if l.kind == "audio" {
			a, b := &m.Sides[A], &m.Sides[B]
			a.Score, b.Score = a.score(b, s.impairment(i, A)), b.score(a, s.impairment(i, B))
		}
		st.Media = append(st.Media, m)
	}
	return st
}

// roundTrip is from us to the leg's peer and back; 0 = unknown.
func (l *leg) roundTrip() time.Duration { return time.Duration(l.rtt.Load()) * time.Second / 65536 }

func (l *leg) stats(now int64) StreamStats {
	n := l.counts()
	st := StreamStats{
		Packets: n.packets, Bytes: n.bytes, RTCP: uint64(l.tally.rtcp.Load()),
		Forwarded: n.forwarded, Lost: n.lost, SSRC: l.quality.source.Load(),
		Drops: l.tally.dropped(),
	}
	if n.direct {
		st.Tier = TierKernel
	}
	if rate := l.quality.rate.Load(); rate > 0 {
		st.Jitter = time.Duration(n.jitter) * time.Second / time.Duration(rate)
	}
	st.fraction, st.reportedAt = float64(l.fraction.Load())/256, ticks(l.trip.reported.Load())
	st.Duplicates, st.Bursts = l.quality.duplicates.Load(), l.quality.losses.bursts(l.quality.packetTime())
	extended := l.trip.extended.Load()
	if st.Extended = extended.metrics(); st.Extended != nil {
		st.discarded = st.Extended.Discarded
	}
	st.Summary = extended.summary(l.quality.rate.Load())
	st.RTT, st.reported = l.roundTrip(), int64(l.reported.Load())
	if peer := l.peer.Load(); peer != nil {
		st.Peer = *peer
	}
	if n.seen > 0 {
		st.Quiet = time.Duration(max(0, now-n.seen))
	}
	for _, p := range l.pairs {
		if p != nil && st.Port == 0 {
			st.Port, st.OwnPorts = p.port, p.why.String()
		}
	}
	return st
}
