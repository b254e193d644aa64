//go:build linux && !portable

package rtpengine

import (
	"fmt"
	"net/netip"

	"tandem/rtpengine/internal/steer"
)

// steer puts the BPF program in place and gives every shard its inbox and outbox; the shards do not run yet. lacks says what could
// be cheaper.
func (e *Engine) steer() (end func(), lacks string, err error) {
	var addrs []netip.Addr
	var line [2]int // of the program's table, by family
	for family, p := range e.pools {
		if p != nil {
			line[family] = len(addrs)
			addrs = append(addrs, p.addr)
		}
	}
	program, err := steer.Attach(addrs, e.cfg.PortMin, e.cfg.PortMax, len(e.shards)*len(addrs))
	if err != nil {
		return nil, "", err
	}
	for i, s := range e.shards {
		s.inbox = newInbox(program, e.cfg.PortMin, int(e.cfg.PortMax)-int(e.cfg.PortMin)+1, line)
		for n, addr := range addrs {
			if err = s.inbox.open(familyOf(addr), i*len(addrs)+n); err != nil {
				break
			}
		}
		if err != nil {
			for _, s := range e.shards[:i+1] {
				s.inbox.close()
				if s.outbox != nil {
					s.outbox.close()
				}
				s.inbox, s.outbox = nil, nil
			}
			_ = program.Close()
			return nil, "", err
		}
		var refused error
		if s.outbox, refused = openOutbox(s.inbox.slab, e.cfg.DSCP); refused != nil {
			lacks = fmt.Sprintf("packets leave by their ports' own sockets: %v", refused)
		}
	}
	return func() {
		if err := program.Close(); err != nil {
			e.log.Warn("the steering program was not taken away", "reason", err)
		}
	}, lacks, nil
}
