package sip

import (
	"hash/maphash"

	"tandem/sip/message"
	"tandem/sip/transport"
)

// A node that drains in a cluster refuses nobody: what begins something goes to another node, as if the phone had sent it there, and what that one
// answers leaves by the flow here. So a call that comes now runs elsewhere from its first message on.

// yields gives a message that begins something to another node, because this one drains. It tells whether that was done. What another node has
// given is kept: if that one drains, too, it is refused.
func (sh *shard) yields(m *message.Message, p transport.Packet) bool {
	e := sh.srv.edge
	if e == nil || !sh.srv.draining.Load() || p.Flow.Node != 0 || m.Method == "REGISTER" {
		return false
	}
	switch {
	case m.Method == "ACK": // to what another node has refused, or of a call here
		if d, _ := sh.findDialog(m); d != nil {
			return false
		}
	case m.ToTag() != "":
		return false
	}
	next := e.elect(m.CallID())
	return next != 0 && e.stray(next, p)
}

// elect is the node that has the calls of a Call-ID while this one drains: always the same, as long as it serves. 0: there is none.
func (e *edge) elect(callID string) (best uint32) {
	if e.cfg.Serves == nil {
		return 0
	}
	most := uint64(0)
	for number, f := range *e.fellows.Load() {
		if f.Dead || !e.cfg.Serves(f.Name) {
			continue
		}
		if w := maphash.Comparable(e.srv.seed, ownBranch{uint64(number), callID}); best == 0 || w > most {
			best, most = number, w
		}
	}
	return best
}
