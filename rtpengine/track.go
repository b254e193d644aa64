package rtpengine

// A recording's time line counts units of 1/8000 s from its beginning, whatever the rate of its samples. These are such units:
const (
	playout    = sampleRate / 2   // how long a recording waits for a packet: the depth of its jitter buffer
	earliest   = sampleRate       // how far ahead of its time a packet may be
	mixLength  = 2 * sampleRate   // the window that is open for packets
	driftEvery = 5 * sampleRate   // how often the clocks are compared
	driftMost  = 3 * frameSamples // and how far they may be apart

	pictureJump = 3 * sampleRate // how far a picture may be from its time
)

// track puts the packets of one direction on the recording's time line. Where a packet belongs is told by its RTP timestamp, not
// by when it came: so jitter, reordering and duplicates do no harm, and what is lost or was never sent (silence suppression) leaves a
// gap of the right length. The arrival only says where a source begins, and corrects it when the source's clock drifts or jumps.
type track struct {
	started bool
	ssrc    uint32
	clock   int64  // of its timestamps, Hz
	stamp   uint32 // of the last packet
	ticks   int64  // of the clock, from base to it
	base    int64  // a position

	strange      bool // the packet before did not fit in
	strangeStamp uint32

	least int64 // smallest delay since the last comparison of the clocks
	since int64

	anchors int // how often it began
}

// at is the position of a timestamp of the same beginning.
func (t *track) at(stamp uint32) int64 {
	return t.base + (t.ticks+int64(int32(stamp-t.stamp)))*sampleRate/t.clock
}

// place gives the position of a packet that arrived at a position; false when it does not fit in. A source that takes up another clock
// begins anew (RFC 7160 §4.1).
func (t *track) place(ssrc, stamp uint32, clock, arrival int64) (pos int64, ok bool) {
	if !t.started || ssrc != t.ssrc || clock != t.clock {
		t.anchor(ssrc, stamp, clock, arrival)
		return arrival, true
	}
	ticks := t.ticks + int64(int32(stamp-t.stamp))
	pos = t.base + ticks*sampleRate/clock
	late := arrival - pos
	if late > playout || late < -earliest {
		// A sender whose clock jumped, or a path that became much longer. One such packet may be a straggler, two that agree are not.
		if d := int64(int32(stamp - t.strangeStamp)); t.strange && d > -clock && d < clock {
			t.anchor(ssrc, stamp, clock, arrival)
			return arrival, true
		}
		t.strange, t.strangeStamp = true, stamp
		return 0, false
	}
	t.strange = false
	t.ticks, t.stamp = ticks, stamp
	return pos + t.drift(pos, arrival), true
}

// follow gives the position of a picture. One that comes late is shown late by nobody but who waits for it, so it keeps its place; only a clock
// that has jumped begins anew.
func (t *track) follow(ssrc, stamp uint32, clock, arrival int64) int64 {
	if !t.started || ssrc != t.ssrc || clock != t.clock {
		t.anchor(ssrc, stamp, clock, arrival)
		return arrival
	}
	pos := t.at(stamp)
	if d := arrival - pos; d > pictureJump || d < -pictureJump {
		t.anchor(ssrc, stamp, clock, arrival)
		return arrival
	}
	t.ticks += int64(int32(stamp - t.stamp))
	t.stamp = stamp
	return pos + t.drift(pos, arrival)
}

// drift compares the clocks now and then, and gives what the position must be corrected by: the fastest packet of a while shows the path's own
// delay, and what that has changed by is the clocks' difference.
func (t *track) drift(pos, arrival int64) (by int64) {
	t.least = min(t.least, arrival-pos)
	if arrival-t.since < driftEvery {
		return 0
	}
	if t.least > driftMost || t.least < -driftMost {
		by = t.least
		t.base += by
	}
	t.least, t.since = earliest, arrival
	return by
}

func (t *track) anchor(ssrc, stamp uint32, clock, arrival int64) {
	*t = track{started: true, ssrc: ssrc, stamp: stamp, clock: clock, base: arrival, least: earliest, since: arrival, anchors: t.anchors + 1}
}

// mix is the window of a recording's time line in which sound may still come, silent where none has.
type mix struct {
	scale   int64 // samples in a unit of the time line: 1 at 8 kHz, 2 at 16 kHz
	from    int64 // the first position that is not written yet
	last    int64 // behind the last sound that came
	samples [2][]int16
}

func newMix(rate int) mix {
	m := mix{scale: int64(rate / sampleRate)}
	for i := range m.samples {
		m.samples[i] = make([]int16, mixLength*m.scale)
	}
	return m
}

// put takes sound to its position. What is outside of the window is left out.
func (m *mix) put(channel uint8, pos int64, pcm []int16) {
	window := m.samples[channel&1]
	first := pos * m.scale
	if early := min(m.from*m.scale-first, int64(len(pcm))); early > 0 {
		first, pcm = first+early, pcm[early:]
	}
	pcm = pcm[:max(0, min(int64(len(pcm)), (m.from+mixLength)*m.scale-first))]
	for i, v := range pcm {
		window[(first+int64(i))%int64(len(window))] = v
	}
	if len(pcm) > 0 {
		m.last = max(m.last, (first+int64(len(pcm))+m.scale-1)/m.scale)
	}
}

// advance closes the window up to a position and appends what was in it to out, the channels in turn; of a mono one the first.
func (m *mix) advance(to int64, out []int16, mono bool) []int16 {
	length := int64(len(m.samples[0]))
	for at := m.from * m.scale; at < to*m.scale; at++ {
		l, r := &m.samples[0][at%length], &m.samples[1][at%length]
		if out = append(out, *l); !mono {
			out = append(out, *r)
		}
		*l, *r = 0, 0
	}
	m.from = max(m.from, to)
	return out
}
