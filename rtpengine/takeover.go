package rtpengine

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"tandem/rtpengine/srtp"
)

// Errors of Export and Import that callers branch on.
var (
	ErrNotMovable     = errors.New("rtpengine: this media cannot be moved to another engine")
	ErrPortTaken      = errors.New("rtpengine: a port of the session is taken here")
	ErrForeignAddress = errors.New("rtpengine: the session is at an address that is not this engine's")
)

// Export gives the session as another engine can go on with it, at the same addresses and ports: see Import. It is the answered exchange in
// force at one moment, with what each side was told, keys, latches and counts; a few hundred octets for a plain call. An offer that is not
// answered is not in it, and signalling must refuse what comes of that. Sounds that play, recordings and digits on their way stay
// behind; music on hold begins again.
//
// It holds the keys of the call. It must never be written to a disk or a log, and leave the node by encrypted connections only.
//
// Any goroutine, while the engine runs. Errors: ErrClosed; ErrNotMovable before the first answer.
func (s *Session) Export() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, ErrClosed
	case s.inForce() == nil:
		return nil, fmt.Errorf("%w: nothing has been answered yet", ErrNotMovable)
	}
	n, legs, transports := s.describe()
	done := make(chan struct{})
	ok := s.shard.order(func(*shard) {
		defer close(done)
		for _, l := range legs {
			l.leg.capture(l.state)
		}
		for _, t := range transports {
			n.capture(t.transport, t.state, s.lines)
		}
		for _, c := range n.keys {
			n.states = append(n.states, c.Export(nil))
		}
	})
	if !ok {
		return nil, ErrClosed
	}
	<-done // a shard waits for nobody, and nobody's offer may come between
	return n.seal()
}

// Leave is Close, and returns when the ports are free: for the engine that goes on with the session, or for this one, if nothing came of the
// move. Any goroutine that is no shard's.
func (s *Session) Leave() {
	s.Close()
	free := make(chan struct{})
	if s.shard.order(func(*shard) { close(free) }) { // behind those that close the sockets
		<-free
	}
}

// Revision changes when a snapshot of before is not good enough any more: another exchange is in force, a phone has been found at another
// address or speaks under another source, keys have been agreed on, or an encrypted side has sent another 2^14 packets. That last one is
// what keeps indices of SRTP from being guessed wrong: see Import. Counts alone do not change it. Two equal ones mean the same of one session
// in one engine only. It costs no shard anything. Any goroutine.
func (s *Session) Revision() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var h maphash.Hash
	h.SetSeed(s.engine.seed)
	maphash.WriteComparable(&h, struct {
		exchanges uint32
		blocks    [2]Block
		treat     [2]Treatment
		music     [2]string
	}{s.exchanges, s.blocks, s.treat, s.music})
	carried := s.wires[A].all != nil || s.wires[B].all != nil
	for _, l := range s.lines {
		for _, g := range l.legs {
			if g != nil {
				maphash.WriteComparable(&h, g.revision(carried || l.rings[A].agreed() || l.rings[B].agreed()))
			}
		}
	}
	for side := range s.wires {
		for _, t := range s.wires[side].all {
			for _, a := range t.agreed {
				maphash.WriteComparable(&h, a != nil && a.done.Load())
			}
		}
	}
	return h.Sum64()
}

// legRevision is what a leg adds to a Revision.
type legRevision struct {
	peer   netip.AddrPort
	source uint32
	steps  uint64
}

// revisionStep is how many packets of an encrypted side make a snapshot old.
const revisionStep = 1 << 14

func (l *leg) revision(sealed bool) (r legRevision) {
	if peer := l.peer.Load(); peer != nil {
		r.peer = *peer
	}
	r.source = l.quality.source.Load()
	if sealed {
		r.steps = l.counts().packets / revisionStep
	}
	return r
}

// agreed reports whether there are keys in force. g may be nil.
func (g *keyring) agreed() bool { return g != nil && g.now != nil }

