package rtpengine

import (
	"fmt"
	"net/netip"
	"slices"
)

// maxSites bounds in how many others' places an engine stands at once.
const maxSites = 64

// A Foreign is where another engine was heard that is no more.
type Foreign struct {
	Addrs     []netip.Addr // that its ports were bound to, at most one of each family
	Advertise []netip.Addr // what its descriptions had instead, at most one of each family
}

// A site is where sessions of another engine are heard: at its addresses, which are ours as long as we stand in its place. Their ports are
// another space than those of the engine's own addresses. A nil site is the engine's own.
type site struct {
	engine *Engine
	pools  [2]*pool      // by family; the engine's own where the other had none
	told   [2]netip.Addr // what descriptions say, invalid where the pool is the engine's own
	doors  []*door       // under Engine.iceMu
	over   bool          // likewise
}

// A door is where browsers are heard at a site.
type door struct {
	shard   *shard
	numbers [2]uint16
	sockets [2]*socket
}

// A StandIn has an engine take sessions that were at the addresses of another one.
type StandIn struct{ at *site }

// StandIn has Import bind the ports of sessions at addresses that are not the engine's own: those of another engine, which has died, and which
// this machine has now. What such sessions open later is there, too, and their descriptions name those addresses. Media at them come by their
// ports' own sockets, never by the cheaper tiers: those know the engine's own addresses alone. Any goroutine. An address of the engine's own is
// none of another's, and costs nothing. Errors: ErrForeignAddress for an address that cannot be had here, of a family that the engine is not bound
// in, or one too many.
func (e *Engine) StandIn(f Foreign) (*StandIn, error) {
	at := &site{engine: e, pools: e.pools}
	for _, addr := range f.Addrs {
		family := familyOf(addr)
		own := e.pools[family]
		switch {
		case !addr.IsValid() || addr.IsMulticast() || own == nil:
			return nil, fmt.Errorf("%w: %s is of an IP version that this engine is not bound in", ErrForeignAddress, addr)
		case own.addr == addr || addr.IsUnspecified(): // where both are bound to all addresses, the ports of one are those of the other
			continue
		case at.told[family].IsValid():
			return nil, fmt.Errorf("%w: %s is the second address of its IP version", ErrForeignAddress, addr)
		}
		k, err := openSocket(addr, 0, -1)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrForeignAddress, addr, err)
		}
		k.close()
		at.pools[family], at.told[family] = newPool(addr, e.cfg.PortMin, e.cfg.PortMax, e.cfg.DSCP), addr
		at.pools[family].foreign = true
	}
	for _, addr := range f.Advertise {
		if family := familyOf(addr); at.told[family].IsValid() {
			at.told[family] = addr.Unmap()
		}
	}
	if at.pools == e.pools {
		return &StandIn{}, nil
	}
	e.iceMu.Lock()
	defer e.iceMu.Unlock()
	if len(e.sites) >= maxSites {
		return nil, fmt.Errorf("%w: this engine stands in for %d others already", ErrForeignAddress, maxSites)
	}
	e.sites = append(e.sites, at)
	return &StandIn{at}, nil
}

// End has no further sessions come to the addresses. Browsers are not heard there any more; ports stay as long as their sessions do. Any goroutine;
// it may be called again.
func (s *StandIn) End() {
	at := s.at
	if at == nil {
		return
	}
	e := at.engine
	e.iceMu.Lock()
	e.sites = slices.DeleteFunc(e.sites, func(o *site) bool { return o == at })
	doors := at.doors
	at.doors, at.over = nil, true
	e.iceMu.Unlock()
	for _, d := range doors {
		d.close(at)
	}
}

func (d *door) close(at *site) {
	d.shard.order(func(sh *shard) {
		for family, k := range d.sockets {
			if k != nil {
				sh.detach(k)
				at.pools[family].give(d.numbers[family], sh.now)
			}
		}
	})
}

// siteOf is where a session is that was bound so: nil for the engine's own addresses.
func (e *Engine) siteOf(bound [2]netip.Addr) *site {
	e.iceMu.Lock()
	defer e.iceMu.Unlock()
	for _, at := range e.sites {
		for family, addr := range bound {
			if p := at.pools[family]; addr.IsValid() && p != nil && p.foreign && p.addr == addr {
				return at
			}
		}
	}
	return nil
}

// poolsAt are the pools of a site.
func (e *Engine) poolsAt(at *site) [2]*pool {
	if at == nil {
		return e.pools
	}
	return at.pools
}

// localAt is the address of ours to write for a peer of a session at a site.
func (e *Engine) localAt(at *site, family int, peer netip.Addr) netip.Addr {
	if at == nil || !at.told[family].IsValid() {
		return e.local(family, peer)
	}
	return at.told[family]
}

// iceNumbersAt is iceNumbers at a site.
func (e *Engine) iceNumbersAt(at *site, sh *shard) ([2]uint16, error) {
	if at == nil {
		return e.iceNumbers(sh)
	}
	e.iceMu.Lock()
	defer e.iceMu.Unlock()
	for _, d := range at.doors {
		if d.shard == sh {
			return d.numbers, nil
		}
	}
	d, err := e.openDoor(at, sh, [2]uint16{})
	if err != nil {
		return [2]uint16{}, err
	}
	return d.numbers, nil
}

// doorAt gives the door of a site whose browsers are heard at certain ports, which are opened if they are not.
func (e *Engine) doorAt(at *site, ports [2]uint16) (*door, error) {
	e.iceMu.Lock()
	defer e.iceMu.Unlock()
	for _, d := range at.doors {
		if serves(d.numbers, ports) {
			return d, nil
		}
	}
	for _, sh := range e.shards { // two doors of a shard could not be told apart
		if !slices.ContainsFunc(at.doors, func(d *door) bool { return d.shard == sh }) {
			return e.openDoor(at, sh, ports)
		}
	}
	return nil, fmt.Errorf("%w: the other engine had more ports for browsers than this one has shards", ErrForeignAddress)
}

// openDoor binds the ICE ports of a site, at certain numbers where there are some; iceMu is held.
func (e *Engine) openDoor(at *site, sh *shard, want [2]uint16) (*door, error) {
	if at.over {
		return nil, fmt.Errorf("%w: it is given back", ErrForeignAddress)
	}
	d := &door{shard: sh}
	for family, p := range at.pools {
		if p == nil || !p.foreign || want[family] == 0 && want != [2]uint16{} {
			continue
		}
		var err error
		if port := want[family]; port != 0 {
			d.sockets[family], err = e.openICEAt(p, port)
			d.numbers[family] = port
		} else {
			d.sockets[family], d.numbers[family], err = e.openICEAnywhere(p)
		}
		if err != nil {
			for family, k := range d.sockets {
				if k != nil {
					k.close()
					at.pools[family].give(d.numbers[family], e.now())
				}
			}
			return nil, err
		}
	}
	ok := sh.order(func(sh *shard) {
		for _, k := range d.sockets {
			if k != nil {
				sh.attach(k, nil, rtp)
			}
		}
	})
	if !ok {
		return nil, ErrClosed
	}
	at.doors = append(at.doors, d)
	return d, nil
}

// reachSite is Reach for the addresses of others.
func (e *Engine) reachSite(told netip.Addr) (local netip.Addr, ours bool) {
	e.iceMu.Lock()
	defer e.iceMu.Unlock()
	family := familyOf(told)
	for _, at := range e.sites {
		if p := at.pools[family]; p.foreign && (told == p.addr || told == at.told[family]) {
			return p.addr, true
		}
	}
	return netip.Addr{}, false
}
