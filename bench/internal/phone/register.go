//go:build linux

package phone

import (
	"strconv"

	"tandem/bench/internal/wire"
)

// register sends a REGISTER of user i; Refresh uses the cached nonce when there is one.
func (f *Fleet) register(now int64, i int, kind Kind, counted bool) {
	u := &f.users[i]
	if u.registering {
		f.tally.fail("driver: the user's last REGISTER is not over")
		return
	}
	u.registering, u.probing, u.counted, u.challenged, u.started = true, kind == Probe, counted, 0, now
	f.active++
	f.sendRegister(now, i, kind == Refresh && u.www.usable())
}

func (f *Fleet) sendRegister(now int64, i int, credentials bool) {
	u := &f.users[i]
	u.registerCSeq++
	u.attempt = 0
	out := u.last[:0]
	out = append(append(out, "REGISTER sip:"...), f.config.Domain...)
	out = append(append(out, " SIP/2.0\r\nVia: SIP/2.0/UDP "...), u.socket.Host...)
	out = append(out, ";rport;branch=z9hG4bK"...)
	out = appendHex32(f.appendID(out, 'r', uint32(i), 0), u.registerCSeq)
	out = append(append(out, "\r\nMax-Forwards: 70\r\nFrom: <sip:"...), u.name...)
	out = append(append(out, '@'), f.config.Domain...)
	out = appendHex32(append(out, ">;tag="...), uint32(i))
	out = append(append(out, "\r\nTo: <sip:"...), u.name...)
	out = append(append(out, '@'), f.config.Domain...)
	out = f.appendID(append(out, ">\r\nCall-ID: "...), 'r', uint32(i), 0)
	out = strconv.AppendUint(append(out, "@bench\r\nCSeq: "...), uint64(u.registerCSeq), 10)
	out = append(append(out, " REGISTER\r\nContact: "...), u.contacts...)
	out = strconv.AppendInt(append(out, "\r\nExpires: "...), int64(f.config.Expires), 10)
	out = append(out, "\r\nUser-Agent: tandem-bench\r\n"...)
	if credentials {
		uri := append([]byte("sip:"), f.config.Domain...)
		out = u.www.append(out, "Authorization", "REGISTER", uri, u, f.config.Algorithm)
	}
	u.last = append(out, "Content-Length: 0\r\n\r\n"...)
	u.socket.Send(u.last, &f.server)
	f.again[0].push(now, uint32(i), u.registerCSeq, againRegister)
}

func (f *Fleet) registerAgain(now int64, t timer) {
	u := &f.users[t.slot]
	if !u.registering || u.registerCSeq != t.generation {
		return
	}
	u.attempt++
	if u.attempt >= len(f.again) {
		f.registered(u, "REGISTER without an answer")
		return
	}
	f.tally.Resent++
	u.socket.Send(u.last, &f.server)
	f.again[u.attempt].push(now, t.slot, t.generation, againRegister)
}

func (f *Fleet) registerResponse(now int64, m *message) {
	slot, _, ok := f.identify(m.callID)
	if !ok || int(slot) >= len(f.users) {
		f.tally.Strays++
		return
	}
	u := &f.users[slot]
	if !u.registering || m.cseq != u.registerCSeq {
		f.tally.Duplicates++
		return
	}
	switch {
	case m.status < 200:
	case m.status < 300:
		if u.counted {
			f.tally.latency.Add(now - u.started)
		}
		u.registered = true
		f.registered(u, "")
	case m.status == 401 && u.probing:
		f.registered(u, "")
	case m.status == 401 && u.challenged < 2 && u.www.take(m, f.config.Algorithm):
		u.challenged++
		f.tally.Challenged++
		f.sendRegister(now, int(slot), true)
	default:
		f.registered(u, "REGISTER answered "+strconv.Itoa(m.status))
	}
}

// registered ends a registration attempt; cause is "" when it went well.
func (f *Fleet) registered(u *user, cause string) {
	u.registering = false
	f.active--
	if cause != "" {
		f.tally.fail(cause)
		return
	}
	f.tally.Done++
	if u.counted {
		f.tally.Counted++
	}
}

// Registered is how many users have a binding.
func (f *Fleet) Registered() (n int) {
	for i := range f.users {
		if f.users[i].registered {
			n++
		}
	}
	return n
}

// reply answers a request that belongs to no call of ours, or a BYE.
func (f *Fleet) reply(s *wire.Socket, m *message, to *wire.Addr, line string, tag []byte) {
	out := append(s.Buffer(), "SIP/2.0 "...)
	out = append(append(out, line...), "\r\n"...)
	if tag == nil {
		tag = []byte("bench")
	}
	out = m.appendDialogHeaders(out, tag)
	s.Push(append(out, "Content-Length: 0\r\n\r\n"...), to)
}
