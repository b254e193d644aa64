package sip

import (
	"strconv"
	"strings"
	"time"

	"tandem/sip/message"
)

// minSession is the shortest session interval there may be, in seconds (RFC 4028 §4).
const minSession = 90

// A session is what the request of a fork says of session timers as it is sent on (RFC 4028 §8). The zero session has none.
type session struct {
	seconds uint32
	uac     bool // whoever sent the request can refresh
	insert  bool // the node asks, the request did not
	raise   bool // the request asks for less than there may be
}

// refreshes tells the requests that begin or refresh a session.
func refreshes(m *message.Message) bool { return m.Method == "INVITE" || m.Method == "UPDATE" }

func supportsTimer(m *message.Message) bool {
	return m.HasToken(message.Supported, "timer") || m.HasToken(message.Require, "timer")
}

// sessionExpires reads Session-Expires in seconds; ok is false when there is none that is a number.
func sessionExpires(m *message.Message) (seconds uint32, ok bool) {
	v, _, _ := strings.Cut(m.Get(message.SessionExpires), ";")
	return message.ParseUint(strings.TrimSpace(v))
}

// refresherIsUAS tells whether a 2xx has its own sender refresh the session.
func refresherIsUAS(m *message.Message) bool {
	_, params, _ := strings.Cut(m.Get(message.SessionExpires), ";")
	for p := range strings.SplitSeq(params, ";") {
		if name, value, _ := strings.Cut(p, "="); strings.EqualFold(strings.TrimSpace(name), "refresher") {
			return strings.EqualFold(strings.TrimSpace(value), "uas")
		}
	}
	return false
}

// sessionOf reads a request that is to be sent on. One without Session-Expires is given one, so that a call whose phones have
// vanished ends although no media is watched: the phones refresh it if one of them can (§8.1). interval is 0 when the node does not
// ask.
func sessionOf(m *message.Message, interval time.Duration) (s session) {
	if !refreshes(m) {
		return s
	}
	s.uac = supportsTimer(m)
	least, _, _ := strings.Cut(m.Get(message.MinSE), ";")
	shortest, _ := message.ParseUint(strings.TrimSpace(least))
	shortest = max(shortest, minSession)
	n, ok := sessionExpires(m)
	switch {
	case ok && n >= minSession:
		s.seconds = n
	case ok: // the caller cannot be told in a 422 (§8.1)
		s.seconds, s.raise = shortest, true
	case !m.Has(message.SessionExpires) && interval > 0:
		s.seconds, s.insert = max(uint32(interval/time.Second), shortest), true
	}
	return s
}

// apply writes the session into the request.
func (s *session) apply(m *message.Message, e *message.Edit) {
	text := strconv.FormatUint(uint64(s.seconds), 10)
	switch {
	case s.insert: // without refresher: that is for the callee to say
		e.Tail = message.AppendHeader(e.Tail, "Session-Expires", text)
	case s.raise:
		e.Set(m.Index(message.SessionExpires), text)
		if i := m.Index(message.MinSE); i >= 0 {
			e.Set(i, text)
		} else {
			e.Tail = message.AppendHeader(e.Tail, "Min-SE", text)
		}
	}
}

// agreed is the interval that a 2xx sets, 0 for a session that does not expire. own tells that the callee knows no session timers and
// the caller is to refresh (§8.2).
func (s *session) agreed(m *message.Message) (seconds uint32, own bool) {
	if m.Has(message.SessionExpires) {
		n, _ := sessionExpires(m)
		return n, false
	}
	if s.uac && s.seconds > 0 {
		return s.seconds, true
	}
	return 0, false
}

// answer amends a 2xx on its way up.
func (s *session) answer(m *message.Message, e *message.Edit) {
	n, own := s.agreed(m)
	if m.Status/100 != 2 || !own {
		return
	}
	if !m.HasToken(message.Require, "timer") {
		e.Tail = append(e.Tail, "Require: timer\r\n"...)
	}
	e.Tail = message.AppendHeader(e.Tail, "Session-Expires", strconv.FormatUint(uint64(n), 10)+";refresher=uac")
}

// sessionTooShort refuses a request for a session interval below the least, when its sender understands that (RFC 4028 §8.1, §9).
func (tx *transaction) sessionTooShort() bool {
	n, ok := sessionExpires(tx.m)
	if !ok || n >= minSession || !refreshes(tx.m) || !supportsTimer(tx.m) {
		return false
	}
	tx.respond(&message.Response{Status: 422, Extra: []byte("Min-SE: " + strconv.Itoa(minSession) + "\r\n")})
	return true
}
