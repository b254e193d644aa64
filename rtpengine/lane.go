package rtpengine

import "sync/atomic"

// lane is a bounded ring of packets from one goroutine to one other: from a shard to a payload worker, or back. Nobody waits: what finds
// no room is refused. Descriptions and bodies lie in rings of their own, since the collector must see the pointers of the former.
type lane struct {
	head atomic.Uint64 // entries written since the beginning; the writer's
	tail atomic.Uint64 // entries read; the reader's

	end     uint64        // octets written; the writer's
	freed   atomic.Uint64 // octets read; the reader's
	entries [laneEntries]laneEntry
	octets  [laneBytes]byte
}

const (
	laneEntries = 1024    // 20 ms of 1,000 streams
	laneBytes   = 1 << 18 // of 256 octets each
	laneBody    = 2048    // the longest body; 120 ms of Opus are less
)

type laneEntry struct {
	voicePacket
	via  *transcoder
	from uint64 // octets
	size int
}

// put copies a packet; false when there is no room. Writer only.
func (l *lane) put(via *transcoder, p *voicePacket) bool {
	head := l.head.Load()
	n := len(p.body)
	if head-l.tail.Load() == laneEntries || n > laneBody || uint64(n) > laneBytes-(l.end-l.freed.Load()) {
		return false
	}
	e := &l.entries[head%laneEntries]
	e.voicePacket, e.via, e.from, e.size = *p, via, l.end, n
	e.body = nil
	m := copy(l.octets[l.end%laneBytes:], p.body)
	copy(l.octets[:], p.body[m:])
	l.end += uint64(n)
	l.head.Store(head + 1)
	return true
}

// next gives the oldest packet, its body copied to room, which holds laneBody; nil when there is none. Reader only. It is valid until
// done.
func (l *lane) next(room []byte) *laneEntry {
	tail := l.tail.Load()
	if tail == l.head.Load() {
		return nil
	}
	e := &l.entries[tail%laneEntries]
	body := room[:e.size]
	m := copy(body, l.octets[e.from%laneBytes:])
	copy(body[m:], l.octets[:])
	e.body = body
	return e
}

// done takes the packet that next gave off the ring.
func (l *lane) done(e *laneEntry) {
	l.freed.Store(e.from + uint64(e.size))
	*e = laneEntry{}
	l.tail.Store(l.tail.Load() + 1)
}

// depth is how many packets wait.
func (l *lane) depth() int { return int(l.head.Load() - l.tail.Load()) }
