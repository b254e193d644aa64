//go:build linux

package phone

import "tandem/bench/internal/wire"

// request handles what reaches a phone of ours inside a call: mostly the callee's end, or the server hanging up on the caller.
func (f *Fleet) request(now int64, s *wire.Socket, m *message, from *wire.Addr) {
	slot, generation, ok := f.identify(m.callID)
	if !ok || int(slot) >= len(f.calls) || f.calls[slot].generation != generation || f.calls[slot].state == idle {
		f.tally.Strays++
		if !is(m.method, "ack") {
			f.reply(s, m, from, "481 Call/Transaction Does Not Exist", nil)
		}
		return
	}
	c := &f.calls[slot]
	switch {
	case s == c.caller.socket && s != c.called.socket:
		f.callerRequest(now, s, slot, c, m, from)
	case is(m.method, "invite"):
		f.invited(now, s, slot, c, m, from)
	case is(m.method, "ack"):
		f.acknowledged(c)
	case is(m.method, "bye"):
		f.hungUp(s, c, m, from)
	default:
		f.reply(s, m, from, "200 OK", calleeTag(slot))
	}
}

// callerRequest is a request of the server's to the caller; in these scenarios only a call that is ended from outside has any.
func (f *Fleet) callerRequest(now int64, s *wire.Socket, slot uint32, c *call, m *message, from *wire.Addr) {
	f.reply(s, m, from, "200 OK", nil)
	if is(m.method, "bye") && c.state == talking {
		if f.config.Hold < 0 {
			f.active++ // a held call was not waited for, but fail counts it as over
		}
		f.fail(now, slot, c, "the server hung up")
	}
}

func (f *Fleet) invited(now int64, s *wire.Socket, slot uint32, c *call, m *message, from *wire.Addr) {
	if c.heardInvite {
		f.tally.Duplicates++
		if len(c.response) > 0 {
			s.Send(c.response, &c.via)
		}
		return
	}
	c.heardInvite = true
	c.via = *from
	c.headers = m.appendDialogHeaders(c.headers[:0], calleeTag(slot))
	c.headers = append(append(append(c.headers, "Contact: "...), c.called.contact...), "\r\n"...)
	if f.config.OnOffer != nil {
		f.config.OnOffer(slot, m.body)
	}
	c.response = append(append(c.response[:0], "SIP/2.0 180 Ringing\r\n"...), c.headers...)
	c.response = append(c.response, "Content-Length: 0\r\n\r\n"...)
	s.Send(c.response, &c.via)
	if f.config.Ring == 0 {
		f.answer(now, slot, c)
		return
	}
	f.ring.push(now, slot, c.generation, timeToAnswer)
}

// answer sends the callee's 200 and repeats it until the ACK (RFC 3261 §13.3.1.4).
func (f *Fleet) answer(now int64, slot uint32, c *call) {
	if c.state == over || c.answered {
		return
	}
	c.answered = true
	c.response = append(append(c.response[:0], "SIP/2.0 200 OK\r\n"...), c.headers...)
	c.response = append(c.response, "User-Agent: tandem-bench\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\n"...)
	c.response = f.appendBody(c.response, slot, f.config.Answer)
	c.called.socket.Send(c.response, &c.via)
	f.again[0].push(now, slot, c.generation, againAnswer)
}

func (f *Fleet) answerAgain(now int64, slot uint32, c *call) {
	c.answerAttempt++
	if c.heardAck || c.heardBye || c.state == over || c.answerAttempt >= len(f.again) {
		return
	}
	f.tally.Resent++
	c.called.socket.Send(c.response, &c.via)
	f.again[c.answerAttempt].push(now, slot, c.generation, againAnswer)
}

// acknowledged notes the ACK. One that comes after the BYE was overtaken; one that never comes was lost, and forget counts it.
func (f *Fleet) acknowledged(c *call) {
	switch {
	case c.heardAck:
		f.tally.Duplicates++
	case c.heardBye:
		f.tally.ByeBeforeAck++
	}
	c.heardAck = true
}

func (f *Fleet) hungUp(s *wire.Socket, c *call, m *message, from *wire.Addr) {
	if c.heardBye {
		f.tally.Duplicates++
	}
	c.heardBye = true
	f.reply(s, m, from, "200 OK", nil)
	if c.state == talking && f.config.Hold != 0 {
		f.tally.EndedByServer++ // the caller has not said BYE yet
	}
}

// calleeTag is the callee's To tag of a call.
func calleeTag(slot uint32) []byte {
	return appendHex32([]byte("b"), slot*2654435761)
}
