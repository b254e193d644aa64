package rtpengine

import (
	"net/netip"
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
func (e *Engine) acceptable(d *description) error {
	code, text, active := 0, "", 0
	for i := range d.sections {
		s := &d.sections[i]
		if s.port == 0 {
			continue
		}
		why, words := e.refusal(s)
		if why == 0 {
			active++
		} else if code == 0 {
			code, text = why, words
		}
	}
	if active == 0 && code != 0 {
		e.rejected.Add(1)
		return reject(488, code, text)
	}
	return nil
}

// refusal is the section's own, and what Config.SRTP asks for.
func (e *Engine) refusal(s *section) (code int, text string) {
	if code, text = s.refusal(); code == 0 && e.cfg.SRTP == SRTPRequired && s.secrecy(SRTPRequired) == plain {
		return 302, "Media encryption is required here (RTP/SAVP)"
	}
	return code, text
}

// hear keeps what a description says about its writer, and nothing of its text: descriptions are long,
// and calls are many.
func (e *Engine) hear(d *description, src netip.Addr) (*statement, error) {
	src = src.Unmap().WithZone("")
	st := &statement{from: src, lines: make([]said, len(d.sections))}
	var first netip.Addr
	active := 0
	for i := range d.sections {
		s := &d.sections[i]
		l := &st.lines[i]
		*l = said{mline: s.kind + " 0 " + s.proto + " " + strings.Join(s.formats, " "), proto: strings.Clone(s.proto), dir: s.dir, mux: s.mux}
		if code, _ := e.refusal(s); code != 0 || s.port == 0 || active == maxActive {
			continue
		}
		active++
		l.active = true
		l.codecs = s.codecs()
		l.secrecy = s.secrecy(e.cfg.SRTP)
		if s.noReceive {
			l.dir &^= recvonly
		}
		l.addr = s.places()
		if !first.IsValid() {
			first = s.addr
		}
	}
	var err error
	st.family, err = e.familyFor(first, src)
	return st, err
}

// places are the signalled addresses of RTP and RTCP. A writer that gave a host name or 0.0.0.0 has
// none: it is sent to only after it spoke.
func (s *section) places() (addr [2]netip.AddrPort) {
	if s.addr.IsValid() {
		addr[rtp] = netip.AddrPortFrom(s.addr, s.port)
	}
	if s.rtcpAddr.IsValid() && s.rtcpPort != 0 {
		addr[rtcp] = netip.AddrPortFrom(s.rtcpAddr, s.rtcpPort)
	}
	return addr
}

// pad adds the m-lines that a short answer left out, as rejected (RFC 3264 §6 wants one for each).
func (d *description) pad(offered *statement) {
	for _, l := range offered.lines[len(d.sections):] {
		s, _ := parseMediaLine(l.mline)
		d.sections = append(d.sections, s)
	}
}
