package rtpengine

import (
	"crypto/rand"
	"net/netip"
	"time"

	"github.com/pion/stun/v3"
)

const (
	// consent is how long a pair of addresses may be sent media after its last check (RFC 7675 §5.1).
	consent = 30 * time.Second
	// maxPairs bounds the addresses that one transport remembers; a browser has one for each of its networks.
	maxPairs = 8
	// checkRate bounds the checks a second that a transport answers; a browser makes twenty while it connects, then one in two seconds.
	checkRate = 200
	// nominationHolds is how long a nominated pair keeps its place against a worse one without being nominated again. Who nominates
	// all its pairs at once (RFC 5245 §8.1.1.2) means the best of them; who later nominates another has lost the first.
	nominationHolds = 5 * time.Second
)

// generation is one pair of ICE credentials: ours, and the name of theirs. An ICE restart begins another (RFC 8445 §9); the one
// before stays good until the next, since checks under both cross on the way.
type generation struct {
	ufrag, password string
	theirs          string // their ufrag; "" until their description is known: then any is taken
}

func newGeneration(theirs string) generation {
	const iceChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	var raw [8 + 24]byte // RFC 8445 §5.3 asks for 24 and 128 bits; here 48 and 144
	_, _ = rand.Read(raw[:])
	for i, b := range raw {
		raw[i] = iceChars[b%64]
	}
	return generation{ufrag: string(raw[:8]), password: string(raw[8:]), theirs: theirs}
}

// icePair is an address of the other side from which a check was proved.
type icePair struct {
	to        destination
	theirs    string // their ufrag
	priority  uint32
	seen      int64 // last check
	nominated int64 // last check with USE-CANDIDATE; 0: never
}

// transport is what carries the media of one m-line of one side, or of all m-lines of a BUNDLE group (RFC 9143), where that side
// speaks ICE, DTLS-SRTP or both. Its media comes to the ICE port of the shard, where it is told by its pairs; or, for phones that want
// RTCP on a port of its own, to ports of the m-line's own.
//
// We are a lite agent (RFC 8445 §2.5): we answer checks, the other side leads.
type transport struct {
	engine *Engine
	call   string // for logs
	own    bool   // ports of its own; then there is one leg

	// Signalling's, under the lock of its session.
	generations []generation // the latest last, at most two; none: without ICE
	agreed      [2]*association

	// The shard's.
	known       []generation
	pairs       []icePair
	chosen      int // of pairs, see prefers; -1: none
	lost        bool
	association [2]*association // by component; only the first where RTCP is muxed
	legs        []*leg
	mid         uint8 // id of the header extension that names the m-line, 0: none
	sources     [maxSources]sourceOf
	learned     int // sources learned so far
	window      int64
	checks      int
}

// latest gives the credentials to write into a description.
func (t *transport) latest() generation { return t.generations[len(t.generations)-1] }

// begin adds a generation of credentials.
func (t *transport) begin(sh *shard, theirs string) {
	g := newGeneration(theirs)
	if len(t.generations) == 2 {
		t.generations = append(t.generations[:0], t.generations[1])
	}
	t.generations = append(t.generations, g)
	t.tell(sh)
}

// tell gives the shard the credentials as they are now.
func (t *transport) tell(sh *shard) {
	list := append([]generation(nil), t.generations...)
	sh.order(func(sh *shard) { sh.ice.know(t, list) })
}

// hear notes their name in the latest generation: at last their answer has come, or the answer of another fork.
func (t *transport) hear(sh *shard, theirs string) {
	if g := &t.generations[len(t.generations)-1]; g.theirs != theirs {
		g.theirs = theirs
		t.tell(sh)
	}
}

// generation finds credentials by our name in them. Shard only, as all below.
func (t *transport) generation(ufrag string) *generation {
	for i := range t.known {
		if t.known[i].ufrag == ufrag {
			return &t.known[i]
		}
	}
	return nil
}

// check takes a binding request that names this transport, answers it, and notes what it tells.
func (r *relay) check(t *transport, k *socket, src netip.AddrPort, raw *rawAddr, c *check) {
	g := t.generation(c.ours)
	switch {
	case g == nil || g.theirs != "" && g.theirs != c.theirs: // another fork's phone, or one from before
		r.ice.count.strangers++
		return
	case t.busy(r.now):
		r.ice.count.floods++
		return
	}
	d := &r.ice.desk
	if !d.proved(g.password) {
		r.ice.count.unproved++
		r.answer(k, raw, src, d.refuse(r.now, stun.CodeUnauthorized, "Unauthorized", "", nil))
		return
	}
	switch {
	case len(c.strange) > 0: // RFC 8489 §6.3.1
		r.answer(k, raw, src, d.refuse(r.now, stun.CodeUnknownAttribute, "Unknown Attribute", g.password, c.strange))
		return
	case c.controlled: // RFC 8445 §6.1.1: a full agent leads a lite one
		r.ice.count.conflicts++
		r.answer(k, raw, src, d.refuse(r.now, stun.CodeRoleConflict, "Role Conflict", g.password, nil))
		return
	}
	r.ice.count.answered++
	r.answer(k, raw, src, d.success(src, g.password))
	if t.own {
		t.settle(r, k, src, raw, c)
	} else {
		t.note(r, k, src, raw, c)
	}
}

