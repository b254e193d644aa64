package rtpengine

import (
	"encoding/binary"

	audio "tandem/rtpengine/codec"
)

// Positions below are samples at 8 kHz since the beginning of a recording.
const (
	playout    = sampleRate / 2   // how long a recording waits for a packet: the depth of its jitter buffer
	earliest   = sampleRate       // how far ahead of its time a packet may be
	mixSamples = 2 * sampleRate   // the window that is open for packets
	driftEvery = 5 * sampleRate   // how often the clocks are compared
	driftMost  = 3 * frameSamples // and how far they may be apart
)

// track puts the packets of one direction on the recording's time line. Where a packet belongs is told by its RTP timestamp, not
// by when it came: so jitter, reordering and duplicates do no harm, and what is lost or was never sent (silence suppression) leaves a
// gap of the right length. The arrival only says where a source begins, and corrects it when the source's clock drifts or jumps.
type track struct {
	started bool
	ssrc    uint32
	stamp   uint32 // of the last packet
	at      int64  // its position

	strange      bool // the packet before did not fit in
	strangeStamp uint32

	least int64 // smallest delay since the last comparison of the clocks
	since int64
}

// place gives the position of a packet that arrived at a position; false when it does not fit in.
func (t *track) place(ssrc, stamp uint32, arrival int64) (pos int64, ok bool) {
	if !t.started || ssrc != t.ssrc {
		t.anchor(ssrc, stamp, arrival)
		return arrival, true
	}
	pos = t.at + int64(int32(stamp-t.stamp))
	late := arrival - pos
	if late > playout || late < -earliest {
		// A sender whose clock jumped, or a path that became much longer. One such packet may be a straggler, two that agree are not.
		if d := int32(stamp - t.strangeStamp); t.strange && d > -sampleRate && d < sampleRate {
			t.anchor(ssrc, stamp, arrival)
			return arrival, true
		}
		t.strange, t.strangeStamp = true, stamp
		return 0, false
	}
	t.strange = false
	t.least = min(t.least, late)
	if arrival-t.since >= driftEvery {
		// The fastest packet of a while shows the path's own delay; what it has changed by is the clocks' difference.
		if t.least > driftMost || t.least < -driftMost {
			pos += t.least
		}
		t.least, t.since = earliest, arrival
	}
	t.at, t.stamp = pos, stamp
	return pos, true
}

func (t *track) anchor(ssrc, stamp uint32, arrival int64) {
	*t = track{started: true, ssrc: ssrc, stamp: stamp, at: arrival, least: earliest, since: arrival}
}

// mix is the window of a recording's time line in which packets may still come, silent where none has.
type mix struct {
	from    int64 // the first position that is not written yet
	last    int64 // behind the last sample that came
	samples [2][mixSamples]int16
}

// put decodes a payload to its position and tells how many of its samples came too late.
func (m *mix) put(channel, payload uint8, pos int64, body []byte) (late int) {
	if payload == payloadPCM {
		for i := 0; i+1 < len(body); i += 2 {
			late += m.set(channel, pos+int64(i/2), int16(binary.LittleEndian.Uint16(body[i:])))
		}
		return late
	}
	decode := audio.DecodeUlaw
	if payload == payloadPCMA {
		decode = audio.DecodeAlaw
	}
	for i, code := range body {
		late += m.set(channel, pos+int64(i), decode(code))
	}
	return late
}

// set puts a sample to its position; 1 when that is over.
func (m *mix) set(channel uint8, at int64, v int16) (late int) {
	switch {
	case at < m.from:
		return 1
	case at < m.from+mixSamples:
		m.samples[channel&1][at%mixSamples] = v
		m.last = max(m.last, at+1)
	}
	return 0
}

// advance closes the window up to a position and appends what was in it to out, the channels in turn; of a mono one the first.
func (m *mix) advance(to int64, out []int16, mono bool) []int16 {
	for ; m.from < to; m.from++ {
		at := m.from % mixSamples
		l, r := m.samples[0][at], m.samples[1][at]
		m.samples[0][at], m.samples[1][at] = 0, 0
		if out = append(out, l); !mono {
			out = append(out, r)
		}
	}
	return out
}
