//go:build !linux || portable

package rtpengine

import (
	"sync"

	"tandem/rtpengine/srtp"
)

const slabBytes = 16 << 10

// shard is the portable twin of the epoll shard: one reading goroutine a socket, and a mutex in
// place of the single goroutine. It relays by the same rules, only slower.
type shard struct {
	gauges
	clock func() int64
	done  chan struct{}

	mu      sync.Mutex
	ended   bool
	running bool
	open    map[*socket]struct{}
	readers sync.WaitGroup
	relay
}

func newShard(clock func() int64, epoch int64, rate int) *shard {
	s := &shard{clock: clock, done: make(chan struct{}), open: make(map[*socket]struct{})}
	s.rate, s.epoch = rate, epoch
	return s
}

// order runs f at once, alone; false when the shard has ended.
func (s *shard) order(f func(*shard)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.now = s.clock()
	f(s)
	s.orders.Add(1)
	s.totals.add(&s.count)
	s.iced.add(&s.ice)
	s.singled.add(&s.single)
	return true
}

func (s *shard) tick(n int) { s.order(func(s *shard) { s.play(n) }) }

// called says that a coder has made something.
func (s *shard) called() { s.order(func(s *shard) { s.collect() }) }

func (s *shard) stop() { close(s.done) }

// run starts the readers and waits for stop and for them.
func (s *shard) run() error {
	s.mu.Lock()
	s.running = true
	for k := range s.open {
		s.start(k)
	}
	s.mu.Unlock()
	<-s.done
	s.end()
	s.readers.Wait()
	return nil
}

// end closes every socket and has further orders refused.
func (s *shard) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for k := range s.open {
		k.close()
	}
}

func (s *shard) start(k *socket) {
	s.readers.Add(1)
	go func() {
		defer s.readers.Done()
		s.read(k)
	}()
}

func (s *shard) read(k *socket) {
	slab := make([]byte, slabBytes+1+srtp.Overhead)
	for {
		n, from, err := k.conn.ReadFromUDPAddrPort(slab[:slabBytes+1])
		s.mu.Lock()
		if k.closed || err != nil && s.ended {
			s.mu.Unlock()
			return
		}
		if err == nil {
			s.take(k, rawAddr{from}, slab[:n])
		}
		s.mu.Unlock()
	}
}

func (s *shard) take(k *socket, raw rawAddr, b []byte) {
	s.now = s.clock()
	s.received.Add(1)
	s.wakeups.Add(1)
	switch {
	case len(b) <= slabBytes:
		s.receive(k, raw.source(), &raw, b)
	case k.leg != nil:
		s.drop(k.leg, DropOversize)
	}
	s.pass()
	s.totals.add(&s.count)
	s.iced.add(&s.ice)
	s.singled.add(&s.single)
}

// waited is always 0: orders run at once.
func (s *shard) waited() uint64 { return 0 }

func (s *shard) attach(k *socket, l *leg, component int) {
	k.leg, k.component = l, uint8(component)
	if l != nil { // the ICE port is nobody's
		l.sockets[k.family][component] = k
	}
	s.open[k] = struct{}{}
	s.sockets.Add(1)
	if s.running {
		s.start(k)
	}
}

func (s *shard) detach(k *socket) {
	if _, ok := s.open[k]; ok {
		delete(s.open, k)
		s.sockets.Add(-1)
	}
	if k.leg != nil {
		k.leg.sockets[k.family][k.component] = nil
	}
	k.close()
}
