package rtpengine

import (
	"encoding/binary"
	"strings"
	"time"
)

// Digit is a key that somebody pressed.
type Digit struct {
	Side     Side
	Key      byte          // one of dtmfKeys, or '!' for a hook flash
	Duration time.Duration // how long it was held; 0 when nobody says
	Via      DigitVia
}

// DigitVia says how a digit came.
type DigitVia uint8

const (
	ViaEvent DigitVia = iota // as telephone-event packets (RFC 4733)
	ViaTone                  // as the two tones themselves
	ViaINFO                  // as a SIP INFO
)

func (v DigitVia) String() string { return [...]string{"rfc4733", "tone", "info"}[v%3] }

// dtmfKeys stand in the order of their event codes, RFC 4733 §3.2 table 7; code 16 is the hook flash.
const dtmfKeys = "0123456789*#ABCD!"

// ParseDigit reads a key as RFC 4733 names it, in either case.
func ParseDigit(c byte) (key byte, ok bool) {
	if c >= 'a' && c <= 'd' {
		c -= 'a' - 'A'
	}
	return c, strings.IndexByte(dtmfKeys, c) >= 0
}

// maxDialled bounds the digits that may wait to be sent on one leg.
const maxDialled = 64

// dialled reads what somebody wants to have dialled: keys, and commas for pauses of half a second.
func dialled(text string) (keys string, ok bool) {
	if text == "" || len(text) > maxDialled {
		return "", false
	}
	out := make([]byte, 0, len(text))
	for i := range len(text) {
		key, known := ParseDigit(text[i])
		if !known && text[i] != ',' {
			return "", false
		}
		out = append(out, key)
	}
	return string(out), true
}

// telephoneEvent is the payload of RFC 4733 §2.3:
//
//	|     event     |E|R| volume    |          duration             |
type telephoneEvent struct {
	code     uint8
	end      bool
	duration uint16 // in units of the clock
}

func parseTelephoneEvent(b []byte) (e telephoneEvent, ok bool) {
	if len(b) < 4 {
		return e, false
	}
	return telephoneEvent{code: b[0], end: b[1]&0x80 != 0, duration: binary.BigEndian.Uint16(b[2:])}, true
}

// eventVolume is what our events say of their level: -10 dBm0 (RFC 4733 §2.3.4).
const eventVolume = 10

// put writes the payload into b, which has room for four octets.
func (e telephoneEvent) put(b []byte) {
	b[0], b[1] = e.code, eventVolume
	if e.end {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], e.duration)
}

// eventCodec chooses the format of telephone events to send to a side: one of its own, with the clock of its first audio format if it has
// several (RFC 7587 §7.1 has a phone offer them with both clocks). ok is false when the side takes none.
func eventCodec(list []codec) (c codec, ok bool) {
	for _, e := range list {
		if e.named("telephone-event") && (!ok || e.clock == list[0].clock) {
			c, ok = e, true
		}
	}
	return c, ok
}

// eventEar follows the telephone events of one direction. Each is told once, when it has ended: the end is sent three times, and what
// leads up to it every 20 ms, all with the timestamp of the beginning (RFC 4733 §2.5.1.2).
type eventEar struct {
	heard    bool // the fields below name an event
	open     bool // it has not ended
	code     uint8
	ssrc     uint32
	stamp    uint32 // of its last segment
	duration uint32 // of that segment
	before   uint32 // of the segments before it
}

// event takes a packet; code and duration are those of an event that is over, when ended says so.
func (e *eventEar) event(h *rtpHeader, body []byte) (code uint8, duration uint32, ended bool) {
	p, ok := parseTelephoneEvent(body)
	if !ok {
		return 0, 0, false
	}
	if e.heard && h.ssrc == e.ssrc {
		switch age := int32(h.stamp - e.stamp); {
		case age < 0 && age > -30*sampleRate:
			return 0, 0, false // of an event that was told before
		case age == 0:
			return e.goesOn(p)
		case e.open && p.code == e.code && uint32(age) == e.duration:
			// §2.5.1.3: longer than the field can say, so a further segment of the same
			e.before, e.stamp, e.duration = e.before+e.duration, h.stamp, 0
			return e.goesOn(p)
		}
	}
	code, duration, ended = e.close()
	*e = eventEar{heard: true, open: true, code: p.code, ssrc: h.ssrc, stamp: h.stamp}
	if ended {
		e.duration = uint32(p.duration)
		return code, duration, true // the new one ends with a repetition of its own end, or with what follows
	}
	return e.goesOn(p)
}

func (e *eventEar) goesOn(p telephoneEvent) (code uint8, duration uint32, ended bool) {
	if !e.open || p.code != e.code {
		return 0, 0, false
	}
	e.duration = max(e.duration, uint32(p.duration))
	if p.end {
		return e.close()
	}
	return 0, 0, false
}

// other takes the timestamp of a packet that is no event: long after one it says that all ends were lost.
func (e *eventEar) other(h *rtpHeader) (code uint8, duration uint32, ended bool) {
	if !e.open || h.ssrc == e.ssrc && int32(h.stamp-e.stamp-e.duration) < sampleRate/10 {
		return 0, 0, false
	}
	return e.close()
}

func (e *eventEar) close() (code uint8, duration uint32, ended bool) {
	ended = e.open
	e.open = false
	return e.code, e.before + e.duration, ended
}
