package turn

import "sync/atomic"

// Stats are a server's counters since New and gauges of now.
type Stats struct {
	Allocated uint64 // allocations made
	ToMedia   uint64 // packets relayed to the media engine
	ToPhones  uint64 // packets relayed to phones

	Denied    uint64 // requests whose credential was wrong, expired or of a user who is no more
	Quota     uint64 // allocations refused because the user or the node has enough
	Exhausted uint64 // allocations refused because the system gave no socket
	Forbidden uint64 // peers that are not the media engine, refused
	Strayed   uint64 // packets to or from anything but media ports, dropped
	Limited   uint64 // packets beyond the bit rate of an allocation, dropped
	Refused   uint64 // connections beyond the limits
	Faults    uint64 // datagrams that could not be read

	Allocations int // now
	Connections int // now, of TCP and TLS
}

type counters struct {
	allocated, toMedia, toPhones, denied, quota, exhausted, forbidden, strayed, limited, refused, faults atomic.Uint64

	allocations, connections atomic.Int64
}

// Stats may be called at any time.
func (s *Server) Stats() Stats {
	c := &s.count
	return Stats{
		Allocated: c.allocated.Load(), ToMedia: c.toMedia.Load(), ToPhones: c.toPhones.Load(), Denied: c.denied.Load(), Quota: c.quota.Load(),
		Exhausted: c.exhausted.Load(), Forbidden: c.forbidden.Load(), Strayed: c.strayed.Load(), Limited: c.limited.Load(), Refused: c.refused.Load(),
		Faults: c.faults.Load(), Allocations: int(c.allocations.Load()), Connections: int(c.connections.Load()),
	}
}
