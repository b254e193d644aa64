package cluster

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// pingEvery is how often a node asks another whether it is there, on a connection that carries nothing else.
	pingEvery = 50 * time.Millisecond
	// pingDead is the silence after which a node counts as dead to operators.
	pingDead = 2 * time.Second
	// pingStale is how long a connection may be without an answer before another one is tried: it may stand still where a new one would not.
	pingStale = time.Second
	// reviveAfter is the silence behind which connections are made anew.
	reviveAfter = 400 * time.Millisecond
	// pingSlack is added to the round trip on wide areas, before silence means something.
	pingSlack = 100 * time.Millisecond
)

// Health is what this node knows of another one's life.
type Health string

// What silence means.
const (
	Unknown Health = "unknown" // it was never heard
	Alive   Health = "alive"   // it answers
	Suspect Health = "suspect" // it has been silent for a moment
	Dead    Health = "dead"    // it has been silent for long, or nothing listens at its address
)

// pulse is what nodes tell each other twenty times a second:
//
//	+---------+-------+---------+---------+---------+---------+---------+
//	| seq     | flags | term    | last    | applied | free    | suspect |
//	| 8 bytes | 1     | 8 bytes | 8 bytes | 8 bytes | 8 bytes | 8 bytes |
//	+---------+-------+---------+---------+---------+---------+---------+
//
// The one who dialled asks, the other answers with the same seq.
type pulse struct {
	seq     uint64
	flags   byte
	term    uint64
	last    uint64 // end of its log
	applied uint64
	free    uint64 // bytes on its disk, 0 when not known
	suspect uint64 // the term whose leader it finds silent, 0 when none
}

const (
	pulseLeads = 1 << iota
	pulseReady
	pulseStuck    // its disk has not answered for a while
	pulseFull     // its disk is nearly full, or refuses writes
	pulseShun     // an answer to who counts as dead
	pulseDiverged // its state is not what most others hold

	pulseSize = 8*6 + 1
)

func (p pulse) encode() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, pulseSize), p.seq)
	b = append(b, p.flags)
	for _, v := range [...]uint64{p.term, p.last, p.applied, p.free, p.suspect} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

func readPulse(r io.Reader) (p pulse, err error) {
	var b [pulseSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return p, err
	}
	p.seq, p.flags = binary.BigEndian.Uint64(b[:]), b[8]
	for i, v := range [...]*uint64{&p.term, &p.last, &p.applied, &p.free, &p.suspect} {
		*v = binary.BigEndian.Uint64(b[9+8*i:])
	}
	return p, nil
}

// pulse is this node's, now.
func (c *Cluster) pulse(seq uint64) pulse {
	p := pulse{seq: seq, suspect: c.suspects.Load(), free: c.disk.free.Load()}
	r := c.raft.Load()
	if r == nil {
		return p
	}
	p.term, p.last, p.applied = r.CurrentTerm(), r.LastIndex(), r.AppliedIndex()
	if r.State() == raft.Leader {
		p.flags |= pulseLeads
	}
	if ready, _, _ := c.ready.state(); ready && c.unserviceable() == "" {
		p.flags |= pulseReady
	}
	if c.disk.stuck() {
		p.flags |= pulseStuck
	}
	if c.disk.full() {
		p.flags |= pulseFull
	}
	if c.comparing.diverged.Load() {
		p.flags |= pulseDiverged
	}
	return p
}

// health is what a link knows of the life of its node; the link's mutex guards it.
type health struct {
	known   time.Time // since when the link is there
	heard   time.Time // last answer
	asked   time.Time // its last question
	sure    time.Time // when the last question went that it answered, and not to one that it holds for dead
	told    time.Time // when the question went whose answer is pulse
	refused bool      // nothing listened at the last attempt
	ended   bool      // the other end has ended the last connection, and has not been reached since
	rtt     time.Duration
	pulse   pulse
}

// judge says how a node does. silence is what a moment means.
func (h *health) judge(now time.Time, silence time.Duration) Health {
	switch since := now.Sub(h.heard); {
	case h.heard.IsZero() && !h.refused:
		return Unknown
	case h.refused || since > max(pingDead, 4*silence):
		return Dead
	case since > silence:
		return Suspect
	}
	return Alive
}

// silence is how long this node may be silent before that means something: longer where the way is long.
func (h *health) silence(least time.Duration) time.Duration {
	return max(least, pingSlack+3*h.rtt)
}

