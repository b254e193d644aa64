package rtpengine

// sequencer puts the packets of a stream back in order before they are decoded. It is no jitter buffer: a packet that comes in its turn
// is given at once, and only those behind a missing one wait, until it comes or three came after it. Whoever listens has a
// jitter buffer; a second one here would add its delay to every call.
type sequencer struct {
	started bool
	ssrc    uint32
	next    uint16
	waiting int
	held    [sequencerSlots]voicePacket
}

const (
	sequencerSlots = 8
	sequencerWait  = 3              // packets behind a missing one that give it up
	sequencerMost  = 60 * 1_000_000 // ns that a packet waits at the longest
	sequencerJump  = 1000           // numbers behind or ahead that are a new beginning
)

// voicePacket is an RTP packet on its way to be decoded.
type voicePacket struct {
	there   bool
	payload uint8
	marker  bool
	seq     uint16
	stamp   uint32
	ssrc    uint32
	at      int64 // arrival, engine ns
	body    []byte
}

// take gives the packets that are in turn to play, with how many are missing directly before each. It tells how many packets it left out:
// those that came twice, or after their turn.
func (q *sequencer) take(p *voicePacket, play func(p *voicePacket, missing int)) (late int) {
	if !q.started || p.ssrc != q.ssrc {
		q.flush(play)
		q.started, q.ssrc, q.next = true, p.ssrc, p.seq
	}
	ahead := int(int16(p.seq - q.next))
	switch {
	case ahead < -sequencerJump || ahead > sequencerJump:
		q.flush(play)
		q.next, ahead = p.seq, 0
	case ahead < 0:
		return 1
	case ahead >= sequencerSlots:
		q.flush(play)
		if ahead = int(int16(p.seq - q.next)); ahead > 0 {
			play(p, ahead)
			q.next = p.seq + 1
			return 0
		}
	}
	if ahead > 0 {
		slot := &q.held[p.seq%sequencerSlots]
		if slot.there {
			return 1
		}
		body := append(slot.body[:0], p.body...)
		*slot = *p
		slot.there, slot.body = true, body
		q.waiting++
		if q.waiting >= sequencerWait || q.oldest(p.at) {
			q.release(play)
		}
		return 0
	}
	play(p, 0)
	q.next++
	q.follow(play)
	return 0
}

// oldest reports whether a packet has waited for too long.
func (q *sequencer) oldest(now int64) bool {
	for i := range q.held {
		if q.held[i].there && now-q.held[i].at > sequencerMost {
			return true
		}
	}
	return false
}

// follow gives the packets that wait directly behind the last one.
func (q *sequencer) follow(play func(*voicePacket, int)) {
	for slot := &q.held[q.next%sequencerSlots]; slot.there; slot = &q.held[q.next%sequencerSlots] {
		slot.there = false
		q.waiting--
		q.next++
		play(slot, 0)
	}
}

// release gives up what is missing and gives what came after it, up to the next gap.
func (q *sequencer) release(play func(*voicePacket, int)) {
	for missing := 0; q.waiting > 0; missing++ {
		if slot := &q.held[q.next%sequencerSlots]; slot.there {
			slot.there = false
			q.waiting--
			q.next++
			play(slot, missing)
			q.follow(play)
			return
		}
		q.next++
	}
}

// flush gives everything that waits.
func (q *sequencer) flush(play func(*voicePacket, int)) {
	for q.waiting > 0 {
		q.release(play)
	}
}
