package rtpengine

import (
	"fmt"
	"net/netip"
)

// ImportElsewhere is Import for a session whose addresses cannot be had here: it goes on at this engine's own, at other ports, with the keys, numbers
// and latches that it had. Its phones send to where they did before until both are given the next description, by an offer and an
// answer as ever. Errors: those of Import, and ErrNotMovable for one with ICE, whose phones look for each other by addresses that are gone.
func (e *Engine) ImportElsewhere(c SessionConfig, snapshot []byte) (*Session, error) {
	n, err := unseal(snapshot)
	if err != nil {
		return nil, err
	}
	for side := range n.wires {
		for i := range n.wires[side].transports {
			if t := &n.wires[side].transports[i]; !t.own || len(t.generations) > 0 {
				return nil, fmt.Errorf("%w: it has ICE, which begins anew with another engine", ErrNotMovable)
			}
		}
	}
	n.bound, n.ice, n.elsewhere = [2]netip.Addr{}, [2]uint16{}, true
	if err := e.mayTake(n, nil); err != nil {
		return nil, err
	}
	return e.resume(n, e.session(c, e.choose(), nil), nil)
}

// settle gives a leg that comes from elsewhere ports of its own, in a family that there is.
func (e *Engine) settle(sh *shard, g *leg, family int) error {
	if e.pools[family] == nil {
		family = 1 - family
	}
	_, err := e.openPair(sh, e.pools[family], g, family)
	return err
}
