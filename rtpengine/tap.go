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
//	| length 2 | channel 1 | medium 1 | timestamp 4 | SSRC 4 | arrival, engine ns 8 | payload ...
type tap struct {
	words   [2]atomic.Pointer[vocabulary] // by channel; signalling's
	lost    atomic.Uint64                 // packets without room
	foreign atomic.Uint64                 // packets of nothing that can be recorded
	ring    ring
}

func newTap() *tap {
	t := &tap{ring: newRing(tapBytes)}
	for i := range t.words {
		t.words[i].Store(&vocabulary{payloadPCMU: mediumOf(audio.PCMU), payloadPCMA: mediumOf(audio.PCMA)})
	}
	return t
}

const tapHeader = 20

// tapped is one entry.
type tapped struct {
	channel     uint8
	medium      medium
	stamp, ssrc uint32
	at          int64
	body        []byte
}

// put takes a valid RTP packet. Shard only.
func (t *tap) put(channel uint8, h *rtpHeader, b []byte, now int64) {
	m := t.words[channel&1].Load()[h.payload]
	if m == 0 {
		if h.payload != payloadCN {
			t.foreign.Add(1)
		}
		return
	}
	t.give(channel, m, h.stamp, h.ssrc, h.samples(b), now)
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
	t.give(0, m, stamp, 0, body[:2*len(pcm)], now)
}

func (t *tap) give(channel uint8, m medium, stamp, ssrc uint32, body []byte, now int64) {
	if !t.ring.fits(tapHeader + len(body)) {
		t.lost.Add(1)
		return
	}
	var entry [tapHeader]byte
	binary.LittleEndian.PutUint16(entry[:], uint16(len(body)))
	entry[2], entry[3] = channel, byte(m)
	binary.LittleEndian.PutUint32(entry[4:], stamp)
	binary.LittleEndian.PutUint32(entry[8:], ssrc)
	binary.LittleEndian.PutUint64(entry[12:], uint64(now))
	t.ring.push(entry[:], body)
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
	e.body = room[:binary.LittleEndian.Uint16(entry[:])]
	t.ring.take(tapHeader, e.body)
	return e, true
}
