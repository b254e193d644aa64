package rtpengine

import (
	"encoding/binary"
	"sync/atomic"
)

// A seat is where a leg's shard and a room's mixer meet. What the phone says goes in through one ring, what it shall hear comes out of
// the other; who finds no room counts it and goes on.
type seat struct {
	in  ring // shard to mixer
	out ring // mixer to shard

	lost atomic.Uint64 // packets of the phone that the mixer was too slow for
	late atomic.Uint64 // frames that the shard was too slow for
}

const (
	seatIn  = 8 << 10 // some 40 packets of G.711
	seatOut = 2 << 10 // 10 frames of it
	// mostFrame is the longest encoded frame: G.722 and G.711 need 160 octets, Opus at telephone rates less.
	mostFrame = 640
	// mostHeard is the longest payload that a phone may send, beyond anything that is sound of 200 ms.
	mostHeard = 2 << 10
)

func newSeat() *seat { return &seat{in: newRing(seatIn), out: newRing(seatOut)} }

const (
	heardHeader = 20
	frameHeader = 8
)

// heard is a packet of a phone, in the ring as
//
//	| length 2 | payload type 1 | level 1 | sequence 2 | 0 2 | timestamp 4 | SSRC 4 | 0 4 | payload ...
type heard struct {
	payload, level uint8
	seq            uint16
	stamp, ssrc    uint32
	body           []byte
}

// hear takes a valid RTP packet. Shard only.
func (s *seat) hear(h *rtpHeader, level uint8, b []byte) {
	body := h.samples(b)
	if len(body) > mostHeard || !s.in.fits(heardHeader+len(body)) {
		s.lost.Add(1)
		return
	}
	var entry [heardHeader]byte
	binary.LittleEndian.PutUint16(entry[:], uint16(len(body)))
	entry[2], entry[3] = h.payload, level
	binary.LittleEndian.PutUint16(entry[4:], h.seq)
	binary.LittleEndian.PutUint32(entry[8:], h.stamp)
	binary.LittleEndian.PutUint32(entry[12:], h.ssrc)
	s.in.push(entry[:], body)
}

// next reads the oldest packet into room, which holds any of them; false when there is none. Mixer only.
func (s *seat) next(room []byte) (p heard, ok bool) {
	if s.in.empty() {
		return p, false
	}
	var entry [heardHeader]byte
	s.in.peek(entry[:])
	p = heard{
		payload: entry[2], level: entry[3], seq: binary.LittleEndian.Uint16(entry[4:]),
		stamp: binary.LittleEndian.Uint32(entry[8:]), ssrc: binary.LittleEndian.Uint32(entry[12:]),
		body: room[:binary.LittleEndian.Uint16(entry[:])],
	}
	s.in.take(heardHeader, p.body)
	return p, true
}

// tell hands a frame to the phone; step is by how much its timestamp is beyond the last one's. False when there is no room. Mixer only.
func (s *seat) tell(payload uint8, step uint32, frame []byte) bool {
	if len(frame) > mostFrame || !s.out.fits(frameHeader+len(frame)) {
		s.late.Add(1)
		return false
	}
	var entry [frameHeader]byte
	binary.LittleEndian.PutUint16(entry[:], uint16(len(frame)))
	entry[2] = payload
	binary.LittleEndian.PutUint32(entry[4:], step)
	s.out.push(entry[:], frame)
	return true
}

// seatLeg gives a leg its place at a mixer, or another codec at it. Shard only.
func (s *shard) seatLeg(l *leg, at *seat, speaks tongue, level uint8) {
	a := l.app
	if a.seat == nil {
		s.seated = append(s.seated, l)
		s.gauges.inRooms.Add(1)
	}
	if a.seat != at {
		a.marker = true
	}
	a.seat, a.payload, a.clock, a.level, a.echo = at, speaks.payload, uint32(speaks.kind.Clock()), level, false
}

// unseat takes it away.
func (s *shard) unseat(l *leg) {
	if l.app == nil || l.app.seat == nil {
		return
	}
	l.app.seat = nil
	for i, other := range s.seated {
		if other == l {
			last := len(s.seated) - 1
			s.seated[i], s.seated[last] = s.seated[last], nil
			s.seated = s.seated[:last]
			break
		}
	}
	s.gauges.inRooms.Add(-1)
}

// deliver sends what mixers have made for the legs of this shard.
func (s *shard) deliver() {
	for _, l := range s.seated {
		for l.app.utter(&s.relay, l) {
		}
	}
}

// listen hands a packet of the phone to the mixer. A phone that holds sends music, if anything: nobody in the room wants to hear that.
func (a *app) listen(r *relay, l *leg, h *rtpHeader, b []byte) {
	switch {
	case h.payload != a.payload:
	case !l.open:
		r.drop(l, DropHold)
	default:
		a.seat.hear(h, audioLevel(b, a.level), b)
	}
}

// utter sends the next frame of the mixer; false when there is none.
func (a *app) utter(r *relay, l *leg) bool {
	out := &a.seat.out
	if out.empty() {
		return false
	}
	var entry [frameHeader]byte
	out.peek(entry[:])
	b := r.spare[:12+int(binary.LittleEndian.Uint16(entry[:]))]
	out.take(frameHeader, b[12:])
	if a.digits != nil { // they are sent in place of it, with time stamps of their own
		return true
	}
	a.stamp += binary.LittleEndian.Uint32(entry[4:])
	if !l.ready || !l.hears {
		a.marker = true
		return true
	}
	a.seq++
	b[0], b[1] = 2<<6, entry[2]
	if a.marker {
		b[1] |= 0x80
		a.marker = false
	}
	binary.BigEndian.PutUint16(b[2:], a.seq)
	binary.BigEndian.PutUint32(b[4:], a.stamp)
	binary.BigEndian.PutUint32(b[8:], a.ssrc)
	a.send(r, l, b, len(b)-12)
	return true
}
