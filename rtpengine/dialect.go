package rtpengine

import (
	"net/netip"
	"strings"
)

// Dialect is what signalling knows of how a side speaks, before that side has said a word.
type Dialect uint8

const (
	// Usual is as the side spoke before in this session; plain RTP, or SRTP by Config.SRTP, where it has not.
	Usual Dialect = iota
	// Phone is RTP, or SRTP by Config.SRTP.
	Phone
	// WebRTC is DTLS-SRTP with ICE, BUNDLE and muxed RTCP (RFC 8834, RFC 8827): a browser.
	WebRTC
	// DTLS is DTLS-SRTP on ports of its own, without ICE (RFC 5764). With OfferOptions.SRTP of SRTPRequired no plain answer is taken.
	DTLS
	// PlainICE is as Phone, on ports that it finds by ICE.
	PlainICE
)

// manner is how a side is spoken to on an m-line of an offer.
func (s *Session) manner(to Side, how Dialect, i int) manner {
	switch { // the caller is one phone; the callee is many, as long as they ring
	case to == A && s.spoke(A):
	case how == Phone:
		return asRTP
	case how == WebRTC:
		return browser
	case how == DTLS:
		return asDTLS
	case how == PlainICE:
		return withICE
	}
	for _, x := range [...]*exchange{s.latest, s.before} {
		if x == nil || x.said[to] == nil {
			continue
		}
		lines := x.said[to].lines
		if i < len(lines) && lines[i].active {
			return lines[i].theirs.manner
		}
		for n := range lines { // a new m-line is spoken as the others
			if lines[n].active {
				return lines[n].theirs.manner
			}
		}
	}
	return asRTP
}

// spoke reports whether a side has given a description.
func (s *Session) spoke(side Side) bool {
	return s.latest != nil && s.latest.said[side] != nil || s.before != nil && s.before.said[side] != nil
}

// feeds reports whether a side has spoken a profile with feedback (RFC 4585). Many phones that do not refuse an offer of it.
func (s *Session) feeds(side Side) bool {
	for _, x := range [...]*exchange{s.latest, s.before} {
		if x == nil || x.said[side] == nil {
			continue
		}
		for _, l := range x.said[side].lines {
			if l.active && strings.HasSuffix(l.proto, "F") {
				return true
			}
		}
	}
	return false
}

// reach makes sure that a side of an m-line can be heard: on the ICE port, or on ports of its own. It gives the port to write as the
// m-line's, and the ports of the candidates by family. x is where the side is expected from; nil when it is told nothing yet.
func (s *Session) reach(i int, side Side, m manner, family int, x *expected) (port uint16, ports [2]uint16, err error) {
	l := s.lines[i]
	if m == browser {
		if l.legs[side] == nil {
			l.legs[side] = &leg{}
		}
		ports, err = s.engine.iceNumbersAt(s.site, s.shard)
		return ports[family], ports, err
	}
	if l.legs[side] == nil {
		l.legs[side] = &leg{}
	}
	ports[family], err = s.engine.station(s.shard, s.site, l.legs[side], family, m, x)
	return ports[family], ports, err
}

// place writes an m-line of a description for a side, at ports that reach has given.
func (w *wires) place(view *facingSection, i int, m manner, setup string, ports [2]uint16, peer netip.Addr) {
	view.toward = m
	if m == asRTP {
		return
	}
	if m.dtls() {
		view.crypto = nil
	}
	local := func(family int) netip.Addr { return w.engine.localAt(w.site, family, peer) }
	view.wiring = w.attributes(i, m, setup, local, ports, view.mux && setup != actpass || m == browser)
}

// actpass is our word on DTLS in offers (RFC 8842 §5.2); in answers it is one of the others.
const actpass = "actpass"

// part is our word on DTLS in an answer to them.
func (t *theirs) part() string {
	if t.active {
		return "active"
	}
	return "passive"
}

// offered writes an m-line of an offer to a side: the profile, and our end of ICE and DTLS.
func (s *Session) offered(view *facingSection, i int, to Side, m manner, heard *said, mid string, ports [2]uint16, dst netip.Addr) {
	view.phones = heard.theirs.manner == browser && m != browser
	if heard.theirs.manner.dtls() && !m.dtls() && !s.feeds(to) { // its profile says nothing of the other side
		view.proto = strings.TrimSuffix(view.proto, "F")
	}
	if m == asRTP {
		return
	}
	s.wires[to].offering(i, m, mid)
	switch m {
	case browser:
		view.proto, view.mux = "UDP/TLS/RTP/SAVPF", true
	case asDTLS:
		view.proto = "UDP/TLS/RTP/SAVP"
		if s.feeds(to) {
			view.proto += "F"
		}
	}
	s.wires[to].place(view, i, m, actpass, ports, dst)
}

// preamble gives the lines of the session part of a description for a side.
func (w *wires) facing(view *facing) {
	var lines []int
	for i := range view.sections {
		view.sections[i].single = view.sections[i].port == w.engine.cfg.SinglePort
		if view.sections[i].port != 0 && view.sections[i].toward != asRTP {
			lines = append(lines, i)
		}
	}
	view.preamble = w.preamble(lines, func(i int) manner { return view.sections[i].toward })
}

// noPorts reports whether nothing but DTLS on the ICE port was offered to a leg's side.
func (l *leg) noPorts() bool { return l.pairs == [2]*pair{} }

// reach is Session's for an endpoint.
func (p *Endpoint) reach(i int, m manner, family int, x *expected) (port uint16, ports [2]uint16, err error) {
	if m == browser {
		if p.legs[i] == nil {
			p.legs[i] = &leg{app: newApp()}
		}
		ports, err = p.engine.iceNumbers(p.shard)
		return ports[family], ports, err
	}
	if p.legs[i] == nil {
		p.legs[i] = &leg{app: newApp()}
	}
	ports[family], err = p.engine.station(p.shard, nil, p.legs[i], family, m, x)
	return ports[family], ports, err
}
