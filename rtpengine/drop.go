package rtpengine

import (
	"math"
	"sync/atomic"
)

// Drop says why a datagram went no further.
type Drop uint8

const (
	DropUnready   Drop = iota // no answer yet: nothing is expected on this port
	DropSource                // not from the peer, nor from where a peer could be
	DropProbing               // a possible peer, but not yet three in a row
	DropMalformed             // not RTP or RTCP of version 2
	DropPayload               // a payload type nobody negotiated
	DropHold                  // the direction is on hold
	DropUnlatched             // the far side has not spoken yet and its signalled address is not to be trusted
	DropFlood                 // beyond Config.PacketRate
	DropOversize              // longer than a datagram we relay
	DropForged                // SRTP whose tag is wrong: another key, or another sender
	DropReplay                // SRTP that came before, or a packet number that we sent before under the same key
	DropKey                   // the key may protect no more: too many sources or packets
	DropSend                  // the kernel would not take it
	DropClosed                // of no session any more: the port was closed while it waited
	DropBlocked               // Session.Block keeps it from the other side
	DropReplaced              // the other side hears a sound instead, Session.Play
	DropUnkeyed               // media of a side whose DTLS handshake is not done, from it or for it
	drops
)

var dropNames = [drops]string{
	"unready", "source", "probing", "malformed", "payload", "hold", "unlatched", "flood", "oversize", "forged", "replay", "key", "send", "closed",
	"blocked", "replaced", "unkeyed",
}

func (d Drop) String() string {
	if d < drops {
		return dropNames[d]
	}
	return "unknown"
}

// Drops counts dropped datagrams by reason, indexed by Drop.
type Drops [drops]uint64

// Total is the sum over all reasons.
func (d Drops) Total() (n uint64) {
	for _, v := range d {
		n += v
	}
	return n
}

// ByReason is the same under each reason's name, for metrics; reasons with no drop are left out.
func (d Drops) ByReason() map[string]uint64 {
	m := make(map[string]uint64)
	for i, v := range d {
		if v > 0 {
			m[Drop(i).String()] = v
		}
	}
	return m
}

// tally is what one side of one m-line sent us. The shard writes, anyone reads.
type tally struct {
	packets, bytes atomic.Uint64 // accepted RTP, bytes with header
	forwarded      atomic.Uint64
	rtcp           atomic.Uint32
	drops          [drops]atomic.Uint32 // no more than fit
	lastSeen       atomic.Int64         // engine ns of the last accepted packet
}

func (t *tally) drop(why Drop) {
	if n := t.drops[why].Load(); n != math.MaxUint32 {
		t.drops[why].Store(n + 1)
	}
}

func (t *tally) dropped() (d Drops) {
	for i := range d {
		d[i] = uint64(t.drops[i].Load())
	}
	return d
}

func loadDrops(from *[drops]atomic.Uint64) (d Drops) {
	for i := range d {
		d[i] = from[i].Load()
	}
	return d
}

// batchCount is what one wake-up did to all streams of a shard. It is plain memory of the shard, and
// is added to the totals that others read once a wake-up.
type batchCount struct {
	packets, bytes, rtcp, forwarded uint64
	batched, unbatched              uint64 // left by the outbox's raw socket; refused by it
	forgotten                       uint64 // SRTP sources that made room for newer ones
	untold                          uint64 // notices that found no room
	drops                           Drops
	dropped                         bool
	feedback                        feedbackCount
}

// totals are a shard's sums over all streams it ever carried.
type totals struct {
	packets, bytes, rtcp, forwarded atomic.Uint64
	batched, unbatched              atomic.Uint64
	forgotten, untold               atomic.Uint64
	drops                           [drops]atomic.Uint64
	feedback                        feedbackTotals
}

// add takes a batch and starts the next.
func (t *totals) add(b *batchCount) {
	t.packets.Add(b.packets)
	t.bytes.Add(b.bytes)
	t.rtcp.Add(b.rtcp)
	t.forwarded.Add(b.forwarded)
	t.batched.Add(b.batched)
	t.unbatched.Add(b.unbatched)
	t.forgotten.Add(b.forgotten)
	t.untold.Add(b.untold)
	if b.dropped {
		for i, n := range b.drops {
			if n > 0 {
				t.drops[i].Add(n)
			}
		}
	}
	t.feedback.add(&b.feedback)
	*b = batchCount{}
}
