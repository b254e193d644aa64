package rtpengine

import (
	"net/netip"
	"slices"
)

const (
	// maxAsked bounds the hosts that one side was offered the single port at and that may speak before they answer: its forks.
	maxAsked = 4
	// maxLook bounds the legs that are looked at for whose the source of a packet from an unknown address is.
	maxLook = 256
	// maxRested bounds the addresses of dead calls, beyond four for each that lives; what dies then is not remembered.
	maxRested = 1 << 16
	// hostMemory is how long a host with no call is remembered, and maxHosts how many are: what it has answered tells what it will.
	hostMemory = 600 * int64(1e9)
	maxHosts   = 1 << 16
)

// singlePort is where the media of many calls is heard, on one UDP port for each address family (Config.SinglePort): RTP and RTCP, plain or
// under keys by SDES. A packet is its whose address it comes from. Before an address has been heard it is expected: a side's
// description names it, and who is behind a NAT comes from the host of his signalling. What two calls could own is nobody's: it is counted and
// dropped. Signalling asks here before it tells a phone the port, so that such calls get ports of their own.
//
// It belongs to the shard.
type singlePort struct {
	doors  [2][2]*socket // the port's sockets as legs have them, by family and component; nil where not bound
	slots  map[address]slot
	hosts  map[address]*host // port 0
	claims map[*leg]*claim
	count  singleCount
}

// slot is what is known of an address.
type slot struct {
	leg    *leg   // whose it is; nil: nobody's, or more than one's
	claims int32  // how many expect it
	ssrc   uint32 // of the stream that ended here
	known  bool   // ssrc is
	of     *leg   // that ended
	stray  bool   // it is of nobody that was ever expected
	until  int64  // engine ns; it rests until then, since packets of the dead call still arrive
}

// host is what is known of one.
type host struct {
	claims  []*claim // that name it in any way
	waiting []*claim // of those, who may be heard from any of its ports until they are locked; some are locked already
	ghosts  [2]int64 // until when one that was never heard still may be, engine ns; the second of those that needed the host
	plain   bool     // its descriptions name where its media comes from
	various bool     // and another address for each call, as far as is known
	last    address  // that one of them named

	talker address // unknown, from which RTP came last
	talked int64   // when, engine ns
	rivals int64   // until when more than one unknown address may be speaking, engine ns
	ssrc   uint32  // of the leg that was locked last
	heard  bool    // there was one
	alike  bool    // two had the same: a source proves nothing here

	left int64 // when a call with it ended or a dead one was heard, engine ns
	seen int64 // when signalling last spoke of it, engine ns
}

// claim is what a leg expects.
type claim struct {
	leg    *leg
	said   [2]address         // that its side's description names
	from   address            // host of its signalling
	asked  [maxAsked]address  // hosts that were offered the port and have not answered, the latest first
	needy  bool               // it can be heard only from hosts
	narrow bool               // it is not expected from a host, since another one needs that
	ssrc   uint32             // when it was locked
	places [4]address         // by which slots know it
	listed [maxListed]address // hosts that know it
}

// maxListed is how many hosts one claim may name: of its places, its signalling, and its forks.
const maxListed = 4 + 1 + maxAsked

// expected is what signalling knows of where a side's media will come from when a port is chosen for it.
type expected struct {
	addr [2]address // that its description names
	from netip.Addr // where its signalling is; invalid when that is unknown
	said bool       // there is a description
}

// named reports whether a description can be taken at its word: it names an address that may be right, see mayPrecede.
func named(addr address, from netip.Addr) bool { return addr.valid() && mayPrecede(addr.host(), from) }

