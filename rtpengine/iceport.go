package rtpengine

import (
	"fmt"
	"net/netip"
	"sync/atomic"
)

// iceShare is how many datagrams a shard takes from its ICE port before the other sockets have their turn.
const iceShare = 64

// icePort is where all browsers of a shard are heard, on one UDP port for each address family: a transport is found by the address
// that a datagram comes from, and at first by the name in a connectivity check. It belongs to the shard.
type icePort struct {
	desk   stunDesk
	byName map[string]*transport // by our ufrag
	byAddr map[netip.AddrPort]*transport
	count  iceCount

	transports int // how many

	sockets [2]*socket // by family
}

// iceCount is what the port did since the last wake-up.
type iceCount struct {
	answered  uint64 // checks
	strangers uint64 // checks for nobody here, or from nobody expected
	unproved  uint64 // checks with a wrong password
	floods    uint64 // checks beyond checkRate
	conflicts uint64 // checks of who believes that we lead
	garbage   uint64 // neither STUN nor DTLS nor RTP, or broken
	hellos    uint64 // DTLS from where no check was proved, or that nobody waits for
	lost      uint64 // transports whose consent ended
	restored  uint64 // and came back
}

// iceTotals are its sums, for everybody.
type iceTotals struct {
	answered, strangers, unproved, floods, conflicts, garbage, hellos, lost, restored atomic.Uint64
	transports, connected                                                             atomic.Int64
}

func (t *iceTotals) add(p *icePort) {
	if p.transports != int(t.transports.Load()) {
		t.transports.Store(int64(p.transports))
	}
	c := &p.count
	if *c == (iceCount{}) {
		return
	}
	t.answered.Add(c.answered)
	t.strangers.Add(c.strangers)
	t.unproved.Add(c.unproved)
	t.floods.Add(c.floods)
	t.conflicts.Add(c.conflicts)
	t.garbage.Add(c.garbage)
	t.hellos.Add(c.hellos)
	t.lost.Add(c.lost)
	t.restored.Add(c.restored)
	*c = iceCount{}
}

// know takes a transport's credentials.
func (p *icePort) know(t *transport, list []generation) {
	if p.byName == nil {
		p.byName, p.byAddr = make(map[string]*transport), make(map[netip.AddrPort]*transport)
	}
	if !t.own {
		if t.known == nil {
			p.transports++
		}
		for i := range t.known {
			delete(p.byName, t.known[i].ufrag)
		}
		for i := range list {
			p.byName[list[i].ufrag] = t
		}
	}
	t.known = list
	if t.own || list[len(list)-1].theirs == "" {
		return
	}
	for i := 0; i < len(t.pairs); { // those of a fork that is out, or of before a restart that is over
		if t.expects(t.pairs[i].theirs) {
			i++
		} else {
			t.forget(p, t.pairs[i].to.addr())
		}
	}
}

// expects reports whether a name of theirs is one of those that we were told.
func (t *transport) expects(theirs string) bool {
	for i := range t.known {
		if t.known[i].theirs == theirs || t.known[i].theirs == "" {
			return true
		}
	}
	return false
}

// remove forgets a transport.
func (p *icePort) remove(t *transport) {
	if !t.own && t.known != nil {
		p.transports--
	}
	for i := range t.known {
		if p.byName[t.known[i].ufrag] == t {
			delete(p.byName, t.known[i].ufrag)
		}
	}
	for i := range t.pairs {
		delete(p.byAddr, t.pairs[i].to.addr())
	}
	t.known, t.pairs, t.chosen, t.legs = nil, nil, -1, nil
	for _, a := range t.association {
		a.abandon()
	}
	t.association = [2]*association{}
}

// enter takes a datagram that came to the ICE port.
func (r *relay) enter(k *socket, src netip.AddrPort, raw *rawAddr, b []byte) {
	t := r.ice.byAddr[src]
	switch {
	case looksMedia(b):
		if t == nil {
			r.stray(DropSource)
			return
		}
		r.receiveBundled(t, b)
	case looksSTUN(b):
		c, ok := r.ice.desk.read(b)
		if !ok {
			r.ice.count.garbage++
			return
		}
		if t = r.ice.byName[c.ours]; t == nil { // no answer: nobody shall learn who is here, nor have us write to others
			r.ice.count.strangers++
			return
		}
		r.check(t, k, src, raw, &c)
	case looksDTLS(b):
		if t == nil || t.association[rtp] == nil {
			r.ice.count.hellos++
			return
		}
		to := &t.pairs[t.find(src)].to
		t.association[rtp].take(r, to, b)
	default:
		r.ice.count.garbage++
	}
}

