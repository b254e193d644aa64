package rtpengine

import (
	"sync/atomic"
	"time"
)

// gapMin is how many packets in a row must come for a loss behind them to be an isolated one (RFC 3611 §4.7.2, Gmin).
const gapMin = 16

// lossPattern counts how losses follow each other, as RFC 3611 appendix A.2 does: each pair of a loss and what came before it is a transition
// of a chain with three states (1 gap, 2 received within a burst, 3 lost within a burst). The shard writes, and of what others read it writes
// only when something is lost.
type lossPattern struct {
	since uint32 // packets received since the last loss
	run   uint32 // losses since the last gap

	c11, c13, c14, c22, c23, c33 atomic.Uint32
}

// all are the counts in an order for snapshots.
func (p *lossPattern) all() [6]*atomic.Uint32 {
	return [...]*atomic.Uint32{&p.c11, &p.c13, &p.c14, &p.c22, &p.c23, &p.c33}
}

// lost takes one packet that did not come, or too late to be of use.
func (p *lossPattern) lost() {
	switch {
	case p.since >= gapMin:
		if p.run == 1 {
			p.c14.Add(1)
		} else {
			p.c13.Add(1)
		}
		p.run = 1
		p.c11.Add(p.since)
	case p.since == 0:
		p.run++
		p.c33.Add(1)
	default:
		p.run++
		p.c23.Add(1)
		p.c22.Add(p.since - 1)
	}
	p.since = 0
}

// lostAll takes n packets lost in a row.
func (p *lossPattern) lostAll(n uint32) {
	p.lost()
	p.run += n - 1
	p.c33.Add(n - 1)
}

// Bursts tell how losses are spread (RFC 3611 §4.7.2): in a burst fewer than 16 packets come between two losses. Ten packets lost at once are
// a hole in a word; the same ten within a minute are not heard.
type Bursts struct {
	Count        uint32        // bursts, the one that is going on included
	BurstDensity float64       // of the packets in bursts, percent lost
	GapDensity   float64       // of the packets between them, percent lost
	BurstLength  time.Duration // mean
	GapLength    time.Duration // mean
}

// bursts are RFC 3611 appendix A.2's calculations. packet is the time from one packet to the next.
func (p *lossPattern) bursts(packet time.Duration) (b Bursts) {
	c11, c13, c14 := float64(p.c11.Load()), float64(p.c13.Load()), float64(p.c14.Load())
	c22, c23, c33 := float64(p.c22.Load()), float64(p.c23.Load()), float64(p.c33.Load())
	c31, c32 := c13, c23 // what goes into a burst comes out of it
	b.Count = uint32(c13)
	if c11+c14 > 0 {
		b.GapDensity = 100 * c14 / (c11 + c14)
	}
	if c13 == 0 {
		return b
	}
	total := c11 + c14 + c13 + c22 + c23 + c31 + c32 + c33
	p32 := c32 / (c31 + c32 + c33)
	p23 := 1.0
	if c22+c23 >= 1 {
		p23 = 1 - c22/(c22+c23)
	}
	b.BurstDensity = 100 * p23 / (p23 + p32)
	gap := (c11 + c14 + c13) * float64(packet) / c13
	b.GapLength = time.Duration(gap)
	b.BurstLength = time.Duration(total*float64(packet)/c13 - gap)
	return b
}

// advance moves the window of numbers that a packet may still come for; what leaves it without having come is lost. So a packet that was
// overtaken by up to 63 others is none. It stands before sequence, which it leaves the counting to.
func (q *quality) advance(h *rtpHeader) {
	ahead := h.seq - uint16(q.highest)
	switch {
	case q.window == 0: // the first
		q.window, q.stamp = 1, h.stamp
	case ahead == 0 || ahead > 1<<16-64: // one that came before, or that was overtaken
		bit := uint64(1) << (-ahead & 63)
		if q.window&bit != 0 {
			q.duplicates.Add(1)
		}
		q.window |= bit
	case ahead == 1:
		q.leave(q.window>>63, 0)
		q.window = q.window<<1 | 1
		if step := h.stamp - q.stamp; step != q.step.Load() && step < 1<<16 {
			q.step.Store(step)
		}
		q.stamp = h.stamp
	case ahead < maxDropout:
		for i := range min(ahead, 64) {
			q.leave(q.window>>63, uint32(i))
			q.window <<= 1
		}
		if ahead > 64 { // a hole wider than the window
			q.losses.lostAll(uint32(ahead) - 64)
		}
		q.window |= 1
		q.stamp = h.stamp
	}
}

// resume goes on behind a time in which somebody else counted, who does not know how losses were spread.
func (q *quality) resume() { q.window = ^uint64(0) }

// leave judges the number that leaves the window, by its bit; i others have left since the window was as wide as highest says. Numbers from
// before the first packet leave it as well.
func (q *quality) leave(came uint64, i uint32) {
	switch {
	case came != 0:
		q.losses.since++
	case q.expected()+i >= 64:
		q.losses.lost()
	}
}

// packetTime is the time from one packet to the next, 20 ms until it is known.
func (q *quality) packetTime() time.Duration {
	step, rate := q.step.Load(), q.rate.Load()
	if step == 0 || rate == 0 {
		return frameTime
	}
	return time.Duration(step) * time.Second / time.Duration(rate)
}
