package rtpengine

import (
	"net/netip"
	"slices"
	"strings"
)

// parse reads a description; what is none is refused with 400.
func (e *Engine) parse(sdp []byte) (*description, error) {
	d, err := parseSDP(sdp)
	if err != nil {
		e.rejected.Add(1)
		return nil, reject(400, 399, err.Error())
	}
	return d, nil
}

// acceptable refuses an offer of which nothing can be served: 488 with the first reason
// (RFC 3261 §21.4.26).
func (e *Engine) acceptable(d *description, p SRTPPolicy) error {
	code, text, active := 0, "", 0
	for i := range d.sections {
		s := &d.sections[i]
		if s.port == 0 {
			continue
		}
		why, words := s.refused(p)
		if why == 0 {
			active++
		} else if code == 0 {
			code, text = why, s.where()+words
		}
	}
	if active == 0 && code != 0 {
		e.rejected.Add(1)
		return reject(488, code, text)
	}
	return nil
}

// refused is refusal, and what its writer's policy asks for.
func (s *section) refused(p SRTPPolicy) (code int, text string) {
	if code, text = s.refusal(); code == 302 && p == SRTPPassThrough && encryptedRTP(s.proto) && len(s.crypto) > 0 {
		return 0, "" // whether the keys are good is for the other phone to say
	}
	if code == 0 && p == SRTPRequired && s.secrecy(SRTPRequired) == plain {
		return 302, "Media encryption is required here (RTP/SAVP)"
	}
	return code, text
}

// hear keeps what a description says about its writer, and nothing of its text: descriptions are long,
// and calls are many.
func (e *Engine) hear(d *description, src netip.Addr, p SRTPPolicy) (*statement, error) {
	src = src.Unmap().WithZone("")
	st := &statement{from: src, lines: make([]said, len(d.sections))}
	bundle := d.bundle()
	var first netip.Addr
	active := 0
	for i := range d.sections {
		s := &d.sections[i]
		l := &st.lines[i]
		*l = said{
			mline: intern(s.kind + " 0 " + s.proto + " " + strings.Join(s.formats, " ")), kind: intern(s.kind), proto: intern(s.proto), dir: s.dir, mux: s.mux,
			extmap: s.extmap, rsize: s.rsize,
		}
		if code, _ := s.refused(p); code != 0 || s.port == 0 || active == maxActive {
			continue
		}
		active++
		l.active = true
		if l.datagrams = s.datagrams(); !l.datagrams {
			l.codecs, l.ptime = s.codecs(), s.packetTime()
			l.feedback, l.most = s.feedback(), d.bandwidth(s)
		}
		l.secrecy = s.secrecy(p)
		if s.noReceive {
			l.dir &^= recvonly
		}
		if l.theirs = s.theirs(bundle); l.theirs.manner == browser {
			continue // its checks will say where it is
		}
		e.reach(s)
		l.addr = s.places()
		if !first.IsValid() {
			first = s.addr
		}
	}
	var err error
	st.family, err = e.familyFor(first, src)
	return st, err
}

// reach moves a section to an alternative address of its writer's when we have none of the first one's family (RFC 6947 §3).
func (e *Engine) reach(s *section) {
	if !s.addr.IsValid() || e.pools[familyOf(s.addr)] != nil {
		return
	}
	for _, a := range s.altc {
		if e.pools[familyOf(a.Addr())] != nil {
			s.addr, s.rtcpAddr, s.port, s.rtcpPort = a.Addr(), a.Addr(), a.Port(), 0
			if a.Port() < 65535 {
				s.rtcpPort = a.Port() + 1
			}
			return
		}
	}
}

// places are the signalled addresses of RTP and RTCP. A writer that gave a host name or 0.0.0.0 has
// none: it is sent to only after it spoke.
func (s *section) places() (addr [2]address) {
	if s.addr.IsValid() {
		addr[rtp] = pack(netip.AddrPortFrom(s.addr, s.port))
	}
	if s.rtcpAddr.IsValid() && s.rtcpPort != 0 {
		addr[rtcp] = pack(netip.AddrPortFrom(s.rtcpAddr, s.rtcpPort))
	}
	return addr
}

// pad adds m-lines that a description leaves out, as rejected (RFC 3264 §6 and §8 want one for each that there was).
func (d *description) pad(to int, lines []said) {
	for i := len(d.sections); i < to; i++ {
		mline := "audio 0 RTP/AVP 0"
		if i < len(lines) {
			mline = lines[i].mline
		}
		s, _ := parseMediaLine(mline)
		d.sections = append(d.sections, s)
	}
}

// limit takes from the lines of an offer what the other side may not be offered, and gives the places of the codecs that it may, by line. An
// offer of which nothing is left is refused.
func (s *Session) limit(d *description, st *statement, o *OfferOptions) ([][]int, error) {
	chosen := make([][]int, len(st.lines))
	left, why := 0, error(nil)
	for i := range st.lines {
		l := &st.lines[i]
		if !l.active {
			continue
		}
		code, text := 0, ""
		if l.datagrams {
			if s.insists(i) {
				code, text = 302, "Media was encrypted here, and "+l.proto+" cannot be"
			}
		} else if chosen[i] = s.engine.told(l, o); chosen[i] == nil {
			code, text = 305, "None of its codecs is allowed here"
		}
		if code == 0 {
			left++
			continue
		}
		l.active = false
		if why == nil {
			why = reject(488, code, d.sections[i].where()+text)
		}
	}
	if left == 0 && why != nil {
		s.engine.rejected.Add(1)
		return nil, why
	}
	return chosen, nil
}

// told gives the places of the codecs of an m-line that the other side may be told, after those that are not to count are taken out. Nil: there
// is nothing left of the line. None: what is left may be transcoded only.
func (e *Engine) told(l *said, o *OfferOptions) []int {
	if o.Strip != nil {
		var left []codec
		for _, i := range o.Strip.choose(l.kind, l.codecs) {
			left = append(left, l.codecs[i])
		}
		l.codecs = left
	}
	chosen := e.cfg.Codecs.choose(l.kind, l.codecs)
	switch {
	case len(chosen) == 0:
		return nil
	case o.Codecs == nil:
		return chosen
	}
	allowed := o.Codecs.choose(l.kind, l.codecs)
	return slices.DeleteFunc(chosen, func(i int) bool { return !slices.Contains(allowed, i) })
}

// insists reports whether a side has agreed to an m-line on the condition that it is encrypted.
func (s *Session) insists(i int) bool {
	return i < len(s.lines) && slices.ContainsFunc(s.lines[i].rings[:], func(g *keyring) bool { return g != nil && g.level == strict })
}
