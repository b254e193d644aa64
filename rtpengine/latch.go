package rtpengine

import "net/netip"

// latch decides whether a datagram may be this side's. It goes signalled -> probing -> locked and
// stays locked until the next offer/answer:
//
//   - signalled: nothing has come yet. Only the signalled address, its IP on another port, or the IP
//     that the signalling came from (a phone behind NAT) are looked at at all.
//   - probing: valid packets of one source and one SSRC have begun to come.
//   - locked: three in a row came; that ip:port is the peer, every other source is dropped.
//
// A better-ranked source is never disturbed by a worse one, so whoever merely shares the phone's IP
// cannot keep the phone itself from being locked.
type latch struct {
	source    address // the peer when locked, else whose streak it is
	exact     address // as the SDP says
	kept      address // the peer locked before this offer/answer, when its SDP did not move
	signalled address // where its signalling came from, without a port

	ssrc   uint32
	streak uint8
	missed uint8 // worse-ranked packets since the streak's own last one
	rank   rank
	locked bool
}

// rank is how well a source fits; foreign ones get nothing and give nothing.
type rank uint8

const (
	foreign   rank = iota
	nearby         // IP of the signalling
	sameHost       // IP of the SDP, another port
	signalled      // the SDP's ip:port, or the peer known from before
)

// lockAfter is how many valid packets in a row make a source the peer.
const lockAfter = 3

// patience is how many worse-ranked packets in a row it takes to give up a better source that fell silent.
const patience = 100

// arm starts over for new signalling. A peer that is locked is kept as a first-class candidate when
// the side's description still names the same place: a refresh then costs no packet.
func (l *latch) arm(exact address, from netip.Addr) {
	next := latch{exact: exact, signalled: packHost(from)}
	if same := next.exact == l.exact && next.signalled == l.signalled; same {
		next.kept = l.kept
		if l.locked {
			next.kept = l.source
		}
	}
	*l = next
}

// judge ranks a source. A locked latch knows one source only.
func (l *latch) judge(from netip.AddrPort) rank {
	if l.locked {
		if l.source.is(from) {
			return signalled
		}
		return foreign
	}
	src := pack(from)
	switch {
	case src == l.exact || src == l.kept:
		return signalled
	case src.sameHost(l.exact):
		return sameHost
	case src.sameHost(l.signalled):
		return nearby
	}
	return foreign
}

// advance counts a valid packet of a source that judge did not call foreign, on a latch not yet
// locked; true when this one locks it.
func (l *latch) advance(from netip.AddrPort, r rank, ssrc uint32) bool {
	src := pack(from)
	if l.streak > 0 && (src != l.source || ssrc != l.ssrc) {
		if l.missed++; r < l.rank && l.missed < patience {
			return false
		}
		l.streak = 0
	}
	l.source, l.rank, l.ssrc, l.missed = src, r, ssrc, 0
	if l.streak++; l.streak < lockAfter {
		return false
	}
	l.locked = true
	return true
}

// mayPrecede reports whether media may leave for an address from signalling alone, before anything
// came from it. An address that the signalling's own place does not make plausible gets nothing
// until it has spoken: that is what keeps a forged SDP from aiming our packets at a stranger inside
// another network, and a NATed phone's private address from being tried in ours.
func mayPrecede(addr, from netip.Addr) bool {
	if !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() || addr == broadcast {
		return false
	}
	if !from.IsValid() || addr == from {
		return true
	}
	return addr.Is4() == from.Is4() && reach(addr) >= reach(from)
}

// reach orders addresses by how far they can be reached: this host, this link, this site, everywhere.
func reach(addr netip.Addr) int {
	switch {
	case addr.IsLoopback():
		return 0
	case addr.IsLinkLocalUnicast():
		return 1
	case addr.IsPrivate() || sharedSpace.Contains(addr):
		return 2
	}
	return 3
}

// sharedSpace is carrier-grade NAT's (RFC 6598).
var sharedSpace = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 0, 0}), 10)

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
