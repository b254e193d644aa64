package rtpengine

import "sync/atomic"

// ring is a bounded queue of octets between two goroutines: one writes, one reads, nobody waits and nobody locks. Each side moves its
// own counter when a whole entry is written or read, so the other never sees half of one.
type ring struct {
	head atomic.Uint64 // octets written since the beginning; the writer's
	tail atomic.Uint64 // octets read; the reader's
	buf  []byte
}

func newRing(size int) ring { return ring{buf: make([]byte, size)} }

// fits tells whether n octets have room. The writer asks.
func (r *ring) fits(n int) bool { return uint64(n) <= uint64(len(r.buf))-(r.head.Load()-r.tail.Load()) }

// empty tells whether there is nothing to read. The reader asks.
func (r *ring) empty() bool { return r.tail.Load() == r.head.Load() }

// push writes an entry of two parts that fits.
func (r *ring) push(head, body []byte) {
	at := r.head.Load()
	r.write(at, head)
	r.write(at+uint64(len(head)), body)
	r.head.Store(at + uint64(len(head)+len(body)))
}

// peek reads the beginning of the oldest entry; take reads what follows after skip octets and then gives the entry's room back.
func (r *ring) peek(b []byte) { r.read(r.tail.Load(), b) }

func (r *ring) take(skip int, b []byte) {
	at := r.tail.Load() + uint64(skip)
	r.read(at, b)
	r.tail.Store(at + uint64(len(b)))
}

func (r *ring) write(at uint64, b []byte) {
	n := copy(r.buf[at%uint64(len(r.buf)):], b)
	copy(r.buf, b[n:])
}

func (r *ring) read(at uint64, b []byte) {
	n := copy(b, r.buf[at%uint64(len(r.buf)):])
	copy(b[n:], r.buf)
}