// admit says whether a leg may be told the port, and then expects it there.
func (p *singlePort) admit(l *leg, family int, x *expected, now int64) ownPorts {
	c := p.claims[l]
	if why := p.judge(c, family, x, now); why != onSingle {
		p.count.detours[why]++
		return why
	}
	if c == nil {
		c = &claim{leg: l}
		if p.claims == nil {
			p.begin()
		}
		p.claims[l] = c
		p.count.admitted++
		if x.said {
			c.said, c.from, c.needy = x.addr, packHost(x.from), !named(x.addr[rtp], x.from)
		}
	}
	if !x.said && x.from.IsValid() {
		at := packHost(x.from)
		if !slices.Contains(c.asked[:], at) {
			copy(c.asked[1:], c.asked[:])
			c.asked[0] = at
		}
		c.needy = c.needy || !p.host(at, now).plain
	}
	p.place(c, now)
	p.open(l, family)
	return onSingle
}

// open has a leg send from the port, unless ports of its own have been told to another fork.
func (p *singlePort) open(l *leg, family int) {
	for component, door := range p.doors[family] {
		if l.sockets[family][component] == nil {
			l.sockets[family][component] = door
		}
	}
}

// resume expects a leg that another engine has had; false where another one has its address. Its latches are set.
func (p *singlePort) resume(l *leg, family int, at *placing, now int64) bool {
	if p.claims == nil {
		p.begin()
	}
	c := p.claims[l]
	if c == nil {
		c = &claim{leg: l, said: at.addr, from: at.from, needy: !named(at.addr[rtp], at.from.host())}
	}
	for _, heard := range [...]address{l.latch[rtp].source, l.latch[rtp].kept} {
		if s, ok := p.slots[heard]; ok && heard.valid() && s.claims > 0 && s.leg != l {
			return false
		}
	}
	p.claims[l] = c
	p.place(c, now)
	p.open(l, family)
	return true
}

func (p *singlePort) begin() {
	p.slots, p.hosts, p.claims = make(map[address]slot), make(map[address]*host), make(map[*leg]*claim)
}

// judge says why a leg could not be told from others. c is its claim, nil when it has none.
func (p *singlePort) judge(c *claim, family int, x *expected, now int64) ownPorts {
	if p.doors[family][rtp] == nil {
		return ownFamily
	}
	h := p.hosts[packHost(x.from)]
	if !x.said {
		switch {
		case h == nil:
			return onSingle
		case !h.various && (h.others(c) || h.rests(now)):
			return ownAddress
		case h.contended(c, !h.plain, now):
			return ownHost
		}
		return onSingle
	}
	at, plausible := x.addr[rtp], named(x.addr[rtp], x.from)
	if s, ok := p.slots[at]; ok && at.valid() {
		others := int(s.claims)
		if c != nil && slices.Contains(c.places[:], at) {
			others--
		}
		switch {
		case others > 0 && (plausible || s.leg != nil && s.leg.latch[rtp].locked && s.leg.latch[rtp].source == at):
			return ownAddress
		case plausible && s.until > now && (c == nil || s.of != c.leg):
			return ownResting
		}
	}
	switch {
	case h == nil:
	case plausible && !h.various && (h.last == at || !h.last.valid()) && (h.others(c) || h.rests(now)):
		return ownAddress // somebody else who was told the port may speak from there, too
	case !plausible && h.contended(c, true, now):
		return ownHost
	}
	return onSingle
}

// others reports whether another one than c names the host.
func (h *host) others(c *claim) bool {
	return slices.ContainsFunc(h.claims, func(o *claim) bool { return o != c })
}

// rests reports whether a call with the host ended only just now.
func (h *host) rests(now int64) bool { return h.left > 0 && now-h.left < int64(quarantine) }

// contended reports whether somebody else may be heard from any port of the host, such that c could not be told from him: one of the two needs it.
func (h *host) contended(c *claim, needy bool, now int64) bool {
	if h.ghosts[1] > now || needy && h.ghosts[0] > now {
		return true
	}
	return slices.ContainsFunc(h.waiting, func(o *claim) bool { return o != c && !o.leg.latch[rtp].locked && (needy || o.needy) })
}