// Import makes a session of a snapshot that another engine has exported, which has ended or will send nothing more: it goes on at the same
// addresses and ports, with the same peers and keys. The next description for a side has the o= line of the last one. Media flows at once.
//
// SRTP goes on above the highest packet numbers of the snapshot. Which of them the other engine had reached is told by the numbers that the
// phones' next packets have; this is right for up to 61,000 packets after the export. So a snapshot must be renewed before 45,000 packets
// have gone by since Revision changed.
//
// A side with DTLS keeps its keys. Its next offer or answer names this engine's certificate, and so begins another handshake; the keys of
// before serve until that is done.
//
// Errors: ErrSnapshot for what is damaged or none, ErrSnapshotVersion, ErrForeignAddress, ErrPortTaken, ErrBusy, ErrClosed, and ErrNotMovable
// when this engine lacks a codec. What failed has left nothing behind.
func (e *Engine) Import(c SessionConfig, snapshot []byte) (*Session, error) {
	n, err := unseal(snapshot)
	if err != nil {
		return nil, err
	}
	at := e.siteOf(n.bound)
	if err := e.mayTake(n, at); err != nil {
		return nil, err
	}
	sh := e.choose()
	var d *door
	switch {
	case n.ice == [2]uint16{}:
	case at == nil:
		if sh, err = e.iceShard(n.ice); err != nil {
			return nil, err
		}
	default:
		if d, err = e.doorAt(at, n.ice); err != nil {
			return nil, err
		}
		sh = d.shard
	}
	return e.resume(n, e.session(c, sh, at), d)
}

