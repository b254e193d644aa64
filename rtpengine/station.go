package rtpengine

import (
	"fmt"
	"net/netip"
)

// ownPorts is why a leg has ports of its own though there is a single port.
type ownPorts uint8

const (
	onSingle   ownPorts = iota // it has not
	ownWiring                  // its phone speaks ICE or DTLS without muxing RTCP
	ownAddress                 // another call has the same remote address
	ownHost                    // another call is waited for from the same host, and ports say nothing: a NAT
	ownResting                 // a call with the same remote address has just ended
	ownFamily                  // the single port is not bound in its IP version
	ownReasons
)

var ownNames = [ownReasons]string{"", "wiring", "address", "host", "resting", "family"}

func (o ownPorts) String() string { return ownNames[o] }

// station gives the port at which a side of an m-line is heard: the single port, where there is one and the side can be told from all others
// there, else one of its own. x is nil when the side is told no port yet. It waits for the shard when there is a single port.
func (e *Engine) station(sh *shard, at *site, g *leg, family int, m manner, x *expected) (uint16, error) {
	if e.cfg.SinglePort == 0 || at != nil { // at the addresses of others there is none
		p, err := e.openPair(sh, e.poolsAt(at)[family], g, family)
		if err != nil {
			return 0, err
		}
		return p.port, nil
	}
	if p := g.pairs[family]; p != nil && !p.single {
		return p.port, nil
	}
	why := ownWiring
	if m == asRTP {
		if x == nil {
			return e.cfg.SinglePort, nil
		}
		var err error
		if why, err = e.admit(sh, g, family, x); err != nil {
			return 0, err
		}
		if why == onSingle {
			g.pairs[family] = &e.singles[family]
			return e.cfg.SinglePort, nil
		}
	} else {
		sh.order(func(sh *shard) { sh.single.count.detours[ownWiring]++ })
	}
	shared := g.pairs[family]
	g.pairs[family] = nil
	p, err := e.openPair(sh, e.poolsAt(at)[family], g, family)
	if err != nil {
		g.pairs[family] = shared
		return 0, fmt.Errorf("%w (ports of its own, since it cannot have the single port: %s)", err, why)
	}
	p.why = why
	other := g.pairs[1-family]
	if (x != nil && x.said || m != asRTP) && (other == nil || !other.single) { // else forks that were told the single port may answer yet
		sh.order(func(sh *shard) { sh.single.leave(g, sh.now) })
	}
	return p.port, nil
}

// admit asks the shard.
func (e *Engine) admit(sh *shard, g *leg, family int, x *expected) (ownPorts, error) {
	<-e.opened // before that no answer would be right
	answer := make(chan ownPorts, 1)
	if !sh.order(func(sh *shard) { answer <- sh.single.admit(g, family, x, sh.now) }) {
		return 0, ErrClosed
	}
	return <-answer, nil
}

// lodge puts a leg of a snapshot on the single port, where its phone goes on sending to.
func (e *Engine) lodge(sh *shard, g *leg, family int, at *placing) error {
	<-e.opened
	answer := make(chan bool, 1)
	if !sh.order(func(sh *shard) { answer <- sh.single.resume(g, family, at, sh.now) }) {
		return ErrClosed
	}
	if !<-answer {
		return fmt.Errorf("%w: at the single port %d another call comes from the same address", ErrPortTaken, e.cfg.SinglePort)
	}
	g.pairs[family] = &e.singles[family]
	return nil
}

// depart has the shard expect nothing at the single port for legs any more.
func (e *Engine) depart(sh *shard, legs []*leg) {
	if e.cfg.SinglePort == 0 || len(legs) == 0 {
		return
	}
	sh.order(func(sh *shard) {
		for _, g := range legs {
			sh.single.leave(g, sh.now)
		}
	})
}

// openSingle binds the single port in each family and gives it to the only shard. Where that fails the shards take no orders any more.
func (e *Engine) openSingle() error {
	defer close(e.opened)
	if e.cfg.SinglePort == 0 {
		return nil
	}
	sh := e.shards[0]
	var opened []*socket
	for _, p := range e.pools {
		if p == nil {
			continue
		}
		k, err := openSocket(p.addr, e.cfg.SinglePort, p.dscp)
		if err != nil {
			for _, k := range opened {
				k.close()
			}
			sh.end()
			return fmt.Errorf("rtpengine: the single port %s: %w", netip.AddrPortFrom(p.addr, e.cfg.SinglePort), err)
		}
		k.share, k.single = iceShare, true
		k.widen()
		opened = append(opened, k)
	}
	sh.order(func(sh *shard) {
		for _, k := range opened {
			for component := range sh.single.doors[k.family] {
				door := *k
				door.component = uint8(component)
				sh.single.doors[k.family][component] = &door
			}
			sh.attach(k, nil, rtp)
		}
	})
	return nil
}

// sweepSingle has the shard forget what it need not know of remote addresses any more.
func (e *Engine) sweepSingle() {
	if e.cfg.SinglePort != 0 {
		e.shards[0].order(func(sh *shard) {
			sh.single.sweep(sh.now)
			sh.crowdedOut.Store(sh.single.overruns())
		})
	}
}