// host finds or begins what is known of a host.
func (p *singlePort) host(at address, now int64) *host {
	h := p.hosts[at]
	if h == nil {
		h = &host{plain: reach(at.host()) < reachable} // no NAT between us and who is in our own network
		p.hosts[at] = h
	}
	h.seen = now
	return h
}

// reachable is reach's word for public addresses.
const reachable = 3

// expect follows what an offer/answer has decided for a leg. It is called after leg.apply.
func (p *singlePort) expect(s *setup, now int64) {
	if p.doors == [2][2]*socket{} || !s.active || !s.rearm {
		return
	}
	at, plausible := s.addr[rtp], named(s.addr[rtp], s.from)
	if s.from.IsValid() {
		p.note(packHost(s.from), at, plausible, now)
	}
	c := p.claims[s.leg]
	if c == nil {
		return
	}
	c.said, c.from, c.narrow = s.addr, packHost(s.from), false
	if s.mux {
		c.said[rtcp] = address{}
	}
	if c.needy = !plausible; c.from.valid() {
		h := p.host(c.from, now)
		contended := h.contended(c, c.needy, now)
		c.narrow = plausible && contended
		if p.taken(c, now) {
			h.various = false
			p.count.clashes++
		} else if c.needy && contended {
			p.count.clashes++
		}
	}
	p.place(c, now)
}

// note remembers how who is at a host speaks of where he is.
func (p *singlePort) note(from, at address, plausible bool, now int64) {
	if p.hosts == nil {
		p.begin()
	}
	h := p.host(from, now)
	h.plain = plausible
	if plausible {
		h.various = h.various || h.last.valid() && h.last != at
		h.last = at
	}
}

// taken reports whether another call has the address that a description names, or had it a moment ago.
func (p *singlePort) taken(c *claim, now int64) bool {
	at := c.said[rtp]
	s, ok := p.slots[at]
	if !ok || !at.valid() {
		return false
	}
	others := int(s.claims)
	if slices.Contains(c.places[:], at) {
		others--
	}
	return others > 0 || s.until > now && s.of != c.leg
}

// learn notes the address that a latch has locked.
func (p *singlePort) learn(l *leg, src address, component int, now int64) {
	c := p.claims[l]
	if c == nil {
		return
	}
	was := c.ssrc
	p.place(c, now)
	if src.port = 0; component == rtcp {
		return
	}
	c.ssrc = l.quality.ssrc
	if h := p.hosts[src]; h != nil {
		h.alike = h.alike || h.heard && h.ssrc == c.ssrc && was != c.ssrc
		h.ssrc, h.heard, h.talker = c.ssrc, true, address{}
	}
}