// answer sends an answer back to where the request came from.
func (r *relay) answer(k *socket, raw *rawAddr, src netip.AddrPort, b []byte) {
	if b != nil {
		var to destination
		to.take(raw)
		k.send(b, &to)
	}
}

// busy counts a check against the transport's second.
func (t *transport) busy(now int64) bool {
	if now-t.window >= int64(time.Second) {
		t.window, t.checks = now, 0
	}
	t.checks++
	return t.checks > checkRate
}

// note keeps a proved address, and follows the nomination (RFC 8445 §7.3.1.5, §8.1).
func (t *transport) note(r *relay, k *socket, src netip.AddrPort, raw *rawAddr, c *check) {
	i := t.find(src)
	if i < 0 {
		i = t.admit(&r.ice, src)
		t.pairs[i].to.take(raw)
		t.pairs[i].to.socket = k
	}
	p := &t.pairs[i]
	p.theirs, p.priority, p.seen = c.theirs, c.priority, r.now
	if c.nominates {
		p.nominated = r.now
	}
	if t.lost && i == t.chosen { // it consents again
		r.ice.count.restored++
		t.choose(i)
	}
	if i != t.chosen && t.prefers(p, r.now) {
		t.choose(i)
	}
}

// prefers reports whether media should go to a pair rather than to the chosen one. Until one is nominated the first that was proved has it:
// browsers nominate with a later check, and would be kept waiting for DTLS and their first sound.
func (t *transport) prefers(p *icePair, now int64) bool {
	if t.chosen < 0 {
		return true
	}
	best := &t.pairs[t.chosen]
	switch {
	case p.nominated == 0:
		return false
	case best.nominated == 0:
		return true
	}
	return best.theirs != p.theirs || best.priority <= p.priority || now-best.nominated >= int64(nominationHolds)
}

func (t *transport) find(src netip.AddrPort) int {
	for i := range t.pairs {
		if t.pairs[i].to.addr() == src {
			return i
		}
	}
	return -1
}

// admit makes room for an address, in the place of the one that was checked longest ago.
func (t *transport) admit(p *icePort, src netip.AddrPort) int {
	if other := p.byAddr[src]; other != nil { // its phone is gone, or shares a NAT that forgot it
		other.forget(p, src)
	}
	i := len(t.pairs)
	if i < maxPairs {
		t.pairs = append(t.pairs, icePair{})
	} else {
		i = -1
		for n := range t.pairs {
			if n != t.chosen && (i < 0 || t.pairs[n].seen < t.pairs[i].seen) {
				i = n
			}
		}
		delete(p.byAddr, t.pairs[i].to.addr())
		t.pairs[i] = icePair{}
	}
	p.byAddr[src] = t
	return i
}

// forget drops an address.
func (t *transport) forget(p *icePort, src netip.AddrPort) {
	delete(p.byAddr, src)
	i := t.find(src)
	if i < 0 {
		return
	}
	last := len(t.pairs) - 1
	t.pairs[i] = t.pairs[last]
	t.pairs = t.pairs[:last]
	switch t.chosen {
	case i:
		t.chosen = -1
		t.silence()
	case last:
		t.chosen = i
	}
}

// choose sends from now on to a pair.
func (t *transport) choose(i int) {
	t.chosen, t.lost = i, false
	to := &t.pairs[i].to
	for _, l := range t.legs {
		l.follows(to)
	}
	if a := t.association[rtp]; a != nil {
		a.reach(to)
	}
}

// follows sends a leg's media to a pair.
func (l *leg) follows(to *destination) {
	l.to[rtp] = *to
	addr := to.addr()
	l.peer.Store(&addr)
}

// silence sends nothing until a pair is nominated, or consents again.
func (t *transport) silence() {
	for _, l := range t.legs {
		l.to[rtp].clear()
	}
}

// settle notes what a check to ports of the leg's own tells: there, who was nominated is who the latch has locked.
func (t *transport) settle(r *relay, k *socket, src netip.AddrPort, raw *rawAddr, c *check) {
	l := k.leg
	if !c.nominates || l == nil {
		return
	}
	latch := &l.latch[k.component]
	if !latch.locked || latch.source != pack(src) {
		latch.locked, latch.source = true, pack(src)
		l.lock(int(k.component), src, raw)
	}
	if a := t.association[k.component]; a != nil {
		to := l.to[k.component]
		to.socket = k
		a.reach(&to)
	}
}
