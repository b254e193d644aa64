package rtpengine

import "sync/atomic"

// quality follows one direction's sequence numbers and arrival times (RFC 3550 §6.4.1, A.1, A.3,
// A.8). Only the shard that owns the stream writes; lost and jitter may be read by anyone.
type quality struct {
	earlier int64 // packets lost under earlier sources of this direction
	lost    atomic.Int64
	window  uint64 // which of the last 64 numbers have come, the highest in bit 0

	ssrc     uint32
	base     uint32
	highest  uint32 // extended: wraps in the upper half
	bad      uint32 // the sequence number that would confirm a restart, or none
	received uint32
	transit  uint32
	jitter16 atomic.Uint32 // RTP units times 16

	rate   atomic.Uint32 // clock of the last packet, Hz
	codec  atomic.Uint32 // payload type of the last packet that was neither a key press nor comfort noise, and one; 0 = none
	source atomic.Uint32

	losses     lossPattern
	duplicates atomic.Uint32
	stamp      uint32        // of the packet with the highest number
	step       atomic.Uint32 // units from one packet to the next

	// Of the last report block, for the fraction lost (A.3).
	expectedPrior, receivedPrior uint32

	started bool
}

const (
	maxDropout  = 3000
	maxMisorder = 100
	noBadSeq    = 1 << 16
)

func (q *quality) restart(ssrc uint32, seq uint16) {
	if q.started {
		q.earlier += q.lostNow()
	}
	q.started = true
	q.ssrc, q.base, q.highest = ssrc, uint32(seq), uint32(seq)
	q.bad, q.received, q.transit = noBadSeq, 0, 0
	q.jitter16.Store(0)
	q.window, q.losses.since = 0, 0
	q.expectedPrior, q.receivedPrior = 0, 0
	q.source.Store(ssrc)
}

func (q *quality) expected() uint32 { return q.highest - q.base + 1 }

func (q *quality) lostNow() int64 { return int64(q.expected()) - int64(q.received) }

// packet takes one valid packet; arrival is in ns of the engine's clock, rate in Hz.
func (q *quality) packet(h *rtpHeader, arrival int64, rate uint32) {
	if !q.started || h.ssrc != q.ssrc {
		q.restart(h.ssrc, h.seq)
	}
	q.advance(h)
	q.sequence(h.seq)
	q.received++
	q.lost.Store(q.earlier + q.lostNow())

	// A.8: D = difference of relative transit times, J += (|D| - J)/16, kept times 16.
	transit := uint32(uint64(arrival)/1000*uint64(rate)/1_000_000) - h.stamp
	if q.received > 1 && q.rate.Load() == rate {
		d := int32(transit - q.transit)
		if d < 0 {
			d = -d
		}
		j := q.jitter16.Load()
		q.jitter16.Store(j + uint32(d) - (j+8)>>4)
	}
	q.transit = transit
	if q.rate.Load() != rate {
		q.rate.Store(rate)
	}
}

// speaks takes the payload type of a packet that is no key press. The kernel tier sees those with a number of their own alone (RFC 3551
// §6); the others stay as the shard has left them.
func (q *quality) speaks(payload uint8) {
	if code := uint32(payload) + 1; payload != payloadCN && q.codec.Load() != code {
		q.codec.Store(code)
	}
}

// sequence is update_seq of A.1 without the probation, which latching has already asked for.
func (q *quality) sequence(seq uint16) {
	switch delta := seq - uint16(q.highest); {
	case delta < maxDropout:
		q.highest += uint32(delta)
		q.bad = noBadSeq
	case delta <= 65535-maxMisorder: // a jump
		if uint32(seq) == q.bad { // twice in a row: the sender restarted
			q.restart(q.ssrc, seq)
			return
		}
		q.bad = uint32(seq + 1)
	}
}

// block gives the fields of a report block (RFC 3550 §6.4.1) and starts the next interval.
func (q *quality) block() (fraction uint8, lost int64, highest, jitter uint32) {
	expected, received := q.expected()-q.expectedPrior, q.received-q.receivedPrior
	q.expectedPrior, q.receivedPrior = q.expected(), q.received
	if expected > received {
		fraction = uint8(min(255, uint64(expected-received)<<8/uint64(expected)))
	}
	return fraction, min(max(q.lostNow(), -1<<23), 1<<23-1), q.highest, q.jitter16.Load() >> 4
}
