package rtpengine

import (
	"encoding/binary"
	"errors"
	"strings"
	"time"

	audio "tandem/rtpengine/codec"
)

// Errors of SendDigits.
var (
	ErrDigits   = errors.New("rtpengine: digits are 1 to 64 of 0-9 * # A-D, and commas for pauses")
	ErrNoDigits = errors.New("rtpengine: this side takes no digits: neither telephone-event nor G.711 was agreed on")
)

// Times of what we send, ETSI ES 201 235-2 §4.2.4: 65 ms of each at least.
const (
	toneTime   = 100 * time.Millisecond
	tonePause  = 80 * time.Millisecond
	commaPause = 500 * time.Millisecond
	// staleDigit is how long digits may wait for the packets that carry them.
	staleDigit = 10 * time.Second
)

// dialling are digits that are being sent: what is due at a time that is counted in units of the clock since the digit in hand began.
// Its shard owns it.
type dialling struct {
	keys  []byte // that wait; the first is in hand
	event int    // payload type of telephone-event; -1: tones
	rate  uint32 // clock of the events
	until int64  // engine ns; digits not begun by then are given up

	done func() // told when all are sent, or given up; an endpoint's

	begun bool
	start uint32 // timestamp of the digit in hand
	ends  int    // ends of its event that were sent
}

func (d *dialling) units(t time.Duration) uint32 {
	return uint32(uint64(t) * uint64(d.rate) / uint64(time.Second))
}

// action is what stands in place of a packet of sound.
type action uint8

const (
	soundOn action = iota // nothing: the sound goes on
	quiet                 // nothing is sent for the digit, and no sound over it
	event
	tone
)

// next says what to do with the time from stamp on, length long, and goes on to the next digit when one is over.
func (d *dialling) next(stamp, length uint32) (do action, e telephoneEvent) {
	for len(d.keys) > 0 {
		key := d.keys[0]
		if !d.begun {
			d.begun, d.start, d.ends = true, stamp, 0
		}
		at := stamp - d.start
		if int32(at) < 0 { // a packet from before the digit
			return soundOn, e
		}
		sounds, pause := d.units(toneTime), d.units(tonePause)
		if key == ',' {
			sounds, pause = 0, d.units(commaPause)
		}
		switch {
		case at < sounds && d.event < 0:
			return tone, e
		case at < sounds || sounds > 0 && d.event >= 0 && d.ends < 3:
			e = telephoneEvent{code: uint8(strings.IndexByte(dtmfKeys, key)), duration: uint16(min(at+length, sounds)), end: at+length >= sounds}
			if e.end {
				d.ends++
			}
			return event, e
		case at < sounds+pause:
			return quiet, e
		}
		d.keys, d.begun = d.keys[1:], false
	}
	return soundOn, e
}

// sing writes the piece of the digit in hand that belongs to stamp, in the law of a payload type.
func (d *dialling) sing(body []byte, payload uint8, stamp uint32) {
	encode := audio.EncodeUlaw
	if payload == payloadPCMA {
		encode = audio.EncodeAlaw
	}
	key, at, length := byte(0), 0, 0
	if len(d.keys) > 0 && d.keys[0] != ',' && d.begun {
		key, at, length = d.keys[0], int(stamp-d.start), int(d.units(toneTime))
	}
	var samples [frameSamples]int16
	for len(body) > 0 {
		n := min(len(body), len(samples))
		dtmfTone(samples[:n], key, at, length)
		for i, v := range samples[:n] {
			body[i] = encode(v)
		}
		body, at = body[n:], at+n
	}
}

// dub sends the digits that wait over what the leg says.
func (l *leg) dub(h *rtpHeader, rate uint32, b []byte, now int64) []byte {
	b = l.dubs.over(h, rate, b, now)
	if len(l.dubs.keys) == 0 {
		l.dubs = nil
	}
	return b
}

// over replaces sound that a relayed leg is about to be sent by the digits that wait. A digit rides on the packets that come anyway: their
// numbers and their source stay as they are, so the reports of neither side need translation. rate is the packet's clock.
func (d *dialling) over(h *rtpHeader, rate uint32, b []byte, now int64) []byte {
	g711 := h.payload == payloadPCMU || h.payload == payloadPCMA
	switch {
	case !d.begun && now > d.until:
		d.keys = nil
		return b
	case h.payload == payloadCN || rate != d.rate || d.event < 0 && !g711:
		return b
	}
	length := d.units(frameTime)
	if g711 {
		length = uint32(len(b) - h.body)
	}
	do, e := d.next(h.stamp, length)
	switch {
	case do == event && len(b) >= 16:
		d.header(b, h.stamp)
		e.put(b[12:])
		return b[:16]
	case do == tone, do == quiet && d.event < 0:
		d.sing(b[h.body:], h.payload, h.stamp)
	}
	return b
}

// header makes a packet's header that of an event: no padding, extension or contributing source, and the timestamp of its beginning.
func (d *dialling) header(b []byte, stamp uint32) {
	b[0], b[1] = 2<<6, uint8(d.event)
	if stamp == d.start {
		b[1] |= 0x80 // RFC 4733 §2.5.1.1
	}
	binary.BigEndian.PutUint32(b[4:], d.start)
}

