package rtpengine

import (
	"encoding/binary"
	"sync/atomic"
	"time"
)

// Blocks of extended reports that are understood, RFC 3611 §4.
const (
	xrReferenceTime = 4
	xrDLRR          = 5
	xrStatistics    = 6
	xrVoIP          = 7
)

// VoIPMetrics are what the peer's phone says of how it hears us, or the other side, RFC 3611 §4.7. What it does not know is zero; times are
// those of the phone.
type VoIPMetrics struct {
	Lost, Discarded            float64       // of all packets, percent; discarded are those that came too late for its jitter buffer
	BurstDensity, GapDensity   float64       // of the packets in bursts and in gaps, percent
	BurstDuration, GapDuration time.Duration // mean
	RoundTrip, EndSystem       time.Duration
	SignalLevel, NoiseLevel    int // dBm0; 0 = unknown
	EchoReturnLoss             int // dB; 0 = unknown
	R                          int // 0 to 100; 0 = unknown
	MOSListening               float64
	MOSConversational          float64
	JitterBuffer               time.Duration // as it stands now
}

// StatisticsSummary is the same phone's count over the interval of its last report, RFC 3611 §4.6. Absent figures are zero.
type StatisticsSummary struct {
	Lost, Duplicates                   uint32
	JitterMin, JitterMax, JitterMean   time.Duration
	FirstSequence, NextSequence        uint16
	HopsMin, HopsMax, HopsMean, HopDev uint8 // TTL or hop limit of what it heard
}

// extended keeps the last blocks of a peer as they came; the shard writes, anyone reads. A reader may meet a writer and see
// one half of each of two reports, which does no harm to figures.
type extended struct {
	at         atomic.Int64 // engine ns of the last VoIP metrics; 0 = none came
	voip       [4]atomic.Uint64
	statistics [5]atomic.Uint64

	references
}

// followXR reads the blocks of an XR packet of the leg's peer (RFC 3611 §2). What is not known, or too short for what it says to be, is skipped.
func (l *leg) followXR(now int64, b []byte) {
	if len(b) < 8 {
		return
	}
	sender := binary.BigEndian.Uint32(b[4:])
	for b = b[8:]; len(b) >= 4; {
		n := 4 + 4*int(binary.BigEndian.Uint16(b[2:]))
		if n > len(b) {
			return
		}
		switch kind, block := b[0], b[4:n]; {
		case kind == xrReferenceTime && len(block) == 8:
			times := l.trip.extend()
			times.asker, times.asked = sender, senderReport{binary.BigEndian.Uint32(block[2:]), ticksAt(now)}
			if l.out != nil {
				l.out.trip.extend().note(binary.BigEndian.Uint32(block[2:]), now)
			}
		case kind == xrDLRR:
			l.delays(now, block)
		case kind == xrVoIP && len(block) == 32 && l.hearsSource(binary.BigEndian.Uint32(block)):
			x := l.trip.extend()
			x.keep(x.voip[:], block, 0)
			x.at.Store(max(1, now))
		case kind == xrStatistics && len(block) == 36 && l.hearsSource(binary.BigEndian.Uint32(block)):
			x := l.trip.extend()
			x.keep(x.statistics[:], block, b[1])
		}
		b = b[n:]
	}
}

// delays reads the DLRR sub-blocks: how long the peer had a reference time of the other side (RFC 3611 §4.5).
func (l *leg) delays(now int64, block []byte) {
	times := l.trip.extended.Load()
	if times == nil {
		return
	}
	for ; len(block) >= 12; block = block[12:] {
		if d, ok := times.measure(binary.BigEndian.Uint32(block[4:]), binary.BigEndian.Uint32(block[8:]), now); ok {
			l.rtt.Store(d)
		}
	}
}

// keep stores a block; in place of its source stands what its head says of it.
func (x *extended) keep(into []atomic.Uint64, block []byte, head byte) {
	var b [40]byte
	copy(b[:], block)
	b[0] = head
	for i := range into {
		into[i].Store(binary.BigEndian.Uint64(b[8*i:]))
	}
}

func loadBlock(from []atomic.Uint64, into []byte) {
	for i := range from {
		binary.BigEndian.PutUint64(into[8*i:], from[i].Load())
	}
}

// metrics are the last VoIP metrics; nil when none came.
//
//	SSRC 4 | loss 1 | discard 1 | burst density 1 | gap density 1 | burst duration 2 | gap duration 2 | round trip 2 | end system delay 2
//	signal 1 | noise 1 | RERL 1 | Gmin 1 | R 1 | ext. R 1 | MOS-LQ 1 | MOS-CQ 1 | RX config 1 | reserved 1 | JB nominal 2 | max 2 | abs max 2
func (x *extended) metrics() *VoIPMetrics {
	if x == nil || x.at.Load() == 0 {
		return nil
	}
	var b [32]byte
	loadBlock(x.voip[:], b[:])
	share := func(v byte) float64 { return float64(v) * 100 / 256 }
	ms := func(at int) time.Duration { return time.Duration(binary.BigEndian.Uint16(b[at:])) * time.Millisecond }
	known := func(v byte) int { // 127 says that it is not known
		if v == 127 {
			return 0
		}
		return int(int8(v))
	}
	opinion := func(v byte) float64 {
		if v < 10 || v > 50 {
			return 0
		}
		return float64(v) / 10
	}
	m := &VoIPMetrics{
		Lost: share(b[4]), Discarded: share(b[5]), BurstDensity: share(b[6]), GapDensity: share(b[7]),
		BurstDuration: ms(8), GapDuration: ms(10), RoundTrip: ms(12), EndSystem: ms(14),
		SignalLevel: known(b[16]), NoiseLevel: known(b[17]), EchoReturnLoss: known(b[18]),
		MOSListening: opinion(b[22]), MOSConversational: opinion(b[23]), JitterBuffer: ms(26),
	}
	if b[20] <= 100 {
		m.R = int(b[20])
	}
	return m
}

// summary is the last statistics summary, with times by the clock of what was heard; nil when none came.
//
//	flags 1 (of the block's head), 3 unused | begin 2 | end 2 | lost 4 | duplicates 4 | jitter min 4 | max 4 | mean 4 | dev 4 | TTL min, max, mean, dev
func (x *extended) summary(rate uint32) *StatisticsSummary {
	if x == nil {
		return nil
	}
	var b [40]byte
	loadBlock(x.statistics[:], b[:])
	flags := b[0]
	if flags == 0 || rate == 0 {
		return nil
	}
	s := &StatisticsSummary{FirstSequence: binary.BigEndian.Uint16(b[4:]), NextSequence: binary.BigEndian.Uint16(b[6:])}
	if flags&0x80 != 0 {
		s.Lost = binary.BigEndian.Uint32(b[8:])
	}
	if flags&0x40 != 0 {
		s.Duplicates = binary.BigEndian.Uint32(b[12:])
	}
	if flags&0x20 != 0 {
		units := func(at int) time.Duration {
			return time.Duration(binary.BigEndian.Uint32(b[at:])) * time.Second / time.Duration(rate)
		}
		s.JitterMin, s.JitterMax, s.JitterMean = units(16), units(20), units(24)
	}
	if flags>>3&3 != 0 {
		s.HopsMin, s.HopsMax, s.HopsMean, s.HopDev = b[32], b[33], b[34], b[35]
	}
	return s
}
