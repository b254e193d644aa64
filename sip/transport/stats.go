package transport

import "sync/atomic"

// Stats are counters since the start, and gauges of now.
type Stats struct {
	Datagrams      uint64 // received over UDP
	StreamMessages uint64 // received over streams and WebSockets
	Received       uint64 // messages handed to handlers
	Sent           uint64 // messages handlers sent
	SendErrors     uint64 // messages that could not be sent
	KeepAlives     uint64 // CRLF and empty datagrams, CRLFCRLF on streams
	STUN           uint64 // Binding requests answered
	Garbage        uint64 // datagrams that are not SIP
	Oversized      uint64 // messages over the size limit
	Shed           uint64 // requests answered with 503 because a shard had too much to do
	ShedLate       uint64 // those of them for which there was room, but what waited had waited for too long
	Reserved       uint64 // datagrams queued in the reserve that is kept for what goes on with a call or ends it
	Dropped        uint64 // datagrams dropped because the reserve was full too
	BackPressure   uint64 // stream messages that waited for room in a shard's queue
	Busy           uint64 // posts refused because a shard's queue was full
	KernelDrops    uint64 // datagrams the kernel dropped because a socket's buffer was full
	ReadErrors     uint64 // passing errors of UDP sockets
	AcceptErrors   uint64

	Accepted        uint64 // connections let in
	RefusedConns    uint64 // connections over a limit or from a banned source
	Dialled         uint64
	DialFailed      uint64
	HandshakeFailed uint64 // TLS and WebSocket
	TimedOut        uint64 // connections ended by the first-message, read or idle time-out
	SlowReaders     uint64 // connections ended because the write queue ran full
	Framing         uint64 // connections ended because the end of a message could not be found

	Connections int   // open or being opened
	Queued      []int // messages waiting, by shard
}

type counters struct {
	datagrams, streamMessages, keepAlives, stun, garbage, oversized, shed, shedLate, reserved, dropped, backPressure, readErrors, acceptErrors,
	accepted, refusedConns, dialled, dialFailed, handshakeFailed, timedOut, slowReaders, framing atomic.Uint64
}

// Stats adds up the counters. Any goroutine.
func (t *Transport) Stats() Stats {
	c := &t.count
	st := Stats{
		Datagrams: c.datagrams.Load(), StreamMessages: c.streamMessages.Load(), KeepAlives: c.keepAlives.Load(), STUN: c.stun.Load(),
		Garbage: c.garbage.Load(), Oversized: c.oversized.Load(), Shed: c.shed.Load(), ShedLate: c.shedLate.Load(), Reserved: c.reserved.Load(), Dropped: c.dropped.Load(),
		BackPressure: c.backPressure.Load(), ReadErrors: c.readErrors.Load(), AcceptErrors: c.acceptErrors.Load(),
		Accepted: c.accepted.Load(), RefusedConns: c.refusedConns.Load(), Dialled: c.dialled.Load(), DialFailed: c.dialFailed.Load(),
		HandshakeFailed: c.handshakeFailed.Load(), TimedOut: c.timedOut.Load(), SlowReaders: c.slowReaders.Load(), Framing: c.framing.Load(),
		Connections: t.conns.len(),
	}
	for _, l := range t.bound() {
		for _, s := range l.sockets() {
			st.KernelDrops += s.drops()
		}
	}
	for _, s := range t.shards {
		st.Received += s.count.received.Load()
		st.Sent += s.count.sent.Load()
		st.SendErrors += s.count.sendErrors.Load()
		st.Busy += s.count.busy.Load()
		st.Queued = append(st.Queued, s.in.depth())
	}
	return st
}