// resume makes of a session of its own the one that a snapshot is of.
func (e *Engine) resume(n *snapshot, s *Session, d *door) (*Session, error) {
	if err := e.join(s); err != nil {
		return nil, err
	}
	if err := s.resume(n, d); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Export is Session's. No endpoint can be moved yet: what it plays or records, and the room that it is in, are of this engine.
func (p *Endpoint) Export() ([]byte, error) { return nil, ErrNotMovable }

// legCapture and transportCapture are what a shard is to note, and where.
type legCapture struct {
	leg   *leg
	state *legState
}

type transportCapture struct {
	transport *transport
	state     *transportState
}

// describe gives what signalling knows, and what the shard has to add; mu is held.
func (s *Session) describe() (n *snapshot, legs []legCapture, transports []transportCapture) {
	n = &snapshot{origins: s.origins, blocks: s.blocks, treat: s.treat, music: s.music, exchange: *s.inForce()}
	n.lines = make([]lineState, len(s.lines))
	for i, l := range s.lines {
		n.lines[i] = lineState{kind: l.kind, rings: l.rings, numbers: l.numbers, placed: l.placed}
		for side, g := range l.legs {
			if g == nil {
				continue
			}
			state := &legState{}
			for family, p := range g.pairs {
				if p != nil {
					state.ports[family], n.bound[family] = p.port, p.pool.addr
				}
			}
			n.lines[i].legs[side] = state
			legs = append(legs, legCapture{g, state})
			n.addRing(l.rings[side])
		}
	}
	for side := range n.exchange.said {
		for _, l := range n.exchange.said[side].lines {
			n.addAgreement(l.keys)
		}
	}
	for side := range s.wires {
		transports = append(transports, s.wires[side].describe(&n.wires[side])...)
	}
	if slices.ContainsFunc(transports, func(t transportCapture) bool { return !t.state.own }) {
		n.ice, _ = s.engine.iceNumbersAt(s.site, s.shard)
		for family, p := range s.engine.poolsAt(s.site) {
			if p != nil {
				n.bound[family] = p.addr
			}
		}
	}
	return n, legs, transports
}

func (n *snapshot) addRing(g *keyring) {
	if g == nil {
		return
	}
	n.addAgreement(g.now)
	for _, k := range g.offers {
		n.addKey(k.sender)
	}
	for _, h := range g.heard {
		n.addKey(h.context)
	}
}

func (n *snapshot) addAgreement(a *agreement) {
	if a != nil {
		n.addKey(a.in)
		n.addKey(a.out)
	}
}

func (n *snapshot) addKey(c *srtp.Context) {
	if c != nil && !slices.Contains(n.keys, c) {
		n.keys = append(n.keys, c)
	}
}

// describe notes the transports that are in use.
func (w *wires) describe(into *wiresState) (list []transportCapture) {
	var used []*transport
	for _, l := range w.lines {
		if l.transport != nil && !slices.Contains(used, l.transport) {
			used = append(used, l.transport)
		}
	}
	if w.bundle != nil && !slices.Contains(used, w.bundle) {
		used = append(used, w.bundle)
	}
	into.transports = make([]transportState, len(used))
	for _, l := range w.lines {
		into.lines = append(into.lines, wireState{slices.Index(used, l.transport) + 1, l.mid})
	}
	into.bundle = slices.Index(used, w.bundle) + 1
	for i, t := range used {
		state := &into.transports[i]
		state.own, state.generations = t.own, t.generations
		for c, a := range t.agreed {
			if a != nil {
				state.agreed[c] = &associationState{active: a.active, prints: a.prints, name: a.name, by: a.by}
			}
		}
		list = append(list, transportCapture{t, state})
	}
	return list
}

// capture adds what the shard knows of a transport. Shard only, as is leg.capture.
func (n *snapshot) capture(t *transport, into *transportState, lines []*line) {
	for c, a := range t.agreed {
		if a != nil && a.state == shaken {
			into.agreed[c].keys = a.keys
			n.addKey(a.keys[0])
			n.addKey(a.keys[1])
		}
	}
	for _, i := range t.pairs {
		into.pairs = append(into.pairs, pairState{i.to.addr(), i.theirs, i.priority, i.nominated != 0})
	}
	into.chosen, into.lost = t.chosen+1, t.lost
	for _, s := range t.sources[:min(t.learned, maxSources)] {
		if at := slices.IndexFunc(lines, func(l *line) bool { return l.legs[A] == s.leg || l.legs[B] == s.leg }); at >= 0 {
			into.sources = append(into.sources, sourceState{s.ssrc, at})
		}
	}
}

// capture notes where a leg's peer is, and its counts.
func (l *leg) capture(into *legState) {
	for c := range l.latch {
		if k := &l.latch[c]; k.locked {
			into.latch[c] = latchState{true, k.source.addrPort()}
		} else {
			into.latch[c].peer = k.kept.addrPort()
		}
		if to := &l.to[c]; to.valid() && to.socket == nil {
			into.to[c] = to.addr()
		}
	}
	n, q := l.counts(), &l.quality
	into.count = totalState{
		packets: n.packets, bytes: n.bytes, rtcp: uint64(l.tally.rtcp.Load()), forwarded: n.forwarded,
		lost: n.lost, reported: int64(l.reported.Load()), rtt: int64(l.roundTrip()),
		rate: q.rate.Load(), codec: n.codec, source: q.source.Load(), duplicates: q.duplicates.Load(),
	}
	for why, count := range l.tally.dropped() {
		if count > 0 {
			into.count.drops = append(into.count.drops, dropState{Drop(why), count})
		}
	}
	for i, v := range q.losses.all() {
		into.count.losses[i] = v.Load()
	}
}

// resume is capture's reverse, for a leg that no shard knows yet. What phones send next begins a new stretch of numbers: what the other engine
// heard after the snapshot is in no count, and nobody's loss.
func (l *leg) resume(from *legState, at *placing, now int64) {
	for c, k := range from.latch {
		latch := &l.latch[c]
		latch.exact, latch.signalled = at.addr[c], at.from
		local := k.peer.Addr().IsLinkLocalUnicast() // its zone is unknown until it speaks
		if k.locked && !local {
			latch.locked, latch.source = true, pack(k.peer)
			if c == rtp {
				l.peer.Store(&k.peer)
			}
		} else {
			latch.kept = pack(k.peer)
		}
		if from.to[c].IsValid() && !local {
			l.to[c].set(from.to[c])
		}
	}
	l.feed = &feeding{ssrc: rand.Uint32(), firs: uint8(rand.Uint32()), missed: true} // whatever was in the air; another engine has counted before
	n, q, t := &from.count, &l.quality, &l.tally
	t.packets.Store(n.packets)
	t.bytes.Store(n.bytes)
	t.rtcp.Store(uint32(n.rtcp))
	t.forwarded.Store(n.forwarded)
	t.lastSeen.Store(now)
	for _, d := range n.drops {
		if d.why < drops { // else of a later version
			t.drops[d.why].Store(uint32(min(d.count, math.MaxUint32)))
		}
	}
	q.earlier = n.lost
	q.lost.Store(n.lost)
	q.rate.Store(n.rate)
	q.codec.Store(n.codec)
	q.source.Store(n.source)
	q.duplicates.Store(n.duplicates)
	for i, v := range q.losses.all() {
		v.Store(n.losses[i])
	}
	l.reported.Store(int32(n.reported))
	l.rtt.Store(uint32(math.Round(time.Duration(max(n.rtt, 0)).Seconds() * 65536)))
}

// mayTake says why an engine cannot go on with a session.
func (e *Engine) mayTake(n *snapshot, at *site) error {
	for family, was := range n.bound {
		p := e.poolsAt(at)[family]
		if was.IsValid() && (p == nil || was != p.addr && !was.IsUnspecified() && !p.addr.IsUnspecified()) {
			return fmt.Errorf("%w: %s", ErrForeignAddress, was)
		}
	}
	for _, c := range n.exchange.coded {
		if len(c.lent) == 0 {
			continue
		}
		for _, k := range append([]codec{c.own}, c.lent...) {
			if !e.codecs.Encodes(k.kind()) || !e.codecs.Decodes(k.kind()) {
				return fmt.Errorf("%w: %s cannot be transcoded here", ErrNotMovable, k.name)
			}
		}
	}
	return nil
}

// iceShard gives the shard whose browsers are heard at certain ports, which are opened if they are not.
func (e *Engine) iceShard(ports [2]uint16) (*shard, error) {
	e.iceMu.Lock()
	defer e.iceMu.Unlock()
	for _, sh := range e.shards {
		if serves(sh.iceNumbers, ports) {
			return sh, nil
		}
	}
	for i, sh := range e.shards {
		configured := e.cfg.ICEPort + uint16(i)
		if sh.iceNumbers == [2]uint16{} && (e.cfg.ICEPort == 0 || serves([2]uint16{configured, configured}, ports)) {
			_, err := e.openICEPorts(sh, ports)
			return sh, err
		}
	}
	return nil, fmt.Errorf("%w: its browsers are heard at port %d", ErrForeignAddress, max(ports[v4], ports[v6]))
}

// serves reports whether ports are the wanted ones, of which 0 is any.
func serves(ports, want [2]uint16) bool {
	return (want[v4] == 0 || want[v4] == ports[v4]) && (want[v6] == 0 || want[v6] == ports[v6])
}

// openICEAt binds a port of the media range for browsers.
func (e *Engine) openICEAt(p *pool, port uint16) (*socket, error) {
	if err := p.claim(port); err != nil {
		return nil, err
	}
	k, err := openSocket(p.addr, port, p.dscp)
	if err != nil {
		p.give(port, e.now())
		return nil, p.untakable(port, err)
	}
	k.share, k.foreign = iceShare, p.foreign
	return k, nil
}

// resume makes of a new session the one that a snapshot is of. The exchange is put in force by the way that every answer takes, as one that
// was in force before: so it finds the latches and keys that stand in the snapshot, and leaves them.
func (s *Session) resume(n *snapshot, d *door) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.engine
	s.origins, s.blocks, s.treat, s.music = n.origins, n.blocks, n.treat, n.music
	for i := range n.lines {
		if err := s.resumeLine(&n.lines[i], n.elsewhere); err != nil {
			return err
		}
	}
	for side := range s.wires {
		s.wires[side].resume(&n.wires[side], s.lines, Side(side), d)
	}
	if slices.ContainsFunc(n.exchange.coded, func(c coding) bool { return len(c.lent) > 0 }) {
		if s.coded = e.coders.begin(); !s.coded {
			return fmt.Errorf("%w: too many calls are transcoded here", ErrBusy)
		}
	}
	s.latest = &n.exchange
	s.enforce(s.latest)
	for side := range s.wires {
		s.wires[side].resumed(&n.wires[side])
	}
	s.resumeHandshakes()
	s.resumeCourses()
	return nil
}