// beat asks the node whether it is there until ctx ends.
func (l *link) beat(ctx context.Context) {
	pause := pingEvery
	var broke time.Time // when the other end has ended a connection last
	for ctx.Err() == nil {
		began := time.Now()
		conn, err := l.c.port.dial(ctx, l.node, l.target(), protoPing)
		ended := false
		if err == nil {
			ended = l.pings(ctx, conn)
		}
		if ended {
			broke = time.Now()
		}
		l.mu.Lock()
		refused := errors.Is(err, syscall.ECONNREFUSED)
		news := refused && !l.health.refused
		l.health.refused = refused
		l.health.ended = ended || err != nil && l.health.ended
		l.mu.Unlock()
		if news {
			signal(l.c.alarm)
			signal(l.c.knell)
		}
		switch {
		case err == nil && time.Since(began) > redialLast:
			pause = pingEvery
			continue // the connection broke: whether anybody is there shows at once
		case err == nil:
			pause = min(2*pause, redialLast) // it closes the door behind the handshake
		case refused:
			pause = pingEvery // cheap, and it may be starting
		case time.Since(broke) < goneRefused:
			pause = redialEnded // its process is at its end, and the port closes in a moment
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// redialEnded is how soon a node is looked for again that has ended its connection, and that no connection comes about with.
const redialEnded = 5 * time.Millisecond

// pings uses one connection until it ends, and tells whether the other end has ended it.
func (l *link) pings(ctx context.Context, conn *tls.Conn) (ended bool) {
	stop := context.AfterFunc(ctx, func() { conn.NetConn().Close() })
	defer stop()
	done := make(chan struct{})
	times := make(chan time.Time, 64) // when the questions went that are not answered
	go func() {
		defer close(done)
		defer conn.NetConn().Close()
		for {
			p, err := readPulse(conn)
			if err != nil {
				ended = endedThere(err)
				return
			}
			select {
			case at := <-times: // answers come in the order of the questions
				l.hear(p, at)
			default:
				return // an answer to nothing
			}
		}
	}()
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	began := time.Now()
	for seq := uint64(1); ; seq++ {
		now := time.Now()
		select {
		case times <- now:
		default:
			conn.NetConn().Close()
		}
		if l.stale(began, now) {
			conn.NetConn().Close()
		}
		conn.SetWriteDeadline(time.Now().Add(pingDead))
		if _, err := conn.Write(l.c.pulse(seq).encode()); err != nil {
			conn.NetConn().Close()
		}
		select {
		case <-tick.C:
		case <-l.kick:
		case <-done:
			return ended
		}
	}
}

// endedThere tells whether an error of reading means that the other end has ended the connection: its process, or the system when that had ended.
// What this end has closed, or has waited for in vain, is none.
func endedThere(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

// stale says that a connection has been without an answer for so long that another one should be tried.
func (l *link) stale(began, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := began
	if l.health.heard.After(last) {
		last = l.health.heard
	}
	return now.Sub(last) > max(pingStale, 4*l.health.silence(l.c.cfg.Silence))
}

// hear takes an answer.
func (l *link) hear(p pulse, asked time.Time) {
	before := l.note(p, asked)
	if silence := time.Since(before); !before.IsZero() && silence > max(reviveAfter, 2*l.c.cfg.Silence) {
		l.revive(before)
	}
}

// note remembers an answer and gives when the one before came.
func (l *link) note(p pulse, asked time.Time) (before time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, rtt := &l.health, time.Since(asked)
	before = h.heard
	h.sure = asked
	if p.flags&pulseShun != 0 {
		h.sure = time.Time{} // what it said before does not count any more
	}
	if p.suspect != h.pulse.suspect || p.flags != h.pulse.flags {
		signal(l.c.alarm)
	}
	h.heard, h.told, h.refused, h.ended, h.pulse = time.Now(), asked, false, false, p
	if h.rtt == 0 {
		h.rtt = rtt
	}
	h.rtt += (rtt - h.rtt) / 8
	return before
}

// overhear takes from a question what its node knows, where that finds its leader lost or found again: its next answer would tell it up to 50 ms later.
// It is taken as a whole, because who is elected depends on the ends of both logs.
func (l *link) overhear(p pulse) {
	l.mu.Lock()
	news := p.suspect != l.health.pulse.suspect && !l.health.heard.IsZero()
	if news {
		l.health.pulse = p
	}
	l.mu.Unlock()
	if news {
		signal(l.c.alarm)
		signal(l.kick)
	}
}

func (c *Cluster) overhear(node string, p pulse) {
	c.linksMu.Lock()
	l := c.links[node]
	c.linksMu.Unlock()
	if l != nil {
		l.overhear(p)
	}
}

// servePings answers one connection until it ends.
func (c *Cluster) servePings(conn *tls.Conn, from peer) {
	c.attend(from.node, 1)
	defer c.attend(from.node, -1)
	for {
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		p, err := readPulse(conn)
		if err != nil {
			return
		}
		c.heed(from.node)
		c.overhear(from.node, p)
		answer := c.pulse(p.seq)
		if c.shuns(from.node) {
			answer.flags |= pulseShun
		}
		conn.SetWriteDeadline(time.Now().Add(pingDead))
		if _, err := conn.Write(answer.encode()); err != nil {
			return
		}
	}
}
