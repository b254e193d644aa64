package transport

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// A notice is one kind of line for the operator that events of the network can cause: at most one in ten seconds, with the
// number of those left out, so that a flood cannot fill a disk.
type notice struct {
	text    string
	last    atomic.Int64 // unix nanoseconds
	skipped atomic.Uint64
}

const noticeEvery = 10 * time.Second

// say logs the notice about a peer unless it was logged a moment ago.
func (n *notice) say(log *slog.Logger, now time.Time, args ...any) {
	last := n.last.Load()
	if last != 0 && now.UnixNano()-last < int64(noticeEvery) || !n.last.CompareAndSwap(last, now.UnixNano()) {
		n.skipped.Add(1)
		return
	}
	log.Warn(n.text, append(args, "skipped", n.skipped.Swap(0))...)
}

// notices of one transport.
type notices struct {
	overload, slowReader, refused notice
}

func (n *notices) init() {
	n.overload.text = "a shard has too much to do: new requests are answered with 503, in the end datagrams are dropped"
	n.slowReader.text = "a connection was ended because its peer does not read what it is sent"
	n.refused.text = "a connection was refused: too many of them, in all or from its source"
}
