package rtpengine

// jitterBuffer takes packets as they come and gives them in the order of their sequence numbers, one whenever the listener needs more
// sound. It begins to give when it holds enough to ride out the jitter seen so far, and leaves out what keeps it fuller than that: so a
// sender whose clock runs faster than ours does not become later and later.
type jitterBuffer struct {
	slots   [jitterSlots]waiting // by sequence number
	started bool
	ssrc    uint32
	next    uint16 // the packet to give next
	top     uint16 // behind the newest one
	stamp   uint32 // of the newest
	step    uint32 // timestamp units of a packet, 0 = not known yet
	filling bool
	dry     bool // it was found empty, and nothing has come since

	target uint32 // timestamp units to hold before giving
	clock  uint32 // timestamp units a second

	least, looks int // lowest fill of a while, and how long that while is
	calm         int // packets since the last late one

	late, skipped, lost uint64 // packets that came too late, were left out to catch up, never came
}

type waiting struct {
	there bool
	level uint8
	body  []byte
}

const (
	jitterSlots  = 64
	shortestWait = 25  // parts of a second: 40 ms
	longestWait  = 4   // 250 ms
	jitterWindow = 100 // packets over which the fill is watched
	jitterCalm   = 500 // packets in time before the wait becomes shorter again
)

func (p *jitterBuffer) reset(clock uint32) {
	p.started, p.clock, p.target = false, clock, clock/shortestWait
}

// put takes a packet; its body is copied.
func (p *jitterBuffer) put(h *heard) {
	if !p.started || h.ssrc != p.ssrc {
		p.begin(h)
	}
	ahead := int16(h.seq - p.next)
	if ahead >= jitterSlots || ahead < -jitterSlots { // a jump: the sender began anew
		p.begin(h)
		ahead = 0
	}
	if ahead < 0 {
		p.late++
		p.waitLonger()
		return
	}
	if d := int16(h.seq - p.top); d >= 0 {
		step := h.stamp - p.stamp
		if d == 0 && p.dry && step == p.step { // no pause of the speaker: it was on its way for too long
			p.waitLonger()
		}
		if d == 0 && step > 0 && step <= p.clock/5 {
			p.step = step
		}
		p.top, p.stamp, p.dry = h.seq+1, h.stamp, false
	}
	slot := &p.slots[h.seq%jitterSlots]
	slot.there, slot.level = true, h.level
	slot.body = append(slot.body[:0], h.body...)
}

func (p *jitterBuffer) waitLonger() {
	p.calm = 0
	p.target = min(p.clock/longestWait, p.target+max(p.step, p.clock/50))
}

func (p *jitterBuffer) begin(h *heard) {
	for i := range p.slots {
		p.slots[i].there = false
	}
	p.started, p.filling, p.dry, p.ssrc, p.next, p.top, p.stamp = true, true, false, h.ssrc, h.seq, h.seq, h.stamp
	p.least, p.looks = jitterSlots, 0
}

// held is how many packets lie in the buffer, those that are missing between them counted.
func (p *jitterBuffer) held() int { return int(p.top - p.next) }

// wanted is how many it should hold before it gives.
func (p *jitterBuffer) wanted() int {
	step := p.step
	if step == 0 {
		step = p.clock / 50
	}
	return max(1, int(p.target/step))
}

// get gives the next packet until the next put. lost: it did not come, and later ones have. Neither a body nor lost: there is nothing now.
func (p *jitterBuffer) get() (body []byte, level uint8, lost bool) {
	if !p.started {
		return nil, unknownLevel, false
	}
	if p.filling {
		if p.held() < p.wanted() {
			return nil, unknownLevel, false
		}
		p.filling = false
	}
	if p.held() == 0 {
		p.filling, p.dry, p.least, p.looks = true, true, jitterSlots, 0
		return nil, unknownLevel, false
	}
	p.watch()
	slot := &p.slots[p.next%jitterSlots]
	p.next++
	if !slot.there {
		p.lost++
		return nil, unknownLevel, true
	}
	slot.there = false
	return slot.body, slot.level, false
}

// watch leaves a packet out when the buffer has been fuller than it needs to be for a while, and needs less when nothing was late for longer.
func (p *jitterBuffer) watch() {
	p.least = min(p.least, p.held())
	p.looks++
	p.calm++
	if p.calm >= jitterCalm {
		p.calm = 0
		p.target = max(p.clock/shortestWait, p.target-p.clock/50)
	}
	if p.looks < jitterWindow {
		return
	}
	if p.least > p.wanted() {
		p.slots[p.next%jitterSlots].there = false
		p.next++
		p.skipped++
	}
	p.least, p.looks = jitterSlots, 0
}
