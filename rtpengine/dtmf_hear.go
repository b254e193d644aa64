package rtpengine

import (
	"time"

	audio "tandem/rtpengine/codec"
)

// digitEar finds the digits that one side of one m-line sends. Its shard owns it.
type digitEar struct {
	to     *SessionConfig
	side   Side
	events eventEar
	tones  *toneEar // nil where telephone events were agreed on: then the tones come as events (RFC 4733 §2.6.2)
	stamp  uint32   // behind the last sound heard
	ssrc   uint32
	heard  bool
}

// listen puts in force whether digits of a leg are told, and how they come.
func (l *leg) listen(s *setup) {
	if s.listener == nil || s.cargo == opaque {
		l.digits = nil
		return
	}
	d := l.digits
	if d == nil {
		d = &digitEar{to: s.listener, side: s.side}
		l.digits = d
	}
	switch {
	case s.events != (payloads{}):
		d.tones = nil
	case d.tones == nil:
		d.tones = new(toneEar)
	}
}

// packet takes a valid packet of the leg.
func (d *digitEar) packet(r *relay, events *payloads, rate uint32, h *rtpHeader, b []byte) {
	if events.has(h.payload) {
		if code, duration, ok := d.events.event(h, b[h.body:]); ok {
			d.told(r, code, duration, rate)
		}
		return
	}
	if code, duration, ok := d.events.other(h); ok {
		d.told(r, code, duration, rate)
	}
	if d.tones != nil && (h.payload == payloadPCMU || h.payload == payloadPCMA) {
		d.sound(r, h, b[h.body:])
	}
}

func (d *digitEar) told(r *relay, code uint8, duration, rate uint32) {
	if int(code) >= len(dtmfKeys) { // RFC 4733 has more events than keys
		return
	}
	r.tell(notice{to: d.to, digit: Digit{
		Side: d.side, Key: dtmfKeys[code], Duration: time.Duration(duration) * time.Second / time.Duration(rate), Via: ViaEvent,
	}})
}

// sound looks for tones in G.711. What came late is left out, a packet that is missing is passed over, and a longer hole is silence.
func (d *digitEar) sound(r *relay, h *rtpHeader, body []byte) {
	if d.heard && h.ssrc == d.ssrc {
		hole := int32(h.stamp - d.stamp)
		if hole < 0 && hole > -sampleRate {
			return
		}
		if hole > 2*frameSamples {
			d.samples(r, make([]int16, 2*earBlock))
		}
	}
	d.heard, d.ssrc, d.stamp = true, h.ssrc, h.stamp+uint32(len(body))
	decode := audio.DecodeUlaw
	if h.payload == payloadPCMA {
		decode = audio.DecodeAlaw
	}
	var samples [2 * frameSamples]int16
	for len(body) > 0 {
		n := min(len(body), len(samples))
		for i, code := range body[:n] {
			samples[i] = decode(code)
		}
		d.samples(r, samples[:n])
		body = body[n:]
	}
}

func (d *digitEar) samples(r *relay, samples []int16) {
	if key, length := d.tones.hear(samples); key != 0 {
		r.tell(notice{to: d.to, digit: Digit{Side: d.side, Key: key, Duration: time.Duration(length) * time.Second / sampleRate, Via: ViaTone}})
	}
}

// listener is whose OnDigit hears an m-line.
func (s *Session) listener(l *line) *SessionConfig { return listenerOf(l.kind, &s.cfg) }

func (p *Endpoint) listener(i int) *SessionConfig { return listenerOf(p.kinds[i], &p.cfg) }

func listenerOf(kind string, c *SessionConfig) *SessionConfig {
	if kind != "audio" || c.OnDigit == nil {
		return nil
	}
	return c
}
