package pbx

import (
	"strconv"
	"strings"
	"time"

	"tandem/events"
	"tandem/rtpengine"
)

// digitOf reads the body of an INFO that brings a digit: "Signal=5", "Duration=160" in lines of their own (application/dtmf-relay), or the
// digit alone (application/dtmf). A duration that nobody gave is 0.
func digitOf(kind, body string) (key byte, held time.Duration, ok bool) {
	if kind != "application/dtmf-relay" && kind != "application/dtmf" {
		return 0, 0, false
	}
	signal := strings.TrimSpace(body)
	if strings.Contains(body, "=") {
		signal = ""
		for line := range strings.Lines(body) {
			name, value, _ := strings.Cut(line, "=")
			value = strings.TrimSpace(value)
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "signal":
				signal = value
			case "duration":
				if ms, err := strconv.ParseUint(value, 10, 16); err == nil {
					held = time.Duration(ms) * time.Millisecond
				}
			}
		}
	}
	key, ok = keyOf(signal)
	return key, held, ok
}

// keyOf reads a key, or the number that RFC 4733 gives it.
func keyOf(signal string) (byte, bool) {
	switch strings.ToLower(signal) {
	case "10":
		return '*', true
	case "11":
		return '#', true
	case "12", "13", "14", "15":
		return signal[1] - '2' + 'A', true
	case "16", "hf", "flash", "!":
		return '!', true
	}
	if len(signal) != 1 {
		return 0, false
	}
	return rtpengine.ParseDigit(signal[0])
}

// Info takes an INFO of the phone (sip.InfoEvents).
func (l *leg) Info(kind, body string) (status int) {
	if key, held, ok := digitOf(kind, body); ok {
		l.call.pbx.infoDigits.Add(1)
		l.digit(rtpengine.Digit{Key: key, Duration: held, Via: rtpengine.ViaINFO})
		return 200
	}
	if wantsPicture(kind, body) && l.media.RequestPicture() == nil {
		l.call.pbx.picturesWanted.Add(1)
		return 200
	}
	return 415
}

// digit is told of a key that the phone has pressed, however it came.
func (l *leg) digit(d rtpengine.Digit) {
	if !l.secret.Load() {
		l.call.publish(events.Event{
			Kind: events.CallDigit, Duration: d.Duration, Detail: map[string]string{"digit": string(d.Key), "via": d.Via.String()},
		})
	}
	l.call.mu.Lock()
	answered := l.sip
	l.call.mu.Unlock()
	if answered != nil {
		answered.Post(func() {
			defer l.call.recovered()
			l.pressed(d.Key)
		})
	}
}

// Info does in the media what an INFO asks for whose receiver does not know it (sip.InfoMedia): a digit is sent in its stead.
func (m *relayMedia) Info(fromCaller bool, kind, body string) bool {
	m.mu.Lock()
	s := m.session
	m.mu.Unlock()
	if s == nil {
		return false
	}
	key, _, ok := digitOf(kind, body)
	if !ok || s.SendDigits(side(fromCaller).Other(), string(key)) != nil {
		return false
	}
	m.call.pbx.infoConverted.Add(1)
	return true
}

// SendDigits sends digits to the caller or to the called side of an answered call, by its id or Call-ID. Errors: ErrNoCall, ErrNotAnswered,
// ErrNoMedia and those of the media engine.
func (p *PBX) SendDigits(id, digits string, toCaller bool) error {
	c := p.find(id)
	if c == nil {
		return ErrNoCall
	}
	c.mu.Lock()
	state, l, m := c.state, c.leg, c.media
	c.mu.Unlock()
	switch {
	case state != Answered:
		return ErrNotAnswered
	case l != nil:
		return l.media.SendDigits(digits)
	case m != nil:
		return m.sendDigits(digits, side(toCaller))
	}
	return ErrNoMedia
}

func (m *relayMedia) sendDigits(digits string, to rtpengine.Side) error {
	m.mu.Lock()
	s := m.session
	m.mu.Unlock()
	if s == nil {
		return ErrNoMedia
	}
	return s.SendDigits(to, digits)
}
