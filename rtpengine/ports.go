package rtpengine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// ErrNoPorts means that every media port pair is taken or resting; signalling answers 503.
var ErrNoPorts = errors.New("rtpengine: no media port is free")

const (
	// quarantine is how long a closed pair rests: packets of the dead call still arrive then,
	// and must not enter a new one.
	quarantine = 3 * time.Second
	// bindTries bounds how many ports that another program holds one allocation skips.
	bindTries = 32
)

// pool hands out even/odd port pairs of one local address. Pairs leave in the order in which they
// came back (least recently used first); the first order is shuffled, so that ports cannot be guessed.
type pool struct {
	addr    netip.Addr
	dscp    int
	foreign bool // of another engine, see site: its sockets are never steered, and ports beyond the range can be claimed

	mu     sync.Mutex
	free   []uint16 // ring of even ports
	rested []int64  // when the pair at the same place of the ring came back, engine ns
	place  []uint16 // of free pairs in the ring, by (port-base)/2
	head   int
	count  int
	taken  uint64 // pairs skipped because another program held one port
	empty  uint64 // times no pair could be had
	base   uint16
	out    []uint64 // bitmap of pairs handed out, by (port-base)/2
}

func newPool(addr netip.Addr, low, high uint16, dscp int) *pool {
	if low%2 == 1 {
		low++
	}
	n := 0
	if high > low {
		n = (int(high) - int(low) + 1) / 2
	}
	p := &pool{
		addr: addr, dscp: dscp, base: low, count: n,
		free: make([]uint16, n), rested: make([]int64, n), place: make([]uint16, n), out: make([]uint64, (n+63)/64),
	}
	for i, at := range rand.Perm(n) {
		p.free[i], p.place[at] = low+uint16(2*at), uint16(i)
		p.rested[i] = -int64(quarantine)
	}
	return p
}

// take removes the pair that has rested longest.
func (p *pool) take(now int64) (uint16, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count == 0 || now-p.rested[p.head] < int64(quarantine) {
		return 0, false
	}
	port := p.free[p.head]
	p.head = (p.head + 1) % len(p.free)
	p.count--
	i := (port - p.base) / 2
	p.out[i/64] |= 1 << (i % 64)
	return port, true
}

// give returns a pair; giving one back twice is ignored.
func (p *pool) give(port uint16, now int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := (int(port) - int(p.base)) / 2
	if port < p.base || i >= len(p.free) || p.out[i/64]&(1<<(i%64)) == 0 {
		return
	}
	p.out[i/64] &^= 1 << (i % 64)
	at := (p.head + p.count) % len(p.free)
	p.free[at], p.rested[at], p.place[i] = port, now, uint16(at)
	p.count++
}

// skipped counts a pair that another program holds.
func (p *pool) skipped() {
	p.mu.Lock()
	p.taken++
	p.mu.Unlock()
}

// failed counts an allocation that got nothing.
func (p *pool) failed() {
	p.mu.Lock()
	p.empty++
	p.mu.Unlock()
}

func (p *pool) stats() PortStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return PortStats{Addr: p.addr, Used: len(p.free) - p.count, Free: p.count, Skipped: p.taken, Exhausted: p.empty}
}

// pair is an even RTP port and the odd RTCP port above it, both bound.
type pair struct {
	pool *pool
	port uint16
	rtp  *socket
	rtcp *socket

	single bool     // it is the single port, without sockets of its own: many legs have it
	why    ownPorts // there is a single port, and this is not it
}

// open binds a free pair, skipping pairs that others hold. The caller owns the result until it
// hands it to a shard.
func (p *pool) open(now func() int64) (*pair, error) {
	var last error
	for range bindTries {
		port, ok := p.take(now())
		if !ok {
			break
		}
		b, err := p.bind(port)
		if err == nil {
			return b, nil
		}
		p.give(port, now())
		p.skipped()
		if last = err; !portTaken(err) {
			break // no descriptors, no such address: another port will not help
		}
	}
	p.failed()
	if last != nil {
		return nil, fmt.Errorf("%w: bind %s: %w", ErrNoPorts, p.addr, last)
	}
	return nil, ErrNoPorts
}

// bind opens both sockets of a pair that was taken.
func (p *pool) bind(port uint16) (*pair, error) {
	rtp, err := openSocket(p.addr, port, p.dscp)
	if err != nil {
		return nil, err
	}
	rtcp, err := openSocket(p.addr, port+1, p.dscp)
	if err != nil {
		rtp.close()
		return nil, err
	}
	rtp.foreign, rtcp.foreign = p.foreign, p.foreign
	return &pair{pool: p, port: port, rtp: rtp, rtcp: rtcp}, nil
}

// claim takes a certain pair out of its turn, though it may not have rested: what comes there is of the call that is taken over.
func (p *pool) claim(port uint16) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, i := netip.AddrPortFrom(p.addr, port), (int(port)-int(p.base))/2
	switch {
	case p.foreign && (port < p.base || port%2 == 1 || i >= len(p.free)):
		return nil // the other engine's range was another; the kernel knows who has it
	case port < p.base || port%2 == 1 || i >= len(p.free):
		return fmt.Errorf("%w: %s is not among its ports", ErrForeignAddress, at)
	case p.out[i/64]&(1<<(i%64)) != 0:
		return fmt.Errorf("%w: %s is of another call", ErrPortTaken, at)
	}
	p.out[i/64] |= 1 << (i % 64)
	n, first := p.place[i], p.free[p.head]
	p.free[n], p.rested[n], p.place[(first-p.base)/2] = first, p.rested[p.head], n // which has rested longer than what is behind it
	p.head = (p.head + 1) % len(p.free)
	p.count--
	return nil
}

// openAt binds a certain pair.
func (p *pool) openAt(port uint16, now func() int64) (*pair, error) {
	if err := p.claim(port); err != nil {
		return nil, err
	}
	b, err := p.bind(port)
	if err != nil {
		p.give(port, now())
		return nil, p.untakable(port, err)
	}
	return b, nil
}

// untakable says why a port could not be bound.
func (p *pool) untakable(port uint16, err error) error {
	at := netip.AddrPortFrom(p.addr, port)
	if portTaken(err) {
		return fmt.Errorf("%w: another program has %s", ErrPortTaken, at)
	}
	return fmt.Errorf("rtpengine: bind %s: %w", at, err)
}

// close shuts both sockets and lets the pair rest. Only its owner may call it.
func (p *pair) close(now int64) {
	p.rtp.close()
	p.rtcp.close()
	p.pool.give(p.port, now)
}
