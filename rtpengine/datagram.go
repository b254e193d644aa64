package rtpengine

import "net/netip"

// Media that is no RTP is relayed as the datagrams that it is: T.38 fax over UDPTL, floor control (BFCP). There is no RTCP and nothing to look at in
// a packet, so a source that fits becomes the peer by three datagrams in a row whatever they hold. Their own limits keep what
// takes such a way for something else from being worth it.
const (
	// datagramBytes is above what T38FaxMaxDatagram allows to any fax, with redundancy, and above a path's MTU.
	datagramBytes = 1600
	// datagramRate is the most in a second: fax sends 50 to 100, with bursts.
	datagramRate = 500
)

// receiveDatagram takes one of a leg of datagrams.
func (r *relay) receiveDatagram(l *leg, k *socket, src netip.AddrPort, raw *rawAddr, fit rank, b []byte) {
	switch {
	case k.component != rtp || len(b) == 0:
		r.drop(l, DropMalformed)
		return
	case len(b) > datagramBytes:
		r.drop(l, DropOversize)
		return
	case l.window > datagramRate:
		r.drop(l, DropFlood)
		return
	}
	if latch := &l.latch[rtp]; !latch.locked {
		if latch.advance(src, fit, 0) {
			l.lock(rtp, src, raw)
		} else if fit < signalled {
			r.drop(l, DropProbing)
			return
		}
	}
	l.tally.packets.Add(1)
	l.tally.bytes.Add(uint64(len(b)))
	r.count.packets++
	r.count.bytes += uint64(len(b))
	l.tally.lastSeen.Store(r.now)
	if !l.open {
		r.drop(l, DropHold)
		return
	}
	if l.bars&^barEvents != 0 {
		r.drop(l, DropBlocked)
		return
	}
	l.out.tally.lastSeen.Store(r.now) // who receives a page of a fax says nothing for minutes
	r.forward(l, rtp, b)
}
