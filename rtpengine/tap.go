package rtpengine

import (
	"encoding/binary"
	"sync/atomic"

	audio "tandem/rtpengine/codec"
)

// tapBytes is about 1.7 s of G.711 in both directions; a recorder looks five times a second.
const tapBytes = 32 << 10

// tap gives copies of a shard's packets to a recorder. What finds no room in its ring is counted and lost. Each entry is tapHeader
// octets and a payload:
//
//	| length 2 | channel 1 | medium 1 | timestamp 4 | SSRC 4 | arrival, engine ns 8 | sequence 2 | marker 1 | 0 1 | payload ...
//
// A channel is a side's: audio A, B, video A, B.
type tap struct {
	words   [4]atomic.Pointer[vocabulary] // by channel; signalling's
	lost    atomic.Uint64                 // packets without room
	foreign atomic.Uint64                 // packets of nothing that can be recorded
	ring    ring
}

// filmBytes is about 1 s of the best pictures that two phones send.
const filmBytes = 1 << 20

func newTap(size int) *tap {
	t := &tap{ring: newRing(size)}
	for i := range t.words {
		t.words[i].Store(&vocabulary{payloadPCMU: mediumOf(audio.PCMU), payloadPCMA: mediumOf(audio.PCMA)})
	}
	return t
}

const tapHeader = 24

// tapped is one entry.
type tapped struct {
	channel     uint8
	medium      medium
	marker      bool
	seq         uint16
	stamp, ssrc uint32
	at          int64 // arrival, engine ns
	body        []byte
}

// put takes a valid RTP packet. Shard only.
func (t *tap) put(channel uint8, h *rtpHeader, b []byte, now int64) {
	e := tapped{
		channel: channel, medium: t.words[channel&3].Load()[h.payload], marker: h.marker, seq: h.seq, stamp: h.stamp, ssrc: h.ssrc, at: now, body: h.samples(b),
	}
	switch {
	case e.medium == 0 && h.payload != payloadCN:
		t.foreign.Add(1)
	case e.medium == 0:
	case e.medium&repair != 0: // RFC 4588 §4: the number of what it repeats is in front of it
		if len(e.body) > 2 {
			e.seq, e.body = binary.BigEndian.Uint16(e.body), e.body[2:]
			t.give(&e)
		}
	default:
		t.give(&e)
	}
}

// report takes the sender report at the beginning of a compound packet that parseRTCP has taken: which time of the clock on the wall its
// timestamps mean (RFC 3550 §6.4.1). Shard only.
func (t *tap) report(channel uint8, b []byte, now int64) {
	if b[1] == rtcpSR && len(b) >= 20 {
		t.give(&tapped{channel: channel, medium: reported, stamp: binary.BigEndian.Uint32(b[16:]), ssrc: binary.BigEndian.Uint32(b[4:]), at: now, body: b[8:16]})
	}
}

// mixed takes the sound of a room, 20 ms; stamp counts 8 kHz. Mixer only.
func (t *tap) mixed(stamp uint32, pcm []int16, now int64) {
	var body [4 * frameSamples]byte
	for i, v := range pcm {
		binary.LittleEndian.PutUint16(body[2*i:], uint16(v))
	}
	m := samples8
	if len(pcm) > frameSamples {
		m = samples16
	}
	t.give(&tapped{medium: m, stamp: stamp, at: now, body: body[:2*len(pcm)]})
}

func (t *tap) give(e *tapped) {
	if !t.ring.fits(tapHeader + len(e.body)) {
		t.lost.Add(1)
		return
	}
	var entry [tapHeader]byte
	binary.LittleEndian.PutUint16(entry[:], uint16(len(e.body)))
	entry[2], entry[3] = e.channel, byte(e.medium)
	binary.LittleEndian.PutUint32(entry[4:], e.stamp)
	binary.LittleEndian.PutUint32(entry[8:], e.ssrc)
	binary.LittleEndian.PutUint64(entry[12:], uint64(e.at))
	binary.LittleEndian.PutUint16(entry[20:], e.seq)
	if e.marker {
		entry[22] = 1
	}
	t.ring.push(entry[:], e.body)
}

// next reads the oldest entry into room, which holds any payload; false when there is none. Recorder only.
func (t *tap) next(room []byte) (e tapped, ok bool) {
	if t.ring.empty() {
		return e, false
	}
	var entry [tapHeader]byte
	t.ring.peek(entry[:])
	e.channel, e.medium = entry[2], medium(entry[3])
	e.stamp, e.ssrc = binary.LittleEndian.Uint32(entry[4:]), binary.LittleEndian.Uint32(entry[8:])
	e.at = int64(binary.LittleEndian.Uint64(entry[12:]))
	e.seq, e.marker = binary.LittleEndian.Uint16(entry[20:]), entry[22] != 0
	e.body = room[:binary.LittleEndian.Uint16(entry[:])]
	t.ring.take(tapHeader, e.body)
	return e, true
}
