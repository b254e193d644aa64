package transport

import (
	"time"

	"tandem/sip/message"
)

// An intake sorts what one reader receives: it drops, answers keep-alives, finds the shard and hands over batch by batch. It
// belongs to the reader's goroutine.
type intake struct {
	refusal
	staged  [][]item // by shard
	touched []int    // shards with something staged
}

func newIntake(t *Transport) *intake {
	return &intake{refusal: refusal{t: t}, staged: make([][]item, len(t.shards))}
}

// datagram handles one datagram. reply is sent back to its source when it is not empty; it is valid until the next call.
func (in *intake) datagram(b []byte, f Flow, now time.Time) (reply []byte) {
	t := in.t
	if t.cfg.Guard != nil && !t.cfg.Guard.AllowAt(f.Remote.Addr(), now) {
		return nil
	}
	switch kind := sniff(b); {
	case kind == keepAlive:
		t.count.keepAlives.Add(1)
		return nil
	case kind == stun:
		in.buf = appendSTUNAnswer(in.buf[:0], b, f.Remote)
		if len(in.buf) > 0 {
			t.count.stun.Add(1)
		} else {
			t.count.garbage.Add(1)
		}
		return in.buf
	case kind == garbage:
		t.count.garbage.Add(1)
		return nil
	case len(b) > t.cfg.Limits.MessageBytes:
		t.count.oversized.Add(1)
		return nil
	}
	in.stage(b, f, now)
	return nil
}

// stage puts a message aside for its shard.
func (in *intake) stage(b []byte, f Flow, now time.Time) {
	it, shard := in.t.itemOf(b, f, now)
	if len(in.staged[shard]) == 0 {
		in.touched = append(in.touched, shard)
	}
	in.staged[shard] = append(in.staged[shard], it)
}

// itemOf copies a message into a string of its own, classifies it and finds its shard.
func (t *Transport) itemOf(b []byte, f Flow, now time.Time) (it item, shard int) {
	k := message.Peek(b)
	return item{Packet: Packet{Text: string(b), Flow: f, At: now}, sheddable: sheddable(&k)}, t.shardOf(k.CallID, f)
}

// sheddable tells requests that begin something from those that end or go on with something that is there already: in an
// overload finishing calls makes room, new ones take it.
func sheddable(k *message.Peeked) bool {
	if !k.Request || k.InCall {
		return false
	}
	switch string(k.Method) {
	case "ACK", "BYE", "CANCEL", "PRACK":
		return false
	}
	return true
}

// deliver hands over everything staged: one lock and at most one wake-up a shard. A reader that has time runs the shards it finds
// idle itself, which spares waking two goroutines a message; one with full batches must go on reading, or the socket's buffer fills and the
// kernel drops what ends calls as gladly as what begins them. reply is called with the 503 for every request that was shed; its
// bytes are valid for the call.
func (in *intake) deliver(reply func(f Flow, b []byte), hasTime bool) {
	for _, shard := range in.touched {
		items := in.staged[shard]
		at := items[len(items)-1].At
		short := in.t.shards[shard].in.put(items, at)
		for i := range items[:short.shed] {
			if b := in.answer(items[i].Text, items[i].Flow, 503); b != nil {
				reply(items[i].Flow, b)
			}
		}
		if short != (shortage{}) {
			in.t.overloaded(shard, short, at)
		}
		clear(items)
		in.staged[shard] = items[:0]
		if s := in.t.shards[shard]; hasTime {
			s.help()
		} else {
			signal(s.in.wake)
		}
	}
	in.touched = in.touched[:0]
}

// overloaded counts what a shard had no room for, and says so.
func (t *Transport) overloaded(shard int, s shortage, at time.Time) {
	t.count.shed.Add(uint64(s.shed))
	t.count.shedLate.Add(uint64(s.late))
	t.count.reserved.Add(uint64(s.reserved))
	t.count.dropped.Add(uint64(s.dropped))
	t.notices.overload.say(t.cfg.Log, at, "shard", shard, "shed", s.shed, "late", s.late, "dropped", s.dropped)
}

type sniffed uint8

const (
	sipMessage sniffed = iota
	keepAlive
	stun
	garbage
)

// sniff tells what kind of datagram b is. CRLF, NUL or nothing at all keeps a NAT binding open; phones send each of them.
func sniff(b []byte) sniffed {
	for len(b) > 0 && (b[0] == '\r' || b[0] == '\n') {
		b = b[1:]
	}
	switch {
	case len(b) == 0 || (len(b) <= 4 && allZero(b)):
		return keepAlive
	case isSTUN(b):
		return stun
	case b[0] <= ' ' || b[0] >= 0x7f:
		return garbage // no method and no "SIP/2.0" begins like this, so nothing could be answered
	}
	return sipMessage
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