func (s *Session) resumeLine(from *lineState, elsewhere bool) error {
	l := &line{kind: from.kind, rings: from.rings, numbers: from.numbers, placed: from.placed}
	s.lines = append(s.lines, l)
	for side, state := range from.legs {
		if state == nil {
			continue
		}
		g := &leg{}
		g.resume(state, &from.placed[side], s.engine.now())
		l.legs[side] = g
		for family, port := range state.ports {
			if port == 0 {
				continue
			}
			if elsewhere {
				if err := s.engine.settle(s.shard, g, family); err != nil {
					return err
				}
				continue
			}
			if port == s.engine.cfg.SinglePort && s.site == nil {
				if err := s.engine.lodge(s.shard, g, family, &from.placed[side]); err != nil {
					return err
				}
				continue
			}
			p, err := s.engine.poolsAt(s.site)[family].openAt(port, s.engine.now)
			if err == nil {
				err = s.engine.attach(s.shard, g, family, p)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// resumeHandshakes begins those of ours that were not done, where no ICE says when.
func (s *Session) resumeHandshakes() {
	var legs []*leg
	for _, l := range s.lines {
		for side, g := range l.legs {
			if g != nil && s.wires[side].all != nil {
				legs = append(legs, g)
			}
		}
	}
	if legs == nil {
		return
	}
	s.shard.order(func(*shard) {
		for _, g := range legs {
			g.begin()
		}
	})
}

// resumeCourses begins those of directions that have spoken with what has been counted, which is not of their first second.
func (s *Session) resumeCourses() {
	now := s.engine.now()
	for _, l := range s.lines {
		var pair [2]*course
		for side, g := range l.legs {
			if g == nil || g.tally.packets.Load() == 0 {
				continue
			}
			c := &course{every: 1, at: now}
			c.before.packets, c.before.lost = g.tally.packets.Load(), g.quality.lost.Load()
			pair[side] = c
		}
		s.courses = append(s.courses, pair)
	}
}

// resume makes the transports of a snapshot, and gives them to the shard.
func (w *wires) resume(from *wiresState, lines []*line, side Side, d *door) {
	for i := range from.transports {
		state := &from.transports[i]
		t := w.open(state.own)
		t.generations, t.chosen, t.lost = state.generations, state.chosen-1, state.lost
		for c, a := range state.agreed {
			if a == nil {
				continue
			}
			t.agreed[c] = w.associate(t, &theirs{active: a.active, terms: &terms{prints: a.prints, association: a.name}}, c)
			if a.keys[0] != nil {
				t.agreed[c].keys, t.agreed[c].state = a.keys, shaken
				t.agreed[c].done.Store(true)
				t.association[c] = t.agreed[c]
			}
		}
		for i, known := range state.sources {
			if g := lines[known.line].legs[side]; g != nil {
				t.sources[i], t.learned = sourceOf{known.ssrc, g}, i+1
			}
		}
		pairs, list := state.pairs, slices.Clone(t.generations)
		w.shard.order(func(sh *shard) {
			if len(list) > 0 {
				sh.ice.know(t, list)
			}
			for i := range pairs {
				sh.ice.resume(t, &pairs[i], sh.now, d)
			}
		})
	}
	number := func(n int) *transport {
		if n == 0 {
			return nil
		}
		return w.all[n-1]
	}
	for _, l := range from.lines {
		w.lines = append(w.lines, wire{number(l.transport), l.mid})
	}
	w.bundle = number(from.bundle)
}

// resumed says whose certificates the associations show, once they are in force: the next exchange of another engine's begins new ones.
func (w *wires) resumed(from *wiresState) {
	for i := range from.transports {
		for c, a := range from.transports[i].agreed {
			if a != nil && w.all[i].agreed[c] != nil {
				w.all[i].agreed[c].by = a.by
			}
		}
	}
}

// resume notes a pair that another engine has found. It counts as checked just now. d is nil at the engine's own addresses.
func (p *icePort) resume(t *transport, from *pairState, now int64, d *door) {
	if other := p.byAddr[from.addr]; other != nil {
		other.forget(p, from.addr)
	}
	pair := icePair{theirs: from.theirs, priority: from.priority, seen: now}
	if from.nominated {
		pair.nominated = now
	}
	pair.to.set(from.addr)
	sockets := &p.sockets
	if d != nil {
		sockets = &d.sockets
	}
	pair.to.socket = sockets[pair.to.family()]
	t.pairs = append(t.pairs, pair)
	p.byAddr[from.addr] = t
}
