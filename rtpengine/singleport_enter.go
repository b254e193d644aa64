package rtpengine

import (
	"encoding/binary"
	"net/netip"
)

// enterSingle takes a datagram that came to the single port. From there on it is as one that came to a port of the leg's own.
func (r *relay) enterSingle(k *socket, src netip.AddrPort, raw *rawAddr, b []byte) {
	l := r.single.owner(pack(src), b, r.now)
	if l == nil {
		return
	}
	component := l.componentOf(src, b)
	door := r.single.doors[k.family][component]
	door.leg = l
	latch := &l.latch[component]
	if latch.locked {
		r.receive(door, src, raw, b)
		return
	}
	if r.receive(door, src, raw, b); latch.locked {
		if l.sockets[k.family][component] != door { // ports of its own were told to another fork
			l.to[component].socket = door
		}
		r.single.learn(l, pack(src), component, r.now)
	}
}

// componentOf tells RTCP from RTP where both come to one port (RFC 5761 §4). A handshake in a call whose keys are the phones' own has no
// such mark; there the address says it.
func (l *leg) componentOf(src netip.AddrPort, b []byte) int {
	switch {
	case l.mux || l.cargo == datagrams:
		return rtp
	case looksMedia(b):
		return index(looksRTCP(b))
	}
	at := &l.latch[rtcp]
	return index(at.exact.is(src) && !l.latch[rtp].exact.is(src))
}

// owner finds whose a datagram is; nil: nobody's, which is counted.
func (p *singlePort) owner(src address, b []byte, now int64) *leg {
	s, ok := p.slots[src]
	ssrc, known := sourceIn(b)
	if ok && s.until > now && (s.leg == nil && s.claims == 0 || known && s.known && s.ssrc == ssrc) {
		if p.count.late++; s.claims == 0 {
			p.again(s, src, now)
		}
		return nil
	}
	switch {
	case s.leg != nil:
		return s.leg
	case s.claims > 1:
		return p.among(src, ssrc, known)
	}
	return p.guess(src, b, ssrc, known, now)
}

// stray notes the address of a packet that came when nobody was expected from its host.
func (p *singlePort) stray(src address, ssrc uint32, now int64) {
	if s, ok := p.slots[src]; ok || !p.full() {
		s.stray, s.ssrc, s.known, s.until = true, ssrc, true, now+int64(quarantine)
		p.slots[src] = s
	}
}

// again has an address rest on: a phone goes on as if its call lived. Of a stray nobody knows that: it may be a phone that has moved, and whose
// signalling says so now.
func (p *singlePort) again(s slot, src address, now int64) {
	at := src
	at.port = 0
	h := p.hosts[at]
	if s.stray && h != nil && h.waits() {
		return
	}
	s.until = now + int64(quarantine)
	p.slots[src] = s
	if h != nil {
		h.left = now
	}
}

// waits reports whether somebody who has not been heard may be, from any port of the host.
func (h *host) waits() bool {
	for _, c := range h.waiting {
		if !c.leg.latch[rtp].locked {
			return true
		}
	}
	return false
}

// among finds which of several that name one address a source is of.
func (p *singlePort) among(src address, ssrc uint32, known bool) (found *leg) {
	at := src
	at.port = 0
	if h := p.hosts[at]; h != nil && known && len(h.claims) <= maxLook {
		for _, c := range h.claims {
			if l := c.leg; c.has(src) && l.quality.started && l.quality.ssrc == ssrc {
				if found != nil {
					found = nil
					break
				}
				found = l
			}
		}
	}
	if found == nil {
		p.count.ambiguous++
	}
	return found
}

func (c *claim) has(at address) bool {
	for i := range c.places {
		if c.places[i] == at {
			return true
		}
	}
	return false
}

// guess finds whose a datagram of an address is that nobody has named: of him whose source it is, or of the only one that may be heard from
// that host. Where another one is possible it is nobody's.
func (p *singlePort) guess(src address, b []byte, ssrc uint32, known bool, now int64) *leg {
	at := src
	src.port = 0
	h := p.hosts[src]
	if h == nil {
		p.count.strangers++
		return nil
	}
	if known && len(h.claims) > maxLook {
		p.count.ambiguous++
		return nil
	}
	var source, waiting *leg
	sources, waits := 0, 0
	for _, c := range h.claims {
		if known && !h.alike && c.leg.quality.started && c.leg.quality.ssrc == ssrc {
			source = c.leg
			sources++
		}
	}
	for _, c := range h.waiting {
		if !c.leg.latch[rtp].locked && c.leg.couldSay(b) {
			waiting = c.leg
			waits++
		}
	}
	control := known && looksRTCP(b)
	if known && !control {
		h.speaks(at, now)
	}
	ghosts := max(h.ghosts[0], h.ghosts[1]) > now
	quiet := !ghosts && h.rivals <= now // nobody else is likely to be heard
	switch {
	case sources == 0 && waits == 0:
		p.count.strangers++
		if known { // whoever it is, he shall not be taken for the next one who needs the host
			p.stray(at, ssrc, now)
			h.left = now
		}
		return nil
	case sources == 1 && waits == 0 && (quiet || !control): // the latch judges it
		return source
	case sources == 1 && waits == 1 && waiting == source && quiet:
		return source
	case sources == 0 && waits == 1 && quiet && (!control || !waiting.ready): // RTCP before the answer, to open a NAT: it is too early for anybody
		return waiting
	}
	if ghosts && known && !control { // it may be of one that has ended, and go on after its rest
		p.stray(at, ssrc, now)
	}
	p.count.ambiguous++
	return nil
}

// speaks notes an unknown address. As long as several of one host speak none of them is taken for who is waited for.
func (h *host) speaks(at address, now int64) {
	if at != h.talker {
		if h.talker.valid() && now-h.talked < int64(quarantine) {
			h.rivals = now + int64(quarantine)
		}
		h.talker = at
	}
	h.talked = now
}

// couldSay reports whether a datagram fits what was agreed on with a side. Before there is an agreement anything does.
func (l *leg) couldSay(b []byte) bool {
	switch {
	case !l.ready || l.cargo == datagrams:
		return true
	case !looksMedia(b):
		return l.cargo == opaque
	}
	return looksRTCP(b) || len(b) >= 12 && l.rates[b[1]&0x7f] != 0
}

// lodges reports whether the leg has the single port and no other.
func (l *leg) lodges() bool {
	for family := range l.sockets {
		if k := l.sockets[family][rtp]; k != nil && k.single {
			return true
		}
	}
	return false
}

// shared reports whether a side is heard at the single port.
func (l *leg) shared() bool { return l.lodges() || l.to[rtp].socket != nil && l.to[rtp].socket.single }

// sourceIn reads the source of RTP, or the sender of RTCP; both stand there in the clear, also under SRTP.
func sourceIn(b []byte) (ssrc uint32, known bool) {
	switch {
	case !looksMedia(b):
		return 0, false
	case looksRTCP(b):
		b = b[min(4, len(b)):]
	default:
		b = b[min(8, len(b)):]
	}
	if len(b) < 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(b), true
}
