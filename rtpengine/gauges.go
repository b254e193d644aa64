package rtpengine

import "sync/atomic"

// gauges are what a shard tells about itself. The shard writes, anyone reads.
type gauges struct {
	totals
	census                                  census // of the kernel tier
	iced                                    iceTotals
	singled                                 singleTotals
	crowdedOut                              atomic.Uint64 // datagrams that the kernel dropped before the single port
	iceNumbers                              [2]uint16     // of the ICE port by family, 0 before it is open; see Engine.iceNumbers
	wakeups, received, naps, orders, faults atomic.Uint64
	steered, exiled, overruns               atomic.Uint64
	lateTicks                               atomic.Uint64 // packet times skipped by players
	sockets, playing, inRooms               atomic.Int64
	load                                    atomic.Uint64 // datagrams in the last second, set by housekeeping
	lastCount                               uint64        // housekeeping's
}
