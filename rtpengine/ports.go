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
	addr netip.Addr
	dscp int

	mu     sync.Mutex
	free   []uint16 // ring of even ports
	rested []int64  // when the pair at the same place of the ring came back, engine ns
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
		free: make([]uint16, n), rested: make([]int64, n), out: make([]uint64, (n+63)/64),
	}
	for i, at := range rand.Perm(n) {
		p.free[i] = low + uint16(2*at)
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
	i := (port - p.base) / 2
	if p.out[i/64]&(1<<(i%64)) == 0 {
		return
	}
	p.out[i/64] &^= 1 << (i % 64)
	at := (p.head + p.count) % len(p.free)
	p.free[at], p.rested[at] = port, now
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
		rtp, err := openSocket(p.addr, port, p.dscp)
		if err == nil {
			var rtcp *socket
			if rtcp, err = openSocket(p.addr, port+1, p.dscp); err == nil {
				return &pair{pool: p, port: port, rtp: rtp, rtcp: rtcp}, nil
			}
			rtp.close()
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

// close shuts both sockets and lets the pair rest. Only its owner may call it.
func (p *pair) close(now int64) {
	p.rtp.close()
	p.rtcp.close()
	p.pool.give(p.port, now)
}