// leave ends what a leg expects. What was heard from rests, and so do hosts from which it may yet be heard.
func (p *singlePort) leave(l *leg, now int64) {
	c := p.claims[l]
	if c == nil {
		return
	}
	for _, at := range c.listed {
		if h := p.hosts[at]; h != nil {
			h.left = now
			if c.waitsFor(at) && !l.latch[rtp].locked {
				h.ghosts[index(c.needy)] = now + int64(quarantine)
			}
		}
	}
	delete(p.claims, l)
	p.move(c, [4]address{}, now)
	p.list(c, [maxListed]address{}, now)
	for family := range p.doors {
		for component, door := range p.doors[family] {
			if door != nil && l.sockets[family][component] == door {
				l.sockets[family][component] = nil
			}
		}
	}
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

// waitsFor reports whether a leg may be heard from any port of a host, as long as it is not locked.
func (c *claim) waitsFor(at address) bool {
	if !at.valid() {
		return false
	}
	return at == c.from && !c.narrow || at != c.from && slices.Contains(c.asked[:], at)
}

// place tells slots and hosts what a claim expects now.
func (p *singlePort) place(c *claim, now int64) {
	var places [4]address
	var listed [maxListed]address
	n := 0
	for component := range c.said {
		latch := &c.leg.latch[component]
		heard := latch.kept
		if latch.locked {
			heard = latch.source
		}
		for _, at := range [...]address{c.said[component], heard} {
			if at.valid() && at.port != 0 && !slices.Contains(places[:], at) {
				places[n] = at
				n++
			}
		}
	}
	n = 0
	add := func(at address) {
		if at.port = 0; at.valid() && !slices.Contains(listed[:], at) {
			listed[n] = at
			n++
		}
	}
	for _, at := range places {
		add(at)
	}
	add(c.from)
	for _, at := range c.asked {
		add(at)
	}
	p.list(c, listed, now)
	p.move(c, places, now)
}

// list names a claim at hosts.
func (p *singlePort) list(c *claim, next [maxListed]address, now int64) {
	same := func(o *claim) bool { return o == c }
	for _, at := range c.listed {
		if h := p.hosts[at]; h != nil && at.valid() {
			if !slices.Contains(next[:], at) {
				h.claims = slices.DeleteFunc(h.claims, same)
			}
			h.waiting = slices.DeleteFunc(h.waiting, same)
		}
	}
	for _, at := range next {
		if !at.valid() {
			continue
		}
		h := p.host(at, now)
		if !slices.Contains(c.listed[:], at) {
			h.claims = append(h.claims, c)
		}
		if c.waitsFor(at) && !c.leg.latch[rtp].locked {
			h.waiting = append(h.waiting, c)
		}
	}
	c.listed = next
}

// move takes slots for a claim, and lets go of those that it had.
func (p *singlePort) move(c *claim, next [4]address, now int64) {
	for _, at := range c.places {
		if at.valid() && !slices.Contains(next[:], at) {
			p.release(c, at, now)
		}
	}
	for _, at := range next {
		if !at.valid() || slices.Contains(c.places[:], at) {
			continue
		}
		s := p.slots[at]
		if s.claims++; s.claims > 1 {
			s.leg = nil
		} else if s.leg = c.leg; s.of == c.leg || s.stray {
			s.of, s.until, s.stray = nil, 0, false // it is back, or has come
		}
		p.slots[at] = s
	}
	c.places = next
}

func (p *singlePort) release(c *claim, at address, now int64) {
	s := p.slots[at]
	s.claims--
	s.leg, s.of, s.until, s.stray = nil, c.leg, now+int64(quarantine), false
	s.ssrc, s.known = c.leg.quality.ssrc, c.leg.quality.started
	at0 := at
	at0.port = 0
	if h := p.hosts[at0]; h != nil && s.claims == 1 {
		for _, o := range h.claims {
			if o != c && slices.Contains(o.places[:], at) {
				s.leg = o.leg
			}
		}
	}
	if s.claims == 0 && p.full() {
		delete(p.slots, at)
		return
	}
	p.slots[at] = s
}

// full counts an address that is not remembered because too many are.
func (p *singlePort) full() bool {
	if len(p.slots) <= 4*len(p.claims)+maxRested {
		return false
	}
	p.count.forgotten++
	return true
}

// overruns is how many datagrams the kernel dropped because the port was not read in time.
func (p *singlePort) overruns() (n uint64) {
	for family := range p.doors {
		if door := p.doors[family][rtp]; door != nil {
			n += door.overruns()
		}
	}
	return n
}

// sweep forgets what has rested and hosts that nobody speaks of any more: a part of them at a time. Housekeeping asks once a second.
func (p *singlePort) sweep(now int64) {
	n := 64 + len(p.slots)/4
	for at, s := range p.slots {
		if n--; n < 0 {
			break
		}
		if s.claims == 0 && s.until <= now {
			delete(p.slots, at)
		}
	}
	n = 64 + len(p.hosts)/16
	for at, h := range p.hosts {
		if n--; n < 0 {
			break
		}
		if len(h.claims) == 0 && max(h.ghosts[0], h.ghosts[1]) <= now && (now-h.seen > hostMemory || len(p.hosts) > maxHosts) {
			delete(p.hosts, at)
		}
	}
}
