package rtpengine

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
)

// Calls whose keys are the phones' own (SRTPPassThrough): the descriptions tell each phone the other's keys or fingerprint, payload types
// keep their numbers, and we relay packets that we cannot open. What a packet shows is its header: enough to latch, to count, to judge
// losses. Whatever would need the payload is refused with ErrEndToEnd. ICE ends here and so is not offered on; a browser speaks nothing
// else, so that it can have no part in such a call.

// ErrEndToEnd is the answer to whoever wants to hear or change what the phones have encrypted for each other.
var ErrEndToEnd = errors.New("rtpengine: the phones encrypt this call end to end, and have the only keys")

// bargain is how the other side was offered media under one policy: phones of several users may ring at once.
type bargain struct {
	policy SRTPPolicy
	toward []secrecy // by m-line
	opaque bool
	insist bool // an answer without keys is refused
}

// offeredUnder finds what a phone of a policy was offered: the latest when nothing is said, or nobody was offered that.
func (x *exchange) offeredUnder(p *SRTPPolicy) *bargain {
	if p != nil {
		if at := slices.IndexFunc(x.bargains, func(b bargain) bool { return b.policy == *p }); at >= 0 {
			return &x.bargains[at]
		}
	}
	return &x.bargains[len(x.bargains)-1]
}

// inherit takes over what phones of other policies were offered, where this exchange is the same offer given once more.
func (x *exchange) inherit(former *exchange) {
	if former == nil || former.from != x.from || former.text != x.text {
		return
	}
	mine := x.bargains[0]
	others := slices.DeleteFunc(slices.Clone(former.bargains), func(b bargain) bool { return b.policy == mine.policy || len(b.toward) != len(mine.toward) })
	x.bargains = append(others, mine)
}

// covered reports whether the section speaks of keys of its writer's, whether we could use them or not.
func (s *section) covered() bool { return encryptedRTP(s.proto) || s.dtls() || len(s.crypto) > 0 }

// covered reports whether any of the m-lines is.
func (d *description) covered() bool {
	return slices.ContainsFunc(d.sections, func(s section) bool { return s.port != 0 && s.covered() })
}

// passing decides how an offer is heard and told: under its writer's own policy and that of the other side, or as it is. Pass-through of
// either holds for the call; where the offer speaks of no keys there is nothing to pass.
func passing(d *description, own, other SRTPPolicy) (SRTPPolicy, SRTPPolicy, bool) {
	if (own == SRTPPassThrough || other == SRTPPassThrough) && d.covered() {
		return SRTPPassThrough, SRTPPassThrough, true
	}
	return own, other, false
}

// keep makes an m-line ready to be told as it is. insist: one of the sides takes no plain media. dialect is how the other side speaks.
func (l *said) keep(s *section, insist bool, dialect Dialect) error {
	switch {
	case l.theirs.manner == browser || dialect == WebRTC:
		return reject(488, 302, s.where()+"End-to-end keys (srtp = passthrough) cannot be agreed on with a browser")
	case insist && !s.covered():
		return reject(488, 302, s.where()+"Media encryption is required here")
	}
	l.theirs, l.covered = theirs{}, s.covered()
	return nil
}

// keepAnswer judges the answer to an m-line that was passed on as it was.
func (l *said) keepAnswer(s *section, offered *said, insist bool) error {
	if (insist || encryptedRTP(offered.proto) || dtlsRTP(offered.proto)) && !s.covered() {
		return reject(488, 302, "The answer is plain "+s.proto+" where media encryption was asked for")
	}
	return l.keep(s, false, Usual)
}

// keepAll makes the m-lines of an offer ready to be told as they are.
func (s *Session) keepAll(d *description, st *statement, deal *bargain, dialect Dialect) error {
	for i := range st.lines {
		if !st.lines[i].active || st.lines[i].datagrams && !deal.insist {
			continue
		}
		if err := st.lines[i].keep(&d.sections[i], deal.insist, dialect); err != nil {
			s.engine.rejected.Add(1)
			return err
		}
	}
	return nil
}

// secretLines are the lines by which two phones agree on keys, those of the session part first: they may speak for all m-lines.
func (d *description) secretLines(s *section) (out []string) {
	for _, line := range slices.Concat(d.lines, s.lines) {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "a="), ":")
		switch name {
		case "crypto", "fingerprint", "setup", "connection", "tls-id", "key-mgmt", "zrtp-hash":
			out = append(out, line)
		}
	}
	return out
}

// endToEnd reports whether the phones encrypt the audio in force for each other; mu is held.
func (s *Session) endToEnd() bool {
	x := s.inForce()
	if x == nil || !x.struck.opaque {
		return false
	}
	lines := x.said[x.from].lines
	at := slices.IndexFunc(lines, func(l said) bool { return l.active && l.kind == "audio" })
	return at >= 0 && x.covers(at)
}

// respect ends what has been listening to the phones, or talking to them, when they encrypt for each other; mu is held.
func (s *Session) respect() {
	if !s.endToEnd() {
		return
	}
	s.engine.stopRecording(s.recording)
	s.stopPlay(A)
	s.stopPlay(B)
}

// covers reports whether both sides spoke of keys of their own on an m-line.
func (x *exchange) covers(i int) bool {
	for _, st := range x.said {
		if st == nil || i >= len(st.lines) || !st.lines[i].covered {
			return false
		}
	}
	return x.struck.opaque
}

// receiveOpaque takes a packet that is not ours to open: SRTP, SRTCP, or a handshake of DTLS. What of it is readable is all that is looked at.
func (r *relay) receiveOpaque(l *leg, k *socket, src netip.AddrPort, raw *rawAddr, fit rank, b []byte) {
	var h rtpHeader
	var rate uint32
	handshake := looksDTLS(b)
	control := !handshake && (k.component == rtcp || l.mux && looksRTCP(b))
	switch {
	case handshake:
	case control:
		if len(b) < 8 || !looksMedia(b) || !looksRTCP(b) {
			r.drop(l, DropMalformed)
			return
		}
		h.ssrc = binary.BigEndian.Uint32(b[4:]) // RFC 3711 §3.4: readable, as all of the first 8 octets
	default:
		padded := len(b) > 0 && b[0]&paddingBit != 0
		if padded { // its length is encrypted
			b[0] &^= paddingBit
		}
		var ok bool
		if h, ok = parseRTP(b); !ok {
			r.drop(l, DropMalformed)
			return
		}
		if padded {
			b[0] |= paddingBit
		}
		if rate = l.rates[h.payload]; rate == 0 {
			r.drop(l, DropPayload)
			return
		}
	}
	if l.bypassed() && !control {
		l.returned(r)
	}
	if latch := &l.latch[k.component]; !latch.locked {
		if latch.advance(src, fit, h.ssrc) {
			l.lock(int(k.component), src, raw)
		} else if fit < signalled {
			r.drop(l, DropProbing)
			return
		}
	}
	switch {
	case handshake: // also while a side holds: there will be no other
		l.tally.lastSeen.Store(r.now)
		r.forward(l, int(k.component), b)
	case control:
		l.tally.rtcp.Add(1)
		r.count.rtcp++
		l.tally.lastSeen.Store(r.now)
		r.forward(l, rtcp, b)
	case l.bars&barSilence != 0:
		r.drop(l, DropBlocked) // silence cannot be written into it
	default:
		r.accept(l, &h, rate, b)
	}
}

// paddingBit is RTP's (RFC 3550 §5.1).
const paddingBit = 0x20
