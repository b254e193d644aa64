package rtpengine

import (
	"net/netip"
	"sync/atomic"

	"tandem/rtpengine/srtp"
)

// Component of a stream: RTP, and RTCP on its own port.
const (
	rtp  = 0
	rtcp = 1
)

// IP families, as indices.
const (
	v4 = 0
	v6 = 1
)

func familyOf(addr netip.Addr) int {
	if addr.Is4() || addr.Is4In6() {
		return v4
	}
	return v6
}

// leg is one side of one m-line: our sockets towards it, and who is behind them. After it was given
// to a shard, only that shard touches the fields below "owned".
type leg struct {
	// pairs is written by signalling only; the shard sees sockets by attach commands.
	pairs [2]*pair // by family; a side that is offered in both families has both

	tally   tally
	quality quality
	peer    atomic.Pointer[netip.AddrPort] // the locked source, for Stats

	// What the peer's RTCP tells; the shard writes, anyone reads.
	rtt      atomic.Uint32 // 1/65536 s, from us to the peer and back; 0 = unknown
	reported atomic.Int32  // packets that the peer misses of what it hears
	fraction atomic.Uint32 // 1/256 of them, since its report before
	window   uint32        // datagrams since windowAt; the shard's

	// owned by the shard:
	out     *leg  // where this side's media goes; nil for an endpoint
	app     *app  // what answers instead; nil for a relayed leg
	player  *app  // what a relayed leg hears or heard instead of the other side; nil when nothing ever did
	ready   bool  // signalling has said who is here
	open    bool  // this side may send, and the other may receive
	hears   bool  // this side may receive
	fixed   bool  // its packets do not say where to send to
	bars    bars  // why what this side says does not go on as it is; 0: it does
	mux     bool  // RTCP shares the RTP port
	channel uint8 // of heard

	cargo cargo // what comes

	rates    *[128]uint32  // clock by negotiated payload type, 0 = not negotiated
	events   payloads      // which of them are telephone events
	sockets  [2][2]*socket // by family and component
	latch    [2]latch      // by component
	to       [2]destination
	windowAt int64 // flood window
	trip     roundTrip
	heard    *tap      // where copies of what this side says go; nil when nobody records
	told     *tap      // and of what an app tells it
	digits   *digitEar // finds the digits of this side; nil when nobody wants them
	dubs     *dialling // digits to the other side, in place of what this one says; nil: none
	bypass   bypass
	via      *transcoder // makes another codec of what this side says; nil: it passes as it is

	feed *feeding // what feedback it takes; nil: nothing is known, and what comes passes

	renumber *renumbering // nil: the other side knows these payload types under the same numbers
	shield   *shield      // keys and transport; nil: plain RTP on ports of the leg's own
}

// setup is what an offer/answer decided for a leg. It is immutable once it went to the shard.
type setup struct {
	leg    *leg
	out    *leg
	keys   *agreement // nil: plain
	rates  *[128]uint32
	events payloads
	block  Block
	treat  Treatment
	addr   [2]address // signalled, by component; none = nowhere to send to
	from   netip.Addr // signalling source
	mux    bool
	open   bool
	hears  bool
	rearm  bool // a new description of this side: latch again
	active bool // false: the m-line is rejected, nothing passes
	wired  wired

	listener *SessionConfig // whose OnDigit is told
	side     Side

	renumber *renumbering
	via      *transcoder
	cargo    cargo
	feed     *feedTerms
}

// cargo is what the packets of a leg are to us.
type cargo uint8

const (
	readable  cargo = iota // RTP, or SRTP whose keys we have
	datagrams              // no RTP, see datagram.go
	opaque                 // SRTP whose keys the phones have, see opaque.go
)

// cargo is what a side says on its m-line; opaque where the phones have agreed on keys of their own.
func (l *said) cargo(endToEnd bool) cargo {
	switch {
	case l.datagrams:
		return datagrams
	case endToEnd:
		return opaque
	}
	return readable
}

// apply puts a decision in force.
func (l *leg) apply(s *setup, now int64) {
	l.out, l.rates, l.renumber, l.mux, l.cargo = s.out, s.rates, s.renumber, s.mux, s.cargo
	l.open, l.hears, l.ready = s.open && s.active, s.hears, s.active
	l.events, l.via = s.events, s.via
	l.feedBy(s.feed)
	l.block(s.block)
	l.fixed = s.treat.Asymmetric
	if l.cargo == opaque {
		l.dubs = nil
	}
	l.join(s)
	l.listen(s)
	if !s.rearm {
		return
	}
	l.tally.lastSeen.Store(now)
	if t := l.carrier(); t != nil && !t.own {
		return // its checks say where it is
	}
	for c := range l.latch {
		l.latch[c].arm(s.addr[c], s.from)
		if c == rtp && !l.latch[c].kept.valid() {
			l.peer.Store(nil)
		}
		kept := l.latch[c].kept
		switch {
		case kept.valid() && s.addr[c].valid():
			// l.to still leads to the peer; keep it.
		case s.addr[c].valid() && !s.treat.Wait && mayPrecede(s.addr[c].host(), s.from):
			l.to[c].set(s.addr[c].addrPort())
		default:
			l.to[c].clear()
		}
	}
	l.begin()
}

// needsPayload reports whether more of a packet than its addresses and keys changes on the way to the other side. Shard only.
func (l *leg) needsPayload() bool { return l.renumber != nil || l.via != nil }

// rekey takes the keys of an agreement. What is on its way under the key before is still taken, until the first packet under the
// new one comes: a phone begins with its new key when it has heard our answer, and that is later than here.
func (l *leg) rekey(a *agreement) {
	if l.shield == nil {
		if a == nil {
			return
		}
		l.shield = &shield{}
	}
	k := l.shield
	for c := range k.unseal {
		if a == nil {
			k.unseal[c], k.before[c], k.seal[c] = nil, nil, nil
			continue
		}
		if a.in != k.unseal[c] {
			k.before[c] = k.unseal[c]
		}
		k.unseal[c], k.seal[c] = a.in, a.out
	}
	if a == nil && k.transport == nil {
		l.shield = nil
	}
}

// shield is what stands between a leg and its side when media is not plain RTP on ports of the leg's own. Shard only.
type shield struct {
	transport *transport       // ICE, DTLS or both; nil: neither
	mid       string           // name of the m-line within a BUNDLE group
	secret    bool             // nothing passes plain: keys come from DTLS, later
	unseal    [2]*srtp.Context // opens what comes from this side, by component; nil: it is plain
	before    [2]*srtp.Context // the key before this one, until the first packet under the new one
	seal      [2]*srtp.Context // protects what goes to this side; nil: it is plain
}

// carrier is the leg's transport, or nil.
func (l *leg) carrier() *transport {
	if l.shield == nil {
		return nil
	}
	return l.shield.transport
}

// voice is what speaks to this side in place of another one: an endpoint's app, or the player of a relayed leg; nil when there is none.
func (l *leg) voice() *app {
	if l.app != nil {
		return l.app
	}
	return l.player
}

// lock makes a source the peer of a component.
func (l *leg) lock(component int, src netip.AddrPort, raw *rawAddr) {
	switch exact := l.latch[component].exact; {
	case !l.fixed:
		l.to[component].take(raw)
	case !l.to[component].valid() && exact.sameHost(pack(src)):
		l.to[component].set(exact.addrPort()) // it was not plausible before it spoke
	}
	if component == rtp {
		l.peer.Store(&src)
	}
}
