package rtpengine

import (
	"encoding/binary"
	"sync/atomic"
)

// tapBytes is about 1.7 s of G.711 in both directions; a recorder looks five times a second.
const tapBytes = 32 << 10

// tap is a bounded ring through which a shard gives copies of packets to a recorder: one writer, one reader, nobody waits. What
// finds no room is counted and lost. Each entry is tapHeader octets and a payload, in turn around the ring:
//
//	| length 2 | channel 1 | payload type 1 | timestamp 4 | SSRC 4 | arrival, engine ns 8 | payload ...
type tap struct {
	lost    atomic.Uint64 // packets without room
	foreign atomic.Uint64 // packets of no G.711

	head atomic.Uint64 // octets written since the beginning; the shard's
	tail atomic.Uint64 // octets read; the recorder's
	ring [tapBytes]byte
}

const tapHeader = 20

// tapped is one entry.
type tapped struct {
	channel, payload uint8
	stamp, ssrc      uint32
	at               int64
	body             []byte
}

// put takes a valid RTP packet. Shard only.
func (t *tap) put(channel uint8, h *rtpHeader, b []byte, now int64) {
	if h.payload != payloadPCMU && h.payload != payloadPCMA {
		t.foreign.Add(1)
		return
	}
	end := len(b)
	if b[0]&0x20 != 0 {
		end -= int(b[end-1]) // padding; parseRTP has seen that it fits
	}
	body := b[h.body:end]
	head := t.head.Load()
	if uint64(tapHeader+len(body)) > tapBytes-(head-t.tail.Load()) {
		t.lost.Add(1)
		return
	}
	var entry [tapHeader]byte
	binary.LittleEndian.PutUint16(entry[:], uint16(len(body)))
	entry[2], entry[3] = channel, h.payload
	binary.LittleEndian.PutUint32(entry[4:], h.stamp)
	binary.LittleEndian.PutUint32(entry[8:], h.ssrc)
	binary.LittleEndian.PutUint64(entry[12:], uint64(now))
	t.write(head, entry[:])
	t.write(head+tapHeader, body)
	t.head.Store(head + tapHeader + uint64(len(body)))
}

func (t *tap) write(at uint64, b []byte) {
	n := copy(t.ring[at%tapBytes:], b)
	copy(t.ring[:], b[n:])
}

func (t *tap) read(at uint64, b []byte) {
	n := copy(b, t.ring[at%tapBytes:])
	copy(b[n:], t.ring[:])
}

// next reads the oldest entry into room, which holds any payload; false when there is none. Recorder only.
func (t *tap) next(room []byte) (e tapped, ok bool) {
	tail := t.tail.Load()
	if tail == t.head.Load() {
		return e, false
	}
	var entry [tapHeader]byte
	t.read(tail, entry[:])
	e.channel, e.payload = entry[2], entry[3]
	e.stamp, e.ssrc = binary.LittleEndian.Uint32(entry[4:]), binary.LittleEndian.Uint32(entry[8:])
	e.at = int64(binary.LittleEndian.Uint64(entry[12:]))
	e.body = room[:binary.LittleEndian.Uint16(entry[:])]
	t.read(tail+tapHeader, e.body)
	t.tail.Store(tail + tapHeader + uint64(len(e.body)))
	return e, true
}