// dial sends 20 ms of the digits that an endpoint is to send, and nothing else meanwhile.
func (a *app) dial(r *relay, l *leg) {
	d := a.digits
	if !d.begun && r.now > d.until {
		d.keys = nil
	}
	if !l.ready || !l.hears {
		return
	}
	step := d.units(frameTime)
	a.stamp += step
	do, e := d.next(a.stamp, step)
	a.marker = true // of the sound that follows
	var b []byte
	switch {
	case do == event:
		b = a.packet[:16]
		d.header(b, a.stamp)
		e.put(b[12:])
	case do == tone, do == quiet && d.event < 0:
		b = a.packet[:12+frameSamples]
		b[0], b[1] = 2<<6, a.payload
		binary.BigEndian.PutUint32(b[4:], a.stamp)
		d.sing(b[12:], a.payload, a.stamp)
	default:
		return
	}
	a.seq++
	binary.BigEndian.PutUint16(b[2:], a.seq)
	binary.BigEndian.PutUint32(b[8:], a.ssrc)
	a.send(r, l, b, len(b)-12)
}

// dialled ends the dialling of a leg that has nothing more to dial. One that was a player for it alone is so no longer.
func (s *shard) dialled(l *leg) {
	if d := l.voice().digits; d != nil && len(d.keys) == 0 {
		s.stopDialling(l)
	}
}

// stopDialling forgets the digits of a leg.
func (s *shard) stopDialling(l *leg) {
	a := l.voice()
	if a == nil || a.digits == nil {
		return
	}
	a.digits.done()
	a.digits, a.talked = nil, false // an echo takes its numbers anew
	if a.sound == nil {
		s.delist(l)
	}
}

// SendDigits sends digits to the phone, in place of what it is told meanwhile: as events where it takes those, else as tones of 100 ms.
// A comma is a pause of half a second. It returns at once. Errors: ErrDigits, ErrNoDigits.
func (p *Endpoint) SendDigits(digits string) error {
	keys, ok := dialled(digits)
	if !ok {
		return ErrDigits
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	for i, g := range p.legs {
		if g == nil || p.kinds[i] != "audio" || i >= len(p.codecs) {
			continue
		}
		d := newDialling(keys, p.codecs[i], p.engine.now())
		if d.event < 0 && !isG711(p.tongues[i].kind) {
			continue
		}
		payload := p.tongues[i].payload
		d.done = p.engine.stopPlaying
		p.engine.startPlaying()
		if !p.shard.order(func(sh *shard) { sh.startDialling(g, d, payload) }) {
			d.done()
		}
		return nil
	}
	return ErrNoDigits
}

// newDialling sends as the events that a side takes; without any, as tones.
func newDialling(keys string, codecs []codec, now int64) *dialling {
	d := &dialling{keys: []byte(keys), event: -1, rate: sampleRate, until: now + int64(staleDigit)}
	if c, ok := eventCodec(codecs); ok {
		d.event, d.rate = int(c.payload), c.clock
	}
	return d
}

// startDialling makes what speaks to a leg send digits, behind those that it sends already.
func (s *shard) startDialling(l *leg, d *dialling, payload uint8) {
	a := l.voice()
	if a.digits != nil {
		d.done()
		a.digits.add(d)
		return
	}
	a.digits = d
	if !a.listed {
		a.payload = payload
		s.list(l)
	}
}

// add puts digits behind those in hand. What is too much is left out.
func (d *dialling) add(more *dialling) {
	d.until = more.until
	d.keys = append(d.keys, more.keys[:min(len(more.keys), maxDialled-min(maxDialled, len(d.keys)))]...)
}

// SendDigits sends digits to one side of a relayed call in place of what the other says meanwhile, and on the packets of the other: while it
// is silent they wait, for ten seconds. Else it is like Endpoint.SendDigits.
func (s *Session) SendDigits(to Side, digits string) error {
	keys, ok := dialled(digits)
	if !ok {
		return ErrDigits
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.endToEnd():
		return ErrEndToEnd
	}
	x := s.inForce()
	if x == nil || x.said[to] == nil {
		return ErrNoDigits
	}
	for i, l := range s.lines {
		if l.kind != "audio" || l.legs[A] == nil || l.legs[B] == nil || i >= len(x.said[to].lines) || !x.said[to].lines[i].active {
			continue
		}
		d := newDialling(keys, x.said[to].lines[i].codecs, s.engine.now())
		if d.event < 0 && !takesG711(x.said[to].lines[i].codecs) {
			continue
		}
		s.dialOver(l, to, d)
		return nil
	}
	return ErrNoDigits
}

// dialOver has digits sent to a side of an m-line: by what plays there, else on the packets of the other side; mu is held.
func (s *Session) dialOver(l *line, to Side, d *dialling) {
	from, g := l.legs[to.Other()], l.legs[to]
	d.done = s.engine.stopPlaying
	s.engine.startPlaying()
	ok := s.shard.order(func(sh *shard) {
		if a := g.player; a != nil && a.listed {
			sh.startDialling(g, d, a.payload)
			return
		}
		d.done()
		from.withdraw(&sh.relay)
		if d.done = nil; from.dubs != nil {
			from.dubs.add(d)
		} else {
			from.dubs = d
		}
	})
	if !ok {
		s.engine.stopPlaying()
	}
}

func takesG711(list []codec) bool {
	for _, c := range list {
		if c.payload == payloadPCMU || c.payload == payloadPCMA {
			return true
		}
	}
	return false
}

// inForce is the exchange by which the session relays now.
func (s *Session) inForce() *exchange {
	for _, x := range [...]*exchange{s.latest, s.before} {
		if x != nil && x.inForce {
			return x
		}
	}
	return nil
}