// beside takes what is no media on ports of a leg's own: STUN, DTLS.
func (r *relay) beside(l *leg, k *socket, src netip.AddrPort, raw *rawAddr, b []byte) {
	t := l.shield.transport
	switch {
	case looksSTUN(b):
		if c, ok := r.ice.desk.read(b); !ok {
			r.ice.count.garbage++
		} else {
			r.check(t, k, src, raw, &c)
		}
	case looksDTLS(b):
		a := t.association[k.component]
		if a == nil || l.latch[k.component].judge(src) == foreign {
			r.ice.count.hellos++
			return
		}
		var to destination
		to.take(raw)
		to.socket = k
		a.take(r, &to, b)
	default:
		r.drop(l, DropMalformed)
	}
}

// stray counts a datagram that belongs to no leg.
func (r *relay) stray(why Drop) {
	r.count.drops[why]++
	r.count.dropped = true
}

// consents silences the transports that were not checked for too long. Housekeeping asks once a second.
func (s *shard) consents() {
	connected := int64(0)
	for addr, t := range s.ice.byAddr {
		if t.chosen < 0 || t.lost || t.pairs[t.chosen].to.addr() != addr {
			continue
		}
		if s.now-t.pairs[t.chosen].seen > int64(consent) {
			t.lost = true
			t.silence()
			s.ice.count.lost++
			continue
		}
		connected++
	}
	s.iced.connected.Store(connected)
}

// askConsent has the shards whose ICE port is open look for browsers that are checked no more.
func (e *Engine) askConsent() {
	for _, sh := range e.shards {
		e.iceMu.Lock()
		open := sh.iceNumbers != [2]uint16{} || len(e.sites) > 0
		e.iceMu.Unlock()
		if open {
			sh.order(func(sh *shard) { sh.consents() })
		}
	}
}

// iceNumbers gives the ports of a shard's ICE port by family, 0 where it is not bound. The first caller opens it, for the engine's life.
func (e *Engine) iceNumbers(sh *shard) ([2]uint16, error) {
	e.iceMu.Lock()
	defer e.iceMu.Unlock()
	if sh.iceNumbers != [2]uint16{} {
		return sh.iceNumbers, nil
	}
	return e.openICEPorts(sh, [2]uint16{})
}

// openICEPorts binds them, at certain numbers where there are some; iceMu is held.
func (e *Engine) openICEPorts(sh *shard, want [2]uint16) ([2]uint16, error) {
	var sockets [2]*socket
	var numbers [2]uint16
	for f, p := range e.pools {
		if p == nil {
			continue
		}
		k, port, err := e.openICE(p, sh, want[f])
		if err != nil {
			if sockets[v4] != nil {
				sockets[v4].close()
			}
			return numbers, err
		}
		sockets[f], numbers[f] = k, port
	}
	ok := sh.order(func(sh *shard) {
		sh.ice.sockets = sockets
		for _, k := range sockets {
			if k != nil {
				sh.attach(k, nil, rtp)
			}
		}
	})
	if !ok {
		return numbers, ErrClosed
	}
	sh.iceNumbers = numbers
	return numbers, nil
}

// openICE binds the ICE port of a shard in one family: the configured one counted up by shard, or one of the media range; a certain one where
// want is not 0.
func (e *Engine) openICE(p *pool, sh *shard, want uint16) (*socket, uint16, error) {
	if e.cfg.ICEPort != 0 {
		port := e.cfg.ICEPort
		for i := range e.shards {
			if e.shards[i] == sh {
				port += uint16(i)
			}
		}
		k, err := openSocket(p.addr, port, p.dscp)
		if err != nil {
			return nil, 0, fmt.Errorf("%w: the ICE port %s: %w", ErrNoPorts, netip.AddrPortFrom(p.addr, port), err)
		}
		k.share = iceShare
		return k, port, nil
	}
	if want != 0 {
		k, err := e.openICEAt(p, want)
		return k, want, err
	}
	return e.openICEAnywhere(p)
}

// openICEAnywhere binds a port of the media range for browsers.
func (e *Engine) openICEAnywhere(p *pool) (*socket, uint16, error) {
	for range bindTries {
		port, ok := p.take(e.now())
		if !ok {
			break
		}
		k, err := openSocket(p.addr, port, p.dscp)
		if err == nil {
			k.share, k.foreign = iceShare, p.foreign
			return k, port, nil
		}
		p.give(port, e.now())
		p.skipped()
		if !portTaken(err) {
			return nil, 0, fmt.Errorf("%w: the ICE port: %w", ErrNoPorts, err)
		}
	}
	p.failed()
	return nil, 0, ErrNoPorts
}
