package ng

import (
	"bytes"
	"errors"
	"net/netip"
	"time"
)

const (
	// rememberFor is how long an answer is given again at least, and half of how long at most. Kamailio and OpenSIPS ask again within
	// seconds; rtpengine remembers as long.
	rememberFor = 30 * time.Second
	// rememberBytes bounds what one generation of answers takes.
	rememberBytes = 16 << 20
	maxCookie     = 255
)

// asker names a request: cookies of different proxies may be the same.
type asker struct {
	host   netip.Addr
	cookie string
}

// memory keeps the answers of the last half minute, in two generations: a new one is begun when the time has come or the room is used up,
// and the one before the last is forgotten. Its owner alone touches it.
type memory struct {
	young, old map[asker][]byte
	size       int
	born       time.Time
}

// recall gives the answer that a repeated request has had, or nil.
func (m *memory) recall(who asker, now time.Time) []byte {
	m.age(now)
	if answer := m.young[who]; answer != nil {
		return answer
	}
	return m.old[who]
}

// keep remembers an answer. early says that an answer had to be forgotten before its time.
func (m *memory) keep(who asker, answer []byte, now time.Time) (early bool) {
	if m.size+len(answer) > rememberBytes {
		early = len(m.old) > 0
		m.turn(now)
	}
	if m.young == nil {
		m.young = make(map[asker][]byte)
	}
	m.young[who] = answer
	m.size += len(answer) + len(who.cookie)
	return early
}

func (m *memory) age(now time.Time) {
	switch past := now.Sub(m.born); {
	case past >= 2*rememberFor:
		m.turn(now)
		m.old = nil
	case past >= rememberFor:
		m.turn(now)
	}
}

func (m *memory) turn(now time.Time) { m.old, m.young, m.size, m.born = m.young, nil, 0, now }

// cutCookie divides a message at its first space.
func cutCookie(packet []byte) (cookie string, body []byte, err error) {
	word, body, ok := bytes.Cut(packet, []byte{' '})
	if !ok || len(word) == 0 || len(word) > maxCookie {
		return "", nil, errors.New("no cookie")
	}
	return string(word), body, nil
}
